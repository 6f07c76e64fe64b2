"""One quiet line on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """Rewrites a line on standard error while training runs, and erases nothing that it did not write.

    Parameters
    ----------
    wanted : bool or None
        None: only if standard error is a terminal.
    epochs, examples : int
        What makes the whole.
    """

    def __init__(self, wanted: bool | None, epochs: int, examples: int) -> None:
        on = sys.stderr is not None and sys.stderr.isatty() if wanted is None else wanted
        self._on = on and sys.stderr is not None  # there is none under pythonw or a daemon
        self._epochs, self._examples = epochs, examples
        self._epoch = 0
        self._last = ""
        self._start = time.perf_counter()

    def tick(self, examples: int) -> None:
        """Show how far the running epoch is."""
        self._write(f"{100 * examples // self._examples:3d} %  {self._last}")

    def epoch(self, logs: dict[str, float]) -> None:
        """Show a finished epoch's losses."""
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
        epoch = min(self._epoch + (not text.startswith("100")), self._epochs)
        line = f"epoch {epoch}/{self._epochs}  {text}  {seconds:.1f} s"
        sys.stderr.write(f"\r{line:<78}")
        sys.stderr.flush()


def check(progress: Any) -> bool | None:
    """Return the ``progress`` parameter, or raise ValueError."""
    if progress is None or isinstance(progress, bool):
        return progress
    raise ValueError(f"progress={progress!r} must be None, True or False")
