"""Infit and outfit: the fit of each task to an item response model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.ability import row_slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items

# Logits are clipped to [-600, 600]: e^600 times sums of squared marks does not overflow.
_MAX_LOGIT = 600.0

# Entries of temporary tables, which fit into the cache.
MAX_ENTRIES = 2**14


class ItemFit(NamedTuple):
    """Mean squares of each task, [n_tasks]: 1 in expectation if the model is correct, NaN for a task without answers.

    Above 1 the answers are noisier than the model predicts, below 1 more regular.
    """

    infit: NDArray[np.float64]
    """Sum of squared residuals over sum of their variances: weighted by information."""
    outfit: NDArray[np.float64]
    """Mean of squared standardised residuals: sensitive to unexpected answers far from the task's difficulty."""
    n: NDArray[np.int64]
    """Number of students with an answer to the task."""


def mark_products(marks: NDArray[Any], most: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Return x², x (m - x) and (m - x)² for x of m marks, each [n, n_tasks]; zeros where the answer is missing."""
    lost = most - marks
    return marks**2, marks * lost, lost**2


class MeanSquares:
    """Accumulates the sums of infit and outfit.

    With p the probability at an ability, the residual is x - m p = x (1 - p) - (m - x) p and its variance
    m p (1 - p). The squared standardised residual is (x² (1 - p) / p - 2 x (m - x) + (m - x)² p / (1 - p)) / m with
    p / (1 - p) = e^logit, which does not cancel for p near 0 or 1.

    Parameters
    ----------
    most : ndarray, [n_tasks]
        Maximum marks m of each task.
    """

    def __init__(self, most: NDArray[Any]) -> None:
        self._most = most
        self._standardised, self._residual, self._variance, self._count = np.zeros((4, len(most)))

    def add(self, tables: Any, logits: NDArray[np.float64]) -> None:
        """Add groups of students with the same logits; `tables` are sums of `mark_products`, each [groups, n_tasks]."""
        for rows in row_slices(logits.shape, MAX_ENTRIES):
            got, both, lost = (table[rows] for table in tables)
            odds = np.exp(np.clip(logits[rows], -_MAX_LOGIT, _MAX_LOGIT))
            wrong = 1 / (1 + odds)
            variance = odds * wrong * wrong  # p (1 - p); (1 + e^600)² would overflow
            standardised = got / odds - 2 * both + lost * odds
            squared = got + 2 * both + lost  # sum of m² over students with an answer
            self._standardised += standardised.sum(0) / self._most
            self._residual += np.einsum("gt,gt->t", standardised, variance)
            self._variance += np.einsum("gt,gt->t", squared, variance) / self._most
            self._count += squared.sum(0) / self._most**2

    def result(self, n: NDArray[np.int64]) -> ItemFit:
        """Return the mean squares; `n` is the number of answers to each task, [n_tasks]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return ItemFit(self._residual / self._variance, self._standardised / self._count, n)


def categorical_fit(items: Items, shares: NDArray[Any]) -> ItemFit:
    """Return the mean squares of tasks with guessing, or of graded tasks, in one dimension."""
    ability = items.ability()
    mean, variance, _ = items.mark_moments(ability.nodes)
    kinds = np.arange(items.max_marks.max() + 1)
    # Students with each mark, [marks, nodes, n_tasks]: squares of differences from the mean then do not cancel.
    students = ability.posterior_sums(shares, lambda x, most: tuple((x == k) * (most > 0.0) for k in kinds))
    residual = (students * (kinds[:, np.newaxis, np.newaxis] - mean) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        infit = residual.sum(0) / (variance * students.sum(0)).sum(0)
        outfit = (residual / variance).sum(0) / students.sum((0, 1))
    return ItemFit(infit, outfit, (~np.isnan(shares)).sum(0))
