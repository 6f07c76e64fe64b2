"""The state of a fit between two epochs, beside model and training record. A checkpoint holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fastvae import schedules
from fastvae._training import problems, validation
from fastvae._training.convergence import Budget
from fastvae._training.problems import Measured
from fastvae._training.stopping import EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._fitted.model import FittedModel
    from fastvae._training.plan import FitSettings, Plan
    from fastvae._training.record import TrainingRecord

    Rows: TypeAlias = tuple[Data, NDArray[np.uint64] | None]  # data, and the rows of it in use (None: all)


@dataclass
class Run:
    """The state of a fit between two epochs.

    Attributes
    ----------
    planned, most : int
        Epochs planned so far, and the most that a budget allows.
    extends : bool
        Whether a budget may grow while the loss falls.
    end : tuple of int and float
        Number of the last planned step, and the epochs before it: the position at which schedules end.
    before : Measured or None
        The loss before training.
    stopping : EarlyStopping or None
    done : int
        Epochs done.
    """

    planned: int
    most: int
    extends: bool
    end: tuple[int, float]
    before: Measured | None
    stopping: EarlyStopping | None
    done: int = 0

    @classmethod
    def start(
        cls,
        model: FittedModel,
        record: TrainingRecord,
        training: Rows,
        held_out: Rows | None,
        settings: FitSettings,
        plan: Callable[[], Plan],
    ) -> Run:
        """Return the state before the first epoch."""
        data, rows = training
        n = len(data[0]) if rows is None else len(rows)
        steps = -(-n // plan().batch_size_for(n))
        if isinstance(settings.epochs, Budget):
            planned = settings.epochs.epochs_for(steps)
            most = settings.epochs.factor * planned
        else:
            planned = most = settings.epochs
        record.planned = planned
        end = schedules.Steps(model.engine.steps + (planned - 1) * steps, record.n_iter + planned - 1, steps).last
        goal, comparable = problems.goal(plan().objective)
        comparable = comparable and not model.specification.options.get("item_prior")  # the loss includes the prior
        before = problems.measure(model, data, rows, plan(), goal) if comparable else None
        stopping = None
        if settings.early_stopping:
            stopping = EarlyStopping(model.engine, settings.patience, settings.tol)
            if held_out is not None and record.n_iter:  # training goes on: never end with worse weights
                now = plan()
                stopping.stop(validation.mean_losses(model, *held_out, now, [now.objective.final(*end)])[2][0])
        return cls(planned, most, most > planned, end, before, stopping)

    def state(self) -> dict[str, Any]:
        """Return the state in JSON types."""
        return {
            "planned": self.planned,
            "most": self.most,
            "extends": self.extends,
            "end": self.end,
            "before": self.before,
            "stopping": None if self.stopping is None else self.stopping.state(),
            "done": self.done,
        }

    @classmethod
    def restored(cls, state: dict[str, Any], model: FittedModel, record: TrainingRecord, settings: FitSettings) -> Run:
        """Return the state from a checkpoint; the inverse of :meth:`state`."""
        stopping = None
        if settings.early_stopping:
            stopping = EarlyStopping(model.engine, settings.patience, settings.tol)
            stopping.restore_state(state["stopping"])
        step, epoch = state["end"]
        before = None if state["before"] is None else Measured(*map(float, state["before"]))
        record.planned = int(state["planned"])
        return cls(
            record.planned,
            int(state["most"]),
            bool(state["extends"]),
            (int(step), float(epoch)),
            before,
            stopping,
            int(state["done"]),
        )
