"""Callbacks: functions, or objects with a method ``on_epoch_end``, that are called after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np


def check(callbacks: Any) -> list[Any]:
    """Return the callbacks as functions of a model and an epoch's losses, or raise ValueError."""
    if not isinstance(callbacks, (tuple, list)):
        callbacks = [callbacks]
    functions = []
    for callback in callbacks:
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
