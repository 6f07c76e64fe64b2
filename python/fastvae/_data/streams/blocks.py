"""Rows of a source that are trained in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core
from fastvae._data import sparse
from fastvae._data.examples import Data
from fastvae._data.sources import opening
from fastvae._data.sources.source import Source, SourceError, read
from fastvae._data.sources.stacked import stacked
from fastvae._data.streams import chunks
from fastvae._data.streams.ahead import ReadAhead
from fastvae._data.streams.stream import Part, Reader, Stream

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
    y : ndarray, [n_rows, ...] or None
        The conditions, as given.
    weights : ndarray, [n_rows], or None
        Weights in the loss. Rows with a weight of 0 are left out.
    block_bytes : int
        Bytes of a block, which has at least one chunk.
    name : str
        What messages call the argument.

    Attributes
    ----------
    most_steps : int or None
        The most batches of an epoch.
    """

    most_steps: int | None = None

    def __init__(
        self,
        source: Source,
        y: NDArray[Any] | None,
        weights: NDArray[np.float32] | None,
        block_bytes: int,
        name: str,
    ) -> None:
        if source.n_rows < 1:
            raise sparse.empty_error(name, source.shape)
        self.name, self.shape = source.name, (source.n_rows, source.n_features)
        self._source, self._y, self._weights, self._argument = source, y, weights, name
        self._edges = chunks.edges(source, block_bytes)
        self._sizes = np.diff(self._edges)
        self._block_rows = max(int(block_bytes / max(source.row_bytes, 1.0)), 1)
        self.choose(np.arange(self.n_chunks))

    @property
    def n_chunks(self) -> int:
        """Number of chunks of the source."""
        return len(self._edges) - 1

    def choose(self, chosen: NDArray[np.int64]) -> None:
        """Take the rows of some chunks only."""
        self._chunks, self._in_use = chosen, int(self._sizes[chosen].sum())
        self._mean_weight: float | None = None
        if self._weights is None:
            return
        parts = [self._weights[slice(*self._span(chunk))] for chunk in chosen.tolist()]
        self._in_use = sum(map(np.count_nonzero, parts))
        if self._in_use == 0:
            raise ValueError(f"all examples of {self._argument} have sample_weight 0: give some of them a weight")
        self._mean_weight = sum(float(part.sum(dtype=np.float64)) for part in parts) / self._in_use

    def limited(self, chosen: NDArray[np.int64]) -> Blocks:
        """Return the rows of some chunks, to be scored."""
        part = Blocks.__new__(Blocks)
        vars(part).update(vars(self))
        part.choose(chosen)
        return part

    def steps(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""
        steps = -(-self._in_use // batch_size)
        return steps if self.most_steps is None else min(steps, self.most_steps)

    def examples(self, batch_size: int) -> int:
        """Return the number of examples of an epoch."""
        return min(self._in_use, self.steps(batch_size) * batch_size)

    def pieces(self, seed: int, epoch: int, batch_size: int, *, shuffle: bool) -> ReadAhead[Part]:
        """Return the blocks of an epoch."""
        return ReadAhead(self._pieces((seed, epoch) if shuffle else None, batch_size))

    def whole(self) -> ReadAhead[Data]:
        """Return all rows, in blocks."""
        return ReadAhead(piece.data for piece in self._pieces(None, 1))

    def first(self) -> tuple[Any, Any]:
        """Return the rows of chunks that are spread over all rows, as they were given."""
        found = chunks.spread(self._sizes, self._chunks, self._block_rows)
        rows = stacked([read(self._source, *self._span(chunk)) for chunk in found.tolist()])
        return opening.named(rows, self._source), None if self._y is None else self._y[self._numbers(found)]

    def labels(self, first: Any) -> Any:
        """Return all y."""
        return self._y

    def read_with(self, reader: Reader, n_features: int) -> None:
        """Set how rows are read."""
        self._reader, self.shape = reader, (self.shape[0], n_features)

    def gathered(self) -> Data:
        """Return the rows of chunks that are spread over those that are trained."""
        rows = self._assembled(chunks.spread(self._sizes, self._chunks, self._block_rows), None)
        if self._weights is not None and not self._weights[rows.numbers].all():
            rows = _take(rows, np.flatnonzero(self._weights[rows.numbers]))
        return self._data(rows)

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
            steps = -(-count // batch_size)
            left -= steps
            rest = _take(rows, places[count:]) if left and count < len(places) else None
            if count:
                data, used = self._data(rows), places[:count].astype(np.uint64)
                numbers = rows.numbers[used].astype(np.uint64)
                del rows
                yield Part(data, used, batch_size, steps, numbers=numbers, mean_weight=self._mean_weight)
                del data
            if not left:
                return

    def _span(self, chunk: int) -> tuple[int, int]:
        return int(self._edges[chunk]), int(self._edges[chunk + 1])

    def _numbers(self, block: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([np.arange(*self._span(chunk)) for chunk in block.tolist()])

    def _assembled(self, block: NDArray[np.int64], rest: Rows | None) -> Rows:
        """Return the rows of chunks below those that the block before has left."""
        spans = [self._span(chunk) for chunk in block.tolist()]
        numbers = self._numbers(block)
        numbers = numbers if rest is None else np.concatenate([rest.numbers, numbers])
        pieces = [] if rest is None else [rest.X]
        whole: NDArray[Any] | None = None
        first = 0 if rest is None else len(rest.numbers)
        for start, stop in spans:
            piece = self._reader.examples(read(self._source, start, stop), f"{self._argument}[{start}:{stop}]")
            if isinstance(piece, _core.SparseMatrix):
                if whole is not None or (rest is not None and not isinstance(rest.X, _core.SparseMatrix)):
                    raise self._mixed(start, stop)
                pieces.append(piece)
                continue
            if len(pieces) > (rest is not None) or (rest is not None and isinstance(rest.X, _core.SparseMatrix)):
                raise self._mixed(start, stop)
            if whole is None:
                whole = np.empty((len(numbers), piece.shape[1]), piece.dtype)
                if rest is not None:
                    whole[:first] = rest.X
            whole[first : first + stop - start] = piece
            first += stop - start
        if whole is not None:
            return Rows(whole, numbers)
        return Rows(pieces[0] if len(pieces) == 1 else sparse.matrix(stacked(pieces), self._argument), numbers)

    def _mixed(self, start: int, stop: int) -> SourceError:
        return SourceError(
            f"rows {start} to {stop} of {self.name} are dense, and those before sparse, or the other way: return rows "
            "of one kind"
        )

    def _data(self, rows: Rows) -> Data:
        y = None if self._y is None else self._reader.conditions(self._y[rows.numbers])
        weights = None if self._weights is None else np.ascontiguousarray(self._weights[rows.numbers])
        return Data(rows.X, y, weights)


def _take(rows: Rows, places: NDArray[np.int64]) -> Rows:
    """Return a copy of some rows."""
    X = rows.X
    found = sparse.take(X, places) if isinstance(X, _core.SparseMatrix) else X[places]
    return Rows(found, rows.numbers[places])
