"""The variational autoencoder as an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastvae import _checks, likelihoods, schedules
from fastvae._data import arrays, binary
from fastvae._estimators.dense import Dense
from fastvae._estimators.variational import Variational
from fastvae._fitted.specification import Specification
from fastvae._training.objective import Objective

_OBJECTIVES = ("elbo", "reconstruction", "kl")


class VAE(Dense, Variational):
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
        "threshold" takes 1 above one half. Inference methods never binarize their input.
    input_transform : {"log1p", "binary", "l1", "l2"} or None
        For counts: the encoder reads ln(1 + x) (of values above -1), 1 where x is not 0, x / sum |x| or
        x / (sum x²)^1/2 (sums over features; zeros stay zeros). The target stays x.
    missing : {"error", "mask"}
        What a NaN in X is: "error" refuses it; with "mask" it is a value that was not observed. The likelihood then
        counts what is observed, the encoder sees a zero in its place (Nazábal et al., arXiv:1807.03653), and ``impute``
        fills it in. All bounds are on the probability of the observed values, and assume that values are missing at
        random. The loss of an example without observed values is its KL.
    missing_indicator : bool
        With ``missing="mask"``: the encoder also reads a column for each feature behind X that is 1 where it is missing
        (Collier et al., arXiv:2006.05301).
    corruption : object or None
        Noise on the encoder's input, after ``input_transform``, from :mod:`fastvae.corruption`; the target stays
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

    # Internal

    def _specification(self, n_features: int, conditions: int) -> Specification:
        likelihood = likelihoods.resolve(self.likelihood)
        return Specification.build(
            n_features=n_features, conditions=conditions, variational=True, likelihood=likelihood, **self._networks()
        )

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        return specification.variational and specification.dense

    def _conditional(self) -> bool:
        return _checks.boolean(self.conditional, "conditional")

    def _requires_y(self) -> bool:
        return bool(self.conditional)

    def _conditions_in(self, d: Mapping[str, Any]) -> int:
        if not self._conditional():
            return 0
        shape = arrays.tensor(d.get("decoder.0.weight", 0), "the state dict's decoder.0.weight").shape
        latent_dim = self._latent_dim()
        if len(shape) != 2 or shape[1] <= latent_dim:
            raise ValueError(
                f"the state dict's decoder.0.weight has shape {shape}; a conditional model's has more columns than "
                f"latent_dim={latent_dim}"
            )
        return int(shape[1]) - latent_dim

    def _objective(self) -> Objective:
        beta = schedules.check(self.beta, "beta")
        free_bits = _checks.number(self.free_bits, "free_bits")
        capacity = None if self.capacity is None else schedules.check(self.capacity, "capacity")
        objective = _checks.choice(self.objective, "objective", _OBJECTIVES)
        samples = _checks.integer(self.n_importance_samples, "n_importance_samples", most=_checks.MAX_SAMPLES)
        doubly = _checks.boolean(self.doubly_reparameterized, "doubly_reparameterized")
        if doubly and samples == 1:
            raise ValueError("doubly_reparameterized=True needs importance samples: set n_importance_samples > 1")
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
        return _checks.choice(self.binarize, "binarize", binary.WAYS)
