"""Files of models: the core writes and reads the network, this module the estimator, as JSON."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core, corruption, likelihoods, optimizers, schedules
from fastvae._fitted.files import decode_classes, encode_classes, parse
from fastvae._fitted.model import FittedModel
from fastvae._training.record import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a parameter may be besides numbers, strings and sequences of them, by its name in a file.
_OBJECTS = {
    f"{cls.__module__.removeprefix('fastvae.')}.{cls.__name__}": cls
    for cls in (
        corruption.GaussianNoise,
        corruption.MaskingNoise,
        corruption.SaltAndPepper,
        *likelihoods.KINDS.values(),
        optimizers.Adam,
        optimizers.AdamW,
        optimizers.SGD,
        optimizers.Adagrad,
        schedules.Schedule,
    )
}
# What a file says of a fitted model beside its network.
_LEARNED = {"_position", "_noisy", "n_iter_", "history_", "elapsed_", "interrupted_", "classes_"}

# What reading a damaged configuration can end with.
_DAMAGE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


class _UnkeptError(Exception):
    """A value that has no place in a file."""


def write(
    path: str | os.PathLike[str],
    fitted: FittedModel,
    record: TrainingRecord,
    estimator: tuple[str, dict[str, Any]],
    moments: bool,
) -> list[str]:
    """Write a fitted model to a file, with or without the optimiser's state.

    `estimator` is its class's name and its parameters; return the names of those that a file cannot keep.
    """
    name, parameters = estimator
    kept, unkept = {}, []
    for key, value in parameters.items():
        try:
            kept[key] = _encoded(value)
        except _UnkeptError:
            unkept.append(key)
    learned = {
        "_position": fitted.position,
        "_noisy": fitted.trained_on_noise,
        "n_iter_": record.n_iter,
        "history_": _without_nan(record.history),
        "elapsed_": record.elapsed,
        "interrupted_": record.interrupted,
        "classes_": encode_classes(fitted.classes),
    }
    data = fitted.dump(moments, {"class": name, "parameters": kept, "learned": learned})
    _core.write_atomically(os.fsdecode(path), data)
    return unkept


class Contents(NamedTuple):
    """What a file says of a model, not all of it checked yet."""

    engine: _core.Engine
    class_name: str
    parameters: dict[str, Any]
    learned: dict[str, Any]

    def model(self, losses: Sequence[str]) -> tuple[FittedModel, TrainingRecord]:
        """Return the fitted model and the record of its training, whose history has at least these losses."""
        learned = self.learned
        if learned.keys() != _LEARNED:
            raise ValueError(f"learned {sorted(learned)}, not {sorted(_LEARNED)}")
        record = _record(learned, losses)
        fitted = FittedModel(self.engine)
        fitted.classes = decode_classes(learned["classes_"], fitted.specification.conditions)
        step, epochs = learned["_position"]
        fitted.position, fitted.trained_on_noise = (int(step), float(epochs)), bool(learned["_noisy"])
        return fitted, record


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a file: its engine and its estimator."""
    name = os.fsdecode(path)
    try:
        file = _core.ModelFile(name)
    except _core.FormatError as error:
        raise _core.FormatError(f"{name!r}: {error}") from error
    with damage_as_format_error(path):
        estimator = parse(file.estimator)
        parameters = {key: _decoded(value) for key, value in estimator["parameters"].items()}
        return Contents(file.engine(), estimator["class"], parameters, estimator["learned"])


@contextmanager
def damage_as_format_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of a damaged configuration into a FormatError with the file's name."""
    name = os.fsdecode(path)
    try:
        yield
    except _core.FormatError as error:
        raise _core.FormatError(f"{name!r}: {error}") from error
    except _DAMAGE as error:
        raise _core.FormatError(f"{name!r} has a damaged configuration ({error!r})") from error


def _record(learned: dict[str, Any], losses: Sequence[str]) -> TrainingRecord:
    """Return the record of a model's training, checked."""
    history = {
        key: [math.nan if value is None else float(value) for value in values]
        for key, values in learned["history_"].items()
    }
    n_iter = int(learned["n_iter_"])
    if not history.keys() >= set(losses) or {len(values) for values in history.values()} != {n_iter}:
        raise ValueError("its history does not have an entry for each epoch")
    return TrainingRecord(history, n_iter, float(learned["elapsed_"]), bool(learned["interrupted_"]))


def _without_nan(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Return losses as JSON knows them; what is not finite comes back as NaN."""
    return {key: [value if math.isfinite(value) else None for value in values] for key, values in history.items()}


def _encoded(value: Any) -> Any:
    """Turn a value into what JSON knows, or raise _UnkeptError."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case np.generic():
            return _encoded(value.item())
        case np.ndarray():
            return _encoded(value.tolist())
        case tuple() | list():
            return [_encoded(item) for item in value]
        case _ if hasattr(value, "__array__"):  # pandas' columns
            return _encoded(np.asarray(value))
    name = f"{type(value).__module__.removeprefix('fastvae.')}.{type(value).__name__}"
    if name not in _OBJECTS or not is_dataclass(value):
        raise _UnkeptError
    return {name: {field.name: _encoded(getattr(value, field.name)) for field in fields(value)}}


def _decoded(value: Any) -> Any:
    """Turn a parameter from JSON into what it was; sequences become tuples."""
    if isinstance(value, list):
        return tuple(map(_decoded, value))
    if isinstance(value, dict):
        [(name, options)] = value.items()
        return _OBJECTS[name](**{key: _decoded(item) for key, item in options.items()})
    return value
