"""Passes over the data, and the loop of a fit with validation and early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from fastvae import schedules
from fastvae._training import composite, passes, problems, validation
from fastvae._training.convergence import still_falls
from fastvae._training.logs import Logs
from fastvae._training.progress import Progress
from fastvae._training.record import WAITED

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
    """Train on the data (or on some rows) once and return the mean losses; none if a stream has no more data.

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
    steps = schedules.Steps(model.engine.steps, float(record.n_iter), passes.steps(data, rows, plan))
    betas, capacities = plan.objective.schedule(steps)
    rates = schedules.values(plan.learning_rate, "learning_rate", steps)
    stream, seed, start = passes.stream_of(data), model.specification.seed, time.perf_counter()
    sums, counted, done, examples, reader = [0.0, 0.0, 0.0], 0.0, 0, 0, None
    record.interrupted = False
    try:
        prior = composite.arrays(model, data, plan.objective.prior, plan.threads)
        with passes.parts(data, rows, plan, seed, record.n_iter, shuffle=shuffle) as reader:
            for part in reader:
                count = part.steps
                *found, weight, skipped = model.engine.train(
                    *part.data,
                    part.rows,
                    eps,
                    corrupted,
                    shuffle=part.shuffles,
                    batch_size=part.batch_size,
                    objective=plan.objective.constants(),
                    step_values=(
                        schedules.cut(betas, done, count),
                        schedules.cut(capacities, done, count),
                        schedules.cut(rates, done, count),
                    ),
                    corruption=plan.corruption,
                    binarize=plan.binarize,
                    clip_norm=plan.clip_norm,
                    threads=plan.threads,
                    checks_end=last and done + count == steps.count,
                    skips_bad=plan.skips_bad,
                    prior=prior,
                    tick=passes.tick_from(examples, tick),
                    block=None if part.numbers is None else (done, steps.count, part.numbers, part.mean_weight),
                    exchange=None if plan.team is None else plan.team.exchange(count),
                )
                sums = [total + more for total, more in zip(sums, found, strict=True)]
                counted, done, examples = counted + weight, done + count, examples + part.n
                record.skipped += skipped
                del part
    except KeyboardInterrupt:
        record.interrupted = True
        raise
    finally:
        record.elapsed += time.perf_counter() - start
        waited = getattr(reader, "waited", 0.0)
    if done == 0:
        return {}
    if counted == 0:
        raise FloatingPointError(
            "no batch of the pass had a finite loss, so that nan_policy='skip' skipped all: fit again with a lower "
            "learning_rate, or scale the data"
        )
    model.position = (steps.first + done - 1, steps.epochs + (done - 1) / steps.count)
    reconstruction, kl, loss = (total / counted for total in sums)
    losses = name_losses(reconstruction, kl, loss)
    return losses if stream is None else losses | {WAITED: waited}


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
    line = Progress(progress, run.planned, passes.examples(data, rows, plan()), run.done)
    falls, stopping, stream = False, run.stopping, passes.stream_of(data)
    try:
        while True:
            final = run.done + 1 == run.planned
            losses = train_epoch(
                model, record, data, rows, plan(), name_losses, shuffle=True, last=final, tick=line.tick
            )
            if not losses:
                break
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
            if stream is not None and stream.ended:
                break
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
