"""How well an item response model fits: information criteria, and the statistic M2 of limited information."""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.ability import sigmoid
from fastvae._irt.chi_squared import upper_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items

# Moments above which M2 takes too long: 63 tasks.
_MOST_MOMENTS = 2016


class LimitedInformation(NamedTuple):
    """M2 (Maydeu-Olivares & Joe, JASA 100, 2005): chi-squared if the model is correct."""

    statistic: float
    df: int
    p_value: float
    rmsea: float
    """(max(M2 - df, 0) / (df (n - 1)))^1/2: below 0.05 is a close fit, by convention."""
    srmsr: float
    """Root mean square difference of observed and expected correlations of two tasks; NaN if none is defined."""


class FitStatistics(NamedTuple):
    """Statistics of the fit of an item response model to answers."""

    log_likelihood: float
    """Sum of log p(Y_s), nats."""
    n_parameters: int
    n_students: float
    """Number of students, or the sum of their weights."""
    aic: float
    """-2 ln L + 2 k (Akaike, 1974). Lower is better."""
    bic: float
    """-2 ln L + k ln n (Schwarz, 1978). Lower is better."""
    m2: LimitedInformation | None
    """None where M2 is not computed: marks, missing answers, more than 63 tasks, or no degrees of freedom."""


def information_criteria(log_likelihood: float, k: int, n: float) -> tuple[float, float]:
    """Return AIC and BIC of k parameters and n students."""
    return -2 * log_likelihood + 2 * k, -2 * log_likelihood + k * log(n)


def m2(items: Items, shares: NDArray[Any], weights: NDArray[Any]) -> LimitedInformation | None:
    """Return M2 of tasks that are solved or not, or None where it is not defined.

    With e the differences of the observed and expected moments p_i and p_ij of one and two tasks, Xi their covariance
    matrix for one student, and D the derivatives of the moments by the parameters,

        M2 = n e' [Xi^-1 - Xi^-1 D (D' Xi^-1 D)^-1 D' Xi^-1] e,    df = moments - parameters.

    Parameters
    ----------
    items : Items
        One-dimensional.
    shares : ndarray, [n_students, n_tasks]
        0 or 1; NaN where missing.
    weights : ndarray, [n_students]
        Numbers of students.
    """
    t = len(items.slopes)
    free, count = items.free(), t * (t + 1) // 2
    df = count - free.shape[1]
    if (items.max_marks > 1).any() or np.isnan(shares).any() or count > _MOST_MOMENTS or df <= 0:
        return None
    i, j = np.triu_indices(t, 1)
    solved, n = shares.astype(np.float64), float(weights.sum())
    both = (solved * weights[:, np.newaxis]).T @ solved / n
    observed = np.concatenate([np.diag(both), both[i, j]])
    p, slopes, node_weights = _curves(items)
    products = np.concatenate([p, p[:, i] * p[:, j]], 1)  # [q, moments]
    expected = node_weights @ products
    xi = (products * node_weights[:, np.newaxis]).T @ products
    for common in range(t):  # moments that share a task count it once
        own = np.concatenate([[common], t + np.flatnonzero((i == common) | (j == common))])
        part = products[:, own] / p[:, [common]]
        xi[np.ix_(own, own)] = (part * (node_weights * p[:, common])[:, np.newaxis]).T @ part
    xi[np.diag_indices(count)] = expected
    xi -= np.outer(expected, expected)
    derivatives = np.zeros((count, slopes.shape[1]))  # by all parameters of all tasks
    owner = np.repeat(np.arange(t), slopes.shape[1] // t)
    weighted = slopes * node_weights[:, np.newaxis]
    derivatives[owner, np.arange(len(owner))] = weighted.sum(0)
    pairs = weighted.T @ p  # [parameters, tasks]
    for k, task in enumerate(owner):
        for own, other in ((i, j), (j, i)):
            rows = np.flatnonzero(own == task)
            derivatives[t + rows, k] += pairs[k, other[rows]]
    try:
        factor = np.linalg.cholesky(xi)
    except np.linalg.LinAlgError:
        return None
    white = np.linalg.solve(factor, np.column_stack([observed - expected, derivatives @ free]))
    basis, _ = np.linalg.qr(white[:, 1:])
    statistic = n * float((white[:, 0] ** 2).sum() - ((basis.T @ white[:, 0]) ** 2).sum())
    rmsea = sqrt(max(statistic - df, 0) / (df * max(n - 1, 1)))
    return LimitedInformation(statistic, df, upper_tail(statistic, df), rmsea, _srmsr(observed, expected, i, j))


def _curves(items: Items) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return P(solved) at nodes [q, n_tasks], derivatives by all parameters [q, k], and weights of the nodes [q]."""
    ability = items.ability()
    alpha = ability.nodes[:, np.newaxis]
    p = sigmoid(alpha * items.slopes[:, 0].astype(np.float64) + items.intercepts)
    c = 0.0 if items.guessing is None else items.guessing
    density = (1 - c) * p * (1 - p)
    slopes = [density * alpha, density]
    if items.guessing is not None:
        slopes.append((1 - p) * c * (1 - c))
    return c + (1 - c) * p, np.stack(slopes, 2).reshape(len(p), -1), np.exp(ability.log_prior)


def _srmsr(observed: NDArray[Any], expected: NDArray[Any], i: NDArray[Any], j: NDArray[Any]) -> float:
    """Return the root mean square difference of the correlations that belong to two sets of moments."""
    t = len(observed) - len(i)

    def correlations(moments: NDArray[Any]) -> NDArray[np.float64]:
        single, pair = moments[:t], moments[t:]
        spread = np.sqrt(single * (1 - single))
        with np.errstate(divide="ignore", invalid="ignore"):
            found: NDArray[np.float64] = (pair - single[i] * single[j]) / (spread[i] * spread[j])
        return found

    difference = correlations(observed) - correlations(expected)
    difference = difference[~np.isnan(difference)]
    return float(np.sqrt((difference**2).mean())) if len(difference) else np.nan
