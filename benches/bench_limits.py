"""Products compared with the machine's peak; steps with denormals; the size of a wheel."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae import _core


@pytest.mark.parametrize("rows", [128, 512])
def bench_product(benchmark: Any, fact: Callable[..., None], rows: int) -> None:
    """The product of the first layer, alone and with the epilogue that adds the bias, activates and stores."""
    shape, plain, peaks = [rows, 784, 400], [], []

    def setup() -> None:
        peaks.append(_core.peak(1))
        plain.append(_core.product_rate(shape, False))

    fused: list[float] = []
    benchmark.pedantic(lambda: fused.append(_core.product_rate(shape, True)), setup=setup, rounds=50)
    peak = median(peaks)
    fact(f"product [{rows}, 784] x [784, 400], of the peak", 100 * median(plain) / peak, "%", ">= 95 Zen, 85 Xeon")
    fact("the same with bias, ReLU and store, of that", 100 * median(fused) / median(plain), "%", "about 100")


def bench_denormals(benchmark: Any, fact: Callable[..., None]) -> None:
    """Ten thousand steps of Adam with constant inputs of zero: the last 500 compared with the first 500."""
    x = np.random.default_rng(0).random((500 * 8, 128), dtype=np.float32)
    x[:, ::2] = 0.0
    vae = fastvae.VAE(8, hidden=(64,), batch_size=8, random_state=0, n_jobs=1).partial_fit(x[:8])

    def steps() -> float:
        start = time.perf_counter()
        vae.partial_fit(x)
        return time.perf_counter() - start

    times = [steps() for _ in range(19)]
    times.append(benchmark.pedantic(steps, rounds=1))
    fact("steps 9,500 to 10,000 with dead inputs, against the first 500", times[-1] / times[0], "times", "<= 1.1")


def bench_wheel(benchmark: Any, fact: Callable[..., None]) -> None:
    """The size of a wheel."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, str(root)]
        benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=1)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.whl")) / 1e6
    fact("wheel", size, "MB", "< 3")
