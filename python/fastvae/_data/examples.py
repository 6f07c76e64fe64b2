"""Examples, dense or sparse: from what users pass to what the core reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastvae import _core
from fastvae._data import arrays, sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# What the core reads: a 2-D array of float32, float64 or uint8, or a sparse matrix.
Examples: TypeAlias = "NDArray[Any] | _core.SparseMatrix"

# X and, of a conditional model, y.
Data: TypeAlias = "tuple[Examples, NDArray[Any] | None]"


def read(X: Any, name: str, cols: int | None = None, owner: str = "") -> Examples:
    """Return `X` as :func:`fastvae._data.arrays.matrix` does or, if it is sparse, as the core reads it."""
    if not sparse.is_sparse(X):
        return arrays.matrix(X, name, cols, owner)
    found = sparse.matrix(X, name)
    arrays.check_cols(found.shape[1], name, cols, owner)
    return found


def find(X: Examples, bad: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[int, int, Any] | None:
    """Return row, column and value of the first bad element; a zero is never bad."""
    if isinstance(X, _core.SparseMatrix):
        stored = np.flatnonzero(bad(X.data))
        return (*sparse.place(X, stored[0]), X.data[stored[0]]) if len(stored) else None
    for start in range(0, len(X), 1024):  # no copy of all of it
        rows = X[start : start + 1024]
        places = np.argwhere(bad(rows))
        if len(places):
            i, j = places[0]
            return start + int(i), int(j), rows[i, j]
    return None


def replacement(
    value: Any, name: str, shape: tuple[int, ...], transform: str | None, *, counts: bool, holes: bool
) -> Examples | None:
    """Return what the encoder is to see in the place of X: finite float32 (uint8 as in X) of its shape, or sparse.

    With `holes` a NaN is what it is not to see.
    """
    if value is None:
        return None
    seen = sparse.matrix(value, name) if sparse.is_sparse(value) else arrays.floats(value, name, counts=counts)
    if seen.shape != shape:
        raise ValueError(f"{name} has shape {seen.shape}; expected {shape}, that of X")
    if find(seen, lambda values: ~(np.isfinite(values) | (holes & np.isnan(values)))):
        raise ValueError(f"{name} must be finite")
    found = find(seen, lambda values: values <= -1) if transform == "log1p" else None
    if found:
        raise ValueError(f'{name}{list(found[:2])} is {found[2]}, but input_transform="log1p" wants values above -1')
    return seen
