"""Measures of rankings: NDCG, recall, precision and hits among the first k items."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._recommender.clicks import Clicks

_KINDS = ("ndcg", "recall", "precision", "hit")
_MOST = 2**16  # the largest k


class Metric(NamedTuple):
    """A measure of the first k items."""

    name: str
    kind: str
    k: int

    def values(self, hits: NDArray[np.bool_], held: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the measure of each user, [n].

        Parameters
        ----------
        hits : ndarray of bool, [n, at least k]
            Whether the item at each rank is one of the user's held-out items.
        held : ndarray of int, [n]
            Number of held-out items of each user, at least 1.
        """
        first = hits[:, : self.k]
        if self.kind == "ndcg":
            gains = 1 / np.log2(np.arange(2, first.shape[1] + 2))
            best = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, self.k + 2)))])
            values: NDArray[np.float64] = (first @ gains) / best[np.minimum(held, self.k)]
            return values
        found: NDArray[np.float64] = first.sum(1).astype(np.float64)
        if self.kind == "recall":
            return found / np.minimum(held, self.k)
        return found / self.k if self.kind == "precision" else (found > 0).astype(np.float64)


def parse(metrics: Any) -> list[Metric]:
    """Return the measures of names such as "ndcg@100", or raise ValueError."""
    names = [metrics] if isinstance(metrics, str) else list(dict.fromkeys(metrics))
    if not names:
        raise ValueError("metrics is empty: pass names such as 'ndcg@100'")
    found = []
    for name in names:
        match = re.fullmatch(r"([a-z]+)@([1-9][0-9]{0,5})", name) if isinstance(name, str) else None
        if match is None or match[1] not in _KINDS or int(match[2]) > _MOST:
            raise ValueError(f"metrics: {name!r} must be {', '.join(_KINDS[:-1])} or {_KINDS[-1]}, and @k: 'ndcg@100'")
        found.append(Metric(name, match[1], int(match[2])))
    return found


def hits(items: NDArray[Any], held: Clicks) -> NDArray[np.bool_]:
    """Return whether the items of rankings, [n_users, k], are in the users' rows of `held`; -1 is no item."""
    keys = np.arange(len(items))[:, None] * held.n_items + items
    known = held.keys
    places = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
    found: NDArray[np.bool_] = (known[places] == keys) & (items >= 0) if len(known) else np.zeros(items.shape, bool)
    return found
