"""Latent dimensions and principal components: the sliders and the axes of the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._explorer.encoding import pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._explorer.source import Source

_COMPONENTS = 4  # principal components among the axes
_TOPIC_WORDS = 3  # in the name of a topic
_USED_SHARE = 0.05  # a topic with a smaller share in every document is not used


def latent_dimensions(source: Source, feature_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the latent dimensions for the page: the active ones first, by descending KL (or variance)."""
    codes = source.codes.astype(np.float64)
    n = codes.shape[1]
    variance = codes.var(0)
    active, order = variance > 0, variance
    if source.simplex:
        active, order = codes.max(0) > _USED_SHARE, codes.mean(0)
    elif source.prior and not source.exam and len(codes) > 1:
        diagnosis = source.model.diagnose(source.X, **source.given)
        active, order = diagnosis.active, diagnosis.kl
    ranks = range(n) if n <= 2 else np.lexsort((-order, ~active)).tolist()
    return [_dimension(source, j, bool(active[j]), feature_names) for j in ranks]


def _dimension(source: Source, j: int, active: bool, feature_names: Sequence[str]) -> dict[str, Any]:
    found = {"index": j, "name": f"z[{j}]", "active": active}
    low, high = float(source.codes[:, j].min()), float(source.codes[:, j].max())
    if source.simplex:
        words = np.argsort(-source.model.components_[j], kind="stable")[:_TOPIC_WORDS]
        title = f"topic {j}: {', '.join(feature_names[w] for w in words)}"
        return found | {"name": f"topic {j}", "title": title, "low": 0, "high": 1, "walk": [0, 0.9]}
    if source.exam:
        found["name"] = "ability" if source.codes.shape[1] == 1 else f"ability[{j}]"
    if source.prior:
        return found | {"low": min(low, -3.0), "high": max(high, 3.0), "walk": [-3.0, 3.0]}
    margin = 0.1 * (high - low) or 1.0
    return found | {"low": low - margin, "high": high + margin, "walk": [low, high]}


def principal_components(codes: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the directions of the first principal components of the codes; none for two latent dimensions."""
    if codes.shape[1] < 3:
        return []
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    shares = variances[::-1] / max(variances.sum(), np.finfo(float).tiny)
    return [
        {"name": f"PC {k + 1} ({100 * shares[k]:.0f} %)", "vector": pack(vectors[:, -1 - k], "float32")}
        for k in range(min(_COMPONENTS, codes.shape[1]))
    ]
