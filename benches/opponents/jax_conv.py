"""JAX: convolutional VAEs, one jitted step with donated buffers, Adam from optax; NHWC or NCHW."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from fastvae.layers import Conv2d
from opponents.conv_networks import Network

_ADAM = optax.adam(1e-3)
_EPS = 1e-5


class JaxConvVAE:
    """ReLU, Bernoulli; batch normalisation with the batch's statistics. `bf16`: operands of products."""

    def __init__(self, network: Network, layout: str = "NHWC", *, bf16: bool = False) -> None:
        self.network, self.layout, self.type = network, layout, jnp.bfloat16 if bf16 else jnp.float32
        rng, self.weights = np.random.default_rng(0), {}
        sizes = network.sizes()
        for i, layer in enumerate(network.hidden):
            if isinstance(layer, Conv2d):
                for name, fan, out in (
                    (f"e{i}", sizes[i][2], sizes[i + 1][2]),
                    (f"d{i}", sizes[i + 1][2], sizes[i][2]),
                ):
                    self._add(rng, name, (layer.kernel_size, layer.kernel_size, fan, out))
        n = int(np.prod(sizes[-1]))
        self._add(rng, "head", (n, 2 * network.latent_dim))
        self._add(rng, "start", (network.latent_dim, n))
        self.state, self.key = _ADAM.init(self.weights), jax.random.key(0)
        self.jitted = jax.jit(self._step, donate_argnums=(0, 1, 3))

    def _add(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> None:
        bound = np.prod(shape[:-1]) ** -0.5
        self.weights[name] = jnp.asarray(rng.uniform(-bound, bound, shape), jnp.float32)
        self.weights[f"{name}.bias"] = jnp.zeros(shape[-1], jnp.float32)
        self.weights[f"{name}.scale"] = jnp.ones(shape[-1], jnp.float32)

    def _by_channel(self, x: jax.Array) -> jax.Array:
        return x if self.layout == "NHWC" else x[:, None, None]

    def _end(self, weights: dict[str, Any], name: str, x: jax.Array, *, norm: bool, last: bool = False) -> jax.Array:
        if norm and not last:
            axes = tuple(d for d, axis in enumerate(self.layout) if axis != "C")
            mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
            x = (x - mean) * lax.rsqrt(variance + _EPS) * self._by_channel(weights[f"{name}.scale"])
        x = x + self._by_channel(weights[f"{name}.bias"])
        return x if last else jax.nn.relu(x)

    def _conv(self, x: jax.Array, kernel: jax.Array, **options: Any) -> jax.Array:
        dimensions = (self.layout, "HWIO", self.layout)
        x, kernel = x.astype(self.type), kernel.astype(self.type)
        return lax.conv_general_dilated(x, kernel, dimension_numbers=dimensions, **options).astype(jnp.float32)

    def _product(self, x: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.matmul(x.astype(self.type), weights.astype(self.type), preferred_element_type=jnp.float32)

    def _encode(self, weights: dict[str, Any], x: jax.Array) -> jax.Array:
        for i, layer in enumerate(self.network.hidden):
            if isinstance(layer, Conv2d):
                stride, padding = (layer.stride,) * 2, [(layer.padding,) * 2] * 2
                x = self._conv(x, weights[f"e{i}"], window_strides=stride, padding=padding)
                x = self._end(weights, f"e{i}", x, norm=layer.batch_norm)
            else:
                window = tuple(1 if axis in "NC" else layer.size for axis in self.layout)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
        return self._product(x.reshape(len(x), -1), weights["head"]) + weights["head.bias"]

    def _decode(self, weights: dict[str, Any], z: jax.Array) -> jax.Array:
        height, width, channels = self.network.sizes()[-1]
        shape = tuple({"H": height, "W": width, "C": channels}[axis] for axis in self.layout[1:])
        x = jax.nn.relu(self._product(z, weights["start"]) + weights["start.bias"]).reshape(len(z), *shape)
        for i, layer in reversed(list(enumerate(self.network.hidden))):
            if isinstance(layer, Conv2d):
                stride, padding = (layer.stride,) * 2, [(layer.kernel_size - 1 - layer.padding,) * 2] * 2
                x = self._conv(x, weights[f"d{i}"], window_strides=(1, 1), padding=padding, lhs_dilation=stride)
                x = self._end(weights, f"d{i}", x, norm=layer.batch_norm, last=i == 0)
            else:
                for axis in (self.layout.index("H"), self.layout.index("W")):
                    x = jnp.repeat(x, layer.size, axis)
        return x

    def _loss(self, weights: dict[str, Any], x: jax.Array, key: jax.Array) -> jax.Array:
        mu, logvar = jnp.split(self._encode(weights, x), 2, axis=1)
        z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
        logits = self._decode(weights, z)
        reconstruction = jnp.sum(jax.nn.softplus(logits) - x * logits)
        kl = -0.5 * jnp.sum(1 + logvar - mu**2 - jnp.exp(logvar))
        return (reconstruction + kl) / len(x)

    def _step(self, weights: Any, state: Any, x: jax.Array, key: jax.Array) -> tuple[Any, Any, jax.Array]:
        key, noise = jax.random.split(key)
        updates, state = _ADAM.update(jax.grad(self._loss)(weights, x, noise), state)
        return optax.apply_updates(weights, updates), state, key

    def batches(self, x: np.ndarray) -> list[jax.Array]:
        """Batches of images on the device."""
        images = x.reshape(-1, *self.network.image)
        if self.layout == "NCHW":
            images = images.transpose(0, 3, 1, 2)
        size = self.network.batch
        return [jax.device_put(np.ascontiguousarray(images[i : i + size])) for i in range(0, len(x), size)]

    def steps(self, batches: Sequence[jax.Array]) -> None:
        """One training step for each batch."""
        for x in batches:
            self.weights, self.state, self.key = self.jitted(self.weights, self.state, x, self.key)
        jax.block_until_ready(self.weights)


def jax_conv_steps(network: Network, x: np.ndarray) -> dict[str, Callable[[], object]]:
    """Steps over the batches of an array, in both layouts."""
    others = {}
    for name, layout in (("jax", "NHWC"), ("jax, NCHW", "NCHW")):
        model = JaxConvVAE(network, layout)
        others[name] = partial(model.steps, model.batches(x))
    return others
