"""Counts of genes in cells with batches, in a CSR matrix, beside the same model in PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import opponents
import pytest
from conftest import Contest

import fastvae

pytest.importorskip("scipy.sparse")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "cells"))
from simulate import simulate

GENES, HIDDEN, LATENT, BATCH = 2_000, 128, 10, 128
# Cells, and their median total: a fifth or a tenth of the counts are not zero.
SETTINGS = [(10_000, 1500.0), (50_000, 400.0)]


@pytest.mark.parametrize(("n_cells", "size"), SETTINGS)
@pytest.mark.parametrize("likelihood", ["negative_binomial", "zero_inflated_negative_binomial"])
def bench_cells(contest: Contest, likelihood: str, n_cells: int, size: float) -> None:
    """An epoch of cells from three batches."""
    cells = simulate(n_cells, GENES, size=size)
    y = cells.batches.astype(str)
    ours = fastvae.CountVAE(
        LATENT,
        hidden=(HIDDEN,),
        likelihood=likelihood,
        conditional=True,
        batch_size=BATCH,
        random_state=0,
        n_jobs=contest.threads,
    )
    others: dict[str, Callable[[], object]] = {}
    if torch_cells := opponents.module("torch", "torch_cells"):
        inflated = likelihood.startswith("zero")
        theirs = torch_cells.TorchCells(GENES, HIDDEN, LATENT, 3, inflated=inflated)
        one_hot = torch_cells.torch.from_numpy(np.eye(3, dtype=np.float32)[cells.batches])
        others["torch"] = lambda: theirs.cells_epoch(cells.X, one_hot, BATCH)
    name = f"epoch of {n_cells} cells, {likelihood.replace('_', ' ')} {GENES}-{HIDDEN}-{LATENT}"
    contest.run(name, lambda: ours.partial_fit(cells.X, y), others, rounds=5 if n_cells < 20_000 else 3)
