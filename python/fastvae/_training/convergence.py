"""``epochs="auto"``: epochs from a number of steps, and more while the loss falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTO = "auto"

# The loss still falls if the last tenth of the epochs (at least five) is below the tenth before by this share of the
# fall since the first epoch, and by this many standard errors.
_SHARE = 0.005
_ERRORS = 3.0


class Budget(NamedTuple):
    """What ``epochs="auto"`` stands for: small data need many epochs, since training takes a number of steps.

    Attributes
    ----------
    steps : int
        Smallest number of the optimiser's steps.
    epochs : int
        Smallest number of epochs.
    factor : int
        While the loss falls, training goes on for up to `factor` times as many epochs.
    """

    steps: int
    epochs: int
    factor: int = 1

    def epochs_for(self, steps: int) -> int:
        """Return the number of epochs of `steps` steps each, before any extension."""
        return max(self.epochs, -(-self.steps // steps))


def still_falls(losses: Sequence[float]) -> bool:
    """Whether the loss of the last epochs is significantly below those before; False for fewer than ten epochs."""
    n = max(5, len(losses) // 10)
    if len(losses) < 2 * n:
        return False
    before, last = np.array(losses[-2 * n : -n]), np.array(losses[-n:])
    fall = before.mean() - last.mean()
    error = np.sqrt((before.var() + last.var()) / n)
    return bool(fall > max(_SHARE * (losses[0] - last.mean()), _ERRORS * error, 0.0))
