"""Rows of a source that are trained in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core
from fastvae._data import sparse
from fastvae._data.examples import Data
from fastvae._data.sources.source import Source, read
from fastvae._data.sources.stacked import stacked
from fastvae._data.streams import chunks
from fastvae._data.streams.ahead import ReadAhead
from fastvae._data.streams.stream import Part, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples


class Rows(NamedTuple):
    """Rows in memory, and their numbers in the source."""

    X: Examples
    numbers: NDArray[np.int64]


class Blocks(Stream):
    """Rows of a source.

    Parameters
    ----------
    source : Source
    convert : callable
        Takes rows as the source returns them and what messages call them; returns them as the engine reads them, checked.
    y : ndarray, [n_rows, ...] or None
        The conditions, as given.
    read_y : callable
        Takes rows of y; returns them as the engine reads them.
    weights : ndarray, [n_rows], or None
        Weights in the loss. Rows with a weight of 0 are left out.
    block_bytes : int
        Bytes of a block, which has at least one chunk.
    name : str
        The argument's name.
    """

    def __init__(
        self,
        source: Source,
        convert: Callable[[Any, str], Examples],
        y: NDArray[Any] | None,
        read_y: Callable[[NDArray[Any]], NDArray[Any]],
        weights: NDArray[np.float32] | None,
        block_bytes: int,
        name: str,
    ) -> None:
        self.name, self.shape = source.name, (source.n_rows, source.n_features)
        self._source, self._convert, self._y, self._read_y = source, convert, y, read_y
        self._weights, self._argument = weights, name
        self._edges = chunks.edges(source, block_bytes)
        self._block_rows = max(int(block_bytes / max(source.row_bytes, 1.0)), 1)
        self._most_steps: int | None = None
        self.choose(np.arange(len(self._edges) - 1))

    @property
    def n_chunks(self) -> int:
        """Number of chunks of the source."""
        return len(self._edges) - 1

    def choose(self, chosen: NDArray[np.int64], most_steps: int | None = None) -> None:
        """Train on some chunks only, and at most `most_steps` batches in an epoch."""
        self._chunks, self._most_steps = chosen, most_steps
        self._sizes = np.diff(self._edges)
        self._in_use = int(self._sizes[chosen].sum())
        self.mean_weight = None
        if self._weights is None:
            return
        spans = [slice(self._edges[chunk], self._edges[chunk + 1]) for chunk in chosen]
        self._in_use = sum(int(np.count_nonzero(self._weights[span])) for span in spans)
        if self._in_use == 0:
            raise ValueError(
                f"all examples of {self._argument} to train on have sample_weight 0: give some of them a weight"
            )
        total = sum(float(self._weights[span].sum(dtype=np.float64)) for span in spans)
        self.mean_weight = total / self._in_use

    def limited(self, chosen: NDArray[np.int64]) -> Blocks:
        """Return the rows of some chunks, to be scored."""
        part = Blocks.__new__(Blocks)
        vars(part).update(vars(self))
        part.choose(chosen)
        return part

    def steps(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""
        steps = -(-self._in_use // batch_size)
        return steps if self._most_steps is None else min(steps, self._most_steps)

    def examples(self, batch_size: int) -> int:
        """Return the number of examples of an epoch."""
        return min(self._in_use, self.steps(batch_size) * batch_size)

    def pieces(self, seed: int, epoch: int, batch_size: int, *, shuffle: bool) -> ReadAhead[Part]:
        """Return the blocks of an epoch."""
        return ReadAhead(self._pieces((seed, epoch) if shuffle else None, batch_size))

    def whole(self) -> ReadAhead[Data]:
        """Return all rows, in blocks."""
        return ReadAhead(piece.data for piece in self._pieces(None, 1))

    def raw(self, chosen: NDArray[np.int64]) -> list[Any]:
        """Return the rows of some chunks as the source returns them."""
        return [read(self._source, *self._span(chunk)) for chunk in chosen.tolist()]

    def gathered(self, chosen: NDArray[np.int64]) -> Data:
        """Return the rows of some chunks in use."""
        rows = self._assembled(chosen, None)
        kept = np.arange(len(rows.numbers)) if self._weights is None else np.flatnonzero(self._weights[rows.numbers])
        return self._data(rows if len(kept) == len(rows.numbers) else _take(rows, kept))

    # The reader's thread

    def _pieces(self, order: tuple[int, int] | None, batch_size: int) -> Iterator[Part]:
        left, rest = self.steps(batch_size), None
        blocks = list(chunks.blocks(self._sizes, self._chunks, self._block_rows, order))
        for number, block in enumerate(blocks):
            rows = self._assembled(block, rest)
            n, final = len(rows.numbers), number == len(blocks) - 1
            places = np.arange(n) if order is None else _core.permutation(*order, number, n).astype(np.int64)
            if self._weights is not None:
                places = places[self._weights[rows.numbers[places]] > 0]
            count = len(places) if final else len(places) // batch_size * batch_size
            count = min(count, left * batch_size)
            left -= -(-count // batch_size)
            rest = _take(rows, places[count:]) if left and count < len(places) else None
            if count:
                data, used = self._data(rows), places[:count]
                numbers = rows.numbers[used].astype(np.uint64)
                del rows
                yield Part(data, used.astype(np.uint64), batch_size, numbers=numbers)
                del data
            if not left:
                return

    def _span(self, chunk: int) -> tuple[int, int]:
        return int(self._edges[chunk]), int(self._edges[chunk + 1])

    def _assembled(self, block: NDArray[np.int64], rest: Rows | None) -> Rows:
        """Return the rows of chunks below those that the block before has left."""
        spans = [self._span(chunk) for chunk in block.tolist()]
        numbers = np.concatenate(
            [np.empty(0, np.int64) if rest is None else rest.numbers, *(np.arange(*span) for span in spans)]
        )
        pieces = [] if rest is None else [rest.X]
        whole: NDArray[Any] | None = None
        first = 0 if rest is None else len(rest.numbers)
        for start, stop in spans:
            piece = self._convert(read(self._source, start, stop), f"{self._argument}[{start}:{stop}]")
            if isinstance(piece, _core.SparseMatrix):
                pieces.append(piece)
                continue
            if whole is None:
                whole = np.empty((len(numbers), piece.shape[1]), piece.dtype)
                if rest is not None:
                    whole[:first] = rest.X
            whole[first : first + stop - start] = piece
            first += stop - start
        if whole is not None:
            return Rows(whole, numbers)
        return Rows(pieces[0] if len(pieces) == 1 else sparse.matrix(stacked(pieces), self._argument), numbers)

    def _data(self, rows: Rows) -> Data:
        y = None if self._y is None else self._read_y(self._y[rows.numbers])
        weights = None if self._weights is None else np.ascontiguousarray(self._weights[rows.numbers])
        return Data(rows.X, y, weights)


def _take(rows: Rows, places: NDArray[np.int64]) -> Rows:
    """Return a copy of some rows."""
    X = rows.X
    found = sparse.take(X, places) if isinstance(X, _core.SparseMatrix) else X[places]
    return Rows(found, rows.numbers[places])
