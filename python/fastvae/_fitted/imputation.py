"""Imputation: values that were not observed, filled in with means or with draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel


def check(model: FittedModel, owner: str) -> None:
    """Raise ValueError for a model that has nothing to impute; `owner` is the name of its class."""
    if model.specification.documents:
        raise ValueError(
            f"this {owner} has nothing to impute: its likelihood is of all words of a document "
            "together, and a word that does not occur is a zero"
        )
    if model.specification.missing == "error":
        raise ValueError(
            f"this {owner} was fitted with missing='error' and takes no NaN, so there is nothing to "
            "impute: fit it with missing='mask'"
        )


def with_means(
    model: FittedModel, X: NDArray[np.float32], y: NDArray[Any] | None, n_iter: int, threads: int | None
) -> NDArray[np.float32]:
    """Fill the holes with the decoder's means at the codes of the observed values, [n_examples, n_features].

    Each of `n_iter` more rounds encodes the values that the one before has filled in too.
    """
    holes, filled = np.isnan(X), X
    for _ in range(1 + n_iter):
        filled = np.where(holes, model.reconstruct(filled, y, threads), X)
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
    """Fill the holes with draws, [draws, n_examples, n_features]: z from q(z|x), then x in the holes from p(x|z).

    Each of `n_iter` more rounds does so given the draws of the one before.
    """
    holes, filled = np.isnan(X), np.empty((draws, *X.shape), np.float32)
    for draw, state in enumerate(filled):
        state[...] = X
        for turn in range(1 + n_iter):
            key = int(np.random.default_rng((seed, draw, turn)).integers(2**63))
            [z] = model.posterior_sample(state, y, 1, key, threads)
            np.copyto(state, model.sample(z, y, None, key, threads), where=holes)
    return filled
