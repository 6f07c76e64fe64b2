"""Answers of an exam: marks and shares of the most marks, NaN where a student has not seen a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._data import arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray


def shares(X: NDArray[Any], name: str, most: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return marks as shares of the most that a task has, NaN where there is none, or raise ValueError."""
    marks = X.astype(np.float32)
    bad = ~((marks >= 0) & (marks <= most) & (marks == np.rint(marks)) | np.isnan(marks))
    if bad.any():
        student, task = np.argwhere(bad)[0]
        what = f"{name}[{student}, {task}] is {marks[student, task]:g}: "
        if (most == 1).all():
            raise ValueError(
                f"{what}the answer of student {student} to task {task} must be 0, 1 or, if there is none, NaN. For "
                "tasks with more than one mark give max_marks"
            )
        raise ValueError(
            f"{what}the marks of student {student} in task {task} must be a whole number from 0 to {most[task]}, "
            "or NaN if there are none. Fractions of a mark have no probability: count in halves or quarters, with "
            "max_marks as many times as large"
        )
    found: NDArray[np.float32] = np.divide(marks, most, dtype=np.float32)
    return found


def most_marks(max_marks: Any, n_tasks: int) -> NDArray[np.int64]:
    """Return the most marks of each task, [n_tasks], of the parameter ``max_marks``, or raise ValueError."""
    if max_marks is None:
        return np.ones(n_tasks, np.int64)
    given = np.asarray(max_marks)
    good = given.dtype.kind in "iu" and given.ndim <= 1 and (given.ndim == 0 or len(given) == n_tasks)
    if not good or (given < 1).any() or (given > _core.MAX_TRIALS).any():
        raise ValueError(
            f"max_marks={max_marks!r} must be whole numbers from 1 to {_core.MAX_TRIALS}, one for all or one "
            f"for each of {n_tasks} tasks"
        )
    return np.broadcast_to(given, n_tasks).astype(np.int64)


def unseen(shares: NDArray[Any]) -> NDArray[np.bool_]:
    """Students without any answer, whose posterior is the prior: [n]."""
    none: NDArray[np.bool_] = np.isnan(shares).all(1)
    return none


def hide(X: Any, observed: Any) -> Any:
    """Return answers with NaN where they were not observed."""
    if observed is None:
        return X
    seen, X = np.asarray(observed), arrays.matrix(X, "X")
    if seen.dtype != bool or seen.shape != X.shape:
        raise ValueError(
            f"observed must be True or False for each answer, of shape {X.shape}; it is {seen.dtype} of shape "
            f"{seen.shape}"
        )
    return np.where(seen, X, np.nan)


def logits_of_means(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logit of each task's mean share, [n_tasks], as if another student had got half of its marks."""
    seen = ~np.isnan(shares)
    mean = (np.where(seen, shares, 0).sum(0, dtype=np.float64) + 0.5) / (seen.sum(0) + 1)
    logits: NDArray[np.float32] = np.log(mean / (1 - mean)).astype(np.float32)
    return logits
