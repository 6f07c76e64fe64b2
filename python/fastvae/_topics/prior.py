"""The prior of topics: a Gaussian before the softmax that stands for a Dirichlet."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

# E[theta] is a mean over draws of eps and their negatives: as many as topics, but so many at least and at most. Of 2,
# 7, 20, 50 and 200 topics (mu of N(0, 1.5²), sigma of U(0.2, 1.5)) its mean error is 1.2e-3, 9e-4, 5e-4, 2.4e-4 and
# 0.9e-4, a 13th to a 27th of softmax(mu)'s. From 7 topics on Hadamard's rows, lattices, Halton's points and draws that
# are scaled only were worse or no better.
_POINTS = (32, 64)
_POINTS_STREAM = 255  # of the counter generator, which the core does not use


def laplace(alpha: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return m0 and s0 of the Gaussian in softmax space that stands for a Dirichlet(alpha), [n_topics] each."""
    n, log = len(alpha), np.log(alpha)
    variance = (1 - 2 / n) / alpha + (1 / alpha).sum() / n**2
    return (log - log.mean()).astype(np.float32), np.sqrt(variance).astype(np.float32)


@functools.cache
def points(n: int) -> NDArray[np.float32]:
    """Return the points of the mean over N(0, I), [n_points, n]: normal draws whose columns are made orthogonal.

    With their negatives they have the normal's moments up to the third; of more than 64 columns in groups of 64. Plain
    sums and products only, so every machine has the same.
    """
    draws = min(max(n, _POINTS[0]), _POINTS[1])
    found = _core.standard_normal(draws, n, 0, _POINTS_STREAM).reshape(draws, n).astype(np.float64)
    for start in range(0, n, draws):
        group = found[:, start : start + draws]
        for j in range(group.shape[1]):
            column, later = group[:, j : j + 1], group[:, j + 1 :]
            column /= np.sqrt((column**2).sum() / draws)
            later -= column * ((column * later).sum(0) / draws)
    both = np.concatenate([found, -found]).astype(np.float32)
    both.setflags(write=False)  # it is kept
    return both


def to_simplex(z: NDArray[np.float32], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return theta = softmax(m0 + s0 z), [n, n_topics]."""
    logits = mean + scale * z
    shares = np.exp(logits - logits.max(1, keepdims=True))
    theta: NDArray[np.float32] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return theta
