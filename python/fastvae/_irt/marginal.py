"""Marginal maximum likelihood in one dimension: the native EM iteration on arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

# An M step that changes no parameter (ln a, d, ...) by more than this ends the iteration. The slowest mode of EM
# shrinks by a factor of 0.9 to 0.95 an iteration, so the maximum is less than 2e-5 away.
TOLERANCE = 1e-6

# The native core's bound of slopes without a finite estimate.
LARGEST_SLOPE = 30.0

# The native core's names of the models.
KINDS = {
    "through_origin": "through_origin",
    "rasch": "common_slope",
    "2pl": "logistic",
    "3pl": "guessing",
    "graded": "graded",
}


@dataclass(frozen=True)
class Prior:
    """Prior of item parameters, by the core's names; None is flat."""

    log_slope: tuple[float, float] | None = None
    """Mean and standard deviation of ln |a|."""
    intercept: float | None = None
    """Standard deviation of d."""
    guessing: tuple[list[float], float] | None = None
    """Means of logit c of each task, and their standard deviation."""


class Estimates(NamedTuple):
    """The maximum of the marginal likelihood times the prior."""

    parameters: NDArray[np.float64]
    """One task after the other: (a, d), (a, d, logit c) or (a, d_1, d_2, ...)."""
    groups: list[tuple[float, float]]
    """Mean and standard deviation of the ability in each group; (0, 1) in the first."""
    history: NDArray[np.float64]
    """For each iteration: log-likelihood, its part E[ln p(Y | alpha) | Y], and log prior, [n_iter, 3]."""
    change: float
    """The largest change of a parameter by the last M step."""

    @property
    def converged(self) -> bool:
        """Whether the last M step changed no parameter by more than the tolerance."""
        return self.change < TOLERANCE


class Exam:
    """The answers of an exam and the model of its tasks.

    Parameters
    ----------
    kind : str
        A key of KINDS.
    shares : ndarray of float32, [n_students, n_tasks]
        Shares of the maximum marks, NaN where missing.
    max_marks : ndarray of int, [n_tasks]
    prior : Prior
    weights : ndarray of float32, [n_students], optional
    groups : ndarray of int, [n_students], optional
        The group of each student: 0, 1, ...
    threads : int or None
        Results do not depend on it.
    """

    def __init__(
        self,
        kind: str,
        shares: NDArray[np.float32],
        max_marks: NDArray[np.int64],
        prior: Prior,
        *,
        weights: NDArray[np.float32] | None = None,
        groups: NDArray[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        marks = np.ascontiguousarray(np.rint(shares * max_marks.astype(np.float32)), np.float32)
        self._answers = _core.ExamAnswers(
            marks.ravel(),
            marks.shape[1],
            None if weights is None else np.ascontiguousarray(weights, np.float32),
            None if groups is None else np.ascontiguousarray(groups, np.uint32),
            kind == "rasch",  # the score is then sufficient for the ability
        )
        self._kind, self._most, self._prior = KINDS[kind], max_marks.tolist(), prior
        self._n_groups = 1 if groups is None else int(groups.max()) + 1
        self._threads = threads

    def patterns(self) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
        """Return the first student with each pattern of answers, and the number (or weight) of such students."""
        return self._answers.patterns()

    def fit(
        self, start: NDArray[Any], groups: list[tuple[float, float]] | None = None, *, n_iter: int = 500
    ) -> Estimates:
        """Return the estimates; `start` are parameters, `groups` means and standard deviations of the abilities."""
        if groups is None:
            groups = [(0.0, 1.0)] * self._n_groups
        parameters, found, history, change, _ = self._answers.fit(
            self._settings(n_iter), self._most, np.asarray(start, np.float64).tolist(), groups, self._threads
        )
        return Estimates(parameters, found, history.reshape(-1, 3), change)

    def gradient(
        self, parameters: NDArray[Any], groups: list[tuple[float, float]] | None = None
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the log-likelihood, and the gradient of it plus the log prior."""
        if groups is None:
            groups = [(0.0, 1.0)] * self._n_groups
        return self._answers.gradient(
            self._settings(1), self._most, np.asarray(parameters, np.float64).tolist(), groups, self._threads
        )

    def _settings(self, n_iter: int) -> str:
        import json  # here only, so that `import fastvae` stays cheap

        return json.dumps({"kind": self._kind, "prior": asdict(self._prior), "tol": TOLERANCE, "most": n_iter})


def prior_of(item_prior: dict[str, Any] | None) -> Prior:
    """Return a prior from the engine's options, as :mod:`fastvae.priors` resolves them."""
    if item_prior is None:
        return Prior()
    slope = item_prior["slope"]
    log_slope = (slope["mean"], slope["sd"]) if slope["kind"] == "lognormal" else None
    return Prior(log_slope, item_prior["intercept"])
