"""Exams without enough in them: equal answers, tasks or students without answers, one task, one student."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp

from fastvae import ItemResponse
from fastvae._irt.categorical import Curves

MODELS = ("rasch", "2pl", "3pl", "through_origin")


def simulated(n: int = 300, t: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = 1.2 * rng.normal(size=(n, 1)) - np.linspace(-1.5, 1.5, t)
    return np.asarray(rng.random((n, t)) < 1 / (1 + np.exp(-logits)), float)


def fitted(X: np.ndarray, model: str = "2pl", **parameters: Any) -> ItemResponse:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ItemResponse(model, method="mml", random_state=0, **parameters).fit(X)


X = simulated()
HALF_EMPTY = np.where(np.arange(6) == 2, np.nan, X)
GUTTMAN = (np.arange(7)[:, np.newaxis] > np.arange(6)).astype(float).repeat(10, 0)
TWINS = np.column_stack([X[:, 0], X])
HOSTILE = {
    "all right": np.ones((50, 4)),
    "all wrong": np.zeros((50, 4)),
    "task solved by all": np.where(np.arange(6) == 2, 1, X),
    "task without answers": HALF_EMPTY,
    "students without answers": np.where(np.arange(300)[:, np.newaxis] % 3 == 0, np.nan, X),
    "no answers at all": np.full((20, 3), np.nan),
    "one task": X[:, :1],
    "one student": X[:1],
    "one answer": X[:1, :1],
    "ordered students": GUTTMAN,
    "equal tasks": TWINS,
    "opposite tasks": np.column_stack([1 - X[:, 0], X]),
    "more tasks than students": (np.random.default_rng(0).random((30, 300)) < 0.5).astype(float),
}


@pytest.mark.parametrize("prior", ["weak", None])
@pytest.mark.parametrize("name", HOSTILE)
def test_every_exam_has_finite_answers(name: str, prior: str | None) -> None:
    answers = HOSTILE[name]
    for model in MODELS if answers.size < 5000 else ("rasch", "2pl"):
        exam = fitted(answers, model, prior=prior, epochs=50)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for found in (
                exam.transform(answers),
                exam.predict_proba(answers),
                exam.log_marginal(answers).estimate,
                exam.impute(answers),
                exam.encode(answers)[0],
            ):
                assert np.isfinite(found).all(), (model, name)
            statistics = exam.fit_statistics(answers)
            if answers.shape[1] <= 10:
                exam.standard_errors(answers)
        assert np.isfinite([statistics.log_likelihood, statistics.aic, statistics.bic]).all()
        assert statistics.log_likelihood <= 1e-9


def test_a_task_without_answers_changes_nothing_else() -> None:
    """Its parameters are the mode of the prior, and it does not count."""
    others = np.delete(X, 2, axis=1)
    for model in ("rasch", "2pl", "3pl"):
        with_it, without = fitted(HALF_EMPTY, model), fitted(others, model)
        keep = np.arange(6) != 2
        np.testing.assert_allclose(with_it.discrimination_[keep], without.discrimination_, rtol=2e-4)
        np.testing.assert_allclose(with_it.transform(HALF_EMPTY), without.transform(others), atol=1e-4)
        found, expected = with_it.fit_statistics(HALF_EMPTY), without.fit_statistics(others)
        assert found.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-3)
        assert found.n_parameters == expected.n_parameters
        assert found.aic == pytest.approx(expected.aic, abs=2e-3)
    with pytest.warns(UserWarning, match="task 2 without answers: no data for the parameters; they have the mode of"):
        ItemResponse(method="mml", random_state=0).fit(HALF_EMPTY)


@pytest.mark.parametrize("model", ["rasch", "2pl"])
def test_standard_errors_of_the_other_tasks_do_not_need_its_answers(model: str) -> None:
    found = fitted(HALF_EMPTY, model, prior=None).standard_errors(HALF_EMPTY)
    others = np.delete(X, 2, axis=1)
    expected = fitted(others, model, prior=None).standard_errors(others)
    keep = np.arange(6) != 2
    np.testing.assert_allclose(found.intercept[keep], expected.intercept, rtol=1e-3)
    np.testing.assert_allclose(found.discrimination[keep], expected.discrimination, rtol=1e-3)
    assert np.isnan(found.intercept[2])
    assert np.isnan(found.discrimination[2]) == (model == "2pl")


def test_students_without_answers_change_no_estimate_and_have_the_prior() -> None:
    holes = np.concatenate([X, np.full((50, 6), np.nan)])
    exam, plain = fitted(holes), fitted(X)
    np.testing.assert_allclose(exam.discrimination_, plain.discrimination_, rtol=1e-4)
    np.testing.assert_allclose(exam.transform(holes)[-1], 0, atol=1e-9)
    np.testing.assert_allclose(exam.ability_std(holes)[-1], 1, rtol=1e-6)
    np.testing.assert_allclose(exam.log_marginal(holes).estimate[-1], 0, atol=1e-9)


def test_one_task_has_the_share_of_its_students() -> None:
    """The slope is not identified; P(solved) is the share."""
    for model in ("rasch", "2pl"):
        exam = fitted(X[:, :1], model, prior=None)
        likelihood = exam.fit_statistics(X[:, :1]).log_likelihood
        p = X[:, 0].mean()
        assert likelihood == pytest.approx(300 * (p * np.log(p) + (1 - p) * np.log(1 - p)), abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_equal_tasks_have_the_largest_slope_and_a_warning(sign: int) -> None:
    """The likelihood rises with the slope of two tasks that one observation determines."""
    twins = TWINS.copy()
    if sign < 0:
        twins[:, 0] = 1 - twins[:, 0]
    with pytest.warns(UserWarning, match="discrimination of tasks 0, 1 has reached its bound, 30: .*use prior='weak'"):
        exam = ItemResponse(method="mml", prior=None, random_state=0).fit(twins)
    np.testing.assert_array_equal(exam.discrimination_[:2], [30 * sign, 30])
    prior = fitted(twins)
    assert 5 < prior.discrimination_[1] < 15
    assert np.isfinite(prior.standard_errors(twins).discrimination).all()


def test_ordered_students_are_ordered() -> None:
    """Guttman's scale: the number of solved tasks is the order of the abilities."""
    for prior in ("weak", None):
        ability = fitted(GUTTMAN, prior=prior).transform(GUTTMAN)[::10, 0]
        assert (np.diff(ability) > 0.2).all()


def test_the_encoder_of_steep_tasks_has_the_moments_of_the_posterior() -> None:
    """Tasks with a slope of 30 are certain at most nodes: variance and slope of the marks are 0 there."""
    exam = fitted(GUTTMAN, prior=None)
    np.testing.assert_allclose(exam.encode(GUTTMAN)[0][:, 0], exam.transform(GUTTMAN)[:, 0], atol=0.1)


def test_large_samples_have_the_estimates_of_small_ones() -> None:
    """A thousand copies of each student, in rows or as weights."""
    copies, small = fitted(np.tile(X, (1000, 1)), prior=None), fitted(X, prior=None)
    np.testing.assert_allclose(copies.discrimination_, small.discrimination_, rtol=1e-4)
    rows = np.tile(X, (1000, 1))
    assert copies.fit_statistics(rows).log_likelihood == pytest.approx(
        1000 * small.fit_statistics(X).log_likelihood, rel=1e-6
    )
    ratio = small.standard_errors(X).discrimination / copies.standard_errors(rows).discrimination
    np.testing.assert_allclose(ratio, np.sqrt(1000), rtol=1e-2)


def graded(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    alpha = rng.normal(size=(400, 1)) + rng.normal(size=(400, 5))
    return np.asarray(np.digitize(alpha, [-1, 0, 1]), float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y: np.where(Y == 2, 1, Y), r"task 1 has no answer 2 \(graded answers are 0 to 3\): merge it with its"),
        (lambda Y: np.maximum(Y, 1), "task 1 has no answer 0 .*: answers begin at 0: subtract 1"),
        (lambda Y: 0 * Y, "graded tasks need different answers, and all answers to task 1 are 0: leave it out"),
        (lambda Y: 0 * Y + 3, "graded tasks need different answers, and all answers to task 1 are 3: leave it out"),
        (lambda Y: np.full_like(Y, np.nan), "graded tasks need different answers, and task 1 has none: leave it out"),
    ],
)
def test_graded_tasks_without_some_answers_are_refused_by_name(change: Any, message: str) -> None:
    Y = graded()
    Y[:, 1] = change(Y[:, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            ItemResponse("graded", random_state=0).fit(Y)


def test_m2_of_constant_answers_has_no_correlations() -> None:
    exam = fitted(HOSTILE["all right"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = exam.fit_statistics(HOSTILE["all right"])
    assert np.isnan(found.m2.srmsr)
    assert found.m2.statistic == pytest.approx(0, abs=0.1)


def test_probabilities_of_certain_tasks_do_not_cancel() -> None:
    alpha = np.array([2.0, -2.0])
    graded = Curves(np.array([30.0]), np.zeros(1), np.array([2]), None, np.array([[1.0, -1.0]]))
    middle = expit(-59.0) - expit(-61.0)
    expected = [[expit(-61.0), middle, 1], [1, middle, expit(-61.0)]]
    np.testing.assert_allclose(graded.probabilities(alpha[:, np.newaxis])[:, 0], expected, rtol=1e-12)
    _, variance, _ = graded.mark_moments(alpha)
    np.testing.assert_allclose(variance[:, 0], middle + 4 * expit(-61.0), rtol=1e-6)
    guessing = Curves(np.array([30.0]), np.zeros(1), np.array([1]), np.array([0.2]), None)
    expected = [[0.8 * expit(-60.0), 1], [0.8, 0.2]]
    np.testing.assert_allclose(guessing.probabilities(alpha[:, np.newaxis])[:, 0], expected, rtol=1e-12)


def test_certain_tasks_have_the_outfit_of_an_exact_quadrature() -> None:
    """Graded tasks of two answers with slopes near the bound: (y - P)² / V is (1 - P) / P or P / (1 - P)."""
    Y = GUTTMAN.copy()
    Y[::10, 2] = 1 - Y[::10, 2]  # some answers that no ability explains
    exam = fitted(Y, "graded", prior=None)
    assert np.abs(exam.discrimination_).max() > 10
    alpha = np.linspace(-8, 8, 6001)
    logits = alpha[:, np.newaxis] * exam.discrimination_.astype(float) + exam.intercept_[:, 0].astype(float)
    signs = 2 * Y - 1
    log_joint = log_expit(signs[:, np.newaxis] * logits).sum(2) - alpha**2 / 2
    posterior = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    odds = np.exp(-signs[:, np.newaxis] * logits)
    expected = np.einsum("sq,sqt->t", posterior, odds) / len(Y)
    np.testing.assert_allclose(exam.item_fit(Y).outfit, expected, rtol=1e-3)
    total = (logsumexp(log_joint, axis=1) + np.log((alpha[1] - alpha[0]) / np.sqrt(2 * np.pi))).sum()
    assert exam.fit_statistics(Y).log_likelihood == pytest.approx(total, abs=1e-3)
