"""What an adapter offers: a table, or images, whose rows are read in ranges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Source(ABC):
    """Rows that are read in ranges.

    Attributes
    ----------
    name : str
        What an error message calls it, for example ``the file 'a.npy'``.
    shape : tuple of int
        Of all rows, [n_rows, ...]: a table has two axes, images have three or four.
    dtype : dtype
        The type of the values.
    columns : list of str or None
        The names of the columns.
    edges : ndarray of int64 or None
        First rows of the units that are decoded as a whole (chunks of HDF5, row groups, shards), and the number of rows
        at the end; None if any range can be read at its own cost.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: list[str] | None = None
    edges: NDArray[np.int64] | None = None
    sparse: ClassVar[bool] = False  # whether `read` returns CSR matrices

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def n_features(self) -> int:
        """Number of values of a row."""
        return prod(self.shape[1:])

    @property
    def row_bytes(self) -> float:
        """Bytes of a row in memory, of a sparse matrix on average."""
        return float(self.n_features * self.dtype.itemsize)

    @abstractmethod
    def read(self, start: int, stop: int) -> Any:
        """Return rows start .. stop: an array [stop - start, ...], or an object with the arrays of CSR.

        The caller must not change it: it may be the user's own memory. It stays as it is when other rows are read.
        """


class SourceError(RuntimeError):
    """Data could not be read. The message names the source; the cause is the exception that it raised."""


def read(source: Source, start: int, stop: int) -> Any:
    """Return rows of a source, or raise SourceError with its name."""
    try:
        found = source.read(start, stop)
    except Exception as error:
        raise SourceError(
            f"rows {start} to {stop} of {source.name} could not be read: {type(error).__name__}: {error}"
        ) from error
    if found.shape != (stop - start, *source.shape[1:]):
        raise SourceError(
            f"{source.name} has shape {source.shape}, but rows {start} to {stop} of it have shape {found.shape}: "
            "return the rows of the slice"
        )
    if not isinstance(found, np.ndarray) or found.dtype == source.dtype or found.dtype.kind not in "fiub":
        return found
    if not _keeps_values(found.dtype, source.dtype):
        raise SourceError(
            f"{source.name} has dtype {source.dtype}, but rows {start} to {stop} of it have dtype {found.dtype}: give "
            "it the dtype of its rows"
        )
    return found.astype(source.dtype)


def _keeps_values(rows: np.dtype[Any], source: np.dtype[Any]) -> bool:
    """Whether rows of one type may become those of another; floats may be rounded."""
    if np.can_cast(rows, source) or source.kind == "O":
        return True
    return source.kind == "f" and source.itemsize >= 4


def regular_edges(n_rows: int, unit: int) -> NDArray[np.int64]:
    """Return the edges of units of `unit` rows, the last of which may be smaller."""
    return np.append(np.arange(0, n_rows, max(unit, 1), dtype=np.int64), n_rows)
