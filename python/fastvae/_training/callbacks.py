"""Callbacks: user objects whose method ``on_epoch_end`` is called after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np


def check(callbacks: Any) -> list[Any]:
    """Return the callbacks, or raise ValueError."""
    if not isinstance(callbacks, (tuple, list)):
        raise ValueError(f"callbacks={callbacks!r} must be a sequence of objects with on_epoch_end(model, logs)")
    for callback in callbacks:
        if isinstance(callback, type) or not callable(getattr(callback, "on_epoch_end", None)):
            raise ValueError(f"callbacks: {callback!r} must be an object with a method on_epoch_end(model, logs)")
    return list(callbacks)


def call(callbacks: list[Any], model: Any, logs: dict[str, float]) -> bool:
    """Call each with the model and a copy of an epoch's losses; return whether one of them returned True."""
    results = [callback.on_epoch_end(model, dict(logs)) for callback in callbacks]
    return any(isinstance(result, (bool, np.bool_)) and result for result in results)
