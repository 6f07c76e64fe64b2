"""Answers of an exam: marks, and shares of the maximum marks; NaN where missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._data import arrays, cells, names

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 2**15  # marks that are checked at once


def shares(X: NDArray[Any], name: str, most: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return marks X [n_students, n_tasks] as shares of the maximum marks `most`, or raise ValueError."""
    marks, limit = arrays.float32(X, name), most.astype(np.float32)
    rows = max(1, _BLOCK // max(1, marks.shape[1]))
    for first in range(0, len(marks), rows):
        block = marks[first : first + rows]
        bad = ~((block >= 0) & (block <= limit) & (block == np.rint(block)) | np.isnan(block))
        if bad.any():
            student, task = np.argwhere(bad)[0] + (first, 0)
            negative = np.argwhere(marks < 0)  # a code for missing answers, for example -9: more telling
            student, task = negative[0] if len(negative) else (student, task)
            raise ValueError(_bad_mark(name, student, task, marks[student, task], most))
    found: NDArray[np.float32] = marks / limit
    return found


def _bad_mark(name: str, student: int, task: int, mark: float, most: NDArray[np.int64]) -> str:
    what = f"{'Negative values in data: ' if mark < 0 else ''}{name}[{student}, {task}] is {mark:g}: "
    if (most == 1).all():
        return (
            f"{what}the answer of student {student} to task {task} must be 0, 1 or, if missing, NaN. For tasks "
            "with more than one mark set max_marks"
        )
    return (
        f"{what}the marks of student {student} in task {task} must be a whole number from 0 to {most[task]}, "
        "or NaN if missing. For fractions of a mark multiply X and max_marks, by 2 for halves or 4 for quarters"
    )


def most_marks(max_marks: Any, n_tasks: int) -> NDArray[np.int64]:
    """Return the maximum marks of each task, [n_tasks], from the parameter ``max_marks``, or raise ValueError."""
    if max_marks is None:
        return np.ones(n_tasks, np.int64)
    given = np.asarray(max_marks)
    good = given.dtype.kind in "iu" and given.ndim <= 1 and (given.ndim == 0 or len(given) == n_tasks)
    if not good or (given < 1).any() or (given > _core.MAX_TRIALS).any():
        raise ValueError(
            f"max_marks={max_marks!r} must be whole numbers from 1 to {_core.MAX_TRIALS}: one for all tasks, or one "
            f"for each of {n_tasks} tasks"
        )
    return np.broadcast_to(given, n_tasks).astype(np.int64)


def unanswered(shares: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which students have no answer, so that their posterior is the prior: [n]."""
    none: NDArray[np.bool_] = np.isnan(shares).all(1)
    return none


def mask_unobserved(X: Any, observed: Any) -> Any:
    """Return answers X with NaN where `observed` is False; X itself if `observed` is None."""
    if observed is None:
        return X
    try:
        mask = np.asarray(observed)
    except ValueError as error:
        raise ValueError(f"observed is not a rectangular array of True and False: {error}") from error
    marks = arrays.matrix(X, "X")
    if mask.dtype != bool or mask.shape != marks.shape:
        raise ValueError(
            f"observed must be True or False for each answer, of shape {marks.shape}; it is {mask.dtype} of shape "
            f"{mask.shape}"
        )
    return names.with_names(np.where(mask, marks, np.nan), X)


def group_labels(groups: Any, shares: NDArray[Any], weights: NDArray[Any] | None) -> NDArray[Any]:
    """Return the label of each student's group, or raise ValueError; each group must have answers to each task."""
    labels = np.asarray(groups, object if isinstance(groups, (list, tuple)) else None)
    if labels.shape != (len(shares),):
        raise ValueError(f"groups has shape {labels.shape}: pass one label for each of the {len(shares)} students")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError(f"groups[{int(np.argmax(np.isnan(labels)))}] is NaN: leave out students without a group")
    if labels.dtype.kind == "O":
        empty = [cells.is_missing(label) or label != label for label in labels]
        if any(empty):
            raise ValueError(f"groups[{empty.index(True)}] is missing: leave out students without a group")
        if not any(isinstance(label, str) for label in labels):
            labels = np.array(labels.tolist())
    if labels.dtype.kind == "O":
        bad = [i for i, label in enumerate(labels) if not isinstance(label, str)]
        if bad and len(bad) < len(labels):
            raise ValueError(f"groups[{bad[0]}] is {labels[bad[0]]!r}, others are strings: use one type of labels")
        labels = labels.astype(str) if not bad else labels
    used = np.ones(len(labels), bool) if weights is None else weights > 0
    names = np.unique(labels[used])
    if len(names) < 2:
        raise ValueError(f"groups has one label only, {names.tolist()[0]!r}: compare two or more groups")
    for name in names.tolist():
        unseen = np.isnan(shares[used & (labels == name)]).all(0)
        if unseen.any():
            tasks = names_of_tasks(unseen)
            raise ValueError(f"group {name!r} has no answers to {tasks}: leave out tasks that it has not seen")
    return labels


def anchor_tasks(anchors: Any, names: NDArray[Any] | None, n_tasks: int) -> NDArray[np.bool_] | str | None:
    """Return the parameter ``anchors`` as a mask of tasks, "purify" or None, or raise ValueError."""
    if anchors is None or (isinstance(anchors, str) and anchors == "purify"):
        return anchors
    if isinstance(anchors, str):
        raise ValueError(f"anchors={anchors!r} must be 'purify', None or a sequence of tasks")
    found = np.zeros(n_tasks, bool)
    for anchor in anchors:
        place = anchor
        if isinstance(anchor, str):
            known = [] if names is None else names.tolist()
            place = known.index(anchor) if anchor in known else -1
        if isinstance(place, bool | np.bool_) or not isinstance(place, int | np.integer) or not 0 <= place < n_tasks:
            raise ValueError(f"anchors has {anchor!r}, which is none of the {n_tasks} tasks")
        found[place] = True
    if not found.any() or found.all():
        raise ValueError("anchors must be some of the tasks: the others are tested")
    return found


def category_counts(
    shares: NDArray[np.float32], most: NDArray[np.int64], weights: NDArray[Any] | None
) -> NDArray[np.float64]:
    """Return the number (or weight) of students with each mark of each task, [n_tasks, max(most) + 1]."""
    marks, counts = np.rint(shares * most), np.zeros((shares.shape[1], int(most.max()) + 1))
    for mark in range(counts.shape[1]):
        chosen = marks == mark
        counts[:, mark] = chosen.sum(0) if weights is None else weights.astype(np.float64) @ chosen
    return counts


def threshold_logits(counts: NDArray[np.float64], most: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return logits of P(mark >= k), k = 1, 2, ..., [n_tasks, max(most)], NaN beyond the maximum marks.

    Raises ValueError for a task that lacks an answer between 0 and its maximum: its thresholds have no estimates.
    """
    inside = np.arange(counts.shape[1]) <= most[:, np.newaxis]
    empty = inside & (counts == 0)
    alone = np.flatnonzero((counts > 0).sum(1) <= 1)
    if len(alone):
        task = alone[0]
        what = (
            f"all answers to task {task} are {counts[task].argmax()}" if counts[task].any() else f"task {task} has none"
        )
        raise ValueError(f"graded tasks need different answers, and {what}: leave it out")
    if empty.any():
        task, mark = np.argwhere(empty)[0]
        remedy = "answers begin at 0: subtract 1 from a scale of 1 to 5" if mark == 0 else "merge it with its neighbour"
        raise ValueError(f"task {task} has no answer {mark} (graded answers are 0 to {most[task]}): {remedy}")
    above = np.flip(np.cumsum(np.flip(counts, 1), 1), 1)
    share = np.clip(above[:, 1:] / above[:, :1], 1e-6, 1 - 1e-6)
    found: NDArray[np.float64] = np.where(inside[:, 1:], np.log(share / (1 - share)), np.nan)
    return found


class TaskTotals:
    """The answers to each task: `count`, and `marks`, the sum of the shares of the maximum marks; each [n_tasks]."""

    def __init__(self, shares: NDArray[np.float32]) -> None:
        observed = ~np.isnan(shares)
        self.count = observed.sum(0)
        self.marks = np.where(observed, shares, 0).sum(0, dtype=np.float64)

    def logits_of_means(self) -> NDArray[np.float32]:
        """Return the logit of each task's mean share, [n_tasks], with one added student who has half of the marks."""
        mean = (self.marks + 0.5) / (self.count + 1)
        logits: NDArray[np.float32] = np.log(mean / (1 - mean)).astype(np.float32)
        return logits

    def describe_degenerate(self, *, prior: bool, intercepts: bool) -> str:
        """Return a warning that names tasks without estimates of their own, or an empty string.

        `prior` says whether there is a prior of item parameters, `intercepts` whether tasks have intercepts.
        """
        none = self.count == 0
        sentences = []
        if none.any():
            kept = "they have the mode of the prior" if prior else "they stay at their initial values"
            sentences.append(f"{names_of_tasks(none)} without answers: no data for the parameters; {kept}")
        if not prior and intercepts:
            extremes = (("everyone", self.marks == self.count), ("nobody", self.marks == 0))
            for who, tasks in extremes:
                if (tasks & ~none).any():
                    sentences.append(
                        f"{names_of_tasks(tasks & ~none)} solved by {who}: the maximum likelihood estimate is not "
                        "finite; use prior='weak'"
                    )
        return ". ".join(sentences)


def names_of_tasks(mask: NDArray[np.bool_], most: int = 10) -> str:
    """Return "task 3" or "tasks 3, 5, ..."."""
    tasks = np.flatnonzero(mask).tolist()
    shown = ", ".join(map(str, tasks[:most])) + ", ..." * (len(tasks) > most)
    return f"{'task' if len(tasks) == 1 else 'tasks'} {shown}"
