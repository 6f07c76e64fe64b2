"""Values as pixels, and mosaics of images."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


def grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values of 0..1, or uint8, as pixels; others are clipped, NaN is black."""
    if values.dtype == np.uint8:
        return values
    pixels: NDArray[np.uint8] = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
    return pixels


def mosaic(pictures: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """Return images [n, height, width(, 3)] side by side, `columns` in a line (default: a square)."""
    n, height, width = pictures.shape[:3]
    columns = min(n, ceil(sqrt(n)) if columns is None else max(columns, 1))
    lines, gap = ceil(n / columns), max(1, round(max(height, width) / 28))
    found = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap, *pictures.shape[3:]), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        found[top : top + height, left : left + width] = picture
    return found
