"""JSON on standard output."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def json_text(value: Any, indent: int | None = None, *, ascii_only: bool = True) -> str:
    """Return a value as JSON with a newline: numpy's scalars are numbers, and numbers that JSON lacks (NaN) null."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
