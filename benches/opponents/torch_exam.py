"""PyTorch: the two-parameter model of an exam with missing answers, on the importance-weighted bound; fused Adam."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class TorchExam(nn.Module):
    """The network of fastvae.ItemResponse: the encoder reads answers and a mask; logits are a alpha + d."""

    def __init__(self, n_tasks: int, hidden: int = 64, samples: int = 16, learning_rate: float = 2e-2) -> None:
        super().__init__()
        self.samples, self.learning_rate = samples, learning_rate
        self.encoder = nn.Sequential(nn.Linear(2 * n_tasks, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, 1), nn.Linear(hidden, 1)
        self.decoder = nn.Linear(1, n_tasks)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate, fused=True)

    def start(self, marks: torch.Tensor) -> None:
        """Initialise slopes with 1 and intercepts from the tasks' means, as fastvae does."""
        seen = ~marks.isnan()
        share = (marks.nan_to_num().sum(0) + 0.5) / (seen.sum(0) + 1)
        with torch.no_grad():
            self.decoder.weight.fill_(1)
            self.decoder.bias.copy_(torch.logit(share))

    def loss(self, marks: torch.Tensor) -> torch.Tensor:
        """The negative bound, mean over the batch; NaN is missing."""
        hole = marks.isnan().to(marks.dtype)
        x = marks.nan_to_num()
        h = self.encoder(torch.cat([x, hole], 1))
        mu, logvar = self.mu(h), self.logvar(h)
        eps = torch.randn(len(marks), self.samples)
        alpha = mu + torch.exp(logvar / 2) * eps
        logits = self.decoder(alpha[..., None])  # [students, samples, tasks]
        log_p = (x[:, None] * logits - (1 - hole)[:, None] * functional.softplus(logits)).sum(2)
        # Doubly reparameterised, as in fastvae: the encoder's gradient goes through alpha only, with squared weights.
        standardised = (alpha - mu.detach()) * torch.exp(-logvar.detach() / 2)
        log_w = log_p + (logvar.detach() + standardised**2 - alpha**2) / 2
        if alpha.requires_grad:
            weights = torch.softmax(log_w.detach(), 1)
            alpha.register_hook(lambda gradient: weights * gradient)
        return math.log(self.samples) - torch.logsumexp(log_w, 1).mean()

    def epoch(self, marks: torch.Tensor, batch_size: int) -> None:
        """One shuffled epoch."""
        for rows in torch.randperm(len(marks)).split(batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(marks[rows]).backward()
            self.optimizer.step()

    def fit(self, marks: torch.Tensor, epochs: int, batch_size: int) -> TorchExam:
        """Train with a cosine schedule that ends at a hundredth of the learning rate, as fastvae does."""
        self.start(marks)
        steps = epochs * math.ceil(len(marks) / batch_size)
        cosine = lambda step: 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2  # noqa: E731
        schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, cosine)
        self.optimizer.register_step_post_hook(lambda *_: schedule.step())
        for _ in range(epochs):
            self.epoch(marks, batch_size)
        return self
