"""The reference of convolutional models: from the engine's specification, as a dict, to a torch module in float64.

Also random specifications. An image in the columns of x goes row by row, channels last; torch has channels first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reference import ACTIVATIONS, LOGVAR_RANGE, Twin
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits

Layer = dict[str, Any]
Specification = dict[str, Any]
Shape = tuple[int, ...]  # (units,) or (height, width, channels)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.Upsample)


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """The shape behind a layer."""
    if layer["kind"] == "dense":
        return (layer["units"],)
    if layer["kind"] == "unflatten":
        return tuple(layer["shape"])
    sides, channels = shape[:2], layer.get("channels", shape[-1])
    if layer["kind"] in ("max_pool2d", "avg_pool2d"):
        sides = tuple(n // s for n, s in zip(sides, layer["size"], strict=True))
    elif layer["kind"] == "upsample":
        sides = tuple(n * s for n, s in zip(sides, layer["size"], strict=True))
    else:
        steps = zip(sides, layer["kernel_size"], layer["stride"], layer["padding"], strict=True)
        if layer["kind"] == "conv2d":
            sides = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in steps)
        else:
            extra = layer["output_padding"]
            sides = tuple((n - 1) * s + k - 2 * p + o for (n, k, s, p), o in zip(steps, extra, strict=True))
    return (*sides, channels)


def modules_of(layer: Layer, shape: Shape, activation: str, conditions: int = 0) -> list[nn.Module]:
    """The modules of a hidden layer. A dense layer behind an image may also read conditions."""
    kind, size = layer["kind"], tuple(layer.get("size", ()))
    if kind == "unflatten":
        height, width, channels = layer["shape"]
        return [nn.Unflatten(1, (channels, height, width))]
    if size:
        pool = {"max_pool2d": nn.MaxPool2d, "avg_pool2d": nn.AvgPool2d}
        return [pool[kind](size) if kind in pool else nn.Upsample(scale_factor=size)]
    norm = layer.get("batch_norm", False)
    modules: list[nn.Module] = []
    if kind == "dense":
        if len(shape) == 3:
            modules.append(nn.Flatten())
        modules.append(nn.Linear(int(np.prod(shape)) + conditions, layer["units"], bias=not norm))
    else:
        window = [tuple(layer[name]) for name in ("kernel_size", "stride", "padding")]
        if kind == "conv2d":
            modules.append(nn.Conv2d(shape[-1], layer["channels"], *window, bias=not norm))
        else:
            extra = tuple(layer["output_padding"])
            modules.append(nn.ConvTranspose2d(shape[-1], layer["channels"], *window, extra, bias=not norm))
    if norm:
        modules.append(nn.BatchNorm1d(layer["units"]) if kind == "dense" else nn.BatchNorm2d(layer["channels"]))
    return [*modules, ACTIVATIONS[layer.get("activation", activation)]()]


def completed(layer: int | Layer) -> Layer:
    """A layer as an object with all fields."""
    if isinstance(layer, int):
        return {"kind": "dense", "units": layer}
    return {"stride": [1, 1], "padding": [0, 0], "output_padding": [0, 0]} | layer


class TorchConvVAE(Twin):
    """A VAE with the names and shapes of the engine's parameters; the likelihood is Bernoulli.

    Conditions join z, and the first dense layer behind the encoder's image. Indicators of missing values are channels.
    """

    def __init__(self, specification: Specification) -> None:
        super().__init__()
        self.image = tuple(specification["image_shape"])
        activation, latent_dim = specification.get("activation", "relu"), specification["latent_dim"]
        self.conditions = specification.get("conditions", 0)
        layers = [completed(layer) for layer in specification["encoder"]]
        # A dense layer reads x as it lies.
        self.flat = not layers or layers[0]["kind"] == "dense"
        self.missing = specification.get("missing", "error")
        parts = 2 if self.missing == "indicator" else 1
        image = (*self.image[:2], parts * self.image[2])
        shape, modules = (int(np.prod(image)) + self.conditions,) if self.flat else image, []
        joins = 0 if self.flat else self.conditions
        for layer in layers:
            dense = layer["kind"] == "dense"
            modules += modules_of(layer, shape, activation, joins if dense else 0)
            joins, shape = 0 if dense else joins, output_shape(layer, shape)
        self.encoder = nn.Sequential(*modules)
        inputs = int(np.prod(shape)) + joins
        self.mu, self.logvar = nn.Linear(inputs, latent_dim), nn.Linear(inputs, latent_dim)
        shape, modules = (latent_dim + self.conditions,), []
        for layer in map(completed, specification["decoder"]):
            modules += modules_of(layer, shape, activation)
            shape = output_shape(layer, shape)
        if len(shape) == 3:  # no activation of the last layer with weights, which makes the output
            pools = [module for module in modules if not isinstance(module, POOLS)]
            modules.remove(pools[-1])
        else:
            modules.append(nn.Linear(shape[0], int(np.prod(self.image))))
        self.decoder = nn.Sequential(*modules)
        self.double()

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The posterior's mu and logvar, not clamped."""
        if self.flat:
            hidden = self.encoder(x if y is None else torch.cat([x, y], 1)).flatten(1)
            return self.mu(hidden), self.logvar(hidden)
        hidden = x.unflatten(1, self.image).permute(0, 3, 1, 2)
        if self.missing == "indicator":
            hidden = torch.cat([hidden, hidden.isnan().to(hidden.dtype)], 1)
        hidden = hidden.nan_to_num()
        for module in self.encoder:
            if isinstance(module, nn.Linear) and hidden.shape[1] < module.in_features and y is not None:
                hidden = torch.cat([hidden, y], 1)
            hidden = module(hidden)
        hidden = hidden.flatten(1)
        if hidden.shape[1] < self.mu.in_features and y is not None:
            hidden = torch.cat([hidden, y], 1)
        return self.mu(hidden), self.logvar(hidden)

    def logits(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The decoder's output, with x's columns."""
        out: Tensor = self.decoder(z if y is None else torch.cat([z, y], 1))
        return out.permute(0, 2, 3, 1).flatten(1) if out.ndim == 4 else out

    def forward(self, x: Tensor, eps: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Batch means, nats. Noise [n, K, latent_dim] is for K draws, whose loss is the importance-weighted bound."""
        mu, logvar = self.encode(x, y)
        logvar = logvar.clamp(*LOGVAR_RANGE)
        kl = (-0.5 * (1 + logvar - mu**2 - logvar.exp())).sum(1).mean()
        draws = eps.shape[1] if eps.ndim == 3 else 1
        mu, logvar, *given = (t.repeat_interleave(draws, 0) for t in (mu, logvar, x, *([] if y is None else [y])))
        z = mu + (logvar / 2).exp() * eps.reshape(mu.shape)
        target = given[0].nan_to_num()
        losses = binary_cross_entropy_with_logits(self.logits(z, *given[1:]), target, reduction="none")
        losses = (losses * ~given[0].isnan()).sum(1)
        reconstruction = losses.mean()
        if draws == 1:
            return {"reconstruction": reconstruction, "kl": kl, "loss": reconstruction + kl}
        ratio = Normal(0.0, 1.0).log_prob(z) - Normal(mu, (logvar / 2).exp()).log_prob(z)
        bound = torch.logsumexp((ratio.sum(1) - losses).reshape(-1, draws), 1) - math.log(draws)
        return {"reconstruction": reconstruction, "kl": kl, "loss": -bound.mean()}

    def load(self, weights: dict[str, NDArray[np.float32]]) -> TorchConvVAE:
        """Take over the engine's parameters, whose names and shapes must be exactly ours."""
        given = {name: torch.from_numpy(np.array(w)) for name, w in weights.items()}
        counters = {name: t for name, t in self.state_dict().items() if name.endswith("num_batches_tracked")}
        self.load_state_dict(given | counters)
        return self

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All parameters and running statistics."""
        state = self.state_dict().items()
        return {name: t.numpy().copy() for name, t in state if not name.endswith("num_batches_tracked")}


# ---------------------------------------------------------------------------------- random specifications

LARGEST_SIDE = 19
KERNELS, STRIDES = (1, 2, 3, 4, 5), (1, 1, 2, 3)
CHANNELS = (1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 33, 40, 64, 65, 70)
SMOOTH = ("tanh", "sigmoid", "softplus", "elu", "gelu", "silu")


def pick(rng: np.random.Generator, choices: Any) -> Any:
    """One of several."""
    return choices[int(rng.integers(len(choices)))]


def ending(rng: np.random.Generator) -> Layer:
    """Batch normalisation and activation of a random layer."""
    activation = {} if rng.random() < 0.6 else {"activation": pick(rng, SMOOTH)}
    return {"batch_norm": bool(rng.random() < 0.4)} | activation


def random_conv(rng: np.random.Generator, shape: Shape) -> Layer:
    """A convolution that fits an image."""
    padding = [int(rng.integers(3)) for _ in range(2)]
    kernel = [min(pick(rng, KERNELS), n + 2 * p) for n, p in zip(shape[:2], padding, strict=True)]
    window = {"kernel_size": kernel, "stride": [pick(rng, STRIDES) for _ in range(2)], "padding": padding}
    return {"kind": "conv2d", "channels": pick(rng, CHANNELS), **window, **ending(rng)}


def random_layer(rng: np.random.Generator, shape: Shape) -> Layer:
    """A layer behind an image: convolution, transposed convolution, pool or upsampling."""
    kind, (height, width) = rng.random(), shape[:2]
    if kind < 0.3:
        size = [int(rng.integers(1, min(3, n) + 1)) for n in (height, width)]
        return {"kind": pick(rng, ("max_pool2d", "avg_pool2d")), "size": size}
    if kind < 0.4 and max(height, width) <= LARGEST_SIDE // 2:
        return {"kind": "upsample", "size": [int(rng.integers(1, 3)) for _ in range(2)]}
    if kind < 0.5 and max(height, width) <= LARGEST_SIDE // 2:
        layer = random_conv(rng, shape)
        layer["output_padding"] = [int(rng.integers(s)) for s in layer["stride"]]
        layer["kernel_size"] = [max(k, 2 * p + 1) for k, p in zip(layer["kernel_size"], layer["padding"], strict=True)]
        return layer | {"kind": "conv_transpose2d"}
    return random_conv(rng, shape)


def random_encoder(rng: np.random.Generator, image: Shape) -> list[int | Layer]:
    """Perhaps a pool of x; one to four layers that read an image, then perhaps a dense one."""
    layers: list[int | Layer] = []
    shape = image
    if rng.random() < 0.2:
        size = [int(rng.integers(1, 3)) for _ in range(2)]
        layers.append({"kind": pick(rng, ("max_pool2d", "avg_pool2d", "upsample")), "size": size})
        shape = output_shape(layers[-1], shape)
    layers.append(random_conv(rng, shape))
    shape = output_shape(completed(layers[-1]), shape)
    for _ in range(int(rng.integers(4))):
        layers.append(random_layer(rng, shape))
        shape = output_shape(completed(layers[-1]), shape)
    if rng.random() < 0.5:
        layers.append({"kind": "dense", "units": int(rng.integers(1, 50)), **ending(rng)})
    return layers


def layer_to(rng: np.random.Generator, shape: Shape, last: bool) -> tuple[Layer, tuple[int, int]]:
    """A layer with this output, and the sides of its input."""
    kind = 1.0 if last else rng.random()
    if kind < 0.2:
        size = [pick(rng, [s for s in (1, 2, 3) if n % s == 0]) for n in shape[:2]]
        return {"kind": "upsample", "size": size}, (shape[0] // size[0], shape[1] // size[1])
    if kind < 0.3:
        size = [int(rng.integers(1, 3)) for _ in range(2)]
        sides = [n * s + int(rng.integers(s)) for n, s in zip(shape[:2], size, strict=True)]
        return {"kind": pick(rng, ("max_pool2d", "avg_pool2d")), "size": size}, (sides[0], sides[1])
    window: dict[str, list[int]] = {"kernel_size": [], "stride": [], "padding": [], "output_padding": []}
    down, sides = rng.random() < 0.3, []
    for n in shape[:2]:
        while True:
            k, s, p = pick(rng, KERNELS), pick(rng, STRIDES), int(rng.integers(3))
            extra = int(rng.integers(s)) if down else (n - k + 2 * p) % s
            below = (n - 1) * s + k - 2 * p + extra if down else (n - k + 2 * p - extra) // s + 1
            if 1 <= below <= LARGEST_SIDE:
                break
        for name, value in zip(window, (k, s, p, extra), strict=True):
            window[name].append(value)
        sides.append(below)
    if down:
        del window["output_padding"]
    layer = {"kind": "conv2d" if down else "conv_transpose2d", "channels": shape[2], **window}
    return layer if last else layer | ending(rng), (sides[0], sides[1])


def random_decoder(rng: np.random.Generator, image: Shape) -> list[int | Layer]:
    """A dense layer, then one to four layers that end with the image; or dense layers alone."""
    if rng.random() < 0.1:
        return [{"kind": "dense", "units": int(rng.integers(1, 50)), **ending(rng)}]
    layers: list[int | Layer] = []
    shape = image
    for _ in range(int(rng.integers(1, 5))):
        layer, sides = layer_to(rng, shape, last=not layers)
        if max(sides) > LARGEST_SIDE:
            break
        same = layer["kind"] in ("upsample", "max_pool2d", "avg_pool2d")
        shape = (*sides, shape[2] if same else pick(rng, CHANNELS))
        layers.insert(0, layer)
    dense = {"kind": "dense", "units": int(np.prod(shape)), **ending(rng)}
    return [dense, {"kind": "unflatten", "shape": list(shape)}, *layers]


def random_specification(seed: int) -> Specification:
    """A random convolutional model."""
    rng = np.random.default_rng(seed)
    image = (int(rng.integers(5, 17)), int(rng.integers(5, 17)), int(rng.integers(1, 5)))
    return {
        "n_features": int(np.prod(image)),
        "image_shape": list(image),
        "latent_dim": int(rng.integers(1, 20)),
        "conditions": pick(rng, (0, 0, 3, 35)),
        "encoder": random_encoder(rng, image),
        "decoder": random_decoder(rng, image),
        "activation": pick(rng, SMOOTH),
        "missing": ("error", "error", "mask", "indicator")[seed % 4],
        "seed": seed,
    }
