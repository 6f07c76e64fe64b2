"""Item parameters of a fitted item response model: slopes, intercepts and maximum marks of the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._irt import marginal
from fastvae._irt.ability import Ability, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel
    from fastvae._fitted.specification import Specification

# The engine's constraint on the decoder's weights for each model.
CONSTRAINTS = {"through_origin": "nonnegative", "rasch": "common", "2pl": "free"}


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
    """

    def __init__(self, model: FittedModel) -> None:
        weights, specification = model.state_dict(), model.specification
        self.slopes = weights["decoder.0.weight"]
        self.intercepts = weights.get("decoder.0.bias", np.zeros(len(self.slopes), np.float32))
        self.max_marks = max_marks(specification)
        self.through_origin = specification.weight_constraint == CONSTRAINTS["through_origin"]
        self.common_slope = specification.weight_constraint == CONSTRAINTS["rasch"]
        self._prior = specification.item_prior

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
        """Return the parameters of all tasks in one dimension, a task after the other: (a_t, d_t)."""
        return np.stack([self.slopes[:, 0], self.intercepts], 1).astype(np.float64).ravel()

    def free(self) -> NDArray[np.float64]:
        """Return the derivatives of ``flat()`` by the free parameters, [2 n_tasks, k]."""
        n = len(self.slopes)
        every = np.eye(2 * n)
        if self.through_origin:
            return every[:, ::2]
        if self.common_slope:
            return np.concatenate([every[:, ::2].sum(1, keepdims=True), every[:, 1::2]], 1)
        return every

    def widths(self) -> list[int]:
        """Return the number of parameters of each task in ``flat()``."""
        return [2] * len(self.slopes)

    def n_free(self) -> NDArray[np.int64]:
        """Return the number of free parameters that each task has for itself, [n_tasks]."""
        return np.array(self.widths()) - (self.through_origin or self.common_slope)

    def parameter_names(self, width: int) -> tuple[str, ...]:
        """Return the names of the parameters of a task in ``flat()``, of which there are `width`."""
        return ("discrimination", "intercept")[:width]

    @property
    def binary(self) -> bool:
        """Whether tasks are solved or not, without marks."""
        return bool((self.max_marks == 1).all())

    @property
    def guessing_prior(self) -> tuple[list[float], float] | None:
        """Means of the logits of guessing and their standard deviation; None without guessing."""
        return None

    def expected_share(self, task: int, own: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float64]:
        """Return the expected share of a task's marks at abilities alpha, with parameters `own` as in ``flat()``."""
        return sigmoid(own[0] * alpha + own[1])

    def exam(self, shares: NDArray[np.float32], weights: NDArray[Any] | None, threads: int | None) -> marginal.Exam:
        """Return the answers [n_students, n_tasks] to these tasks, with the tasks' model and prior."""
        prior = marginal.prior_of(self._prior)
        return marginal.Exam(self.kind, shares, self.max_marks, prior, weights=weights, threads=threads)

    @property
    def kind(self) -> str:
        """The model: a key of ``marginal.KINDS``."""
        return "through_origin" if self.through_origin else "rasch" if self.common_slope else "2pl"

    def ability(self) -> Ability:
        """Return the posterior of a one-dimensional ability, by quadrature."""
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
            p = sigmoid(alpha[students, draw] * self.slopes[tasks, 0] + self.intercepts[tasks])
            marks[students, tasks] = np.random.default_rng((seed, draw, 1)).binomial(self.max_marks[tasks], p)
        return filled
