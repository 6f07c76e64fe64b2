"""The check that a Bernoulli likelihood gives a probability to each value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae._data import examples
from fastvae._data.binary import WAYS

if TYPE_CHECKING:
    from fastvae._data.examples import Examples
    from fastvae._fitted.model import FittedModel


def check(model: FittedModel, X: Examples, name: str, how: str | None, threads: int | None) -> None:
    """Raise ValueError if a matrix holds other values than 0, 1 (of uint8, 0 and 255) and NaN that the model takes.

    `how` is the way in which the model's training data became binary: the remedy that is named.
    """
    model.engine.check(X, name, threads)  # what is no grey value either has a message of its own
    one = 255 if X.dtype == np.uint8 else 1
    found = examples.find(X, lambda values: (values != 0) & (values != one) & ~np.isnan(values))
    if found:
        i, j, value = found
        ways = WAYS if how is None else (how,)
        remedies = " or ".join(f'fastvae.binarize({name}, "{way}")' for way in ways)
        training = "" if how else f' (and train with binarize="{WAYS[0]}" or "{WAYS[1]}")'
        raise ValueError(
            f"{name}[{i}, {j}] is {value}: under the Bernoulli likelihood only 0 and 1 have a "
            f"probability. Ask about {remedies}{training}, or use a Gaussian likelihood"
        )
