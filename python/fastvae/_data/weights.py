"""Weights of examples in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "sample_weight"


def read(sample_weight: Any, n: int) -> NDArray[np.float32] | None:
    """Return weights of `n` examples as float32, or raise ValueError; a number stands for all, None stays None."""
    if sample_weight is None:
        return None
    weights = arrays.numeric(sample_weight, NAME)
    if weights.ndim == 0:
        weights = np.broadcast_to(weights, n)
    if weights.shape != (n,):
        raise ValueError(f"{NAME} has shape {weights.shape}: pass one weight for each of the {n} rows of X")
    bad = np.flatnonzero(~((weights >= 0) & (weights < np.inf)))
    if len(bad):
        raise ValueError(f"{NAME} of row {bad[0]} is {weights[bad[0]]}: weights must be finite numbers, at least 0")
    largest = float(weights.max(initial=0))
    if largest == 0:
        raise ValueError(f"{NAME} is zero for all examples: give some of them a weight")
    if not 1e-30 < largest < 1e30:
        raise ValueError(f"{NAME} has the largest element {largest:g}, outside of float32: divide all by it")
    return np.ascontiguousarray(weights, np.float32)


def rows_in_use(
    weights: NDArray[np.float32] | None, rows: NDArray[np.uint64] | None, name: str
) -> NDArray[np.uint64] | None:
    """Return those of `rows` (None: all) that have a weight above 0: the other examples count as absent."""
    if weights is None or weights.all():
        return rows
    used = np.flatnonzero(weights).astype(np.uint64) if rows is None else rows[weights[rows] > 0]
    if len(used) == 0:
        raise ValueError(f"all examples of {name} have {NAME} 0: give some of them a weight")
    return used
