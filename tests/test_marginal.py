"""log p(x) by importance sampling: closed forms, torch, determinism, refusals."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS, run_python
from numpy.typing import NDArray
from reference import examples, linear_gaussian, pair
from torch.distributions import MultivariateNormal

import fastvae
from fastvae import VAE
from fastvae.datasets import load_digits

DIGITS = (load_digits()[0] > 0.5).astype(np.float32)
Array = NDArray[Any]


def digits_model(**parameters: Any) -> VAE:
    defaults: dict[str, Any] = {"latent_dim": 5, "hidden": (40,), "epochs": 5, "random_state": 0}
    return VAE(**defaults | parameters).fit(DIGITS[:500])


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return digits_model()


def drawn(exact: MultivariateNormal, n: int) -> tuple[Array, Array]:
    """Return n draws from a distribution, always the same, and their log-probabilities."""
    rng = np.random.default_rng(5)
    root, mean = exact.scale_tril.numpy(), exact.mean.numpy()
    X = (mean + rng.normal(size=(n, len(mean))) @ root.T).astype(np.float32)
    return X, exact.log_prob(torch.from_numpy(X).double()).numpy()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("wider", [1.5, 1.1])
@pytest.mark.parametrize("n_samples", [500, 5000])
def test_it_is_the_exact_marginal_of_probabilistic_pca(wider: float, n_samples: int) -> None:
    rng = np.random.default_rng(3)  # loadings that are not orthogonal: the exact posterior is not diagonal, and q is
    model, exact, _, _ = linear_gaussian(rng.normal(size=(7, 3)), rng.normal(size=7), 0.6, wider)
    X, truth = drawn(exact, 300)
    found = model.log_marginal(X, n_samples)
    off = found.estimate - truth
    mean_error = np.sqrt((found.standard_error**2).sum()) / len(X)
    assert abs(off.mean()) < 3 * mean_error
    # Single estimates too: their deviations are of the size that the standard errors say.
    assert 0.7 < np.sqrt(np.mean((off / found.standard_error) ** 2)) < 1.4
    assert (found.ess > 1).all()
    assert (found.ess <= n_samples).all()


def test_with_the_exact_posterior_one_sample_is_enough() -> None:
    rng = np.random.default_rng(0)
    model, exact, _, _ = linear_gaussian(rng.normal(size=(6, 1)), rng.normal(size=6), 0.5)
    X, truth = drawn(exact, 20)
    for n_samples in (1, 2, 50):
        found = model.log_marginal(X, n_samples)
        np.testing.assert_allclose(found.estimate, truth, rtol=1e-4)
        np.testing.assert_allclose(found.ess, n_samples, rtol=1e-6)


def test_it_is_the_likelihood_itself_where_the_decoder_ignores_the_code() -> None:
    # Whatever the encoder says.
    model = VAE(2, hidden=(4,), random_state=0).load_state_dict(
        {
            "encoder.0.weight": np.zeros((4, 3)), "encoder.0.bias": np.ones(4),
            "mu.weight": np.full((2, 4), 0.1), "mu.bias": np.array([0.5, -0.2]),
            "logvar.weight": np.zeros((2, 4)), "logvar.bias": np.array([0.3, -0.1]),
            "decoder.0.weight": np.zeros((4, 2)), "decoder.0.bias": np.zeros(4),
            "decoder.2.weight": np.zeros((3, 4)), "decoder.2.bias": np.array([0.0, 1.0, -2.0]),
        }
    )  # fmt: skip
    X = np.array([[0, 1, 0], [1, 0, 1]], np.float32)
    p = 1 / (1 + np.exp(-np.array([0.0, 1.0, -2.0])))
    known = (X * np.log(p) + (1 - X) * np.log(1 - p)).sum(1)
    found = model.log_marginal(X, 5_000)
    assert (np.abs(found.estimate - known) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.02).all()
    assert (found.ess > 1_000).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_is_the_mean_of_the_weights_that_torch_finds(likelihood: str) -> None:
    # Other noise, so only within the errors of both.
    vae, twin = pair(37, latent_dim=3, hidden=(13,), likelihood=LIKELIHOODS[likelihood])
    # Where codes matter little and posteriors are near the prior, the weights are of similar size.
    weights = {name: array * np.float32(0.25) for name, array in vae.state_dict().items()}
    twin.load(vae.load_state_dict(weights).state_dict())
    X = examples(LIKELIHOODS[likelihood], 12, 37)
    X = np.round(X) if likelihood == "bernoulli" else X
    found = vae.log_marginal(X, 4000)
    with torch.no_grad():
        draws = np.random.default_rng(0).normal(size=(12, 4000, 3))
        log_weights = twin.log_weights(twin.tensor(X), twin.tensor(draws))[0].T
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


MEMORY_SCRIPT = """
import resource
import numpy as np
from fastvae import VAE
X = np.zeros((300, 64), np.float32)
vae = VAE(50, hidden=(8,), epochs=1, random_state=0).fit(X)
vae.log_marginal(X, 50)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
vae.log_marginal(X, 5000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
def test_memory_does_not_grow_with_the_samples() -> None:
    assert int(run_python(MEMORY_SCRIPT)) < 4_000  # the weights would take 12 MB, the codes 300


def remedy(message: str) -> list[str]:
    """Return the calls that an error names."""
    return re.findall(r"fastvae\.binarize\(X[^)]*\)", message)


def test_grey_values_are_refused_and_the_remedies_named(fitted: VAE) -> None:
    grey = DIGITS[:5].copy()
    grey[3, 7] = 0.25
    with pytest.raises(
        ValueError, match=r"X\[3, 7\] is 0.25.*binarize=\"bernoulli\" or \"threshold\".*Gaussian"
    ) as error:
        fitted.log_marginal(grey)
    assert remedy(str(error.value)) == ['fastvae.binarize(X, "bernoulli")', 'fastvae.binarize(X, "threshold")']
    pixels = (DIGITS[:500] * 255).astype(np.uint8)
    model = VAE(5, hidden=(40,), epochs=5, random_state=0).fit(pixels)
    few = pixels[:5]
    assert model.log_marginal(few, 20).estimate.tobytes() == fitted.log_marginal(DIGITS[:5], 20).estimate.tobytes()
    few[0, 0] = 7
    with pytest.raises(ValueError, match=r"X\[0, 0\] is 7"):
        model.log_marginal(few)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("how", ["threshold", "bernoulli"])
def test_the_remedy_helps_and_is_the_one_of_the_training_data(how: str, dtype: Any) -> None:
    X = load_digits()[0][:100]
    X = np.round(255 * X).astype(np.uint8) if dtype == np.uint8 else X
    model = digits_model(binarize=how).fit(X)
    with pytest.raises(ValueError, match="only 0 and 1 have a probability") as error:
        model.log_marginal(X)
    (call,) = remedy(str(error.value))
    assert how in call
    binary = eval(call, {"fastvae": fastvae, "X": X})  # what the message says
    assert 0.1 < binary.mean() < 0.5
    found = model.log_marginal(binary, 50).estimate
    assert np.isfinite(found).all()
    if how == "threshold":  # training on X is training on it, bit for bit
        small: dict[str, Any] = {"hidden": (9,), "epochs": 1, "random_state": 0}
        by_training, by_hand = VAE(binarize=how, **small).fit(X).state_dict(), VAE(**small).fit(binary).state_dict()
        for name, array in by_training.items():
            assert array.tobytes() == by_hand[name].tobytes()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((3, 64), np.nan, np.float32), "is NaN; X must be finite"),
        (200 * np.eye(64, dtype=np.uint8), r"is 200 \(uint8 is not divided by 255.*pass X / 255.*\[0, 1\]"),
        (np.full((3, 64), 255.0), r"is 255, but the Bernoulli likelihood takes values in \[0, 1\]: scale the data"),
    ],
)
def test_invalid_values_give_the_usual_error(fitted: VAE, X: Any, message: str) -> None:
    for method in (fitted.score_samples, fitted.log_marginal):
        with pytest.raises(ValueError, match=message):
            method(X)


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, "many", True, None])
def test_a_bad_number_of_samples_is_refused(fitted: VAE, n_samples: Any) -> None:
    with pytest.raises(ValueError, match="n_samples="):
        fitted.log_marginal(DIGITS[:3], n_samples)


def test_bad_data_are_refused(fitted: VAE) -> None:
    with pytest.raises(ValueError, match="features"):
        fitted.log_marginal(DIGITS[:3, :5])
    bad = np.full((3, 64), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"X\[0, 0\] is NaN"):
        fitted.log_marginal(bad)
