"""Integers as grey values."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli.read.data import Data, bare, named


def grey_values(data: Data) -> bool:
    """Read a table of integers 0 .. 255 as grey values, uint8, as images are; return whether it is one."""
    X = bare(data.X)
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "iu" or X.dtype == np.uint8 or X.size == 0:
        return False
    if X.min() < 0 or not 128 <= X.max() <= 255:
        return False
    data.X = named(X.astype(np.uint8), data.names)
    return True


def grey_values_of(model: Any, data: Data) -> bool:
    """Read integers as grey values if the training data of the model were."""
    return model.input_scale_ == 255 and grey_values(data)
