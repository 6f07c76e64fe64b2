"""HTML for notebooks: self-contained, escaped, in the colours of the page, which may be dark."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STYLE = """<style>
.fastvae { font-size: 13px; line-height: 1.45; max-width: 44em; }
.fastvae table { border-collapse: collapse; margin: 4px 0; background: none; }
.fastvae tr { background: none !important; }
.fastvae th, .fastvae td { border: 0; padding: 1px 12px 1px 0; text-align: left; vertical-align: top; font-size: 13px; }
.fastvae td.number, .fastvae th.number { text-align: right; font-variant-numeric: tabular-nums; }
.fastvae code { background: none; font-size: 12px; overflow-wrap: anywhere; white-space: pre-wrap; }
.fastvae .quiet, .fastvae .quiet * { opacity: 0.65; }
.fastvae .changed { font-weight: 600; }
.fastvae .bar { background: #3b82c4; height: 0.7em; display: inline-block; vertical-align: middle; }
.fastvae summary { cursor: pointer; }
.fastvae svg { display: block; max-width: 100%; height: auto; margin: 4px 0; }
.fastvae svg text { fill: currentColor; font-size: 11px; font-family: inherit; }
.fastvae ul { margin: 4px 0; padding-left: 1.3em; }
</style>"""
# Colours that are read on white and on black.
_COLOURS = ("#3b82c4", "#d9730d")
_POINTS = 400  # most points of a curve
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 480, 150, 62, 20


def page(*parts: str) -> str:
    """Return the parts, which are HTML, as the output of a cell."""
    return f'{_STYLE}<div class="fastvae">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of cells, which are HTML; the last `numbers` columns are aligned to the right."""
    words = len(head) - numbers

    def row(tag: str, cells: Sequence[str]) -> str:
        parts = (f"<{tag}{' class=number' if i >= words else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
        return f"<tr>{''.join(parts)}</tr>"

    title = row("th", head) if any(head) else ""
    return f"<table>{title}{''.join(row('td', cells) for cells in rows)}</table>"


def details(summary: str, content: str, *, opened: bool = False) -> str:
    """Return content that the reader can open."""
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{content}</details>"


def messages(lines: Iterable[str]) -> str:
    """Return sentences as a list."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def bar(share: float) -> str:
    """Return a bar, of a share from 0 to 1."""
    return f'<span class=bar style="width: {6 * min(max(share, 0.0), 1.0):.2f}em"></span>'


def number(value: float, digits: int = 4) -> str:
    """Return a number in few digits."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "none"


def curves(series: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG of losses by epoch, from 1; at most two series. Empty without two finite values."""
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    n = max(map(len, series.values()), default=0)
    if n < 2 or len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - 1, high + 1
    right, top = _WIDTH - 8, 8
    bottom = _HEIGHT - _BOTTOM

    def x(epoch: float) -> float:
        return _LEFT + (epoch - 1) / (n - 1) * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [
        f'<path d="M{_LEFT} {top}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.4"/>',
        f'<text x="{_LEFT - 6}" y="{top + 8}" text-anchor="end">{number(high)}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{number(low)}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 5}">1</text>',
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">epoch</text>',
        f'<text x="{right}" y="{_HEIGHT - 5}" text-anchor="end">{n}</text>',
    ]
    for i, (name, values) in enumerate(series.items()):
        colour, label = _COLOURS[i % len(_COLOURS)], top + 8 + 14 * i
        path = _path([(x(epoch), y(value)) for epoch, value in _thinned(values)])
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts.append(f'<path d="M{right - 104} {label - 4}h16" stroke="{colour}" stroke-width="1.8"/>')
        parts.append(f'<text x="{right - 82}" y="{label}">{escape(name)}</text>')
    title = f"{' and '.join(series)} by epoch, from {number(high)} to {number(low)}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """Return at most `_POINTS` epochs with their values: the first, the last, and some at equal distances."""
    n = len(values)
    chosen = range(n) if n <= _POINTS else sorted({round(i * (n - 1) / (_POINTS - 1)) for i in range(_POINTS)})
    return [(i + 1, values[i]) for i in chosen]


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG path through the points, with gaps where one is not finite."""
    path, pen = "", "M"
    for x, y in points:
        if math.isfinite(y):
            path += f"{pen}{x:.1f} {y:.1f}"
        pen = "L" if math.isfinite(y) else "M"
    return path
