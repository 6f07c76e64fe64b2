"""Names of features and labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastvae._data.names import in_order_of_columns

if TYPE_CHECKING:
    from fastvae._explorer.source import Source


def checked_names(names: Any, argument: str, n: int, what: str) -> list[str]:
    """Return names, one for each of n things, in their order; a mapping maps names to positions."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"{argument}={names!r:.40} must be a sequence of names, one for each of the {n} {what}")
    found = list(names)
    if len(found) != n:
        raise ValueError(f"{argument} has {len(found)} names, but there are {n} {what}")
    return in_order_of_columns(names, found, argument, "name")


def names_of_features(source: Source, feature_names: Any) -> list[str]:
    """Return a name for each decoded feature, or raise ValueError."""
    n, model = source.network.n_features, source.model
    if feature_names is not None:
        return checked_names(feature_names, "feature_names", n, "features")
    if hasattr(model, "feature_names_in_"):
        names = [str(name) for name in model.feature_names_in_]
        left_out = set(model.condition_columns_.tolist()) if hasattr(model, "condition_columns_") else set()
        return [name for j, name in enumerate(names) if j not in left_out]
    kind = "task" if source.exam else "word" if source.network.likelihood.kind in ("multinomial", "mixture") else "x"
    return [f"x[{j}]" if kind == "x" else f"{kind} {j}" for j in range(n)]
