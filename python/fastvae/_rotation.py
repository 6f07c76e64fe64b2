"""Rotations of a latent space in which the loadings are easier to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rotation(NamedTuple):
    """Loadings in rotated coordinates: abilities alpha become alpha R, slopes a become a R, probabilities stay."""

    loadings: NDArray[np.float64]
    """[n_tasks, n_dims]: a R."""
    rotation: NDArray[np.float64]
    """R, [n_dims, n_dims], orthogonal."""


def varimax(loadings: NDArray[Any], tol: float = 1e-10, n_iter: int = 1000) -> Rotation:
    """Rotate loadings so that the variance of their squares, summed over the columns, is largest.

    Kaiser's raw varimax (Psychometrika 23, 1958): each loading becomes large or small. By the iterations of Horst: with
    B = A R, R becomes the orthogonal factor of A' (B³ - B diag(mean of B²)), which is the criterion's gradient up to a
    factor. Columns have the sign with which their sum is not negative.
    """
    a = np.asarray(loadings, np.float64)
    rotation, before = np.eye(a.shape[1]), 0.0
    for _ in range(n_iter):
        b = a @ rotation
        left, singular, right = np.linalg.svd(a.T @ (b**3 - b * (b**2).mean(0)))
        rotation = left @ right
        if singular.sum() <= before * (1 + tol):
            break
        before = singular.sum()
    rotation = rotation * np.where((a @ rotation).sum(0) < 0, -1.0, 1.0)
    return Rotation(a @ rotation, rotation)
