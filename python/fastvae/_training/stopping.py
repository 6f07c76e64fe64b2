"""Early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvae import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EarlyStopping:
    """Keeps the best weights, and says when no epoch of many was better.

    Parameters
    ----------
    engine : Engine
        Whose weights to keep.
    patience : int
        Epochs without a loss that is lower by more than ``tol`` after which to stop.
    tol : float
        Nats per example.
    """

    def __init__(self, engine: _core.Engine, patience: int, tol: float) -> None:
        self._engine, self._patience, self._tol = engine, patience, tol
        self._weights: list[NDArray[np.float32]] | None = None
        self._best = float("inf")
        self._waited = 0

    def stop(self, loss: float) -> bool:
        """Take in an epoch's loss; whether it is time to stop."""
        self._waited = 0 if loss < self._best - self._tol else self._waited + 1
        if loss < self._best:
            self._best, self._weights = loss, self._engine.parameters()
        return self._waited >= self._patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self._weights is not None:
            self._engine.set_parameters(self._weights)
