"""Containers in which people have data: arrays of several types and orders, lists, frames, sparse matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def _frame(values: Values) -> Any:
    import pandas as pd

    return pd.DataFrame(values, columns=[f"c{j}" for j in range(values.shape[1])])


def _objects(values: Values) -> Any:
    import pandas as pd

    cells = values.astype(object)
    cells[np.isnan(values)] = None
    return pd.DataFrame(cells, columns=[f"c{j}" for j in range(values.shape[1])])


def _csr(values: Values, dtype: Any = np.float32, index: Any = np.int32) -> Any:
    from scipy import sparse

    found = sparse.csr_array(values.astype(dtype))
    found.indices, found.indptr = found.indices.astype(index), found.indptr.astype(index)
    return found


def _coo(values: Values) -> Any:
    from scipy import sparse

    return sparse.coo_array(values)


def _unsorted(values: Values) -> Any:
    """Return a CSR matrix whose columns fall within a row."""
    found = _csr(values)
    for start, end in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        found.indices[start:end] = found.indices[start:end][::-1].copy()
        found.data[start:end] = found.data[start:end][::-1].copy()
    found.has_sorted_indices = False
    return found


def _strided(values: Values) -> Any:
    wide = np.full((2 * len(values), *values.shape[1:]), 7.0, np.float32)
    wide[::2] = values
    return wide[::2]


_BUILD: dict[str, Callable[[Values], Any]] = {
    "float64": lambda values: values.copy(),
    "float32": lambda values: values.astype(np.float32),
    "float16": lambda values: values.astype(np.float16),
    "fortran": lambda values: np.asfortranarray(values),
    "fortran32": lambda values: np.asfortranarray(values.astype(np.float32)),
    "strided": _strided,
    "reversed": lambda values: values[..., ::-1].copy()[..., ::-1],
    "swapped": lambda values: values.astype(">f8"),
    "list": lambda values: values.tolist(),
    "int64": lambda values: values.astype(np.int64),
    "int16": lambda values: values.astype(np.int16),
    "grey": lambda values: np.rint(values * 255).astype(np.uint8),
    "uint8": lambda values: values.astype(np.uint8),
    "bool": lambda values: values.astype(bool),
    "frame": _frame,
    "objects": _objects,
    "csr": _csr,
    "csr64": lambda values: _csr(values, np.float64, np.int64),
    "csr_int": lambda values: _csr(values, np.int64),
    "coo": _coo,
    "unsorted": _unsorted,
}
SPARSE = ("csr", "csr64", "csr_int", "coo", "unsorted")
_INTEGERS = {"int64": 2**24, "int16": 2**15 - 1, "csr_int": 2**24}


def build(name: str, values: Values) -> Any:
    """Return values in a container."""
    return _BUILD[name](values)


def suitable(values: Values, *, sparse: bool, flat: bool = True, counts: bool = False, grey: bool = True) -> list[str]:
    """Return the names of containers that hold these values exactly and with the same meaning.

    uint8 means the same as floats to a likelihood of counts, and if there is nothing above 1.
    """
    found = ["float64", "float32", "fortran", "fortran32", "strided", "reversed", "swapped", "list"]
    levels = np.rint(values * 255)
    if grey and not counts and ((levels >= 0) & (levels <= 255)).all() and levels.max() > 1:
        same = np.array_equal((levels.astype(np.float32) / np.float32(255)), values)
        found += ["grey"] if same else []
    holes = bool(np.isnan(values).any())
    found += ["frame", "objects"] if flat else []
    found += list(SPARSE[:2] + SPARSE[3:]) if sparse and flat else []
    with np.errstate(over="ignore"):
        found += ["float16"] if np.array_equal(values.astype(np.float16), values, equal_nan=True) else []
    if not holes and (values == np.rint(values)).all():
        top = np.abs(values).max(initial=0)
        found += [name for name, most in _INTEGERS.items() if top <= most and (name not in SPARSE or (sparse and flat))]
        if values.min(initial=0) >= 0 and (top <= 1 or (counts and top <= 255)):
            found += ["uint8"]
        if values.min(initial=0) >= 0 and top <= 1:
            found += ["bool"]
    return found
