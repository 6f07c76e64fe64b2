"""The composite prior of a pass of training: the posteriors of all examples by the parameters before the pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastvae import _core
from fastvae._data import examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Data, Examples
    from fastvae._fitted.model import FittedModel
    from fastvae.priors import CompositePrior

    # Weights of the mixture, log variance of the widest component, means and log variances [n_examples, latent_dim],
    # and a factor of each example's KL.
    Arrays: TypeAlias = tuple[tuple[float, float, float], float, list[NDArray[np.float32]], NDArray[np.float32]]


def arrays(model: FittedModel, data: Data, prior: CompositePrior | None, threads: int | None) -> Arrays | None:
    """Return the prior of examples as the core takes it, None for N(0, I)."""
    if prior is None:
        return None
    mu, logvar = model.encode(data.X, data.y, threads)
    return prior.weights, prior.wide_logvar, [mu, logvar], _totals(data.X)


def _totals(X: Examples) -> NDArray[np.float32]:
    """Return the sum of each example's values."""
    if isinstance(X, _core.SparseMatrix):
        ends = np.concatenate([[0.0], np.cumsum(X.data, dtype=np.float64)])[X.indptr]
        return np.diff(ends).astype(np.float32)
    totals: NDArray[np.float64] = examples.floats(X, "X", counts=True).sum(1, dtype=np.float64)
    return totals.astype(np.float32)
