"""The same model in PyTorch, written as its users would for speed: fused Adam, tensors loaded beforehand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class TorchVAE(nn.Module):
    """n_features - hidden - latent_dim - hidden - n_features, ReLU, Bernoulli."""

    def __init__(self, n_features: int = 784, hidden: int = 400, latent_dim: int = 20) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, n_features))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def step(self, x: torch.Tensor) -> None:
        """One training step."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        reconstruction = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = (reconstruction + kl) / len(x)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def epoch(self, x: torch.Tensor, batch_size: int) -> None:
        """One shuffled epoch over uint8 images."""
        for rows in torch.randperm(len(x)).split(batch_size):
            self.step(x[rows].float().div_(255.0))

    @torch.inference_mode()
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Posterior means."""
        return self.mu(self.encoder(x))

    @torch.inference_mode()
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Decoder means."""
        return torch.sigmoid(self.decoder(z))


def step_flops(batch: int, n_features: int = 784, hidden: int = 400, latent_dim: int = 20) -> float:
    """Operations of the products of one step: forward, both gradients; the first layer has no input gradient."""
    first = n_features * hidden
    weights = 2 * first + hidden * 2 * latent_dim + latent_dim * hidden
    return 2.0 * batch * (3 * weights - first)
