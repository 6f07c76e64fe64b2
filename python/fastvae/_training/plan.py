"""Checked settings of a pass of training, and of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastvae import schedules
    from fastvae._distributed.team import Team
    from fastvae._training.convergence import Budget
    from fastvae._training.objective import Objective


@dataclass(frozen=True)
class Plan:
    """Settings of one pass over the data, read from the estimator's parameters before each pass."""

    batch_size: int
    objective: Objective
    learning_rate: schedules.Value
    clip_norm: float | None
    corruption: tuple[str, float] | None
    binarize: str | None
    threads: int | None
    skips_bad: bool = False  # whether to skip batches whose loss is not finite
    even_batches: bool = False  # whether to reduce the batch size for a fuller last batch
    least_steps: int = 1  # of an epoch: the batch size is reduced for them
    team: Team | None = None  # the other ranks; None: this process alone

    def steps_for(self, n: int) -> int:
        """Return the number of steps of a pass over n examples of this process."""
        total = n if self.team is None else self.team.total
        return -(-total // self.batch_size_for(total))

    def batch_size_for(self, n: int) -> int:
        """Return the batch size of a pass over n examples."""
        if self.even_batches:
            return fullest_last_batch(n, self.batch_size)
        return min(self.batch_size, max(n // self.least_steps, 1))


class FitSettings(NamedTuple):
    """Settings of ``fit`` beside its passes; ``patience`` is ``n_iter_no_change``."""

    epochs: int | Budget  # a budget stands for "auto"
    validation_fraction: float
    early_stopping: bool
    patience: int
    tol: float
    progress: bool | str | None


def fullest_last_batch(n: int, batch_size: int) -> int:
    """Return the size in (batch_size / 2, batch_size] whose last batch of n is fullest; the larger of equal ones."""
    most = min(batch_size, n)
    return max(range(most, most // 2, -1), key=lambda size: (n % size or size) / size)
