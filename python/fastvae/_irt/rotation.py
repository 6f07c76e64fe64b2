"""Varimax: a rotation of the latent space that makes loadings easier to interpret."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A relative change of the criterion below this is rounding: the angle is then 0.
_MIN_CHANGE = 1e-12


class Rotation(NamedTuple):
    """Loadings in rotated coordinates: slopes a R, abilities alpha R; probabilities do not change."""

    loadings: NDArray[np.float64]
    """a R, [n_tasks, n_dims]."""
    rotation: NDArray[np.float64]
    """The orthogonal matrix R, [n_dims, n_dims]."""


def varimax(loadings: NDArray[Any], tol: float = 1e-8, n_iter: int = 1000) -> Rotation:
    """Rotate loadings [n_tasks, n_dims] to maximise the variance of their squares, summed over the columns.

    Kaiser's raw varimax (Psychometrika 23, 1958). Each cycle rotates every pair of columns by the optimal angle, which
    has a closed form, until all angles of a cycle are at most `tol` (radians), or for `n_iter` cycles. The sign of each
    column makes its sum non-negative.
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
    """Return the optimal angle phi, in radians, of the rotation to x cos + y sin and y cos - x sin.

    Let u = x² - y² and v = 2 x y. A rotation by phi rotates u + iv by 2 phi, and the criterion is a constant plus
    (C cos(4 phi) + D sin(4 phi)) / 4n, with C = n (var u - var v) and D = 2n cov(u, v). Its maximum is at 4 phi equal
    to the angle of C + iD (Kaiser's equation for tan 4 phi with his table of signs).
    """
    u, v = x**2 - y**2, 2 * x * y
    du, dv = u - u.mean(), v - v.mean()
    c, d = float((du**2 - dv**2).sum()), float(2 * (du * dv).sum())
    if np.hypot(c, d) <= _MIN_CHANGE * float(((x**2 + y**2) ** 2).sum()):
        return 0.0
    return float(np.arctan2(d, c)) / 4
