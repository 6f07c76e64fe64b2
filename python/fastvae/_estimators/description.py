"""The network of a fitted estimator as plain operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def named_tensors(model: Estimator, tensors: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return a state dict for an unfitted estimator, from the tensors of the modules of encoder, heads and decoder.

    Raises ValueError if the estimator has other modules.
    """
    first = {f"{part}.0.weight": tensors[part][0]["weight"] for part in ("encoder", "decoder") if tensors[part]}
    first |= {f"{head}.weight": tensors[head][0]["weight"] for head in ("mu", "code") if head in tensors}
    named: dict[str, Any] = {}
    shapes = model._new_model(*model._sizes_in(first)).engine.shapes()
    for part, given in tensors.items():
        modules = {name.rpartition(".")[0] for name, _ in shapes if name.startswith(f"{part}.")}
        ours = sorted(modules, key=lambda name: int(name.partition(".")[2] or 0))
        if len(ours) != len(given):
            raise ValueError(f"the {part} has {len(given)} modules with weights, but the estimator's has {len(ours)}")
        for name, own in zip(ours, given, strict=True):
            named |= {f"{name}.{key}": value for key, value in own.items()}
    return named
