"""Scores that overflow in float32: an error that names the largest value of X."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._data import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples


def check(scores: NDArray[Any], X: Examples) -> None:
    """Raise FloatingPointError unless the scores of all rows of X are finite."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise _overflow(f"the score of row {bad[0]}", X, int(bad[0]), int(bad[0]) + 1)


def check_means(losses: dict[str, float], X: Examples) -> dict[str, float]:
    """Return mean losses of X if they are finite, else raise FloatingPointError."""
    for name, value in losses.items():
        if not np.isfinite(value):
            raise _overflow(f"the mean of {name!r}", X, 0, len(X))
    return losses


def _overflow(what: str, X: Examples, first: int, end: int) -> FloatingPointError:
    row, col, value = _largest(X, first, end)
    return FloatingPointError(
        f"{what} overflows in float32, and X[{row}, {col}] is {value:g}, the largest of its values: scale the data "
        "or, if they are moderate, train again with a lower learning_rate"
    )


def _largest(X: Examples, first: int, end: int) -> tuple[int, int, float]:
    """Return row, column and value of the largest magnitude in rows first .. end of X."""
    found = (first, 0, 0.0)
    if isinstance(X, _core.SparseMatrix):
        start, stop = (int(place) for place in X.indptr[[first, end]])
        if start < stop:
            place = start + int(np.nanargmax(np.abs(X.data[start:stop])))
            found = (*sparse.place(X, place), float(X.data[place]))
        return found
    for start in range(first, end, 1024):
        block = X[start : min(end, start + 1024)].astype(np.float64)
        row, col = divmod(int(np.argmax(np.abs(np.nan_to_num(block)))), block.shape[1])
        if abs(block[row, col]) > abs(found[2]):
            found = (start + row, col, float(block[row, col]))
    return found
