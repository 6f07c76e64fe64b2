"""Images in X: their layout, and conversion to and from the rows that the engine reads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """Images of one size. The engine reads rows of height * width * channels values: pixel by pixel, channels last."""

    height: int
    width: int
    channels: int
    channels_first: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def size(self) -> int:
        """Number of values of an image."""
        return prod(self.shape)

    @property
    def forms(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that an image in X may have; the first has all axes, the last is flat."""
        full = (self.channels, self.height, self.width) if self.channels_first else self.shape
        grey = ((self.height, self.width),) if self.channels == 1 else ()
        return full, *grey, (self.size,)

    def flatten(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """Return images [n, ...] as rows [n, size] in the engine's order: a view if only the shape changes.

        Raises
        ------
        ValueError
            If the array is not of images of this size.
        """
        if array.ndim < 2:
            return array  # refused by arrays.check_table
        if array.shape[1:] not in self.forms:
            raise ValueError(self._mismatch(array.shape, name))
        if self.channels_first:
            array = np.moveaxis(array.reshape(len(array), *self.forms[0]), 1, -1)
        return array.reshape(len(array), self.size)

    def restore(self, rows: NDArray[np.float32], form: tuple[int, ...]) -> NDArray[np.float32]:
        """Return rows [..., size] in the engine's order as [..., *form], where `form` is one of `forms`."""
        outer = rows.shape[:-1]
        if self.channels_first:
            rows = np.ascontiguousarray(np.moveaxis(rows.reshape(*outer, *self.shape), -1, -3))
        return rows.reshape(*outer, *form)

    def _mismatch(self, shape: tuple[int, ...], name: str) -> str:
        whole = f"image_shape={self.shape}"
        if len(shape) == 2:
            return f"{name} has {shape[1]} features, but an image of {whole} has {self.size}"
        expected = " or ".join(f"[n, {', '.join(map(str, form))}]" for form in reversed(self.forms))
        message = f"{name} has shape {shape}, which does not fit {whole}: expected {expected}"
        other = Images(*self.shape, channels_first=not self.channels_first)
        if shape[1:] in other.forms:
            message += f'. For this X set channels="{"last" if self.channels_first else "first"}"'
        return message


def warn_of_channels_first(found: Images) -> None:
    """Warn if the shape seems to be (channels, height, width): no image has as many channels as columns."""
    if not found.channels_first and found.height in (1, 3) and found.width == found.channels > 4:
        _checks.warn(
            f"image_shape={found.shape} is (height, width, channels): images of height {found.height} with "
            f"{found.channels} channels. For X of shape [n, channels, height, width] pass "
            f'image_shape={(found.width, found.channels, found.height)}, channels="first"'
        )


def check(image_shape: Any, channels: Any) -> Images | None:
    """Return the parameters ``image_shape`` and ``channels`` as a layout (None without images), or raise ValueError."""
    first = _checks.choice(channels, "channels", ("last", "first")) == "first"
    if image_shape is None:
        if first:
            raise ValueError('channels="first" needs images: pass image_shape=(height, width, channels)')
        return None
    sides = tuple(image_shape) if isinstance(image_shape, (tuple, list, np.ndarray)) and np.ndim(image_shape) else ()
    if len(sides) not in (2, 3):
        raise ValueError(
            f"image_shape={image_shape!r} must be (height, width, channels), or (height, width) of grey images"
        )
    names = ("height", "width", "channels")
    sides = tuple(_checks.integer(side, f"image_shape: {name}") for side, name in zip(sides, names, strict=False))
    if prod(sides) > _core.MAX_WIDTH:
        raise ValueError(f"image_shape={image_shape!r} has more than {_core.MAX_WIDTH} values")
    height, width, depth = sides if len(sides) == 3 else (*sides, 1)
    return Images(height, width, depth, first)
