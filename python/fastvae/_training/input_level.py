"""The level of the encoder's input at the start of training, where the network does not standardise it.

Random weights, U(-1/sqrt(d), 1/sqrt(d)), are for d inputs of about unit size. Counts, their logarithms and
"frequencies" of few columns, which add up to almost 100 in a row, are far larger: the first codes would have a KL of up
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
_UNIT = 2.0  # the largest size of a row of inputs at the start
_FIRST = ("encoder.0.weight", "mu.weight", "logvar.weight", "code.weight")  # first layers, if they read X


def weights(fitted: FittedModel, X: Examples, rows: NDArray[np.uint64] | None) -> dict[str, NDArray[np.float32]]:
    """Return smaller weights for the layers that read X; empty if the inputs are near unit size."""
    specification = fitted.specification
    transform = specification.input_transform
    if transform not in ("frequencies", "log1p") and not (transform is None and specification.topics):
        return {}
    size = _largest_row(X, np.arange(len(X)) if rows is None else rows.astype(np.int64), transform)
    if size <= _UNIT:
        return {}
    divisor = np.float32(2.0 ** np.ceil(np.log2(size / _UNIT)))  # exact: rounding errors of the size do not matter
    state = fitted.state_dict()
    first = _FIRST[:1] if _FIRST[0] in state else _FIRST[1:]
    found = {name: state[name] / divisor for name in first if name in state}
    if specification.topics is not None and specification.conditions:  # embeddings are of unit size
        for name, weight in found.items():
            weight[:, specification.n_features :] = state[name][:, specification.n_features :]
    return found


def _largest_row(X: Examples, rows: NDArray[np.int64], transform: str | None) -> float:
    """Return the largest root mean square of the transformed values of a row, of some of the rows."""
    largest = 0.0
    for row in np.sort(rows[:: -(-len(rows) // _MAX_ROWS)]):
        if isinstance(X, _core.SparseMatrix):
            start, end = np.clip(X.indptr[[row, row + 1]], 0, len(X.data))
            stored = X.data[start:end]
        else:
            stored = X[row]
        values = np.nan_to_num(stored.astype(np.float64))
        if transform == "log1p":
            values = np.log1p(values)
        if transform == "frequencies":
            values = 100 * values / (10 + np.abs(values).sum())
        largest = max(largest, float((values**2).sum()))
    return float(np.sqrt(largest / X.shape[1]))
