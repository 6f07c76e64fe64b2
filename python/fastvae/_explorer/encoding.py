"""Arrays as base64 in JSON, and images as a PNG."""

from __future__ import annotations

from base64 import b64encode
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _png

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = ("float16", "int8", "float32")

_LARGEST_HALF = 65504.0


def pack(array: NDArray[Any], dtype: str) -> dict[str, Any]:
    """Return an array as a JSON object: type, shape, base64 of its little-endian bytes.

    int8 has a scale for each index of the first axis, 1/127 of the largest magnitude. float16 becomes float32 where a
    value exceeds its range.
    """
    array = np.asarray(array)
    if dtype == "int8":
        rows = array.reshape(len(array), -1).astype(np.float64)
        scale = np.abs(rows).max(1) / 127
        quantized = np.rint(rows / np.where(scale == 0, 1, scale)[:, np.newaxis]).astype(np.int8)
        return _packed(quantized.reshape(array.shape), dtype) | {"scale": pack(scale, "float32")}
    if dtype == "float16" and array.size and np.abs(array).max() > _LARGEST_HALF:
        dtype = "float32"
    return _packed(array.astype(dtype), dtype)


def pack_parameter(array: NDArray[Any], weights: str) -> dict[str, Any]:
    """Return a parameter of the decoder: vectors as float32, since they are small; others in the type `weights`."""
    return pack(array, weights if array.ndim > 1 else "float32")


def _packed(array: NDArray[Any], dtype: str) -> dict[str, Any]:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {"dtype": dtype, "shape": list(array.shape), "data": b64encode(little.tobytes()).decode()}


def sheet(images: NDArray[np.uint8], columns: int) -> str:
    """Return images [n, height, width, 1 or 3] side by side, `columns` in a row, as the base64 of a PNG."""
    n, height, width, channels = images.shape
    rows = ceil(n / columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:n] = images
    picture = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return b64encode(_png.encode(picture.reshape(rows * height, columns * width, channels))).decode()
