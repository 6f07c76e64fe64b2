"""Condition columns: columns of X that are the y of a conditional model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._data import arrays, cells, names, sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastvae._data.names import Names

_MAX_SHOWN = 5  # columns that an error message lists


class Columns(NamedTuple):
    """The columns of X that are the condition."""

    indices: tuple[int, ...]
    alone: bool  # a name or an index instead of a list: labels
    total: int  # columns of X
    shown: tuple[str, ...]  # their names or indices, for messages

    @property
    def title(self) -> str:
        """The columns, for messages."""
        text = ", ".join(self.shown[:_MAX_SHOWN]) + (", ..." if len(self.shown) > _MAX_SHOWN else "")
        return f"column{'s' if len(self.shown) > 1 else ''} {text}"

    @classmethod
    def checked(cls, indices: Sequence[Any], alone: Any, total: Any, names: Names) -> Columns:
        """Return the columns `indices` of X, which has `total` columns with `names`; raise ValueError for bad ones."""
        good = all(type(index) is int and 0 <= index < total for index in indices)
        if not good or not 0 < len(set(indices)) == len(indices) < total or (alone and len(indices) > 1):
            raise ValueError(f"{indices} are no condition columns of {total} columns")
        shown = (repr(index if names is None else names[index]) for index in indices)
        return cls(tuple(indices), bool(alone), total, tuple(shown))

    def split(self, X: Any, labels: bool | None, owner: str) -> tuple[Any, NDArray[Any]]:
        """Return `rest` and `values` of X."""
        return self.rest(X, "X", owner), self.values(X, "X", owner, labels=labels)

    def rest(self, X: Any, name: str, owner: str) -> Any:
        """Return X without these columns: a frame of the same kind, a matrix or an array."""
        X = self._table(X, name, owner)
        if isinstance(X, np.ndarray):
            count = len(self.indices)
            if max(self.indices) < count:
                return X[:, count:]  # a view
            if min(self.indices) >= self.total - count:
                return X[:, : self.total - count]
            return np.delete(X, self.indices if count > 1 else self.indices[0], axis=1)
        removed = set(self.indices)
        kept = [index for index in range(self.total) if index not in removed]
        if hasattr(X, "iloc"):  # pandas
            return X.iloc[:, kept]
        if hasattr(X, "column_names"):  # Arrow
            return X.select(kept)
        return X[:, kept]

    def values(self, X: Any, name: str, owner: str, *, labels: bool | None = None) -> NDArray[Any]:
        """Return the values of these columns: labels [n] or real covariates [n, c].

        `labels`: whether the model was fitted with labels; None for a new fit, which decides it.
        """
        X = self._table(X, name, owner)
        titles = [f"column {shown} of {name}" for shown in self.shown]
        columns = [_column(X, index, title) for index, title in zip(self.indices, titles, strict=True)]
        if labels is None:
            labels = self.alone or (len(columns) == 1 and columns[0].dtype.kind != "f")
        if labels:
            self._check_labels(columns[0], titles[0])
            return columns[0]
        for column, title in zip(columns, titles, strict=True):
            if column.dtype.kind not in "fiub":
                remedy = ""
                if len(columns) > 1:
                    remedy = ": give a column of labels alone, or encode it (sklearn.preprocessing.OneHotEncoder)"
                raise TypeError(
                    f"{title} holds {column.ravel()[0]!r}, but several condition columns, or one that "
                    f"held reals in fit, are real covariates{remedy}"
                )
        return np.stack([column.astype(np.float64, copy=False) for column in columns], axis=1)

    def _check_labels(self, column: NDArray[Any], title: str) -> None:
        if column.dtype.kind != "f":
            return
        fractions = column[column != np.rint(column)]
        if len(fractions):
            remedy = "labels must not be scaled (sklearn.compose.ColumnTransformer)"
            if self.alone:
                remedy += "; for a real covariate pass condition_columns=[...], a list"
            raise ValueError(f"{title} is of labels, but holds {fractions[0]:g}: {remedy}")

    def _table(self, X: Any, name: str, owner: str) -> Any:
        X = table(X, name)
        arrays.check_cols(X.shape[1], name, self.total, owner)
        return X


def table(X: Any, name: str) -> Any:
    """Return X as a table whose columns can be taken: a frame, a sparse matrix of scipy, or an array [n, d]."""
    X = names.of_annotated(X)
    if isinstance(X, names.Named):
        X = X.values
    if sparse.is_sparse(X):
        if not hasattr(X, "tocsr"):
            raise TypeError(f"{name} with condition columns must be dense, or a sparse matrix of scipy")
        return X.tocsr()
    if names.columns(X) is not None:
        return X
    X = list(X) if isinstance(X, Iterator) else X
    try:
        array = np.asarray(X)
        if array.dtype.kind in "US" and not isinstance(X, np.ndarray):
            array = np.asarray(X, dtype=object)  # numbers beside strings stay numbers
    except (RuntimeError, TypeError, ValueError):
        array = arrays.numeric(X, name)  # raises the right error
    if array.ndim > 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions, {array.shape}, but condition_columns need a table: pass "
            f"{name}.reshape(len({name}), -1) with the condition columns beside the pixels"
        )
    arrays.check_table(array, name, None, "")
    return array


def resolve(chosen: Any, fitted: Names, total: int) -> Columns:
    """Return the parameter ``condition_columns`` for an X with `total` columns and their names, if it has names."""
    items, alone = _items(chosen)
    places = [_place(item, fitted, total) for item in items]
    if len(set(places)) < len(places):
        raise ValueError(f"condition_columns={chosen!r} has a column twice")
    if len(places) == total:
        raise ValueError(f"condition_columns={chosen!r} are all columns of X: none is left to encode")
    return Columns.checked(places, alone, total, fitted)


def count(chosen: Any) -> int:
    """Return the number of columns of the parameter ``condition_columns``, checked."""
    return len(_items(chosen)[0])


def _items(chosen: Any) -> tuple[list[Any], bool]:
    """Return names and indices, and whether there was one instead of a list."""
    if isinstance(chosen, str) or _is_index(chosen):
        return [chosen], True
    items = list(chosen) if isinstance(chosen, Iterable) and not isinstance(chosen, (bytes, dict)) else []
    if not items or not all(isinstance(item, str) or _is_index(item) for item in items):
        raise ValueError(
            f"condition_columns={chosen!r} must be the name or index of a column of X, or a list of names or indices"
        )
    return items, False


def _is_index(item: Any) -> bool:
    return isinstance(item, (int, np.integer)) and not isinstance(item, bool)


def _place(item: Any, fitted: Names, total: int) -> int:
    """Return the index of a column."""
    if isinstance(item, str):
        if fitted is None:
            raise ValueError(
                f"condition_columns names {item!r}, but X has no column names: pass a frame, or the index of the column"
            )
        found = np.flatnonzero(fitted == item)
        if len(found) != 1:
            problem = "two columns" if len(found) else "no column"
            shown = ", ".join(map(repr, fitted[:_MAX_SHOWN])) + (", ..." if len(fitted) > _MAX_SHOWN else "")
            raise ValueError(f"X has {problem} {item!r}, which condition_columns names: its columns are {shown}")
        return int(found[0])
    if not -total <= item < total:
        raise ValueError(f"condition_columns has the index {item}, but X has {total} columns")
    return int(item) % total


def _column(X: Any, index: int, title: str) -> NDArray[Any]:
    """Return a column as a vector of numbers or strings, or raise ValueError if a value is missing or infinite."""
    column: NDArray[Any]
    if sparse.is_sparse(X):
        column = X[:, [index]].toarray().ravel()
    elif hasattr(X, "iloc"):
        column = np.asarray(X.iloc[:, index])
    elif hasattr(X, "column_names"):
        column = np.asarray(X.column(index))
    else:
        column = np.asarray(X[:, index])
    if column.dtype.kind in "OT":
        bad = np.array([cells.is_missing(cell) or cell != cell for cell in column.tolist()], bool)
        if not bad.any() and not any(isinstance(cell, str) for cell in column):
            column = np.array(column.tolist())
    else:
        bad = ~np.isfinite(column) if column.dtype.kind == "f" else np.zeros(0, bool)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        cell = column[row]
        shown = cell if cells.is_missing(cell) or cell == cell else "NaN"
        raise ValueError(
            f"{title} is {shown} in row {row}: the condition of an example must be known and finite; fill it in, or "
            "leave out the row"
        )
    return column
