"""AnnData objects: counts of cells with annotations of cells (``obs``), genes (``var``) and embeddings (``obsm``)."""

from __future__ import annotations

from typing import Any

import numpy as np


class Layer:
    """A layer of an AnnData object, in the place of its ``X``."""

    def __init__(self, X: Any, var_names: Any) -> None:
        self.X, self.var_names, self.shape = X, var_names, np.shape(X)


def is_annotated(X: Any) -> bool:
    """Whether X is AnnData or alike."""
    return all(hasattr(X, name) for name in ("X", "obs", "obsm", "var_names"))


def layer_of(X: Any, layer: str | None) -> Any:
    """Return X with the counts of a layer, or raise ValueError; None is ``X.X``."""
    if layer is None:
        return X
    if layer not in X.layers:
        raise ValueError(
            f"layer={layer!r} is not in the layers of X, {_list(X.layers)}: pass one of them, or None for X.X"
        )
    return Layer(X.layers[layer], X.var_names)


def labels_of(X: Any, key: str) -> Any:
    """Return the column `key` of the cells' annotations as an array, or raise ValueError."""
    if key not in X.obs:
        raise ValueError(f"batch_key={key!r} is not a column of X.obs, which has {_list(X.obs)}: pass one of them")
    labels = np.asarray(X.obs[key])
    missing = [i for i, label in enumerate(labels) if label is None or label != label]
    if missing:
        raise ValueError(f"X.obs[{key!r}] has no batch of cell {missing[0]}: leave the cell out, or name its batch")
    return labels.astype(str) if labels.dtype == object else labels


def sizes_of(X: Any, key: str) -> Any:
    """Return the column `key` of the cells' annotations as an array, or raise ValueError."""
    if key not in X.obs:
        raise ValueError(
            f"size_factor_key={key!r} is not a column of X.obs, which has {_list(X.obs)}: pass one of them"
        )
    return np.asarray(X.obs[key])


def _list(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"
