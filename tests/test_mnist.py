"""The main job on real images, beside torch: 784-400-20, two epochs, batches of 128, Adam at 1e-3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import TorchVAE, noise

from fastvae import VAE

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"
pytestmark = pytest.mark.skipif(
    not MNIST.exists(), reason="needs MNIST at ../shared/data/mnist.npz beside the repository"
)

EPOCHS, BATCH_SIZE, LATENT_DIM, FEATURES = 2, 128, 20, 784
# Torch after two epochs, nats; the standard deviation from seed to seed is 0.3, ours and torch's.
TORCH_TEST_LOSS = 115.7
PARAMS: dict[str, Any] = {
    "latent_dim": LATENT_DIM,
    "hidden": (400,),
    "batch_size": BATCH_SIZE,
    "epochs": EPOCHS,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """60,000 images to train on and 10,000 to test on, a row each."""
    with np.load(MNIST) as arrays:
        return arrays["x_train"].reshape(-1, FEATURES), arrays["x_test"].reshape(-1, FEATURES)


@pytest.fixture
def two_torch_threads() -> Iterator[None]:
    """Let torch have both cores for a model of real size."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def initial_weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights as torch initialises them: U(-1, 1) / sqrt(fan_in), biases too."""
    rng, weights, fan_in = np.random.default_rng(seed), {}, 1
    for name, parameter in TorchVAE(FEATURES, LATENT_DIM).named_parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else fan_in  # a bias follows its weight
        bound = fan_in**-0.5
        weights[name] = rng.uniform(-bound, bound, tuple(parameter.shape)).astype(np.float32)
    return weights


def train_torch(
    twin: TorchVAE, optimizer: torch.optim.Optimizer, X: NDArray[np.uint8], eps: NDArray[np.float32]
) -> None:
    """One pass in the given order."""
    x, e = twin.tensor(X) / 255, twin.tensor(eps)
    for batch, batch_eps in zip(x.split(BATCH_SIZE), e.split(BATCH_SIZE), strict=True):
        optimizer.zero_grad()
        twin(batch, batch_eps)["loss"].backward()
        optimizer.step()


@pytest.mark.usefixtures("two_torch_threads")
def test_from_the_same_weights_order_and_noise_the_test_elbo_is_that_of_torch(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    X, X_test = images[0][:20_000], images[1]
    vae = VAE(random_state=0, **PARAMS).load_state_dict(initial_weights())
    twin = TorchVAE(FEATURES, LATENT_DIM, dtype=torch.float32).load(vae.state_dict())
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    for epoch in range(EPOCHS):
        order = np.random.default_rng(epoch).permutation(len(X))
        eps = noise(len(X), LATENT_DIM, seed=epoch)
        vae.partial_fit(X[order], eps=eps)
        train_torch(twin, optimizer, X[order], eps)
    eps = noise(len(X_test), LATENT_DIM, seed=EPOCHS)
    ours = vae.evaluate(X_test, eps=eps)
    with torch.no_grad():
        theirs = {key: value.item() for key, value in twin(twin.tensor(X_test) / 255, twin.tensor(eps)).items()}
    assert ours["elbo"] == pytest.approx(theirs["elbo"], abs=0.2)
    assert ours["reconstruction"] == pytest.approx(theirs["reconstruction"], abs=0.2)
    assert ours["kl"] == pytest.approx(theirs["kl"], abs=0.2)
    assert 135 < ours["loss"] < 143, "two epochs must have taught the model something"


def test_from_its_own_seeds_the_test_loss_is_below_that_of_torch(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    X, X_test = images
    losses = [VAE(random_state=seed, **PARAMS).fit(X).evaluate(X_test)["loss"] for seed in range(2)]
    # Training starts at the level of the data; 0.6 nats are two standard deviations of one seed.
    assert max(losses) < TORCH_TEST_LOSS - 0.6
