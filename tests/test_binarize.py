"""Grey values as binary ones: what is drawn, when, and that it is the same for everybody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import bits

import fastvae
from fastvae import VAE
from fastvae.datasets import load_digits

GREY = load_digits()[0][:300]
BINARY = (GREY > 0.5).astype(np.float32)
SMALL: dict[str, Any] = {"latent_dim": 3, "hidden": (20,), "epochs": 2, "batch_size": 37, "random_state": 0}


def test_a_threshold_is_training_on_thresholded_data() -> None:
    assert bits(VAE(binarize="threshold", **SMALL).fit(GREY)) == bits(VAE(**SMALL).fit(BINARY))
    halves = np.full((50, 64), 0.5, np.float32)
    assert bits(VAE(binarize="threshold", **SMALL).fit(halves)) == bits(VAE(**SMALL).fit(np.zeros_like(halves)))


def test_pixels_are_binarised_like_floats() -> None:
    pixels = np.round(GREY * 255).astype(np.uint8)
    for how in ("threshold", "bernoulli"):
        floats = pixels / np.float32(255)
        assert bits(VAE(binarize=how, **SMALL).fit(pixels)) == bits(VAE(binarize=how, **SMALL).fit(floats))


def test_what_is_binary_stays_as_it_is() -> None:
    for how in ("threshold", "bernoulli"):
        assert bits(VAE(binarize=how, **SMALL).fit(BINARY)) == bits(VAE(**SMALL).fit(BINARY))


def test_ones_are_drawn_with_the_grey_values_as_probabilities() -> None:
    # The loss of a decoder that gives 1/2 is the same for every draw; its bias's gradient is 1/2 - x: it shows x.
    probabilities = np.tile(np.linspace(0, 1, 37, dtype=np.float32), (4000, 1))
    model = VAE(2, hidden=(), binarize="bernoulli", random_state=0)
    fitted = VAE(2, hidden=(), random_state=0).fit(probabilities[:2])
    zeros = {name: np.zeros_like(array) for name, array in fitted.state_dict().items()}
    model.load_state_dict(zeros)
    _, gradients = model.loss_and_gradients(probabilities, np.zeros((4000, 2)))
    share = 0.5 - gradients["decoder.0.bias"]
    sigma = np.sqrt(probabilities[0] * (1 - probabilities[0]) / 4000)
    assert share[[0, -1]] == pytest.approx([0, 1], abs=1e-4)
    assert (np.abs(share - probabilities[0])[1:-1] / sigma[1:-1]).max() < 4
    # What is drawn is 0 or 1: the gradient of one example shows it exactly.
    _, gradients = model.loss_and_gradients(probabilities[:1], np.zeros((1, 2)))
    assert set(np.round(0.5 - gradients["decoder.0.bias"], 6)) == {0.0, 1.0}


def test_draws_are_new_in_each_pass_and_the_same_within_it_for_any_batches() -> None:
    def gradients_seen(batch_size: int, passes: int) -> list[Any]:
        # Plain gradient descent on the output bias alone, with a tiny rate: its change is the mean of x - 1/2.
        model = VAE(
            2,
            hidden=(),
            binarize="bernoulli",
            optimizer="sgd",
            learning_rate=1e-3,
            batch_size=batch_size,
            random_state=0,
        )
        model.load_state_dict(ZEROS)
        seen, before = [], np.zeros(64)
        for _ in range(passes):
            bias = model.partial_fit(GREY, eps=np.zeros((300, 2))).state_dict()["decoder.0.bias"]
            seen.append(bias - before)
            before = bias
        return seen

    whole, again, parts = gradients_seen(300, 3), gradients_seen(300, 3), gradients_seen(50, 1)
    np.testing.assert_array_equal(whole, again)
    assert not np.allclose(whole[0], whole[1], atol=1e-6)
    assert not np.allclose(whole[1], whole[2], atol=1e-6)
    # Six batches of fifty make six steps, of the same draws: six times the change, to first order.
    np.testing.assert_allclose(parts[0], 6 * whole[0], atol=2e-5)


ZEROS = {
    "mu.weight": np.zeros((2, 64)),
    "mu.bias": np.zeros(2),
    "logvar.weight": np.zeros((2, 64)),
    "logvar.bias": np.zeros(2),
    "decoder.0.weight": np.zeros((64, 2)),
    "decoder.0.bias": np.zeros(64),
}


@pytest.mark.parametrize("how", ["threshold", "bernoulli"])
def test_the_number_of_threads_changes_no_bit(how: str) -> None:
    models = [VAE(binarize=how, n_jobs=jobs, validation_fraction=0.2, **SMALL).fit(GREY) for jobs in (1, 2, 3)]
    assert bits(models[0]) == bits(models[1]) == bits(models[2])
    assert models[0].history_ == models[1].history_ == models[2].history_


def test_the_seed_belongs_to_the_draws() -> None:
    a, b = (VAE(binarize="bernoulli", **SMALL | {"random_state": seed}).load_state_dict(STATE) for seed in (1, 2))
    eps = np.zeros((300, 3))
    assert bits(a.partial_fit(GREY, eps=eps)) != bits(b.partial_fit(GREY, eps=eps))


STATE = VAE(**SMALL).fit(BINARY).state_dict()


def test_validation_data_are_binarised_once_and_for_all() -> None:
    model = VAE(binarize="threshold", **SMALL).fit(GREY, validation_data=GREY)
    assert model.history_["val_loss"][-1] == pytest.approx(model.evaluate(BINARY)["loss"], rel=0.02)
    frozen = VAE(binarize="bernoulli", **SMALL | {"optimizer": "sgd", "learning_rate": 1e-30, "epochs": 3})
    losses = frozen.fit(GREY, validation_data=GREY).history_
    assert len(set(losses["val_loss"])) == 1
    assert len(set(losses["loss"])) == 3


def test_validation_and_gradients_have_a_draw_that_training_does_not_have() -> None:
    def model() -> VAE:
        sgd: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 1e-3, "batch_size": 300}
        return VAE(2, hidden=(), binarize="bernoulli", random_state=0, **sgd).load_state_dict(ZEROS)

    # A decoder of zeros: the gradient of the output's bias is 1/2 minus the mean of what was drawn.
    eps = np.zeros((300, 2))
    aside = 0.5 - model().loss_and_gradients(GREY, eps)[1]["decoder.0.bias"]
    trained = 0.5 + model().partial_fit(GREY, eps=eps).state_dict()["decoder.0.bias"] / 1e-3
    assert np.abs(aside - trained).max() > 0.01
    # And validation has that of the gradients.
    fitted = VAE(binarize="bernoulli", **SMALL).fit(GREY, validation_data=GREY)
    losses, _ = fitted.loss_and_gradients(GREY)
    assert fitted.history_["val_reconstruction"][-1] == pytest.approx(losses["reconstruction"], rel=1e-5)
    # evaluate is about the grey values themselves.
    assert fitted.evaluate(GREY)["reconstruction"] != pytest.approx(losses["reconstruction"], rel=1e-3)


def test_questions_are_about_the_data_that_they_are_given() -> None:
    plain, model = VAE(**SMALL).load_state_dict(STATE), VAE(binarize="bernoulli", **SMALL).load_state_dict(STATE)
    assert model.evaluate(GREY) == plain.evaluate(GREY)
    assert model.transform(GREY).tobytes() == plain.transform(GREY).tobytes()
    with pytest.raises(ValueError, match="only 0 and 1 have a probability"):
        model.log_marginal(GREY)
    assert np.isfinite(model.log_marginal(BINARY, 10).estimate).all()


def test_it_works_with_corruption_and_in_any_pipeline_of_passes() -> None:
    from fastvae.corruption import MaskingNoise

    more: dict[str, Any] = {"corruption": MaskingNoise(0.3), "clip_norm": 10.0, "free_bits": 0.1, **SMALL}
    grey, binary = VAE(binarize="threshold", **more), VAE(**more)
    assert bits(grey.fit(GREY, validation_data=GREY)) == bits(binary.fit(BINARY, validation_data=BINARY))
    assert grey.history_ == binary.history_
    assert bits(grey.partial_fit(GREY)) == bits(binary.partial_fit(BINARY))
    drawn, again = (VAE(binarize="bernoulli", **more).fit(GREY) for _ in range(2))
    assert bits(drawn) == bits(again) != bits(VAE(**more).fit(GREY))


def test_binarize_draws_with_the_values_as_probabilities() -> None:
    X = np.tile(np.linspace(0, 1, 37, dtype=np.float32), (4000, 1))
    drawn = fastvae.binarize(X, random_state=3)
    assert drawn.dtype == np.float32
    assert set(np.unique(drawn)) == {0.0, 1.0}
    sigma = np.sqrt(X[0] * (1 - X[0]) / 4000)
    assert (np.abs(drawn.mean(0) - X[0]) <= 4 * sigma).all()
    assert np.array_equal(drawn, fastvae.binarize(X, "bernoulli", random_state=3))
    assert not np.array_equal(drawn, fastvae.binarize(X, random_state=4))
    assert not np.array_equal(fastvae.binarize(X), fastvae.binarize(X))


def test_binarize_cuts_where_training_cuts() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, -1)
    assert np.array_equal(fastvae.binarize(pixels, "threshold"), pixels > 127)
    halves = np.array(
        [[0.5, np.nextafter(0.5, 1), np.nextafter(np.float32(0.5), np.float32(1))]]
    )  # the second is no float32
    assert fastvae.binarize(halves, "threshold").tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.inf])
def test_binarize_refuses_what_is_no_probability(bad: float) -> None:
    X = GREY[:3].copy()
    X[2, 5] = bad
    for how in ("bernoulli", "threshold"):
        with pytest.raises(ValueError, match=r"X\[2, 5\] is .*\[0, 1\]: scale the data"):
            fastvae.binarize(X, how)
    with pytest.raises(ValueError, match="how='coin'"):
        fastvae.binarize(GREY, "coin")


@pytest.mark.parametrize("how", ["", "Bernoulli", True, 1, 0.5])
def test_bad_values_are_refused(how: Any) -> None:
    with pytest.raises(ValueError, match="binarize="):
        VAE(binarize=how, **SMALL).fit(GREY)


def test_it_is_for_the_bernoulli_likelihood() -> None:
    with pytest.raises(ValueError, match="binarize='threshold' needs likelihood='bernoulli'"):
        VAE(binarize="threshold", likelihood="gaussian", **SMALL).fit(GREY)


def test_values_that_are_missing_stay_missing() -> None:
    grey = np.random.default_rng(0).random((60, 9), dtype=np.float32)
    grey[3, 4] = np.nan
    for how in ("threshold", "bernoulli"):
        binary = fastvae.binarize(grey, how, random_state=0)
        assert np.array_equal(np.isnan(binary), np.isnan(grey))
        assert np.isin(binary[~np.isnan(grey)], [0, 1]).all()
    vae = VAE(2, hidden=(8,), missing="mask", binarize="threshold", epochs=1, random_state=0).fit(grey)
    with pytest.raises(ValueError, match="threshold"):
        vae.log_marginal(grey, 10)
    assert np.isfinite(vae.log_marginal(fastvae.binarize(grey, "threshold"), 10).estimate).all()
