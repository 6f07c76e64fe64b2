"""differential_functioning: likelihood ratios by an independent optimiser, calibration, power, Mantel-Haenszel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from fastvae import ItemResponse
from fastvae._irt.differential import _adjusted
from fastvae._irt.mantel_haenszel import mantel_haenszel


def simulated(
    n: int = 600, t: int = 6, *, shift: float = 0.0, impact: float = -0.5, flat: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two groups; task 2 is harder by `shift` for the second, whose mean ability is `impact`."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    a, d = np.linspace(0.8, 1.6, t), np.linspace(-1, 1, t)
    alpha = rng.normal(size=n) + impact * group
    slopes, intercepts = np.tile(a, (n, 1)), np.tile(d, (n, 1))
    slopes[group == 1, 2] *= flat
    intercepts[group == 1, 2] -= shift
    return (rng.random((n, t)) < 1 / (1 + np.exp(-slopes * alpha[:, np.newaxis] - intercepts))).astype(float), group


def fitted(Y: np.ndarray, model: str = "2pl", **params: Any) -> ItemResponse:
    return ItemResponse(model, method="mml", random_state=0, **params).fit(Y)


@pytest.mark.parametrize("model", ["2pl", "rasch"])
def test_the_likelihood_ratio_is_that_of_an_independent_optimiser(model: str) -> None:
    Y, group = simulated(300, 4, shift=0.6)
    Y[np.random.default_rng(0).random(Y.shape) < 0.1] = np.nan
    nodes = np.linspace(-6, 6, 61)

    def loss(x: np.ndarray, free: bool) -> float:
        mean, log_std, rest = x[0], x[1], x[2:]
        a = np.tile(rest[:4], (2, 1)) if model == "2pl" else np.full((2, 4), rest[0])
        rest = rest[4 if model == "2pl" else 1 :]
        d = np.tile(rest[:4], (2, 1))
        if free:
            d[1, 2] = rest[4]
            if model == "2pl":
                a[1, 2] = rest[5]
        total = 0.0
        for g, (m, s) in enumerate([(0.0, 1.0), (mean, np.exp(log_std))]):
            alpha = m + s * nodes
            weight = -(nodes**2) / 2
            logits = alpha[:, np.newaxis] * a[g] + d[g]
            own = Y[group == g]
            x01, seen = np.nan_to_num(own), ~np.isnan(own)
            joint = x01 @ logits.T - seen @ np.logaddexp(0, logits).T + weight - logsumexp(weight)
            total -= logsumexp(joint, axis=1).sum()
        return float(total)

    own = {"2pl": 4, "rasch": 1}[model]
    start = np.concatenate([[0.0, 0.0], np.ones(own), np.zeros(4)])
    equal = minimize(loss, start, args=(False,), method="BFGS")
    more = np.concatenate([equal.x, [equal.x[2 + own + 2]], [equal.x[4]] if model == "2pl" else []])
    free = minimize(loss, more, args=(True,), method="BFGS")
    found = fitted(Y, model).differential_functioning(Y, group)
    assert found.statistic[2] == pytest.approx(2 * (equal.fun - free.fun), abs=2e-3)
    assert found.df[2] == {"2pl": 2, "rasch": 1}[model]
    assert (found.ability_mean[0], found.ability_std[0]) == (0, 1)
    assert found.ability_mean[1] == pytest.approx(equal.x[0], abs=2e-3)
    assert found.ability_std[1] == pytest.approx(np.exp(equal.x[1]), abs=2e-3)
    assert found.parameters[2, 1, 1] == pytest.approx(free.x[2 + own + 4], abs=5e-3)
    assert found.names == ("discrimination", "intercept")


def test_p_values_are_uniform_without_differences() -> None:
    values, classes = [], []
    for seed in range(25):
        Y, group = simulated(500, seed=seed)  # the groups differ in ability
        found = fitted(Y).differential_functioning(Y, group)
        values += found.p_value.tolist()
        classes += found.mantel_haenszel.ets_class.tolist()
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1
    assert 0.4 < np.mean(values) < 0.6
    assert classes.count("A") > 0.85 * len(classes)


@pytest.mark.parametrize("model", ["2pl", "rasch"])
@pytest.mark.parametrize("anchors", [None, "purify", [0, 1, 3]])
def test_a_task_that_is_harder_for_a_group_is_found(model: str, anchors: Any) -> None:
    Y, group = simulated(1500, shift=1.0, seed=1)
    labels = np.where(group == 1, "new", "first")
    found = fitted(Y, model).differential_functioning(Y, labels, anchors=anchors)
    assert found.adjusted_p_value[2] < 1e-6
    assert np.nanargmin(found.p_value) == 2
    others = np.delete(found.adjusted_p_value, 2)
    assert anchors is None or (np.isnan(others) | (others > 0.05)).all()  # all tasks as anchors are biased
    assert found.difference[2, 0] == 0
    assert -0.3 < found.difference[2, 1] < -0.1
    assert found.groups.tolist() == ["first", "new"]
    assert found.parameters[2, 1, 1] < found.parameters[2, 0, 1] - 0.6
    if anchors == [0, 1, 3]:
        assert np.flatnonzero(np.isnan(found.p_value)).tolist() == [0, 1, 3]
        assert found.anchors.tolist() == [True, True, False, True, False, False]
    if anchors == "purify":
        assert not found.anchors[2]
        assert not np.isnan(found.p_value).any()
    assert found.mantel_haenszel.ets_class[2] == "C"
    assert found.mantel_haenszel.delta[2] < -1.5


def test_curves_that_cross_have_an_absolute_difference() -> None:
    Y, group = simulated(4000, flat=0.2, impact=0.0)
    found = fitted(Y).differential_functioning(Y, group)
    assert found.adjusted_p_value[2] < 1e-4
    assert found.absolute_difference[2, 1] > 2 * abs(found.difference[2, 1])


def test_three_groups_marks_and_weights() -> None:
    rng = np.random.default_rng(0)
    a, d = np.linspace(0.8, 1.6, 5), np.linspace(-1, 1, 5)
    group = np.arange(900) % 3
    intercepts = np.tile(d, (900, 1))
    intercepts[group == 2, 4] += 1.0
    p = 1 / (1 + np.exp(-rng.normal(size=(900, 1)) * a - intercepts))
    Y = rng.binomial([1, 2, 3, 1, 4], p)
    exam = fitted(Y, max_marks=[1, 2, 3, 1, 4])
    found = exam.differential_functioning(Y, group)
    assert found.df.tolist() == [4] * 5
    assert np.argmin(found.p_value) == 4
    assert found.mantel_haenszel is None
    assert abs(found.difference[4, 1]) < 0.06 < found.difference[4, 2]
    twice = exam.differential_functioning(Y, group, sample_weight=np.full(900, 2))
    np.testing.assert_allclose(twice.statistic, 2 * found.statistic, rtol=1e-3, atol=1e-3)
    some = np.where(np.arange(900) < 600, 1, 0)
    np.testing.assert_allclose(
        exam.differential_functioning(Y, group, sample_weight=some).statistic,
        exam.differential_functioning(Y[:600], group[:600]).statistic,
        rtol=1e-6,
    )


def test_results_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTVAE_OVERSUBSCRIBE", "1")
    Y, group = simulated(600)
    one, three = (fitted(Y, n_jobs=jobs).differential_functioning(Y, group) for jobs in (1, 3))
    np.testing.assert_array_equal(one.statistic, three.statistic)


def test_mantel_haenszel_is_its_formula() -> None:
    Y, group = simulated(400, shift=0.8)
    found = mantel_haenszel(Y, group == 1, np.ones(400))
    score = Y.sum(1)
    for task in range(6):
        over = under = observed = expected = variance = 0.0
        for level in np.unique(score):
            own = score == level
            a, b = (np.sum(own & (group == 0) & (Y[:, task] == value)) for value in (1, 0))
            c, d = (np.sum(own & (group == 1) & (Y[:, task] == value)) for value in (1, 0))
            n = a + b + c + d
            if a + b == 0 or c + d == 0:
                continue
            over, under = over + a * d / n, under + b * c / n
            observed, expected = observed + a, expected + (a + b) * (a + c) / n
            variance += (a + b) * (c + d) * (a + c) * (b + d) / n**2 / (n - 1)
        assert found.odds_ratio[task] == pytest.approx(over / under)
        assert found.delta[task] == pytest.approx(-2.35 * np.log(over / under))
        assert found.statistic[task] == pytest.approx(max(abs(observed - expected) - 0.5, 0) ** 2 / variance)


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    found = _adjusted(np.array([0.01, np.nan, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(found, [0.04, np.nan, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5])


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        ([0, 1], {}, "one label for each of the 600 students"),
        (np.zeros(600), {}, "one label only"),
        (np.where(np.arange(600) == 7, np.nan, np.arange(600) % 2), {}, r"groups\[7\] is NaN"),
        (None, {"anchors": "all"}, "anchors='all' must be"),
        (None, {"anchors": [9]}, "anchors has 9, which is none of the 6 tasks"),
        (None, {"anchors": ["q7"]}, "anchors has 'q7'"),
        (None, {"anchors": range(6)}, "some of the tasks"),
    ],
)
def test_bad_input_is_refused(groups: Any, options: dict[str, Any], message: str) -> None:
    Y, group = simulated()
    with pytest.raises(ValueError, match=message):
        fitted(Y).differential_functioning(Y, group if groups is None else groups, **options)


def test_tasks_have_names_and_groups_have_answers() -> None:
    Y, group = simulated()
    frame = pd.DataFrame(Y, columns=[f"q{i}" for i in range(6)])
    exam = fitted(frame)
    by_name = exam.differential_functioning(frame, pd.Series(group), anchors=["q0", "q1"])
    np.testing.assert_array_equal(by_name.statistic, exam.differential_functioning(frame, group, anchors=[0, 1])[0])
    frame.loc[group == 1, "q3"] = np.nan
    with pytest.raises(ValueError, match="group 1 has no answers to task 3"):
        exam.differential_functioning(frame, group)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=["None", "NaN", "NA", "NaT"])
def test_students_without_a_group_are_named(missing: Any) -> None:
    Y, _ = simulated(100, 4)
    exam = fitted(Y)
    for labels in (["a", "b"] * 50, [1, 2] * 50):
        labels[3] = missing
        with pytest.raises(ValueError, match=r"groups\[3\] is (missing|NaN)"):
            exam.differential_functioning(Y, labels)


def test_labels_of_any_type_are_the_same_groups() -> None:
    Y, group = simulated(200, 4)
    exam = fitted(Y)
    one = exam.differential_functioning(Y, group).p_value
    for labels in (group.tolist(), group.astype(object), group.astype(bool), ["ab"[g] for g in group]):
        np.testing.assert_array_equal(exam.differential_functioning(Y, labels).p_value, one)
