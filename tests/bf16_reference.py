"""Products of bfloat16 operands in torch: a reference in float64 becomes the model that ``precision="bf16"`` trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from reference import Twin
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear


class _Rounded(torch.autograd.Function):
    """The nearest bfloat16, ties to even; its gradient is passed on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.float().bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _RoundedGradient(torch.autograd.Function):
    """The tensor itself; its gradient is rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.float().bfloat16().to(gradient.dtype)


def _forward(module: Any, product: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    """The product of rounded operands plus the bias, whose gradient is that of rounded gradients too."""
    y = product(_Rounded.apply(x), _Rounded.apply(module.weight))
    if module.bias is not None:
        y = y + (module.bias if y.ndim == 2 else module.bias[:, None, None])
    found: Tensor = _RoundedGradient.apply(y)
    return found


def with_bf16(twin: Twin) -> Twin:
    """Return the twin, whose layers now round the operands of their products: input, weight, output's gradient."""
    for module in twin.modules():
        if isinstance(module, nn.Linear):
            product: Callable[..., Tensor] = linear
        elif isinstance(module, nn.Conv2d):
            product = partial(conv2d, stride=module.stride, padding=module.padding)
        elif isinstance(module, nn.ConvTranspose2d):
            window = {"stride": module.stride, "padding": module.padding, "output_padding": module.output_padding}
            product = partial(conv_transpose2d, **window)
        else:
            continue
        module.forward = partial(_forward, module, product)  # type: ignore[method-assign]
    return twin
