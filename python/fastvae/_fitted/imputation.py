"""Imputation of missing values by means or by draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel


def check(model: FittedModel, owner: str) -> None:
    """Raise ValueError if the model does not accept missing values; `owner` is the name of its class."""
    if model.specification.documents:
        raise ValueError(
            f"this {owner} has nothing to impute: a document has no missing values, since a word that does not occur "
            "is a zero"
        )
    if model.specification.missing == "error":
        raise ValueError(
            f"this {owner} has nothing to impute: it was fitted with missing='error', which refuses NaN; fit it with "
            "missing='mask'"
        )


def with_means(
    model: FittedModel, X: NDArray[np.float32], y: NDArray[Any] | None, n_iter: int, threads: int | None
) -> NDArray[np.float32]:
    """Return X with missing values replaced by the decoder's means at the codes, [n_examples, n_features].

    Each of `n_iter` further rounds encodes and decodes the result of the previous one.
    """
    missing, filled = np.isnan(X), X
    for _ in range(1 + n_iter):
        filled = np.where(missing, model.reconstruct(filled, y, threads), X)
    return filled


def with_draws(
    model: FittedModel,
    X: NDArray[np.float32],
    y: NDArray[Any] | None,
    draws: int,
    n_iter: int,
    seed: int,
    threads: int | None,
) -> NDArray[np.float32]:
    """Return X with missing values replaced by draws: z from q(z|x), then x from p(x|z); [draws, *X.shape].

    Each of `n_iter` further rounds is conditional on the result of the previous one.
    """
    missing, filled = np.isnan(X), np.empty((draws, *X.shape), np.float32)
    for draw, state in enumerate(filled):
        state[...] = X
        for step in range(1 + n_iter):
            key = int(np.random.default_rng((seed, draw, step)).integers(2**63))
            [z] = model.posterior_sample(state, y, 1, key, threads)
            np.copyto(state, model.sample(z, y, None, key, threads), where=missing)
    return filled
