"""Methods common to the variational estimators: posterior, draws, bounds, diagnosis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, optimizers
from fastvae._data import arrays, examples, weights
from fastvae._data.examples import Data
from fastvae._estimators.by_rows.method import by_rows, opened
from fastvae._estimators.by_rows.noise import RowNoise
from fastvae._estimators.model import Model
from fastvae._fitted import binary, imputation, output, overflow
from fastvae._fitted.diagnosis import Diagnosis, diagnose
from fastvae._fitted.uncertainty import LogMarginal, Predictive
from fastvae._training.description import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_AVERAGED = 2**14  # draws of an example: as many rows of the decoder
_ANOMALY_SAMPLES = 1000  # importance samples of an anomaly score


class Variational(Model):
    """A model with a posterior q(z|x) and a prior p(z)."""

    _LOSSES = ("loss", "reconstruction", "kl", "elbo")
    _HEAD = "mu.weight"
    _PER_OBSERVED = ("reconstruction", "elbo")

    # Codes and draws

    @by_rows("y", result=("codes", "codes"))
    def encode(self, X: Any, *, y: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the parameters of q(z|x) or, for a conditional model, of q(z|x, y).

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Required by a conditional model.

        Returns
        -------
        mu : ndarray of float32, [n_examples, latent_dim]
        logvar : ndarray of float32, [n_examples, latent_dim]
            ln sigma², as the encoder computes it; every use clamps it to [-30, 20].
        """
        return self._encode(X, y, logvar=True)

    def sample(
        self,
        n: int,
        *,
        y: Any = None,
        random_state: Any = None,
        return_latent: bool = False,
        draw: bool = False,
        lengths: Any = None,
    ) -> Any:
        """Generate examples: draw z from the prior N(0, I) and decode it.

        Parameters
        ----------
        n : int
            Number of examples.
        y : label or array_like, optional
            Required by a conditional model: one label (or row of covariates) for all examples, or n of them. z depends
            on ``random_state`` only, not on y.
        random_state : int, numpy generator or None
            None uses the estimator's ``random_state`` or, if that is None too, fresh entropy.
        return_latent : bool
            Return (x, z).
        draw : bool
            Draw x from p(x|z) instead of returning its mean.
        lengths : int or array_like of int, [n], optional
            Number of words of each document, or expected total of each row of counts. Required by ``draw=True`` with a
            multinomial likelihood or a size factor.

        Returns
        -------
        x : ndarray of float32, [n, n_features]
            Images have the shape that they had in the training X.
        z : ndarray of float32, [n, latent_dim]
            Only if ``return_latent``.

        Raises
        ------
        ValueError
            If y does not fit the model, or ``lengths`` is missing or not applicable.
        """
        n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
        draw, return_latent = _checks.boolean(draw, "draw"), _checks.boolean(return_latent, "return_latent")
        self._require_fitted()
        conditions = self._read_conditions(y, n, one=True)
        noise, words = self._noise_for(random_state), self._lengths(lengths, n, draw)
        x, z = self._sampled(n, noise, conditions, words, draw)
        return (x, z) if return_latent else x

    @by_rows("y", result="codes", draws="n")
    def posterior_sample(self, X: Any, n: int, random_state: Any = None, *, y: Any = None) -> NDArray[np.float32]:
        """Draw codes of each example from q(z|x) = N(mu(x), sigma(x)²).

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        n : int
            Draws per example.
        random_state : int, numpy generator or None
            As for ``sample``. The noise depends on it, the number of the draw and the row of X: the first draws are
            the same for any ``n``.
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Required by a conditional model.

        Returns
        -------
        ndarray of float32, [n, n_examples, latent_dim]
        """
        n = _checks.integer(n, "n", most=_checks.MAX_DRAWS)
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        noise = self._noise_for(random_state)
        return fitted.posterior_sample(X, y, n, noise.seed, self._threads(), noise.first)

    @by_rows("y", result=("examples",) * 3, kind=Predictive)
    def predictive(self, X: Any, n: int = 100, random_state: Any = None, *, y: Any = None) -> Predictive:
        """Return mean and standard deviations of the posterior predictive p(x'|x) = E_q(z|x) p(x'|z).

        By the law of total variance Var[x'] = Var_q(E[x'|z]) + E_q(Var[x'|z]), where Var[x'|z] is p (1 - p) for a
        Bernoulli, s² for a Gaussian, m for a Poisson, m + m² / r for a negative binomial (with zero inflation w:
        (1 - w) m (1 + m (w + 1 / r))), and p (1 - p) for a single word of a multinomial.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        n : int
            Draws of z, at least 2: the draws of ``posterior_sample``. Memory does not depend on n. The standard error
            of ``mean`` is latent_std / sqrt(n).
        random_state : int, numpy generator or None
            As for ``sample``.
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Required by a conditional model.

        Returns
        -------
        Predictive
            A named tuple of ``mean``, ``latent_std`` (over the n draws, with divisor n) and ``observation_std``, each
            float32 in the shape of X.

        Raises
        ------
        ValueError
            If n is less than 2, or X or y does not fit the model.

        Notes
        -----
        Both standard deviations are conditional on the weights. They do not include the (epistemic) uncertainty about
        the weights, and need not grow far from the training data.
        """
        if _checks.integer(n, "n", most=_checks.MAX_DRAWS) == 1:
            raise ValueError("n=1 has no spread: predictive needs at least two draws of z; reconstruct needs none")
        fitted, data = self._require_fitted(), self._read_data(X, y)
        noise = self._noise_for(random_state)
        moments = fitted.predictive(*data, n, noise.seed, self._threads(), noise.first)
        return Predictive(*(fitted.shaped(moment, X) for moment in moments))

    def impute(
        self,
        X: Any,
        *,
        y: Any = None,
        draws: int | None = None,
        n_iter: int = 0,
        n_samples: int = 0,
        random_state: Any = None,
    ) -> NDArray[Any]:
        """Replace missing values (NaN) by means or by draws, given the observed values.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Required by a conditional model.
        draws : int or None
            None imputes means. A number draws z and then the missing values from p(x|z), that many times (multiple
            imputation).
        n_iter : int
            Further rounds: each encodes and decodes the result of the previous one, imputed values included. With draws
            the rounds are a Markov chain (Rezende, Mohamed & Wierstra, arXiv:1401.4082). They help a model fitted to
            complete data: for digits with 30 % of the pixels missing, ten rounds reduced the error from 0.25 to 0.16. A
            model fitted to data with as many missing values needs none. With a Gaussian likelihood many rounds can
            diverge.
        n_samples : int
            0 uses q(z|x_obs) as it is: means are decoded from its mean, and draws of z are from it. A number imputes
            from the model's own p(x_mis|x_obs), by importance sampling with as many draws of z (MIWAE; Mattei &
            Frellsen, arXiv:1812.02633): means are weighted by w = p(x_obs|z) p(z) / q(z|x_obs), and draws of z are
            chosen with probabilities proportional to w. Intervals of draws then have their nominal coverage if the
            model fits the data. 1,000 are enough for tables with few latent dimensions; the time is that of as many
            passes through the decoder. In many latent dimensions few draws have all the weight (see ``ess`` of
            ``log_marginal``): then 0 is better. ``n_iter`` improves the proposal: q is given the means of those rounds.
        random_state : int, numpy generator or None
            Seed of the draws, as for ``sample``. The first draws are the same for any number of draws.

        Returns
        -------
        ndarray in the shape of X, or ``[draws, *X.shape]``
            In the type of X (float64 for a list), without its condition columns; observed values are unchanged.

        Raises
        ------
        ValueError
            If the model was not fitted with ``missing="mask"``.
        FloatingPointError
            If all importance weights of an example are 0 or not finite.
        """
        X = examples.whole(X)
        filled = self._imputed(X, y, draws, n_iter, n_samples, random_state)
        X = self._without_condition(X) if y is None else X
        return imputation.with_observed(filled, X, self._require_fitted().scale)

    # Bounds

    @by_rows("y", result="scores")
    def anomaly_score(
        self, X: Any, *, y: Any = None, method: str = "elbo", n_samples: int | None = None
    ) -> NDArray[np.float32]:
        """Return the negative ELBO or -log p(x) of each example in nats: higher is more anomalous.

        The negative ELBO is an upper bound on -log p(x). A density is no test for anomalies: simple (dark, smooth)
        examples can be more likely than the training data and then score low (Nalisnick et al., arXiv:1810.09136).
        Check the scores of known anomalies. For tables :class:`fastvae.AnomalyDetector` has settings, robust training
        and a threshold.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, optional
            Required by a conditional model, as in ``fit``.
        method : {"elbo", "log_marginal"}
            -``score_samples(X)``, or -log p(x) by importance sampling, which has less noise and depends less on the
            encoder's errors: see ``log_marginal``.
        n_samples : int or None
            Draws of z for each example. None: as ``score_samples`` for "elbo", 1,000 for "log_marginal".

        Returns
        -------
        ndarray of float32, [n_examples]
        """
        if _checks.choice(method, "method", ("elbo", "log_marginal")) == "elbo":
            return -self.score_samples(X, y=y, n_samples=n_samples)
        found = self.log_marginal(X, _ANOMALY_SAMPLES if n_samples is None else n_samples, y=y)
        return -found.estimate.astype(np.float32)

    def variable_log_prob(
        self, X: Any, *, y: Any = None, n_samples: int = 32, random_state: Any = None
    ) -> NDArray[np.float32]:
        """Return E_q(z|x) log p(x_v|z) of each variable v of a table, in nats: which column of an example is odd.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Required by a conditional model.
        n_samples : int
            Draws of z from q(z|x) that are averaged.
        random_state : int, numpy generator or None
            As for ``sample``.

        Returns
        -------
        ndarray of float32, [n_examples, n_variables]
            One column for each of the ``variables`` of :class:`fastvae.likelihoods.Mixed`, without the weights of
            groups; 0 where the variable is missing. The sum of a row estimates the reconstruction term of its ELBO.

        Raises
        ------
        ValueError
            If the likelihood is not :class:`fastvae.likelihoods.Mixed`, or X or y does not fit the model.
        """
        samples = _checks.integer(n_samples, "n_samples", most=_checks.MAX_DRAWS)
        fitted = self._require_fitted()
        if not fitted.specification.mixed:
            raise ValueError("variable_log_prob needs a model of a table: likelihood=fastvae.likelihoods.Mixed([...])")
        X, y = self._read_data(X, y)
        noise = self._noise_for(random_state)
        found = fitted.variable_log_prob(X, y, samples, noise.seed, self._threads(), noise.first)
        overflow.check(found.sum(1), X)
        return found

    @by_rows("y", "eps", result="scores")
    def score_samples(
        self, X: Any, *, y: Any = None, eps: Any = None, n_samples: int | None = None, out: Any = None
    ) -> NDArray[np.float32]:
        """Return the ELBO of each example in nats: a lower bound on log p(x), or log p(x|y) of a conditional model.

        beta is 1, the KL analytic, the reconstruction estimated with one draw of z or, with ``n_importance_samples``,
        with the mean over as many. The importance-weighted bound itself is in ``evaluate`` (mean) and ``log_marginal``.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, optional
            Required by a conditional model, as in ``fit``.
        eps : array_like, [n_examples, latent_dim], optional
            The noise; [n_examples, n_importance_samples, latent_dim] with several samples. By default the noise depends
            on the model's seed and the content of the example (and y), so a score does not depend on the other
            examples of X or their order.
        n_samples : int or None
            Draws of z whose reconstructions are averaged, at most 2**14; the variance of the estimate falls as
            1 / n_samples. None is ``n_importance_samples``.
        out : ndarray or memory map, [n_examples], optional
            C-contiguous float32: the result is written to it. It must not share memory with X, y or eps.

        Returns
        -------
        ndarray of float32, [n_examples]
            `out`, if given.
        """
        samples = self._objective().samples
        if n_samples is not None:
            samples = _checks.integer(n_samples, "n_samples", most=_MAX_AVERAGED)
        fitted, (read, y) = self._require_fitted(), self._read_data(X, y)
        noise = self._read_noise(eps, len(read), samples)
        out = output.check(out, (len(read),), {"X": X, "X as it is read": read, "y": y, "eps": noise})
        reconstruction, kl, _ = fitted.score(read, y, self._threads(), eps=noise, samples=samples)
        scores: NDArray[np.float32] = np.add(reconstruction, kl, out=out)
        np.negative(scores, out=scores)
        overflow.check(scores, read)
        return scores

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, *, n_samples: int | None = None) -> float:
        """Return the mean of ``score_samples``, nats per example: higher is better.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, optional
            Required by a conditional model; others ignore it.
        sample_weight : array_like, [n_examples], optional
            Weights of the mean, sum w_i elbo_i / sum w_i.
        n_samples : int or None
            Draws of z that are averaged, as in ``score_samples``: the ELBO with less noise, not the importance-weighted
            bound.

        Returns
        -------
        float

        Notes
        -----
        The score is an ELBO with the weight 1 of the KL, whatever the objective was. So a search may compare
        ``latent_dim``, ``hidden``, ``beta``, ``free_bits``, ``capacity``, schedules, corruption and the optimiser by
        it, and of likelihoods those of the same kind of data: densities of X in the same units (Gaussians), or
        probabilities of counts or of binary X. It does not compare a density with a probability, p(x|y) with p(x), or
        grey values with binarized ones. The ELBO is below log p(x) by the KL of q from the posterior, which a model
        with ``n_importance_samples`` does not minimise: compare such models by ``log_marginal``.
        """
        y = self._y_if_conditional(y)
        if n_samples is None:
            return self.evaluate(X, y=y, sample_weight=sample_weight)["elbo"]
        scores = self.score_samples(X, y=y, n_samples=n_samples).astype(np.float64)
        return float(np.average(scores, weights=weights.read(sample_weight, len(scores))))

    def evaluate(self, X: Any, *, y: Any = None, eps: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """Return mean losses of X in nats per example.

        ``corruption`` and ``binarize`` do not apply here: they belong to training and ``loss_and_gradients``.

        Parameters
        ----------
        X, y, eps
            As for ``score_samples``.
        sample_weight : array_like, [n_examples], optional
            Weights of all means, sum w_i loss_i / sum w_i.

        Returns
        -------
        dict of str to float
            ``reconstruction`` = -E log p(x|z), ``kl``, ``elbo`` = -reconstruction - kl, and ``loss``, the objective
            with X as one batch and schedules at the last step. With K = ``n_importance_samples`` > 1 the
            reconstruction is the mean over K draws, and ``loss`` = -L_K of the same draws. Only ``loss`` has the
            weights of :class:`fastvae.likelihoods.Mixed`. With ``missing="mask"`` also ``reconstruction_per_observed``
            and ``elbo_per_observed`` in nats per observed value: sums over X divided by the number of observed values
            (NaN if there are none).
        """
        fitted, objectives = self._require_fitted(), [self._current_objective().for_core()]
        source, X = opened(self, X)
        if source is not None:
            return self._losses_of_source(source, X, y, sample_weight, objectives, eps=eps)
        X, y = self._read_data(X, y)
        data, noise = Data(X, y, weights.read(sample_weight, len(X))), self._read_noise(eps, len(X))
        options: dict[str, Any] = {"threads": self._threads(), "objectives": objectives, "eps": noise}
        reconstruction, kl, (loss,) = fitted.mean_losses(data, **options, balanced=False)
        if fitted.specification.balanced:
            *_, (loss,) = fitted.mean_losses(data, **options)
        losses = overflow.check_means(self._name_losses(reconstruction, kl, loss), X)
        return losses | self._per_observed({key: losses[key] for key in self._PER_OBSERVED}, data)

    @by_rows("y", result=("scores",) * 3, kind=LogMarginal, dtype=np.float64)
    def log_marginal(self, X: Any, n_samples: int = 5000, *, y: Any = None) -> LogMarginal:
        """Estimate log p(x) of each example by importance sampling (Burda et al., arXiv:1509.00519, equation 8).

        The estimate is the logarithm of the mean of ``n_samples`` weights w = p(x|z) p(z) / q(z|x), z ~ q(z|x). Its
        expectation is a lower bound on log p(x) that rises with the number of samples. With one sample it is an ELBO
        without the analytic KL.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            With a Bernoulli likelihood only 0 and 1: a grey value has no probability (see :func:`fastvae.binarize`).
        n_samples : int
            Samples per example; memory does not depend on it. The noise depends on the model's seed and the content of
            the example, as in ``score_samples``.
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Required by a conditional model, which estimates log p(x|y).

        Returns
        -------
        LogMarginal
            ``estimate`` in nats, its ``standard_error`` by the delta method (NaN for one sample) and the effective
            sample size ``ess`` = (sum w)² / sum w²: float64 [n_examples]. If ``ess`` is small, few samples dominate,
            and neither estimate nor standard error is reliable.

        Raises
        ------
        ValueError
            If X has grey values and the likelihood is Bernoulli.
        """
        n_samples = _checks.integer(n_samples, "n_samples", most=2**31)
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        if fitted.specification.likelihood["kind"] == "bernoulli":
            binary.check(fitted, X, "X", self._binarize(), self._threads())
        found = fitted.log_marginal(X, y, n_samples, self._threads())
        overflow.check(found.estimate, X)
        return found

    # Description

    def describe_objective(self) -> str:
        """Return the objective of ``fit`` as one paragraph: the exact formula, its constants, sums and means."""
        plan = self._plan()
        specification = self._specification(self._min_features(), int(self._conditional()))
        optimizer = optimizers.instance_of(self.optimizer)
        if self.weight_decay is not None:
            optimizer = replace(optimizer, weight_decay=self.weight_decay)
        return describe(plan, specification, optimizer, self._corruption(), self._likelihood_formula())

    def diagnose(self, X: Any, *, y: Any = None) -> Diagnosis:
        """Diagnose the use of the latent space: KL and activity of each dimension, collapse, clamped log variances.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            At least two examples.
        y : array_like, optional
            Required by a conditional model, as in ``fit``.

        Returns
        -------
        Diagnosis
            Numbers and messages: ``print(vae.diagnose(X))``.

        Raises
        ------
        ValueError
            If X has fewer than two examples.
        """
        mu, logvar = self.encode(X, y=y)
        kl_only = self._current_objective().reconstruction == 0
        clamped = self._require_fitted().engine.clamped
        return diagnose(mu, logvar, clamped, self.get_params(), kl_only=kl_only)

    # Internal: overridden by subclasses

    def _prior(self, n: int, seed: int, first: int = 0) -> NDArray[np.float32]:
        """Draw the decoder's input from the prior, [n, latent_dim]; `first` is the number of the first row."""
        return self._require_fitted().prior(n, seed, first)

    def _likelihood_formula(self) -> str | None:
        """Return the formula of a likelihood that is not in :mod:`fastvae.likelihoods`."""
        return None

    # Internal

    def _name_losses(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl, "loss": loss}

    def _seed_for(self, random_state: Any) -> int:
        return _checks.seed(self.random_state if random_state is None else random_state)

    def _noise_for(self, random_state: Any) -> RowNoise:
        """Return the seed and the number of the first row, which is 0 unless X is a block of other rows."""
        return random_state if isinstance(random_state, RowNoise) else RowNoise(self._seed_for(random_state))

    def _sampled(
        self, n: int, noise: RowNoise, conditions: NDArray[Any] | None, words: NDArray[np.uint32] | None, draw: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x and z of ``sample``, with conditions as the engine reads them."""
        fitted, threads = self._require_fitted(), self._threads()
        z = self._prior(n, *noise)
        if draw:
            x = fitted.sample(z, conditions, words, noise.seed, threads, noise.first)
        else:
            x = fitted.decode(z, conditions, threads)
        return fitted.shaped(x), z

    def _read_one_or_each(self, y: Any, n: int) -> NDArray[Any] | None:
        """Return y of `n` examples as the engine reads it: a single row if one stands for all, else n."""
        try:
            return self._read_conditions(y, 1, one=True)
        except ValueError:
            return self._read_conditions(y, n, one=True)

    def _imputed(
        self, X: Any, y: Any, draws: int | None, n_iter: int, n_samples: int, random_state: Any
    ) -> NDArray[np.float32]:
        """Return X with missing values imputed, as the engine reads it, in the shape of X or [draws, *X.shape]."""
        n_iter = _checks.integer(n_iter, "n_iter", least=0)
        n_samples = _checks.integer(n_samples, "n_samples", least=0, most=2**31)
        fitted = self._require_fitted()
        if draws is not None:
            draws = _checks.integer(draws, "draws", most=_checks.MAX_DRAWS)
        seed = None if draws is None else self._seed_for(random_state)
        imputation.check(fitted, type(self).__name__)
        read, y = self._read_data(X, y)
        values = examples.floats(read, "X", counts=fitted.specification.counts)
        options = (n_iter, n_samples)
        if draws is None or seed is None:
            return fitted.shaped(imputation.with_means(fitted, values, y, *options, self._threads()), X)
        return fitted.shaped(imputation.with_draws(fitted, values, y, draws, *options, seed, self._threads()), X)

    def _lengths(self, lengths: Any, n: int, draw: bool) -> NDArray[np.uint32] | None:
        """Return the lengths of `n` documents or rows of counts to draw, checked; None otherwise or without a draw."""
        specification = self._require_fitted().specification
        documents, sized = specification.documents, specification.sized
        size = specification.likelihood.get("size_factor", "total")
        if lengths is None and draw and documents:
            raise ValueError(
                "draw=True needs lengths= for a multinomial likelihood, the number of words per document; draw=False "
                "returns the probabilities of the words"
            )
        if lengths is None and draw and sized:
            raise ValueError(
                f'draw=True needs lengths= for a likelihood with size_factor="{size}", the expected total of each row; '
                "draw=False returns the means for a total of one"
            )
        if lengths is None:
            return None
        if not (draw and (documents or sized)):
            raise ValueError(
                f'lengths={lengths!r} needs draw=True and a multinomial likelihood or size_factor="{size}": leave it '
                "out"
            )
        return arrays.lengths(lengths, n)

    def _read_noise(self, eps: Any, n: int, samples: int | None = None) -> NDArray[np.float32] | None:
        latent_dim = self._latent_dim() if self._fitted is None else self._fitted.latent_dim
        samples = self._objective().samples if samples is None else samples
        if samples == 1:
            return arrays.noise(eps, "eps", (n, latent_dim), "[n_examples, latent_dim]")
        meaning = "[n_examples, n_importance_samples, latent_dim]"
        noise = arrays.noise(eps, "eps", (n, samples, latent_dim), meaning)
        return None if noise is None else noise.reshape(n * samples, latent_dim)
