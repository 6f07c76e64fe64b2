"""Columns of any units in common ones: the median is 0, a standard deviation 1, and far values are drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_ROWS = 100_000  # enough for quantiles
_NORMAL_RANGE = 1.3489795003921634  # between the quartiles of N(0, 1)
_LARGEST = np.finfo(np.float64).max
_LINEAR = 5.0  # standard deviations, beyond which the scale is logarithmic


class RobustScale(NamedTuple):
    """u = (x - center) / scale of each column, beyond 5 drawn in: sign(u) (5 + ln(1 + |u| - 5)).

    ``center`` is the median, ``scale`` the range between the quartiles divided by that of N(0, 1), so that a quarter of
    bad values does little. Missing values (NaN) stay missing.
    """

    center: NDArray[np.float64]  # [n_features]
    scale: NDArray[np.float64]  # [n_features], above 0

    @classmethod
    def of(cls, X: NDArray[Any]) -> RobustScale:
        """Return the scale of the columns of X, [n, n_features], each with at least one value.

        The scale of a column whose quartiles agree is its standard deviation, of a constant one its magnitude.
        """
        some = X[:: -(-len(X) // _MOST_ROWS)].astype(np.float64)
        if not np.isfinite(some).any(axis=0).all():
            some = X.astype(np.float64)
        missing = np.isnan(some).any()
        low, center, high = (np.nanquantile if missing else np.quantile)(some, (0.25, 0.5, 0.75), axis=0)
        scale = (high - low) / _NORMAL_RANGE
        magnitude = np.abs(center)
        # In units of the largest value: squares of large values overflow.
        largest = np.nanmax(np.abs(some), axis=0)
        unit = np.where(largest > 0, largest, 1.0)
        deviation = np.nanstd(some / unit, axis=0) * unit
        least = largest * _precision(some, X.dtype)
        scale = np.where(scale > least, scale, deviation)
        scale = np.where(scale > least, scale, magnitude)
        return cls(center, np.where(scale > 0, scale, 1.0))

    def apply(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return the columns of X, [n, n_features], in common units."""
        with np.errstate(over="ignore"):
            u = np.clip((X.astype(np.float64) - self.center) / self.scale, -_LARGEST, _LARGEST)
        beyond = np.abs(u) - _LINEAR
        return np.where(beyond > 0, np.sign(u) * (_LINEAR + np.log1p(np.maximum(beyond, 0))), u).astype(np.float32)


def _precision(some: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Return the largest relative spread of each column that may be rounding errors: of float32, or of float64 sums."""
    with np.errstate(over="ignore"):
        single = (dtype.kind == "f") & ((some.astype(np.float32) == some) | np.isnan(some)).all(axis=0)
    return np.where(single, 1e-7, 1e-10)
