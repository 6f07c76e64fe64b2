"""Inference through the public methods."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import opponents
import pytest
from conftest import Contest

import fastvae

LAYER = 784 * 400


def _model(threads: int, x: np.ndarray) -> fastvae.VAE:
    return fastvae.VAE(20, random_state=0, n_jobs=threads).partial_fit(x[:1000])


@pytest.mark.parametrize("n", [1, 128, 10_000])
@pytest.mark.parametrize("what", ["transform", "inverse_transform"])
def bench_transform(contest: Contest, what: str, n: int) -> None:
    """784-400-20, n examples a call."""
    calls = max(1, 1000 // n)
    rng, others = np.random.default_rng(0), {}
    x = rng.random((n, 784), dtype=np.float32)
    inputs = x if what == "transform" else rng.standard_normal((n, 20), dtype=np.float32)
    method = getattr(_model(contest.threads, x), what)
    if torch_vae := opponents.module("torch"):
        theirs, tensor = torch_vae.TorchVAE(), torch_vae.torch.from_numpy(inputs)
        torch_method = theirs.encode if what == "transform" else theirs.decode
        others["torch"] = lambda: [torch_method(tensor) for _ in range(calls)]
    contest.run(
        f"{what}, n = {n}",
        lambda: [method(inputs) for _ in range(calls)],
        others,
        per_call=calls,
        flops=2.0 * n * (LAYER + 400 * (40 if what == "transform" else 20)),
    )


def bench_one_example(contest: Contest) -> None:
    """Encode and decode one example, compared with onnxruntime on the same weights."""
    calls, x = 1000, np.random.default_rng(0).random((1, 784), dtype=np.float32)
    model, others = _model(contest.threads, x), {}
    if onnx_model := opponents.module("onnxruntime"):
        session = onnx_model.OnnxReconstruction(model.state_dict(), contest.threads)
        np.testing.assert_allclose(session.reconstruct(x), model.reconstruct(x), rtol=0, atol=1e-5)
        others["onnxruntime"] = lambda: [session.reconstruct(x) for _ in range(calls)]
    contest.run(
        "encode and decode of one example",
        lambda: [model.reconstruct(x) for _ in range(calls)],
        others,
        per_call=calls,
        flops=2.0 * (2 * LAYER + 400 * 60),
    )


@pytest.mark.parametrize("what", ["transform", "score_samples"])
def bench_many(contest: Contest, what: str) -> None:
    """60,000 dense images in one call."""
    x = np.random.default_rng(0).random((60_000, 784), dtype=np.float32)
    method, others = getattr(_model(contest.threads, x), what), {}
    if torch_vae := opponents.module("torch"):
        theirs, tensor = torch_vae.TorchVAE(), torch_vae.torch.from_numpy(x)
        torch_method = theirs.encode if what == "transform" else theirs.score
        # In batches, since PyTorch's memory grows with n.
        others["torch"] = lambda: [torch_method(batch) for batch in tensor.split(1000)]
    forward = LAYER + 400 * 40 + (20 * 400 + LAYER if what == "score_samples" else 0)
    contest.run(f"{what}, n = 60,000", lambda: method(x), others, rounds=7, flops=2.0 * 60_000 * forward)


def bench_log_marginal(contest: Contest) -> None:
    """log p(x) of 50 binary images by 5,000 importance samples each."""
    x = (np.random.default_rng(0).random((50, 784)) < 0.2).astype(np.float32)
    model, others = _model(contest.threads, x), {}
    if torch_vae := opponents.module("torch"):
        theirs, tensor = torch_vae.TorchVAE(), torch_vae.torch.from_numpy(x)
        others["torch"] = lambda: theirs.log_marginal(tensor, 5000)
    contest.run(
        "log_marginal of one example, 5,000 samples",
        lambda: model.log_marginal(x, 5000),
        others,
        per_call=50,
        rounds=5,
        flops=2.0 * 5000 * (20 * 400 + LAYER),
    )


MEMORY = """
import re, sys, numpy as np, fastvae
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
x = np.full((int(sys.argv[1]), 784), 7, dtype=np.uint8)
vae = fastvae.VAE(20, random_state=0, n_jobs=2).partial_fit(x[:1000])
vae.transform(x[:2000]), vae.score_samples(x[:2000])
before = peak()
vae.transform(x), vae.score_samples(x)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def bench_memory(benchmark: Any, fact: Callable[..., None]) -> None:
    """Peak memory of transform and score_samples of 60,000 images beyond that of 2,000, without the results."""

    def grown() -> float:
        command = [sys.executable, "-c", MEMORY, "60000"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout)

    megabytes = benchmark.pedantic(grown, rounds=1)
    results = 60_000 * (20 + 3) * 4 / 2**20
    fact("memory of 60,000 images beyond the results", megabytes - results, "MB", "about 0")
