"""Counts whose means are shares of the row's total: what holds beyond the comparisons of all likelihoods with torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import bits, same
from numpy.typing import NDArray
from scipy import sparse

import fastvae
from fastvae import VAE
from fastvae.likelihoods import NegativeBinomial, Poisson

SIZED: dict[str, Any] = {
    "poisson": Poisson("total"),
    "negative binomial": NegativeBinomial(size_factor="total"),
    "zero-inflated": NegativeBinomial(size_factor="total", zero_inflation=True),
}


def counts(rows: int = 60, cols: int = 45, seed: int = 0) -> NDArray[np.float32]:
    """Long-tailed counts in rows of different totals, most of them zero; the first row is empty."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(cols, 0.3), rows)
    X = rng.poisson(shares * rng.lognormal(3, 1, (rows, 1))).astype(np.float32)
    X[0] = 0
    return X


def model(likelihood: Any, **parameters: Any) -> VAE:
    fixed: dict[str, Any] = {"latent_dim": 3, "hidden": (16,), "epochs": 3, "batch_size": 16, "random_state": 0}
    return VAE(likelihood=likelihood, **(fixed | parameters))


@pytest.mark.parametrize("likelihood", SIZED.values(), ids=SIZED)
def test_sparse_rows_give_the_bits_of_dense_ones(likelihood: Any) -> None:
    X = counts(cols=130)
    dense, thin = model(likelihood).fit(X), model(likelihood).fit(sparse.csr_array(X))
    assert same(dense.state_dict(), thin.state_dict())
    assert np.array_equal(dense.score_samples(X), thin.score_samples(sparse.csr_array(X)))


@pytest.mark.parametrize("likelihood", SIZED.values(), ids=SIZED)
def test_a_row_without_counts_has_a_finite_loss_and_gradient(likelihood: Any) -> None:
    X = counts()
    loss, gradients = model(likelihood).fit(X).loss_and_gradients(X[:1])
    assert np.isfinite(list(loss.values())).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("likelihood", SIZED.values(), ids=SIZED)
def test_a_factor_of_a_row_scales_its_reconstruction_only(likelihood: Any) -> None:
    X = counts()
    X = X[X.sum(1) > 0]
    vae = model(likelihood, input_transform="l1").fit(X)
    np.testing.assert_allclose(vae.transform(X), vae.transform(3 * X), atol=1e-6)
    np.testing.assert_allclose(vae.reconstruct(3 * X), 3 * vae.reconstruct(X), rtol=1e-4)
    assert (vae.inverse_transform(vae.transform(X)).sum(1) <= 1 + 1e-5).all()


@pytest.mark.parametrize("likelihood", SIZED.values(), ids=SIZED)
def test_draws_have_the_means_and_variances_of_the_distribution(likelihood: Any) -> None:
    X = counts(cols=5)
    n, size = 40_000, 60
    vae = model(likelihood, hidden=(), latent_dim=1).fit(X)
    weights = vae.state_dict()
    weights = weights | {"decoder.0.weight": np.zeros((5, 1)), "decoder.0.bias": np.log([0.02, 0.08, 0.2, 0.3, 0.4])}
    inflation = np.zeros(5)
    if isinstance(likelihood, NegativeBinomial):
        weights["likelihood.log_total_count"] = np.log([0.5, 1, 2, 3, 10.0])
    if likelihood is SIZED["zero-inflated"]:
        inflation = np.array([0.1, 0.3, 0.5, 0.2, 0.05])
        weights |= {"inflation.weight": np.zeros((5, 1)), "inflation.bias": np.log(inflation / (1 - inflation))}
    vae.load_state_dict(weights)
    drawn = vae.sample(n, draw=True, lengths=size, random_state=1)
    m, w = size * np.array([0.02, 0.08, 0.2, 0.3, 0.4]), inflation
    over = np.exp(-weights["likelihood.log_total_count"]) if isinstance(likelihood, NegativeBinomial) else np.zeros(5)
    mean, variance = (1 - w) * m, (1 - w) * m * (1 + m * (w + over))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * np.sqrt(variance.max() / n))
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.08)
    np.testing.assert_allclose(vae.sample(2), np.tile(mean / size, (2, 1)), rtol=1e-5)

    row = np.array([[30, 10, 10, 5, 5]], np.float32)
    predicted = vae.predictive(row, 3)
    np.testing.assert_allclose(predicted.mean[0], mean, rtol=1e-5)
    np.testing.assert_allclose(predicted.observation_std[0], np.sqrt(variance), rtol=1e-4)


def test_scores_compare_rows_by_their_shares() -> None:
    rng = np.random.default_rng(1)
    types = rng.dirichlet(np.full(40, 0.2), 2)
    kind, size = np.arange(600) % 2, rng.lognormal(5, 0.8, (600, 1))
    X = rng.poisson(types[kind] * size).astype(np.float32)
    vae = model(Poisson("total"), epochs=30, input_transform="log1p").fit(X)
    shares = vae.inverse_transform(vae.transform(X))
    for which in (0, 1):
        error = np.abs(shares[kind == which] - types[which]).sum(1)
        assert np.median(error) < 0.25
    assert vae.score(X) > VAE(3, hidden=(16,), epochs=30, likelihood="poisson", random_state=0).fit(X).score(X)


def test_saving_keeps_the_options(tmp_path: Any) -> None:
    X = counts()
    vae = model(SIZED["zero-inflated"]).fit(X)
    vae.save(tmp_path / "cells")
    again = fastvae.load(tmp_path / "cells")
    assert again.likelihood == vae.likelihood
    assert bits(again) == bits(vae)


def test_what_does_not_apply_is_refused() -> None:
    X = counts()
    vae = model(SIZED["poisson"]).fit(X)
    with pytest.raises(ValueError, match='needs lengths= for a likelihood with size_factor="total"'):
        vae.sample(2, draw=True)
    with pytest.raises(ValueError, match="leave it out"):
        vae.sample(2, lengths=5)
    with pytest.raises(ValueError, match="zero_inflation=True needs size_factor"):
        model(NegativeBinomial(zero_inflation=True)).fit(X)
    with pytest.raises(ValueError, match="size_factor"):
        model(Poisson("mean")).fit(X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missing"):
        model(SIZED["poisson"], missing="mask").fit(X)
