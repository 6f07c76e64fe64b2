"""Keeping models: the core writes and reads the tensors, this file the configuration beside them, as JSON.

A pickle holds the same bytes as a file for the network and the optimiser's state, and Python's own for the rest.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, corruption, likelihoods, optimizers, schedules

if TYPE_CHECKING:
    from fastvae._model import Model

# What a parameter may be besides numbers, strings and sequences of them, by its name in a file.
_OBJECTS = {
    f"{cls.__module__.removeprefix('fastvae.')}.{cls.__name__}": cls
    for cls in (
        corruption.GaussianNoise,
        corruption.MaskingNoise,
        corruption.SaltAndPepper,
        likelihoods.Bernoulli,
        likelihoods.Gaussian,
        optimizers.Adam,
        optimizers.AdamW,
        optimizers.SGD,
        optimizers.Adagrad,
        schedules.Schedule,
    )
}
# What a fitted model has learned beside its engine, with the type of each.
_LEARNED = {
    "_steps_per_epoch": int,
    "n_iter_": int,
    "history_": dict,
    "elapsed_": float,
    "interrupted_": bool,
}


class _UnkeptError(Exception):
    """A value that has no place in a file."""


def save(model: Model, path: str | os.PathLike[str], optimizer: bool) -> None:
    """Write a fitted model to a file."""
    parameters, unkept = {}, []
    for name, value in model.get_params().items():
        try:
            parameters[name] = _encoded(value)
        except _UnkeptError:
            unkept.append(name)
    if unkept:
        message = f"a file cannot keep {', '.join(unkept)}: the model that is loaded will have the default there"
        warnings.warn(message, UserWarning, stacklevel=3)
    learned = {name: _encoded(getattr(model, name)) for name in _LEARNED}
    estimator = {"class": type(model).__name__, "parameters": parameters, "learned": learned}
    _core.write_atomically(os.fspath(path), _dump(model, optimizer, estimator=estimator))


def load(path: str | os.PathLike[str], classes: tuple[type[Model], ...]) -> Any:
    """Read a fitted model of one of these classes from a file."""
    name = os.fspath(path)
    file = _core.ModelFile(name)
    try:
        config = _parsed(file.config)
        estimator = config["estimator"]
        [cls] = [cls for cls in classes if cls.__name__ == estimator["class"]]
        parameters = {key: _decoded(value) for key, value in estimator["parameters"].items()}
        learned = _learned(estimator["learned"])
        model = cls(**parameters)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _core.FormatError(f"{name!r} has a damaged configuration ({error!r})") from error
    _restore(model, file, config)
    vars(model).update(learned)
    return model


def state(model: Model) -> dict[str, Any]:
    """Return what a pickle of a model holds."""
    state = dict(vars(model))
    if "_engine" in state:
        state["_engine"] = _dump(model, optimizer=True)
    return state


def set_state(model: Model, state: dict[str, Any]) -> None:
    """Become the model of a pickle."""
    state = dict(state)
    data = state.pop("_engine", None)
    if data is not None:
        file = _core.ModelFile(data)
        _restore(model, file, _parsed(file.config))
    vars(model).update(state)


def _dump(model: Model, optimizer: bool, **more: Any) -> bytes:
    engine = model._engine
    counters = {name: getattr(engine, name) for name in ("steps", "epochs", "clamped", "forgotten")}
    config = {"fastvae": _core.__version__, "engine": model._arguments, "counters": counters, **more}
    return engine.dump(json.dumps(config, allow_nan=False), optimizer)


def _restore(model: Model, file: _core.ModelFile, config: dict[str, Any]) -> None:
    """Give a model the engine of a file."""
    try:
        arguments, counters = config["engine"], config["counters"]
        engine = file.engine(arguments, **counters)
    except _core.FormatError:
        raise
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise _core.FormatError(f"the configuration of the network is damaged ({error!r})") from error
    model._adopt(engine, arguments)


def _parsed(text: str) -> dict[str, Any]:
    """Read JSON whose keys are unique."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key occurs twice")
        return found

    config = json.loads(text, object_pairs_hook=unique)
    if not isinstance(config, dict):
        raise ValueError("it is no object")
    return config


def _learned(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a model has learned beside its engine, checked."""
    if found.keys() != _LEARNED.keys():
        raise ValueError(f"learned {sorted(found)}, not {sorted(_LEARNED)}")
    learned = {name: kind(found[name]) for name, kind in _LEARNED.items()}
    if learned["_steps_per_epoch"] < 1:
        raise ValueError("an epoch without steps")
    learned["history_"] = {
        str(key): [math.nan if value is None else float(value) for value in values]
        for key, values in learned["history_"].items()
    }
    return learned


def _encoded(value: Any) -> Any:
    """Turn a value into what JSON knows, or raise _UnkeptError."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case np.generic():
            return _encoded(value.item())
        case np.ndarray():
            return _encoded(value.tolist())
        case tuple() | list():
            return [_encoded(item) for item in value]
        case dict():
            return {key: _encoded(item) for key, item in value.items()}
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
