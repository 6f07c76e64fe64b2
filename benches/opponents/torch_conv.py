"""PyTorch: convolutional VAEs, eager, with channels last, and compiled."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from fastvae.layers import Conv2d
from opponents.conv_networks import Network


class TorchConvVAE(nn.Module):
    """ReLU, Bernoulli, fused Adam; images are [n, channels, height, width]."""

    def __init__(self, network: Network, *, channels_last: bool = False, compiled: bool = False) -> None:
        super().__init__()
        sizes = network.sizes()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for i, layer in enumerate(network.hidden):
            fan, channels = sizes[i][2], sizes[i + 1][2]
            if not isinstance(layer, Conv2d):
                encoder.append(nn.MaxPool2d(layer.size))
                decoder.insert(0, nn.Upsample(scale_factor=layer.size))
                continue
            window = (layer.kernel_size, layer.stride, layer.padding)
            norm = [nn.BatchNorm2d(channels)] if layer.batch_norm else []
            encoder += [nn.Conv2d(fan, channels, *window), *norm, nn.ReLU()]
            norm = [nn.BatchNorm2d(fan)] if layer.batch_norm else []
            end = [*norm, nn.ReLU()] if i else []
            decoder = [nn.ConvTranspose2d(channels, fan, *window), *end, *decoder]
        height, width, channels = sizes[-1]
        n = height * width * channels
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.mu, self.logvar = nn.Linear(n, network.latent_dim), nn.Linear(n, network.latent_dim)
        norm = [nn.BatchNorm1d(n)] if getattr(network.hidden[-1], "batch_norm", False) else []
        start = [nn.Linear(network.latent_dim, n), *norm, nn.ReLU(), nn.Unflatten(1, (channels, height, width))]
        self.decoder = nn.Sequential(*start, *decoder)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)
        self.objective = torch.compile(self.loss, dynamic=False) if compiled else self.loss

    def images(self, x: torch.Tensor, image: tuple[int, int, int]) -> torch.Tensor:
        """Images [n, channels, height, width] in the model's layout, from [n, height * width * channels]."""
        return x.reshape(-1, *image).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """The negative ELBO, mean over the batch."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        reconstruction = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (reconstruction + kl) / len(x)

    def step(self, x: torch.Tensor) -> None:
        """One training step."""
        loss = self.objective(x)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    @torch.inference_mode()
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Posterior means."""
        return self.mu(self.encoder(x))
