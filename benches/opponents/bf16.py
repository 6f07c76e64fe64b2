"""PyTorch and JAX in bfloat16: weights, moments and losses in float32, products in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import fastvae
import opponents
from opponents.conv_networks import Network

Calls = dict[str, Callable[[], object]]


def torch_steps(threads: int, shape: tuple[int, int, int], x: np.ndarray, batch: int) -> Calls:
    """Training steps of a dense VAE: autocast, and on two threads autocast compiled, which takes a minute."""
    torch_vae = opponents.module("torch")
    if not torch_vae:
        return {}
    batches = torch_vae.torch.from_numpy(x).split(batch)
    models = {"torch bf16": partial(torch_vae.TorchVAE, *shape)}
    if threads == 2 and shape[0] >= 784:
        models["torch.compile bf16"] = partial(torch_vae.TorchVAE, *shape, compiled=True)
    return _torch(models, lambda model: batches)


def torch_conv_steps(threads: int, network: Network, x: np.ndarray) -> Calls:
    """Training steps of a convolutional VAE: autocast, with channels last, and on two threads that compiled."""
    torch_conv = opponents.module("torch", "torch_conv")
    if not torch_conv:
        return {}
    kind = partial(torch_conv.TorchConvVAE, network)
    models = {
        "torch bf16": kind,
        "channels_last bf16": partial(kind, channels_last=True),
    }
    if threads == 2:
        models["torch.compile bf16"] = partial(kind, channels_last=True, compiled=True)
    tensor = torch_conv.torch.from_numpy(x)
    return _torch(models, lambda model: model.images(tensor, network.image).split(network.batch))


def _torch(models: dict[str, Callable[[], Any]], batches_of: Callable[[Any], Sequence[Any]]) -> Calls:
    import torch

    calls: Calls = {}
    for name, kind in models.items():
        model = kind()
        objective = model.objective
        model.objective = partial(_with_autocast, objective)
        batches = batches_of(model)
        try:
            model.step(batches[0])
        except Exception as error:  # no C++ compiler, or an unsupported Python: torch raises various types
            if not name.startswith("torch.compile"):
                raise
            opponents.MISSING.add(f"{name} ({type(error).__name__})")
            torch._dynamo.reset()
        else:
            calls[name] = partial(_steps, model, batches)
    return calls


def _with_autocast(objective: Callable[[Any], Any], x: Any) -> Any:
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        return objective(x)


def _steps(model: Any, batches: Sequence[Any]) -> None:
    for batch in batches:
        model.step(batch)


def torch_encode(x: np.ndarray, size: int) -> Calls:
    """Posterior means of a dense VAE in batches: autocast, and weights stored in bfloat16."""
    torch_vae = opponents.module("torch")
    if not torch_vae:
        return {}
    torch = torch_vae.torch
    model, short = torch_vae.TorchVAE(), torch_vae.TorchVAE().bfloat16()
    batches = torch.from_numpy(x).split(size)

    def encode() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for batch in batches:
                model.encode(batch).float()

    def encode_stored() -> None:
        for batch in batches:
            short.encode(batch.bfloat16()).float()

    return {"torch bf16": encode, "torch, bf16 weights": encode_stored}


def torch_one_example(x: np.ndarray, calls: int) -> Calls:
    """Encode and decode one example, with weights in bfloat16."""
    torch_vae = opponents.module("torch")
    if not torch_vae:
        return {}
    short, tensor = torch_vae.TorchVAE().bfloat16(), torch_vae.torch.from_numpy(x)

    def reconstruct() -> None:
        for _ in range(calls):
            short.decode(short.encode(tensor.bfloat16())).float()

    return {"torch, bf16 weights": reconstruct}


def jax_steps(threads: int, shape: tuple[int, int, int], x: np.ndarray, batch: int) -> Calls:
    """Training steps of a dense VAE, jitted; JAX uses all cores."""
    jax_vae = opponents.module("jax")
    if not jax_vae or not threads == fastvae.show_config()["threads"] == 2:
        return {}
    model, batches = jax_vae.JaxVAE(*shape, bf16=True), jax_vae.JaxVAE.batches(x, batch)
    return {"jax bf16": lambda: model.steps(batches)}


def jax_conv_steps(threads: int, network: Network, x: np.ndarray) -> Calls:
    """Training steps of a convolutional VAE, jitted; JAX uses all cores."""
    jax_conv = opponents.module("jax", "jax_conv")
    if not jax_conv or not threads == fastvae.show_config()["threads"] == 2:
        return {}
    model = jax_conv.JaxConvVAE(network, bf16=True)
    return {"jax bf16": partial(model.steps, model.batches(x))}
