"""Batches that an iterator returns: each is one step of the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data.sources.source import SourceError
from fastvae._data.streams.ahead import ReadAhead
from fastvae._data.streams.stream import Part, Stream

if TYPE_CHECKING:
    from fastvae._data.examples import Data

# Batches that may be ready before they are trained.
_AHEAD = 4
# The first batches tell the level of the data: as many as have this many examples, or values.
_SAMPLED, _VALUES = 4096, 2**22


def is_batches(X: Any) -> bool:
    """Whether `X` can be iterated over more than once, and is none of the containers that hold rows."""
    if isinstance(X, (Iterator, list, tuple, str, bytes, dict, set, frozenset, type)) or not isinstance(X, Iterable):
        return False
    in_memory = ("__array__", "__array_interface__", "__dlpack__", "__buffer__", "__dataframe__", "shape", "columns")
    return not any(hasattr(X, name) for name in in_memory)


class Batches(Stream):
    """Batches of an iterator, or of an object that starts anew when it is iterated over again.

    A batch is X, or a pair (X, y) as a tuple or a list.

    Parameters
    ----------
    X : iterable
    steps : int or None
        Batches of an epoch. None: all, of an object that can be iterated over more than once.
    """

    def __init__(self, X: Iterable[Any], steps: int | None) -> None:
        self.name = f"the {type(X).__qualname__}"
        self._again = None if isinstance(X, Iterator) else X
        self._items, self._count = iter(X), 0
        self._first: list[Any] = []
        self._convert: Callable[[Any, Any, str], Data] | None = None
        self._steps = self._counted(steps)
        self._rows = 0

    def _counted(self, steps: int | None) -> int:
        if steps is not None:
            return steps
        if self._again is None:
            raise ValueError("an iterator of batches ends once: pass steps_per_epoch=, the batches of an epoch")
        length = getattr(self._again, "__len__", None)
        found = length() if length is not None else sum(1 for _ in self._again)
        if not found:
            raise ValueError(f"{self.name} returns no batches")
        return int(found)

    def set_convert(self, convert: Callable[[Any, Any, str], Data], n_features: int) -> None:
        """Set the function that makes data of X, y and what messages call X."""
        self._convert, self.shape = convert, (0, n_features)

    def first(self) -> list[tuple[Any, Any]]:
        """Return the first batches, pairs of X and y, which training gets again."""
        rows = values = 0
        while not self._first or (rows < _SAMPLED and values < _VALUES and len(self._first) < self._steps):
            item = self._next()
            if item is None:
                break
            self._first.append(item)
            X, _ = pair(item)
            shape = np.shape(X)
            rows, values = rows + (shape[0] if shape else 1), values + int(np.prod(shape, dtype=np.int64))
        if not self._first:
            raise ValueError(f"{self.name} returns no batches")
        self._rows = max(rows // len(self._first), 1)
        self.ended = False
        return [pair(item) for item in self._first]

    def steps(self, batch_size: int) -> int:
        """Return the number of batches of an epoch; their size is their own."""
        return self._steps

    def examples(self, batch_size: int) -> int:
        """Return about the number of examples of an epoch: as if all batches were like the first."""
        return self._steps * self._rows

    def pieces(self, seed: int, epoch: int, batch_size: int, *, shuffle: bool) -> ReadAhead[Part]:
        """Return the batches of an epoch in their own order."""
        return ReadAhead(self._pieces(), _AHEAD)

    # The reader's thread

    def _pieces(self) -> Iterator[Part]:
        assert self._convert is not None, "set before training"
        for _ in range(self._steps):
            item = self._first.pop(0) if self._first else self._next()
            if item is None:
                return
            X, y = pair(item)
            data = self._convert(X, y, f"batch {self._count - len(self._first)} of X")
            n = len(data.X)
            del item, X, y
            yield Part(data, None, n, numbers=np.arange(n, dtype=np.uint64))
            del data

    def _next(self) -> Any:
        """Return the next batch, of a new pass at the end of one; None if there is none."""
        for _ in range(2):
            try:
                item = next(self._items)
            except StopIteration:
                if self._again is None:
                    break
                self._items = iter(self._again)
                continue
            except Exception as error:
                raise SourceError(
                    f"batch {self._count + 1} of {self.name} could not be read: {type(error).__name__}: {error}"
                ) from error
            self._count += 1
            return item
        self.ended = True
        return None


def pair(item: Any) -> tuple[Any, Any]:
    """Return X and y of a batch; y is None without."""
    is_pair = isinstance(item, (tuple, list)) and 0 < len(item) <= 2 and all(np.ndim(part) > 0 for part in item)
    if is_pair and (isinstance(item, tuple) or np.ndim(item[0]) > 1):
        return item[0], item[1] if len(item) == 2 else None
    return item, None
