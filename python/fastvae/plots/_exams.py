"""Plots of item response models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import arrays, examples
from fastvae._estimators.item_response import ItemResponse
from fastvae._irt import answers
from fastvae._irt.ability import Ability
from fastvae._irt.categorical import CategoricalAbility, Curves
from fastvae.plots._axes import SMALL, TITLE, new_axes, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUPS = 8  # groups of students by ability, drawn as dots
_MAX_TASKS = 10  # curves in a plot by default


def item_characteristic(
    model: ItemResponse,
    Y: Any = None,
    tasks: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the characteristic curve of each task: the probability of a solution as a function of ability.

    Parameters
    ----------
    model : fitted ItemResponse
        With one dimension.
    Y : array_like, [n_students, n_tasks], optional
        Answers, drawn as dots: the share of the marks of eight groups of equal size, by ability. Students are assigned
        to groups in proportion to their posteriors. Dots far from the curve show a task that does not fit.
    tasks : sequence of int, optional
        Tasks to draw. Default: all, or ten of them from easy to hard.
    names : sequence of str, [n_tasks], optional
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model has several dimensions, a task is out of range, or there is not one name for each task.
    """
    slopes = model.discrimination_
    if slopes.ndim > 1:
        raise ValueError(f"a characteristic curve needs a model with one dimension; this one has {slopes.shape[1]}")
    n_tasks = model.n_features_in_
    if names is not None and len(names) != n_tasks:
        raise ValueError(f"names has {len(names)} entries; expected {n_tasks}, one for each task")
    difficulty = model.difficulty_
    if difficulty.ndim > 1:
        difficulty = np.nanmean(difficulty, 1)  # of the thresholds of graded tasks
    if tasks is None:
        order = np.argsort(difficulty, kind="stable")
        chosen = order[np.linspace(0, n_tasks - 1, min(n_tasks, _MAX_TASKS)).round().astype(int)].tolist()
    else:
        chosen = [_checks.integer(task, f"tasks[{i}]", least=0, most=n_tasks - 1) for i, task in enumerate(tasks)]
        chosen.sort(key=lambda task: float(difficulty[task]))
    ax = new_axes(ax, (7.5, 4.8))
    alpha = np.linspace(-4, 4, 201)
    chances = model.item_probabilities(alpha)
    expected = chances @ np.arange(chances.shape[2]) / model.max_marks_
    colours = pyplot().get_cmap("viridis")(np.linspace(0, 0.9, len(chosen)))
    dots = None if Y is None else _groups(model, Y)
    for task, colour in zip(chosen, colours, strict=True):
        name = f"task {task}" if names is None else names[task]
        ax.plot(alpha, expected[:, task], color=colour, lw=1.8, label=f"{name}: {difficulty[task]:.2f}")
        if dots is not None:
            centres, shares = dots
            ax.plot(centres[:, task], shares[:, task], "o", color=colour, ms=4.5, mec="white", mew=0.6)
    ax.set_xlim(-4, 4)
    ax.set_ylim(-0.02, 1.02)
    ax.set_title("Characteristic curves", fontsize=TITLE)
    ax.set_xlabel("ability")
    binary = (model.max_marks_ == 1).all()
    ax.set_ylabel("probability of a solution" if binary else "expected share of the marks")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.legend(frameon=False, fontsize=SMALL, title="difficulty", title_fontsize=SMALL, loc="lower right")
    return ax


def abilities(
    model: ItemResponse,
    Y: Any,
    n: int = 60,
    level: float = 0.95,
    dim: int = 0,
    names: Sequence[str] | None = None,
    truth: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw posterior means and credible intervals of students' abilities, in ascending order.

    Parameters
    ----------
    model : fitted ItemResponse
    Y : array_like, [n_students, n_tasks]
    n : int
        Number of students to draw, a fixed random sample of Y.
    level : float
        Posterior probability of the intervals.
    dim : int
        Dimension of the ability.
    names : sequence of str, [n_students], optional
    truth : array_like, [n_students], optional
        True abilities in that dimension, if known; drawn as crosses.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If ``dim`` is out of range, or there is not one name or true ability for each student.
    """
    n = _checks.integer(n, "n")
    given, Y = Y, arrays.matrix(Y, "Y")
    if names is not None and len(names) != len(Y):
        raise ValueError(f"names has {len(names)} entries; expected {len(Y)}, one for each student")
    if truth is not None and np.shape(truth) != (len(Y),):
        raise ValueError(f"truth has shape {np.shape(truth)}; expected {(len(Y),)}, one ability for each student")
    chosen = np.sort(np.random.default_rng(0).permutation(len(Y))[:n])
    means = np.asarray(model.transform(examples.take(given, chosen)))
    dim = _checks.integer(dim, "dim", least=0, most=means.shape[1] - 1)
    order = np.argsort(means[:, dim], kind="stable")
    chosen, mean = chosen[order], means[order, dim]
    low, high = model.ability_interval(examples.take(given, chosen), level)[:, dim].T
    ax = new_axes(ax, (7.5, 4.8))
    places = np.arange(len(chosen))
    ax.axhline(0, color="0.75", lw=0.8)
    ax.vlines(places, low, high, color="C0", alpha=0.35, lw=max(1.0, min(5.0, 240 / len(chosen))))
    ax.plot(places, mean, "o", color="C0", ms=3.5, label="posterior")
    if truth is not None:
        ax.plot(places, np.asarray(truth)[chosen], "x", color="0.2", ms=4, label="truth")
        ax.legend(frameon=False, fontsize=SMALL)
    if names is not None and len(chosen) <= 40:
        ax.set_xticks(places, [names[student] for student in chosen], rotation=90, fontsize=SMALL)
    else:
        ax.set_xticks([])
        ax.set_xlabel("students, by ability")
    ax.set_xlim(-1, len(chosen))
    ax.set_ylabel("ability" if means.shape[1] == 1 else f"ability[{dim}]")
    ax.set_title(f"Abilities of {len(chosen)} students, with intervals of {100 * level:g} %", fontsize=TITLE)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92", axis="y")
    return ax


def _groups(model: ItemResponse, Y: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return mean ability and share of the marks of groups of students, each [groups, n_tasks]."""
    most = model.max_marks_
    if model.intercept_.ndim > 1 or hasattr(model, "guessing_"):
        graded, guessing = model.intercept_.ndim > 1, getattr(model, "guessing_", None)
        intercepts = model.intercept_[:, 0] if graded else model.intercept_
        curves = Curves(model.discrimination_, intercepts, most, guessing, model.intercept_ if graded else None)
        ability: Ability = CategoricalAbility(curves)
    else:
        ability = Ability(model.discrimination_, model.intercept_, most)
    marks = arrays.matrix(Y, "X", len(most), type(model).__name__)
    got, possible = ability.posterior_sums(answers.shares(marks, "X", most), lambda marks, most: (marks, most))
    below = possible.cumsum(0) - possible / 2
    total = possible.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        group = np.clip(below / total * _GROUPS, 0, _GROUPS - 1).astype(int)  # of each node and task
        members = group == np.arange(_GROUPS)[:, np.newaxis, np.newaxis]
        size = (possible * members).sum(1)
        centres = (possible * ability.nodes[:, np.newaxis] * members).sum(1) / size
        return centres, (got * members).sum(1) / size
