"""Values that change in the course of training: for ``beta``, ``capacity`` and ``learning_rate``.

A schedule is a function of the step, counted from the first step of ``fit``; its length is given in epochs or in
steps. A function of your own that takes the step's number (0, 1, ...) and returns a number does as well.

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
    """A value from ``start`` to ``end``; made by the functions of this module.

    Attributes
    ----------
    shape : {"linear", "cosine", "exponential", "cyclical"}
        How it goes there.
    start, end : float
        Its ends.
    epochs, steps : float or None
        Its length (that of a cycle), in one of the two units.
    ramp : float
        The share of a cycle in which it rises; the rest stays at ``end``.
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
            raise ValueError(f"{self.shape}: give its length either in epochs= or in steps=")
        length = "epochs" if self.steps is None else "steps"
        _checks.number(getattr(self, length), f"{self.shape}: {length}", least=1e-9, below=1e15)
        if not 0 < _checks.number(self.ramp, f"{self.shape}: ramp") <= 1:
            raise ValueError(f"{self.shape}: ramp={self.ramp!r} must be above 0 and at most 1")

    def __repr__(self) -> str:
        length = f"epochs={self.epochs}" if self.steps is None else f"steps={self.steps}"
        ramp = f", ramp={self.ramp}" if self.shape == "cyclical" else ""
        return f"{self.shape}({self.start}, {self.end}, {length}{ramp})"

    def __call__(self, steps: ArrayLike, epochs: ArrayLike) -> NDArray[np.float64]:
        """Values at steps, counted from 0, before each of which so many epochs have gone by."""
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
    """In a straight line, then constant. As ``beta`` from 0 to 1 it is a warm-up (Bowman et al., arXiv:1511.06349)."""
    return Schedule("linear", start, end, epochs, steps)


def cosine(start: float, end: float, *, epochs: float | None = None, steps: float | None = None) -> Schedule:
    """Along half a cosine, then constant: a learning rate's (Loshchilov & Hutter, arXiv:1608.03983)."""
    return Schedule("cosine", start, end, epochs, steps)


def exponential(start: float, end: float, *, epochs: float | None = None, steps: float | None = None) -> Schedule:
    """By the same factor each step, then constant; both ends are positive."""
    return Schedule("exponential", start, end, epochs, steps)


def cyclical(
    start: float, end: float, *, epochs: float | None = None, steps: float | None = None, ramp: float = 0.5
) -> Schedule:
    """Again and again from ``start`` to ``end`` (Fu et al., arXiv:1903.10145).

    Parameters
    ----------
    start, end : float
        The ends of a cycle.
    epochs, steps : float or None
        Its length, in one of the two.
    ramp : float
        The share of it that goes to ``end`` in a straight line; the rest stays there.
    """
    return Schedule("cyclical", start, end, epochs, steps, ramp)


Value = float | Schedule | Callable[[int], float]


def check(value: Any, name: str, least: float = 0.0, below: float = 1e9) -> Value:
    """Return a number or a schedule of numbers in [least, below), or raise ValueError."""
    if isinstance(value, Schedule):
        for end in (value.start, value.end):
            _checks.number(end, f"{name}={value!r}: an end", least, below)
        return value
    return value if callable(value) else _checks.number(value, name, least, below)


@dataclass(frozen=True)
class Steps:
    """The steps of a pass: ``count`` of them from step ``first`` on, with ``epochs`` before it."""

    first: int
    epochs: float
    count: int

    @property
    def last(self) -> tuple[int, float]:
        """The number of the last one, and the epochs before it."""
        return self.first + self.count - 1, self.epochs + (self.count - 1) / self.count


def values(value: Value, name: str, steps: Steps) -> NDArray[np.float64]:
    """Values at the steps of a pass; a single one where they are all the same."""
    if isinstance(value, Schedule):
        done = np.arange(steps.count)
        return value(steps.first + done, steps.epochs + done / steps.count)
    if callable(value):
        numbers = range(steps.first, steps.first + steps.count)
        return np.array([_checks.number(value(step), f"{name}({step})") for step in numbers], np.float64)
    return np.array([value], np.float64)


def final(value: Value, name: str, step: int, epochs: float) -> float:
    """What a value leads to: the top of a cycle, or what it is at the last step, before which are so many epochs."""
    if isinstance(value, Schedule) and value.shape == "cyclical":
        return float(value.end)
    return float(values(value, name, Steps(step, epochs, 1))[0])
