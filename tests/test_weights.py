"""Weights of examples: against torch's autograd, and what weights of 0, 1, 2 and of any scale must mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from helpers import LIKELIHOODS, SMALL, bits, conditional_vae, holed, masking_vae, small, sparse_counts, tiny
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel
from fastvae.layers import Conv2d

ROWS, COLS = 29, 37


def random_weights(n: int, seed: int = 5) -> NDArray[np.float32]:
    """Weights over two orders of magnitude, a fifth of them 0."""
    rng = np.random.default_rng(seed)
    return (rng.exponential(1.0, n) * (rng.random(n) > 0.2)).astype(np.float32)


def grey(n: int = 60, cols: int = 20, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((n, cols), np.float32)


# ----------------------------------------------------------------------------------------------- against torch

OBJECTIVES: dict[str, dict[str, Any]] = {
    "beta": {"beta": 0.3},
    "free bits": {"free_bits": 0.5},
    "capacity": {"capacity": 40.0, "beta": 3.0},
    "reconstruction": {"objective": "reconstruction"},
    "kl": {"objective": "kl"},
}


def errors(X: Any, likelihood: Any, draws: int = 1, **parameters: Any) -> dict[str, float]:
    vae, twin = reference.pair(COLS, **{**reference.AWKWARD, **parameters}, likelihood=likelihood)
    eps = reference.noise(len(X) * draws, vae.latent_dim)
    if draws > 1:
        vae.set_params(n_importance_samples=draws)
        eps = eps.reshape(len(X), draws, -1)
    found: dict[str, float] = reference.loss_errors(vae, twin, X, eps, weights=random_weights(len(X)))
    return found


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("draws", [1, 3])
def test_losses_and_gradients_of_every_likelihood_are_those_of_torch(likelihood: str, draws: int) -> None:
    kind = LIKELIHOODS[likelihood]
    X = reference.examples(kind, ROWS, COLS)
    assert max(errors(X, kind, draws).values()) < 2 * reference.TOLERANCE


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "multinomial"])
def test_losses_and_gradients_of_every_objective_are_those_of_torch(objective: str, likelihood: str) -> None:
    kind = LIKELIHOODS[likelihood]
    X = reference.examples(kind, ROWS, COLS)
    assert not reference.too_large(errors(X, kind, **OBJECTIVES[objective]))


def test_missing_values_and_sparse_batches_have_the_gradients_of_torch() -> None:
    vae, twin = reference.pair(COLS, latent_dim=3, likelihood=LIKELIHOODS["gaussian per_feature"])
    X = holed(reference.examples("gaussian", ROWS, COLS), 0.3)
    vae.set_params(missing="mask")
    masked = VAE(3, likelihood=LIKELIHOODS["gaussian per_feature"], missing="mask").load_state_dict(vae.state_dict())
    eps, weights = reference.noise(ROWS, 3), random_weights(ROWS)
    assert not reference.too_large(reference.loss_errors(masked, twin, X, eps, weights=weights))

    counts = sparse_counts(ROWS, COLS)
    vae, twin = reference.pair(COLS, latent_dim=3, likelihood="poisson")
    dense = vae.loss_and_gradients(counts.toarray(), eps, sample_weight=weights)
    stored = vae.loss_and_gradients(counts, eps, sample_weight=weights)
    assert dense[0] == stored[0]
    assert all(np.array_equal(gradient, stored[1][name]) for name, gradient in dense[1].items())
    assert not reference.too_large(reference.loss_errors(vae, twin, counts.toarray(), eps, weights=weights))


def test_an_autoencoder_has_the_gradients_of_torch() -> None:
    model, twin = reference.plain_pair(COLS, latent_dim=4)
    X = reference.examples("gaussian", ROWS, COLS)
    assert not reference.too_large(reference.loss_errors(model, twin, X, weights=random_weights(ROWS)))


# --------------------------------------------------------------------------------------------- 0, 1, 2 and more


MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "free bits": (small(free_bits=0.1), grey(), {}),
    "importance": (small(n_importance_samples=4), grey(), {}),
    "doubly": (small(n_importance_samples=4, doubly_reparameterized=True), grey(), {}),
    "clipped": (small(clip_norm=0.1, likelihood="gaussian"), grey(), {}),
    "autoencoder": (small(Autoencoder), grey(), {}),
    "conditional": (conditional_vae(), grey(), {"y": np.arange(60) % 3}),
    "missing": (masking_vae(), holed(grey(), 0.2), {}),
    "topics": (TopicModel(3, epochs=2, batch_size=16, random_state=0), sparse_counts(60, 40), {}),
    "exam": (
        ItemResponse("2pl", epochs=300, random_state=0),
        (grey() > np.linspace(0.2, 0.8, 20)).astype(np.float32),
        {},
    ),
    "convolution": (
        small(hidden=(Conv2d(4, 3), 8), image_shape=(4, 5), batch_size=16),
        grey().reshape(60, 4, 5),
        {},
    ),
}


def fitted(model: Any, X: Any, **given: Any) -> Any:
    """A fitted copy."""
    return type(model)(**model.get_params()).fit(X, **given)


@pytest.mark.parametrize("name", MODELS)
def test_equal_weights_change_no_bit(name: str) -> None:
    model, X, given = MODELS[name]
    assert bits(fitted(model, X, **given)) == bits(fitted(model, X, sample_weight=np.ones(60), **given))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "exam"])
def test_only_ratios_of_weights_matter(name: str) -> None:
    model, X, given = MODELS[name]
    weights = random_weights(60)
    one, many = (fitted(model, X, sample_weight=factor * weights, **given) for factor in (1.0, 1024.0))
    assert bits(one) == bits(many)
    assert bits(one) != bits(fitted(model, X, **given))


@pytest.mark.parametrize("name", MODELS)
def test_an_example_of_weight_0_counts_as_absent(name: str) -> None:
    model, X, given = MODELS[name]
    used = np.arange(60) % 4 > 0
    others = {key: value[used] for key, value in given.items()}
    weights = used.astype(float)
    assert bits(fitted(model, X, sample_weight=weights, **given)) == bits(fitted(model, X[used], **others))


# Statistics of batch normalisation, of topic models, have no weights.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "topics"])
def test_duplicates_are_weights_of_2_in_one_batch(name: str) -> None:
    model, X, given = MODELS[name]
    twice = np.r_[np.arange(60), np.arange(20)]
    repeated = {key: value[twice] for key, value in given.items()}
    weights = np.ones(60)
    weights[:20] = 2
    # The noise depends on the content of an example only.
    trained = fitted(model, X, **given)
    losses, gradients = trained.loss_and_gradients(X, sample_weight=weights, **given)
    wanted, expected = trained.loss_and_gradients(X[twice], **repeated)
    assert losses == pytest.approx(wanted, rel=1e-5)
    for key, gradient in gradients.items():
        assert reference.relative_error(gradient, expected[key]) < 1e-4, key


def test_steps_on_batches_add_up_to_the_gradient_of_the_weighted_mean() -> None:
    X, weights, rate = grey(64), random_weights(64), 1e-4
    vae = tiny(optimizer="sgd", learning_rate=rate, batch_size=16).partial_fit(X)
    eps = reference.noise(64, 2)
    before = vae.state_dict()
    _, gradients = vae.loss_and_gradients(X, eps, sample_weight=weights)
    after = vae.partial_fit(X, eps=eps, sample_weight=weights).state_dict()
    for name, gradient in gradients.items():
        moved = (after[name].astype(np.float64) - before[name]) / -rate
        assert reference.relative_error(moved, 4 * gradient) < 0.02, name


# ------------------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize("name", [name for name in MODELS if name != "exam"])
def test_scores_are_weighted_means(name: str) -> None:
    model, X, given = MODELS[name]
    trained, weights = fitted(model, X, **given), random_weights(60)
    scores = trained.score_samples(X, **given).astype(np.float64)
    expected = np.average(scores, weights=weights)
    y = given.get("y")
    assert trained.score(X, y, weights) == pytest.approx(expected, rel=1e-5)
    if isinstance(trained, VAE):
        scores = trained.score_samples(X, n_samples=3, **given).astype(np.float64)
        found = trained.score(X, y, sample_weight=weights, n_samples=3)
        assert found == pytest.approx(np.average(scores, weights=weights), rel=1e-5)
        losses = trained.evaluate(X, sample_weight=weights, **given)
        assert losses["elbo"] == pytest.approx(-losses["reconstruction"] - losses["kl"], rel=1e-5)


def test_losses_per_observed_value_are_weighted_sums() -> None:
    model, X, _ = MODELS["missing"]
    trained, weights = fitted(model, X), random_weights(60)
    observed = (~np.isnan(X)).sum(1)
    expected = np.sum(weights * trained.score_samples(X)) / np.sum(weights * observed)
    found = trained.evaluate(X, sample_weight=weights)["elbo_per_observed"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_history_and_validation_losses_are_weighted_means() -> None:
    X, weights = grey(80), np.where(np.arange(80) < 40, 5.0, 1.0)
    still = small(optimizer="sgd", learning_rate=1e-30, validation_fraction=0.25, epochs=1, batch_size=16)
    held_out = fitted(still, X, sample_weight=weights)
    plain = fitted(still, X)
    assert held_out.history_["val_loss"] != plain.history_["val_loss"]
    # The rows that are held out depend on the seed only.
    order = np.random.default_rng(held_out._fitted.specification.seed).permutation(80)
    out = np.sort(order[:20])
    expected = held_out.evaluate(X[out], sample_weight=weights[out])["loss"]
    assert held_out.history_["val_loss"][0] == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------------------------------- exams

LSAT7 = Path(__file__).resolve().parents[2] / "shared" / "data" / "lsat7.npz"


@pytest.mark.skipif(not LSAT7.exists(), reason="needs ../shared/data/lsat7.npz beside the repository")
def test_patterns_with_numbers_of_students_are_an_exam_of_all_students() -> None:
    Y = np.load(LSAT7)["responses"].astype(np.float32)
    patterns, numbers = np.unique(Y, axis=0, return_counts=True)
    exam = ItemResponse("2pl", random_state=0, epochs=2000).fit(patterns, sample_weight=numbers)
    everyone = ItemResponse("2pl", random_state=0).fit(Y)
    assert exam.difficulty_ == pytest.approx(everyone.difficulty_, abs=0.1)
    assert exam.discrimination_ == pytest.approx(everyone.discrimination_, abs=0.1)
    # The prior counts once: for 1,000 students, not for 32 patterns.
    losses, gradients = exam.loss_and_gradients(patterns, sample_weight=numbers)
    wanted, expected = exam.loss_and_gradients(np.repeat(patterns, numbers, axis=0))
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert reference.relative_error(gradients["decoder.0.bias"], expected["decoder.0.bias"]) < 1e-2
    few, _ = exam.loss_and_gradients(patterns, sample_weight=numbers / 1000)
    assert few["loss"] > losses["loss"] + 0.01


# ------------------------------------------------------------------------------------------- threads, checkpoints


@pytest.mark.parametrize("name", ["free bits", "importance", "topics", "convolution"])
def test_results_do_not_depend_on_threads(name: str) -> None:
    model, X, given = MODELS[name]
    weights = random_weights(60)
    one, three = (
        fitted(type(model)(**(model.get_params() | {"n_jobs": n})), X, sample_weight=weights, **given) for n in (1, 3)
    )
    assert bits(one) == bits(three)


def test_a_resumed_fit_needs_the_same_weights(tmp_path: Path) -> None:
    X, weights, path = grey(), random_weights(60), tmp_path / "fit"
    model = small(epochs=4)
    whole = fitted(model, X, sample_weight=weights)

    killed = False

    def stop(model: Any, logs: dict[str, float]) -> None:
        nonlocal killed
        if model.n_iter_ == 2 and not killed:
            killed = True
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        small(epochs=4, callbacks=stop).fit(X, sample_weight=weights, checkpoint=path, checkpoint_every=1)
    for other in (None, weights[::-1]):
        with pytest.raises(ValueError, match="sample_weight"):
            fastvae.resume(path, X, sample_weight=other, callbacks=stop)
    resumed = fastvae.resume(path, X, sample_weight=weights, callbacks=stop)
    assert bits(resumed) == bits(whole)


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), "sample_weight has shape \\(59,\\): pass one weight for each of the 60 rows of X"),
        (np.ones((60, 1)), "sample_weight has shape \\(60, 1\\)"),
        (-np.ones(60), "sample_weight of row 0 is -1.0: weights must be finite numbers, at least 0"),
        ([1.0] * 59 + [np.nan], "sample_weight of row 59 is nan"),
        ([1.0] * 59 + [np.inf], "sample_weight of row 59 is inf"),
        (np.zeros(60), "sample_weight is zero for all examples"),
        (np.full(60, 1e-40), "outside of float32"),
    ],
)
def test_bad_weights_are_refused(weights: Any, message: str) -> None:
    X, model = grey(), small(epochs=1)
    with pytest.raises(ValueError, match=message):
        model.fit(X, sample_weight=weights)
    assert not hasattr(model, "n_iter_")
    model.fit(X)
    for method in (model.fit, model.partial_fit, model.loss_and_gradients, model.evaluate, model.score):
        with pytest.raises(ValueError, match=message):
            method(X, sample_weight=weights)


def test_a_held_out_part_without_weight_is_refused() -> None:
    X = grey()
    with pytest.raises(ValueError, match="all examples of the held-out fraction of X have sample_weight 0"):
        small(validation_fraction=0.02).fit(X, sample_weight=np.r_[np.ones(1), np.zeros(59)])


def test_words_are_no_weights() -> None:
    with pytest.raises(TypeError, match="sample_weight"):
        small().fit(grey(), sample_weight=["a"] * 60)


def test_a_number_is_a_weight_for_all() -> None:
    assert bits(small(**SMALL).fit(grey(), sample_weight=2)) == bits(small(**SMALL).fit(grey()))
