"""Differential item functioning: tasks whose parameters differ between groups of students."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt import marginal
from fastvae._irt.chi_squared import upper_tail
from fastvae._irt.mantel_haenszel import MantelHaenszel, mantel_haenszel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastvae._irt.items import Items

# Adjusted p value up to which anchors="purify" removes a task from the anchors.
_LEVEL = 0.05

# Abilities over which a difference is averaged: quantiles of a normal distribution.
_POINTS = 200


class DifferentialFunctioning(NamedTuple):
    """Likelihood-ratio tests of the tasks, and the sizes of the differences."""

    statistic: NDArray[np.float64]
    """2 (ln L of parameters of its own in each group - ln L of equal ones), [n_tasks]; NaN of an anchor."""
    df: NDArray[np.int64]
    """Degrees of freedom, [n_tasks]."""
    p_value: NDArray[np.float64]
    """[n_tasks]; NaN of an anchor."""
    adjusted_p_value: NDArray[np.float64]
    """p values of Benjamini & Hochberg (1995), which limit the share of false discoveries, [n_tasks]."""
    difference: NDArray[np.float64]
    """Expected share of the marks in the group minus that in the first group, at equal ability: means over the group's
    distribution of ability, [n_tasks, n_groups]."""
    absolute_difference: NDArray[np.float64]
    """Means of the absolute values: larger where the curves of the groups cross, [n_tasks, n_groups]."""
    parameters: NDArray[np.float64]
    """Parameters of the task in each group, in the order of ``names``, [n_tasks, n_groups, k]."""
    names: tuple[str, ...]
    """Names of the parameters: "discrimination", "intercept", ..."""
    ability_mean: NDArray[np.float64]
    """Mean ability of each group, 0 for the first, with equal parameters, [n_groups]."""
    ability_std: NDArray[np.float64]
    """Standard deviation of the ability of each group, 1 for the first, [n_groups]."""
    groups: NDArray[Any]
    """The groups' labels, [n_groups]."""
    anchors: NDArray[np.bool_]
    """Tasks whose parameters were equal in all groups while others were tested, [n_tasks]."""
    mantel_haenszel: MantelHaenszel | None
    """Of the first against the second group; None for more groups, marks or missing answers."""


class _Split:
    """The answers, with tasks that have parameters of their own in each group as tasks of their own."""

    def __init__(
        self,
        items: Items,
        shares: NDArray[np.float32],
        groups: NDArray[np.intp],
        weights: NDArray[Any] | None,
        threads: int | None,
    ) -> None:
        self.items, self.shares, self.groups = items, shares, groups
        self._weights, self._threads = weights, threads
        self.n_groups = int(groups.max()) + 1
        # The likelihood ratio needs the maximum of the likelihood; only guessing has none without a prior.
        self._prior = marginal.Prior(guessing=items.guessing_prior)

    def fit(self, tasks: Sequence[int], start: list[NDArray[np.float64]], groups: Any = None) -> _Fit:
        """Return the maximum with `tasks` split; `start` are parameters of each task, one for all groups."""
        items, extra = self.items, [(task, group) for task in tasks for group in range(1, self.n_groups)]
        shares, owner = [self.shares], list(range(self.shares.shape[1]))
        if extra:
            shares[0] = self.shares.copy()
            shares[0][:, tasks] = np.where((self.groups == 0)[:, np.newaxis], self.shares[:, tasks], np.nan)
        for task, group in extra:
            shares.append(np.where(self.groups == group, self.shares[:, task], np.float32(np.nan))[:, np.newaxis])
            owner.append(task)
        prior = self._prior
        if prior.guessing is not None:
            prior = marginal.Prior(guessing=([prior.guessing[0][task] for task in owner], prior.guessing[1]))
        exam = marginal.Exam(
            items.kind,
            np.concatenate(shares, 1),
            items.max_marks[owner],
            prior,
            weights=self._weights,
            groups=self.groups,
            threads=self._threads,
        )
        found = exam.fit(np.concatenate([start[task] for task in owner]), groups)
        own = np.split(found.parameters, np.cumsum([len(start[task]) for task in owner])[:-1])
        in_groups = {task: [own[task]] for task in tasks}
        for (task, _), values in zip(extra, own[self.shares.shape[1] :], strict=True):
            in_groups[task].append(values)
        return _Fit(float(found.history[:, 0].max()), own[: self.shares.shape[1]], in_groups, found.groups)


class _Fit(NamedTuple):
    log_likelihood: float
    parameters: list[NDArray[np.float64]]  # of each task, in the first group
    split: dict[int, list[NDArray[np.float64]]]  # of split tasks, in all groups
    groups: list[tuple[float, float]]


def differential_functioning(
    items: Items,
    shares: NDArray[np.float32],
    labels: NDArray[Any],
    anchors: NDArray[np.bool_] | str | None,
    weights: NDArray[np.float32] | None,
    threads: int | None,
) -> DifferentialFunctioning:
    """Test each task for parameters that differ between groups; see ``ItemResponse.differential_functioning``."""
    names, groups = np.unique(labels, return_inverse=True)
    exam = _Split(items, shares, groups.reshape(-1), weights, threads)
    n_tasks, n_groups = shares.shape[1], len(names)
    start = np.split(items.flat(), np.cumsum(items.widths())[:-1])
    df = items.n_free() * (n_groups - 1)
    statistic = np.full(n_tasks, np.nan)
    split = np.flatnonzero(~anchors).tolist() if isinstance(anchors, np.ndarray) else []
    base = exam.fit(split, start)
    own = [base.split.get(task, [values] * n_groups) for task, values in enumerate(base.parameters)]
    while not isinstance(anchors, np.ndarray):
        for task in set(range(n_tasks)) - set(split):
            fit = exam.fit([*split, task], base.parameters, base.groups)
            statistic[task], own[task] = 2 * (fit.log_likelihood - base.log_likelihood), fit.split[task]
        tested = np.where(np.isin(np.arange(n_tasks), split), np.nan, statistic)
        worst = int(np.nanargmax(tested))
        found = _adjusted(_p_values(statistic, df))[worst] <= _LEVEL
        if anchors is None or not found or len(split) == n_tasks - 2:
            break
        split.append(worst)
        base = exam.fit(split, base.parameters, base.groups)
    for task in split:
        fit = exam.fit([other for other in split if other != task], base.parameters, base.groups)
        statistic[task], own[task] = 2 * (base.log_likelihood - fit.log_likelihood), base.split[task]
    used, distribution = ~np.isin(np.arange(n_tasks), split), base.groups
    statistic = np.maximum(statistic, 0)
    p_values = _p_values(statistic, df)
    signed, absolute = _differences(items, own, distribution)
    mh = None
    if n_groups == 2 and items.binary and not np.isnan(shares).any():
        mh = mantel_haenszel(shares, groups.reshape(-1) == 1, np.ones(len(shares)) if weights is None else weights)
    width = max(len(values) for values in start)
    padded = [[np.pad(v, (0, width - len(v)), constant_values=np.nan) for v in task] for task in own]
    return DifferentialFunctioning(
        statistic,
        df,
        p_values,
        _adjusted(p_values),
        signed,
        absolute,
        np.array(padded),
        items.parameter_names(),
        np.array([mean for mean, _ in distribution]),
        np.array([std for _, std in distribution]),
        names,
        used,
        mh,
    )


def _p_values(statistic: NDArray[np.float64], df: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([upper_tail(float(x), int(k)) for x, k in zip(statistic, df, strict=True)])


def _adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values adjusted by Benjamini & Hochberg's method; NaN stays."""
    found = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]  # NaN are last
    ranked = p[order] * len(order) / np.arange(1, len(order) + 1)
    found[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1)
    return found


def _differences(
    items: Items, own: list[list[NDArray[np.float64]]], groups: list[tuple[float, float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean differences of expected shares of the marks and of their absolute values, [n_tasks, n_groups]."""
    from statistics import NormalDist  # here only, so that `import fastvae` stays cheap

    z = np.array([NormalDist().inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])
    signed, absolute = np.zeros((2, len(own), len(groups)))
    for task, values in enumerate(own):
        for group, (mean, std) in enumerate(groups):
            alpha = mean + std * z
            change = items.expected_share(task, values[group], alpha) - items.expected_share(task, values[0], alpha)
            signed[task, group], absolute[task, group] = change.mean(), np.abs(change).mean()
    return signed, absolute
