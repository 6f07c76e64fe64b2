"""Standard errors of item parameters, from the observed information of the marginal likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items
    from fastvae._irt.marginal import Exam

# Change of a parameter in a central difference of gradients: the relative error of the information is about 1e-8.
_CHANGE = 1e-4


class StandardErrors(NamedTuple):
    """Standard errors of each task's parameters, [n_tasks]; NaN where the information matrix has no inverse."""

    discrimination: NDArray[np.float64]
    intercept: NDArray[np.float64]
    """Zeros for "through_origin", which has no intercepts; [n_tasks, max(max_marks)] of the thresholds of "graded"."""
    difficulty: NDArray[np.float64]
    """By the delta method; shaped as ``intercept``."""
    guessing: NDArray[np.float64] | None = None
    """Of the probabilities c_t of "3pl", by the delta method; None for other models."""


def covariance(items: Items, exam: Exam) -> NDArray[np.float64]:
    """Return the covariance matrix of the item parameters, in the order of ``items.flat()``.

    It is the inverse of minus the Hessian of the log-likelihood plus the log prior, by central differences of the exact
    gradient (Fisher's identity; Jamshidian & Jennrich, JRSS B 62, 2000). Parameters that are the same, such as the
    slopes of "rasch", have the same rows. NaN where there is none: for a singular matrix, and for parameters that the
    answers do not depend on (of a task without answers) or that are at a bound (0, of a slope of "through_origin").
    """
    at, free = items.flat(), items.free()
    hessian = np.empty((free.shape[1], free.shape[1]))
    for i, direction in enumerate(free.T):
        ends = [free.T @ exam.gradient(at + h * direction)[1] for h in (_CHANGE, -_CHANGE)]
        hessian[i] = (ends[0] - ends[1]) / (2 * _CHANGE)
    known = hessian.any(0)
    if items.through_origin:
        known &= items.slopes[:, 0] > 0
    information = -(hessian + hessian.T)[np.ix_(known, known)] / 2
    try:
        inverse = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        inverse = np.full_like(information, np.nan)
    found: NDArray[np.float64] = free[:, known] @ inverse @ free[:, known].T
    unknown = free[:, ~known].any(1)
    found[unknown], found[:, unknown] = np.nan, np.nan
    return found


def roots(variances: NDArray[Any]) -> NDArray[np.float64]:
    """Return standard errors; NaN for a negative variance, of parameters that are not at a maximum."""
    return np.where(variances >= 0, np.sqrt(np.abs(variances)), np.nan)


def standard_errors(items: Items, exam: Exam) -> StandardErrors:
    """Return standard errors of the item parameters in one dimension.

    Parameters
    ----------
    items : Items
    exam : Exam
        The answers, with the items' model and prior.
    """
    matrix = covariance(items, exam)
    first = np.cumsum([0, *items.widths()])[:-1]
    if items.thresholds is None:
        places, d = first[:, np.newaxis] + 1, items.intercepts[:, np.newaxis].astype(np.float64)
    else:
        d = items.thresholds
        places = np.where(np.isnan(d), 0, first[:, np.newaxis] + 1 + np.arange(d.shape[1]))
    a, slope = items.slopes.astype(np.float64), first[:, np.newaxis]
    v_a, v_d, v_ad = matrix[slope, slope], matrix[places, places], matrix[slope, places]
    with np.errstate(divide="ignore", invalid="ignore"):
        v_b = v_a / a**4 if items.through_origin else (v_d + (d / a) ** 2 * v_a - 2 * d / a * v_ad) / a**2
        of_d, of_b = (np.where(np.isnan(d), np.nan, roots(v)) for v in (v_d, v_b))
        guessing = None
        if items.guessing is not None:
            c = items.guessing
            guessing = roots(matrix[first + 2, first + 2]) * c * (1 - c)
    if items.thresholds is None:
        of_d, of_b = of_d[:, 0], of_b[:, 0]
    return StandardErrors(roots(v_a)[:, 0], of_d, of_b, guessing)
