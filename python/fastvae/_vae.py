"""The variational autoencoder as an estimator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, _input, likelihoods, optimizers
from fastvae._estimator import Estimator, NotFittedError
from fastvae._progress import Progress, check_wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

_OBJECTIVES = ("elbo", "reconstruction", "kl")
_LOSSES = ("loss", "reconstruction", "kl", "elbo")


class VAE(Estimator):
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
        "bernoulli" (values in [0, 1]), "gaussian" (scale 1), or an object from :mod:`fastvae.likelihoods`.
    beta : float
        The KL's weight in the loss.
    objective : {"elbo", "reconstruction", "kl"}
        The loss is reconstruction + beta kl, the reconstruction alone, or beta kl alone. z is sampled in all
        three.
    optimizer : str or object
        "adam", "adamw", "sgd", "adagrad", or an object from :mod:`fastvae.optimizers`.
    learning_rate : float
        The optimiser's.
    batch_size : int
        Examples a step; the last batch of an epoch may be smaller, none is dropped.
    epochs : int
        Passes over the data in ``fit``.
    validation_fraction : float
        The share of X that ``fit`` holds out for the ``val_`` entries of the history, in [0, 1).
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
    n_iter_ : int
        Epochs trained.
    history_ : dict of str to list of float
        "loss", "reconstruction", "kl", "elbo" of each epoch, as training went along, and the same with "val_" in
        front at the end of each epoch, where there are validation data (else NaN). Nats per example.
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
        beta: float = 1.0,
        objective: str = "elbo",
        optimizer: Any = "adam",
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        epochs: int = 20,
        validation_fraction: float = 0.0,
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
        self.objective = objective
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    # Training

    def fit(self, X: Any, y: Any = None, *, validation_data: Any = None) -> Self:
        """Train from fresh weights for ``epochs`` shuffled passes.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            float32, float64 or uint8 (0..255, scaled to 0..1 batch by batch) are read in place, whatever their
            strides; other real types are converted.
        y : ignored
        validation_data : array_like or tuple, [m, n_features]
            Scored after each epoch; of a tuple (X, y) the first. Excludes ``validation_fraction``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a bad parameter, shape or value.
        TypeError
            If X holds no real numbers.
        FloatingPointError
            If the loss or a gradient stops being finite. All weights are finite, and the message says which of
            them that step has changed.
        KeyboardInterrupt
            On Ctrl-C; the weights are those of the last finished step.
        """
        epochs = _input.integer(self.epochs, "epochs")
        fraction = _input.number(self.validation_fraction, "validation_fraction", 0.0, 1.0)
        progress = check_wanted(self.progress)
        self._training()
        X = _input.matrix(X, "X")
        validation = self._validation(validation_data, fraction, X)
        engine, seed = self._build(X.shape[1])
        engine.check(X, "X", self._threads())
        if validation is not None:
            engine.check(validation, "validation_data", self._threads())
        rows = held_out = None
        if fraction:
            rows, held_out = _split(len(X), fraction, seed)
            validation = X
        self._adopt(engine, X.shape[1])
        line = Progress(progress, epochs, len(X) if rows is None else len(rows))
        try:
            for _ in range(epochs):
                logs = self._train(engine, X, rows, None, shuffle=True, tick=line.tick)
                if validation is not None:
                    scores = self._losses(*engine.score(validation, held_out, None, self._threads()))
                    logs |= {f"val_{key}": value for key, value in scores.items()}
                self._log(logs)
                line.epoch(logs)
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise
        finally:
            line.close()
        return self

    def partial_fit(self, X: Any, y: Any = None, *, eps: Any = None) -> Self:
        """Go on training: one pass over X in the given order, the optimiser's state kept.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : ignored
        eps : array_like, [n_examples, latent_dim], optional
            Replaces the noise of the reparameterisation.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As from ``fit``.

        Notes
        -----
        Parameters changed since the model was made take effect where they belong to a pass (``beta``,
        ``objective``, ``learning_rate``, ``batch_size``, ``n_jobs``); the others want a new ``fit``.
        """
        self._training()
        if not self.__sklearn_is_fitted__():
            X = _input.matrix(X, "X")
            eps = self._noise(eps, len(X))
            engine, _ = self._build(X.shape[1])
            engine.check(X, "X", self._threads())
            self._adopt(engine, X.shape[1])
        else:
            X = self._training_data(X)
            eps = self._noise(eps, len(X))
        self._log(self._train(self._engine, X, None, eps, shuffle=False, tick=None))
        return self

    def loss_and_gradients(self, X: Any, eps: Any = None) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
        """Losses of X as one batch, and the gradients of the loss.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        eps : array_like, [n_examples, latent_dim], optional
            Noise; without it, that of ``score_samples``.

        Returns
        -------
        losses : dict
            As from ``evaluate``.
        gradients : dict of str to ndarray of float32
            Of the batch mean of the loss, keyed and shaped as ``state_dict()``.
        """
        objective = self._objective()
        engine, X = self._engine_for(), self._training_data(X)
        reconstruction, kl, gradients = engine.loss_and_gradients(
            X, self._noise(eps, len(X)), objective, self._threads()
        )
        return self._losses(reconstruction, kl), self._shaped(gradients)

    def apply_gradients(self, grads: Mapping[str, Any]) -> Self:
        """Take one optimiser step with given gradients: the same bits as the step that ``partial_fit`` fuses.

        Parameters
        ----------
        grads : mapping of str to array_like
            Keyed and shaped as ``state_dict()``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If they are not, or a gradient is too large for float32; nothing has changed then.
        """
        rate = self._learning_rate()
        engine = self._engine_for()
        engine.apply_gradients(_checked(grads, engine.shapes(), "the gradients"), rate, self._threads())
        return self

    # Questions

    def transform(self, X: Any) -> Any:
        """Posterior means mu(x): float32 [n_examples, latent_dim], deterministic."""
        engine, data = self._engine_for(), self._data(X)
        mu, _ = engine.encode(data, False, self._threads())
        return self._as_output(mu.reshape(len(data), -1), X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """``fit(X)``, then ``transform(X)``."""
        return self.fit(X, y).transform(X)

    def encode(self, X: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Parameters of q(z|x): mu and logvar = ln sigma² (clamped to [-30, 20] where it is used).

        Returns
        -------
        mu, logvar : ndarray of float32, [n_examples, latent_dim]
        """
        engine, X = self._engine_for(), self._data(X)
        mu, logvar = engine.encode(X, True, self._threads())
        return mu.reshape(len(X), -1), logvar.reshape(len(X), -1)

    def inverse_transform(self, Z: Any) -> NDArray[np.float32]:
        """Decoder means E[x|z], [n, n_features], of codes Z [n, latent_dim]."""
        engine = self._engine_for()
        Z = _input.matrix(Z, "Z")
        latent_dim = self._latent_dim
        if Z.shape[1] != latent_dim:
            raise ValueError(f"Z has {Z.shape[1]} columns, but latent_dim is {latent_dim}")
        if Z.dtype == np.uint8:  # codes are no pictures: do not scale them
            Z = Z.astype(np.float32)
        return engine.decode(Z, self._threads()).reshape(len(Z), -1)

    def reconstruct(self, X: Any) -> NDArray[np.float32]:
        """Decoder mean of the posterior mean, E[x|z = mu(x)], [n_examples, n_features]; deterministic."""
        engine, X = self._engine_for(), self._data(X)
        return engine.reconstruct(X, self._threads()).reshape(len(X), -1)

    def sample(self, n: int, *, random_state: Any = None, return_latent: bool = False, draw: bool = False) -> Any:
        """Generate from the prior: z ~ N(0, I), then the decoder.

        Parameters
        ----------
        n : int
            How many.
        random_state : int, numpy generator or None
            None uses the estimator's ``random_state`` and, where that is None too, fresh entropy.
        return_latent : bool
            Return (x, z).
        draw : bool
            Draw x from p(x|z) instead of returning its mean.

        Returns
        -------
        x : ndarray of float32, [n, n_features]
        z : ndarray of float32, [n, latent_dim]
            Only if ``return_latent``.
        """
        n = _input.integer(n, "n", most=_input.MAX_ROWS)
        engine = self._engine_for()
        seed = _input.seed(self.random_state if random_state is None else random_state)
        z = engine.prior(n, seed).reshape(n, -1)
        x = engine.decode(z, self._threads())
        if draw:
            x = engine.observe(x, seed)
        x = x.reshape(n, -1)
        return (x, z) if return_latent else x

    def score_samples(self, X: Any, *, eps: Any = None) -> NDArray[np.float32]:
        """ELBO of each example in nats (beta = 1, analytic KL, one draw of z): a lower bound on log p(x).

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        eps : array_like, [n_examples, latent_dim], optional
            The noise. Without it, noise keyed by the model's seed and the example's content, so that a score
            depends neither on the order nor on the company.

        Returns
        -------
        ndarray of float32, [n_examples]
        """
        reconstruction, kl = self._score(X, eps)
        return -(reconstruction + kl)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of ``score_samples``: higher is better."""
        return self.evaluate(X)["elbo"]

    def evaluate(self, X: Any, *, eps: Any = None) -> dict[str, float]:
        """Mean losses in nats per example.

        Returns
        -------
        dict
            ``reconstruction`` = -E log p(x|z), ``kl``, ``elbo`` = -reconstruction - kl, and ``loss``, the objective.
        """
        return self._losses(*self._score(X, eps))

    # Parameters

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all parameters with the names and shapes of the equivalent torch modules.

        ``encoder.0.weight`` [out, in], ``encoder.0.bias`` [out], ``encoder.2.weight``, ... (an ``nn.Sequential``: layer
        i has index 2 i, activations between), ``mu``, ``logvar``, ``decoder.0`` ..., and ``likelihood.log_scale``
        ([] or [n_features]) where a Gaussian learns it.
        """
        return self._shaped(self._engine_for().parameters())

    def load_state_dict(self, d: Mapping[str, Any]) -> Self:
        """Set all parameters. An unfitted model takes its number of features from them and becomes usable.

        A fitted model keeps its optimiser's state.

        Raises
        ------
        ValueError
            If names, shapes or values are not exactly those of the model.
        """
        if self.__sklearn_is_fitted__():
            engine = self._engine
            engine.set_parameters(_checked(d, engine.shapes(), "the state dict"))
            return self
        first = "encoder.0.weight" if _input.widths(self.hidden, "hidden") else "mu.weight"
        if not isinstance(d, Mapping) or first not in d:
            raise ValueError(f"the state dict must be a mapping with {first!r}, which tells the number of features")
        shape = _input.tensor(d[first], f"the state dict's {first}").shape
        if len(shape) != 2:
            raise ValueError(f"the state dict's {first} has shape {shape}; it must be a matrix")
        engine, _ = self._build(shape[1])
        engine.set_parameters(_checked(d, engine.shapes(), "the state dict"))
        self._adopt(engine, shape[1])
        return self

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the latent coordinates: vae0, vae1, ..."""
        self._engine_for()
        return np.array([f"vae{i}" for i in range(self._latent_dim)], dtype=object)

    # Inside

    def _build(self, n_features: int) -> tuple[_core.Engine, int]:
        """Make a new engine from the parameters, which are checked here, and tell its seed."""
        hidden = _input.widths(self.hidden, "hidden")
        mirrored = self.decoder_hidden is None
        decoder = hidden[::-1] if mirrored else _input.widths(self.decoder_hidden, "decoder_hidden")
        likelihood, scale = likelihoods.resolve(self.likelihood)
        optimizer, options = optimizers.resolve(self.optimizer)
        seed = _input.seed(self.random_state)
        engine = _core.Engine(
            n_features=n_features,
            latent_dim=_input.integer(self.latent_dim, "latent_dim", most=_core.MAX_WIDTH // 2),
            encoder=hidden,
            decoder=decoder,
            activation=_input.choice(self.activation, "activation", tuple(_core.ACTIVATIONS)),
            likelihood=likelihood,
            scale=scale,
            optimizer=optimizer,
            options=options,
            seed=seed,
        )
        return engine, seed

    def _adopt(self, engine: _core.Engine, n_features: int) -> None:
        """Become the fitted model that an engine is."""
        self._engine = engine
        self._latent_dim = int(self.latent_dim)
        self.n_features_in_ = n_features
        self.n_iter_ = 0
        self.history_: dict[str, list[float]] = {key: [] for key in _LOSSES}
        self.loss_curve_ = self.history_["loss"]
        self.elapsed_ = 0.0
        self.interrupted_ = False

    def _training(self) -> tuple[int, tuple[float, float], float]:
        """Check and return batch size, objective and learning rate."""
        return (
            _input.integer(self.batch_size, "batch_size"),
            self._objective(),
            self._learning_rate(),
        )

    def _learning_rate(self) -> float:
        rate = _input.number(self.learning_rate, "learning_rate", below=1e6)
        if rate == 0:
            raise ValueError("learning_rate=0 would train nothing; it must be positive")
        return rate

    def _objective(self) -> tuple[float, float]:
        """Return the weights of reconstruction and KL in the loss."""
        beta = _input.number(self.beta, "beta")
        objective = _input.choice(self.objective, "objective", _OBJECTIVES)
        return float(objective != "kl"), 0.0 if objective == "reconstruction" else beta

    def _threads(self) -> int | None:
        return _input.threads(self.n_jobs)

    def _engine_for(self) -> _core.Engine:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(
                f"this {name} is not fitted yet: call fit, partial_fit or load_state_dict before asking it"
            )
        return self._engine

    def _data(self, X: Any) -> NDArray[Any]:
        """Return data that fit the model in type and shape; their values are looked at when they are used."""
        self._engine_for()
        return _input.matrix(X, "X", self.n_features_in_, type(self).__name__)

    def _training_data(self, X: Any) -> NDArray[Any]:
        """The same with the values looked at beforehand: a step must not begin with bad ones."""
        data = self._data(X)
        self._engine.check(data, "X", self._threads())
        return data

    def _noise(self, eps: Any, n: int) -> NDArray[np.float32] | None:
        fitted = self.__sklearn_is_fitted__()
        latent_dim = self._latent_dim if fitted else _input.integer(self.latent_dim, "latent_dim")
        return _input.noise(eps, (n, latent_dim))

    def _validation(self, data: Any, fraction: float, X: NDArray[Any]) -> NDArray[Any] | None:
        if data is None:
            return None
        if fraction:
            raise ValueError("give validation_data or validation_fraction, not both")
        data = data[0] if isinstance(data, tuple) and data else data
        return _input.matrix(data, "validation_data", X.shape[1], type(self).__name__)

    def _score(self, X: Any, eps: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        engine, X = self._engine_for(), self._data(X)
        return engine.score(X, None, self._noise(eps, len(X)), self._threads())

    def _losses(self, reconstruction: Any, kl: Any) -> dict[str, float]:
        """Means of the two terms, and what follows from them."""
        weights = self._objective()
        terms = [float(np.mean(term, dtype=np.float64)) for term in (reconstruction, kl)]
        return {
            "reconstruction": terms[0],
            "kl": terms[1],
            "elbo": -terms[0] - terms[1],
            "loss": weights[0] * terms[0] + weights[1] * terms[1],
        }

    def _train(
        self, engine: _core.Engine, X: NDArray[Any], rows: Any, eps: Any, *, shuffle: bool, tick: Any
    ) -> dict[str, float]:
        """Train on the data once and return the mean losses."""
        batch_size, objective, learning_rate = self._training()
        start = time.perf_counter()
        self.interrupted_ = False
        try:
            sums = engine.train(
                X,
                rows,
                eps,
                shuffle=shuffle,
                batch_size=min(batch_size, len(X)),
                objective=objective,
                learning_rate=learning_rate,
                threads=self._threads(),
                tick=tick,
            )
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise
        finally:
            self.elapsed_ += time.perf_counter() - start
        n = len(X) if rows is None else len(rows)
        return self._losses(sums[0] / n, sums[1] / n)

    def _log(self, logs: dict[str, float]) -> None:
        self.n_iter_ += 1
        for key in self.history_ | logs:  # one entry an epoch in every list
            values = self.history_.setdefault(key, [float("nan")] * (self.n_iter_ - 1))
            values.append(logs.get(key, float("nan")))

    def _shaped(self, arrays: list[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        shapes = self._engine.shapes()
        return {name: array.reshape(shape) for (name, shape), array in zip(shapes, arrays, strict=True)}


def _checked(given: Any, shapes: list[tuple[str, list[int]]], what: str) -> list[NDArray[np.float32]]:
    """Return the arrays of a state dict in order, flat, if they are exactly those that `shapes` asks for."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be a mapping from names to arrays, not {type(given).__name__}")
    missing = [name for name, _ in shapes if name not in given]
    unknown = sorted(map(str, set(given) - {name for name, _ in shapes}))
    if missing or unknown:
        raise ValueError(f"{what} does not fit the model: missing {missing}, unknown {unknown}")
    arrays = []
    for name, shape in shapes:
        array = _input.tensor(given[name], f"{what}'s {name}")
        if list(array.shape) != shape:
            raise ValueError(f"{what}'s {name} has shape {array.shape}, but the model's is {tuple(shape)}")
        arrays.append(np.ascontiguousarray(array).reshape(-1))
    return arrays


def _split(n: int, fraction: float, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Random rows to train on and rows to hold out."""
    held_out = round(n * fraction)
    if not 0 < held_out < n:
        raise ValueError(f"validation_fraction={fraction} of {n} examples leaves one side empty")
    order = np.random.default_rng(seed).permutation(n).astype(np.uint64)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
