"""Missing values: NaN in X marks a value that was not observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core

if TYPE_CHECKING:
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


def count_observed(X: Examples) -> int:
    """Return the number of observed values of X, which are not NaN; reads X in blocks."""
    if isinstance(X, _core.SparseMatrix):
        return X.shape[0] * X.shape[1] - int(np.count_nonzero(np.isnan(X.data)))
    if X.dtype.kind != "f":
        return X.size
    return sum(int(np.count_nonzero(~np.isnan(X[start : start + 1024]))) for start in range(0, len(X), 1024))


def per_observed(losses: dict[str, float], n: int, observed: int) -> dict[str, float]:
    """Return mean losses per example of `n` examples as means per observed value; NaN if there are none."""
    share = n / observed if observed else float("nan")
    return {f"{key}_per_observed": value * share for key, value in losses.items()}
