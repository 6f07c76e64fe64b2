"""The loss: its terms and their weights, which may have schedules. Its values are computed in the core."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastvae import priors, schedules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import Terms
    from fastvae._fitted.specification import Specification


@dataclass(frozen=True)
class Objective:
    """The loss: reconstruction weight times reconstruction + beta |sum_j max(KL_j, free_bits) - capacity|.

    KL_j is the batch mean of coordinate j's KL; without a capacity there is no absolute value. With several samples the
    loss is the negative importance-weighted bound; all weights are 1 then. With a composite prior KL is its estimate by
    the draw, times the sum of the example's values. Nats per example.
    """

    reconstruction: float = 1.0
    beta: schedules.Value = 0.0
    free_bits: float = 0.0
    capacity: schedules.Value | None = None
    samples: int = 1
    doubly: bool = False  # whether the gradient of samples is doubly reparameterised
    prior: priors.CompositePrior | None = None  # None: N(0, I)

    def check(self, network: Specification) -> None:
        """Raise ValueError if a network does not allow this loss."""
        if self.doubly and network.normalized_decoder:
            raise ValueError(
                "doubly_reparameterized=True needs a decoder without batch_norm, which makes draws depend on one "
                "another: pass decoder_hidden to a new fit"
            )

    def schedule(self, steps: schedules.Steps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return beta and capacity at some steps; an empty array for no capacity."""

        def at(value: schedules.Value | None, name: str) -> NDArray[np.float32]:
            if value is None:
                return np.empty(0, np.float32)
            return schedules.values(value, name, steps).astype(np.float32)

        return at(self.beta, "beta"), at(self.capacity, "capacity")

    def at(self, step: int, epochs: float) -> Objective:
        """Return the objective of step `step`, after `epochs` epochs, without schedules."""
        beta, capacity = self.schedule(schedules.Steps(step, epochs, 1))
        return replace(self, beta=float(beta[0]), capacity=float(capacity[0]) if len(capacity) else None)

    def final(self, step: int, epochs: float) -> Objective:
        """Return the objective at the end of all schedules; training ends with step `step`, after `epochs` epochs."""
        capacity = None if self.capacity is None else schedules.final(self.capacity, "capacity", step, epochs)
        return replace(self, beta=schedules.final(self.beta, "beta", step, epochs), capacity=capacity)

    def nears(self, final: Objective) -> bool:
        """Whether beta and capacity, without schedules, are within 5 % of those of another objective."""
        mine, others = ((each.beta, each.capacity or 0.0) for each in (self, final))
        return bool(np.allclose(np.array(mine, float), np.array(others, float), rtol=0.05, atol=0.0))

    def for_core(self) -> Terms:
        """Return the objective of a single step as the core takes it."""
        assert isinstance(self.beta, float)
        assert self.capacity is None or isinstance(self.capacity, float)
        return self.reconstruction, self.beta, self.free_bits, self.capacity, self.samples, self.doubly

    def constants(self) -> Terms:
        """Return what all steps of a pass share; beta and capacity come from ``schedule``."""
        return replace(self, beta=0.0, capacity=None).for_core()
