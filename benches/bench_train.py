"""Training: a step, and an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Duel
from opponent import TorchVAE, step_flops

import fastvae

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"


# n_features, hidden, latent_dim, batch: the model of the README, then a small, a tabular and a wide one.
STEPS = [(784, 400, 20, batch) for batch in (1, 32, 128, 512, 2048)]
STEPS += [(64, 32, 8, 32), (30, 128, 16, 256), (4096, 1024, 64, 128)]


@pytest.mark.parametrize(("n_features", "hidden", "latent_dim", "batch"), STEPS)
def bench_step(duel: Duel, n_features: int, hidden: int, latent_dim: int, batch: int) -> None:
    """Dense data: gather, noise, forward, backward and Adam. Steps come in runs, as in training."""
    flops = step_flops(batch, n_features, hidden, latent_dim)
    steps = max(4, min(100, int(2e10 / flops)))
    x = np.random.default_rng(0).random((steps * batch, n_features), dtype=np.float32)
    ours = fastvae.VAE(latent_dim, hidden=(hidden,), batch_size=batch, random_state=0, n_jobs=duel.threads)
    theirs, batches = TorchVAE(n_features, hidden, latent_dim), torch.from_numpy(x).split(batch)
    duel.run(
        f"step, {n_features}-{hidden}-{latent_dim}, batch {batch}",
        lambda: ours.partial_fit(x),
        lambda: [theirs.step(b) for b in batches],
        per_call=steps,
        flops=flops,
    )


def bench_epoch(duel: Duel) -> None:
    """60,000 uint8 images, shuffled, batch 128: MNIST where it is at hand, else random pixels."""
    if MNIST.exists():
        name, x = "epoch, MNIST, batch 128", np.load(MNIST)["x_train"].reshape(-1, 784)
    else:
        name = "epoch, random uint8 (MNIST is missing), batch 128"
        x = np.random.default_rng(0).integers(0, 256, (60_000, 784), dtype=np.uint8)
    ours = fastvae.VAE(20, epochs=1, random_state=0, n_jobs=duel.threads)
    theirs, tensor = TorchVAE(), torch.from_numpy(x)

    def torch_epoch() -> None:
        torch.set_flush_denormal(True)  # its better side: dead pixels make Adam's moments denormal
        theirs.epoch(tensor, 128)
        torch.set_flush_denormal(False)

    duel.run(name, lambda: ours.fit(x), torch_epoch, rounds=3)
