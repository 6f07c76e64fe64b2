"""Runs of optimiser steps against ``torch.optim`` in float64, and the two halves of a step against the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS, OPTIMIZER_NAMES, bits
from numpy.typing import NDArray
from reference import TorchVAE, examples, noise, pair
from torch import optim

from fastvae import VAE
from fastvae.likelihoods import Gaussian
from fastvae.optimizers import SGD, Adagrad, Adam, AdamW

# After 200 steps the largest difference of a tensor's elements, over the tensor's largest element.
TOLERANCE = 1e-4
PASSES, BATCHES, BATCH_SIZE, ROWS, FEATURES = 20, 10, 16, 157, 29  # 200 steps; each pass ends in a batch of 13
MODEL: dict[str, Any] = {"latent_dim": 3, "hidden": (33,), "activation": "tanh", "batch_size": BATCH_SIZE}

Parameters = Iterable[torch.Tensor]
Weights = dict[str, NDArray[Any]]

# name: ours, torch's, learning rate
RUNS: dict[str, tuple[Any, Callable[..., optim.Optimizer], float]] = {
    "adam": ("adam", optim.Adam, 1e-3),
    "adam, fast": ("adam", optim.Adam, 1e-2),
    "adam, all options": (
        Adam(beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.1),
        lambda p, lr: optim.Adam(p, lr, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1),
        1e-2,
    ),
    "adamw": ("adamw", optim.AdamW, 1e-2),
    "adamw, all options": (
        AdamW(beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.5),
        lambda p, lr: optim.AdamW(p, lr, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.5),
        1e-2,
    ),
    "sgd": ("sgd", optim.SGD, 1e-2),
    "sgd, weight_decay": (
        SGD(weight_decay=0.1),
        lambda p, lr: optim.SGD(p, lr, weight_decay=0.1),
        1e-2,
    ),
    "sgd, momentum": (SGD(momentum=0.9), lambda p, lr: optim.SGD(p, lr, momentum=0.9), 1e-3),
    "sgd, nesterov, weight_decay": (
        SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p, lr: optim.SGD(p, lr, momentum=0.9, nesterov=True, weight_decay=0.1),
        1e-3,
    ),
    "adagrad": ("adagrad", optim.Adagrad, 1e-2),
    "adagrad, all options": (
        Adagrad(eps=1e-3, lr_decay=0.02, weight_decay=0.1),
        lambda p, lr: optim.Adagrad(p, lr, eps=1e-3, lr_decay=0.02, weight_decay=0.1),
        1e-1,
    ),
}


def train_torch(twin: TorchVAE, optimizer: optim.Optimizer, X: NDArray[Any], noises: list[NDArray[Any]]) -> list[float]:
    """Pass over X once for each noise, in order; return the mean loss of each pass."""
    losses = []
    for eps in noises:
        total = 0.0
        for start in range(0, len(X), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            optimizer.zero_grad()
            loss = twin(twin.tensor(X[rows]), twin.tensor(eps[rows]))["loss"]
            loss.backward()
            optimizer.step()
            total += loss.item() * len(X[rows])
        losses.append(total / len(X))
    return losses


def largest_error(ours: NDArray[Any], reference: NDArray[Any]) -> float:
    """Largest difference of two arrays over the largest element of the reference."""
    return float(np.max(np.abs(ours - reference)) / np.max(np.abs(reference)))


def after_200_steps(name: str, likelihood: str) -> tuple[VAE, Weights, TorchVAE, list[float]]:
    """Train a model and its twin; return also the weights before and torch's losses."""
    ours, theirs, rate = RUNS[name]
    vae, twin = pair(FEATURES, likelihood=LIKELIHOODS[likelihood], optimizer=ours, learning_rate=rate, **MODEL)
    before = vae.state_dict()
    X = examples(LIKELIHOODS[likelihood], ROWS, FEATURES)
    noises = [noise(ROWS, 3, seed) for seed in range(PASSES)]
    for eps in noises:
        vae.partial_fit(X, eps=eps)
    losses = train_torch(twin, theirs(twin.parameters(), lr=rate), X, noises)
    return vae, before, twin, losses


@pytest.mark.parametrize(
    ("name", "likelihood"),
    [(name, "gaussian per_feature") for name in RUNS]
    + [(name, likelihood) for name in OPTIMIZER_NAMES for likelihood in ("bernoulli", "gaussian shared")],
)
def test_200_steps_end_where_those_of_torch_end(name: str, likelihood: str) -> None:
    vae, before, twin, losses = after_200_steps(name, likelihood)
    after, reference = vae.state_dict(), twin.weights()
    errors = {key: largest_error(after[key], reference[key]) for key in reference}
    assert not {key: error for key, error in errors.items() if not error <= TOLERANCE}
    moved = {key: largest_error(before[key], reference[key]) for key in reference}
    assert min(moved.values()) > 100 * TOLERANCE, "the run must be long enough to tell"
    assert vae.loss_curve_ == pytest.approx(losses, rel=TOLERANCE)
    assert vae.n_iter_ == PASSES


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_a_name_stands_for_the_defaults_of_torch(optimizer: str) -> None:
    objects = {"adam": Adam(), "adamw": AdamW(), "sgd": SGD(), "adagrad": Adagrad()}
    defaults = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD, "adagrad": optim.Adagrad}
    torch_defaults = defaults[optimizer]([torch.zeros(1, requires_grad=True)]).defaults
    options = dict(vars(objects[optimizer]))
    if "beta1" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    assert options == {name: torch_defaults[name] for name in options}
    X, eps = examples("bernoulli", ROWS, FEATURES), noise(ROWS, 3)
    named, _ = pair(FEATURES, optimizer=optimizer, **MODEL)
    made, _ = pair(FEATURES, optimizer=objects[optimizer], **MODEL)
    assert bits(named.partial_fit(X, eps=eps)) == bits(made.partial_fit(X, eps=eps))


# ------------------------------------------------------------------------------ the two halves of a step


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "gaussian per_feature"])
@pytest.mark.parametrize("hidden", [(), (33,), (40, 17)], ids=str)
@pytest.mark.parametrize("name", RUNS)
def test_gradients_and_their_application_are_the_bits_of_a_fused_step(
    name: str, hidden: tuple[int, ...], likelihood: str
) -> None:
    ours, _, _ = RUNS[name]
    rows, latent_dim = 29, 5
    params: dict[str, Any] = {
        "latent_dim": latent_dim,
        "hidden": hidden,
        "likelihood": LIKELIHOODS[likelihood],
        "optimizer": ours,
        "learning_rate": 1e-4,
        "batch_size": rows,
        "beta": 0.5,
    }
    fused, _ = pair(37, **params)
    halves, _ = pair(37, **params)
    for step in range(3):
        X, eps = examples(params["likelihood"], rows, 37, seed=step), noise(rows, latent_dim, seed=step)
        before = bits(fused)
        fused.partial_fit(X, eps=eps)
        halves.apply_gradients(halves.loss_and_gradients(X, eps)[1])
        assert bits(fused) == bits(halves), step
        assert all(before[key] != after for key, after in bits(fused).items()), "every parameter must move"
    # The optimisers' states are the same too, and the transposed weights that the backward pass reads.
    X, eps = examples(params["likelihood"], rows, 37, seed=3), noise(rows, latent_dim, seed=3)
    assert bits(fused.partial_fit(X, eps=eps)) == bits(halves.partial_fit(X, eps=eps))


def test_loss_and_gradients_changes_nothing() -> None:
    X, eps = examples("bernoulli", 29, 37), noise(29, 5)
    asked, _ = pair(37, latent_dim=5, hidden=(33,))
    silent, _ = pair(37, latent_dim=5, hidden=(33,))
    before = bits(asked)
    asked.loss_and_gradients(X, eps)
    assert bits(asked) == before
    assert bits(asked.partial_fit(X, eps=eps)) == bits(silent.partial_fit(X, eps=eps))


@pytest.mark.parametrize("floor", [0.001, 0.25, 3.0])
@pytest.mark.parametrize("scale", ["shared", "per_feature"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_learned_scale_stops_at_its_floor(scale: Any, fused: bool, floor: float) -> None:
    # Constant data that the decoder's bias gives exactly: the likelihood wants a scale of zero.
    likelihood = Gaussian(scale, floor=floor)
    shapes = {name: p.shape for name, p in TorchVAE(37, 2, hidden=(), likelihood=likelihood).named_parameters()}
    weights = {name: np.zeros(shape) for name, shape in shapes.items()}
    weights["likelihood.log_scale"] += max(0.0, np.log(floor))
    vae = VAE(2, hidden=(), likelihood=likelihood, optimizer="sgd", learning_rate=0.1).load_state_dict(weights)
    X, eps = np.zeros((29, 37), np.float32), noise(29, 2)
    for _ in range(100):
        if fused:
            vae.partial_fit(X, eps=eps)
        else:
            vae.apply_gradients(vae.loss_and_gradients(X, eps)[1])
    np.testing.assert_allclose(vae.state_dict()["likelihood.log_scale"], np.log(floor), rtol=1e-6)


@pytest.mark.parametrize("scale", ["shared", "per_feature"])
@pytest.mark.parametrize("floor", [1e-6, 1e-3, 0.1, 0.7, 1.0, 3.0, 9e5])
def test_a_state_dict_with_a_scale_below_the_floor_is_refused(scale: Any, floor: float) -> None:
    likelihood = Gaussian(scale, floor=floor)
    model = VAE(2, hidden=(3,), likelihood=likelihood, epochs=1, random_state=0).fit(np.zeros((5, 4), np.float32))
    before = model.state_dict()
    shape = before["likelihood.log_scale"].shape
    # The floor itself, however its logarithm was rounded, and what is kept of it.
    for log in (np.log(floor), np.log(np.float32(floor)), np.nextafter(np.float32(np.log(floor)), np.float32(-99))):
        state = before | {"likelihood.log_scale": np.full(shape, log, np.float32)}
        for target in (model, VAE(**model.get_params())):
            target.load_state_dict(state)
            assert target.state_dict()["likelihood.log_scale"].tobytes() == state["likelihood.log_scale"].tobytes()
    model.load_state_dict(before)
    low = np.full(shape, np.log(floor) + 1, np.float32)
    low.reshape(-1)[-1] = np.log(0.99 * floor)
    for target in (model, VAE(**model.get_params())):
        with pytest.raises(ValueError, match=r"likelihood.log_scale holds .* below the floor of .*raise it"):
            target.load_state_dict(before | {"likelihood.log_scale": low})
    for name, array in model.state_dict().items():  # nothing has changed
        np.testing.assert_array_equal(array, before[name])
