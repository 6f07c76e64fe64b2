"""Frames (pandas, polars, Arrow), structured arrays and 2-D arrays as columns, and back."""

from __future__ import annotations

import datetime
import numbers
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._data import arrays, cells, names, sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# The containers of a table.
CONTAINERS = ("pandas", "polars", "arrow", "structured", "array")


class RawColumn(NamedTuple):
    """A column as it was given."""

    label: Any  # its name; the index of a column without one
    values: NDArray[Any]  # [n]: numbers as float64 with NaN for holes, else objects with None
    type: str  # "float", "integer", "boolean", "text"; "empty" without any value
    dtype: str  # in the words of the container
    declared: tuple[Any, ...] | None = None  # levels of a column of categories
    ordered: bool = False

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Holes, [n]."""
        if self.values.dtype == object:
            return np.array([value is None for value in self.values], bool)
        found: NDArray[np.bool_] = np.isnan(self.values)
        return found


class RawTable(NamedTuple):
    """A table as it was given."""

    container: str
    columns: list[RawColumn]
    rows: int
    named: bool  # whether all labels are strings given by the user


def read(X: Any, name: str = "X") -> RawTable:
    """Return a table as columns.

    Raises
    ------
    TypeError
        If `X` is no table, or a column holds dates or mixed objects; the message names column and remedy.
    ValueError
        If `X` is empty, complex or not 2-D, or two columns have the same name.
    """
    X = names.of_annotated(X)
    if sparse.is_sparse(X):
        raise TypeError(f"{name} is a sparse matrix, which is not supported here: pass {name}.toarray()")
    labels, container = names.columns(X), "array"
    if labels is None:
        return _of_array(X, name)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"{name} has two columns {twice!r}: rename one of them")
    for label in labels:
        if not isinstance(label, (str, numbers.Integral)):
            raise TypeError(f"the column {label!r} of {name} must be named by a string: use X.columns.astype(str)")
    names.of(X)  # refuses a mixture of names and numbers
    if hasattr(X, "iloc"):
        container, series = "pandas", [X.iloc[:, i] for i in range(len(labels))]
    elif hasattr(X, "get_column"):
        if hasattr(X, "collect"):
            raise TypeError(f"{name} is a lazy frame: pass {name}.collect()")
        container, series = "polars", [X.get_column(label) for label in labels]
    elif hasattr(X, "column_names"):
        container, series = "arrow", [X.column(i) for i in range(len(labels))]
    else:
        raise TypeError(f"{name} is a {type(X).__name__}: pass a frame of pandas or polars, an Arrow table or an array")
    rows = int(X.shape[0])
    if rows == 0 or not labels:
        raise sparse.empty_error(name, (rows, len(labels)))
    reader = {"pandas": _of_pandas, "polars": _of_polars, "arrow": _of_arrow}[container]
    columns = [reader(label, one) for label, one in zip(labels, series, strict=True)]
    return RawTable(container, columns, rows, isinstance(labels[0], str))


def fill(X: Any, container: str, places: Sequence[tuple[int, NDArray[np.intp], NDArray[Any]]]) -> Any:
    """Return a copy of the table X with values at the given columns and rows: same container, labels, index, dtypes."""
    if container == "pandas":
        out = X.copy()
        for i, rows, values in places:
            column = X.iloc[:, i].copy()
            column.iloc[rows] = _fitting(values, getattr(column.dtype, "kind", "O"))
            out.isetitem(i, column)
        return out
    if container == "polars":
        import polars

        for i, rows, values in places:
            column = X.to_series(i)
            cells_, kind = column.to_list(), "f" if column.dtype.is_float() else "O"
            for row, value in zip(rows, _fitting(values, kind), strict=True):
                cells_[row] = value
            X = X.with_columns(polars.Series(column.name, cells_, dtype=column.dtype, strict=False))
        return X
    if container == "arrow":
        import pyarrow

        for i, rows, values in places:
            field = X.schema.field(i)
            cells_, kind = X.column(i).to_pylist(), "f" if pyarrow.types.is_floating(field.type) else "O"
            for row, value in zip(rows, _fitting(values, kind), strict=True):
                cells_[row] = value
            X = X.set_column(i, field, pyarrow.array(cells_, type=field.type))
        return X
    array: Any = np.array(X, object if _has_text(X) else None) if not isinstance(X, np.ndarray) else X.copy()
    for i, rows, values in places:
        target = array[array.dtype.names[i]] if container == "structured" else array[:, i]
        target[rows] = _fitting(values, target.dtype.kind)
    return array


class Dtype(NamedTuple):
    """What a column of a new table looks like."""

    label: Any
    dtype: str
    declared: tuple[Any, ...] | None
    ordered: bool


def build(container: str, dtypes: Sequence[Dtype], columns: Sequence[NDArray[Any]]) -> Any:
    """Return a new table with these columns."""
    if container == "pandas":
        try:
            import pandas
        except ImportError:
            raise ImportError("the model was fitted to a pandas frame: pip install pandas") from None
        made = {}
        for each, values in zip(dtypes, columns, strict=True):
            if each.declared is not None:
                kind = pandas.CategoricalDtype(list(each.declared), ordered=each.ordered)
                made[each.label] = pandas.Series(pandas.Categorical(list(values), dtype=kind))
            else:
                kind = pandas.api.types.pandas_dtype(each.dtype)
                plain = kind.kind if isinstance(kind, np.dtype) else "O"
                made[each.label] = pandas.Series(_fitting(values, plain), dtype=kind)
        return pandas.DataFrame(made)
    if container == "polars":
        try:
            import polars
        except ImportError:
            raise ImportError("the model was fitted to a polars frame: pip install polars") from None
        series = []
        for each, values in zip(dtypes, columns, strict=True):
            if each.declared is not None and each.dtype == "Enum":
                enum: Any = polars.Enum(list(each.declared))
            else:
                enum = getattr(polars, each.dtype, polars.Float64)
            series.append(polars.Series(each.label, list(values), dtype=enum, strict=False))
        return polars.DataFrame(series)
    if container == "arrow":
        try:
            import pyarrow
        except ImportError:
            raise ImportError("the model was fitted to an Arrow table: pip install pyarrow") from None
        made = {}
        for each, values in zip(dtypes, columns, strict=True):
            made[each.label] = pyarrow.array(list(values), type=_arrow_type(each))
        return pyarrow.table(made)
    rows = len(columns[0])
    if container == "structured":
        out = np.empty(rows, [(str(each.label), each.dtype) for each in dtypes])
        for each, values in zip(dtypes, columns, strict=True):
            out[each.label] = _fitting(values, out[each.label].dtype.kind)
        return out
    dtype = np.dtype(dtypes[0].dtype)
    out = np.empty((rows, len(columns)), dtype)
    for i, values in enumerate(columns):
        out[:, i] = _fitting(values, dtype.kind)
    return out


def _fitting(values: NDArray[Any], kind: str) -> Any:
    """Return values as an array for a column of floats (`kind` "f"), else as Python objects in an array."""
    if values.dtype != object and kind in "fiub":
        return values
    if kind == "f":
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if kind in "iub":
        return np.array(list(values), {"b": bool}.get(kind))
    out = np.empty(len(values), object)
    out[:] = values.tolist()
    return out


def _has_text(X: Any) -> bool:
    return np.asarray(X).dtype.kind in "US"


def _arrow_type(column: Dtype) -> Any:
    import pyarrow

    if column.declared is not None:
        return pyarrow.dictionary(pyarrow.int32(), pyarrow.array(list(column.declared)).type, column.ordered)
    try:
        return pyarrow.type_for_alias(column.dtype)
    except ValueError:  # decimals
        return pyarrow.float64()


def select(X: Any, container: str, kept: list[int]) -> Any:
    """Return some columns of a table, by their places."""
    if container == "pandas":
        return X.iloc[:, kept]
    if container == "arrow":
        return X.select(kept)
    if container == "structured":
        return X[[X.dtype.names[i] for i in kept]]
    return X[:, kept]


def append(X: Any, container: str, flags: list[NDArray[np.bool_]], labels: list[str]) -> Any:
    """Return a table with further columns of 0 and 1 at its end."""
    if container == "pandas":
        return X.assign(**{label: flag.astype(np.int64) for label, flag in zip(labels, flags, strict=True)})
    if container == "polars":
        import polars

        added = zip(labels, flags, strict=True)
        return X.with_columns([polars.Series(label, flag.astype(np.int64)) for label, flag in added])
    if container == "arrow":
        import pyarrow

        for label, flag in zip(labels, flags, strict=True):
            X = X.append_column(label, pyarrow.array(flag.astype(np.int64)))
        return X
    if container == "structured":
        out = np.empty(len(X), X.dtype.descr + [(label, "i8") for label in labels])
        for name in X.dtype.names:
            out[name] = X[name]
        for label, flag in zip(labels, flags, strict=True):
            out[label] = flag
        return out
    return np.hstack([X, np.stack(flags, axis=1).astype(X.dtype)])


def numbers_table(values: NDArray[np.float64], labels: list[Any], container: str, X: Any) -> Any:
    """Return numbers as a table in a container, with the index of X; an array for structured and plain arrays."""
    if container == "pandas":
        import pandas

        return pandas.DataFrame(values, columns=labels, index=X.index)
    if container == "polars":
        import polars

        return polars.DataFrame(values, schema=[str(label) for label in labels])
    if container == "arrow":
        import pyarrow

        return pyarrow.table({str(label): values[:, i] for i, label in enumerate(labels)})
    return values


def convert(X: Any, container: str, labels: list[str]) -> Any:
    """Return a table as a frame of pandas or polars with these names of columns."""
    table = read(X)
    columns = {}
    for label, raw in zip(labels, table.columns, strict=True):
        whole = raw.type in ("integer", "boolean") and not raw.missing.any()
        columns[label] = raw.values.astype(bool if raw.type == "boolean" else np.int64) if whole else raw.values
    if container == "pandas":
        import pandas

        if table.container == "array" and isinstance(X, np.ndarray) and X.dtype != object:
            return pandas.DataFrame(X, columns=labels)
        return pandas.DataFrame(columns)
    import polars

    if table.container == "array" and isinstance(X, np.ndarray) and X.dtype != object:
        return polars.DataFrame(X, schema=labels)
    return polars.DataFrame({label: values.tolist() for label, values in columns.items()}, strict=False)


def objects(label: Any, values: list[Any]) -> RawColumn:
    """Return a column of Python objects."""
    return _of_objects(label, _objects(values), "object")


# Reading of a column


def _of_array(X: Any, name: str) -> RawTable:
    try:
        array = X if isinstance(X, np.ndarray) else np.asarray(X)
        if array.dtype.kind in "US" and not isinstance(X, np.ndarray):
            array = np.asarray(X, dtype=object)  # numbers beside strings stay numbers
    except (RuntimeError, TypeError, ValueError):
        array = arrays.numeric(X, name)  # raises the right error
    if array.dtype.names is not None:
        if array.ndim != 1 or len(array) == 0:
            raise ValueError(f"{name} has shape {array.shape}; a structured array must be 1-D, with at least one row")
        fields = [_numpy_column(label, array[label]) for label in array.dtype.names]
        return RawTable("structured", fields, len(array), named=True)
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError(f"{name} has masked values: fill them with {name}.filled(numpy.nan)")
    if array.dtype.kind == "c":
        raise sparse.complex_error(name)
    arrays.check_table(array, name, None, "")
    return RawTable("array", [_numpy_column(i, array[:, i]) for i in range(array.shape[1])], len(array), named=False)


def _numpy_column(label: Any, values: NDArray[Any]) -> RawColumn:
    kind, dtype = values.dtype.kind, values.dtype.str
    if kind in "fiub":
        return RawColumn(label, values.astype(np.float64), {"f": "float", "b": "boolean"}.get(kind, "integer"), dtype)
    if kind == "M":
        raise _dates(label)
    if kind == "U":
        return _of_objects(label, values.astype(object), dtype)
    if kind == "O":
        return _of_objects(label, values, dtype)
    raise TypeError(f"column {label!r} holds {values.dtype}: pass numbers, booleans or strings")


def _of_pandas(label: Any, series: Any) -> RawColumn:
    dtype = series.dtype
    kind, shown = getattr(dtype, "kind", "O"), str(dtype)
    if hasattr(dtype, "categories"):
        codes, levels = series.cat.codes.to_numpy(), list(dtype.categories)
        values = np.empty(len(series), object)
        values[:] = [None if code < 0 else levels[code] for code in codes]
        return _of_categories(label, values, "category", levels, bool(dtype.ordered))
    if kind in "Mm":
        raise _dates(label)
    if kind in "fiub" and not shown.startswith("Sparse"):
        values = series.to_numpy(np.float64, na_value=np.nan)
        return RawColumn(label, values, {"f": "float", "b": "boolean"}.get(kind, "integer"), shown)
    return _of_objects(label, series.to_numpy(object), shown)


def _of_polars(label: Any, series: Any) -> RawColumn:
    import polars

    dtype = series.dtype
    shown = str(dtype).partition("(")[0]
    if dtype.is_temporal():
        raise _dates(label)
    if dtype.is_numeric():
        values = series.cast(polars.Float64).to_numpy().astype(np.float64)
        return RawColumn(label, values, "integer" if dtype.is_integer() else "float", shown)
    if shown in ("Categorical", "Enum"):
        values = _objects(series.to_list())
        levels = dtype.categories.to_list() if shown == "Enum" else sorted({v for v in values if v is not None})
        return _of_categories(label, values, shown, levels, ordered=False)
    if dtype.is_nested():
        raise TypeError(f"column {label!r} holds {dtype}: drop it, or make columns of its parts")
    return _of_objects(label, _objects(series.to_list()), shown)


def _of_arrow(label: Any, column: Any) -> RawColumn:
    import pyarrow

    types, kind, shown = pyarrow.types, column.type, str(column.type)
    if types.is_temporal(kind):
        raise _dates(label)
    if types.is_dictionary(kind):
        whole = column.combine_chunks()
        whole = whole if not hasattr(whole, "chunks") else whole.chunk(0)
        levels = whole.dictionary.to_pylist()
        return _of_categories(label, _objects(whole.to_pylist()), shown, levels, bool(kind.ordered))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        values = np.array([np.nan if v is None else float(v) for v in column.to_pylist()], np.float64)
        return RawColumn(label, values, "integer" if types.is_integer(kind) else "float", shown)
    if types.is_nested(kind):
        raise TypeError(f"column {label!r} holds {kind}: drop it, or make columns of its parts")
    return _of_objects(label, _objects(column.to_pylist()), shown)


def _objects(values: list[Any]) -> NDArray[Any]:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _of_categories(label: Any, values: NDArray[Any], dtype: str, levels: list[Any], ordered: bool) -> RawColumn:
    plain = [level.item() if isinstance(level, np.generic) else level for level in levels]
    for level in plain:
        if not isinstance(level, (str, bool, int, float)):
            raise TypeError(
                f"column {label!r} has the category {level!r} of type {type(level).__name__}: make strings of its "
                "categories, for example with .cat.rename_categories(str)"
            )
    _, cells_, kind, *_ = _of_objects(label, values, dtype)
    return RawColumn(label, cells_, kind, dtype, tuple(plain), ordered)


def _of_objects(label: Any, values: NDArray[Any], dtype: str) -> RawColumn:
    """Return a column of Python objects by the types of its cells."""
    holes = np.array([cells.is_missing(cell) or (isinstance(cell, float) and cell != cell) for cell in values], bool)
    present = values[~holes]
    types = {type(cell) for cell in present}
    if not types:
        return RawColumn(label, np.full(len(values), np.nan), "empty", dtype)
    if all(issubclass(kind, str) for kind in types):
        out = _objects(values.tolist())
        out[holes] = None
        return RawColumn(label, out, "text", dtype)
    if any(issubclass(kind, (datetime.date, datetime.time, datetime.timedelta, np.datetime64)) for kind in types):
        raise _dates(label)
    if not all(issubclass(kind, (numbers.Real, Decimal, np.bool_)) for kind in types):
        odd = next(
            (row, cell)
            for row, cell in enumerate(values)
            if not holes[row] and not isinstance(cell, (numbers.Real, Decimal, np.bool_))
        )
        if isinstance(odd[1], str):
            remedy = "make numbers of it (pandas.to_numeric(..., errors='coerce')), or strings of all (astype(str))"
            raise TypeError(f"column {label!r} mixes numbers and strings (row {odd[0]} is {odd[1][:40]!r}): {remedy}")
        raise TypeError(
            f"column {label!r} holds objects (row {odd[0]} is {repr(odd[1])[:40]}: argument must be a string or a "
            "number): drop it, or make numbers or strings of it"
        )
    numbers_ = np.full(len(values), np.nan)
    numbers_[~holes] = [float(cell) for cell in present]
    boolean = all(issubclass(kind, (bool, np.bool_)) for kind in types)
    whole = all(issubclass(kind, (numbers.Integral, np.bool_)) for kind in types)
    return RawColumn(label, numbers_, "boolean" if boolean else "integer" if whole else "float", dtype)


def _dates(label: Any) -> TypeError:
    return TypeError(
        f"column {label!r} holds dates: drop it, or make numbers of it, for example days: "
        "(dates - dates.min()).dt.total_seconds() / 86400"
    )
