"""The check that examples are binary, as a Bernoulli probability requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae import _core
from fastvae._data import examples
from fastvae._data.binary import WAYS

if TYPE_CHECKING:
    from fastvae._data.examples import Examples
    from fastvae._fitted.model import FittedModel


def check(model: FittedModel, X: Examples, name: str, how: str | None, threads: int | None) -> None:
    """Raise ValueError unless all values of X are 0, 1 (uint8: 0, 255), up to rounding, or NaN that the model accepts.

    `how` is the parameter ``binarize``; the message recommends it.
    """
    model.engine.check(X, name, threads)  # values outside [0, 1] have their own message
    one = 255 if X.dtype == np.uint8 else 1
    near = one * _core.ROUNDING
    found = examples.find(X, lambda values: (np.abs(values) > near) & (np.abs(values - one) > near) & ~np.isnan(values))
    if found:
        i, j, value = found
        ways = WAYS if how is None else (how,)
        remedies = " or ".join(f'fastvae.binarize({name}, "{way}")' for way in ways)
        training = "" if how else f' (and train with binarize="{WAYS[0]}" or "{WAYS[1]}")'
        raise ValueError(
            f"{name}[{i}, {j}] is {value}: under the Bernoulli likelihood only 0 and 1 have a "
            f"probability. Pass {remedies}{training}, or use a Gaussian likelihood"
        )
