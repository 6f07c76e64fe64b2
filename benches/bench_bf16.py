"""``precision="bf16"``: training steps and inference, beside our float32 and the bfloat16 of PyTorch and JAX."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Contest
from opponents import bf16, step_flops
from opponents.conv_networks import MORE, NETWORKS, Network

import fastvae

# n_features, hidden, latent_dim, batch.
SHAPES = [(784, 400, 20, batch) for batch in (128, 512, 2048)] + [(4096, 1024, 64, 128), (4096, 2048, 64, 512)]
SHAPES += [(64, 32, 8, 32), (196, 128, 16, 128)]  # small: what does not pay


def _bf16_and_float32(*args: object, **parameters: object) -> tuple[fastvae.VAE, fastvae.VAE]:
    return tuple(fastvae.VAE(*args, **parameters, precision=precision) for precision in ("bf16", "float32"))


@pytest.mark.parametrize(("n_features", "hidden", "latent_dim", "batch"), SHAPES)
def bench_bf16_step(contest: Contest, n_features: int, hidden: int, latent_dim: int, batch: int) -> None:
    """Consecutive steps with Adam."""
    shape = (n_features, hidden, latent_dim)
    flops = step_flops(batch, *shape)
    steps = max(2, min(100, int(2e10 / flops)))
    x = np.random.default_rng(0).random((steps * batch, n_features), dtype=np.float32)
    common = {"hidden": (hidden,), "batch_size": batch, "random_state": 0, "n_jobs": contest.threads}
    ours, float32 = _bf16_and_float32(latent_dim, **common)
    others = {"fastvae float32": lambda: float32.partial_fit(x)}
    others |= bf16.torch_steps(contest.threads, shape, x, batch) | bf16.jax_steps(contest.threads, shape, x, batch)
    name = f"bf16 step, {n_features}-{hidden}-{latent_dim}, batch {batch}"
    rounds = 20 if flops < 5e9 else 8
    contest.run(name, lambda: ours.partial_fit(x), others, per_call=steps, rounds=rounds)


@pytest.mark.parametrize("network", [*NETWORKS, *MORE], ids=lambda network: network.name)
def bench_bf16_conv_step(contest: Contest, network: Network) -> None:
    """Consecutive steps with Adam of convolutional VAEs."""
    steps = max(2, min(10, int(2e10 / network.step_flops())))
    x = np.random.default_rng(0).random((steps * network.batch, network.n_features), dtype=np.float32)
    common = {"image_shape": network.image, "hidden": network.hidden, "batch_size": network.batch}
    ours, float32 = _bf16_and_float32(network.latent_dim, **common, random_state=0, n_jobs=contest.threads)
    others = {"fastvae float32": lambda: float32.partial_fit(x)}
    others |= bf16.torch_conv_steps(contest.threads, network, x) | bf16.jax_conv_steps(contest.threads, network, x)
    name = f"bf16 step, {network.name}, batch {network.batch}"
    contest.run(name, lambda: ours.partial_fit(x), others, per_call=steps, rounds=8)


@pytest.mark.parametrize("kind", [np.float32, np.uint8], ids=lambda kind: kind.__name__)
def bench_bf16_transform(contest: Contest, kind: type) -> None:
    """60,000 images in one call, 784-400-20."""
    x = (255 * np.random.default_rng(0).random((60_000, 784), dtype=np.float32)).astype(np.uint8)
    read = x if kind is np.uint8 else x / np.float32(255)
    ours, float32 = (
        model.partial_fit(read[:1000]) for model in _bf16_and_float32(20, random_state=0, n_jobs=contest.threads)
    )
    others = {"fastvae float32": lambda: float32.transform(read)}
    others |= {} if kind is np.uint8 else bf16.torch_encode(read, 1000)
    contest.run(f"bf16 transform of 60,000 images, {kind.__name__}", lambda: ours.transform(read), others, rounds=7)


def bench_bf16_one_example(contest: Contest) -> None:
    """Encode and decode one example, 784-400-20."""
    calls, x = 1000, np.random.default_rng(0).random((1, 784), dtype=np.float32)
    ours, float32 = (
        model.partial_fit(np.repeat(x, 2, 0)) for model in _bf16_and_float32(20, random_state=0, n_jobs=contest.threads)
    )
    others = {"fastvae float32": lambda: [float32.reconstruct(x) for _ in range(calls)]}
    others |= bf16.torch_one_example(x, calls)
    contest.run(
        "bf16 encode and decode of one example",
        lambda: [ours.reconstruct(x) for _ in range(calls)],
        others,
        per_call=calls,
    )
