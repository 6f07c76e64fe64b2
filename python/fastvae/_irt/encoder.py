"""An encoder in closed form for given items: q(alpha | Y) with the moments of the exact posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._irt.ability import observed_marks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._irt.items import Items

# Students that the output layers are fitted to.
_MOST_STUDENTS = 512

# Share of the hidden units that reads the information of the missing answers.
_INFORMATION_SHARE = 8

# Variance of a mark below which the task is certain.
_LEAST_VARIANCE = 1e-9

# Ridge of the least squares, relative to the number of students.
_RIDGE = 1e-7


def encoder_weights(items: Items, shares: NDArray[Any], width: int) -> dict[str, NDArray[np.float32]]:
    """Return the weights of an encoder with one hidden layer of `width` rectified units.

    Unit k is the positive part of the derivative of ln p(alpha, Y) at the ability alpha_k,

        sum_t w_t (y_t - E[y_t]) - alpha_k    over the answered tasks t,    w_t = (d E[y_t] / d alpha) / Var[y_t],

    (w_t = a_t for logistic tasks; for graded ones it is the best linear approximation) divided by the information
    there: about the distance of the posterior's mode above alpha_k. It is linear in what the encoder reads, the shares
    and the indicators of missing answers. With missing answers an eighth of the units is the information w_t² Var[y_t]
    that they take away. The output layers are fitted by least squares to mean and log variance of the exact posteriors.

    Parameters
    ----------
    items : Items
        One-dimensional.
    shares : ndarray, [n_students, n_tasks]
        Shares of the maximum marks, NaN where missing.
    width : int
        Hidden units.
    """
    chosen = shares[:: -(-len(shares) // _MOST_STUDENTS)]
    mean, std = items.ability().moments(chosen)
    most = items.max_marks.astype(np.float64)
    missing = np.isnan(chosen)
    n_information = width // _INFORMATION_SHARE if missing.any() else 0
    margin = 0.1 + 0.05 * (mean.max() - mean.min())
    knots = np.linspace(mean.min() - margin, mean.max(), width)
    expected, variance, slope = items.mark_moments(knots)  # [k, t]
    # a_t is the limit where a task is certain.
    w = np.where(variance > _LEAST_VARIANCE, slope / np.maximum(variance, _LEAST_VARIANCE), items.slopes[:, 0])
    weight = np.concatenate([w * most, w * expected], 1)
    bias = -(w * expected).sum(1) - knots
    if n_information:  # every eighth unit: spread over the abilities
        units = np.linspace(0, width - 1, n_information).astype(int)[1:]
        weight[units] = np.concatenate([np.zeros_like(w), w * slope], 1)[units]
        bias[units] = 0.0
    scale = 1 / (1 + (w * slope).sum(1))
    weight *= scale[:, np.newaxis]
    bias *= scale
    inputs = np.concatenate([observed_marks(chosen, most)[0] / most, missing], 1)
    hidden = np.maximum(inputs @ weight.T + bias, 0)
    hidden = np.concatenate([hidden, np.ones((len(hidden), 1))], 1)
    targets = np.stack([mean, 2 * np.log(std)], 1)
    gram = hidden.T @ hidden
    gram[np.diag_indices(width)] += _RIDGE * len(hidden)
    found = np.linalg.solve(gram, hidden.T @ targets)
    return {
        "encoder.0.weight": weight.astype(np.float32),
        "encoder.0.bias": bias.astype(np.float32),
        "mu.weight": found[np.newaxis, :width, 0].astype(np.float32),
        "mu.bias": found[width:, 0].astype(np.float32),
        "logvar.weight": found[np.newaxis, :width, 1].astype(np.float32),
        "logvar.bias": found[width:, 1].astype(np.float32),
    }
