"""Training that goes wrong says so once, and its advice helps; training that goes on gives the same bits."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest

from fastvae import VAE, Autoencoder, TopicModel, load, schedules
from fastvae.corruption import MaskingNoise
from fastvae.likelihoods import Gaussian

BINARY = (np.random.default_rng(0).random((300, 12)) < 0.3).astype(np.float32)
REAL = np.random.default_rng(1).standard_normal((300, 12)).astype(np.float32)


def small(**parameters: Any) -> VAE:
    return VAE(**({"latent_dim": 2, "hidden": (8,), "epochs": 4, "batch_size": 64, "random_state": 0} | parameters))


def same(a: Any, b: Any) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(np.array_equal(one[key], two[key]) for key in one)


# Going wrong


def test_a_fit_that_went_wrong_warns_once_and_its_advice_helps() -> None:
    model = small(learning_rate=10.0)
    with pytest.warns(UserWarning, match="of the log variances lie outside.*lower learning_rate .it is 10") as seen:
        model.fit(BINARY)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(learning_rate=0.01).fit(BINARY)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"beta": 100.0},
        {"beta": 0.01},
        {"beta": schedules.linear(0.0, 4.0, epochs=3)},
        {"objective": "reconstruction"},
        {"objective": "kl"},
        {"free_bits": 0.5},
        {"capacity": 10.0},
        {"n_importance_samples": 3},
        {"learning_rate": 0.05},
        {"likelihood": "gaussian", "optimizer": "sgd"},
        {"likelihood": Gaussian("decoder"), "epochs": 30},
    ],
    ids=str,
)
def test_healthy_fits_and_intended_collapse_are_silent(parameters: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(**parameters).fit(BINARY)


def test_the_last_step_is_undone_if_it_blows_up() -> None:
    model = small(likelihood="gaussian", optimizer="sgd", learning_rate=9e5, epochs=1, batch_size=300)
    with pytest.raises(
        FloatingPointError, match="diverged at step 1 \\(batch 1 of 1\\): with the weights after the step"
    ) as error:
        model.fit(3 * REAL)
    start = small(likelihood="gaussian", optimizer="sgd", learning_rate=1e-30, epochs=1, batch_size=300).fit(3 * REAL)
    assert same(model, start)
    assert np.isfinite(model.reconstruct(3 * REAL)).all()
    assert "Lower learning_rate (it is 900000)" in str(error.value)
    model.set_params(clip_norm=1e-7).fit(3 * REAL)
    model.set_params(clip_norm=None, learning_rate=1e-3).fit(3 * REAL)


def test_results_are_finite_or_an_error() -> None:
    model = small(likelihood="gaussian").fit(REAL)
    weights = model.state_dict()
    wild = {name: np.full_like(weights[name], 3e38) for name in ("decoder.2.weight", "decoder.2.bias")}
    model.load_state_dict(weights | wild)
    for call in (model.reconstruct, model.predictive):
        with pytest.raises(FloatingPointError, match="not a finite number"):
            call(REAL)
    with pytest.raises(FloatingPointError, match="not a finite number"):
        model.sample(5)
    model.load_state_dict(weights | {"mu.weight": np.full_like(weights["mu.weight"], 3e38)})
    for method in (model.transform, model.encode, model.reconstruct):
        with pytest.raises(FloatingPointError, match="not a finite number"):
            method(100 * REAL)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_the_remedy_of_a_divergence_helps(optimizer: str) -> None:
    model = small(likelihood="poisson", optimizer=optimizer, learning_rate=1e5)
    with pytest.raises(FloatingPointError, match=r"Lower learning_rate \(it is 100000\)"):
        model.fit(BINARY)
    model.set_params(learning_rate=1e-3).fit(BINARY)


def test_counts_in_the_thousands_train_at_defaults() -> None:
    X = np.random.default_rng(0).poisson(1000, (200, 20))
    assert np.isfinite(VAE(2, likelihood="poisson", epochs=3, random_state=0).fit(X).score(X))


# Going on


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"validation_fraction": 0.2, "corruption": MaskingNoise(0.2), "likelihood": "gaussian", "optimizer": "sgd"},
        {"beta": schedules.linear(0.0, 1.0, epochs=6), "learning_rate": schedules.cosine(1e-2, 1e-4, epochs=8)},
    ],
    ids=str,
)
def test_a_warm_start_gives_the_bits_of_one_fit(parameters: dict[str, Any], tmp_path: Any) -> None:
    whole = small(epochs=8, **parameters).fit(BINARY)
    parts = small(epochs=4, warm_start=True, **parameters).fit(BINARY)
    parts.save(tmp_path / "half")
    parts = load(tmp_path / "half")
    parts.fit(BINARY)
    assert same(whole, parts)
    assert whole.history_ == parts.history_
    assert parts.n_iter_ == 8
    assert same(whole, small(warm_start=True, **parameters).fit(BINARY, epochs=3).fit(BINARY, epochs=5))


@pytest.mark.parametrize("model", [Autoencoder, TopicModel])
def test_other_estimators_go_on_too(model: Any) -> None:
    X = np.random.default_rng(0).poisson(2.0, (100, 12)) if model is TopicModel else REAL
    one = model(2, hidden=(8,), epochs=6, random_state=0).fit(X)
    two = model(2, hidden=(8,), epochs=3, random_state=0, warm_start=True).fit(X).fit(X)
    assert same(one, two)


def test_a_conditional_model_goes_on() -> None:
    y = np.arange(300) % 3
    whole = small(epochs=8, conditional=True).fit(BINARY, y)
    assert same(whole, small(conditional=True, warm_start=True).fit(BINARY, y).fit(BINARY, y))


def test_without_warm_start_fit_starts_anew() -> None:
    assert same(small().fit(BINARY), small().fit(BINARY).fit(BINARY))


def test_early_stopping_never_goes_on_to_worse_weights() -> None:
    model = small(early_stopping=True, warm_start=True, epochs=20).fit(BINARY)
    before = model.state_dict()
    model.set_params(learning_rate=0.5, epochs=2, n_iter_no_change=1)
    model.fit(BINARY)
    assert all(np.array_equal(before[key], value) for key, value in model.state_dict().items())


def test_saving_in_a_callback_warns_once(tmp_path: Any) -> None:
    model = small(beta=lambda step: 1.0, callbacks=[lambda model, logs: model.save(tmp_path / "epoch")])
    with pytest.warns(UserWarning, match="cannot hold beta") as seen:
        model.fit(BINARY)
    assert len(seen) == 1
    with pytest.warns(UserWarning, match="cannot hold beta"):
        model.fit(BINARY)


def test_training_goes_on_with_the_same_network_and_optimizer_only() -> None:
    model = small(warm_start=True).fit(BINARY)
    before = model.state_dict()
    for changed in ({"hidden": (7,)}, {"latent_dim": 3}, {"optimizer": "sgd"}, {"likelihood": Gaussian("shared")}):
        with pytest.raises(ValueError, match=r"parameters have changed \(\w+.*warm_start=False"):
            copy.copy(model).set_params(**changed).fit(BINARY)
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())
    model.set_params(learning_rate=1e-4, batch_size=7, beta=0.5).fit(BINARY)
