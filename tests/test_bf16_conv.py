"""Convolutional networks with ``precision="bf16"`` against products of rounded operands in torch, in float64.

A value on the border of two bfloat16 may go either way. How much that can change is measured: by the same products with
weights of which each is moved by about 1e-6 of itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bf16_reference import with_bf16
from conv_reference import Specification, TorchConvVAE, random_specification
from helpers import check_same_output_of_both_sets
from reference import Twin, relative_error
from test_bf16 import BF16, BORDERS, ROWS
from test_conv_layers import (
    NETWORKS,
    Arrays,
    conv,
    data,
    engine_of,
    given,
    gradients,
    layer,
    specification,
    state,
    train,
    transposed,
)

from fastvae import _core

pytestmark = pytest.mark.filterwarnings("ignore:precision='bf16' saves no time here")

# The spread of the seeds that move weights: a border is crossed by one, not by all.
MOVES = 3


def bf16(spec: Specification) -> Specification:
    """The network with products of bfloat16."""
    return spec | {"precision": "bf16"}


def moved(weights: Arrays, seed: int) -> Arrays:
    """Weights with relative changes of about 1e-6."""
    rng = np.random.default_rng(seed)
    return {name: (w * (1 + 1e-6 * rng.normal(size=w.shape))).astype(np.float32) for name, w in weights.items()}


def convolution_errors(spec: Specification) -> tuple[dict[str, float], dict[str, float]]:
    """Relative errors against rounded operands in float64, and the largest changes that borders and float32 make."""
    spec = bf16(spec)
    engine = engine_of(spec)
    x, y, eps = data(spec, ROWS)

    def twin(weights: Arrays, kind: Callable[[Any], Any] = lambda model: model) -> dict[str, Any]:
        model: Twin = kind(with_bf16(TorchConvVAE(spec).load(weights)))
        losses, values = model.losses_and_gradients(x, eps, **given(y))
        return losses | values

    losses, ours = gradients(engine, spec, ROWS)
    theirs = twin(state(engine))
    others = [twin(state(engine), lambda model: model.float()), *(twin(moved(state(engine), n)) for n in range(MOVES))]
    found = {name: relative_error(value, theirs[name]) for name, value in (losses | ours).items()}
    return found, {name: max(relative_error(other[name], theirs[name]) for other in others) for name in theirs}


def beyond(found: dict[str, float], borders: dict[str, float]) -> dict[str, float]:
    """Errors beyond the tolerance and beyond what borders make."""
    allowed = {name: max(BORDERS, 5 * borders[name]) for name in found}
    return {name: error for name, error in found.items() if not error <= allowed[name]}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_convolutional_network_has_the_gradients_of_rounded_operands(name: str) -> None:
    assert not beyond(*convolution_errors(NETWORKS[name]))


@pytest.mark.parametrize("seed", range(20))
def test_random_architectures_have_the_gradients_of_rounded_operands(seed: int) -> None:
    assert not beyond(*convolution_errors(random_specification(seed)))


def test_the_comparison_tells_bfloat16_from_float32() -> None:
    spec = NETWORKS["convolution as output"]
    twin = with_bf16(TorchConvVAE(spec).load(state(engine_of(spec))))
    x, _, eps = data(spec, ROWS)
    _, theirs = twin.losses_and_gradients(x, eps)
    _, ours = gradients(engine_of(spec), spec, ROWS)
    weights = [relative_error(ours[name], theirs[name]) for name in theirs if name.endswith("weight")]
    assert min(weights) > 3 * BORDERS


# Strides, kernels, odd channels, both kinds of output, several panels of channels.
STRIDED = [layer("unflatten", 4, 4, 40), transposed(33, 4, 2, 1), transposed(3, 4, 2, 1)]
EXACT = {
    "strided": specification((16, 16, 3), [conv(32, 4, 2, 1), conv(48, 4, 2, 1)], [4 * 4 * 40, *STRIDED]),
    "3 x 3, odd channels": specification(
        (8, 8, 1), [conv(17, 3, 1, 1), conv(35, 3, 1, 1)], [8 * 8 * 5, layer("unflatten", 8, 8, 5), conv(1, 3, 1, 1)]
    ),
    "batch norm": specification(
        (16, 16, 3),
        [conv(32, 4, 2, 1, batch_norm=True), conv(48, 4, 2, 1, batch_norm=True)],
        [4 * 4 * 40, *STRIDED],
        conditions=3,
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_within_two_to_the_minus_seven_and_nearer_than_those_of_autocast(name: str) -> None:
    spec = bf16(EXACT[name])
    engine = _core.Engine(json.dumps(spec))
    twin = TorchConvVAE(spec).load(state(engine))
    (x, y, eps), (_, ours) = data(spec, ROWS), gradients(engine, spec, ROWS)
    _, exact = twin.losses_and_gradients(x, eps, **given(y))
    twin.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, autocast = twin.losses_and_gradients(x, eps, **given(y))
    found = {name: relative_error(ours[name], exact[name]) for name in exact}
    theirs = {name: relative_error(autocast[name], exact[name]) for name in exact}
    assert not {name: error for name, error in found.items() if not error <= BF16}
    assert np.median(list(found.values())) < np.median(list(theirs.values()))


@pytest.mark.parametrize("name", NETWORKS)
def test_training_leaves_nothing_behind_that_parameters_do_not_show(name: str) -> None:
    # Neither padding nor words of older weights.
    spec = bf16(NETWORKS[name])
    engine, other = engine_of(spec), _core.Engine(json.dumps(spec))
    train(engine, spec, passes=4, rate=1e-2, batch_size=7)
    other.set_parameters(engine.parameters())
    ours, theirs = gradients(engine, spec)[1], gradients(other, spec)[1]
    assert [array.tobytes() for array in ours.values()] == [array.tobytes() for array in theirs.values()]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_bit_depends_on_the_threads(name: str) -> None:
    spec = bf16(NETWORKS[name])
    results = []
    for threads in (1, 2, 3):
        engine = engine_of(spec)
        _, values = gradients(engine, spec, threads=threads)
        train(engine, spec, passes=3, rate=1e-3, batch_size=7, threads=threads)
        results.append([array.tobytes() for array in (*values.values(), *state(engine).values())])
    assert results[0] == results[1] == results[2]


def test_both_instruction_sets_give_the_same_bits() -> None:
    check_same_output_of_both_sets(
        """
import hashlib
from test_bf16_conv import bf16
from test_conv_layers import NETWORKS, data, engine_of, gradients, random_specification, state, train

for spec in map(bf16, [*NETWORKS.values(), *map(random_specification, range(5))]):
    engine = engine_of(spec)
    arrays = [*gradients(engine, spec)[1].values()]
    train(engine, spec, passes=3, rate=1e-3, batch_size=7)
    x, y, _ = data(spec)
    arrays += [*state(engine).values(), engine.reconstruct(x, y, 1)]
    print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_inference_depends_neither_on_the_batch_nor_on_the_threads(name: str) -> None:
    spec = bf16(NETWORKS[name])
    engine = engine_of(spec)
    train(engine, spec, passes=2, rate=1e-3, batch_size=7)
    x, y, _ = data(spec, 70)
    whole = engine.reconstruct(x, y, 3).tobytes()
    parts = [slice(0, 1), slice(1, 4), slice(4, 70)]
    split = [engine.reconstruct(x[part], None if y is None else y[part], 1) for part in parts]
    assert whole == np.concatenate(split).tobytes()
