"""Learned scales, predictive distributions and anomaly scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import LIKELIHOODS, run_python
from numpy.typing import NDArray
from reference import AWKWARD, examples, linear_gaussian, pair
from scipy.stats import rankdata

from fastvae import VAE, NotFittedError
from fastvae.corruption import GaussianNoise
from fastvae.likelihoods import Gaussian

ROOT = Path(__file__).resolve().parents[1]
GARMENTS = ROOT / "examples" / "data" / "fashion_mnist.npz"
DIGITS = ROOT.parent / "shared" / "data" / "mnist.npz"


# ------------------------------------------------------------------------------------ scales are recovered

FEATURES = 20


def simulated(scale: str, seed: int, n: int = 4000) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return data on a curve with noise, and the noise's standard deviation, both [n, FEATURES]."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(n, 1))
    curve = 1.5 * np.sin(t * np.linspace(0.5, 2.0, FEATURES) + np.linspace(0, 3, FEATURES))
    sigma = {
        "shared": np.full((1, FEATURES), 0.2),
        "per_feature": np.geomspace(0.1, 0.8, FEATURES)[np.newaxis],
        "decoder": (0.1 + 0.5 / (1 + np.exp(-3 * t))) * np.linspace(0.5, 1.5, FEATURES),
    }[scale]
    X = curve + sigma * rng.normal(size=curve.shape)
    return X.astype(np.float32), np.broadcast_to(sigma, X.shape)


def learned(scale: Any, seed: int) -> tuple[VAE, NDArray[np.float32], NDArray[np.float64]]:
    """Return a model, the data that it was fitted to, and the true scale of them."""
    X, sigma = simulated(scale, seed)
    parameters: dict[str, Any] = {"hidden": (64, 64), "activation": "tanh", "batch_size": 100, "epochs": 100}
    vae = VAE(2, likelihood=Gaussian(scale), learning_rate=3e-3, random_state=seed, **parameters)
    return vae.fit(X), X, sigma


@pytest.mark.parametrize(("scale", "seed"), [("shared", 0), ("per_feature", 1)])
def test_a_known_noise_level_is_recovered(scale: str, seed: int) -> None:
    vae, X, sigma = learned(scale, seed)
    found = np.broadcast_to(np.exp(vae.state_dict()["likelihood.log_scale"]), FEATURES)
    np.testing.assert_allclose(found, sigma[0], rtol={"shared": 0.06, "per_feature": 0.12}[scale])
    np.testing.assert_allclose(vae.predictive(X[:9], 3).observation_std, np.tile(found, (9, 1)), rtol=1e-5)


def test_a_noise_level_that_depends_on_the_input_is_recovered() -> None:
    vae, X, sigma = learned("decoder", 0)
    found = vae.predictive(X, 20).observation_std
    assert sigma.max() / sigma.min() > 15
    error = np.log(found) - np.log(sigma)
    assert np.sqrt(np.mean(error**2)) < 0.15
    assert abs(np.median(error)) < 0.08
    assert np.corrcoef(np.log(found).ravel(), np.log(sigma).ravel())[0, 1] > 0.98
    # It describes the data better than any scale that does not depend on the input, which the same network learns.
    parameters = vae.get_params() | {"likelihood": Gaussian("per_feature")}
    assert vae.score(X) > VAE(**parameters).fit(X).score(X) + 3


def test_a_scale_of_the_decoder_keeps_above_its_floor_and_comes_back_from_it() -> None:
    # Data that the decoder's bias gives exactly want a scale of zero; then the data change.
    vae = VAE(2, hidden=(), likelihood=Gaussian("decoder", floor=0.05), learning_rate=0.02, random_state=0)
    vae.set_params(batch_size=50).partial_fit(np.zeros((50, 7)))
    for _ in range(2000):
        vae.partial_fit(np.zeros((50, 7)))
    lowest = vae.predictive(np.zeros((1, 7)), 5).observation_std
    assert lowest.min() >= np.float32(0.05) * (1 - 1e-6)
    assert lowest.max() < 0.052
    X = np.random.default_rng(0).normal(size=(5000, 7))
    vae.partial_fit(X)
    for _ in range(20):
        vae.partial_fit(X)
    assert np.sqrt(np.mean(vae.predictive(X[:500], 5).observation_std ** 2)) > 0.7


# ------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_posterior_predictive_of_a_linear_gaussian_model_is_exact(scale: float) -> None:
    rng = np.random.default_rng(3)
    loadings = np.linalg.qr(rng.normal(size=(45, 3)))[0] * [3.0, 1.0, 0.4]
    offset = rng.normal(size=45)
    vae, _, gain, variance = linear_gaussian(loadings, offset, scale)
    X, n = np.random.default_rng(4).normal(size=(70, 45)), 4000
    found = vae.predictive(X, n)
    mean = (X - offset) @ gain.T @ loadings.T + offset
    latent_std = np.sqrt(loadings**2 @ variance)
    assert (np.abs(found.mean - mean) < 6 * latent_std / np.sqrt(n) + 1e-5).all()
    np.testing.assert_allclose(found.latent_std, np.tile(latent_std, (70, 1)), rtol=6 / np.sqrt(2 * n))
    np.testing.assert_allclose(found.observation_std, scale, rtol=1e-5)
    # Together they are the marginal variance of x' given x, the diagonal of W Var(z|x) Wᵀ + s² I.
    covariance = loadings @ np.diag(variance) @ loadings.T + scale**2 * np.eye(45)
    total = found.latent_std**2 + found.observation_std**2
    np.testing.assert_allclose(total, np.tile(np.diag(covariance), (70, 1)), rtol=0.07)


def test_draws_from_the_posterior_have_its_mean_and_its_spread() -> None:
    vae, _ = pair(37, likelihood="bernoulli", **AWKWARD)
    X, n = examples("bernoulli", 19, 37), 20_000
    mu, logvar = vae.encode(X)
    z = vae.posterior_sample(X, n)
    assert z.shape == (n, 19, 5)
    assert z.dtype == np.float32
    units = ((z - mu) / np.exp(logvar / 2)).reshape(n, -1)
    assert np.abs(units.mean(0)).max() < 5 / np.sqrt(n)
    np.testing.assert_allclose(units.std(0), 1, atol=5 / np.sqrt(2 * n))
    assert np.abs(np.corrcoef(units.T) - np.eye(95)).max() < 6 / np.sqrt(n)


def inflation(twin: Any, z: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probabilities of zero inflation at codes."""
    u = twin.inflation(twin.decoder[:-1](twin.tensor(z)))
    found: NDArray[np.float64] = u.sigmoid().detach().numpy()
    return found


@pytest.mark.parametrize("rows", [1, 150])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_predictive_agrees_with_its_draws(likelihood: str, rows: int) -> None:
    vae, twin = pair(37, likelihood=LIKELIHOODS[likelihood], random_state=5, **AWKWARD)
    vae.load_state_dict(vae.state_dict() | {"logvar.weight": 0.1 * vae.state_dict()["logvar.weight"]})
    X, n = examples(LIKELIHOODS[likelihood], rows, 37), 70
    z = vae.posterior_sample(X, n)
    means = vae.inverse_transform(z.reshape(-1, 5)).reshape(n, rows, 37).astype(np.float64)
    if "total" in likelihood:
        means *= X.sum(1, dtype=np.float64)[:, np.newaxis]
    if likelihood.startswith("poisson"):
        variances = means
    elif likelihood.startswith("negative_binomial"):
        r = np.exp(vae.state_dict()["likelihood.log_total_count"].astype(np.float64))
        w = inflation(twin, z) if "inflated" in likelihood else 0.0
        variances = means * (1 + means / (1 - w) * (w + 1 / r))
    elif likelihood in ("bernoulli", "multinomial"):
        variances = means * (1 - means)
    else:
        sigma = twin.standard_deviation(twin.tensor(z)).detach().numpy()
        variances = np.broadcast_to(sigma**2, means.shape)
    expected = means.mean(0), means.std(0), np.sqrt(variances.mean(0))
    for found, wanted in zip(vae.predictive(X, n), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=3e-6 * np.abs(wanted).max())


# --------------------------------------------------------------------------------------- what it depends on


@pytest.mark.parametrize("likelihood", ["bernoulli", Gaussian("decoder")], ids=str)
def test_draws_are_keyed_by_seed_row_and_number(likelihood: Any) -> None:
    vae, _ = pair(37, likelihood=likelihood, random_state=5, **AWKWARD)
    X = examples(likelihood, 300, 37)
    z = vae.posterior_sample(X, 5)
    assert vae.posterior_sample(X[:7], 3).tobytes() == np.ascontiguousarray(z[:3, :7]).tobytes()
    assert np.array_equal(vae.posterior_sample(X, 5, random_state=5), z)
    assert not np.any(vae.posterior_sample(X, 5, random_state=6) == z)
    assert len(np.unique(vae.posterior_sample(np.repeat(X[:1], 100, 0), 50))) > 0.99 * 100 * 50 * 5
    for one, many in zip(vae.predictive(X[:7], 40), vae.predictive(X, 40), strict=True):
        assert np.array_equal(one, many[:7])
    by_generator = vae.predictive(X, 2, np.random.default_rng(0)).mean
    assert np.array_equal(by_generator, vae.predictive(X, 2, np.random.default_rng(0)).mean)
    assert not np.array_equal(by_generator, vae.predictive(X, 2).mean)


@pytest.mark.parametrize("likelihood", ["bernoulli", Gaussian("per_feature"), Gaussian("decoder")], ids=str)
@pytest.mark.parametrize("rows", [1, 33, 700])
def test_the_number_of_threads_changes_no_bit_of_them(rows: int, likelihood: Any) -> None:
    vae, _ = pair(150, likelihood=likelihood, random_state=5, latent_dim=20, hidden=(70,))
    X = examples(likelihood, rows, 150)
    alone = None
    for n_jobs in (1, 2, 3, None):
        vae.set_params(n_jobs=n_jobs)
        now = [vae.posterior_sample(X, 3).tobytes(), *(part.tobytes() for part in vae.predictive(X, 35))]
        alone = now if alone is None else alone
        assert now == alone, n_jobs


def test_asking_changes_nothing() -> None:
    vae, _ = pair(37, **AWKWARD)
    weights = vae.state_dict()
    weights["logvar.bias"][0] = 100  # clamped, which is counted
    vae.load_state_dict(weights)
    X = examples("bernoulli", 50, 37)
    before = vae.diagnose(X)
    vae.predictive(X, 40)
    vae.posterior_sample(X, 40)
    assert str(vae.diagnose(X)) == str(before)


MEMORY_SCRIPT = """
import resource
import numpy as np
from fastvae import VAE
vae = VAE(2, hidden=(8,), epochs=1, random_state=0).fit(np.zeros((256, 200)) + 0.5)
X = np.full((2000, 200), 0.5, np.float32)
vae.predictive(X, 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
vae.predictive(X, 200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
def test_memory_does_not_grow_with_the_number_of_draws() -> None:
    assert int(run_python(MEMORY_SCRIPT)) < 16_000  # the draws would take 320 MB, an answer takes 5


# ----------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None, 2**24 + 1])
@pytest.mark.parametrize("method", ["posterior_sample", "predictive"])
def test_a_bad_number_of_draws_is_refused(method: str, n: Any) -> None:
    vae, _ = pair(37, **AWKWARD)
    with pytest.raises(ValueError, match="n="):
        getattr(vae, method)(examples("bernoulli", 3, 37), n)


def test_a_single_draw_has_no_spread_and_is_refused() -> None:
    vae, _ = pair(37, **AWKWARD)
    X = examples("bernoulli", 3, 37)
    with pytest.raises(ValueError, match="n=1 has no spread: predictive needs at least two draws"):
        vae.predictive(X, 1)
    assert (vae.predictive(X, 2).latent_std > 0).any()


@pytest.mark.parametrize("method", ["posterior_sample", "predictive", "anomaly_score"])
def test_bad_data_and_unfitted_models_are_refused(method: str) -> None:
    more = (2,) if method != "anomaly_score" else ()
    with pytest.raises(NotFittedError):
        getattr(VAE(), method)(np.zeros((3, 4)), *more)
    vae, _ = pair(37, **AWKWARD)
    X = examples("bernoulli", 5, 37)
    with pytest.raises(ValueError, match="expecting 37 features"):
        getattr(vae, method)(X[:, 1:], *more)
    if method == "anomaly_score":  # draws and predictions need finite numbers only
        X[3, 2] = 2
        with pytest.raises(ValueError, match=r"X\[3, 2\] is 2, but the Bernoulli"):
            getattr(vae, method)(X, *more)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[3, 2\] is NaN"):
        getattr(vae, method)(X, *more)
    if method != "anomaly_score":
        with pytest.raises(ValueError, match="random_state"):
            getattr(vae, method)(X[:2], 2, "seed")


def test_noisy_data_are_accepted_after_training_with_noise() -> None:
    X = examples("bernoulli", 64, 37)
    vae = VAE(3, hidden=(8,), corruption=GaussianNoise(0.3), epochs=1, random_state=0).fit(X)
    noisy = GaussianNoise(0.3).corrupt(X, random_state=1)
    assert noisy.min() < 0
    assert np.isfinite(vae.posterior_sample(noisy, 2)).all()
    assert np.isfinite(vae.predictive(noisy, 2)).all()


# ---------------------------------------------------------------------------------------------- anomalies


def test_the_anomaly_score_is_the_negative_elbo() -> None:
    vae, _ = pair(37, **AWKWARD)
    X = examples("bernoulli", 50, 37)
    assert np.array_equal(vae.anomaly_score(X), -vae.score_samples(X))


def roc_auc(normal: NDArray[np.float32], anomalous: NDArray[np.float32]) -> float:
    """Return the probability that an anomaly scores higher (Mann and Whitney's U)."""
    ranks = rankdata(np.concatenate([normal, anomalous]))[len(normal) :]
    pairs = len(normal) * len(anomalous)
    return float(ranks.sum() - len(anomalous) * (len(anomalous) + 1) / 2) / pairs


@pytest.mark.skipif(not DIGITS.exists(), reason="needs MNIST at ../shared/data/mnist.npz beside the repository")
@pytest.mark.skipif(not GARMENTS.exists(), reason="needs examples/data/fashion_mnist.npz")
@pytest.mark.parametrize(
    ("likelihood", "digits_are_found", "garments_are_found"),
    [
        # Dark, simple digits are likelier than garments to a Bernoulli model of garments: the score is turned around.
        ("bernoulli", (0.15, 0.45), (0.98, 1.0)),
        (Gaussian("shared"), (0.93, 1.0), (0.88, 0.98)),
        (Gaussian("decoder", floor=0.05), (0.85, 0.98), (0.99, 1.0)),
    ],
    ids=str,
)
def test_garments_among_digits_and_digits_among_garments(
    likelihood: Any, digits_are_found: tuple[float, float], garments_are_found: tuple[float, float]
) -> None:
    with np.load(GARMENTS) as garments, np.load(DIGITS) as digits:
        data = {
            "garments": (garments["x_train"].reshape(-1, 784), garments["x_test"].reshape(-1, 784)),
            "digits": (digits["x_train"][:5000].reshape(-1, 784), digits["x_test"][:1000].reshape(-1, 784)),
        }
    for name, other, (least, most) in [
        ("garments", "digits", digits_are_found),
        ("digits", "garments", garments_are_found),
    ]:
        vae = VAE(10, hidden=(200,), likelihood=likelihood, epochs=20, random_state=0).fit(data[name][0])
        area = roc_auc(vae.anomaly_score(data[name][1]), vae.anomaly_score(data[other][1]))
        print(f"{likelihood}: trained on {name}, AUC of {other} {area:.3f}")
        assert least <= area <= most
