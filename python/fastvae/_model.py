"""What a variational and a plain autoencoder have in common: training, questions, parameters."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _conditions, _core, _input, _missing, _persist, corruption, latent, optimizers, schedules
from fastvae._estimator import Estimator, NotFittedError
from fastvae._objective import Objective, mean_bound
from fastvae._progress import Progress, check_wanted
from fastvae._stopping import EarlyStopping

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._input import Examples


INPUT_TRANSFORMS = ("log1p", "binary", "l1", "l2")


@dataclass(frozen=True)
class _Pass:
    """What a pass of training needs to know, checked."""

    batch_size: int
    objective: Objective
    learning_rate: schedules.Value
    clip_norm: float | None
    corruption: tuple[str, float] | None
    binarize: str | None


class Model(Estimator):
    """An encoder, a code and a decoder, trained together.

    A subclass says what the network is (``_architecture``), what is minimised (``_objective``) and what is reported
    of it (``_report``).
    """

    _VARIATIONAL: ClassVar[bool]
    _HEAD: ClassVar[str]  # the parameter that tells the number of features of a network without hidden layers
    _LOSSES: ClassVar[tuple[str, ...]]  # what is reported

    latent_dim: Any
    hidden: Any
    decoder_hidden: Any
    activation: Any
    input_transform: Any
    missing: Any
    missing_indicator: Any
    corruption: Any
    optimizer: Any
    learning_rate: Any
    weight_decay: Any
    clip_norm: Any
    batch_size: Any
    epochs: Any
    validation_fraction: Any
    early_stopping: Any
    n_iter_no_change: Any
    tol: Any
    callbacks: Any
    n_jobs: Any
    random_state: Any
    progress: Any

    # Training

    def fit(self, X: Any, y: Any = None, *, validation_data: Any = None) -> Self:
        """Train from fresh weights for ``epochs`` shuffled passes.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            float32, float64 or uint8 (0..255, scaled to 0..1 batch by batch unless the likelihood is one of counts) are
            read in place, whatever their strides; other real types are converted. Sparse matrices (of scipy, or
            anything with the arrays of CSR) stay sparse, and their values are never scaled, whatever their type: CSR
            with float32 data and int32 indices in order is read in place, others are copied once. With
            ``missing="mask"`` a NaN is a value that was not observed.
        y : array_like, [n_examples] or [n_examples, c], optional
            What a conditional VAE is told of each example: labels (integers or strings) if y is 1-D, or c real
            covariates if it is 2-D. A column of labels [n_examples, 1] is a covariate, so pass ``y.ravel()``. Other
            models ignore y.
        validation_data : array_like or tuple, [m, n_features]
            Scored after each epoch; of a tuple (X, y) the first, and of a conditional model both. Excludes
            ``validation_fraction``.

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

        Notes
        -----
        With ``early_stopping`` the weights are the best ones whatever else ends the training, an exception of a
        callback or of the training itself included.
        """
        epochs = _input.integer(self.epochs, "epochs")
        fraction = _input.number(self.validation_fraction, "validation_fraction", 0.0, 1.0)
        patience = _input.integer(self.n_iter_no_change, "n_iter_no_change")
        tol = _input.number(self.tol, "tol")
        early = _input.boolean(self.early_stopping, "early_stopping")
        callbacks = _checked_callbacks(self.callbacks)
        progress = check_wanted(self.progress)
        plan = self._pass()
        X = self._read(X, "X")
        classes, y = self._learned(y, len(X))
        validation = self._validation(validation_data, fraction, X, classes, y)
        if early and validation is None and not fraction:
            fraction = 0.1
            if round(fraction * len(X)) == 0:
                raise ValueError(
                    f"early_stopping holds out a tenth of X, but of {len(X)} examples that is none; give "
                    "validation_data"
                )
        engine, specification = self._build(X.shape[1], 0 if y is None else y.shape[1])
        engine.check(X, "X", self._threads())
        if validation is not None:
            engine.check(validation[0], "validation_data", self._threads())
        rows = held_out = None
        if fraction:
            rows, held_out = _split(len(X), fraction, specification["seed"])
            validation = X, y
        self._adopt(engine, specification, classes)
        self._begin(X, rows)
        n = len(X) if rows is None else len(rows)
        stopping = EarlyStopping(engine, patience, tol) if early else None
        steps = -(-n // self._batch_size(n, plan.batch_size))
        last = schedules.Steps((epochs - 1) * steps, epochs - 1, steps).last
        line = Progress(progress, epochs, n)
        try:
            for _ in range(epochs):
                logs = self._train(engine, (X, y), rows, None, None, shuffle=True, tick=line.tick)
                late = False
                if validation is not None:
                    means = self._means(engine, validation, held_out)
                    reconstruction, kl, _ = means
                    scores = self._report(reconstruction, float(kl.sum()), self._objective_now().loss(*means))
                    logs |= {f"val_{key}": value for key, value in scores.items()}
                    if stopping is not None:
                        late = stopping.stop(self._objective().final(*last).loss(*means))
                self._log(logs)
                line.epoch(logs)
                asked = [callback.on_epoch_end(self, dict(logs)) for callback in callbacks]
                if self._engine is not engine:
                    raise RuntimeError("a callback has fitted the model anew while fit was training it")
                if late or any(isinstance(answer, (bool, np.bool_)) and answer for answer in asked):
                    break
        except KeyboardInterrupt:
            self.interrupted_ = True
            stopping = None
            raise
        finally:
            if stopping is not None:
                stopping.restore()
            line.close()
        return self

    def partial_fit(self, X: Any, y: Any = None, *, eps: Any = None, corrupted: Any = None) -> Self:
        """Go on training: one pass over X in the given order, the optimiser's state kept.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, [n_examples] or [n_examples, c], optional
            As in ``fit``. The first call of all must see every class.
        eps : array_like, [n_examples, latent_dim], optional
            Replaces the noise of the reparameterisation; [n_examples, n_importance_samples, latent_dim] where there are
            several.
        corrupted : array_like, [n_examples, n_features], optional
            What the encoder sees in the place of X (through ``input_transform``, as it would see X), which remains the
            target; uint8 is scaled as that of X. Replaces ``corruption``. What is NaN in X, or with
            ``missing="mask"`` here, stays unseen.

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
        ``objective``, ``learning_rate``, ``batch_size``, ``clip_norm``, ``corruption``, ``n_jobs``, ...); those of the
        network and the optimiser want a new ``fit``. A pass is an epoch of schedules. There is no validation, so
        nothing stops early, and no callback is called.
        """
        self._pass()
        if not self.__sklearn_is_fitted__():
            X = self._read(X, "X")
            classes, y = self._learned(y, len(X))
            eps, corrupted = self._epsilon(eps, len(X)), self._corrupted(corrupted, X.shape)
            engine, specification = self._build(X.shape[1], 0 if y is None else y.shape[1])
            engine.check(X, "X", self._threads())
            self._adopt(engine, specification, classes)
            self._begin(X, None)
        else:
            X, y = self._training_data(X, self._own(y))
            eps, corrupted = self._epsilon(eps, len(X)), self._corrupted(corrupted, X.shape)
        self._log(self._train(self._engine, (X, y), None, eps, corrupted, shuffle=False, tick=None))
        return self

    def loss_and_gradients(
        self, X: Any, eps: Any = None, *, corrupted: Any = None, y: Any = None
    ) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
        """Losses of X as one batch of training, and the gradients of the loss.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        eps : array_like, [n_examples, latent_dim], optional
            Noise, shaped as for ``partial_fit``; without it, that of ``score_samples``.
        corrupted : array_like, [n_examples, n_features], optional
            What the encoder sees in the place of X. Without it, X with ``corruption``, whose noise is keyed as that
            of ``score_samples``.
        y : array_like, optional
            Of a conditional model, as in ``fit``.

        Notes
        -----
        ``corruption`` and ``binarize`` are part of the loss here, as they are in training, and are not in ``evaluate``,
        which is about the X that it is given: then the two differ. ``binarize="bernoulli"`` makes X binary by one draw,
        that of validation data, which depends on the model's seed and the row and is that of no epoch.

        Returns
        -------
        losses : dict
            With the keys of ``history_``.
        gradients : dict of str to ndarray of float32
            Of the loss, which is a mean over the batch, keyed and shaped as ``state_dict()``.
        """
        plan, objective = self._pass(), self._objective_now()
        engine, (X, y) = self._engine_for(), self._training_data(X, y)
        *losses, gradients = engine.loss_and_gradients(
            X,
            y,
            self._epsilon(eps, len(X)),
            self._corrupted(corrupted, X.shape),
            objective.terms(),
            objective.importance(),
            plan.corruption,
            plan.binarize,
            self._threads(),
        )
        return self._report(*losses), self._shaped(gradients, engine.trained())

    def apply_gradients(self, grads: Mapping[str, Any]) -> Self:
        """Take one optimiser step with given gradients: the same bits as the step that ``partial_fit`` fuses.

        Running statistics of a batch normalisation stay as they are, of which gradients say nothing.

        Parameters
        ----------
        grads : mapping of str to array_like
            Keyed and shaped as ``state_dict()``. They are not clipped.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If they are not, or a gradient is too large for float32; nothing has changed then.
        """
        engine = self._engine_for()
        next_step = schedules.Steps(engine.steps, self._position[1], 1)
        rate = schedules.values(self._learning_rate(), "learning_rate", next_step)
        gradients = _checked(grads, engine.trained(), "the gradients")
        engine.apply_gradients(gradients, float(rate[0]), self._threads())
        return self

    # Questions

    def transform(self, X: Any, *, y: Any = None) -> Any:
        """Codes, deterministic (a posterior's means): float32 [n_examples, latent_dim]. A conditional model needs y."""
        codes, _ = self._codes(X, y, logvar=False)
        return self._as_output(codes, X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """``fit(X, y)``, then ``transform(X)``, of a conditional model with y."""
        return self.fit(X, y).transform(X, y=self._own(y))

    def inverse_transform(self, Z: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Decoder means E[x|z], [n, n_features], of codes Z [n, latent_dim].

        A conditional model needs y: one label (or row of covariates) for all codes, or one for each.
        """
        engine = self._engine_for()
        Z = _input.matrix(Z, "Z")
        latent_dim = self._latent_dim
        if Z.shape[1] != latent_dim:
            raise ValueError(f"Z has {Z.shape[1]} columns, but latent_dim is {latent_dim}")
        if Z.dtype == np.uint8:  # codes are no pictures: do not scale them
            Z = Z.astype(np.float32)
        return engine.decode(Z, self._told(y, len(Z), one=True), self._threads()).reshape(len(Z), -1)

    def reconstruct(self, X: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Decoder means of the codes of X, [n_examples, n_features]; deterministic. A conditional model needs y."""
        engine, (X, y) = self._engine_for(), self._data(X, y)
        return engine.reconstruct(X, y, self._noisy, self._threads()).reshape(len(X), -1)

    # The latent space

    def manifold(self, n: int = 20, span: float | None = None, **options: Any) -> NDArray[np.float32]:
        """Decode a grid of the prior's quantiles: :func:`fastvae.latent.manifold`."""
        return latent.manifold(self, n, span, **options)

    def interpolate(self, a: Any, b: Any, n: int = 10, method: str = "linear", **options: Any) -> NDArray[np.float32]:
        """Decode a path between two inputs or codes: :func:`fastvae.latent.interpolate`."""
        return latent.interpolate(self, a, b, n, method, **options)

    def traverse(self, x: Any, dims: Any = None, span: float = 3.0, n: int = 9, **options: Any) -> NDArray[np.float32]:
        """Decode one moving coordinate at a time: :func:`fastvae.latent.traverse`."""
        return latent.traverse(self, x, dims, span, n, **options)

    def neighbours(self, X: Any, query: Any, n: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the examples with the nearest codes: :func:`fastvae.latent.neighbours`."""
        return latent.neighbours(self, X, query, n)

    # Parameters

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all parameters with the names and shapes of the equivalent torch modules.

        ``encoder.0.weight`` [out, in], ``encoder.0.bias`` [out], ``encoder.2.weight``, ... (an ``nn.Sequential``: layer
        i has index 2 i, activations between), ``mu`` and ``logvar`` (or ``code``), ``decoder.0`` ..., and
        ``likelihood.log_scale`` ([] or [n_features]) where a Gaussian learns it, or the layer ``scale`` where the
        decoder gives it; ``likelihood.log_total_count`` [n_features] of a negative binomial.
        """
        engine = self._engine_for()
        return self._shaped(engine.parameters(), engine.shapes())

    def load_state_dict(self, d: Mapping[str, Any]) -> Self:
        """Set all parameters. An unfitted model takes its number of features from them and becomes usable.

        A conditional one takes its number of covariates too: it knows of no labels, whose y is then one-hot rows.

        A fitted model keeps its optimiser's state.

        Raises
        ------
        ValueError
            If names, shapes or values are not exactly those of the model, or a learned scale is below its floor.
        """
        if self.__sklearn_is_fitted__():
            engine = self._engine
            engine.set_parameters(_checked(d, engine.shapes(), "the state dict"))
            return self
        first = "encoder.0.weight" if _input.widths(self.hidden, "hidden") else self._HEAD
        if not isinstance(d, Mapping) or first not in d:
            raise ValueError(f"the state dict must be a mapping with {first!r}, which tells the number of features")
        shape = _input.tensor(d[first], f"the state dict's {first}").shape
        if len(shape) != 2:
            raise ValueError(f"the state dict's {first} has shape {shape}; it must be a matrix")
        conditions = self._conditions_in(d)
        if shape[1] <= conditions:
            raise ValueError(f"the state dict's {first} has {shape[1]} columns, of which {conditions} are those of y")
        n_features = shape[1] - conditions
        if self._missing() == "indicator":
            if n_features % 2:
                raise ValueError(
                    f"the state dict's {first} has {n_features} columns for X and its indicators: it must have two for "
                    "each feature"
                )
            n_features //= 2
        engine, specification = self._build(n_features, conditions)
        engine.set_parameters(_checked(d, engine.shapes(), "the state dict"))
        self._adopt(engine, specification)
        return self

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the latent coordinates: the class's name in lower case and a number."""
        self._engine_for()
        name = type(self).__name__.lower()
        return np.array([f"{name}{i}" for i in range(self._latent_dim)], dtype=object)

    @property
    def loss_curve_(self) -> list[float]:
        """``history_["loss"]``."""
        return self.history_["loss"]

    # Keeping

    def save(self, path: str | os.PathLike[str], *, optimizer: bool = True) -> None:
        """Write the fitted model to a file, which :func:`fastvae.load` reads.

        The file appears whole or not at all: it is written beside its place, synced and renamed.

        Parameters
        ----------
        path : str or path-like
            Where to; a file that is there is replaced.
        optimizer : bool
            With the optimiser's state, so that ``partial_fit`` goes on as if nothing had happened. Without it the
            file is a third as large (for Adam), and the optimiser starts anew.

        Raises
        ------
        NotFittedError
            If there is nothing to keep.
        OSError
            If the file cannot be written; what was there before is then still there.

        Warns
        -----
        UserWarning
            If a parameter cannot be kept in a file (``callbacks``, a numpy generator as ``random_state``, a function
            of yours as a schedule): the model that is loaded has the default in its place.

        TypeError
            If the model is of a class of your own, which could not be loaded; pickle it.

        Notes
        -----
        The format is safetensors: the tensors of ``state_dict()`` under their names, the optimiser's state as
        ``optimizer.first.*`` and ``optimizer.second.*``, and the rest as JSON in the header.
        """
        self._engine_for()
        _persist.save(self, path, _input.boolean(optimizer, "optimizer"))

    def __getstate__(self) -> dict[str, Any]:
        return _persist.state(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        _persist.set_state(self, state)

    # Inside

    def _architecture(self) -> dict[str, Any]:
        """Return the options of the specification that a subclass decides, checked."""
        raise NotImplementedError

    @classmethod
    def _owns(cls, specification: dict[str, Any]) -> bool:
        """Whether an engine with this specification is one that this class makes."""
        free = specification["weight_constraint"] == "free" and not specification["trials"]
        return free and specification["topics"] is None and specification["variational"] is cls._VARIATIONAL

    def _read(self, X: Any, name: str, cols: int | None = None, *, fitted: bool = False) -> Examples:
        """Return examples (of so many columns) as the core reads them, checked in type and shape.

        They are those of a fit or, if `fitted`, of the fitted model.
        """
        return _input.examples(X, name, cols, type(self).__name__)

    def _objective(self) -> Objective:
        """Return what is minimised, checked."""
        raise NotImplementedError

    def _first_weights(self, X: Any, rows: NDArray[np.uint64] | None) -> dict[str, NDArray[np.float32]]:
        """Return those that begin otherwise than at random, given what will be trained on: some rows of X, or all."""
        return {}

    def _begin(self, X: Examples, rows: NDArray[np.uint64] | None) -> None:
        """Give a new engine its first weights."""
        first = self._first_weights(X, rows)
        if first:
            self.load_state_dict(self.state_dict() | first)

    def _batch_size(self, n: int, batch_size: int) -> int:
        """Return the examples a step of a pass over n, of which at most `batch_size` are wanted."""
        return min(batch_size, n)

    def _binarize(self) -> str | None:
        """Return how grey examples become binary, checked."""
        return None

    def _report(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        """Name the losses."""
        raise NotImplementedError

    def _counts(self) -> bool:
        """Whether X holds counts, which are never scaled."""
        return False

    def _conditional(self) -> bool:
        """Whether a fit will want y, checked."""
        return False

    def _input_transform(self) -> str | None:
        """Return what is done to what the encoder sees, checked."""
        if self.input_transform is None:
            return None
        return _input.choice(self.input_transform, "input_transform", INPUT_TRANSFORMS)

    def _missing(self) -> str:
        """Return what a fit will make of NaN, checked."""
        return _missing.kind_of(self.missing, self.missing_indicator)

    def _masked(self) -> bool:
        """Whether NaN is a value that was not observed: as the fitted model has it, or else as a fit will."""
        kind: str = self._specification["missing"] if self.__sklearn_is_fitted__() else self._missing()
        return kind != "error"

    def _per_observed(self, losses: dict[str, float], X: Any) -> dict[str, float]:
        """Return mean losses of X per observed value, if it may have holes; else nothing."""
        if not self._masked():
            return {}
        X = _input.examples(X, "X")
        return _missing.per_observed(losses, len(X), _missing.observed_of(X))

    def _build(self, n_features: int, conditions: int) -> tuple[_core.Engine, dict[str, Any]]:
        """Make a new engine from the parameters, which are checked here, and return its specification too."""
        import json  # here and there only, so that `import fastvae` stays cheap

        options = self._specification_for(n_features, conditions) | {"seed": _input.seed(self.random_state)}
        engine = _core.Engine(json.dumps(options, allow_nan=False))
        return engine, json.loads(engine.specification)

    def _specification_for(self, n_features: int, conditions: int) -> dict[str, Any]:
        """Return the specification of an engine without its seed, checked. What is absent has its default."""
        hidden = _input.widths(self.hidden, "hidden")
        mirrored = self.decoder_hidden is None
        return {
            "n_features": n_features,
            "variational": self._VARIATIONAL,
            "latent_dim": _input.integer(self.latent_dim, "latent_dim", most=_core.MAX_WIDTH // 2),
            "conditions": conditions,
            "encoder": hidden,
            "decoder": hidden[::-1] if mirrored else _input.widths(self.decoder_hidden, "decoder_hidden"),
            "missing": self._missing(),
            "activation": _input.choice(self.activation, "activation", tuple(_core.ACTIVATIONS)),
            **self._architecture(),
            "input_transform": self._input_transform(),
            "optimizer": optimizers.resolve(self.optimizer, self.weight_decay),
        }

    def _adopt(self, engine: _core.Engine, specification: dict[str, Any], classes: NDArray[Any] | None = None) -> None:
        """Become the fitted model that an engine is."""
        vars(self).pop("classes_", None)
        if classes is not None:
            self.classes_ = classes
        self._engine, self._specification = engine, specification
        self._latent_dim = specification["latent_dim"]
        self._position = (0, 0.0)  # of the last step of training: its number, and epochs before it
        self._noisy = False  # whether the encoder has seen noise that data do not hold
        self.n_features_in_ = specification["n_features"]
        self.n_iter_ = 0
        self.history_: dict[str, list[float]] = {key: [] for key in self._LOSSES}
        self.elapsed_ = 0.0
        self.interrupted_ = False

    def _pass(self) -> _Pass:
        """Check and return what a pass of training needs."""
        clip = self.clip_norm
        return _Pass(
            _input.integer(self.batch_size, "batch_size"),
            self._objective(),
            self._learning_rate(),
            None if clip is None else _input.number(clip, "clip_norm", least=1e-12, below=1e30),
            None if self.corruption is None else corruption.resolve(self.corruption),
            self._binarize(),
        )

    def _learning_rate(self) -> schedules.Value:
        rate = schedules.check(self.learning_rate, "learning_rate", below=1e6)
        if rate == 0:
            raise ValueError("learning_rate=0 would train nothing; it must be positive")
        return rate

    def _objective_now(self) -> Objective:
        """Return what the last step minimised, or, before the first, what that will."""
        self._engine_for()
        return self._objective().at(*self._position)

    def _threads(self) -> int | None:
        return _input.threads(self.n_jobs)

    def _engine_for(self) -> _core.Engine:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(
                f"this {name} is not fitted yet: call fit, partial_fit or load_state_dict before asking it"
            )
        return self._engine

    def _data(self, X: Any, y: Any = None) -> tuple[Examples, NDArray[Any] | None]:
        """Return data that fit the model in type and shape; the values of X are looked at when they are used."""
        self._engine_for()
        X = self._read(X, "X", self.n_features_in_, fitted=True)
        return X, self._told(y, len(X))

    def _learned(self, y: Any, n: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return the classes in y, if it holds labels, and y as the core reads it; nothing if it is not wanted."""
        if not self._conditional():
            return None, None
        classes = _conditions.classes_of(y)
        return classes, _conditions.read(y, n, classes, None)

    def _told(self, y: Any, n: int, *, one: bool = False) -> NDArray[Any] | None:
        """Return y as the core reads it: one of `n` examples or, if that may be, one for all of them."""
        name, cols = type(self).__name__, self._specification["conditions"]
        if (y is None) == (cols == 0):
            return None if y is None else _conditions.read(y, n, getattr(self, "classes_", None), cols, one)
        if cols == 0:
            raise ValueError(f"this {name} is not conditional, so y means nothing here")
        raise ValueError(
            f"this {name} is conditional: it needs y, as fit did (so functions that pass none, as those of "
            "fastvae.latent, do not serve it)"
        )

    def _own(self, y: Any) -> Any:
        """Return y if the fitted model is conditional: scikit-learn passes it to any."""
        return y if self._specification["conditions"] else None

    def _conditions_in(self, d: Mapping[str, Any]) -> int:
        """Return the columns of y in a state dict."""
        if not self._conditional():
            return 0
        shape = _input.tensor(d.get("decoder.0.weight", 0), "the state dict's decoder.0.weight").shape
        latent_dim = _input.integer(self.latent_dim, "latent_dim")
        if len(shape) != 2 or shape[1] <= latent_dim:
            raise ValueError(
                f"the state dict's decoder.0.weight has shape {shape}; a conditional model's has more columns than "
                f"latent_dim={latent_dim}"
            )
        return int(shape[1]) - latent_dim

    def _codes(self, X: Any, y: Any, logvar: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the head gives. Where the encoder has seen noise (no masking), X may hold any numbers."""
        engine, (X, y) = self._engine_for(), self._data(X, y)
        arrays = engine.encode(X, y, logvar, self._noisy, self._threads())
        codes, second = (array.reshape(-1, self._latent_dim) for array in arrays)
        return codes, second

    def _training_data(self, X: Any, y: Any) -> tuple[Examples, NDArray[Any] | None]:
        """``_data`` with the values looked at beforehand: a step must not begin with bad ones."""
        X, y = self._data(X, y)
        self._engine.check(X, "X", self._threads())
        return X, y

    def _epsilon(self, eps: Any, n: int) -> NDArray[np.float32] | None:
        fitted = self.__sklearn_is_fitted__()
        latent_dim = self._latent_dim if fitted else _input.integer(self.latent_dim, "latent_dim")
        samples = self._objective().samples
        if samples == 1:
            return _input.noise(eps, "eps", (n, latent_dim), "[n_examples, latent_dim]")
        wanted = "[n_examples, n_importance_samples, latent_dim]"
        noise = _input.noise(eps, "eps", (n, samples, latent_dim), wanted)
        return None if noise is None else noise.reshape(n * samples, latent_dim)

    def _corrupted(self, corrupted: Any, shape: tuple[int, ...]) -> Examples | None:
        fitted = self.__sklearn_is_fitted__()
        transform = self._specification["input_transform"] if fitted else self.input_transform
        counts, holes = self._counts(), self._masked()
        return _input.replacement(corrupted, "corrupted", shape, transform, counts=counts, holes=holes)

    def _validation(
        self, data: Any, fraction: float, X: Examples, classes: NDArray[Any] | None, y: NDArray[Any] | None
    ) -> tuple[Examples, NDArray[Any] | None] | None:
        if data is None:
            return None
        if fraction:
            raise ValueError("give validation_data or validation_fraction, not both")
        if y is not None and not (isinstance(data, tuple) and len(data) == 2):
            raise ValueError("validation_data of a conditional model must be a tuple (X, y)")
        first = data[0] if isinstance(data, tuple) and data else data
        first = self._read(first, "validation_data", X.shape[1])
        return first, None if y is None else _conditions.read(data[1], len(first), classes, y.shape[1])

    def _means(
        self,
        engine: _core.Engine,
        data: tuple[Examples, NDArray[Any] | None],
        rows: NDArray[np.uint64] | None,
    ) -> tuple[float, NDArray[np.float64], float]:
        """Means of what the loss of validation data needs, corrupted as in training; the KL by coordinate if needed."""
        plan = self._pass()
        samples = plan.objective.samples
        reconstruction, kl, bound = engine.score(
            *data, rows, None, samples, plan.corruption, plan.binarize, self._threads()
        )
        if plan.objective.free_bits:
            kl = engine.kl(*data, rows, plan.corruption, plan.binarize, self._threads())
        kl = kl.reshape(len(reconstruction), -1).mean(0, dtype=np.float64)
        return float(np.mean(reconstruction, dtype=np.float64)), kl, mean_bound(bound)

    def _train(
        self,
        engine: _core.Engine,
        data: tuple[Examples, NDArray[Any] | None],
        rows: Any,
        eps: Any,
        corrupted: Any,
        *,
        shuffle: bool,
        tick: Any,
    ) -> dict[str, float]:
        """Train on the data once and return the mean losses."""
        plan = self._pass()
        n = len(data[0]) if rows is None else len(rows)
        batch_size = self._batch_size(n, plan.batch_size)
        steps = schedules.Steps(engine.steps, float(self.n_iter_), -(-n // batch_size))
        rates = schedules.values(plan.learning_rate, "learning_rate", steps)
        # Masking makes only zeros, which any data may hold.
        noisy = plan.corruption is not None and plan.corruption[0] != "masking"
        self._noisy = self._noisy or corrupted is not None or noisy
        start = time.perf_counter()
        self.interrupted_ = False
        try:
            sums = engine.train(
                *data,
                rows,
                eps,
                corrupted,
                shuffle=shuffle,
                batch_size=batch_size,
                objective=(plan.objective.reconstruction, plan.objective.free_bits),
                importance=plan.objective.importance(),
                course=(*plan.objective.course(steps), rates),
                corruption=plan.corruption,
                binarize=plan.binarize,
                clip_norm=plan.clip_norm,
                threads=self._threads(),
                tick=tick,
            )
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise
        finally:
            self.elapsed_ += time.perf_counter() - start
        self._position = steps.last
        return self._report(*(total / n for total in sums))

    def _log(self, logs: dict[str, float]) -> None:
        self.n_iter_ += 1
        for key in self.history_ | logs:  # one entry an epoch in every list
            values = self.history_.setdefault(key, [float("nan")] * (self.n_iter_ - 1))
            values.append(logs.get(key, float("nan")))

    def _shaped(
        self, arrays: list[NDArray[np.float32]], shapes: list[tuple[str, list[int]]]
    ) -> dict[str, NDArray[np.float32]]:
        return {name: array.reshape(shape) for (name, shape), array in zip(shapes, arrays, strict=True)}


def _checked_callbacks(callbacks: Any) -> list[Any]:
    """Return the callbacks, or raise ValueError."""
    if not isinstance(callbacks, (tuple, list)):
        raise ValueError(f"callbacks={callbacks!r} must be a sequence of objects with on_epoch_end(model, logs)")
    for callback in callbacks:
        if isinstance(callback, type) or not callable(getattr(callback, "on_epoch_end", None)):
            raise ValueError(f"the callback {callback!r} is no object with a method on_epoch_end(model, logs)")
    return list(callbacks)


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
