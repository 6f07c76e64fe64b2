"""Missing values: NaN in X marks a value that was not observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples


def mode(missing: Any, missing_indicator: Any) -> str:
    """Return the engine's name for the two parameters: "error", "mask" or "indicator"; or raise ValueError."""
    masked = _checks.choice(missing, "missing", ("error", "mask")) == "mask"
    indicator = _checks.boolean(missing_indicator, "missing_indicator")
    if indicator and not masked:
        raise ValueError(
            "missing_indicator=True needs missing values, which missing='error' refuses: set missing='mask'"
        )
    return ("indicator" if indicator else "mask") if masked else "error"


def count_observed(X: Examples) -> NDArray[np.int64]:
    """Return the number of observed values of each example, which are not NaN; reads X in blocks."""
    n, cols = X.shape
    missing = np.zeros(n, np.int64)
    if isinstance(X, _core.SparseMatrix):
        rows = np.repeat(np.arange(n), np.diff(X.indptr))
        missing += np.bincount(rows[np.isnan(X.data)], minlength=n)
    elif X.dtype.kind == "f":
        for start in range(0, n, 1024):
            missing[start : start + 1024] = np.count_nonzero(np.isnan(X[start : start + 1024]), axis=1)
    return np.subtract(cols, missing)


def per_observed(
    losses: dict[str, float], observed: NDArray[np.int64], weights: NDArray[np.float32] | None
) -> dict[str, float]:
    """Return weighted mean losses per example as means per observed value; NaN if there are none."""
    examples, values = float(len(observed)), float(observed.sum())
    if weights is not None:
        examples, values = float(weights.sum(dtype=np.float64)), float(np.dot(weights.astype(np.float64), observed))
    share = examples / values if values else float("nan")
    return {f"{key}_per_observed": value * share for key, value in losses.items()}
