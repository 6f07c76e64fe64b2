"""Mult-VAE in PyTorch: the network, optimiser and schedule of fastvae.Recommender, on dense batches of sparse rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

torch: Any = import_module("torch")  # untyped: mypy runs without PyTorch
nn: Any = torch.nn
functional: Any = nn.functional


class MultVae(nn.Module):  # type: ignore[misc]
    """items - hidden - latent - hidden - items with tanh; dropout on the L2-normalised input."""

    def __init__(self, n_items: int, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.encoder, self.code = nn.Linear(n_items, hidden), nn.Linear(hidden, 2 * latent_dim)
        self.decoder, self.output = nn.Linear(latent_dim, hidden), nn.Linear(hidden, n_items)
        self.latent_dim = latent_dim

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Return logits and the KL of each user."""
        x = functional.dropout(functional.normalize(x), 0.5, self.training)
        mu, logvar = self.code(torch.tanh(self.encoder(x))).split(self.latent_dim, 1)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu) if self.training else mu
        kl = -0.5 * (1 + logvar - mu * mu - logvar.exp()).sum(1)
        return self.output(torch.tanh(self.decoder(z))), kl


def dense(clicks: csr_matrix) -> Any:
    """Return a batch of rows as a dense tensor."""
    return torch.from_numpy(clicks.toarray())


def train(
    clicks: csr_matrix,
    model: MultVae,
    *,
    seed: int,
    epochs: int,
    beta: Callable[[int], float],
    after_epoch: Callable[[int], bool],
    batch_size: int = 500,
) -> list[float]:
    """Train with Adam, and return the seconds of each epoch.

    `beta` is a function of the step; `after_epoch` says whether to stop.
    """
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    generator, step, seconds = np.random.default_rng(seed), 0, []
    for epoch in range(epochs):
        start = time.perf_counter()
        order = generator.permutation(clicks.shape[0])
        model.train()
        for first in range(0, len(order), batch_size):
            x = dense(clicks[order[first : first + batch_size]])
            logits, kl = model(x)
            loss = (-(functional.log_softmax(logits, 1) * x).sum(1) + beta(step) * kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        seconds.append(time.perf_counter() - start)
        if after_epoch(epoch):
            break
    return seconds


@torch.inference_mode()  # type: ignore[untyped-decorator]
def recommend(model: MultVae, clicks: csr_matrix, n: int, batch_size: int = 500) -> NDArray[Any]:
    """Return the n best new items of each user: dense scores of a batch, seen items at -inf, then top-k."""
    model.eval()
    found = np.empty((clicks.shape[0], n), np.int64)
    for first in range(0, clicks.shape[0], batch_size):
        rows = clicks[first : first + batch_size]
        logits, _ = model(dense(rows))
        users = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        logits[torch.from_numpy(users), torch.from_numpy(rows.indices.astype(np.int64))] = -torch.inf
        found[first : first + batch_size] = logits.topk(n).indices.numpy()
    return found


def copy_weights(model: MultVae, state: dict[str, NDArray[np.float32]]) -> MultVae:
    """Give a model the weights of a fitted fastvae.Recommender."""
    names = {
        "encoder": ("encoder.0",),
        "code": ("mu", "logvar"),
        "decoder": ("decoder.0",),
        "output": ("decoder.2",),
    }
    model.load_state_dict(
        {
            f"{own}.{part}": torch.from_numpy(np.concatenate([state[f"{name}.{part}"] for name in theirs]))
            for own, theirs in names.items()
            for part in ("weight", "bias")
        }
    )
    return model
