"""Frames (pandas, polars, Arrow), structured arrays and 2-D arrays as columns, and back."""

from __future__ import annotations

import datetime
import numbers
import re
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
    if hasattr(X, "collect") and hasattr(X, "lazy"):
        raise TypeError(f"{name} is a lazy frame: pass {name}.collect()")
    if isinstance(X, dict):
        raise TypeError(f"{name} is a dict: pass a frame of its columns, for example pandas.DataFrame({name})")
    labels, container = names.columns(X), "array"
    if labels is None:
        return _of_array(X, name)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"{name} has two columns {twice!r}: rename one of them")
    for label in labels:
        if not isinstance(label, (str, numbers.Integral)) or isinstance(label, bool):
            raise TypeError(f"the column {label!r} of {name} must be named by a string: use X.columns.astype(str)")
    names.of(X)  # refuses a mixture of names and numbers
    if hasattr(X, "iloc"):
        container, series = "pandas", [X.iloc[:, i] for i in range(len(labels))]
    elif hasattr(X, "get_column"):
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
    """Return a copy of the table X with values at the given columns and rows: same container, labels, index, dtypes.

    A column whose dtype cannot hold a value (categories without the level, numbers for a column of texts that is all
    missing) gets one that can.
    """
    if container == "pandas":
        out = X.copy()
        for i, rows, values in places:
            out.isetitem(i, _filled_series(X.iloc[:, i], rows, values))
        return out
    if container == "polars":
        import polars

        for i, rows, values in places:
            column = X.to_series(i)
            kind = "f" if column.dtype.is_float() else "i" if column.dtype.is_integer() else "O"
            cells_ = _filled_cells(column.to_list(), rows, _fitting(values, kind))
            filled = polars.Series(column.name, cells_, dtype=column.dtype, strict=False)
            if filled.null_count():  # the dtype does not hold the values
                filled = polars.Series(column.name, cells_, strict=False)
            X = X.with_columns(filled)
        return X
    if container == "arrow":
        for i, rows, values in places:
            field = X.schema.field(i)
            filled = _filled_arrow(X.column(i).to_pylist(), field.type, rows, values)
            X = X.set_column(i, field.with_type(filled.type), filled)
        return X
    array: Any = np.array(X, object if _has_text(X) else None) if not isinstance(X, np.ndarray) else X.copy()
    for i, rows, values in places:
        if container == "array" and array.dtype.kind == "U":  # wide enough for the levels
            array = array.astype(np.result_type(array.dtype, np.array(values.tolist(), str).dtype))
        target = array[array.dtype.names[i]] if container == "structured" else array[:, i]
        target[rows] = _fitting(values, target.dtype.kind)
    return array


def _filled_series(column: Any, rows: NDArray[np.intp], values: NDArray[Any]) -> Any:
    """Return a pandas series with values at the given rows."""
    import pandas

    dtype, kind = column.dtype, getattr(column.dtype, "kind", "O")
    if hasattr(dtype, "pyarrow_dtype"):
        filled = _filled_arrow(column.array.__arrow_array__().to_pylist(), dtype.pyarrow_dtype, rows, values)
        array = pandas.arrays.ArrowExtensionArray(filled)
        return pandas.Series(array, index=column.index, name=column.name)
    if hasattr(dtype, "categories"):
        new = [level for level in dict.fromkeys(values.tolist()) if level not in dtype.categories]
        out = column.cat.add_categories(new) if new else column.copy()
    elif hasattr(dtype, "fill_value"):  # sparse
        out = column.sparse.to_dense()
    elif kind in "fiub" and values.dtype == object and any(isinstance(value, str) for value in values):
        out = column.astype(object)
    else:
        out = column.copy()
    found = _fitting(values, getattr(out.dtype, "kind", "O"))
    if isinstance(out.dtype, np.dtype) and out.dtype.kind == "f":
        found = found.astype(out.dtype)
    out.iloc[rows] = found
    return out.astype(dtype) if hasattr(dtype, "fill_value") else out


def _filled_cells(cells_: list[Any], rows: NDArray[np.intp], values: Any) -> list[Any]:
    for row, value in zip(rows, values.tolist(), strict=True):
        cells_[row] = value
    return cells_


def _filled_arrow(cells_: list[Any], kind: Any, rows: NDArray[np.intp], values: NDArray[Any]) -> Any:
    """Return an Arrow array of these cells with values at the given rows."""
    import pyarrow

    fits = "f" if pyarrow.types.is_floating(kind) else "i" if pyarrow.types.is_integer(kind) else "O"
    cells_ = _filled_cells(cells_, rows, _fitting(values, fits))
    try:
        return _arrow(cells_, kind)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        if pyarrow.types.is_integer(kind):
            raise
        return pyarrow.array(cells_)  # the type does not hold the values


def _arrow(cells_: list[Any], kind: Any) -> Any:
    """Return an Arrow array; floats become decimals where the type has them."""
    import pyarrow

    if pyarrow.types.is_decimal(kind):
        unit = Decimal(1).scaleb(-kind.scale)
        cells_ = [Decimal(str(cell)).quantize(unit) if isinstance(cell, float) else cell for cell in cells_]
    return pyarrow.array(cells_, type=kind)


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
                kind = _pandas_dtype(each.dtype)
                if hasattr(kind, "pyarrow_dtype"):
                    array = _arrow(_fitting(values, "O").tolist(), kind.pyarrow_dtype)
                    made[each.label] = pandas.Series(pandas.arrays.ArrowExtensionArray(array))
                    continue
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
                enum = _polars_dtype(each.dtype)
            series.append(polars.Series(each.label, list(values), dtype=enum, strict=False))
        return polars.DataFrame(series)
    if container == "arrow":
        try:
            import pyarrow
        except ImportError:
            raise ImportError("the model was fitted to an Arrow table: pip install pyarrow") from None
        made = {}
        for each, values in zip(dtypes, columns, strict=True):
            made[each.label] = _arrow(values.tolist(), _arrow_type(each.dtype))
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
        return np.rint(values).astype(np.int64) if kind in "iu" and values.dtype.kind == "f" else values
    if kind == "f":
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if kind in "iub":
        return np.array(list(values), {"b": bool}.get(kind))
    out = np.empty(len(values), object)
    out[:] = values.tolist()
    return out


def _has_text(X: Any) -> bool:
    return np.asarray(X).dtype.kind in "US"


def _arrow_type(name: str) -> Any:
    """Return the Arrow type of a name, as ``str`` gives it."""
    import pyarrow

    if found := re.fullmatch(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)", name):
        return getattr(pyarrow, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    if found := re.fullmatch(r"dictionary<values=(.*), indices=(\w+), ordered=([01])>", name):
        return pyarrow.dictionary(_arrow_type(found[2]), _arrow_type(found[1]), found[3] == "1")
    try:
        return pyarrow.type_for_alias(name)
    except ValueError:
        return pyarrow.float64()


def _pandas_dtype(name: str) -> Any:
    import pandas

    if name.endswith("[pyarrow]") and name not in ("string[pyarrow]", "str[pyarrow]"):
        return pandas.ArrowDtype(_arrow_type(name.removesuffix("[pyarrow]")))
    if found := re.fullmatch(r"Sparse\[(float\d+), (.*)\]", name):
        return pandas.SparseDtype(found[1], float(found[2]))
    return pandas.api.types.pandas_dtype(name)


def _polars_dtype(name: str) -> Any:
    import polars

    if found := re.fullmatch(r"Decimal\(precision=(\d+), scale=(\d+)\)", name):
        return polars.Decimal(int(found[1]), int(found[2]))
    return getattr(polars, name, polars.Float64)


def select(X: Any, container: str, kept: list[int]) -> Any:
    """Return some columns of a table, by their places."""
    if container == "pandas":
        return X.iloc[:, kept]
    if container == "arrow":
        return X.select(kept)
    if container == "structured":
        return X[[X.dtype.names[i] for i in kept]]
    return X[:, kept]


def append(X: Any, container: str, flags: list[NDArray[np.bool_]], names: list[str]) -> Any:
    """Return a table with further columns of 0 and 1 at its end; `names` are those of all columns of the result."""
    labels = names[-len(flags) :]
    for label in labels:
        if label in names[: -len(flags)]:
            raise ValueError(f"the table has a column {label!r}, which add_indicator=True would add: rename it")
    if container == "pandas":
        if not isinstance(X.columns[0], str):  # numbers and strings together are no names for scikit-learn
            X = X.set_axis(names[: -len(flags)], axis=1)
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
    return np.hstack([X, np.stack(flags, axis=1).astype(np.int64).astype(X.dtype)])


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
    if isinstance(array, np.matrix):
        raise TypeError(f"{name} is a numpy.matrix: pass numpy.asarray({name})")
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
    if values.ndim != 1:
        raise TypeError(f"column {label!r} has cells of shape {values.shape[1:]}: make columns of its parts")
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
    shown = str(dtype) if dtype.is_decimal() else str(dtype).partition("(")[0]
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
    for row in np.flatnonzero(~holes):
        try:
            numbers_[row] = float(values[row])
        except OverflowError:
            raise ValueError(
                f"column {label!r} has a number beyond 1e308 in row {row}: make smaller ones of it"
            ) from None
    boolean = all(issubclass(kind, (bool, np.bool_)) for kind in types)
    whole = all(issubclass(kind, (numbers.Integral, np.bool_)) for kind in types)
    return RawColumn(label, numbers_, "boolean" if boolean else "integer" if whole else "float", dtype)


def _dates(label: Any) -> TypeError:
    return TypeError(
        f"column {label!r} holds dates: drop it, or make numbers of it, for example days: "
        "(dates - dates.min()).dt.total_seconds() / 86400"
    )
