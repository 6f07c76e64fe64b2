"""Inference with weights in bytes, beside float32 and onnxruntime's dynamic quantisation of the same model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import opponents
import pytest
from conftest import Contest

import fastvae

LAYER = 784 * 400


def _model(threads: int, x: np.ndarray) -> fastvae.VAE:
    return fastvae.VAE(20, random_state=0, n_jobs=threads).partial_fit(x[:1000])


def _others(model: fastvae.VAE, part: str, x: np.ndarray, calls: int, threads: int) -> dict[str, Callable[[], object]]:
    """Our float32 model, and onnxruntime in int8 and float32, in batches of 1,000."""
    method = model.transform if part == "encoder" else model.reconstruct
    others: dict[str, Callable[[], object]] = {"fastvae float32": lambda: [method(x) for _ in range(calls)]}
    if onnx_model := opponents.module("onnxruntime"):
        batches = np.array_split(x, max(1, len(x) // 1000))
        for name, quantized in [("onnxruntime int8", True), ("onnxruntime", False)]:
            run = onnx_model.exported(model, part, threads, quantized=quantized)
            others[name] = lambda run=run: [run(batch) for _ in range(calls) for batch in batches]
    return others


@pytest.mark.parametrize("kind", ["dense", "digits"])
def bench_int8_transform(contest: Contest, kind: str) -> None:
    """60,000 images in one call: random pixels, and pixels of which most are zero, half of them in all images."""
    x = np.random.default_rng(0).random((60_000, 784), dtype=np.float32)
    if kind == "digits":  # strokes, runs of pixels, within a frame
        rng = np.random.default_rng(1)
        ink = rng.random((60_000, 98)) < 0.4 * (rng.random(98) < 0.5)
        x *= np.repeat(ink, 8, axis=1)
    model = _model(contest.threads, x)
    quantized = model.quantize("int8")
    contest.run(
        f"int8 transform, n = 60,000, {kind}",
        lambda: quantized.transform(x),
        _others(model, "encoder", x, 1, contest.threads),
        rounds=7,
        flops=2.0 * 60_000 * (LAYER + 400 * 40),
    )


def bench_int8_one_example(contest: Contest) -> None:
    """Encode and decode one example."""
    calls, x = 1000, np.random.default_rng(0).random((1, 784), dtype=np.float32)
    model = _model(contest.threads, x)
    quantized = model.quantize("int8")
    contest.run(
        "int8 encode and decode of one example",
        lambda: [quantized.reconstruct(x) for _ in range(calls)],
        _others(model, "reconstruct", x, calls, contest.threads),
        per_call=calls,
        flops=2.0 * (2 * LAYER + 400 * 60),
    )


@pytest.mark.parametrize("hidden", [64, 128, 256, 1024])
def bench_int8_widths(contest: Contest, hidden: int) -> None:
    """``transform`` of 10,000 rows of 128 columns: from which width it pays."""
    x = np.random.default_rng(0).random((10_000, 128), dtype=np.float32)
    model = fastvae.VAE(8, hidden=(hidden, hidden), random_state=0, n_jobs=contest.threads).partial_fit(x[:1000])
    quantized = model.quantize("int8")
    contest.run(
        f"int8 transform, 128-{hidden}-{hidden}-8, n = 10,000",
        lambda: quantized.transform(x),
        _others(model, "encoder", x, 1, contest.threads),
        flops=2.0 * 10_000 * (128 * hidden + hidden * hidden + 16 * hidden),
    )
