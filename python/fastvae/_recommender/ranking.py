"""Rankings of items for users, and their mean measures, in blocks of users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae._recommender import bounds, metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel
    from fastvae._recommender.bounds import Bounds
    from fastvae._recommender.clicks import Clicks
    from fastvae._recommender.metrics import Metric

_USERS = 4096  # of a block whose rankings are in memory
# The fewest inputs and outputs of an output layer for which bounds save work.
_LEAST_INPUTS, _LEAST_ITEMS, _LEAST_SHARE = 128, 1024, 40
_SAMPLE = 512  # users whose inputs of the output layer tell its principal directions


def best_items(
    fitted: FittedModel,
    clicks: Clicks,
    n: int,
    allowed: NDArray[np.bool_] | None,
    new_only: bool,
    threads: int | None,
    limits: Bounds | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best n items of each user and their logits, [n_users, n].

    Where there are no more items they are -1 and -inf. Users without clicks get the most popular items.
    """
    most = min(n, clicks.n_items)
    limits = bounds_for(fitted, clicks, most, threads) if limits is None else limits
    found, scores = fitted.best_items(clicks.matrix(), most, allowed, new_only, threads, limits)
    items = found.astype(np.int64)
    empty = np.flatnonzero(clicks.lengths == 0)
    if len(empty) and fitted.popularity is not None:
        items[empty], scores[empty] = popular(fitted.popularity, most, allowed)
    missing = ((0, 0), (0, n - most))
    return np.pad(items, missing, constant_values=-1), np.pad(scores, missing, constant_values=-np.inf)


def bounds_for(fitted: FittedModel, clicks: Clicks, n: int, threads: int | None) -> Bounds | None:
    """Return bounds of the model's logits if they save more than they cost for the best n items of users, else None."""
    users = len(clicks.lengths)
    hidden = fitted.specification.options["decoder"]
    k = hidden[-1]["width"] if hidden and isinstance(hidden[-1], dict) else [fitted.latent_dim, *hidden][-1]
    if k < _LEAST_INPUTS or fitted.n_features < max(_LEAST_ITEMS, _LEAST_SHARE * n) or users < 2 * k:
        return None
    state = fitted.state_dict()
    weights, bias = (state[f"decoder.{2 * len(hidden)}.{part}"] for part in ("weight", "bias"))
    first = bias if fitted.popularity is None else fitted.popularity
    some = np.linspace(0, users - 1, min(users, _SAMPLE)).astype(np.uint64)
    inputs = fitted.engine.last_hidden(clicks.matrix(), some, threads).reshape(len(some), -1)
    return bounds.bounds(weights, bias, inputs, np.argsort(-first, kind="stable"))


def popular(
    popularity: NDArray[np.int64], n: int, allowed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the n most popular items, the lower index first if equal, and ln (users + 1) / sum (users + 1), nats."""
    items, scores = np.full(n, -1), np.full(n, -np.inf, np.float32)
    order = np.argsort(-popularity, kind="stable")
    order = (order if allowed is None else order[allowed[order]])[:n]
    items[: len(order)] = order
    scores[: len(order)] = np.log((popularity[order] + 1.0) / (popularity.sum() + len(popularity)))
    return items, scores


def mean_measures(
    fitted: FittedModel, seen: Clicks, held: Clicks, measures: list[Metric], threads: int | None
) -> dict[str, float]:
    """Return means over the users with items in `held` of measures of the ranking of the items not in `seen`."""
    users = np.flatnonzero(held.lengths)
    sums, k = dict.fromkeys((metric.name for metric in measures), 0.0), max(metric.k for metric in measures)
    limits = bounds_for(fitted, seen.take(users), k, threads)
    for rows, block in seen.take(users).blocks(_USERS):
        items, _ = best_items(fitted, block, k, None, True, threads, limits)
        theirs = held.take(users[rows])
        hits = metrics.hits(items, theirs)
        for metric in measures:
            sums[metric.name] += float(metric.values(hits, theirs.lengths).sum())
    return {name: total / len(users) for name, total in sums.items()}


def popularity_measure(popularity: NDArray[np.int64], seen: Clicks, held: Clicks, metric: Metric) -> float:
    """Return the mean measure of the most popular items that a user has not seen."""
    users, total = np.flatnonzero(held.lengths), 0.0
    order = np.argsort(-popularity, kind="stable")
    for rows, block in seen.take(users).blocks(_USERS):
        items = order[None, : metric.k + int(block.lengths.max())]
        items = np.broadcast_to(items, (len(block.lengths), items.shape[1]))
        new = ~metrics.hits(items, block)
        rank = np.argsort(~new, axis=1, kind="stable")[:, : metric.k]
        theirs = held.take(users[rows])
        items = np.where(np.take_along_axis(new, rank, 1), np.take_along_axis(items, rank, 1), -1)
        total += float(metric.values(metrics.hits(items, theirs), theirs.lengths).sum())
    return total / len(users)


class NdcgJudge:
    """NDCG@100 of the hidden items of validation users."""

    name = "val_ndcg@100"
    _LEAST_USERS = 100  # whose measure is compared with popularity's

    def __init__(self, fitted: FittedModel, clicks: Clicks, seed: int, threads: int | None) -> None:
        self._fitted, self._threads = fitted, threads
        self._seen, self._held = clicks.split(seed)
        [self._metric] = metrics.parse("ndcg@100")

    @property
    def users(self) -> int:
        """Number of users with hidden items."""
        return int(np.count_nonzero(self._held.lengths))

    def measure(self) -> float:
        """Return the mean NDCG@100."""
        [value] = mean_measures(self._fitted, self._seen, self._held, [self._metric], self._threads).values()
        return value

    def problems(self, best: float) -> list[str]:
        """Return a sentence if the ranking is no better than popularity's."""
        if self._fitted.popularity is None or self.users < self._LEAST_USERS:
            return []
        popularity = popularity_measure(self._fitted.popularity, self._seen, self._held, self._metric)
        if best > popularity:
            return []
        return [
            f"The model ranks the hidden items of {self.users} validation users no better than popularity does: "
            f"NDCG@100 is {best:.4f}, popularity's {popularity:.4f}. Train for more epochs, with more users, or change "
            "learning_rate."
        ]
