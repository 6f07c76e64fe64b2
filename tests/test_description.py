"""What describe_objective says is the model that is fitted."""

from __future__ import annotations

from typing import Any

import pytest

from fastvae import VAE, schedules
from fastvae.corruption import MaskingNoise
from fastvae.likelihoods import Gaussian
from fastvae.optimizers import Adam

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, ["E_q[log p(x|z)] - sum_j KL_j.", "batch of 128", "2 latent dimensions", "cross-entropy"], ["decay", "max("]),
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
    ({"likelihood": "gaussian"}, ["- ln(2 pi) / 2", "s = 1.0"], ["sigmoid"]),
    ({"likelihood": Gaussian("per_feature")}, ["s_j learned for each feature"], []),
    ({"likelihood": Gaussian("decoder")}, ["s_j from the decoder"], ["learned"]),
    ({"likelihood": Gaussian("shared")}, ["one for all features"], []),
    ({"weight_decay": 0.01}, ["weight decay of 0.01"], []),
    ({"optimizer": "adamw"}, ["weight decay of 0.01"], []),
    ({"optimizer": "adamw", "weight_decay": 0.0}, ["nats"], ["decay"]),
    ({"optimizer": Adam(weight_decay=0.5)}, ["weight decay of 0.5"], []),
    ({"corruption": MaskingNoise(0.3)}, ["The encoder sees x with MaskingNoise(p=0.3)"], []),
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
