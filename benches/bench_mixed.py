"""A training step of a table with columns of several kinds, beside PyTorch and a Gaussian model of the same size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import opponents
from conftest import Contest
from numpy.typing import NDArray

import fastvae
from fastvae.likelihoods import Bernoulli, Categorical, Gaussian, LogNormal, Mixed, NegativeBinomial, Ordinal

# A census-like table of 16 variables, 110 columns: four numbers, a positive number, two counts, a binary variable, six
# categorical and two ordinal variables.
NUMBERS, POSITIVE, COUNTS, BINARY, CATEGORICAL, ORDINAL = 4, 1, 2, 1, (8, 7, 14, 6, 5, 42), (16, 4)
LIKELIHOOD = Mixed(
    [
        (Gaussian("per_feature"), NUMBERS),
        (LogNormal(), POSITIVE),
        (NegativeBinomial(), COUNTS),
        (Bernoulli(), BINARY),
        *((Categorical(), levels) for levels in CATEGORICAL),
        *((Ordinal(), levels) for levels in ORDINAL),
    ]
)
HIDDEN, LATENT, BATCH, STEPS = 128, 16, 256, 40


def table(rows: int) -> NDArray[np.float32]:
    """Rows of the table: numbers of unit size, whatever their order."""
    rng = np.random.default_rng(0)
    parts = [
        rng.normal(size=(rows, NUMBERS)),
        np.exp(rng.normal(size=(rows, POSITIVE))),
        rng.negative_binomial(2, 0.3, (rows, COUNTS)),
        rng.integers(0, 2, (rows, BINARY)),
        *(np.eye(levels)[rng.integers(0, levels, rows)] for levels in (*CATEGORICAL, *ORDINAL)),
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def model(likelihood: Mixed | Gaussian, contest: Contest) -> fastvae.VAE:
    """An untrained model."""
    params = {"hidden": (HIDDEN,), "batch_size": BATCH, "random_state": 0, "n_jobs": contest.threads}
    return fastvae.VAE(LATENT, likelihood=likelihood, **params)


def bench_mixed(contest: Contest) -> None:
    """Consecutive steps, as in training."""
    x = table(STEPS * BATCH)
    ours = model(LIKELIHOOD, contest)
    others: dict[str, Callable[[], object]] = {}
    if torch_mixed := opponents.module("torch", "torch_mixed"):
        singles = (NUMBERS, POSITIVE, COUNTS, BINARY)
        theirs = torch_mixed.TorchMixed(HIDDEN, LATENT, singles, CATEGORICAL, ORDINAL)
        batches = torch_mixed.torch.from_numpy(x).split(BATCH)
        others["torch"] = lambda: [theirs.step(batch) for batch in batches]
    name = f"step of a table, {x.shape[1]} columns of 16 variables, {HIDDEN}-{LATENT}, batch {BATCH}"
    contest.run(name, lambda: ours.partial_fit(x), others, per_call=STEPS)


def bench_gaussian(contest: Contest) -> None:
    """The same network with one likelihood for all columns."""
    x, ours = table(STEPS * BATCH), model(Gaussian("per_feature"), contest)
    name = f"the same, all columns Gaussian, {HIDDEN}-{LATENT}, batch {BATCH}"
    contest.run(name, lambda: ours.partial_fit(x), {}, per_call=STEPS)
