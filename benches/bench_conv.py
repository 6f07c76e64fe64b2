"""Convolutional VAEs: the training step and its memory, `transform`, and one image."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import opponents
import pytest
from conftest import Contest
from opponents.conv_networks import MORE, NETWORKS, Network

import fastvae


def _model(network: Network, threads: int) -> fastvae.VAE:
    return fastvae.VAE(
        network.latent_dim,
        image_shape=network.image,
        hidden=network.hidden,
        batch_size=network.batch,
        random_state=0,
        n_jobs=threads,
    )


def _images(network: Network, n: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, network.n_features), dtype=np.float32)


@pytest.mark.parametrize("network", [*NETWORKS, *MORE], ids=lambda network: network.name)
def bench_conv_step(contest: Contest, network: Network) -> None:
    """Consecutive steps with Adam."""
    steps = max(2, min(10, int(2e10 / network.step_flops())))
    x, ours = _images(network, steps * network.batch), _model(network, contest.threads)
    others = _torch_steps(network, x)
    jax_conv = opponents.module("jax", "jax_conv")
    if jax_conv and contest.threads == fastvae.show_config()["threads"] == 2:  # JAX uses all cores
        others |= jax_conv.jax_conv_steps(network, x)
    contest.run(
        f"step, {network.name}, batch {network.batch}",
        lambda: ours.partial_fit(x),
        others,
        per_call=steps,
        rounds=10,
        flops=network.step_flops(),
    )


def _torch_steps(network: Network, x: np.ndarray) -> dict[str, Callable[[], object]]:
    torch_conv = opponents.module("torch", "torch_conv")
    if not torch_conv:
        return {}
    others: dict[str, Callable[[], object]] = {}
    variants = {"torch": {}, "channels_last": {"channels_last": True}, "torch.compile": {"compiled": True}}
    for name, options in variants.items():
        model = torch_conv.TorchConvVAE(network, **options)
        batches = model.images(torch_conv.torch.from_numpy(x), network.image).split(network.batch)
        try:
            model.step(batches[0])
        except Exception as error:  # torch.compile without a C++ compiler raises various types
            if name != "torch.compile":
                raise
            opponents.MISSING.add(f"torch.compile ({type(error).__name__})")
        else:
            others[name] = lambda model=model, batches=batches: [model.step(batch) for batch in batches]
    return others


@pytest.mark.parametrize("network", [NETWORKS[0], NETWORKS[2]], ids=lambda network: network.name)
def bench_conv_transform(contest: Contest, network: Network) -> None:
    """10,000 images in one call."""
    n = 10_000
    x, others = _images(network, n), {}
    model = _model(network, contest.threads).partial_fit(x[: network.batch])
    if torch_conv := opponents.module("torch", "torch_conv"):
        for name, last in (("torch", False), ("channels_last", True)):
            theirs = torch_conv.TorchConvVAE(network, channels_last=last).eval()
            # In batches, since PyTorch's memory grows with n.
            batches = theirs.images(torch_conv.torch.from_numpy(x), network.image).split(500)
            others[name] = lambda theirs=theirs, batches=batches: [theirs.encode(batch) for batch in batches]
    contest.run(
        f"transform, {network.name}, n = 10,000",
        lambda: model.transform(x),
        others,
        rounds=5,
        flops=network.encode_flops(n),
    )


def bench_conv_one_image(contest: Contest) -> None:
    """Encode and decode one image, compared with onnxruntime on the same weights."""
    network, calls = NETWORKS[0], 300
    x, others = _images(network, 1), {}
    model = _model(network, contest.threads).partial_fit(np.repeat(x, 2, 0))
    if onnx_model := opponents.module("onnxruntime"):
        session = onnx_model.OnnxConvReconstruction(network, model.state_dict(), contest.threads)
        images = x.reshape(-1, 1, *network.image[:2])  # one channel
        expected = model.reconstruct(x).reshape(images.shape)
        np.testing.assert_allclose(session.reconstruct(images), expected, rtol=0, atol=1e-5)
        others["onnxruntime"] = lambda: [session.reconstruct(images) for _ in range(calls)]
    *layers, head = network.multiply_adds()
    contest.run(
        f"encode and decode of one image, {network.name}",
        lambda: [model.reconstruct(x) for _ in range(calls)],
        others,
        per_call=calls,
        flops=2.0 * (2 * sum(layers) + 2 * head),
    )


# The peak of a process that has trained for some steps, beyond its peak with libraries and batch loaded, and without
# weights and Adam's moments.
MEMORY = """
import re, sys, numpy as np, fastvae
sys.path.insert(0, sys.argv[1])
from opponents.conv_networks import NETWORKS
network, library = NETWORKS[int(sys.argv[2])], sys.argv[3]
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
x = np.random.default_rng(0).random((network.batch, network.n_features), dtype=np.float32)
if library == "fastvae":
    options = dict(image_shape=network.image, hidden=network.hidden, batch_size=network.batch)
    fastvae.VAE(2, hidden=8, random_state=0, n_jobs=2).partial_fit(x[:2])
    vae = fastvae.VAE(network.latent_dim, **options, random_state=0, n_jobs=2)
    step = lambda: vae.partial_fit(x)
else:
    from opponents.torch_conv import TorchConvVAE, torch
    from opponents.torch_vae import TorchVAE
    torch.set_num_threads(2)
    TorchVAE(4, 4, 2).step(torch.zeros(2, 4))
    tensor = torch.from_numpy(x).reshape(-1, *network.image).permute(0, 3, 1, 2).contiguous()
    step = lambda: model.step(tensor)
before = peak()
if library != "fastvae":
    model = TorchConvVAE(network)
for _ in range(5):
    step()
if library == "fastvae":
    weights = sum(value.size for value in vae.state_dict().values())
else:
    weights = sum(value.numel() for value in model.parameters())
print(peak() - before - 12 * weights / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("index", range(len(NETWORKS)), ids=[network.name for network in NETWORKS])
def bench_conv_memory(benchmark: Any, fact: Callable[..., None], index: int) -> None:
    """Peak memory of a training step: activations, gradients and copies, without weights and moments."""

    def grown(library: str) -> float:
        folder = opponents.__path__[0].removesuffix("/opponents")
        command = [sys.executable, "-c", MEMORY, folder, str(index), library]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    name, ours = NETWORKS[index].name, benchmark.pedantic(grown, ("fastvae",), rounds=1)
    fact(f"memory of a step, {name}", ours, "MB", "")
    if opponents.module("torch"):
        fact(f"memory of a step, {name}, of PyTorch's", ours / grown("torch"), "", "at most 0.5")
