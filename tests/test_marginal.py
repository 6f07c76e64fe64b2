"""log p(x) by importance sampling: closed forms, torch, determinism, refusals."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import LIKELIHOODS, examples, pair
from torch.distributions import MultivariateNormal, Normal

from fastvae import VAE
from fastvae.datasets import load_digits
from fastvae.likelihoods import Gaussian

DIGITS = (load_digits()[0] > 0.5).astype(np.float32)
Array = NDArray[Any]


def digits_model(**parameters: Any) -> VAE:
    defaults: dict[str, Any] = {"latent_dim": 5, "hidden": (40,), "epochs": 5, "random_state": 0}
    return VAE(**defaults | parameters).fit(DIGITS[:500])


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return digits_model()


def linear_gaussian(posterior: str) -> tuple[VAE, MultivariateNormal]:
    """Return probabilistic PCA as a VAE with a chosen posterior, and its exact marginal (Tipping & Bishop, 1999)."""
    rng = np.random.default_rng(3)
    features, latent, scale = 7, 3, 0.6
    W, b = rng.normal(size=(features, latent)), rng.normal(size=features)
    precision = W.T @ W / scale**2 + np.eye(latent)  # of the exact posterior, which is not diagonal
    gain = np.linalg.solve(precision, W.T) / scale**2
    sigma = {"wide": 1.0 / np.sqrt(np.diag(precision)) * 1.5, "near": 1.0 / np.sqrt(np.diag(precision)) * 1.1}[
        posterior
    ]
    weights = {
        "mu.weight": gain,
        "mu.bias": -gain @ b,
        "logvar.weight": np.zeros((latent, features)),
        "logvar.bias": 2 * np.log(sigma),
        "decoder.0.weight": W,
        "decoder.0.bias": b,
    }
    model = VAE(latent, hidden=(), likelihood=Gaussian(scale), random_state=1).load_state_dict(weights)
    covariance = W @ W.T + scale**2 * np.eye(features)
    return model, MultivariateNormal(torch.from_numpy(b), torch.from_numpy(covariance))


@pytest.mark.parametrize("posterior", ["wide", "near"])
@pytest.mark.parametrize("n_samples", [500, 5000])
def test_it_is_the_exact_marginal_of_probabilistic_pca(posterior: str, n_samples: int) -> None:
    model, exact = linear_gaussian(posterior)
    X = exact.sample((300,)).numpy().astype(np.float32)  # type: ignore[no-untyped-call]
    found = model.log_marginal(X, n_samples)
    truth = exact.log_prob(torch.from_numpy(X).double()).numpy()  # type: ignore[no-untyped-call]
    off = found.estimate - truth
    mean_error = np.sqrt((found.standard_error**2).sum()) / len(X)
    assert abs(off.mean()) < 3 * mean_error
    # Single estimates too: their deviations are of the size that the standard errors say.
    assert 0.7 < np.sqrt(np.mean((off / found.standard_error) ** 2)) < 1.4
    assert (found.ess > 1).all()
    assert (found.ess <= n_samples).all()


def test_with_the_exact_posterior_one_sample_is_enough() -> None:
    rng = np.random.default_rng(0)
    w, b, scale = rng.normal(size=(6, 1)), rng.normal(size=6), 0.5
    variance = 1 / (1 + (w**2).sum() / scale**2)
    gain = variance * w.T / scale**2
    weights = {
        "mu.weight": gain,
        "mu.bias": -gain @ b,
        "logvar.weight": np.zeros((1, 6)),
        "logvar.bias": np.log([variance]),
        "decoder.0.weight": w,
        "decoder.0.bias": b,
    }
    model = VAE(1, hidden=(), likelihood=Gaussian(scale), random_state=0).load_state_dict(weights)
    exact = MultivariateNormal(torch.from_numpy(b), torch.from_numpy(w @ w.T + scale**2 * np.eye(6)))
    X = exact.sample((20,)).numpy().astype(np.float32)  # type: ignore[no-untyped-call]
    truth = exact.log_prob(torch.from_numpy(X).double()).numpy()  # type: ignore[no-untyped-call]
    for n_samples in (1, 2, 50):
        found = model.log_marginal(X, n_samples)
        np.testing.assert_allclose(found.estimate, truth, rtol=1e-4)
        np.testing.assert_allclose(found.ess, n_samples, rtol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_is_the_mean_of_the_weights_that_torch_finds(likelihood: str) -> None:
    # Other noise, so only within the errors of both.
    vae, twin = pair(37, latent_dim=3, hidden=(13,), likelihood=LIKELIHOODS[likelihood])
    # Where codes matter little and posteriors are near the prior, the weights are of similar size.
    weights = {name: array * np.float32(0.25) for name, array in vae.state_dict().items()}
    twin.load(vae.load_state_dict(weights).state_dict())
    X = (
        np.round(examples(LIKELIHOODS[likelihood], 12, 37))
        if likelihood == "bernoulli"
        else examples("gaussian", 12, 37)
    )
    found = vae.log_marginal(X, 4000)
    torch.manual_seed(0)
    with torch.no_grad():
        x = twin.tensor(X)
        mu, logvar = twin.encode(x)
        q, prior = Normal(mu, (logvar / 2).exp()), Normal(torch.zeros_like(mu), 1.0)
        logs = []
        for _ in range(4000):
            z = q.sample()  # type: ignore[no-untyped-call]
            reconstruction, _ = twin.terms(x, (z - mu) / (logvar / 2).exp())
            logs.append(-reconstruction + (prior.log_prob(z) - q.log_prob(z)).sum(1))  # type: ignore[no-untyped-call]
    log_weights = torch.stack(logs)
    theirs = torch.logsumexp(log_weights, 0).numpy() - np.log(4000)
    scaled = (log_weights - log_weights.max(0).values).exp()
    error = (scaled.std(0) / scaled.mean(0) / np.sqrt(4000)).numpy()
    trusted = (found.ess > 100) & (error < 0.1)
    assert trusted.sum() >= 3
    far = np.abs(found.estimate - theirs) / np.sqrt(found.standard_error**2 + error**2)
    assert far[trusted].max() < 4.5


def test_more_samples_give_a_higher_bound_and_a_smaller_error(fitted: VAE) -> None:
    found = [fitted.log_marginal(DIGITS[500:700], n) for n in (1, 10, 100, 1000)]
    estimates = [float(f.estimate.mean()) for f in found]
    assert estimates == sorted(estimates)
    assert fitted.score(DIGITS[500:700]) == pytest.approx(estimates[0], abs=1.0)  # both are ELBOs
    errors = [float(f.standard_error.mean()) for f in found[1:]]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("n_samples", [1, 3, 77, 128, 129, 1000])
@pytest.mark.parametrize("n", [1, 5, 70])
def test_no_bit_depends_on_threads_order_or_company(fitted: VAE, n: int, n_samples: int) -> None:
    X = DIGITS[500 : 500 + n]
    one, two, three = (VAE(**fitted.get_params() | {"n_jobs": jobs}) for jobs in (1, 2, 3))
    for model in (one, two, three):
        model.load_state_dict(fitted.state_dict())
    found = [np.array(model.log_marginal(X, n_samples)) for model in (one, two, three)]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    backwards = np.array(one.log_marginal(X[::-1], n_samples))[:, ::-1]
    assert backwards.tobytes() == found[0].tobytes()
    assert np.array(one.log_marginal(X[:1], n_samples)).tobytes() == np.ascontiguousarray(found[0][:, :1]).tobytes()


def test_the_number_of_samples_is_the_one_asked_for(fitted: VAE) -> None:
    # With n equal weights the effective size is n: a posterior that is the prior and a decoder that ignores the code.
    weights = {name: np.zeros_like(array) for name, array in fitted.state_dict().items()}
    model = VAE(**fitted.get_params()).load_state_dict(weights)
    for n_samples in (1, 2, 125, 126, 4999):
        found = model.log_marginal(DIGITS[:3], n_samples)
        np.testing.assert_allclose(found.ess, n_samples, rtol=1e-9)
        np.testing.assert_allclose(found.estimate, -64 * np.log(2), rtol=1e-6)


def test_memory_does_not_grow_with_the_samples(fitted: VAE) -> None:
    tracemalloc.start()
    fitted.log_marginal(DIGITS[:50], 10)
    few = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    fitted.log_marginal(DIGITS[:50], 3000)
    assert tracemalloc.get_traced_memory()[1] < 2 * few
    tracemalloc.stop()


def test_grey_values_are_refused_and_the_remedies_named(fitted: VAE) -> None:
    grey = DIGITS[:5].copy()
    grey[3, 7] = 0.25
    with pytest.raises(ValueError, match=r"X\[3, 7\] is 0.25.*binarize=\"bernoulli\" or \"threshold\".*Gaussian"):
        fitted.log_marginal(grey)
    pixels = (DIGITS[:5] * 255).astype(np.uint8)
    assert fitted.log_marginal(pixels, 20).estimate.tobytes() == fitted.log_marginal(DIGITS[:5], 20).estimate.tobytes()
    pixels[0, 0] = 7
    with pytest.raises(ValueError, match=r"X\[0, 0\] is 7"):
        fitted.log_marginal(pixels)


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, "many", True, None])
def test_a_bad_number_of_samples_is_refused(fitted: VAE, n_samples: Any) -> None:
    with pytest.raises(ValueError, match="n_samples="):
        fitted.log_marginal(DIGITS[:3], n_samples)


def test_bad_data_are_refused(fitted: VAE) -> None:
    with pytest.raises(ValueError, match="features"):
        fitted.log_marginal(DIGITS[:3, :5])
    bad = np.full((3, 64), np.nan, np.float32)
    with pytest.raises(ValueError, match="nan"):
        fitted.log_marginal(bad)
