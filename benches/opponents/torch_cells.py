"""Counts of cells in PyTorch, as scVI computes them: a negative binomial whose means are shares of the cell's total."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from opponents.torch_counts import TorchMultinomial


class TorchCells(TorchMultinomial):
    """n_genes - hidden - latent_dim - hidden - n_genes. The encoder reads ln(1 + x) and the batch."""

    def __init__(self, n_genes: int, hidden: int, latent_dim: int, n_batches: int, *, inflated: bool = False) -> None:
        super().__init__(n_genes, hidden, latent_dim)
        self.encoder[0] = nn.Linear(n_genes + n_batches, hidden)
        self.decoder[0] = nn.Linear(latent_dim + n_batches, hidden)
        self.log_dispersion = nn.Parameter(torch.zeros(n_genes))
        self.inflation = nn.Linear(hidden, n_genes) if inflated else None
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        """The negative ELBO, mean over the batch."""
        x, y = batch
        h = self.encoder(torch.cat([torch.log1p(x), y], 1))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        hidden = self.decoder[:-1](torch.cat([z, y], 1))
        log_mean = functional.log_softmax(self.decoder[-1](hidden), 1) + x.sum(1, keepdim=True).clamp(min=1e-6).log()
        log_r = self.log_dispersion
        r, log_total = log_r.exp(), torch.logaddexp(log_r, log_mean)
        log_p = (x + r).lgamma() - r.lgamma() - (x + 1).lgamma() + r * (log_r - log_total) + x * (log_mean - log_total)
        if self.inflation is not None:
            u = self.inflation(hidden)
            zero = functional.softplus(r * (log_r - log_total) - u) - functional.softplus(-u)
            log_p = torch.where(x > 0, log_p - functional.softplus(u), zero)
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (kl - log_p.sum()) / len(x)

    def cells_epoch(self, x: Any, y: torch.Tensor, batch_size: int) -> None:
        """One shuffled epoch over a CSR matrix."""
        for rows in torch.randperm(x.shape[0]).split(batch_size):
            self.step((torch.from_numpy(x[rows.numpy()].toarray()), y[rows]))  # type: ignore[arg-type]
