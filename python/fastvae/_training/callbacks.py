"""Callbacks: functions, or objects with a method ``on_epoch_end``, that are called after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._fitted.files import with_keys

if TYPE_CHECKING:
    from collections.abc import Sequence


def check(callbacks: Any) -> list[Any]:
    """Return the callbacks as functions of a model and an epoch's losses, or raise ValueError."""
    functions = []
    for callback in _sequence(callbacks):
        function = getattr(callback, "on_epoch_end", callback)
        if isinstance(callback, type) or not callable(function):
            raise ValueError(
                f"callbacks: {callback!r} must be a function f(model, logs) or an object with a method "
                "on_epoch_end(model, logs)"
            )
        functions.append(function)
    return functions


def call(callbacks: list[Any], model: Any, logs: dict[str, float]) -> bool:
    """Call each with the model and a copy of an epoch's losses; return whether one of them returned True."""
    results = [callback(model, dict(logs)) for callback in callbacks]
    return any(isinstance(result, (bool, np.bool_)) and result for result in results)


def states(callbacks: Any) -> list[dict[str, Any]]:
    """Return the names and the states of callbacks, in JSON types, for a checkpoint.

    The state is what a method ``state_dict()`` returns, as PyTorch's objects have it; None without one.
    """
    return [{"name": _name(callback), "state": _state(callback)} for callback in _sequence(callbacks)]


def check_states(stored: Any) -> None:
    """Raise ValueError unless these are names and states of callbacks, from a checkpoint."""
    if not isinstance(stored, list):
        raise ValueError("the states of callbacks must be a list")
    for entry in stored:
        entry = with_keys(entry, {"name", "state"}, set(), "the state of a callback")
        if not isinstance(entry["name"], str) or not isinstance(entry["state"], (str, type(None))):
            raise ValueError("name and state of a callback must be texts")


def restore(callbacks: Any, stored: list[dict[str, Any]]) -> None:
    """Give callbacks their states from a checkpoint, by ``load_state_dict``; raise ValueError for other callbacks."""
    import json

    callbacks = _sequence(callbacks)
    names, expected = [_name(callback) for callback in callbacks], [entry["name"] for entry in stored]
    if names != expected:
        raise ValueError(f"the training had the callbacks {expected}, not {names}: pass callbacks= as for fit")
    for callback, entry in zip(callbacks, stored, strict=True):
        if entry["state"] is not None:
            if not hasattr(callback, "load_state_dict"):
                raise ValueError(f"callbacks: the checkpoint has a state of {callback!r}, which needs load_state_dict")
            callback.load_state_dict(json.loads(entry["state"]))


def _sequence(callbacks: Any) -> Sequence[Any]:
    return callbacks if isinstance(callbacks, (tuple, list)) else [callbacks]


def _name(callback: Any) -> str:
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))


def _state(callback: Any) -> str | None:
    if not hasattr(callback, "state_dict"):
        return None
    import json  # here only, so that `import fastvae` stays cheap

    if not hasattr(callback, "load_state_dict"):
        raise ValueError(f"callbacks: {callback!r} has state_dict() and needs load_state_dict(state) too")
    try:
        return json.dumps(callback.state_dict(), default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"callbacks: the state_dict() of {callback!r} must hold numbers, strings, lists and dicts for a checkpoint "
            f"({error})"
        ) from error


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays as numbers and lists."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is none of these")
