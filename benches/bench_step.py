"""A training step: gather, noise, forward, backward and Adam, on dense data."""

from __future__ import annotations

from typing import Any

import numpy as np
import opponents
import pytest
from conftest import Contest
from opponents import step_flops

import fastvae

# n_features, hidden, latent_dim, batch: the README's model and a small, a tabular and a wide model.
README = (784, 400, 20)
SHAPES = [(*README, batch) for batch in (1, 32, 128, 512, 2048)]
SHAPES += [(64, 32, 8, 32), (30, 128, 16, 256), (4096, 1024, 64, 128)]


@pytest.mark.parametrize(("n_features", "hidden", "latent_dim", "batch"), SHAPES)
def bench_step(contest: Contest, n_features: int, hidden: int, latent_dim: int, batch: int) -> None:
    """Consecutive steps, as in training. On two threads the README's model is compared with all libraries."""
    shape = (n_features, hidden, latent_dim)
    flops = step_flops(batch, *shape)
    steps = max(4, min(100, int(2e10 / flops)))
    x = np.random.default_rng(0).random((steps * batch, n_features), dtype=np.float32)
    ours = fastvae.VAE(latent_dim, hidden=(hidden,), batch_size=batch, random_state=0, n_jobs=contest.threads)
    others = opponents.torch_steps(shape, x, batch, compiled=shape == README and contest.threads == 2)
    if shape == README and contest.threads == 2:
        others |= _jax(shape, x, batch)
    contest.run(
        f"step, {n_features}-{hidden}-{latent_dim}, batch {batch}",
        lambda: ours.partial_fit(x),
        others,
        per_call=steps,
        flops=flops,
    )


def _jax(shape: tuple[int, int, int], x: np.ndarray, batch: int) -> dict[str, Any]:
    jax_vae = opponents.module("jax")
    if not jax_vae or fastvae.show_config()["threads"] != 2:
        return {}  # JAX uses all cores
    model, batches = jax_vae.JaxVAE(*shape), jax_vae.JaxVAE.batches(x, batch)
    return {"jax": lambda: model.steps(batches)}
