"""The estimator's contract: parameters, learned attributes, shapes, relations between its answers, scikit-learn."""

from __future__ import annotations

import inspect
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ACTIVATIONS, LIKELIHOODS, OPTIMIZERS, STILL, needs_lengths, run_python, same, small, started, steps
from numpy.typing import NDArray
from sklearn_checks import passes_all_checks, sklearn_version

import fastvae
from fastvae import VAE, likelihoods, optimizers
from fastvae.likelihoods import Gaussian
from fastvae.optimizers import SGD, AdamW

DIGITS, LABELS = fastvae.datasets.load_digits()
X = DIGITS[:150]
DEFAULTS = {
    "latent_dim": 2,
    "image_shape": None,
    "channels": "last",
    "hidden": (400,),
    "decoder_hidden": None,
    "activation": "relu",
    "likelihood": "bernoulli",
    "beta": 1.0,
    "free_bits": 0.0,
    "capacity": None,
    "n_importance_samples": 1,
    "doubly_reparameterized": False,
    "conditional": False,
    "condition_columns": None,
    "objective": "elbo",
    "binarize": None,
    "input_transform": None,
    "missing": "error",
    "missing_indicator": False,
    "corruption": None,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": None,
    "clip_norm": None,
    "nan_policy": "raise",
    "batch_size": 128,
    "epochs": 20,
    "validation_fraction": 0.0,
    "early_stopping": False,
    "n_iter_no_change": 10,
    "tol": 1e-4,
    "callbacks": (),
    "warm_start": False,
    "precision": "float32",
    "n_jobs": None,
    "random_state": None,
    "progress": None,
    "communicator": None,
}
LOSSES = {"loss", "reconstruction", "kl", "elbo"}


def untrained(data: NDArray[Any], **parameters: Any) -> VAE:
    """Return a fitted model that still has its initial weights."""
    return small(**(STILL | {"epochs": 1} | parameters)).fit(data)


def sklearn_module(name: str) -> Any:
    """Import a part of scikit-learn, or skip aloud."""
    return pytest.importorskip(name, reason="scikit-learn, which this test needs, is not installed")


@pytest.fixture(scope="module", params=LIKELIHOODS.values(), ids=str)
def fitted(request: pytest.FixtureRequest) -> VAE:
    """Fit a model with each likelihood."""
    return small(likelihood=request.param, epochs=5, learning_rate=5e-3).fit(X)


# ------------------------------------------------------------------------------------------ parameters


def test_the_signature_is_the_one_promised() -> None:
    parameters = list(inspect.signature(VAE).parameters.values())
    assert {p.name: p.default for p in parameters} == DEFAULTS
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == ["latent_dim"]


def test_the_constructor_only_stores_what_it_is_given() -> None:
    given = {name: object() for name in DEFAULTS}
    model = VAE(**given)
    assert vars(model).keys() == given.keys()
    assert all(getattr(model, name) is value for name, value in given.items())


def test_the_constructor_copies_and_converts_nothing() -> None:
    given = {"hidden": [5, 6], "decoder_hidden": np.array([4]), "random_state": np.random.default_rng(0), "epochs": "3"}
    model = VAE(**given)
    small(**(given | {"epochs": 1})).fit(X)
    assert all(getattr(model, name) is value for name, value in given.items())
    assert given["hidden"] == [5, 6]


def test_get_params_returns_the_objects_given() -> None:
    given = {name: object() for name in DEFAULTS}
    assert VAE(**given).get_params() == given
    assert VAE(**given).get_params(deep=False) == given


def test_set_params_sets_and_returns_the_model() -> None:
    model = VAE()
    hidden = [7]
    assert model.set_params(hidden=hidden, beta=2) is model
    assert model.hidden is hidden
    assert model.get_params() == DEFAULTS | {"hidden": [7], "beta": 2}


def test_set_params_refuses_an_unknown_name_and_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'depth' is not a parameter of VAE.*latent_dim.*progress"):
        VAE().set_params(depth=3)


def test_set_params_takes_effect_at_the_next_fit() -> None:
    model = small().fit(X)
    assert same(
        model.set_params(latent_dim=5, beta=0.5).fit(X).state_dict(), small(latent_dim=5, beta=0.5).fit(X).state_dict()
    )


@pytest.mark.parametrize("method", ["transform", "score_samples", "reconstruct", "get_feature_names_out"])
def test_a_fitted_model_does_not_change_its_answers_when_parameters_are_set(method: str) -> None:
    model = small().fit(X)
    before = getattr(model, method)(X)
    model.set_params(latent_dim=7, hidden=(2, 2), activation="tanh", likelihood="gaussian", random_state=5)
    assert np.array_equal(before, getattr(model, method)(X))


@pytest.mark.parametrize("latent_dim", [1, 7])
def test_noise_has_the_fitted_models_shape_even_when_latent_dim_was_set_since(latent_dim: int) -> None:
    model = small().fit(X)
    eps = np.ones((len(X), 3))
    before = model.score_samples(X, eps=eps)
    model.set_params(latent_dim=latent_dim)
    assert np.array_equal(before, model.score_samples(X, eps=eps))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (VAE(), "VAE()"),
        (VAE(2, hidden=(400,)), "VAE()"),
        (VAE(3, hidden=(5,), random_state=0), "VAE(latent_dim=3, hidden=(5,), random_state=0)"),
        (VAE(activation="tanh", n_jobs=2), "VAE(activation='tanh', n_jobs=2)"),
    ],
)
def test_repr_shows_what_differs_from_the_defaults(model: VAE, text: str) -> None:
    assert repr(model) == text


def test_repr_can_be_evaluated() -> None:
    model = VAE(5, likelihood=Gaussian("shared"), optimizer=AdamW(weight_decay=0.1), hidden=())
    again = eval(repr(model), vars(likelihoods) | vars(optimizers) | {"VAE": VAE})
    assert again.get_params() == model.get_params()


# ------------------------------------------------------------------------------------- fit, partial_fit


def test_fit_and_partial_fit_return_the_model() -> None:
    model = small()
    assert model.fit(X) is model
    assert model.partial_fit(X) is model
    assert small().fit(X, LABELS[:150]).partial_fit(X, LABELS[:150]).n_iter_ == 3


def test_labels_are_ignored() -> None:
    assert same(small().fit(X, LABELS[:150]).state_dict(), small().fit(X).state_dict())
    assert small().fit(X).score(X, LABELS[:150]) == small().fit(X).score(X)


def test_fit_starts_afresh() -> None:
    model = small(validation_fraction=0.1).fit(X).partial_fit(X)
    first = small(validation_fraction=0.1).fit(X)
    model.fit(X)
    assert same(model, first)
    assert model.history_ == first.history_
    assert model.n_iter_ == 2
    assert steps(model) == steps(first)


def test_fit_can_change_the_number_of_features() -> None:
    model = small().fit(X).fit(X[:, :20])
    assert model.n_features_in_ == 20
    assert same(model.state_dict(), small().fit(X[:, :20]).state_dict())


def test_fit_shuffles_and_partial_fit_does_not() -> None:
    first, second = small(epochs=1).fit(X), small().partial_fit(X)
    assert steps(first) == steps(second) == 3
    assert not same(first, second)


def order_of_epoch(epoch: int, seed: int, data: NDArray[np.float32]) -> tuple[int, ...]:
    """Find the one order of the examples that leads from the epoch before to this one, bit for bit."""
    # The KL alone does not depend on the noise, so with batches of one the order decides everything.
    model = small(objective="kl", optimizer="sgd", learning_rate=0.5, batch_size=1, random_state=seed)
    after = model.set_params(epochs=epoch).fit(data).state_dict()
    before = model.set_params(epochs=epoch - 1).fit(data) if epoch > 1 else untrained(data, random_state=seed)
    start, found = before.state_dict(), []
    start = {name: np.where(np.abs(array) < 1e-20, np.float32(0), array) for name, array in start.items()}
    for order in itertools.permutations(range(len(data))):
        model.load_state_dict(start).partial_fit(data[list(order)])
        if same(model.state_dict(), after):
            found.append(order)
    assert len(found) == 1
    return found[0]


def test_every_epoch_visits_each_example_once_in_an_order_of_its_own() -> None:
    orders = {seed: [order_of_epoch(epoch, seed, X[:4]) for epoch in range(1, 5)] for seed in (0, 1)}
    assert len(set(orders[0])) > 1
    assert orders[0] != orders[1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_partial_fit_in_two_parts_is_partial_fit_of_the_whole(optimizer: Any) -> None:
    whole, parts = (started(small(optimizer=optimizer), X) for _ in range(2))
    whole.partial_fit(X)
    parts.partial_fit(X[:64]).partial_fit(X[64:])
    assert same(whole, parts)
    assert steps(whole) == steps(parts) == 3


@pytest.mark.parametrize("optimizer", ["adam", "adamw", SGD(momentum=0.9), "adagrad"], ids=str)
def test_partial_fit_keeps_the_optimisers_state(optimizer: Any) -> None:
    eps = np.random.default_rng(1).normal(size=(64, 3))
    going_on = small(optimizer=optimizer).partial_fit(X[:64], eps=eps)
    fresh = small(optimizer=optimizer).load_state_dict(going_on.state_dict())
    fresh.partial_fit(X[64:128], eps=eps)
    going_on.partial_fit(X[64:128], eps=eps)
    assert not same(going_on, fresh)


def test_loading_its_own_weights_changes_nothing() -> None:
    model = small().partial_fit(X)
    model.load_state_dict(model.state_dict()).partial_fit(X)
    assert same(model.state_dict(), small().partial_fit(X).partial_fit(X).state_dict())


def test_partial_fit_goes_on_from_fit() -> None:
    model = small().fit(X)
    before = model.state_dict()
    model.partial_fit(X)
    assert not same(before, model.state_dict())
    assert model.n_iter_ == 3
    assert [len(values) for values in model.history_.values()] == [3] * 4


def test_partial_fit_takes_the_given_order() -> None:
    eps = np.zeros((len(X), 3))
    there, back = small().partial_fit(X, eps=eps), small().partial_fit(X[::-1], eps=eps)
    assert not same(there, back)


def test_the_noise_given_to_partial_fit_replaces_the_seeds() -> None:
    start = small(random_state=1).partial_fit(X).state_dict()
    eps = np.random.default_rng(1).normal(size=(len(X), 3))
    first = small(random_state=2).load_state_dict(start).partial_fit(X, eps=eps).state_dict()
    second = small(random_state=3).load_state_dict(start).partial_fit(X, eps=eps).state_dict()
    other = small(random_state=2).load_state_dict(start).partial_fit(X, eps=eps[::-1]).state_dict()
    own = small(random_state=2).load_state_dict(start).partial_fit(X).state_dict()
    assert same(first, second)
    assert not same(first, other)
    assert not same(first, own)


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"), [(10, 4, 3), (12, 4, 3), (10, 10, 1), (10, 1000, 1), (3, 1, 3)]
)
def test_no_example_is_dropped(n: int, batch_size: int, expected: int) -> None:
    assert steps(small(batch_size=batch_size, epochs=2).fit(X[:n])) == 2 * expected
    assert steps(small(batch_size=batch_size).partial_fit(X[:n])) == expected


@pytest.mark.parametrize("last", [0, 9])
def test_the_last_short_batch_is_trained_on(last: int) -> None:
    changed = X[:10].copy()
    changed[last] = 1 - changed[last]
    eps = np.zeros((10, 3))
    before = small(batch_size=4).partial_fit(X[:10], eps=eps)
    after = small(batch_size=4).partial_fit(changed, eps=eps)
    assert not same(before, after)


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    eps = np.ones((10, 3))
    states = [small(batch_size=b).partial_fit(X[:10], eps=eps).state_dict() for b in (10, 11, 10**6, 2**63)]
    assert all(same(states[0], state) for state in states[1:])


def test_fit_transform_is_fit_then_transform() -> None:
    assert np.array_equal(small().fit_transform(X), small().fit(X).transform(X))


# ------------------------------------------------------------------------------------ learned attributes


def test_nothing_is_learned_before_fit() -> None:
    learned = ["n_features_in_", "n_iter_", "loss_curve_", "history_", "elapsed_", "interrupted_"]
    assert not [name for name in learned if hasattr(VAE(), name)]
    assert not [name for name in learned if not hasattr(small().fit(X), name)]


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_history_has_one_entry_an_epoch(epochs: int) -> None:
    model = small(epochs=epochs).fit(X)
    assert model.n_features_in_ == 64
    assert model.n_iter_ == epochs
    assert model.history_.keys() == LOSSES
    assert {len(values) for values in model.history_.values()} == {epochs}
    assert {type(value) for values in model.history_.values() for value in values} == {float}
    assert model.loss_curve_ == model.history_["loss"]
    assert model.interrupted_ is False


@pytest.mark.parametrize("how", [{"validation_fraction": 0.2}, {"validation_data": DIGITS[150:200]}], ids=list)
def test_validation_adds_val_entries(how: dict[str, Any]) -> None:
    data = how.get("validation_data")
    model = small(epochs=3, validation_fraction=how.get("validation_fraction", 0.0)).fit(X, validation_data=data)
    assert model.history_.keys() == LOSSES | {f"val_{key}" for key in LOSSES}
    assert {len(values) for values in model.history_.values()} == {3}


def test_the_lists_of_the_history_stay_parallel_when_partial_fit_goes_on() -> None:
    model = small(epochs=3, validation_fraction=0.2).fit(X).partial_fit(X)
    assert {len(values) for values in model.history_.values()} == {4}
    assert [key for key, values in model.history_.items() if np.isnan(values[-1])] == [
        key for key in model.history_ if key.startswith("val_")
    ]
    assert not np.isnan([values[:3] for values in model.history_.values()]).any()


def test_elapsed_is_the_time_spent_and_grows() -> None:
    model = small().fit(X)
    first = model.elapsed_
    assert 0 < first < 60
    model.partial_fit(X)
    assert model.elapsed_ > first


@pytest.mark.parametrize("batch_size", [7, 64, 150, 1000])
def test_the_history_is_the_mean_over_examples_not_over_batches(batch_size: int) -> None:
    eps = np.random.default_rng(0).normal(size=(len(X), 3))
    model = small(batch_size=batch_size, beta=0.7, **STILL).partial_fit(X, eps=eps)
    expected = model.evaluate(X, eps=eps)
    for key, values in model.history_.items():
        assert values == [pytest.approx(expected[key], rel=1e-6)]


# --------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("n", [1, 2, 33, 150])
@pytest.mark.parametrize("latent_dim", [1, 2, 17])
def test_shapes_and_types(n: int, latent_dim: int) -> None:
    model = small(latent_dim=latent_dim).fit(X)
    mu, logvar = model.encode(X[:n])
    mean, codes = model.sample(n, return_latent=True)
    answers = {
        "transform": (model.transform(X[:n]), (n, latent_dim)),
        "mu": (mu, (n, latent_dim)),
        "logvar": (logvar, (n, latent_dim)),
        "inverse_transform": (model.inverse_transform(mu), (n, 64)),
        "reconstruct": (model.reconstruct(X[:n]), (n, 64)),
        "sample": (mean, (n, 64)),
        "latent": (codes, (n, latent_dim)),
        "draw": (model.sample(n, draw=True), (n, 64)),
        "score_samples": (model.score_samples(X[:n]), (n,)),
    }
    for name, (answer, shape) in answers.items():
        assert type(answer) is np.ndarray, name
        assert answer.dtype == np.float32, name
        assert answer.shape == shape, name
        assert np.isfinite(answer).all(), name
    assert type(model.score(X[:n])) is float


def test_transform_is_deterministic_and_the_posterior_mean(fitted: VAE) -> None:
    first = fitted.transform(X)
    assert np.array_equal(first, fitted.transform(X))
    assert np.array_equal(first, fitted.encode(X)[0])
    assert first.std(axis=0).min() > 0


@pytest.mark.parametrize("n", [1, 31, 150, 1030])
def test_reconstruct_is_the_decoder_after_the_encoder_bit_for_bit(fitted: VAE, n: int) -> None:
    data = DIGITS[:n]
    decoded, reconstruction = fitted.inverse_transform(fitted.transform(data)), fitted.reconstruct(data)
    if hasattr(fitted.likelihood, "size_factor"):  # shares; their products with the row's total
        np.testing.assert_allclose(reconstruction, decoded * data.sum(1, keepdims=True), rtol=1e-5)
    else:
        assert np.array_equal(reconstruction, decoded)


def test_bernoulli_means_are_probabilities() -> None:
    means = small(epochs=5).fit(X).inverse_transform(np.random.default_rng(0).normal(size=(50, 3)) * 100)
    assert means.min() >= 0
    assert means.max() <= 1


def test_score_is_the_mean_of_score_samples(fitted: VAE) -> None:
    scores = fitted.score_samples(X)
    assert fitted.score(X) == pytest.approx(scores.mean(dtype=np.float64), rel=1e-6)
    assert scores.std() > 0


def test_scores_are_reproducible_without_noise_and_exact_with_it(fitted: VAE) -> None:
    eps = np.random.default_rng(0).normal(size=(len(X), 3)).astype(np.float32)
    assert np.array_equal(fitted.score_samples(X), fitted.score_samples(X))
    assert np.array_equal(fitted.score_samples(X, eps=eps), fitted.score_samples(X, eps=eps))
    assert not np.array_equal(fitted.score_samples(X), fitted.score_samples(X, eps=eps))
    assert not np.array_equal(fitted.score_samples(X, eps=-eps), fitted.score_samples(X, eps=eps))


@pytest.mark.parametrize("objective", ["elbo", "reconstruction", "kl"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_the_keys_of_evaluate_and_how_they_hang_together(objective: str, beta: float) -> None:
    plain = small().fit(X)
    model = small(objective=objective, beta=beta).load_state_dict(plain.state_dict())
    losses = model.evaluate(X)
    reconstruction, kl = losses["reconstruction"], losses["kl"]
    expected = {"elbo": reconstruction + beta * kl, "reconstruction": reconstruction, "kl": beta * kl}
    assert losses.keys() == LOSSES
    assert losses["elbo"] == -reconstruction - kl
    assert losses["loss"] == pytest.approx(expected[objective], rel=1e-12, abs=0)
    assert reconstruction > 0
    assert kl > 0
    assert {key: losses[key] for key in ("reconstruction", "kl", "elbo")} == {
        key: plain.evaluate(X)[key] for key in ("reconstruction", "kl", "elbo")
    }
    assert model.score(X) == plain.score(X)


@pytest.mark.parametrize("objective", ["elbo", "reconstruction", "kl"])
def test_loss_and_gradients_reports_what_evaluate_does(objective: str) -> None:
    model = small(objective=objective, beta=0.5).fit(X)
    losses, gradients = model.loss_and_gradients(X)
    assert losses.keys() == LOSSES
    assert losses == {key: pytest.approx(value, rel=1e-6) for key, value in model.evaluate(X).items()}
    assert {name: g.shape for name, g in gradients.items()} == {n: p.shape for n, p in model.state_dict().items()}


def test_feature_names_are_numbered() -> None:
    assert list(small().fit(X).get_feature_names_out()) == ["vae0", "vae1", "vae2"]


# ---------------------------------------------------------------------------------------------- sample


def test_samples_are_reproducible_with_random_state(fitted: VAE) -> None:
    lengths = 50 if needs_lengths(fitted.likelihood) else None
    first, again, other = (fitted.sample(20, random_state=seed, draw=True, lengths=lengths) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_samples_without_random_state_use_the_models(fitted: VAE) -> None:
    assert np.array_equal(fitted.sample(20), fitted.sample(20))
    assert np.array_equal(fitted.sample(20), fitted.sample(20, random_state=fitted.random_state))
    unseeded = small(random_state=None).fit(X)
    assert not np.array_equal(unseeded.sample(20), unseeded.sample(20))


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState], ids=["Generator", "RandomState"])
def test_a_numpy_generator_seeds_and_moves_on(make: Any) -> None:
    model = small().fit(X)
    first, second = make(3), make(3)
    a, b = model.sample(5, random_state=first), model.sample(5, random_state=first)
    assert np.array_equal(a, model.sample(5, random_state=second))
    assert not np.array_equal(a, b)
    assert same(small(random_state=make(3)).fit(X).state_dict(), small(random_state=make(3)).fit(X).state_dict())


def test_the_latent_codes_of_a_sample_give_the_sample(fitted: VAE) -> None:
    x, z = fitted.sample(700, random_state=1, return_latent=True)
    assert np.array_equal(x, fitted.inverse_transform(z))
    assert np.array_equal(x, fitted.sample(700, random_state=1))


def test_the_latent_codes_of_a_sample_are_standard_normal() -> None:
    _, z = small(latent_dim=5).fit(X).sample(20_000, return_latent=True)
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(20_000)
    np.testing.assert_allclose(np.cov(z.T), np.eye(5), atol=5 * np.sqrt(2 / 20_000))


def test_bernoulli_draws_are_zeros_and_ones_with_the_decoders_means() -> None:
    model = small(epochs=5).fit(X)
    n = 5_000
    drawn, z = model.sample(n, random_state=2, draw=True, return_latent=True)
    means = model.inverse_transform(z)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    spread = np.sqrt((means * (1 - means)).sum(axis=0))
    assert (np.abs((drawn - means).sum(axis=0)) <= 5 * spread + 1).all()
    # Draws of neighbouring pixels are independent given z.
    noise = (drawn - means) / np.sqrt(np.maximum(means * (1 - means), 1e-6))
    well = (means.mean(axis=0) > 0.2) & (means.mean(axis=0) < 0.8)
    correlation = np.corrcoef(noise[:, well].T) - np.eye(well.sum())
    assert np.abs(correlation).max() < 6 / np.sqrt(n)


@pytest.mark.parametrize("scale", [1.0, 0.25, "shared", "per_feature"])
def test_gaussian_draws_have_the_decoders_means_and_the_likelihoods_spread(scale: Any) -> None:
    model = small(likelihood=Gaussian(scale)).fit(X)
    expected = np.full(64, scale if isinstance(scale, float) else 1.0)
    if isinstance(scale, str):
        expected = np.full(64, 0.5) if scale == "shared" else np.linspace(0.1, 2.0, 64)
        log_scale = np.log(expected[0] if scale == "shared" else expected)
        model.load_state_dict(model.state_dict() | {"likelihood.log_scale": log_scale})
    n = 20_000
    drawn, z = model.sample(n, random_state=2, draw=True, return_latent=True)
    noise = (drawn - model.inverse_transform(z)) / expected
    assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(n)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=5 / np.sqrt(2 * n))
    assert np.abs(np.corrcoef(noise.T) - np.eye(64)).max() < 6 / np.sqrt(n)


def test_draws_have_the_scale_that_the_decoder_gives_at_that_code() -> None:
    model = small(likelihood=Gaussian("decoder", floor=0.2), activation="identity", hidden=()).fit(X)
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(64, 3)) * 0.7, np.linspace(-3, 1, 64)
    model.load_state_dict(model.state_dict() | {"scale.weight": weight, "scale.bias": bias})
    n = 20_000
    drawn, z = model.sample(n, random_state=2, draw=True, return_latent=True)
    expected = np.sqrt(0.2**2 + np.exp(2 * (z @ weight.T + bias)))
    noise = (drawn - model.inverse_transform(z)) / expected
    assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(n)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=5 / np.sqrt(2 * n))
    assert np.abs(np.corrcoef(noise.T) - np.eye(64)).max() < 6 / np.sqrt(n)
    # Where s is large and where it is small alike.
    large = np.argsort(expected, axis=0)[n // 2 :]
    assert np.abs(np.take_along_axis(noise, large, 0).std(axis=0) - 1).max() < 6 / np.sqrt(n)


# ------------------------------------------------------------------------------------------ state dicts


def expected_shapes(features: int, latent: int, encoder: tuple[int, ...], decoder: tuple[int, ...]) -> dict[str, Any]:
    """List names and shapes as a reader of the contract would."""
    shapes: dict[str, Any] = {}

    def add(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        shapes[f"{name}.bias"] = (outputs,)

    widths = [features, *encoder]
    for i in range(len(encoder)):
        add(f"encoder.{2 * i}", widths[i + 1], widths[i])
    add("mu", latent, widths[-1])
    add("logvar", latent, widths[-1])
    widths = [latent, *decoder, features]
    for i in range(len(decoder) + 1):
        add(f"decoder.{2 * i}", widths[i + 1], widths[i])
    return shapes


@pytest.mark.parametrize(
    ("hidden", "decoder_hidden", "decoder"),
    [
        ((), None, ()),
        ((5,), None, (5,)),
        ((40, 33, 3), None, (3, 33, 40)),
        ([6, 7], (4,), (4,)),
        ((8,), (), ()),
        ((), (9, 2), (9, 2)),
        (12, None, (12,)),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_the_state_dict_has_torchs_names_shapes_and_order(
    hidden: Any, decoder_hidden: Any, decoder: tuple[int, ...], activation: str
) -> None:
    model = small(hidden=hidden, decoder_hidden=decoder_hidden, activation=activation).fit(X)
    encoder = (hidden,) if isinstance(hidden, int) else tuple(hidden)
    state = model.state_dict()
    assert {name: array.shape for name, array in state.items()} == expected_shapes(64, 3, encoder, decoder)
    assert list(state) == list(expected_shapes(64, 3, encoder, decoder))
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("likelihood", "shape"),
    [
        ("bernoulli", None),
        ("gaussian", None),
        (Gaussian(2.0), None),
        (Gaussian("shared"), ()),
        (Gaussian("per_feature"), (64,)),
    ],
    ids=str,
)
def test_the_scale_is_in_the_state_dict_where_it_is_learned(likelihood: Any, shape: Any) -> None:
    state = small(likelihood=likelihood).fit(X).state_dict()
    scale = state.get("likelihood.log_scale")
    assert (None if scale is None else scale.shape) == shape
    if scale is not None:
        assert [name for name in state if not name.startswith("standardize.")][-1] == "likelihood.log_scale"
        assert scale.dtype == np.float32
        start = untrained(X, likelihood=likelihood).state_dict()["likelihood.log_scale"]
        within = X.var(0).mean() ** 0.5
        own = np.where(X.std(0) > 0, np.maximum(X.std(0), np.ptp(X, 0) / 20), within / 20)
        np.testing.assert_allclose(np.exp(start), own if start.ndim else within, rtol=1e-4)
        assert np.abs(scale - start).max() > 1e-6


def test_the_state_dict_is_a_copy() -> None:
    model = small().fit(X)
    before = model.state_dict()
    for array in model.state_dict().values():
        array[...] = 7
    assert same(before, model.state_dict())


def test_the_model_keeps_no_reference_to_a_loaded_state_dict() -> None:
    state = small().fit(X).state_dict()
    model = small().load_state_dict(state)
    before = model.state_dict()
    for array in state.values():
        array[...] = 7
    assert same(before, model.state_dict())


@pytest.mark.parametrize("hidden", [(), (16,), (9, 40)])
@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=str)
def test_an_unfitted_model_becomes_usable_by_loading(hidden: tuple[int, ...], likelihood: Any) -> None:
    source = small(hidden=hidden, likelihood=likelihood).fit(X)
    model = small(hidden=hidden, likelihood=likelihood)
    assert model.load_state_dict(source.state_dict()) is model
    assert model.n_features_in_ == 64
    assert model.n_iter_ == 0
    assert same(model, source)
    for method in ("transform", "reconstruct", "score_samples"):
        assert np.array_equal(getattr(model, method)(X), getattr(source, method)(X))
    lengths = 50 if needs_lengths(likelihood) else None
    assert np.array_equal(*(each.sample(9, draw=True, lengths=lengths) for each in (model, source)))
    model.partial_fit(X)
    assert model.n_iter_ == 1
    assert not same(model, source)


def test_partial_fit_after_loading_is_partial_fit_from_these_weights() -> None:
    start = untrained(X).state_dict()
    loaded = small().load_state_dict(start).partial_fit(X)
    assert same(loaded.state_dict(), small().partial_fit(X).state_dict())


@pytest.mark.parametrize("form", ["float64", "fortran", "list", "torch", "shuffled"])
def test_state_dicts_of_other_arrays_load_too(form: str) -> None:
    state = small().fit(X).state_dict()
    given: dict[str, Any] = dict(reversed(state.items()))
    if form == "float64":
        given = {name: array.astype(np.float64) for name, array in state.items()}
    elif form == "fortran":
        given = {name: np.asfortranarray(array) for name, array in state.items()}
    elif form == "list":
        given = {name: array.tolist() for name, array in state.items()}
    elif form == "torch":
        torch = pytest.importorskip("torch", reason="torch, whose tensors this test loads, is not installed")
        given = {name: torch.from_numpy(array) for name, array in state.items()}
    assert same(small().load_state_dict(given).state_dict(), state)


def test_apply_gradients_takes_one_step_of_partial_fit() -> None:
    eps = np.random.default_rng(0).normal(size=(64, 3))
    fused, split = small().partial_fit(X[:64], eps=eps), small().partial_fit(X[:64], eps=eps)
    _, gradients = split.loss_and_gradients(X[64:128], eps)
    before = split.state_dict()
    assert split.apply_gradients(gradients) is split
    assert same(split.state_dict(), fused.partial_fit(X[64:128], eps=eps).state_dict())
    assert not same(split.state_dict(), before)


# ------------------------------------------------------------------------------------------- validation


def held_out_rows(model: VAE, data: NDArray[np.float32]) -> list[int]:
    """Find the rows that do not influence the weights."""
    reference = model.fit(data).state_dict()
    rows = []
    for row in range(len(data)):
        changed = data.copy()
        changed[row] = 1 - changed[row]
        if same(model.fit(changed).state_dict(), reference):
            rows.append(row)
    return rows


def test_held_out_rows_are_not_trained_on_and_all_others_are() -> None:
    data = X[:12]
    model = small(validation_fraction=0.25, batch_size=4)
    rows = held_out_rows(model, data)
    assert len(rows) == 3
    assert steps(model.fit(data)) == 2 * 3  # nine examples in batches of four
    scores = model.evaluate(data[rows])
    assert {key: model.history_[f"val_{key}"][-1] for key in LOSSES} == scores


def test_the_losses_of_both_sides_of_a_split_make_those_of_the_whole() -> None:
    model = untrained(X[:100], validation_fraction=0.25)  # its KL depends neither on noise nor on the epoch
    whole = 75 * model.history_["kl"][0] + 25 * model.history_["val_kl"][0]
    assert whole == pytest.approx(100 * model.evaluate(X[:100])["kl"], rel=1e-5)


def test_the_seed_chooses_the_held_out_rows() -> None:
    choices = {
        tuple(held_out_rows(small(validation_fraction=0.25, random_state=s, epochs=1), X[:12])) for s in range(4)
    }
    assert len(choices) > 1


def test_nothing_is_held_out_by_default() -> None:
    assert held_out_rows(small(epochs=1), X[:5]) == []


def test_validation_data_are_scored_and_do_not_change_training() -> None:
    other = DIGITS[200:300]
    model = small().fit(X, validation_data=other)
    assert same(model.state_dict(), small().fit(X).state_dict())
    assert {key: model.history_[f"val_{key}"][-1] for key in LOSSES} == model.evaluate(other)
    assert model.history_["val_loss"][0] != model.history_["val_loss"][1]


def test_of_a_validation_tuple_the_first_is_taken() -> None:
    other = DIGITS[200:300]
    model = small().fit(X, validation_data=(other, LABELS[200:300]))
    assert model.history_ == small().fit(X, validation_data=other).history_


# --------------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("likelihood", ["bernoulli", Gaussian("per_feature"), Gaussian("decoder")], ids=str)
def test_initial_weights_are_uniform_by_fan_in(likelihood: Any) -> None:
    state = untrained(X, hidden=(120, 50), latent_dim=20, likelihood=likelihood).state_dict()
    for name, array in state.items():
        from_data = ("likelihood.log_scale", "decoder.4.bias", "scale.bias", "encoder.0.bias")
        if name in from_data or name.startswith("standardize."):
            continue  # see test_start.py
        if name in ("decoder.4.weight", "scale.weight") and likelihood != "bernoulli":
            continue
        bound = 1 / np.sqrt(state[name.replace("bias", "weight")].shape[1])
        units = array.astype(np.float64) / bound
        n = units.size
        assert np.abs(units).max() <= 1 + 1e-6, name
        assert abs(units.mean()) < 5 / np.sqrt(3 * n), name
        assert abs(units.var() - 1 / 3) < 5 * np.sqrt(4 / 45 / n), name
        assert np.abs(units).max() > 1 - 10 / n, name


def test_initial_weights_are_all_different() -> None:
    state = untrained(X, hidden=(40, 40), latent_dim=40).state_dict()
    values = np.concatenate([array.ravel() for array in state.values()])
    assert len(np.unique(values)) > 0.99 * len(values)  # constant columns have equal biases
    assert not np.array_equal(state["mu.weight"], state["logvar.weight"])
    rows = state["encoder.0.weight"]
    assert np.abs(np.corrcoef(rows) - np.eye(40)).max() < 0.6


# ---------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 3e-3), ("adamw", 3e-3), ("sgd", 5e-3), ("adagrad", 3e-2)])
@pytest.mark.parametrize(
    ("likelihood", "start", "end"),
    [
        # In nats; the best decoder that ignores z reaches 27.1, 61.2, 7.8.
        ("bernoulli", 28.0, 27.4),
        ("gaussian", 61.6, 61.3),
        (Gaussian(0.3), 10.0, 7.0),
        (Gaussian("shared"), 9.0, 7.5),
        (Gaussian("per_feature"), -37.0, -39.0),
        (Gaussian("decoder", floor=0.1), -4.0, -7.0),
    ],
    ids=str,
)
def test_every_optimiser_learns_the_digits(
    optimizer: str, rate: float, likelihood: Any, start: float, end: float
) -> None:
    parameters = {"latent_dim": 4, "hidden": (64,), "likelihood": likelihood, "batch_size": 64}
    assert untrained(DIGITS, **parameters).evaluate(DIGITS)["loss"] < start
    model = small(**parameters, optimizer=optimizer, learning_rate=rate, epochs=12).fit(DIGITS)
    assert model.evaluate(DIGITS)["loss"] < end
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns_the_digits(activation: str) -> None:
    parameters = {"latent_dim": 4, "hidden": (64,), "activation": activation, "batch_size": 64}
    model = small(**parameters, learning_rate=5e-3, epochs=12).fit(DIGITS)
    assert model.evaluate(DIGITS)["loss"] < 27.0


def test_the_kl_objective_leads_the_posterior_to_the_prior() -> None:
    model = small(hidden=(64,), objective="kl", epochs=30, learning_rate=3e-3)
    start, model = untrained(DIGITS, hidden=(64,)), model.fit(DIGITS)
    mu, logvar = model.encode(DIGITS)
    assert start.evaluate(DIGITS)["kl"] > 0.02
    assert model.evaluate(DIGITS)["kl"] < 1e-3
    assert np.abs(mu).max() < 0.1
    assert np.abs(logvar).max() < 0.1


def test_the_kl_objective_leaves_the_decoder_alone() -> None:
    parameters = {"objective": "kl", "optimizer": "sgd", "likelihood": Gaussian("shared")}
    before, after = untrained(X, **parameters).state_dict(), small(**parameters, learning_rate=0.1).fit(X).state_dict()
    unchanged = {name for name in before if np.array_equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith(("decoder", "likelihood"))}


def test_the_reconstruction_objective_reconstructs_better_and_ignores_the_kl() -> None:
    elbo, only = (
        small(hidden=(64,), objective=objective, beta=5.0, epochs=15, learning_rate=3e-3).fit(DIGITS).evaluate(DIGITS)
        for objective in ("elbo", "reconstruction")
    )
    assert only["reconstruction"] < elbo["reconstruction"] - 0.5
    assert only["kl"] > elbo["kl"] + 5


def test_a_larger_beta_gives_a_smaller_kl() -> None:
    kls = [
        small(hidden=(64,), beta=beta, epochs=15, learning_rate=3e-3).fit(DIGITS).evaluate(DIGITS)["kl"]
        for beta in (0.0, 0.1, 1.0, 10.0)
    ]
    assert all(more > 2 * less for more, less in itertools.pairwise(kls))


# ------------------------------------------------------------------------------------------ scikit-learn


def test_neither_importing_nor_using_it_imports_what_it_does_not_depend_on() -> None:
    code = """
import sys, fastvae
X, y = fastvae.datasets.load_digits()
fastvae.VAE(hidden=(8,), epochs=1).fit(X).set_output(transform="default").transform(X)
print(sorted({"sklearn", "scipy", "torch", "pandas", "polars", "matplotlib"} & {m.split(".")[0] for m in sys.modules}))
"""
    assert run_python(code).strip() == "[]"


def test_a_cold_start_imports_what_it_needs(tmp_path: Path) -> None:
    X = np.random.default_rng(0).random((50, 12), np.float32)
    small().fit(X).save(tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    code = """
import sys
import numpy as np
X, before = np.load(sys.argv[2]), set(sys.modules)
import fastvae
fastvae.load(sys.argv[1]).transform(X)
print(*sorted(set(sys.modules) - before))
"""
    modules = run_python(code, str(tmp_path / "model"), str(tmp_path / "X.npy")).split()
    parts = ("_topics", "_irt", "_export", "_explorer", "_cli", "_distributed", "plots", "callbacks", "torch")
    unwanted = {"numpy.random", "numpy.ma", "secrets", "hashlib", "logging", "argparse", "html"}
    found = {
        name for name in modules if name in unwanted or name.startswith(tuple(f"fastvae.{part}" for part in parts))
    }
    assert not found, "importing what is not needed slows the start"
    assert len([name for name in modules if not name.startswith("fastvae")]) < 30, modules


def test_it_works_where_scikit_learn_is_missing() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import fastvae
X, y = fastvae.datasets.load_digits()
model = fastvae.VAE(hidden=(8,), epochs=1).fit(X)
print(type(model.transform(X)).__name__, model)
"""
    assert run_python(code).strip() == "ndarray VAE(hidden=(8,), epochs=1)"


def test_clone_copies_parameters_and_nothing_learned() -> None:
    base = sklearn_module("sklearn.base")
    model = small(likelihood=Gaussian("shared"), hidden=[5]).fit(X)
    copy = base.clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "n_features_in_")
    assert same(copy.fit(X).state_dict(), model.state_dict())


def test_clone_keeps_the_output_container() -> None:
    base = sklearn_module("sklearn.base")
    pandas = pytest.importorskip("pandas", reason="pandas, the container asked for, is not installed")
    model = base.clone(small().set_output(transform="pandas"))
    assert isinstance(model.fit(X).transform(X), pandas.DataFrame)


def test_sklearn_knows_whether_it_is_fitted() -> None:
    validation = sklearn_module("sklearn.utils.validation")
    exceptions = sklearn_module("sklearn.exceptions")
    validation.check_is_fitted(small().fit(X))
    with pytest.raises(exceptions.NotFittedError):
        validation.check_is_fitted(small())


def test_a_pipeline_takes_it_at_any_place() -> None:
    pipeline = sklearn_module("sklearn.pipeline")
    preprocessing = sklearn_module("sklearn.preprocessing")
    linear_model = sklearn_module("sklearn.linear_model")
    scaler = preprocessing.MinMaxScaler
    last = pipeline.make_pipeline(scaler(), small()).fit(X)
    assert last.transform(X).shape == (150, 3)
    scaled = scaler().fit_transform(X)
    assert last.score(X) == small().fit(scaled).score(scaled)
    assert last.inverse_transform(last.transform(X)).shape == (150, 64)
    model = small(latent_dim=16, hidden=(64,), epochs=20, learning_rate=3e-3)
    first = pipeline.make_pipeline(model, scaler(), linear_model.LogisticRegression(max_iter=2000))
    assert first.fit(DIGITS, LABELS).score(DIGITS, LABELS) > 0.7  # chance is 0.1
    middle = pipeline.make_pipeline(scaler(), small(), scaler()).fit(X)
    assert middle.transform(X).max() == pytest.approx(1)
    assert list(last.get_feature_names_out()) == ["vae0", "vae1", "vae2"]


def test_grid_search_takes_the_higher_score_for_the_better() -> None:
    selection = sklearn_module("sklearn.model_selection")
    search = selection.GridSearchCV(small(hidden=(32,), learning_rate=3e-3), {"epochs": [1, 15]}, cv=2).fit(DIGITS)
    assert search.best_params_ == {"epochs": 15}
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert search.best_estimator_.transform(X).shape == (150, 3)
    assert search.score(DIGITS) == search.best_estimator_.score(DIGITS)


def test_a_feature_union_takes_it() -> None:
    pipeline = sklearn_module("sklearn.pipeline")
    union = pipeline.FeatureUnion([("a", small()), ("b", small(latent_dim=5))]).fit(X)
    assert np.array_equal(union.transform(X)[:, :3], small().fit(X).transform(X))
    assert list(union.get_feature_names_out())[2:4] == ["a__vae2", "b__vae0"]


def test_a_column_transformer_takes_it() -> None:
    compose = sklearn_module("sklearn.compose")
    columns = compose.ColumnTransformer([("left", small(), slice(0, 20)), ("right", small(), slice(20, 64))])
    codes = columns.fit_transform(X)
    assert codes.shape == (150, 6)
    assert np.array_equal(codes[:, :3], small().fit(X[:, :20]).transform(X[:, :20]))


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_chooses_the_container(container: str) -> None:
    module = pytest.importorskip(container, reason=f"{container}, the container asked for, is not installed")
    model = small().fit(X)
    plain = model.transform(X)
    assert model.set_output(transform=container) is model
    frame = model.transform(X)
    assert isinstance(frame, module.DataFrame)
    assert list(frame.columns) == ["vae0", "vae1", "vae2"]
    assert np.array_equal(frame.to_numpy(), plain)
    assert model.set_output(transform=None).transform(X).shape == (150, 3)
    assert isinstance(model.transform(X), module.DataFrame)
    assert type(model.set_output(transform="default").transform(X)) is np.ndarray


def test_set_output_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"'arrow'.*'pandas'"):
        VAE().set_output(transform="arrow")


def test_a_pandas_frame_keeps_its_index() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas, the container asked for, is not installed")
    frame = pandas.DataFrame(X, index=np.arange(150) * 3)
    assert list(small().set_output(transform="pandas").fit(frame).transform(frame).index) == list(frame.index)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("form", [list, tuple, np.asfortranarray])
def test_set_output_works_whatever_is_passed(form: Any, container: str) -> None:
    pytest.importorskip(container, reason=f"{container}, the container asked for, is not installed")
    frame = small().fit(X).set_output(transform=container).transform(form(X))
    assert np.array_equal(frame.to_numpy(), small().fit(X).transform(X))


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_a_pipeline_passes_set_output_on(container: str) -> None:
    pipeline = sklearn_module("sklearn.pipeline")
    preprocessing = sklearn_module("sklearn.preprocessing")
    module = pytest.importorskip(container, reason=f"{container}, the container asked for, is not installed")
    steps = pipeline.make_pipeline(preprocessing.MinMaxScaler(), small()).set_output(transform=container)
    assert isinstance(steps.fit_transform(X), module.DataFrame)
    if container == "polars" and sklearn_version() < (1, 8):
        pytest.skip("FeatureUnion of scikit-learn before 1.8 cannot join frames of polars with the same names")
    union = pipeline.FeatureUnion([("a", small()), ("b", small())]).set_output(transform=container)
    frame = union.fit_transform(X)
    assert isinstance(frame, module.DataFrame)
    assert list(frame.columns)[:4] == ["a__vae0", "a__vae1", "a__vae2", "b__vae0"]


def test_a_column_transformer_passes_set_output_on() -> None:
    compose = sklearn_module("sklearn.compose")
    pandas = pytest.importorskip("pandas", reason="pandas, the container asked for, is not installed")
    frame = pandas.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    columns = compose.ColumnTransformer([("left", small(), list(frame.columns[:20]))], remainder="drop")
    out = columns.set_output(transform="pandas").fit_transform(frame)
    assert list(out.columns) == ["left__vae0", "left__vae1", "left__vae2"]


def test_sklearns_global_setting_is_followed() -> None:
    sklearn = sklearn_module("sklearn")
    pandas = pytest.importorskip("pandas", reason="pandas, the container asked for, is not installed")
    model = small().fit(X)
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(model.transform(X), pandas.DataFrame)
    assert type(model.transform(X)) is np.ndarray


@pytest.mark.filterwarnings("ignore:Estimator VAE does not inherit:UserWarning")
def test_sklearns_own_checks_pass() -> None:
    passes_all_checks(small(likelihood="gaussian"))


# ---------------------------------------------------------------------------------------------- progress


class Terminal:
    """A standard error that says whether it is a terminal, and remembers."""

    def __init__(self, tty: bool) -> None:
        self.tty, self.text = tty, ""

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_progress_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    small(epochs=3, progress=True).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert err.startswith("\r")
    assert "epoch 3/3" in err
    assert "loss" in err
    assert "val_loss" not in err
    assert len({len(line) for line in err[1:-1].split("\r")}) == 1  # each overwrites the one before


def test_progress_shows_the_validation_loss(capsys: pytest.CaptureFixture[str]) -> None:
    model = small(progress=True, validation_fraction=0.2).fit(X)
    assert f"val_loss {model.history_['val_loss'][-1]:.2f}" in capsys.readouterr().err


def test_progress_shows_how_far_a_long_epoch_is(capsys: pytest.CaptureFixture[str]) -> None:
    data = np.tile(DIGITS, (20, 1))
    small(hidden=(256,), epochs=1, batch_size=2, progress=True, n_jobs=1).fit(data)
    lines = capsys.readouterr().err.rstrip("\n").split("\r")[1:]
    parts = [int(line.split()[2]) for line in lines]
    assert len(parts) > 2
    assert parts == sorted(parts)
    assert 0 < parts[0] < 100
    assert parts[-1] == 100
    assert "loss" in lines[-1]
    assert "loss" not in lines[0]
    assert len(lines[-1]) == len(lines[0])  # it overwrites a longer line, too


@pytest.mark.parametrize("progress", [None, False])
def test_no_progress_where_nobody_asked(progress: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    small(progress=progress).fit(X).partial_fit(X).transform(X)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("progress", "tty", "wanted"), [(None, True, True), (None, False, False), (False, True, False), (True, False, True)]
)
def test_progress_none_means_on_a_terminal(
    progress: bool | None, tty: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(tty)
    monkeypatch.setattr(sys, "stderr", terminal)
    small(progress=progress).fit(X)
    assert ("\r" in terminal.text) is wanted


def test_the_line_is_ended_when_training_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(FloatingPointError):
        small(likelihood="gaussian", learning_rate=1e5, progress=True).fit(X)
    assert terminal.text.endswith("\n")


class Broken:
    """A standard error whose method `name` raises an error."""

    def __init__(self, name: str, error: Exception, after: int) -> None:
        self.name, self.error, self.calls = name, error, after

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> bool:
            self.calls -= name == self.name
            if name == self.name and self.calls < 0:
                raise self.error
            return True

        return call


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("name", ["isatty", "write", "flush"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed file"), AttributeError()]
)
def test_a_broken_standard_error_does_not_end_training(
    error: Exception, name: str, after: int, progress: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(name, error, after))
    assert small(progress=progress).fit(X).n_iter_ == 2


def test_a_process_without_standard_error_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert small().fit(X).n_iter_ == 2
