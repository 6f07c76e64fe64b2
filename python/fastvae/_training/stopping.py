"""Early stopping."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastvae import _core


class EarlyStopping:
    """Stores the best weights in the engine, and stops training after several epochs without improvement.

    Parameters
    ----------
    engine : Engine
        The engine.
    patience : int
        Epochs without improvement after which training stops.
    tol : float
        Smallest decrease of the loss that counts as improvement, nats per example.
    """

    def __init__(self, engine: _core.Engine, patience: int, tol: float) -> None:
        self._engine, self._patience, self._tol = engine, patience, tol
        self._best = math.inf
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
            self._engine.store_best()
            self._best = loss
        return self._waited >= self._patience

    def restore(self) -> None:
        """Restore the best weights."""
        self._engine.restore_best()

    def state(self) -> dict[str, Any]:
        """Return the state in JSON types; the best weights are in the engine."""
        best = self._best if math.isfinite(self._best) else None
        return {"best": best, "waited": self._waited, "warms_up": self._warms_up}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Take over a state; the inverse of :meth:`state`."""
        self._best = math.inf if state["best"] is None else float(state["best"])
        self._waited, self._warms_up = int(state["waited"]), bool(state["warms_up"])
