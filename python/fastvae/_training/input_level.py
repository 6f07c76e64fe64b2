"""The level of the encoder's input at the start of training, where the network does not standardise it.

Random weights, U(-1/sqrt(d), 1/sqrt(d)), are for d inputs of about unit size. Counts, their logarithms and
"frequencies" of few columns, which add up to almost 50 in a row, are far larger: the first codes would have a KL of up
to millions of nats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples
    from fastvae._fitted.model import FittedModel

_MAX_ROWS = 1024  # that are examined
_BLOCK = 64  # rows that are read at a time
_UNIT = {None: 2.0, "log1p": 2.0, "frequencies": 1.0}  # the largest size of a row of inputs at the start
_FIRST = ("encoder.0.weight", "mu.weight", "logvar.weight", "code.weight")  # first layers, if they read X


def weights(fitted: FittedModel, X: Examples, rows: NDArray[np.uint64] | None) -> dict[str, NDArray[np.float32]]:
    """Return smaller weights for the layers that read X; empty if the inputs are near unit size."""
    specification = fitted.specification
    transform = specification.input_transform
    if transform not in _UNIT or (transform is None and not specification.topics):
        return {}
    size = _largest_row(X, np.arange(len(X)) if rows is None else rows.astype(np.int64), transform)
    ratio = size / _UNIT[transform]
    if ratio <= 1:
        return {}
    divisor = np.float32(2.0 ** np.ceil(np.log2(ratio)))  # exact: rounding errors of the size do not matter
    state = fitted.state_dict()
    first = _FIRST[:1] if _FIRST[0] in state else _FIRST[1:]
    found = {name: state[name] / divisor for name in first if name in state}
    if specification.topics is not None and specification.conditions:  # embeddings are of unit size
        for name, weight in found.items():
            weight[:, specification.n_features :] = state[name][:, specification.n_features :]
    return found


def _largest_row(X: Examples, rows: NDArray[np.int64], transform: str | None) -> float:
    """Return the largest root mean square of the transformed values of a row, of some of the rows."""
    chosen = np.sort(rows[:: -(-len(rows) // _MAX_ROWS)])
    largest = 0.0
    for start in range(0, len(chosen), _BLOCK):
        values, row = _values(X, chosen[start : start + _BLOCK])
        if transform == "log1p":
            values = np.log1p(values)
        if transform == "frequencies":
            scale, short = _core.FREQUENCIES
            values = scale * values / (short + np.bincount(row, np.abs(values))[row])
        largest = max(largest, float(np.bincount(row, values**2).max(initial=0)))
    return float(np.sqrt(largest / X.shape[1]))


def _values(X: Examples, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the stored values of some rows, 0 where they are missing, and the row of each, from 0."""
    if isinstance(X, _core.SparseMatrix):
        starts, ends = np.clip(X.indptr[[rows, rows + 1]], 0, len(X.data))
        sizes = np.maximum(ends - starts, 0)
        row = np.repeat(np.arange(len(rows)), sizes)
        stored = X.data[np.arange(len(row)) + (starts - (np.cumsum(sizes) - sizes))[row]]
    else:
        row, stored = np.repeat(np.arange(len(rows)), X.shape[1]), X[rows].ravel()
    return np.nan_to_num(stored.astype(np.float64)), row
