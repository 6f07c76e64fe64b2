"""onnxruntime: reconstruction from the posterior mean, with the weights of a fastvae model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from opponents.conv_networks import Network


def _session(
    nodes: list[onnx.NodeProto],
    border: list[onnx.ValueInfoProto],
    tensors: list[onnx.TensorProto],
    threads: int,
) -> onnxruntime.InferenceSession:
    graph = helper.make_graph(nodes, "reconstruction", border[:1], border[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return _started(model.SerializeToString(), threads)


def _started(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def exported(model: Any, part: str, threads: int, *, quantized: bool) -> Callable[[NDArray[np.float32]], Any]:
    """Return a function of X: our ONNX model of a part, with dynamic quantisation to int8 if asked for."""
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        model.export_onnx(plain, part)
        if quantized:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True)
            nodes = {node.op_type for node in onnx.load(small).graph.node}
            assert "MatMulInteger" in nodes, nodes
        session = _started((small if quantized else plain).read_bytes(), threads)
    return lambda x: session.run(None, {"X": x})[0]


class OnnxReconstruction:
    """E[x|z = mu(x)] of a model with one hidden ReLU layer on each side and a Bernoulli likelihood."""

    def __init__(self, state: Mapping[str, NDArray[np.float32]], threads: int) -> None:
        layers = [
            ("x", "encoder.0", "a", "Relu"),
            ("h0", "mu", "z", None),
            ("z", "decoder.0", "b", "Relu"),
            ("h1", "decoder.2", "c", "Sigmoid"),
        ]
        outputs = {"a": "h0", "b": "h1", "c": "y"}
        nodes, tensors = [], []
        for source, name, target, activation in layers:
            names = [f"{name}.weight", f"{name}.bias"]
            tensors += [numpy_helper.from_array(state[key], key) for key in names]
            nodes.append(helper.make_node("Gemm", [source, *names], [target], transB=1))
            if activation:
                nodes.append(helper.make_node(activation, [target], [outputs[target]]))
        n_features = state["encoder.0.weight"].shape[1]
        border = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n_features]) for name in ("x", "y")]
        self.session = _session(nodes, border, tensors, threads)

    def reconstruct(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decoder means, [n, n_features]."""
        return self.session.run(["y"], {"x": x})[0]


class OnnxConvReconstruction:
    """E[x|z = mu(x)] of a convolutional model without batch normalisation and pooling, Bernoulli likelihood."""

    def __init__(self, network: Network, state: Mapping[str, NDArray[np.float32]], threads: int) -> None:
        self.state, self.tensors, self.nodes, self.last = state, [], [], "x"
        windows = [
            {"kernel_shape": [c.kernel_size] * 2, "strides": [c.stride] * 2, "pads": [c.padding] * 4}
            for c in network.hidden
        ]
        weights = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
        encoder, decoder = ([name for name in weights if name.startswith(part)] for part in ("encoder", "decoder"))
        for name, window in zip(encoder, windows, strict=True):
            self._add("Conv", name, **window)
            self._add("Relu")
        self._add("Flatten")
        self._add("Gemm", "mu", transB=1)
        self._add("Gemm", decoder[0], transB=1)
        self._add("Relu")
        height, width, channels = network.sizes()[-1]
        shape = np.array([-1, channels, height, width], np.int64)
        self.tensors.append(numpy_helper.from_array(shape, "shape"))
        self._add("Reshape", inputs=["shape"])
        for name, window in zip(decoder[1:], reversed(windows), strict=True):
            self._add("ConvTranspose", name, **window)
            self._add("Sigmoid" if name == decoder[-1] else "Relu")
        size = ["n", network.image[2], *network.image[:2]]
        border = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in ("x", self.last)]
        self.session = _session(self.nodes, border, self.tensors, threads)

    def _add(self, kind: str, name: str | None = None, inputs: list[str] | None = None, **options: object) -> None:
        """Add a node that reads the last one's output, and the weight and bias `name`."""
        names = inputs or []
        if name:
            names = [f"{name}.weight", f"{name}.bias"]
            self.tensors += [numpy_helper.from_array(np.ascontiguousarray(self.state[key]), key) for key in names]
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *names], [output], **options))
        self.last = output

    def reconstruct(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decoder means of images [n, channels, height, width]."""
        return self.session.run(None, {"x": x})[0]
