"""A table with columns of several kinds, and models of it; without torch, whose import takes seconds in a process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae import VAE
from fastvae.likelihoods import Bernoulli, Categorical, Gaussian, LogNormal, Mixed, NegativeBinomial, Ordinal

PER_FEATURE = Gaussian("per_feature")


def holes(likelihood: Mixed, X: NDArray[Any], share: float, seed: int = 0) -> NDArray[np.float32]:
    """X with a share of the values of each variable missing."""
    rng, X = np.random.default_rng(seed), X.astype(np.float32)
    for columns in likelihood.variables:
        X[rng.uniform(size=len(X)) < share, columns] = np.nan
    return X


def realistic(rows: int = 1500, seed: int = 0) -> np.ndarray[Any, Any]:
    """Columns of very different units that depend on two codes: those of FITTED."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 2))
    numbers = np.stack([1e4 + 300 * z[:, 0] + 50 * rng.normal(size=rows), 1e-2 * z[:, 1]], 1)
    positive = np.exp(9 + z[:, :1] + 0.3 * rng.normal(size=(rows, 1)))
    counts = rng.poisson(np.exp(4 + 0.5 * z[:, 1:]))
    binary = rng.uniform(size=(rows, 1)) < 1 / (1 + np.exp(-2 * z[:, :1]))
    levels = np.eye(4)[np.argmax(z @ [[2, 0, -2, 0], [0, 2, 0, -2]] + 0.5 * rng.gumbel(size=(rows, 4)), 1)]
    grades = np.eye(4)[np.digitize(z[:, 0] + 0.5 * rng.normal(size=rows), [-1, 0, 1.5])]
    return np.concatenate([numbers, positive, counts, binary, levels, grades], 1)


FITTED = Mixed(
    [
        (PER_FEATURE, 2),
        (LogNormal(), 1),
        (NegativeBinomial(), 1),
        (Bernoulli(), 1),
        (Categorical(), 4),
        (Ordinal(), 4, 2.0),
    ]
)


def fitted(**more: Any) -> VAE:
    """A model of the realistic table."""
    params: dict[str, Any] = {"hidden": (32,), "likelihood": FITTED, "epochs": 3, "random_state": 0, "missing": "mask"}
    return VAE(2, **(params | more)).fit(realistic())
