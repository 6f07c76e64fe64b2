"""Data with holes: a NaN in X that is a value not observed, and filling it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, _input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._model import Model
    from fastvae._vae import VAE


def kind_of(missing: Any, missing_indicator: Any) -> str:
    """Return what the core calls the two parameters together, or raise ValueError."""
    masked = _input.choice(missing, "missing", ("error", "mask")) == "mask"
    told = _input.boolean(missing_indicator, "missing_indicator")
    if told and not masked:
        raise ValueError(
            "missing_indicator=True tells the encoder where values are missing, and missing='error' lets none be: set "
            "missing='mask'"
        )
    return ("indicator" if told else "mask") if masked else "error"


def observed_of(X: _input.Examples) -> int:
    """Return how many entries of X are observed: no NaN. No copy of all of it is made."""
    if isinstance(X, _core.SparseMatrix):
        return X.shape[0] * X.shape[1] - int(np.count_nonzero(np.isnan(X.data)))
    if X.dtype.kind != "f":
        return X.size
    return sum(int(np.count_nonzero(~np.isnan(X[start : start + 1024]))) for start in range(0, len(X), 1024))


def per_observed(losses: dict[str, float], n: int, observed: int) -> dict[str, float]:
    """Return mean losses of `n` examples as means over their observed entries; NaN where there are none."""
    share = n / observed if observed else float("nan")
    return {f"{key}_per_observed": value * share for key, value in losses.items()}


def with_means(model: Model, X: Any, y: Any, n_iter: int) -> NDArray[np.float32]:
    """Fill the holes with the decoder's means at the codes of what is observed, then of that and what was filled in."""
    engine, values, holes, told = _opened(model, X, y)
    filled = values
    for _ in range(1 + n_iter):
        means = engine.reconstruct(filled, told, model._noisy, model._threads()).reshape(values.shape)
        filled = np.where(holes, means, values)
    return filled


def with_draws(model: VAE, X: Any, y: Any, draws: int, n_iter: int, seed: int) -> NDArray[np.float32]:
    """Fill the holes `draws` times: z from q(z|what is there), then x in the holes from p(x|z), 1 + `n_iter` times."""
    engine, values, holes, told = _opened(model, X, y)
    filled = np.empty((draws, *values.shape), np.float32)
    for draw, state in enumerate(filled):
        state[...] = values
        for turn in range(1 + n_iter):
            key = int(np.random.default_rng((seed, draw, turn)).integers(2**63))
            z = engine.posterior_sample(state, told, 1, key, model._noisy, model._threads())
            x = engine.observe(z.reshape(len(values), -1), told, None, key, model._threads())
            np.copyto(state, x.reshape(values.shape), where=holes)
    return filled


def _opened(
    model: Model, X: Any, y: Any
) -> tuple[_core.Engine, NDArray[np.float32], NDArray[np.bool_], NDArray[Any] | None]:
    """Return a model's engine, X as float32, where its holes are, and y as the core reads it."""
    engine = model._engine_for()
    if _core.LIKELIHOODS[model._specification["likelihood"]["kind"]]["words"]:
        raise ValueError(
            f"this {type(model).__name__} has nothing to impute: its likelihood is of all words of a document "
            "together, and a word that does not occur is a zero"
        )
    if not model._masked():
        raise ValueError(
            f"this {type(model).__name__} was fitted with missing='error' and takes no NaN, so there is nothing to "
            "impute: fit it with missing='mask'"
        )
    X, told = model._data(X, y)
    values = _input.floats(X, "X", counts=model._counts())
    return engine, values, np.isnan(values), told
