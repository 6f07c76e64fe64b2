"""Axes and font sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE, SMALL = 12, 9  # points


def pyplot() -> Any:
    """Return matplotlib.pyplot, or raise ImportError with the command that installs it."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError("the plots need matplotlib, which is missing: pip install 'fastvae-cpu[plot]'") from error
    return matplotlib.pyplot


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return `ax` or, if it is None, new axes in a figure of this size in inches."""
    plt = pyplot()
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
