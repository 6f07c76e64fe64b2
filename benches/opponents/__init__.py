"""The same model in other libraries, written for speed.

Each library has a module, imported if the library is installed; the bench lists missing ones.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

# Keeps JAX from looking for accelerators.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

MISSING: set[str] = set()
_MODULES = {
    "torch": ("torch_vae", ["torch"]),
    "jax": ("jax_vae", ["jax", "optax"]),
    "girth": ("girth_exam", ["girth"]),
    "onnxruntime": ("onnx_model", ["onnxruntime", "onnx"]),
}


def module(name: str, file: str | None = None) -> Any | None:
    """Return the module (or the module ``file``) of a library, or None if a package is not installed."""
    first, packages = _MODULES[name]
    home = os.environ.get("HOME")  # onnxruntime writes files below HOME when it is imported
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HOME"] = scratch
        try:
            for package in packages:
                importlib.import_module(package)
        except ImportError:
            MISSING.add(package)
            return None
        finally:
            os.environ.pop("HOME")
            if home is not None:
                os.environ["HOME"] = home
    return importlib.import_module(f"opponents.{file or first}")


def torch_steps(
    shape: tuple[int, int, int], x: Any, batch: int, *, samples: int = 1, compiled: bool
) -> dict[str, Callable[[], object]]:
    """PyTorch's steps over the batches of an array, eager and, on request and if possible, compiled."""
    torch_vae = module("torch")
    if not torch_vae:
        return {}
    batches = torch_vae.torch.from_numpy(x).split(batch)
    eager = torch_vae.TorchVAE(*shape, samples=samples)
    others: dict[str, Callable[[], object]] = {"torch": lambda: [eager.step(b) for b in batches]}
    if compiled:
        model = torch_vae.TorchVAE(*shape, samples=samples, compiled=True)
        try:
            model.step(batches[0])
        except Exception as error:  # no C++ compiler, or an unsupported Python: torch raises various types
            MISSING.add(f"torch.compile ({type(error).__name__})")
        else:
            others["torch.compile"] = lambda: [model.step(b) for b in batches]
    return others


def step_flops(batch: int, n_features: int = 784, hidden: int = 400, latent_dim: int = 20, samples: int = 1) -> float:
    """Return the operations of the products of one step: forward pass and both gradients.

    The first layer has no input gradient; the decoder runs once for each sample.
    """
    first = n_features * hidden
    encoder, decoder = first + hidden * 2 * latent_dim, first + latent_dim * hidden
    return 2.0 * batch * (3 * (encoder + samples * decoder) - first)
