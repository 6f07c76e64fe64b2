"""Convolutional networks with ``precision="bf16"`` against products of rounded operands in torch, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bf16_reference import with_bf16
from conv_reference import Specification, TorchConvVAE, random_specification
from reference import Twin, relative_error
from test_bf16 import BORDERS, ROWS
from test_conv_layers import NETWORKS, Arrays, data, engine_of, given, gradients, state


def convolution_errors(spec: Specification) -> tuple[dict[str, float], dict[str, float]]:
    """Relative errors against rounded operands in float64; and those of gradients of rounded operands in float32."""
    spec = spec | {"precision": "bf16"}
    engine = engine_of(spec)
    x, y, eps = data(spec, ROWS)

    def twin(kind: Callable[[Any], Any]) -> tuple[dict[str, float], Arrays]:
        model: Twin = kind(with_bf16(TorchConvVAE(spec).load(state(engine))))
        return model.losses_and_gradients(x, eps, **given(y))

    losses, ours = gradients(engine, spec, ROWS)
    torch_losses, theirs = twin(lambda model: model)
    _, single = twin(lambda model: model.float())
    found = {name: relative_error(losses[name], torch_losses[name]) for name in losses}
    found |= {name: relative_error(ours[name], theirs[name]) for name in theirs}
    return found, {name: relative_error(single[name], theirs[name]) for name in theirs}


def beyond(found: dict[str, float], float32: dict[str, float]) -> dict[str, float]:
    """Errors beyond the tolerance and beyond those of rounded operands in float32, whose values are on borders too."""
    allowed = {name: max(BORDERS, 10 * float32.get(name, 0)) for name in found}
    return {name: error for name, error in found.items() if not error <= allowed[name]}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_convolutional_network_has_the_gradients_of_rounded_operands(name: str) -> None:
    assert not beyond(*convolution_errors(NETWORKS[name]))


@pytest.mark.parametrize("seed", range(20))
def test_random_architectures_have_the_gradients_of_rounded_operands(seed: int) -> None:
    assert not beyond(*convolution_errors(random_specification(seed)))
