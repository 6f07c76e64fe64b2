"""Labels of the examples, the condition y, and groups of examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._explorer.encoding import pack
from fastvae._explorer.names import checked_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._explorer.source import Source

MAX_CLASSES = 24  # with more distinct labels, colours are a scale


@dataclass(frozen=True)
class Labels:
    """Labels of the examples: an index into names [n], or numbers [n]."""

    names: list[str]
    index: NDArray[np.uint8] | None
    values: NDArray[np.float32] | None
    title: str

    def packed(self, rows: NDArray[Any]) -> dict[str, Any]:
        """Return the labels of some rows for the page."""
        if self.index is not None:
            return {"kind": "classes", "names": self.names, "index": pack(self.index[rows], "uint8")}
        assert self.values is not None
        low, high = float(self.values.min()), float(self.values.max())
        values = pack(self.values[rows], "float32")
        return {"kind": "values", "name": self.title, "values": values, "low": low, "high": high}


def read_labels(y: Any, n: int, class_names: Any) -> Labels | None:
    """Return y as labels (None without y), or raise ValueError."""
    if y is None:
        if class_names is not None:
            raise ValueError("class_names= names the labels in y, but y is missing: pass y=")
        return None
    array = np.asarray(y)
    if array.ndim == 2 and len(array) == n and array.shape[1] > 0:
        array = array[:, 0]  # covariates: the first one gives the colours
    if array.shape != (n,):
        raise ValueError(f"y has shape {np.shape(y)}; expected ({n},), a label for each example of X")
    if array.dtype.kind == "O":
        array = np.array([str(label) for label in array]) if any(isinstance(v, str) for v in array) else array
    try:
        values, index = np.unique(array, return_inverse=True)
    except TypeError:
        raise ValueError("y holds labels of several types: pass strings or numbers") from None
    title = getattr(y, "name", None)
    title = title if isinstance(title, str) else "y"
    if len(values) <= MAX_CLASSES:
        names = [f"{value:g}" if isinstance(value, float) else str(value) for value in values.tolist()]
        if class_names is not None:
            names = checked_names(class_names, "class_names", len(values), "labels in y")
        return Labels(names, index.reshape(-1).astype(np.uint8), None, title)
    if array.dtype.kind not in "iufb":
        raise ValueError(f"y has {len(values)} distinct labels: with more than {MAX_CLASSES} they must be numbers")
    if not np.isfinite(array.astype(np.float64)).all():
        raise ValueError("y holds NaN or infinite values: leave those examples out, or pass labels")
    return Labels([], None, array.astype(np.float32), title)


def condition_control(source: Source, found: Labels | None) -> dict[str, Any] | None:
    """Return the control of y of a conditional model for the page."""
    columns = source.conditions
    if columns is None:
        return None
    classes = getattr(source.model, "classes_", None)
    if classes is not None:
        names = [str(label) for label in classes.tolist()]
        if found is not None and len(found.names) == len(names):
            names = found.names
        return {"kind": "labels", "columns": len(names), "names": names, "start": columns[0].tolist()}
    low, high = columns.min(0), columns.max(0)
    names = [f"y[{j}]" for j in range(columns.shape[1])] if columns.shape[1] > 1 else ["y"]
    if hasattr(source.model, "condition_columns_") and hasattr(source.model, "feature_names_in_"):
        names = [str(source.model.feature_names_in_[j]) for j in source.model.condition_columns_]
    ranges = {"low": low.tolist(), "high": high.tolist(), "start": columns.mean(0).tolist()}
    return {"kind": "covariates", "columns": len(names), "names": names} | ranges


def mean_codes(codes: NDArray[np.float32], found: Labels | None, attributes: Any) -> list[dict[str, Any]]:
    """Return the mean codes of groups of examples: those with each attribute and without, then those of each label."""
    made: list[tuple[str, NDArray[Any]]] = []
    for name, mask in dict(attributes or {}).items():
        mask = np.asarray(mask)
        if mask.shape != (len(codes),) or mask.dtype.kind not in "bui" or not np.isin(mask, (0, 1)).all():
            raise ValueError(f"attributes[{name!r}] must be booleans, one for each of the {len(codes)} examples of X")
        made += [(f"without {name}", mask == 0), (f"with {name}", mask == 1)]
    if found is not None and found.index is not None:
        made += [(name, found.index == k) for k, name in enumerate(found.names)]
    elif found is not None and found.values is not None:
        low, high = np.quantile(found.values, (0.25, 0.75))
        made += [
            (f"lowest quarter of {found.title}", found.values <= low),
            (f"highest quarter of {found.title}", found.values >= high),
        ]
    for name, mask in made:
        if not mask.any():
            raise ValueError(f"attributes: no example is {name!r}, so there is no difference of means")
    return [{"name": name, "code": codes[mask].mean(0, dtype=np.float64).tolist()} for name, mask in made]
