"""onnxruntime: reconstruction from the posterior mean, with the weights of a fastvae model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


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
        graph = helper.make_graph(nodes, "reconstruction", border[:1], border[1:], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def reconstruct(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decoder means, [n, n_features]."""
        return self.session.run(["y"], {"x": x})[0]
