"""A mosaic of images in one plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, isqrt, prod, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _checks
from fastvae._data import arrays, images
from fastvae.plots._axes import SMALL, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]
    Shape = Sequence[int] | None
    Inverse = Callable[[Array], ArrayLike] | None


class Pixels(NamedTuple):
    """How values are drawn."""

    inverse: Inverse = None  # undoes a scaler of rows [n, d]
    vmin: float | None = None  # black; None: 0
    vmax: float | None = None  # white; None: 1, of uint8 255

    def original(self, X: ArrayLike) -> Array:
        """Return X in the units before the scaler, in its shape."""
        array = np.asarray(X)
        if self.inverse is None:
            return array
        if not callable(self.inverse):
            raise ValueError(
                f"inverse={self.inverse!r} must be a function of rows, such as a scaler's inverse_transform (without "
                "parentheses)"
            )
        found = np.asarray(self.inverse(array.reshape(len(array), -1)))
        if found.size != array.size:
            raise ValueError(f"inverse returned an array of shape {found.shape} for X of shape {array.shape}")
        return found.reshape(array.shape)

    def brightness(self, values: Array) -> Array:
        """Return values as floats in 0..1: from black to white."""
        low = 0.0 if self.vmin is None else _checks.number(self.vmin, "vmin", least=-1e15, below=1e15)
        white = 255 if values.dtype == np.uint8 else 1
        high = float(white) if self.vmax is None else _checks.number(self.vmax, "vmax", least=-1e15, below=1e15)
        if not low < high:
            raise ValueError(f"vmin={low:g} must be below vmax={high:g}")
        return np.clip((values - low) / (high - low), 0, 1)


def pictures_of(X: ArrayLike, shape: Shape, model: Any = None, pixels: Pixels = Pixels()) -> Array:  # noqa: B008
    """Return images as floats in 0..1, [n, height, width] or [n, height, width, 3], or raise ValueError.

    Without `shape` the images are of the ``image_shape`` of `model`, if it has one.
    """
    array = pixels.original(X)
    layout = images.check(getattr(model, "image_shape", None), getattr(model, "channels", "last"))
    if shape is None and layout is not None:
        array, shape = layout.flatten(array, "X"), layout.shape
    if array.ndim > 2:
        shape = array.shape[1:] if shape is None else shape
        array = array.reshape(len(array), -1)
    array = arrays.matrix(array, "X")
    size = array.shape[1]
    if shape is None:
        if isqrt(size) ** 2 != size:
            raise ValueError(f"{size} values are not a grey square: pass shape=(height, width) or (height, width, 3)")
        shape = (isqrt(size),) * 2
    if not isinstance(shape, (tuple, list, np.ndarray)) or np.ndim(shape) != 1:
        raise ValueError(f"shape={shape!r} must be (height, width) or (height, width, 3)")
    shape = tuple(_checks.integer(side, f"shape={shape!r}: a side") for side in shape)
    shape = shape[:2] if shape[2:] == (1,) else shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or prod(shape) != size:
        raise ValueError(
            f"shape={shape} does not fit rows of {size} values: it must be (height, width) or (height, width, 3)"
        )
    return pixels.brightness(array.reshape(-1, *shape))


def gap_of(pictures: Array) -> int:
    """Return the pixels between images: one for images of 28 pixels, in proportion for larger ones."""
    _, height, width, *_ = pictures.shape
    return max(1, round(max(int(height), int(width)) / 28))


def columns_of(columns: int | None, n: int) -> int:
    if columns is None:
        return n if n <= 10 else ceil(sqrt(n))
    return min(_checks.integer(columns, "columns"), n)


def titles_of(titles: Sequence[object] | None, n: int) -> list[str] | None:
    if titles is None:
        return None
    if not isinstance(titles, (Sequence, np.ndarray)) or isinstance(titles, (str, bytes)):
        raise ValueError(f"titles={titles!r:.60} must be a sequence of {n} titles, one for each image")
    if len(titles) != n:
        raise ValueError(f"titles has {len(titles)} entries; expected {n}, one for each image")
    return [str(title) for title in titles]


def signed(value: float, form: str = ".3g") -> str:
    """Return a number with its sign, with a true minus sign."""
    return f"{value:+{form}}".replace("-", "\N{MINUS SIGN}") if value else "0"


def mosaic(
    pictures: Array,
    columns: int,
    ax: Axes | None,
    *,
    titles: list[str] | None = None,
    gap: int | None = None,
    left: float = 0.0,
    below: float = 0.0,
) -> Axes:
    """Draw images as a mosaic on white, with ticks at the middles of columns and lines.

    `gap` is the number of pixels between lines; `left` and `below` are inches for the labels of a new figure.
    """
    between = gap_of(pictures) if gap is None else gap
    height, width = pictures.shape[1] + between, pictures.shape[2] + min(between, gap_of(pictures))
    above = 0
    if titles is not None:  # space for a line of text above each image
        above = ceil(0.22 * pictures.shape[2])
        height += above
    lines = -(-len(pictures) // columns)
    canvas = np.ones((lines * height, columns * width, *pictures.shape[3:]))
    for i, picture in enumerate(pictures):
        y, x = i // columns * height + above, i % columns * width
        canvas[y : y + pictures.shape[1], x : x + pictures.shape[2]] = picture
    canvas = canvas[: lines * height - between, : columns * width - (width - pictures.shape[2])]

    inches = min(max(0.85 * columns, 3.0), 10.0)
    ax = new_axes(ax, (inches + left, inches * canvas.shape[0] / canvas.shape[1] + below + 0.3))
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=1)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL)
    ax.set_xticks([i * width + (pictures.shape[2] - 1) / 2 for i in range(columns)], [""] * columns)
    ax.set_yticks([i * height + above + (pictures.shape[1] - 1) / 2 for i in range(lines)], [""] * lines)
    for i, title in enumerate(titles or []):
        x, y = ax.get_xticks()[i % columns], i // columns * height + above - 1
        ax.text(x, y, title, ha="center", va="bottom", fontsize=SMALL)
    return ax
