"""Early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvae import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EarlyStopping:
    """Stores the best weights, and stops training after several epochs without improvement.

    Parameters
    ----------
    engine : Engine
        The engine whose weights are stored.
    patience : int
        Epochs without improvement after which training stops.
    tol : float
        Smallest decrease of the loss that counts as improvement, nats per example.
    """

    def __init__(self, engine: _core.Engine, patience: int, tol: float) -> None:
        self._engine, self._patience, self._tol = engine, patience, tol
        self._weights: list[NDArray[np.float32]] | None = None
        self._best = float("inf")
        self._waited = 0
        self._warms_up = True

    def stop(self, loss: float, *, warms_up: bool = False) -> bool:
        """Record the loss of an epoch, and return whether to stop.

        Epochs of a warm-up, those before the first that is not, do not count: with a small beta the KL grows, and with
        it the loss at the final beta.
        """
        self._warms_up = self._warms_up and warms_up
        self._waited = 0 if self._warms_up or loss < self._best - self._tol else self._waited + 1
        if loss < self._best:
            self._best, self._weights = loss, self._engine.parameters()
        return self._waited >= self._patience

    def restore(self) -> None:
        """Restore the best weights."""
        if self._weights is not None:
            self._engine.set_parameters(self._weights)
