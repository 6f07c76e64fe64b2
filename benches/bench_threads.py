"""Threads: the choice of ``n_jobs=None``, and training while another process occupies a core."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
from opponents import step_flops

import fastvae

SHAPES = [
    (64, 32, 8, 32),
    (64, 64, 8, 64),
    (30, 128, 16, 64),
    (30, 128, 16, 256),
    (128, 128, 8, 128),
    (256, 128, 16, 32),
    (784, 400, 20, 1),
    (784, 400, 20, 32),
    (784, 400, 20, 128),
]


@pytest.mark.parametrize(("n_features", "hidden", "latent_dim", "batch"), SHAPES)
def bench_choice(
    benchmark: Any, fact: Callable[..., None], n_features: int, hidden: int, latent_dim: int, batch: int
) -> None:
    """Steps with ``n_jobs=None`` compared with the better of 1 and 2."""
    steps = max(10, min(300, int(3e9 / step_flops(batch, n_features, hidden, latent_dim))))
    x = np.random.default_rng(0).random((steps * batch, n_features), dtype=np.float32)
    models = {
        n_jobs: fastvae.VAE(latent_dim, hidden=(hidden,), batch_size=batch, random_state=0, n_jobs=n_jobs)
        for n_jobs in (1, 2, None)
    }
    times: dict[int, list[float]] = {1: [], 2: []}

    def fixed() -> None:
        for n_jobs, found in times.items():
            start = time.perf_counter()
            models[n_jobs].partial_fit(x)
            found.append(time.perf_counter() - start)

    benchmark.pedantic(lambda: models[None].partial_fit(x), setup=fixed, rounds=15, warmup_rounds=2)
    best = min(median(found[2:]) for found in times.values())
    name = f"{n_features}-{hidden}-{latent_dim}, batch {batch}"
    fact(f"n_jobs=None against the best of 1 and 2, {name}", benchmark.stats.stats.median / best, "times", "<= 1.05")


def bench_core_taken(benchmark: Any, fact: Callable[..., None]) -> None:
    """100 steps on two threads while another process occupies a core, compared with both cores free."""
    x = np.random.default_rng(0).random((12_800, 784), dtype=np.float32)
    vae, free = fastvae.VAE(20, random_state=0, n_jobs=2), []
    for _ in range(7):
        start = time.perf_counter()
        vae.partial_fit(x)
        free.append(time.perf_counter() - start)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        benchmark.pedantic(lambda: vae.partial_fit(x), rounds=9)
    finally:
        busy.kill()
        busy.wait()
    ratio = benchmark.stats.stats.median / median(free[2:])
    fact("an epoch with one core taken, 2 threads", ratio, "times as long", "<= 2.2")
