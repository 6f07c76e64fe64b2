"""The decoder as a list of operations for ``page/runtime.js``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._explorer.encoding import pack_parameter
from fastvae._export import operations as ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.network import Network


def program(network: Network, weights: str) -> list[dict[str, Any]]:
    """Return the operations from a code (and y) to E[x|z], with parameters in the type `weights`."""
    if network.likelihood.inflated:
        raise ValueError("the explorer shows no model with zero inflation: train one without it")
    sections = (network.decoder, network.output, network.units, network.mean)
    return [_translated(operation, network, weights) for section in sections for operation in section]


def _translated(operation: ops.Operation, network: Network, weights: str) -> dict[str, Any]:
    def array(value: NDArray[Any] | None) -> dict[str, Any] | None:
        return None if value is None else pack_parameter(value, weights)

    def convolution(operation: ops.Conv2d | ops.ConvTranspose2d) -> dict[str, Any]:
        found = {"weight": array(operation.weight), "bias": array(operation.bias)}
        sides = {"kernel": operation.weight.shape[2:], "stride": operation.stride, "padding": operation.padding}
        return found | {name: list(pair) for name, pair in sides.items()}

    match operation:
        case ops.Linear(weight, bias):
            return {"op": "linear", "weight": array(weight), "bias": array(bias)}
        case ops.Activation(kind):
            return {"op": "activation", "name": kind}
        case ops.Exp():
            return {"op": "activation", "name": "exp"}
        case ops.Softmax():
            return {"op": "softmax"}
        case ops.Affine(shift, scale):
            return {"op": "affine", "shift": array(shift), "scale": array(scale)}
        case ops.BatchNorm(mean, variance, weight, bias, eps):
            factor = (1.0 if weight is None else weight) / np.sqrt(variance.astype(np.float64) + eps)
            added = (0.0 if bias is None else bias) - mean * factor
            return {"op": "affine", "shift": array(added), "scale": array(factor)}
        case ops.JoinCondition():
            joined: dict[str, Any] = {"op": "condition", "columns": network.conditions}
            for step in network.condition:
                if not isinstance(step, ops.Standardize):
                    raise NotImplementedError(f"the explorer has no {type(step).__name__} of y")
                joined |= {"shift": array(step.shift), "scale": array(step.scale)}
            return joined
        case ops.Conv2d():
            return {"op": "conv2d"} | convolution(operation)
        case ops.ConvTranspose2d():
            padding = {"output_padding": list(operation.output_padding)}
            return {"op": "conv_transpose2d"} | convolution(operation) | padding
        case ops.MaxPool2d(size):
            return {"op": "max_pool2d", "size": list(size)}
        case ops.AvgPool2d(size):
            return {"op": "avg_pool2d", "size": list(size)}
        case ops.Upsample(size):
            return {"op": "upsample", "size": list(size)}
        case ops.Flatten():
            return {"op": "flatten"}
        case ops.Unflatten(channels, height, width):
            return {"op": "unflatten", "shape": [channels, height, width]}
        case ops.ToColumns():
            return {"op": "channels_last"}
    raise NotImplementedError(f"the explorer has no operation {type(operation).__name__}")
