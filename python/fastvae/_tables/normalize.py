"""Normalisation of real columns: to zero mean and unit variance, or to a normal distribution by quantiles."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAYS = ("standard", "quantile")
_KNOTS = 64  # of a quantile function


class Normalizer(Protocol):
    """A strictly increasing function z = f(x) of a column."""

    def forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z."""

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x."""

    def drawn(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x for draws z of the model."""

    def log_slope(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ln dz/du, where u = (x - mean) / sd is the standardised column."""

    def to_json(self) -> dict[str, Any]:
        """Return the parameters in JSON types."""


class Standard:
    """z = (x - mean) / sd."""

    def __init__(self, mean: float, sd: float) -> None:
        self.mean, self.sd = mean, sd

    @classmethod
    def fit(cls, x: NDArray[np.float64]) -> Standard:
        """Return the normalisation of observed values x, which are not all equal."""
        with np.errstate(over="ignore", under="ignore"):
            mean = float(x.mean())
            sd = float(np.sqrt(np.mean((x - mean) ** 2)))
        if not 1e-150 < sd < 1e150:  # squares leave the range of float64
            unit = float(np.abs(x).max())
            mean = float((x / unit).mean()) * unit
            unit = float(np.abs(x - mean).max()) or 1.0
            sd = float(np.sqrt(np.mean(((x - mean) / unit) ** 2))) * unit
        return cls(mean, sd or 1.0)

    def forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z."""
        return (x - self.mean) / self.sd

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x."""
        return self.mean + self.sd * z

    def drawn(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x."""
        return self.inverse(z)

    def log_slope(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 0: z is the standardised column."""
        return np.where(np.isnan(x), np.nan, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters in JSON types."""
        return {"mean": self.mean, "sd": self.sd}


class Quantile:
    """z = Phi^-1(F(x)), where F is the distribution function of the training column, linear between knots.

    Knots are quantiles of the column; equal values share a knot at the middle of their probabilities. Beyond the knots
    z is linear in x, with the slope of 1 / sd. If each value of the column has a knot, `ends` are the z at the upper
    ends of their probabilities.
    """

    def __init__(
        self,
        mean: float,
        sd: float,
        x: NDArray[np.float64],
        z: NDArray[np.float64],
        ends: NDArray[np.float64] | None = None,
    ) -> None:
        self.mean, self.sd, self.x, self.z, self.ends = mean, sd, x, z, ends

    @classmethod
    def fit(cls, x: NDArray[np.float64]) -> Quantile:
        """Return the normalisation of observed values x, which are not all equal."""
        standard, n = Standard.fit(x), len(x)
        ordered = np.sort(x)
        middle = (np.arange(n) + 0.5) / n
        chosen = np.unique(np.linspace(0, n - 1, min(n, _KNOTS)).round().astype(int))
        knots = np.unique(ordered)
        all_values = len(knots) <= _KNOTS
        if not all_values:
            knots = np.unique(ordered[chosen])
        first, last = np.searchsorted(ordered, knots, "left"), np.searchsorted(ordered, knots, "right") - 1
        share = (middle[first] + middle[last]) / 2
        normal = NormalDist()
        z = np.array([normal.inv_cdf(float(p)) for p in share])
        ends = np.array([normal.inv_cdf(float(p)) for p in (last[:-1] + 1) / n]) if all_values else None
        return cls(standard.mean, standard.sd, knots, z, ends)

    def forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z."""
        z = np.interp(x, self.x, self.z)
        z += np.where(x < self.x[0], x - self.x[0], 0) / self.sd + np.where(x > self.x[-1], x - self.x[-1], 0) / self.sd
        return z

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x."""
        x = np.interp(z, self.z, self.x)
        x += np.where(z < self.z[0], z - self.z[0], 0) * self.sd + np.where(z > self.z[-1], z - self.z[-1], 0) * self.sd
        return x

    def drawn(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x for draws z: F^-1(Phi(z)), values of the column only, if each of them has a knot."""
        return self.inverse(z) if self.ends is None else self.x[np.searchsorted(self.ends, z)]

    def log_slope(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ln dz/du, piecewise constant."""
        slopes = np.log(np.diff(self.z) / np.diff(self.x) * self.sd)
        padded = np.concatenate([[0.0], slopes, [0.0]])
        found = padded[np.searchsorted(self.x, x, "right")]
        found[x == self.x[-1]] = slopes[-1]
        return np.where(np.isnan(x), np.nan, found)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters in JSON types."""
        return {"mean": self.mean, "sd": self.sd, "x": self.x.tolist(), "z": self.z.tolist()} | (
            {} if self.ends is None else {"ends": self.ends.tolist()}
        )


def fit(x: NDArray[np.float64], way: str) -> Normalizer:
    """Return the normalisation of observed values x, which are not all equal."""
    return Quantile.fit(x) if way == "quantile" else Standard.fit(x)


def from_json(found: dict[str, Any]) -> Normalizer:
    """Return a normalisation from a file, or raise an error for a damaged one."""
    mean, sd = float(found["mean"]), float(found["sd"])
    if not (np.isfinite(mean) and 0 < sd < np.inf):
        raise ValueError("a normalisation must be finite")
    if "x" not in found:
        return Standard(mean, sd)
    x, z = (np.array(found[key], np.float64) for key in ("x", "z"))
    if x.ndim != 1 or x.shape != z.shape or len(x) < 2 or not ((np.diff(x) > 0).all() and (np.diff(z) > 0).all()):
        raise ValueError("the knots of a normalisation must increase")
    ends = np.array(found["ends"], np.float64) if "ends" in found else None
    if ends is not None and (ends.shape != (len(x) - 1,) or not (np.diff(ends) > 0).all()):
        raise ValueError("the ends of a normalisation must increase")
    return Quantile(mean, sd, x, z, ends)
