"""From what users pass to arrays that the core reads in place."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastvae import _core, _sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# What the core reads: a 2-D array of a type in `_IN_PLACE`, or a sparse matrix.
Examples: TypeAlias = "NDArray[Any] | _core.SparseMatrix"

# More rows of an answer than any memory holds.
MAX_ROWS = 2**40

_IN_PLACE = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))


def matrix(X: Any, name: str, cols: int | None = None, owner: str = "") -> NDArray[Any]:
    """Return a 2-D view of `X` that is native float32, float64 or uint8, copied only if it is something else.

    Raises TypeError for what is no array of real numbers, ValueError for a wrong shape; the text names the
    offender and the remedy.
    """
    array = _array(X, name)
    shape = array.shape
    if array.ndim == 0:
        raise ValueError(f"{name} is a single number; expected a 2-D array, [n_examples, n_features]")
    if array.ndim == 1:
        raise ValueError(
            f"{name} is 1-D, of shape {shape}; expected a 2-D array, [n_examples, n_features]. Reshape one example "
            f"with {name}.reshape(1, -1), one feature with {name}.reshape(-1, 1)"
        )
    if array.ndim > 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions, {shape}; expected a 2-D array. Flatten images with "
            f"{name}.reshape(len({name}), -1)"
        )
    if 0 in shape:
        what = "examples" if shape[0] == 0 else "features"
        raise ValueError(f"{name} is empty: it has 0 {what} (shape {shape}); at least one is required")
    _check_cols(shape[1], name, cols, owner)
    return array if array.dtype in _IN_PLACE else _float32(array)


def examples(X: Any, name: str, cols: int | None = None, owner: str = "") -> Examples:
    """Return `X` as :func:`matrix` does or, if it is sparse, as the core reads it."""
    if not _sparse.is_sparse(X):
        return matrix(X, name, cols, owner)
    found = _sparse.matrix(X, name)
    _check_cols(found.shape[1], name, cols, owner)
    return found


def _check_cols(found: int, name: str, cols: int | None, owner: str) -> None:
    if cols is not None and found != cols:
        raise ValueError(f"{name} has {found} features, but {owner} is expecting {cols} features as input")


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is found
        return array.astype(np.float32, copy=False)


def row(value: Any, name: str) -> NDArray[Any]:
    """Return one example or code, given as [d] or [1, d], as a matrix of one row."""
    array = _array(value, name)
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2 or len(array) != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected a single row, [d] or [1, d]")
    return matrix(array, name)


def floats(X: Any, name: str, *, counts: bool = False) -> NDArray[np.float32]:
    """Return a matrix as contiguous float32, uint8 (0..255) scaled to 0..1 as the core does unless it holds counts."""
    X = matrix(X, name)
    values = np.ascontiguousarray(_float32(X))
    return values / np.float32(255) if X.dtype == np.uint8 and not counts else values


def lengths(value: Any, n: int) -> NDArray[np.uint32]:
    """Return numbers of words, one given for all of `n` documents or one for each, or raise ValueError."""
    array = np.asarray(value)
    most = 2**24  # floats count so far
    good = array.dtype.kind in "iu" and array.shape in ((), (n,)) and (array >= 0).all() and (array <= most).all()
    if not good:
        raise ValueError(f"lengths={value!r} must be an integer, or {n} integers, at least 0 and at most {most}")
    return np.ascontiguousarray(np.broadcast_to(array, n), np.uint32)


def tensor(value: Any, name: str) -> NDArray[np.float32]:
    """Return a parameter as finite float32 of any shape, or raise TypeError or ValueError."""
    array = _float32(_array(value, name))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def _array(X: Any, name: str) -> NDArray[Any]:
    """Return `X` as an array of real numbers of any shape."""
    if _sparse.is_sparse(X):
        raise TypeError(f"{name} is a sparse matrix, which is not supported here; pass {name}.toarray()")
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError(
            f"{name} has masked values; fill them in with {name}.filled(...), with numpy.nan for a model that has "
            'missing="mask"'
        )
    try:
        array = np.asarray(X)
        if array.dtype == object and _is_nullable(X):
            array = X.to_numpy(np.float64, na_value=np.nan)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _rephrased(X, name, error) from error
    if array.dtype.kind not in "fiub":
        kinds = {"O": "objects", "c": "complex numbers", "U": "strings", "S": "byte strings"}
        kind = kinds.get(array.dtype.kind, f"type {array.dtype}")
        raise TypeError(f"{name} holds {kind}; expected real numbers, for example float32")
    return array


def _is_nullable(X: Any) -> bool:
    """Whether `X` is a frame of pandas with numbers in each column, of which some are NA: numpy sees objects."""
    if getattr(X, "ndim", 0) != 2 or not hasattr(X, "dtypes") or not hasattr(X, "to_numpy"):
        return False
    return {getattr(dtype, "kind", "O") for dtype in X.dtypes} <= set("fiub")


def _rephrased(X: Any, name: str, error: Exception) -> Exception:
    if type(X).__module__.split(".")[0] == "torch":
        if getattr(X, "requires_grad", False):
            return TypeError(f"{name} is a torch tensor that requires grad; pass {name}.detach()")
        return TypeError(f"{name} is a torch tensor of {X.dtype} that numpy cannot read; pass {name}.float().cpu()")
    return ValueError(f"{name} is not a rectangular array of numbers: {error}")


def find(X: Examples, bad: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[int, int, Any] | None:
    """Return row, column and value of the first bad element; a zero is never bad."""
    if isinstance(X, _core.SparseMatrix):
        stored = np.flatnonzero(bad(X.data))
        return (*_sparse.place(X, stored[0]), X.data[stored[0]]) if len(stored) else None
    for start in range(0, len(X), 1024):  # no copy of all of it
        rows = X[start : start + 1024]
        places = np.argwhere(bad(rows))
        if len(places):
            i, j = places[0]
            return start + int(i), int(j), rows[i, j]
    return None


def replacement(
    value: Any, name: str, shape: tuple[int, ...], transform: str | None, *, counts: bool, holes: bool
) -> Examples | None:
    """Return what the encoder is to see in the place of X: finite float32 (uint8 as in X) of its shape, or sparse.

    With `holes` a NaN is what it is not to see.
    """
    if value is None:
        return None
    seen = _sparse.matrix(value, name) if _sparse.is_sparse(value) else floats(value, name, counts=counts)
    if seen.shape != shape:
        raise ValueError(f"{name} has shape {seen.shape}; expected {shape}, that of X")
    if find(seen, lambda values: ~(np.isfinite(values) | (holes & np.isnan(values)))):
        raise ValueError(f"{name} must be finite")
    found = find(seen, lambda values: values <= -1) if transform == "log1p" else None
    if found:
        raise ValueError(f'{name}{list(found[:2])} is {found[2]}, but input_transform="log1p" wants values above -1')
    return seen


def noise(value: Any, name: str, shape: tuple[int, ...], meaning: str) -> NDArray[np.float32] | None:
    """Return an array given by the caller in the place of a draw as float32 of the right shape."""
    if value is None:
        return None
    array = tensor(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}, {meaning}")
    return array


def seed(random_state: Any) -> int:
    """Return a seed: of an int, itself; of a numpy generator, a draw; of None, fresh entropy."""
    if random_state is None:
        import secrets

        return secrets.randbits(64)
    if isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool):
        if 0 <= int(random_state) < 2**64:
            return int(random_state)
    elif isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    elif isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    raise ValueError(
        f"random_state={random_state!r} must be None, an integer in 0 .. 2**64 - 1, or a numpy random generator"
    )


def integer(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """Return `value` if it is an integer in least .. most, or raise ValueError."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least
    if not good or (most is not None and int(value) > most):
        bound = "" if most is None else f" and at most {most}"
        raise ValueError(f"{name}={value!r} must be an integer, at least {least}{bound}")
    return int(value)


def number(value: Any, name: str, least: float = 0.0, below: float = 1e9) -> float:
    """Return `value` if it is a number in [least, below), or raise ValueError."""
    good = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not good or not least <= value < below:
        raise ValueError(f"{name}={value!r} must be a number, at least {least:g} and below {below:g}")
    return float(value)


def boolean(value: Any, name: str) -> bool:
    """Return `value` if it is True or False, or raise ValueError."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} must be True or False")
    return bool(value)


def widths(value: Any, name: str) -> list[int]:
    """Return layer widths as a list, or raise ValueError."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise ValueError(f"{name}={value!r} must be a sequence of layer widths, for example (400,)")
    return [integer(width, f"{name}[{i}]", most=_core.MAX_WIDTH) for i, width in enumerate(value)]


def choice(value: Any, name: str, options: tuple[str, ...]) -> str:
    """Return `value` if it is one of `options`, or raise ValueError."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(repr, options))}")
    return value


def dims(value: Any, latent_dim: int) -> list[int]:
    """Return indices of latent dimensions, given as a sequence or as one integer, as a list, or raise ValueError."""
    array = np.atleast_1d(np.asarray(value))
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
        raise ValueError(f"dims={value!r} must be integers, indices of latent dimensions")
    return [integer(dim, f"dims[{i}]", least=0, most=latent_dim - 1) for i, dim in enumerate(array.tolist())]


def pair(value: Any, latent_dim: int) -> tuple[int, int]:
    """Return two different indices of latent dimensions, or raise ValueError."""
    if latent_dim < 2:
        raise ValueError("a plane needs two latent dimensions, but the model has one")
    indices = dims(value, latent_dim)
    if len(indices) != 2 or indices[0] == indices[1]:
        raise ValueError(f"dims={value!r} must be two different latent dimensions")
    return indices[0], indices[1]


def threads(n_jobs: Any) -> int | None:
    """Return the number of threads: None to let the core choose by the size of the work, -1 for all."""
    if n_jobs is None:
        return None
    if isinstance(n_jobs, numbers.Integral) and not isinstance(n_jobs, bool):
        if n_jobs == -1:
            return int(_core.config()[2])
        if 1 <= int(n_jobs) <= _core.MAX_THREADS:
            return int(n_jobs)
    raise ValueError(f"n_jobs={n_jobs!r} must be None, -1, or a number of threads up to {_core.MAX_THREADS}")
