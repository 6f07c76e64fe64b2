"""The record of a model's training: losses, epochs and time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TrainingRecord:
    """What training has recorded so far; an estimator shows it as attributes."""

    history: dict[str, list[float]]  # an entry an epoch in each list, NaN where there was none
    n_iter: int = 0
    elapsed: float = 0.0  # seconds
    interrupted: bool = False  # whether the last training was stopped by Ctrl-C

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
