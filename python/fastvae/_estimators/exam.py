"""Inference of a fitted item response model: item parameters, abilities and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import arrays
from fastvae._data import weights as data_weights
from fastvae._data.scale import UNSCALED
from fastvae._estimators.by_rows.method import by_rows
from fastvae._estimators.routing import request_setter
from fastvae._estimators.variational import Variational
from fastvae._fitted import imputation, output
from fastvae._fitted.uncertainty import LogMarginal
from fastvae._irt import answers
from fastvae._irt.ability import observed_marks, row_slices
from fastvae._irt.differential import DifferentialFunctioning, differential_functioning
from fastvae._irt.fit_statistics import FitStatistics, information_criteria, m2
from fastvae._irt.item_fit import MAX_ENTRIES, ItemFit, MeanSquares, categorical_fit, mark_products
from fastvae._irt.items import Items, max_marks
from fastvae._irt.rotation import Rotation, varimax
from fastvae._irt.standard_errors import StandardErrors, standard_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.onnx import Extras

# Draws from q(alpha|Y) with several dimensions, where there is no quadrature: for predict_proba, and for item_fit,
# which also averages over the students.
_DRAWS = 100
_FIT_DRAWS = 20

# The highest level of an interval.
_MAX_LEVEL = 1 - 1e-6


class Exam(Variational):
    """A variational model whose code is the ability of a student and whose decoder is linear in it."""

    # Item parameters

    @property
    def max_marks_(self) -> NDArray[np.int64]:
        """Maximum marks of each task, [n_tasks]: ones for tasks without marks."""
        return max_marks(self._require_fitted().specification)

    @property
    def discrimination_(self) -> NDArray[np.float32]:
        """Slopes a_t ("2pl"), a ("rasch") or beta_t ("through_origin"): [n_tasks], or [n_tasks, n_dims] if several."""
        items = self._items()
        return items.slopes[:, 0] if items.one_dimension else items.slopes

    @property
    def intercept_(self) -> NDArray[np.float32]:
        """Logits d_t at ability zero, [n_tasks]: zeros for "through_origin".

        "graded": d_tk, [n_tasks, max(max_marks)], NaN beyond a task's maximum.
        """
        items = self._items()
        return items.intercepts if items.thresholds is None else items.thresholds.astype(np.float32)

    @property
    def guessing_(self) -> NDArray[np.float32]:
        """Probabilities c_t of a solution without ability, [n_tasks]; only "3pl" has them."""
        guessing = self._items().guessing
        if guessing is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without guessing: use model='3pl'")
        return guessing.astype(np.float32)

    @property
    def difficulty_(self) -> NDArray[np.float32]:
        """Difficulty of each task, [n_tasks].

        "through_origin": 1 / beta_t, infinite for beta_t = 0. "rasch" and "2pl": -d_t / a_t, the ability at which the
        probability of a solution is 1/2; with several dimensions -d_t / |a_t|, the distance of that plane from zero
        along a_t (Reckase's MDIFF). "graded": -d_tk / a_t, [n_tasks, max(max_marks)], the abilities at which P(answer
        >= k) is 1/2.
        """
        return self._items().difficulty()

    def loadings(self, rotation: str | None = "varimax") -> Rotation:
        """Return the slopes in rotated coordinates, which are easier to interpret, and the rotation.

        Parameters
        ----------
        rotation : {"varimax"} or None
            "varimax" makes each loading large or small (Kaiser, 1958); None does not rotate.

        Returns
        -------
        Rotation
            A named tuple of ``loadings``, [n_tasks, n_dims], and ``rotation`` R, [n_dims, n_dims]: loadings are
            ``discrimination_ @ R``, rotated abilities ``transform(Y) @ R``.

        Raises
        ------
        ValueError
            If ``rotation`` is not known.
        """
        slopes = self._items().slopes.astype(np.float64)
        if rotation is None:
            return Rotation(slopes, np.eye(slopes.shape[1]))
        _checks.choice(rotation, "rotation", ("varimax",))
        return varimax(slopes)

    # Abilities

    @by_rows("observed", result="codes")
    def transform(self, X: Any, *, y: Any = None, observed: Any = None, out: Any = None) -> Any:
        """Return posterior means of the abilities, E[alpha|Y] ("EAP").

        Exact in one dimension; with several the encoder's means. A student without answers has the prior mean, zero.

        Parameters
        ----------
        X, observed
            As for ``fit``.
        y : None
            Ignored.
        out : ndarray or memory map, [n_students, n_dims], optional
            As for :meth:`fastvae.VAE.transform`.

        Returns
        -------
        ndarray of float32, [n_students, n_dims]
            Or a frame: see ``set_output``. `out`, if given.
        """
        items, shares = self._items(), self._read_answers(X, observed)
        n_dims = self._require_fitted().latent_dim
        out = output.check(out, (len(shares), n_dims), {"X": X, "X as it is read": shares, "observed": observed})
        if items.one_dimension:
            exact = items.ability().mean(shares)[:, np.newaxis]
            means = np.empty(exact.shape, np.float32) if out is None else out
            means[...] = exact
        else:
            means, _ = self._encode(answers.mask_unobserved(X, observed), None, logvar=False, out=out)
            means[answers.unanswered(shares)] = 0
        return self._as_output(means, X) if out is None else out

    def ability_interval(self, X: Any, level: float = 0.95, *, observed: Any = None) -> NDArray[np.float32]:
        """Return the central credible interval of each student's ability.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        level : float
            Posterior probability of the interval, above 0 and at most 1 - 1e-6. Both tails have the same probability.
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.

        Returns
        -------
        ndarray of float32, [n_students, n_dims, 2]
            Lower and upper ends. In one dimension they are quantiles of the exact posterior, with an error of at most
            0.0002 up to a level of 0.999 and 0.004 beyond. With several dimensions they are quantiles of the normal
            q(alpha|Y), or of the prior for a student without answers.

        Raises
        ------
        ValueError
            If the level is out of range, or the answers are not valid.
        """
        level = _checks.number(level, "level", least=1e-9, below=1.0)
        if level > _MAX_LEVEL:
            raise ValueError(f"level={level!r} must be at most 1 - 1e-6: the tails beyond are not accurate")
        below = (1 - level) / 2
        items, shares = self._items(), self._read_answers(X, observed)
        if not items.one_dimension:
            from statistics import NormalDist  # here only, so that `import fastvae` stays cheap

            empty = answers.unanswered(shares)[:, np.newaxis]  # their mu and logvar are the prior's: zeros
            X = answers.mask_unobserved(X, observed)
            mu, logvar = (np.where(empty, np.float32(0), part) for part in self.encode(X))
            half = np.exp(logvar / 2) * np.float32(NormalDist().inv_cdf(1 - below))
            return np.stack([mu - half, mu + half], -1)
        ends = items.ability().quantiles(shares, [below, 1 - below])
        return ends[:, np.newaxis].astype(np.float32)

    def ability_std(self, X: Any, *, observed: Any = None) -> NDArray[np.float32]:
        """Return posterior standard deviations of the abilities, the standard errors of ``transform``.

        Exact in one dimension; with several those of q(alpha|Y), or of the prior for a student without answers.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.

        Returns
        -------
        ndarray of float32, [n_students, n_dims]
        """
        items, shares = self._items(), self._read_answers(X, observed)
        if items.one_dimension:
            return items.ability().std(shares)[:, np.newaxis].astype(np.float32)
        _, logvar = self.encode(answers.mask_unobserved(X, observed))
        logvar[answers.unanswered(shares)] = 0
        return np.exp(logvar / 2)

    # Answers

    def item_probabilities(self, alpha: Any) -> NDArray[np.float64]:
        """Return the probability of each mark of each task at given abilities, in one dimension.

        Parameters
        ----------
        alpha : array_like, [n]
            Abilities.

        Returns
        -------
        ndarray of float64, [n, n_tasks, max(max_marks) + 1]
            P(y_t = k), k = 0, 1, ...; zero beyond the maximum marks.

        Raises
        ------
        ValueError
            If the model has several dimensions, or an ability is not finite.
        """
        items = self._one_dimension("item_probabilities")
        abilities = np.atleast_1d(np.asarray(alpha, np.float64))
        if abilities.ndim > 1 or not np.isfinite(abilities).all():
            raise ValueError("alpha must be finite numbers, [n]")
        return items.probabilities(abilities)

    def predict_proba(self, X: Any, *, observed: Any = None) -> NDArray[np.float32]:
        """Return the probability that each student solves each task.

        It is the posterior mean of P given the student's answers, for observed and missing answers alike; with
        ``max_marks`` the expected share of the marks. With several dimensions it is the mean over 100 draws.

        Parameters
        ----------
        X, observed
            As for ``fit``.

        Returns
        -------
        ndarray of float32, [n_students, n_tasks]
        """
        items = self._items()
        if not items.one_dimension:
            X = answers.mask_unobserved(X, observed)
            return self.predictive(X, _DRAWS, self._require_fitted().specification.seed).mean
        return items.ability().probability(self._read_answers(X, observed)).astype(np.float32)

    def log_marginal(self, X: Any, n_samples: int | None = None, *, y: Any = None, observed: Any = None) -> LogMarginal:
        """Return log p(Y_s) of each student's observed answers, in nats: exact in one dimension.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        n_samples : int or None
            None is a quadrature in one dimension, without sampling error (``standard_error`` zero, ``ess`` infinite),
            and 5000 importance samples with several. A number always samples: see :meth:`VAE.log_marginal`.
        y : None
            Ignored.
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.

        Returns
        -------
        LogMarginal
            In nats, each [n_students], binomial coefficients of marks included.
        """
        items = self._items()
        if n_samples is not None or not items.one_dimension:
            return super().log_marginal(answers.mask_unobserved(X, observed), 5000 if n_samples is None else n_samples)
        found = items.ability().log_marginal(self._read_answers(X, observed))
        return LogMarginal(found, np.zeros(len(found)), np.full(len(found), np.inf))

    def impute(
        self,
        X: Any,
        *,
        y: Any = None,
        observed: Any = None,
        draws: int | None = None,
        n_iter: int = 0,
        n_samples: int = 0,
        random_state: Any = None,
    ) -> NDArray[Any]:
        """Replace missing answers by expected marks or by draws.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        y : None
            Ignored.
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.
        draws : int or None
            None imputes the expected marks, from ``predict_proba``. A number draws an ability of each student from the
            posterior and then all missing marks at that ability, that many times (multiple imputation).
        n_iter : int
            Further rounds for draws in several dimensions, as for :meth:`VAE.impute`. Ignored in one dimension, where
            the posterior is exact.
        n_samples : int
            Importance samples for draws in several dimensions, as for :meth:`VAE.impute`. Ignored in one dimension.
        random_state : int, numpy generator or None
            Seed of the draws, as for ``sample``. The first draws are the same for any number of draws.

        Returns
        -------
        ndarray, [n_students, n_tasks], or [draws, n_students, n_tasks]
            Marks; observed ones are unchanged. In the type of X; float64 for a list, and for integers with
            ``observed=``.
        """
        items = self._items()
        original = arrays.numeric(X, "X")
        if observed is not None:
            if original.dtype.kind != "f":
                original = original.astype(np.float64)
            original = answers.mask_unobserved(original, observed).astype(original.dtype)
        X = answers.mask_unobserved(X, observed)
        most = items.max_marks.astype(np.float32)
        if draws is not None and not items.one_dimension:
            drawn = self._imputed(X, None, draws, n_iter, n_samples, random_state)
            return imputation.with_observed(np.rint(drawn * most), original, UNSCALED)
        _checks.integer(n_iter, "n_iter", least=0)
        _checks.integer(n_samples, "n_samples", least=0, most=2**31)
        shares = self._read_answers(X, None)
        if draws is not None:
            draws = _checks.integer(draws, "draws", most=_checks.MAX_DRAWS)
            marks = items.draw_marks(shares, draws, self._seed_for(random_state))
            return imputation.with_observed(marks, original, UNSCALED)
        expected = self.predict_proba(X) * most
        return imputation.with_observed(expected.astype(np.float32, copy=False), original, UNSCALED)

    def item_fit(self, X: Any, *, observed: Any = None) -> ItemFit:
        """Return infit and outfit mean squares of each task.

        The source is Wright & Masters, "Rating scale analysis" (1982), chapter 5. With E and V the mean and the
        variance of an answer y_st at an ability, and <> the mean over the posterior of the ability (usual programs use
        a point estimate, which makes the statistics of short exams too small):

            infit_t = sum_s <(y_st - E)²> / sum_s <V>,        outfit_t = mean_s <(y_st - E)² / V>

        With several dimensions <> is the mean over 20 draws from q, the same draws in every call. For 1,000 students
        and 20 tasks their Monte Carlo error (standard deviation) is 0.004 in infit and 0.009 in outfit, a few times as
        much for tasks with slopes above 2; it falls with the root of the number of students.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.

        Returns
        -------
        ItemFit
            A named tuple of ``infit``, ``outfit`` and ``n``, each [n_tasks].
        """
        items, shares = self._items(), self._read_answers(X, observed)
        if not items.logistic:
            return categorical_fit(items, shares)
        sums = MeanSquares(items.max_marks)
        if items.one_dimension:
            ability = items.ability()
            sums.add(ability.posterior_sums(shares, mark_products), ability.logits)
        else:
            slopes, intercepts = items.slopes.astype(np.float64), items.intercepts.astype(np.float64)
            X = answers.mask_unobserved(X, observed)
            drawn = self.posterior_sample(X, _FIT_DRAWS, self._require_fitted().specification.seed)
            for rows in row_slices(shares.shape, MAX_ENTRIES):
                tables = mark_products(*observed_marks(shares[rows], items.max_marks))
                for alpha in drawn[:, rows]:
                    sums.add(tables, alpha @ slopes.T + intercepts)
        return sums.result((~np.isnan(shares)).sum(0))

    def standard_errors(self, X: Any, *, observed: Any = None, sample_weight: Any = None) -> StandardErrors:
        """Return standard errors of the item parameters, from the observed information of the marginal likelihood.

        The information is minus the Hessian of the log-likelihood plus the log prior, by central differences of the
        exact gradient (Jamshidian & Jennrich, JRSS B 62, 2000), which comes from quadrature over the ability. It holds
        at the estimates, for the answers of ``fit``. Time grows as n_students n_tasks².

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
            The answers of ``fit``.
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.
        sample_weight : array_like, [n_students], optional
            As for :meth:`fit`: numbers of students with each pattern of answers.

        Returns
        -------
        StandardErrors
            A named tuple of ``discrimination``, ``intercept`` and ``difficulty``, each [n_tasks]; NaN where the
            information has no inverse, for a task without answers and prior, and for slopes of 0.

        Raises
        ------
        ValueError
            If the model has several dimensions: there is no quadrature.
        """
        items = self._one_dimension("standard_errors")
        shares, weights = self._read_weighted(X, observed, sample_weight)
        return standard_errors(items, items.exam(shares, weights, self._threads()))

    def fit_statistics(self, X: Any, *, observed: Any = None, sample_weight: Any = None) -> FitStatistics:
        """Return log-likelihood, AIC, BIC and M2 of the model on the answers of ``fit``.

        AIC and BIC compare models of the same answers, such as "rasch" and "2pl". M2 tests the model against all tables
        of two tasks (Maydeu-Olivares & Joe, JASA 100, 2005): it needs complete answers, solved or not. M2 holds for
        every consistent estimate: if answers are missing at random, pass the complete rows only. AIC and BIC hold for
        maximum likelihood: a weak prior changes them little. Parameters of tasks without answers do not count.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
            The answers of ``fit``.
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.
        sample_weight : array_like, [n_students], optional
            As for :meth:`fit`: numbers of students with each pattern of answers.

        Returns
        -------
        FitStatistics
            A named tuple of ``log_likelihood``, ``n_parameters``, ``n_students``, ``aic``, ``bic`` and ``m2``, which is
            None or a named tuple of ``statistic``, ``df``, ``p_value``, ``rmsea`` and ``srmsr``.

        Raises
        ------
        ValueError
            If the model has several dimensions: there is no quadrature.
        """
        items = self._one_dimension("fit_statistics")
        shares, weights = self._read_weighted(X, observed, sample_weight)
        counts = np.ones(len(shares)) if weights is None else weights.astype(np.float64)
        total = float((items.ability().log_marginal(shares) * counts).sum())
        answered = np.repeat(~np.isnan(shares).all(0), items.widths())
        k, n = int(items.free()[answered].any(0).sum()), float(counts.sum())
        return FitStatistics(total, k, n, *information_criteria(total, k, n), m2(items, shares, counts))

    def differential_functioning(
        self,
        X: Any,
        groups: Any,
        *,
        anchors: Any = None,
        observed: Any = None,
        sample_weight: Any = None,
    ) -> DifferentialFunctioning:
        """Test each task for parameters that differ between groups of students of equal ability.

        Likelihood-ratio tests (Thissen, Steinberg & Wainer, 1993) in a model of several groups, fitted by EM to X
        without priors of slopes and intercepts: abilities of the first group are N(0, 1), those of another group have
        their own mean and standard deviation, so that groups may differ in ability. Twice the difference of the
        log-likelihoods of parameters that the task has for itself in each group, and of equal ones, is chi-squared.
        The fitted model gives the kind of the tasks and starting values; it does not change.

        Parameters
        ----------
        X : array_like, [n_students, n_tasks]
            Answers.
        groups : array_like, [n_students]
            Labels of two or more groups. The first in sorted order is the reference.
        anchors : sequence of int or str, "purify" or None
            Tasks (columns, or names of columns) with equal parameters in all groups. None: each task is tested
            with all others as anchors; if some of these differ, fair tasks may be reported too. "purify" repeats this:
            it removes the task with the largest statistic from the anchors until no adjusted p value is below 0.05.
            Given anchors are not tested.
        observed : array_like of bool, [n_students, n_tasks], optional
            As for :meth:`fit`.
        sample_weight : array_like, [n_students], optional
            As for :meth:`fit`.

        Returns
        -------
        DifferentialFunctioning
            A named tuple of ``statistic``, ``df``, ``p_value``, ``adjusted_p_value``, ``difference`` (expected share of
            the marks, minus that of the first group at equal ability), ``absolute_difference``, ``parameters``,
            ``names``, ``ability_mean``, ``ability_std``, ``groups``, ``anchors`` and ``mantel_haenszel``.

        Raises
        ------
        ValueError
            If the model has several dimensions, there is one group only, a group has no answers to a task, or an anchor
            is not a task.
        """
        items = self._one_dimension("differential_functioning")
        shares = self._read_answers(X, observed)
        weights = data_weights.read(sample_weight, len(shares))
        labels = answers.group_labels(groups, shares, weights)
        tasks = answers.anchor_tasks(anchors, self._require_fitted().feature_names, shares.shape[1])
        rows = data_weights.rows_in_use(weights, None, "X")
        if rows is not None and weights is not None:
            shares, labels, weights = shares[rows], labels[rows], weights[rows]
        return differential_functioning(items, shares, labels, tasks, weights, self._threads())

    set_predict_proba_request = request_setter("predict_proba")

    # Internal

    def _onnx_extras(self) -> Extras:
        from fastvae._export.onnx import Extras, Quadrature

        items = self._items()
        if not items.one_dimension:
            return Extras(exam=True)
        ability = items.ability()
        return Extras(exam=True, quadrature=Quadrature(ability.nodes, ability.log_prior, ability.logits))

    def _one_dimension(self, method: str) -> Items:
        """Return the items, or raise ValueError if the ability has several dimensions."""
        items = self._items()
        if not items.one_dimension:
            raise ValueError(f"{method} needs a model of one dimension: fit with n_dims=1")
        return items

    def _read_weighted(
        self, X: Any, observed: Any, sample_weight: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return answers as shares, and the students' weights (None for ones), without students of weight 0."""
        shares = self._read_answers(X, observed)
        weights = data_weights.read(sample_weight, len(shares))
        rows = data_weights.rows_in_use(weights, None, "X")
        if rows is None or weights is None:
            return shares, weights
        return shares[rows], weights[rows]

    def _items(self) -> Items:
        return Items(self._require_fitted())

    def _read_answers(self, X: Any, observed: Any) -> NDArray[np.float32]:
        """Return answers to the fitted model's tasks as shares of the maximum marks, NaN where missing."""
        marks = self._read_examples(answers.mask_unobserved(X, observed))
        assert isinstance(marks, np.ndarray), "answers are dense"
        return marks
