"""A measure of validation data that decides which epoch is best, in place of the validation loss."""

from __future__ import annotations

from typing import Protocol


class Judge(Protocol):
    """The measure of a fit."""

    name: str  # of its entry in the history

    def measure(self) -> float:
        """Return the measure of the present weights: higher is better."""
        ...

    def problems(self, best: float) -> list[str]:
        """Return sentences about the best measure of a fit that shows a problem."""
        ...
