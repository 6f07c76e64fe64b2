"""Item parameters of a fitted item response model: slopes, intercepts and maximum marks of the tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._irt import marginal
from fastvae._irt.ability import Ability, ln_choose, sigmoid, softplus
from fastvae._irt.categorical import CategoricalAbility, Curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel
    from fastvae._fitted.specification import Specification

# The engine's constraint on the decoder's weights for each model.
CONSTRAINTS = {"through_origin": "nonnegative", "rasch": "common", "2pl": "free"}

# Models with parameters beside the decoder's.
BEYOND_DECODER = ("3pl", "graded")


def max_marks(specification: Specification) -> NDArray[np.int64]:
    """Return the maximum marks of each task, [n_tasks]: ones for tasks without marks."""
    return np.array(specification.trials or [1] * specification.n_features, np.int64)


class Items:
    """The tasks of an exam, whose logits at ability alpha are slopes @ alpha + intercepts.

    Parameters
    ----------
    model : FittedModel
        A fitted :class:`fastvae.ItemResponse`.

    Attributes
    ----------
    slopes : ndarray of float32, [n_tasks, n_dims]
    intercepts : ndarray of float32, [n_tasks]
        Zeros for "through_origin".
    max_marks : ndarray of int64, [n_tasks]
        Ones for tasks without marks.
    through_origin : bool
        Whether the model is "through_origin".
    common_slope : bool
        Whether the model is "rasch".
    guessing : ndarray of float64, [n_tasks], or None
        Probabilities c_t of "3pl".
    thresholds : ndarray of float64, [n_tasks, max(max_marks)], or None
        Logits d_tk of "graded", descending, NaN beyond the maximum marks; ``intercepts`` are their means.
    """

    def __init__(self, model: FittedModel) -> None:
        weights, specification = model.state_dict(), model.specification
        self.slopes = weights["decoder.0.weight"]
        self.intercepts = weights.get("decoder.0.bias", np.zeros(len(self.slopes), np.float32))
        self.max_marks = max_marks(specification)
        self.through_origin = specification.weight_constraint == CONSTRAINTS["through_origin"]
        self.common_slope = specification.weight_constraint == CONSTRAINTS["rasch"]
        self._prior = specification.item_prior
        self._extra = model.item_parameters or {}
        self.guessing = self._extra.get("guessing")
        self.thresholds = self._extra.get("thresholds")

    @property
    def one_dimension(self) -> bool:
        """Whether the ability is a scalar, for which :meth:`ability` is exact."""
        return bool(self.slopes.shape[1] == 1)

    def difficulty(self) -> NDArray[np.float32]:
        """Return the difficulty of each task, [n_tasks]: 1 / slope through the origin, else -intercept / |slope|.

        In one dimension the slope has its sign: -d_t / a_t. In several |a_t| is the Euclidean norm (Reckase's MDIFF).
        """
        size = self.slopes[:, 0] if self.one_dimension else np.linalg.norm(self.slopes, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.thresholds is not None:
                return np.asarray(-self.thresholds / size[:, np.newaxis], np.float32)
            return np.asarray(1 / size if self.through_origin else -self.intercepts / size, np.float32)

    def penalty(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return gradient and information of minus the log prior, each [n_tasks, n_dims + 1], the intercepts last."""
        parameters = np.concatenate([self.slopes, self.intercepts[:, np.newaxis]], 1).astype(np.float64)
        gradient, information = np.zeros((2, *parameters.shape))
        if self._prior is None:
            return gradient, information
        slope, sd = self._prior["slope"], self._prior["intercept"]
        if slope["kind"] == "lognormal":
            a = parameters[:, 0]
            information[:, 0] = 1 / (slope["sd"] * a) ** 2
            gradient[:, 0] = information[:, 0] * a * (np.log(np.abs(a)) - slope["mean"])
        if slope["kind"] == "normal":
            information[:, :-1] = 1 / slope["sd"] ** 2
            gradient[:, :-1] = information[:, :-1] * parameters[:, :-1]
        if sd is not None:
            information[:, -1] = 1 / sd**2
            gradient[:, -1] = information[:, -1] * parameters[:, -1]
        return gradient, information

    def flat(self) -> NDArray[np.float64]:
        """Return the parameters of all tasks in one dimension, a task after the other.

        They are (a, d); for "3pl" (a, d, logit c), for "graded" (a, d_1, d_2, ...).
        """
        a, d = self.slopes[:, 0].astype(np.float64), self.intercepts.astype(np.float64)
        if self.guessing is not None:
            c = np.clip(self.guessing, 1e-12, 1 - 1e-12)
            return np.stack([a, d, np.log(c / (1 - c))], 1).ravel()
        if self.thresholds is not None:
            rows = zip(a, self.thresholds, self.max_marks, strict=True)
            return np.concatenate([[slope, *row[:most]] for slope, row, most in rows])
        return np.stack([a, d], 1).ravel()

    def set_flat(self, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]] | None:
        """Set the parameters; return those that the decoder does not hold, or None."""
        own = np.split(values, np.cumsum(self.widths())[:-1])
        self.slopes[:, 0] = [task[0] for task in own]
        self.intercepts[:] = [task[1:].mean() if self.thresholds is not None else task[1] for task in own]
        if self.guessing is not None:
            self._extra["guessing"] = self.guessing = sigmoid(np.array([task[2] for task in own]))
        if self.thresholds is not None:
            self.thresholds = np.full(self.thresholds.shape, np.nan)
            for row, task in zip(self.thresholds, own, strict=True):
                row[: len(task) - 1] = task[1:]
            self._extra["thresholds"] = self.thresholds
        return self._extra or None

    def widths(self) -> list[int]:
        """Return the number of parameters of each task in ``flat()``."""
        if self.thresholds is not None:
            found: list[int] = (self.max_marks + 1).tolist()
            return found
        return [2 if self.guessing is None else 3] * len(self.slopes)

    def free(self) -> NDArray[np.float64]:
        """Return the derivatives of ``flat()`` by the free parameters, [len(flat()), k]."""
        every = np.eye(sum(self.widths()))
        if self.through_origin:
            return every[:, ::2]
        if self.common_slope:
            return np.concatenate([every[:, ::2].sum(1, keepdims=True), every[:, 1::2]], 1)
        return every

    def n_free(self) -> NDArray[np.int64]:
        """Return the number of free parameters that each task has for itself, [n_tasks]."""
        return np.array(self.widths()) - (self.through_origin or self.common_slope)

    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the parameters of a task in ``flat()``, of the longest one."""
        if self.thresholds is not None:
            return ("discrimination", *(f"intercept_{k}" for k in range(1, self.thresholds.shape[1] + 1)))
        return ("discrimination", "intercept", "guessing_logit")[: self.widths()[0]]

    @property
    def kind(self) -> str:
        """The model of the tasks: a key of ``marginal.KINDS``."""
        if self._extra:
            return "3pl" if self.guessing is not None else "graded"
        return "through_origin" if self.through_origin else "rasch" if self.common_slope else "2pl"

    @property
    def logistic(self) -> bool:
        """Whether the decoder holds all parameters: neither "3pl" nor "graded"."""
        return not self._extra

    @property
    def binary(self) -> bool:
        """Whether tasks are solved or not, without marks."""
        return bool((self.max_marks == 1).all())

    @property
    def guessing_prior(self) -> tuple[list[float], float] | None:
        """Means of the logits of guessing and their standard deviation; None without guessing or without its prior."""
        if self.guessing is None or np.isnan(self._extra["prior_sd"]):
            return None
        return self._extra["prior_mean"].tolist(), float(self._extra["prior_sd"])

    def curves(self) -> Curves:
        """Return the probabilities of marks of "3pl" or "graded"."""
        return Curves(self.slopes[:, 0], self.intercepts, self.max_marks, self.guessing, self.thresholds)

    def probabilities(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of the marks at abilities [q], [q, n_tasks, max(max_marks) + 1]."""
        if not self.logistic:
            return self.curves().probabilities(alpha[:, np.newaxis])
        logits = (alpha[:, np.newaxis] * self.slopes[:, 0].astype(np.float64) + self.intercepts)[..., np.newaxis]
        marks = np.arange(self.max_marks.max() + 1)
        most = self.max_marks[:, np.newaxis]
        ways = ln_choose(np.minimum(marks, most), most)
        found: NDArray[np.float64] = np.exp(ways + marks * logits - most * softplus(logits))
        return np.where(marks <= most, found, 0.0)

    def mark_moments(self, alpha: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and variance of the marks, and the mean's derivative, at abilities [q]: each [q, n_tasks]."""
        if not self.logistic:
            return self.curves().mark_moments(alpha)
        a = self.slopes[:, 0].astype(np.float64)
        p, most = sigmoid(alpha[:, np.newaxis] * a + self.intercepts), self.max_marks
        variance = most * p * (1 - p)
        return most * p, variance, a * variance

    def expected_share(self, task: int, own: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float64]:
        """Return the expected share of a task's marks at abilities alpha, with parameters `own` as in ``flat()``."""
        if self.thresholds is not None:
            most = self.max_marks[task]
            found: NDArray[np.float64] = sigmoid(own[0] * alpha[:, np.newaxis] + own[1 : 1 + most]).mean(1)
            return found
        p = sigmoid(own[0] * alpha + own[1])
        if self.guessing is not None:
            c = sigmoid(own[2])
            p = c + (1 - c) * p
        return p

    def exam(self, shares: NDArray[np.float32], weights: NDArray[Any] | None, threads: int | None) -> marginal.Exam:
        """Return the answers [n_students, n_tasks] to these tasks, with the tasks' model and prior."""
        prior = replace(marginal.prior_of(self._prior), guessing=self.guessing_prior)
        return marginal.Exam(self.kind, shares, self.max_marks, prior, weights=weights, threads=threads)

    def ability(self) -> Ability:
        """Return the posterior of a one-dimensional ability, by quadrature."""
        if not self.logistic:
            return CategoricalAbility(self.curves())
        return Ability(self.slopes[:, 0], self.intercepts, self.max_marks)

    def draw_marks(self, shares: NDArray[Any], draws: int, seed: int) -> NDArray[np.float32]:
        """Return marks with missing ones drawn from p(y|Y), [draws, n_students, n_tasks], in one dimension.

        `shares` are the observed shares of the marks, [n_students, n_tasks], NaN where missing.
        """
        levels = np.stack([np.random.default_rng((seed, draw, 0)).random(len(shares)) for draw in range(draws)], 1)
        alpha = self.ability().quantiles(shares, levels)
        students, tasks = np.nonzero(np.isnan(shares))
        filled = np.empty((draws, *shares.shape), np.float32)
        filled[...] = np.rint(shares * self.max_marks)
        for draw, marks in enumerate(filled):
            if not self.logistic:
                above = self.curves().at_least(alpha[students, draw], tasks)
                u = np.random.default_rng((seed, draw, 1)).random((len(students), 1))
                marks[students, tasks] = (u < above).sum(1)
                continue
            p = sigmoid(alpha[students, draw] * self.slopes[tasks, 0] + self.intercepts[tasks])
            marks[students, tasks] = np.random.default_rng((seed, draw, 1)).binomial(self.max_marks[tasks], p)
        return filled
