"""A training step on the importance-weighted bound: the encoder runs once, the decoder once for each draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import opponents
import pytest
from conftest import Contest
from opponents import step_flops

import fastvae

SHAPE = (784, 400, 20)


# The batch sizes of bench_step.py and of Burda et al. (arXiv:1509.00519).
@pytest.mark.parametrize(("samples", "batch"), [(5, 128), (5, 20), (50, 128), (50, 20)])
def bench_importance(contest: Contest, samples: int, batch: int) -> None:
    """Consecutive steps, as in training, on binary data."""
    n_features, hidden, latent_dim = SHAPE
    flops = step_flops(batch, *SHAPE, samples)
    steps = max(2, min(50, int(1e10 / flops)))
    x = (np.random.default_rng(0).random((steps * batch, n_features)) < 0.3).astype(np.float32)
    options: dict[str, Any] = {"hidden": (hidden,), "batch_size": batch, "random_state": 0, "n_jobs": contest.threads}
    ours = fastvae.VAE(latent_dim, n_importance_samples=samples, **options)
    contest.run(
        f"step of {samples} importance samples, {n_features}-{hidden}-{latent_dim}, batch {batch}",
        lambda: ours.partial_fit(x),
        opponents.torch_steps(SHAPE, x, batch, samples=samples, compiled=contest.threads == 2),
        per_call=steps,
        rounds=10,
        flops=flops,
    )
