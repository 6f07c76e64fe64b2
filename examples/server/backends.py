"""The model behind the server: fastvae itself, or the same weights in PyTorch or onnxruntime, for comparison."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastvae

Array = NDArray[np.float32]


class Backend:
    """fastvae. Each worker uses one thread: there are as many workers as cores."""

    name = "fastvae"
    forks = True  # may be loaded before the workers are forked, which then share its memory

    def __init__(self, model: Any) -> None:
        self.model = model.set_params(n_jobs=1)
        self.n_features = int(model.n_features_in_)

    def facts(self) -> dict[str, Any]:
        """Return what /health says of the model."""
        shape = {"n_features": self.n_features, "latent_dim": int(self.model.get_feature_names_out().size)}
        return {"model": type(self.model).__name__, "backend": self.name, "version": fastvae.__version__, **shape}

    def _given(self, y: Any) -> dict[str, Any]:
        return {} if y is None else {"y": y}

    def encode(self, X: Any, y: Any) -> Any:
        """Return codes, [n, latent_dim]."""
        return self.model.transform(X, **self._given(y))

    def reconstruct(self, X: Any, y: Any) -> Any:
        """Return reconstructions in the shape of X."""
        return self.model.reconstruct(X, **self._given(y))

    def score(self, X: Any, y: Any) -> Any:
        """Return the ELBO of each example, [n], nats."""
        return self.model.score_samples(X, **self._given(y))

    def anomaly(self, X: Any, y: Any) -> Any:
        """Return the negative ELBO of each example, [n], nats: higher is more anomalous."""
        return -self.score(X, y)


class TorchBackend(Backend):
    """The same weights as an ``nn.Module``; scores are at the posterior mean."""

    name = "torch"
    forks = False

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.torch = import_module("torch")
        self.torch.set_num_threads(1)
        self.module = fastvae.torch.to_module(model)

    def _run(self, function: Any, X: Any, **more: Any) -> Any:
        with self.torch.inference_mode():
            return function(self.torch.from_numpy(np.array(X, np.float32)), **more)

    def encode(self, X: Any, y: Any) -> Any:
        """Return codes."""
        return self._run(self.module.encode, X)[0].numpy()

    def reconstruct(self, X: Any, y: Any) -> Any:
        """Return reconstructions."""
        return self._run(self.module, X)[0].numpy()

    def score(self, X: Any, y: Any) -> Any:
        """Return the ELBO at the posterior mean."""
        eps = self.torch.zeros(len(X), self.module.latent_dim)
        return self._run(self.module.elbo, X, eps=eps).numpy()


class OnnxBackend(Backend):
    """The same weights in onnxruntime; scores are at the posterior mean."""

    name = "onnxruntime"
    forks = False

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.sessions = {part: self._session(part) for part in ("encoder", "reconstruct", "score")}

    def _session(self, part: str) -> Any:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = io.BytesIO()
        self.model.export_onnx(file, part)
        return runtime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def _run(self, part: str, output: str, X: Any, **more: Any) -> Any:
        return self.sessions[part].run([output], {"X": np.asarray(X, np.float32), **more})[0]

    def encode(self, X: Any, y: Any) -> Any:
        """Return codes."""
        return self._run("encoder", "mu", X)

    def reconstruct(self, X: Any, y: Any) -> Any:
        """Return reconstructions."""
        return self._run("reconstruct", "reconstruction", X)

    def score(self, X: Any, y: Any) -> Any:
        """Return the ELBO at the posterior mean."""
        return self._run("score", "elbo", X, eps=np.zeros((len(X), self.model.latent_dim), np.float32))


KINDS = {kind.name: kind for kind in (Backend, TorchBackend, OnnxBackend)}


def load(name: str, path: str) -> Backend:
    """Return a backend with the model in a file."""
    return KINDS[name](fastvae.load(path))
