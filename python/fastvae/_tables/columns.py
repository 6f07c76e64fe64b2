"""A column of a table: from its values to the engine's columns, and back."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays
from fastvae._fitted.files import with_keys
from fastvae._tables import kinds, normalize
from fastvae._tables.containers import Dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._tables.containers import RawColumn
    from fastvae._tables.normalize import Normalizer

_FEW_VALUES = 20  # of a column of whole numbers

UNKNOWN = ("error", "missing")


@dataclass(frozen=True)
class Column:
    """A column that a model was fitted to.

    Attributes
    ----------
    label
        Name or index.
    kind : str
        One of ``kinds.KINDS``, or "constant" or "empty", which are not modelled.
    type : str
        Type of its values: "float", "integer", "boolean", "text" or "empty".
    dtype : str
        In the words of the container.
    declared, ordered
        Levels of a dtype of categories.
    levels : tuple
        Levels that the model knows, in order; the value of a constant column.
    whole : bool
        Whether all training values are whole numbers.
    low, high : float
        Range of the training values.
    values : tuple of float
        The training values of a column of whole numbers with few of them, which draws have too.
    normalizer : Normalizer or None
        Of a real column.
    unit : float
        Divisor of a positive column, its geometric mean.
    holes : bool
        Whether training values were missing.
    """

    label: Any
    kind: str
    type: str
    dtype: str
    declared: tuple[Any, ...] | None = None
    ordered: bool = False
    levels: tuple[Any, ...] = ()
    whole: bool = False
    low: float = 0.0
    high: float = 0.0
    values: tuple[float, ...] = ()
    normalizer: Normalizer | None = None
    unit: float = 1.0
    holes: bool = False

    @classmethod
    def fit(cls, raw: RawColumn, chosen: str | tuple[Any, ...] | None, way: str, name: str) -> Column:
        """Return the column for training values; `chosen` is the user's kind or list of levels."""
        kind = kinds.find(raw) if chosen is None else ""
        common: dict[str, Any] = {
            "label": raw.label,
            "type": raw.type,
            "dtype": raw.dtype,
            "declared": raw.declared,
            "ordered": raw.ordered,
            "holes": bool(raw.missing.any()),
        }
        if chosen is not None:
            kinds.check_values(raw, chosen, name)
            kind = "ordinal" if isinstance(chosen, tuple) else chosen
        levels = kinds.levels_of(raw) if kind not in kinds.NUMERIC else ()
        if isinstance(chosen, tuple):
            _check_listed(raw, chosen, name)
            occurring = set(levels)
            levels = tuple(level for level in chosen if level in occurring)
        if kind not in kinds.NUMERIC:
            if len(levels) <= 1:
                kind = "constant" if levels else "empty"
            return cls(kind=kind, levels=levels, **common)
        values = kinds.numbers_of(raw, kind, name)
        observed = values[~np.isnan(values)]
        if len(observed) == 0 or (observed == observed[0]).all():
            constant = tuple(kinds.natural(raw.type, value) for value in observed[:1].tolist())
            return cls(kind="constant" if constant else "empty", levels=constant, **common)
        facts: dict[str, Any] = {
            "whole": kinds.is_whole(observed),
            "low": float(observed.min()),
            "high": float(observed.max()),
        }
        distinct = np.unique(observed)
        if facts["whole"] and len(distinct) <= _FEW_VALUES and len(observed) >= 5 * len(distinct):
            facts["values"] = tuple(distinct.tolist())
        if kind == "real":
            facts["normalizer"] = normalize.fit(observed, way)
        elif kind == "positive":
            facts["unit"] = float(np.exp(np.log(observed).mean()))
        return cls(kind=kind, **facts, **common)

    @property
    def width(self) -> int:
        """Number of the engine's columns."""
        if self.kind in ("constant", "empty"):
            return 0
        return len(self.levels) if self.kind in ("categorical", "ordinal") else 1

    @property
    def as_dtype(self) -> Dtype:
        """What the column of a new table looks like."""
        return Dtype(self.label, self.dtype, self.declared, self.ordered)

    def encode(self, raw: RawColumn, name: str, unknown: str) -> NDArray[np.float32]:
        """Return values as the engine reads them, [n, width], NaN where a value is missing.

        Raises
        ------
        TypeError, ValueError
            If a value does not fit the kind, or a level is unknown and `unknown` is "error".
        """
        if self.kind == "empty":
            return np.empty((len(raw.values), 0), np.float32)
        if self.kind in kinds.NUMERIC or (self.kind == "constant" and self.type in ("integer", "float")):
            values = kinds.numbers_of(raw, self.kind, name)
            if self.kind == "constant":
                return np.empty((len(values), 0), np.float32)
            found = self._scaled(values)
            far = "too far from the training data" if self.kind == "real" else f"larger than {arrays.LARGEST:g}"
            kinds.refuse(raw, np.abs(found) > arrays.LARGEST, far, name)
            return found.astype(np.float32)[:, np.newaxis]
        codes = self._codes(raw, name, unknown)
        if self.kind == "constant":
            return np.empty((len(codes), 0), np.float32)
        missing = codes < 0
        if self.kind == "binary":
            return np.where(missing, np.nan, codes).astype(np.float32)[:, np.newaxis]
        one_hot = np.zeros((len(codes), len(self.levels)), np.float32)
        one_hot[np.arange(len(codes)), codes] = 1
        one_hot[missing] = np.nan
        return one_hot

    def missing(self, raw: RawColumn) -> NDArray[np.bool_]:
        """Return the holes of a column, [n], where a level that is not known is one too."""
        if self.kind in kinds.NUMERIC or self.kind in ("constant", "empty"):
            return raw.missing
        known = {_key(level) for level in self.levels}
        return np.array([_key(value) not in known for value in raw.values], bool)

    def decode(self, block: NDArray[np.float32], *, draw: bool) -> NDArray[Any]:
        """Return values [n] of means or, with `draw`, of draws [n, width].

        Numbers lie in the range of the training column; means of integers are rounded, levels are the most probable.
        """
        n = len(block)
        if self.kind in ("constant", "empty"):
            return self._values(np.zeros(n, np.intp)) if self.levels else np.full(n, None, object)
        if self.kind not in kinds.NUMERIC:
            codes = (block[:, 0] > 0.5).astype(np.intp) if self.kind == "binary" else block.argmax(1)
            return self._values(codes)
        values = block[:, 0].astype(np.float64)
        if self.normalizer is not None:
            values = self.normalizer.drawn(values) if draw else self.normalizer.inverse(values)
        values = np.clip(values * self.unit, self.low, self.high)
        if draw and self.values:  # the nearest
            known = np.array(self.values)
            values = known[np.searchsorted((known[1:] + known[:-1]) / 2, values)]
        elif self.type == "integer" or (self.whole and draw):
            values = np.rint(values)
        if self.type == "integer":
            return _integers(values, self.high)
        return values if self.type == "float" else self._boolean(values)

    def log_slope(self, raw: RawColumn) -> NDArray[np.float64]:
        """Return ln dz/du of each value, [n], for a density of the standardised column; 0 for other kinds."""
        if self.normalizer is None:
            return np.zeros(len(raw.values))
        return self.normalizer.log_slope(raw.values)

    def to_json(self) -> dict[str, Any]:
        """Return the column in JSON types."""
        found = {
            key: getattr(self, key)
            for key in ("label", "kind", "type", "dtype", "ordered", "whole", "low", "high", "holes")
        }
        found |= {"unit": self.unit, "values": list(self.values), "levels": list(self.levels)}
        found["declared"] = None if self.declared is None else list(self.declared)
        found["normalizer"] = None if self.normalizer is None else self.normalizer.to_json()
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Column:
        """Return a column from a file, or raise an error for a damaged one."""
        given = dict(with_keys(found, {field.name for field in fields(cls)}, set(), "a column of the table"))
        normalizer = given["normalizer"]
        given["normalizer"] = None if normalizer is None else normalize.from_json(normalizer)
        lists = [given["levels"], given["values"], [] if given["declared"] is None else given["declared"]]
        good = all(isinstance(each, list) for each in lists)
        good = good and all(isinstance(level, (str, bool, int, float)) for each in lists for level in each)
        for key in ("levels", "values", "declared"):
            given[key] = None if given[key] is None else tuple(given[key])
        column = cls(**given)
        least = {"binary": 2, "categorical": 2, "ordinal": 2, "constant": 1}.get(column.kind, 0)
        good = good and column.kind in (*kinds.KINDS, "constant", "empty")
        good = good and len(set(column.levels)) == len(column.levels) >= least
        good = good and column.type in ("float", "integer", "boolean", "text", "empty")
        good = good and all(type(each) is bool for each in (column.ordered, column.whole, column.holes))
        good = good and all(
            type(each) in (int, float) for each in (column.low, column.high, column.unit, *column.values)
        )
        good = good and type(column.label) in (str, int) and type(column.dtype) is str
        good = good and all(a < b for a, b in pairwise(column.values))
        good = good and (column.normalizer is not None) == (column.kind == "real")
        if not (good and column.low <= column.high and 0 < column.unit < np.inf):
            raise ValueError("a column of the table is damaged")
        return column

    # Internal

    def _scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values / self.unit if self.normalizer is None else self.normalizer.forward(values)

    def _codes(self, raw: RawColumn, name: str, unknown: str) -> NDArray[np.intp]:
        """Return indices of levels, -1 for holes."""
        places = {_key(level): i for i, level in enumerate(self.levels)}
        codes = np.array([places.get(_key(value), -1) for value in raw.values.tolist()], np.intp)
        new = (codes < 0) & ~raw.missing
        if new.any() and unknown == "error":
            row = int(np.flatnonzero(new)[0])
            raise ValueError(
                f"column {self.label!r} of {name} has the level {_shown(raw, row)} in row {row}, which fit has not "
                f"seen: its levels are {kinds.shown(self.levels)}. unknown='missing' makes a hole of it"
            )
        return codes

    def _values(self, codes: NDArray[np.intp]) -> NDArray[Any]:
        if self.declared is None and self.type == "integer":
            return np.array(self.levels, np.int64 if max(map(abs, self.levels)) < 2**63 else object)[codes]
        if self.declared is None and self.type == "float":
            return np.array(self.levels, np.float64)[codes]
        if self.declared is None and self.type == "boolean":
            return np.array(self.levels, bool)[codes]
        found = np.empty(len(self.levels), object)
        found[:] = self.levels
        return found[codes]

    def _boolean(self, values: NDArray[np.float64]) -> NDArray[Any]:
        return np.rint(values).astype(bool) if self.type == "boolean" else values


def _key(level: Any) -> Any:
    """Return a level as it is compared: numbers and booleans as floats."""
    return level if isinstance(level, str) or level is None else float(level)


def _shown(raw: RawColumn, row: int) -> str:
    """Return a value of a column for a message."""
    value = raw.values[row]
    return repr(kinds.natural(raw.type, float(value)) if isinstance(value, np.floating) else value)


def _integers(values: NDArray[np.float64], high: float) -> NDArray[Any]:
    """Return whole numbers up to `high`, which float64 may have rounded up; objects beyond int64."""
    if high > 2**53:
        values = np.minimum(values, np.nextafter(high, -np.inf))
    if high > 2**63 or (values < -(2**63)).any():
        found = np.empty(len(values), object)
        found[:] = [int(value) for value in values]
        return found
    return values.astype(np.int64)


def _check_listed(raw: RawColumn, listed: tuple[Any, ...], name: str) -> None:
    known = {_key(level) for level in listed}
    for row, (value, missing) in enumerate(zip(raw.values.tolist(), raw.missing.tolist(), strict=True)):
        if not missing and _key(value) not in known:
            raise ValueError(
                f"column {raw.label!r} of {name} has the level {value!r} in row {row}, which is not in the list of its "
                f"levels, {kinds.shown(listed)}"
            )
