"""The variational autoencoder as an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastvae import _checks, _core, likelihoods, schedules
from fastvae._data import binary
from fastvae._estimators.layered import Layered
from fastvae._estimators.variational import Variational
from fastvae._fitted import diagnosis
from fastvae._fitted.specification import Specification
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    from fastvae._fitted.model import FittedModel

# A posterior has collapsed if the KL per dimension is below that of a mean with the variance at which a dimension is
# active. It is tested after this many steps, since training needs some before codes depend on the data.
_LEAST_KL = diagnosis.ACTIVE_VARIANCE / 2
_STEPS = 200
_OBJECTIVES = ("elbo", "reconstruction", "kl")


class VAE(Layered, Variational):
    """Variational autoencoder, dense or convolutional (Kingma & Welling, arXiv:1312.6114).

    Maximises E_q log p(x|z) - beta KL(q(z|x) || N(0, I)); the encoder computes q(z|x) = N(mu(x), sigma(x)²), the
    decoder p(x|z). Losses are sums over features and means over examples, in nats.

    Parameters
    ----------
    latent_dim : int
        Columns of z.
    image_shape : tuple of int or None
        (height, width, channels) of images, or (height, width) of grey ones, for layers that work on images. X is then
        [n, height * width * channels], [n, height, width] (one channel) or [n, height, width, channels]; results come
        in the same shape, those without an X in the shape of the training X. Images whose values are contiguous are
        read in place, like rows. None: X is a table.
    channels : {"last", "first"}
        With ``image_shape``: the place of the channels in X. "first" is for [n, channels, height, width], and rows in
        that order; with several channels it copies X. ``image_shape`` ends with the channels in both cases.
    hidden : sequence of int or layer
        The encoder's hidden layers: widths of dense layers, or objects from :mod:`fastvae.layers`; ``()`` is a linear
        model. Convolutions need ``image_shape``.
    decoder_hidden : sequence of int or layer, or None
        The decoder's hidden layers. None mirrors ``hidden``: each Conv2d becomes the ConvTranspose2d that undoes its
        shape, pools become Upsample (but not a pool of X before a dense layer), and each layer has the ``batch_norm``
        and ``activation`` of the encoder's layer whose size it restores. Where a layer that makes images
        follows a dense one, the dense outputs are an image of height * width * channels in PyTorch's order. A
        list that ends with images ends with the output: a ConvTranspose2d or Conv2d with the channels of
        ``image_shape``, without ``batch_norm`` and ``activation``. To a list that ends with a dense layer, a
        dense output layer is added.
    activation : str
        Activation of the hidden layers: "relu", "tanh", "sigmoid", "softplus", "elu", "gelu" (exact), "silu" or
        "identity".
    likelihood : str or object
        "bernoulli" (values in [0, 1]), "gaussian" (scale 1), "poisson", "negative_binomial" or "multinomial" (counts),
        or an object from :mod:`fastvae.likelihoods`, such as ``Mixed`` for columns of several kinds.
    beta : float or schedule
        Weight of the KL in the loss (Higgins et al., "beta-VAE", ICLR 2017), or a schedule from
        :mod:`fastvae.schedules`.
    free_bits : float
        Nats of KL per latent dimension, as a mean over the batch, that are not penalised: the KL term is
        beta sum_j max(KL_j, free_bits) (Kingma et al., arXiv:1606.04934).
    capacity : float, schedule or None
        Target C of the KL in nats: the KL term is beta abs(KL - C) (Burgess et al., arXiv:1804.03599).
    n_importance_samples : int
        Draws K of z per example. With K > 1 the objective is the importance-weighted bound on log p(x), which becomes
        tighter with K: L_K = E[log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)] (Burda et al., arXiv:1509.00519). It needs
        ``beta=1``, ``free_bits=0``, ``capacity=None`` and ``objective="elbo"``. A step runs the encoder once and the
        decoder K times, on ``batch_size`` K rows.
    doubly_reparameterized : bool
        With importance samples: use the doubly reparameterised gradient for the encoder (Tucker et al.,
        arXiv:1810.04152), which has the same expectation and less variance, at no cost in time.
    conditional : bool
        Model p(x|y), where y is passed to ``fit``: labels (one-hot inside) or real covariates of any units. The encoder
        reads [x, y], the decoder [z, y]; the prior of z is N(0, I) for every y (M2 of Kingma et al., arXiv:1406.5298).
        In a convolutional encoder the first dense layer, or ``mu`` and ``logvar``, reads y after the image. Methods
        that take X or codes, and ``sample``, then need y.
    condition_columns : str, int, sequence of str or int, or None
        Columns of X that are the condition, by name (frames) or index, so that a conditional model needs no y and fits
        into a pipeline. They are read as y is, and are neither encoded nor decoded: results in the shape of X lack
        them. A single name or index is a column of labels (integers or strings; whole floats too). A list of one column
        is labels if its values are integers, strings, booleans or categories, and a real covariate if they are floats;
        a list of several is real covariates. All methods that take X read the condition from it; those of
        scikit-learn's interface (``fit``, ``fit_transform``, ``partial_fit``, ``score``) ignore y, others take y only
        with an X without these columns, as ``split_condition`` and ``sample`` return it. Methods without X (``sample``,
        ``inverse_transform``) need y. It implies ``conditional=True``.
    objective : {"elbo", "reconstruction", "kl"}
        Terms of the loss: both, the reconstruction alone, or the KL alone. z is sampled in all three.
    binarize : {"bernoulli", "threshold"} or None
        With a Bernoulli likelihood: binarize grey values of training and validation data, so that the likelihood is a
        probability. "bernoulli" draws 1 with the value as its probability: new draws in each epoch (Burda et al.,
        arXiv:1509.00519), one fixed draw for validation and ``loss_and_gradients``. "threshold" takes 1 above one half.
        Inference methods never binarize their input.
    input_transform : {"log1p", "binary", "l1", "l2", "frequencies"} or None
        Transformation of the encoder's input, for counts: ln(1 + x) for x > -1, 1 where x is not 0, x / sum |x|,
        x / (sum x²)^1/2, or 50 x / (10 + sum |x|) (sums over features; an example of zeros stays zero). The target
        stays x.
    missing : {"error", "mask"}
        "error" refuses NaN in X. With "mask" NaN marks a missing value: the likelihood includes the observed values
        only, the encoder reads a zero (Nazábal et al., arXiv:1807.03653), and ``impute`` fills it in. All bounds are
        bounds on the probability of the observed values. Assumes values are missing at random. The loss of an example
        without observed values is its KL.
    missing_indicator : bool
        With ``missing="mask"``: the encoder also reads one column per feature, after X, that is 1 where the value is
        missing (Collier et al., arXiv:2006.05301). Convolutions read the columns as further channels.
    corruption : object or None
        Noise on the encoder's input, applied after ``input_transform``: an object from :mod:`fastvae.corruption`. The
        target stays clean.
    optimizer : str or object
        "adam", "adamw", "sgd", "adagrad", or an object from :mod:`fastvae.optimizers`.
    learning_rate : float or schedule
        Learning rate of the optimiser, or a schedule from :mod:`fastvae.schedules`.
    weight_decay : float or None
        Replaces the optimiser's own ``weight_decay``.
    clip_norm : float or None
        Maximum norm of all gradients together; larger gradients are scaled down, as by torch's ``clip_grad_norm_``. A
        step takes longer, because it stores its gradients first.
    nan_policy : {"raise", "skip"}
        A batch whose loss or gradient is not finite: "raise" stops training with FloatingPointError and keeps the last
        good weights; "skip" takes no step with it, counts it in ``n_skipped_batches_``, and ``fit`` warns. Steps then
        take longer, as with ``clip_norm``.
    batch_size : int
        Examples per step. The last batch of an epoch may be smaller; it is not dropped.
    epochs : int
        Passes over the data in ``fit``.
    validation_fraction : float
        Share of X, in [0, 1), that ``fit`` holds out for the ``val_`` entries of the history.
    early_stopping : bool
        Stop ``fit`` when the validation loss has not decreased by more than ``tol`` for ``n_iter_no_change`` epochs,
        and restore the best weights. Without validation data a tenth of X is held out. If ``beta`` or ``capacity`` is a
        schedule, the validation loss uses its final value, at the last epoch or at the top of a cycle, and epochs count
        only once the schedule has come within 5 % of it: training does not stop in a warm-up.
    n_iter_no_change : int
        Epochs without improvement before early stopping.
    tol : float
        Smallest improvement that counts, nats per example.
    callbacks : callable or object, or sequence of them
        ``fit`` calls each function, or an object's method ``on_epoch_end``, with (model, logs) after every epoch. logs
        is a dict of the epoch's entries of the history, with attributes ``logs.epoch`` (from 1; equal to
        ``model.n_iter_``) and ``logs.epochs`` (the last epoch planned). If one returns True, training stops. An
        exception ends ``fit``; the model is fitted nevertheless. An object may also have the methods
        ``on_train_begin(model)`` and ``on_train_end(model)``; the latter is called after errors and Ctrl-C too.
        :mod:`fastvae.callbacks` has loggers and checkpoints.
    warm_start : bool
        ``fit`` goes on with the fitted model, if there is one, instead of new random weights: see ``fit``.
    precision : {"float32", "bf16"}
        Operands of matrix products. "bf16" rounds them to bfloat16, of eight significant bits, and adds their exact
        products in float32; weights, the optimiser's state, codes and losses are float32 in both. It is faster on a CPU
        with AVX-512 BF16 (AMD Zen 4 and 5, Intel Sapphire Rapids: see :func:`fastvae.show_config`), by a fourth for
        hidden layers of 128 units, by more for wider ones; up to 32 units it is slower. Other CPUs compute the same
        function, but more slowly than in float32, with a warning.
    n_jobs : int or None
        Number of threads, but no more than usable cores; -1 uses all. None chooses by the size of the model and, if
        that does not decide, by measuring the first steps. Results do not depend on it.
    random_state : int, numpy generator or None
        Seed of initial weights, order and noise. The same seed gives the same bits with any number of threads.
    progress : {"tqdm", "rich"}, bool or None
        Show the progress of ``fit``: None a line on standard error if that is a terminal; True a bar in a notebook and
        the line elsewhere; "tqdm" and "rich" the bars of these packages.
    communicator : mpi4py.MPI.Comm, fastvae.distributed.Communicator or None
        Train on several processes, each of which passes its own rows to ``fit`` or ``partial_fit``: see the guide's
        page on distributed training. ``batch_size`` is then that of all of them together. Files and pickles hold none.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns of X, condition columns included.
    feature_names_in_ : ndarray of object, [n_features_in_]
        Names of the columns of X; only if X was a frame whose names are strings.
    input_scale_ : float
        Divisor of integers in X, 255 or 1; see the notes of ``fit``.
    condition_columns_ : ndarray of int
        Indices of the condition columns of X; only with ``condition_columns``. ``np.delete(X, condition_columns_, 1)``
        are the columns that are encoded and decoded.
    classes_ : ndarray, [n_classes]
        Sorted unique labels of y; only for a conditional model fitted with labels.
    n_iter_ : int
        Number of epochs trained.
    history_ : dict of str to list of float
        For each epoch "loss", "reconstruction", "kl" and "elbo", means over its training batches, and, with validation
        data, the same with the prefix "val_", computed at its end (NaN for epochs without). Nats per example. With
        importance samples "loss" is -L_K, "reconstruction" the mean of -log p(x|z_k) over the K draws, "kl" the
        analytic KL, and "elbo" = -reconstruction - kl, which is below L_K.
    loss_curve_ : list of float
        ``history_["loss"]``.
    elapsed_ : float
        Seconds spent in training.
    n_skipped_batches_ : int
        Number of batches that ``nan_policy="skip"`` has skipped.
    interrupted_ : bool
        Whether Ctrl-C stopped the last training; the weights are then those after its last finished step.

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
        image_shape: Any = None,
        channels: str = "last",
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
        condition_columns: Any = None,
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
        nan_policy: str = "raise",
        batch_size: int = 128,
        epochs: int = 20,
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        warm_start: bool = False,
        precision: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | str | None = None,
        communicator: Any = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.channels = channels
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
        self.condition_columns = condition_columns
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
        self.nan_policy = nan_policy
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress
        self.communicator = communicator

    # Internal

    def _specification(self, n_features: int, conditions: int) -> Specification:
        likelihood = likelihoods.resolve(self.likelihood)
        if likelihood.get("size_factor") == "given":
            raise ValueError(
                'size_factor="given" is for fastvae.CountVAE(size_factor="given"), whose methods take the sizes; '
                '"total" is the sum of the row'
            )
        return Specification.build(
            n_features=n_features,
            conditions=conditions,
            variational=True,
            likelihood=likelihood,
            **self._networks(n_features),
        )

    def _min_features(self) -> int:
        return self.likelihood.n_columns if isinstance(self.likelihood, likelihoods.Mixed) else 1

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        return specification.variational and specification.unstructured

    def _conditional(self) -> bool:
        return _checks.boolean(self.conditional, "conditional") or self.condition_columns is not None

    def _condition_columns(self) -> Any:
        return self.condition_columns

    def _requires_y(self) -> bool:
        return bool(self.conditional) and self.condition_columns is None

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
            required = {"beta": 1, "free_bits": 0, "capacity": None, "objective": "elbo"}
            for name, value in required.items():
                if (given := getattr(self, name)) != value:
                    raise ValueError(
                        f"n_importance_samples={samples} maximises a bound on log p(x) without a separate KL term: "
                        f"set {name}={value!r}, not {given!r}"
                    )
        if objective == "reconstruction":
            return Objective()
        return Objective(float(objective == "elbo"), beta, free_bits, capacity, samples, doubly)

    def _collapse(self, fitted: FittedModel, kl: float) -> Sequence[str]:
        objective = self._objective()
        wanted = objective.reconstruction == 0 or objective.beta == 0.0 or objective.capacity is not None
        if wanted or fitted.engine.steps < _STEPS or not kl < _LEAST_KL * fitted.latent_dim:
            return ()
        return [diagnosis.collapse_message(self._parameter_names())]

    def _counts(self) -> bool:
        kind = likelihoods.resolve(self.likelihood)["kind"]
        return kind != "mixed" and bool(_core.LIKELIHOODS[kind]["counts"])

    def _binarize(self) -> str | None:
        if self.binarize is None:
            return None
        if likelihoods.resolve(self.likelihood)["kind"] != "bernoulli":
            raise ValueError(f"binarize={self.binarize!r} needs likelihood='bernoulli', not {self.likelihood!r}")
        return _checks.choice(self.binarize, "binarize", binary.WAYS)
