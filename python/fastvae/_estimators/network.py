"""The network of an estimator: its parameters, the fitted model, reading data for it, keeping it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _checks, _core, optimizers
from fastvae._checks import NotFittedError
from fastvae._data import arrays, examples
from fastvae._estimators import files
from fastvae._estimators.base import Estimator
from fastvae._fitted.model import FittedModel
from fastvae._training.record import TrainingRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Data, Examples
    from fastvae._fitted.specification import Specification


class Network(Estimator):
    """An estimator around an encoder and a decoder: those to be made, or those of the fitted model."""

    _LOSSES: ClassVar[tuple[str, ...]]  # entries of the history
    _HEAD: ClassVar[str]  # the parameter that tells the number of features of a network without hidden layers

    hidden: Any
    activation: Any
    optimizer: Any
    weight_decay: Any
    n_jobs: Any
    random_state: Any

    _fitted: FittedModel | None = None
    _record: TrainingRecord

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

    # Attributes

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

    # Internal: what a subclass decides

    def _specification(self, n_features: int, conditions: int) -> Specification:
        """Return the network's specification without its seed, checked."""
        raise NotImplementedError

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        """Whether a network with this specification is one that this class makes."""
        raise NotImplementedError

    def _latent_dim(self) -> int:
        """Return the columns of a fit's code, checked."""
        raise NotImplementedError

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

    # Internal: the fitted model

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

    def _new_model(self, n_features: int, n_conditions: int, classes: NDArray[Any] | None = None) -> FittedModel:
        """Make a model with fresh weights from the parameters, which are checked here."""
        specification = self._specification(n_features, n_conditions)
        return FittedModel(specification.seeded(_checks.seed(self.random_state)), classes)

    def _encoder(self) -> dict[str, Any]:
        """Return the part of the specification that all estimators have parameters for, checked."""
        return {
            "encoder": _checks.widths(self.hidden, "hidden"),
            "activation": _checks.choice(self.activation, "activation", tuple(_core.ACTIVATIONS)),
            "optimizer": optimizers.resolve(self.optimizer, self.weight_decay),
        }

    def _current_specification(self, n_features: int) -> Specification:
        """Return the fitted model's specification, or that of a fit to so many features."""
        return self._specification(n_features, 0) if self._fitted is None else self._fitted.specification

    def _threads(self) -> int | None:
        return _checks.threads(self.n_jobs)

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

    # Internal: reading

    def _read_data(self, X: Any, y: Any = None) -> Data:
        """Return data that fit the model in type and shape; the values of X are looked at when they are used."""
        X = self._read_examples(X, "X", self._require_fitted().n_features, fitted=True)
        return X, self._read_conditions(y, len(X))

    def _read_conditions(self, y: Any, n: int, *, one: bool = False) -> NDArray[Any] | None:
        """Return y as the core reads it: of `n` examples or, with `one`, possibly one for all of them."""
        return self._require_fitted().read_conditions(y, n, type(self).__name__, one=one)

    def _y_if_conditional(self, y: Any) -> Any:
        """Return y if the fitted model is conditional: scikit-learn passes it to any."""
        return y if self._require_fitted().specification.conditions else None
