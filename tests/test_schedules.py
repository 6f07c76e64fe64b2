"""Schedules against their closed forms, one step at a time, and what they refuse."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import SCHEDULES

import fastvae
from fastvae import VAE, Autoencoder, schedules
from fastvae.schedules import Schedule, cosine, cyclical, exponential, linear

X = fastvae.datasets.load_digits()[0][:50]


def by_hand(shape: str, start: float, end: float, length: float, step: int, ramp: float = 0.5) -> float:
    """The value at a step, as a reader of the documentation would work it out."""
    if shape == "cyclical":
        place = math.fmod(step, length) / length
        return end if place >= ramp else start + (end - start) * place / ramp
    if step >= length:
        return end
    share = step / length
    if shape == "linear":
        return (1 - share) * start + share * end
    if shape == "cosine":
        return end + (start - end) * math.cos(math.pi * share / 2) ** 2
    return math.exp((1 - share) * math.log(start) + share * math.log(end))


def at(schedule: Schedule, steps: Any, per_epoch: int = 1) -> Any:
    """Return the values of a schedule at steps from the first one of a training on, in epochs of so many steps."""
    steps = np.asarray(steps)
    return schedule(steps, steps // per_epoch + steps % per_epoch / per_epoch)


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize(("start", "end"), [(0.5, 2.0), (3.0, 0.25), (1e-4, 0.1), (7.0, 7.0)])
@pytest.mark.parametrize("length", [1, 2, 8, 100, 12.5, 0.5])
def test_every_shape_has_its_closed_form(
    make: Callable[..., Schedule], start: float, end: float, length: float
) -> None:
    schedule, steps = make(start, end, steps=length), np.arange(300)
    expected = [by_hand(make.__name__, start, end, length, step) for step in range(300)]
    np.testing.assert_allclose(at(schedule, steps), expected, rtol=1e-9)
    assert at(schedule, steps).dtype == np.float64
    assert at(schedule, np.arange(17, 20)).tolist() == at(schedule, steps)[17:20].tolist()


@pytest.mark.parametrize("ramp", [0.25, 0.5, 0.75, 1.0])
def test_a_cycle_rises_for_its_ramp_and_stays(ramp: float) -> None:
    schedule = cyclical(0.0, 4.0, steps=8, ramp=ramp)
    expected = [by_hand("cyclical", 0.0, 4.0, 8, step, ramp) for step in range(40)]
    assert at(schedule, np.arange(40)).tolist() == expected
    assert expected[8] == expected[16] == 0.0
    assert max(expected) == (4.0 if ramp < 1 else 3.5)
    assert at(cyclical(0.0, 4.0, steps=8), np.arange(9)).tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 0]


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2.5, 10])
def test_a_length_in_epochs_is_that_many_times_the_steps_of_one(make: Callable[..., Schedule], epochs: float) -> None:
    steps = np.arange(100)
    in_epochs, in_steps = make(0.1, 0.9, epochs=epochs), make(0.1, 0.9, steps=8 * epochs)
    assert at(in_epochs, steps, 8).tolist() == at(in_steps, steps).tolist() == at(in_steps, steps, 99).tolist()
    assert at(in_epochs, steps, 8).tolist() != at(in_epochs, steps, 9).tolist()


@pytest.mark.parametrize("make", [linear, cosine, exponential])
def test_it_ends_where_it_was_told_to_and_stays_for_ever(make: Callable[..., Schedule]) -> None:
    values = at(make(1e-3, 0.3, steps=10), [0, 10, 11, 10**6, 2**40])
    np.testing.assert_allclose(values, [1e-3, 0.3, 0.3, 0.3, 0.3], rtol=1e-12)
    assert values[0] == 1e-3


def test_known_places_of_each_shape() -> None:
    steps = np.array([0, 5, 10])
    np.testing.assert_allclose(at(linear(0, 1, steps=10), steps), [0, 0.5, 1])
    np.testing.assert_allclose(at(cosine(1, 0, steps=10), [0, 2.5, 5, 10]), [1, (2 + 2**0.5) / 4, 0.5, 0], atol=1e-15)
    np.testing.assert_allclose(at(exponential(1, 1e-4, steps=10), steps), [1, 1e-2, 1e-4])


@pytest.mark.parametrize("make", SCHEDULES)
def test_schedules_are_values_that_show_how_they_were_made(make: Callable[..., Schedule]) -> None:
    for schedule in (make(0.5, 1.0, epochs=10), make(0.5, 1.0, steps=7.5)):
        assert eval(repr(schedule), vars(schedules)) == schedule
        assert pickle.loads(pickle.dumps(schedule)) == schedule
        assert hash(schedule) == hash(dataclasses.replace(schedule))
        assert schedule != dataclasses.replace(schedule, end=2.0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            schedule.start = 3.0  # type: ignore[misc]
    assert len({maker(0.5, 1.0, steps=3) for maker in SCHEDULES}) == 4
    assert repr(cyclical(0.0, 1.0, epochs=4, ramp=0.25)) == "cyclical(0.0, 1.0, epochs=4, ramp=0.25)"
    assert repr(linear(0.0, 1.0, epochs=10)) == "linear(0.0, 1.0, epochs=10)"


def test_models_show_clone_and_take_schedules_as_they_are() -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn, which this test needs, is not installed")
    beta, rate = linear(0.0, 1.0, epochs=10), cosine(1e-3, 0.0, epochs=2)
    model = VAE(beta=beta, learning_rate=rate)
    assert repr(model) == "VAE(beta=linear(0.0, 1.0, epochs=10), learning_rate=cosine(0.001, 0.0, epochs=2))"
    assert base.clone(model).get_params() == model.get_params()
    assert model.get_params()["beta"] is beta


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "either as epochs= or as steps="),
        ({"epochs": 1, "steps": 1}, "either as epochs= or as steps="),
        ({"epochs": 0}, "epochs=0"),
        ({"steps": -1}, "steps=-1"),
        ({"steps": float("nan")}, "steps=nan"),
        ({"epochs": float("inf")}, "epochs=inf"),
        ({"epochs": "ten"}, "epochs='ten'"),
        ({"epochs": True}, "epochs=True"),
        ({"start": -0.5, "epochs": 1}, "start=-0.5"),
        ({"start": float("nan"), "epochs": 1}, "start=nan"),
        ({"start": None, "epochs": 1}, "start=None"),
        ({"end": "one", "epochs": 1}, "end='one'"),
        ({"end": float("inf"), "epochs": 1}, "end=inf"),
    ],
    ids=str,
)
def test_bad_ends_and_lengths_are_refused_by_name(make: Callable[..., Schedule], arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__}: .*{text}"):
        make(**({"start": 0.5, "end": 1.0} | arguments))


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_an_exponential_has_positive_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"exponential: (start|end)=0.0"):
        exponential(*ends, epochs=1)


@pytest.mark.parametrize("ramp", [0.0, -0.5, 1.5, float("nan"), "half", None])
def test_a_ramp_is_a_share(ramp: Any) -> None:
    with pytest.raises(ValueError, match="cyclical: ramp="):
        cyclical(0.0, 1.0, epochs=1, ramp=ramp)


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape='step'.*'linear', 'cosine', 'exponential', 'cyclical'"):
        Schedule("step", 0.0, 1.0, epochs=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameter", "schedule"),
    [("learning_rate", linear(1e-3, 1e7, epochs=1)), ("learning_rate", cosine(2e6, 0.0, epochs=1))],
)
def test_a_schedule_beyond_a_parameters_range_is_refused_by_its_name(parameter: str, schedule: Schedule) -> None:
    for model in (VAE(hidden=(4,)), Autoencoder(hidden=(4,))):
        with pytest.raises(ValueError, match=f"{parameter}=.*start and end"):
            model.set_params(**{parameter: schedule}).fit(X)
        assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("parameter", ["free_bits", "clip_norm", "weight_decay", "tol", "batch_size"])
def test_other_parameters_take_no_schedules(parameter: str) -> None:
    model = VAE(hidden=(4,)).set_params(**{parameter: linear(0.1, 1.0, epochs=1)})
    with pytest.raises(ValueError, match=f"{parameter}=linear"):
        model.fit(X)
