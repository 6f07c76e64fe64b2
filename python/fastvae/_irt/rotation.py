"""Rotations of a latent space in which the loadings are easier to read."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A criterion that an angle changes by less, relatively, does not depend on it.
_FLAT = 1e-12


class Rotation(NamedTuple):
    """Loadings in rotated coordinates: abilities alpha become alpha R, slopes a become a R, probabilities stay."""

    loadings: NDArray[np.float64]
    """[n_tasks, n_dims]: a R."""
    rotation: NDArray[np.float64]
    """R, [n_dims, n_dims], orthogonal."""


def varimax(loadings: NDArray[Any], tol: float = 1e-8, n_iter: int = 1000) -> Rotation:
    """Rotate loadings so that the variance of their squares, summed over the columns, is largest.

    Kaiser's raw varimax (Psychometrika 23, 1958): each loading becomes large or small. Pairs of columns are turned to
    the best of all angles in their plane, which has a closed form, in cycles until no angle of a cycle is larger than
    `tol` (radians), or for `n_iter` cycles. Columns have the sign with which their sum is not negative.
    """
    b = np.array(loadings, np.float64)
    rotation = np.eye(b.shape[1])
    for _ in range(n_iter):
        largest = 0.0
        for i, j in combinations(range(b.shape[1]), 2):
            angle = _angle(b[:, i], b[:, j])
            cos, sin = np.cos(angle), np.sin(angle)
            for matrix in (b, rotation):
                matrix[:, [i, j]] = matrix[:, [i, j]] @ [[cos, -sin], [sin, cos]]
            largest = max(largest, abs(angle))
        if largest <= tol:
            break
    rotation *= np.where(b.sum(0) < 0, -1.0, 1.0)
    return Rotation(np.asarray(loadings, np.float64) @ rotation, rotation)


def _angle(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Radians by which two columns are turned towards each other, x cos + y sin and y cos - x sin.

    With u = x² - y² and v = 2 x y, turned by phi, u + iv is turned by 2 phi, and the criterion is a constant and
    (C cos(4 phi) + D sin(4 phi)) / 4n, with C = n (var u - var v) and D = 2n cov(u, v): the largest of all is at the
    angle of C + iD (Kaiser's equation of tan 4 phi, and his table of signs).
    """
    u, v = x**2 - y**2, 2 * x * y
    du, dv = u - u.mean(), v - v.mean()
    c, d = float((du**2 - dv**2).sum()), float(2 * (du * dv).sum())
    if np.hypot(c, d) <= _FLAT * float(((x**2 + y**2) ** 2).sum()):
        return 0.0  # all angles are as good: the best is one of rounding
    return float(np.arctan2(d, c)) / 4
