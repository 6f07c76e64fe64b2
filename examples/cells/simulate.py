"""Simulated counts of genes in cells, with known types, batches and sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


class Cells(NamedTuple):
    """Counts [n_cells, n_genes] as CSR, with the type, the batch and the expected total of each cell."""

    X: sparse.csr_array
    types: NDArray[np.int64]
    batches: NDArray[np.int64]
    sizes: NDArray[np.float64]
    shares: NDArray[np.float64]
    """Shares of the genes in each type, without batch effects, [n_types, n_genes]."""


def simulate(
    n_cells: int = 5000,
    n_genes: int = 500,
    n_types: int = 8,
    n_batches: int = 3,
    *,
    size: float = 1000.0,
    difference: float = 0.6,
    batch_effect: float = 0.4,
    dropout: float = 0.0,
    seed: int = 0,
) -> Cells:
    """Draw counts from a negative binomial whose means are sizes times shares.

    Each type changes the expression of a fifth of the genes; each batch changes all genes, and differs in its size and
    in the frequencies of the types. ``dropout`` sets that share of the counts to zero.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 1.5, n_genes)
    marked = rng.random((n_types, n_genes)) < 0.2
    log_rates = base + marked * rng.normal(0.0, 3.0 * difference, (n_types, n_genes))
    effects = rng.normal(0.0, batch_effect, (n_batches, n_genes))
    frequencies = rng.dirichlet(np.full(n_types, 3.0), n_batches)
    dispersion = rng.gamma(4.0, 0.5, n_genes)

    batches = rng.integers(0, n_batches, n_cells)
    types = np.array([rng.choice(n_types, p=frequencies[batch]) for batch in batches])
    sizes = rng.lognormal(np.log(size) + 0.5 * (batches - batches.mean()), 0.4)
    shares = _softmax(log_rates)
    rows = []
    for start in range(0, n_cells, 2000):
        part = slice(start, start + 2000)
        means = sizes[part, None] * _softmax(log_rates[types[part]] + effects[batches[part]])
        counts = rng.poisson(means * rng.gamma(dispersion, 1 / dispersion, means.shape))
        counts[rng.random(means.shape) < dropout] = 0
        rows.append(sparse.csr_array(counts.astype(np.float32)))
    return Cells(sparse.csr_array(sparse.vstack(rows)), types, batches, sizes, shares)


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(-1, keepdims=True))
    shares: NDArray[np.float64] = e / e.sum(-1, keepdims=True)
    return shares
