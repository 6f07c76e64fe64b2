"""The few messages of ONNX that a network needs, in protobuf's wire format. Field numbers are those of onnx.proto.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET, IR_VERSION = 13, 8

# TensorProto.DataType by numpy's type.
_TYPES = {"float32": 1, "int64": 7, "float64": 11}
FLOAT, DOUBLE = _TYPES["float32"], _TYPES["float64"]


def _varint(n: int) -> bytes:
    """Return an integer, 64 bits in two's complement, in groups of seven bits."""
    n &= 2**64 - 1
    made = bytearray()
    while n > 0x7F:
        made.append(n & 0x7F | 0x80)
        n >>= 7
    made.append(n)
    return bytes(made)


def _number(field: int, n: int) -> bytes:
    return _varint(field << 3) + _varint(n)


def _bytes(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def tensor(name: str, array: NDArray[Any]) -> bytes:
    """Return a TensorProto."""
    dims = b"".join(_number(1, side) for side in array.shape)
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return dims + _number(2, _TYPES[array.dtype.name]) + _bytes(8, name) + _bytes(9, raw)


def attribute(name: str, value: int | float | str | Sequence[int]) -> bytes:
    """Return an AttributeProto."""
    if isinstance(value, int):
        content = _number(3, value) + _number(20, 2)
    elif isinstance(value, float):
        content = _float(2, value) + _number(20, 1)
    elif isinstance(value, str):
        content = _bytes(4, value) + _number(20, 3)
    else:
        content = b"".join(_number(8, n) for n in value) + _number(20, 7)
    return _bytes(1, name) + content


def node(kind: str, inputs: Iterable[str], outputs: Iterable[str], name: str, attributes: Mapping[str, Any]) -> bytes:
    """Return a NodeProto."""
    made = b"".join(_bytes(1, source) for source in inputs) + b"".join(_bytes(2, target) for target in outputs)
    made += _bytes(3, name) + _bytes(4, kind)
    return made + b"".join(_bytes(5, attribute(key, value)) for key, value in attributes.items())


def value_info(name: str, shape: Sequence[int | str], doc: str) -> bytes:
    """Return a ValueInfoProto of float32; a side that is a name is not fixed."""
    sides = (_bytes(2, side) if isinstance(side, str) else _number(1, side) for side in shape)
    dims = b"".join(_bytes(1, side) for side in sides)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, FLOAT) + _bytes(2, dims))) + _bytes(3, doc)


def model(
    *,
    name: str,
    doc: str,
    version: str,
    metadata: Mapping[str, str],
    nodes: Iterable[bytes],
    tensors: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
) -> bytes:
    """Return a ModelProto."""
    parts = ((1, nodes), (5, tensors), (11, inputs), (12, outputs))
    graph = b"".join(_bytes(field, message) for field, messages in parts for message in messages)
    graph += _bytes(2, name)
    entries = b"".join(_bytes(14, _bytes(1, key) + _bytes(2, value)) for key, value in metadata.items())
    producer = _bytes(2, "fastvae") + _bytes(3, version) + _bytes(6, doc)
    return _number(1, IR_VERSION) + _bytes(8, _number(2, OPSET)) + producer + _bytes(7, graph) + entries
