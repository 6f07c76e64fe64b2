"""method="mml": published maxima, quasi-Newton maxima, recovery, weights, threads, saving, bad input."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import available, run_python
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn_checks import passes_all_checks

import fastvae
from fastvae import ItemResponse
from fastvae._irt.ability import Ability
from fastvae._irt.marginal import Exam, Prior
from fastvae.priors import ItemPrior

Array = NDArray[Any]

LSAT7 = Path(__file__).resolve().parents[2] / "shared" / "data" / "lsat7.npz"
needs_lsat7 = pytest.mark.skipif(not LSAT7.exists(), reason="needs ../shared/data/lsat7.npz beside the repository")

# Marginal maximum likelihood estimates of mirt on LSAT section 7 (its manual) and, for the other models, of a
# quasi-Newton method: log-likelihood, slopes, intercepts.
LSAT: dict[str, tuple[float, list[float], list[float]]] = {
    "2pl": (-2658.805, [0.988, 1.081, 1.707, 0.765, 0.736], [1.856, 0.808, 1.805, 0.486, 1.854]),
    "rasch": (-2664.901, [1.011] * 5, [1.868, 0.791, 1.461, 0.521, 1.993]),
    "through_origin": (-3048.440, [2.803, 1.157, 2.382, 0.816, 2.495], [0.0] * 5),
}


def simulated(n: int, slopes: Array, intercepts: Array, *, missing: float = 0.0, most: Any = 1, seed: int = 0) -> Array:
    """Marks, NaN in a share of the places."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(size=(n, 1)) * slopes - intercepts))
    marks = rng.binomial(np.broadcast_to(most, p.shape), p).astype(np.float64)
    marks[rng.random(marks.shape) < missing] = np.nan
    return marks


SLOPES, INTERCEPTS = np.array([0.5, 1.0, 1.5, 0.8, 1.2, 2.0]), np.array([-1.5, 0.0, 1.0, 0.5, -0.5, 0.2])


@needs_lsat7
@pytest.mark.parametrize("model", LSAT)
def test_lsat7_has_the_published_estimates(model: str) -> None:
    responses = np.load(LSAT7)["responses"]
    best, slopes, intercepts = LSAT[model]
    exam = ItemResponse(model, method="mml", prior=None, random_state=0).fit(responses)
    np.testing.assert_allclose(exam.discrimination_, slopes, atol=6e-4)
    np.testing.assert_allclose(exam.intercept_, intercepts, atol=6e-4)
    assert exam.log_marginal(responses).estimate.sum() == pytest.approx(best, abs=6e-4)
    assert exam.history_["elbo"][-1] * 1000 == pytest.approx(best, abs=6e-4)
    assert exam.n_iter_ < 30


def negative_log_posterior(x: Array, model: str, marks: Array, most: Array, prior: ItemPrior | None) -> float:
    """The objective of the fit, without constants, from an independent quadrature."""
    t = marks.shape[1]
    slopes, intercepts = {
        "2pl": lambda: (x[:t], x[t:]),
        "rasch": lambda: (np.full(t, x[0]), x[1:]),
        "through_origin": lambda: (x, np.zeros(t)),
    }[model]()
    value = -float(Ability(slopes, intercepts, most).log_marginal(marks / most).sum())
    if prior is not None:
        own = slopes[:1] if model == "rasch" else slopes
        value += float((((np.log(np.abs(own)) - prior.log_slope_mean) / prior.log_slope_sd) ** 2).sum() / 2)
        if model != "through_origin":
            value += float(((intercepts / prior.intercept_sd) ** 2).sum() / 2)
    return value


@pytest.mark.parametrize("model", LSAT)
@pytest.mark.parametrize("prior", [None, ItemPrior(log_slope_mean=0.2, log_slope_sd=0.5, intercept_sd=1.0)])
@pytest.mark.parametrize("most", [1, (1, 3, 2, 5, 1, 4)])
def test_estimates_maximise_the_objective(model: str, prior: ItemPrior | None, most: Any) -> None:
    marks = simulated(300, SLOPES, INTERCEPTS, missing=0.2, most=most)
    maximum = np.broadcast_to(most, 6).astype(np.int64)
    exam = ItemResponse(model, method="mml", prior=prior, max_marks=None if most == 1 else maximum, random_state=0)
    exam.fit(marks)
    a, d = exam.discrimination_.astype(float), exam.intercept_.astype(float)
    at = {"2pl": np.concatenate([a, d]), "rasch": np.concatenate([a[:1], d]), "through_origin": a}[model]
    data = (model, marks, maximum, prior)
    bounds = [(0, None)] * 6 if model == "through_origin" else None
    found = minimize(
        negative_log_posterior, at, args=data, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-4, "ftol": 1e-14}
    )
    assert negative_log_posterior(at, *data) <= found.fun + 1e-6
    np.testing.assert_allclose(at, found.x, atol=2e-3)
    np.testing.assert_allclose(exam.history_["loss"][-1] * 300, negative_log_posterior(at, *data), rtol=1e-7)


@pytest.mark.parametrize("model", LSAT)
def test_the_loss_never_rises(model: str) -> None:
    exam = ItemResponse(model, method="mml", random_state=0).fit(simulated(400, SLOPES, INTERCEPTS, missing=0.3))
    kept = np.minimum.accumulate(exam.history_["loss"])  # a rejected extrapolation is in the history too
    assert exam.history_["loss"][-1] <= kept[-1] + 1e-12
    assert kept[0] > kept[-1]
    np.testing.assert_allclose(
        np.add(exam.history_["elbo"], exam.history_["reconstruction"]), np.negative(exam.history_["kl"]), atol=1e-12
    )


def test_the_gradient_is_that_of_the_numerical_derivative() -> None:
    rng = np.random.default_rng(0)
    marks = rng.integers(0, 4, (50, 3)).astype(np.float32)
    marks[rng.random(marks.shape) < 0.2] = np.nan
    priors = Prior((0.1, 0.5), 2.0, ([-1.5, -1.0, -0.5], 0.5))
    cases = {
        "2pl": (marks, [3] * 3, [1.0, 0.2, 0.7, -0.3, 1.5, 0.1]),
        "3pl": (
            np.where(np.isnan(marks), marks, marks > 1),
            [1] * 3,
            [1.0, 0.2, -1.2, 0.7, -0.3, -1.0, 1.5, 0.1, -0.4],
        ),
        "graded": (marks, [3] * 3, [1.0, 1.2, 0.1, -0.5, 0.7, 0.9, 0.3, -1.0, 1.5, 2.0, 0.2, 0.0]),
    }
    for kind, (data, most, at) in cases.items():
        maximum = np.array(most)
        exam = Exam(kind, (data / maximum).astype(np.float32), maximum, priors, threads=1)
        # The prior of ln |a| is not in the log-likelihood: its derivative is known.
        _, gradient = exam.gradient(np.array(at))
        numerical = np.empty(len(at))
        for i in range(len(at)):
            ends = []
            for h in (1e-5, -1e-5):
                moved = np.array(at)
                moved[i] += h
                ends.append(exam.gradient(moved)[0])
            numerical[i] = (ends[0] - ends[1]) / 2e-5
        own = len(at) // 3
        for task in range(3):
            a = at[task * own]
            numerical[task * own] -= (np.log(a) - 0.1) / 0.25 / a
            last = 2 if kind != "graded" else own
            for j in range(1, last):
                numerical[task * own + j] -= at[task * own + j] / 4
            if kind == "3pl":
                numerical[task * own + 2] -= (at[task * own + 2] - priors.guessing[0][task]) / 0.25
        np.testing.assert_allclose(gradient, numerical, atol=1e-6, err_msg=kind)


def test_a_simulated_exam_is_recovered() -> None:
    rng = np.random.default_rng(1)
    a, d = rng.lognormal(0, 0.3, 30), rng.normal(size=30)
    marks = simulated(3000, a, d, missing=0.2, seed=2)
    exam = ItemResponse(method="mml", random_state=0).fit(marks)
    assert np.sqrt(np.mean((exam.discrimination_ - a) ** 2)) < 0.09
    assert np.sqrt(np.mean((exam.intercept_ - d) ** 2)) < 0.08


def test_both_methods_agree() -> None:
    marks = simulated(400, SLOPES, INTERCEPTS)
    mml, amortized = (ItemResponse(method=method, random_state=0).fit(marks) for method in ("mml", "amortized"))
    assert np.abs(mml.discrimination_ - amortized.discrimination_).max() < 0.15
    assert mml.history_["loss"][-1] <= -amortized.log_marginal(marks).estimate.mean() + 0.1


def test_reverse_keyed_tasks_have_negative_slopes() -> None:
    marks = simulated(1000, SLOPES, INTERCEPTS)
    reverse = marks.copy()
    reverse[:, 4] = 1 - reverse[:, 4]
    plain, turned = (ItemResponse(method="mml", random_state=0).fit(data) for data in (marks, reverse))
    sign = np.where(np.arange(6) == 4, -1, 1)
    np.testing.assert_allclose(turned.discrimination_ * sign, plain.discrimination_, atol=1e-5)
    np.testing.assert_allclose(turned.transform(reverse), plain.transform(marks), atol=1e-5)


def test_weights_are_numbers_of_students() -> None:
    marks = simulated(200, SLOPES, INTERCEPTS, missing=0.1)
    weights = np.random.default_rng(0).integers(0, 4, 200)
    one, two = (ItemResponse(method="mml", random_state=0) for _ in range(2))
    one.fit(marks, sample_weight=weights)
    two.fit(np.repeat(marks, weights, 0))
    np.testing.assert_allclose(one.discrimination_, two.discrimination_, atol=1e-6)
    assert one.history_["loss"][-1] == pytest.approx(two.history_["loss"][-1], rel=1e-9)


def test_results_do_not_depend_on_threads_or_the_order_of_students(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTVAE_OVERSUBSCRIBE", "1")
    marks = simulated(2000, SLOPES, INTERCEPTS, missing=0.2)
    exams = [ItemResponse(method="mml", n_jobs=jobs, random_state=0).fit(marks) for jobs in (1, 2, 3)]
    for exam in exams[1:]:
        for name, array in exams[0].state_dict().items():
            np.testing.assert_array_equal(exam.state_dict()[name], array, err_msg=name)
    turned = ItemResponse(method="mml", n_jobs=1, random_state=0).fit(marks[::-1])
    np.testing.assert_array_equal(turned.discrimination_, exams[0].discrimination_)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_encoder_has_the_moments_of_the_posterior(missing: float) -> None:
    marks = simulated(800, np.tile(SLOPES, 3), np.tile(INTERCEPTS, 3), missing=missing)
    exam = ItemResponse(method="mml", random_state=0).fit(marks)
    mu, logvar = exam.encode(marks)
    assert np.sqrt(np.mean((mu - exam.transform(marks)) ** 2)) < (0.2 if missing else 3e-3)
    assert np.abs(logvar / 2 - np.log(exam.ability_std(marks))).mean() < (0.03 if missing else 1e-3)
    # The bound with this encoder is close to the exact marginal likelihood.
    assert exam.log_marginal(marks).estimate.mean() - exam.score(marks) < 0.2
    sampled = exam.log_marginal(marks[:50], 2000)
    exact = exam.log_marginal(marks[:50])
    np.testing.assert_allclose(sampled.estimate, exact.estimate, atol=0.05)


def test_training_goes_on_by_gradients() -> None:
    marks = simulated(300, SLOPES, INTERCEPTS)
    exam = ItemResponse(method="mml", learning_rate=1e-3, random_state=0).fit(marks)
    before = exam.discrimination_
    exam.partial_fit(marks)
    assert 0 < np.abs(exam.discrimination_ - before).max() < 0.2


def test_a_model_is_saved_pickled_cloned_and_copied(tmp_path: Path) -> None:
    marks = simulated(300, SLOPES, INTERCEPTS, missing=0.1)
    exam = ItemResponse("rasch", method="mml", random_state=0).fit(marks)
    exam.save(tmp_path / "exam.safetensors")
    for other in (fastvae.load(tmp_path / "exam.safetensors"), pickle.loads(pickle.dumps(exam)), copy.deepcopy(exam)):
        assert other.method == "mml"
        assert other.history_ == exam.history_
        np.testing.assert_array_equal(other.transform(marks), exam.transform(marks))
        np.testing.assert_array_equal(other.standard_errors(marks).intercept, exam.standard_errors(marks).intercept)
    np.testing.assert_array_equal(clone(exam).fit(marks).intercept_, exam.intercept_)


def test_degenerate_tasks_have_estimates() -> None:
    marks = simulated(200, SLOPES, INTERCEPTS)
    marks[:, 0], marks[:, 1], marks[:, 2] = 1, 0, np.nan
    with pytest.warns(UserWarning, match="task 2 without answers"):
        exam = ItemResponse(method="mml", random_state=0).fit(marks)
    assert exam.intercept_[0] > 2
    assert exam.intercept_[1] < -2
    assert (exam.discrimination_[2], exam.intercept_[2]) == (pytest.approx(1), pytest.approx(0, abs=1e-6))
    with pytest.warns(UserWarning, match="solved by everyone"):
        plain = ItemResponse(method="mml", prior=None, random_state=0).fit(marks)
    assert all(np.isfinite(array).all() for array in plain.state_dict().values())


def test_too_few_iterations_are_a_warning() -> None:
    with pytest.warns(fastvae.ConvergenceWarning, match="last of 2 iterations of EM"):
        ItemResponse(method="mml", epochs=2, random_state=0).fit(simulated(100, SLOPES, INTERCEPTS))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "em"}, "method='em'"),
        ({"n_dims": 2}, "needs one dimension"),
        ({"hidden": (8, 8)}, "one hidden layer"),
        ({"activation": "tanh"}, "activation 'relu'"),
        ({"validation_fraction": 0.2}, "validation_fraction=0.2 needs method='amortized'"),
        ({"early_stopping": True}, "early_stopping=True needs"),
        ({"callbacks": [print]}, "callbacks="),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_parameters_that_do_not_apply_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemResponse(**({"method": "mml"} | params)).fit(simulated(50, SLOPES, INTERCEPTS))


@pytest.mark.parametrize("name", ["validation_data", "checkpoint"])
def test_arguments_of_fit_that_do_not_apply_are_refused(name: str) -> None:
    marks = simulated(50, SLOPES, INTERCEPTS)
    with pytest.raises(ValueError, match=f"leave out {name}="):
        ItemResponse(method="mml").fit(marks, **{name: marks if name == "validation_data" else "x"})


def test_a_fit_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ItemResponse(method="mml", random_state=0).fit(simulated(200, SLOPES, INTERCEPTS))


ESTIMATES = """
import numpy as np
from fastvae._irt.marginal import Exam, Prior
rng = np.random.default_rng(0)
for kind, most, start in (("2pl", 1, [1.0, 0.0]), ("rasch", 2, [1.0, 0.0]), ("3pl", 1, [1.0, 0.0, -1.4]),
                          ("graded", 2, [1.0, 0.5, -0.5])):
    shares = rng.integers(0, most + 1, (300, 5)).astype(np.float32) / most
    exam = Exam(kind, shares, np.full(5, most), Prior((0.0, 0.5), 2.0, ([-1.4] * 5, 0.5)), threads=1)
    print(exam.fit(np.tile(start, 5)).parameters.tobytes().hex())
"""


def test_all_instruction_sets_give_the_same_bits() -> None:
    found = {isa: run_python(ESTIMATES, FASTVAE_ISA=isa) for isa in ("portable", "avx2", "avx512") if available(isa)}
    assert len(found) > 1
    assert len(set(found.values())) == 1


def test_students_of_one_score_are_one_pattern_for_rasch() -> None:
    marks = simulated(500, np.ones(6), INTERCEPTS, missing=0.2)
    shares = marks.astype(np.float32)
    prior = Prior()
    merged = Exam("rasch", shares, np.ones(6, np.int64), prior, threads=1)
    first, counts = merged.patterns()
    assert len(first) < 400
    assert counts.sum() == 500
    at = np.tile([0.9, 0.3], 6) + np.linspace(0, 1, 12) * np.tile([0.0, 1.0], 6)
    plain = Exam("2pl", shares, np.ones(6, np.int64), prior, threads=1)
    (one, gradient), (two, expected) = merged.gradient(at), plain.gradient(at)
    assert one == pytest.approx(two, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, atol=1e-9)


def test_scikit_learns_own_checks_pass() -> None:
    exceptions = {"check_sample_weight_equivalence_on_dense_data": "its data are fractions, which are no marks"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some data have no estimates
        passes_all_checks(ItemResponse(method="mml", max_marks=1000, hidden=(4,), random_state=0), exceptions)


def test_the_objective_is_described() -> None:
    described = ItemResponse(method="mml").describe_objective()
    assert "ln |a_t| ~ N(0, 0.75²), d_t ~ N(0, 3²)" in described
    assert "integral of N(alpha; 0, 1) p(y_s|alpha)" in described
    assert "logit c_t ~ N(logit guessing, 0.5²)" in ItemResponse("3pl").describe_objective()
    assert "prior" not in ItemResponse("graded", prior=None).describe_objective()
