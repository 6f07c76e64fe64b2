"""The record of a model's training: losses, epochs and time."""

from __future__ import annotations


class TrainingRecord:
    """What training has recorded so far; an estimator shows it as attributes.

    Parameters
    ----------
    history : dict of str to list of float
        A list for each loss, with an entry an epoch: NaN where there was none.
    n_iter : int
        Epochs trained.
    elapsed : float
        Seconds spent in training.
    interrupted : bool
        Whether the last training was stopped by Ctrl-C.
    """

    def __init__(
        self, history: dict[str, list[float]], n_iter: int = 0, elapsed: float = 0.0, interrupted: bool = False
    ) -> None:
        self.history, self.n_iter = history, n_iter
        self.elapsed, self.interrupted = elapsed, interrupted

    def add(self, losses: dict[str, float]) -> None:
        """Add an epoch's losses to the history."""
        self.n_iter += 1
        for key in self.history | losses:
            values = self.history.setdefault(key, [float("nan")] * (self.n_iter - 1))
            values.append(losses.get(key, float("nan")))

    def copy(self) -> TrainingRecord:
        """Return a copy with lists of its own."""
        history = {key: list(values) for key, values in self.history.items()}
        return TrainingRecord(history, self.n_iter, self.elapsed, self.interrupted)
