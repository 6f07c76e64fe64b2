"""Validation of examples X, dense or sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastvae import _core
from fastvae._data import arrays, sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Examples as the engine reads them: a 2-D array of float32, float64 or uint8, or a sparse matrix.
Examples: TypeAlias = "NDArray[Any] | _core.SparseMatrix"

# X, and y for a conditional model.
Data: TypeAlias = "tuple[Examples, NDArray[Any] | None]"


def read(X: Any, name: str, cols: int | None = None, owner: str = "") -> Examples:
    """Return `X` validated by :func:`fastvae._data.arrays.matrix` or, if sparse, by `fastvae._data.sparse.matrix`."""
    if not sparse.is_sparse(X):
        return arrays.matrix(X, name, cols, owner)
    found = sparse.matrix(X, name)
    arrays.check_cols(found.shape[1], name, cols, owner)
    return found


def find(X: Examples, bad: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[int, int, Any] | None:
    """Return row, column and value of the first element for which `bad` holds, which it must not for a zero."""
    if isinstance(X, _core.SparseMatrix):
        stored = np.flatnonzero(bad(X.data))
        return (*sparse.place(X, stored[0]), X.data[stored[0]]) if len(stored) else None
    for start in range(0, len(X), 1024):  # in blocks, which keeps temporary arrays small
        rows = X[start : start + 1024]
        places = np.argwhere(bad(rows))
        if len(places):
            i, j = places[0]
            return start + int(i), int(j), rows[i, j]
    return None


def encoder_input(
    value: Any, name: str, shape: tuple[int, ...], transform: str | None, *, counts: bool, allow_nan: bool
) -> Examples | None:
    """Return an encoder input that replaces X: float32 of shape `shape` (uint8 is scaled like X) or a sparse matrix.

    Values must be finite; with `allow_nan`, NaN marks a missing value.
    """
    if value is None:
        return None
    read = sparse.matrix(value, name) if sparse.is_sparse(value) else arrays.floats(value, name, counts=counts)
    if read.shape != shape:
        raise ValueError(f"{name} has shape {read.shape}; expected {shape}, the shape of X")
    if find(read, lambda values: ~(np.isfinite(values) | (allow_nan & np.isnan(values)))):
        raise ValueError(f"{name} must be finite")
    found = find(read, lambda values: values <= -1) if transform == "log1p" else None
    if found:
        raise ValueError(f'{name}{list(found[:2])} is {found[2]}, but input_transform="log1p" needs values above -1')
    return read
