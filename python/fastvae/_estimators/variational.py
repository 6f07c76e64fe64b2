"""What the estimators of variational models have in common: the posterior, draws, bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, optimizers
from fastvae._data import arrays
from fastvae._estimators.model import Model
from fastvae._fitted import binary, imputation
from fastvae._fitted.diagnosis import Diagnosis, diagnose
from fastvae._fitted.uncertainty import LogMarginal, Predictive
from fastvae._training.description import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Variational(Model):
    """A model whose code has a distribution q(z|x), and a prior."""

    _LOSSES = ("loss", "reconstruction", "kl", "elbo")
    _HEAD = "mu.weight"

    # Codes and draws

    def encode(self, X: Any, *, y: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Parameters of q(z|x): mu and logvar = ln sigma² (clamped to [-30, 20] where it is used).

        A conditional model needs y, and then they are those of q(z|x, y).

        Returns
        -------
        mu, logvar : ndarray of float32, [n_examples, latent_dim]
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
        """Generate from the prior: z ~ N(0, I), then the decoder.

        Parameters
        ----------
        n : int
            How many.
        y : label or array_like, optional
            Of a conditional model: one label (or row of covariates) for all, or n of them. The same ``random_state``
            gives the same z whatever y.
        random_state : int, numpy generator or None
            None uses the estimator's ``random_state`` and, where that is None too, fresh entropy.
        return_latent : bool
            Return (x, z).
        draw : bool
            Draw x from p(x|z) instead of returning its mean; with the scale at that z where the decoder gives it.
        lengths : int or array_like of int, [n], optional
            With ``draw`` and a multinomial likelihood, which need it: the words of each document, or of all.

        Returns
        -------
        x : ndarray of float32, [n, n_features]
        z : ndarray of float32, [n, latent_dim]
            Only if ``return_latent``.
        """
        n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
        fitted, conditions = self._require_fitted(), self._read_conditions(y, n, one=True)
        seed, words = self._seed_for(random_state), self._lengths(lengths, n, draw)
        z = self._prior(n, seed)
        threads = self._threads()
        x = fitted.sample(z, conditions, words, seed, threads) if draw else fitted.decode(z, conditions, threads)
        return (x, z) if return_latent else x

    def posterior_sample(self, X: Any, n: int, random_state: Any = None, *, y: Any = None) -> NDArray[np.float32]:
        """Draw codes of each example from q(z|x) = N(mu(x), sigma(x)²).

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        n : int
            Draws of each example.
        random_state : int, numpy generator or None
            As for ``sample``. The noise is keyed by it, the draw and the row of X: the first draws are the same for
            any ``n``.
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Of a conditional model.

        Returns
        -------
        ndarray of float32, [n, n_examples, latent_dim]
        """
        n = _checks.integer(n, "n", most=_checks.MAX_DRAWS)
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        return fitted.posterior_sample(X, y, n, self._seed_for(random_state), self._threads())

    def predictive(self, X: Any, n: int = 100, random_state: Any = None, *, y: Any = None) -> Predictive:
        """Mean and spread of x' given x, z not known but distributed as q(z|x): p(x'|x) = E_q(z|x) p(x'|z).

        Two spreads apart, by the law of total variance: Var[x'] = Var_q(E[x'|z]) + E_q(Var[x'|z]), where Var[x'|z] is
        p (1 - p) for a Bernoulli, s² for a Gaussian, m for a Poisson, m + m² / r for a negative binomial, and for a
        multinomial p (1 - p), that of a single word.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        n : int
            Draws of z, at least 2, those of ``posterior_sample``; their memory does not grow with n. The mean's
            standard error is latent_std / sqrt(n).
        random_state : int, numpy generator or None
            As for ``sample``.
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Of a conditional model.

        Returns
        -------
        Predictive
            A named tuple of ``mean``, ``latent_std`` (over the n draws, divided by n) and ``observation_std``, each
            float32 [n_examples, n_features].

        Notes
        -----
        Both spreads are the model's own, its weights taken as given: what it says of x' if it is right. Neither is the
        (epistemic) uncertainty about the weights, and neither grows where there were no data to train on.
        """
        if _checks.integer(n, "n", most=_checks.MAX_DRAWS) == 1:
            raise ValueError("n=1 has no spread: predictive takes at least two draws of z (and reconstruct takes none)")
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        return fitted.predictive(X, y, n, self._seed_for(random_state), self._threads())

    def impute(
        self, X: Any, *, y: Any = None, draws: int | None = None, n_iter: int = 0, random_state: Any = None
    ) -> NDArray[np.float32]:
        """Fill in what is NaN: with its predictive mean, or with draws given what is observed.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Of a conditional model.
        draws : int or None
            None fills in the decoder's mean at the posterior's. A number draws z from q(z|x), then what is missing from
            p(x|z), that many times: the spread over the draws is what is not known (multiple imputation), their mean
            another predictive mean.
        n_iter : int
            How often the result is encoded and decoded again, each time with what was filled in before; of draws, a
            Markov chain (Rezende, Mohamed & Wierstra, arXiv:1401.4082). It helps a model that was fitted to complete
            data, whose encoder has seen no holes: of digits without 30 % of their pixels, ten rounds took the error
            from 0.25 to 0.16. A model that was fitted to data with as many holes needs none, and with a Gaussian
            likelihood many rounds can run away.
        random_state : int, numpy generator or None
            Of the draws, as for ``sample``. The first draws are the same for any number of them.

        Returns
        -------
        ndarray of float32, [n_examples, n_features], or [draws, n_examples, n_features]
            Observed values as they are.

        Raises
        ------
        ValueError
            If the model was not fitted with ``missing="mask"``.
        """
        n_iter = _checks.integer(n_iter, "n_iter", least=0)
        fitted = self._require_fitted()
        if draws is not None:
            draws = _checks.integer(draws, "draws", most=_checks.MAX_DRAWS)
        seed = None if draws is None else self._seed_for(random_state)
        imputation.check(fitted, type(self).__name__)
        X, y = self._read_data(X, y)
        values = arrays.floats(X, "X", counts=fitted.specification.counts)
        if draws is None or seed is None:
            return imputation.with_means(fitted, values, y, n_iter, self._threads())
        return imputation.with_draws(fitted, values, y, draws, n_iter, seed, self._threads())

    # Bounds

    def anomaly_score(self, X: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Score how unlike the training data each example is: -``score_samples(X)``, nats, higher is more anomalous.

        The negative ELBO is an upper bound on -log p(x), and a density is no test: simple examples (dark, smooth ones)
        can be likelier than all that the model has learned, and then score low (Nalisnick et al., arXiv:1810.09136).
        Look at the scores of known anomalies.

        Returns
        -------
        ndarray of float32, [n_examples]
        """
        return -self.score_samples(X, y=y)

    def score_samples(self, X: Any, *, y: Any = None, eps: Any = None) -> NDArray[np.float32]:
        """ELBO of each example in nats (beta = 1, analytic KL, one draw of z): a lower bound on log p(x) or log p(x|y).

        A model with ``n_importance_samples`` takes the mean over as many draws. The score remains an ELBO: of the
        tighter bound that such a model maximises ``evaluate`` tells the mean, and ``log_marginal`` each example's.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, optional
            Of a conditional model, as in ``fit``.
        eps : array_like, [n_examples, latent_dim], optional
            The noise; [n_examples, n_importance_samples, latent_dim] where there are several. Without it, noise keyed
            by the model's seed and the example's content (and y), so that a score depends neither on the order nor on
            the company.

        Returns
        -------
        ndarray of float32, [n_examples]
        """
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        noise, samples = self._read_noise(eps, len(X)), self._objective().samples
        reconstruction, kl, _ = fitted.score(X, y, self._threads(), eps=noise, samples=samples)
        return -(reconstruction + kl)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of ``score_samples``: higher is better. Only a conditional model looks at y."""
        return self.evaluate(X, y=self._y_if_conditional(y))["elbo"]

    def evaluate(self, X: Any, *, y: Any = None, eps: Any = None) -> dict[str, float]:
        """Mean losses in nats per example of X as it is; the arguments are those of ``score_samples``.

        Neither ``corruption`` nor ``binarize`` touches X: those are training's, and ``loss_and_gradients``'s.

        Returns
        -------
        dict
            ``reconstruction`` = -E log p(x|z), ``kl``, ``elbo`` = -reconstruction - kl, and ``loss``, the objective
            with X as its batch; of schedules, the values of the last step. With ``n_importance_samples`` K the first is
            the mean over the K draws, and ``loss`` = -L_K of the same draws. With ``missing="mask"`` also
            ``reconstruction_per_observed`` and ``elbo_per_observed``, nats per observed value: the sums over X divided
            by how many values of X are no NaN (NaN if all are).
        """
        fitted, objectives = self._require_fitted(), [self._current_objective().for_core()]
        data = self._read_data(X, y)
        noise = self._read_noise(eps, len(data[0]))
        reconstruction, kl, (loss,) = fitted.mean_losses(*data, self._threads(), objectives, eps=noise)
        losses = self._name_losses(reconstruction, kl, loss)
        return losses | self._per_observed({key: losses[key] for key in ("reconstruction", "elbo")}, X)

    def log_marginal(self, X: Any, n_samples: int = 5000, *, y: Any = None) -> LogMarginal:
        """Estimate log p(x) of each example by importance sampling (Burda et al., arXiv:1509.00519, equation 8).

        The logarithm of the mean of ``n_samples`` weights p(x|z) p(z) / q(z|x), z ~ q(z|x). In expectation it is below
        log p(x), the closer the more samples; with one sample it is an ELBO without the analytic KL.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            Of a Bernoulli likelihood 0 and 1 only: a grey value has no probability (:func:`fastvae.binarize`).
        n_samples : int
            How many weights for each example, all in constant memory. Their noise is keyed by the model's seed and the
            example's content, as that of ``score_samples``.
        y : array_like, [n_examples] or [n_examples, n_covariates]
            Of a conditional model: the estimate is of log p(x|y).

        Returns
        -------
        LogMarginal
            ``estimate`` in nats, its ``standard_error`` by the delta method (NaN for one sample) and the effective
            sample size ``ess`` = (sum w)² / sum w²: arrays of float64, [n_examples]. A small ``ess`` says that few
            samples decide, and that both numbers are not to be trusted.

        Raises
        ------
        ValueError
            If grey values meet a Bernoulli likelihood.
        """
        n_samples = _checks.integer(n_samples, "n_samples", most=2**31)
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        if fitted.specification.likelihood["kind"] == "bernoulli":
            binary.check(fitted, X, "X", self._binarize(), self._threads())
        return fitted.log_marginal(X, y, n_samples, self._threads())

    # Words

    def describe_objective(self) -> str:
        """Say in one paragraph what ``fit`` maximises: the exact formula, its constants, sums and means."""
        plan = self._plan()
        specification = self._specification(self._fewest_features(), int(self._conditional()))
        optimizer = optimizers.chosen(self.optimizer)
        if self.weight_decay is not None:
            optimizer = replace(optimizer, weight_decay=self.weight_decay)
        return describe(plan, specification, optimizer, self._corruption(), self._likelihood_in_words())

    def diagnose(self, X: Any, *, y: Any = None) -> Diagnosis:
        """Look at how the latent space is used: KL and activity of each dimension, collapse, clamped log variances.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            At least two examples.
        y : array_like, optional
            Of a conditional model, as in ``fit``.

        Returns
        -------
        Diagnosis
            Numbers, and what they mean in words: ``print(vae.diagnose(X))``.
        """
        mu, logvar = self.encode(X, y=y)
        kl_only = self._current_objective().reconstruction == 0
        clamped = self._require_fitted().engine.clamped
        return diagnose(mu, logvar, clamped, self.get_params(), kl_only=kl_only)

    # Internal: what a subclass decides

    def _prior(self, n: int, seed: int) -> NDArray[np.float32]:
        """Draw the decoder's input from the prior, [n, latent_dim]."""
        return self._require_fitted().prior(n, seed)

    def _fewest_features(self) -> int:
        """Return how many features there can be for the parameters to be good."""
        return 1

    def _likelihood_in_words(self) -> str | None:
        """Return the formula of a likelihood that is none of :mod:`fastvae.likelihoods`."""
        return None

    # Internal

    def _name_losses(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl, "loss": loss}

    def _seed_for(self, random_state: Any) -> int:
        return _checks.seed(self.random_state if random_state is None else random_state)

    def _lengths(self, lengths: Any, n: int, draw: bool) -> NDArray[np.uint32] | None:
        """Return the words of `n` documents that are to be drawn, checked."""
        documents = self._require_fitted().specification.documents
        if lengths is None and draw and documents:
            raise ValueError(
                "how many words does a document have? A multinomial likelihood does not say: pass lengths=, or "
                "draw=False for the probabilities of the words"
            )
        if lengths is None:
            return None
        if not (draw and documents):
            raise ValueError(f"lengths={lengths!r} is for draw=True and a multinomial likelihood")
        return arrays.lengths(lengths, n)

    def _read_noise(self, eps: Any, n: int) -> NDArray[np.float32] | None:
        latent_dim = self._latent_dim() if self._fitted is None else self._fitted.latent_dim
        samples = self._objective().samples
        if samples == 1:
            return arrays.noise(eps, "eps", (n, latent_dim), "[n_examples, latent_dim]")
        wanted = "[n_examples, n_importance_samples, latent_dim]"
        noise = arrays.noise(eps, "eps", (n, samples, latent_dim), wanted)
        return None if noise is None else noise.reshape(n * samples, latent_dim)
