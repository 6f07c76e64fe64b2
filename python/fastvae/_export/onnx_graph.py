"""Operations of a network as nodes of an ONNX graph (opset 13, plain operators)."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._export import operations as ops
from fastvae._export import protobuf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.network import Section

_ACTIVATIONS = {
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "elu": "Elu",
    "identity": "Identity",
}


class Graph:
    """A graph that grows node by node; values are known by their names."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.tensors: dict[str, bytes] = {}
        self.count = 0
        self._missing: dict[str, str] = {}
        self._constants: dict[tuple[Any, ...], str] = {}

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        self.count += 1
        output = output or f"{kind.lower()}_{self.count}"
        self.nodes.append(protobuf.node(kind, inputs, [output], output, attributes))
        return output

    def tensor(self, name: str, array: NDArray[Any]) -> str:
        """Add an initializer, once for each name, and return its name."""
        if name not in self.tensors:
            self.tensors[name] = protobuf.tensor(name, array)
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add an initializer without a name of its own, once for each value."""
        array = np.asarray(value, dtype)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.tensor(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    # Operations

    def apply(self, section: Section, h: str, x: str = "", y: str | None = None) -> str:
        """Apply a section to `h`; `x` is the X of the user, `y` the condition as it is joined."""
        for op in section:
            h = self._operation(op, h, x, y)
        return h

    def missing(self, x: str) -> str:
        """Return where x is NaN."""
        if x not in self._missing:
            self._missing[x] = self.node("IsNaN", x)
        return self._missing[x]

    def _operation(self, op: ops.Operation, h: str, x: str, y: str | None) -> str:
        match op:
            case ops.Standardize(shift, scale):
                h = self.node("Sub", h, self.constant(shift)) if shift.any() else h
                return self.node("Div", h, self.constant(scale))
            case ops.Affine(shift, scale):
                return self.node("Add", self.node("Mul", h, self.constant(scale)), self.constant(shift))
            case ops.ZeroMissing():
                return self.node("Where", self.missing(x), self.constant(0), h)
            case ops.AppendMissing():
                return self.node("Concat", h, self.node("Cast", self.missing(x), to=protobuf.FLOAT), axis=1)
            case ops.Log1p():
                return self.node("Log", self.node("Add", h, self.constant(1)))
            case ops.LogColumns(chosen, added):
                logs = self.node("Log", self.node("Add", h, self.constant(added)))
                return self.node("Where", self.node("Equal", self.constant(chosen), self.constant(1)), logs, h)
            case ops.Binary():
                zero = self.node("Equal", h, self.constant(0))
                return self.node("Cast", self.node("Not", zero), to=protobuf.FLOAT)
            case ops.Normalize(norm):
                return self._normalized(h, norm)
            case ops.ToImage(height, width, channels, parts):
                h = self._reshaped(h, parts, height, width, channels)
                h = self.node("Transpose", h, perm=[0, 1, 4, 2, 3])
                return self._reshaped(h, parts * channels, height, width)
            case ops.JoinCondition():
                assert y is not None, "a conditional model has an input y"
                return self.node("Concat", h, y, axis=1)
            case ops.Linear():
                return self._weighted("Gemm", op, h, op.weight, op.bias, transB=1)
            case ops.Conv2d() | ops.ConvTranspose2d():
                return self._convolution(op, h)
            case ops.BatchNorm():
                return self._norm(op, h)
            case ops.Activation(kind):
                return self._activation(kind, h)
            case ops.MaxPool2d(size) | ops.AvgPool2d(size):
                kind = "MaxPool" if isinstance(op, ops.MaxPool2d) else "AveragePool"
                return self.node(kind, h, kernel_shape=size, strides=size)
            case ops.Upsample(size):
                factors, nearest = self.constant([1, 1, *size]), {"mode": "nearest", "nearest_mode": "floor"}
                return self.node("Resize", h, "", factors, coordinate_transformation_mode="asymmetric", **nearest)
            case ops.Flatten():
                return self.node("Flatten", h, axis=1)
            case ops.Unflatten(channels, height, width):
                return self._reshaped(h, channels, height, width)
            case ops.ToColumns():
                return self.node("Flatten", self.node("Transpose", h, perm=[0, 2, 3, 1]), axis=1)
            case ops.Exp():
                return self.node("Exp", h)
            case ops.Softmax():
                return self.node("Softmax", h, axis=-1)
        raise NotImplementedError(f"{type(op).__name__} has no ONNX operators")

    def columns(self, h: str, first: int, last: int) -> str:
        """Return columns of a matrix."""
        ends = (self.constant([value], np.int64) for value in (first, last, 1))
        return self.node("Slice", h, *ends)

    def _weighted(self, kind: str, op: ops.Operation, h: str, weight: Any, bias: Any, **attributes: Any) -> str:
        tensors = [self.tensor(f"{op.name}.weight", weight)]
        tensors += [] if bias is None else [self.tensor(f"{op.name}.bias", bias)]
        return self.node(kind, h, *tensors, **attributes)

    def _convolution(self, op: ops.Conv2d | ops.ConvTranspose2d, h: str) -> str:
        pads = [*op.padding, *op.padding]
        shape = {"kernel_shape": op.weight.shape[2:], "strides": op.stride, "pads": pads}
        if isinstance(op, ops.Conv2d):
            return self._weighted("Conv", op, h, op.weight, op.bias, **shape)
        return self._weighted("ConvTranspose", op, h, op.weight, op.bias, output_padding=op.output_padding, **shape)

    def _norm(self, op: ops.BatchNorm, h: str) -> str:
        n = len(op.mean)
        weight = np.ones(n, np.float32) if op.weight is None else op.weight
        bias = np.zeros(n, np.float32) if op.bias is None else op.bias
        parts = {"weight": weight, "bias": bias, "running_mean": op.mean, "running_var": op.variance}
        tensors = [self.tensor(f"{op.name}.{name}", array) for name, array in parts.items()]
        return self.node("BatchNormalization", h, *tensors, epsilon=op.eps)

    def _activation(self, kind: str, h: str) -> str:
        if kind == "silu":
            return self.node("Mul", h, self.node("Sigmoid", h))
        if kind == "gelu":
            erf = self.node("Erf", self.node("Mul", h, self.constant(1 / sqrt(2))))
            return self.node("Mul", self.node("Mul", h, self.constant(0.5)), self.node("Add", erf, self.constant(1)))
        return self.node(_ACTIVATIONS[kind], h)

    def _normalized(self, h: str, norm: str) -> str:
        terms = self.node("Mul", h, h) if norm == "l2" else self.node("Abs", h)
        size = self.node("ReduceSum", terms, self.constant([1], np.int64), keepdims=1)
        size = self.node("Sqrt", size) if norm == "l2" else size
        if norm == "frequencies":
            scale, short = map(self.constant, _core.FREQUENCIES)
            return self.node("Div", h, self.node("Div", self.node("Add", size, short), scale))
        none = self.node("Equal", size, self.constant(0))
        return self.node("Div", h, self.node("Where", none, self.constant(1), size))

    def _reshaped(self, h: str, *sides: int) -> str:
        return self.node("Reshape", h, self.constant([-1, *sides], np.int64))
