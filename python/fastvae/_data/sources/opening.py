"""The choice of the adapter."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._data import names
from fastvae._data.sources.files import is_files, of_files
from fastvae._data.sources.memory_map import MemoryMap
from fastvae._data.sources.parquet import Parquet, is_parquet
from fastvae._data.sources.sliced import Sliced, is_sliced
from fastvae._data.sources.source import Source, read

# Bytes of a block of rows. Smaller data are read at once, and are then like any array.
BLOCK_BYTES = 2**26


def open_source(X: Any, name: str = "X") -> Source | None:
    """Return the adapter of data that are read in ranges of rows; None if X is in memory, as arrays and frames are.

    Raises ValueError, TypeError, ImportError or OSError for a list of files that cannot be read; `name` is that of X.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, np.memmap):
        path = getattr(X, "filename", None)
        return MemoryMap(X, "the memory map" if path is None else f"the memory map of {str(path)!r}")
    if is_files(X):
        return of_files(X, name)
    if is_parquet(X):
        return Parquet(X)
    inner = names.of_annotated(X)
    if not is_sliced(inner):
        return None
    source = Sliced(inner)
    source.columns = None if inner is X else names.columns(X)
    return source


def is_large(source: Source) -> bool:
    """Whether the rows fill more than one block."""
    return source.n_rows * source.row_bytes > BLOCK_BYTES


def whole(source: Source) -> Any:
    """Return all rows, with the names of the columns."""
    return named(read(source, 0, source.n_rows), source)


def named(rows: Any, source: Source) -> Any:
    """Return rows of a source with the names of its columns, if it has names."""
    if source.columns is None or not isinstance(rows, np.ndarray) or rows.ndim != 2:
        return rows
    columns = np.empty(len(source.columns), object)
    columns[:] = source.columns
    return names.Named(rows, columns)
