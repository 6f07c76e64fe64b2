"""Clusters of cells and the mixing of batches: CountVAE, principal components and the same model in PyTorch.

usage: python examples/cells/clusters.py [--seeds 3] [--cells 4000] [--genes 500]

Needs scikit-learn and PyTorch. Prints a Markdown table: means and, in brackets, ranges over the seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from simulate import Cells, simulate
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

import fastvae

sys.path.insert(0, str(Path(__file__).parents[2] / "benches"))
from opponents.torch_cells import TorchCells  # type: ignore[import-not-found]

LATENT, HIDDEN, BATCH, EPOCHS = 10, 128, 128, 100
SETTINGS: dict[str, dict[str, Any]] = {
    "easy": {"size": 1000.0, "difference": 0.6},
    "shallow": {"size": 200.0, "difference": 0.3},
    "a third of the counts lost": {"size": 500.0, "difference": 0.4, "dropout": 0.33},
}


def components(cells: Cells) -> NDArray[np.floating]:
    """Principal components of ln(1 + x), each cell scaled to the median total."""
    X = cells.X.toarray()
    totals = X.sum(1, keepdims=True)
    codes: NDArray[np.floating] = PCA(LATENT, random_state=0).fit_transform(np.log1p(X / totals * np.median(totals)))
    return codes


def count_vae(likelihood: str) -> Callable[[Cells], NDArray[np.floating]]:
    """Codes of a CountVAE."""

    def codes(cells: Cells) -> NDArray[np.floating]:
        y = cells.batches.astype(str)
        model = fastvae.CountVAE(
            LATENT, hidden=(HIDDEN,), likelihood=likelihood, conditional=True, epochs=EPOCHS, random_state=0
        )
        found: NDArray[np.floating] = model.fit(cells.X, y).transform(cells.X, y=y)
        return found

    return codes


def in_torch(cells: Cells) -> NDArray[np.floating]:
    """Codes of the same model in PyTorch."""
    torch.manual_seed(0)
    y = torch.from_numpy(np.eye(cells.batches.max() + 1, dtype=np.float32)[cells.batches])
    model = TorchCells(cells.X.shape[1], HIDDEN, LATENT, y.shape[1])
    for _ in range(EPOCHS):
        model.cells_epoch(cells.X, y, BATCH)
    with torch.no_grad():
        h = model.encoder(torch.cat([torch.log1p(torch.from_numpy(cells.X.toarray())), y], 1))
        found: NDArray[np.floating] = model.mu(h).numpy()
    return found


METHODS: dict[str, Callable[[Cells], NDArray[np.floating]]] = {
    "principal components of ln(1 + x)": components,
    "CountVAE": count_vae("negative_binomial"),
    "CountVAE, zero-inflated": count_vae("zero_inflated_negative_binomial"),
    "the same in PyTorch (negative binomial)": in_torch,
}


def measures(cells: Cells, codes: NDArray[np.floating]) -> tuple[float, float, float]:
    """Adjusted Rand index of k-means, and the shares of 30 neighbours of the same type and of the same batch.

    The last one is divided by its expectation if neighbours are any cells of the same type.
    """
    clusters = KMeans(cells.types.max() + 1, n_init=5, random_state=0).fit_predict(codes)
    near = NearestNeighbors(n_neighbors=31).fit(codes).kneighbors(codes, return_distance=False)[:, 1:]
    expected = np.empty(len(codes))
    for kind in np.unique(cells.types):
        of_type = cells.types == kind
        shares = np.bincount(cells.batches[of_type]) / of_type.sum()
        expected[of_type] = shares[cells.batches[of_type]]
    same_type = (cells.types[near] == cells.types[:, None]).mean()
    same_batch = (cells.batches[near] == cells.batches[:, None]).mean() / expected.mean()
    return float(adjusted_rand_score(cells.types, clusters)), float(same_type), float(same_batch)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 3), ("cells", 4000), ("genes", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print("| cells | method | ARI | neighbours of the type | of the batch | seconds |\n|---|---|--:|--:|--:|--:|")
    for title, setting in SETTINGS.items():
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in METHODS}
        for seed in range(options.seeds):
            cells = simulate(options.cells, options.genes, seed=seed, **setting)
            for name, method in METHODS.items():
                start = time.perf_counter()
                codes = method(cells)
                seconds = time.perf_counter() - start
                found[name].append((*measures(cells, codes), seconds))
        for name, rows in found.items():
            values = np.array(rows)
            shown = [
                f"{v.mean():.{digits}f} ({v.min():.{digits}f} - {v.max():.{digits}f})"
                for v, digits in zip(values.T, (3, 3, 2, 1), strict=True)
            ]
            print(f"| {title} | {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
