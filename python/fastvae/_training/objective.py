"""The loss: which terms, and how much of each at which step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastvae import schedules

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Objective:
    """The loss: reconstruction weight times reconstruction + beta |sum_j max(KL_j, free_bits) - capacity|.

    KL_j is the batch mean of coordinate j's KL; without a capacity the bars are left out. With more than one sample the
    loss is the negative importance-weighted bound, which wants the weights 1. Nats per example.
    """

    reconstruction: float = 1.0
    beta: schedules.Value = 0.0
    free_bits: float = 0.0
    capacity: schedules.Value | None = None
    samples: int = 1
    doubly: bool = False  # whether the gradient of samples is doubly reparameterised

    def schedule(self, steps: schedules.Steps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Beta and capacity at some steps, as the core takes them."""

        def at(value: schedules.Value | None, name: str) -> NDArray[np.float32]:
            if value is None:
                return np.empty(0, np.float32)
            return schedules.values(value, name, steps).astype(np.float32)

        return at(self.beta, "beta"), at(self.capacity, "capacity")

    def at(self, step: int, epochs: float) -> Objective:
        """Return the objective of a step before which are so many epochs, without schedules."""
        beta, capacity = self.schedule(schedules.Steps(step, epochs, 1))
        return self._with(float(beta[0]), float(capacity[0]) if len(capacity) else None)

    def final(self, step: int, epochs: float) -> Objective:
        """Return what schedules lead to at the last step, before which are so many epochs."""
        capacity = None if self.capacity is None else schedules.final(self.capacity, "capacity", step, epochs)
        return self._with(schedules.final(self.beta, "beta", step, epochs), capacity)

    def _with(self, beta: float, capacity: float | None) -> Objective:
        return replace(self, beta=beta, capacity=capacity)

    def terms(self) -> tuple[float, float, float, float | None]:
        """Return a single step's objective as the core takes it."""
        assert isinstance(self.beta, float)
        assert self.capacity is None or isinstance(self.capacity, float)
        return self.reconstruction, self.beta, self.free_bits, self.capacity

    def importance(self) -> tuple[int, bool]:
        """Return what the core wants to know of the samples."""
        return self.samples, self.doubly

    def loss(self, reconstruction: float, kl: NDArray[np.float64], bound: float) -> float:
        """Return a single step's loss, given the means of reconstruction, each coordinate's KL and, of samples, L_K."""
        if self.samples > 1:
            return -bound
        weight, beta, free_bits, capacity = self.terms()
        penalty = float(np.maximum(kl, free_bits).sum())
        return weight * reconstruction + beta * (penalty if capacity is None else abs(penalty - capacity))


def mean_bound(bound: NDArray[np.float32]) -> float:
    """Return the mean of what the core tells of each example's bound: nothing where it has one sample."""
    return float(np.mean(bound, dtype=np.float64)) if len(bound) else float("nan")
