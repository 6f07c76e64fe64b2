"""JAX: one jitted step with donated buffers, Adam from optax, with batches already on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

_ADAM = optax.adam(1e-3)


def _loss(weights: dict[str, Any], x: jax.Array, key: jax.Array, *, bf16: bool) -> jax.Array:
    def dense(name: str, x: jax.Array) -> jax.Array:
        operands = (a.astype(jnp.bfloat16) if bf16 else a for a in (x, weights[name]))
        return jnp.matmul(*operands, preferred_element_type=jnp.float32) + weights[f"{name}.bias"]

    h = jax.nn.relu(dense("encoder", x))
    mu, logvar = jnp.split(dense("head", h), 2, axis=1)
    z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
    logits = dense("output", jax.nn.relu(dense("decoder", z)))
    reconstruction = jnp.sum(jax.nn.softplus(logits) - x * logits)
    kl = -0.5 * jnp.sum(1 + logvar - mu**2 - jnp.exp(logvar))
    return (reconstruction + kl) / len(x)


@partial(jax.jit, donate_argnums=(0, 1, 3), static_argnames="bf16")
def _step(weights: Any, state: Any, x: jax.Array, key: jax.Array, *, bf16: bool) -> tuple[Any, Any, jax.Array]:
    key, noise = jax.random.split(key)
    updates, state = _ADAM.update(jax.grad(partial(_loss, bf16=bf16))(weights, x, noise), state)
    return optax.apply_updates(weights, updates), state, key


class JaxVAE:
    """n_features - hidden - latent_dim - hidden - n_features, ReLU, Bernoulli; `bf16`: operands of products."""

    def __init__(self, n_features: int = 784, hidden: int = 400, latent_dim: int = 20, *, bf16: bool = False) -> None:
        self.step = partial(_step, bf16=bf16)
        shapes = {
            "encoder": (n_features, hidden),
            "head": (hidden, 2 * latent_dim),
            "decoder": (latent_dim, hidden),
            "output": (hidden, n_features),
        }
        rng = np.random.default_rng(0)
        self.weights = {}
        for name, (rows, cols) in shapes.items():
            bound = rows**-0.5
            self.weights[name] = jnp.asarray(rng.uniform(-bound, bound, (rows, cols)), jnp.float32)
            self.weights[f"{name}.bias"] = jnp.zeros(cols, jnp.float32)
        self.state, self.key = _ADAM.init(self.weights), jax.random.key(0)

    @staticmethod
    def batches(x: np.ndarray, batch: int) -> list[jax.Array]:
        """Batches on the device."""
        return [jax.device_put(x[i : i + batch]) for i in range(0, len(x), batch)]

    def steps(self, batches: Sequence[jax.Array]) -> None:
        """One training step for each batch."""
        for x in batches:
            self.weights, self.state, self.key = self.step(self.weights, self.state, x, self.key)
        jax.block_until_ready(self.weights)
