"""The record of training: losses, epochs and time."""

from __future__ import annotations


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
    """

    def __init__(
        self, history: dict[str, list[float]], n_iter: int = 0, elapsed: float = 0.0, interrupted: bool = False
    ) -> None:
        self.history, self.n_iter = history, n_iter
        self.elapsed, self.interrupted = elapsed, interrupted
        self.not_saved: list[str] = []  # parameters that a file could not hold, of which `save` has warned
        self.planned: int | None = None  # epochs that `fit` plans, so that schedules can end with it; not in files

    def add(self, losses: dict[str, float]) -> None:
        """Add an epoch's losses to the history."""
        self.n_iter += 1
        for key in self.history | losses:
            values = self.history.setdefault(key, [float("nan")] * (self.n_iter - 1))
            values.append(losses.get(key, float("nan")))

    def copy(self) -> TrainingRecord:
        """Return a copy that shares no list."""
        history = {key: list(values) for key, values in self.history.items()}
        return TrainingRecord(history, self.n_iter, self.elapsed, self.interrupted)
