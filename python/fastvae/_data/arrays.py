"""Validation of dense arrays, which the engine reads in place."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._data import cells, names, sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The types that the engine reads in place.
IN_PLACE = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))

# The largest magnitude of a value that the engine takes.
LARGEST = _core.LARGEST


def matrix(X: Any, name: str, cols: int | None = None, owner: str = "") -> NDArray[Any]:
    """Return `X` as a 2-D array of native float32, float64 or uint8; copies only to convert other types.

    `cols` is the required number of columns and `owner` the name of the class that requires it.

    Raises
    ------
    TypeError
        If `X` is not an array of real numbers.
    ValueError
        If the shape is wrong.
    """
    array = numeric(X, name)
    check_table(array, name, cols, owner)
    return array if array.dtype in IN_PLACE else float32(array, name)


def check_table(array: NDArray[Any], name: str, cols: int | None, owner: str) -> None:
    """Raise ValueError unless `array` is a table with at least one row and `cols` columns (None: any number)."""
    shape = array.shape
    if array.ndim == 0:
        raise ValueError(f"{name} is a scalar; expected a 2-D array, [n_examples, n_features]")
    if array.ndim == 1:
        raise ValueError(
            f"{name} is 1-D, of shape {shape}; expected a 2-D array, [n_examples, n_features]. Reshape your data: one "
            f"example with {name}.reshape(1, -1), one feature with {name}.reshape(-1, 1)"
        )
    if array.ndim > 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions, {shape}; expected a 2-D array. Flatten images with "
            f"{name}.reshape(len({name}), -1), or pass image_shape to VAE or Autoencoder"
        )
    if 0 in shape:
        raise sparse.empty_error(name, shape)
    check_cols(shape[1], name, cols, owner)


def check_cols(found: int, name: str, cols: int | None, owner: str) -> None:
    """Raise ValueError unless `found` equals `cols`, the number of features that the class `owner` expects."""
    if cols is not None and found != cols:
        raise ValueError(f"{name} has {found} features, but {owner} is expecting {cols} features as input")


def row(value: Any, name: str) -> NDArray[Any]:
    """Return an example or a code, [d] or [1, d], as a matrix [1, d] of any real type."""
    array = numeric(value, name)
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2 or len(array) != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected a single row, [d] or [1, d]")
    check_table(array, name, None, "")
    return array


def floats(X: Any, name: str) -> NDArray[np.float32]:
    """Return `X` as contiguous float32; uint8 is divided by 255."""
    X = matrix(X, name)
    values = np.ascontiguousarray(float32(X, name))
    return values / np.float32(255) if X.dtype == np.uint8 else values


def floats_of_any_shape(X: Any, name: str) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Return `X` [n, ...] as :func:`floats` [n, d], and its shape."""
    array = numeric(X, name)
    rows = array.reshape(len(array), prod(array.shape[1:])) if array.ndim > 2 else array
    return floats(rows, name), array.shape


def lengths(value: Any, n: int) -> NDArray[np.uint32]:
    """Return the lengths of `n` documents, [n], from one integer or one for each, or raise ValueError."""
    array = np.asarray(value)
    most = 2**24  # float32 counts exactly up to here
    good = array.dtype.kind in "iu" and array.shape in ((), (n,)) and (array >= 0).all() and (array <= most).all()
    if not good:
        raise ValueError(f"lengths={value!r} must be an integer, or {n} integers, at least 0 and at most {most}")
    return np.ascontiguousarray(np.broadcast_to(array, n), np.uint32)


def tensor(value: Any, name: str) -> NDArray[np.float32]:
    """Return an array of any shape as finite float32, or raise TypeError or ValueError."""
    array = float32(numeric(value, name), name)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def noise(value: Any, name: str, shape: tuple[int, ...], meaning: str) -> NDArray[np.float32] | None:
    """Return noise given by the caller as float32 of shape `shape`; `meaning` names the axes in the error."""
    if value is None:
        return None
    array = tensor(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}, {meaning}")
    check_magnitude(array, name)
    return array


def check_magnitude(array: NDArray[np.float32], name: str) -> None:
    """Raise ValueError if a value of a matrix is so large that float32 overflows in computations."""
    large = np.argwhere(np.abs(array) > LARGEST)
    if len(large):
        place = tuple(large[0])
        raise ValueError(
            f"{name}{list(map(int, place))} is {array[place]:g}: values above {LARGEST:g} in magnitude are refused, "
            "since products of them overflow in float32: scale the data"
        )


def float32(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return real numbers as float32, or raise ValueError if one is finite and beyond the range of float32."""
    try:
        with np.errstate(over="raise"):
            return array.astype(np.float32, copy=False)
    except FloatingPointError:
        large = np.isfinite(array) & (np.abs(array) > np.finfo(np.float32).max)
        place = tuple(map(int, np.argwhere(large)[0]))
        raise ValueError(
            f"{name}{list(place) if place else ''} is {array[place]:g}, beyond the range of float32; {name} must be "
            "finite: scale the data"
        ) from None


def numeric(X: Any, name: str) -> NDArray[Any]:
    """Return `X` as an array of real numbers of any shape."""
    array, _ = typed(X, name)
    if array.dtype.kind != "f" or array.dtype.itemsize <= 8:
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float64)  # of longdouble; the checks of values follow


def typed(X: Any, name: str) -> tuple[NDArray[Any], np.dtype[Any]]:
    """Return `X` as an array of real numbers of any shape, and the type that its values have without the missing ones.

    Cells of objects are read where they are numbers; None and pandas.NA are NaN. Of AnnData, ``X.X`` is read.
    """
    X = names.of_annotated(X)
    if sparse.is_sparse(X):
        raise TypeError(f"{name} is a sparse matrix, which is not supported here: pass {name}.toarray()")
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError(
            f'{name} has masked values: fill them with {name}.filled(...); a model with missing="mask" takes numpy.nan'
        )
    X = list(X) if isinstance(X, Iterator) else X
    try:
        array = np.asarray(X)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _rephrased(X, name, error) from error
    if array.dtype.kind in "fiub":
        return array, array.dtype
    if array.dtype == object and array.ndim:
        return cells.read(array, X, name)
    if array.dtype.kind == "c":
        raise sparse.complex_error(name)
    kinds = {"O": "objects", "U": "strings", "S": "byte strings"}
    kind = kinds.get(array.dtype.kind, f"type {array.dtype}")
    place = cells.first_bad(X) if array.dtype.kind == "U" else ""
    if isinstance(X, str):
        raise TypeError(
            f"{name} is a string: pass an array or a frame; the contents of a file must be read first (X may also be a "
            "list of paths: .npy, .npz, .parquet)"
        )
    if array.dtype.kind == "O":
        raise TypeError(f"{name} is an object of type {type(X).__name__}: pass an array of real numbers")
    if array.dtype.kind == "M":
        raise TypeError(
            f"{name} holds dates ({array.dtype}): pass numbers, for example days: (dates - dates.min()) / "
            'numpy.timedelta64(1, "D")'
        )
    raise TypeError(f"{name} holds {kind}{place}; {cells.expected(array)}")


def _rephrased(X: Any, name: str, error: Exception) -> Exception:
    if type(X).__module__.split(".")[0] == "torch":
        if getattr(X, "requires_grad", False):
            return TypeError(f"{name} is a torch tensor that requires grad; pass {name}.detach()")
        return TypeError(f"{name} is a torch tensor of {X.dtype} that numpy cannot read; pass {name}.float().cpu()")
    return ValueError(f"{name} is not a rectangular array of numbers: {error}")
