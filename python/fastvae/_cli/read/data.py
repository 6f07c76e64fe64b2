"""Data as the commands use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli.errors import UsageError
from fastvae._data.names import Named


@dataclass
class Table:
    """A table: names of columns, or None without a header, and columns of numbers or of objects (str, None)."""

    names: list[str] | None
    columns: list[NDArray[Any]]
    lines: NDArray[np.int64] | None = None  # of each row in its file, for messages
    read_cells: Callable[[Iterable[int]], dict[int, list[str]]] | None = None  # of columns, as the file has them
    cells: list[NDArray[np.object_]] | None = None  # of all columns, as the file has them
    gone: frozenset[str] = frozenset()  # cells that are missing values
    frame: Any = None  # the Arrow table, or polars' frame, of a Parquet file

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def index(self, name: str, option: str) -> int:
        """Return the place of a column, given by name or index, or raise UsageError."""
        if self.names is not None and name in self.names:
            return self.names.index(name)
        try:
            place = int(name)
        except ValueError:
            place = len(self.columns)
        if not -len(self.columns) <= place < len(self.columns):
            shown = f"the {len(self.columns)} columns 0 to {len(self.columns) - 1}"
            if self.names is not None:
                shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            raise UsageError(f"{option} {name}: there is no such column; the table has {shown}")
        return place % len(self.columns)

    def title(self, place: int) -> str:
        """Return how messages name a column."""
        return f"column {place}" if self.names is None else f"column {self.names[place]!r}"

    def texts(self, place: int) -> list[str]:
        """Return the cells of a column: "007" stays "007"."""
        if self.read_cells is not None:
            return self.read_cells([place])[place]
        return ["" if value is None else str(value) for value in self.columns[place]]

    def keep_cells(self) -> None:
        """Keep the cells of a text file beside the numbers."""
        if self.read_cells is not None:
            found = self.read_cells(range(len(self.columns)))
            self.cells = [np.array(found[j], object) for j in range(len(self.columns))]

    def take(self, rows: Any) -> Table:
        """Return a selection of rows."""
        lines = None if self.lines is None else self.lines[rows]
        cells = None if self.cells is None else [column[rows] for column in self.cells]
        columns = [column[rows] for column in self.columns]
        frame = None
        if self.frame is not None:
            chosen = np.arange(len(self))[rows]
            frame = self.frame.take(chosen) if hasattr(self.frame, "take") else self.frame[chosen]
        return Table(self.names, columns, lines, cells=cells, gone=self.gone, frame=frame)


@dataclass
class Data:
    """Examples, and what their file says about them."""

    X: Any  # an array, a CSR matrix, either with names, or None before a table's columns are chosen
    title: str
    y: NDArray[Any] | None = None
    label: str | None = None  # name of y in a table of results
    embeddings: NDArray[Any] | None = None
    ids: list[str] | None = None
    id_name: str = "id"
    names: list[str] | None = None  # of the columns of X
    table: Table | None = None  # the whole table of which X is a part
    places: list[int] = field(default_factory=list)  # of the columns of X in the table
    images: tuple[int, ...] | None = None  # (height, width) or (height, width, channels) of each example
    tokenizer: Any = None  # of texts
    mixed: bool = False  # whether X is a table of mixed columns

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def describe(self) -> str:
        """Return title, sizes and type."""
        if self.mixed:
            columns = len(self.places) or self.X.shape[1]
            return f"{self.title}: {len(self)} x {columns}, mixed columns"
        values = getattr(self.X, "X", self.X)
        values = getattr(values, "values", values)
        dtype = values.dtype if hasattr(values, "dtype") else values.data.dtype
        kind = "sparse " if hasattr(values, "indptr") else ""
        return f"{self.title}: {' x '.join(map(str, self.X.shape))}, {kind}{dtype}"


class Annotated:
    """A sparse matrix whose columns have names."""

    def __init__(self, X: Any, names: list[str]) -> None:
        self.X, self.var_names, self.shape = X, names, tuple(map(int, X.shape))


class Csr:
    """A sparse matrix in compressed rows."""

    format = "csr"

    def __init__(self, data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], shape: Any) -> None:
        self.data, self.indices, self.indptr, self.shape = data, indices, indptr, tuple(map(int, shape))

    def __getitem__(self, rows: slice | NDArray[Any]) -> Csr:
        chosen = np.arange(self.shape[0])[rows]
        lengths = np.diff(self.indptr)[chosen]
        starts = np.repeat(self.indptr[chosen], lengths)
        ends = lengths.cumsum()
        places = starts + np.arange(len(starts)) - np.repeat(ends - lengths, lengths)
        indptr = np.concatenate([[0], ends]).astype(self.indptr.dtype)
        return Csr(self.data[places], self.indices[places], indptr, (len(chosen), self.shape[1]))

    def toarray(self) -> NDArray[Any]:
        """Return the matrix as a dense array."""
        found = np.zeros(self.shape, self.data.dtype)
        np.add.at(found, (np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), self.indices), self.data)
        return found


def named(X: Any, names: list[str] | None) -> Any:
    """Return X with the names of its columns."""
    if names is None:
        return X
    if isinstance(X, np.ndarray):
        columns = np.empty(len(names), object)
        columns[:] = names
        return Named(X, columns)
    return Annotated(X, names)


def bare(X: Any) -> Any:
    """Return X without names."""
    if isinstance(X, Annotated):
        return X.X
    return X.values if isinstance(X, Named) else X
