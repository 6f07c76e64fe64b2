"""Keeping models: the core writes and reads the tensors, this file the configuration beside them, as JSON.

A pickle holds the same bytes as a file for the network and the optimiser's state, and Python's own for the rest.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, corruption, likelihoods, optimizers, schedules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._model import Model

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
# What a fitted model knows beside its engine, with the type of each.
_LEARNED: dict[str, Any] = {
    "_position": tuple,
    "_noisy": bool,
    "n_iter_": int,
    "history_": dict,
    "elapsed_": float,
    "interrupted_": bool,
}


# The types of ``classes_`` as a file names them.
_LABELS = ("bool", "str", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))

# What reading a damaged configuration can end with.
_DAMAGE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


class _UnkeptError(Exception):
    """A value that has no place in a file."""


def save(model: Model, path: str | os.PathLike[str], optimizer: bool) -> None:
    """Write a fitted model to a file."""
    cls = type(model)
    if not cls.__module__.startswith("fastvae."):
        raise TypeError(
            f"a file holds models of fastvae's own classes, and load could not make a {cls.__qualname__}: use pickle"
        )
    parameters, unkept = {}, []
    for name, value in model.get_params().items():
        try:
            parameters[name] = _encoded(value)
        except _UnkeptError:
            unkept.append(name)
    if unkept:
        message = f"a file cannot keep {', '.join(unkept)}: the model that is loaded will have the default there"
        warnings.warn(message, UserWarning, stacklevel=3)
    learned = {name: getattr(model, name) for name in _LEARNED} | {"history_": _without_nan(model.history_)}
    learned["classes_"] = _encoded_classes(getattr(model, "classes_", None))
    estimator = {"class": cls.__name__, "parameters": parameters, "learned": learned}
    _core.write_atomically(os.fsdecode(path), _dump(model, optimizer, estimator=estimator))


def load(path: str | os.PathLike[str], classes: tuple[type[Model], ...]) -> Any:
    """Read a fitted model of one of these classes from a file."""
    name = os.fsdecode(path)
    file = _core.ModelFile(name)
    try:
        config = _parsed(file.config)
        estimator = config["estimator"]
        cls = {cls.__name__: cls for cls in classes}[estimator["class"]]
        model = cls(**{key: _decoded(value) for key, value in estimator["parameters"].items()})
        learned = _learned(estimator["learned"], cls)
        labels = _decoded_classes(learned.pop("classes_"), config["engine"]["conditions"])
        _restore(model, file, config, labels)
    except _core.FormatError as error:
        raise _core.FormatError(f"{name!r}: {error}") from error
    except _DAMAGE as error:
        raise _core.FormatError(f"{name!r} has a damaged configuration ({error!r})") from error
    vars(model).update(learned)
    return model


def state(model: Model) -> dict[str, Any]:
    """Return what a pickle or a copy of a model holds."""
    state = dict(vars(model))
    if "_engine" in state:
        state["_engine"] = _dump(model, optimizer=True)
        state["history_"] = {key: list(values) for key, values in model.history_.items()}
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
    import json

    config = {"fastvae": _core.__version__, "engine": model._specification, **more}
    return model._engine.dump(json.dumps(config, allow_nan=False), optimizer)


def _restore(model: Model, file: _core.ModelFile, config: dict[str, Any], classes: Any = None) -> None:
    """Give a model the engine of a file."""
    import json

    engine = file.engine(json.dumps(config["engine"], allow_nan=False))
    specification = json.loads(engine.specification)
    if not model._owns(specification):
        raise ValueError(f"the network is not that of a {type(model).__name__}")
    model._adopt(engine, specification, classes)


def _parsed(text: str) -> dict[str, Any]:
    """Read JSON whose keys are unique and whose numbers are finite."""
    import json  # here and there only, so that `import fastvae` stays cheap

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key occurs twice")
        return found

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no number")

    config = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(config, dict):
        raise ValueError("it is no object")
    return config


def _learned(found: dict[str, Any], cls: type[Model]) -> dict[str, Any]:
    """Return what a model knows beside its engine, checked."""
    wanted = {*_LEARNED, "classes_"}
    if found.keys() != wanted:
        raise ValueError(f"learned {sorted(found)}, not {sorted(wanted)}")
    learned = {name: kind(found[name]) for name, kind in _LEARNED.items()}
    step, epochs = learned["_position"]
    learned["_position"] = int(step), float(epochs)
    learned["history_"] = {
        key: [math.nan if value is None else float(value) for value in values]
        for key, values in learned["history_"].items()
    }
    history = learned["history_"]
    if not history.keys() >= set(cls._LOSSES) or {len(values) for values in history.values()} != {learned["n_iter_"]}:
        raise ValueError("its history does not have an entry for each epoch")
    return learned | {"classes_": found["classes_"]}


def _encoded_classes(classes: NDArray[Any] | None) -> dict[str, Any] | None:
    if classes is None:
        return None
    return {"type": "str" if classes.dtype.kind == "U" else classes.dtype.name, "values": classes.tolist()}


def _decoded_classes(found: Any, conditions: int) -> NDArray[Any] | None:
    """Return the classes of a conditional model, which are as many as its conditions, sorted."""
    if found is None:
        return None
    values, kind = found["values"], found["type"]
    if found.keys() != {"type", "values"} or kind not in _LABELS or len(values) != conditions or not conditions:
        raise ValueError(f"the classes are not those of {conditions} conditions")
    classes = np.array(values, dtype=kind)
    if classes.tolist() != values or not np.array_equal(np.unique(classes), classes):
        raise ValueError("the classes are not in order")
    return classes


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
