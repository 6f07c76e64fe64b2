"""How well each task of an exam fits an item response model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.ability import pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Logits beyond it count as there. Its odds, squared marks times as many students, are a number still.
_FARTHEST = 600.0

# Entries of the tables that are worked on at a time: they stay in the cache.
AT_ONCE = 2**14


class ItemFit(NamedTuple):
    """Mean squares of each task, [n_tasks]: 1 in expectation if the model is right, NaN for a task that nobody saw.

    Above 1 the answers are noisier than the model says, below 1 more regular.
    """

    infit: NDArray[np.float64]
    """Squared residuals over their variances, summed before the division: weighted by the information."""
    outfit: NDArray[np.float64]
    """Mean of squared standardised residuals: sensitive to surprises far from a task's difficulty."""
    n: NDArray[np.int64]
    """Students that have seen the task."""


def squares(marks: NDArray[Any], most: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """What the residuals are made of: x², x (m - x) and (m - x)² of x marks of m: [n, n_tasks]; zeros if not seen."""
    lost = most - marks
    return marks**2, marks * lost, lost**2


class Sums:
    """Mean squares in the making.

    With p the probability at an ability, x - m p = x (1 - p) - (m - x) p, of variance m p (1 - p): the squared
    standardised residual is (x² (1 - p) / p - 2 x (m - x) + (m - x)² p / (1 - p)) / m, which does not cancel where p is
    near 0 or 1; p / (1 - p) = e^logit. That ends at logits of 600, beyond which p counts as there.

    Parameters
    ----------
    most : ndarray, [n_tasks]
        The most marks of each task, m.
    """

    def __init__(self, most: NDArray[Any]) -> None:
        self._most = most
        self._standardised, self._residual, self._variance, self._seen = np.zeros((4, len(most)))

    def add(self, tables: Any, logits: NDArray[np.float64]) -> None:
        """Take in sums of what ``squares`` returns over students of the same logits: each [groups, n_tasks]."""
        for rows in pieces(logits.shape, AT_ONCE):
            got, both, lost = (table[rows] for table in tables)
            odds = np.exp(np.clip(logits[rows], -_FARTHEST, _FARTHEST))
            wrong = 1 / (1 + odds)
            variance = odds * wrong * wrong  # p (1 - p); (1 + e^600)² would overflow
            standardised = got / odds - 2 * both + lost * odds
            seen = got + 2 * both + lost  # m² of each student, or zero
            self._standardised += standardised.sum(0) / self._most
            self._residual += np.einsum("gt,gt->t", standardised, variance)
            self._variance += np.einsum("gt,gt->t", seen, variance) / self._most
            self._seen += seen.sum(0) / self._most**2

    def fit(self, n: NDArray[np.int64]) -> ItemFit:
        """The mean squares, of tasks that so many students have seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return ItemFit(self._residual / self._variance, self._standardised / self._seen, n)
