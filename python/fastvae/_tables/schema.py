"""The columns of a table that a model was fitted to: encoding for the engine, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import names
from fastvae._fitted.files import with_keys
from fastvae._tables import containers, kinds
from fastvae._tables.codes import Codes
from fastvae._tables.columns import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastvae._tables.containers import RawTable


class Schema:
    """The columns of a table.

    Parameters
    ----------
    container : str
        Container of the training table, which new tables have too.
    columns : sequence of Column
        In the order of the table.
    named : bool
        Whether the table had names of columns.

    Attributes
    ----------
    codes : Codes or None
        The distribution of the training rows' codes.
    """

    def __init__(self, container: str, columns: Sequence[Column], named: bool) -> None:
        self.container, self.columns, self.named = container, list(columns), named
        self.codes: Codes | None = None
        self.modelled = [column for column in self.columns if column.width]
        ends = np.cumsum([column.width for column in self.modelled]).tolist()
        self.slices = [slice(end - c.width, end) for c, end in zip(self.modelled, ends, strict=True)]

    @classmethod
    def fit(cls, table: RawTable, columns: Any, way: str) -> Schema:
        """Return the schema of a training table; `columns` is the parameter.

        Raises
        ------
        TypeError, ValueError
            If a column cannot be modelled, does not fit its chosen kind, or no column varies.
        """
        chosen = kinds.check(columns)
        labels = [raw.label for raw in table.columns]
        for label in chosen:
            if label not in labels:
                raise ValueError(f"columns names {label!r}, but the columns of X are {kinds.shown(labels)}")
        found = [Column.fit(raw, chosen.get(raw.label), way, "X") for raw in table.columns]
        schema = cls(table.container, found, table.named)
        if not schema.modelled:
            raise ValueError(
                f"no column of X varies in its {table.rows} {'sample' if table.rows == 1 else 'rows'}: there is "
                "nothing to learn"
            )
        return schema

    def warn_of_unmodelled(self) -> None:
        """Warn, once for all, of constant and empty columns."""
        parts = []
        for kind, text in (("constant", "have one value"), ("empty", "have no value at all")):
            found = [column.label for column in self.columns if column.kind == kind]
            if found:
                parts.append(f"{kinds.shown(found)} {text}")
        if parts:
            _checks.warn(f"Columns without information are kept, but not modelled: {'; '.join(parts)}. Drop them.")

    @property
    def width(self) -> int:
        """Number of the engine's columns."""
        return sum(column.width for column in self.columns)

    @property
    def labels(self) -> list[Any]:
        """Names or indices of the columns."""
        return [column.label for column in self.columns]

    @property
    def kinds(self) -> dict[Any, str]:
        """Kind of each column by its label."""
        return {column.label: column.kind for column in self.columns}

    def read(self, X: Any, name: str, owner: str) -> RawTable:
        """Return a table with these columns, checked in names and number; `owner` is the name of the fitted class."""
        table = containers.read(X, name)
        if len(table.columns) != len(self.columns) and not (table.named and self.named):
            raise ValueError(
                f"{name} has {len(table.columns)} features, but {owner} is expecting {len(self.columns)} features as "
                "input"
            )
        labels = [raw.label for raw in table.columns]
        numbered = not (table.named or self.named) and "array" not in (table.container, self.container)
        if numbered and labels != self.labels:
            raise ValueError(
                f"the columns of {name} are {kinds.shown(labels)}, but {owner} was fitted to "
                f"{kinds.shown(self.labels)}: pass them in this order"
            )
        fitted = np.array(self.labels, object) if self.named else None
        names.check(_labelled(table), name, fitted, owner)
        return table

    def encode(self, table: RawTable, name: str, unknown: str) -> NDArray[np.float32]:
        """Return a table as the engine reads it, [n, width], with NaN in all columns of a missing value."""
        pairs = zip(self.columns, table.columns, strict=True)
        return np.ascontiguousarray(np.hstack([column.encode(raw, name, unknown) for column, raw in pairs]))

    def row(self, given: Any) -> tuple[NDArray[np.float32], dict[int, Any]]:
        """Return a row as the engine reads it, [1, width], with holes but for `given` values, and these by place.

        Raises
        ------
        TypeError, ValueError
            If a column or a level is not known, or a value is missing.
        """
        if not isinstance(given, Mapping) or not given:
            raise TypeError(f"given={given!r} must map names of columns to values, for example {{'sex': 'f'}}")
        encoded, fixed = np.full((1, self.width), np.nan, np.float32), {}
        places = dict(zip((column.label for column in self.modelled), self.slices, strict=True))
        for label, value in given.items():
            if label not in self.labels:
                raise ValueError(f"given names {label!r}, but the columns are {kinds.shown(self.labels)}")
            place = self.labels.index(label)
            column = self.columns[place]
            if isinstance(value, np.generic):
                value = value.item()
            raw = containers.objects(label, [value])
            if column.kind == "empty" or raw.missing.any():
                raise ValueError(f"given[{label!r}]={value!r} must be a value of a column that has values")
            block = column.encode(raw, "given", "error")
            if column.type == "integer" and raw.values[0] != np.rint(raw.values[0]):
                raise ValueError(f"given[{label!r}]={value!r} must be a whole number, as in the training table")
            if column.width:
                encoded[:, places[label]] = block
            fixed[place] = value
        return encoded, fixed

    def decode(self, values: NDArray[np.float32], *, draw: bool) -> list[NDArray[Any]]:
        """Return the columns of a table from means or draws [n, width]."""
        blocks = iter(self.slices)
        return [
            column.decode(values[:, next(blocks)] if column.width else values[:, :0], draw=draw)
            for column in self.columns
        ]

    def build(self, columns: Sequence[NDArray[Any]]) -> Any:
        """Return a new table with the container, labels and dtypes of the training table."""
        dtypes = [column.as_dtype for column in self.columns]
        return containers.build(self.container, dtypes, columns)

    def holes(self, table: RawTable) -> list[NDArray[np.intp]]:
        """Return the rows of the holes of each column."""
        pairs = zip(self.columns, table.columns, strict=True)
        return [np.flatnonzero(column.missing(raw)) for column, raw in pairs]

    def log_slopes(self, table: RawTable) -> NDArray[np.float64]:
        """Return ln dz/du of each modelled value, [n, modelled]; 0 where it is missing."""
        raws = [raw for column, raw in zip(self.columns, table.columns, strict=True) if column.width]
        found = [column.log_slope(raw) for column, raw in zip(self.modelled, raws, strict=True)]
        return np.nan_to_num(np.stack(found, axis=1), nan=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the schema in JSON types."""
        columns = [column.to_json() for column in self.columns]
        found = {"container": self.container, "named": self.named, "columns": columns}
        return found | ({} if self.codes is None else {"codes": self.codes.to_json()})

    @classmethod
    def from_json(cls, found: Any) -> Schema:
        """Return a schema from a file, or raise an error for a damaged one."""
        found = with_keys(found, {"container", "named", "columns"}, {"codes"}, "the table")
        named = _checks.boolean(found["named"], "named")
        container = _checks.choice(found["container"], "container", containers.CONTAINERS)
        columns = [Column.from_json(column) for column in found["columns"]]
        if named and not all(isinstance(column.label, str) for column in columns):
            raise ValueError("the names of a table must be strings")
        schema = cls(container, columns, named)
        if "codes" in found:
            schema.codes = Codes.from_json(found["codes"])
        return schema


def _labelled(table: RawTable) -> Any:
    """Return what :mod:`fastvae._data.names` reads the labels of."""
    if not table.named:
        return np.empty((0, len(table.columns)))
    labels = np.array([raw.label for raw in table.columns], object)
    return names.Named(np.empty((0, len(labels))), labels)
