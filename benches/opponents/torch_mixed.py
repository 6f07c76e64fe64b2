"""PyTorch: a VAE of a table with a likelihood for each group of columns, as a reader of HI-VAE would write it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from opponents.torch_vae import TorchVAE


class TorchMixed(TorchVAE):
    """n_features - hidden - latent_dim - hidden - n_features, ReLU; the columns of the groups in their order.

    Numbers are standardised and counts transformed beforehand, for the encoder: `seen`. All variables of a kind are
    scored together; categorical and ordinal variables one by one.
    """

    def __init__(
        self,
        hidden: int,
        latent_dim: int,
        singles: tuple[int, int, int, int],
        categorical: tuple[int, ...],
        ordinal: tuple[int, ...],
    ) -> None:
        numbers, positive, counts, _ = singles
        sizes = [*singles, *categorical, *ordinal]
        super().__init__(sum(sizes), hidden, latent_dim)
        self.sizes, self.n_categorical = sizes, len(categorical)
        self.log_scale = nn.Parameter(torch.zeros(numbers))
        self.log_scale_positive = nn.Parameter(torch.zeros(positive))
        self.log_total_count = nn.Parameter(torch.zeros(counts))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """What the encoder reads."""
        numbers, positive, counts, *rest = x.split(self.sizes, 1)
        return torch.cat([numbers, positive.log(), counts.log1p(), *rest], 1)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO, mean over the batch."""
        h = self.encoder(self.seen(x))
        mu, logvar = self.mu(h), self.logvar(h)
        out = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)).split(self.sizes, 1)
        parts = x.split(self.sizes, 1)
        losses = [self.gaussian(parts[0], out[0], self.log_scale)]
        log_x = parts[1].log()
        losses.append(self.gaussian(log_x, out[1], self.log_scale_positive) + log_x.sum())
        losses.append(self.negative_binomial(parts[2], out[2]))
        losses.append(functional.binary_cross_entropy_with_logits(out[3], parts[3], reduction="sum"))
        for part, y in zip(parts[4 : 4 + self.n_categorical], out[4:], strict=False):
            losses.append(-torch.sum(part * functional.log_softmax(y, 1)))
        for part, y in zip(parts[4 + self.n_categorical :], out[4 + self.n_categorical :], strict=True):
            losses.append(self.ordinal(part, y))
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (torch.stack(losses).sum() + kl) / len(x)

    @staticmethod
    def gaussian(x: torch.Tensor, y: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        """-log p."""
        r = (x - y) * torch.exp(-log_scale)
        return torch.sum(0.5 * r * r + log_scale + 0.9189385)

    def negative_binomial(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """-log p, with ln m the decoder's output."""
        log_r = self.log_total_count
        r = log_r.exp()
        log_p = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return -torch.sum(log_p - r * functional.softplus(y - log_r) - x * functional.softplus(log_r - y))

    @staticmethod
    def ordinal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """-log p: the first output is the location, the others are the increments of the thresholds."""
        below = torch.sigmoid(torch.cumsum(functional.softplus(y[:, 1:]), 1) - y[:, :1])
        ends = torch.zeros_like(below[:, :1])
        p = torch.diff(torch.cat([ends, below, ends + 1], 1), dim=1)
        return -torch.sum(x * torch.log(p.clamp(min=1e-12)))
