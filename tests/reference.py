"""The model as a reader would write it in torch: what the numerical tests compare with.

Nothing here is taken from the engine: likelihoods come from ``torch.distributions`` and ``torch.nn``, gradients
from autograd.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits

from fastvae import VAE
from fastvae.likelihoods import Gaussian

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}
LIKELIHOODS: dict[str, Any] = {
    "bernoulli": "bernoulli",
    "gaussian": "gaussian",
    "gaussian 0.3": Gaussian(scale=0.3),
    "gaussian shared": Gaussian(scale="shared"),
    "gaussian per_feature": Gaussian(scale="per_feature"),
}
LOGVAR_RANGE = (-30.0, 20.0)


def sequential(widths: list[int], activation: str, last: bool) -> nn.Sequential:
    """Dense layers with activations between them and, if ``last``, after them."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        modules += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*(modules if last else modules[:-1]))


class LearnedScale(nn.Module):
    """The logarithm of a Gaussian's standard deviation: one, or one for each feature."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(shape))


class TorchVAE(nn.Module):
    """A dense VAE with the parameters of :class:`fastvae.VAE`, and its ``state_dict`` names."""

    def __init__(
        self,
        n_features: int,
        latent_dim: int = 2,
        *,
        hidden: tuple[int, ...] = (400,),
        decoder_hidden: tuple[int, ...] | None = None,
        activation: str = "relu",
        likelihood: Any = "bernoulli",
        beta: float = 1.0,
        objective: str = "elbo",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        decoder_hidden = hidden[::-1] if decoder_hidden is None else decoder_hidden
        head = [n_features, *hidden][-1]
        self.encoder = sequential([n_features, *hidden], activation, last=True)
        self.mu = nn.Linear(head, latent_dim)
        self.logvar = nn.Linear(head, latent_dim)
        self.decoder = sequential([latent_dim, *decoder_hidden, n_features], activation, last=False)
        self.bernoulli = likelihood == "bernoulli"
        self.fixed_scale = 1.0
        if isinstance(likelihood, Gaussian):
            if isinstance(likelihood.scale, str):
                self.likelihood = LearnedScale((n_features,) if likelihood.scale == "per_feature" else ())
            else:
                self.fixed_scale = likelihood.scale
        self.beta, self.objective = beta, objective
        self.to(dtype)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior's mu and logvar, not clamped."""
        hidden = self.encoder(x)
        return self.mu(hidden), self.logvar(hidden)

    def scale(self) -> Tensor:
        """The Gaussian's standard deviation."""
        if hasattr(self, "likelihood"):
            return self.likelihood.log_scale.exp()
        return torch.tensor(self.fixed_scale, dtype=self.mu.weight.dtype)

    def mean(self, z: Tensor) -> Tensor:
        """E[x|z]."""
        y: Tensor = self.decoder(z)
        return y.sigmoid() if self.bernoulli else y

    def terms(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) and the KL of each example, nats."""
        mu, logvar = self.encode(x)
        logvar = logvar.clamp(*LOGVAR_RANGE)
        y = self.decoder(mu + (logvar / 2).exp() * eps)
        if self.bernoulli:
            losses = binary_cross_entropy_with_logits(y, x, reduction="none")
        else:
            losses = -Normal(y, self.scale()).log_prob(x)
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp())
        return losses.sum(1), kl.sum(1)

    def forward(self, x: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """Batch means, keyed as those of ``fastvae.VAE.evaluate``."""
        reconstruction, kl = (term.mean() for term in self.terms(x, eps))
        loss = {
            "elbo": reconstruction + self.beta * kl,
            "reconstruction": reconstruction,
            "kl": self.beta * kl,
        }[self.objective]
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl, "loss": loss}

    def load(self, weights: dict[str, NDArray[np.float32]]) -> TorchVAE:
        """Take over a state dict of ``fastvae.VAE``, whose names and shapes must be exactly ours."""
        self.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
        return self

    def weights(self) -> dict[str, NDArray[Any]]:
        """All parameters as arrays."""
        return {name: parameter.detach().numpy().copy() for name, parameter in self.named_parameters()}

    def losses_and_gradients(
        self, x: NDArray[Any], eps: NDArray[Any]
    ) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
        """What ``fastvae.VAE.loss_and_gradients`` returns, by autograd; zero where the loss ignores a parameter."""
        self.zero_grad(set_to_none=False)
        losses = self(self.tensor(x), self.tensor(eps))
        losses["loss"].backward()
        gradients = {
            name: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy() for name, p in self.named_parameters()
        }
        return {name: loss.item() for name, loss in losses.items()}, gradients

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """An array as a tensor of the model's type."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.mu.weight.dtype)


def lively_weights(model: TorchVAE, seed: int) -> dict[str, NDArray[np.float32]]:
    """Random weights that drive every nonlinearity out of its linear range: N(0, (1.5)² / fan_in)."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, parameter in model.named_parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 4
        values = rng.normal(size=tuple(parameter.shape)) * 1.5 / np.sqrt(fan_in)
        weights[name] = np.asarray(values, dtype=np.float32)
    return weights


def pair(n_features: int, seed: int = 0, **params: Any) -> tuple[VAE, TorchVAE]:
    """A ``fastvae.VAE`` and its float64 twin with the same lively weights."""
    names = ("latent_dim", "hidden", "decoder_hidden", "activation", "likelihood", "beta", "objective")
    twin = TorchVAE(n_features, **{name: params[name] for name in names if name in params})
    weights = lively_weights(twin, seed)
    return VAE(**params).load_state_dict(weights), twin.load(weights)


def examples(likelihood: Any, rows: int, cols: int, seed: int = 0) -> NDArray[np.float32]:
    """Data that the likelihood takes: grey values with some exact 0 and 1, or real numbers."""
    rng = np.random.default_rng(seed)
    if likelihood == "bernoulli":
        return np.clip(rng.uniform(-0.5, 1.5, (rows, cols)), 0, 1).astype(np.float32)
    return rng.normal(0.3, 1.2, (rows, cols)).astype(np.float32)


def noise(rows: int, latent_dim: int, seed: int = 1) -> NDArray[np.float32]:
    """Standard normal noise from numpy."""
    return np.random.default_rng(seed).normal(size=(rows, latent_dim)).astype(np.float32)


def relative_error(ours: Any, reference: Any) -> float:
    """Norm of the difference over the norm of the reference; where that is 0, ours must be below 1e-7."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    assert ours.shape == reference.shape
    size = float(np.linalg.norm(reference))
    if size == 0:
        return 0.0 if np.linalg.norm(ours) < 1e-7 else float("inf")
    return float(np.linalg.norm(ours - reference)) / size
