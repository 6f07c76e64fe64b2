"""Convolutional networks of all kinds of layers against torch in float64, through the engine."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from conv_reference import Specification, TorchConvVAE, random_specification
from helpers import check_same_output_of_both_sets
from numpy.typing import NDArray
from reference import TOLERANCE, noise, relative_error, too_large

from fastvae import _core

# A gradient may be the small difference of large sums: that of a shift before a normalisation. Then no error of float32
# is below TOLERANCE, and ours may be this many times that of torch in float32, which normalises in float64.
TIMES_FLOAT32 = 10
OBJECTIVE = (1.0, 1.0, 0.0, None, 1, False)
STEPS_TOLERANCE = 1e-4  # of parameters after many optimiser steps, as that of the dense tests
ROWS = 19
Arrays = dict[str, NDArray[Any]]


def conv(channels: int, kernel: int, stride: int = 1, padding: int = 0, **more: Any) -> dict[str, Any]:
    """A square convolution."""
    window = {"kernel_size": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 2}
    return {"kind": "conv2d", "channels": channels, **window, **more}


def transposed(channels: int, kernel: int, stride: int = 1, padding: int = 0, **more: Any) -> dict[str, Any]:
    """A square transposed convolution."""
    return conv(channels, kernel, stride, padding, **more) | {"kind": "conv_transpose2d", "output_padding": [0, 0]}


def layer(kind: str, *size: int) -> dict[str, Any]:
    """A pool, upsampling, or the image behind a dense layer."""
    return {"kind": kind, "shape" if kind == "unflatten" else "size": list(size)}


def specification(image: tuple[int, int, int], encoder: list[Any], decoder: list[Any], **more: Any) -> Specification:
    """A small model."""
    sizes = {"n_features": int(np.prod(image)), "image_shape": list(image), "latent_dim": 3, "seed": 5}
    return {**sizes, "activation": "tanh", "encoder": encoder, "decoder": decoder, **more}


NORM = {"batch_norm": True}
NETWORKS: dict[str, Specification] = {
    "max pool": specification((9, 7, 2), [conv(5, 3), layer("max_pool2d", 2, 2)], [8]),
    "max pool, rectangular, two panels": specification((8, 11, 1), [conv(40, 2), layer("max_pool2d", 3, 2), 6], [8]),
    "max pool of relu": specification((9, 9, 2), [conv(35, 3), layer("max_pool2d", 2, 2)], [8], activation="relu"),
    "two pools": specification((9, 9, 1), [conv(7, 2), layer("max_pool2d", 2, 2), layer("avg_pool2d", 2, 1)], [8]),
    "avg pool": specification((9, 7, 2), [conv(33, 3, activation="softplus"), layer("avg_pool2d", 2, 2)], [8]),
    "upsample": specification(
        (8, 6, 2), [conv(4, 3)], [3 * 4 * 34, layer("unflatten", 4, 3, 34), layer("upsample", 2, 2), conv(2, 3, 1, 1)]
    ),
    "pool to one pixel": specification((5, 4, 1), [conv(6, 2), layer("avg_pool2d", 4, 3)], [8]),
    "pool in the decoder": specification(
        (4, 4, 1), [conv(4, 3)], [9 * 9 * 2, layer("unflatten", 9, 9, 2), layer("max_pool2d", 2, 2), conv(1, 3, 1, 1)]
    ),
    "norm of a convolution": specification((9, 7, 2), [conv(37, 3, 2, 1, **NORM), conv(5, 2)], [8]),
    "norm, slope kept": specification((9, 7, 2), [conv(37, 3, 2, 1, **NORM, activation="gelu")], [8]),
    "norm of the first dense layer": specification(
        (5, 3, 1), [{"kind": "dense", "units": 37, **NORM}], [{"kind": "dense", "units": 40, **NORM}]
    ),
    "norm of a dense layer behind an image": specification(
        (5, 5, 1), [conv(4, 2), {"kind": "dense", "units": 37, **NORM}], [8], conditions=2
    ),
    "norm before an image": specification(
        (6, 6, 2),
        [conv(4, 3)],
        [{"kind": "dense", "units": 9 * 35, **NORM}, layer("unflatten", 3, 3, 35), transposed(2, 2, 2)],
    ),
    "norm of a transposed convolution": specification(
        (8, 8, 1),
        [conv(4, 3, **NORM), layer("max_pool2d", 2, 2), 9],
        [4 * 5, layer("unflatten", 2, 2, 5), transposed(33, 4, 2, 1, **NORM), transposed(1, 4, 2, 1)],
    ),
    "norm, pool, norm": specification(
        (10, 10, 3),
        [
            conv(8, 3, **NORM, activation="relu"),
            layer("max_pool2d", 2, 2),
            conv(16, 3, 1, 1, **NORM, activation="silu"),
        ],
        [8],
    ),
    "padding lanes that are not zero": specification(
        (7, 7, 2),
        [conv(5, 3), transposed(3, 2, 2), conv(7, 2, activation="sigmoid"), 9],
        [3 * 3 * 5, layer("unflatten", 3, 3, 5), transposed(6, 2, 2), transposed(2, 2)],
        activation="softplus",
    ),
    "max pool of x": specification((9, 7, 2), [layer("max_pool2d", 2, 3), conv(35, 2)], [8]),
    "pools of x before a dense layer": specification(
        (9, 7, 2), [layer("upsample", 1, 2), layer("avg_pool2d", 2, 3), 33], [8], conditions=3
    ),
    "upsampling of x": specification((4, 5, 1), [layer("upsample", 2, 2), conv(4, 3, 2), 5], [8]),
    "pool of x alone": specification((8, 6, 3), [layer("avg_pool2d", 2, 2)], [8], conditions=2),
    "pool of x before a transposed convolution": specification(
        (6, 6, 2), [layer("max_pool2d", 2, 2), transposed(5, 3, 2), 9], [8]
    ),
    "transposed convolution of x": specification((5, 4, 2), [transposed(5, 3, 2), conv(4, 2)], [8]),
    "pools of the output": specification(
        (8, 6, 2),
        [conv(4, 3)],
        [3 * 2 * 5, layer("unflatten", 3, 2, 5), transposed(2, 2), layer("upsample", 2, 2)],
    ),
    "average of the output": specification(
        (4, 3, 1), [conv(4, 2)], [9 * 7 * 2, layer("unflatten", 9, 7, 2), conv(1, 2), layer("avg_pool2d", 2, 2)]
    ),
    "indicators": specification((7, 6, 2), [conv(37, 3, 2, 1), 9], [8], missing="indicator", conditions=2),
    "indicators, pool of x": specification(
        (8, 6, 1), [layer("max_pool2d", 2, 2), conv(5, 2)], [8], missing="indicator"
    ),
    "missing values": specification((7, 6, 3), [conv(5, 2), 9], [8], missing="mask"),
    "convolution, dense, convolution": specification(
        (7, 6, 2),
        [conv(5, 3), 5 * 4 * 34, layer("unflatten", 5, 4, 34), conv(6, 2, activation="sigmoid"), 9],
        [8],
        conditions=3,
        activation="softplus",
    ),
    "convolution, normalised dense, pool": specification(
        (7, 6, 1),
        [
            conv(5, 3),
            {"kind": "dense", "units": 5 * 4 * 7, **NORM},
            layer("unflatten", 5, 4, 7),
            layer("max_pool2d", 2, 2),
            transposed(3, 2),
        ],
        [8],
    ),
    "dense between convolutions of the decoder": specification(
        (6, 6, 1),
        [conv(4, 3)],
        [
            3 * 3 * 5,
            layer("unflatten", 3, 3, 5),
            conv(4, 2),
            3 * 3 * 35,
            layer("unflatten", 3, 3, 35),
            transposed(1, 2, 2),
        ],
    ),
    "convolution as output": specification(
        (8, 6, 3),
        [conv(4, 3)],
        [4 * 3 * 37, layer("unflatten", 4, 3, 37), layer("upsample", 2, 2), conv(3, 3, padding=1)],
    ),
    "rectangular convolution as output": specification(
        (7, 9, 1),
        [conv(4, 3)],
        [9 * 9 * 5, layer("unflatten", 9, 9, 5), conv(1, 3) | {"kernel_size": [3, 5], "padding": [0, 2]}],
    ),
    "convolution with a stride as output": specification(
        (4, 3, 2), [conv(4, 2)], [7 * 5 * 6, layer("unflatten", 7, 5, 6), conv(2, 3, 2, 1)]
    ),
}


def engine_of(spec: Specification) -> _core.Engine:
    """An engine whose norms have scales and shifts other than one and zero."""
    engine = _core.Engine(json.dumps(spec))
    rng = np.random.default_rng(spec["seed"])
    values = state(engine)
    norms = [name.removesuffix(".running_var") for name in values if name.endswith(".running_var")]
    for norm in norms:
        for what in ("weight", "bias", "running_mean", "running_var"):
            value = values[f"{norm}.{what}"]
            value += rng.uniform(-0.7, 0.7, value.shape)
    engine.set_parameters([value.ravel() for value in values.values()])
    return engine


def named(names: list[tuple[str, list[int]]], values: list[NDArray[np.float32]]) -> Arrays:
    """Flat arrays as a state dict."""
    return {name: value.reshape(shape) for (name, shape), value in zip(names, values, strict=True)}


def state(engine: _core.Engine) -> Arrays:
    """All parameters and running statistics."""
    return named(engine.shapes(), engine.parameters())


def data(spec: Specification, rows: int = ROWS) -> tuple[NDArray[np.float32], Any, NDArray[np.float32]]:
    """Binary x, y, and noise."""
    rng = np.random.default_rng(1)
    x = (rng.random((rows, spec["n_features"])) < 0.4).astype(np.float32)
    if spec.get("missing", "error") != "error":
        x[rng.random(x.shape) < 0.2] = np.nan
    conditions = spec.get("conditions", 0)
    y = rng.normal(size=(rows, conditions)).astype(np.float32) if conditions else None
    return x, y, noise(rows, spec["latent_dim"])


def given(y: Any) -> dict[str, Any]:
    """The argument y of the reference, if there are conditions."""
    return {} if y is None else {"y": y}


def gradients(
    engine: _core.Engine, spec: Specification, rows: int = ROWS, threads: int = 1
) -> tuple[dict[str, float], Arrays]:
    """Losses and gradients."""
    x, y, eps = data(spec, rows)
    *losses, values = engine.loss_and_gradients(x, y, None, eps, None, OBJECTIVE, None, None, threads)
    return dict(zip(("reconstruction", "kl", "loss"), losses, strict=True)), named(engine.trained(), values)


def errors(spec: Specification, rows: int = ROWS) -> tuple[dict[str, float], dict[str, float]]:
    """Relative errors of losses, gradients, codes and reconstructions; and those of gradients in torch's float32."""
    engine = engine_of(spec)
    twin = TorchConvVAE(spec).load(state(engine))
    x, y, eps = data(spec, rows)
    losses, ours = gradients(engine, spec, rows)
    torch_losses, theirs = twin.losses_and_gradients(x, eps, **given(y))
    assert ours.keys() == theirs.keys()
    found = {name: relative_error(losses[name], torch_losses[name]) for name in losses}
    found |= {name: relative_error(ours[name], theirs[name]) for name in theirs}
    _, single = TorchConvVAE(spec).load(state(engine)).float().losses_and_gradients(x, eps, **given(y))
    float32 = {name: relative_error(single[name], theirs[name]) for name in theirs}
    twin.load(state(engine)).eval()
    with torch.no_grad():
        tensors = [twin.tensor(x), None if y is None else twin.tensor(y)]
        mu, logvar = twin.encode(*tensors)
        mean = twin.logits(mu, tensors[1]).sigmoid()
    codes, logvars = engine.encode(x, y, True, 1)
    found["mu"] = relative_error(codes.reshape(mu.shape), mu)
    found["log variance"] = relative_error(logvars.reshape(mu.shape), logvar)
    found["mean"] = relative_error(engine.reconstruct(x, y, 1).reshape(mean.shape), mean)
    return found, float32


def train(
    engine: _core.Engine, spec: Specification, passes: int, rate: float, batch_size: int, threads: int = 1
) -> None:
    """Pass over the data several times, in order."""
    x, y, _ = data(spec)
    for seed in range(passes):
        engine.train(
            x,
            y,
            None,
            None,
            noise(len(x), spec["latent_dim"], seed),
            None,
            shuffle=False,
            batch_size=batch_size,
            objective=OBJECTIVE,
            step_values=(np.ones(1, np.float32), np.zeros(0, np.float32), np.array([rate])),
            corruption=None,
            binarize=None,
            clip_norm=None,
            threads=threads,
            checks_end=False,
            skips_bad=False,
            tick=None,
        )


def train_torch(twin: TorchConvVAE, spec: Specification, passes: int, rate: float, batch_size: int) -> None:
    """The same in torch."""
    x, y, _ = data(spec)
    optimizer = torch.optim.Adam(twin.parameters(), lr=rate)
    for seed in range(passes):
        eps = noise(len(x), spec["latent_dim"], seed)
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            optimizer.zero_grad()
            more = [] if y is None else [twin.tensor(y[rows])]
            twin(twin.tensor(x[rows]), twin.tensor(eps[rows]), *more)["loss"].backward()
            optimizer.step()


def step_errors(
    spec: Specification, passes: int, rate: float, batch_size: int = ROWS
) -> tuple[dict[str, float], dict[str, float]]:
    """Relative errors of all parameters and running statistics after optimiser steps; and those of torch's float32."""
    engine = engine_of(spec)
    twin, single = TorchConvVAE(spec).load(state(engine)), TorchConvVAE(spec).load(state(engine)).float()
    train(engine, spec, passes, rate, batch_size)
    for model in (twin, single):
        train_torch(model, spec, passes, rate, batch_size)
    ours, theirs, float32 = state(engine), twin.tensors(), single.tensors()
    assert ours.keys() == theirs.keys()
    return (
        {name: relative_error(ours[name], theirs[name]) for name in theirs},
        {name: relative_error(float32[name], theirs[name]) for name in theirs},
    )


def beyond(found: dict[str, float], float32: dict[str, float], tolerance: float = TOLERANCE) -> dict[str, float]:
    """Errors beyond the tolerance and beyond those of torch in float32."""
    allowed = {name: max(tolerance, TIMES_FLOAT32 * float32.get(name, 0)) for name in found}
    return {name: error for name, error in found.items() if not error <= allowed[name]}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rows", [2, ROWS, 70])
def test_each_layer_has_the_losses_and_gradients_of_torch(name: str, rows: int) -> None:
    if rows == 2 and "norm" in name:
        pytest.skip("a normalised pair is +-1: all gradients but rounding errors vanish")
    assert not beyond(*errors(NETWORKS[name], rows))


@pytest.mark.parametrize("seed", range(80))
def test_random_architectures_have_the_losses_and_gradients_of_torch(seed: int) -> None:
    spec = random_specification(seed)
    assert not beyond(*errors(spec)), json.dumps(spec)


@pytest.mark.parametrize("name", NETWORKS)
def test_100_steps_of_adam_end_where_those_of_torch_end(name: str) -> None:
    assert not beyond(*step_errors(NETWORKS[name], passes=50, rate=1e-3, batch_size=10), STEPS_TOLERANCE)


@pytest.mark.parametrize("seed", range(0, 80, 8))
def test_100_steps_of_random_architectures_end_where_those_of_torch_end(seed: int) -> None:
    spec = random_specification(seed)
    assert not beyond(*step_errors(spec, passes=100, rate=1e-3), STEPS_TOLERANCE), json.dumps(spec)


@pytest.mark.parametrize("name", NETWORKS)
def test_several_draws_have_the_losses_and_gradients_of_torch(name: str) -> None:
    spec, draws = NETWORKS[name], 3
    engine = engine_of(spec)
    twin = TorchConvVAE(spec).load(state(engine))
    x, y, _ = data(spec)
    eps = noise(len(x) * draws, spec["latent_dim"])
    objective = (1.0, 1.0, 0.0, None, draws, False)
    *losses, values = engine.loss_and_gradients(x, y, None, eps, None, objective, None, None, 2)
    torch_losses, theirs = twin.losses_and_gradients(x, eps.reshape(len(x), draws, -1), **given(y))
    ours = named(engine.trained(), values)
    found = {what: relative_error(loss, torch_losses[what]) for loss, what in zip(losses, torch_losses, strict=True)}
    assert not too_large(found | {what: relative_error(ours[what], theirs[what]) for what in theirs})


@pytest.mark.parametrize("scale", ["shared", "decoder"])
def test_a_convolution_as_output_is_the_transposed_one_with_a_reversed_kernel(scale: str) -> None:
    found = []
    for last in (conv(2, 3, padding=1), transposed(2, 3, padding=1)):
        spec = specification(
            (5, 4, 2),
            [conv(4, 2)],
            [5 * 4 * 35, layer("unflatten", 5, 4, 35), last],
            likelihood={"kind": "gaussian", "scale": scale, "floor": 1e-3, "mean": "identity"},
        )
        engine = engine_of(spec)
        values = dict(state(engine))
        if found:
            for name in ("decoder.3.weight", "scale.weight"):
                if name in values:
                    values[name] = np.flip(found[0][0][name], (2, 3)).swapaxes(0, 1)
            values |= {name: value for name, value in found[0][0].items() if value.shape == values[name].shape}
            engine.set_parameters([np.ascontiguousarray(value).ravel() for value in values.values()])
        found.append((values, *gradients(engine, spec)))
    (_, losses, ours), (_, transposed_losses, theirs) = found
    assert losses == transposed_losses
    for name, value in ours.items():
        if name in ("decoder.3.weight", "scale.weight"):
            value = np.flip(value, (2, 3)).swapaxes(0, 1)
        np.testing.assert_array_equal(value, theirs[name], name)


def test_ties_of_a_maximum_give_the_gradient_to_the_first_pixel() -> None:
    # Without weights all pixels are equal.
    spec = specification((6, 6, 1), [conv(3, 1), layer("max_pool2d", 2, 3)], [8])
    engine = engine_of(spec)
    names = [name for name, _ in engine.shapes()]
    values = [value * (name != "encoder.0.weight") for name, value in zip(names, engine.parameters(), strict=True)]
    engine.set_parameters(values)
    twin = TorchConvVAE(spec).load(state(engine))
    x, _, eps = data(spec)
    _, ours = gradients(engine, spec)
    _, theirs = twin.losses_and_gradients(x, eps)
    assert relative_error(ours["encoder.0.weight"], theirs["encoder.0.weight"]) < TOLERANCE


@pytest.mark.parametrize("name", NETWORKS)
def test_training_leaves_nothing_behind_that_parameters_do_not_show(name: str) -> None:
    # Padding in the engine's memory must stay zero.
    spec = NETWORKS[name]
    engine, other = engine_of(spec), _core.Engine(json.dumps(spec))
    train(engine, spec, passes=4, rate=1e-2, batch_size=7)
    other.set_parameters(engine.parameters())
    ours, theirs = gradients(engine, spec)[1], gradients(other, spec)[1]
    assert [array.tobytes() for array in ours.values()] == [array.tobytes() for array in theirs.values()]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_bit_depends_on_the_threads(name: str) -> None:
    spec = NETWORKS[name]
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
from test_conv_layers import NETWORKS, ROWS, data, engine_of, gradients, random_specification, state, train

for spec in [*NETWORKS.values(), *map(random_specification, range(10))]:
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
    spec = NETWORKS[name]
    engine = engine_of(spec)
    train(engine, spec, passes=2, rate=1e-3, batch_size=7)
    x, y, _ = data(spec, 70)
    whole = engine.reconstruct(x, y, 3).tobytes()
    parts = [slice(0, 1), slice(1, 4), slice(4, 70)]
    split = [engine.reconstruct(x[part], None if y is None else y[part], 1) for part in parts]
    assert whole == np.concatenate(split).tobytes()


def test_a_batch_with_one_value_of_each_channel_uses_the_running_statistics() -> None:
    # torch refuses such a batch in training.
    spec = NETWORKS["norm of the first dense layer"]
    engine = engine_of(spec)
    twin = TorchConvVAE(spec).load(state(engine)).eval()
    x, _, eps = data(spec, 1)
    losses, ours = gradients(engine, spec, rows=1)
    torch_losses, theirs = twin.losses_and_gradients(x, eps)
    found = {name: relative_error(losses[name], torch_losses[name]) for name in losses}
    assert not too_large(found | {name: relative_error(ours[name], theirs[name]) for name in theirs})


def test_a_normalised_layer_has_no_bias_and_starts_as_in_torch() -> None:
    spec = NETWORKS["norm before an image"]
    engine = _core.Engine(json.dumps(spec))
    values = state(engine)
    assert "decoder.0.bias" not in values
    for what, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        assert values[f"decoder.1.{what}"].tolist() == [value] * (9 * 35)
