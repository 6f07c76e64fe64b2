"""Layers of convolutional encoders and decoders: elements of ``hidden`` and ``decoder_hidden``.

>>> import fastvae
>>> from fastvae.layers import Conv2d
>>> X, _ = fastvae.datasets.load_digits()
>>> convolutions = (Conv2d(8, 3, padding=1), Conv2d(16, 4, stride=2, padding=1))
>>> vae = fastvae.VAE(2, image_shape=(8, 8, 1), hidden=(*convolutions, 32), epochs=5, random_state=0).fit(X)

Images have the shape [height, width, channels]. Sizes are an integer for both directions, or a pair (vertical,
horizontal). ``batch_norm=True`` adds a batch normalisation with PyTorch's momentum (0.1) and eps (1e-5) before the
activation; the layer itself then has no bias, which the normalisation would subtract. ``activation=None`` is the
model's. An integer among the layers is a dense layer of as many units. A dense layer after an image reads it flattened
in PyTorch's order (channels, rows, columns). Where convolutions follow dense layers in ``hidden``, the dense outputs
are an image of the height and width before the dense layers.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fastvae import _checks, _core

__all__ = ["AvgPool2d", "Conv2d", "ConvTranspose2d", "Dense", "MaxPool2d", "Upsample"]

# An integer, or a pair (vertical, horizontal).
Size = int | tuple[int, int]


class Layer:
    """Base class of the layers."""

    def __repr__(self) -> str:
        """Show channels, units and sizes, and other values that differ from their defaults."""
        shown = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
                value = value[0]
            if field.name in ("channels", "kernel_size", "units", "size"):
                shown.append(repr(value))
            elif repr(value) != repr(field.default):
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Conv2d(Layer):
    """Convolution: ``torch.nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=not batch_norm)``.

    From [height, width, in_channels] to [floor((height + 2 padding - kernel_size) / stride) + 1, the same of width,
    channels]. In the state dict: ``weight`` [channels, in_channels, kernel height, kernel width], ``bias`` [channels].

    Parameters
    ----------
    channels : int
        Output channels.
    kernel_size, stride, padding : int or pair of int
        Vertical and horizontal; the padding is zeros on both sides.
    batch_norm : bool
        Add ``torch.nn.BatchNorm2d(channels)`` before the activation.
    activation : str or None
        An activation as for :class:`fastvae.VAE`; None is the model's.
    """

    channels: int
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    batch_norm: bool = False
    activation: str | None = None


@dataclass(frozen=True, repr=False)
class ConvTranspose2d(Layer):
    """Transposed convolution: ``torch.nn.ConvTranspose2d`` with ``bias=not batch_norm``.

    From [height, width, in_channels] to [(height - 1) stride - 2 padding + kernel_size + output_padding, the same of
    width, channels]. In the state dict: ``weight`` [in_channels, channels, kernel height, kernel width], ``bias``
    [channels].

    Parameters
    ----------
    channels : int
        Output channels.
    kernel_size, stride, padding : int or pair of int
        Of the convolution that it transposes.
    output_padding : int or pair of int
        Rows and columns added at the end; less than the stride.
    batch_norm : bool
        Add ``torch.nn.BatchNorm2d(channels)`` before the activation.
    activation : str or None
        An activation as for :class:`fastvae.VAE`; None is the model's.
    """

    channels: int
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    output_padding: Size = 0
    batch_norm: bool = False
    activation: str | None = None


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Dense layer: ``torch.nn.Linear(inputs, units, bias=not batch_norm)``, after ``torch.nn.Flatten`` for an image.

    From [inputs] or [height, width, channels] to [units]. In the state dict: ``weight`` [units, inputs], ``bias``
    [units].

    Parameters
    ----------
    units : int
        Number of outputs.
    batch_norm : bool
        Add ``torch.nn.BatchNorm1d(units)`` before the activation.
    activation : str or None
        An activation as for :class:`fastvae.VAE`; None is the model's.
    """

    units: int
    batch_norm: bool = False
    activation: str | None = None


@dataclass(frozen=True, repr=False)
class MaxPool2d(Layer):
    """Maximum of each channel in windows side by side: ``torch.nn.MaxPool2d(size)``.

    From [height, width, channels] to [floor(height / size), floor(width / size), channels].

    Parameters
    ----------
    size : int or pair of int
        Pixels of a window.
    """

    size: Size = 2


@dataclass(frozen=True, repr=False)
class AvgPool2d(Layer):
    """Mean of each channel in windows side by side: ``torch.nn.AvgPool2d(size)``.

    From [height, width, channels] to [floor(height / size), floor(width / size), channels].

    Parameters
    ----------
    size : int or pair of int
        Pixels of a window.
    """

    size: Size = 2


@dataclass(frozen=True, repr=False)
class Upsample(Layer):
    """Repetition of pixels (nearest neighbour): ``torch.nn.Upsample(scale_factor=size)``.

    From [height, width, channels] to [height size, width size, channels].

    Parameters
    ----------
    size : int or pair of int
        Repetitions.
    """

    size: Size = 2


# The classes above, by the engine's names.
KINDS: dict[str, type[Any]] = {
    "conv2d": Conv2d,
    "conv_transpose2d": ConvTranspose2d,
    "dense": Dense,
    "max_pool2d": MaxPool2d,
    "avg_pool2d": AvgPool2d,
    "upsample": Upsample,
}


def resolve(value: Any, name: str) -> list[Layer]:
    """Return a sequence of widths and layers as checked layers with pairs as sizes, or raise ValueError."""
    value = (value,) if isinstance(value, Layer) else _checks.sequence(value)
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise ValueError(
            f"{name}={value!r} must be a sequence of layer widths and layers, such as (400,) or (Conv2d(32, 3), 400)"
        )
    return [_checked(layer, f"{name}[{i}]") for i, layer in enumerate(value)]


def _checked(layer: Any, name: str) -> Layer:
    if isinstance(layer, type) and issubclass(layer, Layer):
        raise ValueError(f"{name}={layer.__name__} is a class: call it, for example {layer.__name__}(...)")
    if not isinstance(layer, Layer):
        return Dense(_checks.integer(layer, name, most=_core.MAX_WIDTH))
    owner = f"{name}, {layer!r}"
    checked: dict[str, Any] = {}
    for field in fields(layer):  # type: ignore[arg-type]
        value, argument = getattr(layer, field.name), f"{owner}: {field.name}"
        match field.name:
            case "channels" | "units":
                checked[field.name] = _checks.integer(value, argument, most=_core.MAX_WIDTH)
            case "batch_norm":
                checked[field.name] = _checks.boolean(value, argument)
            case "activation":
                options = tuple(_core.ACTIVATIONS)
                checked[field.name] = None if value is None else _checks.choice(value, argument, options)
            case _:
                checked[field.name] = _pair(value, argument, least=0 if "padding" in field.name else 1)
    for added, step in zip(checked.get("output_padding", ()), checked.get("stride", ()), strict=False):
        if added >= step:
            raise ValueError(f"{owner}: output_padding={checked['output_padding']} must be less than the stride")
    return type(layer)(**checked)


def _pair(value: Any, name: str, least: int) -> tuple[int, int]:
    """Return a size as (vertical, horizontal), or raise ValueError."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    sides = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    good = len(sides) == 2 and all(isinstance(x, numbers.Integral) and not isinstance(x, bool) for x in sides)
    if not good or not all(least <= int(x) <= _core.MAX_SIDE for x in sides):
        raise ValueError(f"{name}={value!r} must be an integer or a pair of integers, {least} to {_core.MAX_SIDE}")
    return int(sides[0]), int(sides[1])
