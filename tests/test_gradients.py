"""Losses, gradients and codes against torch's autograd in float64, with the same weights and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS
from reference import (
    ACTIVATIONS,
    AWKWARD,
    AWKWARD_FEATURES,
    AWKWARD_ROWS,
    SIZES,
    TOLERANCE,
    Size,
    examples,
    loss_errors,
    noise,
    pair,
    relative_error,
    too_large,
)

from fastvae.likelihoods import Gaussian


def compared(rows: int, cols: int, likelihood: Any, latent_dim: int, **params: Any) -> dict[str, float]:
    """Relative errors of a model at a size."""
    vae, twin = pair(cols, latent_dim=latent_dim, likelihood=likelihood, **params)
    return loss_errors(vae, twin, examples(likelihood, rows, cols), noise(rows, latent_dim))


@pytest.mark.parametrize("hidden", [(), (33,)], ids=str)
@pytest.mark.parametrize("rows", [1, 29, 131])
def test_skipped_zeros_change_no_gradient(rows: int, hidden: tuple[int, ...]) -> None:
    cols = 150
    vae, twin = pair(cols, latent_dim=5, hidden=hidden)
    X, eps = examples("bernoulli", rows, cols), noise(rows, 5)
    X[:, 40:70] = 0  # dead pixels
    X[:, 70:] *= np.random.default_rng(0).random((rows, 80)) < 0.05  # rare ones
    X[rows // 2] = 0  # an empty picture
    assert not too_large(loss_errors(vae, twin, X, eps))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_likelihood_has_the_losses_and_gradients_of_torch(
    activation: str, likelihood: str
) -> None:
    errors = compared(AWKWARD_ROWS, AWKWARD_FEATURES, LIKELIHOODS[likelihood], activation=activation, **AWKWARD)
    assert not too_large(errors)


@pytest.mark.parametrize(
    ("activation", "likelihood"),
    [
        ("tanh", "bernoulli"),
        ("gelu", "gaussian per_feature"),
        ("relu", "gaussian shared"),
        ("silu", "gaussian decoder"),
        ("tanh", "multinomial"),
        ("tanh", "poisson"),
        ("tanh", "negative_binomial"),
    ],
)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_depth_and_size_has_the_losses_and_gradients_of_torch(
    size: Size, activation: str, likelihood: str
) -> None:
    rows, cols, latent_dim, hidden, decoder_hidden = size
    errors = compared(
        rows,
        cols,
        LIKELIHOODS[likelihood],
        latent_dim,
        hidden=hidden,
        decoder_hidden=decoder_hidden,
        activation=activation,
    )
    assert not too_large(errors)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("objective", ["elbo", "reconstruction", "kl"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_objective_and_beta_has_the_losses_and_gradients_of_torch(
    likelihood: str, objective: str, beta: float
) -> None:
    errors = compared(
        AWKWARD_ROWS,
        AWKWARD_FEATURES,
        LIKELIHOODS[likelihood],
        activation="silu",
        beta=beta,
        objective=objective,
        **AWKWARD,
    )
    assert not too_large(errors)


@pytest.mark.parametrize("likelihood", ["gaussian per_feature", "gaussian decoder"])
def test_a_loss_that_ignores_the_decoder_leaves_its_gradients_exactly_zero(likelihood: str) -> None:
    vae, _ = pair(37, objective="kl", likelihood=LIKELIHOODS[likelihood], **AWKWARD)
    _, gradients = vae.loss_and_gradients(examples("gaussian", 29, 37), noise(29, 5))
    for name, gradient in gradients.items():
        ignored = name.startswith(("decoder", "likelihood", "scale"))
        assert np.any(gradient) != ignored, name


# ------------------------------------------------------------------------------------------- the clamp


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("shift", [-50.0, 50.0])
def test_a_log_variance_beyond_the_clamp_has_no_gradient_as_in_torch(shift: float, likelihood: str) -> None:
    clamped, latent_dim = 3, 20  # column 3 of logvar is shifted far out, the others are not
    vae, twin = pair(37, latent_dim=latent_dim, hidden=(33,), activation="relu", likelihood=likelihood)
    weights = vae.state_dict()
    weights["logvar.bias"][clamped] = shift
    vae.load_state_dict(weights)
    twin.load(weights)
    X, eps = examples(likelihood, 29, 37), noise(29, latent_dim)
    assert not too_large(loss_errors(vae, twin, X, eps))
    _, gradients = vae.loss_and_gradients(X, eps)
    for name in ("logvar.weight", "logvar.bias"):
        alive = gradients[name].reshape(latent_dim, -1).any(1)
        assert alive.tolist() == [column != clamped for column in range(latent_dim)], name


def test_the_clamp_starts_just_beyond_its_ends_as_in_torch() -> None:
    # Without an input logvar is its bias: at an end the gradient passes, one step of float32 beyond it is zero.
    low, high = np.float32(-30), np.float32(20)
    ends = [low, np.nextafter(low, -np.inf), high, np.nextafter(high, np.inf), np.float32(0.5)]
    vae, twin = pair(3, latent_dim=5, hidden=(), objective="kl")
    weights = vae.state_dict()
    weights["logvar.bias"][:] = ends
    vae.load_state_dict(weights)
    twin.load(weights)
    X, eps = np.zeros((2, 3), np.float32), noise(2, 5)
    _, gradients = vae.loss_and_gradients(X, eps)
    _, torch_gradients = twin.losses_and_gradients(X, eps)
    np.testing.assert_allclose(gradients["logvar.bias"], torch_gradients["logvar.bias"], rtol=TOLERANCE)


@pytest.mark.parametrize("floor", [1e-6, 1e-3, 10.0])
def test_a_decoders_log_scale_has_the_gradient_of_torch_at_its_ends(floor: float) -> None:
    # u is its bias alone: far below the floor, where s is the floor; at 40, and one step of float32 beyond.
    beyond = np.nextafter(np.float32(40), np.float32(50))
    ends = np.array([-1e4, -90, -44, -20, np.log(floor) - 2, np.log(floor), 0, 39, 40, beyond, 41, 1e6], np.float32)
    vae, twin = pair(len(ends), latent_dim=2, hidden=(), likelihood=Gaussian("decoder", floor=floor))
    weights = vae.state_dict()
    weights["scale.bias"], weights["scale.weight"] = ends, 0 * weights["scale.weight"]
    vae.load_state_dict(weights)
    twin.load(weights)
    X, eps = examples("gaussian", 29, len(ends)), noise(29, 2)
    assert not too_large(loss_errors(vae, twin, X, eps))
    _, gradients = vae.loss_and_gradients(X, eps)
    _, torch_gradients = twin.losses_and_gradients(X, eps)
    np.testing.assert_allclose(gradients["scale.bias"], torch_gradients["scale.bias"], rtol=TOLERANCE, atol=1e-12)
    assert np.any(gradients["scale.bias"][6:9] != 0)
    assert not np.any(gradients["scale.bias"][9:])


@pytest.mark.parametrize("scale", [0.5, "decoder"])
def test_a_sigmoid_mean_has_the_gradient_of_torch_where_it_is_saturated(scale: Any) -> None:
    # Of 17 on float32's sigmoid is 1; of 37 on so is float64's, in which torch counts.
    ends = np.array([-100, -80, -17, -9, -1, 0, 1, 9, 17, 20, 100], np.float32)
    vae, twin = pair(len(ends), latent_dim=2, hidden=(), likelihood=Gaussian(scale, mean="sigmoid"))
    weights = vae.state_dict()
    weights["decoder.0.bias"], weights["decoder.0.weight"] = ends, 0 * weights["decoder.0.weight"]
    vae.load_state_dict(weights)
    twin.load(weights)
    X, eps = np.random.default_rng(0).random((29, len(ends)), np.float32), noise(29, 2)
    assert not too_large(loss_errors(vae, twin, X, eps))
    _, gradients = vae.loss_and_gradients(X, eps)
    _, torch_gradients = twin.losses_and_gradients(X, eps)
    # One by one: m (1 - m) must not cancel where m is near 1.
    np.testing.assert_allclose(gradients["decoder.0.bias"], torch_gradients["decoder.0.bias"], rtol=3e-5, atol=1e-30)


# -------------------------------------------------------------------------------- scores, codes, inputs


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scores_codes_and_means_are_those_of_torch(activation: str, likelihood: str) -> None:
    rows, cols = 131, AWKWARD_FEATURES
    vae, twin = pair(cols, activation=activation, likelihood=LIKELIHOODS[likelihood], **AWKWARD)
    X, eps = examples(LIKELIHOODS[likelihood], rows, cols), noise(rows, AWKWARD["latent_dim"])
    with torch.no_grad():
        x = twin.tensor(X)
        reconstruction, kl = twin.terms(x, twin.tensor(eps))
        mu, logvar = twin.encode(x)
        pairs = {
            "score_samples": (vae.score_samples(X, eps=eps), -reconstruction - kl.sum(1)),
            "transform": (vae.transform(X), mu),
            "mu": (vae.encode(X)[0], mu),
            "logvar": (vae.encode(X)[1], logvar),
            "reconstruct": (vae.reconstruct(X), twin.mean(mu) * twin.size(twin.tensor(X))),
            "inverse_transform": (vae.inverse_transform(eps), twin.mean(twin.tensor(eps))),
        }
    assert not too_large({name: relative_error(a, b.numpy()) for name, (a, b) in pairs.items()})


@pytest.mark.parametrize("objective", ["elbo", "reconstruction", "kl"])
def test_evaluate_and_loss_and_gradients_agree_on_the_losses(objective: str) -> None:
    vae, twin = pair(37, beta=3.0, objective=objective, **AWKWARD)
    X, eps = examples("bernoulli", 131, 37), noise(131, 5)
    evaluated, (losses, _) = vae.evaluate(X, eps=eps), vae.loss_and_gradients(X, eps)
    assert evaluated == pytest.approx(losses, rel=1e-12)
    torch_losses, _ = twin.losses_and_gradients(X, eps)
    assert evaluated == pytest.approx(torch_losses, rel=TOLERANCE)


@pytest.mark.parametrize("given_noise", [True, False])
def test_uint8_is_the_same_as_float32_over_255_bit_for_bit(given_noise: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (131, 37), dtype=np.uint8)
    assert len(np.unique(pixels)) == 256
    vae, _ = pair(37, random_state=0, **AWKWARD)
    eps = noise(131, 5) if given_noise else None
    losses, gradients = vae.loss_and_gradients(pixels, eps)
    float_losses, float_gradients = vae.loss_and_gradients(pixels.astype(np.float32) / np.float32(255), eps)
    assert losses == float_losses
    for name in gradients:
        assert gradients[name].tobytes() == float_gradients[name].tobytes(), name
