"""The state of a fit between two epochs, beside model and training record. A checkpoint holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fastvae import _checks, schedules
from fastvae._fitted.files import with_keys
from fastvae._training import passes, problems, validation
from fastvae._training.convergence import Budget
from fastvae._training.problems import Measured
from fastvae._training.stopping import EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._fitted.model import FittedModel
    from fastvae._training.judge import Judge
    from fastvae._training.plan import FitSettings, Plan
    from fastvae._training.record import TrainingRecord

    Rows: TypeAlias = tuple[Data, NDArray[np.uint64] | None]  # data, and the rows of it in use (None: all)


_MAX_LOSS = 1e300


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
        judge: Judge | None = None,
    ) -> Run:
        """Return the state before the first epoch."""
        data, rows = training
        steps = passes.steps(data, rows, plan())
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
            if judge is not None and record.n_iter:  # training goes on: never end with worse weights
                stopping.stop(-judge.measure())
            elif held_out is not None and record.n_iter:
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

    @staticmethod
    def check(state: Any) -> None:
        """Raise ValueError unless this is a state from a checkpoint."""
        keys = {"planned", "most", "extends", "end", "before", "stopping", "done"}
        state = with_keys(state, keys, set(), "the state of the fit")
        planned = _checks.integer(state["planned"], "planned")
        _checks.integer(state["most"], "most", least=planned)
        _checks.integer(state["done"], "done", least=0, most=planned)
        _checks.boolean(state["extends"], "extends")
        step, epochs = state["end"]
        _checks.integer(step, "end", least=0)
        _checks.number(epochs, "end", below=1e15)
        for loss in () if state["before"] is None else Measured(*state["before"]):
            _checks.number(loss, "before", least=-_MAX_LOSS, below=_MAX_LOSS)
        if state["stopping"] is not None:
            stopping = with_keys(state["stopping"], {"best", "waited", "warms_up"}, set(), "early stopping")
            if stopping["best"] is not None:
                _checks.number(stopping["best"], "best", least=-_MAX_LOSS, below=_MAX_LOSS)
            _checks.integer(stopping["waited"], "waited", least=0)
            _checks.boolean(stopping["warms_up"], "warms_up")

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
