"""Validation of y, the input of a conditional model: labels or real covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays, cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_SHOWN = 20  # classes that an error message lists


def classes_of(y: Any, announced: Any = None, name: str = "y") -> NDArray[Any] | None:
    """Return the sorted unique labels of y [n], or None if y [n, c] holds covariates.

    `announced` are all labels, if y may lack some; `name` is that of y in messages.
    """
    if y is None:
        raise ValueError(
            "pass y=: conditional=True needs labels [n_examples], or real covariates [n_examples, c]; "
            "condition_columns= takes them from columns of X"
        )
    array = _array(y, name)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind not in "f":
        if array.dtype.kind in "iub":
            raise ValueError(
                f"y has shape {array.shape} and holds integers: pass y.ravel() if they are labels, y.astype(float) for "
                "a real covariate"
            )
        array = array[:, 0]
    if announced is None:
        return np.unique(_labels(array, name)) if array.ndim == 1 else None
    if array.ndim != 1:
        raise ValueError(
            f"leave out classes=: {name} has shape {array.shape}, which means covariates; labels are [n_examples]"
        )
    return sorted_classes(announced)


def sorted_classes(classes: Any) -> NDArray[Any]:
    """Return the argument ``classes``, all labels that y may have, sorted, or raise TypeError or ValueError."""
    array = _array(classes, "classes")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"classes has shape {array.shape}; expected the labels that y may have, [n_classes]")
    return np.unique(_labels(array))


def check_classes(announced: Any, classes: NDArray[Any] | None) -> None:
    """Raise ValueError unless the argument ``classes`` has the labels `classes` of the fitted model."""
    if classes is None:
        raise ValueError("leave out classes=: this model was not fitted with labels")
    given = sorted_classes(announced)
    if not np.array_equal(given, classes):
        raise ValueError(
            f"classes={given.tolist()[:_MAX_SHOWN]} differ from the classes of the first call, "
            f"{classes.tolist()[:_MAX_SHOWN]}: their number is part of the network, so a change needs a new model"
        )


def read(
    y: Any, n: int, classes: NDArray[Any] | None, cols: int | None, one: bool = False, name: str = "y"
) -> NDArray[Any]:
    """Return y as the engine reads it, [n, columns].

    Labels become one-hot rows over `classes`; without classes y holds `cols` covariates (None: any number). With `one`,
    a single label or row of covariates stands for all `n` examples. `name` is that of y in messages.
    """
    return _covariates(y, n, cols, one, name) if classes is None else _one_hot(y, n, classes, one, name)


def _one_hot(y: Any, n: int, classes: NDArray[Any], one: bool, name: str) -> NDArray[np.uint8]:
    array = _array(y, name)
    array = array.reshape(1) if one and array.ndim == 0 else array
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise ValueError(f"y has shape {array.shape}, but the model was fitted with labels: expected ({n},)")
    labels = _labels(_broadcast(array, n, one), name)
    known = np.zeros(len(labels), bool)
    if (labels.dtype.kind == "U") == (classes.dtype.kind == "U"):
        places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        known = classes[places] == labels
    if not known.all():
        shown = ", ".join(map(repr, classes[:_MAX_SHOWN].tolist())) + (", ..." if len(classes) > _MAX_SHOWN else "")
        raise ValueError(f"{name} has the label {labels[~known].tolist()[0]!r}, which is none of the classes: {shown}")
    columns = np.zeros((len(labels), len(classes)), np.uint8)
    columns[np.arange(len(labels)), places] = 255  # the engine scales uint8: 255 is 1
    return columns


def _covariates(y: Any, n: int, cols: int | None, one: bool, name: str) -> NDArray[np.float32]:
    array = _array(y, name)
    if one and array.ndim < 2 and array.dtype.kind in "fiub":
        y = array.reshape(1, -1)
        if array.ndim == 1 and cols == 1 < len(array):
            raise ValueError(
                f"y has shape {array.shape}, but the model was fitted with 1 covariate: pass y.reshape(-1, 1) for one "
                "value per example"
            )
    array = arrays.tensor(arrays.matrix(y, name), name)
    arrays.check_magnitude(array, name)
    if cols is not None and array.shape[1] != cols:
        raise ValueError(f"y has {array.shape[1]} columns, but the model was fitted with {cols} covariates")
    return _broadcast(array, n, one)


def _broadcast(array: NDArray[Any], n: int, one: bool) -> NDArray[Any]:
    """Return `array` with `n` rows; with `one`, a single row is repeated."""
    if one and len(array) == 1:
        return np.broadcast_to(array, (n, *array.shape[1:]))
    if len(array) != n:
        remedy = ": pass one row, or one for each example" if one else ""
        raise ValueError(f"y has {len(array)} rows, but there are {n} examples{remedy}")
    return array


def _array(value: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from error


def _is_gone(label: Any) -> bool:
    return cells.is_missing(label) or (isinstance(label, float) and label != label)


def _labels(array: NDArray[Any], name: str = "y") -> NDArray[Any]:
    """Return a vector of labels as integers, floats or strings, or raise TypeError or ValueError."""
    if array.dtype.kind in "OT":
        gone = next((i for i, label in enumerate(array.tolist()) if _is_gone(label)), None)
        if gone is not None:
            raise TypeError(
                f"{name} has missing labels (row {gone} is {array[gone]}): leave these rows out, or give them a "
                'label, for example "missing"'
            )
        kinds = {str if isinstance(label, str) else type(label) for label in array.tolist()}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise TypeError(f"{name} holds labels of several types ({names}); expected all integers or all strings")
        array = np.array(array.tolist())
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        if not (np.isfinite(array) & (array == np.round(array))).all():
            raise ValueError(
                "y is 1-D, which means labels, but it holds fractions or NaN: "
                "pass y.reshape(-1, 1) for a real covariate"
            )
    if array.dtype.kind not in "biufU" or array.ndim != 1 or len(array) == 0:
        raise TypeError(f"{name} holds {len(array)} labels of type {array.dtype}; expected integers or strings")
    return array
