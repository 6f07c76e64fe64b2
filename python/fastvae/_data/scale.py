"""The scale of integers in X: decided by the first training data, the same in every later call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_GREY = 255  # the divisor of grey values
_MAX_DIVIDED = 16  # floats above are no divided grey values, even with noise
_BLOCK = 2**18  # values that are examined at once

# Types of X that are divided: by a model of version 0.1, after training on floats, after training on integers.
_DIVIDED = ("dense uint8", "uint8", "integers")


class InputScale(NamedTuple):
    """The divisor of integers in X. Floats and booleans are never divided.

    `divisor` is 1 or 255; `divided` is one of _DIVIDED.
    """

    divisor: int
    divided: str

    @classmethod
    def checked(cls, divisor: Any, divided: Any) -> InputScale:
        """Return a scale from a file, or raise ValueError."""
        if isinstance(divisor, bool) or divisor not in (1, _GREY) or divided not in _DIVIDED:
            raise ValueError(f"divisor={divisor!r} and divided={divided!r} are no scale of integers")
        return cls(divisor, divided)

    def unchanged(self, *, counts: bool) -> tuple[np.dtype[Any], ...]:
        """Return the types of dense arrays that the engine reads as they are, without any warning."""
        floats = () if self.divisor == _GREY and self.divided == "integers" else (np.float32, np.float64)
        grey = (np.uint8,) if self.divisor == _GREY or counts else ()
        return tuple(map(np.dtype, floats + grey))

    def divides(self, dtype: np.dtype[Any], *, dense: bool) -> bool:
        """Whether values of type `dtype` are divided by 255."""
        if self.divisor == 1 or dtype.kind not in "iu":
            return False
        return self.divided == "integers" or (dtype == np.uint8 and (dense or self.divided == "uint8"))

    def rescaled(self, values: NDArray[np.float32], dtype: np.dtype[Any], *, dense: bool = True) -> NDArray[np.float32]:
        """Return values, given by the user as `dtype`, divided if integers are grey values."""
        return values / np.float32(_GREY) if self.divides(dtype, dense=dense) else values

    def warn_of_undivided(self, values: NDArray[Any], name: str) -> None:
        """Warn if floats seem to be grey values 0..255 for a model that was trained on integers; reads some rows."""
        if self.divisor == _GREY and self.divided == "integers":
            largest = np.fmax.reduce(next(_blocks(values)), axis=None)
            if largest > _MAX_DIVIDED:
                _checks.warn(
                    f"{name} holds floats up to {largest:g}, which are not divided, but the model was trained on "
                    f"integers divided by {_GREY}: pass integers, or {name} / {_GREY}"
                )


UNSCALED = InputScale(1, "integers")  # counts, marks of exams
UNTRAINED = InputScale(_GREY, "uint8")  # weights without training data
VERSION_0_1 = InputScale(_GREY, "dense uint8")


def decide(values: NDArray[Any], dtype: np.dtype[Any], *, counts: bool, unit: bool) -> InputScale:
    """Return the scale for a model that is trained on `values`, given by the user as `dtype`.

    Counts are not scaled. uint8 with a value above 1 is grey values, without one binary; other integers are numbers.
    Floats in [0, 1] other than 0 and 1 may be grey values that the user has divided: uint8 in later calls is grey
    values then. `unit`: the likelihood takes values in [0, 1] only.
    """
    if counts or dtype.kind == "b" or (dtype.kind in "iu" and dtype != np.uint8):
        return UNSCALED
    if dtype == np.uint8:
        return InputScale(_GREY if any((block > 1).any() for block in _blocks(values)) else 1, "integers")
    return UNTRAINED if _is_grey(values, unit) else UNSCALED


def _is_grey(values: NDArray[Any], unit: bool) -> bool:
    """Whether all values are in [0, 1], and not all of them are 0 or 1. With `unit` the first part is known."""
    found = False
    for block in _blocks(values):
        if not unit and (np.fmin.reduce(block, axis=None) < 0 or np.fmax.reduce(block, axis=None) > 1):
            return False
        found = found or bool(((block > 0) & (block < 1)).any())
        if found and unit:
            return True
    return found


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    step = max(1, _BLOCK // max(1, values[:1].size))
    return (values[start : start + step] for start in range(0, len(values), step))
