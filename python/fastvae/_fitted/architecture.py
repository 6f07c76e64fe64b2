"""The lists of layers of a specification: the decoder that mirrors an encoder, and images behind dense layers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Any

from fastvae import _core
from fastvae.layers import KINDS, AvgPool2d, Conv2d, ConvTranspose2d, Dense, Layer, MaxPool2d, Upsample

if TYPE_CHECKING:
    from collections.abc import Sequence

# The output of a layer: (units,) or (height, width, channels).
Size = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Unflatten(Layer):
    """The outputs of a dense layer as an image, in PyTorch's order: channels, rows, columns. Not chosen by users."""

    shape: tuple[int, int, int]


POOLS = (MaxPool2d, AvgPool2d, Upsample)

_NAMES = {kind: name for name, kind in KINDS.items()} | {Unflatten: "unflatten"}


def options(layers: Sequence[Layer]) -> list[int | dict[str, Any]]:
    """Return layers as the engine's options: widths of dense layers, objects for others."""
    return [_option(layer) for layer in layers]


def _option(layer: Layer) -> int | dict[str, Any]:
    if isinstance(layer, Dense) and layer == Dense(layer.units):
        return layer.units
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}  # type: ignore[arg-type]
    return {"kind": _NAMES[type(layer)]} | {name: value for name, value in values.items() if value is not None}


def is_convolutional(*layers: Layer) -> bool:
    """Whether any layer works on images."""
    return any(not isinstance(layer, Dense) for layer in layers)


def sizes(name: str, source: Size, layers: Sequence[Layer]) -> list[Size]:
    """Return the size of a list's input and of each output, or raise ValueError for impossible layers."""
    import json  # here only, so that `import fastvae` stays cheap

    return [tuple(size) for size in _core.layer_shapes(name, list(source), json.dumps(options(layers)))]


def mirror(encoder: Sequence[Layer], source: Size, latent_dim: int) -> list[Layer]:
    """Return the decoder whose outputs have the sizes of the encoder's, backwards, or raise ValueError.

    `source` is the size of x. A layer that makes the output of an encoder layer has its batch normalisation and
    activation; the layer that makes x has neither. A dense output layer is not in the list: the engine adds it. It also
    undoes pools of x before a dense layer.
    """
    there = sizes("hidden", source, encoder)
    decoder: list[Layer] = []
    back: list[Size] = [(latent_dim,)]
    for i, undone in zip(range(len(encoder), -1, -1), [Dense(latent_dim), *reversed(encoder)], strict=True):
        index = sum(not isinstance(layer, Unflatten) for layer in encoder[:i])
        if isinstance(undone, Dense) and all(isinstance(layer, POOLS) for layer in encoder[:i]):
            if len(back[-1]) == 3:
                raise ValueError(
                    f"hidden[{index}], {undone!r}, has no mirror: it precedes convolutions and no convolution precedes "
                    "it. Pass decoder_hidden"
                )
            break
        if isinstance(undone, Unflatten):
            continue  # a dense layer reads any image
        made = _undo(undone, there[i], encoder[:i])
        back.append(sizes("decoder_hidden", back[-1], made)[-1])
        if back[-1] != there[i]:
            lost = f"{way(there[i : i + 2])}, back {way(back[-2:])}"
            raise ValueError(
                f"hidden[{index}], {undone!r}, has no mirror: {lost}. Use sizes that divide, or pass decoder_hidden "
                f"(sizes: {way(there)}, back {way(back[1:])})"
            )
        decoder += made
    return decoder


def _undo(undone: Layer, size: Size, before: Sequence[Layer]) -> list[Layer]:
    """Return the layers that make an output of `size` by undoing a layer whose predecessors are `before`."""
    end: dict[str, Any] = {}
    for layer in before:
        if not isinstance(layer, (*POOLS, Unflatten)):
            end = {"batch_norm": layer.batch_norm, "activation": layer.activation}  # type: ignore[attr-defined]
    match undone:
        case Conv2d():
            kernel, stride, padding = _window(undone)
            rest = tuple((size[d] + 2 * padding[d] - kernel[d]) % stride[d] for d in (0, 1))
            return [ConvTranspose2d(size[2], kernel, stride, padding, (rest[0], rest[1]), **end)]
        case ConvTranspose2d():
            return [Conv2d(size[2], *_window(undone), **end)]
        case MaxPool2d(pool) | AvgPool2d(pool):
            return [Upsample(pool)]
        case Upsample(pool):
            return [AvgPool2d(pool)]
    dense = Dense(prod(size), **end)
    return [dense, Unflatten((size[0], size[1], size[2]))] if len(size) == 3 else [dense]


def encoder_with_unflatten(encoder: Sequence[Layer], image: Size | None) -> list[Layer]:
    """Return an encoder of the user with an Unflatten where an image layer follows a dense one, or raise ValueError.

    Height and width are those of the last image before the dense layers; the channels follow from the units.
    """
    if image is None:
        return list(encoder)
    result: list[Layer] = []
    size = image
    for i, layer in enumerate(encoder):
        if not isinstance(layer, Dense) and i > 0 and isinstance(before := encoder[i - 1], Dense):
            height, width = size[:2]
            channels, rest = divmod(before.units, height * width)
            if rest or not channels:
                raise ValueError(
                    f"hidden[{i - 1}] has {before.units} units, but hidden[{i}], {layer!r}, reads an image of {height} "
                    f"x {width} pixels, as before the dense layers: use a multiple of {height * width} units"
                )
            result.append(Unflatten((height, width, channels)))
        result.append(layer)
        if not isinstance(layer, Dense):
            size = sizes("hidden", image, result)[-1]
    return result


def with_unflatten(decoder: Sequence[Layer], image: Size | None) -> list[Layer]:
    """Return a decoder of the user with an Unflatten where an image layer follows a dense one, or raise ValueError.

    Height and width follow from `image`, the size of x, backwards through the layers; the channels from the units.
    """
    result: list[Layer] = []
    for i, layer in enumerate(decoder):
        if image is not None and not isinstance(layer, Dense) and (i == 0 or isinstance(decoder[i - 1], Dense)):
            if i == 0:
                raise ValueError(
                    f"decoder_hidden[0], {layer!r}, needs an image, but the code is flat: put a dense layer before it"
                )
            result.append(_unflatten(decoder, i, image))
        result.append(layer)
    return result


def _unflatten(decoder: Sequence[Layer], i: int, image: Size) -> Unflatten:
    """Return the image that layer `i` reads from the dense layer before it."""
    layer, units = decoder[i], decoder[i - 1].units  # type: ignore[attr-defined]
    if any(isinstance(later, Dense) for later in decoder[i:]):
        raise ValueError(
            f"decoder_hidden[{i}], {layer!r}, follows a dense layer and precedes another, so the size of its image is "
            "unknown: only layers that make images may follow it"
        )
    back = [image[:2]]
    for j in range(len(decoder) - 1, i - 1, -1):
        back.append(_input_sides(decoder[j], j, back))
    height, width = back[-1]
    channels, rest = divmod(units, height * width)
    if rest or not channels:
        raise ValueError(
            f"decoder_hidden[{i - 1}] has {units} units, but decoder_hidden[{i}], {layer!r}, reads an image of "
            f"{height} x {width} pixels: use a multiple of {height * width} units (sizes back from image_shape: "
            f"{way(back)})"
        )
    return Unflatten((height, width, channels))


def _input_sides(layer: Layer, index: int, back: Sequence[Size]) -> Size:
    """Return the smallest height and width from which a layer makes those that end `back`, or raise ValueError."""
    sides = []
    for d, out in enumerate(back[-1]):
        exact = True
        match layer:
            case Conv2d():
                kernel, stride, padding = _window(layer)
                side = (out - 1) * stride[d] + kernel[d] - 2 * padding[d]
            case ConvTranspose2d(output_padding=(*added,)):
                kernel, stride, padding = _window(layer)
                steps, rest = divmod(out - kernel[d] + 2 * padding[d] - added[d], stride[d])
                side, exact = steps + 1, rest == 0
            case MaxPool2d((*pool,)) | AvgPool2d((*pool,)):
                side = out * pool[d]
            case Upsample((*pool,)):
                side, rest = divmod(out, pool[d])
                exact = rest == 0
        if side < 1 or not exact:
            raise ValueError(
                f"decoder_hidden[{index}], {layer!r}, cannot make an image of {way(back[-1:])} pixels (sizes back from "
                f"image_shape: {way(back)})"
            )
        sides.append(side)
    return tuple(sides)


def _window(layer: Conv2d | ConvTranspose2d) -> tuple[Any, Any, Any]:
    """Return kernel size, stride and padding as pairs."""
    return layer.kernel_size, layer.stride, layer.padding


def way(found: Sequence[Size]) -> str:
    """Return sizes as text: "28 x 28 x 1 -> 14 x 14 x 32"."""
    return " -> ".join(" x ".join(map(str, size)) for size in found)
