"""The mixture that is fitted to the codes of a table's rows, and the synthetic rows that are drawn from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae import TabularVAE
from fastvae._tables import codes

stats = pytest.importorskip("scipy.stats", reason="needs scipy")


CENTRES = np.array([[-6.0, -6.0], [6.0, -6.0], [0.0, 8.0]])


def clusters(n: int = 600, seed: int = 0) -> np.ndarray[Any, Any]:
    """Two columns in three far clusters, and each column once more with noise."""
    rng = np.random.default_rng(seed)
    X = CENTRES[rng.integers(3, size=n)] + rng.normal(size=(n, 2))
    return np.hstack([X, X + 0.3 * rng.normal(size=X.shape)])


@pytest.fixture(scope="module")
def fitted() -> TabularVAE:
    return TabularVAE(2, hidden=(64,), epochs=400, random_state=0).fit(clusters())


def made_codes(n: int = 900, seed: int = 0) -> tuple[Any, Any]:
    """Codes of three clusters in dimensions 0 and 2 of three; dimension 1 is not in use."""
    rng = np.random.default_rng(seed)
    mu = np.zeros((n, 3))
    mu[:, [0, 2]] = np.array([[-2.0, 0], [2, 0], [0, 2]])[rng.integers(3, size=n)] + rng.normal(size=(n, 2)) / 5
    logvar = np.tile(np.log([0.01, 1.0, 0.02]), (n, 1))
    return mu.astype(np.float32), logvar.astype(np.float32)


def test_the_fit_is_as_likely_as_that_of_scikit_learn() -> None:
    mixture = pytest.importorskip("sklearn.mixture", reason="needs scikit-learn")
    mu, logvar = made_codes()
    found = codes.fit(mu, logvar, 1)
    assert found is not None
    assert found.dims.tolist() == [0, 2]
    rng = np.random.default_rng(1)
    z = (mu + np.exp(logvar / 2) * rng.normal(size=mu.shape)).astype(np.float32)
    prior = stats.norm.logpdf(z).sum(1)
    ours = float((found.log_ratio(z) + prior).mean())
    many = np.concatenate([mu + np.exp(logvar / 2) * rng.normal(size=mu.shape) for _ in range(2)])
    theirs = mixture.GaussianMixture(6, random_state=0).fit(many[:, [0, 2]])
    unused = stats.norm.logpdf(z[:, 1]).mean()
    assert ours > theirs.score(z[:, [0, 2]]) + unused - 0.05


def test_the_density_ratio_is_that_of_scipy() -> None:
    mu, logvar = made_codes()
    found = codes.fit(mu, logvar, 1)
    assert found is not None
    z = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    x = z[:, found.dims].astype(float)
    parts = zip(found.weights, found.means, found.factors, strict=True)
    density = sum(w * stats.multivariate_normal.pdf(x, mean, factor @ factor.T) for w, mean, factor in parts)
    np.testing.assert_allclose(found.log_ratio(z), np.log(density) - stats.norm.logpdf(x).sum(1), rtol=1e-6)


def test_draws_have_the_moments_of_the_codes() -> None:
    mu, logvar = made_codes()
    found = codes.fit(mu, logvar, 1)
    assert found is not None
    z = np.random.default_rng(0).normal(size=(50_000, 3)).astype(np.float32)
    drawn = found.sample(z, 0)
    np.testing.assert_array_equal(drawn[:, 1], z[:, 1])
    np.testing.assert_allclose(drawn[:, [0, 2]].mean(0), mu[:, [0, 2]].mean(0), atol=0.05)
    total = np.cov(mu[:, [0, 2]].T) + np.diag([0.01, 0.02])
    np.testing.assert_allclose(np.cov(drawn[:, [0, 2]].T), total, atol=0.06)


def test_a_collapsed_posterior_keeps_the_prior() -> None:
    assert codes.fit(np.zeros((30, 2), np.float32), np.zeros((30, 2), np.float32), 1) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": [0.5, 0.6]},
        {"weights": [float("nan"), 1.0]},
        {"dims": [2, 0]},
        {"dims": [-1, 0]},
        {"means": [[0.0]]},
        {"factors": [[[1.0, 1.0], [0.0, 1.0]]] * 2},
        {"steps": 1.5},
        {"more": 1},
    ],
)
def test_damaged_codes_are_refused(damage: dict[str, Any]) -> None:
    good = codes.Codes(1, np.array([0, 2]), np.array([0.25, 0.75]), np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1)))
    kept = json.loads(json.dumps(good.to_json()))
    assert codes.Codes.from_json(kept).to_json() == good.to_json()
    with pytest.raises(ValueError):  # noqa: PT011 - several messages
        codes.Codes.from_json(kept | damage)


def between(X: Any) -> float:
    """Share of rows that are far from all clusters."""
    return float((np.linalg.norm(X[:, np.newaxis, :2] - CENTRES, axis=2).min(1) > 4).mean())


def test_synthetic_rows_lie_in_the_clusters_of_the_table(fitted: TabularVAE) -> None:
    normal, mixture = (fitted.sample(2000, prior=prior, random_state=0) for prior in ("normal", "fitted"))
    assert between(mixture) < 0.02
    assert between(normal) > 3 * between(mixture)
    np.testing.assert_array_equal(mixture, fitted.sample(2000, random_state=0))


def test_given_values_and_the_fitted_prior_agree_with_rows_of_the_table(fitted: TabularVAE) -> None:
    made = fitted.sample(1000, given={0: -6.0}, random_state=0)
    assert np.all(made[:, 0] == -6.0)
    assert abs(made[:, 1].mean() + 6) < 0.5
    assert 0.7 < made[:, 1].std() < 1.6
    # Under N(0, I) too, the values are those of a model that is asked with draws of its prior.
    normal = fitted.sample(1000, given={0: -6.0}, random_state=0, prior="normal")
    many = fitted.sample(200_000, random_state=1, prior="normal")
    near = many[np.abs(many[:, 0] + 6) < 0.2]
    assert abs(normal[:, 1].mean() - near[:, 1].mean()) < 0.4
    assert abs(normal[:, 1].std() - near[:, 1].std()) < 0.4


def test_levels_given_have_the_conditional_distribution_of_the_table() -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")

    def simulated(n: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        z = rng.normal(size=n)
        city = np.array(["Bonn", "Trier", "Ulm"])[np.digitize(z + 0.4 * rng.normal(size=n), [-0.8, 0.9])]
        return pandas.DataFrame(
            {
                "city": city,
                "size": 3 * z + rng.normal(size=n),
                "price": 100 - 20 * z + 5 * rng.normal(size=n),
                "member": np.where(z + 0.7 * rng.normal(size=n) > 0, "yes", "no"),
            }
        )

    model, truth = TabularVAE(4, hidden=(64,), epochs=80, random_state=0).fit(simulated(1500, 0)), simulated(100_000, 1)
    for city in ("Bonn", "Ulm"):
        made, same = model.sample(2000, given={"city": city}, random_state=0), truth[truth["city"] == city]
        assert set(made["city"]) == {city}
        for name in ("size", "price"):
            assert stats.ks_2samp(made[name], same[name]).statistic < 0.1
        assert abs((made["member"] == "yes").mean() - (same["member"] == "yes").mean()) < 0.08
    made = model.sample(2000, given={"city": "Bonn", "price": 105.0}, random_state=0)
    same = truth[(truth["city"] == "Bonn") & (abs(truth["price"] - 105) < 3)]
    assert abs(made["size"].mean() - same["size"].mean()) < 0.4
    assert abs(made["size"].std() - same["size"].std()) < 0.4
    with pytest.warns(UserWarning, match="rare together"):
        model.sample(100, given={"city": "Ulm", "size": -15.0}, random_state=0)


def test_the_codes_are_saved_and_outlive_pickles_but_not_further_training(fitted: TabularVAE, tmp_path: Path) -> None:
    import pickle

    fitted.save(tmp_path / "m.safetensors")
    wanted = fitted.sample(50, random_state=1)
    for again in (fastvae.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.sample(50, random_state=1), wanted)  # type: ignore[attr-defined]
    other: Any = pickle.loads(pickle.dumps(fitted))
    same: Any = pickle.loads(pickle.dumps(fitted))  # with as many steps
    other.partial_fit(clusters())
    for method in (other, other.load_state_dict(fitted.state_dict()), same.load_state_dict(fitted.state_dict())):
        found = (method.sample(50, random_state=1, prior=prior) for prior in ("normal", "fitted"))
        np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="prior"):
        fitted.sample(3, prior="posterior")


def test_codes_do_not_depend_on_threads_and_resume_as_a_whole_fit(tmp_path: Path) -> None:
    X = clusters(200)
    kept = []
    for threads in (1, 2):
        model = TabularVAE(2, hidden=(16,), epochs=6, random_state=0, n_jobs=threads).fit(X)
        kept.append(model.sample(40, random_state=0))
    np.testing.assert_array_equal(*kept)
    path = tmp_path / "c.ckpt"

    epochs = iter(range(1, 7))

    def stop(model: Any, logs: Any) -> None:
        if next(epochs) == 4:
            raise KeyboardInterrupt

    halted = TabularVAE(
        2, hidden=(16,), epochs=6, random_state=0, callbacks=[fastvae.callbacks.LambdaCallback(on_epoch_end=stop)]
    )
    with pytest.raises(KeyboardInterrupt):
        halted.fit(X, checkpoint=path, checkpoint_every=1)
    resumed: Any = fastvae.resume(path, X, callbacks=[fastvae.callbacks.LambdaCallback()])
    np.testing.assert_array_equal(resumed.sample(40, random_state=0), kept[0])
