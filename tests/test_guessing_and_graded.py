"""Models "3pl" and "graded": torch and scipy in float64, recovery, posteriors, files, refusals."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from test_saving import edited

import fastvae
from fastvae import ItemResponse, plots
from fastvae._irt.marginal import Exam, Prior

Array = NDArray[Any]

SLOPES = np.array([0.8, 1.2, 1.6, 1.0, 1.4, 2.0])
THRESHOLDS = np.array(
    [[1.5, 0.0, -1.0], [0.5, -0.5, -2.0], [2.0, 0.5, np.nan], [1.0, np.nan, np.nan], [0.8, 0.2, -1.5], [1, -1, np.nan]]
)
MOST = np.array([3, 3, 2, 1, 3, 2])


def graded(n: int, seed: int = 0, missing: float = 0.0) -> Array:
    """Answers 0, 1, ... of graded tasks."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 1)) * SLOPES
    above = expit(y[:, :, np.newaxis] + THRESHOLDS)
    marks = (rng.random((n, 6, 1)) < np.nan_to_num(above)).sum(2).astype(float)
    marks[rng.random(marks.shape) < missing] = np.nan
    return marks


def guessed(n: int, t: int = 12, seed: int = 0, c: float = 0.25) -> Array:
    rng = np.random.default_rng(seed)
    a, d = np.linspace(1.0, 2.0, t), np.linspace(1.5, -1.5, t)
    return (rng.random((n, t)) < c + (1 - c) * expit(rng.normal(size=(n, 1)) * a + d)).astype(float)


def torch_log_p(kind: str, marks: Array, own: list[torch.Tensor], alpha: torch.Tensor) -> torch.Tensor:
    """ln p of the answers of each student at nodes, [n, q]."""
    total = torch.zeros(len(marks), len(alpha), dtype=torch.float64)
    for task, x in enumerate(own):
        if kind == "3pl":
            c = x[2].sigmoid()
            solved = c + (1 - c) * (x[0] * alpha + x[1]).sigmoid()
            p = torch.stack([1 - solved, solved])
        else:
            above = (x[0] * alpha + x[1:, None]).sigmoid()
            ends = torch.ones_like(alpha)[None], torch.zeros_like(alpha)[None]
            p = -torch.diff(torch.cat([ends[0], above, ends[1]]), dim=0)
        seen = ~np.isnan(marks[:, task])
        chosen = torch.from_numpy(np.nan_to_num(marks[:, task]).astype(int))
        total = total + torch.from_numpy(seen.astype(float))[:, None] * p[chosen].log()
    return total


def torch_objective(kind: str, marks: Array, flat: torch.Tensor, widths: list[int], prior: Prior) -> torch.Tensor:
    """Log-likelihood plus log prior, by the trapezoidal rule with 161 nodes."""
    alpha = torch.linspace(-8, 8, 161, dtype=torch.float64)
    weight = torch.log_softmax(-(alpha**2) / 2, 0)
    own = list(torch.split(flat, widths))
    total = torch.logsumexp(torch_log_p(kind, marks, own, alpha) + weight, 1).sum()
    for task, x in enumerate(own):
        if prior.log_slope is not None:
            total = total - ((x[0].abs().log() - prior.log_slope[0]) / prior.log_slope[1]) ** 2 / 2
        if prior.intercept is not None:
            d = x[1:2] if kind == "3pl" else x[1:]
            total = total - (d**2).sum() / (2 * prior.intercept**2)
        if prior.guessing is not None:
            total = total - ((x[2] - prior.guessing[0][task]) / prior.guessing[1]) ** 2 / 2
    return total


CASES = {
    "3pl": (guessed(80, 4), [1] * 4, Prior((0.1, 0.6), 2.0, ([-1.4, -1.0, -1.2, -1.6], 0.5)), [3] * 4),
    "graded": (graded(80, missing=0.2), MOST.tolist(), Prior((0.1, 0.6), 2.0), (MOST + 1).tolist()),
}


@pytest.mark.parametrize("kind", CASES)
def test_likelihood_and_gradient_are_those_of_torch(kind: str) -> None:
    marks, most, prior, widths = CASES[kind]
    rng = np.random.default_rng(1)
    at = []
    for width in widths:
        d = np.sort(rng.normal(size=width - 1))[::-1]
        at += [rng.uniform(0.7, 1.5), *(d if kind == "graded" else [d[0], rng.uniform(-2, -0.5)])]
    exam = Exam(kind, (marks / np.array(most)).astype(np.float32), np.array(most), prior, threads=1)
    value, gradient = exam.gradient(np.array(at))
    flat = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    torch_objective(kind, marks, flat, widths, prior).backward()
    np.testing.assert_allclose(gradient, flat.grad.numpy(), atol=1e-6)
    assert value == pytest.approx(torch_objective(kind, marks, flat, widths, Prior()).item(), abs=1e-6)


@pytest.mark.parametrize("kind", CASES)
def test_estimates_maximise_the_objective(kind: str) -> None:
    marks, most, prior, widths = CASES[kind]
    exam = Exam(kind, (marks / np.array(most)).astype(np.float32), np.array(most), prior, threads=1)
    start = np.concatenate([[1.0, *(np.linspace(1, -1, w - 1) if kind == "graded" else [0.0, -1.4])] for w in widths])
    found = exam.fit(start)
    assert found.converged

    def loss(x: Array) -> tuple[float, Array]:
        flat = torch.tensor(x, requires_grad=True)
        value = -torch_objective(kind, marks, flat, widths, prior)
        value.backward()
        return (value.item() if np.isfinite(value.item()) else 1e10), np.nan_to_num(flat.grad.numpy())

    best = minimize(loss, found.parameters, jac=True, method="BFGS", options={"gtol": 1e-6})
    assert loss(found.parameters)[0] <= best.fun + 1e-7
    np.testing.assert_allclose(found.parameters, best.x, atol=1e-3)


def test_graded_answers_are_recovered() -> None:
    marks = graded(4000, missing=0.1)
    exam = ItemResponse("graded", random_state=0).fit(marks)
    assert exam.max_marks_.tolist() == MOST.tolist()
    assert np.abs(exam.discrimination_ - SLOPES).max() < 0.2
    np.testing.assert_allclose(exam.intercept_, THRESHOLDS, atol=0.2)
    np.testing.assert_allclose(exam.difficulty_, -exam.intercept_ / exam.discrimination_[:, np.newaxis], rtol=1e-5)
    errors = exam.standard_errors(marks)
    assert errors.intercept.shape == (6, 3)
    assert (np.isnan(errors.intercept) == np.isnan(THRESHOLDS)).all()
    z = (exam.intercept_ - THRESHOLDS) / errors.intercept
    assert 0.4 < np.sqrt(np.nanmean(z**2)) < 1.7
    fit = exam.item_fit(marks)
    assert np.abs(fit.infit - 1).max() < 0.06
    assert np.abs(fit.outfit - 1).max() < 0.1
    statistics = exam.fit_statistics(marks)
    assert statistics.n_parameters == 6 + int((~np.isnan(THRESHOLDS)).sum())
    assert statistics.m2 is None


def test_guessing_is_recovered_and_fits_better_than_none() -> None:
    marks = guessed(6000)
    exam = ItemResponse("3pl", random_state=0).fit(marks)
    assert abs(exam.guessing_.mean() - 0.25) < 0.05
    assert np.abs(exam.discrimination_ - np.linspace(1, 2, 12)).max() < 0.6
    errors = exam.standard_errors(marks)
    z = (exam.guessing_ - 0.25) / errors.guessing
    assert 0.2 < np.sqrt(np.mean(z**2)) < 2
    plain = ItemResponse(method="mml", random_state=0).fit(marks)
    three, two = exam.fit_statistics(marks), plain.fit_statistics(marks)
    assert three.aic < two.aic
    assert three.m2.df == two.m2.df - 12
    assert three.m2.p_value > 0.01
    # The prior of c is used: far away it moves the estimates.
    low = ItemResponse("3pl", guessing=0.02, random_state=0).fit(marks[:500])
    assert low.guessing_.mean() < ItemResponse("3pl", guessing=0.4, random_state=0).fit(marks[:500]).guessing_.mean()


@pytest.mark.parametrize("kind", ["3pl", "graded"])
def test_inference_is_that_of_an_independent_quadrature(kind: str) -> None:
    marks = graded(300, missing=0.2) if kind == "graded" else guessed(300)
    exam = ItemResponse(kind, random_state=0).fit(marks)
    nodes = torch.linspace(-8, 8, 641, dtype=torch.float64)
    if kind == "graded":
        own = [torch.tensor([a, *d[~np.isnan(d)]]) for a, d in zip(exam.discrimination_, exam.intercept_, strict=True)]
    else:
        own = [
            torch.tensor([a, d, logit(c)])
            for a, d, c in zip(exam.discrimination_, exam.intercept_, exam.guessing_.astype(float), strict=True)
        ]
    log_joint = torch_log_p(kind, marks, [x.double() for x in own], nodes) + torch.log_softmax(-(nodes**2) / 2, 0)
    weights = torch.softmax(log_joint, 1).numpy()
    alpha = nodes.numpy()
    mean = weights @ alpha
    np.testing.assert_allclose(exam.transform(marks)[:, 0], mean, atol=1e-4)
    np.testing.assert_allclose(exam.ability_std(marks)[:, 0], np.sqrt(weights @ alpha**2 - mean**2), atol=1e-4)
    np.testing.assert_allclose(exam.log_marginal(marks).estimate, torch.logsumexp(log_joint, 1).numpy(), atol=1e-4)
    p = exam.item_probabilities(alpha)
    np.testing.assert_allclose(p.sum(2), 1, atol=1e-12)
    share = p @ np.arange(p.shape[2]) / exam.max_marks_
    np.testing.assert_allclose(exam.predict_proba(marks), weights @ share, atol=1e-4)
    low, high = exam.ability_interval(marks, 0.9)[:, 0].T
    inside = weights * ((alpha >= low[:, np.newaxis]) & (alpha <= high[:, np.newaxis]))
    np.testing.assert_allclose(inside.sum(1), 0.9, atol=0.02)
    # The encoder is close.
    mu, _ = exam.encode(marks)
    assert np.sqrt(np.mean((mu[:, 0] - mean) ** 2)) < 0.15
    # Infit by its definition.
    expected = p @ np.arange(p.shape[2])
    variance = p @ np.arange(p.shape[2]) ** 2 - expected**2
    seen = ~np.isnan(marks)
    x = np.nan_to_num(marks)
    residual = sum(weights[:, [q]] * (x - expected[q]) ** 2 for q in range(641))
    infit = (residual * seen).sum(0) / ((weights @ variance) * seen).sum(0)
    np.testing.assert_allclose(exam.item_fit(marks).infit, infit, rtol=1e-3)


def test_a_marks_item_has_its_binomial_probabilities() -> None:
    marks = np.random.default_rng(0).integers(0, 3, (50, 2)).astype(float)
    exam = ItemResponse(method="mml", max_marks=[2, 3], random_state=0).fit(marks)
    p = exam.item_probabilities([0.3])
    s = expit(exam.discrimination_[0] * 0.3 + exam.intercept_[0])
    np.testing.assert_allclose(p[0, 0], [(1 - s) ** 2, 2 * s * (1 - s), s**2, 0], rtol=1e-6)
    np.testing.assert_allclose(p.sum(2), 1)


@pytest.mark.parametrize("kind", ["3pl", "graded"])
def test_missing_answers_are_drawn_from_their_distribution(kind: str) -> None:
    marks = graded(400, missing=0.3) if kind == "graded" else guessed(400)
    marks[:200, 0] = np.nan
    exam = ItemResponse(kind, random_state=0).fit(marks)
    drawn = exam.impute(marks, draws=50, random_state=0)
    np.testing.assert_array_equal(np.where(np.isnan(marks), 0, drawn[0]), np.nan_to_num(marks))
    assert (drawn[:, :, 0] <= exam.max_marks_[0]).all()
    expected = exam.predict_proba(marks)[:200, 0] * exam.max_marks_[0]
    assert abs(drawn[:, :200, 0].mean() - expected.mean()) < 0.03


@pytest.mark.parametrize("kind", ["3pl", "graded"])
def test_a_model_is_saved_pickled_and_copied(kind: str, tmp_path: Path) -> None:
    marks = graded(200) if kind == "graded" else guessed(200)
    exam = ItemResponse(kind, random_state=0).fit(marks)
    exam.save(tmp_path / "exam.safetensors")
    for other in (fastvae.load(tmp_path / "exam.safetensors"), pickle.loads(pickle.dumps(exam)), copy.deepcopy(exam)):
        np.testing.assert_array_equal(other.transform(marks), exam.transform(marks))
        np.testing.assert_array_equal(other.intercept_, exam.intercept_)
        np.testing.assert_array_equal(other.standard_errors(marks).difficulty, exam.standard_errors(marks).difficulty)


@pytest.mark.parametrize(
    "items",
    [
        {},
        {"thresholds": [[1.0]]},
        {"thresholds": [[0.0, 1.0, 2.0]] * 6},
        {"thresholds": [["a"]]},
        {"guessing": [0.1] * 6, "prior_mean": [0.0] * 6, "prior_sd": 1.0},
        {"other": 1},
        [1],
    ],
)
def test_a_damaged_file_is_refused(items: Any, tmp_path: Path) -> None:
    exam = ItemResponse("graded", random_state=0).fit(graded(200))
    path = tmp_path / "exam.safetensors"
    exam.save(path)

    edited(path, "estimator", lambda estimator: estimator["learned"].update(_items=items))
    with pytest.raises(fastvae.FormatError):
        fastvae.load(path)


@pytest.mark.parametrize("kind", ["3pl", "graded"])
def test_differential_functioning(kind: str) -> None:
    n = 1200
    group = np.arange(n) % 2
    marks = graded(n, seed=3) if kind == "graded" else guessed(n, 8, seed=3)
    rng = np.random.default_rng(0)
    harder = (group == 1) & (rng.random(n) < 0.35)
    marks[harder, 1] = 0
    found = ItemResponse(kind, random_state=0).fit(marks).differential_functioning(marks, group)
    assert np.argmin(found.p_value) == 1
    assert found.difference[1, 1] < -0.05
    assert found.df[1] == (4 if kind == "graded" else 3)
    assert found.parameters.shape == (marks.shape[1], 2, len(found.names))


@pytest.mark.parametrize("kind", ["3pl", "graded"])
def test_what_needs_a_decoder_is_refused(kind: str, tmp_path: Path) -> None:
    marks = graded(100) if kind == "graded" else guessed(100)
    exam = ItemResponse(kind, random_state=0).fit(marks)
    calls = [
        lambda: exam.sample(3),
        lambda: exam.inverse_transform(np.zeros((1, 1))),
        lambda: exam.reconstruct(marks),
        lambda: exam.score(marks),
        lambda: exam.predictive(marks),
        lambda: exam.log_marginal(marks, 10),
        lambda: exam.loss_and_gradients(marks),
        lambda: exam.export_onnx(tmp_path / "x.onnx"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"model='{kind}' has no decoder"):
            call()
    with pytest.raises(ValueError, match="not trained by gradients"):
        exam.partial_fit(marks)
    with pytest.raises(ValueError, match="use save and load"):
        exam.load_state_dict(exam.state_dict())
    plots.item_characteristic(exam, marks)


def test_bad_answers_and_parameters_are_refused() -> None:
    scale = graded(100) + 1
    with pytest.raises(ValueError, match=r"task 0 has no answer 0 .*subtract 1 from a scale of 1 to 5"):
        ItemResponse("graded").fit(scale)
    gap = graded(100)
    gap[gap[:, 1] == 2, 1] = 3
    with pytest.raises(ValueError, match=r"task 1 has no answer 2 .*merge it with its neighbour"):
        ItemResponse("graded").fit(gap)
    with pytest.raises(ValueError, match="whole number from 0 to"):
        ItemResponse("graded").fit(graded(100) + 0.5)
    with pytest.raises(ValueError, match="needs tasks that are solved or not"):
        ItemResponse("3pl", max_marks=2).fit(guessed(100))
    for guessing in (0, 1.0, "a", [0.2, 0.3]):
        with pytest.raises(ValueError, match="guessing="):
            ItemResponse("3pl", guessing=guessing).fit(guessed(100))
    with pytest.raises(ValueError, match="needs method='mml'"):
        ItemResponse("graded", method="amortized").fit(graded(100))
    with pytest.raises(AttributeError, match="without guessing"):
        _ = ItemResponse(method="mml").fit(guessed(50)).guessing_
