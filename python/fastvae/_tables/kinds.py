"""The kind of a column: chosen by the user, or found from its dtype and its values."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastvae._tables.containers import RawColumn

# Kinds that a user can choose; "constant" and "empty" columns are found.
KINDS = ("real", "positive", "count", "binary", "categorical", "ordinal")
NUMERIC = ("real", "positive", "count")

_MAX_LEVELS = 100  # of strings that are categories without being asked for
_FEW_LEVELS = 20  # that are categories even if each row has its own
_MAX_CHOSEN = 2000  # levels of a column that the user has called categorical, or of a dtype of categories


def check(columns: Any) -> dict[Any, str | tuple[Any, ...]]:
    """Return the parameter ``columns``, kinds or ordered lists of levels by column, or raise ValueError."""
    if columns is None:
        return {}
    try:
        items = list(columns.items()) if hasattr(columns, "items") else [(label, kind) for label, kind in columns]
    except (TypeError, ValueError):
        items = [(None, None)]
    found: dict[Any, str | tuple[Any, ...]] = {}
    for label, kind in items:
        if isinstance(kind, np.ndarray) and kind.ndim == 1:
            kind = kind.tolist()
        if isinstance(kind, (list, tuple)):
            kind = [level.item() if isinstance(level, np.generic) else level for level in kind]
        if isinstance(kind, str) and kind in KINDS:
            found[label] = kind
        elif isinstance(kind, (list, tuple)) and len(kind) > 1 and all(isinstance(level, _PLAIN) for level in kind):
            if len(set(kind)) < len(kind):
                raise ValueError(f"columns[{label!r}] has a level twice")
            found[label] = tuple(kind)
        else:
            raise ValueError(
                f"columns={columns!r} must map names of columns to a kind, one of {', '.join(map(repr, KINDS))}, or to "
                f"the list of levels of an ordinal column" + ("" if label is None else f"; see {label!r}")
            )
    return found


_PLAIN = (str, bool, numbers.Real)


def levels_of(raw: RawColumn) -> tuple[Any, ...]:
    """Return the sorted levels that occur in a column; declared ones in their declared order."""
    if raw.values.dtype == object:
        seen = {value for value in raw.values if value is not None}
        plain: list[Any] = sorted(seen)
    else:
        distinct = np.unique(raw.values[~np.isnan(raw.values)])
        plain = [natural(raw.type, value) for value in distinct.tolist()]
    if raw.declared is not None:
        occurring = set(plain)
        return tuple(level for level in raw.declared if level in occurring)
    return tuple(plain)


def natural(type: str, value: float) -> Any:
    """Return a number of a column as bool, int or float."""
    if type == "boolean":
        return bool(value)
    return int(value) if type == "integer" else value


def find(raw: RawColumn) -> str:
    """Return the kind of a column by dtype and values.

    Raises
    ------
    ValueError
        If the column is one of free text; the message names it.
    """
    if raw.type == "empty":
        return "empty"
    if raw.type == "text" or raw.declared is not None:
        levels = levels_of(raw)
        if len(levels) <= 2:
            return "constant" if len(levels) == 1 else "binary"
        rows = int((~raw.missing).sum())
        many = len(levels) > _MAX_LEVELS or (len(levels) > _FEW_LEVELS and 2 * len(levels) > rows)
        if many and raw.declared is None:
            raise ValueError(
                f"column {raw.label!r} holds {len(levels)} different texts in {rows} rows, too many for categories: "
                f'drop it, or pass columns={{{raw.label!r}: "categorical"}}'
            )
        if len(levels) > _MAX_CHOSEN:
            raise ValueError(
                f"column {raw.label!r} has {len(levels)} categories, more than {_MAX_CHOSEN}: drop it, or merge some"
            )
        return "ordinal" if raw.ordered else "categorical"
    observed = raw.values[~np.isnan(raw.values)]
    if not len(observed):
        return "empty"
    distinct = np.unique(observed[: 10**5])
    if len(distinct) == 1 and (observed == distinct[0]).all():
        return "constant"
    whole = is_whole(observed)
    if raw.type == "boolean" or (len(distinct) == 2 and whole and np.isin(observed, distinct).all()):
        return "binary"
    if raw.type == "integer" or whole:
        return "count" if is_count(observed) else "real"
    return "real"


def is_whole(observed: NDArray[np.float64]) -> bool:
    """Whether all values are whole numbers that float64 holds exactly."""
    return bool((np.abs(observed) < 2**53).all() and (observed == np.rint(observed)).all())


def is_count(observed: NDArray[np.float64]) -> bool:
    """Whether whole numbers are counts: none is negative, and a normal distribution would reach below zero.

    The mean is less than two standard deviations: visits and children, not ages and years.
    """
    return bool(observed.min() >= 0 and observed.max() <= arrays.LARGEST and observed.mean() < 2 * observed.std())


def check_values(raw: RawColumn, kind: str | tuple[Any, ...], name: str) -> None:
    """Raise TypeError or ValueError if values do not fit the kind that the user has chosen."""
    if kind in NUMERIC:
        numbers_of(raw, str(kind), name)
    elif kind == "binary":
        levels = levels_of(raw)
        if len(levels) > 2:
            raise ValueError(
                f'column {raw.label!r} has {len(levels)} levels ({shown(levels)}), but is "binary": call it '
                '"categorical"'
            )
    elif kind == "ordinal" and raw.type == "text" and not raw.ordered:
        raise ValueError(
            f'column {raw.label!r} is "ordinal", but its texts have no order: pass the levels in order, '
            f"columns={{{raw.label!r}: {list(levels_of(raw))[:5]!r}}}"
        )
    elif isinstance(kind, str) and len(levels_of(raw)) > _MAX_CHOSEN:
        raise ValueError(f"column {raw.label!r} has {len(levels_of(raw))} levels, more than {_MAX_CHOSEN}: drop it")


def numbers_of(raw: RawColumn, kind: str, name: str) -> NDArray[np.float64]:
    """Return the values of a column of numbers, checked: finite, positive ("positive"), whole and >= 0 ("count")."""
    if raw.values.dtype == object:
        row = int(np.flatnonzero(~raw.missing)[0])
        raise TypeError(
            f"column {raw.label!r} of {name} is {raw.values[row]!r} in row {row}, but is {kind!r}: make numbers of it, "
            "for example with pandas.to_numeric(..., errors='coerce')"
        )
    values = raw.values
    refuse(raw, np.isinf(values), "infinite: it must be finite, or NaN for a hole", name)
    if kind == "positive":
        refuse(raw, values <= 0, 'not positive, but the column is "positive": call it "real"', name)
    elif kind == "count":
        bad = (values < 0) | (values != np.rint(values)) & ~np.isnan(values)
        refuse(raw, bad, 'no count (0, 1, 2, ...), but the column is "count": call it "real"', name)
    return values


def refuse(raw: RawColumn, bad: NDArray[np.bool_], problem: str, name: str) -> None:
    """Raise ValueError if a value is bad, with column, row and problem."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"column {raw.label!r} of {name} is {raw.values[row]:g} in row {row}, which is {problem}")


def shown(levels: Sequence[Any]) -> str:
    """Return levels for a message."""
    return ", ".join(map(repr, levels[:5])) + (", ..." if len(levels) > 5 else "")
