"""An epoch of 60,000 uint8 images, shuffled, batch 128."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import opponents
import pytest
from conftest import Contest

import fastvae

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"


def _mnist() -> np.ndarray:
    if not MNIST.exists():
        pytest.skip(f"{MNIST} is missing")
    return np.load(MNIST)["x_train"].reshape(-1, 784)


def bench_epoch(contest: Contest) -> None:
    """MNIST. PyTorch flushes denormals, which is faster: constant pixels make Adam's moments denormal."""
    x, others = _mnist(), {}
    if torch_vae := opponents.module("torch"):
        torch = torch_vae.torch
        theirs, tensor = torch_vae.TorchVAE(), torch.from_numpy(x)

        def torch_epoch() -> None:
            torch.set_flush_denormal(True)
            theirs.epoch(tensor, 128)
            torch.set_flush_denormal(False)

        others["torch"] = torch_epoch
    ours = fastvae.VAE(20, epochs=1, random_state=0, n_jobs=contest.threads)
    contest.run("epoch, MNIST, batch 128", lambda: ours.fit(x), others, rounds=3)


@pytest.mark.parametrize("threads", [1, 2])
def bench_zeros(benchmark: Any, fact: Callable[..., None], threads: int) -> None:
    """MNIST, whose zeros the first layer skips, compared with an epoch on random pixels."""
    x = _mnist()
    dense = np.random.default_rng(0).integers(1, 256, x.shape, dtype=np.uint8)
    vae = fastvae.VAE(20, epochs=1, random_state=0, n_jobs=threads)
    sparse_times, dense_times = [], []
    benchmark.pedantic(
        lambda: sparse_times.append(vae.fit(x).elapsed_),
        setup=lambda: dense_times.append(vae.fit(dense).elapsed_),
        rounds=9,
        warmup_rounds=1,
    )
    ratio = median(dense_times[1:]) / median(sparse_times[1:])
    fact(f"MNIST epoch against dense uint8, {threads} thread(s)", ratio, "times as fast", ">= 1.15")
