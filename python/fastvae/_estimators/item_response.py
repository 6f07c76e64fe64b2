"""Item response models as an estimator: parameters, specification and training."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from fastvae import _checks, _core, priors, schedules
from fastvae._data import arrays, names, sparse
from fastvae._data.examples import Data
from fastvae._data.scale import UNSCALED, InputScale
from fastvae._estimators import ranks
from fastvae._estimators.exam import Exam
from fastvae._estimators.turn import Turn
from fastvae._fitted.specification import Specification
from fastvae._irt import answers, keys, marginal
from fastvae._irt.ability import ln_choose, observed_marks
from fastvae._irt.convergence import MAX_ANSWERS, Distance, distance_to_maximum
from fastvae._irt.encoder import encoder_weights
from fastvae._irt.items import BEYOND_DECODER, CONSTRAINTS, Items
from fastvae._training.convergence import Budget
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Given
    from fastvae._fitted.model import FittedModel
    from fastvae._irt.marginal import Estimates

# Former names of models, still accepted.
_NO_RANKS = (
    "communicator= needs method='amortized': method='mml' adds up all answers in each iteration, without steps that "
    "ranks could share"
)
_OLD_NAMES = {"lecture": "through_origin"}

# Steps and passes of epochs="auto": measured with 50 to 20,000 students and 5 to 200 tasks, 1,000 steps leave the item
# parameters at most 0.42 standard errors from the posterior's mode, 3,200 steps 0.12. With 100,000 students and 200
# tasks the root mean square error of the intercepts is 0.030 after 5 passes and 0.010 after 10.
_AUTO_STEPS = 3200
_AUTO_EPOCHS = 10

# Standard errors that count as converged.
_MAX_DISTANCE = 0.5

# The most iterations of EM for epochs="auto".
_EM_ITERATIONS = 500

_METHODS = ("auto", "amortized", "mml")

# Standard deviation of the prior of logit c: with c = 0.2 in the middle, 95 % between 0.09 and 0.40.
_GUESSING_SD = 0.5

# Draws of each ability for the information of the tasks, and at least for the gradient. With 16 the gradient's error is
# about 0.2 standard errors.
_DRAWS = 5
_GRADIENT_DRAWS = 16


class ItemResponse(Exam):
    """Item response model: a VAE whose code is a student's ability and whose decoder is the logistic model of an exam.

    Student s with ability alpha_s ~ N(0, I) solves task t with probability P = 1 / (1 + exp(-y_st)). Models of the
    logit y_st:

    ================ ===================== =========================================================================
    "through_origin" alpha_s beta_t        beta_t >= 0; difficulty 1 / beta_t (beta_t = 0: P = 1/2 for every student)
    "rasch"          a alpha_s + d_t       one slope for all tasks (Rasch, 1960); difficulty -d_t / a
    "2pl"            a_t' alpha_s + d_t    one slope per task (Birnbaum, 1968); difficulty -d_t / a_t, the ability at
                                           which P = 1/2
    ================ ===================== =========================================================================

    Two more models in one dimension have parameters beside slope and intercept: "3pl", P = c_t + (1 - c_t) /
    (1 + exp(-y_st)), with the chance c_t of guessing (Birnbaum, 1968), and "graded" for ordered answers such as those
    of Likert scales, P(answer >= k) = 1 / (1 + exp(-a_t alpha_s - d_tk)), d_t1 > d_t2 > ... (Samejima, 1969).

    ``method="amortized"`` trains item parameters and encoder together on the importance-weighted bound on the marginal
    likelihood (Burda et al., arXiv:1509.00519), which is amortised marginal maximum likelihood (Urban & Bauer,
    Psychometrika 86, 2021). With the plain ELBO the slopes of short exams would be too flat. ``method="mml"``, for one
    dimension, maximises the marginal likelihood itself by the EM algorithm with quadrature over the ability (Bock &
    Aitkin, Psychometrika 46, 1981): exact, and much faster. NaN marks a missing answer. Assumes answers are missing at
    random.

    Parameters
    ----------
    model : {"2pl", "rasch", "through_origin", "3pl", "graded"}
        See above. "lecture", the former name of "through_origin", is accepted too.
    n_dims : int
        Dimensions of the ability. More than one needs "2pl" (the multidimensional model; Reckase, 2009).
    max_marks : int, array_like of int [n_tasks] or None
        Maximum marks of each task, 1 to 1000; None if tasks are solved or not. Marks are whole numbers with a binomial
        likelihood: P(y) = C(m, y) p^y (1 - p)^(m - y), p as above. For "graded" the answers are 0, 1, ... max_marks;
        None takes the largest answer to each task.
    prior : {"weak"}, fastvae.priors.ItemPrior or None
        Prior of slopes and intercepts; their estimates are the mode of the posterior. "weak" is ``ItemPrior()``:
        ln |a_t| ~ N(0, 0.75²) in one dimension (ln beta_t ~ N(0, 1) through the origin), a_tj ~ N(0, 1.5²) in several,
        d_t ~ N(0, 3²). None is maximum likelihood, which has no finite estimate for a task that everyone or nobody has
        solved, and extreme ones for tasks with few answers. On the 1,000 students of LSAT section 7 "weak" lowers the
        log-likelihood by 0.03.
    method : {"auto", "amortized", "mml"}
        See above and Notes. "auto" is "mml" for "3pl" and "graded", which have no other, and else "amortized".
    guessing : float or array_like, [n_tasks]
        For "3pl": the prior of c_t is logit c_t ~ N(logit guessing, 0.5²), for 0.2 with 95 % between 0.09 and 0.40.
        One over the number of choices is a good value. ``prior=None`` has no prior of c_t either.
    hidden : sequence of int
        Widths of the encoder's hidden layers. The encoder reads the share of the marks in each task, 0 where it is
        missing, and one column per task that is 1 where it is missing.
    activation : str
        As for :class:`fastvae.VAE`.
    n_importance_samples : int
        Draws of alpha per student and step. More draws make the bound tighter and a step slower. With several draws the
        encoder's gradient is doubly reparameterised (Tucker et al., arXiv:1810.04152); one draw is the ELBO.
    optimizer, weight_decay, clip_norm, nan_policy, batch_size, validation_fraction, early_stopping, n_iter_no_change, \
tol, callbacks, n_jobs, random_state, progress, communicator
        As for :class:`fastvae.VAE`. ``communicator`` needs method "amortized".
    learning_rate : float or schedule
        A number is the start of a cosine schedule over the fit, which ends at a hundredth of it, so that the parameters
        converge.
    epochs : int or "auto"
        Passes over the students. "auto" takes 3,200 steps, but at least 10 passes: 200 passes over a thousand students
        with the default ``batch_size``. With "mml" it is the largest number of iterations of EM, and "auto" is 500.
        ``n_iter_`` is their number. ``partial_fit`` of a new model with "auto" ends
        the schedule of the learning rate after 3,200 steps.

    Attributes
    ----------
    n_features_in_ : int
        Number of tasks.
    discrimination_, intercept_, difficulty_, guessing_, max_marks_ : ndarray
        Item parameters; see the properties.
    feature_names_in_, input_scale_, n_iter_, history_, loss_curve_, elapsed_, interrupted_, n_skipped_batches_
        As for :class:`fastvae.VAE`.

    Notes
    -----
    The sign of an ability is arbitrary. It is chosen so that the mean slope of each dimension is positive. In one
    dimension with a prior the sign of a slope is fixed at the start of ``fit``: positive, except for tasks whose
    answers clearly fall with the answers to the others (reverse-keyed tasks of "2pl").

    With n students, ``history_["loss"]`` and the gradients include the prior: the loss is the mean over the students of
    minus the importance-weighted bound, plus (sum_t penalty_t) / n, where the penalty is the squared distance from the
    prior's mean in standard deviations, divided by 2, of ln |a_t| or each a_tj and of d_t. ``partial_fit`` takes the
    students of its X as all students. ``elbo``, ``val_loss``, ``score`` and ``evaluate`` have no prior. With a prior in
    one dimension the optimiser works on ln |a_t|, and ``weight_decay`` does not act on slopes.

    ``method="mml"`` ends when an iteration of EM changes no parameter (ln |a_t|, d_t) by more than 1e-6. Iterations are
    extrapolated by Anderson's method (Walker & Ni, SIAM J. Numer. Anal. 49, 2011) where this increases the objective.
    ``history_`` has the exact marginal likelihood: "elbo" is its log, "kl" the mean divergence of the posteriors from
    the prior, "loss" includes the prior. The encoder (one hidden layer, "relu") is computed, not trained: its hidden
    units are derivatives of ln p(alpha, Y) at abilities alpha_k, and its outputs are fitted by least squares to mean
    and log variance of the exact posteriors. Parameters of training by gradients apply to ``partial_fit`` only;
    ``fit`` refuses validation data, checkpoints and callbacks.

    In one dimension ``transform``, ``ability_interval``, ``predict_proba``, ``impute``, ``item_fit`` and
    ``log_marginal`` are exact given the item parameters, by quadrature over alpha. With several dimensions they use the
    encoder's posterior q(alpha|Y).

    The other methods are those of :class:`fastvae.VAE`. They take the same answers as ``fit``, and return means and
    draws as shares of ``max_marks``. ``encode``, ``posterior_sample``, ``reconstruct``, ``predictive`` and ``score``
    always use the encoder's posterior.

    Examples
    --------
    >>> import fastvae, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> alpha, d = rng.normal(size=(500, 1)), np.linspace(-2, 2, 8)
    >>> Y = (rng.random((500, 8)) < 1 / (1 + np.exp(-alpha - d))).astype(float)
    >>> exam = fastvae.ItemResponse("rasch", random_state=0).fit(Y)
    >>> exam.transform(Y).shape, exam.difficulty_.shape
    ((500, 1), (8,))
    """

    _NOT_QUANTIZED = "its item parameters are its result"
    _ACCEPTS_SPARSE = False
    _BUDGET = Budget(steps=_AUTO_STEPS, epochs=_AUTO_EPOCHS)
    _VALUES_BEFORE: ClassVar[dict[str, Any]] = {"prior": None}
    _CONVERTS_NOTHING = False
    _inferred_marks: NDArray[np.int64] | None = None  # during a fit of graded tasks without max_marks

    def __init__(
        self,
        model: str = "2pl",
        n_dims: int = 1,
        *,
        max_marks: Any = None,
        prior: Any = "weak",
        method: str = "auto",
        guessing: Any = 0.2,
        hidden: Any = (64,),
        activation: str = "relu",
        n_importance_samples: int = 16,
        optimizer: Any = "adam",
        learning_rate: Any = 2e-2,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        nan_policy: str = "raise",
        batch_size: int = 64,
        epochs: int | Literal["auto"] = "auto",
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | str | None = None,
        communicator: Any = None,
    ) -> None:
        self.model = model
        self.n_dims = n_dims
        self.max_marks = max_marks
        self.prior = prior
        self.method = method
        self.guessing = guessing
        self.hidden = hidden
        self.activation = activation
        self.n_importance_samples = n_importance_samples
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.nan_policy = nan_policy
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress
        self.communicator = communicator

    # Training

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        observed: Any = None,
        validation_data: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
    ) -> Self:
        """Train from new random weights for ``epochs`` shuffled passes over the students.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
            The answers Y: 1 for a solved task and 0 for an unsolved one, or marks from 0 to ``max_marks``; NaN for a
            missing answer.
        y : None
            Ignored.
        sample_weight : array_like, [n_students], optional
            Weights of the students: for a table of patterns, the number of students with each pattern. Their sum counts
            as the number of students, which a prior depends on.
        observed : array_like of bool, [n_students, n_tasks], optional
            False marks a missing answer, like NaN in X.
        validation_data : array_like, [m, n_tasks], optional
        checkpoint, checkpoint_every : optional
            As for :meth:`VAE.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is invalid, or an answer is not a whole number from 0 to the maximum marks of its task.

        Warns
        -----
        UserWarning
            If tasks have no answers or, without a prior, no finite maximum likelihood estimate.
        ConvergenceWarning
            If the item parameters are more than half a standard error (root mean square) from the maximum of the
            objective on X, by one Newton step for some of the students of a large exam; with "mml" if the iterations of
            EM end before they converge.
        """
        try:
            if self._method() == "mml":
                if self.communicator is not None:
                    raise ValueError(_NO_RANKS)
                for name in ("validation_data", "checkpoint", "checkpoint_every"):
                    if locals()[name] is not None:
                        raise ValueError(f"leave out {name}=: method='mml' has no epochs")
                return self._fit_by_quadrature(answers.mask_unobserved(X, observed), sample_weight)
            with ranks.joined(self, "fit"):
                return super().fit(
                    answers.mask_unobserved(X, observed),
                    sample_weight=sample_weight,
                    validation_data=validation_data,
                    checkpoint=checkpoint,
                    checkpoint_every=checkpoint_every,
                )
        finally:
            self._fix_signs()

    def _resume(
        self,
        path: Any,
        state: dict[str, Any],
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any,
        observed: Any = None,
        steps_per_epoch: int | None = None,
    ) -> Self:
        try:
            X = answers.mask_unobserved(X, observed)
            return super()._resume(
                path, state, X, None, sample_weight, validation_data, steps_per_epoch=steps_per_epoch
            )
        finally:
            self._fix_signs()

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        observed: Any = None,
        classes: Any = None,
        sample_weight: Any = None,
        eps: Any = None,
        corrupted: Any = None,
    ) -> Self:
        """Continue training, as :meth:`fastvae.VAE.partial_fit`.

        Parameters
        ----------
        X, observed
            As for ``fit``.
        y : None
            Ignored.
        classes : None
            Must be None.
        sample_weight, eps, corrupted
            As for :meth:`fastvae.VAE.partial_fit`.

        Returns
        -------
        self
        """
        if self._model() in BEYOND_DECODER:
            raise ValueError(f"model={self.model!r} is not trained by gradients: use fit")
        try:
            with ranks.joined(self, "partial_fit"):
                X = answers.mask_unobserved(X, observed)
                return super().partial_fit(
                    X, classes=classes, sample_weight=sample_weight, eps=eps, corrupted=corrupted
                )
        finally:
            self._fix_signs()

    def load_state_dict(self, d: Any) -> Self:
        """Set all parameters, as :meth:`fastvae.VAE.load_state_dict`.

        Parameters
        ----------
        d : mapping of str to array_like
            Names and shapes as from ``state_dict``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As from :meth:`fastvae.VAE.load_state_dict`, and of "3pl" and "graded", whose guessing and thresholds a
            state dict does not hold.
        """
        if self._model() in BEYOND_DECODER:
            raise ValueError(f"a state dict does not hold all parameters of model={self.model!r}: use save and load")
        return super().load_state_dict(d)

    def _fit_by_quadrature(self, X: Any, sample_weight: Any) -> Self:
        """Estimate the item parameters by EM, and give the encoder the posteriors' moments."""
        settings, began = self._fit_settings(), time.perf_counter()
        n_iter = settings.epochs if isinstance(settings.epochs, int) else _EM_ITERATIONS
        with Turn(self, fits=True):
            self._inferred_marks = self._marks_in(X)
            try:
                fitted, (data, rows), *_ = self._prepare(X, None, sample_weight, None, settings, going_on=False)
            finally:
                vars(self).pop("_inferred_marks", None)
            shares, weights = cast("NDArray[np.float32]", data.X), data.weights
            if rows is not None:
                shares = shares[rows]
                weights = None if weights is None else weights[rows]
            fitted.item_parameters = self._initial_items(Items(fitted), shares, weights)
            items = Items(fitted)
            exam = items.exam(shares, weights, self._threads())
            found = exam.fit(items.flat(), n_iter=n_iter)
            fitted.item_parameters = items.set_flat(found.parameters)
            tasks = {"decoder.0.weight": items.slopes}
            if not items.through_origin:
                tasks["decoder.0.bias"] = items.intercepts
            first, _ = exam.patterns()
            width = _checks.widths(self.hidden, "hidden")[0]
            fitted.load_state_dict(tasks | encoder_weights(items, shares[first], width))
            self._record_iterations(found, items, shares, weights)
            self._record.elapsed = time.perf_counter() - began
        steep = np.abs(items.slopes[:, 0]) >= marginal.LARGEST_SLOPE
        if steep.any():
            remedy = "use prior='weak'" if self.prior is None else "leave out one of them"
            _checks.warn(
                f"the discrimination of {answers.names_of_tasks(steep)} has reached its bound, "
                f"{marginal.LARGEST_SLOPE:g}: the estimate is not finite, as for tasks with the same answers: {remedy}"
            )
        elif not found.converged:
            _checks.warn(
                f"{type(self).__name__} has not converged: the last of {len(found.history)} iterations of EM changed a "
                f"parameter by {found.change:.2g}: raise epochs, or set prior='weak' if it is None",
                _checks.ConvergenceWarning,
            )
        return self

    def _record_iterations(
        self,
        found: Estimates,
        items: Items,
        shares: NDArray[np.float32],
        weights: NDArray[np.float32] | None,
    ) -> None:
        """Write the iterations of EM into the history, per student as losses are."""
        constant, total, most = 0.0, float(len(shares)), items.max_marks
        if items.logistic and not items.binary:
            ways = ln_choose(observed_marks(shares, most)[0], most) * ~np.isnan(shares)
            constant = float((ways.sum(1) * (1.0 if weights is None else weights)).sum())
        if weights is not None:
            total = float(weights.sum(dtype=np.float64))
        for log_likelihood, given, log_prior in found.history.tolist():
            reconstruction, kl = -(given + constant) / total, (given - log_likelihood) / total
            self._record.add(self._name_losses(reconstruction, kl, reconstruction + kl - log_prior / total))

    # Internal

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        exam = specification.likelihood["kind"] in ("bernoulli", "binomial") and specification.missing == "indicator"
        plain = specification.topics is None and specification.input_transform is None and not specification.conditions
        return exam and plain and specification.variational and specification.linear_decoder

    def _method(self) -> str:
        """Return "amortized" or "mml"."""
        method, beyond = _checks.choice(self.method, "method", _METHODS), self._model() in BEYOND_DECODER
        if method == "auto":
            return "mml" if beyond else "amortized"
        if beyond and method == "amortized":
            raise ValueError(f"model={self.model!r} needs method='mml': only models with a decoder are amortized")
        return method

    def _marks(self) -> Any:
        """Return the parameter ``max_marks``, or what ``fit`` has found in the answers to graded tasks."""
        if self.max_marks is None and self._model() == "graded":
            return self._inferred_marks
        return self.max_marks

    def _marks_in(self, X: Any) -> NDArray[np.int64] | None:
        """Return the largest mark of each task in X, at least 1, for graded tasks without ``max_marks``; else None."""
        if self._model() != "graded" or self.max_marks is not None:
            return None
        marks = arrays.matrix(X, "X")
        with np.errstate(invalid="ignore"):
            largest = np.where(np.isnan(marks.astype(np.float64)), 0, marks.astype(np.float64)).max(0, initial=1)
        bad = ~((largest >= 1) & (largest <= _core.MAX_TRIALS))
        if bad.any():
            task = int(np.argmax(bad))
            raise ValueError(f"X has the mark {largest[task]:g} in task {task}: graded answers are 0, 1, 2, ...")
        found: NDArray[np.int64] = largest.astype(np.int64)
        return found

    def _initial_items(
        self, items: Items, shares: NDArray[np.float32], weights: NDArray[np.float32] | None
    ) -> dict[str, NDArray[np.float64]] | None:
        """Return initial parameters of tasks that the decoder does not hold, or None; sets the intercepts of "3pl"."""
        model, n_tasks = self._model(), shares.shape[1]
        if model == "3pl":
            c = self._guessing(n_tasks)
            mean = 1 / (1 + np.exp(-items.intercepts.astype(np.float64)))
            free = np.clip((mean - c) / (1 - c), 0.05, 0.95)
            items.intercepts[:] = np.log(free / (1 - free))
            sd = np.array(np.nan if self.prior is None else _GUESSING_SD)
            return {"guessing": c, "prior_mean": np.log(c / (1 - c)), "prior_sd": sd}
        if model == "graded":
            counts = answers.category_counts(shares, items.max_marks, weights)
            return {"thresholds": answers.threshold_logits(counts, items.max_marks)}
        return None

    def _guessing(self, n_tasks: int) -> NDArray[np.float64]:
        """Return the parameter ``guessing`` for each task, or raise ValueError."""
        given = np.asarray(self.guessing)
        if given.dtype.kind not in "fiu" or given.shape not in ((), (n_tasks,)):
            raise ValueError(f"guessing={self.guessing!r} must be a probability, or one for each of {n_tasks} tasks")
        if not ((given > 0) & (given < 1)).all():
            raise ValueError(
                f"guessing={self.guessing!r} must be above 0 and below 1; without guessing use model='2pl'"
            )
        found: NDArray[np.float64] = np.broadcast_to(given.astype(np.float64), n_tasks).copy()
        return found

    def _specification(self, n_features: int, conditions: int) -> Specification:
        model, n_dims = self._model(), self._latent_dim()
        marks = self._marks()
        marked = marks is not None or model == "graded"
        if model == "3pl":
            self._guessing(n_features if np.ndim(self.guessing) else 1)
            if marked and (answers.most_marks(marks, n_features) > 1).any():
                raise ValueError("model='3pl' needs tasks that are solved or not: leave out max_marks")
        if self._method() == "mml":
            self._check_quadrature(n_dims)
        if n_dims > 1 and model != "2pl":
            raise ValueError(f"n_dims={self.n_dims} needs model='2pl': model={self.model!r} has one dimension")
        return Specification.build(
            n_features=n_features,
            variational=True,
            latent_dim=n_dims,
            decoder=[],
            likelihood={"kind": "binomial" if marked else "bernoulli"},
            missing=self._missing(),
            weight_constraint=CONSTRAINTS.get(model, "free"),
            item_prior=priors.resolve(self.prior, n_dims, model == "through_origin"),
            trials=answers.most_marks(marks, n_features).tolist() if marked else (),
            **self._dense_encoder(),
        )

    def _check_quadrature(self, n_dims: int) -> None:
        """Raise ValueError for parameters that method="mml" cannot use."""
        if n_dims > 1:
            raise ValueError(f"method='mml' needs one dimension: n_dims={self.n_dims!r} needs method='amortized'")
        if len(_checks.widths(self.hidden, "hidden")) != 1 or self.activation != "relu":
            raise ValueError(
                "method='mml' builds an encoder of one hidden layer with activation 'relu': "
                f"hidden={self.hidden!r} and activation={self.activation!r} need method='amortized'"
            )
        for name, off in (("validation_fraction", 0.0), ("early_stopping", False), ("callbacks", ())):
            value = getattr(self, name)
            if isinstance(value, (list, tuple)) and not len(value):
                value = off
            if value != off:
                raise ValueError(f"{name}={value!r} needs method='amortized': method='mml' has no epochs")

    def _objective(self) -> Objective:
        samples = _checks.integer(self.n_importance_samples, "n_importance_samples", most=_checks.MAX_SAMPLES)
        return Objective(beta=1.0, samples=samples, doubly=samples > 1)

    def _model(self) -> str:
        """Return the parameter ``model``, checked, by its present name."""
        if isinstance(self.model, str) and self.model in _OLD_NAMES:
            return _OLD_NAMES[self.model]
        return _checks.choice(self.model, "model", (*CONSTRAINTS, *BEYOND_DECODER))

    def _latent_dim(self) -> int:
        return _checks.integer(self.n_dims, "n_dims", most=_core.MAX_WIDTH // 2)

    def _missing(self) -> str:
        return "indicator"

    def _allows_nan(self) -> bool:
        return True

    def _requires_positive(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True  # marks are whole numbers
        return tags

    def _learning_rate(self) -> schedules.Value:
        rate = super()._learning_rate()
        if not isinstance(rate, float):
            return rate
        if isinstance(self.epochs, str):
            planned = None if self._fitted is None else self._record.planned  # none in partial_fit
            end = {"steps": _AUTO_STEPS} if planned is None else {"epochs": planned}
            return schedules.cosine(rate, rate / 100, **end)
        return schedules.cosine(rate, rate / 100, epochs=_checks.integer(self.epochs, "epochs"))

    def _problems(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> Sequence[str]:
        if self._ranks is not None:  # the maximum is that of the students of all ranks
            return ()
        X, weights = cast("NDArray[np.float32]", data.X), data.weights
        if rows is not None:
            X, weights = X[rows], None if weights is None else weights[rows]
        found = self._distance_to_maximum(fitted, X, weights)
        if not found.detected <= _MAX_DISTANCE:
            auto = "" if isinstance(self.epochs, str) else ", or set epochs='auto'"
            _checks.warn(
                f"{type(self).__name__} has not converged: item parameters are {found.distance:.1f} standard errors "
                f"(root mean square) from their estimates after {fitted.engine.steps} steps: raise epochs{auto}",
                _checks.ConvergenceWarning,
            )
        return ()

    def _min_features(self) -> int:
        return max(1, np.size(self.max_marks), np.size(self.guessing))

    def _distance_to_maximum(
        self, fitted: FittedModel, shares: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> Distance:
        """Return the distance of the item parameters from the maximum of the objective on these students."""
        items, objective = Items(fitted), self._objective()
        weights = np.ones(len(shares), np.float32) if weights is None else weights
        step = -(-shares.size // MAX_ANSWERS)
        sample, sample_weights = shares[::step], np.ascontiguousarray(weights[::step])
        rng = np.random.default_rng(fitted.specification.seed)
        draws = rng.standard_normal((_DRAWS, len(sample), fitted.latent_dim), np.float32)
        gradients: dict[str, NDArray[Any]] = {}
        repeats = -(-_GRADIENT_DRAWS // objective.samples)
        for _ in range(repeats):
            _, found = fitted.loss_and_gradients(
                Data(sample, None, sample_weights),
                self._threads(),
                eps=rng.standard_normal((len(sample) * objective.samples, fitted.latent_dim), np.float32),
                corrupted=None,
                objective=objective.for_core(),
                corruption=None,
                binarize=None,
            )
            gradients = {name: gradients.get(name, 0) + gradient / repeats for name, gradient in found.items()}
        answered = ~np.isnan(sample) * items.max_marks
        mu, logvar = fitted.encode(sample, None, self._threads())
        alpha = mu + np.exp(np.clip(logvar, -30, 20) / 2) * draws
        fraction = float(sample_weights.sum(dtype=np.float64) / weights.sum(dtype=np.float64))
        return distance_to_maximum(items, gradients, (answered, sample_weights), alpha, fraction)

    def describe_objective(self) -> str:
        """Return the objective of ``fit`` as one paragraph: the exact formula, its constants, sums and means."""
        if self._method() == "amortized":
            return super().describe_objective()
        prior = priors.resolve(self.prior, 1, self._model() == "through_origin")
        terms = []
        if prior is not None and prior["slope"]["kind"] == "lognormal":
            terms.append(f"ln |a_t| ~ N({prior['slope']['mean']:g}, {prior['slope']['sd']:g}²)")
        if prior is not None and prior["intercept"] is not None and self._model() != "through_origin":
            terms.append(f"d_t ~ N(0, {prior['intercept']:g}²)")
        if prior is not None and self._model() == "3pl":
            terms.append(f"logit c_t ~ N(logit guessing, {_GUESSING_SD:g}²)")
        return (
            "Maximised by EM, as a sum over the students s, each times its weight, in nats: ln of the integral of "
            f"N(alpha; 0, 1) p(y_s|alpha) over alpha{' + ln p(tasks)' * bool(terms)}. "
            + (f"p(tasks) is the prior of the item parameters, {', '.join(terms)}. " if terms else "")
            + self._likelihood_formula()
        )

    def _likelihood_formula(self) -> str:
        if self._model() == "graded":
            return (
                "log p(x|z) is log p(y|alpha) = sum_t ln P(y_t), over the tasks t that the student has seen, with "
                "P(y_t >= k) the sigmoid of a_t alpha + d_tk."
            )
        logits = {"through_origin": "beta_t alpha", "rasch": "a alpha + d_t"}
        logit = logits.get(self._model(), "a_t' alpha + d_t")
        marks = "ln C(m_t, y_t) + y_t ln p_t + (m_t - y_t) ln(1 - p_t)"
        solved = "y_t ln p_t + (1 - y_t) ln(1 - p_t)"
        return (
            f"log p(x|z) is log p(y|alpha) = sum_t {solved if self.max_marks is None else marks}, over the tasks t "
            f"that the student has seen, p_t {'c_t + (1 - c_t) times ' * (self._model() == '3pl')}the sigmoid of "
            f"{logit}."
        )

    def _initial_weights(
        self, fitted: FittedModel, X: Any, rows: NDArray[np.uint64] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Return slopes in one dimension, and intercepts that are the logits of the tasks' mean shares.

        Slopes are 1, or the median of a log-normal prior, which keeps their signs: those of reverse-keyed tasks are
        negative.
        """
        shares = X if rows is None else X[rows]
        specification = fitted.specification
        intercepts = specification.weight_constraint != CONSTRAINTS["through_origin"]
        totals = answers.TaskTotals(shares)
        message = totals.describe_degenerate(prior=specification.item_prior is not None, intercepts=intercepts)
        if message and self._model() != "graded":  # which raises an error for such tasks
            _checks.warn(message)
        weights = {}
        if fitted.latent_dim == 1:
            slopes = np.ones((X.shape[1], 1), np.float32)
            mean = specification.log_slope_mean
            if mean is not None:
                slopes *= np.exp(np.float32(mean))
                if specification.weight_constraint == CONSTRAINTS["2pl"]:
                    slopes[keys.reversed_tasks(shares)] *= -1
            weights["decoder.0.weight"] = slopes
        if intercepts:
            weights["decoder.0.bias"] = totals.logits_of_means()
        return weights

    def _layout(self, X: Any, name: str, *, fitted: bool) -> None:
        if sparse.is_sparse(names.of_annotated(X)):
            arrays.numeric(X, name)  # refuses it: a missing answer is no zero

    def _scale(self, given: Given) -> InputScale:
        return UNSCALED

    def _convert(self, given: Given, name: str, scale: InputScale, *, fitted: bool) -> NDArray[np.float32]:
        """Return answers as shares of the maximum marks, NaN where missing, or raise ValueError."""
        most = self.max_marks_ if fitted else answers.most_marks(self._marks(), given.shape[1])
        return answers.shares(given.values, name, most)

    def _fix_signs(self) -> None:
        """Flip dimensions of the fitted model, if any, so that the mean slope of each is positive."""
        if self._fitted is None:
            return
        slopes = self._items().slopes.astype(np.float64)
        for dim in np.flatnonzero(slopes.sum(0) < 0):
            self._fitted.flip_sign(int(dim))
