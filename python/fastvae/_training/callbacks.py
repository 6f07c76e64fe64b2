"""Callbacks: functions that are called after each epoch, or objects with methods for the begin and the end too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._fitted.files import with_keys
from fastvae._training.logs import Logs, logger, shown

if TYPE_CHECKING:
    from collections.abc import Sequence


# The methods that an object may have; a function is on_epoch_end.
_HOOKS = ("on_train_begin", "on_epoch_end", "on_train_end")


class Callbacks:
    """The callbacks of a fit.

    Parameters
    ----------
    callbacks : callable or object, or sequence of them

    Raises
    ------
    ValueError
        If one is neither a function nor an object with a method of the protocol.
    """

    def __init__(self, callbacks: Any) -> None:
        self._all = _sequence(callbacks)
        for callback in self._all:
            methods = [_method(callback, hook) for hook in _HOOKS]
            if isinstance(callback, type) or not any(map(callable, methods)):
                raise ValueError(
                    f"callbacks: {callback!r} must be a function f(model, logs) or an object with a method "
                    "on_epoch_end(model, logs), on_train_begin(model) or on_train_end(model)"
                )

    def train_begin(self, model: Any) -> None:
        """Call each before the first epoch of a fit."""
        for callback in self._all:
            _call(callback, "on_train_begin", model)

    def epoch_end(self, model: Any, logs: Logs) -> bool:
        """Call each with the model and a copy of an epoch's losses; return whether one of them returned True."""
        log = logger("DEBUG")
        if log is not None:
            log.debug("%s: epoch %d of %d: %s", type(model).__name__, logs.epoch, logs.epochs, shown(logs))
        results = [
            _call(callback, "on_epoch_end", model, Logs(logs, logs.epoch, logs.epochs)) for callback in self._all
        ]
        return any(isinstance(result, (bool, np.bool_)) and result for result in results)

    def train_end(self, model: Any) -> None:
        """Call each after the last epoch, also if an earlier one fails here; then raise its exception."""
        failed: BaseException | None = None
        for callback in self._all:
            try:
                _call(callback, "on_train_end", model)
            except BaseException as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _method(callback: Any, hook: str) -> Any:
    """Return a method of a callback, None if it has none; a function is its own on_epoch_end."""
    return getattr(callback, hook, callback if hook == "on_epoch_end" and callable(callback) else None)


def _call(callback: Any, hook: str, model: Any, *arguments: Any) -> Any:
    """Call a method of a callback if it has it. An exception gets a note that names the callback."""
    method = _method(callback, hook)
    if method is None:
        return None
    try:
        return method(model, *arguments)
    except Exception as error:
        place = f"{hook} of the callback {_name(callback)}, after epoch {model.n_iter_}"
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"in {place}")
        log = logger("ERROR")
        if log is not None:
            log.error("%s: %s in %s", type(model).__name__, type(error).__name__, place)
        raise


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
