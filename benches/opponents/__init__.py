"""The same model in other libraries, written as their users would for speed.

Every opponent is a module of its own, imported where it is installed; the bench says aloud what is missing.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from typing import Any

# JAX would look for accelerators; onnxruntime writes files below HOME when it is imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

MISSING: set[str] = set()
_MODULES = {
    "torch": ("torch_vae", ["torch"]),
    "torch exam": ("torch_exam", ["torch"]),
    "jax": ("jax_vae", ["jax", "optax"]),
    "onnxruntime": ("onnx_model", ["onnxruntime", "onnx"]),
}


def module(name: str, file: str | None = None) -> Any | None:
    """Return the opponent's module (or another file of it), or None where something that it needs is not installed."""
    first, packages = _MODULES[name]
    home = os.environ.get("HOME")
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


def step_flops(batch: int, n_features: int = 784, hidden: int = 400, latent_dim: int = 20, samples: int = 1) -> float:
    """Operations of the products of one step: forward, both gradients; the first layer has no input gradient.

    With samples the decoder does that many times its work.
    """
    first = n_features * hidden
    encoder, decoder = first + hidden * 2 * latent_dim, first + latent_dim * hidden
    return 2.0 * batch * (3 * (encoder + samples * decoder) - first)
