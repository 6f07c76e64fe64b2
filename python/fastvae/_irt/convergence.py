"""The distance of item parameters from their estimates, by one Newton step."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.ability import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items

# Answers of the students examined.
MAX_ANSWERS = 2**17

# Sampling standard deviations of the mean squared distance that are not evidence.
_SIGNIFICANCE = 4.0


class Distance(NamedTuple):
    """Root mean square over the item parameters, in standard errors."""

    distance: float
    """From the maximum of the objective of all students."""
    detected: float
    """The same in standard errors of the students examined: all of them, or a sample of a large exam."""


def distance_to_maximum(
    items: Items,
    gradients: dict[str, NDArray[Any]],
    students: tuple[NDArray[Any], NDArray[Any]],
    alpha: NDArray[Any],
    fraction: float,
) -> Distance:
    """Return the distance of the item parameters from the maximum of their objective.

    With g the gradient of the objective, summed over the students, and H the information of the tasks at known
    abilities, the maximum is about H^-1 g away, or g' H^-1 g squared standard errors. A sample of the students, a
    fraction f of them, has its own maximum: that adds 1 - f squared standard errors to each parameter, which are
    subtracted.

    Parameters
    ----------
    items : Items
    gradients : dict of ndarray
        Of the mean loss of the students examined, with the prior as if they were all.
    students : tuple of ndarray, [m, n_tasks] and [m]
        Maximum marks of the answers of the students examined, 0 where missing, and the students' weights.
    alpha : ndarray, [k, m, n_dims]
        Draws from the posteriors of their abilities.
    fraction : float
        The fraction f.
    """
    d = items.intercepts.astype(np.float64)
    a = items.slopes.astype(np.float64)
    (answered, weights), (n_tasks, n_dims) = students, a.shape
    answered = answered * weights[:, np.newaxis].astype(np.float64)
    penalty, precision = items.penalty()  # gradient and information of the prior, each [n_tasks, n_dims + 1]
    g = np.zeros((n_tasks, n_dims + 1))
    g[:, :n_dims] = gradients["decoder.0.weight"]
    if not items.through_origin:
        g[:, n_dims] = gradients["decoder.0.bias"]
    g = -weights.sum(dtype=np.float64) * g + (1 - fraction) * penalty
    h = np.zeros((n_tasks, n_dims + 1, n_dims + 1))
    for draw in alpha.astype(np.float64):
        p = sigmoid(draw @ a.T + d)
        variance = answered * p * (1 - p)
        x = np.concatenate([draw, np.ones((len(draw), 1))], 1)
        for i, j in zip(*np.tril_indices(n_dims + 1), strict=True):
            h[:, i, j] += (x[:, i] * x[:, j]) @ variance / len(alpha)
            h[:, j, i] = h[:, i, j]
    diagonal = np.arange(n_dims + 1)
    if items.common_slope:  # its gradient is the total, in each row
        h[:, diagonal[1:], diagonal[1:]] += fraction * precision[:, 1:]
        squares = [_squares(g[:, 1], h[:, 1, 1])]
        ratio = np.divide(h[:, 0, 1], h[:, 1, 1], out=np.zeros(n_tasks), where=h[:, 1, 1] > 0)
        slope = g[:1, 0] - (ratio * g[:, 1]).sum()
        information = (h[:, 0, 0] - ratio * h[:, 0, 1]).sum() + fraction * precision[:1, 0]
        squares.append(_squares(slope, information))
    else:
        h[:, diagonal, diagonal] += fraction * precision
        if items.through_origin:
            constrained = (a[:, 0] <= 0) & (g[:, 0] < 0)
            squares = [_squares(np.where(constrained, 0.0, g[:, 0]), h[:, 0, 0])]
        else:
            step = np.einsum("tij,tj->ti", np.linalg.pinv(h, hermitian=True), g)
            squares = [(step * g).ravel()]
    found = np.concatenate(squares)
    sampling = (1 - fraction) * (1 + _SIGNIFICANCE * sqrt(2 / len(found)))
    detected = sqrt(max(float(found.mean()) - sampling, 0.0))
    return Distance(detected / sqrt(fraction), detected)


def _squares(gradient: NDArray[np.float64], information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared steps in standard errors; 0 without information."""
    return np.divide(gradient**2, information, out=np.zeros_like(gradient), where=information > 1e-12)
