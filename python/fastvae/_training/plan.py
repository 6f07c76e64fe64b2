"""What a pass of training needs, and what a whole fit does, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastvae import schedules
    from fastvae._training.objective import Objective


@dataclass(frozen=True)
class Plan:
    """What one pass over the data needs: read from the estimator's parameters before each of them."""

    batch_size: int
    objective: Objective
    learning_rate: schedules.Value
    clip_norm: float | None
    corruption: tuple[str, float] | None
    binarize: str | None
    threads: int | None
    even_batches: bool = False  # whether batches may be smaller so that the last one of a pass is fuller

    def batch_size_for(self, n: int) -> int:
        """Return the examples a step of a pass over n of them."""
        return fullest_last_batch(n, self.batch_size) if self.even_batches else min(self.batch_size, n)

    @property
    def noisy(self) -> bool:
        """Whether corruption makes values that data do not hold; masking makes only zeros, which any data may hold."""
        return self.corruption is not None and self.corruption[0] != "masking"


class FitSettings(NamedTuple):
    """What ``fit`` does beside its passes."""

    epochs: int
    validation_fraction: float
    early_stopping: bool
    patience: int
    tol: float
    progress: bool | None


def fullest_last_batch(n: int, batch_size: int) -> int:
    """Return the size, more than half of `batch_size`, whose last batch of n is fullest: of equals the larger."""
    most = min(batch_size, n)
    return max(range(most, most // 2, -1), key=lambda size: (n % size or size) / size)
