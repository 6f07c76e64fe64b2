"""Validation of sparse matrices of any library, recognised by their attributes: scipy is not a dependency."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_CSR_ATTRIBUTES = ("indptr", "indices", "data", "shape")


def is_sparse(X: Any) -> bool:
    """Whether `X` is a sparse matrix: of this library, of scipy, or any object with the arrays of CSR."""
    if isinstance(X, (np.ndarray, type)):
        return False
    return hasattr(X, "tocsr") or all(hasattr(X, name) for name in _CSR_ATTRIBUTES)


def _is_csr(X: Any) -> bool:
    return getattr(X, "format", "csr") == "csr" and all(hasattr(X, name) for name in _CSR_ATTRIBUTES)


class Parts(NamedTuple):
    """The arrays of a CSR matrix with values of any real type."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[Any]
    shape: tuple[int, int]

    def floats(self, name: str) -> NDArray[np.float32]:
        """Return the values as float32, or raise ValueError if one is finite and beyond the range of float32."""
        try:
            with np.errstate(over="raise"):
                return self.data.astype(np.float32, copy=False)
        except FloatingPointError:
            large = int(np.argmax(np.isfinite(self.data) & (np.abs(self.data) > np.finfo(np.float32).max)))
            row = int(np.searchsorted(self.indptr, large, side="right")) - 1
            raise ValueError(
                f"{name}[{row}, {self.indices[large]}] is {self.data[large]:g}, beyond the range of float32; {name} "
                "must be finite: scale the data"
            ) from None

    def matrix(self, data: NDArray[np.float32], name: str) -> _core.SparseMatrix:
        """Return the engine's matrix with the values `data`."""
        values = np.require(data, np.float32, ["C", "A"])
        found = _core.SparseMatrix(self.indptr, self.indices, values, self.shape, name)
        return found if found.canonical else _canonical(found, name)


def matrix(X: Any, name: str) -> _core.SparseMatrix:
    """Return `X` as a sparse matrix of the engine; CSR with sorted int32 indices and float32 data is not copied.

    Values are not scaled. Raises errors as :func:`parts`.
    """
    if isinstance(X, _core.SparseMatrix):
        return X
    found = parts(X, name)
    return found.matrix(found.floats(name), name)


def parts(X: Any, name: str) -> Parts:
    """Return the arrays of a sparse matrix as CSR.

    Raises
    ------
    TypeError
        If `X` cannot be converted to CSR, or does not hold numbers.
    ValueError
        If the arrays of `X` are not a valid matrix, or its numbers are complex.
    """
    if not _is_csr(X):
        X = X.tocsr() if hasattr(X, "tocsr") else None
        if not _is_csr(X):
            raise TypeError(f"{name} is not a CSR matrix: convert it, for example with scipy.sparse.csr_matrix({name})")
    rows, cols = _shape(X.shape, name)
    indptr = _integers(X.indptr, f"{name}.indptr", np.int64, np.iinfo(np.int64).max)
    stored = slice(int(indptr[-1]) if len(indptr) and indptr[-1] >= 0 else None)  # CSR arrays may be longer
    indices = _integers(_vector(X.indices, f"{name}.indices")[stored], f"{name}.indices", np.int32, cols - 1)
    data = _vector(X.data, f"{name}.data")[stored]
    if data.dtype.kind not in "fiub":
        if data.dtype.kind == "c":
            raise complex_error(name)
        kinds = {"O": "objects", "U": "strings", "S": "byte strings"}
        kind = kinds.get(data.dtype.kind, f"type {data.dtype}")
        raise TypeError(f"{name} holds {kind}; expected real numbers, for example float32")
    return Parts(indptr, indices, data, (rows, cols))


def complex_error(name: str) -> ValueError:
    """Return the error for complex numbers, with scikit-learn's words and type."""
    return ValueError(
        f"{name} holds complex numbers; expected real numbers, for example float32. Complex data not supported: pass "
        f"{name}.real, or abs({name})"
    )


def empty_error(name: str, shape: tuple[int, ...]) -> ValueError:
    """Return the error for a table without rows or columns, with scikit-learn's words."""
    what = "examples" if shape[0] == 0 else "feature(s)"
    return ValueError(f"{name} is empty: it has 0 {what} (shape={shape}) while a minimum of 1 is required.")


def _shape(shape: Any, name: str) -> tuple[int, int]:
    try:
        sizes = tuple(map(operator.index, shape))
    except TypeError as error:
        raise ValueError(f"{name} has shape {shape!r}; expected a pair of integers") from error
    if len(sizes) != 2:
        raise ValueError(f"{name} has {len(sizes)} dimensions, {sizes}; expected a 2-D sparse matrix")
    if min(sizes) < 0 or sizes[1] > _core.MAX_WIDTH:
        raise ValueError(f"{name} has shape {sizes}; a model has at most {_core.MAX_WIDTH} features")
    if 0 in sizes:
        raise empty_error(name, sizes)
    return sizes[0], sizes[1]


def _vector(value: Any, name: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected a vector")
    return array


def _integers(value: Any, name: str, dtype: type[np.integer[Any]], most: int) -> NDArray[Any]:
    """Return indices as `dtype`; the range is checked first, so none wraps around."""
    array = _vector(value, name)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} holds {array.dtype}; expected integers")
    if array.size and array.dtype != dtype and not (array.min() >= 0 and int(array.max()) <= most):
        raise ValueError(f"{name} holds values outside 0 .. {most}: {array.min()} .. {array.max()}")
    return np.require(array, dtype, ["C", "A"])


def _canonical(X: _core.SparseMatrix, name: str) -> _core.SparseMatrix:
    """Return a copy with ascending columns in every row and duplicate entries added up."""
    rows, cols = X.shape
    ((_, row, col, value),) = blocks(X, rows)
    order = np.lexsort((col, row))
    row, col = row[order], col[order]
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (col[1:] != col[:-1])
    first = np.flatnonzero(new)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(value[order], first, dtype=np.float64).astype(np.float32)
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(row[first], minlength=rows), out=indptr[1:])
    return _core.SparseMatrix(indptr, np.ascontiguousarray(col[first]), sums, (rows, cols), name)


def blocks(
    X: _core.SparseMatrix, size: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]]:
    """Yield blocks of `size` rows: number of the first row, then row (from the first), column and value of each entry.

    Rows and columns are clipped copies: they stay in bounds even if the user has changed the arrays since validation.
    """
    rows, cols = X.shape
    for first in range(0, rows, size):
        ends = np.maximum.accumulate(np.clip(X.indptr[first : first + size + 1], 0, len(X.indices)))
        stored = slice(ends[0], ends[-1])
        row = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        yield first, row, np.clip(X.indices[stored], 0, cols - 1), X.data[stored]


def take(X: _core.SparseMatrix, rows: NDArray[np.int64]) -> _core.SparseMatrix:
    """Return a copy of some rows."""
    sizes = np.diff(X.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    stored = np.arange(indptr[-1]) + np.repeat(X.indptr[rows] - indptr[:-1], sizes)
    return _core.SparseMatrix(indptr, X.indices[stored], X.data[stored], (len(rows), X.shape[1]), "X")


def place(X: _core.SparseMatrix, n: int) -> tuple[int, int]:
    """Return row and column of entry `n`."""
    return int(np.searchsorted(X.indptr, n, side="right")) - 1, int(X.indices[n])
