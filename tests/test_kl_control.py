"""Free bits, capacity and schedules of the KL: the formulas against torch, the course step by step, and the effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS, bits, small, started, steps
from numpy.typing import NDArray
from reference import TorchVAE, examples, loss_errors, noise, pair, relative_error, too_large
from test_optimizers import RUNS, largest_error
from test_optimizers import TOLERANCE as RUN_TOLERANCE

import fastvae
from fastvae import VAE
from fastvae.corruption import MaskingNoise
from fastvae.schedules import cosine, cyclical, exponential, linear

DIGITS, _ = fastvae.datasets.load_digits()
X = DIGITS[:150]
LATENT_DIMS = [1, 2, 15, 16, 17, 31, 32, 33, 37]
CONTROLS = ["free bits", "capacity above", "capacity below", "both above", "both below"]
BETA = 0.7


def kl_by_dimension(model: VAE, data: NDArray[Any]) -> NDArray[np.float64]:
    """Mean KL of each dimension, from the posterior that the model gives."""
    mu, logvar = (array.astype(np.float64) for array in model.encode(data))
    return np.asarray(-0.5 * (1 + logvar - mu**2 - np.exp(logvar)).mean(0))


def control(name: str, kl: NDArray[np.float64]) -> dict[str, Any]:
    """Free bits between the dimensions' KL, a capacity on the wanted side of what they sum to."""
    around = np.sort(kl)[(len(kl) - 1) // 2 :][:2]
    free_bits = around.mean() if len(kl) > 1 else 2 * kl[0]
    if name == "free bits":
        return {"free_bits": float(free_bits)}
    total = np.maximum(kl, free_bits).sum() if name.startswith("both") else kl.sum()
    capacity = {"capacity": float(total * (0.6 if name.endswith("above") else 1.3))}
    return capacity | ({"free_bits": float(free_bits)} if name.startswith("both") else {})


# ---------------------------------------------------------------------------------------- against torch


@pytest.mark.parametrize("objective", ["elbo", "kl"])
@pytest.mark.parametrize("how", CONTROLS)
@pytest.mark.parametrize("latent_dim", LATENT_DIMS)
def test_losses_and_gradients_are_those_of_torch(latent_dim: int, how: str, objective: str) -> None:
    rows, cols = 29, 37
    shape: dict[str, Any] = {"latent_dim": latent_dim, "hidden": (33,), "activation": "tanh", "beta": BETA}
    data, eps = examples("bernoulli", rows, cols), noise(rows, latent_dim)
    plain, _ = pair(cols, **shape)
    chosen = control(how, kl_by_dimension(plain, data))
    model, twin = pair(cols, objective=objective, **chosen, **shape)
    assert not too_large(loss_errors(model, twin, data, eps))
    ours = model.loss_and_gradients(data, eps)
    assert model.evaluate(data, eps=eps) == pytest.approx(ours[0], rel=1e-6)
    other, _ = pair(cols, objective=objective, **shape)
    others = other.loss_and_gradients(data, eps)
    assert ours[0]["loss"] != pytest.approx(others[0]["loss"], rel=1e-4)
    if how != "capacity above":  # there only the loss is another
        assert relative_error(ours[1]["mu.weight"], others[1]["mu.weight"]) > 1e-2


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "gaussian per_feature"])
@pytest.mark.parametrize("rows", [1, 2, 16, 131])
def test_any_batch_and_likelihood_has_the_losses_and_gradients_of_torch(rows: int, likelihood: str) -> None:
    shape: dict[str, Any] = {"latent_dim": 19, "hidden": (33,), "likelihood": LIKELIHOODS[likelihood], "beta": BETA}
    data, eps = examples(LIKELIHOODS[likelihood], rows, 37), noise(rows, 19)
    plain, _ = pair(37, **shape)
    for how in CONTROLS:
        model, twin = pair(37, **control(how, kl_by_dimension(plain, data)), **shape)
        assert not too_large(loss_errors(model, twin, data, eps)), how


def test_at_the_thresholds_themselves_the_gradient_is_that_of_torch() -> None:
    # With weights of zero the posterior is its biases: KL 0.5, 0.125 and 2, exact in binary. At free bits of 0.5 the
    # gradient passes; at a capacity of 2.625 there is none.
    thresholds: list[dict[str, Any]] = [{"free_bits": 0.5}, {"capacity": 2.625}, {"free_bits": 0.5, "capacity": 3.0}]
    for chosen in thresholds:
        model, twin = pair(3, latent_dim=3, hidden=(), objective="kl", **chosen)
        state = {name: np.zeros_like(array) for name, array in model.state_dict().items()}
        state["mu.bias"] = np.array([1.0, 0.5, 2.0], np.float32)
        model.load_state_dict(state)
        twin.load(state)
        data, eps = np.zeros((4, 3), np.float32), noise(4, 3)
        assert not too_large(loss_errors(model, twin, data, eps)), chosen
        passes = [1.0, 0.0, 2.0] if "capacity" not in chosen else [0.0, 0.0, 0.0]
        assert model.loss_and_gradients(data, eps)[1]["mu.bias"].tolist() == passes


def test_a_clamped_log_variance_and_free_bits_have_the_gradients_of_torch() -> None:
    model, twin = pair(37, latent_dim=20, hidden=(33,), free_bits=1.0, capacity=4.0)
    state = model.state_dict()
    state["logvar.bias"][3] = -50
    state["logvar.bias"][17] = 50
    model.load_state_dict(state)
    twin.load(state)
    assert not too_large(loss_errors(model, twin, examples("bernoulli", 29, 37), noise(29, 20)))


@pytest.mark.parametrize("name", ["adam", "adamw, all options", "sgd, momentum"])
@pytest.mark.parametrize(
    "chosen", [{"free_bits": 0.4}, {"capacity": 3.0}, {"free_bits": 0.4, "capacity": 3.0}], ids=str
)
def test_a_run_of_steps_ends_where_that_of_torch_ends_and_has_its_losses(chosen: dict[str, Any], name: str) -> None:
    ours, theirs, rate = RUNS[name]
    shape: dict[str, Any] = {"latent_dim": 5, "hidden": (33,), "activation": "tanh", "beta": BETA}
    model, twin = pair(29, batch_size=16, optimizer=ours, learning_rate=rate, **chosen, **shape)
    data = examples("bernoulli", 157, 29)
    optimizer, losses = theirs(twin.parameters(), lr=rate), []
    for seed in range(5):
        eps, sums = noise(157, 5, seed), np.zeros(4)
        model.partial_fit(data, eps=eps)
        for start in range(0, 157, 16):
            x, e = twin.tensor(data[start : start + 16]), twin.tensor(eps[start : start + 16])
            optimizer.zero_grad()
            values = twin(x, e)
            values["loss"].backward()
            optimizer.step()
            sums += len(x) * np.array([values[key].item() for key in model.history_])
        losses.append(sums / 157)
    for key, values in zip(model.history_, np.transpose(losses), strict=True):
        assert model.history_[key] == pytest.approx(values, rel=1e-4), key
    after, reference = model.state_dict(), twin.weights()
    errors = {key: largest_error(after[key], reference[key]) for key in reference}
    assert not {key: error for key, error in errors.items() if not error <= RUN_TOLERANCE}


@pytest.mark.parametrize("objective", ["elbo", "kl"])
@pytest.mark.parametrize("how", CONTROLS)
def test_the_history_is_the_mean_of_the_batches_and_evaluate_takes_all_as_one(how: str, objective: str) -> None:
    # The KL of a batch enters through its mean, so batches and the whole differ.
    rows, latent_dim = 150, 17
    plain = small(latent_dim=latent_dim).partial_fit(X)
    state = {name: 4 * array for name, array in plain.state_dict().items()}
    chosen = control(how, kl_by_dimension(plain.load_state_dict(state), X))
    model = small(latent_dim=latent_dim, beta=BETA, objective=objective, batch_size=7, **chosen)
    model.set_params(optimizer="sgd", learning_rate=1e-30).load_state_dict(state)
    twin = TorchVAE(64, latent_dim, hidden=(16,), beta=BETA, objective=objective, **chosen).load(state)
    eps = noise(rows, latent_dim)
    with torch.no_grad():
        batches = [(twin.tensor(X[i : i + 7]), twin.tensor(eps[i : i + 7])) for i in range(0, rows, 7)]
        loss = sum(len(x) * twin(x, e)["loss"].item() for x, e in batches) / rows
        whole = {key: value.item() for key, value in twin(twin.tensor(X), twin.tensor(eps)).items()}
    assert model.partial_fit(X, eps=eps).loss_curve_ == [pytest.approx(loss, rel=1e-5)]
    assert model.evaluate(X, eps=eps) == pytest.approx(whole, rel=1e-5)
    if not how.startswith("capacity"):  # which is linear unless a batch crosses it
        assert loss != pytest.approx(whole["loss"], rel=1e-4)


@pytest.mark.parametrize(
    "chosen", [{"free_bits": 0.3}, {"capacity": 1.0}, {"free_bits": 0.3, "capacity": 9.0}], ids=str
)
def test_validation_losses_are_those_of_evaluate(chosen: dict[str, Any]) -> None:
    model = small(latent_dim=17, epochs=3, **chosen).fit(X, validation_data=DIGITS[200:300])
    expected = model.evaluate(DIGITS[200:300])
    assert {key: model.history_[f"val_{key}"][-1] for key in expected} == pytest.approx(expected, rel=1e-7)
    assert expected["loss"] != pytest.approx(-expected["elbo"], rel=1e-3)


@pytest.mark.parametrize("chosen", [{"free_bits": 0.3}, {"free_bits": 0.3, "capacity": 9.0}], ids=str)
def test_validation_losses_of_corrupted_data_are_those_of_what_the_encoder_sees(chosen: dict[str, Any]) -> None:
    # The KL of each dimension is asked for on its own, of the same corrupted examples.
    others = DIGITS[200:900]
    parameters: dict[str, Any] = {"latent_dim": 17, "epochs": 3, "learning_rate": 1e-2, "corruption": MaskingNoise(0.7)}
    model = small(**parameters, **chosen).fit(X, validation_data=others)
    expected, _ = model.loss_and_gradients(others)
    assert {key: model.history_[f"val_{key}"][-1] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert expected["loss"] != pytest.approx(model.evaluate(others)["loss"], rel=1e-3)


# ---------------------------------------------------------------------------------- the ends of the range


@pytest.mark.parametrize(
    ("chosen", "tolerance"),
    [({"free_bits": 9.1, "beta": 0.3}, 1e-13), ({"capacity": 7.1}, 1e-9), ({"n_importance_samples": 3}, 1e-13)],
)
def test_evaluate_and_validation_have_the_loss_of_training(chosen: dict[str, Any], tolerance: float) -> None:
    """Free bits are float32 in both. Training sums the KL of a coordinate in float32, evaluation in float64."""
    model = small(**chosen).fit(X, validation_data=X)
    losses, _ = model.loss_and_gradients(X)
    assert model.evaluate(X)["loss"] == pytest.approx(losses["loss"], rel=tolerance)
    assert model.history_["val_loss"][-1] == model.evaluate(X)["loss"]


def test_tiny_free_bits_and_a_capacity_of_zero_are_nearly_the_plain_kl() -> None:
    # They take another path, which sums the KL of a coordinate first.
    plain = small(latent_dim=17, epochs=5, validation_fraction=0.2).fit(X)
    nothing: list[dict[str, Any]] = [{"free_bits": 1e-12}, {"capacity": 0.0}, {"free_bits": 1e-12, "capacity": 0.0}]
    for chosen in nothing:
        other = small(latent_dim=17, epochs=5, validation_fraction=0.2, **chosen).fit(X)
        for name, array in plain.state_dict().items():
            np.testing.assert_allclose(other.state_dict()[name], array, atol=1e-5, err_msg=f"{chosen} {name}")
        for key, values in plain.history_.items():
            assert other.history_[key] == pytest.approx(values, rel=1e-5, abs=1e-6), key
        assert other.evaluate(X)["loss"] == pytest.approx(plain.evaluate(X)["loss"], rel=1e-5)


def test_free_bits_that_are_never_used_up_leave_the_gradients_of_the_reconstruction() -> None:
    data, eps = examples("bernoulli", 29, 37), noise(29, 37)
    generous, _ = pair(37, latent_dim=37, hidden=(33,), free_bits=1e6)
    alone, _ = pair(37, latent_dim=37, hidden=(33,), objective="reconstruction")
    losses, gradients = generous.loss_and_gradients(data, eps)
    _, expected = alone.loss_and_gradients(data, eps)
    assert all(np.array_equal(gradients[name], expected[name]) for name in gradients)
    assert losses["loss"] == pytest.approx(losses["reconstruction"] + 37e6)


def test_the_reconstruction_objective_has_no_kl_to_control() -> None:
    parameters: dict[str, Any] = {"objective": "reconstruction", "validation_fraction": 0.2}
    plain = small(**parameters).fit(X)
    other = small(**parameters, beta=linear(0, 9, steps=2), free_bits=3.0, capacity=50.0).fit(X)
    assert bits(plain) == bits(other)
    assert plain.history_ == other.history_
    assert plain.history_["loss"] == plain.history_["reconstruction"]


# ------------------------------------------------------------------------------------------- schedules

BATCH, STEPS = 16, 10  # the last batch has 6 examples


def warm(step: int) -> float:
    """A schedule of the user's own."""
    return 0.25 * (step % 3)


COURSES: dict[str, tuple[Any, Callable[[int], float]]] = {
    "linear": (linear(0.1, 2.1, steps=8), lambda step: 0.1 + 2 * min(step / 8, 1)),
    "linear down": (linear(3.0, 0.0, steps=25), lambda step: 3 - 3 * min(step / 25, 1)),
    "cosine": (cosine(0.5, 4.5, steps=12), lambda step: 2.5 - 2 * np.cos(np.pi * min(step / 12, 1))),
    "exponential": (exponential(0.01, 1.0, steps=15), lambda step: 10 ** (-2 + 2 * min(step / 15, 1))),
    "cyclical": (cyclical(0.0, 1.0, steps=4, ramp=0.5), lambda step: [0.0, 0.5, 1.0, 1.0][step % 4]),
    "in epochs": (linear(0.0, 1.0, epochs=1.5), lambda step: min(step / (1.5 * STEPS), 1)),
    "function": (warm, lambda step: 0.25 * (step % 3)),
}


@pytest.mark.parametrize("what", ["beta", "capacity"])
@pytest.mark.parametrize("name", COURSES)
def test_a_schedule_is_the_constants_of_each_step_bit_for_bit(name: str, what: str) -> None:
    schedule, value = COURSES[name]
    eps = np.random.default_rng(0).normal(size=(150, 3))
    whole, single = started(small(batch_size=BATCH, **{what: schedule}), X), started(small(batch_size=BATCH), X)
    losses, step = [], 0
    for _ in range(2):
        whole.partial_fit(X, eps=eps)
        total = 0.0
        for start in range(0, 150, BATCH):
            rows = slice(start, start + BATCH)
            single.set_params(**{what: float(np.float32(value(step)))}).partial_fit(X[rows], eps=eps[rows])
            total += len(X[rows]) * single.loss_curve_[-1]
            step += 1
        losses.append(total / 150)
        assert step % STEPS == 0
    assert bits(whole) == bits(single)
    assert whole.loss_curve_ == pytest.approx(losses, rel=1e-12)
    assert bits(whole) != bits(started(small(batch_size=BATCH), X).partial_fit(X, eps=eps).partial_fit(X, eps=eps))


@pytest.mark.parametrize("what", ["beta", "capacity"])
@pytest.mark.parametrize("name", COURSES)
def test_a_schedule_goes_on_over_the_epochs_of_fit(name: str, what: str) -> None:
    # Of equal examples the order does not matter; noise belongs to the step and the place in the batch.
    schedule, value = COURSES[name]
    data = np.repeat(X[:1], 150, axis=0)
    fitted = small(batch_size=BATCH, epochs=3, **{what: schedule}).fit(data)
    single = started(small(batch_size=BATCH), data)
    for step in range(3 * STEPS):
        rows = BATCH if step % STEPS < STEPS - 1 else 150 - BATCH * (STEPS - 1)
        single.set_params(**{what: float(np.float32(value(step)))}).partial_fit(data[:rows])
    assert bits(fitted) == bits(single)


def test_a_function_is_asked_once_for_each_step_in_order_with_plain_integers() -> None:
    asked: list[Any] = []

    def beta(step: int) -> float:
        asked.append(step)
        return 0.5

    model = small(batch_size=BATCH, beta=beta).fit(X)
    assert asked == list(range(2 * STEPS))
    assert {type(step) for step in asked} == {int}
    model.partial_fit(X[:20])
    assert asked[2 * STEPS :] == [20, 21]
    assert bits(small(batch_size=BATCH, beta=0.5).fit(X)) == bits(small(batch_size=BATCH, beta=beta).fit(X))


def test_evaluate_takes_the_values_of_the_last_step() -> None:
    beta, capacity = linear(0.0, 1.0, steps=20), linear(8.0, 0.0, steps=40)
    model = small(batch_size=BATCH, beta=beta, capacity=capacity)
    model.load_state_dict(small().fit(X).state_dict())

    def expected(step: int) -> float:
        losses = model.evaluate(X)
        return losses["reconstruction"] + step / 20 * abs(losses["kl"] - (8 - step / 5))

    assert model.evaluate(X)["loss"] == pytest.approx(expected(0), rel=1e-6)
    for passes in (1, 2):
        model.partial_fit(X)
        last = 10 * passes - 1
        assert model.evaluate(X)["loss"] == pytest.approx(expected(last), rel=1e-6)
        assert model.loss_and_gradients(X)[0]["loss"] == pytest.approx(expected(last), rel=1e-6)
    assert expected(last) != pytest.approx(expected(last + 1), rel=1e-5)


def test_epochs_of_a_schedule_are_those_of_the_examples_that_are_trained_on() -> None:
    # Of 150 examples 120 are left after validation: 8 steps an epoch.
    fitted = small(batch_size=BATCH, epochs=3, beta=linear(0, 1, epochs=2), validation_fraction=0.2).fit(X)
    same = small(batch_size=BATCH, epochs=3, beta=linear(0, 1, steps=16), validation_fraction=0.2).fit(X)
    assert bits(fitted) == bits(same)
    assert fitted.history_ == same.history_
    assert bits(fitted) != bits(small(batch_size=BATCH, epochs=3, beta=1.0, validation_fraction=0.2).fit(X))


# ---------------------------------------------------------------------------------------------- effects

TRAINED: dict[str, Any] = {"latent_dim": 8, "hidden": (64,), "epochs": 30, "learning_rate": 3e-3}


@pytest.mark.parametrize("capacity", [0.5, 2.0, 12.0, 20.0])
def test_the_kl_of_the_digits_reaches_the_capacity(capacity: float) -> None:
    model = small(**TRAINED, beta=10.0, capacity=capacity).fit(DIGITS)
    assert model.evaluate(DIGITS)["kl"] == pytest.approx(capacity, abs=max(0.15, 0.08 * capacity))


def test_the_kl_of_the_digits_follows_a_rising_capacity() -> None:
    model = small(**TRAINED, beta=10.0, capacity=linear(0.0, 15.0, epochs=30)).fit(DIGITS)
    reached = np.array(model.history_["kl"])[[9, 19, 29]]
    np.testing.assert_allclose(reached, [4.75, 9.75, 14.75], atol=1.0)  # the middle of each epoch


@pytest.mark.parametrize("free_bits", [0.25, 0.5])
def test_free_bits_keep_every_dimension_near_the_threshold_or_above(free_bits: float) -> None:
    without = kl_by_dimension(small(**TRAINED, beta=4.0).fit(DIGITS), DIGITS)
    with_them = kl_by_dimension(small(**TRAINED, beta=4.0, free_bits=free_bits).fit(DIGITS), DIGITS)
    assert without.max() < 0.01, "without them the posterior collapses"
    assert with_them.min() > 0.6 * free_bits


def test_a_warm_up_keeps_alive_what_a_constant_beta_loses() -> None:
    short = TRAINED | {"epochs": 20}
    constant, warmed = (small(**short, beta=beta).fit(DIGITS) for beta in (2.5, linear(0.0, 2.5, epochs=18)))
    assert warmed.evaluate(DIGITS)["kl"] > 2 * constant.evaluate(DIGITS)["kl"]


# ----------------------------------------------------------------------------------- bits and bad input


@pytest.mark.parametrize("how", CONTROLS)
@pytest.mark.parametrize("latent_dim", [2, 37])
def test_the_number_of_threads_changes_no_bit(latent_dim: int, how: str) -> None:
    data = DIGITS[:333]
    shape: dict[str, Any] = {"latent_dim": latent_dim, "hidden": (70,), "validation_fraction": 0.1}
    chosen = control(how, kl_by_dimension(small(**shape).fit(data), data))

    def train(n_jobs: int | None) -> list[Any]:
        model = small(n_jobs=n_jobs, beta=linear(0, 1, epochs=1), **chosen, **shape).fit(data)
        losses, gradients = model.loss_and_gradients(data)
        return [bits(model), str(model.history_), losses, model.evaluate(data), str(gradients), bits(model)]

    alone = train(1)
    for n_jobs in (2, 3, -1, None):
        assert train(n_jobs) == alone, n_jobs


@pytest.mark.parametrize(
    ("parameter", "value", "text"),
    [
        ("free_bits", -0.1, "free_bits=-0.1"),
        ("free_bits", float("nan"), "free_bits=nan"),
        ("free_bits", None, "free_bits=None"),
        ("free_bits", linear(0, 1, epochs=1), "free_bits=linear"),
        ("capacity", -1.0, "capacity=-1.0"),
        ("capacity", "much", "capacity='much'"),
        ("beta", -0.5, "beta=-0.5"),
        ("beta", "warm", "beta='warm'"),
        ("beta", float("inf"), "beta=inf"),
        ("beta", lambda step: -1.0, r"beta\([06]\)=-1.0"),
        ("beta", lambda step: float("nan"), r"beta\([06]\)=nan"),
        ("beta", lambda step: "one", r"beta\([06]\)='one'"),
        ("capacity", lambda step: None, r"capacity\([06]\)=None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values_are_refused_by_name_and_nothing_is_trained(parameter: str, value: Any, text: str) -> None:
    unfitted, fitted = small(**{parameter: value}), small().fit(X)
    before = bits(fitted)
    for train in (unfitted.fit, unfitted.partial_fit, fitted.set_params(**{parameter: value}).partial_fit):
        with pytest.raises(ValueError, match=text):
            train(X)
    assert bits(fitted) == before
    assert steps(fitted) == 6


def test_a_function_that_goes_wrong_later_loses_no_epoch() -> None:
    model = small(batch_size=BATCH, epochs=5, beta=lambda step: 1.0 if step < 15 else -1.0)
    with pytest.raises(ValueError, match=r"beta\(15\)=-1.0"):
        model.fit(X)
    assert model.n_iter_ == 1
    assert bits(model) == bits(small(batch_size=BATCH, epochs=1).fit(X))
    assert bits(model.set_params(beta=1.0).partial_fit(X)) == bits(
        small(batch_size=BATCH, epochs=1).fit(X).partial_fit(X)
    )
