"""Names of columns, by scikit-learn's rule for ``feature_names_in_``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastvae import _checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names of the columns of X, [n_features], or None.
Names: TypeAlias = "NDArray[np.object_] | None"

_MAX_SHOWN = 5  # names of each kind in an error message


class Named:
    """An array whose columns have names: what is left of a frame after a selection of rows."""

    def __init__(self, values: NDArray[Any], columns: NDArray[np.object_]) -> None:
        self.values, self.columns, self.shape = values, columns, values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the values."""
        return np.array(self.values, dtype) if copy else self.values.astype(dtype or self.values.dtype, copy=False)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)


def columns(X: Any) -> list[Any] | None:
    """Return the column labels of a frame (pandas, polars, Arrow, or alike) or of AnnData; None for other data."""
    if isinstance(X, (np.ndarray, list, tuple, type)):
        return None
    for attribute in ("column_names", "columns", "var_names"):  # Arrow; pandas and polars; AnnData
        found = getattr(X, attribute, None)
        if found is not None and not callable(found):
            return list(found) if len(getattr(X, "shape", ())) == 2 else None
    return None


def of_annotated(X: Any) -> Any:
    """Return ``X.X`` if `X` is AnnData or alike, a table with annotations, else `X`."""
    annotated = hasattr(X, "X") and not isinstance(X, type) and not hasattr(X, "__array__") and len(np.shape(X.X)) == 2
    return X.X if annotated else X


def of(X: Any) -> Names:
    """Return the names of the columns of X if they are strings, else None.

    Raises
    ------
    TypeError
        If some names are strings and others are not.
    """
    found = columns(X)
    if not found:
        return None
    types = sorted({type(name).__qualname__ for name in found})
    if "str" not in types:
        return None
    if len(types) > 1:
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{types} as feature name / column name types: use X.columns = X.columns.astype(str)"
        )
    names = np.empty(len(found), object)
    names[:] = found
    return names


def with_names(values: NDArray[Any], X: Any) -> Any:
    """Return rows of X, [n, n_features], with the names of its columns if it has names."""
    names = of(X)
    return values if names is None or values.ndim != 2 or values.shape[1] != len(names) else Named(values, names)


def like(values: NDArray[Any], X: Any, fitted: Names) -> Any:
    """Return an example, [1, n_features], with the names of X or, if X is a bare vector, with the `fitted` ones."""
    if columns(X) is not None or fitted is None or values.shape[1] != len(fitted):
        return with_names(values, X)
    return Named(values, fitted)


def check(X: Any, name: str, fitted: Names, owner: str) -> None:
    """Raise ValueError unless the names of X are the `fitted` ones in their order; warn if only one has names.

    `owner` is the name of the fitted class.
    """
    found = of(X)
    if found is None and fitted is None:
        return
    if fitted is None:
        return _checks.warn(f"{name} has feature names, but {owner} was fitted without feature names")
    if found is None:
        return _checks.warn(f"{name} does not have valid feature names, but {owner} was fitted with feature names")
    if np.array_equal(found, fitted):
        return None
    whose = "" if name == "X" else f" of {name}"
    message = f"The feature names{whose} should match those that were passed during fit.\n"
    unseen, lost = sorted(set(found) - set(fitted)), sorted(set(fitted) - set(found))
    for title, names in (("unseen at fit time", unseen), ("seen at fit time, yet now missing", lost)):
        if names:
            shown = [f"- {each}\n" for each in names[:_MAX_SHOWN]] + ["- ...\n"] * (len(names) > _MAX_SHOWN)
            message += f"Feature names {title}:\n{''.join(shown)}"
    if not unseen and not lost:
        message += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(message)


def in_order_of_columns(given: Any, names: list[Any], argument: str, what: str) -> list[str]:
    """Return `names`, those of `given`, as texts; if `given` maps them to columns, in the order of the columns."""
    if isinstance(given, Mapping):
        columns = np.array(list(given.values()))
        if columns.dtype.kind not in "iu" or not np.array_equal(np.sort(columns), np.arange(len(names))):
            raise ValueError(f"{argument} must map each {what} to a different column, 0 to {len(names) - 1}")
        names = [names[i] for i in np.argsort(columns)]
    return [str(name) for name in names]
