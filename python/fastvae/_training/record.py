"""The record of training: losses, epochs and time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastvae import _checks

if TYPE_CHECKING:
    from collections.abc import Sequence


# Entries of the history besides losses: seconds of waiting, and the measure of a recommender's validation users.
WAITED = "data_wait"  # seconds that an epoch has waited for data that are read while it trains
MEASURES = ("val_ndcg@100", WAITED)


class TrainingRecord:
    """The record of training so far, which an estimator exposes as attributes.

    Parameters
    ----------
    history : dict of str to list of float
        One list per loss with one entry per epoch, NaN where it was not computed.
    n_iter : int
        Number of epochs trained.
    elapsed : float
        Seconds spent in training.
    interrupted : bool
        Whether Ctrl-C stopped the last training.
    skipped : int
        Number of batches skipped by ``nan_policy="skip"``.
    """

    def __init__(
        self,
        history: dict[str, list[float]],
        n_iter: int = 0,
        elapsed: float = 0.0,
        interrupted: bool = False,
        skipped: int = 0,
    ) -> None:
        self._history, self.n_iter = history, n_iter
        self.elapsed, self.interrupted, self.skipped = elapsed, interrupted, skipped
        self.not_saved: list[str] = []  # parameters that a file could not hold, of which `save` has warned
        self.planned: int | None = None  # epochs that `fit` plans, so that schedules can end with it; not in files

    @property
    def history(self) -> dict[str, list[float]]:
        """The losses, without those of an epoch whose recording Ctrl-C has interrupted."""
        for values in self._history.values():
            del values[self.n_iter :]
        return self._history

    def add(self, losses: dict[str, float]) -> None:
        """Add an epoch's losses to the history, in constant time."""
        history = self.history
        for key in losses:
            if key not in history:
                history[key] = [math.nan] * self.n_iter
        for key, values in history.items():
            values.append(losses.get(key, math.nan))
        self.n_iter += 1  # last: up to here `history` drops the new entries

    def checked_history(self) -> dict[str, list[float]]:
        """Return the losses, or raise ValueError unless each has a number for each epoch."""
        history = self.history
        if any(len(values) != self.n_iter for values in history.values()):
            raise ValueError(f"history_ must have one value of each loss for each of {self.n_iter} epochs")
        return history

    def check(self, losses: Sequence[str]) -> None:
        """Raise ValueError unless the history has `losses`, no others but those of validation, and n_iter values."""
        _checks.integer(self.n_iter, "n_iter_", least=0)
        _checks.number(self.elapsed, "elapsed_", below=1e15)
        _checks.boolean(self.interrupted, "interrupted_")
        history = self.checked_history()
        if not set(losses) <= history.keys() <= {*losses, *(f"val_{loss}" for loss in losses), *MEASURES}:
            raise ValueError(f"history_ must have {', '.join(losses)}, and no more but those of validation data")

    def copy(self) -> TrainingRecord:
        """Return a copy that shares no list, of whole epochs also while another thread trains."""
        n_iter = self.n_iter
        history = {key: values[:n_iter] for key, values in list(self._history.items())}
        return TrainingRecord(history, n_iter, self.elapsed, self.interrupted, self.skipped)
