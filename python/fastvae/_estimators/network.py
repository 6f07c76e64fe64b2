"""The network of an estimator: specification, fitted model, validation of data, saving."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _checks, _core, layers, optimizers
from fastvae._checks import NotFittedError
from fastvae._data import arrays, columns, examples, names
from fastvae._estimators import extras, files, sources
from fastvae._estimators.base import Estimator
from fastvae._estimators.turn import Turn
from fastvae._fitted import architecture, precision
from fastvae._fitted.files import with_keys
from fastvae._fitted.model import FittedModel
from fastvae._training.record import WAITED, TrainingRecord

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.columns import Columns
    from fastvae._data.examples import Examples, Format, Given
    from fastvae._data.images import Images
    from fastvae._data.names import Names
    from fastvae._data.scale import InputScale
    from fastvae._distributed.group import Group
    from fastvae._fitted.specification import Specification


class Network(Estimator):
    """An estimator with an encoder and a decoder, fitted or not."""

    _LOSSES: ClassVar[tuple[str, ...]]  # keys of the history
    _CONVERTS_NOTHING: ClassVar[bool] = True  # whether the engine reads dense tables as they are
    _HEAD: ClassVar[str]  # the first weight of an encoder without hidden layers
    # Parameters that files of earlier versions do not have, with the values that those versions used.
    _VALUES_BEFORE: ClassVar[dict[str, Any]] = {}

    latent_dim: Any
    hidden: Any
    activation: Any
    optimizer: Any
    weight_decay: Any
    precision: Any = "float32"
    n_jobs: Any
    random_state: Any
    communicator: Any = None

    _fitted: FittedModel | None = None
    _record: TrainingRecord
    _ranks: Group | None = None  # the other processes, during a distributed call
    _in_step: Any = None  # group, engine and steps after such a call, while all ranks have the same weights
    _save_messages: list[str] | None = None  # during a callback: warnings of `save`, which `fit` issues at its end

    # Parameters

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of all parameters, with the names and shapes of the equivalent torch modules.

        ``encoder.0.weight`` [out, in], ``encoder.0.bias`` [out], ``encoder.2.weight``, ... (an ``nn.Sequential``: layer
        i has index 2 i, activations lie between), ``mu`` and ``logvar`` (or ``code``), ``decoder.0``, ... Likelihoods
        add ``likelihood.log_scale`` ([] or [n_features]; Gaussian with a learned scale), the layer ``scale`` (Gaussian
        with the decoder's scale) or ``likelihood.log_total_count`` [n_features] (negative binomial); groups of columns
        have these as ``likelihood.<group>.log_scale``. With images the indices count Flatten, Unflatten and batch
        normalisations too, and features have the order height, width, channels.

        If columns of the training data were far from unit size, ``standardize.shift`` and ``standardize.scale``
        [n_features] hold what the network reads and writes: the encoder reads (x - shift) / scale, and a decoder of
        means (Gaussian, squared error) returns shift + scale y, y the output of its last layer. Likewise
        ``standardize.y_shift`` and ``standardize.y_scale`` [n_covariates] for covariates y of a conditional model.
        """
        return self._require_fitted().state_dict()

    def load_state_dict(self, d: Mapping[str, Any]) -> Self:
        """Set all parameters; an unfitted model becomes fitted.

        An unfitted model infers the number of features from the shapes (or ``image_shape``), and a conditional one the
        number of columns of y. Such a model has no ``classes_``: pass labels as one-hot rows; ``condition_columns``
        must be indices of covariates. Without a training X, images have all axes. A fitted model keeps its optimiser's
        state.

        Parameters
        ----------
        d : mapping of str to array_like
            Names and shapes as from ``state_dict``. Torch's ``num_batches_tracked`` are ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If names or shapes do not match the model, a value is not finite, or a learned scale is below its floor.
        """
        with Turn(self, fits=False):
            self._in_step = None
            if self._fitted is not None:
                self._fitted.load_state_dict(d)
                return self
            fitted = self._new_model(*self._sizes_in(d))
            fitted.standardize_as(d)
            fitted.load_state_dict(d)
            self._set_fitted(fitted)
        return self

    # Attributes

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X."""
        return self._require_fitted().n_columns

    @property
    def input_scale_(self) -> float:
        """Divisor of integers in X, 255 for grey values and 1 otherwise; decided by ``fit`` (see there)."""
        return float(self._require_fitted().scale.divisor)

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns of the training X, [n_features]; only if it was a frame whose names are strings."""
        found: Names = self._require_fitted().names
        if found is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without feature names")
        return found

    @property
    def condition_columns_(self) -> NDArray[np.intp]:
        """Indices of the columns of X that are the condition; only a model with ``condition_columns`` has them."""
        columns = self._require_fitted().columns
        if columns is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without condition_columns")
        return np.array(columns.indices, np.intp)

    def split_condition(self, X: Any) -> tuple[Any, NDArray[Any]]:
        """Return X without its condition columns, and the y that they hold, of a model with ``condition_columns``.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        X : array or frame of the same kind, [n_examples, n_features_in_ - c]
            The columns that are encoded and decoded.
        y : ndarray, [n_examples] or [n_examples, c]
            Labels, or c real covariates.

        Raises
        ------
        ValueError
            If the model has no condition columns, X lacks them, or a value of them is missing.
        """
        fitted, owner = self._require_fitted(), type(self).__name__
        if fitted.columns is None:
            raise ValueError(f"this {owner} was fitted without condition_columns")
        X = examples.whole(X)
        names.check(X, "X", fitted.names, owner)
        return fitted.columns.split(X, fitted.classes is not None, owner)

    @property
    def classes_(self) -> NDArray[Any]:
        """Sorted unique labels of y, [n_classes]; only a conditional model fitted with labels has them."""
        classes = self._require_fitted().classes
        if classes is None:
            raise AttributeError(f"this {type(self).__name__} was not fitted with labels, so it has no classes_")
        return classes

    @property
    def n_iter_(self) -> int:
        """Number of epochs trained."""
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
    def n_skipped_batches_(self) -> int:
        """Number of batches that ``nan_policy="skip"`` has skipped."""
        return self._require_record().skipped

    @property
    def interrupted_(self) -> bool:
        """Whether the last training was stopped by Ctrl-C."""
        return self._require_record().interrupted

    # Saving

    def save(self, path: str | os.PathLike[str] | BinaryIO, *, optimizer: bool = True) -> None:
        """Write the fitted model to a file, which :func:`fastvae.load` reads.

        Writing to a path is atomic: a temporary file in the same directory is written, synced and renamed. A process
        killed in between leaves that file (``.fastvae-*.tmp``), which the next ``save`` to the directory removes.

        Parameters
        ----------
        path : str, path-like or binary file object
            The file, or an object with a method ``write``, such as ``io.BytesIO()``. An existing file is replaced by a
            new one: it keeps its permissions, and its owner and group if the process may set them; other hard links
            keep the old contents.
        optimizer : bool
            Include the optimiser's state, so that ``partial_fit`` continues with the same bits. Without it the file is
            a third as large (for Adam), and the optimiser starts from scratch.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        OSError
            If the file cannot be written; the model and an existing file are then unchanged.
        TypeError
            If the model is an instance of a subclass outside fastvae, which ``load`` could not create: use pickle. If
            ``path`` is neither a path nor a binary file object.
        ValueError
            If ``fit`` would refuse a parameter, as ``load`` would.

        Warns
        -----
        UserWarning
            If a file cannot hold a parameter (a numpy generator as ``random_state``, a function as a schedule): the
            loaded model has its default value. Once for a fit, so that a callback can save each epoch; then ``fit``
            issues the warning at its end. Files never hold ``callbacks``, of which there is no warning.

        Notes
        -----
        The format is safetensors: the tensors of ``state_dict()`` under their names, the optimiser's state as
        ``optimizer.first.*`` and ``optimizer.second.*`` (absent before the first step), ``history_`` as ``history.*``,
        and the rest as JSON in the header.
        """
        self._require_fitted()
        moments = _checks.boolean(optimizer, "optimizer")
        data, skipped = self._dump(moments)
        sources.write(path, data)
        if skipped and skipped != self._record.not_saved:
            self._record.not_saved = skipped
            message = f"a file cannot hold {', '.join(skipped)}: the loaded model will have the default value instead"
            if self._save_messages is None:
                _checks.warn(message)
            else:  # a warning that is an error must not end training
                self._save_messages.append(f"{message[0].upper()}{message[1:]}.")

    def _dump(self, moments: bool, run: dict[str, Any] | None = None) -> tuple[bytes, list[str]]:
        """Return the bytes of a file, or of a checkpoint, and the names of parameters that it cannot hold.

        Raises ValueError for bad parameters, and TypeError if the class is none of this package.
        """
        cls = type(self)
        if not cls.__module__.startswith("fastvae."):
            raise TypeError(
                f"a file holds only fastvae's own classes, so load could not create a {cls.__qualname__}: use pickle"
            )
        self._check_parameters()
        record = self._record.copy()
        record.check(self._LOSSES)
        stored, skipped = files.encode_parameters(self.get_params())
        self._from_parameters(files.decode_parameters(stored))  # as `load` does
        fitted = self._require_fitted()
        return files.dump(fitted, record, cls.__name__, stored, moments, run), skipped

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Return an unfitted model with parameters from a file; raise ValueError for bad ones."""
        unknown = sorted(parameters.keys() - set(cls._parameter_names()))
        if unknown:
            raise ValueError(f"{cls.__name__} has no parameters {', '.join(unknown)}")
        model = cls(**parameters)
        model._check_parameters()
        return model

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        for name in ("_save_messages", "_ranks", "_team", "_in_step"):
            state.pop(name, None)
        if state.get("communicator") is not None:  # it belongs to the process
            state["communicator"] = None
        if self._fitted is not None:  # a copy must not share engine and history
            state |= {"_fitted": self._fitted.__getstate__(), "_record": self._record.copy()}
            kept = extras.dump(self._fitted)
            state |= {"_extras": kept} if kept else {}
        return state

    def _for_inference(self) -> Self:
        """Return a copy of the fitted model for inference on another machine.

        It has neither the optimiser's state nor callbacks, returns arrays, ignores names of columns, and works with one
        thread unless `n_jobs` is given.
        """
        fitted = self._require_fitted().for_inference()
        fitted.set_input(fitted.scale, None, fitted.columns)
        state = {"_fitted": fitted, "_record": self._record.copy(), "_sklearn_output_config": {"transform": "default"}}
        copy = type(self).__new__(type(self))
        vars(copy).update(vars(self) | state)
        copy.n_jobs = 1 if self.n_jobs is None else self.n_jobs
        if hasattr(copy, "callbacks"):
            copy.callbacks = ()
        return copy

    def _names_of_blocks(self) -> Names:
        """Return the names of the columns of X that blocks of its rows have, behind the first block."""
        return self._require_fitted().names

    def __setstate__(self, state: dict[str, Any]) -> None:
        with files.damage_as_format_error("the pickle"):
            state = self._default_parameters() | self._VALUES_BEFORE | dict(state)  # for earlier versions
            if "_fitted" in state:
                fitted = FittedModel.__new__(FittedModel)
                fitted.__setstate__(state["_fitted"])
                extras.restore(fitted, with_keys(state.pop("_extras", {}), set(), extras.KEYS, "the extras"))
                self._check_network(fitted.specification)
                state["_record"].check(self._LOSSES)
                state["_fitted"] = fitted
            vars(self).update(state)

    def _restore(self, contents: files.Contents) -> None:
        """Take over the fitted model and the training record from a file."""
        fitted, record = contents.model(self._LOSSES)
        self._check_network(fitted.specification)
        self._fitted, self._record = fitted, record

    def _check_network(self, specification: Specification) -> None:
        if not self._accepts(specification):
            raise ValueError(f"the network is not one that {type(self).__name__} builds")

    # Internal: overridden by subclasses

    def _check_parameters(self) -> None:
        """Raise ValueError if ``fit`` would refuse a parameter, whatever X is."""
        raise NotImplementedError

    def _check_specification(self) -> None:
        """Raise ValueError for a parameter that no network can have."""
        images = self._images()
        n_features = self._min_features() if images is None else images.size
        self._specification(n_features, int(self._conditional())).completed()

    def _min_features(self) -> int:
        """Return the smallest number of features that the parameters allow."""
        return 1

    def _specification(self, n_features: int, conditions: int) -> Specification:
        """Return the network's specification without its seed, checked."""
        raise NotImplementedError

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        """Whether this class can build a network with this specification."""
        raise NotImplementedError

    def _latent_dim(self) -> int:
        """Return the parameter for the number of latent dimensions, checked."""
        return _checks.integer(self.latent_dim, "latent_dim", most=_core.MAX_WIDTH // 2)

    def _conditional(self) -> bool:
        """Whether ``fit`` builds a conditional model, checked."""
        return False

    def _condition_columns(self) -> Any:
        """Return the parameter for the columns of X that are the condition; None: y is the condition."""
        return None

    def _conditions_in(self, d: Mapping[str, Any]) -> int:
        """Return the number of columns of y, inferred from a state dict."""
        if not self._conditional():
            return 0
        shape = arrays.tensor(d.get("decoder.0.weight", 0), "the state dict's decoder.0.weight").shape
        latent_dim = self._latent_dim()
        if len(shape) != 2 or shape[1] <= latent_dim:
            raise ValueError(
                f"the state dict's decoder.0.weight has shape {shape}; a conditional model needs more columns than "
                f"latent_dim={latent_dim}"
            )
        return int(shape[1]) - latent_dim

    def _images(self) -> Images | None:
        """Return the layout of images in the X of ``fit``, checked; None if X is a table."""
        return None

    def _missing(self) -> str:
        """Return the mode of missing values for ``fit``, named as in :mod:`fastvae._data.missing`, checked."""
        return "error"

    def _layout(self, X: Any, name: str, *, fitted: bool) -> Images | None:
        """Return the layout of images in X, or None for a table; raise TypeError for a container that is not supported.

        `fitted` says that X is for the fitted model, not for a new fit.
        """
        return None

    def _scale(self, given: Given) -> InputScale:
        """Return the scale of integers for a model that is trained on X."""
        specification = self._specification(given.shape[1], 0)
        return given.scale(counts=specification.counts, unit=specification.unit)

    def _convert(self, given: Given, name: str, scale: InputScale, *, fitted: bool) -> Examples:
        """Return examples as the engine reads them."""
        return given.read(scale, name, counts=self._current_specification(given.shape[1], fitted=fitted).counts)

    # Internal: the fitted model

    def _html(self) -> str:
        """Return a learning curve and a summary of the history."""
        if self._fitted is None:
            return ""
        from fastvae import _html

        fitted, record = self._fitted, self._record.copy()
        size = sum(array.size for array in fitted.state_dict().values())
        text = (
            f"columns: {fitted.n_columns:,}, latent dimensions: {fitted.latent_dim:,}, weights: {size:,}, "
            f"epochs: {record.n_iter:,} in {record.elapsed:.1f} s{', interrupted' if record.interrupted else ''}"
        )
        if not record.n_iter:
            return f"<div>{text}</div>"
        rows = []
        for key, values in record.history.items():
            if key == WAITED:  # seconds
                continue
            better = max if key.endswith("elbo") else min
            finite = [(value, epoch) for epoch, value in enumerate(values, 1) if np.isfinite(value)]
            shown = [_html.number(value, 6) for value, _ in (finite[0], finite[-1])] if finite else ["", ""]
            if finite and not key.endswith("kl"):  # a small KL is no better than a large one
                best = better(value for value, _ in finite)
                shown += [_html.number(best, 6), str(next(epoch for value, epoch in finite if value == best))]
            rows.append((f"<code>{key}</code>", *shown, *[""] * (4 - len(shown))))
        history: dict[str, list[float]] = {
            key: record.history[key] for key in ("loss", "val_loss") if key in record.history
        }
        summary = _html.table(("nats per example", "first", "last", "best", "in epoch"), rows, numbers=4)
        return f"<div>{text}</div>{_html.curves(history)}{_html.details('history', summary)}"

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    def _require_fitted(self) -> FittedModel:
        """Return the fitted model, or raise NotFittedError."""
        if self._fitted is None:
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted yet: call fit, partial_fit or load_state_dict first")
        return self._fitted

    def _require_record(self) -> TrainingRecord:
        self._require_fitted()
        return self._record

    def _set_fitted(self, fitted: FittedModel) -> None:
        """Set a model that is not trained yet, with an empty training record."""
        self._fitted, self._record = fitted, TrainingRecord({key: [] for key in self._LOSSES})

    def _new_model(
        self, n_features: int, n_conditions: int, classes: NDArray[Any] | None = None, format: Format | None = None
    ) -> FittedModel:
        """Return a model with new random weights, built from the checked parameters; `format` is that of X, if any."""
        specification = self._specification(n_features, n_conditions)
        seed = _checks.seed(self.random_state)
        seed = seed if self._ranks is None else self._ranks.first(seed)
        fitted = FittedModel(specification.seeded(seed), classes)
        images = self._images()
        if images is not None:
            fitted.set_images(images, None if format is None else format.form)
        if format is not None:
            fitted.set_input(format.scale, format.names, format.columns)
        elif self._condition_columns() is not None:
            fitted.set_input(fitted.scale, None, self._columns_for(n_features, n_conditions))
        return fitted

    def _columns_for(self, n_features: int, n_conditions: int) -> Columns:
        """Return the condition columns of a model without training data."""
        chosen = self._condition_columns()
        n = columns.count(chosen)
        if n != n_conditions:
            raise ValueError(
                f"condition_columns={chosen!r} has {n} columns, but the state dict is of {n_conditions} covariates or "
                "classes"
            )
        return columns.resolve(chosen, None, n_features + n)

    def _dense_encoder(self) -> dict[str, Any]:
        """Return the part of the specification for an encoder of dense layers given by their widths, checked."""
        for i, layer in enumerate(self.hidden if isinstance(self.hidden, (tuple, list)) else [self.hidden]):
            if isinstance(layer, layers.Layer):
                raise ValueError(
                    f"hidden[{i}]={layer!r}: {type(self).__name__} has dense layers only, given by their widths. For "
                    "other layers use VAE or Autoencoder"
                )
        return self._common() | {"encoder": _checks.widths(self.hidden, "hidden")}

    def _common(self) -> dict[str, Any]:
        """Return the part of the specification that is common to all estimators, checked."""
        return {
            "activation": _checks.choice(self.activation, "activation", tuple(_core.ACTIVATIONS)),
            "optimizer": optimizers.resolve(self.optimizer, self.weight_decay),
            "precision": precision.check(self.precision),
        }

    def _current_specification(self, n_features: int, *, fitted: bool) -> Specification:
        """Return the specification of the fitted model or of a new fit to `n_features`."""
        return self._require_fitted().specification if fitted else self._specification(n_features, 0)

    def _threads(self) -> int | None:
        threads = _checks.threads(self.n_jobs)
        if self._ranks is not None and self.n_jobs in (None, -1):
            return self._ranks.threads
        return threads

    def _sizes_in(self, d: Any) -> tuple[int, int]:
        """Return the numbers of columns of X and of y, inferred from a state dict."""
        images = self._images()
        if images is not None:
            if not isinstance(d, Mapping):
                raise ValueError(f"the state dict must be a mapping from names to arrays, not {type(d).__name__}")
            return images.size, self._conditions_in(d)
        hidden = layers.resolve(self.hidden, "hidden")
        architecture.sizes("hidden", (1,), hidden)  # refuses convolutions without image_shape
        first = "encoder.0.weight" if hidden else self._HEAD
        if not isinstance(d, Mapping) or first not in d:
            raise ValueError(
                f"the state dict must be a mapping with the key {first!r}, which gives the number of features; "
                "fastvae.torch.rename(state_dict) translates other names"
            )
        shape = arrays.tensor(d[first], f"the state dict's {first}").shape
        if len(shape) != 2:
            raise ValueError(f"the state dict's {first} has shape {shape}; it must be a matrix")
        n_conditions = self._conditions_in(d)
        if shape[1] <= n_conditions:
            raise ValueError(
                f"the state dict's {first} has {shape[1]} columns; it must have more than the {n_conditions} of y"
            )
        n_features = shape[1] - n_conditions
        if self._missing() == "indicator":
            if n_features % 2:
                raise ValueError(
                    f"the state dict's {first} has {n_features} columns for X and its indicators; it must have two per "
                    "feature"
                )
            n_features //= 2
        return n_features, n_conditions

    # Internal: validation of data

    def _given(self, X: Any, name: str, cols: int | None = None, *, fitted: bool) -> Given:
        """Return examples with `cols` columns (None: any number) as given, checked in type and shape."""
        return examples.given(X, name, cols, type(self).__name__, self._layout(X, name, fitted=fitted))

    def _read_first(self, X: Any, y: Any) -> tuple[Examples, Any, Format]:
        """Return the X of a new fit as the engine reads it, its y as given or in columns of X, and the format of X."""
        labels, chosen, condition = names.of(X), self._condition_columns(), None
        if chosen is not None:
            X = columns.table(X, "X")
            condition = columns.resolve(chosen, labels, X.shape[1])
            X, y = condition.split(X, None, type(self).__name__)
        given = self._given(X, "X", fitted=False)
        scale = self._scale(given)
        format = examples.Format(scale, labels, given.form, condition)
        return self._convert(given, "X", scale, fitted=False), y, format

    def _read_alike(self, X: Any, name: str, cols: int, format: Format) -> Examples:
        """Return examples that go with the X of a new fit, which has `cols` columns and the format `format`."""
        names.check(X, name, format.names, type(self).__name__)
        if format.columns is not None:
            X = format.columns.rest(X, name, type(self).__name__)
        return self._convert(self._given(X, name, cols, fitted=False), name, format.scale, fitted=False)

    def _read_examples(self, X: Any, name: str = "X") -> Examples:
        """Return examples for the fitted model as the engine reads them, checked in type, shape and feature names."""
        fitted = self._require_fitted()
        if self._CONVERTS_NOTHING and type(X) is np.ndarray and fitted.takes(X):
            read: Examples = X
            return read  # a short cut, which matters for single rows
        own = isinstance(X, _core.SparseMatrix)  # the engine's: nameless
        if not own and (fitted.names is not None or not isinstance(X, np.ndarray)):
            names.check(X, name, fitted.names, type(self).__name__)
        X = self._without_condition(X, name)
        return self._convert(self._given(X, name, fitted.n_features, fitted=True), name, fitted.scale, fitted=True)

    def _without_condition(self, X: Any, name: str = "X") -> Any:
        """Return X as given, without the columns that are the condition."""
        columns = self._require_fitted().columns
        return X if columns is None else columns.rest(X, name, type(self).__name__)

    def _read_data(self, X: Any, y: Any = None) -> tuple[Examples, NDArray[Any] | None]:
        """Return X and y, checked in type and shape; the engine checks the values of X when it uses them."""
        fitted = self._require_fitted()
        if fitted.columns is None:
            X = self._read_examples(X)
            return X, self._read_conditions(y, len(X))
        owner, name, X = type(self).__name__, "y", examples.whole(X)
        if y is None:
            names.check(X, "X", fitted.names, owner)
            (X, y), name = fitted.columns.split(X, fitted.classes is not None, owner), f"{fitted.columns.title} of X"
        elif np.shape(X)[1:] == (fitted.n_columns,):
            raise ValueError(f"leave out y=: this {owner} reads the condition from {fitted.columns.title} of X")
        elif fitted.names is not None and names.of(X) is not None:
            names.check(X, "X", np.delete(fitted.names, fitted.columns.indices), owner)
        given = self._given(X, "X", fitted.n_features, fitted=True)
        read = self._convert(given, "X", fitted.scale, fitted=True)
        return read, fitted.read_conditions(y, len(read), owner, name=name)

    def _read_conditions(self, y: Any, n: int, *, one: bool = False) -> NDArray[Any] | None:
        """Return y of `n` examples as the engine reads it; with `one`, a single row may stand for all."""
        return self._require_fitted().read_conditions(y, n, type(self).__name__, one=one)

    def _is_conditional(self) -> bool:
        """Whether the fitted model is conditional."""
        return self._require_fitted().specification.conditions > 0

    def _y_if_conditional(self, y: Any) -> Any:
        """Return y if the fitted model reads it, else None: scikit-learn passes y to every estimator."""
        return y if self._is_conditional() and self._require_fitted().columns is None else None
