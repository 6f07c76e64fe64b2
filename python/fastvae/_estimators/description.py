"""The network of a fitted estimator as plain operations."""

from __future__ import annotations

from typing import Any

from fastvae._estimators.network import Network as Estimator
from fastvae._export.network import Network, describe


def describe_model(model: Any, function: str) -> Network:
    """Return the description of a fitted estimator's network; `function` is named in messages.

    Raises TypeError for other objects and NotFittedError before a fit.
    """
    if not isinstance(model, Estimator):
        raise TypeError(f"{function} takes a fitted estimator of fastvae, not {type(model).__name__}")
    return describe(model._require_fitted())
