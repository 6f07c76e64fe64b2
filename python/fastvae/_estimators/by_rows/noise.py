"""Noise that depends on a seed and the numbers of the rows."""

from __future__ import annotations

from typing import NamedTuple


class RowNoise(NamedTuple):
    """In place of ``random_state``: the seed, and the number that the first row of X has among all rows."""

    seed: int
    first: int = 0
