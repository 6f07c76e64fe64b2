"""Checkpoints: model files that hold the state of a fit too, so that `fastvae.resume` can continue it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastvae import _checks
from fastvae._estimators import sources
from fastvae._fitted.files import with_keys
from fastvae._training import callbacks
from fastvae._training.run import Run

if TYPE_CHECKING:
    from fastvae._estimators.network import Network

# Seconds between two checkpoints with checkpoint_every=None: writing takes a small share of training then.
_SECONDS = 60.0
# Parameters that change no result, and that `resume` takes beside those that a file cannot hold.
_FREE = ("callbacks", "communicator", "n_jobs", "progress")


class Checkpoint:
    """Writes checkpoints of a fit to a file.

    Parameters
    ----------
    path : str or path-like
        The file.
    every : int or None
        Epochs between two checkpoints. None: at least a minute.
    fingerprint : str
        Fingerprint of the data.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None, fingerprint: str) -> None:
        self._path, self._every, self._fingerprint = path, every, fingerprint
        self._time, self._failed = time.monotonic(), False
        self.messages: list[str] = []  # sentences for the end of the fit

    @classmethod
    def checked(cls, path: Any, every: Any, fingerprint: str) -> Checkpoint:
        """Return a checkpoint from the arguments of ``fit``, or raise ValueError."""
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(f"checkpoint={path!r} must be the path of a file")
        return cls(path, None if every is None else _checks.integer(every, "checkpoint_every"), fingerprint)

    def epoch(self, model: Network, run: Run) -> None:
        """Write a checkpoint if it is time. A failure is a warning: training goes on."""
        late = time.monotonic() - self._time >= _SECONDS if self._every is None else run.done % self._every == 0
        if not late:
            return
        try:
            self.write(model, run)
            self._failed = False
        except OSError as error:
            if self._failed:
                return
            self._failed = True
            message = f"The checkpoint was not written: {error}. The file holds an earlier epoch."
            try:
                _checks.warn(f"{message} Training goes on.")
            except UserWarning:  # a warning that is an error must not end training
                self.messages.append(message)

    def end(self, model: Network) -> None:
        """Write the model of a fit that has ended. A failure is one of the messages: the model is in memory."""
        try:
            self.write(model, None)
        except OSError as error:
            self.messages.append(f"The checkpoint was not written: {error}. Save the model elsewhere.")

    def write(self, model: Network, run: Run | None) -> None:
        """Write a checkpoint; without a run, of a fit that has ended. Raises OSError."""
        states = callbacks.states(getattr(model, "callbacks", ()))
        state: dict[str, Any] = {"data": self._fingerprint, "every": self._every, "callbacks": states}
        if run is not None:
            state["fit"] = run.state()
        sources.write(self._path, model._dump(moments=True, run=state)[0])
        self._time = time.monotonic()


def check_state(state: Any) -> None:
    """Raise ValueError unless this is the state of a fit from a checkpoint."""
    found = with_keys(state, {"data", "every", "callbacks"}, {"fit"}, "the state of the fit")
    if found["every"] is not None:
        _checks.integer(found["every"], "checkpoint_every")
    if not isinstance(found["data"], str):
        raise TypeError("the fingerprint must be a string")
    callbacks.check_states(found["callbacks"])
    if "fit" in found:
        Run.check(found["fit"])


def all_parameters(title: str, cls: type[Network], stored: Mapping[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a resumed model, those in its file and those given to ``resume``.

    Raises ValueError for missing and superfluous ones.
    """
    names = cls._parameter_names()
    lost = [name for name in names if name not in stored and name not in (*_FREE, "random_state")]
    for name in given:
        if name not in names:
            raise ValueError(f"{name!r} is not a parameter of {cls.__name__}")
        if name not in lost and name not in _FREE:
            raise ValueError(f"leave out {name}=: resume continues with the parameters in {title}")
    for name in lost:
        if name not in given:
            raise ValueError(f"pass {name}= as for fit: the checkpoint {title} cannot hold it")
    return {**stored, **given}
