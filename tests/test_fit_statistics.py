"""fit_statistics and standard errors: published values of LSAT 7, scipy, calibration on simulated exams."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fastvae import ItemResponse
from fastvae._irt.chi_squared import upper_tail
from fastvae._irt.fit_statistics import m2
from fastvae._irt.items import Items

LSAT7 = Path(__file__).resolve().parents[2] / "shared" / "data" / "lsat7.npz"
needs_lsat7 = pytest.mark.skipif(not LSAT7.exists(), reason="needs ../shared/data/lsat7.npz beside the repository")


def simulated(n: int, t: int = 8, seed: int = 0) -> np.ndarray:
    """Answers of n students to t tasks of the two-parameter model."""
    rng = np.random.default_rng(seed)
    a, d = np.linspace(0.7, 1.6, t), np.linspace(-1, 1, t)
    return (rng.random((n, t)) < 1 / (1 + np.exp(-rng.normal(size=(n, 1)) * a - d))).astype(np.float64)


@pytest.mark.parametrize("df", [0.5, 1, 2, 5, 40, 700])
@pytest.mark.parametrize("ratio", [1e-3, 0.3, 0.9, 1.0, 1.2, 3.0])
def test_the_tail_is_scipys(df: float, ratio: float) -> None:
    assert upper_tail(ratio * df, df) == pytest.approx(stats.chi2.sf(ratio * df, df), rel=1e-10, abs=1e-14)
    assert (upper_tail(-1, df), upper_tail(1, 0)) == (1, 1)
    assert np.isnan(upper_tail(np.nan, df))


@needs_lsat7
def test_lsat7_has_the_published_statistics() -> None:
    """M2 = 11.93769 and the confidence intervals (numerical Richardson method) are those in mirt's tests."""
    responses = np.load(LSAT7)["responses"]
    exam = ItemResponse(method="mml", prior=None, random_state=0).fit(responses)
    found = exam.fit_statistics(responses)
    assert found.log_likelihood == pytest.approx(-2658.805, abs=1e-3)
    assert (found.n_parameters, found.n_students) == (10, 1000)
    assert found.aic == pytest.approx(5337.610, abs=2e-3)
    assert found.bic == pytest.approx(5386.688, abs=2e-3)
    assert found.m2.statistic == pytest.approx(11.93769, rel=1e-4)
    assert (found.m2.df, found.m2.p_value) == (5, pytest.approx(stats.chi2.sf(11.93769, 5), abs=1e-4))
    assert found.m2.rmsea == pytest.approx(0.0372, abs=1e-4)
    errors = exam.standard_errors(responses)
    low, high = np.array([[0.6406, 1.3354], [1.5984, 2.1138]]).T
    published = (high - low) / (2 * 1.959964)
    assert [errors.discrimination[0], errors.intercept[0]] == pytest.approx(published, rel=5e-3)
    # "rasch" fits worse.
    rasch = ItemResponse("rasch", method="mml", prior=None, random_state=0).fit(responses).fit_statistics(responses)
    assert rasch.n_parameters == 6
    assert rasch.m2.df == 9
    assert rasch.aic > found.aic


@needs_lsat7
def test_a_table_of_patterns_gives_the_same() -> None:
    responses = np.load(LSAT7)["responses"]
    patterns, counts = np.unique(responses, axis=0, return_counts=True)
    exam = ItemResponse(method="mml", random_state=0).fit(patterns, sample_weight=counts)
    one, two = exam.fit_statistics(patterns, sample_weight=counts), exam.fit_statistics(responses)
    assert one.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-12)
    assert one.m2 == pytest.approx(two.m2, rel=1e-9)
    errors = (exam.standard_errors(patterns, sample_weight=counts), exam.standard_errors(responses))
    np.testing.assert_allclose(*(each.difficulty for each in errors), rtol=1e-9)


@pytest.mark.parametrize("model", ["rasch", "2pl", "through_origin"])
def test_m2_is_its_formula(model: str) -> None:
    """By the probabilities of all patterns and numerical derivatives."""
    marks = simulated(200, 4)
    exam = ItemResponse(model, method="mml", prior=None, random_state=0).fit(marks)
    items = Items(exam._require_fitted())
    patterns = np.array(list(product([0, 1], repeat=4)), np.float32)
    pairs = list(combinations(range(4), 2))
    tables = np.concatenate([patterns, np.stack([patterns[:, i] * patterns[:, j] for i, j in pairs], 1)], 1)

    def chances() -> np.ndarray:
        return np.exp(items.ability().log_marginal(patterns))

    p = chances()
    expected = tables.T @ p
    xi = (tables * p[:, np.newaxis]).T @ tables - np.outer(expected, expected)
    free, at = items.free(), items.flat()
    derivatives = np.empty((10, free.shape[1]))
    for k, direction in enumerate(free.T):
        ends = []
        for h in (1e-5, -1e-5):
            moved = (at + h * direction).reshape(4, 2)
            items.slopes, items.intercepts = moved[:, :1], moved[:, 1]
            ends.append(tables.T @ chances())
        derivatives[:, k] = (ends[0] - ends[1]) / 2e-5
    items.slopes, items.intercepts = at.reshape(4, 2)[:, :1], at.reshape(4, 2)[:, 1]
    seen = np.concatenate([marks.mean(0), [np.mean(marks[:, i] * marks[:, j]) for i, j in pairs]])
    inverse = np.linalg.inv(xi)
    inner = np.linalg.inv(derivatives.T @ inverse @ derivatives)
    c = inverse - inverse @ derivatives @ inner @ derivatives.T @ inverse
    want = 200 * (seen - expected) @ c @ (seen - expected)
    found = m2(items, marks, np.ones(200))
    assert found.statistic == pytest.approx(want, rel=1e-6)
    assert found.df == 10 - free.shape[1]
    correlations = [np.corrcoef(marks.T)[i, j] for i, j in pairs]
    model_p = expected[:4]
    spread = np.sqrt(model_p * (1 - model_p))
    theirs = [(expected[4 + k] - model_p[i] * model_p[j]) / spread[i] / spread[j] for k, (i, j) in enumerate(pairs)]
    assert found.srmsr == pytest.approx(np.sqrt(np.mean(np.subtract(correlations, theirs) ** 2)), rel=1e-6)


def test_m2_has_its_distribution() -> None:
    statistics = []
    for seed in range(60):
        marks = simulated(500, 7, seed)
        exam = ItemResponse(method="mml", random_state=0).fit(marks)
        statistics.append(exam.fit_statistics(marks).m2)
    df = statistics[0].df
    assert df == 28 - 14
    mean = np.mean([each.statistic for each in statistics])
    assert abs(mean - df) < 3.5 * np.sqrt(2 * df / 60)
    assert 0.3 < np.mean([each.p_value < 0.5 for each in statistics]) < 0.7


def test_a_wrong_model_has_a_large_m2() -> None:
    marks = simulated(2000)
    marks[:, 1] = marks[:, 0]  # two tasks with the same answers
    with pytest.warns(UserWarning, match="tasks 0, 1 has reached its bound, 30: .*: leave out one of them"):
        exam = ItemResponse(method="mml", random_state=0).fit(marks)
    found = exam.fit_statistics(marks)
    assert found.m2.p_value < 1e-6
    assert found.m2.rmsea > 0.05


@pytest.mark.parametrize("what", ["marks", "missing", "tasks"])
def test_m2_is_none_where_it_is_not_defined(what: str) -> None:
    marks = simulated(60, 3 if what == "tasks" else 8)
    options: dict[str, Any] = {}
    if what == "marks":
        options["max_marks"] = 2
    if what == "missing":
        marks[0, 0] = np.nan
    found = ItemResponse(method="mml", random_state=0, **options).fit(marks).fit_statistics(marks)
    assert found.m2 is None
    assert found.bic > found.aic


def test_standard_errors_are_the_spread_of_estimates() -> None:
    fits = []
    for seed in range(40):
        marks = simulated(600, 8, seed)
        exam = ItemResponse(method="mml", prior=None, random_state=0).fit(marks)
        fits.append((exam.discrimination_, exam.intercept_, exam.standard_errors(marks)))
    for parameter in (0, 1):
        spread = np.std([fit[parameter] for fit in fits], 0, ddof=1)
        expected = np.mean([fit[2][parameter] for fit in fits], 0)
        ratio = np.exp(np.mean(np.log(spread / expected)))
        assert 0.88 < ratio < 1.14


def test_several_dimensions_are_refused() -> None:
    marks = simulated(50)
    exam = ItemResponse(n_dims=2, hidden=(8,), epochs=2, random_state=0).fit(marks)
    with pytest.raises(ValueError, match="fit_statistics needs a model of one dimension"):
        exam.fit_statistics(marks)
