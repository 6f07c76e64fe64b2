"""Losses, gradients and codes with ``precision="bf16"`` against torch in float64.

Against products of the same rounded operands the errors are those of float32: a value on the border of two bfloat16,
which may go either way, is rare. Against exact products they are those of the rounding itself; PyTorch's own bfloat16
has larger ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from bf16_reference import with_bf16
from helpers import LIKELIHOODS
from numpy.typing import NDArray
from reference import (
    ACTIVATIONS,
    AWKWARD,
    AWKWARD_FEATURES,
    Twin,
    examples,
    loss_errors,
    noise,
    pair,
    plain_pair,
    relative_error,
)

from fastvae import VAE

pytestmark = pytest.mark.filterwarnings("ignore:precision='bf16' saves no time here")

# The largest relative error against products of the same operands, where one of 10^4 to 10^5 is on a border. Rounding
# itself makes errors of 2e-3 and more.
BORDERS = 5e-4
# The largest error of a gradient against exact products.
BF16 = 2.0**-7
# Sums over a batch of a power of two are means exactly, so that it does not matter where the mean is taken.
ROWS = 32


def too_large(errors: dict[str, float], tolerance: float = BORDERS) -> dict[str, float]:
    """Errors beyond the tolerance."""
    return {name: error for name, error in errors.items() if not error <= tolerance}


def compared(rows: int, cols: int, likelihood: Any, **params: Any) -> dict[str, float]:
    """Relative errors of losses and gradients against products of rounded operands."""
    vae, twin = pair(cols, likelihood=likelihood, precision="bf16", **params)
    return loss_errors(vae, with_bf16(twin), examples(likelihood, rows, cols), noise(rows, params["latent_dim"]))


# ----------------------------------------------------------------------------------- the operands, exactly


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_every_likelihood_has_the_losses_and_gradients_of_rounded_operands(activation: str, likelihood: str) -> None:
    assert not too_large(compared(ROWS, AWKWARD_FEATURES, LIKELIHOODS[likelihood], activation=activation, **AWKWARD))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_the_losses_and_gradients_of_rounded_operands(activation: str) -> None:
    assert not too_large(compared(ROWS, AWKWARD_FEATURES, "bernoulli", activation=activation, **AWKWARD))


@pytest.mark.parametrize("rows", [1, 2, 16, 128, 256])
@pytest.mark.parametrize(
    ("cols", "latent_dim", "hidden", "decoder_hidden"),
    [
        (1, 1, (), None),
        (3, 2, (1,), None),
        (31, 1, (), (33,)),
        (33, 3, (32,), None),
        (64, 17, (67, 1, 13), None),
        (127, 67, (67, 33, 31), None),
        (13, 4, (67, 31, 13), ()),
    ],
    ids=str,
)
def test_every_size_has_the_losses_and_gradients_of_rounded_operands(
    rows: int, cols: int, latent_dim: int, hidden: tuple[int, ...], decoder_hidden: tuple[int, ...] | None
) -> None:
    layers = {"latent_dim": latent_dim, "hidden": hidden, "decoder_hidden": decoder_hidden}
    errors = compared(rows, cols, "bernoulli", activation="tanh", **layers)
    # A single value on a border moves a gradient of few.
    assert len(too_large(errors)) <= len(errors) // 4
    assert not too_large(errors, 2.0**-6)


def test_the_comparison_tells_bfloat16_from_float32() -> None:
    vae, twin = pair(AWKWARD_FEATURES, activation="tanh", **AWKWARD)
    errors = loss_errors(vae, with_bf16(twin), examples("bernoulli", ROWS, AWKWARD_FEATURES), noise(ROWS, 5))
    weights = [error for name, error in errors.items() if name.endswith("weight")]
    assert min(weights) > 3 * BORDERS


@pytest.mark.parametrize("loss", ["squared_error", "bernoulli"])
def test_a_plain_autoencoder_has_the_gradients_of_rounded_operands(loss: str) -> None:
    plain, twin = plain_pair(AWKWARD_FEATURES, activation="tanh", loss=loss, precision="bf16", **AWKWARD)
    X = examples("bernoulli", ROWS, AWKWARD_FEATURES)
    assert not too_large(loss_errors(plain, with_bf16(twin), X))
    corrupted = X * (np.random.default_rng(0).random(X.shape) < 0.7)
    assert not too_large(loss_errors(plain, with_bf16(twin), X, corrupted=corrupted.astype(np.float32)))


@pytest.mark.parametrize("indicator", [False, True])
def test_missing_values_have_no_share_in_the_products(indicator: bool) -> None:
    params = {"activation": "tanh", "missing": "mask", "missing_indicator": indicator, "precision": "bf16", **AWKWARD}
    vae, twin = pair(AWKWARD_FEATURES, **{k: v for k, v in params.items() if k != "missing"} | {"missing": "mask"})
    X = examples("bernoulli", ROWS, AWKWARD_FEATURES)
    X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    assert not too_large(loss_errors(vae, with_bf16(twin), X, noise(ROWS, 5)))


def test_weights_of_examples_scale_gradients_before_they_are_rounded() -> None:
    vae, twin = pair(AWKWARD_FEATURES, activation="tanh", precision="bf16", **AWKWARD)
    X, weights = examples("bernoulli", ROWS, AWKWARD_FEATURES), np.repeat(np.float32([1, 3]), ROWS // 2)
    assert not too_large(loss_errors(vae, with_bf16(twin), X, noise(ROWS, 5), weights=weights))


@pytest.mark.parametrize("rows", [3, 29, 131])
def test_means_over_any_batch_are_near_those_of_rounded_operands(rows: int) -> None:
    # 1 / n may be multiplied before or after the rounding: another error of the same size.
    errors = compared(rows, AWKWARD_FEATURES, "bernoulli", activation="tanh", **AWKWARD)
    assert not too_large(errors, 2.0**-8)


def test_codes_means_and_scores_are_those_of_rounded_operands() -> None:
    vae, twin = pair(AWKWARD_FEATURES, activation="tanh", precision="bf16", **AWKWARD)
    X, eps, _ = examples("bernoulli", 131, AWKWARD_FEATURES), noise(131, 5), with_bf16(twin)
    with torch.no_grad():
        x, z = twin.tensor(X), twin.tensor(eps)
        (mu, logvar), (reconstruction, kl) = twin.encode(x), twin.terms(x, z)
        pairs = {
            "mu": (vae.transform(X), mu),
            "logvar": (vae.encode(X)[1], logvar),
            "reconstruct": (vae.reconstruct(X), twin.mean(mu)),
            "inverse_transform": (vae.inverse_transform(eps), twin.mean(z)),
            "score_samples": (vae.score_samples(X, eps=eps), -reconstruction - kl.sum(1)),
        }
    assert not too_large({name: relative_error(ours, theirs.numpy()) for name, (ours, theirs) in pairs.items()})


def test_steps_of_gradient_descent_end_where_those_of_rounded_operands_end() -> None:
    # Copies of weights that lag behind, or that are rounded twice, would add up.
    vae, twin = pair(
        AWKWARD_FEATURES, activation="tanh", precision="bf16", optimizer="sgd", learning_rate=2**-7, **AWKWARD
    )
    before, X = vae.state_dict(), examples("bernoulli", ROWS, AWKWARD_FEATURES)
    vae.set_params(batch_size=ROWS)
    optimizer = torch.optim.SGD(with_bf16(twin).parameters(), lr=2**-7)
    for step in range(40):
        eps = noise(ROWS, 5, seed=step)
        vae.partial_fit(X, eps=eps)
        optimizer.zero_grad()
        twin(twin.tensor(X), twin.tensor(eps))["loss"].backward()
        optimizer.step()
    for name, theirs in twin.weights().items():
        assert relative_error(vae.state_dict()[name] - before[name], theirs - before[name]) < 10 * BORDERS, name


# ----------------------------------------------------------------------------------- against exact products


def initial_pair(cols: int, **params: Any) -> tuple[VAE, Twin]:
    """A model and its twin in float64 with the weights with which training starts."""
    torch.manual_seed(0)
    _, twin = pair(cols, **params)
    for module in twin.modules():
        if isinstance(module, torch.nn.Linear):
            module.reset_parameters()
    return VAE(precision="bf16", **params).load_state_dict(twin.weights()), twin


def autocast_errors(twin: Twin, X: NDArray[Any], eps: NDArray[Any]) -> dict[str, float]:
    """Relative errors of gradients in PyTorch's own bfloat16."""
    _, exact = twin.losses_and_gradients(X, eps)
    twin.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, theirs = twin.losses_and_gradients(X, eps)
    return {name: relative_error(theirs[name], exact[name]) for name in exact}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian per_feature", "multinomial"])
@pytest.mark.parametrize("hidden", [(400,), (200, 200)], ids=str)
def test_gradients_are_within_two_to_the_minus_seven_and_nearer_than_those_of_autocast(
    hidden: tuple[int, ...], likelihood: str
) -> None:
    chosen = LIKELIHOODS[likelihood]
    vae, twin = initial_pair(196, latent_dim=20, hidden=hidden, activation="tanh", likelihood=chosen)
    X, eps = examples(chosen, 128, 196), noise(128, 20)
    if likelihood == "multinomial":
        X = np.minimum(X, 5)
    errors = loss_errors(vae, twin, X, eps)
    assert not too_large(errors, BF16)
    theirs = autocast_errors(twin, X, eps)
    ours = {name: errors[name] for name in theirs}
    assert np.median(list(ours.values())) < np.median(list(theirs.values()))
    assert max(ours.values()) < max(theirs.values())
