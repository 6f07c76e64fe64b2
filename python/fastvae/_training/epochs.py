"""Passes over the data, and the loop of a fit with validation and early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from fastvae import schedules
from fastvae._training import composite, problems, validation
from fastvae._training.convergence import still_falls
from fastvae._training.logs import Logs
from fastvae._training.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastvae._data.examples import Data, Examples
    from fastvae._fitted.model import FittedModel
    from fastvae._training.judge import Judge
    from fastvae._training.plan import Plan
    from fastvae._training.record import TrainingRecord
    from fastvae._training.run import Run

# Makes an estimator's history entries from reconstruction, KL and loss.
NameLosses: TypeAlias = "Callable[[float, float, float], dict[str, float]]"


class Outcome(NamedTuple):
    """The result of a fit."""

    unfinished: bool  # whether a budget of epochs ended while the loss still fell
    messages: list[str]  # sentences about problems
    kl: float  # of some training examples, nats per example


def train_epoch(
    model: FittedModel,
    record: TrainingRecord,
    data: Data,
    rows: NDArray[np.uint64] | None,
    plan: Plan,
    name_losses: NameLosses,
    *,
    eps: NDArray[np.float32] | None = None,
    corrupted: Examples | None = None,
    shuffle: bool,
    last: bool = False,
    tick: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Train on the data (or on some rows) once and return the mean losses.

    Parameters
    ----------
    eps, corrupted : optional
        Noise in place of the reparameterisation's draws, and the encoder's input in place of X.
    last : bool
        Whether this is the last pass: then a last step that makes the loss infinite is undone, and an error.
    tick : callable, optional
        Called with the number of examples done.
    """
    plan.objective.check(model.specification)
    n = len(data[0]) if rows is None else len(rows)
    number = plan.steps_for(n)
    steps = schedules.Steps(model.engine.steps, float(record.n_iter), number)
    rates = schedules.values(plan.learning_rate, "learning_rate", steps)
    start = time.perf_counter()
    record.interrupted = False
    try:
        prior = composite.arrays(model, data, plan.objective.prior, plan.threads)
        *sums, counted, skipped = model.engine.train(
            *data,
            rows,
            eps,
            corrupted,
            shuffle=shuffle,
            batch_size=plan.batch_size_for(n),
            objective=plan.objective.constants(),
            step_values=(*plan.objective.schedule(steps), rates),
            corruption=plan.corruption,
            binarize=plan.binarize,
            clip_norm=plan.clip_norm,
            threads=plan.threads,
            checks_end=last,
            skips_bad=plan.skips_bad,
            prior=prior,
            tick=tick,
            exchange=None if plan.team is None else plan.team.exchange(number),
        )
    except KeyboardInterrupt:
        record.interrupted = True
        raise
    finally:
        record.elapsed += time.perf_counter() - start
    record.skipped += skipped
    if counted == 0:
        raise FloatingPointError(
            "no batch of the pass had a finite loss, so that nan_policy='skip' skipped all: fit again with a lower "
            "learning_rate, or scale the data"
        )
    model.position = steps.last
    reconstruction, kl, loss = (total / counted for total in sums)
    return name_losses(reconstruction, kl, loss)


def fit(
    model: FittedModel,
    record: TrainingRecord,
    data: Data,
    rows: NDArray[np.uint64] | None,
    held_out: tuple[Data, NDArray[np.uint64] | None] | None,
    run: Run,
    plan: Callable[[], Plan],
    name_losses: NameLosses,
    after_epoch: Callable[[Logs], bool],
    checkpoint: Callable[[Run], None],
    progress: bool | str | None,
    judge: Judge | None = None,
) -> Outcome:
    """Train for shuffled epochs until their end, early stopping or a callback ends the fit.

    Parameters
    ----------
    data, rows
        Training data: all rows, or some.
    held_out : tuple of data and rows, optional
        Validation data.
    run : Run
        The state before the next epoch.
    plan : callable
        Returns the plan of the next pass: parameters may change between epochs.
    after_epoch : callable
        Called with the recorded losses of an epoch; training stops if it returns True.
    checkpoint : callable
        Called with the state between two epochs.
    progress : bool, str or None
        The parameter of the estimator.
    judge : Judge, optional
        The measure by which early stopping chooses the best epoch. Default: the validation loss.
    """
    n = len(data[0]) if rows is None else len(rows)
    line, falls, stopping = Progress(progress, run.planned, n, run.done), False, run.stopping
    try:
        while True:
            final = run.done + 1 == run.planned
            losses = train_epoch(
                model, record, data, rows, plan(), name_losses, shuffle=True, last=final, tick=line.tick
            )
            late = False
            if held_out is not None:
                now = plan()
                objectives = [now.objective.at(*model.position)]
                if stopping is not None and judge is None:
                    objectives.append(now.objective.final(*run.end))
                reconstruction, kl, values = validation.mean_losses(model, *held_out, now, objectives)
                scores = name_losses(reconstruction, kl, values[0])
                if now.objective.prior is not None:  # which is of the training data
                    scores = {"reconstruction": reconstruction}
                losses |= {f"val_{key}": value for key, value in scores.items()}
                if stopping is not None and judge is None:
                    late = stopping.stop(values[1], warms_up=not objectives[0].nears(objectives[1]))
            if stopping is not None and judge is not None:
                losses[judge.name] = judge.measure()
                late = stopping.stop(-losses[judge.name])
            record.add(losses)
            line.epoch(losses)
            stops = after_epoch(Logs(losses, record.n_iter, record.n_iter - 1 - run.done + run.planned))
            team = plan().team
            if late or (stops if team is None else team.group.any(stops)):
                break
            run.done += 1
            if run.done == run.planned:
                falls = run.extends and still_falls(record.history["loss"][-run.done :])
                if not falls or run.planned == run.most:
                    break
                run.planned = min(run.planned + max(run.planned // 4, 1), run.most)
                record.planned = run.planned
                line.extend(run.planned)
            checkpoint(run)
    except KeyboardInterrupt:
        record.interrupted = True
        stopping = None
        model.engine.drop_best()
        raise
    finally:
        if stopping is not None:
            stopping.restore()
        line.close()
    now = plan()
    goal, _ = problems.goal(now.objective)
    after = problems.measure(model, data, rows, now, goal)
    if now.skips_bad and not math.isfinite(after.loss):
        return Outcome(falls, [], math.nan)  # of a batch that was skipped
    problems.check(after, model.engine.steps)
    return Outcome(falls, problems.find(run.before, after, now, goal), after.kl)
