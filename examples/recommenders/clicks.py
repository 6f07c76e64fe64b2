"""Simulated clicks with a long tail: latent tastes times popularity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

AT_ONCE = 2000  # users whose probabilities are in memory


def simulate(
    n_users: int, n_items: int, seed: int, *, genres: int = 40, mean_clicks: float = 40.0, own: float = 0.9
) -> csr_matrix:
    """Return clicks [n_users, n_items], 0 or 1, at least five for each user.

    An item has a popularity ~ rank^-0.8 and belongs to a few genres; a user has a few genres (Dirichlet with small
    parameters) and a share `own` of clicks in them, the rest by popularity. The number of draws is log-normal; an item
    drawn twice is one click.
    """
    rng = np.random.default_rng(seed)
    popularity = rng.permutation(np.arange(1, n_items + 1, dtype=np.float64) ** -0.8)
    belongs = rng.gamma(0.08, 1.0, (genres, n_items)) + 1e-12
    by_genre = popularity * belongs / belongs.sum(0)
    by_genre /= by_genre.sum(1, keepdims=True)
    cumulative = np.cumsum(by_genre, axis=1)
    overall = np.cumsum(popularity / popularity.sum())
    interests = np.cumsum(rng.dirichlet(np.full(genres, 0.05), n_users), axis=1)
    draws = np.maximum(5, rng.lognormal(np.log(mean_clicks), 0.7, n_users)).astype(int)
    rows = np.repeat(np.arange(n_users), draws)
    u, v = rng.random(len(rows)), rng.random(len(rows))
    genre = np.minimum((interests[rows] < rng.random(len(rows))[:, None]).sum(1), genres - 1)
    items = np.searchsorted(overall, v)
    for k in range(genres):
        mine = (genre == k) & (u < own)
        items[mine] = np.searchsorted(cumulative[k], v[mine])
    items = np.minimum(items, n_items - 1)
    clicks = csr_matrix((np.ones(len(rows), np.float32), (rows, items)), (n_users, n_items))
    clicks.data[:] = 1
    clicks.indices = clicks.indices.astype(np.int32)
    return clicks


def hide(clicks: csr_matrix, seed: int, share: float = 0.2) -> tuple[csr_matrix, csr_matrix]:
    """Return two matrices: the clicks that a recommender sees, and a `share` of each user's clicks, held out."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(clicks.shape[0]), np.diff(clicks.indptr))
    order = np.lexsort((rng.random(clicks.nnz), users))
    place = np.empty(clicks.nnz, int)
    place[order] = np.arange(clicks.nnz) - np.repeat(clicks.indptr[:-1], np.diff(clicks.indptr))
    held = place < np.floor(share * np.diff(clicks.indptr))[users]

    def part(chosen: NDArray[np.bool_]) -> csr_matrix:
        return csr_matrix((clicks.data[chosen], (users[chosen], clicks.indices[chosen])), clicks.shape)

    return part(~held), part(held)
