"""Item response models: students' abilities and tasks' difficulties from the marks of an exam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, _input, schedules
from fastvae._ability import Ability, counted, pieces, sigmoid
from fastvae._item_fit import AT_ONCE, ItemFit, Sums, squares
from fastvae._rotation import Rotation, varimax
from fastvae._uncertainty import LogMarginal
from fastvae._vae import MAX_DRAWS, VAE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

# What a model lets the last layer be, by the core's name.
_LOADINGS = {"lecture": "nonnegative", "rasch": "common", "2pl": "free"}

# Draws from q(alpha|Y) where there is more than one dimension, and no quadrature: for probabilities, and for the fit of
# tasks, which sums over students too.
_DRAWS = 100
_FIT_DRAWS = 20

# The highest level of an interval.
_HIGHEST_LEVEL = 1 - 1e-6


class ItemResponse(VAE):
    """Item response model: a VAE whose decoder is the logistic model of an exam, and whose code a student's ability.

    Student s, of ability alpha_s ~ N(0, I), solves task t with P = 1 / (1 + exp(-y_st)). Three models of the logit y:

    ========= ===================== =========================================================================
    "lecture" alpha_s beta_t        beta_t >= 0; difficulty 1 / beta_t: with beta_t = 0 it is a toss for all
    "rasch"   a alpha_s + d_t       one slope for all tasks (Rasch, 1960); difficulty -d_t / a
    "2pl"     a_t' alpha_s + d_t    a slope for each (Birnbaum, 1968); difficulty -d_t / a_t, the ability of P = 1/2
    ========= ===================== =========================================================================

    Parameters and encoder are trained together on the importance-weighted bound of the marginal likelihood (Burda et
    al., arXiv:1509.00519), the amortised way to its maximum (Urban & Bauer, Psychometrika 86, 2021): the plain ELBO
    would make the slopes of short exams too flat. Answers that are NaN were not seen; that they are missing must tell
    nothing about what they would have been.

    Parameters
    ----------
    model : {"2pl", "rasch", "lecture"}
        See above.
    n_dims : int
        Dimensions of the ability, of "2pl" only; more than one is the multidimensional model (Reckase, 2009).
    max_marks : int, array_like of int [n_tasks] or None
        The most marks of each task, 1 to 1000; None for tasks that are solved or not. Marks are then whole numbers, and
        binomial: P(y) = C(m, y) p^y (1 - p)^(m - y), p as above.
    hidden : sequence of int
        Widths of the encoder's hidden layers. The encoder reads the share of the marks in each task (0 where it was not
        seen) and a column for each that says so.
    activation : str
        As for :class:`fastvae.VAE`.
    n_importance_samples : int
        Draws of alpha for each student and step: with more of them the bound is tighter, and a step takes longer. With
        several the encoder's gradients are doubly reparameterised (Tucker et al., arXiv:1810.04152); one is the ELBO.
    optimizer, weight_decay, clip_norm, batch_size, validation_fraction, early_stopping, n_iter_no_change, tol, \
callbacks, n_jobs, random_state, progress
        As for :class:`fastvae.VAE`.
    learning_rate : float or schedule
        A number falls to a hundredth of itself along half a cosine in the course of ``epochs``, so that the parameters
        come to rest.
    epochs : int
        Passes over the students. A short exam of a thousand students wants the default's 200; of a hundred thousand ten
        passes, with a larger ``batch_size``, do.

    Attributes
    ----------
    n_features_in_ : int
        Tasks.
    discrimination_, intercept_, difficulty_ : ndarray
        See the properties.
    n_iter_, history_, loss_curve_, elapsed_, interrupted_
        As for :class:`fastvae.VAE`.

    Notes
    -----
    The sign of an ability is arbitrary, and chosen so that the mean slope of each dimension is positive.

    In one dimension ``transform``, ``ability_interval``, ``predict_proba``, ``impute``, ``item_fit`` and
    ``log_marginal`` are exact given the tasks' parameters: a quadrature over alpha. With more dimensions they draw on
    the encoder's posterior q(alpha|Y).

    What is inherited from :class:`fastvae.VAE` takes the same Y as ``fit``; its means and draws are shares of
    ``max_marks``. ``encode``, ``posterior_sample``, ``reconstruct``, ``predictive`` and ``score`` are the encoder's, in
    one dimension too.

    Examples
    --------
    >>> import fastvae, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> alpha, d = rng.normal(size=(500, 1)), np.linspace(-2, 2, 8)
    >>> Y = (rng.random((500, 8)) < 1 / (1 + np.exp(-alpha - d))).astype(float)
    >>> exam = fastvae.ItemResponse("rasch", epochs=20, random_state=0).fit(Y)
    >>> exam.transform(Y).shape, exam.difficulty_.shape
    ((500, 1), (8,))
    """

    # What a VAE would be told: the rest of the model.
    latent_dim: Any = property(lambda self: _input.integer(self.n_dims, "n_dims"))
    decoder_hidden: Any = ()
    likelihood: Any = "bernoulli"
    beta: Any = 1.0
    free_bits: Any = 0.0
    capacity: Any = None
    doubly_reparameterized: Any = property(lambda self: self.n_importance_samples != 1)
    conditional: Any = False
    objective: Any = "elbo"
    binarize: Any = None
    missing: Any = "mask"
    missing_indicator: Any = True
    input_transform: Any = None
    corruption: Any = None

    _TAKES_SPARSE = False

    def __init__(
        self,
        model: str = "2pl",
        n_dims: int = 1,
        *,
        max_marks: Any = None,
        hidden: Any = (64,),
        activation: str = "relu",
        n_importance_samples: int = 16,
        optimizer: Any = "adam",
        learning_rate: Any = 2e-2,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        batch_size: int = 64,
        epochs: int = 200,
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.n_dims = n_dims
        self.max_marks = max_marks
        self.hidden = hidden
        self.activation = activation
        self.n_importance_samples = n_importance_samples
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
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

    # Training

    def fit(self, X: Any, y: Any = None, *, observed: Any = None, validation_data: Any = None) -> Self:
        """Train from fresh weights for ``epochs`` shuffled passes over the students.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
            The answers Y: 1 for a task that was solved and 0 for one that was not, or marks up to ``max_marks``; NaN
            where there is none.
        y : None
            Ignored.
        observed : array_like of bool, [n_students, n_tasks], optional
            True where an answer was seen: another way to say what NaN says.
        validation_data : array_like, [m, n_tasks], optional
            As for :meth:`VAE.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a bad parameter, or an answer that is none of the marks of its task.
        """
        try:
            return super().fit(_hidden(X, observed), validation_data=validation_data)
        finally:
            self._fix_signs()

    def partial_fit(
        self, X: Any, y: Any = None, *, observed: Any = None, eps: Any = None, corrupted: Any = None
    ) -> Self:
        """Go on training, as :meth:`VAE.partial_fit`; answers and ``observed`` are those of ``fit``."""
        try:
            return super().partial_fit(_hidden(X, observed), eps=eps, corrupted=corrupted)
        finally:
            self._fix_signs()

    # What was learned

    @property
    def discrimination_(self) -> NDArray[np.float32]:
        """Slopes a_t ("2pl"), a ("rasch") or beta_t ("lecture"), [n_tasks]; of several dimensions [n_tasks, n_dims]."""
        slopes, _ = self._tasks()
        return slopes[:, 0] if self._latent_dim == 1 else slopes

    @property
    def intercept_(self) -> NDArray[np.float32]:
        """Logits d_t at ability zero: [n_tasks]; zeros of "lecture"."""
        return self._tasks()[1]

    @property
    def difficulty_(self) -> NDArray[np.float32]:
        """Difficulty of each task, [n_tasks], as the model defines it.

        "lecture": 1 / beta_t, infinite for a task that tells nothing. "rasch" and "2pl": -d_t / a_t, the ability at
        which it is solved with probability 1/2; with several dimensions -d_t / |a_t|, the distance from zero along a_t
        (Reckase's MDIFF).
        """
        slopes, intercepts = self._tasks()
        size = slopes[:, 0] if self._latent_dim == 1 else np.linalg.norm(slopes, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            lecture = self._specification["weight_constraint"] == "nonnegative"
            return np.asarray(1 / size if lecture else -intercepts / size, np.float32)

    def loadings(self, rotation: str | None = "varimax") -> Rotation:
        """Slopes in coordinates that are easier to read, and the rotation that leads there.

        Parameters
        ----------
        rotation : {"varimax"} or None
            "varimax" makes each loading large or small (Kaiser, 1958); None leaves them as they are.

        Returns
        -------
        Rotation
            A named tuple of ``loadings``, [n_tasks, n_dims], and ``rotation`` R, [n_dims, n_dims]: slopes are
            ``discrimination_ @ R``, abilities ``transform(Y) @ R``.
        """
        slopes = self._tasks()[0].astype(np.float64)
        if rotation is None:
            return Rotation(slopes, np.eye(slopes.shape[1]))
        _input.choice(rotation, "rotation", ("varimax",))
        return varimax(slopes)

    # Questions

    def transform(self, X: Any, *, y: Any = None, observed: Any = None) -> Any:
        """Abilities E[alpha|Y] ("EAP"): float32 [n_students, n_dims]; see the class's notes. y is ignored.

        A student of whom nothing was seen has that of the prior, zero.
        """
        shares = self._answers(X, observed)
        if self._one_dimension():
            means = self._ability().mean(shares)[:, np.newaxis].astype(np.float32)
        else:
            means, _ = self._codes(_hidden(X, observed), None, logvar=False)
            means[_unseen(shares)] = 0
        return self._as_output(means, X)

    def ability_interval(self, X: Any, level: float = 0.95, *, observed: Any = None) -> NDArray[np.float32]:
        """Interval in which each student's ability lies with probability `level`, given the answers and the model.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        level : float
            Above 0, and at most 1 - 1e-6; what is left over is split evenly between both sides.
        observed : array_like of bool, [n_students, n_tasks], optional

        Returns
        -------
        ndarray of float32, [n_students, n_dims, 2]
            Lower and upper ends. In one dimension those of the posterior, to 0.0002 up to a level of 0.999, and to
            0.004 beyond; with more, those of the normal q(alpha|Y), and of the prior where no answer was seen.

        Raises
        ------
        ValueError
            For another level, or answers that ``fit`` would not take.
        """
        level = _input.number(level, "level", least=1e-9, below=1.0)
        if level > _HIGHEST_LEVEL:
            raise ValueError(f"level={level!r} must be at most 1 - 1e-6: farther out the tails are not known")
        below = (1 - level) / 2
        shares = self._answers(X, observed)
        if not self._one_dimension():
            from statistics import NormalDist  # here only, so that `import fastvae` stays cheap

            unseen = _unseen(shares)[:, np.newaxis]  # of whom mu and logvar are the prior's
            mu, logvar = (np.where(unseen, np.float32(0), part) for part in self.encode(_hidden(X, observed)))
            half = np.exp(logvar / 2) * np.float32(NormalDist().inv_cdf(1 - below))
            return np.stack([mu - half, mu + half], -1)
        ends = self._ability().quantiles(shares, [below, 1 - below])
        return ends[:, np.newaxis].astype(np.float32)

    def predict_proba(self, X: Any, *, observed: Any = None) -> NDArray[np.float32]:
        """Probability that each student solves each task, given what was seen: float32 [n_students, n_tasks].

        The mean of P over the posterior of the ability, of answers that were seen as of those that were not; with
        ``max_marks`` the expected share of the marks. With several dimensions the mean over 100 draws.
        """
        if not self._one_dimension():
            return self.predictive(_hidden(X, observed), _DRAWS, self._specification["seed"]).mean
        return self._ability().probability(self._answers(X, observed)).astype(np.float32)

    def log_marginal(self, X: Any, n_samples: int | None = None, *, y: Any = None, observed: Any = None) -> LogMarginal:
        """Tell log p(Y_s) of each student, of the answers that were seen: exact in one dimension.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        n_samples : int or None
            None is for a quadrature in one dimension, which has no standard error (zeros) and no samples that could be
            too few (``ess`` infinite), and for 5000 samples in several; a number takes as many: see
            :meth:`VAE.log_marginal`.
        y : None
            Ignored.
        observed : array_like of bool, [n_students, n_tasks], optional

        Returns
        -------
        LogMarginal
            In nats, with the binomial coefficients of marks.
        """
        if n_samples is not None or not self._one_dimension():
            return super().log_marginal(_hidden(X, observed), 5000 if n_samples is None else n_samples)
        found = self._ability().log_marginal(self._answers(X, observed))
        return LogMarginal(found, np.zeros(len(found)), np.full(len(found), np.inf))

    def impute(
        self,
        X: Any,
        *,
        y: Any = None,
        observed: Any = None,
        draws: int | None = None,
        n_iter: int = 0,
        random_state: Any = None,
    ) -> NDArray[np.float32]:
        """Fill in the answers that were not seen.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        y : None
            Ignored.
        observed : array_like of bool, [n_students, n_tasks], optional
        draws : int or None
            None fills in the expected marks, those of ``predict_proba``; a number draws an ability of each student
            from the posterior and then marks at it, that many times (multiple imputation): the answers of a draw
            belong together.
        n_iter : int
            Of draws in several dimensions, as for :meth:`VAE.impute`. In one dimension abilities are drawn from the
            exact posterior, at which further rounds would change nothing: it is ignored.
        random_state : int, numpy generator or None
            Of the draws, as for ``sample``. The first draws are the same for any number of them.

        Returns
        -------
        ndarray of float32, [n_students, n_tasks], or [draws, n_students, n_tasks]
            Marks; those that were seen as they are.
        """
        self._engine_for()
        X = _hidden(X, observed)
        most = self._fitted_most().astype(np.float32)
        if draws is not None and not self._one_dimension():
            drawn = super().impute(X, draws=draws, n_iter=n_iter, random_state=random_state)
            marks: NDArray[np.float32] = np.rint(drawn * most)
            return marks
        _input.integer(n_iter, "n_iter", least=0)
        shares = self._answers(X, None)
        if draws is not None:
            return self._drawn(shares, _input.integer(draws, "draws", most=MAX_DRAWS), self._seed_for(random_state))
        expected = self.predict_proba(X) * most
        filled: NDArray[np.float32] = np.where(np.isnan(shares), expected, np.rint(shares * most))
        return filled

    def item_fit(self, X: Any, *, observed: Any = None) -> ItemFit:
        """Infit and outfit mean squares of each task (Wright & Masters, "Rating scale analysis", 1982, chapter 5).

        With E and V the mean and the variance of an answer y_st at an ability, and <> a mean over the ability's
        posterior (the usual statistics put an estimate in, which makes them smaller on short exams):

            infit_t = sum_s <(y_st - E)²> / sum_s <V>,        outfit_t = mean_s <(y_st - E)² / V>

        With several dimensions <> is a mean over 20 draws from q. Of 1,000 students and 20 tasks their Monte Carlo
        error (standard deviation) is 0.004 in infit, and 0.009 in outfit, a few times that in tasks with slopes above
        2; it falls with the root of the number of students. The draws are the same in every call.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        observed : array_like of bool, [n_students, n_tasks], optional

        Returns
        -------
        ItemFit
            A named tuple of ``infit``, ``outfit`` and ``n``, each [n_tasks].
        """
        shares, most = self._answers(X, observed), self._fitted_most()
        sums = Sums(most)
        if self._one_dimension():
            ability = self._ability()
            sums.add(ability.spread(shares, squares), ability.logits)
        else:
            slopes, intercepts = (weights.astype(np.float64) for weights in self._tasks())
            drawn = self.posterior_sample(_hidden(X, observed), _FIT_DRAWS, self._specification["seed"])
            for rows in pieces(shares.shape, AT_ONCE):
                tables = squares(*counted(shares[rows], most))
                for alpha in drawn[:, rows]:
                    sums.add(tables, alpha @ slopes.T + intercepts)
        return sums.fit((~np.isnan(shares)).sum(0))

    # Inside

    @classmethod
    def _owns(cls, specification: dict[str, Any]) -> bool:
        kind = specification["likelihood"]["kind"]
        exam = kind in ("bernoulli", "binomial") and specification["missing"] == "indicator"
        plain = specification["topics"] is None and specification["input_transform"] is None
        bare = not specification["conditions"] and not specification["decoder"]
        return exam and plain and bare and specification["variational"] is True

    def _tasks(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Slopes, [n_tasks, n_dims], and intercepts, [n_tasks]."""
        weights = self.state_dict()
        slopes = weights["decoder.0.weight"]
        return slopes, weights.get("decoder.0.bias", np.zeros(len(slopes), np.float32))

    def _one_dimension(self) -> bool:
        self._engine_for()
        return bool(self._latent_dim == 1)

    def _ability(self) -> Ability:
        """What the quadrature knows of a model of one dimension."""
        slopes, intercepts = self._tasks()
        return Ability(slopes[:, 0], intercepts, self._fitted_most())

    def _drawn(self, shares: NDArray[np.float32], draws: int, seed: int) -> NDArray[np.float32]:
        """Marks with the holes filled in by draws from p(y|Y), [draws, n_students, n_tasks], in one dimension."""
        at = np.stack([np.random.default_rng((seed, draw, 0)).random(len(shares)) for draw in range(draws)], 1)
        alpha = self._ability().quantiles(shares, at)
        students, tasks = np.nonzero(np.isnan(shares))
        (slopes, intercepts), most = self._tasks(), self._fitted_most()
        filled = np.empty((draws, *shares.shape), np.float32)
        filled[...] = np.rint(shares * most)
        for draw, marks in enumerate(filled):
            p = sigmoid(alpha[students, draw] * slopes[tasks, 0] + intercepts[tasks])
            marks[students, tasks] = np.random.default_rng((seed, draw, 1)).binomial(most[tasks], p)
        return filled

    def _answers(self, X: Any, observed: Any) -> NDArray[np.float32]:
        self._engine_for()
        return self._read(_hidden(X, observed), "X", self.n_features_in_, fitted=True)

    def _read(self, X: Any, name: str, cols: int | None = None, *, fitted: bool = False) -> NDArray[np.float32]:
        """Return marks as shares of the most that a task has, NaN where there is none, or raise ValueError."""
        marks = _input.matrix(X, name, cols, type(self).__name__).astype(np.float32)
        most = self._fitted_most() if fitted else self._most(marks.shape[1])
        bad = ~((marks >= 0) & (marks <= most) & (marks == np.rint(marks)) | np.isnan(marks))
        if bad.any():
            student, task = np.argwhere(bad)[0]
            what = f"{name}[{student}, {task}] is {marks[student, task]:g}: "
            if (most == 1).all():
                raise ValueError(
                    f"{what}the answer of student {student} to task {task} must be 0, 1 or, if there is none, NaN. For "
                    "tasks with more than one mark give max_marks"
                )
            raise ValueError(
                f"{what}the marks of student {student} in task {task} must be a whole number from 0 to {most[task]}, "
                "or NaN if there are none. Fractions of a mark have no probability: count in halves or quarters, with "
                "max_marks as many times as large"
            )
        shares: NDArray[np.float32] = np.divide(marks, most, dtype=np.float32)
        return shares

    def _corrupted(self, corrupted: Any, shape: tuple[int, ...]) -> Any:
        if corrupted is not None:
            corrupted = self._read(corrupted, "corrupted", shape[1], fitted=self.__sklearn_is_fitted__())
        return super()._corrupted(corrupted, shape)

    def _fewest_features(self) -> int:
        return max(1, np.size(self.max_marks))

    def _most(self, n_tasks: int) -> NDArray[np.int64]:
        """Return the most marks of each task that a fit will take, checked."""
        if self.max_marks is None:
            return np.ones(n_tasks, np.int64)
        given = np.asarray(self.max_marks)
        good = given.dtype.kind in "iu" and given.ndim <= 1 and (given.ndim == 0 or len(given) == n_tasks)
        if not good or (given < 1).any() or (given > _core.MAX_TRIALS).any():
            raise ValueError(
                f"max_marks={self.max_marks!r} must be whole numbers from 1 to {_core.MAX_TRIALS}, one for all or one "
                f"for each of {n_tasks} tasks"
            )
        return np.broadcast_to(given, n_tasks).astype(np.int64)

    def _fitted_most(self) -> NDArray[np.int64]:
        trials = self._specification["trials"] or [1] * self.n_features_in_
        return np.array(trials, np.int64)

    def _specification_for(self, n_features: int, conditions: int) -> dict[str, Any]:
        options = super()._specification_for(n_features, conditions)
        return options if self.max_marks is None else options | {"trials": self._most(n_features).tolist()}

    def _architecture(self) -> dict[str, Any]:
        model = _input.choice(self.model, "model", tuple(_LOADINGS))
        if self.latent_dim > 1 and model != "2pl":
            raise ValueError(f"n_dims={self.n_dims} is for model='2pl'; {model!r} has one dimension")
        kind = "bernoulli" if self.max_marks is None else "binomial"
        return super()._architecture() | {"likelihood": {"kind": kind}, "weight_constraint": _LOADINGS[model]}

    def _likelihood_in_words(self) -> str:
        logit = {"lecture": "beta_t alpha", "rasch": "a alpha + d_t", "2pl": "a_t' alpha + d_t"}[self.model]
        binomial = self._architecture()["likelihood"]["kind"] == "binomial"
        marks = "ln C(m_t, y_t) + y_t ln p_t + (m_t - y_t) ln(1 - p_t)"
        answers = "y_t ln p_t + (1 - y_t) ln(1 - p_t)"
        return (
            f"log p(x|z) is log p(y|alpha) = sum_t {marks if binomial else answers}, over the tasks t "
            f"that the student has seen, p_t the sigmoid of {logit}."
        )

    def _first_weights(self, X: Any, rows: NDArray[np.uint64] | None) -> dict[str, NDArray[np.float32]]:
        """Begin with slopes of 1, in one dimension, and intercepts that are the logits of the tasks' means."""
        first = {}
        if self.n_dims == 1:
            first["decoder.0.weight"] = np.ones((X.shape[1], 1), np.float32)
        if self.model != "lecture":
            X = X if rows is None else X[rows]
            seen = ~np.isnan(X)
            share = (np.where(seen, X, 0).sum(0, dtype=np.float64) + 0.5) / (seen.sum(0) + 1)
            first["decoder.0.bias"] = np.log(share / (1 - share)).astype(np.float32)
        return first

    def _learning_rate(self) -> schedules.Value:
        rate = super()._learning_rate()
        if not isinstance(rate, float):
            return rate
        return schedules.cosine(rate, rate / 100, epochs=_input.integer(self.epochs, "epochs"))

    def _fix_signs(self) -> None:
        """Turn each dimension so that its mean slope is positive, if there is a fitted model."""
        if not self.__sklearn_is_fitted__():
            return
        slopes = self._tasks()[0].astype(np.float64)
        for dim in np.flatnonzero(slopes.sum(0) < 0):
            self._engine.mirror(int(dim))


def _unseen(shares: NDArray[Any]) -> NDArray[np.bool_]:
    """Students without any answer, whose posterior is the prior: [n]."""
    none: NDArray[np.bool_] = np.isnan(shares).all(1)
    return none


def _hidden(X: Any, observed: Any) -> Any:
    """Return answers with NaN where they were not observed."""
    if observed is None:
        return X
    seen, X = np.asarray(observed), _input.matrix(X, "X")
    if seen.dtype != bool or seen.shape != X.shape:
        raise ValueError(
            f"observed must be True or False for each answer, of shape {X.shape}; it is {seen.dtype} of shape "
            f"{seen.shape}"
        )
    return np.where(seen, X, np.nan)
