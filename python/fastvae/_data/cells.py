"""Cells that are Python objects: numbers are read, None and pandas.NA are NaN, everything else is refused by column."""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import names

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MISSING = ("NoneType", "NAType", "NaTType")  # None, pandas.NA, pandas.NaT


def read(array: NDArray[Any], X: Any, name: str) -> tuple[NDArray[np.float64], np.dtype[Any]]:
    """Return an array of objects, made from `X`, as floats, and the type of its numbers: int64 or float64.

    Raises
    ------
    TypeError
        If a cell is not a number; the message names its column.
    """
    if _is_nullable(X):
        types = [getattr(dtype, "numpy_dtype", dtype) for dtype in X.dtypes]
        return X.to_numpy(np.float64, na_value=np.nan), np.result_type(*types)
    try:
        found = np.frompyfunc(_number, 1, 1)(array).astype(np.float64)
    except (OverflowError, TypeError):
        raise TypeError(f"{name} holds objects{_place(array, X)}; {expected()}") from None
    whole = all(type(cell) is int or isinstance(cell, np.integer) or is_missing(cell) for cell in array.flat)
    return found, np.dtype(np.int64 if whole else np.float64)


def expected() -> str:
    """Return what to do with cells that are no numbers."""
    return (
        "expected real numbers, for example float32: leave out columns of text and dates, or encode them (categories: "
        "sklearn.preprocessing.OneHotEncoder)"
    )


def first_bad(X: Any) -> str:
    """Return where the first cell of `X` is that is no number, for a message; empty if there is none."""
    try:
        array = np.asarray(X, dtype=object)
    except ValueError:  # not rectangular
        return ""
    return _place(array, X)


def _place(array: NDArray[Any], X: Any) -> str:
    for place in np.ndindex(array.shape):
        cell = array[place]
        try:
            _number(cell)
        except (OverflowError, TypeError):
            if not place:
                return ""
            labels = names.columns(X)
            label = "" if labels is None or array.ndim != 2 else f" of column {labels[place[1]]!r}"
            text = repr(cell)
            where = f"row {place[0]}{label or ''.join(f', column {i}' for i in place[1:])}"
            return f" ({where} is {text[:40]}{_reason(cell)})"
    return ""


def _reason(cell: Any) -> str:
    """Return Python's message for an object that is no number, as scikit-learn's errors have it."""
    try:
        float(cell)
    except TypeError as error:
        return f": {error}"
    except Exception:  # of any kind: the cell may be anyone's object
        return ""
    return ""


def _number(cell: Any) -> float:
    """Return a cell as a float, or raise TypeError or OverflowError."""
    if isinstance(cell, (numbers.Real, Decimal, np.bool_)):
        return float(cell)
    if is_missing(cell):
        return float("nan")
    raise TypeError


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, pandas.NA or pandas.NaT."""
    return type(cell).__name__ in _MISSING


def _is_nullable(X: Any) -> bool:
    """Whether `X` is a pandas frame of numbers with NA values, which numpy converts to an array of objects."""
    if getattr(X, "ndim", 0) != 2 or not hasattr(X, "dtypes") or not hasattr(X, "to_numpy"):
        return False
    return {getattr(dtype, "kind", "O") for dtype in X.dtypes} <= set("fiub")
