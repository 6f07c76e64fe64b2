"""Tasks beyond the logistic model: guessing (three parameters) and graded answers, with parameters of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._irt.ability import Ability, Block, exact_products, row_slices, sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

# Probabilities below this count as this.
_TINY = 1e-300

# Entries of a temporary table.
_MAX_ENTRIES = 2**21

_RANGE = 60.0  # of parameters in a file


class Curves:
    """Probabilities of the marks of tasks with guessing, or of graded tasks.

    Parameters
    ----------
    slopes, intercepts : ndarray, [n_tasks]
    most : ndarray of int, [n_tasks]
        Maximum marks.
    guessing : ndarray, [n_tasks], optional
        c_t: P(1) = c + (1 - c) sigmoid(a alpha + d) (Birnbaum, 1968).
    thresholds : ndarray, [n_tasks, max(most)], optional
        d_tk, descending, NaN beyond ``most``: P(mark >= k) = sigmoid(a alpha + d_k) (Samejima, 1969).
    """

    def __init__(
        self,
        slopes: NDArray[Any],
        intercepts: NDArray[Any],
        most: NDArray[Any],
        guessing: NDArray[Any] | None,
        thresholds: NDArray[Any] | None,
    ) -> None:
        self.slopes, self.intercepts = slopes.astype(np.float64), intercepts.astype(np.float64)
        self.most, self.guessing, self.thresholds = most.astype(np.int64), guessing, thresholds

    def at_least(self, alpha: NDArray[Any], tasks: Any = slice(None)) -> NDArray[np.float64]:
        """Return P(mark >= k), k = 1, 2, ..., at abilities: alpha [...] or [..., n_tasks] give [..., n_tasks, K]."""
        return self._tails(alpha, tasks)[0]

    def probabilities(self, alpha: NDArray[Any]) -> NDArray[np.float64]:
        """Return P(mark = k), k = 0, 1, ..., as :meth:`at_least`, [..., n_tasks, K + 1]."""
        above, below = self._tails(alpha, slice(None))
        ones, zeros = np.ones_like(above[..., :1]), np.zeros_like(above[..., :1])
        by_above = -np.diff(np.concatenate([ones, above, zeros], -1), axis=-1)
        by_below = np.diff(np.concatenate([zeros, below, ones], -1), axis=-1)
        # The difference of the smaller numbers is the exact one.
        upper = np.concatenate([above > 0.5, zeros > 0], -1)
        return np.maximum(np.where(upper, by_below, by_above), 0.0)

    def _tails(self, alpha: NDArray[Any], tasks: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return P(mark >= k) and P(mark < k), k = 1, 2, ..., as :meth:`at_least`."""
        alpha = np.asarray(alpha, np.float64)
        if self.guessing is not None:
            c = self.guessing[tasks]
            logits = self.slopes[tasks] * alpha + self.intercepts[tasks]
            solved, unsolved = c + (1 - c) * sigmoid(logits), (1 - c) * sigmoid(-logits)
            return solved[..., np.newaxis], unsolved[..., np.newaxis]
        assert self.thresholds is not None, "graded tasks"
        d = self.thresholds[tasks]
        logits = (self.slopes[tasks] * alpha)[..., np.newaxis] + np.where(np.isnan(d), 0, d)
        return np.where(np.isnan(d), 0.0, sigmoid(logits)), np.where(np.isnan(d), 1.0, sigmoid(-logits))

    def mark_moments(self, alpha: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and variance of the marks, and the mean's derivative, at abilities [q]: each [q, n_tasks]."""
        p = self.probabilities(alpha[:, np.newaxis])
        marks = np.arange(p.shape[2])
        mean = p @ marks
        above = self.at_least(alpha[:, np.newaxis])
        if self.guessing is None:
            slope = self.slopes * (above * (1 - above)).sum(2)
        else:
            free = (above[:, :, 0] - self.guessing) / (1 - self.guessing)
            slope = self.slopes * (1 - self.guessing) * free * (1 - free)
        variance = (p * (marks - mean[:, :, np.newaxis]) ** 2).sum(2)
        return mean, np.maximum(variance, _TINY), slope


class CategoricalAbility(Ability):
    """The posteriors of abilities given the marks of tasks with guessing, or of graded tasks."""

    def __init__(self, curves: Curves) -> None:
        # Graded tasks have at most 4 / 3 of the information of a solved or unsolved one.
        super().__init__(curves.slopes * (4 / 3) ** 0.5, curves.intercepts, np.ones(len(curves.most)))
        self.most = curves.most.astype(np.float64)
        self._p = curves.probabilities(self.nodes[:, np.newaxis])  # [q, n_tasks, K + 1]

    def blocks(self, shares: NDArray[Any]) -> Iterator[Block]:
        """Yield blocks of students; `shares` are shares of the maximum marks, [n, n_tasks], NaN where missing."""
        q, n_tasks, categories = self._p.shape
        table = np.log(np.maximum(self._p, _TINY)).reshape(q, -1)
        table = exact_products(table, np.ones(table.shape[1]))
        kinds = np.arange(categories)
        for rows in row_slices((len(shares), max(q, n_tasks * categories)), _MAX_ENTRIES):
            marks = np.rint(shares[rows] * self.most)
            chosen = (marks[:, :, np.newaxis] == kinds).reshape(len(marks), -1).astype(np.float64)
            log_joint = chosen @ table.T + self.log_prior
            largest = log_joint.max(1, keepdims=True)
            weights = np.exp(log_joint - largest)
            total = weights.sum(1, keepdims=True)
            yield Block(rows, (largest + np.log(total))[:, 0], weights / total)

    def probability(self, shares: NDArray[Any]) -> NDArray[np.float64]:
        """Return the expected share of the marks of each task given the student's answers, [n, n_tasks]."""
        expected = self._p @ np.arange(self._p.shape[2]) / self.most
        return np.concatenate([block.weights @ expected for block in self.blocks(shares)])


def to_json(extra: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the arrays of item parameters as lists, None for NaN."""
    return {name: np.where(np.isnan(array), np.array(None), array).tolist() for name, array in extra.items()}


def from_json(given: Mapping[str, Any], most: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return item parameters from a file, or raise ValueError or TypeError; `most` are the tasks' maximum marks."""
    found = {name: np.array(values, np.float64) for name, values in given.items()}
    return checked(found, most)


def checked(extra: dict[str, NDArray[np.float64]], most: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return item parameters, or raise ValueError if they are not those of tasks with these maximum marks."""
    n = len(most)
    if set(extra) == {"thresholds"}:
        d = extra["thresholds"]
        inside = np.arange(1, most.max() + 1) <= most[:, np.newaxis]
        if d.shape == inside.shape and (np.isnan(d) != inside).all() and (np.abs(d[inside]) <= 2 * _RANGE).all():
            gaps = np.diff(d, axis=1)
            if (gaps[~np.isnan(gaps)] < 0).all():
                return extra
    if set(extra) == {"guessing", "prior_mean", "prior_sd"} and (most == 1).all():
        c, mean, sd = extra["guessing"], extra["prior_mean"], extra["prior_sd"]
        shapes = c.shape == mean.shape == (n,) and sd.shape == ()
        if shapes and ((c >= 0) & (c < 1)).all() and (np.abs(mean) <= _RANGE).all() and (np.isnan(sd) or sd > 0):
            return extra
    raise ValueError("the item parameters do not fit the model")
