"""What the estimators have in common: training, codes, parameters, keeping."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _checks, _core, corruption, latent, optimizers, schedules
from fastvae._checks import NotFittedError
from fastvae._data import arrays, conditions, examples, missing
from fastvae._estimators import files
from fastvae._estimators.base import Estimator
from fastvae._fitted.model import FittedModel
from fastvae._training import callbacks, epochs, progress, validation
from fastvae._training.plan import FitSettings, Plan
from fastvae._training.record import TrainingRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Data, Examples
    from fastvae._fitted.specification import Specification
    from fastvae._training.objective import Objective


class Model(Estimator):
    """An encoder, a code and a decoder, trained together.

    A subclass says what the network is (``_specification``), what is minimised (``_objective``) and how the losses are
    called (``_name_losses``). The rest of what is below "Inside" has defaults.
    """

    _LOSSES: ClassVar[tuple[str, ...]]  # entries of the history
    _HEAD: ClassVar[str]  # the parameter that tells the number of features of a network without hidden layers

    hidden: Any
    activation: Any
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

    _fitted: FittedModel | None = None
    _record: TrainingRecord

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
        settings = self._fit_settings()
        called = callbacks.check(self.callbacks)
        plan = self._plan()
        X = self._read_examples(X, "X")
        classes, y = self._read_training_conditions(y, len(X))
        held_out = self._validation_data(validation_data, settings.validation_fraction, X, classes, y)
        fraction = settings.validation_fraction
        if settings.early_stopping and held_out is None and not fraction:
            fraction = 0.1
            if round(fraction * len(X)) == 0:
                raise ValueError(
                    f"early_stopping holds out a tenth of X, but of {len(X)} examples that is none; give "
                    "validation_data"
                )
        fitted = self._new_model(X.shape[1], 0 if y is None else y.shape[1], classes)
        fitted.engine.check(X, "X", plan.threads)
        if held_out is not None:
            fitted.engine.check(held_out[0], "validation_data", plan.threads)
        rows = validation_rows = None
        if fraction:
            rows, validation_rows = validation.split(len(X), fraction, fitted.specification.seed)
            held_out = X, y
        self._set_fitted(fitted)
        self._initialize_weights(fitted, X, rows)

        def after_epoch(losses: dict[str, float]) -> bool:
            stop = callbacks.call(called, self, losses)
            if self._fitted is not fitted:
                raise RuntimeError("a callback has fitted the model anew while fit was training it")
            return stop

        epochs.fit(
            fitted,
            self._record,
            (X, y),
            rows,
            None if held_out is None else (held_out, validation_rows),
            settings,
            self._plan,
            self._name_losses,
            after_epoch,
        )
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
        plan = self._plan()
        if self._fitted is None:
            X = self._read_examples(X, "X")
            classes, y = self._read_training_conditions(y, len(X))
            noise, replacement = self._read_noise(eps, len(X)), self._read_corrupted(corrupted, X.shape)
            fitted = self._new_model(X.shape[1], 0 if y is None else y.shape[1], classes)
            fitted.engine.check(X, "X", plan.threads)
            self._set_fitted(fitted)
            self._initialize_weights(fitted, X, None)
        else:
            fitted = self._fitted
            X, y = self._read_training_data(X, self._y_if_conditional(y))
            noise, replacement = self._read_noise(eps, len(X)), self._read_corrupted(corrupted, X.shape)
        losses = epochs.train_epoch(
            fitted,
            self._record,
            (X, y),
            None,
            plan,
            self._name_losses,
            eps=noise,
            corrupted=replacement,
            shuffle=False,
        )
        self._record.add(losses)
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
        plan, objective = self._plan(), self._current_objective()
        fitted, (X, y) = self._require_fitted(), self._read_training_data(X, y)
        losses, gradients = fitted.loss_and_gradients(
            X,
            y,
            plan.threads,
            eps=self._read_noise(eps, len(X)),
            corrupted=self._read_corrupted(corrupted, X.shape),
            objective=objective.terms(),
            importance=objective.importance(),
            corruption=plan.corruption,
            binarize=plan.binarize,
        )
        return self._name_losses(*losses), gradients

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
        fitted = self._require_fitted()
        next_step = schedules.Steps(fitted.engine.steps, fitted.position[1], 1)
        rate = schedules.values(self._learning_rate(), "learning_rate", next_step)
        fitted.apply_gradients(grads, float(rate[0]), self._threads())
        return self

    # Codes

    def transform(self, X: Any, *, y: Any = None) -> Any:
        """Codes, deterministic (a posterior's means): float32 [n_examples, latent_dim]. A conditional model needs y."""
        codes, _ = self._encode(X, y, logvar=False)
        return self._as_output(codes, X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """``fit(X, y)``, then ``transform(X)``, of a conditional model with y."""
        return self.fit(X, y).transform(X, y=self._y_if_conditional(y))

    def inverse_transform(self, Z: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Decoder means E[x|z], [n, n_features], of codes Z [n, latent_dim].

        A conditional model needs y: one label (or row of covariates) for all codes, or one for each.
        """
        fitted = self._require_fitted()
        Z = arrays.matrix(Z, "Z")
        if Z.shape[1] != fitted.latent_dim:
            raise ValueError(f"Z has {Z.shape[1]} columns, but latent_dim is {fitted.latent_dim}")
        if Z.dtype == np.uint8:  # codes are no pictures: do not scale them
            Z = Z.astype(np.float32)
        return fitted.decode(Z, self._read_conditions(y, len(Z), one=True), self._threads())

    def reconstruct(self, X: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Decoder means of the codes of X, [n_examples, n_features]; deterministic. A conditional model needs y."""
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        return fitted.reconstruct(X, y, self._threads())

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
        return self._require_fitted().state_dict()

    def load_state_dict(self, d: Mapping[str, Any]) -> Self:
        """Set all parameters. An unfitted model takes its number of features from them and becomes usable.

        A conditional one takes its number of covariates too: it knows of no labels, whose y is then one-hot rows.

        A fitted model keeps its optimiser's state.

        Raises
        ------
        ValueError
            If names, shapes or values are not exactly those of the model, or a learned scale is below its floor.
        """
        if self._fitted is not None:
            self._fitted.load_state_dict(d)
            return self
        fitted = self._new_model(*self._sizes_in(d))
        fitted.load_state_dict(d)
        self._set_fitted(fitted)
        return self

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the latent coordinates: the class's name in lower case and a number."""
        name, fitted = type(self).__name__.lower(), self._require_fitted()
        return np.array([f"{name}{i}" for i in range(fitted.latent_dim)], dtype=object)

    # What training has recorded

    @property
    def n_features_in_(self) -> int:
        """Columns of X."""
        return self._require_fitted().n_features

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels of y, each once, sorted; of a conditional model that was fitted with labels only."""
        classes = self._require_fitted().classes
        if classes is None:
            raise AttributeError(f"this {type(self).__name__} was not fitted with labels, so it has no classes_")
        return classes

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        return self._require_record().n_iter

    @property
    def history_(self) -> dict[str, list[float]]:
        """Losses of each epoch, by name."""
        return self._require_record().history

    @property
    def loss_curve_(self) -> list[float]:
        """``history_["loss"]``."""
        return self.history_["loss"]

    @property
    def elapsed_(self) -> float:
        """Seconds spent in training."""
        return self._require_record().elapsed

    @property
    def interrupted_(self) -> bool:
        """Whether the last training was stopped by Ctrl-C."""
        return self._require_record().interrupted

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
        fitted, cls = self._require_fitted(), type(self)
        moments = _checks.boolean(optimizer, "optimizer")
        if not cls.__module__.startswith("fastvae."):
            raise TypeError(
                f"a file holds models of fastvae's own classes, and load could not make a {cls.__qualname__}: "
                "use pickle"
            )
        unkept = files.write(path, fitted, self._record, (cls.__name__, self.get_params()), moments)
        if unkept:
            message = f"a file cannot keep {', '.join(unkept)}: the model that is loaded will have the default there"
            warnings.warn(message, UserWarning, stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self._fitted is not None:  # a copy has an engine and a history of its own
            state |= {"_fitted": self._fitted.__getstate__(), "_record": self._record.copy()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_fitted" in state:
            fitted = FittedModel.__new__(FittedModel)
            fitted.__setstate__(state["_fitted"])
            self._check_network(fitted.specification)
            state["_fitted"] = fitted
        vars(self).update(state)

    def _restore(self, contents: files.Contents) -> None:
        """Become the estimator of the model in a file."""
        fitted, record = contents.model(self._LOSSES)
        self._check_network(fitted.specification)
        self._fitted, self._record = fitted, record

    def _check_network(self, specification: Specification) -> None:
        if not self._accepts(specification):
            raise ValueError(f"the network is not that of a {type(self).__name__}")

    # Inside: what a subclass decides

    def _specification(self, n_features: int, conditions: int) -> Specification:
        """Return the network's specification without its seed, checked."""
        raise NotImplementedError

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        """Whether a network with this specification is one that this class makes."""
        raise NotImplementedError

    def _objective(self) -> Objective:
        """Return what is minimised, checked."""
        raise NotImplementedError

    def _name_losses(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        """Return the losses as entries of the history."""
        raise NotImplementedError

    def _latent_dim(self) -> int:
        """Return the columns of a fit's code, checked."""
        raise NotImplementedError

    def _corruption(self) -> Any:
        """Return the noise on the encoder's input, an object of :mod:`fastvae.corruption`, or None."""
        return None

    def _binarize(self) -> str | None:
        """Return how grey examples become binary, checked."""
        return None

    def _conditional(self) -> bool:
        """Whether a fit will want y, checked."""
        return False

    def _conditions_in(self, d: Mapping[str, Any]) -> int:
        """Return the columns of y in a state dict."""
        return 0

    def _missing(self) -> str:
        """Return what a fit will make of NaN, as :mod:`fastvae._data.missing` names it, checked."""
        return "error"

    def _read_examples(self, X: Any, name: str, cols: int | None = None, *, fitted: bool = False) -> Examples:
        """Return examples (of so many columns) as the core reads them, checked in type and shape.

        They are those of a fit or, if `fitted`, of the fitted model.
        """
        return examples.read(X, name, cols, type(self).__name__)

    def _initial_weights(
        self, fitted: FittedModel, X: Any, rows: NDArray[np.uint64] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Return the weights that do not start at random, given what will be trained on: some rows of X, or all."""
        return {}

    # Inside: parameters

    def _encoder(self) -> dict[str, Any]:
        """Return the part of the specification that all estimators have parameters for, checked."""
        return {
            "encoder": _checks.widths(self.hidden, "hidden"),
            "activation": _checks.choice(self.activation, "activation", tuple(_core.ACTIVATIONS)),
            "optimizer": optimizers.resolve(self.optimizer, self.weight_decay),
        }

    def _new_model(self, n_features: int, n_conditions: int, classes: NDArray[Any] | None = None) -> FittedModel:
        """Make a model with fresh weights from the parameters, which are checked here."""
        specification = self._specification(n_features, n_conditions)
        return FittedModel(specification.seeded(_checks.seed(self.random_state)), classes)

    def _plan(self) -> Plan:
        """Return what a pass of training needs, checked."""
        clip, noise = self.clip_norm, self._corruption()
        return Plan(
            _checks.integer(self.batch_size, "batch_size"),
            self._objective(),
            self._learning_rate(),
            None if clip is None else _checks.number(clip, "clip_norm", least=1e-12, below=1e30),
            None if noise is None else corruption.resolve(noise),
            self._binarize(),
            self._threads(),
        )

    def _fit_settings(self) -> FitSettings:
        """Return what ``fit`` does beside its passes, checked."""
        return FitSettings(
            _checks.integer(self.epochs, "epochs"),
            _checks.number(self.validation_fraction, "validation_fraction", 0.0, 1.0),
            _checks.boolean(self.early_stopping, "early_stopping"),
            _checks.integer(self.n_iter_no_change, "n_iter_no_change"),
            _checks.number(self.tol, "tol"),
            progress.check(self.progress),
        )

    def _learning_rate(self) -> schedules.Value:
        rate = schedules.check(self.learning_rate, "learning_rate", below=1e6)
        if rate == 0:
            raise ValueError("learning_rate=0 would train nothing; it must be positive")
        return rate

    def _threads(self) -> int | None:
        return _checks.threads(self.n_jobs)

    # Inside: the fitted model

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    def _require_fitted(self) -> FittedModel:
        """Return the fitted model, or raise NotFittedError."""
        if self._fitted is None:
            name = type(self).__name__
            raise NotFittedError(
                f"this {name} is not fitted yet: call fit, partial_fit or load_state_dict before asking it"
            )
        return self._fitted

    def _require_record(self) -> TrainingRecord:
        self._require_fitted()
        return self._record

    def _set_fitted(self, fitted: FittedModel) -> None:
        """Become the estimator of a model that has not been trained yet."""
        self._fitted, self._record = fitted, TrainingRecord({key: [] for key in self._LOSSES})

    def _initialize_weights(self, fitted: FittedModel, X: Examples, rows: NDArray[np.uint64] | None) -> None:
        """Set the weights of a new model that do not start at random."""
        weights = self._initial_weights(fitted, X, rows)
        if weights:
            fitted.load_state_dict(fitted.state_dict() | weights)

    def _current_specification(self, n_features: int) -> Specification:
        """Return the fitted model's specification, or that of a fit to so many features."""
        return self._specification(n_features, 0) if self._fitted is None else self._fitted.specification

    def _current_objective(self) -> Objective:
        """Return what the last step minimised, or, before the first, what that will."""
        return self._objective().at(*self._require_fitted().position)

    def _per_observed(self, losses: dict[str, float], X: Any) -> dict[str, float]:
        """Return mean losses of X per observed value, if it may have holes; else nothing."""
        if self._require_fitted().specification.missing == "error":
            return {}
        X = examples.read(X, "X")
        return missing.per_observed(losses, len(X), missing.count_observed(X))

    def _encode(self, X: Any, y: Any, logvar: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        return fitted.encode(X, y, self._threads(), logvar=logvar)

    # Inside: reading

    def _read_data(self, X: Any, y: Any = None) -> Data:
        """Return data that fit the model in type and shape; the values of X are looked at when they are used."""
        X = self._read_examples(X, "X", self._require_fitted().n_features, fitted=True)
        return X, self._read_conditions(y, len(X))

    def _read_training_data(self, X: Any, y: Any) -> Data:
        """Return data whose values have been looked at too: a step must not begin with bad ones."""
        X, y = self._read_data(X, y)
        self._require_fitted().engine.check(X, "X", self._threads())
        return X, y

    def _read_conditions(self, y: Any, n: int, *, one: bool = False) -> NDArray[Any] | None:
        """Return y as the core reads it: of `n` examples or, with `one`, possibly one for all of them."""
        return self._require_fitted().read_conditions(y, n, type(self).__name__, one=one)

    def _y_if_conditional(self, y: Any) -> Any:
        """Return y if the fitted model is conditional: scikit-learn passes it to any."""
        return y if self._require_fitted().specification.conditions else None

    def _read_training_conditions(self, y: Any, n: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return the classes in y, if it holds labels, and y as the core reads it; nothing if it is not wanted."""
        if not self._conditional():
            return None, None
        classes = conditions.classes_of(y)
        return classes, conditions.read(y, n, classes, None)

    def _read_noise(self, eps: Any, n: int) -> NDArray[np.float32] | None:
        """Return noise in place of the reparameterisation's, [n (times samples), latent_dim]."""
        raise NotImplementedError

    def _read_corrupted(self, corrupted: Any, shape: tuple[int, ...]) -> Examples | None:
        """Return the encoder's input in the place of X."""
        if corrupted is None:
            return None
        about = self._current_specification(shape[1])
        return examples.replacement(
            corrupted, "corrupted", shape, about.input_transform, counts=about.counts, holes=about.missing != "error"
        )

    def _validation_data(
        self, data: Any, fraction: float, X: Examples, classes: NDArray[Any] | None, y: NDArray[Any] | None
    ) -> Data | None:
        if data is None:
            return None
        if fraction:
            raise ValueError("give validation_data or validation_fraction, not both")
        if y is not None and not (isinstance(data, tuple) and len(data) == 2):
            raise ValueError("validation_data of a conditional model must be a tuple (X, y)")
        first = data[0] if isinstance(data, tuple) and data else data
        first = self._read_examples(first, "validation_data", X.shape[1])
        return first, None if y is None else conditions.read(data[1], len(first), classes, y.shape[1])

    def _sizes_in(self, d: Any) -> tuple[int, int]:
        """Return the columns of X and of y that a state dict is for."""
        first = "encoder.0.weight" if _checks.widths(self.hidden, "hidden") else self._HEAD
        if not isinstance(d, Mapping) or first not in d:
            raise ValueError(f"the state dict must be a mapping with {first!r}, which tells the number of features")
        shape = arrays.tensor(d[first], f"the state dict's {first}").shape
        if len(shape) != 2:
            raise ValueError(f"the state dict's {first} has shape {shape}; it must be a matrix")
        n_conditions = self._conditions_in(d)
        if shape[1] <= n_conditions:
            raise ValueError(f"the state dict's {first} has {shape[1]} columns, of which {n_conditions} are those of y")
        n_features = shape[1] - n_conditions
        if self._missing() == "indicator":
            if n_features % 2:
                raise ValueError(
                    f"the state dict's {first} has {n_features} columns for X and its indicators: it must have two for "
                    "each feature"
                )
            n_features //= 2
        return n_features, n_conditions
