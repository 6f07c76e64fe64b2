"""Item response models: published maxima, recovery of simulated exams, constraints, marks, missing answers."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from helpers import bits, check_same_output_of_both_sets, distance_of, mirror
from matplotlib import pyplot
from matplotlib.collections import LineCollection
from numpy.typing import NDArray
from reference import TOLERANCE, noise, relative_error
from scipy.special import expit, gammaln, logsumexp, roots_hermitenorm
from sklearn_checks import passes_all_checks
from test_saving import edited
from torch import Tensor, nn
from torch.distributions import Binomial, Normal

import fastvae
from fastvae import ItemResponse, NotFittedError, plots
from fastvae._irt.ability import Ability
from fastvae._irt.keys import reversed_tasks
from fastvae._irt.rotation import varimax
from fastvae.priors import ItemPrior

matplotlib.use("Agg")

LSAT7 = Path(__file__).resolve().parents[2] / "shared" / "data" / "lsat7.npz"
needs_lsat7 = pytest.mark.skipif(not LSAT7.exists(), reason="needs ../shared/data/lsat7.npz beside the repository")

# Marginal maximum likelihood on LSAT7 (by quadrature and a quasi-Newton method): log-likelihood and slopes.
MAXIMA: dict[str, tuple[float, list[float]]] = {
    "2pl": (-2658.805, [0.988, 1.081, 1.707, 0.765, 0.736]),
    "rasch": (-2664.901, [1.011] * 5),
    "through_origin": (-3048.440, [2.803, 1.157, 2.382, 0.816, 2.495]),
}
MODELS = tuple(MAXIMA)

Array = NDArray[Any]


def log_likelihood(marks: Array, slopes: Array, intercepts: Array, most: Array | int = 1) -> Array:
    """log p(Y_s) of each student by Gauss-Hermite quadrature; NaN is not seen."""
    nodes, weights = roots_hermitenorm(121)
    y = nodes[:, np.newaxis] * slopes.astype(np.float64) + intercepts
    log_weights = np.log(weights / weights.sum())
    seen = ~np.isnan(marks)
    x = np.where(seen, marks, 0)
    ways = gammaln(most + np.ones_like(x)) - gammaln(x + 1) - gammaln(most - x + 1)
    log_joint = x @ y.T - (seen * most) @ np.logaddexp(0, y).T + log_weights
    return logsumexp(log_joint, axis=1) + (ways * seen).sum(1)


def simulated(
    n: int, slopes: Array, intercepts: Array, seed: int = 0, missing: float = 0.0, most: Array | int = 1
) -> tuple[Array, Array]:
    """Marks with NaN in a share of the places, [n, n_tasks], and abilities, [n, n_dims]."""
    rng = np.random.default_rng(seed)
    slopes = slopes.reshape(len(intercepts), -1)
    alpha = rng.normal(size=(n, slopes.shape[1]))
    p = 1 / (1 + np.exp(-alpha @ slopes.T - intercepts))
    marks = rng.binomial(np.broadcast_to(most, p.shape), p).astype(np.float64)
    marks[rng.random(marks.shape) < missing] = np.nan
    return marks, alpha


def small_exam(model: str = "2pl", **params: Any) -> ItemResponse:
    """A model that is trained in a moment."""
    defaults: dict[str, Any] = {"epochs": 3, "hidden": (8,), "n_importance_samples": 4, "n_jobs": 1, "random_state": 0}
    return ItemResponse(model, **(defaults | params))


SLOPES, INTERCEPTS = np.array([0.5, 1.0, 1.5, 0.8, 1.2, 2.0, 0.7]), np.array([-1.5, 0.0, 1.0, 0.5, -0.5, 0.2, 2.0])
Y, ALPHA = simulated(400, SLOPES, INTERCEPTS, missing=0.2)


@needs_lsat7
@pytest.mark.parametrize("model", MODELS)
def test_lsat7_has_the_maximum_likelihood_estimates(model: str) -> None:
    responses = np.load(LSAT7)["responses"]  # uint8: answers, not grey values
    exam = ItemResponse(model, n_jobs=1, random_state=0).fit(responses)
    best, slopes = MAXIMA[model]
    found = log_likelihood(responses.astype(float), exam.discrimination_, exam.intercept_).sum()
    assert best - 1.0 < found < best + 0.001
    assert np.abs(exam.discrimination_ - slopes).max() < 0.12
    assert exam.log_marginal(responses).estimate.sum() == pytest.approx(found, abs=1e-3)


@needs_lsat7
def test_the_plain_elbo_is_why_there_are_importance_samples() -> None:
    responses = np.load(LSAT7)["responses"]
    plain = ItemResponse("2pl", n_importance_samples=1, n_jobs=1, random_state=0).fit(responses)
    weighted = ItemResponse("2pl", n_jobs=1, random_state=0).fit(responses)
    far = [np.abs(exam.discrimination_ - MAXIMA["2pl"][1]).max() for exam in (plain, weighted)]
    assert far[0] > 2 * far[1]


class TorchExam(nn.Module):
    """The model as a reader would write it in torch: the importance-weighted bound, holes left out of it.

    With several draws the encoder's gradients are the doubly reparameterised ones (Tucker et al., arXiv:1810.04152):
    through z alone, each draw's with its normalised weight once more.
    """

    def __init__(self, exam: ItemResponse, most: Array | int) -> None:
        super().__init__()
        weights = {name: torch.from_numpy(array).double() for name, array in exam.state_dict().items()}
        self.names = list(weights)
        self.most = torch.as_tensor(most)
        self.parameters_of = nn.ParameterList([nn.Parameter(weight.clone()) for weight in weights.values()])

    def forward(self, marks: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) over the draws, and the importance-weighted bound: means over the students."""
        w = dict(zip(self.names, self.parameters_of, strict=True))
        hole = marks.isnan()
        shares = (marks / self.most).nan_to_num()
        h = (torch.cat([shares, hole.double()], 1) @ w["encoder.0.weight"].T + w["encoder.0.bias"]).relu()
        mu, logvar = (h @ w[f"{name}.weight"].T + w[f"{name}.bias"] for name in ("mu", "logvar"))
        sigma = (logvar / 2).exp()
        z = mu[:, None] + sigma[:, None] * eps  # [n, K, n_dims]
        logits = z @ w["decoder.0.weight"].T + w.get("decoder.0.bias", 0.0)
        each = Binomial(self.most.double(), logits=logits, validate_args=False)
        log_p = torch.where(hole[:, None], 0.0, each.log_prob(marks.nan_to_num()[:, None])).sum(2)
        prior = Normal(torch.zeros(()).double(), 1.0).log_prob(z).sum(2)
        posterior = Normal(mu.detach()[:, None], sigma.detach()[:, None]).log_prob(z).sum(2)
        log_w = log_p + prior - posterior
        weights = torch.softmax(log_w.detach(), 1)[..., None]
        z.register_hook(lambda gradient: weights * gradient)
        return -log_p.mean(), (torch.logsumexp(log_w, 1) - np.log(eps.shape[1])).mean()


def penalty(twin: TorchExam, model: str, prior: ItemPrior | None) -> Tensor:
    """-ln p(tasks) without constants, nats."""
    w = dict(zip(twin.names, twin.parameters_of, strict=True))
    a, total = w["decoder.0.weight"], torch.zeros(()).double()
    if prior is None:
        return total
    if model == "rasch":
        a = a[:1]  # one parameter
    if a.shape[1] == 1 and prior.log_slope_sd is not None:
        total = total + (((a.abs().log() - prior.log_slope_mean) / prior.log_slope_sd) ** 2).sum() / 2
    if a.shape[1] > 1 and prior.slope_sd is not None:
        total = total + ((a / prior.slope_sd) ** 2).sum() / 2
    if "decoder.0.bias" in w and prior.intercept_sd is not None:
        total = total + ((w["decoder.0.bias"] / prior.intercept_sd) ** 2).sum() / 2
    return total


PRIORS: dict[str, ItemPrior | None] = {
    "none": None,
    "weak": ItemPrior(),
    "own": ItemPrior(log_slope_mean=0.3, log_slope_sd=0.2, slope_sd=0.5, intercept_sd=0.7),
    "slopes": ItemPrior(intercept_sd=None),
    "intercepts": ItemPrior(log_slope_sd=None, slope_sd=None),
}


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_prior_is_in_loss_and_gradients(prior: ItemPrior | None, samples: int, n_dims: int) -> None:
    marks, _ = simulated(60, SLOPES, INTERCEPTS, seed=1, missing=0.3)
    fitted = small_exam("2pl", prior=None, n_dims=n_dims, n_importance_samples=samples, epochs=1).fit(marks)
    exams = [small_exam("2pl", prior=p, n_dims=n_dims, n_importance_samples=samples) for p in (prior, None)]
    eps = noise(60, samples * n_dims, seed=2).reshape((60, samples, n_dims) if samples > 1 else (60, n_dims))
    (loss, ours), (plain, without) = (
        exam.load_state_dict(fitted.state_dict()).loss_and_gradients(marks, eps) for exam in exams
    )
    twin = TorchExam(fitted, 1)
    total = penalty(twin, "2pl", prior) / 60
    assert loss["loss"] - plain["loss"] == pytest.approx(total.item(), abs=2e-6)
    assert {key: loss[key] for key in ("elbo", "kl", "reconstruction")} == {
        key: plain[key] for key in ("elbo", "kl", "reconstruction")
    }
    if total.requires_grad:
        total.backward()
    for name, parameter in zip(twin.names, twin.parameters_of, strict=True):
        expected = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        assert np.abs(ours[name] - without[name] - expected).max() < 1e-6, name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("most", [None, np.array([1, 2, 3, 10, 1, 5, 400])], ids=["answers", "marks"])
@pytest.mark.parametrize("samples", [3])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_gradients_are_those_of_torch(model: str, most: Array | None, samples: int, prior: ItemPrior | None) -> None:
    m = np.ones(7, int) if most is None else most
    marks, _ = simulated(60, SLOPES, INTERCEPTS, seed=1, missing=0.3, most=m)
    exam = small_exam(model, max_marks=most, n_importance_samples=samples, epochs=1, prior=prior).fit(marks)
    eps = noise(60, samples, seed=2)[..., np.newaxis]
    losses, gradients = exam.loss_and_gradients(marks, eps)
    twin = TorchExam(exam, m)
    reconstruction, bound = twin(torch.from_numpy(marks), torch.from_numpy(eps).double())
    loss = penalty(twin, model, prior) / 60 - bound
    loss.backward()
    assert losses["reconstruction"] == pytest.approx(reconstruction.item(), rel=TOLERANCE)
    assert losses["loss"] == pytest.approx(loss.item(), rel=TOLERANCE)
    theirs = dict(zip(twin.names, (p.grad.numpy() for p in twin.parameters_of), strict=True))
    if model == "rasch":  # one parameter: its gradient is the sum of those of its seven places
        theirs["decoder.0.weight"] = np.full((7, 1), theirs["decoder.0.weight"].sum())
    assert ("decoder.0.bias" in gradients) == (model != "through_origin")
    for name, gradient in gradients.items():
        assert relative_error(gradient, theirs[name]) < 5 * TOLERANCE, name


class LogSlopes(nn.Module):
    """Parameters of the tasks as the optimiser has them with a prior in one dimension: ln |a|, the sign, and d."""

    def __init__(self, exam: ItemResponse) -> None:
        super().__init__()
        slopes = torch.from_numpy(exam.state_dict()["decoder.0.weight"]).double()
        self.sign = slopes.sign()
        self.log = nn.Parameter(slopes.abs().log())
        self.bias = nn.Parameter(torch.from_numpy(exam.intercept_).double())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_steps_with_a_prior_are_those_of_torch_on_log_slopes(optimizer: str) -> None:
    n_tasks = 37  # two panels of the engine
    marks, _ = simulated(90, np.ones(n_tasks), np.linspace(-1, 1, n_tasks), seed=1, missing=0.3)
    exam = small_exam(prior=PRIORS["own"], optimizer=optimizer, learning_rate=0.05, weight_decay=0.0).fit(marks)
    weights = exam.state_dict()
    weights["decoder.0.weight"][3] *= -1  # a sign stays
    exam.load_state_dict(weights)
    fresh = small_exam(prior=PRIORS["own"], optimizer=optimizer, learning_rate=lambda step: 0.05)
    fresh.load_state_dict(weights)
    twin = LogSlopes(fresh)
    rule = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    steps = rule(twin.parameters(), lr=0.05)
    for _ in range(5):
        _, gradients = fresh.loss_and_gradients(marks)
        fresh.apply_gradients(gradients)
        slopes = twin.sign * twin.log.exp()
        slopes.backward(torch.from_numpy(gradients["decoder.0.weight"]).double())
        twin.bias.grad = torch.from_numpy(gradients["decoder.0.bias"]).double()
        steps.step()
        steps.zero_grad()
    assert np.allclose(fresh.discrimination_, (twin.sign * twin.log.exp()).detach().numpy()[:, 0], rtol=1e-5)
    assert np.allclose(fresh.intercept_, twin.bias.detach().numpy(), atol=1e-5)
    assert (np.flatnonzero(fresh.discrimination_ < 0) == [3]).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("clip_norm", [None, 1e9])
def test_steps_with_a_prior_have_the_same_bits_in_one_call_or_two(model: str, clip_norm: float | None) -> None:
    fused, halves = (small_exam(model, batch_size=400, clip_norm=clip_norm, epochs=1).fit(Y) for _ in range(2))
    rate = 1e-2
    for _ in range(3):
        eps = noise(400, 4, seed=5)[..., np.newaxis]
        fused.set_params(learning_rate=lambda step: rate).partial_fit(Y, eps=eps)
        _, gradients = halves.set_params(learning_rate=lambda step: rate).loss_and_gradients(Y, eps)
        halves.apply_gradients(gradients)
    assert bits(fused) == bits(halves)


@pytest.mark.parametrize("model", MODELS)
def test_a_simulated_exam_is_recovered(model: str) -> None:
    rng = np.random.default_rng(3)
    n_tasks = 40
    slopes = rng.gamma(3, 0.4, n_tasks) if model == "through_origin" else rng.lognormal(0, 0.3, n_tasks)
    if model == "rasch":
        slopes[:] = 1.3
    intercepts = np.zeros(n_tasks) if model == "through_origin" else rng.normal(size=n_tasks)
    marks, alpha = simulated(4000, slopes, intercepts, missing=0.3)
    exam = ItemResponse(model, epochs=15, batch_size=64, n_importance_samples=8, n_jobs=1, random_state=0).fit(marks)
    assert np.sqrt(np.mean((exam.discrimination_ - slopes) ** 2)) < 0.1
    assert np.sqrt(np.mean((exam.intercept_ - intercepts) ** 2)) < 0.1
    assert np.corrcoef(exam.transform(marks)[:, 0], alpha[:, 0])[0, 1] > (0.85 if model == "through_origin" else 0.9)
    truth = 1 / slopes if model == "through_origin" else -intercepts / slopes
    if model == "rasch":
        assert np.abs(exam.difficulty_ - truth).max() < 0.2
    ends = exam.ability_interval(marks, 0.9)[:, 0]
    inside = (ends[:, 0] < alpha[:, 0]) & (alpha[:, 0] < ends[:, 1])
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    "params",
    [{}, {"clip_norm": 0.5}, {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 5.0}, {"weight_decay": 0.01}],
)
def test_constraints_hold_after_training_and_loading(params: dict[str, Any], tmp_path: Path) -> None:
    # 40 tasks are two panels of the engine; half of the tasks want a negative slope.
    wild, _ = simulated(150, np.resize([1.0, -1.0], 40), np.zeros(40), seed=4)

    def check(exam: ItemResponse) -> None:
        weights = exam.state_dict()
        slopes = weights["decoder.0.weight"]
        if exam.model == "rasch":
            assert len(np.unique(slopes)) == 1
            assert len(np.unique(exam.intercept_)) > 1
        else:
            assert (slopes >= 0).all()
            assert (slopes == 0).any() == (exam.prior is None)
            assert "decoder.0.bias" not in weights
            assert (exam.intercept_ == 0).all()

    for model, prior in (("rasch", None), ("rasch", "weak"), ("through_origin", None), ("through_origin", "weak")):
        exam = small_exam(model, epochs=30, batch_size=8, prior=prior, **params).fit(wild)
        check(exam)
        exam.save(tmp_path / "exam")
        for again in (fastvae.load(tmp_path / "exam"), pickle.loads(pickle.dumps(exam))):
            assert isinstance(again, ItemResponse)
            check(again)
            check(again.partial_fit(wild))
        _, gradients = exam.loss_and_gradients(wild)
        check(exam.apply_gradients(gradients))


def test_weights_beyond_the_constraint_are_refused() -> None:
    for model, name, change, message in (
        ("rasch", "decoder.0.weight", 0.5, "equal for all features"),
        ("through_origin", "decoder.0.weight", -100.0, "must not be negative"),
    ):
        exam = small_exam(model).fit(Y)
        weights = exam.state_dict()
        before = exam.score(Y)
        weights[name][2] += change
        for target in (exam, small_exam(model)):
            with pytest.raises(ValueError, match=message):
                target.load_state_dict(weights)
        assert exam.score(Y) == before


def test_a_file_beyond_the_constraint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "exam"
    exam = small_exam("2pl").fit(Y)  # whose slopes differ
    exam.save(path, optimizer=False)
    edited(path, "specification", lambda options: options.update(weight_constraint="common"))
    with pytest.raises(fastvae.FormatError, match="equal for all features"):
        fastvae.load(path)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_the_sign_is_turned_with_all_that_depends_on_it(n_dims: int) -> None:
    exam = small_exam("2pl", n_dims=n_dims, n_importance_samples=1).fit(Y)
    other = pickle.loads(pickle.dumps(exam))
    mirror(other, n_dims - 1)
    sign = np.array([1, -1], np.float32)[-n_dims:]
    eps = noise(len(Y), n_dims).reshape(len(Y), n_dims)
    assert np.array_equal(other.score_samples(Y, eps=eps * sign), exam.score_samples(Y, eps=eps))
    assert np.array_equal(other.transform(Y), exam.transform(Y) * sign)
    steps = [fastvae.VAE.partial_fit(exam, Y, eps=eps), fastvae.VAE.partial_fit(other, Y, eps=eps * sign)]
    ours, theirs = (step.state_dict() for step in steps)
    assert np.array_equal(theirs["decoder.0.weight"], ours["decoder.0.weight"] * sign), "the moments were turned too"
    assert np.array_equal(theirs["mu.weight"], ours["mu.weight"] * sign[:, np.newaxis])
    assert np.array_equal(theirs["mu.bias"], ours["mu.bias"] * sign)
    for name in ("encoder.0.weight", "logvar.weight", "decoder.0.bias"):
        assert np.array_equal(theirs[name], ours[name])
    with pytest.raises(ValueError, match=f"the sign of coordinate {n_dims} cannot be flipped"):
        mirror(other, n_dims)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_mean_slopes_are_positive(n_dims: int) -> None:
    for seed in range(4):
        exam = small_exam("2pl", n_dims=n_dims, random_state=seed, epochs=1).fit(Y)
        weights = exam.state_dict()
        weights["decoder.0.weight"] = -np.abs(weights["decoder.0.weight"])
        exam.load_state_dict(weights)
        before = exam.transform(Y)
        exam.set_params(learning_rate=1e-12).partial_fit(Y)
        assert (exam.discrimination_.reshape(7, -1).mean(0) > 0).all()
        assert np.allclose(exam.transform(Y), -before, atol=1e-4)


def test_the_quadrature_is_right() -> None:
    most = np.array([1, 2, 3, 1, 1, 5, 1])
    marks, _ = simulated(50, SLOPES, INTERCEPTS, seed=5, missing=0.3, most=most)
    ability = Ability(SLOPES, INTERCEPTS, most)
    shares = marks / most
    assert np.allclose(ability.log_marginal(shares), log_likelihood(marks, SLOPES, INTERCEPTS, most), atol=1e-9)
    # A dense grid: moments of the posteriors.
    grid = np.linspace(-9, 9, 20_001)
    p = expit(grid[:, np.newaxis] * SLOPES + INTERCEPTS)
    log_posterior = np.array(
        [np.nansum(student * np.log(p) + (most - student) * np.log1p(-p), axis=1) - grid**2 / 2 for student in marks]
    )
    posterior = np.exp(log_posterior - logsumexp(log_posterior, axis=1, keepdims=True))
    assert np.allclose(ability.mean(shares), posterior @ grid, atol=1e-8)
    assert np.allclose(ability.probability(shares), posterior @ p, atol=1e-8)


RNG = np.random.default_rng(18)
SHORT = np.array([[0.0], [1.0]])
EXAMS: dict[str, tuple[Array, Array, Array]] = {
    "nothing": (np.array([[np.nan]]), np.ones(1), np.zeros(1)),
    "one flat": (SHORT, np.array([0.3]), np.array([3.0])),
    "one": (SHORT, np.ones(1), np.zeros(1)),
    "one steep": (SHORT, np.array([10.0]), np.array([5.0])),
    "one very steep": (SHORT, np.array([95.0]), np.array([3.0])),
    "seven": (np.vstack([RNG.random((4, 7)) < 0.5, np.zeros(7), np.ones(7)]).astype(float), SLOPES, INTERCEPTS),
    "200": (
        np.vstack([RNG.random((2, 200)) < 0.5, np.zeros(200), np.ones(200)]).astype(float),
        RNG.lognormal(0, 0.3, 200),
        RNG.normal(size=200),
    ),
}


@pytest.mark.parametrize("name", EXAMS)
def test_quantiles_are_those_of_a_fine_grid(name: str) -> None:
    marks, slopes, intercepts = EXAMS[name]
    ability = Ability(slopes, intercepts, np.ones(len(slopes)))
    grid = np.linspace(-9, 9, 100_001)
    y = grid[:, np.newaxis] * slopes + intercepts
    log_p, log_q = -np.logaddexp(0, -y).T, -np.logaddexp(0, y).T
    for error, levels in ((2e-4, [0.5, 0.9, 0.95, 0.99, 0.999]), (4e-3, [0.9999, 1 - 1e-6])):
        ps = np.array([p for level in levels for p in ((1 - level) / 2, (1 + level) / 2)])
        found = ability.quantiles(marks, ps)
        for student, quantiles in zip(marks, found, strict=True):
            log_density = np.nan_to_num(student) @ log_p + np.nan_to_num(1 - student) @ log_q - grid**2 / 2
            density = np.exp(log_density - log_density.max())
            cumulated = np.cumsum(density[1:] + density[:-1])
            exact = np.interp(ps, np.append(0, cumulated / cumulated[-1]), grid)
            assert np.abs(quantiles - exact).max() < error
    each = ability.quantiles(marks, found * 0 + 0.3)  # levels of each student's own
    assert np.array_equal(each, ability.quantiles(marks, np.full(4, 0.3)))


def test_both_ends_of_an_interval_are_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    exam, passes = small_exam().fit(Y), []
    blocks = Ability.blocks
    monkeypatch.setattr(Ability, "blocks", lambda self, shares: passes.append(len(shares)) or blocks(self, shares))
    exam.ability_interval(Y)
    assert passes == [len(Y)]


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_student_without_answers_has_the_interval_of_the_prior(n_dims: int) -> None:
    marks = Y.copy()
    marks[[3, 7]] = np.nan
    exam = small_exam(n_dims=n_dims).fit(marks)
    ends = exam.ability_interval(marks, 0.9)
    assert np.allclose(ends[[3, 7]], [-1.6448536, 1.6448536], atol=1e-4)
    assert not np.isclose(ends[0], ends[3], atol=1e-3).all()
    seen = ~np.isnan(marks)
    assert np.array_equal(exam.ability_interval(np.where(seen, marks, 1), 0.9, observed=seen), ends)


def test_the_quadrature_keeps_up_with_long_and_steep_exams() -> None:
    rng = np.random.default_rng(6)
    for n_tasks, steep in ((1, 10.0), (1, 0.0), (400, 1.0), (50, 6.0)):
        slopes, intercepts = np.full(n_tasks, steep), rng.normal(size=n_tasks) * max(1.0, steep)
        marks, _ = simulated(20, slopes, intercepts, seed=7)
        ability = Ability(slopes, intercepts, np.ones(n_tasks))
        grid = np.linspace(-9, 9, 20_001)
        p = grid[:, np.newaxis] * slopes + intercepts
        log_prior = np.log(grid[1] - grid[0]) - grid**2 / 2 - np.log(2 * np.pi) / 2
        log_joint = marks @ p.T - np.logaddexp(0, p).sum(1) + log_prior
        assert np.allclose(ability.log_marginal(marks), logsumexp(log_joint, axis=1), atol=1e-6)


@pytest.mark.parametrize("max_marks", [None, 4])
def test_answers_about_students_agree(max_marks: int | None) -> None:
    marks, _ = simulated(300, SLOPES, INTERCEPTS, seed=8, missing=0.2, most=max_marks or 1)
    exam = small_exam("2pl", max_marks=max_marks, epochs=30).fit(marks)
    exact = exam.log_marginal(marks)
    theirs = log_likelihood(marks, exam.discrimination_, exam.intercept_, max_marks or 1)
    assert np.allclose(exact.estimate, theirs, atol=1e-4)
    assert (exact.standard_error == 0).all()
    assert np.isinf(exact.ess).all()
    sampled = exam.log_marginal(marks, 2000)
    assert np.abs(sampled.estimate - exact.estimate).max() < 0.3
    assert exam.score(marks) < exact.estimate.mean() + 0.05, "with one draw"
    assert exam.evaluate(marks)["loss"] == pytest.approx(-exact.estimate.mean(), abs=0.3)
    means, ends = exam.transform(marks), exam.ability_interval(marks)
    assert ends.shape == (300, 1, 2)
    assert ((ends[..., 0] < means) & (means < ends[..., 1])).all()
    wide = exam.ability_interval(marks, 0.99)
    assert ((wide[..., 0] < ends[..., 0]) & (ends[..., 1] < wide[..., 1])).all()
    assert exam.predict_proba(marks).shape == marks.shape


def test_missing_answers_do_not_count() -> None:
    exam = small_exam().fit(Y)
    nothing = np.full((2, 7), np.nan)
    assert np.allclose(exam.transform(nothing), 0, atol=1e-6)
    assert np.allclose(exam.log_marginal(nothing).estimate, 0, atol=1e-9)
    assert np.allclose(exam.ability_interval(nothing)[0, 0], [-1.959964, 1.959964], atol=1e-4)
    assert np.array_equal(exam.item_fit(np.full((3, 7), np.nan)).n, np.zeros(7))
    seen = ~np.isnan(Y)
    filled = np.where(seen, Y, 1)
    again = small_exam().fit(filled, observed=seen)
    for name, weight in exam.state_dict().items():
        assert np.array_equal(again.state_dict()[name], weight)
    assert np.array_equal(again.transform(filled, observed=seen), exam.transform(Y))
    for question in ("ability_interval", "predict_proba", "item_fit", "log_marginal"):
        ours, theirs = getattr(exam, question)(Y), getattr(again, question)(filled, observed=seen)
        assert np.array_equal(ours, theirs, equal_nan=True)
    several = small_exam(n_dims=2).fit(Y)
    assert np.array_equal(several.transform(nothing), np.zeros((2, 2)))
    assert several.transform(Y).any(1).all()
    full = exam.predict_proba(np.nan_to_num(Y))
    assert not np.array_equal(full, exam.predict_proba(Y))


@pytest.mark.parametrize("max_marks", [None, 3])
@pytest.mark.parametrize("model", MODELS)
def test_results_do_not_depend_on_threads(model: str, max_marks: int | None) -> None:
    wide, _ = simulated(300, np.ones(70), np.zeros(70), missing=0.3, most=max_marks or 1)
    first, second = (small_exam(model, max_marks=max_marks, n_jobs=n).fit(wide) for n in (1, 3))
    for name, weight in first.state_dict().items():
        assert np.array_equal(weight, second.state_dict()[name]), name
    for question in ("score_samples", "encode", "predictive"):
        more = {"random_state": 0} if question == "predictive" else {}
        assert np.array_equal(getattr(first, question)(wide, **more), getattr(second, question)(wide, **more))
    assert np.array_equal(first.sample(50, draw=True, random_state=0), second.sample(50, draw=True, random_state=0))


def test_avx2_and_avx512_give_the_same_bits() -> None:
    check_same_output_of_both_sets(
        """
import warnings
import numpy as np, fastvae
warnings.simplefilter("ignore", fastvae.ConvergenceWarning)
rng = np.random.default_rng(0)
Y = rng.integers(0, 4, (200, 37)).astype(np.float32)
Y[rng.random(Y.shape) < 0.3] = np.nan
for model in ("through_origin", "rasch", "2pl"):
    exam = fastvae.ItemResponse(model, max_marks=3, epochs=3, hidden=(9,), n_importance_samples=4, random_state=0)
    exam.fit(Y)
    for array in (*exam.state_dict().values(), exam.score_samples(Y), exam.sample(50, draw=True, random_state=0)):
        print(array.tobytes().hex())
"""
    )


def test_validation_data_are_marks_of_the_fit() -> None:
    exam = small_exam(epochs=2).fit(Y, validation_data=Y)
    scores = exam.evaluate(Y)
    assert exam.history_["val_loss"][-1] == pytest.approx(scores["loss"], rel=1e-6)
    exam.set_params(max_marks=3).fit(3 * Y[:, :5], validation_data=3 * Y[:, :5])
    assert exam.history_["val_loss"][-1] == pytest.approx(exam.evaluate(3 * Y[:, :5])["loss"], rel=1e-6)
    with pytest.raises(ValueError, match="validation_data has 6 features"):
        small_exam().fit(Y, validation_data=Y[:, :6])
    stopped = small_exam(early_stopping=True, n_iter_no_change=1, epochs=50, learning_rate=1.0).fit(Y)
    assert stopped.n_iter_ < 50


def test_a_given_encoder_input_is_marks_too() -> None:
    marks = np.nan_to_num(2 * Y)
    eps = noise(400, 4)[..., np.newaxis]
    fits = [small_exam(max_marks=2).partial_fit(marks, eps=eps, corrupted=seen) for seen in (None, marks)]
    assert fits[0].history_ == fits[1].history_
    assert fits[0].partial_fit(marks.astype(np.uint8), corrupted=marks.astype(np.uint8)).n_iter_ == 2
    with pytest.raises(ValueError, match=r"corrupted\[0, 0\] is 3"):
        fits[0].partial_fit(marks, corrupted=np.full_like(marks, 3))


def test_a_saved_model_gives_the_same_results(tmp_path: Path) -> None:
    exam = small_exam("2pl", max_marks=[3] * 7).fit(2 * Y)
    exam.save(tmp_path / "exam")
    for again in (fastvae.load(tmp_path / "exam"), pickle.loads(pickle.dumps(exam))):
        assert isinstance(again, ItemResponse)
        assert again.get_params() | {"max_marks": [3] * 7} == exam.get_params() | {"hidden": again.hidden}
        assert np.array_equal(again.transform(2 * Y), exam.transform(2 * Y))
        assert np.array_equal(again.difficulty_, exam.difficulty_)


def test_marks_are_those_of_the_fit() -> None:
    exam = small_exam(max_marks=2).fit(2 * Y)
    before = exam.transform(2 * Y)
    assert np.array_equal(exam.set_params(max_marks=5).transform(2 * Y), before)


def test_difficulties_are_what_they_are_called() -> None:
    for model in ("2pl", "rasch"):
        exam = small_exam(model, epochs=20).fit(Y)
        at = exam.difficulty_ * exam.discrimination_ + exam.intercept_
        assert np.abs(at).max() < 1e-5, "P = 1/2 there"
    exam = small_exam("through_origin").fit(Y)
    assert np.allclose(exam.difficulty_, 1 / exam.discrimination_)
    exam = small_exam(n_dims=3).fit(Y)
    assert exam.discrimination_.shape == (7, 3)
    size = np.linalg.norm(exam.discrimination_, axis=1)
    assert np.allclose(exam.difficulty_, -exam.intercept_ / size, rtol=1e-5)


def test_several_dimensions_are_found_and_rotated() -> None:
    slopes = np.zeros((30, 2))
    slopes[:15, 0], slopes[15:, 1] = 1.5, 1.5
    marks, alpha = simulated(3000, slopes, np.zeros(30), seed=9, missing=0.1)
    exam = ItemResponse(n_dims=2, epochs=20, batch_size=64, n_jobs=1, random_state=0).fit(marks)
    found, rotation = exam.loadings()
    assert np.allclose(exam.discrimination_ @ rotation, found, atol=1e-5)
    if found[:15, 0].mean() < found[15:, 0].mean():
        found, rotation = found[:, ::-1], rotation[:, ::-1]
    assert np.sqrt(np.mean((found - slopes) ** 2)) < 0.15
    abilities = exam.transform(marks) @ rotation
    assert np.corrcoef(abilities[:, 0], alpha[:, 0])[0, 1] > 0.85
    assert np.corrcoef(abilities[:, 1], alpha[:, 1])[0, 1] > 0.85
    plain = exam.loadings(rotation=None)
    assert np.allclose(plain.loadings, exam.discrimination_)
    ends = exam.ability_interval(marks, 0.9)
    assert ends.shape == (3000, 2, 2)
    marginal = exam.log_marginal(marks[:50], 500)
    assert marginal.ess.mean() > 20
    assert exam.predict_proba(marks[:50]).shape == (50, 30)
    fit = exam.item_fit(marks)
    assert np.abs(fit.infit - 1).max() < 0.15


def criterion(b: Array) -> float:
    """What varimax makes largest."""
    return float((b**2).var(0).sum())


def test_varimax_finds_the_largest_criterion() -> None:
    rng = np.random.default_rng(10)
    angles = np.linspace(0, np.pi / 2, 2000)
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    for _ in range(20):
        loadings = rng.normal(size=(12, 2)) * [2.0, 0.7]
        found = varimax(loadings)
        assert np.allclose(found.rotation.T @ found.rotation, np.eye(2), atol=1e-12)
        assert np.allclose(loadings @ found.rotation, found.loadings)
        assert (found.loadings.sum(0) >= 0).all()
        best = max(map(criterion, loadings @ turns))
        assert best - 1e-9 <= criterion(found.loadings) <= best * (1 + 1e-5)
    assert np.allclose(varimax(np.ones((5, 1))).rotation, 1)
    assert np.allclose(varimax(np.zeros((5, 2))).rotation, np.eye(2))


@pytest.mark.parametrize("change", [0.0, 1e-7, 1e-12])
def test_varimax_leaves_a_saddle(change: float) -> None:
    cross = np.tile([[1.0, 1.0], [1.0, -1.0]], (3, 1))  # the criterion's gradient is zero, and its value the least
    found = varimax(cross + change * np.random.default_rng(0).normal(size=cross.shape)).loadings
    assert np.allclose(np.sort(np.abs(found), axis=1), [0, np.sqrt(2)], atol=1e-6)


def test_varimax_finds_simple_structure() -> None:
    rng = np.random.default_rng(15)
    simple = np.kron(np.eye(3), np.ones((4, 1)))
    for _ in range(20):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        back = varimax(simple @ q).loadings
        assert np.allclose(np.sort(np.abs(back), axis=1), np.sort(simple, axis=1), atol=1e-9)
        assert (back.sum(0) > 0).all()


def test_varimax_of_several_columns_is_at_a_maximum() -> None:
    rng = np.random.default_rng(16)
    for _ in range(10):
        best = varimax(rng.normal(size=(30, 5))).loadings
        for _ in range(20):
            q, _ = np.linalg.qr(np.eye(5) + 0.01 * rng.normal(size=(5, 5)))
            assert criterion(best @ q) <= criterion(best) + 1e-12


@pytest.mark.parametrize("n_dims", [1, 2])
def test_answers_that_were_not_seen_are_filled_in(n_dims: int) -> None:
    most = np.array([1, 2, 13, 19, 1, 5, 1000])
    marks, _ = simulated(500, SLOPES, INTERCEPTS, seed=14, missing=0.3, most=most)
    exam = small_exam(n_dims=n_dims, max_marks=most, epochs=20).fit(marks)
    holes = np.isnan(marks)
    means = exam.impute(marks)
    assert np.array_equal(means[~holes], marks[~holes].astype(np.float32))
    assert np.allclose(means[holes], (exam.predict_proba(marks) * most)[holes], rtol=1e-6)
    draws = exam.impute(marks, draws=30, random_state=0)
    assert np.array_equal(draws[:, ~holes], np.broadcast_to(marks[~holes], draws[:, ~holes].shape))
    assert np.array_equal(draws, np.rint(draws))
    assert ((draws >= 0) & (draws <= most)).all()
    far = np.abs(np.where(holes, draws.mean(0) - means, 0)) / most
    assert far.sum() / holes.sum() < 0.1
    seen = np.where(holes, 0, marks)
    assert np.array_equal(exam.impute(seen, observed=~holes), means)


@pytest.mark.parametrize("max_marks", [None, 3])
def test_draws_in_one_dimension_are_of_the_exact_posterior(max_marks: int | None) -> None:
    most = max_marks or 1
    slopes, intercepts = np.array([1.5, 2.0, 1.0, 4.0, 4.0]), np.array([0.0, 0.5, -0.5, 0.0, 0.0])
    marks, _ = simulated(40, slopes, intercepts, seed=19, most=most)
    marks[:, 3:] = np.nan
    with pytest.warns(UserWarning, match="tasks 3, 4 without answers"):
        exam = small_exam(max_marks=max_marks, epochs=1).fit(marks)  # its encoder knows nothing
    with_tasks(exam, slopes, intercepts)
    n = 4000
    draws = exam.impute(marks, draws=n, random_state=3).astype(np.float64)
    assert np.array_equal(draws[:5], exam.impute(marks, draws=5, random_state=3)), "whatever the number of draws"
    assert np.array_equal(draws[:5], exam.impute(marks, draws=5, n_iter=4, random_state=3)), "rounds change nothing"
    assert not np.array_equal(draws[:5], exam.impute(marks, draws=5, random_state=4))
    error = np.sqrt(draws[..., 3:].var(0) / n)
    far = np.abs(draws[..., 3:].mean(0) - exam.predict_proba(marks)[:, 3:] * most)
    assert (far < 4.5 * error + 1e-6).all()
    # Both answers of a student hang on one ability: E[y y'] = m² <p p'>, and p = p' here.
    grid = np.linspace(-8, 8, 2001)
    p = expit(grid[:, np.newaxis] * slopes + intercepts)
    log_posterior = marks[:, :3] @ np.log(p[:, :3]).T + (most - marks[:, :3]) @ np.log1p(-p[:, :3]).T - grid**2 / 2
    weights = np.exp(log_posterior - logsumexp(log_posterior, axis=1, keepdims=True))
    product = draws[..., 3] * draws[..., 4]
    far = np.abs(product.mean(0) - most**2 * weights @ p[:, 3] ** 2)
    assert (far < 4.5 * np.sqrt(product.var(0) / n) + 1e-6).all()
    for bad in ({"draws": 0}, {"draws": 2, "n_iter": -1}):
        with pytest.raises(ValueError, match=next(reversed(bad))):
            exam.impute(marks, **bad)


def test_a_file_with_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "exam"
    deep = fastvae.VAE(2, hidden=(8,), missing="mask", missing_indicator=True, epochs=1).fit(np.nan_to_num(Y))
    deep.save(path)
    edited(path, "estimator", lambda estimator: estimator.update({"class": "ItemResponse", "parameters": {}}))
    with pytest.raises(fastvae.FormatError, match="not one that ItemResponse builds"):
        fastvae.load(path)


def test_item_fit_is_its_formula() -> None:
    most = np.array([1, 2, 3, 1, 1, 5, 1])
    marks, _ = simulated(40, SLOPES, INTERCEPTS, seed=11, missing=0.3, most=most)
    exam = small_exam(max_marks=most, epochs=2).fit(marks)
    fit = exam.item_fit(marks)
    grid = np.linspace(-8, 8, 4001)
    p = expit(grid[:, np.newaxis] * exam.discrimination_ + exam.intercept_)
    mean, variance = most * p, most * p * (1 - p)
    residual, total, standardised = np.zeros((3, 7))
    for student in marks:
        log_posterior = np.nansum(student * np.log(p) + (most - student) * np.log1p(-p), axis=1) - grid**2 / 2
        weight = np.exp(log_posterior - logsumexp(log_posterior))[:, np.newaxis]
        square = np.nan_to_num((student - mean) ** 2)
        residual += (weight * square).sum(0)
        standardised += (weight * square / variance).sum(0)
        total += (weight * variance).sum(0) * ~np.isnan(student)
    seen = (~np.isnan(marks)).sum(0)
    assert np.array_equal(fit.n, seen)
    assert np.allclose(fit.infit, residual / total, rtol=1e-5)
    assert np.allclose(fit.outfit, standardised / seen, rtol=1e-5)


def with_tasks(exam: ItemResponse, slopes: Array, intercepts: Array) -> ItemResponse:
    """The same model with other tasks."""
    weights = exam.state_dict()
    weights["decoder.0.weight"][:] = slopes.reshape(len(intercepts), -1)
    weights["decoder.0.bias"][:] = intercepts
    return exam.load_state_dict(weights)


@pytest.mark.parametrize("steep", [8.0, 95.0, -95.0])
def test_item_fit_of_steep_tasks_is_its_formula(steep: float) -> None:
    slopes, intercepts = np.array([steep, 1.0, 1.5]), np.array([steep / 2, 0.0, 0.5])
    marks, _ = simulated(60, np.array([steep / 2, 1.0, 1.5]), intercepts, seed=17)
    fit = with_tasks(small_exam().fit(marks), slopes, intercepts).item_fit(marks)
    grid = np.linspace(-8, 8, 40_001)
    y = grid[:, np.newaxis] * slopes + intercepts
    log_p, log_q = -np.logaddexp(0, -y), -np.logaddexp(0, y)
    residual, total, standardised = np.zeros((3, 3))
    for student in marks:
        log_posterior = (student * log_p + (1 - student) * log_q).sum(1) - grid**2 / 2
        log_posterior = (log_posterior - logsumexp(log_posterior))[:, np.newaxis]
        wrong = np.where(student == 1, log_q, log_p)  # log of the residual's size
        residual += np.exp(log_posterior + 2 * wrong).sum(0)
        total += np.exp(log_posterior + log_p + log_q).sum(0)
        standardised += np.exp(log_posterior + 2 * wrong - log_p - log_q).sum(0)
    assert np.allclose(fit.infit, residual / total, rtol=1e-5)
    assert np.allclose(fit.outfit, standardised / len(marks), rtol=1e-5)


def test_item_fit_of_several_dimensions_is_the_mean_over_draws() -> None:
    most = np.array([1, 2, 3, 1, 1, 5, 1])
    marks, _ = simulated(3000, np.stack([SLOPES, SLOPES[::-1]], 1), INTERCEPTS, seed=11, missing=0.3, most=most)
    exam = small_exam(n_dims=2, max_marks=most).fit(marks)
    fit = exam.item_fit(marks)
    alpha = exam.posterior_sample(marks, 20, 0).astype(np.float64)
    p = expit(alpha @ exam.discrimination_.T + exam.intercept_)
    variance, square = most * p * (1 - p), (marks - most * p) ** 2
    total = (variance * ~np.isnan(marks)).sum((0, 1))
    assert np.allclose(fit.infit, np.nansum(square, (0, 1)) / total, rtol=1e-9)
    assert np.allclose(fit.outfit, np.nanmean(square / variance, (0, 1)), rtol=1e-9)
    steep = with_tasks(exam, np.full((7, 2), 300.0), INTERCEPTS).item_fit(marks)
    assert np.isfinite(steep.outfit).all()


@pytest.mark.parametrize(("n", "n_tasks", "n_dims", "tables"), [(50, 2000, 1, 7), (20_000, 50, 2, 3)])
def test_item_fit_needs_little_memory(n: int, n_tasks: int, n_dims: int, tables: int) -> None:
    slopes, intercepts = np.ones((n_tasks, n_dims)), np.zeros(n_tasks)
    marks, _ = simulated(n, slopes, intercepts)
    exam = with_tasks(small_exam(n_dims=n_dims, epochs=1).fit(marks[:50]), slopes, intercepts)
    one = 8 * n_tasks * (n if n_dims > 1 else len(Ability(slopes[:, 0], intercepts, np.ones(n_tasks)).nodes))
    tracemalloc.start()
    exam.item_fit(marks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < tables * one, peak / one


def test_item_fit_finds_the_task_that_does_not_fit() -> None:
    slopes = np.ones(20)
    slopes[4], slopes[11] = 0.0, 3.0  # noise; too regular
    marks, _ = simulated(3000, slopes, np.linspace(-1, 1, 20), seed=12)
    fit = ItemResponse("rasch", epochs=15, n_jobs=1, random_state=0).fit(marks).item_fit(marks)
    assert fit.infit.argmax() == fit.outfit.argmax() == 4
    assert fit.infit.argmin() == fit.outfit.argmin() == 11
    others = np.delete(fit.infit, [4, 11])
    assert np.abs(others - 1).max() < 0.06


def test_bad_answers_and_parameters_are_named() -> None:
    bad = Y.copy()
    bad[17, 3] = 0.5
    with pytest.raises(ValueError, match=r"\[17, 3\] is 0.5: the answer of student 17 to task 3 must be 0, 1 or"):
        small_exam().fit(bad)
    with pytest.raises(ValueError, match=r"student 17 in task 3 must be a whole number from 0 to 4"):
        small_exam(max_marks=4).fit(bad)
    bad[17, 3] = 5
    with pytest.raises(ValueError, match=r"\[17, 3\] is 5.*from 0 to 4"):
        small_exam(max_marks=4).fit(bad)
    bad[17, 3] = np.inf
    with pytest.raises(ValueError, match="student 17"):
        small_exam().fit(bad)
    exam = small_exam().fit(Y)
    for question in (
        exam.transform,
        exam.predict_proba,
        exam.item_fit,
        exam.log_marginal,
        exam.partial_fit,
        exam.score,
    ):
        with pytest.raises(ValueError, match="student 17"):
            question(bad)
    with pytest.raises(ValueError, match="6 features"):
        exam.transform(Y[:, :6])
    with pytest.raises(ValueError, match="observed must be True or False"):
        exam.transform(Y, observed=np.ones((3, 7), bool))
    with pytest.raises(ValueError, match="observed must be True or False"):
        small_exam().fit(Y, observed=np.ones(Y.shape))
    for params, message in (
        ({"model": "4pl"}, "use one of 'through_origin', 'rasch', '2pl', '3pl', 'graded'"),
        ({"model": "rasch", "n_dims": 2}, "has one dimension"),
        ({"n_dims": 0}, "n_dims"),
        ({"max_marks": [1, 2]}, "one for each of 7 tasks"),
        ({"max_marks": 0}, "from 1 to 1000"),
        ({"max_marks": 1001}, "from 1 to 1000"),
        ({"max_marks": 2.0}, "whole numbers"),
        ({"n_importance_samples": 0}, "n_importance_samples"),
        ({"learning_rate": 0}, "learning_rate"),
    ):
        with pytest.raises(ValueError, match=message):
            small_exam(**params).fit(Y)
    for level in (0.0, 1.0, "wide"):
        with pytest.raises(ValueError, match="level"):
            exam.ability_interval(Y, level)
    with pytest.raises(ValueError, match=r"level=0\.9999999 must be at most 1 - 1e-6"):
        exam.ability_interval(Y, 0.9999999)
    assert np.isfinite(exam.ability_interval(Y, 1 - 1e-6)).all()
    with pytest.raises(ValueError, match="varimax"):
        exam.loadings("oblimin")
    with pytest.raises(NotFittedError):
        small_exam().transform(Y)
    with pytest.raises(NotFittedError):
        _ = small_exam().difficulty_


def test_the_former_name_of_a_model_is_accepted(tmp_path: Path) -> None:
    former, exam = (small_exam(model, epochs=2).fit(Y) for model in ("lecture", "through_origin"))
    former.save(tmp_path / "exam")
    for model in (former, fastvae.load(tmp_path / "exam")):
        assert model.get_params()["model"] == "lecture"
        assert np.array_equal(model.difficulty_, exam.difficulty_)
        assert model.describe_objective() == exam.describe_objective()


def test_the_learning_rate_comes_to_rest() -> None:
    own = bits(small_exam(epochs=4).fit(Y))
    assert own == bits(small_exam(epochs=4, learning_rate=fastvae.schedules.cosine(2e-2, 2e-4, epochs=4)).fit(Y))
    assert own != bits(small_exam(epochs=4, learning_rate=fastvae.schedules.cosine(2e-2, 2e-4, epochs=5)).fit(Y))
    assert own != bits(small_exam(epochs=4, learning_rate=lambda step: 2e-2).fit(Y))


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks_pass() -> None:
    # Their data are whole numbers up to 200 with max_marks, not answers of 0 and 1.
    exceptions = {"check_sample_weight_equivalence_on_dense_data": "its data are fractions, which are no marks"}
    passes_all_checks(ItemResponse(max_marks=1000, hidden=(4,), epochs=1, random_state=0), exceptions)


def test_a_negative_code_for_missing_answers_is_named_first() -> None:
    wrong = np.where(np.isnan(Y), -9, Y)
    wrong[0, 0] = 0.5
    with pytest.raises(ValueError, match=r"Negative values in data: X\[\d+, \d+\] is -9: .*if missing, NaN"):
        small_exam().fit(wrong)


def test_scikit_learn_takes_it_for_one_of_its_own(tmp_path: Path) -> None:
    sklearn_base = pytest.importorskip("sklearn.base")
    sklearn_utils = pytest.importorskip("sklearn.utils")
    from sklearn.pipeline import make_pipeline

    exam = small_exam("rasch", max_marks=(1,) * 7)
    twin = sklearn_base.clone(exam)
    assert twin.get_params() == exam.get_params()
    assert set(twin.get_params()) >= {"model", "n_dims", "max_marks", "n_importance_samples"}
    assert "latent_dim" not in twin.get_params()
    codes = make_pipeline(twin).fit_transform(Y)
    assert codes.shape == (400, 1)
    assert list(twin.get_feature_names_out()) == ["itemresponse0"]
    assert repr(twin) == repr(exam)
    import pandas as pd

    frame = pd.DataFrame(Y, index=[f"s{i}" for i in range(400)])
    for n_dims in (1, 2):
        exam = small_exam(n_dims=n_dims).fit(frame).set_output(transform="pandas")
        for more in ({}, {"observed": ~np.isnan(Y)}):
            found = exam.transform(frame, **more)
            assert found.shape == (400, n_dims)
            assert list(found.index) == list(frame.index)
    nullable = frame.astype("boolean").astype("Int64")
    assert nullable.isna().any().any()
    assert np.array_equal(exam.set_output(transform="default").transform(nullable), exam.transform(Y))
    assert not sklearn_utils.get_tags(exam).input_tags.sparse
    series = small_exam(max_marks=pd.Series([2] * 7)).fit(2 * Y)
    series.save(tmp_path / "exam")
    assert fastvae.load(tmp_path / "exam").max_marks == (2,) * 7


def test_draws_are_marks() -> None:
    most = np.array([1, 2, 3, 10, 1, 5, 40])
    marks, _ = simulated(2000, SLOPES, INTERCEPTS, seed=13, most=most)
    exam = small_exam(max_marks=most, epochs=20).fit(marks)
    drawn = exam.sample(4000, draw=True, random_state=0) * most
    assert np.allclose(drawn, np.rint(drawn), atol=1e-3)
    assert np.allclose(drawn.mean(0) / most, marks.mean(0) / most, atol=0.06)
    spread = exam.predictive(marks[:3], 50, random_state=0).observation_std
    p = exam.predictive(marks[:3], 50, random_state=0).mean
    assert (spread <= np.sqrt(0.25 / most) + 1e-6).all()
    assert np.allclose(spread[:, 6], np.sqrt(p * (1 - p) / most)[:, 6], rtol=0.2)


def test_the_objective_is_described() -> None:
    assert "ln C(m_t, y_t)" in small_exam(max_marks=[3] * 7).describe_objective()
    fitted = small_exam(max_marks=3).fit(3 * Y)
    assert "ln C(m_t, y_t)" in fitted.describe_objective()
    text = small_exam(max_marks=3).describe_objective()
    assert "ln C(m_t, y_t)" in text
    assert "K = 4" in text
    assert "a alpha + d_t" in small_exam("rasch").describe_objective()


def test_characteristic_curves_are_drawn() -> None:
    exam = small_exam(epochs=20).fit(Y)
    ax = plots.item_characteristic(exam, Y)
    curves = {line.get_label(): line for line in ax.lines if str(line.get_label()).startswith("task")}
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(curves) == len(dots) == 7
    order = np.argsort(exam.difficulty_)
    for task, (label, line) in zip(order, curves.items(), strict=True):
        assert label == f"task {task}: {exam.difficulty_[task]:.2f}"
        x = np.asarray(line.get_xdata())
        assert np.allclose(line.get_ydata(), expit(x * exam.discrimination_[task] + exam.intercept_[task]), atol=1e-6)
    # The dots of a task have the mean of the answers, and those of a task that fits are near its curve.
    for task, line in zip(order, dots, strict=True):
        x, y = (np.asarray(values) for values in line.get_data())
        assert len(x) == 8
        assert (np.diff(x) > 0).all()
        assert y.mean() == pytest.approx(np.nanmean(Y[:, task]), abs=0.03)
        assert np.abs(y - expit(x * exam.discrimination_[task] + exam.intercept_[task])).max() < 0.1
    ax = plots.item_characteristic(exam, tasks=[2], names=list("abcdefg"))
    assert [str(line.get_label())[:2] for line in ax.lines] == ["c:"]
    marks = small_exam(max_marks=2).fit(2 * Y)
    assert plots.item_characteristic(marks).get_ylabel() == "expected share of the marks"
    many, _ = simulated(60, np.ones(30), np.linspace(-2, 2, 30))
    assert len(plots.item_characteristic(small_exam().fit(many)).lines) == 10
    for bad in ({"tasks": [7]}, {"names": ["a"]}):
        with pytest.raises(ValueError, match=r"7|6"):
            plots.item_characteristic(exam, **bad)
    with pytest.raises(ValueError, match="one dimension; this one has 2"):
        plots.item_characteristic(small_exam(n_dims=2).fit(Y))
    pyplot.close("all")


@pytest.mark.parametrize("n_dims", [1, 2])
def test_only_the_abilities_of_drawn_students_are_computed(n_dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exam, asked = small_exam(n_dims=n_dims).fit(Y), []
    for name in ("transform", "ability_interval"):
        answer = getattr(exam, name)
        monkeypatch.setattr(exam, name, lambda X, *rest, answer=answer: asked.append(len(X)) or answer(X, *rest))
    plots.abilities(exam, Y, n=25)
    assert asked
    assert set(asked) == {25}
    pyplot.close("all")


@pytest.mark.parametrize("n_dims", [1, 2])
def test_abilities_are_drawn(n_dims: int) -> None:
    exam = small_exam(n_dims=n_dims).fit(Y)
    dim = n_dims - 1
    ax = plots.abilities(exam, Y, n=25, level=0.8, dim=dim)
    [dots] = [line for line in ax.lines if line.get_marker() == "o"]
    shown = np.asarray(dots.get_ydata())
    assert (np.diff(shown) >= 0).all()
    means = exam.transform(Y)[:, dim]
    assert np.abs(means - shown[:, np.newaxis]).min(1).max() < 1e-6
    assert ax.get_legend() is None
    [bars] = [c for c in ax.collections if isinstance(c, LineCollection)]
    ends = exam.ability_interval(Y, 0.8)[:, dim]
    for bar in bars.get_segments():
        assert np.isclose(ends, bar[:, 1], atol=1e-6).all(1).any()
    assert "80 %" in ax.get_title()
    assert len(plots.abilities(exam, Y[:5], names=list("abcde")).get_xticklabels()) == 5
    with pytest.raises(ValueError, match="names has 1 entries; expected 400"):
        plots.abilities(exam, Y, names=["a"])
    ax = plots.abilities(exam, Y, n=25, dim=dim, truth=means + 10)
    [crosses] = [line for line in ax.lines if line.get_marker() == "x"]
    assert np.allclose(crosses.get_ydata(), shown + 10, atol=1e-5), "of the same students"
    assert "truth" in [text.get_text() for text in ax.get_legend().get_texts()]
    for truth in (ALPHA, ALPHA[:25, 0], 1.0):
        with pytest.raises(ValueError, match=r"truth has shape .* expected \(400,\)"):
            plots.abilities(exam, Y, truth=truth)
    with pytest.raises(ValueError, match="dim="):
        plots.abilities(exam, Y, dim=n_dims)
    pyplot.close("all")


# ------------------------------------------------------------------------------- little data, degenerate data


def test_few_answers_to_each_task_give_usable_difficulties() -> None:
    # 33 answers to each task. Maximum likelihood has difficulties beyond 100 and negative slopes.
    rng = np.random.default_rng(0)
    n, n_tasks = 2000, 300
    slopes, intercepts = rng.uniform(0.6, 2, n_tasks), rng.normal(size=n_tasks)
    marks, _ = simulated(n, slopes, intercepts, seed=1)
    for student in marks:
        student[rng.permutation(n_tasks)[5:]] = np.nan
    found = {
        prior: ItemResponse(prior=prior, epochs=30, n_importance_samples=8, random_state=0, n_jobs=1).fit(marks)
        for prior in ("weak", None)
    }
    truth = -intercepts / slopes
    assert np.corrcoef(found["weak"].difficulty_, truth)[0, 1] > 0.85
    assert np.abs(found["weak"].difficulty_).max() < 8
    assert (found["weak"].discrimination_ > 0).all()
    assert np.corrcoef(found[None].difficulty_, truth)[0, 1] < 0.7, "the prior is why"


def degenerate(most: int = 1) -> Array:
    """An exam with a task that everyone solved, one that nobody solved, and students with all, no or few answers."""
    marks, _ = simulated(300, np.full(8, 1.2), np.linspace(-1, 1, 8), seed=21, most=most)
    marks[:, 3], marks[:, 6] = most, 0
    marks[0], marks[1], marks[2, 1:], marks[3] = most, 0, np.nan, np.nan
    marks[:2, [3, 6]] = [most, 0]
    return marks


@pytest.mark.parametrize("max_marks", [None, 4])
@pytest.mark.parametrize("params", [{"model": model} for model in MODELS] + [{"n_dims": 2}])
def test_degenerate_tasks_and_students_have_finite_estimates(params: dict[str, Any], max_marks: int | None) -> None:
    marks = degenerate(max_marks or 1)
    exam = ItemResponse(**params, max_marks=max_marks, epochs=150, random_state=0, n_jobs=1).fit(marks)
    assert np.abs(exam.intercept_).max() < 12
    if params.get("model", "2pl") != "through_origin":
        assert np.linalg.norm(exam.discrimination_.reshape(8, -1), axis=1).max() < 6
        assert exam.difficulty_[3] == exam.difficulty_.min() < -1
        assert exam.difficulty_[6] == exam.difficulty_.max() > 1
    for found in (
        *exam.item_fit(marks),
        exam.difficulty_,
        exam.transform(marks),
        exam.ability_interval(marks),
        exam.predict_proba(marks),
        exam.impute(marks),
        exam.log_marginal(marks, 20).estimate,
        exam.loadings().loadings,
    ):
        assert np.isfinite(found).all()
    abilities = exam.transform(marks)
    assert np.abs(abilities[3]).max() < 1e-12, "no answers: the prior's mean"
    if exam.n_dims == 1 and exam.model != "through_origin":
        assert abilities[0] == abilities.max()
        assert abilities[1] == abilities.min()


@pytest.mark.parametrize("params", [{"model": "2pl"}, {"model": "rasch"}, {"n_dims": 2}])
def test_maximum_likelihood_names_degenerate_tasks_once(params: dict[str, Any]) -> None:
    marks = degenerate()
    marks[:, 7] = np.nan
    with pytest.warns(UserWarning, match="without answers") as caught:
        small_exam(**params, prior=None).fit(marks)
    [warning] = [each for each in caught if each.category is UserWarning]
    assert warning.filename == __file__
    assert str(warning.message) == (
        "task 7 without answers: no data for the parameters; they stay at their initial values. task 3 solved by "
        "everyone: the maximum likelihood estimate is not finite; use prior='weak'. task 6 solved by nobody: the "
        "maximum likelihood estimate is not finite; use prior='weak'"
    )
    with pytest.warns(UserWarning, match="^task 7 without answers: .*mode of the prior$"):
        exam = small_exam(**params).fit(marks)
    assert exam.intercept_[7] == 0
    if params.get("model") == "2pl":
        assert exam.discrimination_[7] == 1


def test_a_prior_without_data_is_the_estimate() -> None:
    # One task: its slope has no data. Students without answers add nothing but to n.
    prior = ItemPrior(log_slope_mean=0.5, log_slope_sd=0.3, intercept_sd=1.0)
    marks = np.array([[0.0], [1.0], [1.0], [1.0]])
    exam = ItemResponse(prior=prior, epochs=400, n_importance_samples=32, random_state=0, n_jobs=1).fit(marks)

    def objective(parameters: Array) -> float:
        a, d = np.exp(parameters[0]), parameters[1]
        log_prior = -(((parameters[0] - 0.5) / 0.3) ** 2) / 2 - d**2 / 2
        return -float(log_likelihood(marks, np.array([a]), np.array([d])).sum() + log_prior)

    from scipy.optimize import minimize

    best = minimize(objective, np.array([0.5, 0.0])).x
    assert exam.discrimination_[0] == pytest.approx(np.exp(best[0]), rel=0.03)
    assert exam.intercept_[0] == pytest.approx(best[1], abs=0.03)


@pytest.mark.parametrize("reverse", [[2], range(1, 20, 2)], ids=["one", "half"])
def test_reversed_tasks_have_negative_slopes(reverse: Any) -> None:
    rng = np.random.default_rng(5)
    slopes = rng.uniform(0.8, 1.6, 20)
    slopes[reverse] *= -1
    marks, alpha = simulated(1000, slopes, rng.normal(size=20), seed=6, missing=0.3)
    exam = ItemResponse(epochs=15, random_state=0, n_jobs=1).fit(marks)
    sign = np.sign(exam.discrimination_ @ slopes)
    assert (np.sign(exam.discrimination_) == sign * np.sign(slopes)).all()
    assert abs(np.corrcoef(exam.transform(marks)[:, 0], alpha[:, 0])[0, 1]) > 0.85


def test_weak_evidence_does_not_reverse_a_task() -> None:
    rng = np.random.default_rng(7)
    for seed in range(3):
        marks, _ = simulated(2000, rng.uniform(0.5, 2, 100), rng.normal(size=100), seed=seed)
        for student in marks:
            student[rng.permutation(100)[4:]] = np.nan
        assert not reversed_tasks(marks.astype(np.float32)).any()
    assert not reversed_tasks(np.full((7, 3), np.nan, np.float32)).any()
    assert not reversed_tasks(np.ones((1, 3), np.float32)).any()
    noise_only = (rng.random((500, 200)) < 0.5).astype(np.float32)
    assert not reversed_tasks(noise_only).any()


def test_slopes_of_zero_have_no_prior() -> None:
    weights = small_exam().fit(Y).state_dict()
    weights["decoder.0.weight"][2] = 0
    for target in (small_exam(), small_exam().fit(Y)):
        with pytest.raises(ValueError, match="log-normal prior must be 1e-6 to 1e6"):
            target.load_state_dict(weights)
    small_exam(prior=None).load_state_dict(weights)


def test_priors_are_checked_described_and_stored(tmp_path: Path) -> None:
    own = ItemPrior(log_slope_mean=0.2, log_slope_sd=0.5, intercept_sd=2.0)
    for prior, text in (
        ("weak", "ln |a_t| ~ N(0, 0.75²) and d_t ~ N(0, 3²)"),
        (own, "ln |a_t| ~ N(0.2, 0.5²) and d_t ~ N(0, 2²)"),
        (ItemPrior(intercept_sd=None), "item parameters, ln |a_t| ~ N(0, 0.75²), without"),
    ):
        exam = small_exam(prior=prior).fit(Y)
        assert text in exam.describe_objective()
        assert "+ ln p(tasks) / n" in exam.describe_objective()
        exam.save(tmp_path / "exam")
        for again in (fastvae.load(tmp_path / "exam"), pickle.loads(pickle.dumps(exam))):
            assert isinstance(again, ItemResponse)
            assert again.prior == prior
            assert bits(again.partial_fit(Y)) == bits(pickle.loads(pickle.dumps(exam)).partial_fit(Y))
    assert "a_tj ~ N(0, 1.5²)" in small_exam(n_dims=2).describe_objective()
    assert "ln |beta_t| ~ N(0, 1²), without" in small_exam("through_origin").describe_objective()
    assert "ln p(tasks)" not in small_exam(prior=None).describe_objective()
    for bad in ("strong", 1.0, {"slope_sd": 1}):
        with pytest.raises(ValueError, match=r"use 'weak', None or a fastvae\.priors\.ItemPrior"):
            small_exam(prior=bad).fit(Y)
    for name in ("log_slope_sd", "intercept_sd"):
        with pytest.raises(ValueError, match=f"{name}=0.* must be a number, at least 0.001"):
            small_exam(prior=ItemPrior(**{name: 0})).fit(Y)


def test_the_loss_of_validation_has_no_prior() -> None:
    strong = ItemPrior(log_slope_sd=0.01, intercept_sd=0.01)
    exam = small_exam(prior=strong, epochs=1, learning_rate=1e-9).fit(Y, validation_data=Y)
    history = exam.history_
    total = float(((exam.intercept_ / 0.01) ** 2).sum() / 2 + ((np.log(exam.discrimination_) / 0.01) ** 2).sum() / 2)
    assert total > 100
    assert history["loss"][0] - history["val_loss"][0] == pytest.approx(total / len(Y), rel=0.01)


# ------------------------------------------------------------------------------------------------ convergence


def log_posterior(marks: Array, slopes: Array, intercepts: Array, prior: ItemPrior | None, model: str = "2pl") -> float:
    """Log-likelihood plus log prior of the item parameters, without constants."""
    found = float(log_likelihood(marks, slopes, intercepts).sum())
    if prior is not None:
        logs = np.log(np.abs(slopes[:1] if model == "rasch" else slopes))
        found -= float((((logs - prior.log_slope_mean) / (prior.log_slope_sd or np.inf)) ** 2).sum()) / 2
        found -= float(((intercepts / (prior.intercept_sd or np.inf)) ** 2).sum()) / 2
    return found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prior", [None, ItemPrior(log_slope_sd=0.5, intercept_sd=1.0)], ids=["none", "prior"])
def test_the_distance_to_the_maximum_is_a_newton_step(model: str, prior: ItemPrior | None) -> None:
    # The information at known abilities is that of the expected complete log posterior, so that the gain of the log
    # posterior is about half of the squared distance times the number of parameters, or more.
    marks, _ = simulated(500, SLOPES, INTERCEPTS, seed=31, missing=0.2)
    marks = marks.astype(np.float32)
    exam = ItemResponse(model, prior=prior, epochs=150, random_state=0, n_jobs=1).fit(marks)
    weights = exam.state_dict()
    found = distance_of(exam, marks)
    assert found.distance == found.detected < 0.25
    rng = np.random.default_rng(0)
    size = 1 if model == "rasch" else 7
    before = log_posterior(marks, exam.discrimination_, exam.intercept_, prior, model)
    moved = weights | {"decoder.0.weight": weights["decoder.0.weight"] * np.exp(rng.normal(0, 0.3, (size, 1)))}
    if model != "through_origin":
        moved["decoder.0.bias"] = weights["decoder.0.bias"] + rng.normal(0, 0.3, 7)
    n_parameters = size + 7 * (model != "through_origin")
    exam.load_state_dict(moved)
    lost = before - log_posterior(marks, exam.discrimination_, exam.intercept_, prior, model)
    found = distance_of(exam, marks)
    assert found.distance > 0.45
    assert 0.3 * lost < found.distance**2 * n_parameters / 2 < 1.7 * lost


def test_a_sample_of_students_finds_large_distances_only(monkeypatch: pytest.MonkeyPatch) -> None:
    marks, _ = simulated(4000, SLOPES, INTERCEPTS, seed=33, missing=0.2)
    marks = marks.astype(np.float32)
    exam = ItemResponse(epochs=20, random_state=0, n_jobs=1).fit(marks)
    monkeypatch.setattr("fastvae._estimators.item_response.MAX_ANSWERS", 2800)  # 400 students
    assert distance_of(exam, marks).detected < 0.3
    weights = exam.state_dict()
    exam.load_state_dict(weights | {"decoder.0.bias": weights["decoder.0.bias"] + 0.6})
    found = distance_of(exam, marks)
    assert found.detected > 0.5
    assert found.distance == pytest.approx(found.detected * np.sqrt(10))


@pytest.mark.parametrize("params", [{"model": model} for model in MODELS] + [{"n_dims": 2}, {"max_marks": 3}])
@pytest.mark.parametrize("prior", ["weak", None])
@pytest.mark.parametrize("samples", [16, 1])
def test_training_says_if_it_has_not_converged(params: dict[str, Any], prior: str | None, samples: int) -> None:
    params = params | {"prior": prior, "n_importance_samples": samples, "random_state": 0, "n_jobs": 1}
    intercepts = np.zeros(28) if params.get("model") == "through_origin" else np.tile(INTERCEPTS, 4)
    marks, _ = simulated(1000, np.tile(SLOPES, 4), intercepts, seed=32, missing=0.2)
    with pytest.warns(
        fastvae.ConvergenceWarning, match=r"[0-3]\.\d standard errors .* after 32 steps: raise"
    ) as caught:
        ItemResponse(**params, epochs=2).fit(marks)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ItemResponse(**params, epochs=60).fit(marks)


@pytest.mark.parametrize("n", [20, 100, 4000])
def test_by_itself_training_converges(n: int) -> None:
    marks, _ = simulated(n, SLOPES, INTERCEPTS, seed=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exam = ItemResponse(random_state=0, n_jobs=1, hidden=(16,)).fit(marks)
    steps = -(-n // 64)
    assert exam.n_iter_ == max(-(-3200 // steps), 10)
    assert distance_of(exam, marks.astype(np.float32)).detected < 0.3


def test_epochs_by_themselves(tmp_path: Path) -> None:
    many, _ = simulated(400, np.ones(3), np.zeros(3), seed=2)
    params: dict[str, Any] = {"epochs": "auto", "batch_size": 1, "n_importance_samples": 2, "hidden": (4,)}
    exam = small_exam(**params).fit(many)
    assert exam.n_iter_ == 10, "at least ten passes"
    exam.save(tmp_path / "exam")
    assert fastvae.load(tmp_path / "exam").epochs == "auto"
    own = bits(small_exam(epochs="auto", batch_size=400).fit(Y))
    cosine = fastvae.schedules.cosine(2e-2, 2e-4, steps=3200)
    assert own == bits(small_exam(epochs=3200, batch_size=400, learning_rate=cosine).fit(Y))
    assert small_exam(epochs="auto", validation_fraction=0.5, batch_size=64).fit(Y).n_iter_ == 800
    assert small_exam(epochs="auto").partial_fit(Y).n_iter_ == 1
    for epochs in ("fast", 0, 2.5, None):
        with pytest.raises(ValueError, match="epochs="):
            small_exam(epochs=epochs).fit(Y)


def test_exams_of_earlier_versions_have_no_prior() -> None:
    for path in sorted((Path(__file__).parent / "data").glob("v[12]/exam_*.safetensors")):
        exam = fastvae.load(path)
        assert isinstance(exam, ItemResponse)
        assert exam.prior is None
        assert isinstance(exam.epochs, int)
        assert "ln p(tasks)" not in exam.describe_objective()


@pytest.mark.parametrize("marks", [None, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_student_has_the_same_bits_alone(marks: int | None, order: Any) -> None:
    rng = np.random.default_rng(0)
    Y = rng.integers(0, (marks or 1) + 1, (301, 23)).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    Y[:20] = Y[20:40]
    exam = ItemResponse(max_marks=marks, epochs=5, random_state=0).fit(Y)
    Y = np.asarray(Y, order=order)
    means, logs, ends = exam.transform(Y), exam.log_marginal(Y).estimate, exam.ability_interval(Y)
    for rows in (slice(0, 1), slice(7, 8), slice(3, 40), slice(None, None, -1)):
        assert np.array_equal(exam.transform(Y[rows]), means[rows])
        assert np.array_equal(exam.log_marginal(Y[rows]).estimate, logs[rows])
        assert np.array_equal(exam.ability_interval(Y[rows]), ends[rows])
