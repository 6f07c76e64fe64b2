"""Checks of scalar parameters: return the value if it is valid, else raise ValueError with the valid range."""

from __future__ import annotations

import numbers
import os
import sys
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The most rows of a result: more than any memory holds.
MAX_ROWS = 2**40

# The most importance samples: each example of a batch takes this many rows of the decoder.
MAX_SAMPLES = 2**20

# The most draws: their number is a word of the noise counter, and float32 counts exactly up to here.
MAX_DRAWS = 2**24


class NotFittedError(ValueError, AttributeError):
    """The model is not fitted: neither trained nor loaded from a state dict.

    If scikit-learn is loaded, an instance is a ``sklearn.exceptions.NotFittedError`` too.
    """

    def __new__(cls, *args: Any) -> NotFittedError:
        theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
        common = cls if theirs is None or issubclass(cls, theirs) else _subclass(cls, theirs)  # type: ignore[arg-type]
        return super().__new__(common, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        return NotFittedError, self.args, self.__dict__ or None


@cache
def _subclass(ours: Any, theirs: Any) -> type[NotFittedError]:
    """Return a class of errors that both `ours` and `theirs` catch, with the name of `ours`."""
    names = {"__module__": ours.__module__, "__qualname__": ours.__qualname__, "__doc__": ours.__doc__}
    found: type[NotFittedError] = type(ours.__name__, (ours, theirs), names)
    return found


class ConvergenceWarning(UserWarning):
    """Training ended before the parameters converged."""


_LARGEST = 2**64 - 1


def integer(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """Return `value` if it is an integer in least .. most, or raise ValueError."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least
    if not good or (most is not None and int(value) > most):
        bound = "" if most is None else f" and at most {most}"
        raise ValueError(f"{name}={_short(value)} must be an integer, at least {least}{bound}")
    if most is None and int(value) > _LARGEST:
        raise ValueError(f"{name} must be an integer, at most {_LARGEST}")
    return int(value)


def number(value: Any, name: str, least: float = 0.0, below: float = 1e9) -> float:
    """Return `value` if it is a number in [least, below), or raise ValueError."""
    good = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not good or not least <= value < below:
        raise ValueError(f"{name}={_short(value)} must be a number, at least {least:g} and below {below:g}")
    return float(value)


def _short(value: Any) -> str:
    """Return the value of an argument for a message, in a line."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"<{type(value).__name__}>"


def boolean(value: Any, name: str) -> bool:
    """Return `value` if it is True or False, or raise ValueError."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} must be True or False")
    return bool(value)


def choice(value: Any, name: str, options: tuple[str, ...]) -> str:
    """Return `value` if it is one of `options`, or raise ValueError."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(repr, options))}")
    return value


def widths(value: Any, name: str) -> list[int]:
    """Return layer widths as a list, or raise ValueError."""
    value = sequence(value)
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise ValueError(f"{name}={value!r} must be a sequence of layer widths, for example (400,)")
    return [integer(width, f"{name}[{i}]", most=_core.MAX_WIDTH) for i, width in enumerate(value)]


def sequence(value: Any) -> Any:
    """Return an integer, also an array without axes, as a sequence of one; other values unchanged."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    return (value,) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else value


def dims(value: Any, latent_dim: int) -> list[int]:
    """Return latent dimensions, a sequence or one integer, as a list of indices, or raise ValueError."""
    array = np.atleast_1d(np.asarray(value))
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
        raise ValueError(f"dims={value!r} must be integers: indices of latent dimensions, from 0")
    return [integer(dim, f"dims[{i}]", least=0, most=latent_dim - 1) for i, dim in enumerate(array.tolist())]


def pair(value: Any, latent_dim: int) -> tuple[int, int]:
    """Return two different indices of latent dimensions, or raise ValueError."""
    if latent_dim < 2:
        raise ValueError("a plane needs two latent dimensions, but the model has one")
    indices = dims(value, latent_dim)
    if len(indices) != 2 or indices[0] == indices[1]:
        raise ValueError(f"dims={value!r} must be two different latent dimensions")
    return indices[0], indices[1]


def plane(value: Any, codes: NDArray[Any]) -> tuple[int, int]:
    """Return two dimensions of codes [n, latent_dim]; of more than two by default those that vary most."""
    if value is None:
        value = (0, 1) if codes.shape[1] <= 2 else np.argsort(-codes.var(axis=0, dtype=np.float64), kind="stable")[:2]
    return pair(value, codes.shape[1])


def seed(random_state: Any) -> int:
    """Return a seed: an int itself, a draw from a numpy generator, or fresh entropy for None."""
    if random_state is None:
        return int.from_bytes(os.urandom(8), "little")
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


def check_seed(random_state: Any) -> None:
    """Raise ValueError unless it is a seed or a numpy generator, from which nothing is drawn."""
    plain = random_state is None or isinstance(random_state, numbers.Integral)  # without the import of numpy.random
    if plain or not isinstance(random_state, (np.random.Generator, np.random.RandomState)):
        seed(random_state)


def threads(n_jobs: Any) -> int | None:
    """Return the number of threads for `n_jobs`: None lets the engine choose, -1 is all."""
    if n_jobs is None:
        environment()
        return None
    if isinstance(n_jobs, numbers.Integral) and not isinstance(n_jobs, bool):
        if n_jobs == -1:
            environment()
            return int(_core.config()[2])
        if 1 <= int(n_jobs) <= _core.MAX_THREADS:
            return int(n_jobs)
    raise ValueError(f"n_jobs={n_jobs!r} must be None, -1, or a number of threads up to {_core.MAX_THREADS}")


_environment_checked = False


def environment() -> None:
    """Warn, once in a process, if ``FASTVAE_NUM_THREADS`` holds no number of threads."""
    global _environment_checked
    if _environment_checked:
        return
    _environment_checked = True  # first: a warning may be an error
    unreadable = _core.unreadable_num_threads()
    if unreadable is not None:
        value, used = unreadable
        warn(
            f"FASTVAE_NUM_THREADS={value!r} is no number from 1 to {_core.MAX_THREADS} and ignored: the default is "
            f"{used} {'thread' if used == 1 else 'threads'}"
        )


def warn(message: str, category: type[UserWarning] = UserWarning) -> None:
    """Issue a warning at the first caller outside of this package."""
    import inspect  # here only, so that `import fastvae` stays cheap

    level, frame = 1, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("fastvae."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
