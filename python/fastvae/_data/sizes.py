"""Sizes of rows of counts, which the user gives besides X."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "size_factor"


class Sized:
    """y, or None, with the sizes of the rows, both as the user gave them."""

    def __init__(self, y: Any, sizes: Any) -> None:
        self.y, self.sizes = y, sizes


def attach(y: Any, sizes: Any) -> Any:
    """Return y with sizes; without sizes y itself, which may have some already."""
    return y if sizes is None else Sized(y, sizes)


def split(y: Any) -> tuple[Any, Any]:
    """Return y and the sizes that it has, or None."""
    return (y.y, y.sizes) if isinstance(y, Sized) else (y, None)


def join(y: NDArray[Any] | None, sizes: Any, n: int) -> NDArray[np.float32]:
    """Return y of `n` rows as the engine reads it (None: no conditions) with a last column of sizes."""
    column: NDArray[np.float32] = _read(sizes, n)[:, None]
    if y is None:
        return column
    y = y.astype(np.float32) / np.float32(255 if y.dtype == np.uint8 else 1)  # one-hot rows are 0 and 255
    return np.ascontiguousarray(np.concatenate([y, column], axis=1))


def _read(sizes: Any, n: int) -> NDArray[np.float32]:
    """Return the sizes of `n` rows as float32, or raise ValueError."""
    array = arrays.numeric(sizes, NAME)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (n,):
        raise ValueError(f"{NAME} has shape {array.shape}: pass one size for each of the {n} rows of X")
    array = array.astype(np.float64)
    bad = np.flatnonzero(~((array > 1e-30) & (array < 1e30)))
    if len(bad):
        raise ValueError(
            f"{NAME} of row {bad[0]} is {array[bad[0]]:g}: sizes must be positive numbers, so leave out rows without a "
            "size"
        )
    return array.astype(np.float32)
