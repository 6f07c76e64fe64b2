"""Evaluates the description of a fitted network in numpy, in float64: a reference for the formats made from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fastvae._estimators.description import describe_model
from fastvae._export import operations as ops
from fastvae._export.network import Network

Array = NDArray[Any]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


ACTIVATIONS: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda x: np.logaddexp(0, x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": gelu,
    "silu": lambda x: x * sigmoid(x),
    "identity": lambda x: x,
}


def along(parameter: Array, x: Array) -> Array:
    """A parameter of each column or channel, shaped to go with x."""
    return parameter.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))


def with_bias(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + along(bias, x)


def convolution(x: Array, weight: Array, stride: Any, padding: Any) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    windows = sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, :: stride[0], :: stride[1]]
    return np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64))


def transposed(x: Array, op: ops.ConvTranspose2d) -> Array:
    kernel, (n, _, *sides) = op.weight.shape[2:], x.shape
    full = [(sides[d] - 1) * op.stride[d] + kernel[d] + op.output_padding[d] for d in (0, 1)]
    out = np.zeros((n, op.weight.shape[1], *full))
    for i, j in np.ndindex(*sides):
        top, left = i * op.stride[0], j * op.stride[1]
        out[:, :, top : top + kernel[0], left : left + kernel[1]] += np.einsum(
            "nc,coij->noij", x[:, :, i, j], op.weight.astype(np.float64)
        )
    return out[:, :, op.padding[0] : full[0] - op.padding[0], op.padding[1] : full[1] - op.padding[1]]


def pooled(x: Array, size: Any, reduce: Any) -> Array:
    (n, channels, *_), (high, wide) = x.shape, (x.shape[2] // size[0], x.shape[3] // size[1])
    cells = x[:, :, : high * size[0], : wide * size[1]].reshape(n, channels, high, size[0], wide, size[1])
    found: Array = reduce(cells, axis=(3, 5))
    return found


def normalized(x: Array, norm: str) -> Array:
    if norm == "frequencies":
        return 50 * x / (10 + np.abs(x).sum(1, keepdims=True))
    sizes = np.abs(x).sum(1, keepdims=True) if norm == "l1" else np.sqrt((x**2).sum(1, keepdims=True))
    return x / np.where(sizes == 0, 1, sizes)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    found: Array = e / e.sum(1, keepdims=True)
    return found


def apply(op: ops.Operation, h: Array, x: Array, y: Array | None) -> Array:
    """The value of an operation at h. x is the section's input, y the condition as it is joined."""
    match op:
        case ops.Standardize(shift, scale):
            return (h - along(shift, h)) / along(scale, h)
        case ops.Affine(shift, scale):
            return along(shift, h) + along(scale, h) * h
        case ops.ZeroMissing():
            return np.where(np.isnan(x), 0, h)
        case ops.AppendMissing():
            return np.concatenate([h, np.isnan(x)], 1)
        case ops.Log1p():
            return np.log1p(h)
        case ops.Binary():
            return (h != 0).astype(np.float64)
        case ops.LogColumns(chosen, added):
            return np.where(chosen == 1, np.log(np.where(chosen == 1, h + added, 1)), h)
        case ops.GroupMeans(groups):
            return np.concatenate([group_mean(each, h[:, each.first : each.last]) for each in groups], 1)
        case ops.Normalize(norm):
            return normalized(h, norm)
        case ops.ToImage(height, width, channels, parts):
            rows = h.reshape(-1, parts, height, width, channels)
            return rows.transpose(0, 1, 4, 2, 3).reshape(-1, parts * channels, height, width)
        case ops.JoinCondition():
            assert y is not None
            return np.concatenate([h, y], 1)
        case ops.Linear(weight, bias):
            return with_bias(h @ weight.astype(np.float64).T, bias)
        case ops.Conv2d(weight, bias, stride, padding):
            return with_bias(convolution(h, weight, stride, padding), bias)
        case ops.ConvTranspose2d():
            return with_bias(transposed(h, op), op.bias)
        case ops.BatchNorm():
            h = (h - along(op.mean, h)) / np.sqrt(along(op.variance, h) + op.eps)
            return with_bias(h if op.weight is None else h * along(op.weight, h), op.bias)
        case ops.Activation(kind):
            found: Array = ACTIVATIONS[kind](h)
            return found
        case ops.MaxPool2d(size):
            return pooled(h, size, np.max)
        case ops.AvgPool2d(size):
            return pooled(h, size, np.mean)
        case ops.Upsample(size):
            return h.repeat(size[0], 2).repeat(size[1], 3)
        case ops.Flatten():
            return h.reshape(len(h), -1)
        case ops.Unflatten(channels, height, width):
            return h.reshape(-1, channels, height, width)
        case ops.ToColumns():
            return h.transpose(0, 2, 3, 1).reshape(len(h), -1)
        case ops.Exp():
            return np.exp(h)
        case ops.Softmax():
            return softmax(h)
    raise AssertionError(op)


def group_mean(group: Any, y: Array) -> Array:
    match group.likelihood.kind:
        case "gaussian":
            return 1 / (1 + np.exp(-y)) if group.sigmoid else y
        case "log_normal":
            return np.exp(y + np.exp(2.0 * group.likelihood.log_scale) / 2)
        case "poisson" | "negative_binomial":
            return np.exp(y)
        case "bernoulli":
            return 1 / (1 + np.exp(-y))
        case "categorical":
            return softmax(y)
    assert group.likelihood.kind == "ordinal"
    below = 1 / (1 + np.exp(y[:, :1] - np.log1p(np.exp(y[:, 1:])).cumsum(1)))
    ends = np.zeros((len(y), 1))
    return np.diff(np.concatenate([ends, below, ends + 1], 1), axis=1)


class Evaluated:
    """The description of a fitted estimator, or a description, evaluated."""

    def __init__(self, model: Any) -> None:
        self.network = model if isinstance(model, Network) else describe_model(model, "the test")

    def run(self, section: Any, h: Array, y: Array | None = None) -> Array:
        x = h
        for op in section:
            h = apply(op, h, x, y)
        return h

    def condition(self, y: Any) -> Array | None:
        return None if y is None else self.run(self.network.condition, np.asarray(y, np.float64))

    def encode(self, x: Any, y: Any = None) -> dict[str, Array]:
        """The heads' values."""
        y, h = self.condition(y), self.run(self.network.input, np.asarray(x, np.float64))
        h = self.run(self.network.encoder, h, y)
        return {name: self.run(head, h) for name, head in self.network.heads.items()}

    def decode(self, z: Any, y: Any = None) -> Array:
        """E[x|z]."""
        network = self.network
        h = self.run(network.decoder, np.asarray(z, np.float64), self.condition(y))
        mean = self.run(network.mean, self.run(network.units, self.run(network.output, h)))
        return mean / (1 + np.exp(self.second(z, y))) if network.likelihood.inflated else mean

    def second(self, z: Any, y: Any = None) -> Array:
        """The decoder's u."""
        h = self.run(self.network.decoder, np.asarray(z, np.float64), self.condition(y))
        return self.run(self.network.second, h)
