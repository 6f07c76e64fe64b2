"""Decoded examples on the page (an image, bars of features or words) and original images."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import examples
from fastvae._data.images import Images
from fastvae._explorer.encoding import pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._explorer.source import Source

_LEAST_SIDE = 6  # of images whose shape is guessed


def shape_of_images(source: Source, shape: Any) -> tuple[int, int, int] | None:
    """Return height, width and channels of the decoded images; None: X is a table. Raises ValueError."""
    n, own = source.network.n_features, source.network.image_shape
    words = source.network.likelihood.kind in ("multinomial", "mixture")
    if isinstance(shape, str) and shape == "auto":
        side = isqrt(n)
        named = hasattr(source.model, "feature_names_in_")
        guessed = side * side == n and side >= _LEAST_SIDE and not (named or words or source.exam)
        return own or ((side, side, 1) if guessed else None)
    if shape is None:
        return None
    sides = tuple(shape) if isinstance(shape, (tuple, list, np.ndarray)) else ()
    sides = (*sides, 1) if len(sides) == 2 else sides
    if len(sides) != 3 or sides[2] not in (1, 3) or prod(sides) != n:
        raise ValueError(
            f'image_shape={shape!r} must be (height, width) or (height, width, 3) of the {n} features, "auto", or None '
            "for a table"
        )
    return int(sides[0]), int(sides[1]), int(sides[2])


def view_of(source: Source, shape: tuple[int, int, int] | None, names: list[str], rows: NDArray[Any]) -> dict[str, Any]:
    """Return the form of a decoded example on the page."""
    kind = source.network.likelihood.kind
    if shape is not None:
        return {"kind": "image", "shape": list(shape), "range": _grey_range(source, rows)}
    if kind in ("multinomial", "mixture"):
        return {"kind": "words", "names": names}
    decoded = _decoded(source, rows)
    low, high, middle = decoded.min(0), decoded.max(0), decoded.mean(0)
    shares = kind in ("bernoulli", "binomial")
    if shares:
        low, high = np.zeros_like(low), np.ones_like(high)
    parts = {"low": low, "high": high, "middle": middle}
    return {"kind": "features", "names": names, "fromZero": shares} | {
        name: pack(part, "float32") for name, part in parts.items()
    }


def _decoded(source: Source, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return the decoder's means at the codes of some rows, [rows, n_features], images in the engine's order."""
    given: dict[str, Any] = {}
    if source.conditions is not None:
        classes = getattr(source.model, "classes_", None)
        columns = source.conditions[rows]
        given = {"y": columns if classes is None else classes[columns.argmax(1)]}
    found = source.model.inverse_transform(source.codes[rows], **given)
    layout = _layout(source)
    return found if layout is None else layout.flatten(found, "the decoded images")


def _layout(source: Source) -> Images | None:
    own = source.network.image_shape
    return None if own is None else Images(*own, channels_first=source.model.channels == "first")


def _grey_range(source: Source, rows: NDArray[Any]) -> list[float]:
    """Return the values that are black and white: 0 and 1, or the extremes of the decoded images."""
    decoded = _decoded(source, rows)
    low, high = float(decoded.min()), float(decoded.max())
    if low >= -0.5 and high <= 1.5:
        return [0.0, 1.0]
    return [low, high if high > low else low + 1.0]


def original_images(
    source: Source, shape: tuple[int, int, int], rows: NDArray[Any], limits: Sequence[float]
) -> NDArray[np.uint8]:
    """Return original images of some rows in 256 levels, [rows, height, width, 1 or 3]; missing pixels are black."""
    X = source.X
    if hasattr(source.model, "condition_columns_"):
        X = source.model.split_condition(X)[0]
    taken = X.tocsr()[rows].toarray() if hasattr(X, "tocsr") else np.asarray(examples.take(X, rows))
    layout = _layout(source)
    values = taken.reshape(len(rows), -1) if layout is None else layout.flatten(taken, "X")
    values = values / source.model.input_scale_ if values.dtype.kind in "iu" else values.astype(np.float64)
    low, high = limits
    levels = np.nan_to_num((values - low) / (high - low) * 255, nan=0.0)
    images = np.clip(np.rint(levels), 0, 255).astype(np.uint8).reshape(len(rows), *shape)
    return images[..., :1] if shape[2] not in (1, 3) else images
