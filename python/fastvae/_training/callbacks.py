"""Callbacks: objects of the user's with a method that is called after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np


def check(callbacks: Any) -> list[Any]:
    """Return the callbacks, or raise ValueError."""
    if not isinstance(callbacks, (tuple, list)):
        raise ValueError(f"callbacks={callbacks!r} must be a sequence of objects with on_epoch_end(model, logs)")
    for callback in callbacks:
        if isinstance(callback, type) or not callable(getattr(callback, "on_epoch_end", None)):
            raise ValueError(f"the callback {callback!r} is no object with a method on_epoch_end(model, logs)")
    return list(callbacks)


def call(callbacks: list[Any], model: Any, logs: dict[str, float]) -> bool:
    """Call each with the model and a copy of an epoch's losses; return whether one of them asks to stop."""
    answers = [callback.on_epoch_end(model, dict(logs)) for callback in callbacks]
    return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)
