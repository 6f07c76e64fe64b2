"""Validation data: rows that are held out of training, and the losses of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._training.objective import mean_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._fitted.model import FittedModel
    from fastvae._training.plan import Plan


def split(n: int, fraction: float, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return random rows to train on and rows to hold out, each ascending."""
    held_out = round(n * fraction)
    if not 0 < held_out < n:
        raise ValueError(f"validation_fraction={fraction} of {n} examples leaves one side empty")
    order = np.random.default_rng(seed).permutation(n).astype(np.uint64)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def mean_terms(
    model: FittedModel, data: Data, rows: NDArray[np.uint64] | None, plan: Plan
) -> tuple[float, NDArray[np.float64], float]:
    """Return means over the data of the loss's terms, corrupted as in training: reconstruction, KL and bound.

    The KL is [latent_dim] where free bits need each dimension's, else [1].
    """
    options: dict[str, Any] = {"rows": rows, "corruption": plan.corruption, "binarize": plan.binarize}
    reconstruction, kl, bound = model.score(*data, plan.threads, samples=plan.objective.samples, **options)
    if plan.objective.free_bits:
        kl = model.kl(*data, plan.threads, **options)
    kl = kl.reshape(len(reconstruction), -1).mean(0, dtype=np.float64)
    return float(np.mean(reconstruction, dtype=np.float64)), kl, mean_bound(bound)
