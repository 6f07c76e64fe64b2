"""Progress bars: HTML in a notebook, tqdm, rich. Imported when one is shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastvae._training.views import State, in_notebook

if TYPE_CHECKING:
    from fastvae._training.views import View

# Seconds between two pictures in a notebook: each is a message to the browser.
_PAUSE = 0.1


def start(show: bool | str) -> View:
    """Return the bar for ``progress``: True (a notebook's), "tqdm" or "rich".

    The widgets of these packages need ipywidgets: without it a notebook shows the same bar as for True.
    """
    if show is True or (in_notebook() and not _has_widgets()):
        return Notebook()
    return Tqdm() if show == "tqdm" else Rich()


def _has_widgets() -> bool:
    from importlib.util import find_spec

    return find_spec("ipywidgets") is not None


class Notebook:
    """An output of a notebook's cell that is replaced, so that the saved notebook holds the last picture only."""

    def __init__(self) -> None:
        self._output: Any = None
        self._last = -_PAUSE

    def show(self, state: State) -> None:
        """Draw the bar and the losses, at most ten times a second."""
        now = time.monotonic()
        if now - self._last >= _PAUSE:
            self._last = now
            self._draw(state, f"epoch {min(state.done + 1, state.epochs)}/{state.epochs}", bar=True)

    def close(self, state: State) -> None:
        """Replace the bar by a line of text."""
        early = "" if state.done >= state.epochs else f" of {state.epochs}"
        self._draw(state, f"{state.done}{early} epoch{'' if state.done == 1 and not early else 's'}", bar=False)

    def _draw(self, state: State, title: str, *, bar: bool) -> None:
        from IPython import display as ipython

        display: Any = ipython.display
        text = "  ".join(part for part in (title, state.losses, f"{state.seconds:.1f} s") if part)
        picture = f'<progress value="{state.share:.4f}" max="1" style="width: 16em"></progress> ' if bar else ""
        data = {"text/plain": text, "text/html": f'<div style="white-space: pre-wrap">{picture}{text}</div>'}
        if self._output is None:
            self._output = display(data, raw=True, display_id=True)
        else:
            self._output.update(data, raw=True)


class Tqdm:
    """The bar of tqdm: examples of all epochs, with the losses behind it."""

    def __init__(self) -> None:
        import tqdm

        kind: Any = tqdm.tqdm
        if in_notebook():
            import tqdm.notebook

            kind = tqdm.notebook.tqdm
        self._kind: Any = kind
        self._bar: Any = None

    def show(self, state: State) -> None:
        """Move the bar."""
        if self._bar is None:
            before = state.first * state.examples
            self._bar = self._kind(total=state.epochs * state.examples, initial=before, unit="ex", unit_scale=True)
        self._bar.total = state.epochs * state.examples
        self._bar.set_description(f"epoch {min(state.done + 1, state.epochs)}/{state.epochs}", refresh=False)
        self._bar.set_postfix_str(state.losses, refresh=False)
        self._bar.update(state.done * state.examples + state.within - self._bar.n)

    def close(self, state: State) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()


class Rich:
    """The bar of rich on standard error: the share of the training, the losses and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: Any = None

    def show(self, state: State) -> None:
        """Move the bar."""
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=1.0, losses="")
        title = f"epoch {min(state.done + 1, state.epochs)}/{state.epochs}"
        self._progress.update(self._task, description=title, completed=state.share, losses=state.losses)

    def close(self, state: State) -> None:
        """End the bar, and show the cursor again."""
        if self._task is not None:
            self._progress.stop()
