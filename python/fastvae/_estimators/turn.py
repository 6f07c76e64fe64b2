"""One thread at a time trains an estimator."""

from __future__ import annotations

import os
import threading
import weakref

# The training thread of each estimator, by its id. Weak: an exception between two lines leaves nothing behind.
_RUNNING: dict[int, weakref.ref[Turn]] = {}
_lock = threading.Lock()


def _forget() -> None:
    """Forget the threads of the parent process, which a forked child does not have."""
    global _lock  # another thread may have held it
    _lock = threading.Lock()
    _RUNNING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Turn:
    """The right to train an estimator, in a ``with`` statement.

    Passes of several threads follow one another. A fit is refused while another thread trains, and so is all training
    during a fit, which they would change. The same thread may enter again (a callback).

    Parameters
    ----------
    model : estimator
    fits : bool
        Whether this is a whole fit, not a single pass.
    """

    def __init__(self, model: object, *, fits: bool) -> None:
        self._model, self._fits = model, fits
        self._thread, self._ended = threading.get_ident(), threading.Lock()
        self._ended.acquire()

    def __enter__(self) -> None:
        while (other := self._take()) is not None:
            if self._fits or other._fits:
                name = type(self._model).__name__
                raise RuntimeError(
                    f"this {name} is being fitted by another thread: wait for its end, or train a copy (copy.deepcopy)"
                )
            if other._ended.acquire(timeout=0.1):
                other._ended.release()

    def __exit__(self, *exception: object) -> None:
        with _lock:
            running = _RUNNING.get(id(self._model))
            if running is not None and running() is self:
                del _RUNNING[id(self._model)]
        self._ended.release()

    def _take(self) -> Turn | None:
        """Take the turn if no other thread has it; else return that thread's."""
        with _lock:
            running = _RUNNING.get(id(self._model))
            other = None if running is None else running()
            if other is None or other._model is not self._model:
                _RUNNING[id(self._model)] = weakref.ref(self)
                return None
            return None if other._thread == self._thread else other
