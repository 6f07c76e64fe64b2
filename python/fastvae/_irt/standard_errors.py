"""Standard errors of item parameters, from the observed information of the marginal likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.ability import observed_marks, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items

_MAX_ENTRIES = 2**21  # of a temporary table


class StandardErrors(NamedTuple):
    """Standard errors of each task's parameters, [n_tasks]; NaN where the information matrix has no inverse."""

    discrimination: NDArray[np.float64]
    intercept: NDArray[np.float64]
    """Zeros for "through_origin", which has no intercepts."""
    difficulty: NDArray[np.float64]
    """By the delta method."""


def standard_errors(items: Items, shares: NDArray[Any]) -> StandardErrors:
    """Return standard errors from the inverse of the observed information, in one dimension.

    Louis (JRSS B 44, 1982): minus the Hessian of log p(Y_s) is E[H | Y_s] - Var[S | Y_s], with S the gradient and H
    minus the Hessian of log p(Y_s | alpha); expectations over the posterior of alpha by quadrature. The prior adds its
    information, for a log-normal prior of slopes without the term of its curvature.

    Parameters
    ----------
    items : Items
        With a one-dimensional ability.
    shares : ndarray, [n_students, n_tasks]
        Shares of the maximum marks, NaN where missing.
    """
    n_tasks, through = len(items.slopes), items.through_origin
    ability = items.ability()
    p = sigmoid(ability.logits)  # [q, t]
    expected, variance = np.zeros((2, 2, n_tasks, 2, n_tasks))
    step = max(1, _MAX_ENTRIES // max(n_tasks, len(ability.nodes)))
    for first in range(0, len(shares), step):
        part = shares[first : first + step]
        marks, most = observed_marks(part, ability.most)
        weights = np.concatenate([block.weights for block in ability.blocks(part)])  # [n, q]
        mean = np.zeros((2, len(part), n_tasks))  # E[S | Y_s] of slopes and intercepts
        second = np.zeros((3, n_tasks, n_tasks))
        for node, chance, weight in zip(ability.nodes, p, weights.T, strict=True):
            if weight.max() < 1e-14:
                continue
            residual = marks - most * chance
            weighted = weight[:, np.newaxis] * residual
            product = weighted.T @ residual
            for power in range(3):
                second[power] += node**power * product
            mean[0] += node * weighted
            mean[1] += weighted
            information = (weight @ most) * chance * (1 - chance)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                expected[i, np.arange(n_tasks), j, np.arange(n_tasks)] += node ** (2 - i - j) * information
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            variance[i, :, j] += second[2 - i - j] - mean[i].T @ mean[j]
    full = (expected - variance).reshape(2 * n_tasks, 2 * n_tasks)
    prior = items.penalty()[1]
    to_full = _jacobian(items)
    added = np.concatenate([prior[:, 0], prior[:, 1]])
    if items.common_slope:  # one slope has one prior
        added[1:n_tasks] = 0
    covariance = to_full @ _inverse(to_full.T @ (full + np.diag(added)) @ to_full) @ to_full.T
    t = np.arange(n_tasks)
    a, d = items.slopes[:, 0].astype(np.float64), items.intercepts.astype(np.float64)
    v_a, v_d, v_ad = covariance[t, t], covariance[n_tasks + t, n_tasks + t], covariance[t, n_tasks + t]
    with np.errstate(divide="ignore", invalid="ignore"):
        v_b = v_a / a**4 if through else (v_d + (d / a) ** 2 * v_a - 2 * d / a * v_ad) / a**2
        found = [np.where(v >= 0, np.sqrt(np.abs(v)), np.nan) for v in (v_a, v_d, v_b)]
    return StandardErrors(*found)


def _jacobian(items: Items) -> NDArray[np.float64]:
    """Return the derivatives of all slopes and intercepts by the model's free parameters, [2 n_tasks, k]."""
    n = len(items.slopes)
    slopes = np.ones((n, 1)) if items.common_slope else np.eye(n)
    free = np.zeros((2 * n, slopes.shape[1] + (0 if items.through_origin else n)))
    free[:n, : slopes.shape[1]] = slopes
    if not items.through_origin:
        free[n:, slopes.shape[1] :] = np.eye(n)
    return free


def _inverse(information: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        found = np.asarray(np.linalg.inv(information), np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(information, np.nan)
    return found
