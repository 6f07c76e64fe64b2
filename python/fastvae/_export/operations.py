"""The operations of a fitted network, in torch's layouts: one class for each kind, with its parameters as arrays.

A value is a matrix [n, columns] or an image [n, channels, height, width]. Arrays are float32. ``name`` is the name of
the module in ``state_dict()``, such as "encoder.0"; operations that are no module of an ``nn.Sequential`` have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastvae._export.density import Group

    Array = NDArray[np.float32]

# (vertical, horizontal)
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Operation:
    """Base class of the operations."""

    name: str = field(default="", kw_only=True)


# ------------------------------------------------------------------------------------------------ the input


@dataclass(frozen=True, eq=False)
class Standardize(Operation):
    """(x - shift) / scale, by column: [columns] each."""

    shift: Array
    scale: Array


@dataclass(frozen=True, eq=False)
class ZeroMissing(Operation):
    """Zeros where the X of the user is NaN; other values do not change. May occur twice: X is the section's input."""


@dataclass(frozen=True, eq=False)
class AppendMissing(Operation):
    """Appends as many columns as X has: 1 where the X of the user is NaN, else 0."""


@dataclass(frozen=True, eq=False)
class Log1p(Operation):
    """ln(1 + x)."""


@dataclass(frozen=True, eq=False)
class LogColumns(Operation):
    """ln(x + added) of the columns where `chosen` is 1, the others as they are: [columns] each, added is 0 or 1."""

    chosen: Array
    added: Array


@dataclass(frozen=True, eq=False)
class Binary(Operation):
    """1 where x is not 0, else 0."""


@dataclass(frozen=True, eq=False)
class Normalize(Operation):
    """Divides each row by its norm, where that is not 0.

    "l1": sum |x|. "l2": the root of sum x². "frequencies": (sum |x| + 10) / 50.
    """

    norm: str


@dataclass(frozen=True, eq=False)
class ToImage(Operation):
    """Columns in the order (parts, height, width, channels) to an image [n, parts * channels, height, width].

    Features are in the order height, width, channels; with two parts, indicators of missing values follow them.
    """

    height: int
    width: int
    channels: int
    parts: int = 1


# ----------------------------------------------------------------------------------------------- the layers


@dataclass(frozen=True, eq=False)
class JoinCondition(Operation):
    """Appends the columns of the condition y."""


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """x weightᵀ + bias: weight [out, in], bias [out] or None."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, eq=False)
class Conv2d(Operation):
    """``torch.nn.Conv2d``: weight [out, in, height, width], bias [out] or None."""

    weight: Array
    bias: Array | None
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False)
class ConvTranspose2d(Operation):
    """``torch.nn.ConvTranspose2d``: weight [in, out, height, width], bias [out] or None."""

    weight: Array
    bias: Array | None
    stride: Pair
    padding: Pair
    output_padding: Pair


@dataclass(frozen=True, eq=False)
class BatchNorm(Operation):
    """(x - mean) / sqrt(variance + eps) weight + bias, by column or channel; no weight or bias: None."""

    mean: Array
    variance: Array
    weight: Array | None
    bias: Array | None
    eps: float = 1e-5


@dataclass(frozen=True, eq=False)
class Activation(Operation):
    """An activation by its name in fastvae: "relu", "gelu" (exact), ..."""

    kind: str


@dataclass(frozen=True, eq=False)
class MaxPool2d(Operation):
    """``torch.nn.MaxPool2d(size)``."""

    size: Pair


@dataclass(frozen=True, eq=False)
class AvgPool2d(Operation):
    """``torch.nn.AvgPool2d(size)``."""

    size: Pair


@dataclass(frozen=True, eq=False)
class Upsample(Operation):
    """Repeats pixels: ``torch.nn.Upsample(scale_factor=size)``."""

    size: Pair


@dataclass(frozen=True, eq=False)
class Flatten(Operation):
    """An image to columns in the order channels, height, width."""


@dataclass(frozen=True, eq=False)
class Unflatten(Operation):
    """Columns in the order channels, height, width to an image."""

    channels: int
    height: int
    width: int


# ----------------------------------------------------------------------------------------------- the output


@dataclass(frozen=True, eq=False)
class ToColumns(Operation):
    """An image to columns in the order of the features: height, width, channels."""


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """Shift + scale x, by column: [columns] each."""

    shift: Array
    scale: Array


@dataclass(frozen=True, eq=False)
class Exp(Operation):
    """e^x."""


@dataclass(frozen=True, eq=False)
class Softmax(Operation):
    """Softmax over the columns."""


@dataclass(frozen=True, eq=False)
class GroupMeans(Operation):
    """The means of groups of columns, from their outputs y.

    By the kind of the group: y of a Gaussian (its sigmoid with ``sigmoid``), e^(y + s² / 2) of a log-normal, e^y of
    counts, the sigmoid of y of yes/no, softmax over the columns of categories, and the differences of the sigmoids of
    the thresholds of ordered levels (:mod:`fastvae.likelihoods`).
    """

    groups: tuple[Group, ...]
