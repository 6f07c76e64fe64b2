"""Imputation of missing values: means or draws of p(x_mis | x_obs), where x_obs are the observed values.

By importance sampling (Mattei & Frellsen, arXiv:1812.02633, section 3.3): z_k ~ q(z | x_obs) has the weight
w_k = p(x_obs | z_k) p(z_k) / q(z_k | x_obs). The mean is sum_k w_k E[x_mis | z_k] / sum_k w_k; a draw chooses z_k with
probability w_k / sum_l w_l, and x_mis from p(x | z_k). Both converge to the model's distribution as samples grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays, names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.scale import InputScale
    from fastvae._fitted.model import FittedModel


def check(model: FittedModel, owner: str) -> None:
    """Raise ValueError if the model does not accept missing values; `owner` is the name of its class."""
    if model.specification.documents:
        raise ValueError(
            f"this {owner} has nothing to impute: counts of a multinomial are never missing, since a word or an item "
            "that does not occur is a zero"
        )
    if model.specification.missing == "error":
        raise ValueError(
            f"this {owner} has nothing to impute: it was fitted with missing='error', which refuses NaN; fit it with "
            "missing='mask'"
        )


def with_means(
    model: FittedModel,
    X: NDArray[np.float32],
    y: NDArray[Any] | None,
    n_iter: int,
    samples: int,
    threads: int | None,
) -> NDArray[np.float32]:
    """Return X with missing values replaced by the decoder's means at the codes or, with `samples`, by weighted means.

    Each of `n_iter` further rounds encodes X with the means of the previous round in place of missing values.
    """
    missing, filled = np.isnan(X), X
    for _ in range(n_iter if samples else 1 + n_iter):
        filled = np.where(missing, model.reconstruct(filled, y, threads), X)
    if samples:
        rows = np.flatnonzero(missing.any(1))
        if len(rows):
            means = model.conditional_mean(X[rows], filled[rows], None if y is None else y[rows], samples, threads)
            filled = X.copy()
            filled[rows] = np.where(missing[rows], means, X[rows])
    return filled


def with_draws(
    model: FittedModel,
    X: NDArray[np.float32],
    y: NDArray[Any] | None,
    draws: int,
    n_iter: int,
    samples: int,
    seed: int,
    threads: int | None,
) -> NDArray[np.float32]:
    """Return X with missing values replaced by draws: z, then x from p(x|z); [draws, *X.shape].

    Without `samples` z is from q(z|x), and each of `n_iter` further rounds is conditional on the draws of the previous
    one. With samples z is from the weighted samples, whose proposal is q given the means of :func:`with_means`.
    """
    if samples:
        return _resampled(model, X, y, draws, n_iter, samples, seed, threads)
    missing, filled = np.isnan(X), np.empty((draws, *X.shape), np.float32)
    for draw, state in enumerate(filled):
        state[...] = X
        for step in range(1 + n_iter):
            key = _key(seed, draw, step)
            [z] = model.posterior_sample(state, y, 1, key, threads)
            np.copyto(state, model.sample(z, y, None, key, threads), where=missing)
    return filled


def _resampled(
    model: FittedModel,
    X: NDArray[np.float32],
    y: NDArray[Any] | None,
    draws: int,
    n_iter: int,
    samples: int,
    seed: int,
    threads: int | None,
) -> NDArray[np.float32]:
    missing, filled = np.isnan(X), np.empty((draws, *X.shape), np.float32)
    filled[...] = X
    rows = np.flatnonzero(missing.any(1))
    if len(rows) == 0:
        return filled
    X, missing, y = X[rows], missing[rows], None if y is None else y[rows]
    given = with_means(model, X, y, n_iter - 1, 0, threads) if n_iter else X
    codes = model.conditional_sample(X, given, y, samples, draws, seed, threads)
    for draw, z in enumerate(codes):
        drawn = model.sample(z, y, None, _key(seed, draw, 0), threads)
        filled[draw, rows] = np.where(missing, drawn, X)
    return filled


def _key(seed: int, draw: int, step: int) -> int:
    return int(np.random.default_rng((seed, draw, step)).integers(2**63))


def with_observed(filled: NDArray[np.float32], X: Any, scale: InputScale) -> NDArray[Any]:
    """Return `filled`, [..., *X.shape], in the type and unit of X, with the observed values of X unchanged.

    Arrays of integers have no missing values, so they are X itself.
    """
    values, dtype = arrays.typed(names.of_annotated(X), "X")
    if values.dtype.kind != "f":
        return np.array(np.broadcast_to(values, filled.shape))
    missing = np.isnan(values)
    if scale.divides(dtype, dense=True):  # integers with missing values, which are objects
        filled = filled * np.float32(scale.divisor)
    if values.dtype == filled.dtype:
        np.copyto(filled, values, where=~missing)
        return filled
    found: NDArray[Any] = np.empty(filled.shape, values.dtype)
    found[...] = values
    np.copyto(found, filled, where=missing, casting="same_kind")
    return found
