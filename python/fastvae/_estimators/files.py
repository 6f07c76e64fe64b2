"""Model files: the engine writes and reads the network; this module adds the estimator as JSON."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _checks, _core, corruption, layers, likelihoods, optimizers, priors, schedules
from fastvae._data.columns import Columns
from fastvae._data.scale import VERSION_0_1, InputScale
from fastvae._estimators import extras, sources
from fastvae._fitted.files import checked_names, decode_classes, encode_classes, parse, with_keys
from fastvae._fitted.model import FittedModel
from fastvae._training.record import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastvae._data.images import Images

# Classes of parameters that a file can hold besides numbers, strings and sequences, by their names in the file.
CLASSES: tuple[type[Any], ...] = (
    corruption.GaussianNoise,
    corruption.MaskingNoise,
    corruption.SaltAndPepper,
    *layers.KINDS.values(),
    *likelihoods.CLASSES,
    optimizers.Adam,
    optimizers.AdamW,
    optimizers.SGD,
    optimizers.Adagrad,
    priors.CompositePrior,
    priors.ItemPrior,
    schedules.Schedule,
)
_OBJECTS = {f"{cls.__module__.removeprefix('fastvae.')}.{cls.__name__}": cls for cls in CLASSES}
# Keys of the estimator's JSON, and of the training state in it: required ones, and those that not all files have.
_KEYS = {"class", "parameters", "learned"}
_MORE_KEYS = {"run"}  # the state of a fit, in a checkpoint
_STATE_KEYS = {"_position", "n_iter_", "elapsed_", "interrupted_", "classes_"}
_MORE_STATE_KEYS = {
    "history_",  # before format version 3, which has it as tensors
    "_rescales_masking",  # earlier versions never did
    "_input",  # not in files of version 0.1,
    "_noisy",  # which have this
    "_images",  # only of models with an image_shape
    "n_skipped_batches_",  # not in files of version 0.1
} | extras.KEYS
_MAPPING = "mapping"  # a dict, as pairs
_MAX_SHOWN = 300  # characters of an error in a message

# Exceptions that a damaged configuration can cause.
_DAMAGE_ERRORS = (AttributeError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


class _NotSerializableError(Exception):
    """A parameter that a file cannot hold."""


def dump(
    fitted: FittedModel,
    record: TrainingRecord,
    name: str,
    parameters: dict[str, Any],
    moments: bool,
    run: dict[str, Any] | None = None,
    detector: dict[str, Any] | None = None,
) -> bytes:
    """Return the bytes of a model file.

    `name` is the name of the estimator's class, `parameters` are encoded; `moments` includes the optimiser's state;
    `run` is the state of a fit, for a checkpoint; `detector` what an AnomalyDetector has learned besides its network.
    """
    learned: dict[str, Any] = {
        "_position": fitted.position,
        "_rescales_masking": fitted.rescales_masking,
        "_input": {
            "divisor": fitted.scale.divisor,
            "divided": fitted.scale.divided,
            "names": None if fitted.names is None else fitted.names.tolist(),
        },
        "n_iter_": record.n_iter,
        "elapsed_": record.elapsed,
        "interrupted_": record.interrupted,
        "n_skipped_batches_": record.skipped,
        "classes_": encode_classes(fitted.classes),
    }
    if fitted.columns is not None:
        learned["_input"]["condition"] = {"indices": fitted.columns.indices, "alone": fitted.columns.alone}
    if fitted.images is not None:
        learned["_images"] = {"channels_first": fitted.images.channels_first, "form": fitted.form}
    if detector is not None:
        learned["_detector"] = detector
    learned |= extras.dump(fitted)
    estimator = {"class": name, "parameters": parameters, "learned": learned}
    history = [(key, np.array(values, np.float64)) for key, values in record.checked_history().items()]
    return fitted.dump(moments, estimator if run is None else estimator | {"run": run}, history, best=run is not None)


def encode_parameters(parameters: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return parameters in JSON types, and the names of those that a file cannot hold."""
    stored, skipped = {}, []
    for key, value in parameters.items():
        try:
            if key not in ("callbacks", "communicator"):  # code and processes are never in a file
                stored[key] = _encode(value)
        except _NotSerializableError:
            skipped.append(key)
    return stored, skipped


def decode_parameters(stored: dict[str, Any]) -> dict[str, Any]:
    """Return parameters from their JSON form, or raise an error of _DAMAGE_ERRORS."""
    if stored.get("callbacks") or stored.get("communicator"):
        raise ValueError("a file has no callbacks and no communicator")
    return {key: _decode(value) for key, value in stored.items()}


class Contents(NamedTuple):
    """Contents of a model file; `model` checks the training state."""

    title: str  # the file, for messages
    engine: _core.Engine
    history: dict[str, list[float]] | None  # None: in `learned`
    class_name: str
    parameters: dict[str, Any]
    learned: dict[str, Any]
    run: Any  # the state of a fit, in a checkpoint

    def model(self, losses: Sequence[str]) -> tuple[FittedModel, TrainingRecord]:
        """Return the fitted model and its training record; the history must contain `losses`."""
        learned = with_keys(self.learned, _STATE_KEYS, _MORE_STATE_KEYS, "the training state")
        record = _record(learned, self.history, losses)
        fitted = FittedModel(self.engine)
        fitted.classes = decode_classes(learned["classes_"], fitted.specification.conditions)
        fitted.rescales_masking = _checks.boolean(learned.get("_rescales_masking", False), "_rescales_masking")
        fitted.set_position(learned["_position"])
        given = learned.get("_input")
        if given is not None:
            given = with_keys(given, {"divisor", "divided", "names"}, {"condition"}, "the format of X")
            _set_input(fitted, **given)
        elif not fitted.specification.counts:
            fitted.set_input(VERSION_0_1, None)
        if (fitted.images is None) != ("_images" not in learned):
            raise ValueError("the layout of images does not fit the model")
        if fitted.images is not None:
            images = with_keys(learned["_images"], {"channels_first", "form"}, set(), "the layout of images")
            fitted.set_images(*_layout(fitted.images, **images))
        extras.restore(fitted, learned)
        return fitted, record


def _set_input(fitted: FittedModel, divisor: Any, divided: Any, names: Any, condition: Any = None) -> None:
    """Set the format of X from a file, or raise an error of _DAMAGE_ERRORS."""
    if condition is not None:
        condition = with_keys(condition, {"indices", "alone"}, set(), "the condition columns")
        _checks.boolean(condition["alone"], "alone")
        total = fitted.n_features + len(_sequence(condition["indices"], "the condition columns"))
    else:
        total = fitted.n_features
    if names is not None:
        names = checked_names(names, total)
    columns = None if condition is None else Columns.checked(total=total, names=names, **condition)
    expected = fitted.specification.conditions if fitted.classes is None else 1
    if columns is not None and len(columns.indices) != expected:
        raise ValueError("the condition columns do not fit the model")
    fitted.set_input(InputScale.checked(divisor, divided), names, columns)


def _layout(images: Images, channels_first: Any, form: Any) -> tuple[Images, Any]:
    """Return the layout of images in X and the shape of an example from a file, or raise an error of _DAMAGE_ERRORS."""
    first = _checks.boolean(channels_first, "channels_first")
    if form is not None:
        form = [_checks.integer(side, "form") for side in _sequence(form, "the shape of an example")]
    return replace(images, channels_first=first), form


def _sequence(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{what} must be a list")
    return value


def read(source: Any) -> Contents:
    """Read engine and estimator from a path, bytes or a binary file object, or raise FormatError."""
    given, title = sources.read(source)
    with damage_as_format_error(title):
        try:
            file = _core.ModelFile(given)
        except _core.FormatError as error:
            if sources.begins(given, b"PK"):
                raise _core.FormatError(
                    "a zip archive, as torch.save and numpy.savez write, and no model file of fastvae: read it with "
                    "torch or numpy, then call load_state_dict (fastvae.torch.rename translates names)"
                ) from error
            raise
        estimator = parse(file.estimator)
        engine, history = file.read()
        losses = {name: values.tolist() for name, values in history}
        estimator = with_keys(estimator, _KEYS, _MORE_KEYS, "the estimator")
        parameters, learned = estimator["parameters"], estimator["learned"]
        for value in (parameters, learned):
            if not isinstance(value, dict):
                raise TypeError("parameters and training state must be objects")
        parameters, run = decode_parameters(parameters), estimator.get("run")
        return Contents(title, engine, losses or None, estimator["class"], parameters, learned, run)


@contextmanager
def damage_as_format_error(title: str) -> Iterator[None]:
    """Convert errors caused by a damaged configuration to a FormatError that names the file."""
    try:
        yield
    except _core.FormatError as error:
        raise _core.FormatError(f"{title}: {error}") from error
    except _DAMAGE_ERRORS as error:
        # A value of the file in the message may be very long.
        raise _core.FormatError(f"{title} has a damaged configuration: {repr(error)[:_MAX_SHOWN]}") from None


def _record(learned: dict[str, Any], history: Any, losses: Sequence[str]) -> TrainingRecord:
    """Return the training record from a file, or raise an error of _DAMAGE_ERRORS."""
    if (history is None) != ("history_" in learned):
        raise ValueError("the history must be in the tensors, or in an old file in the training state")
    if history is None:
        history = {key: _numbers(values) for key, values in learned["history_"].items()}
    n_iter = _checks.integer(learned["n_iter_"], "n_iter_", least=0)
    if any(len(values) != n_iter for values in history.values()):
        raise ValueError(f"the history must have one value of each loss for each of {n_iter} epochs")
    record = TrainingRecord(history, n_iter, learned["elapsed_"], learned["interrupted_"])
    record.skipped = _checks.integer(learned.get("n_skipped_batches_", 0), "n_skipped_batches_", least=0)
    record.check(losses)
    return record


def _numbers(values: Any) -> list[float]:
    """Return losses of an old file; null is NaN."""
    types = set(map(type, _sequence(values, "a loss")))
    if not types <= {float, int, type(None)}:
        raise TypeError("the history must be numbers")
    numbers = np.array(values, np.float64)
    if np.isinf(numbers).any():
        raise ValueError("the history must be finite")
    found: list[float] = values if types == {float} else numbers.tolist()
    return found


def _encode(value: Any) -> Any:
    """Convert a parameter to JSON types, or raise _NotSerializableError."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case np.generic():
            return _encode(value.item())
        case np.ndarray():
            return _encode(value.tolist())
        case tuple() | list():
            return [_encode(item) for item in value]
        case dict():
            return {_MAPPING: [[_encode(key), _encode(item)] for key, item in value.items()]}
        case _ if hasattr(value, "__array__"):  # a pandas series
            return _encode(np.asarray(value))
    name = f"{type(value).__module__.removeprefix('fastvae.')}.{type(value).__name__}"
    if name not in _OBJECTS or not is_dataclass(value):
        raise _NotSerializableError
    return {name: {field.name: _encode(getattr(value, field.name)) for field in fields(value)}}


def _decode(value: Any) -> Any:
    """Return a parameter from its JSON form; sequences become tuples."""
    if isinstance(value, list):
        return tuple(map(_decode, value))
    if isinstance(value, dict):
        [(name, options)] = value.items()
        if name == _MAPPING:
            return {_decode(key): _decode(item) for key, item in options}
        if name not in _OBJECTS:
            raise ValueError(f"{name} is no object of a parameter")
        return _OBJECTS[name](**{key: _decode(item) for key, item in options.items()})
    return value
