"""The distance of item parameters from the mode of their posterior, by one Newton step."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.ability import Ability, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items

# Answers of the students whose posteriors are computed.
_MAX_ANSWERS = 2**17

# Sampling standard deviations of the mean squared distance that are not evidence.
_SIGNIFICANCE = 4.0


class Distance(NamedTuple):
    """Root mean square over the item parameters of a model with one dimension, in standard errors."""

    distance: float
    """From the mode of the posterior given all students."""
    detected: float
    """The same in standard errors of the students examined: all of them, or a sample of a large exam."""


def distance_to_mode(items: Items, shares: NDArray[Any], prior: dict[str, Any] | None) -> Distance:
    """Return the distance of the item parameters from the mode of their posterior given the answers.

    With g the gradient of the log posterior, by the sums r and N of Bock & Aitkin (Psychometrika 46, 1981, equations 14
    and 15), and H the information of the tasks at known abilities, the mode is about H^-1 g away, or 2 G = g' H^-1 g
    squared standard errors. A sample of the students, a fraction f of them, has its own mode: that adds 1 - f squared
    standard errors to each parameter, which are subtracted.

    Parameters
    ----------
    items : Items
        In one dimension.
    shares : ndarray, [n_students, n_tasks]
        Shares of the maximum marks, NaN where missing.
    prior : dict or None
        The prior of the specification.
    """
    step = -(-shares.size // _MAX_ANSWERS)
    sample = shares[::step]
    fraction = len(sample) / len(shares)
    a, d = items.slopes[:, 0].astype(np.float64), items.intercepts.astype(np.float64)
    ability = Ability(a, d, items.max_marks, density=1.0)
    marks, most = ability.posterior_sums(sample, lambda marks, possible: (marks, possible))
    alpha, p = ability.nodes[:, np.newaxis], sigmoid(ability.logits)
    residual, variance = marks - most * p, most * p * (1 - p)
    slope, intercept = (residual * alpha).sum(0), residual.sum(0)
    h_aa, h_ad, h_dd = (variance * alpha**2).sum(0), (variance * alpha).sum(0), variance.sum(0)
    if prior is not None:
        if prior["slope"]["kind"] == "lognormal":
            precision = fraction / prior["slope"]["sd"] ** 2
            slope -= precision * (np.log(np.abs(a)) - prior["slope"]["mean"]) / a
            h_aa += precision / a**2
        if prior["intercept"] is not None:
            precision = fraction / prior["intercept"] ** 2
            intercept -= precision * d
            h_dd += precision
    squares: list[NDArray[np.float64]] = []
    if items.through_origin:
        slope = np.where((a <= 0) & (slope < 0), 0.0, slope)  # at the constraint
    else:
        squares.append(_squares(intercept, h_dd))
        ratio = np.divide(h_ad, h_dd, out=np.zeros_like(h_dd), where=h_dd > 0)
        slope, h_aa = slope - ratio * intercept, h_aa - ratio * h_ad
    if items.common_slope:
        slope, h_aa = slope.sum(keepdims=True), h_aa.sum(keepdims=True)
    squares.append(_squares(slope, h_aa))
    found = np.concatenate(squares)
    sampling = (1 - fraction) * (1 + _SIGNIFICANCE * sqrt(2 / len(found)))
    detected = sqrt(max(float(found.mean()) - sampling, 0.0))
    return Distance(detected / sqrt(fraction), detected)


def _squares(gradient: NDArray[np.float64], information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared steps in standard errors; 0 without information."""
    return np.divide(gradient**2, information, out=np.zeros_like(gradient), where=information > 1e-12)
