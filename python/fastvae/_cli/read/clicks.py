"""Clicks of users on items: a matrix, or a table with a row for each pair of user and item."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli import messages
from fastvae._cli.errors import UsageError
from fastvae._cli.read.choose import kind_of, read, table_of
from fastvae._cli.read.data import Csr, Data, Table
from fastvae._cli.read.source import Source

_OF_MATRICES = ("label", "labels", "id", "columns", "drop", "rows")
_TABLES = ("csv", "tsv", "parquet")


def read_clicks(options: Any, items: list[str] | None = None) -> Data:
    """Read DATA: clicks [users, items], the names of users as ``ids`` and of items as ``names``, if it is a table.

    Parameters
    ----------
    options : namespace
        Of `add_data`, with ``user``, ``item`` and ``count``, names of columns.
    items : list of str or None
        Items of a fitted model; clicks on others are left out, with a warning. None: the items of the table.
    """
    source = Source(options.data)
    kind = kind_of(source, options.format)
    if kind not in _TABLES:
        for name in ("user", "item", "count"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} is for tables of pairs; {source.title} is of format {kind}")
        return read(options)
    for name in _OF_MATRICES:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is not for pairs of user and item; use --user, --item and --count")
    table = table_of(source, kind, options)
    return _matrix(table, source.title, options, items)


def _matrix(table: Table, title: str, options: Any, known: list[str] | None) -> Data:
    wide = len(table.columns)
    if wide < 2 or (wide > 2 and (options.user is None or options.item is None)):
        shown = f"{wide} column{'s' * (wide != 1)}"
        if table.names is not None:
            shown += f", {', '.join(table.names[:20])}"
        raise UsageError(f"{title}: the table has {shown}: pass --user COLUMN and --item COLUMN, and --count COLUMN")
    user = table.index("0" if options.user is None else options.user, "--user")
    item = table.index("1" if options.item is None else options.item, "--item")
    if user == item:
        raise UsageError(f"{title}: user and item are the same column: pass --user and --item")
    users, items = (np.array([cell.strip() for cell in table.texts(place)]) for place in (user, item))
    for cells, place in ((users, user), (items, item)):
        empty = np.flatnonzero(cells == "")
        if len(empty):
            raise UsageError(f"{title}: {_line(table, empty[0])}{table.title(place)} is empty")
    counts = _counts(table, title, options.count)
    names, columns = np.unique(items, return_inverse=True)
    if known is not None:
        places = {name: column for column, name in enumerate(known)}
        to = np.array([places.get(name, -1) for name in names.tolist()])[columns]
        new = to < 0
        if new.any():
            first = items[np.flatnonzero(new)[0]]
            messages.warning(
                f"{new.sum()} clicks on items that the model does not know are left out, such as {str(first)!r}"
            )
        columns, names = to, np.array(known)
    ids, first, rows = np.unique(users, return_index=True, return_inverse=True)
    order = np.argsort(first)  # users in the order of the table
    rows, ids = np.argsort(order)[rows], ids[order]
    kept = columns >= 0
    data = Data(_csr(rows[kept], columns[kept], counts[kept], (len(ids), len(names))), title, table=None)
    data.ids, data.id_name, data.names = ids.tolist(), "user", names.tolist()
    return data


def _csr(rows: NDArray[Any], columns: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]) -> Csr:
    """Return the matrix of entries; equal ones are added up."""
    keys, inverse = np.unique(rows.astype(np.int64) * shape[1] + columns, return_inverse=True)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(keys // shape[1], minlength=shape[0]))])
    data = np.bincount(inverse, values, minlength=len(keys)).astype(np.float32)
    return Csr(data, (keys % shape[1]).astype(np.int32), indptr.astype(np.int64), shape)


def _counts(table: Table, title: str, column: str | None) -> NDArray[Any]:
    if column is None:
        return np.ones(len(table))
    place = table.index(column, "--count")
    values = table.columns[place]
    if values.dtype == object:
        raise UsageError(f"{title}: --count {column}: {table.title(place)} has cells that are no numbers")
    numbers: NDArray[Any] = values.astype(np.float64)
    bad = np.flatnonzero(~((numbers >= 0) & np.isfinite(numbers)))
    if len(bad):
        raise UsageError(
            f"{title}: {_line(table, bad[0])}--count {column} is {numbers[bad[0]]:g}: counts are numbers of at least 0"
        )
    return numbers


def _line(table: Table, row: int) -> str:
    return "" if table.lines is None else f"line {table.lines[row]}, "
