"""What describe_objective says is the model that is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastvae import VAE, schedules
from fastvae.corruption import MaskingNoise
from fastvae.likelihoods import Gaussian
from fastvae.optimizers import SGD, Adam

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {},
        ["E_q[log p(x|z)] - sum_j KL_j.", "batch of at most 128", "2 latent dimensions", "cross-entropy"],
        ["decay", "max("],
    ),
    ({"beta": 0.5, "latent_dim": 7}, ["- 0.5 sum_j KL_j.", "7 latent"], []),
    ({"beta": schedules.linear(0, 1, epochs=5)}, ["- linear(0, 1, epochs=5) sum_j KL_j"], []),
    ({"beta": 0.0}, ["nats: E_q[log p(x|z)]."], ["KL"]),
    ({"objective": "reconstruction"}, ["nats: E_q[log p(x|z)]."], ["KL"]),
    ({"objective": "kl"}, ["nats: -sum_j KL_j."], ["log p", "cross-entropy"]),
    ({"free_bits": 0.25}, ["- sum_j max(mean KL_j, 0.25)."], []),
    ({"beta": 3.0, "capacity": 10.0}, ["- 3 |sum_j mean KL_j - 10|."], []),
    (
        {"free_bits": 0.1, "capacity": schedules.linear(0, 5, steps=9)},
        ["|sum_j max(mean KL_j, 0.1) - linear(0, 5, steps=9)|"],
        [],
    ),
    ({"binarize": "bernoulli"}, ["drawn anew in each epoch"], ["cross-entropy"]),
    ({"binarize": "threshold"}, ["threshold of 1/2"], ["cross-entropy"]),
    ({"likelihood": "gaussian"}, ["- ln(2 pi) / 2", "s = 1."], ["sigmoid"]),
    ({"likelihood": Gaussian(np.float32(0.5))}, ["s = 0.5."], ["float32", "s_j"]),  # type: ignore[arg-type]
    ({"likelihood": Gaussian("per_feature")}, ["s_j learned for each feature, at least 0.001"], ["exp("]),
    ({"likelihood": Gaussian("decoder", floor=0.05)}, ["s_j² = 0.05² + exp(2 u_j), u from the decoder"], ["learned"]),
    ({"likelihood": Gaussian("shared", floor=0.2)}, ["s learned, one for all features, at least 0.2"], ["s_j"]),
    ({"likelihood": Gaussian(mean="sigmoid")}, ["m the sigmoid of the decoder's output, s = 1."], []),
    ({}, ["q is q(z|x) = N(mu, diag(sigma²))"], [", y)", "x~"]),
    ({"conditional": True}, ["E_q[log p(x|z, y)] - sum_j", "q is q(z|x, y) =", "log p(x|z, y) = sum_j"], ["p(x|z)"]),
    ({"corruption": MaskingNoise(0.3)}, ["x~, which is x with MaskingNoise(p=0.3)", "q is q(z|x~) ="], ["q(z|x)"]),
    ({"corruption": MaskingNoise(0.3), "conditional": True}, ["q is q(z|x~, y) ="], ["q(z|x, y)"]),
    ({"corruption": MaskingNoise(np.float64(0.3))}, ["MaskingNoise(p=0.3)"], ["float64"]),
    ({"weight_decay": 0.01}, ["KL_j - 0.005 |theta|².", "weight decay of 0.01"], []),
    ({"optimizer": "sgd", "weight_decay": 0.01}, ["KL_j - 0.005 |theta|²."], []),
    ({"optimizer": SGD(weight_decay=np.float32(0.5))}, ["KL_j - 0.25 |theta|²."], ["float32"]),  # type: ignore[arg-type]
    ({"optimizer": "adagrad", "weight_decay": 2.0}, ["KL_j - 1 |theta|²."], []),
    ({"optimizer": "adamw"}, ["KL_j.", "weight decay of 0.01 is no term of this"], ["theta"]),
    ({"optimizer": "adamw", "weight_decay": 0.0}, ["nats"], ["decay", "theta"]),
    ({"optimizer": Adam(weight_decay=0.5)}, ["- 0.25 |theta|²", "weight decay of 0.5"], []),
    ({"beta": np.float32(0.5), "free_bits": np.float64(0.25)}, ["- 0.5 sum_j max(mean KL_j, 0.25)."], ["float"]),
    (
        {"capacity": np.int64(3), "batch_size": np.int64(9)},
        ["|sum_j mean KL_j - 3|.", "batch of at most 9,"],
        ["int64"],
    ),
    ({"beta": lambda step: 0.5, "capacity": lambda step: 1.0}, ["- beta(step) |", "- capacity(step)|."], ["lambda"]),
    ({"beta": schedules.cyclical(0, np.float64(1), steps=9)}, ["cyclical(0, 1, steps=9, ramp=0.5)"], ["float64"]),
]


@pytest.mark.parametrize(("parameters", "said", "unsaid"), CASES, ids=str)
def test_the_formula_has_every_choice_and_no_other(
    parameters: dict[str, Any], said: list[str], unsaid: list[str]
) -> None:
    text = VAE(**parameters).describe_objective()
    assert "\n" not in text
    for part in said:
        assert part in text, text
    for part in unsaid:
        assert part not in text, text


def test_bad_parameters_are_refused_as_by_fit() -> None:
    with pytest.raises(ValueError, match="objective="):
        VAE(objective="all").describe_objective()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("latent_dim", "x"),
        ("conditional", "yes"),
        ("hidden", (0,)),
        ("activation", "swish"),
        ("learning_rate", -1.0),
        ("clip_norm", 0.0),
        ("weight_decay", "much"),
        ("corruption", "snow"),
        ("likelihood", Gaussian(0.0)),
        ("optimizer", "lbfgs"),
    ],
)
def test_no_bad_parameter_is_described(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="floor|scale" if name == "likelihood" else name):
        VAE(**{name: value}).describe_objective()


def test_asking_draws_no_seed() -> None:
    random = np.random.default_rng(0)
    VAE(random_state=random).describe_objective()
    assert random.integers(2**63) == np.random.default_rng(0).integers(2**63)
