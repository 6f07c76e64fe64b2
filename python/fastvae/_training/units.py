"""A warning about columns whose units do not fit a likelihood with one scale for all."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from fastvae._fitted.specification import Specification

# The limits of the largest standard deviation, in multiples of a fixed scale: outside, few columns count, or none.
LARGE, SMALL = 10.0, 0.05
# A standard deviation this many times the median one: the loss is that of these columns alone.
UNEQUAL = 100.0
SHOWN = 3


def warn(moments: _core.ColumnMoments, specification: Specification, stacklevel: int) -> None:
    """Warn once if the likelihood has one scale for all columns and the columns of the training data do not fit it."""
    kind, scale = specification.likelihood["kind"], specification.likelihood.get("scale")
    if kind != "squared_error" and (kind != "gaussian" or scale in ("per_feature", "decoder")):
        return
    deviations = moments.std
    varying = deviations[deviations > 0]
    if not len(varying):
        return
    most = float(varying.max())
    unequal = most > UNEQUAL * float(np.median(varying))
    if isinstance(scale, (int, float)):
        what = f'likelihood="gaussian" has the fixed scale {scale:g}'
        unfit = not SMALL * scale <= most <= LARGE * scale
    else:
        what = 'loss="squared_error"' if kind == "squared_error" else 'Gaussian("shared") has one scale'
        what += " weighs all columns alike" if kind == "squared_error" else " for all columns"
        unfit = unequal
    if not unfit:
        return
    worst = np.argsort(-deviations, kind="stable")[: min(SHOWN, len(varying))]
    named = ", ".join(f"{deviations[j]:.3g} in column {j}" for j in worst)
    remedy = "" if kind == "squared_error" else ', or use fastvae.likelihoods.Gaussian("per_feature")'
    message = (
        f"{what}, but the standard deviations of X are {named} (median {np.median(varying):.3g}): standardise X, for "
        f"example with sklearn.preprocessing.StandardScaler{remedy}"
    )
    warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)
