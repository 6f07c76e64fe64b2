"""PyTorch: fused Adam, tensors loaded beforehand; eager or compiled."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class TorchVAE(nn.Module):
    """n_features - hidden - latent_dim - hidden - n_features, ReLU, Bernoulli; Burda et al.'s bound if samples > 1."""

    def __init__(
        self,
        n_features: int = 784,
        hidden: int = 400,
        latent_dim: int = 20,
        *,
        samples: int = 1,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, n_features))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)
        self.samples = samples
        loss = self.loss if samples == 1 else self.importance_loss
        self.objective = torch.compile(loss, dynamic=False) if compiled else loss

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO, mean over the batch."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        reconstruction = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (reconstruction + kl) / len(x)

    def importance_loss(self, x: torch.Tensor) -> torch.Tensor:
        """The negative importance-weighted bound, mean over the batch; the encoder runs once for each example."""
        h = self.encoder(x)
        mu, logvar = self.mu(h)[:, None], self.logvar(h)[:, None]
        eps = torch.randn(len(x), self.samples, mu.shape[-1])
        z = mu + torch.exp(0.5 * logvar) * eps
        logits = self.decoder(z)
        targets = x[:, None].expand_as(logits)
        log_prob = -functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(2)
        log_weights = log_prob + 0.5 * torch.sum(logvar + eps.pow(2) - z.pow(2), 2)
        return (math.log(self.samples) - torch.logsumexp(log_weights, 1)).mean()

    def step(self, x: torch.Tensor) -> None:
        """One training step."""
        loss = self.objective(x)
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

    @torch.inference_mode()
    def score(self, x: torch.Tensor) -> torch.Tensor:
        """ELBO of each example, one draw."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        log_prob = -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return log_prob + 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), 1)

    @torch.inference_mode()
    def log_marginal(self, x: torch.Tensor, n_samples: int, at_once: int = 1000) -> torch.Tensor:
        """log p(x) of each binary example by importance sampling, ``at_once`` samples at a time."""
        h = self.encoder(x)
        found = []
        for example, mu, logvar in zip(x, self.mu(h), self.logvar(h), strict=True):
            log_weights = []
            for rows in torch.arange(n_samples).split(at_once):
                eps = torch.randn(len(rows), len(mu))
                z = mu + torch.exp(0.5 * logvar) * eps
                logits = self.decoder(z)
                log_prob = logits @ example - functional.softplus(logits).sum(1)  # x is 0 or 1
                log_weights.append(log_prob + 0.5 * torch.sum(logvar + eps.pow(2) - z.pow(2), 1))
            found.append(torch.logsumexp(torch.cat(log_weights), 0) - math.log(n_samples))
        return torch.stack(found)
