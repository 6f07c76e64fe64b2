"""JSON of a model file: strict parsing, and the classes of y."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names of the dtypes of ``classes_`` in a file.
_LABELS = ("bool", "str", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def parse(text: str) -> dict[str, Any]:
    """Parse a JSON object; raises ValueError for duplicate keys, NaN and Infinity. 1e400 is infinite."""
    import json  # here only, so that `import fastvae` stays cheap

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("the JSON has a duplicate key")
        return found

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not a JSON number")

    found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(found, dict):
        raise ValueError("the JSON is not an object")
    return found


def with_keys(found: Any, required: set[str], optional: set[str], what: str) -> dict[str, Any]:
    """Return a JSON object; raises ValueError unless it has all required keys, and no others but optional ones."""
    if not isinstance(found, dict):
        raise ValueError(f"{what} must be an object, not {type(found).__name__}")
    missing, unknown = sorted(required - found.keys()), sorted(found.keys() - required - optional)
    if missing or unknown:
        raise ValueError(f"{what} lacks the keys {missing} and has the unknown keys {unknown}")
    return found


def checked_names(names: Any, total: int) -> NDArray[np.object_]:
    """Return the names of the `total` columns of X as an array; raises ValueError unless they are strings."""
    if not isinstance(names, list) or len(names) != total or not all(isinstance(name, str) for name in names):
        raise ValueError("the feature names do not fit the model")
    return np.array(names, object)


def encode_classes(classes: NDArray[Any] | None) -> dict[str, Any] | None:
    """Return the classes of a conditional model in JSON types."""
    if classes is None:
        return None
    return {"type": "str" if classes.dtype.kind == "U" else classes.dtype.name, "values": classes.tolist()}


def decode_classes(found: Any, conditions: int) -> NDArray[Any] | None:
    """Return the classes of a conditional model from JSON; raises ValueError unless sorted, one for each condition."""
    if found is None:
        return None
    found = with_keys(found, {"type", "values"}, set(), "classes_")
    values, kind = found["values"], found["type"]
    if kind not in _LABELS or not isinstance(values, list) or len(values) != conditions or not conditions:
        raise ValueError(f"the classes do not fit a model with {conditions} conditions")
    classes = np.array(values, dtype=kind)
    if classes.tolist() != values or not np.array_equal(np.unique(classes), classes):
        raise ValueError("the classes are not sorted")
    return classes
