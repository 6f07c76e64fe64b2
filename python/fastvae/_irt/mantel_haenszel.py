"""The test of Mantel & Haenszel for tasks that are harder for one of two groups at equal scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae._irt.chi_squared import upper_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

# ln of an odds ratio in units of the scale of difficulty of the Educational Testing Service.
_DELTA = -2.35


class MantelHaenszel(NamedTuple):
    """The odds of a solution in the first group over those in the second, given the score; each [n_tasks].

    NaN where a group solves a task always or never.
    """

    odds_ratio: NDArray[np.float64]
    """Common odds ratio (Mantel & Haenszel, 1959): above 1 the task is easier for the first group."""
    delta: NDArray[np.float64]
    """-2.35 ln(odds ratio) (Holland & Thayer, 1988): below 0 the task is harder for the second group."""
    statistic: NDArray[np.float64]
    """Chi-squared with one degree of freedom, with the correction for continuity."""
    p_value: NDArray[np.float64]
    ets_class: NDArray[np.str_]
    """"A" negligible: |delta| < 1 or not significant at 5 %; "C" large: |delta| >= 1.5 and significantly above 1; else
    "B" (Zwick & Ercikan, 1989)."""


def mantel_haenszel(solved: NDArray[Any], second: NDArray[np.bool_], weights: NDArray[Any]) -> MantelHaenszel:
    """Return the statistics of all tasks, with students matched by their numbers of solved tasks.

    Parameters
    ----------
    solved : ndarray, [n_students, n_tasks]
        0 or 1.
    second : ndarray of bool, [n_students]
        Whether the student is in the second group.
    weights : ndarray, [n_students]
    """
    score, n_tasks = solved.sum(1).astype(np.int64), solved.shape[1]
    tables = np.zeros((2, 2, n_tasks + 1, n_tasks))  # group, solved, score, task
    for group, own in enumerate((~second, second)):
        for value in (0, 1):
            np.add.at(tables[group, value], score[own], weights[own, np.newaxis] * (solved[own] == value))
    (b, a), (d, c) = tables
    n = a + b + c + d
    usable = (a + b > 0) & (c + d > 0) & (n > 1)
    with np.errstate(divide="ignore", invalid="ignore"):

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            found: NDArray[np.float64] = np.where(usable, values, 0.0).sum(0)
            return found

        r, s, p, q = a * d / n, b * c / n, (a + d) / n, (b + c) / n
        ratio = total(r) / total(s)
        ratio[~(np.isfinite(ratio) & (ratio > 0))] = np.nan
        expected = total((a + b) * (a + c) / n)
        variance = total((a + b) * (c + d) * (a + c) * (b + d) / (n**2 * (n - 1)))
        statistic = np.maximum(np.abs(total(a) - expected) - 0.5, 0) ** 2 / variance
        # Variance of ln(odds ratio): Robins, Breslow & Greenland, Biometrics 42, 1986.
        of_log = total(p * r) / (2 * total(r) ** 2) + total(q * s) / (2 * total(s) ** 2)
        of_log += total(p * s + q * r) / (2 * total(r) * total(s))
        delta = _DELTA * np.log(ratio)
        above_one = np.abs(delta) - 1 > 1.645 * -_DELTA * np.sqrt(of_log)
    statistic[np.isnan(ratio)] = np.nan
    p_value = np.array([upper_tail(float(x), 1) for x in statistic])
    large = (np.abs(delta) >= 1.5) & above_one
    small = ~((np.abs(delta) >= 1) & (p_value < 0.05))
    return MantelHaenszel(ratio, delta, statistic, p_value, np.where(small, "A", np.where(large, "C", "B")))
