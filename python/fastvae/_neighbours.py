"""Nearest neighbours by Euclidean distance, by comparison with all points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_DISTANCES = 2**21  # held at a time: 16 MB


def nearest(
    points: NDArray[np.float64],
    queries: NDArray[np.float64],
    n: int,
    distance: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the n points nearest to each query.

    Parameters
    ----------
    points : ndarray, [n_points, d]
    queries : ndarray, [m, d]
    n : int
        At most n_points.
    distance : callable, optional
        From squared Euclidean distances to the distances that are ordered and returned. Default: the squares.

    Returns
    -------
    indices : ndarray of int64, [m, n]
        Nearest first; of equally distant points the lower index first.
    distances : ndarray of float64, [m, n]
    """
    indices, distances = np.empty((len(queries), n), np.int64), np.empty((len(queries), n))
    size = max(1, _DISTANCES // len(points))
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        # A sum of squared differences, coordinate by coordinate: the usual expansion |a|² - 2 ab + |b|² would be one
        # product, but it cancels, and a point's distance to itself would not be 0.
        squares = np.zeros((len(part), len(points)))
        for ours, theirs in zip(part.T, points.T, strict=True):
            squares += (ours[:, np.newaxis] - theirs) ** 2
        table = squares if distance is None else distance(squares)
        furthest = np.partition(table, n - 1, axis=1)[:, n - 1]
        for i, row in enumerate(table, start):
            near = np.flatnonzero(row <= furthest[i - start])  # ascending, and all of those that tie
            indices[i] = near[np.argsort(row[near], kind="stable")[:n]]
            distances[i] = row[indices[i]]
    return indices, distances
