"""Model files: the engine writes and reads the network; this module adds the estimator as JSON."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core, corruption, layers, likelihoods, optimizers, priors, schedules
from fastvae._data.columns import Columns
from fastvae._data.scale import VERSION_0_1, InputScale
from fastvae._fitted.files import decode_classes, encode_classes, parse
from fastvae._fitted.model import FittedModel
from fastvae._training.record import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastvae._data.images import Images

# Classes of parameters that a file can hold besides numbers, strings and sequences, by their names in the file.
_CLASSES: tuple[type[Any], ...] = (
    corruption.GaussianNoise,
    corruption.MaskingNoise,
    corruption.SaltAndPepper,
    *layers.KINDS.values(),
    *likelihoods.KINDS.values(),
    optimizers.Adam,
    optimizers.AdamW,
    optimizers.SGD,
    optimizers.Adagrad,
    priors.ItemPrior,
    schedules.Schedule,
)
_OBJECTS = {f"{cls.__module__.removeprefix('fastvae.')}.{cls.__name__}": cls for cls in _CLASSES}
# Keys of the training state in a file.
_STATE_KEYS = {"_position", "n_iter_", "history_", "elapsed_", "interrupted_", "classes_"}

# Exceptions that a damaged configuration can cause.
_DAMAGE_ERRORS = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


class _NotSerializableError(Exception):
    """A parameter that a file cannot hold."""


def write(
    path: str | os.PathLike[str],
    fitted: FittedModel,
    record: TrainingRecord,
    estimator: tuple[str, dict[str, Any]],
    moments: bool,
    run: dict[str, Any] | None = None,
) -> list[str]:
    """Write a fitted model to a file and return the names of the parameters that the file cannot hold.

    `estimator` is the name of the class and the parameters; `moments` includes the optimiser's state; `run` is the
    state of a fit, for a checkpoint.
    """
    name, parameters = estimator
    stored, skipped = {}, []
    for key, value in parameters.items():
        try:
            stored[key] = _encode(value)
        except _NotSerializableError:
            skipped.append(key)
    learned: dict[str, Any] = {
        "_position": fitted.position,
        "_rescales_masking": fitted.rescales_masking,
        "_input": {
            "divisor": fitted.scale.divisor,
            "divided": fitted.scale.divided,
            "names": None if fitted.names is None else fitted.names.tolist(),
        },
        "n_iter_": record.n_iter,
        "history_": _without_nan(record.history),
        "elapsed_": record.elapsed,
        "interrupted_": record.interrupted,
        "n_skipped_batches_": record.skipped,
        "classes_": encode_classes(fitted.classes),
    }
    if fitted.columns is not None:
        learned["_input"]["condition"] = {"indices": fitted.columns.indices, "alone": fitted.columns.alone}
    if fitted.images is not None:
        learned["_images"] = {"channels_first": fitted.images.channels_first, "form": fitted.form}
    contents = {"class": name, "parameters": stored, "learned": learned}
    data = fitted.dump(moments, contents) if run is None else fitted.checkpoint(contents | {"run": run})
    _core.write_atomically(os.fsdecode(path), data)
    return skipped


class Contents(NamedTuple):
    """Contents of a model file; `model` checks the training state."""

    engine: _core.Engine
    class_name: str
    parameters: dict[str, Any]
    learned: dict[str, Any]
    run: dict[str, Any] | None  # the state of a fit, in a checkpoint

    def model(self, losses: Sequence[str]) -> tuple[FittedModel, TrainingRecord]:
        """Return the fitted model and its training record; the history must contain `losses`."""
        learned = dict(self.learned)
        images = learned.pop("_images", None)  # only of models with an image_shape
        rescales_masking = learned.pop("_rescales_masking", False)  # earlier versions never did
        given = learned.pop("_input", None)  # not in files of version 0.1,
        learned.pop("_noisy", None)  # which have this
        skipped = int(learned.pop("n_skipped_batches_", 0))  # nor in those of 0.1
        if learned.keys() != _STATE_KEYS:
            raise ValueError(f"the training state has the keys {sorted(learned)}, not {sorted(_STATE_KEYS)}")
        record = _record(learned, losses)
        record.skipped = skipped
        fitted = FittedModel(self.engine)
        fitted.classes = decode_classes(learned["classes_"], fitted.specification.conditions)
        step, epochs = learned["_position"]
        fitted.rescales_masking = bool(rescales_masking)
        fitted.position = int(step), float(epochs)
        if given is not None:
            _set_input(fitted, **given)
        elif not fitted.specification.counts:
            fitted.set_input(VERSION_0_1, None)
        if images is not None:
            fitted.set_images(*_layout(fitted, **images))
        return fitted, record


def _set_input(fitted: FittedModel, divisor: Any, divided: Any, names: Any, condition: Any = None) -> None:
    """Set the format of X from a file, or raise an error of _DAMAGE_ERRORS."""
    total = fitted.n_features + (0 if condition is None else len(condition["indices"]))
    if names is not None:
        if not all(isinstance(name, str) for name in names) or len(names) != total:
            raise ValueError("the feature names do not fit the model")
        names = np.array(names, object)
    columns = None if condition is None else Columns.checked(total=total, names=names, **condition)
    expected = fitted.specification.conditions if fitted.classes is None else 1
    if columns is not None and len(columns.indices) != expected:
        raise ValueError("the condition columns do not fit the model")
    fitted.set_input(InputScale.checked(divisor, divided), names, columns)


def _layout(fitted: FittedModel, channels_first: Any, form: Any) -> tuple[Images | None, Any]:
    """Return the layout of images in X and the shape of an example from a file, or raise an error of _DAMAGE_ERRORS."""
    if fitted.images is None or not isinstance(channels_first, bool):
        raise ValueError("the layout of images does not fit the model")
    return replace(fitted.images, channels_first=channels_first), form


def named(path: str | os.PathLike[str]) -> str:
    """Return a file's name for a message."""
    return repr(os.fsdecode(path))


def read(path: str | os.PathLike[str]) -> Contents:
    """Read engine and estimator from a file, or raise FormatError."""
    name = os.fsdecode(path)
    try:
        file = _core.ModelFile(name)
    except _core.FormatError as error:
        raise _core.FormatError(f"{name!r}: {error}") from error
    with damage_as_format_error(path):
        estimator = parse(file.estimator)
        parameters = {key: _decode(value) for key, value in estimator["parameters"].items()}
        return Contents(file.engine(), estimator["class"], parameters, estimator["learned"], estimator.get("run"))


@contextmanager
def damage_as_format_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert errors caused by a damaged configuration to a FormatError that names the file."""
    name = os.fsdecode(path)
    try:
        yield
    except _core.FormatError as error:
        raise _core.FormatError(f"{name!r}: {error}") from error
    except _DAMAGE_ERRORS as error:
        raise _core.FormatError(f"{name!r} has a damaged configuration ({error!r})") from error


def _record(learned: dict[str, Any], losses: Sequence[str]) -> TrainingRecord:
    """Return the training record from a file, or raise an error of _DAMAGE_ERRORS."""
    history = {
        key: [math.nan if value is None else float(value) for value in values]
        for key, values in learned["history_"].items()
    }
    n_iter = int(learned["n_iter_"])
    if not history.keys() >= set(losses) or {len(values) for values in history.values()} != {n_iter}:
        raise ValueError("the history must have each loss, with one entry per epoch")
    return TrainingRecord(history, n_iter, float(learned["elapsed_"]), bool(learned["interrupted_"]))


def _without_nan(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Replace losses that are not finite by None, for JSON; `_record` reads None as NaN."""
    return {key: [value if math.isfinite(value) else None for value in values] for key, values in history.items()}


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
        return _OBJECTS[name](**{key: _decode(item) for key, item in options.items()})
    return value
