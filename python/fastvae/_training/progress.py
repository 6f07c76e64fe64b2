"""A progress line on standard error."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """Rewrites one line on standard error during training.

    Parameters
    ----------
    show : bool or None
        None shows the line only if standard error is a terminal.
    epochs, examples : int
        Number of epochs, which may grow, and of examples per epoch.
    """

    def __init__(self, show: bool | None, epochs: int, examples: int) -> None:
        on = sys.stderr is not None and sys.stderr.isatty() if show is None else show
        self._on = on and sys.stderr is not None  # None under pythonw or in a daemon
        self.epochs, self._examples = epochs, examples
        self._epoch = 0
        self._last = ""
        self._start = time.perf_counter()

    def tick(self, examples: int) -> None:
        """Show the progress of the current epoch; `examples` are done."""
        self._write(f"{100 * examples // self._examples:3d} %  {self._last}")

    def epoch(self, logs: dict[str, float]) -> None:
        """Show the losses of a finished epoch."""
        self._epoch += 1
        shown = [f"{key} {logs[key]:.2f}" for key in ("loss", "val_loss") if key in logs]
        self._last = "  ".join(shown)
        self._write(f"100 %  {self._last}")

    def close(self) -> None:
        """End the line."""
        if self._on:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        if not self._on:
            return
        seconds = time.perf_counter() - self._start
        epoch = min(self._epoch + (not text.startswith("100")), self.epochs)
        line = f"epoch {epoch}/{self.epochs}  {text}  {seconds:.1f} s"
        sys.stderr.write(f"\r{line:<78}")
        sys.stderr.flush()


def check(progress: Any) -> bool | None:
    """Return the parameter ``progress``, or raise ValueError."""
    if progress is None or isinstance(progress, bool):
        return progress
    raise ValueError(f"progress={progress!r} must be None, True or False")
