"""Reads items ahead in another thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# Seconds between two looks for Ctrl-C where waiting does not notice it by itself (Windows).
_LOOK = 0.1


class ReadAhead(Generic[T]):
    """An iterator whose items are made by another thread while the caller works on the item before.

    Close it, in a ``with`` statement, and no thread reads any more.

    Parameters
    ----------
    items : iterator
        Its errors are raised in the caller, at their place in the order.
    ahead : int
        Items that may be ready or in work beside the one that the caller has.

    Attributes
    ----------
    waited : float
        Seconds that the caller has waited for items.
    """

    def __init__(self, items: Iterator[T], ahead: int = 1) -> None:
        self.waited = 0.0
        self._items, self._permits = items, threading.Semaphore(ahead)
        self._ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._stopped = self._over = False
        self._thread = threading.Thread(target=self._read, name="fastvae reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        start = time.perf_counter()
        try:
            while True:
                try:
                    kind, item = self._ready.get(timeout=_LOOK)
                    break
                except queue.Empty:
                    time.sleep(0)  # Python 3.10 looks for signals after a call, and not where a try begins
        finally:
            self.waited += time.perf_counter() - start
        if kind == "item":
            self._permits.release()
            found: T = item
            return found
        self._over = True
        if kind == "error":
            raise item
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Wait for the end of the read that is under way; after Ctrl-C leave it to itself."""
        self._stopped = True
        self._permits.release()
        if kind is not None and not issubclass(kind, Exception):
            return
        while self._thread.is_alive():
            self._thread.join(_LOOK)

    def _read(self) -> None:
        """Read until the end: the other thread."""
        try:
            while True:
                self._permits.acquire()
                if self._stopped:
                    return
                self._ready.put(("item", next(self._items)))
        except StopIteration:
            self._ready.put(("end", None))
        except BaseException as error:  # of the user's code, of any kind
            self._ready.put(("error", error))
