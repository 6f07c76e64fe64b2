"""Several sources, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data.sources.source import Source, read
from fastvae._data.sources.stacked import stacked

if TYPE_CHECKING:
    from collections.abc import Sequence


class Joined(Source):
    """The rows of several sources, which have the same columns.

    Parameters
    ----------
    parts : sequence of Source
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        first = parts[0]
        for part in parts[1:]:
            if part.sparse != first.sparse:
                dense, other = (part, first) if first.sparse else (first, part)
                raise ValueError(
                    f"{dense.name} is dense, and {other.name} is sparse: files of one list must be of one kind"
                )
            if part.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"{part.name} has rows of shape {part.shape[1:]}, and {first.name} of {first.shape[1:]}: files of "
                    "one list must have the same columns"
                )
            if part.columns != first.columns:
                raise ValueError(
                    f"{part.name} has other names of columns, or another order, than {first.name}: select the same"
                )
        self._parts, self.columns = parts, first.columns
        self._ends = np.cumsum([part.n_rows for part in parts])
        self.name = first.name if len(parts) == 1 else f"{len(parts)} files, the first of which is {first.name}"
        self.shape = (int(self._ends[-1]), *first.shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.sparse = first.sparse  # type: ignore[misc]
        starts = self._ends - [part.n_rows for part in parts]
        whole = [np.array([0, part.n_rows]) if part.edges is None else part.edges for part in parts]
        if any(part.edges is not None for part in parts):
            edges = [edges[:-1] + start for edges, start in zip(whole, starts, strict=True)]
            self.edges = np.append(np.concatenate(edges), self._ends[-1]).astype(np.int64)

    @property
    def row_bytes(self) -> float:
        """Bytes of a row in memory, on average."""
        if not self.sparse:
            return super().row_bytes
        return sum(part.row_bytes * part.n_rows for part in self._parts) / max(self.n_rows, 1)

    def read(self, start: int, stop: int) -> Any:
        """Return rows, of one file or of several."""
        pieces = []
        first = int(np.searchsorted(self._ends, start, side="right"))
        for part, end in zip(self._parts[first:], self._ends[first:], strict=True):
            if start >= stop:
                break
            begin = int(end) - part.n_rows
            pieces.append(read(part, start - begin, min(stop, int(end)) - begin))
            start = int(end)
        if not self.sparse:  # so that values mean the same in each block
            pieces = [piece.astype(self.dtype, copy=False) for piece in pieces]
        return pieces[0] if len(pieces) == 1 else stacked(pieces)
