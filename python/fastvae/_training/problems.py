"""What is surely wrong after a fit, from the loss of a few training examples before and after it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastvae import _core
from fastvae._training import passes, validation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._fitted.model import FittedModel
    from fastvae._training.objective import Objective
    from fastvae._training.plan import Plan

# The loss may rise by this share of its value at the start, which is the best constant model, and by this many nats per
# example: it does in the first epochs, when codes are not yet of use.
_SHARE, _NATS = 0.5, 5.0
# A share of clamped log variances above this is no outlier.
_CLAMPED = 0.05
# Importance samples of a measurement. The bound falls with fewer, and an encoder trained with many has a low ELBO.
_MOST_SAMPLES = 64


class Measured(NamedTuple):
    """A loss and a KL, nats per example, and the share of clamped log variances."""

    loss: float
    clamped: float
    kl: float = 0.0


def goal(objective: Objective) -> tuple[Objective, bool]:
    """Return an objective without schedules, and whether its values before and after training compare.

    They do not with a schedule: the loss may rise with it, and training may stop before its end. Nor do they with a
    composite prior, which is another one in each epoch.
    """
    fixed = isinstance(objective.beta, float) and (objective.capacity is None or isinstance(objective.capacity, float))
    fixed = fixed and objective.prior is None
    objective = replace(objective, samples=min(objective.samples, _MOST_SAMPLES), doubly=False)
    return (objective, True) if fixed else (replace(objective, beta=1.0, capacity=None), False)


def measure(
    model: FittedModel, data: Data, rows: NDArray[np.uint64] | None, plan: Plan, objective: Objective
) -> Measured:
    """Measure the loss of the first batch of the training data: a third of the time of a step."""
    stream = passes.stream_of(data)
    if stream is not None:
        data, rows = stream.sample, None
    n = len(data[0]) if rows is None else len(rows)
    n = min(n, plan.batch_size_for(n if plan.team is None else plan.team.total))
    few = np.arange(n, dtype=np.uint64) if rows is None else rows[:n]
    before = model.engine.clamped
    _, kl, (loss,) = validation.mean_losses(model, data, few, plan, [objective])
    counts = np.array([model.engine.clamped - before, n * model.latent_dim * objective.samples], np.float64)
    if plan.team is not None:
        plan.team.group.sum(counts)
    return Measured(loss, float(counts[0] / counts[1]), kl)


def check(after: Measured, steps: int) -> None:
    """Raise FloatingPointError if the loss after a fit is not finite."""
    if not math.isfinite(after.loss):
        raise FloatingPointError(
            f"training diverged: after step {steps} the loss is not a finite number. Fit again with a lower "
            "learning_rate"
        )


def find(before: Measured | None, after: Measured, plan: Plan, objective: Objective) -> list[str]:
    """Return sentences about what is wrong. Single dimensions without use are not: data or beta may ask for them."""
    found = []
    if before is not None and after.loss > before.loss + _NATS + _SHARE * abs(before.loss):
        found.append(f"the loss of training examples is {after.loss:.4g}, but it was {before.loss:.4g} before training")
    if after.clamped > _CLAMPED and (objective.beta or 0.0) > 0.0:  # type: ignore[operator]
        low, high = _core.LOGVAR_RANGE
        found.append(
            f"{after.clamped:.0%} of the log variances lie outside [{low:g}, {high:g}], where they are clamped and "
            "learn no more"
        )
    if not found:
        return []
    rate = f" (it is {plan.learning_rate:g})" if isinstance(plan.learning_rate, float) else ""
    return [f"Training went wrong: {'; '.join(found)}. Fit again with a lower learning_rate{rate}."]
