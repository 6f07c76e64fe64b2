"""Validation data: rows held out of training, and their losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae._training import passes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._data.streams.stream import Stream
    from fastvae._fitted.model import FittedModel
    from fastvae._training.objective import Objective
    from fastvae._training.plan import Plan


def split(n: int, fraction: float, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return random rows to train on and rows to hold out, each ascending."""
    held_out = round(n * fraction)
    if not 0 < held_out < n:
        raise ValueError(
            f"validation_fraction={fraction} of {n} examples leaves no examples to train on or to hold out: change it, "
            "or pass validation_data"
        )
    order = np.random.default_rng(seed).permutation(n).astype(np.uint64)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def mean_losses(
    model: FittedModel, data: Data, rows: NDArray[np.uint64] | None, plan: Plan, objectives: list[Objective]
) -> tuple[float, float, list[float]]:
    """Return mean reconstruction and KL of the data, corrupted as in training, and the loss by each objective.

    On several ranks they are means over the data of all.
    """
    stream = passes.stream_of(data)
    if stream is not None:
        return _of_blocks(model, stream, plan, objectives)
    return model.mean_losses(
        data,
        plan.threads,
        [objective.for_core() for objective in objectives],
        rows=rows,
        corruption=plan.corruption,
        binarize=plan.binarize,
        exchange=None if plan.team is None else plan.team.group,
    )


def _of_blocks(
    model: FittedModel, stream: Stream, plan: Plan, objectives: list[Objective]
) -> tuple[float, float, list[float]]:
    """Return means over the blocks of a stream, weighted by their examples: also of losses with free bits or capacity.

    Those are functions of the mean KL of each coordinate, of which a block has a large sample.
    """
    means, total = np.zeros(2 + len(objectives)), 0.0
    with stream.whole() as blocks:
        for block in blocks:
            weight = float(len(block.X) if block.weights is None else block.weights.sum(dtype=np.float64))
            reconstruction, kl, losses = mean_losses(model, block, None, plan, objectives)
            means += weight * np.array([reconstruction, kl, *losses])
            total += weight
            del block
    reconstruction, kl, *losses = (means / total).tolist()
    return reconstruction, kl, losses
