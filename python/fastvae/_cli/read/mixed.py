"""Tables of mixed columns, as fastvae.TabularVAE reads them, and their results as columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli.errors import UsageError
from fastvae._cli.read.data import Table
from fastvae._cli.read.tables import BOOLEANS

# Types of a column: "text" (cells are levels), "boolean" and "number". By name, or by place without a header.
Types = Mapping[Any, str]

_ZEROS = re.compile(r"\s*0\d+\s*$")


def choose(table: Table, places: Sequence[int], types: Types, title: str) -> Any:
    """Return columns of a table as a model of mixed columns reads them.

    That is a part of the frame of a Parquet file, else a structured array (without names a matrix of objects). Columns
    that `types` does not name have the type of their cells: numbers, if all of them are, else texts; 007 is a text.
    """
    names = table.names
    if names is not None and (empty := [place for place in places if not names[place]]):
        raise UsageError(f"{title}: column {empty[0]} has no name in the header: pass --drop {empty[0]}, or name it")
    if table.frame is not None and names is not None:
        return table.frame.select([names[place] for place in places])
    labels: list[Any] = list(places) if names is None else [names[place] for place in places]
    known = {place: types[label] for place, label in zip(places, labels, strict=True) if label in types}
    known |= dict.fromkeys(_with_zeros(table, [place for place in places if place not in known]), "text")
    columns = [_column(table, place, known.get(place)) for place in places]
    if names is None:
        matrix = np.empty((len(table), len(places)), object)
        for j, column in enumerate(columns):
            matrix[:, j] = column
        return matrix
    X = np.empty(len(table), [(label, column.dtype) for label, column in zip(labels, columns, strict=True)])
    for label, column in zip(labels, columns, strict=True):
        X[label] = column
    return X


def types(X: Any) -> dict[Any, str]:
    """Return the types of the columns that `choose` has found in training data, for validation data."""
    if getattr(X, "dtype", None) is None:
        return {}
    named = X.dtype.names is not None
    columns = {name: X[name] for name in X.dtype.names} if named else dict(enumerate(X.T))
    return {label: "text" if any(isinstance(v, str) for v in column) else "number" for label, column in columns.items()}


def take(X: Any, rows: slice) -> Any:
    """Return rows of a table that `choose` has made."""
    if isinstance(X, np.ndarray):
        return X[rows]
    chosen = np.arange(X.shape[0])[rows]
    return X.take(chosen) if hasattr(X, "take") else X[chosen]


def columns(X: Any) -> dict[str, NDArray[Any]]:
    """Return a table of any container by its columns: numbers, booleans, or objects with None for a missing value."""
    from fastvae._tables import containers

    table = containers.read(X)
    found = {}
    for raw in table.columns:
        values = raw.values
        if values.dtype != object and raw.type in ("integer", "boolean"):
            dtype = bool if raw.type == "boolean" else np.int64
            whole = np.empty(len(values), object)
            whole[:] = [None if value != value else dtype(value) for value in values.tolist()]
            values = whole if raw.missing.any() else values.astype(dtype)
        elif values.dtype != object and raw.dtype.lower() in ("float32", "float", "<f4"):
            values = values.astype(np.float32)
        found[raw.label if table.named else f"x{raw.label}"] = values
    return found


def replaced(frame: Any, part: Any) -> Any:
    """Return the frame of a Parquet file with the columns of `part` in place of its own."""
    if hasattr(frame, "with_columns"):
        return frame.with_columns(part.get_columns())
    for name in part.column_names:
        frame = frame.set_column(frame.column_names.index(name), part.schema.field(name), part.column(name))
    return frame


def stacked(frames: Sequence[Any], first: Mapping[str, NDArray[Any]]) -> Any:
    """Return frames of a Parquet file below one another, after the columns `first` of all rows."""
    if hasattr(frames[0], "with_columns"):
        import polars

        return polars.concat([polars.DataFrame(dict(first)), polars.concat(list(frames))], how="horizontal")
    import pyarrow

    whole = pyarrow.concat_tables(list(frames))
    for i, (name, column) in enumerate(first.items()):
        whole = whole.add_column(i, name, pyarrow.array(column))
    return whole


def _with_zeros(table: Table, places: Sequence[int]) -> list[int]:
    """Return the columns of whole numbers with a cell such as 007, which is a name and no number."""
    whole = [place for place in places if table.columns[place].dtype.kind in "if"]
    if table.read_cells is None or not whole:
        return []
    found = table.read_cells(whole)
    return [place for place in whole if any(_ZEROS.match(cell) for cell in found[place])]


def _column(table: Table, place: int, kind: str | None) -> NDArray[Any]:
    column = table.columns[place]
    if kind is None:
        kind = "text" if column.dtype.kind in "bO" else "number"
    if kind == "text" and column.dtype != object:  # 007 stays 007, TRUE stays TRUE
        texts = [text.strip() for text in table.texts(place)]
        column = np.empty(len(texts), object)
        column[:] = [None if text in table.gone else text for text in texts]
    elif kind == "boolean" and column.dtype == object and all(v is None or v in BOOLEANS for v in column):
        column = _objects([None if v is None else BOOLEANS[v] for v in column])
    elif kind == "number" and column.dtype.kind == "f":
        gone = np.isnan(column)
        if gone.any() and not gone.all() and _whole(column[~gone]):  # a count with holes is one of integers
            column = _objects([None if v != v else int(v) for v in column.tolist()])
    return column


def _whole(values: NDArray[np.float64]) -> bool:
    return bool((np.abs(values) < 2**53).all() and (values == np.rint(values)).all())


def _objects(values: list[Any]) -> NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = values
    return found
