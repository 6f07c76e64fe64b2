"""Objects with ``shape``, ``dtype`` and slices of rows: of h5py, zarr, dask, backed AnnData, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import sparse
from fastvae._data.sources.source import Source, regular_edges
from fastvae._data.sources.stacked import copied

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_sliced(X: Any) -> bool:
    """Whether `X` is an array outside of this process's memory: with shape, dtype and slices, but without a buffer."""
    if isinstance(X, (np.ndarray, np.generic, type, list, tuple)) or sparse.is_sparse(X):
        return False
    if hasattr(X, "__dlpack__") or hasattr(X, "__array_interface__"):  # torch, jax: in memory
        return False
    shape = getattr(X, "shape", None)
    if not isinstance(shape, tuple) or len(shape) < 2 or not all(isinstance(n, (int, np.integer)) for n in shape):
        return False
    return hasattr(X, "__getitem__") and _dtype(X) is not None


class Sliced(Source):
    """An object with ``shape``, ``dtype`` and slices of rows.

    Parameters
    ----------
    X : object
        For which `is_sliced` holds.
    """

    def __init__(self, X: Any) -> None:
        self._X = X
        self.name = _name(X)
        self.shape = tuple(map(int, X.shape))
        dtype = _dtype(X)
        assert dtype is not None, "is_sliced holds"
        self.dtype = dtype
        self.edges = _edges(X, self.shape[0])

    def read(self, start: int, stop: int) -> Any:
        """Return rows: an array, or a sparse matrix if slices are."""
        rows = self._X[start:stop]
        if hasattr(rows, "compute"):  # dask: one scheduler for the slice
            rows = rows.compute()
        if isinstance(rows, np.ma.MaskedArray) and np.ma.is_masked(rows):  # of netCDF4
            raise ValueError(
                'the rows have masked values: return rows.filled(...); a model with missing="mask" takes numpy.nan'
            )
        # A copy: the object may return the same memory again, with other rows.
        return copied(rows if sparse.is_sparse(rows) else np.asarray(rows))


def _dtype(X: Any) -> np.dtype[Any] | None:
    try:
        found: np.dtype[Any] = np.dtype(X.dtype)
    except (AttributeError, TypeError):
        return None
    return found


def _edges(X: Any, n_rows: int) -> NDArray[np.int64] | None:
    """Return the edges of the chunks along the rows; those of dask's arrays may differ in size."""
    chunks = getattr(X, "shards", None) or getattr(X, "chunks", None)
    if not isinstance(chunks, tuple) or not chunks:
        return None
    if isinstance(chunks[0], tuple):
        edges = np.concatenate([[0], np.cumsum(chunks[0])])
        return edges.astype(np.int64) if len(edges) > 1 and edges[-1] == n_rows else None
    return regular_edges(n_rows, int(chunks[0])) if isinstance(chunks[0], (int, np.integer)) else None


def _name(X: Any) -> str:
    """Return what messages call it: its type, and file and name if it has them."""
    kind = f"{type(X).__module__.split('.')[0]}.{type(X).__qualname__}"
    file = getattr(getattr(X, "file", None), "filename", None)  # h5py
    name = getattr(X, "name", None)
    shown = [repr(part) for part in (name, file) if isinstance(part, str) and part]
    return f"the {kind} {' in '.join(shown)}".rstrip()
