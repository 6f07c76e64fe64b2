"""Standard errors of item parameters and abilities, against numerical derivatives and integrals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae._irt.ability import Ability


def exam(seed: int, n: int = 300) -> np.ndarray:
    """Answers of n students to four tasks, one of which some students have not seen."""
    rng = np.random.default_rng(seed)
    slopes, intercepts = np.array([1.2, 0.8, 1.6, 1.0]), np.array([0.5, -0.8, 0.2, 1.0])
    logits = rng.normal(size=(n, 1)) * slopes + intercepts
    Y = (rng.random((n, 4)) < 1 / (1 + np.exp(-logits))).astype(float)
    Y[: n // 4, 1] = np.nan
    return Y


def hessian(f: Any, x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """The Hessian of f at x by central differences."""
    steps = h * np.eye(len(x))
    rows = [[f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b) for b in steps] for a in steps]
    return np.array(rows) / (4 * h * h)


@pytest.mark.parametrize("most", [None, (1, 3, 2, 5)])
@pytest.mark.parametrize("kind", ["2pl", "rasch", "through_origin"])
def test_standard_errors_are_those_of_the_numerical_information(kind: str, most: tuple[int, ...] | None) -> None:
    Y = exam(0)
    if most is not None:
        Y = np.round(Y * most)
    options = {"max_marks": most, "hidden": (8,), "epochs": 150, "n_importance_samples": 4, "random_state": 0}
    model = fastvae.ItemResponse(kind, prior=None, **options).fit(Y)
    marks = np.ones(4, int) if most is None else np.array(most)

    def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if kind == "2pl":
            return x[:4], x[4:]
        return (np.full(4, x[0]), x[1:]) if kind == "rasch" else (x, np.zeros(4))

    def loss(x: np.ndarray) -> float:
        return -float(Ability(*split(x), marks).log_marginal(Y / marks).sum())

    a, d = model.discrimination_.astype(float), model.intercept_.astype(float)
    at = {"2pl": np.concatenate([a, d]), "rasch": np.concatenate([a[:1], d]), "through_origin": a}[kind]
    covariance = np.linalg.inv(hessian(loss, at))
    expected_a, expected_d = split(np.sqrt(np.diag(covariance)))
    found = model.standard_errors(Y)
    np.testing.assert_allclose(found.discrimination, expected_a, rtol=1e-4)
    np.testing.assert_allclose(found.intercept, expected_d, rtol=1e-4)

    def difficulty(x: np.ndarray) -> np.ndarray:
        slopes, intercepts = split(x)
        return 1 / slopes if kind == "through_origin" else -intercepts / slopes

    jacobian = np.stack([(difficulty(at + h) - difficulty(at - h)) / 2e-6 for h in 1e-6 * np.eye(len(at))], 1)
    expected_b = np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))
    np.testing.assert_allclose(found.difficulty, expected_b, rtol=1e-4)


def test_a_prior_makes_standard_errors_smaller_and_missing_answers_larger() -> None:
    Y = exam(1)
    options = {"hidden": (8,), "epochs": 100, "n_importance_samples": 4, "random_state": 0}
    plain = fastvae.ItemResponse(prior=None, **options).fit(Y)
    weak = fastvae.ItemResponse(**options).fit(Y)
    assert (weak.standard_errors(Y).discrimination < plain.standard_errors(Y).discrimination).all()
    fewer = np.where(np.arange(len(Y))[:, np.newaxis] < 200, Y, np.nan)
    assert (weak.standard_errors(fewer).intercept > weak.standard_errors(Y).intercept).all()
    same = weak.standard_errors(np.nan_to_num(fewer), observed=~np.isnan(fewer))
    np.testing.assert_array_equal(same.intercept, weak.standard_errors(fewer).intercept)


def test_ability_std_is_that_of_the_posterior() -> None:
    Y = exam(2, 60)
    Y[0] = np.nan
    options = {"hidden": (8,), "epochs": 20, "n_importance_samples": 4, "random_state": 0}
    model = fastvae.ItemResponse(**options).fit(Y)
    alpha = np.linspace(-7, 7, 4001)
    logits = alpha[:, np.newaxis] * model.discrimination_ + model.intercept_
    solved, lost = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    for answers, std in zip(Y, model.ability_std(Y)[:, 0], strict=True):
        terms = np.where(np.isnan(answers), 0, np.where(answers == 1, solved, lost)).sum(1)
        weights = np.exp(terms - alpha**2 / 2)
        weights /= weights.sum()
        mean = (weights * alpha).sum()
        assert std == pytest.approx(np.sqrt((weights * (alpha - mean) ** 2).sum()), rel=1e-4)
    assert model.ability_std(Y)[0, 0] == pytest.approx(1, rel=1e-5)  # the prior's


def test_several_dimensions_have_stds_of_abilities_but_no_standard_errors() -> None:
    Y = exam(3, 80)
    Y[0] = np.nan
    model = fastvae.ItemResponse(n_dims=2, hidden=(8,), epochs=5, random_state=0).fit(Y)
    found = model.ability_std(Y)
    _, logvar = model.encode(Y)
    np.testing.assert_allclose(found[1:], np.exp(logvar[1:] / 2), rtol=1e-6)
    np.testing.assert_array_equal(found[0], [1, 1])
    with pytest.raises(ValueError, match="one dimension: fit with n_dims=1"):
        model.standard_errors(Y)
