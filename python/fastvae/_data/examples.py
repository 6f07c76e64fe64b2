"""Validation of examples X, dense or sparse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fastvae import _checks, _core
from fastvae._data import arrays, names, scale, sparse
from fastvae._data.scale import UNSCALED, InputScale

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastvae._data.columns import Columns
    from fastvae._data.images import Images

# Examples as the engine reads them: a sparse matrix, or a 2-D array of float32, float64, uint8 (divided by 255 unless
# the likelihood is one of counts) or uint8 viewed as int8 (not divided).
Examples: TypeAlias = "NDArray[Any] | _core.SparseMatrix"


class Data(NamedTuple):
    """X, y for a conditional model, and the weights of the examples in the loss (None: all equal)."""

    X: Examples
    y: NDArray[Any] | None = None
    weights: NDArray[np.float32] | None = None


class Format(NamedTuple):
    """How the training X was given."""

    scale: InputScale
    names: names.Names
    form: tuple[int, ...] | None  # the shape of an example
    columns: Columns | None  # the columns that are the condition
    table: Any = None  # the schema of a table of mixed columns


class Given(NamedTuple):
    """Examples as the user gave them, checked in type and shape."""

    values: NDArray[Any]  # [n, d], or the stored values of a sparse matrix
    dtype: np.dtype[Any]  # the type of the values without the missing ones
    stored: sparse.Parts | _core.SparseMatrix | None  # a sparse matrix
    shape: tuple[int, int]
    form: tuple[int, ...]  # the shape of one example as given

    def scale(self, *, counts: bool, unit: bool) -> InputScale:
        """Return the scale of integers for a model that is trained on these examples."""
        return scale.decide(self.values, self.dtype, counts=counts, unit=unit)

    def read(self, scale: InputScale, name: str, *, counts: bool) -> Examples:
        """Return the examples as the engine reads them; `counts`: the likelihood is one of counts."""
        if isinstance(self.stored, _core.SparseMatrix):
            return self.stored
        if self.stored is not None:
            values = self.stored.floats(name)
            return self.stored.matrix(scale.rescaled(values, self.dtype, dense=False), name)
        if self.dtype.kind == "f":
            scale.warn_of_undivided(self.values, name)
        divided = scale.divides(self.dtype, dense=True)
        if self.values.dtype == np.uint8:
            return self.values if divided or counts else self.values.view(np.int8)
        if self.values.dtype in arrays.IN_PLACE and not divided:
            return self.values
        return scale.rescaled(arrays.float32(self.values, name), self.dtype)


def given(X: Any, name: str, cols: int | None = None, owner: str = "", images: Images | None = None) -> Given:
    """Return examples, dense or sparse, of a table or of images; checked in type and shape (`cols` columns if given).

    `owner` is the name of the class that requires `cols` columns.
    """
    if not isinstance(X, np.ndarray):
        X = names.of_annotated(X)
    if sparse.is_sparse(X):
        if images is not None and images.channels_first:
            raise TypeError(f'{name} is a sparse matrix, for which channels="first" is not supported')
        stored = X if isinstance(X, _core.SparseMatrix) else sparse.parts(X, name)
        arrays.check_cols(stored.shape[1], name, cols, owner)
        return Given(stored.data, stored.data.dtype, stored, stored.shape, stored.shape[1:])
    array, dtype = arrays.typed(X, name)
    form = array.shape[1:]
    if images is not None:
        array = images.flatten(array, name)
    arrays.check_table(array, name, cols, owner)
    rows, columns = array.shape
    return Given(array, dtype, None, (rows, columns), form)


def whole(X: Any) -> Any:
    """Return X, or the rows of an iterator as a list, which can be read more than once."""
    return list(X) if isinstance(X, Iterator) else X


def take(X: Any, rows: NDArray[Any]) -> Any:
    """Return rows of dense examples with the type of X and the names of its columns."""
    if hasattr(X, "iloc"):  # pandas
        return X.iloc[rows]
    if hasattr(X, "column_names"):  # Arrow
        return X.take(rows)
    if hasattr(X, "get_column"):  # polars
        return X[rows]
    array = X if isinstance(X, np.ndarray) else arrays.numeric(names.of_annotated(X), "X")
    return names.with_names(array[rows], X)


def read(X: Any, name: str, cols: int | None = None, owner: str = "") -> Examples:
    """Return numbers that are never scaled as the engine reads them, dense or sparse."""
    return given(X, name, cols, owner).read(UNSCALED, name, counts=True)


def floats(X: Examples, name: str, *, counts: bool) -> NDArray[np.float32]:
    """Return dense examples, as the engine reads them, as float32: uint8 is divided by 255 unless it holds counts."""
    if isinstance(X, _core.SparseMatrix):
        raise TypeError(f"{name} is a sparse matrix, which is not supported here: pass {name}.toarray()")
    values = X.view(np.uint8) if X.dtype == np.int8 else X
    found = np.ascontiguousarray(arrays.float32(values, name))
    return found / np.float32(255) if X.dtype == np.uint8 and not counts else found


def warn_of_fractions(X: Examples, likelihood: str) -> None:
    """Warn if X, whose likelihood is one of counts, has a value that is not whole."""
    if X.dtype.kind != "f":
        return
    found = find(X, lambda values: np.isfinite(values) & (values != np.rint(values)))
    if found:
        _checks.warn(
            f"X[{found[0]}, {found[1]}] is {found[2]:g}, but the {likelihood} likelihood is one of counts: pass whole "
            "numbers, not frequencies, logarithms or tf-idf"
        )


def find(X: Examples, bad: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[int, int, Any] | None:
    """Return row, column and value of the first element for which `bad` holds, which it must not for a zero."""
    if isinstance(X, _core.SparseMatrix):
        stored = np.flatnonzero(bad(X.data))
        return (*sparse.place(X, stored[0]), X.data[stored[0]]) if len(stored) else None
    for start in range(0, len(X), 1024):  # in blocks, which keeps temporary arrays small
        rows = X[start : start + 1024]
        places = np.argwhere(bad(rows))
        if len(places):
            i, j = places[0]
            return start + int(i), int(j), rows[i, j]
    return None


def check_encoder_input(
    X: Examples, name: str, shape: tuple[int, ...], transform: str | None, *, allow_nan: bool
) -> None:
    """Raise ValueError unless X, an encoder input that replaces the examples, has their shape and finite values.

    With `allow_nan`, NaN marks a missing value.
    """
    if X.shape != shape:
        raise ValueError(f"{name} has shape {X.shape}; expected {shape}, the shape of X")
    if find(X, lambda values: ~((np.abs(values) <= arrays.LARGEST) | (allow_nan & np.isnan(values)))):
        raise ValueError(f"{name} must be finite, at most {arrays.LARGEST:g} in magnitude")
    found = find(X, lambda values: values <= -1) if transform == "log1p" else None
    if found:
        raise ValueError(f'{name}{list(found[:2])} is {found[2]}, but input_transform="log1p" needs values above -1')
