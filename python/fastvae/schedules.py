"""Schedules: values of ``beta``, ``capacity`` and ``learning_rate`` that change during training.

A schedule is a function of the step, counted from the first step of ``fit``. Its length is in epochs or in steps. Any
function from the number of the step (0, 1, ...) to a number is a schedule too.

>>> import fastvae
>>> warm_up = fastvae.schedules.linear(0.0, 1.0, epochs=10)
>>> vae = fastvae.VAE(latent_dim=2, beta=warm_up, learning_rate=fastvae.schedules.cosine(2e-3, 1e-5, epochs=50))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastvae import _checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Schedule", "cosine", "cyclical", "exponential", "linear"]


@dataclass(frozen=True)
class Schedule:
    """A value that changes from ``start`` to ``end``; created by the functions of this module.

    Attributes
    ----------
    shape : {"linear", "cosine", "exponential", "cyclical"}
    start, end : float
        First and last value.
    epochs, steps : float or None
        Length (of a cycle if "cyclical"), in one of the two units.
    ramp : float
        Share of a cycle during which the value changes; then it stays at ``end``.
    """

    shape: Literal["linear", "cosine", "exponential", "cyclical"]
    start: float
    end: float
    epochs: float | None = None
    steps: float | None = None
    ramp: float = 1.0

    def __post_init__(self) -> None:
        _checks.choice(self.shape, "shape", ("linear", "cosine", "exponential", "cyclical"))
        least = 1e-30 if self.shape == "exponential" else 0.0
        for name in ("start", "end"):
            _checks.number(getattr(self, name), f"{self.shape}: {name}", least=least)
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"{self.shape}: pass its length either as epochs= or as steps=")
        length = "epochs" if self.steps is None else "steps"
        _checks.number(getattr(self, length), f"{self.shape}: {length}", least=1e-9, below=1e15)
        if not 0 < _checks.number(self.ramp, f"{self.shape}: ramp") <= 1:
            raise ValueError(f"{self.shape}: ramp={self.ramp!r} must be above 0 and at most 1")

    def __repr__(self) -> str:
        length = f"epochs={self.epochs}" if self.steps is None else f"steps={self.steps}"
        ramp = f", ramp={self.ramp}" if self.shape == "cyclical" else ""
        return f"{self.shape}({self.start}, {self.end}, {length}{ramp})"

    def __call__(self, steps: ArrayLike, epochs: ArrayLike) -> NDArray[np.float64]:
        """Return the values at `steps`, counted from 0; `epochs` are the epochs completed before each step."""
        done, length = (steps, self.steps) if self.epochs is None else (epochs, self.epochs)
        x: NDArray[np.float64] = np.asarray(done, np.float64) / np.float64(length or 1)
        if self.shape == "cyclical":
            x = x % 1.0 / self.ramp
        x = np.minimum(x, 1.0)
        if self.shape == "cosine":
            x = (1.0 - np.cos(np.pi * x)) / 2.0
        if self.shape == "exponential":
            geometric: NDArray[np.float64] = self.start * (self.end / self.start) ** x
            return geometric
        return self.start + (self.end - self.start) * x


def linear(start: float, end: float, *, epochs: float | None = None, steps: float | None = None) -> Schedule:
    """Linear, then constant. As ``beta`` from 0 to 1 it is the KL warm-up of Bowman et al. (arXiv:1511.06349).

    Parameters
    ----------
    start, end : float
        First and last value.
    epochs, steps : float or None
        Length, in one of the two units.

    Returns
    -------
    Schedule
    """
    return Schedule("linear", start, end, epochs, steps)


def cosine(start: float, end: float, *, epochs: float | None = None, steps: float | None = None) -> Schedule:
    """Half a cosine, then constant, as for a learning rate in Loshchilov & Hutter (arXiv:1608.03983).

    Parameters
    ----------
    start, end, epochs, steps
        As for ``linear``.

    Returns
    -------
    Schedule
    """
    return Schedule("cosine", start, end, epochs, steps)


def exponential(start: float, end: float, *, epochs: float | None = None, steps: float | None = None) -> Schedule:
    """Geometric, with the same factor each step, then constant; ``start`` and ``end`` are positive.

    Parameters
    ----------
    start, end, epochs, steps
        As for ``linear``.

    Returns
    -------
    Schedule
    """
    return Schedule("exponential", start, end, epochs, steps)


def cyclical(
    start: float, end: float, *, epochs: float | None = None, steps: float | None = None, ramp: float = 0.5
) -> Schedule:
    """Cycles from ``start`` to ``end`` (Fu et al., arXiv:1903.10145).

    Parameters
    ----------
    start, end : float
        First and last value of a cycle.
    epochs, steps : float or None
        Length of a cycle, in one of the two units.
    ramp : float
        Share of a cycle with a linear change to ``end``; then the value stays there.

    Returns
    -------
    Schedule
    """
    return Schedule("cyclical", start, end, epochs, steps, ramp)


Value = float | Schedule | Callable[[int], float]


def check(value: Any, name: str, least: float = 0.0, below: float = 1e9) -> Value:
    """Return a number or a schedule of numbers in [least, below), or raise ValueError."""
    if isinstance(value, Schedule):
        for end in (value.start, value.end):
            _checks.number(end, f"{name}={value!r}: start and end", least, below)
        return value
    return value if callable(value) else _checks.number(value, name, least, below)


@dataclass(frozen=True)
class Steps:
    """The steps of a pass: ``count`` steps from step ``first``, after ``epochs`` completed epochs."""

    first: int
    epochs: float
    count: int

    @property
    def last(self) -> tuple[int, float]:
        """Number of the last step, and epochs completed before it."""
        return self.first + self.count - 1, self.epochs + (self.count - 1) / self.count


def values(value: Value, name: str, steps: Steps) -> NDArray[np.float64]:
    """Return the value at each step of a pass, [count], or a constant, [1]."""
    if isinstance(value, Schedule):
        offsets = np.arange(steps.count)
        return value(steps.first + offsets, steps.epochs + offsets / steps.count)
    if callable(value):
        numbers = range(steps.first, steps.first + steps.count)
        return np.array([_checks.number(value(step), f"{name}({step})") for step in numbers], np.float64)
    return np.array([value], np.float64)


def cut(values: NDArray[Any], first: int, count: int) -> NDArray[Any]:
    """Return the values of `count` steps of a pass from step `first`; a constant, of one element, stays."""
    return values if len(values) < 2 else values[first : first + count]


def final(value: Value, name: str, step: int, epochs: float) -> float:
    """Return the final value: ``end`` of a cyclical schedule, else the value at the last step."""
    if isinstance(value, Schedule) and value.shape == "cyclical":
        return float(value.end)
    return float(values(value, name, Steps(step, epochs, 1))[0])
