"""A warning where a user errs, with a remedy that helps; a healthy fit warns of nothing."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import fastvae
from fastvae import VAE, Autoencoder, schedules
from fastvae.likelihoods import Gaussian

DIGITS, _ = fastvae.datasets.load_digits()
RNG = np.random.default_rng(0)
TABLE = (RNG.standard_normal((400, 3)) @ RNG.standard_normal((3, 8))).astype(np.float32)
TABLE = (TABLE - TABLE.mean(0)) / TABLE.std(0)


def vae(**parameters: Any) -> VAE:
    return VAE(**({"latent_dim": 3, "hidden": (32,), "epochs": 3, "random_state": 0} | parameters))


def warned(model: Any, X: Any, **fit: Any) -> list[str]:
    """Fit a copy and return the messages of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        type(model)(**model.get_params()).fit(X, **fit)
    assert all(each.filename == __file__ for each in caught)
    return [str(each.message) for each in caught]


# ----------------------------------------------------------------------------------------------------- collapse


def test_a_collapse_is_one_warning_and_its_remedy_helps() -> None:
    bad = vae(beta=40.0, epochs=20)
    (message,) = warned(bad, DIGITS)
    assert message.startswith("VAE after training: The posterior has collapsed: no code depends on the data.")
    for remedy in ("lower beta", "free_bits", "train longer"):
        assert remedy in message
    assert warned(vae(beta=1.0, epochs=60), DIGITS) == []


def test_the_warning_is_that_of_a_diagnosis() -> None:
    model = vae(beta=40.0, epochs=20)
    with pytest.warns(UserWarning, match="has collapsed") as caught:
        model.fit(DIGITS)
    found = model.diagnose(DIGITS)
    assert not found.active.any()
    assert found.messages[0] in str(caught[0].message)


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "kl"},
        {"objective": "reconstruction"},
        {"capacity": 0.0},
        {"free_bits": 0.5},
        {"beta": 40.0, "epochs": 5},  # codes of few steps are not of use yet
        {"latent_dim": 20, "epochs": 60},  # some dimensions of a few are of use
        {"beta": schedules.linear(0.0, 1.0, epochs=20), "epochs": 40},
    ],
    ids=str,
)
def test_no_collapse_is_named_where_it_is_wanted_or_absent(parameters: dict[str, Any]) -> None:
    assert warned(vae(**({"epochs": 20} | parameters)), DIGITS) == []


# --------------------------------------------------------------------------------------------- constant columns


@pytest.mark.parametrize("scale", ["per_feature", "decoder"])
def test_constant_columns_of_a_learned_scale_are_named(scale: Any) -> None:
    X = np.insert(TABLE, [2, 5], 7.0, axis=1)
    (message,) = warned(vae(likelihood=Gaussian(scale)), X)
    assert message.startswith(f'columns 2, 6 of X are constant: Gaussian("{scale}") fits a scale near its floor=0.001')
    varying = X[:, X.std(0) > 0]
    assert warned(vae(likelihood=Gaussian(scale)), varying) == []
    (one,) = warned(vae(likelihood=Gaussian(scale)), np.insert(TABLE, 0, 0.0, axis=1))
    assert one.startswith("column 0 of X is constant")
    (many,) = warned(vae(likelihood=Gaussian(scale)), np.hstack([np.zeros((400, 9), np.float32), TABLE]))
    assert many.startswith("columns 0, 1, 2 and 6 more of X are constant")


def test_a_constant_column_adds_the_nats_of_the_message_and_a_new_value_costs_more() -> None:
    X = np.insert(TABLE, 0, 0.0, axis=1)
    model = vae(likelihood=Gaussian("per_feature"), epochs=200, learning_rate=1e-2)
    with pytest.warns(UserWarning, match="constant") as caught:
        model.fit(X)
    told = float(re.search(r"up to ([\d.]+) nats", str(caught[0].message))[1])  # type: ignore[index]
    scale = np.hypot(1e-3, np.exp(model.state_dict()["likelihood.log_scale"][0]))
    added = -np.log(scale * np.sqrt(2 * np.pi))
    assert told / 2 < added <= told + 0.05
    changed = X.copy()
    changed[:, 0] = 0.5
    assert model.score(changed) < model.score(X) - 100


def test_constant_columns_are_fine_elsewhere() -> None:
    X = np.insert(TABLE, 2, 0.0, axis=1)
    assert warned(vae(likelihood="gaussian"), X) == []
    assert warned(vae(likelihood=Gaussian("shared")), X) == []
    assert warned(Autoencoder(3, hidden=(32,), epochs=3), X) == []
    assert warned(vae(), DIGITS) == [], "pixels of the border are constant"
    grey = (DIGITS * 255).astype(np.uint8)
    assert warned(vae(likelihood=Gaussian("per_feature")), grey) == []
    assert warned(vae(likelihood=Gaussian("per_feature"), image_shape=(8, 8)), DIGITS) == []


# ----------------------------------------------------------------------------------------- units of a Bernoulli


def test_unscaled_data_under_bernoulli_are_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"takes values in \[0, 1\]: scale the data, .*MinMaxScaler.*Gaussian"):
        vae().fit(16 * DIGITS)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_grey_values_divided_twice_are_named(kind: Any) -> None:
    (message,) = warned(vae(), kind(DIGITS / 255))
    assert message.startswith("the largest value of X is 0.00392, but the Bernoulli likelihood is for values from 0 to")
    assert "only once" in message
    assert warned(vae(), kind(DIGITS)) == []


def test_rare_words_and_zeros_are_no_grey_values_divided_twice() -> None:
    words = np.zeros((2000, 10), np.float32)
    words[0] = 1
    assert warned(vae(), words) == []
    assert warned(vae(), np.zeros((300, 10), np.float32)) == []


# --------------------------------------------------------------------------------------------- units of a Gaussian


def test_a_large_column_under_a_fixed_scale_is_named_and_the_remedies_help() -> None:
    X = TABLE.copy()
    X[:, 4] *= 1000
    (message,) = warned(vae(likelihood="gaussian"), X)
    assert "the fixed scale 1" in message
    assert "in column 4" in message
    assert "standardise X" in message
    assert warned(vae(likelihood="gaussian"), X / X.std(0)) == []
    assert warned(vae(likelihood=Gaussian("per_feature")), X) == []


def test_columns_of_a_frame_are_named() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE.copy(), columns=list("abcdefghijklmnop")[: TABLE.shape[1]])
    frame.insert(0, "kind", np.arange(len(frame)) % 2)
    frame["d"] *= 1000
    (message,) = warned(vae(likelihood="gaussian", condition_columns=["kind"]), frame)
    assert "in column 'd'" in message
    (message,) = warned(vae(likelihood=Gaussian("per_feature")), frame.assign(b=1.0))
    assert message.startswith("column 'b' of X is constant")


# ---------------------------------------------------------------------------------------------------- healthy fits


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (vae(epochs=60), DIGITS),
        (vae(epochs=60, likelihood="gaussian"), TABLE),
        (vae(epochs=60, likelihood=Gaussian("decoder")), TABLE),
        (Autoencoder(3, hidden=(32,), epochs=40), DIGITS),
        (vae(epochs=60, likelihood="poisson"), np.rint(16 * DIGITS)),
    ],
    ids=["bernoulli", "gaussian", "decoder", "autoencoder", "poisson"],
)
def test_a_healthy_fit_warns_of_nothing(model: Any, X: Any) -> None:
    assert warned(model, X) == []
