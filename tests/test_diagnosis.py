"""The diagnosis of a latent space: its numbers against numpy, its messages in every situation."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastvae
from fastvae import VAE
from fastvae.corruption import GaussianNoise
from fastvae.schedules import linear

DIGITS, _ = fastvae.datasets.load_digits()
X = DIGITS[:150]
CODES = np.random.default_rng(0).uniform(size=(400, 6)).astype(np.float32)  # of variance 1/12
FINE = ("Nothing is wrong.",)


def posterior(scales: list[float], logvar: list[float], **parameters: Any) -> VAE:
    """A model with mu_j = scales[j] times the j-th feature, and logvar as given, whatever the data."""
    latent_dim = len(scales)
    model = VAE(latent_dim, hidden=(), likelihood="gaussian", random_state=0, **parameters).partial_fit(CODES[:2])
    state = {name: np.zeros_like(array) for name, array in model.state_dict().items()}
    state["mu.weight"][range(latent_dim), range(latent_dim)] = scales
    state["logvar.bias"][:] = logvar
    return model.load_state_dict(state)


def trained(**parameters: Any) -> VAE:
    """A model of the digits."""
    defaults: dict[str, Any] = {"latent_dim": 8, "hidden": (64,), "epochs": 30, "learning_rate": 3e-3, "batch_size": 64}
    return VAE(**(defaults | {"random_state": 0} | parameters)).fit(DIGITS)


# --------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("form", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("latent_dim", [1, 5, 17, 37])
def test_the_numbers_are_those_of_numpy(latent_dim: int, form: Any) -> None:
    data = (255 * X).astype(np.uint8) if form is np.uint8 else X.astype(form)
    model = VAE(latent_dim, hidden=(16,), epochs=3, learning_rate=1e-2, random_state=0).fit(X)
    state = model.state_dict()
    state["logvar.bias"][0] = 25  # one that is clamped
    found = model.load_state_dict(state).diagnose(data)
    mu, logvar = (array.astype(np.float64) for array in model.encode(data))
    clamped = np.clip(logvar, -30, 20)
    kl = (mu**2 + np.exp(clamped) - 1 - clamped) / 2
    np.testing.assert_allclose(found.kl, kl.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.variance, mu.var(0), rtol=1e-6)
    np.testing.assert_allclose(found.sigma, np.sqrt(np.exp(clamped).mean(0)), rtol=1e-6)
    assert found.active.tolist() == (mu.var(0) > 0.01).tolist()
    assert found.clamped == ((logvar < -30) | (logvar > 20)).sum() >= len(X)
    assert found.kl.sum() == pytest.approx(model.evaluate(data)["kl"], rel=1e-5)
    for name, kind in (("kl", np.float64), ("variance", np.float64), ("sigma", np.float64), ("active", np.bool_)):
        assert getattr(found, name).dtype == kind
        assert getattr(found, name).shape == (latent_dim,)


def test_a_posterior_made_by_hand_has_the_numbers_worked_out_by_hand() -> None:
    data = np.array([[0.0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    found = posterior([2.0, 0.0, 0.3], [0.0, np.log(4.0), -2.0]).diagnose(data)
    np.testing.assert_allclose(found.variance, [1.0, 0.0, 0.0225], rtol=1e-6)
    assert found.active.tolist() == [True, False, True]
    np.testing.assert_allclose(found.sigma, [1.0, 2.0, np.exp(-1)], rtol=1e-6)
    np.testing.assert_allclose(found.kl, [1.0, (3 - np.log(4)) / 2, (0.045 + np.exp(-2) + 1) / 2], rtol=1e-6)


@pytest.mark.parametrize("variance", [0.0099, 0.0101])
def test_a_dimension_is_active_above_a_variance_of_a_hundredth(variance: float) -> None:
    found = posterior([2 * variance**0.5], [0.0]).diagnose(np.eye(2, 6))
    assert found.variance[0] == pytest.approx(variance, rel=1e-5)
    assert found.active.tolist() == [variance > 0.01]


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_clamped_log_variances_are_counted_in_every_pass_that_samples(n_jobs: int) -> None:
    model = posterior([1.0, 1.0, 1.0], [-30.5, 20.5, 0.0], optimizer="sgd", learning_rate=1e-30, n_jobs=n_jobs)
    data = CODES[:50]

    def counts() -> tuple[int, int]:
        found = model.diagnose(data)
        return found.clamped, found.clamped_so_far

    assert counts() == (100, 0)
    model.transform(data)
    model.encode(data)
    model.reconstruct(data)
    assert counts() == (100, 0)
    for times, sample in enumerate(
        (model.partial_fit, model.score_samples, model.evaluate, model.loss_and_gradients), 1
    ):
        sample(data)  # type: ignore[operator]
        assert counts() == (100, 100 * times), sample


def test_asking_changes_nothing_and_gives_the_same_twice() -> None:
    model = VAE(3, hidden=(16,), epochs=2, random_state=0, corruption=GaussianNoise(0.5)).fit(X)
    before = model.state_dict()
    first, second = model.diagnose(X), model.diagnose(X)
    assert str(first) == str(second)
    np.testing.assert_array_equal(first.kl, second.kl)
    plain = VAE(3, hidden=(16,), random_state=0).load_state_dict(before).diagnose(X)
    np.testing.assert_array_equal(first.kl, plain.kl)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


# ----------------------------------------------------------------------------------------------- words


def test_a_healthy_posterior_has_nothing_wrong() -> None:
    assert posterior([3.0] * 4, [-1.0] * 4).diagnose(CODES).messages == FINE
    assert posterior([3.0, 3.0, 3.0, 0.0, 0.0], [-1.0] * 5).diagnose(CODES).messages == FINE, "two of five may sleep"
    assert trained(latent_dim=4).diagnose(DIGITS).messages == FINE


def test_a_collapsed_posterior_is_called_that_and_remedies_are_named() -> None:
    for model, data in ((posterior([0.0] * 4, [0.0] * 4), CODES), (trained(beta=50.0), DIGITS)):
        found = model.diagnose(data)
        assert not found.active.any()
        (message,) = found.messages
        assert message.startswith("The posterior has collapsed")
        for remedy in ("beta", "fastvae.schedules.linear(0, 1, epochs=...)", "free_bits", "train longer"):
            assert remedy in message


@pytest.mark.parametrize(("dead", "n"), [(2, 4), (3, 4), (3, 5), (1, 2)])
def test_where_half_or_more_has_collapsed_it_says_how_many(dead: int, n: int) -> None:
    (message,) = posterior([3.0] * (n - dead) + [0.0] * dead, [0.0] * n).diagnose(CODES).messages
    assert message.startswith(f"{dead} of {n} dimensions have collapsed onto the prior")
    assert "smaller latent_dim" in message
    assert "free_bits" in message


@pytest.mark.parametrize(
    "model",
    [fastvae.TopicModel(4, masking=0.0), fastvae.ItemResponse(n_dims=4), VAE(4, likelihood="poisson")],
    ids=repr,
)
def test_advice_is_about_parameters_that_the_model_has(model: VAE) -> None:
    others = set(VAE().get_params()) | {"n_topics", "n_dims"}
    model.set_params(hidden=(), epochs=1, random_state=0).fit((CODES > 0.5).astype(np.float32))
    messages: list[str] = []
    for mean, logvar in (([0, 0, 0, 0], 21), ([3, 3, 0, 0], -20)):
        state = model.state_dict()
        for name in ("mu.weight", "mu.bias", "logvar.weight", "mu.norm.running_mean"):
            if name in state:
                state[name][:] = 0
        state["mu.weight"][range(4), range(4)] = mean
        state["logvar.bias"][:] = logvar
        messages += model.load_state_dict(state).diagnose((CODES > 0.5).astype(np.float32)).messages
    text = " ".join(messages)
    assert "has collapsed" in text
    assert "of 4 dimensions have collapsed" in text
    assert "sigma is below" in text
    assert "train longer" in text
    words = set(re.findall(r"\w+", text))
    assert words & others <= set(model.get_params())
    assert words & {"latent_dim", "n_topics", "n_dims"}


def test_the_remedies_help() -> None:
    assert trained(beta=4.0).diagnose(DIGITS).messages[0].startswith("The posterior has collapsed")
    assert trained(beta=4.0, free_bits=0.5).diagnose(DIGITS).messages == FINE


def test_a_vanishing_sigma_is_reported_for_active_dimensions_only() -> None:
    logvar = 2 * np.log([0.009, 0.011, 0.001, 0.5])
    (message,) = posterior([3.0] * 4, list(logvar)).diagnose(CODES).messages
    assert message.startswith("In 2 dimensions sigma is below 0.01")
    assert "samples from the prior" in message
    assert posterior([3.0, 3.0, 3.0, 0.0], [0.0, 0.0, 0.0, -20.0]).diagnose(CODES).messages == FINE


def test_clamped_log_variances_are_reported_with_their_number() -> None:
    (message,) = posterior([3.0] * 4, [0.0, 0.0, 0.0, 21.0]).diagnose(CODES[:50]).messages
    assert message.startswith("50 of 200 log variances lie outside [-30.0, 20.0]")
    for remedy in ("learning_rate", "clip_norm", "scale the data"):
        assert remedy in message
    assert posterior([3.0] * 4, [0.0, 0.0, 0.0, 20.0]).diagnose(CODES).messages == FINE, "the end is not outside"


def test_all_that_is_wrong_is_said() -> None:
    found = posterior([3.0, 3.0, 0.0, 0.0], [-31.0, 0.0, 0.0, 0.0]).diagnose(CODES)
    assert [message.split()[0] for message in found.messages] == ["2", "In", "400"]
    assert posterior([0.0] * 2, [21.0] * 2).diagnose(CODES).messages[1].startswith("800 of 800 log variances")


@pytest.mark.parametrize("scales", [[0.0, 0.0], [3.0, 0.0]])
def test_with_the_kl_objective_a_collapse_is_blamed_on_the_objective(scales: list[float]) -> None:
    (message,) = posterior(scales, [0.0, 0.0], objective="kl").diagnose(CODES).messages
    assert message == 'objective="kl" asks for a posterior that forgets the data: train with "elbo".'
    assert posterior([3.0, 3.0], [0.0, -20.0], objective="kl").diagnose(CODES).messages == FINE
    assert len(posterior(scales, [0.0, 21.0], objective="kl").diagnose(CODES).messages) == 2


def test_any_objective_can_be_diagnosed() -> None:
    for chosen in (
        {"beta": linear(0, 1, epochs=9)},
        {"capacity": 3.0},
        {"free_bits": 0.1},
        {"objective": "reconstruction"},
    ):
        assert posterior([3.0] * 2, [0.0] * 2, **chosen).diagnose(CODES).messages == FINE


def test_printed_it_has_a_line_for_each_dimension_the_busiest_first_and_then_the_messages() -> None:
    found = posterior([0.0, 4.0, 2.0, 0.0], [0.0, -2.0, -1.0, 0.1]).diagnose(CODES)
    lines = str(found).split("\n")
    assert lines[0] == f"2 of 4 latent dimensions are active; KL {found.kl.sum():.2f} nats"
    assert [int(line.split()[0]) for line in lines[2:6]] == [1, 2, 3, 0]
    for line in lines[2:6]:
        j, kl, variance, sigma = line.split()[:4]
        assert float(kl) == pytest.approx(found.kl[int(j)], abs=1e-3)
        assert float(variance) == pytest.approx(found.variance[int(j)], abs=1e-4)
        assert float(sigma) == pytest.approx(found.sigma[int(j)], abs=1e-3)
    assert [line.endswith("not active") for line in lines[2:6]] == [False, False, True, True]
    assert tuple(lines[6:]) == found.messages
    assert str(posterior([3.0], [0.0]).diagnose(CODES)).endswith("Nothing is wrong.")


# --------------------------------------------------------------------------------------------- bad input


def bad_inputs() -> list[tuple[NDArray[Any], str]]:
    return [
        (X[:1], "at least two examples"),
        (X[:, :9], "X has 9 features"),
        (X[0], "1-D"),
        (X + np.inf, "must be finite"),
    ]


@pytest.mark.parametrize(("data", "text"), bad_inputs(), ids=["one example", "width", "1-D", "values"])
def test_what_cannot_be_diagnosed_is_refused(data: NDArray[Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        VAE(2, hidden=(4,), epochs=1).fit(X).diagnose(data)
    with pytest.raises(fastvae.NotFittedError):
        VAE(2, hidden=(4,)).diagnose(data)


def test_a_small_kl_of_active_dimensions_is_named() -> None:
    # KL_j = (mu² + sigma² - 1 - ln sigma²) / 2 with sigma = 1: scale² / 12 / 2 and the mean's part.
    (message,) = posterior([0.4], [0.0]).diagnose(CODES - 0.5).messages
    assert re.fullmatch(
        r"The KL is 0\.01 nats: the codes tell almost nothing about an example. To use .*train longer.", message
    )
    assert posterior([2.0], [0.0]).diagnose(CODES - 0.5).messages == FINE
