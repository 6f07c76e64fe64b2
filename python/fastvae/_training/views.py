"""The state of training, and a line on standard error that shows it."""

from __future__ import annotations

import sys
import time
from typing import Protocol


class State:
    """The state of training.

    Parameters
    ----------
    epochs, examples : int
        Number of epochs, which may grow, and of examples per epoch.
    done : int
        Number of epochs done before.
    """

    def __init__(self, epochs: int, examples: int, done: int) -> None:
        self.epochs, self.examples, self.done = epochs, examples, done
        self.within = 0  # examples done in the current epoch
        self.first = done
        self.losses = ""
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def share(self) -> float:
        """Share of the training that is done, from 0 to 1."""
        return min(1.0, (self.done + self.within / self.examples) / self.epochs)


class View(Protocol):
    """A picture of the progress, which is redrawn in place. Its errors end the picture, not the training."""

    def show(self, state: State) -> None:
        """Draw a state."""

    def close(self, state: State) -> None:
        """Draw the last state, and end."""


class Line:
    """A line on standard error that is rewritten."""

    def show(self, state: State) -> None:
        """Write a state over the last one."""
        finished = state.within == 0 and state.done > state.first
        epoch = min(state.done + (not finished), state.epochs)
        percent = 100 if finished else 100 * state.within // state.examples
        line = f"epoch {epoch}/{state.epochs}  {percent:3d} %  {state.losses}  {state.seconds:.1f} s"
        self._put(f"\r{line:<78}")

    def close(self, state: State) -> None:
        """End the line."""
        self._put("\n")

    def _put(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
