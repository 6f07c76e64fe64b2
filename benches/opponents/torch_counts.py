"""Models of counts in PyTorch, on dense batches: a multinomial VAE and ProdLDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from opponents.torch_vae import TorchVAE


def dense(x: Any) -> torch.Tensor:
    """Return a scipy CSR matrix as a dense tensor."""
    return torch.from_numpy(x.toarray())


class TorchMultinomial(TorchVAE):
    """n_features - hidden - latent_dim - hidden - n_features, ReLU; the encoder reads ln(1 + x)."""

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO without the multinomial coefficient, mean over the batch."""
        h = self.encoder(torch.log1p(x))
        mu, logvar = self.mu(h), self.logvar(h)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        reconstruction = -torch.sum(x * functional.log_softmax(logits, 1))
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (reconstruction + kl) / len(x)

    def epoch(self, x: Any, batch_size: int) -> None:
        """One shuffled epoch over a CSR matrix."""
        for rows in torch.randperm(x.shape[0]).split(batch_size):
            self.step(dense(x[rows.numpy()]))


class TorchProdLDA(nn.Module):
    """Srivastava & Sutton, arXiv:1703.01488: softplus layers, normalised heads, softmax(BN(theta beta))."""

    def __init__(self, n_features: int, hidden: tuple[int, ...], n_topics: int) -> None:
        super().__init__()
        widths = (n_features, *hidden)
        layers = [[nn.Linear(a, b), nn.Softplus()] for a, b in zip(widths, hidden, strict=False)]
        self.encoder = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.mu, self.logvar = nn.Linear(hidden[-1], n_topics), nn.Linear(hidden[-1], n_topics)
        self.mu_norm, self.logvar_norm = (nn.BatchNorm1d(n_topics, affine=False) for _ in range(2))
        self.topics = nn.Linear(n_topics, n_features, bias=False)
        self.norm = nn.BatchNorm1d(n_features, affine=False)
        # The Laplace approximation of Dirichlet(1): mean 0, variance 1 - 1 / n_topics.
        self.prior_variance = 1 - 1 / n_topics
        self.optimizer = torch.optim.Adam(self.parameters(), lr=2e-3, betas=(0.99, 0.999), fused=True)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO without the multinomial coefficient, mean over the batch."""
        h = self.encoder(x)
        mu, logvar = self.mu_norm(self.mu(h)), self.logvar_norm(self.logvar(h))
        theta = torch.softmax(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu), 1)
        reconstruction = -torch.sum(x * functional.log_softmax(self.norm(self.topics(theta)), 1))
        ratio = logvar.exp() / self.prior_variance
        kl = 0.5 * torch.sum(ratio + mu.pow(2) / self.prior_variance - 1 - ratio.log())
        return (reconstruction + kl) / len(x)

    def epoch(self, x: Any, batch_size: int) -> None:
        """One shuffled epoch over a CSR matrix."""
        for rows in torch.randperm(x.shape[0]).split(batch_size):
            loss = self.loss(dense(x[rows.numpy()]))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
