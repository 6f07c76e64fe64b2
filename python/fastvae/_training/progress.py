"""Shows the progress of training."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastvae._training.record import WAITED
from fastvae._training.views import Line, State, in_notebook

if TYPE_CHECKING:
    from fastvae._training.views import View

_PACKAGES = ("tqdm", "rich")


class Progress:
    """Shows the progress of training.

    If standard error or the display fails (closed, full, a terminal that is gone), the picture ends and training goes
    on.

    Parameters
    ----------
    show : bool, str or None
        None shows a line only if standard error is a terminal. True shows a bar in a notebook, a line elsewhere;
        "tqdm" and "rich" show the bars of these packages.
    epochs, examples : int
        Number of epochs, which may grow, and of examples per epoch.
    done : int
        Number of epochs done before.

    Raises
    ------
    ImportError
        If the package is missing.
    """

    def __init__(self, show: bool | str | None, epochs: int, examples: int, done: int = 0) -> None:
        self.state = State(epochs, examples, done)
        self._view = _view(show)

    def tick(self, examples: int) -> None:
        """Show the progress of the current epoch; `examples` are done."""
        self.state.within = examples
        self._show()

    def epoch(self, logs: dict[str, float]) -> None:
        """Show the losses of a finished epoch."""
        self.state.done += 1
        self.state.within = 0
        self.state.losses = "  ".join(f"{key} {logs[key]:.2f}" for key in ("loss", "val_loss") if key in logs)
        if WAITED in logs:
            self.state.losses += f"  waited {logs[WAITED]:.1f} s"
        self._show()

    def extend(self, epochs: int) -> None:
        """Set the number of epochs to a larger one."""
        self.state.epochs = epochs

    def close(self) -> None:
        """End the picture."""
        view, self._view = self._view, None
        if view is not None:
            try:
                view.close(self.state)
            except Exception:  # of any kind: the stream may be anyone's object
                return

    def _show(self) -> None:
        if self._view is None:
            return
        try:
            self._view.show(self.state)
        except Exception:  # as above
            self._view = None


def check(progress: Any) -> bool | str | None:
    """Return the parameter ``progress``, or raise ValueError."""
    if progress is None or isinstance(progress, bool) or (isinstance(progress, str) and progress in _PACKAGES):
        return progress
    raise ValueError(f"progress={progress!r} must be None, True, False, 'tqdm' or 'rich'")


def require(progress: bool | str | None) -> None:
    """Raise ImportError if the package of ``progress`` is missing."""
    from importlib import import_module

    if not isinstance(progress, str):
        return
    try:
        import_module(progress)
    except ImportError as error:
        raise ImportError(f"progress={progress!r} needs the package {progress}: pip install {progress}") from error


def _view(show: bool | str | None) -> View | None:
    if sys.stderr is None:  # pythonw, a daemon
        return None
    if not (_is_terminal() if show is None else show):
        return None
    if show is None or (show is True and not in_notebook()):
        return Line()
    from fastvae._training import bars

    return bars.start(show)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except Exception:
        return False
