"""Results for the rows of a source, in blocks; the next block is read while one is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._data import names, sizes
from fastvae._data.sources import opening
from fastvae._data.sources.source import Source, read
from fastvae._data.streams.ahead import ReadAhead
from fastvae._estimators.by_rows.noise import RowNoise
from fastvae._fitted import output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.names import Names
    from fastvae._estimators.by_rows.by_rows import ByRows


class Block(NamedTuple):
    """Rows of a source."""

    start: int
    stop: int
    X: Any


def blocks(source: Source, known: Names = None) -> Iterator[Block]:
    """Yield the rows of a source in order, in blocks; it is to be read by a thread.

    `known` are the names of the columns that the model knows: blocks behind the first one have them, so that it alone
    warns.
    """
    for start, stop in _ranges(source):
        rows = read(source, start, stop)
        yield Block(start, stop, _with_names(rows, known) if start else opening.named(rows, source))


def _ranges(source: Source) -> Iterator[tuple[int, int]]:
    """Yield the ends of blocks: as many rows as fill one, but whole units of the source."""
    rows = max(1, int(opening.BLOCK_BYTES / max(source.row_bytes, 1e-9)))
    edges, start = source.edges, 0
    while start < source.n_rows:
        stop = min(start + rows, source.n_rows)
        if edges is not None and stop < source.n_rows:
            place = int(np.searchsorted(edges, stop, side="right"))  # the first edge beyond
            before = int(edges[place - 1])
            stop = before if before > start else int(edges[place])
        yield start, stop
        start = stop


def _with_names(rows: Any, labels: Names) -> Any:
    """Return dense rows of a table with the names of their columns, if there are any."""
    table = labels is not None and isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == len(labels)
    return names.Named(rows, labels) if table and labels is not None else rows


def apply(model: Any, method: ByRows, source: Source, arguments: dict[str, Any], X: Any) -> Any:
    """Return the result of a method for all rows of a source; `arguments` are those besides X, which is the source."""
    per_row = method.take_rows(arguments, source.n_rows)
    for name, value in per_row.items():
        _check_length(value, name, source.n_rows)
    out = arguments.pop("out", None)
    takes_out = "out" in method.parameters
    if out is not None:
        _check_rows(out, source, X, method.dtype)
    if method.is_noisy:
        arguments["random_state"] = model._noise_for(arguments.get("random_state"))
    axis, frame = (0 if method.draws is None else 1), False
    whole: list[NDArray[Any]] = [] if out is None else [out]
    with ReadAhead(blocks(source, model._names_of_blocks())) as ahead:
        for block in ahead:
            given = arguments | {name: _cut(value, block.start, block.stop) for name, value in per_row.items()}
            if method.is_noisy:
                noise = given["random_state"]
                given["random_state"] = RowNoise(noise.seed, noise.first + block.start)
            if whole and takes_out:
                given["out"] = whole[0][block.start : block.stop]
            try:
                found = method.function(model, block.X, **given)
            except (ValueError, FloatingPointError) as error:
                kind = ValueError if isinstance(error, ValueError) else FloatingPointError
                raise kind(f"in rows {block.start} to {block.stop} of {source.name}: {error}") from error
            frame = frame or not isinstance(found, (np.ndarray, tuple))
            parts = [np.asarray(part) for part in (found if isinstance(found, tuple) else [found])]
            whole = whole or [_empty(part, source.n_rows, axis) for part in parts]
            for total, part in zip(whole, parts, strict=True):
                place = total[block.start : block.stop] if axis == 0 else total[:, block.start : block.stop]
                if not np.may_share_memory(place, part):
                    place[...] = part
                output.release(place)
    if frame and out is None:
        return model._as_output(whole[0], X)
    return method.results(whole)


def _check_rows(out: Any, source: Source, X: Any, dtype: Any) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}: pass a numpy array or a memory map (numpy.memmap)")
    if out.ndim == 0 or len(out) != source.n_rows:
        raise ValueError(f"out has shape {out.shape}, but the result has {source.n_rows} rows, as many as X")
    output.check(out, out.shape, {"X": X}, dtype)


def _empty(part: NDArray[Any], n_rows: int, axis: int) -> NDArray[Any]:
    shape = list(part.shape)
    shape[axis] = n_rows
    return np.empty(shape, part.dtype)


def _cut(value: Any, start: int, stop: int) -> Any:
    """Return rows of an argument with a row for each row of X; y may have sizes."""
    y, given = sizes.split(value)
    if given is not None:
        return sizes.attach(None if y is None else _cut(y, start, stop), _cut(given, start, stop))
    return value.iloc[start:stop] if hasattr(value, "iloc") else value[start:stop]


def _check_length(value: Any, name: str, n_rows: int) -> None:
    y, given = sizes.split(value)
    if given is not None:
        _check_length(given, sizes.NAME, n_rows)
        if y is None:
            return
    found = None if np.ndim(y) == 0 else len(y)
    if found != n_rows:
        rows = "a scalar" if found is None else f"{found}"
        raise ValueError(f"{name} must have {n_rows} rows, one for each row of X, not {rows}")
