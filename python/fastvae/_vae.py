"""The variational autoencoder as an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, _input, _missing, likelihoods, schedules
from fastvae._binary import WAYS, check_binary
from fastvae._description import describe
from fastvae._diagnosis import Diagnosis, diagnose
from fastvae._model import Model
from fastvae._objective import Objective, mean_bound
from fastvae._uncertainty import LogMarginal, Predictive

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OBJECTIVES = ("elbo", "reconstruction", "kl")

# Draws are numbered by a word of the noise's counter; floats count so far.
MAX_DRAWS = 2**24

# Beyond it a batch of one example already has more rows than any machine has use for.
_MAX_SAMPLES = 2**20


class VAE(Model):
    """Variational autoencoder with dense encoder and decoder (Kingma & Welling, arXiv:1312.6114).

    Maximises E_q log p(x|z) - beta KL(q(z|x) || N(0, I)), where q(z|x) = N(mu(x), sigma(x)²) is the encoder's
    and p(x|z) the decoder's. Losses are sums over features and means over examples, in nats.

    Parameters
    ----------
    latent_dim : int
        Columns of z.
    hidden : sequence of int
        Widths of the encoder's hidden layers; ``()`` is a linear model.
    decoder_hidden : sequence of int or None
        Those of the decoder; None mirrors ``hidden``.
    activation : str
        "relu", "tanh", "sigmoid", "softplus", "elu", "gelu" (exact), "silu" or "identity".
    likelihood : str or object
        "bernoulli" (values in [0, 1]), "gaussian" (scale 1), "poisson", "negative_binomial" or "multinomial" (counts),
        or an object from :mod:`fastvae.likelihoods`.
    beta : float or schedule
        The KL's weight in the loss (Higgins et al., "beta-VAE", ICLR 2017), or a schedule from
        :mod:`fastvae.schedules`.
    free_bits : float
        Nats of KL, as a mean over the batch, that cost nothing in each latent dimension: the term is
        beta sum_j max(KL_j, free_bits) (Kingma et al., arXiv:1606.04934).
    capacity : float, schedule or None
        A target C for the KL in nats: the term is beta abs(KL - C) (Burgess et al., arXiv:1804.03599).
    n_importance_samples : int
        Draws K of z for each example. With more than one the objective is the importance-weighted bound, a lower bound
        on log p(x) that is the tighter the larger K: L_K = E[log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)] (Burda et al.,
        arXiv:1509.00519). It wants ``beta=1``, ``free_bits=0``, ``capacity=None`` and ``objective="elbo"``. A step
        takes the encoder's time once and the decoder's K times, and memory for ``batch_size`` K rows of the decoder.
    doubly_reparameterized : bool
        With importance samples: the encoder's gradient is that of Tucker et al. (arXiv:1810.04152), which is the same
        in expectation and less noisy. It costs no time.
    conditional : bool
        Model p(x|y) of the y that ``fit`` is given: labels, which are one-hot inside, or real covariates. The encoder
        reads [x, y], the decoder [z, y], the prior of z is N(0, I) whatever y (Kingma et al., arXiv:1406.5298, M2).
        Every method that takes X or codes then needs y, and ``sample`` generates what is asked for.
    objective : {"elbo", "reconstruction", "kl"}
        The loss has both terms, the reconstruction alone, or the KL's alone. z is sampled in all three.
    binarize : {"bernoulli", "threshold"} or None
        For a Bernoulli likelihood: makes the grey values of training and validation data binary, so that it is a
        probability. "bernoulli" draws 1 with the value as its probability, anew in each epoch (Burda et al.,
        arXiv:1509.00519) and once and for all, by a draw that no epoch has, for validation and ``loss_and_gradients``;
        "threshold" takes 1 above one half. Questions are about the data that they are given.
    input_transform : {"log1p", "binary", "l1", "l2"} or None
        For counts: what the encoder sees is ln(1 + x) (of values above -1), 1 where x is not 0, x / sum |x| or
        x / (sum x²)^1/2 (sums over features; zeros stay zeros). The target stays x.
    missing : {"error", "mask"}
        What a NaN in X is: "error" refuses it; with "mask" it is a value that was not observed. The likelihood then
        counts what is observed, the encoder sees a zero in its place (Nazábal et al., arXiv:1807.03653), and ``impute``
        fills it in. All bounds are on the probability of the observed values; they suit data in which that a value is
        missing says nothing about it ("at random"). The loss of an example of which nothing is observed is its KL.
    missing_indicator : bool
        With ``missing="mask"``: the encoder also reads a column for each feature behind X that is 1 where it is missing
        (Collier et al., arXiv:2006.05301).
    corruption : object or None
        Noise on what the encoder sees, after ``input_transform``, from :mod:`fastvae.corruption`; the target stays
        clean.
    optimizer : str or object
        "adam", "adamw", "sgd", "adagrad", or an object from :mod:`fastvae.optimizers`.
    learning_rate : float or schedule
        The optimiser's.
    weight_decay : float or None
        In the place of the optimiser's own.
    clip_norm : float or None
        The largest norm of all gradients together; larger ones are scaled down (as torch's ``clip_grad_norm_`` does).
        A step takes longer: its gradients are stored before they are used.
    batch_size : int
        Examples a step; the last batch of an epoch may be smaller, none is dropped.
    epochs : int
        Passes over the data in ``fit``.
    validation_fraction : float
        The share of X that ``fit`` holds out for the ``val_`` entries of the history, in [0, 1).
    early_stopping : bool
        Stop ``fit`` when the validation loss has not become lower by more than ``tol`` in ``n_iter_no_change`` epochs,
        and go back to the best weights. Without validation data a tenth of X is held out. Where ``beta`` or
        ``capacity`` is a schedule, the loss is the one that it leads to: at the last epoch, or at the top of a cycle.
    n_iter_no_change : int
        Epochs to wait for.
    tol : float
        Nats per example.
    callbacks : sequence of object
        After each epoch of ``fit``, ``on_epoch_end(model, logs)`` is called on each, with the epoch's entries of the
        history. If one returns True, training stops; an exception goes through to the caller, and the model is fitted.
    n_jobs : int or None
        Threads; -1 for all, None to choose by the size of the model and, where that leaves it open, by trying. No
        result depends on it.
    random_state : int, numpy generator or None
        Seed of initial weights, order and noise. The same seed gives the same bits on any number of threads.
    progress : bool or None
        A line on standard error; None shows it on a terminal only.

    Attributes
    ----------
    n_features_in_ : int
        Columns of X.
    classes_ : ndarray, [n_classes]
        Of a conditional model that was fitted with labels: each once, sorted.
    n_iter_ : int
        Epochs trained.
    history_ : dict of str to list of float
        "loss", "reconstruction", "kl", "elbo" of each epoch, as training went along, and, where there have been
        validation data, the same with "val_" in front at the end of each epoch (NaN for one without). Nats per example.
        With importance samples "loss" is -L_K, "reconstruction" the mean of -log p(x|z_k) over the K draws, "kl" the
        analytic KL as ever, and "elbo" = -reconstruction - kl, which L_K is above.
    loss_curve_ : list of float
        ``history_["loss"]``.
    elapsed_ : float
        Seconds spent in training.
    interrupted_ : bool
        Whether the last training was stopped by Ctrl-C; the weights are then those of its last step.

    Examples
    --------
    >>> import fastvae
    >>> X, y = fastvae.datasets.load_digits()
    >>> vae = fastvae.VAE(latent_dim=2, hidden=(64,), epochs=5, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (1797, 2)
    """

    _VARIATIONAL = True
    _HEAD = "mu.weight"
    _LOSSES = ("loss", "reconstruction", "kl", "elbo")

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        hidden: Any = (400,),
        decoder_hidden: Any = None,
        activation: str = "relu",
        likelihood: Any = "bernoulli",
        beta: Any = 1.0,
        free_bits: float = 0.0,
        capacity: Any = None,
        n_importance_samples: int = 1,
        doubly_reparameterized: bool = False,
        conditional: bool = False,
        objective: str = "elbo",
        binarize: str | None = None,
        input_transform: str | None = None,
        missing: str = "error",
        missing_indicator: bool = False,
        corruption: Any = None,
        optimizer: Any = "adam",
        learning_rate: Any = 1e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        batch_size: int = 128,
        epochs: int = 20,
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.decoder_hidden = decoder_hidden
        self.activation = activation
        self.likelihood = likelihood
        self.beta = beta
        self.free_bits = free_bits
        self.capacity = capacity
        self.n_importance_samples = n_importance_samples
        self.doubly_reparameterized = doubly_reparameterized
        self.conditional = conditional
        self.objective = objective
        self.binarize = binarize
        self.input_transform = input_transform
        self.missing = missing
        self.missing_indicator = missing_indicator
        self.corruption = corruption
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

    # Questions

    def encode(self, X: Any, *, y: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Parameters of q(z|x): mu and logvar = ln sigma² (clamped to [-30, 20] where it is used).

        A conditional model needs y, and then they are those of q(z|x, y).

        Returns
        -------
        mu, logvar : ndarray of float32, [n_examples, latent_dim]
        """
        return self._codes(X, y, logvar=True)

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
        n = _input.integer(n, "n", most=_input.MAX_ROWS)
        engine, told = self._engine_for(), self._told(y, n, one=True)
        seed, words = self._seed_for(random_state), self._lengths(lengths, n, draw)
        z = self._prior(n, seed)
        threads = self._threads()
        x = engine.observe(z, told, words, seed, threads) if draw else engine.decode(z, told, threads)
        x = x.reshape(n, -1)
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
        n = _input.integer(n, "n", most=MAX_DRAWS)
        engine, (X, y) = self._engine_for(), self._data(X, y)
        z = engine.posterior_sample(X, y, n, self._seed_for(random_state), self._noisy, self._threads())
        return z.reshape(n, len(X), -1)

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
        if _input.integer(n, "n", most=MAX_DRAWS) == 1:
            raise ValueError("n=1 has no spread: predictive takes at least two draws of z (and reconstruct takes none)")
        engine, (X, y) = self._engine_for(), self._data(X, y)
        moments = engine.predictive(X, y, n, self._seed_for(random_state), self._noisy, self._threads())
        return Predictive(*(moment.reshape(len(X), -1) for moment in moments))

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
        n_iter = _input.integer(n_iter, "n_iter", least=0)
        if draws is None:
            return _missing.with_means(self, X, y, n_iter)
        draws = _input.integer(draws, "draws", most=MAX_DRAWS)
        return _missing.with_draws(self, X, y, draws, n_iter, self._seed_for(random_state))

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
        reconstruction, kl, _ = self._score(X, y, eps)
        return -(reconstruction + kl)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of ``score_samples``: higher is better. Only a conditional model looks at y."""
        self._engine_for()
        return self.evaluate(X, y=self._own(y))["elbo"]

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
        objective = self._objective_now()
        *terms, bound = self._score(X, y, eps)
        reconstruction, kl = (float(np.mean(term, dtype=np.float64)) for term in terms)
        by_dimension = self._kl(X, y).mean(0, dtype=np.float64) if objective.free_bits else np.array([kl])
        losses = self._report(reconstruction, kl, objective.loss(reconstruction, by_dimension, mean_bound(bound)))
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
        n_samples = _input.integer(n_samples, "n_samples", most=2**31)
        engine, (X, y) = self._engine_for(), self._data(X, y)
        if self._specification["likelihood"]["kind"] == "bernoulli":
            check_binary(engine, X, "X", self._binarize(), self._threads())
        return LogMarginal(*engine.log_marginal(X, y, n_samples, self._threads()))

    def describe_objective(self) -> str:
        """Say in one paragraph what ``fit`` maximises: the exact formula, its constants, sums and means."""
        return describe(self)

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
        return diagnose(mu, logvar, self._objective_now(), self._engine.clamped, self.get_params())

    # Inside

    def _conditional(self) -> bool:
        return _input.boolean(self.conditional, "conditional")

    def _architecture(self) -> dict[str, Any]:
        return {"likelihood": likelihoods.resolve(self.likelihood)}

    def _prior(self, n: int, seed: int) -> NDArray[np.float32]:
        """Draw what the decoder reads from the prior, [n, latent_dim]."""
        return self._engine.prior(n, seed).reshape(n, -1)

    def _counts(self) -> bool:
        return _core.LIKELIHOODS[likelihoods.resolve(self.likelihood)["kind"]]["counts"]

    def _lengths(self, lengths: Any, n: int, draw: bool) -> NDArray[np.uint32] | None:
        """Return the words of `n` documents that are to be drawn, checked."""
        multinomial = _core.LIKELIHOODS[self._specification["likelihood"]["kind"]]["words"]
        if lengths is None and draw and multinomial:
            raise ValueError(
                "how many words does a document have? A multinomial likelihood does not say: pass lengths=, or "
                "draw=False for the probabilities of the words"
            )
        if lengths is None:
            return None
        if not (draw and multinomial):
            raise ValueError(f"lengths={lengths!r} is for draw=True and a multinomial likelihood")
        return _input.lengths(lengths, n)

    def _fewest_features(self) -> int:
        """Return how many features there can be for the parameters to be good."""
        return 1

    def _likelihood_in_words(self) -> str | None:
        """Return the formula of a likelihood that is none of :mod:`fastvae.likelihoods`."""
        return None

    def _seed_for(self, random_state: Any) -> int:
        return _input.seed(self.random_state if random_state is None else random_state)

    def _objective(self) -> Objective:
        beta = schedules.check(self.beta, "beta")
        free_bits = _input.number(self.free_bits, "free_bits")
        capacity = None if self.capacity is None else schedules.check(self.capacity, "capacity")
        objective = _input.choice(self.objective, "objective", _OBJECTIVES)
        samples = _input.integer(self.n_importance_samples, "n_importance_samples", most=_MAX_SAMPLES)
        doubly = _input.boolean(self.doubly_reparameterized, "doubly_reparameterized")
        if doubly and samples == 1:
            raise ValueError(
                "doubly_reparameterized=True is about importance samples: it wants n_importance_samples > 1"
            )
        if samples > 1:
            wanted = {"beta": 1, "free_bits": 0, "capacity": None, "objective": "elbo"}
            for name, value in wanted.items():
                if (given := getattr(self, name)) != value:
                    raise ValueError(
                        f"n_importance_samples={samples} maximises a bound on log p(x), in which the KL has no term of "
                        f"its own: it wants {name}={value!r}, not {given!r}"
                    )
        if objective == "reconstruction":
            return Objective()
        return Objective(float(objective == "elbo"), beta, free_bits, capacity, samples, doubly)

    def _binarize(self) -> str | None:
        if self.binarize is None:
            return None
        if likelihoods.resolve(self.likelihood)["kind"] != "bernoulli":
            raise ValueError(f"binarize={self.binarize!r} is for likelihood='bernoulli', not {self.likelihood!r}")
        return _input.choice(self.binarize, "binarize", WAYS)

    def _report(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl, "loss": loss}

    def _score(self, X: Any, y: Any, eps: Any) -> list[NDArray[np.float32]]:
        """Reconstruction and KL of each example and, where it has several draws, their bound; else that is empty."""
        engine, (X, y) = self._engine_for(), self._data(X, y)
        samples = self._objective().samples
        return engine.score(X, y, None, self._epsilon(eps, len(X)), samples, None, None, self._threads())

    def _kl(self, X: Any, y: Any) -> NDArray[np.float32]:
        """KL of each example and latent dimension, nats: [n_examples, latent_dim]."""
        engine, (X, y) = self._engine_for(), self._data(X, y)
        return engine.kl(X, y, None, None, None, self._threads()).reshape(len(X), -1)
