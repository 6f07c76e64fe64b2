"""Batches that an iterator returns: each is one step of the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import names, sparse
from fastvae._data.examples import Data
from fastvae._data.sources.source import SourceError
from fastvae._data.sources.stacked import copied, stacked
from fastvae._data.streams.ahead import ReadAhead
from fastvae._data.streams.stream import Part, Reader, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Batches that may be ready before they are trained.
_AHEAD = 4
# The first batches tell the level of the data: as many as have this many examples, or values.
_SAMPLED, _VALUES = 4096, 2**22


def is_batches(X: Any) -> bool:
    """Whether `X` can be iterated over more than once, and is none of the containers that hold rows."""
    if isinstance(X, (Iterator, Sequence, Mapping, Set, type)) or not isinstance(X, Iterable):
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
        self._again, self._X = (None if isinstance(X, Iterator) else X), X
        self._count = 0
        self._items = self._started()
        self._first: list[tuple[Any, Any]] = []
        self._steps = self._counted(steps)
        self._rows = 0

    def _counted(self, steps: int | None) -> int:
        if steps is not None:
            return steps
        if self._again is None:
            raise ValueError(
                "X is an iterator of batches, which cannot start anew: pass steps_per_epoch= to fit, the batches of an "
                "epoch, or call partial_fit with each batch"
            )
        length = getattr(self._again, "__len__", None)
        try:
            found = length() if length is not None else sum(1 for _ in self._again)
        except Exception as error:
            raise self._unreadable("a batch", error) from error
        if not found:
            raise ValueError(f"{self.name} returns no batches")
        return int(found)

    def first(self) -> tuple[Any, Any]:
        """Return the first batches, which are trained too."""
        if not self._first:
            self._fill()
        X = [x if sparse.is_sparse(x) else np.asarray(x) for x, _ in self._first]
        y = self._first_y()
        for i, x in enumerate(X):
            if len(x.shape) < 2:
                raise ValueError(f"batch {i + 1} of X has shape {x.shape}; expected [n, n_features], or images")
            if x.shape[1:] != X[0].shape[1:]:
                raise ValueError(
                    f"batch {i + 1} of X has rows of shape {x.shape[1:]}, and batch 1 of {X[0].shape[1:]}: all must "
                    "have the same columns"
                )
        rows, labels = stacked(X), names.of(self._first[0][0])
        for i, (x, _) in enumerate(self._first[1:]):
            names.check(x, f"batch {i + 2} of X", labels, "batch 1")
        if labels is not None and isinstance(rows, np.ndarray):
            rows = names.with_names(rows, self._first[0][0])
        return rows, np.concatenate(y) if y else None

    def _first_y(self) -> list[NDArray[Any]]:
        """Return the y of the first batches, which all have one of the same form, or none."""
        _, known = self._first[0]
        for i, (X, y) in enumerate(self._first):
            if (y is None) != (known is None):
                without, other = (i + 1, 1) if y is None else (1, i + 1)
                raise ValueError(
                    f"batch {without} of X has no y, and batch {other} has one: return pairs (X, y) always or never"
                )
            if y is None or known is None:
                continue
            if y.ndim == 0 or len(y) != np.shape(X)[0]:
                raise ValueError(
                    f"batch {i + 1} of X has {np.shape(X)[0]} rows, and its y has shape {y.shape}: pass a row for each"
                )
            if y.shape[1:] != known.shape[1:]:
                raise ValueError(
                    f"the y of batch {i + 1} of X has rows of shape {y.shape[1:]}, and that of batch 1 of "
                    f"{known.shape[1:]}: all must have the same columns"
                )
        return [y for _, y in self._first if y is not None]

    def _fill(self) -> None:
        rows = values = 0
        while rows < _SAMPLED and values < _VALUES and len(self._first) < self._steps:
            batch = self._next()
            if batch is None:
                break
            self._first.append(batch)
            shape = np.shape(batch[0])
            rows, values = rows + (shape[0] if shape else 1), values + int(np.prod(shape, dtype=np.int64))
        if not self._first:
            raise ValueError(f"{self.name} returns no batches")
        self._rows, self.ended = max(rows // len(self._first), 1), False

    def labels(self, first: Any) -> Any:
        """Return the y of the first batches."""
        return first

    def read_with(self, reader: Reader, n_features: int) -> None:
        """Set how batches are read."""
        self._reader, self.shape = reader, (0, n_features)

    def gathered(self) -> Data:
        """Return the first batches."""
        X, y = self.first()
        read = self._reader.examples(X, "the first batches of X")
        return Data(read, None if y is None else self._reader.conditions(y))

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
        for _ in range(self._steps):
            batch = self._first.pop(0) if self._first else self._next()
            if batch is None:
                return
            data = self._data(*batch, f"batch {self._count - len(self._first)} of X")
            n = len(data.X)
            del batch
            yield Part(data, None, n, 1, numbers=np.arange(n, dtype=np.uint64))
            del data

    def _data(self, X: Any, y: Any, name: str) -> Data:
        read = self._reader.examples(X, name)
        if y is not None and len(y) != len(read):
            raise ValueError(f"{name} has {len(read)} rows, and its y has {len(y)}: pass one for each")
        rows = None if y is None else self._reader.conditions(y)
        if rows is None and self._reader.needs_y:
            raise ValueError(f"{name} has no y: batches for a conditional model are pairs (X, y)")
        return Data(read, rows)

    def _next(self) -> tuple[Any, Any] | None:
        """Return X and y of the next batch, of a new pass at the end of one; None if there is none."""
        for _ in range(2):
            try:
                batch = pair(next(self._items))
            except StopIteration:
                if self._again is None:
                    break
                self._items = self._started()
                continue
            except Exception as error:
                raise self._unreadable(f"batch {self._count + 1}", error) from error
            self._count += 1
            return batch
        self.ended = True
        return None

    def _started(self) -> Iterator[Any]:
        """Return an iterator at the beginning."""
        try:
            return iter(self._X)
        except Exception as error:
            raise self._unreadable(f"batch {self._count + 1}", error) from error

    def _unreadable(self, what: str, error: Exception) -> SourceError:
        return SourceError(f"{what} of {self.name} could not be read: {type(error).__name__}: {error}")


def is_pair(batch: Any) -> bool:
    """Whether a batch is (X, y): a tuple or a list that starts with rows."""
    return isinstance(batch, (tuple, list)) and len(batch) > 0 and len(np.shape(batch[0])) > 1


def pair(batch: Any) -> tuple[Any, NDArray[Any] | None]:
    """Return X and y of a batch, which is X, or (X, y) as a tuple or a list; y is None without.

    They are copies: the iterator may fill the same memory with the next batch.
    """
    if not is_pair(batch):
        return copied(batch), None
    if len(batch) > 2:
        raise ValueError(f"it is a {type(batch).__name__} of {len(batch)} parts: return X, or (X, y)")
    X, y = (*batch, None)[:2]
    return copied(X), None if y is None else np.array(y)
