"""Tasks whose answers fall with the ability that the others measure, such as reverse-keyed statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Entries of the table of answers that are used.
_MAX_ENTRIES = 2**18

_ITERATIONS = 20

# The odds from which a task counts as reversed.
_ODDS = 1000.0


def reversed_tasks(shares: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which tasks correlate negatively with a weighted sum of the answers to the others: [n_tasks].

    The weights are the leading eigenvector of the tasks' covariances, variances left out, from one half of the
    students (of some, in a large exam); the other half decides, by the standardised correlation z of a task with the
    sum of the others. With n_t answers z ~ N(+-rho n_t^1/2, 1), with the same rho² for all tasks, so the odds of the
    negative sign are exp(-2 rho n_t^1/2 z). The majority of the tasks, weighted by evidence, counts as positive.
    """
    step = -(-shares.size // _MAX_ENTRIES)
    chosen = np.asarray(shares[::step], np.float32)
    observed = ~np.isnan(chosen)
    count = np.maximum(observed.sum(0), 1)
    x = np.where(observed, chosen, 0.0)
    x = np.where(observed, x - x.sum(0) / count, 0.0)
    scale = np.sqrt((x**2).sum(0) / count)
    x /= np.where(scale > 0, scale, 1.0)
    weights = np.random.default_rng(0).standard_normal(x.shape[1], np.float32)
    first, second = x[::2], x[1::2]
    variances = (first**2).sum(0)
    for _ in range(_ITERATIONS):
        weights = first.T @ (first @ weights) - variances * weights
        weights /= max(float(np.linalg.norm(weights)), np.finfo(float).tiny)
    # z_t = sum_s x_st r_st / (sum_s r_st²)^1/2 with r_st = sum_u w_u x_su without u = t, over answers to t.
    total = second @ weights
    squares = (second**2).sum(0)
    product = second.T @ total - weights * squares
    rest = observed[1::2].T @ total**2 - 2 * weights * (second.T @ total) + weights**2 * squares
    z = product / np.sqrt(np.maximum(rest, np.finfo(float).tiny))
    z = z if z.sum() >= 0 else -z
    rho_squared = max(float((z**2 - 1).mean() / count.mean()), 0.0)
    found: NDArray[np.bool_] = -2 * np.sqrt(rho_squared * count) * z > np.log(_ODDS)
    return found
