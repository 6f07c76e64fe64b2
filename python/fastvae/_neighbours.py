"""Nearest neighbours in Euclidean distance, by brute force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_MAX_DISTANCES = 2**21  # in memory at a time: 16 MB


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
        Neighbours per query, at most n_points.
    distance : callable, optional
        Maps squared Euclidean distances to the distances to rank and to return. Default: the squares.

    Returns
    -------
    indices : ndarray of int64, [m, n]
        Nearest first; ties in the order of the indices.
    distances : ndarray of float64, [m, n]
    """
    indices, distances = np.empty((len(queries), n), np.int64), np.empty((len(queries), n))
    size = max(1, _MAX_DISTANCES // len(points))
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        # Squared differences are summed coordinate by coordinate. |a|² - 2 ab + |b|² would be one product, but it
        # cancels, and the distance of a point to itself would not be 0.
        squares = np.zeros((len(part), len(points)))
        for ours, theirs in zip(part.T, points.T, strict=True):
            squares += (ours[:, np.newaxis] - theirs) ** 2
        table = squares if distance is None else distance(squares)
        furthest = np.partition(table, n - 1, axis=1)[:, n - 1]
        for i, row in enumerate(table, start):
            near = np.flatnonzero(row <= furthest[i - start])  # ascending, ties included
            indices[i] = near[np.argsort(row[near], kind="stable")[:n]]
            distances[i] = row[indices[i]]
    return indices, distances
