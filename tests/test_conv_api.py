"""Convolutional models in Python: layers, image shapes, mirrored decoders, state dicts, refusals.

The reference is a network of torch modules, built from the layers by `modules`.
"""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import fields
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conv_reference import POOLS, completed, modules_of, output_shape, random_encoder
from helpers import answers, bits, conditional_vae, differing, holed, resealed, rows_of, run_python, same
from numpy.typing import NDArray
from reference import (
    TOLERANCE,
    TorchAutoencoder,
    TorchVAE,
    examples,
    lively_weights,
    noise,
    relative_error,
)
from torch import Tensor, nn

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel, _core, latent, plots
from fastvae.corruption import GaussianNoise, MaskingNoise
from fastvae.layers import AvgPool2d, Conv2d, ConvTranspose2d, Dense, MaxPool2d, Upsample
from fastvae.likelihoods import Gaussian

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Sizes = tuple[int, ...]

GREY, COLOUR = (7, 6, 1), (6, 5, 3)
LAYERS = (Conv2d(4, 3, stride=2, padding=1), Conv2d(5, (2, 1), padding=(0, 1)), 9)
SMALL: dict[str, Any] = {
    "latent_dim": 3,
    "image_shape": GREY,
    "hidden": LAYERS,
    "epochs": 2,
    "batch_size": 16,
    "random_state": 0,
    "progress": False,
}


def conv(model: type[Any] = VAE, **parameters: Any) -> Any:
    return model(**(SMALL | parameters))


def pictures(n: int = 40, shape: Sizes = GREY, seed: int = 0) -> NDArray[np.float32]:
    """Binary images."""
    return (np.random.default_rng(seed).random((n, *shape)) < 0.4).astype(np.float32)


X = pictures()
RGB = pictures(shape=COLOUR, seed=1)

# ------------------------------------------------------------------------------------------ reference


KINDS: dict[str, Any] = {
    "conv2d": Conv2d,
    "conv_transpose2d": ConvTranspose2d,
    "dense": Dense,
    "max_pool2d": MaxPool2d,
    "avg_pool2d": AvgPool2d,
    "upsample": Upsample,
}


def described(layer: Any) -> dict[str, Any]:
    """A layer as the reference reads it; a tuple (channels, height, width) is an Unflatten, as in torch."""
    if isinstance(layer, tuple):
        return {"kind": "unflatten", "shape": [*layer[1:], layer[0]]}
    if isinstance(layer, int):
        return completed(layer)
    [kind] = [name for name, cls in KINDS.items() if type(layer) is cls]
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    for name in values.keys() & {"kernel_size", "stride", "padding", "output_padding", "size"}:
        values[name] = [values[name]] * 2 if isinstance(values[name], int) else list(values[name])
    return {"kind": kind} | {name: value for name, value in values.items() if value is not None}


def modules(layers: Sequence[Any], shape: Sizes, activation: str) -> tuple[list[nn.Module], Sizes]:
    """The torch modules of some layers, and the shape of their output."""
    found: list[nn.Module] = []
    for layer in map(described, layers):
        found += modules_of(layer, shape, activation)
        shape = output_shape(layer, shape)
    return found, shape


class OfImages(nn.Sequential):
    """Reads rows of images, channels last; returns rows."""

    shape: Sizes

    def forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *self.shape).permute(0, 3, 1, 2)
        return super().forward(images).flatten(1)


class ToImages(nn.Sequential):
    """Returns images as rows, channels last."""

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = super().forward(z)
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x


def twin_of(twin: Any, model: Any, decoder: Sequence[Any], encoder: Sequence[Any] = ()) -> Any:
    """Give a dense torch model the layers of a convolutional one, in float64.

    A decoder that makes no image has a dense output; an encoder with Unflatten is passed.
    """
    image = bool(model.hidden) and not isinstance(model.hidden[0], (int, Dense))  # a dense layer reads the rows
    start = model.image_shape if image else (prod(model.image_shape),)
    found, size = modules(encoder or model.hidden, start, model.activation)
    twin.encoder = OfImages(*found) if image else nn.Sequential(*found)
    twin.encoder.shape = model.image_shape
    for head in ("mu", "logvar", "code"):
        if hasattr(twin, head):
            setattr(twin, head, nn.Linear(prod(size), model.latent_dim))
    found, size = modules(decoder, (model.latent_dim,), model.activation)
    if size == model.image_shape:  # the last layer with weights has no activation
        found.remove([module for module in found if not isinstance(module, POOLS)][-1])
    else:
        found.append(nn.Linear(prod(size), prod(model.image_shape)))
    twin.decoder = ToImages(*found)
    return twin.double()


# `hidden`, image_shape, and the decoder of the torch model.
MIRRORS: dict[str, tuple[Sequence[Any], Sizes, Sequence[Any]]] = {
    "stride 2": (
        (Conv2d(6, 4, 2, 1), Conv2d(33, 4, 2, 1), 20),
        (8, 12, 1),
        (20, 33 * 2 * 3, (33, 2, 3), ConvTranspose2d(6, 4, 2, 1), ConvTranspose2d(1, 4, 2, 1)),
    ),
    "odd": (
        (Conv2d(6, 3, 2, 1), Conv2d(5, (2, 3), (3, 1), (1, 0))),
        (9, 7, 3),
        (5 * 2 * 2, (5, 2, 2), ConvTranspose2d(6, (2, 3), (3, 1), (1, 0), (2, 0)), ConvTranspose2d(3, 3, 2, 1)),
    ),
    "rows lost to the stride": (
        (Conv2d(4, 2, 3),),
        (10, 8, 1),
        (4 * 3 * 3, (4, 3, 3), ConvTranspose2d(1, 2, 3, 0, (2, 0))),
    ),
    "activations": (
        (Conv2d(6, 3, activation="tanh"), Conv2d(5, 2), Dense(8, activation="elu"), 7),
        (6, 5, 1),
        (
            7,
            Dense(8, activation="elu"),
            5 * 3 * 2,
            (5, 3, 2),
            ConvTranspose2d(6, 2, activation="tanh"),
            ConvTranspose2d(1, 3),
        ),
    ),
    "dense": ((9, Dense(4, activation="tanh")), (5, 4, 2), (Dense(4, activation="tanh"), 9)),
    "pools": (
        (Conv2d(6, 3, padding=1, activation="elu"), MaxPool2d(2), Conv2d(5, 3, padding=1), AvgPool2d((1, 3)), 7),
        (6, 6, 1),
        (
            7,
            5 * 3 * 1,
            (5, 3, 1),
            Upsample((1, 3)),
            ConvTranspose2d(6, 3, padding=1, activation="elu"),
            Upsample(2),
            ConvTranspose2d(1, 3, padding=1),
        ),
    ),
    "upsampling in the encoder": (
        (Conv2d(6, 3), Upsample((2, 1))),
        (5, 6, 2),
        (6 * 6 * 4, (6, 6, 4), AvgPool2d((2, 1)), ConvTranspose2d(2, 3)),
    ),
    "batch norm": (
        (
            Conv2d(6, 3, batch_norm=True),
            Conv2d(35, 2, batch_norm=True),
            Dense(8, batch_norm=True, activation="tanh"),
            4,
        ),
        (6, 5, 1),
        (
            4,
            Dense(8, batch_norm=True, activation="tanh"),
            Dense(35 * 3 * 2, batch_norm=True),
            (35, 3, 2),
            ConvTranspose2d(6, 2, batch_norm=True),
            ConvTranspose2d(1, 3),
        ),
    ),
    "pools of x": (
        (AvgPool2d((2, 1)), MaxPool2d((1, 2)), Conv2d(6, 3, activation="tanh"), 7),
        (10, 8, 2),
        (7, Dense(6 * 3 * 2, activation="tanh"), (6, 3, 2), ConvTranspose2d(2, 3), Upsample((1, 2)), Upsample((2, 1))),
    ),
    "upsampling of x": (
        (Upsample(2), Conv2d(6, 3, 2)),
        (5, 4, 1),
        (6 * 4 * 3, (6, 4, 3), ConvTranspose2d(1, 3, 2, 0, 1), AvgPool2d(2)),
    ),
    "pools of x before dense": ((MaxPool2d(2), 9, 4), (6, 8, 1), (4, 9)),
    "pool of x alone": ((MaxPool2d(2),), (6, 8, 1), ()),
    "convolution, dense, convolution": (
        (Conv2d(6, 3), 3 * 5 * 4, (3, 5, 4), Conv2d(7, 2, activation="tanh"), 4),
        (7, 6, 1),
        (
            4,
            Dense(7 * 4 * 3, activation="tanh"),
            (7, 4, 3),
            ConvTranspose2d(3, 2),
            6 * 5 * 4,
            (6, 5, 4),
            ConvTranspose2d(1, 3),
        ),
    ),
    "transposed in the encoder": (
        (Conv2d(3, 2, 2), ConvTranspose2d(4, 3, 2, 0, 1), 5),
        (6, 4, 1),
        (5, 4 * 8 * 6, (4, 8, 6), Conv2d(3, 3, 2), ConvTranspose2d(1, 2, 2)),
    ),
}


def compare(
    model: Any, twin: Any, rows: NDArray[Any], eps: NDArray[Any] | None = None, weights: dict[str, Any] | None = None
) -> None:
    """Give both the same weights, random by default; compare names, shapes, means, losses and gradients."""
    more = () if eps is None else (eps,)
    buffers = {name: buffer.numpy() for name, buffer in twin.named_buffers() if buffer.ndim}
    weights = {name: np.asarray(w, np.float32) for name, w in (weights or lively_weights(twin, 3)).items()}
    weights |= {name: np.float32(0.5) + buffer.astype(np.float32) for name, buffer in buffers.items()}
    model.load_state_dict(weights)
    assert {name: w.shape for name, w in model.state_dict().items()} == {name: w.shape for name, w in weights.items()}
    twin.load(weights).eval()
    with torch.no_grad():
        mean = twin.mean(torch.zeros(2, 3, dtype=torch.float64))
    decoded = model.inverse_transform(np.zeros((2, 3)))
    assert relative_error(decoded.reshape(2, -1), mean) < 2 * TOLERANCE
    twin.train()
    losses, gradients = model.loss_and_gradients(rows, *more)
    expected, wanted = twin.load(weights).losses_and_gradients(rows, *more)
    for name, loss in losses.items():
        assert loss == pytest.approx(expected[name], rel=TOLERANCE)
    for name, gradient in gradients.items():
        assert relative_error(gradient, wanted[name]) < 2 * TOLERANCE, name


def built(layer: Any) -> Any:
    """A layer of the reference's random ones as an object."""
    if isinstance(layer, int):
        return layer
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in layer.items()}
    return KINDS[values.pop("kind")](**values)


@pytest.mark.parametrize("seed", range(60))
def test_every_encoder_that_loses_no_rows_in_a_pool_has_a_mirror(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image_shape = tuple(int(side) for side in rng.integers((5, 5, 1), (17, 17, 4)))
    given = random_encoder(rng, image_shape)
    shapes = [image_shape]
    for layer in map(completed, given):
        shapes.append(output_shape(layer, shapes[-1]))
    model = conv(hidden=[*map(built, given)], image_shape=image_shape)
    lost = [
        i
        for i, (layer, (height, width, _)) in enumerate(zip(map(completed, given), shapes, strict=False))
        if "pool" in layer["kind"] and (height % layer["size"][0] or width % layer["size"][1])
    ]
    if lost:
        with pytest.raises(ValueError, match=rf"^hidden\[{lost[-1]}\], ...Pool2d.*, has no mirror: .*, back "):
            model.partial_fit(pictures(5, image_shape))
        return
    assert model.partial_fit(pictures(5, image_shape, seed)).sample(2).shape == (2, *image_shape)
    sizes = {
        part: sorted(w.size for name, w in model.state_dict().items() if name.startswith(part) and w.ndim == 4)
        for part in ("encoder", "decoder")
    }
    assert sizes["encoder"] == sizes["decoder"]  # each convolution and its mirror


@pytest.mark.parametrize("case", MIRRORS)
def test_no_decoder_mirrors_the_encoder(case: str) -> None:
    hidden, image_shape, decoder = MIRRORS[case]
    layers = [layer for layer in hidden if not isinstance(layer, tuple)]
    model = conv(hidden=layers, image_shape=image_shape, activation="softplus", likelihood="gaussian")
    twin = twin_of(TorchVAE(prod(image_shape), 3, hidden=(), likelihood="gaussian"), model, decoder, hidden)
    compare(model, twin, examples("gaussian", 17, prod(image_shape)), noise(17, 3))


# `decoder_hidden`, image_shape, and the shape of the Unflatten that it implies with the layer that this follows.
OWN: dict[str, tuple[Sequence[Any], Sizes, tuple[int, Sizes] | None]] = {
    "transposed": ((8, 60, ConvTranspose2d(1, 4, 2, 1, (1, 0))), (11, 6, 1), (1, (4, 5, 3))),
    "convolution": ((84, Conv2d(1, (2, 4), padding=(2, 1))), (6, 6, 1), (0, (4, 3, 7))),
    "both": (
        (Dense(2 * 3 * 3, activation="elu"), ConvTranspose2d(4, 3, 2), Conv2d(9, 2), ConvTranspose2d(2, 2, (1, 2))),
        (7, 12, 2),
        (0, (2, 3, 3)),
    ),
    "pools": (
        (8 * 6 * 2, MaxPool2d((2, 1)), AvgPool2d((2, 1)), Upsample(2), ConvTranspose2d(1, 3)),
        (6, 14, 1),
        (0, (2, 8, 6)),
    ),
    "pools of the output": (
        (84, Conv2d(1, 2, padding=1), AvgPool2d((1, 2)), Upsample((1, 2)), MaxPool2d(1)),
        (7, 8, 1),
        (0, (2, 6, 7)),
    ),
    "dense": ((11, 6), GREY, None),
    "linear": ((), GREY, None),
}


@pytest.mark.parametrize("case", OWN)
def test_a_decoder_of_one_s_own(case: str) -> None:
    given, image_shape, unflatten = OWN[case]
    decoder = list(given)
    if unflatten is not None:
        decoder.insert(unflatten[0] + 1, unflatten[1])
    model = conv(decoder_hidden=given, image_shape=image_shape, activation="tanh")
    twin = twin_of(TorchVAE(prod(image_shape), 3, hidden=()), model, decoder)
    compare(model, twin, examples("bernoulli", 17, prod(image_shape)), noise(17, 3))


@pytest.mark.parametrize("missing", ["error", "mask"])
@pytest.mark.parametrize("transform", [None, "l2"])
def test_missing_values_and_transforms_of_the_input(missing: str, transform: str | None) -> None:
    model = conv(missing=missing, input_transform=transform, activation="tanh", likelihood="gaussian")
    decoder = (9, 5 * 3 * 5, (5, 3, 5), ConvTranspose2d(4, (2, 1), padding=(0, 1)), ConvTranspose2d(1, 3, 2, 1, (0, 1)))
    twin = twin_of(TorchVAE(42, 3, hidden=(), likelihood="gaussian"), model, decoder)
    rows = examples("gaussian", 17, 42)
    rows = holed(rows, 0.2) if missing == "mask" else rows
    encode = twin.encode
    if transform:
        twin.encode = lambda x, y=None: encode(x / x.norm(dim=1, keepdim=True), y)
    compare(model, twin, rows, noise(17, 3))


@pytest.mark.parametrize(
    "likelihood",
    ["poisson", "negative_binomial", "multinomial", Gaussian("per_feature"), Gaussian("shared"), Gaussian(0.3)],
    ids=str,
)
def test_likelihoods_of_colour_images(likelihood: Any) -> None:
    """Parameters for each feature have the order of the rows: height, width, channels."""
    model = conv(image_shape=COLOUR, hidden=(Conv2d(4, 3),), activation="tanh", likelihood=likelihood)
    twin = twin_of(TorchVAE(90, 3, hidden=(), likelihood=likelihood), model, (48, (4, 4, 3), ConvTranspose2d(3, 3)))
    for parameter in twin.decoder.parameters():
        parameter.data *= 0.1
    rows = examples(likelihood, 17, 90)
    compare(model, twin, rows, noise(17, 3), {name: p.detach().numpy() for name, p in twin.named_parameters()})


@pytest.mark.parametrize("loss", ["squared_error", "bernoulli"])
def test_an_autoencoder(loss: str) -> None:
    model = conv(Autoencoder, loss=loss, activation="tanh")
    decoder = (9, 5 * 3 * 5, (5, 3, 5), ConvTranspose2d(4, (2, 1), padding=(0, 1)), ConvTranspose2d(1, 3, 2, 1, (0, 1)))
    compare(model, twin_of(TorchAutoencoder(42, 3, hidden=(), loss=loss), model, decoder), pictures(17).reshape(17, -1))


# ------------------------------------------------------------------------------------------ layers


def test_a_layer_shows_what_differs_from_its_defaults() -> None:
    shown = [
        Conv2d(32, 4, stride=2, padding=(1, 0)),
        Conv2d(1, (3, 3)),
        Dense(5),
        Dense(5, activation="tanh"),
        Upsample(),
    ]
    assert list(map(repr, shown)) == [
        "Conv2d(32, 4, stride=2, padding=(1, 0))",
        "Conv2d(1, 3)",
        "Dense(5)",
        "Dense(5, activation='tanh')",
        "Upsample(2)",
    ]
    assert repr(ConvTranspose2d(2, 3, stride=2, output_padding=1, batch_norm=True)) == (
        "ConvTranspose2d(2, 3, stride=2, output_padding=1, batch_norm=True)"
    )
    assert all(eval(repr(layer)) == layer for layer in (*LAYERS[:2], Dense(5, batch_norm=True), MaxPool2d((2, 3))))


def test_a_layer_is_a_value() -> None:
    assert Conv2d(3, 4) == Conv2d(channels=3, kernel_size=4, stride=1, padding=0, batch_norm=False, activation=None)
    assert len({Conv2d(3, 4), Conv2d(3, 4), Conv2d(3, 5)}) == 2
    with pytest.raises(AttributeError):
        Conv2d(3, 4).channels = 5  # type: ignore[misc]


def test_sizes_are_integers_or_pairs_of_any_kind() -> None:
    same_layers = [
        (Conv2d(4, 3, 2, 1), 9),
        (Conv2d(np.int64(4), (3, 3), [2, 2], np.array([1, 1])), Dense(9)),  # type: ignore[arg-type]
        [Conv2d(4, 3, stride=(2, 2), padding=1), np.int32(9)],
    ]
    models = [conv(hidden=hidden).fit(X) for hidden in same_layers]
    assert all(same(models[0], model) for model in models[1:])
    assert same(conv(hidden=Conv2d(4, 3)).fit(X), conv(hidden=(Conv2d(4, 3),)).fit(X))


# ------------------------------------------------------------------------------------------ shapes of X


@pytest.mark.parametrize("form", [(42,), (7, 6), (7, 6, 1)], ids=str)
def test_results_come_in_the_shape_of_x(form: Sizes) -> None:
    given = X.reshape(-1, *form)
    model = conv().fit(given)
    reference = conv().fit(X)
    assert same(model, reference)
    n = len(X)
    assert model.transform(given).shape == (n, 3)
    assert model.inverse_transform(np.zeros((5, 3))).shape == (5, *form)
    assert model.reconstruct(given).shape == (n, *form)
    assert model.sample(5).shape == model.sample(5, draw=True).shape == (5, *form)
    assert model.sample(5, return_latent=True)[0].shape == (5, *form)
    assert all(part.shape == (n, *form) for part in model.predictive(given, 2))
    assert model.posterior_sample(given, 2).shape == (2, n, 3)
    assert model.score_samples(given).shape == (n,)
    assert model.log_marginal(given, 2).estimate.shape == (n,)
    for other in ((42,), (7, 6), (7, 6, 1)):  # the shape of this X, not of the training X
        again = X.reshape(-1, *other)
        assert model.reconstruct(again).shape == model.predictive(again, 2).mean.shape == (n, *other)
        assert np.array_equal(model.reconstruct(again).reshape(n, -1), reference.reconstruct(X).reshape(n, -1))
        assert model.score(again) == reference.score(X)
    assert model.manifold(4).shape == (4, 4, *form)
    assert model.interpolate(given[0], given[1:2], 5).shape == (5, *form)
    assert model.traverse(given[0], n=4).shape == (3, 4, *form)
    assert model.traverse(np.zeros(3), n=4).shape == (3, 4, *form)
    assert latent.apply_attribute(model, given[:2], np.ones(3), (0, 1)).shape == (2, 2, *form)
    assert np.array_equal(model.interpolate(given[0], given[1], 2)[0], model.reconstruct(given[:1])[0])
    assert model.neighbours(given, given[:2], 1)[0].tolist() == [[0], [1]]


def test_imputed_values_come_in_the_shape_of_x() -> None:
    given = holed(X, 0.2)
    model = conv(missing="mask").fit(given)
    imputed = model.impute(given)
    assert imputed.shape == model.impute(given, draws=2)[1].shape == X.shape
    assert np.array_equal(imputed, np.where(np.isnan(given), model.reconstruct(given), given))
    assert model.evaluate(given)["elbo_per_observed"] == pytest.approx(
        model.evaluate(given)["elbo"] * len(X) / np.count_nonzero(~np.isnan(given))
    )
    plain = conv(Autoencoder, missing="mask").fit(given)
    assert plain.impute(given[..., 0], n_iter=1).shape == X.shape[:3]
    assert plain.evaluate(given).keys() == {"loss", "loss_per_observed"}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, bool])
def test_types_of_images(dtype: Any) -> None:
    given = X * 255 if dtype == np.uint8 else X
    assert same(conv().fit(given.astype(dtype)), conv().fit(X.reshape(len(X), -1)))


def test_lists_frames_and_tensors_of_images() -> None:
    pandas = pytest.importorskip("pandas")
    flat = X.reshape(len(X), -1)
    for given in (X.tolist(), torch.from_numpy(X), pandas.DataFrame(flat)):
        model = conv(epochs=1).fit(given)
        assert same(model, conv(epochs=1).fit(X))
        assert model.reconstruct(given).shape == np.shape(given)


def test_images_are_read_without_a_copy(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = conv().fit(mapped)
    assert same(model, conv().fit(X))
    strided = np.zeros((2 * len(X), *GREY), np.float64)
    strided[::2] = X
    assert same(conv().fit(strided[::2]), model)
    for given in (mapped, X[:, :, :, 0], strided[::2], X.astype(np.uint8)):
        assert np.shares_memory(rows_of(model, given), given)
        assert rows_of(model, given).itemsize == given.itemsize
    grey = np.moveaxis(X, -1, 1)
    assert np.shares_memory(rows_of(conv(channels="first"), grey), grey)


def test_channels_first_is_the_same_model() -> None:
    last = conv(image_shape=COLOUR).fit(RGB)
    given = np.ascontiguousarray(np.moveaxis(RGB, -1, 1))
    first = conv(image_shape=COLOUR, channels="first").fit(given)
    assert same(first, last)
    assert first.reconstruct(given).shape == given.shape
    assert np.array_equal(np.moveaxis(first.reconstruct(given), 1, -1), last.reconstruct(RGB))
    assert first.sample(4).shape == (4, 3, 6, 5)
    assert np.array_equal(np.moveaxis(first.sample(4), 1, -1), last.sample(4))
    assert first.manifold(3).shape == (3, 3, 3, 6, 5)
    flat = given.reshape(len(given), -1)  # in the order of the channels too
    assert np.array_equal(first.reconstruct(flat).reshape(given.shape), first.reconstruct(given))
    assert np.array_equal(first.interpolate(given[0], given[1], 3)[2], first.reconstruct(given[1:2])[0])


def test_images_of_training_validation_and_noise() -> None:
    more = pictures(12, seed=5)
    flat, other = X.reshape(len(X), -1), more.reshape(len(more), -1)
    model = conv(corruption=MaskingNoise(0.2)).fit(X, validation_data=more[..., 0])
    assert same(model, conv(corruption=MaskingNoise(0.2)).fit(flat, validation_data=other))
    noisy = MaskingNoise(0.2).corrupt(X, random_state=1)
    a, b = copy.copy(model), copy.copy(model)
    a.partial_fit(X[..., 0], corrupted=noisy)
    b.partial_fit(flat, corrupted=noisy.reshape(flat.shape))
    assert same(a, b)
    assert not same(a, model)
    new = conv().partial_fit(X[..., 0])
    assert new.sample(2).shape == (2, 7, 6)
    assert bits(model.loss_and_gradients(X, corrupted=noisy[..., 0])[1]) == bits(
        model.loss_and_gradients(flat, corrupted=noisy.reshape(flat.shape))[1]
    )


def test_a_conditional_model_of_images() -> None:
    y = np.arange(len(X)) % 3
    model = conv(conditional=True).fit(X, y)
    assert model.sample(4, y=1).shape == (4, *GREY)
    assert model.reconstruct(X, y=y).shape == X.shape
    flat = conv(conditional=True).fit(X.reshape(len(X), -1), y)
    assert same(model, flat)
    loaded = conv(conditional=True).load_state_dict(model.state_dict())
    assert np.array_equal(loaded.reconstruct(X, y=np.eye(3)[y]), model.reconstruct(X, y=y))


@pytest.mark.parametrize("build", [VAE, Autoencoder])
def test_a_dense_model_with_an_image_shape_is_the_same_model(build: Any) -> None:
    flat = X.reshape(len(X), -1)
    parameters = {name: value for name, value in SMALL.items() if name not in ("image_shape", "hidden")}
    for hidden in ((8, 5), ()):
        plain, shaped = (build(**parameters, hidden=hidden, image_shape=shape).fit(flat) for shape in (None, GREY))
        assert differing(answers(plain, flat), answers(shaped, flat)) == []
        images = build(**parameters, hidden=hidden, image_shape=GREY).fit(X)
        assert same(images, plain)
        assert images.reconstruct(X).shape == X.shape
        assert build(**parameters, hidden=hidden, image_shape=GREY).load_state_dict(plain.state_dict())


def test_sparse_rows_of_a_dense_model_with_an_image_shape() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = X.reshape(len(X), -1)
    dense, thin = (conv(hidden=(8,)).fit(given) for given in (rows, sparse.csr_array(rows)))
    assert same(dense, thin)
    assert thin.sample(2).shape == (2, 42)


def test_noise_and_binarization_of_images() -> None:
    grey = np.random.default_rng(0).random((9, *GREY))
    flat = grey.reshape(9, -1)
    for given, reference in (
        (GaussianNoise(0.3).corrupt(grey, 1), GaussianNoise(0.3).corrupt(flat, 1)),
        (fastvae.binarize(grey, random_state=1), fastvae.binarize(flat, random_state=1)),
    ):
        assert given.shape == grey.shape
        assert np.array_equal(given.reshape(9, -1), reference)


# ------------------------------------------------------------------------------------------ scikit-learn, files


def test_parameters_clones_and_representation() -> None:
    model = conv(channels="first")
    assert model.get_params()["hidden"] is LAYERS
    assert model.get_params()["image_shape"] == GREY
    assert model.set_params(channels="last", image_shape=(7, 6)).channels == "last"
    assert (
        "image_shape=(7, 6), hidden=(Conv2d(4, 3, stride=2, padding=1), Conv2d(5, (2, 1), padding=(0, 1)), 9)"
        in repr(model)
    )
    assert same(eval(repr(model)).fit(X), conv().fit(X))
    sklearn = pytest.importorskip("sklearn.base", reason="scikit-learn, which this test needs, is not installed")
    cloned = sklearn.clone(conv())
    assert cloned.hidden == LAYERS
    assert same(cloned.fit(X), conv().fit(X))


@pytest.mark.parametrize("form", ["flat", "images", "channels first", "loaded"])
def test_saved_models(form: str, tmp_path: Path) -> None:
    given = {"flat": RGB.reshape(len(RGB), -1), "channels first": np.moveaxis(RGB, -1, 1)}.get(form, RGB)
    model = conv(image_shape=COLOUR, channels="first" if form == "channels first" else "last", decoder_hidden=(7,))
    if form == "loaded":
        model.load_state_dict(conv(image_shape=COLOUR, decoder_hidden=(7,)).fit(RGB).state_dict())
    else:
        model.fit(given)
    model.save(tmp_path / "model")
    for again in (fastvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert isinstance(again, VAE)
        assert again.get_params() == model.get_params() | {"hidden": again.hidden}
        assert again.hidden == LAYERS
        assert np.array_equal(again.sample(3), model.sample(3))
        assert again.sample(3).shape == (3, *given.shape[1:])
        assert np.array_equal(again.reconstruct(given), model.reconstruct(given))
        assert same(again.partial_fit(given), copy.copy(model).partial_fit(given))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"form":[7,6,1]', '"form":[6,7,1]'),
        ('"form":[7,6,1]', '"form":[7]'),
        ('"form":[7,6,1]', '"form":"flat"'),
        ('"channels_first":false', '"channels_first":0'),
        ('"channels_first":false', '"channels":false'),
        ('"layers.Conv2d"', '"layers.Conv3d"'),
        ('"padding":1', '"pad":1'),
    ],
)
def test_a_damaged_layout_or_layer_in_a_file_is_refused(old: str, new: str, tmp_path: Path) -> None:
    conv().fit(X).save(tmp_path / "model")
    file = (tmp_path / "model").read_bytes()

    def edit(metadata: dict[str, str]) -> None:
        [name] = [name for name, text in metadata.items() if old in text.replace(" ", "")]
        metadata[name] = metadata[name].replace(": ", ":").replace(", ", ",").replace(old, new)

    (tmp_path / "model").write_bytes(resealed(file, lambda metadata: None))
    fastvae.load(tmp_path / "model")
    (tmp_path / "model").write_bytes(resealed(file, edit))
    with pytest.raises(fastvae.FormatError):
        fastvae.load(tmp_path / "model")


def test_a_model_without_images_keeps_its_file_format(tmp_path: Path) -> None:
    VAE(2, hidden=(3,), epochs=1, progress=False).fit(X.reshape(len(X), -1)).save(tmp_path / "model")
    assert b"_images" not in (tmp_path / "model").read_bytes()


ARCHITECTURES: dict[str, Sequence[Any]] = {
    "normalised": (Conv2d(6, 3, 2, 1, batch_norm=True), Conv2d(8, 2), 10),
    "pool of x": (MaxPool2d(2), Conv2d(5, 2), 7),
    "dense between": (Conv2d(4, 3, padding=1), 48 * 2, Conv2d(5, 2), 8),
    "transposed first": (ConvTranspose2d(3, 2, 2), Conv2d(4, 4, 2, 1), 9),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "gaussian": {"likelihood": "gaussian"},
    "shared": {"likelihood": Gaussian("shared")},
    "per feature": {"likelihood": Gaussian("per_feature")},
    "decoder": {"likelihood": Gaussian("decoder", mean="sigmoid")},
    "poisson": {"likelihood": "poisson"},
    "negative binomial": {"likelihood": "negative_binomial"},
    "conditional": {"conditional": True},
    "masking": {"corruption": MaskingNoise(0.2)},
    "noise": {"corruption": GaussianNoise(0.2), "channels": "first"},
    "missing": {"missing": "mask", "conditional": True},
    "indicator": {"missing": "mask", "missing_indicator": True, "conditional": True, "input_transform": "log1p"},
    "indicator, channels first": {"missing": "mask", "missing_indicator": True, "channels": "first"},
    "draws": {"n_importance_samples": 3},
    "free bits": {"free_bits": 0.1, "clip_norm": 0.5},
    "early stopping": {"early_stopping": True, "optimizer": "sgd", "n_jobs": 2},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_option_of_a_vae_is_for_images_too(architecture: str, option: str, tmp_path: Path) -> None:
    options = OPTIONS[option]
    model = conv(hidden=ARCHITECTURES[architecture], image_shape=(8, 6, 3), **options)
    x = pictures(30, (8, 6, 3))
    x = holed(x, 0.2) if model.missing == "mask" else x
    x = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if model.channels == "first" else x
    y = np.arange(len(x)) % 3 if model.conditional else None
    given = {} if y is None else {"y": y}
    model.fit(x, **given)
    codes, means = model.transform(x, **given), model.reconstruct(x, **given)
    assert means.shape == x.shape
    assert np.isfinite(means).all()
    assert np.allclose(model.inverse_transform(codes, **given), means, atol=1e-5)
    assert np.isfinite(model.log_marginal(x, 5, **given).estimate).all()
    assert {part.shape for part in model.predictive(x, 3, **given) if part is not None} == {x.shape}
    assert len(model.diagnose(x, **given).kl) == 3
    assert np.isfinite(list(model.evaluate(x, **given).values())).all()
    if model.missing == "mask":
        assert not np.isnan(model.impute(x, **given)).any()
    model.save(tmp_path / "model")
    copies = [fastvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    assert all(same(model, other) for other in copies)
    trained = [other.partial_fit(x, **given) for other in copies]  # with the optimiser's state
    assert same(trained[0], trained[1])
    assert same(trained[0], trained[2])
    assert np.array_equal(model.reconstruct(x, **given), means)
    new = conv(hidden=model.hidden, image_shape=(8, 6, 3), **options).load_state_dict(model.state_dict())
    rows = {} if y is None else {"y": np.eye(3)[y]}
    assert np.array_equal(new.reconstruct(x, **rows), means)


# ------------------------------------------------------------------------------------------ state dicts


def test_a_state_dict_of_torch_is_loaded() -> None:
    model = conv(activation="tanh", hidden=(Conv2d(4, 3, 2, 1, batch_norm=True), 9))
    decoder = (9, Dense(4 * 4 * 3, batch_norm=True), (4, 4, 3), ConvTranspose2d(1, 3, 2, 1, (0, 1)))
    twin = twin_of(TorchVAE(42, 3, hidden=()), model, decoder).float()
    twin.encoder(torch.rand(40, 42))  # running statistics
    weights = twin.eval().state_dict()
    assert "encoder.1.num_batches_tracked" in weights
    model.load_state_dict(weights)
    with torch.no_grad():
        mu, logvar = twin.encode(torch.from_numpy(X.reshape(len(X), -1)))
        mean = twin.mean(mu)
    ours = model.encode(X)
    assert np.allclose(ours[0], mu, rtol=1e-4, atol=1e-5)
    assert np.allclose(ours[1], logvar, rtol=1e-4, atol=1e-5)
    assert np.allclose(model.reconstruct(X).reshape(len(X), -1), mean, atol=1e-5)
    assert model.sample(2).shape == (2, *GREY)
    twin.load_state_dict({name: torch.from_numpy(w) for name, w in model.fit(X).state_dict().items()})
    with torch.no_grad():
        assert np.allclose(twin.encode(torch.from_numpy(X.reshape(len(X), -1)))[0], model.transform(X), atol=1e-4)


def test_a_wrong_tensor_is_named_with_both_shapes() -> None:
    model = conv().fit(X)
    weights = model.state_dict()
    for name, shape in (
        ("encoder.0.weight", (4, 1, 3, 4)),
        ("decoder.5.weight", (4, 5, 2, 1)),
        ("encoder.5.bias", (8,)),
    ):
        wrong = weights | {name: np.zeros(shape)}
        expected = f"the state dict's {name} has shape {shape}, but the model's is {weights[name].shape}"
        for target in (model, conv()):
            with pytest.raises(ValueError, match="^" + expected.replace("(", r"\(").replace(")", r"\)")):
                target.load_state_dict(wrong)
    with pytest.raises(ValueError, match=r"missing \['mu.bias'\], unknown \['mu.offset'\]"):
        model.load_state_dict({name.replace("mu.bias", "mu.offset"): w for name, w in weights.items()})
    with pytest.raises(ValueError, match=r"pass image_shape=\(height, width, channels\)"):
        conv(image_shape=None).load_state_dict(weights)
    with pytest.raises(ValueError, match="must be a mapping"):
        conv().load_state_dict(3)
    assert same(model, weights)


# ------------------------------------------------------------------------------------------ refusals

TRANSPOSED = ConvTranspose2d(1, 3, 2, 1, (0, 1))

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no image_shape": ({"image_shape": None}, r"hidden\[0\], Conv2d.* pass image_shape=\(height, width, channels\)"),
    "other size": (
        {"image_shape": (7, 7)},
        r"X has shape \(40, 7, 6, 1\), .* image_shape=\(7, 7, 1\): expected \[n, 49\]",
    ),
    "size of one number": ({"image_shape": 42}, r"image_shape=42 must be \(height, width, channels\)"),
    "size of zero": ({"image_shape": (7, 0, 1)}, "image_shape: width=0 must be an integer, at least 1"),
    "size too large": ({"image_shape": (2**20, 2**20, 1)}, "has more than"),
    "channels": ({"channels": "middle"}, "channels='middle' is not known; use one of 'last', 'first'"),
    "channels of a table": ({"channels": "first", "image_shape": None}, 'channels="first" needs images'),
    "kernel": (
        {"hidden": (Conv2d(4, 3), Conv2d(2, (2, 5)))},
        r"hidden\[1\], Conv2d, .*kernel's width 5 .* image's, 4 \(sizes so far: 7 x 6 x 1 -> 5 x 4 x 4\)",
    ),
    "no channels": (
        {"hidden": (4, Conv2d(0, 3))},
        r"hidden\[1\], Conv2d\(0, 3\): channels=0 must be an integer, at least 1",
    ),
    "kernel of zero": (
        {"hidden": (Conv2d(1, (3, 0)),)},
        r"hidden\[0\], Conv2d\(1, \(3, 0\)\): kernel_size=\(3, 0\) must be",
    ),
    "triple": (
        {"hidden": (Conv2d(1, 2, (1, 1, 1)),)},
        r"stride=\(1, 1, 1\) must be an integer or a pair of integers, 1 to",
    ),
    "negative padding": (
        {"hidden": (Conv2d(1, 2, padding=-1),)},
        "padding=-1 must be an integer or a pair of integers, 0 to",
    ),
    "fraction": ({"hidden": (Conv2d(1, 2.0),)}, "kernel_size=2.0 must be an integer or a pair"),
    "truth": ({"hidden": (Conv2d(1, True),)}, "kernel_size=True must be an integer or a pair"),
    "batch_norm": (
        {"hidden": (Dense(3, batch_norm=1),)},
        r"hidden\[0\], Dense\(3.*: batch_norm=1 must be True or False",
    ),
    "activation": ({"hidden": (Dense(3, activation="step"),)}, r"hidden\[0\], Dense.*: activation='step' is not known"),
    "output_padding": (
        {"decoder_hidden": (12, ConvTranspose2d(1, 3, 2, 1, 2))},
        r"decoder_hidden\[1\], ConvTranspose2d.*: output_padding=\(2, 2\) must be less than the stride",
    ),
    "class": ({"hidden": (Conv2d,)}, r"hidden\[0\]=Conv2d is a class: call it"),
    "word": ({"hidden": ("conv",)}, r"hidden\[0\]='conv' must be an integer"),
    "no sequence": ({"hidden": 3.5}, "hidden=3.5 must be a sequence of layer widths and layers"),
    "convolution after dense": (
        {"hidden": (Conv2d(4, 3), 30, Conv2d(2, 1))},
        r"hidden\[1\] has 30 units, but hidden\[2\], Conv2d\(2, 1\), reads an image of 5 x 4 pixels, as before the "
        "dense layers: use a multiple of 20 units",
    ),
    "convolution after the first dense layer": (
        {"hidden": (84, Conv2d(2, 1))},
        r"hidden\[0\], Dense\(84\), has no mirror: it precedes convolutions and no convolution precedes it. Pass",
    ),
    "kernel behind an inserted image": (
        {"hidden": (Conv2d(4, 3), 20, Conv2d(2, 6))},
        r"hidden\[2\], Conv2d, .*height 6 .* \(sizes so far: 7 x 6 x 1 -> 5 x 4 x 4 -> 20 -> 5 x 4 x 1\)",
    ),
    "rows lost to a pool": (
        {"hidden": (Conv2d(4, 3), MaxPool2d((2, 2)), 5)},
        r"hidden\[1\], MaxPool2d\(2\), has no mirror: 5 x 4 x 4 -> 2 x 2 x 4, back 2 x 2 x 4 -> 4 x 4 x 4\. .*"
        r"\(sizes: 7 x 6 x 1 -> 5 x 4 x 4 -> 2 x 2 x 4 -> 5, back 5 -> 2 x 2 x 4 -> 4 x 4 x 4\)",
    ),
    "rows lost to a pool of x": (
        {"hidden": (MaxPool2d(2), Conv2d(4, 3))},
        r"hidden\[0\], MaxPool2d\(2\), has no mirror: 7 x 6 x 1 -> 3 x 3 x 1, back 3 x 3 x 1 -> 6 x 6 x 1\.",
    ),
    "pool of a dense image": (
        {"decoder_hidden": (21, Upsample((1, 2)))},
        "the last layer of decoder_hidden with weights makes the output: it must be ConvTranspose2d or Conv2d",
    ),
    "decoder of a code": (
        {"decoder_hidden": (TRANSPOSED,)},
        r"decoder_hidden\[0\], ConvTranspose2d.*, needs an image, but the code is flat: put a dense layer before it",
    ),
    "decoder's units": (
        {"decoder_hidden": (5, 13, TRANSPOSED)},
        r"decoder_hidden\[1\] has 13 units, but decoder_hidden\[2\], ConvTranspose2d.* 4 x 3 pixels: use a multiple of "
        r"12 units \(sizes back from image_shape: 7 x 6 -> 4 x 3\)",
    ),
    "decoder's sizes": (
        {"decoder_hidden": (12, ConvTranspose2d(1, 3, 2, 1))},
        r"decoder_hidden\[1\], ConvTranspose2d.* cannot make an image of 7 x 6 pixels \(sizes back from "
        r"image_shape: 7 x 6\)",
    ),
    "decoder's upsampling": (
        {"decoder_hidden": (12, Upsample((2, 1)), Conv2d(1, 3))},
        r"decoder_hidden\[1\], Upsample\(\(2, 1\)\), cannot make an image of 9 x 8 pixels \(.*: 7 x 6 -> 9 x 8\)",
    ),
    "decoder's padding": (
        {"decoder_hidden": (12, Conv2d(1, 2, padding=4))},
        r"decoder_hidden\[1\], Conv2d\(1, 2, padding=4\), cannot make an image of 7 x 6 pixels",
    ),
    "decoder's channels": (
        {"decoder_hidden": (12, ConvTranspose2d(2, 3, 2, 1, (0, 1)))},
        r"decoder_hidden ends with 7 x 6 x 2, but image_shape is 7 x 6 x 1 \(sizes: 3 -> 12 -> 4 x 3 x 1 -> "
        r"7 x 6 x 2\)",
    ),
    "decoder's last activation": (
        {"decoder_hidden": (12, ConvTranspose2d(1, 3, 2, 1, (0, 1), activation="tanh"))},
        "the last layer of decoder_hidden with weights makes the output: it must be ConvTranspose2d or Conv2d without",
    ),
    "image between dense layers": (
        {"decoder_hidden": (12, TRANSPOSED, 5)},
        r"decoder_hidden\[1\], ConvTranspose2d.*, follows a dense layer and precedes another",
    ),
}


def test_an_inserted_unflatten_has_no_index() -> None:
    layers = [12, {"kind": "unflatten", "shape": [4, 3, 1]}, {"kind": "conv2d", "channels": 1, "kernel_size": [5, 1]}]
    with pytest.raises(ValueError, match=r"^decoder_hidden\[1\], Conv2d, .*\(sizes so far: 3 -> 12 -> 4 x 3 x 1\)"):
        _core.layer_shapes("decoder_hidden", [3], json.dumps(layers))
    assert _core.layer_shapes("decoder_hidden", [3], json.dumps(layers[:2])) == [[3], [12], [4, 3, 1]]


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("build", [VAE, Autoencoder])
def test_fit_refuses(case: str, build: Any) -> None:
    parameters, message = REFUSALS[case]
    model = conv(build, **parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X.reshape(len(X), -1) if model.image_shape is None else X)
    with pytest.raises(fastvae.NotFittedError):
        model.transform(X)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X.reshape(len(X), -1)[:, 1:], r"X has 41 features, but an image of image_shape=\(7, 6, 1\) has 42"),
        (X[0], r"X has shape \(7, 6, 1\), which does not fit .*: expected \[n, 42\] or \[n, 7, 6\] or \[n, 7, 6, 1\]"),
        (np.moveaxis(X, -1, 1), r'X has shape \(40, 1, 7, 6\).*\. For this X set channels="first"'),
        (X.transpose(0, 2, 1, 3), r"X has shape \(40, 6, 7, 1\), which does not fit"),
        (X[:0], r"X is empty: it has 0 examples"),
        (X.ravel(), "X is 1-D"),
    ],
    ids=["columns", "one image", "channels first", "transposed", "no images", "1-D"],
)
def test_x_that_does_not_fit_the_image_shape(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv().fit(given)
    model = conv().fit(X)
    for method in (model.transform, model.score_samples, model.reconstruct, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(given)
    with pytest.raises(ValueError, match=message.replace("X", "validation_data", 1)):
        conv().fit(X, validation_data=given)


def test_channels_last_are_recognised_in_a_model_of_channels_first() -> None:
    with pytest.raises(ValueError, match=r'expected \[n, 90\] or \[n, 3, 6, 5\]\. For this X set channels="last"'):
        conv(image_shape=COLOUR, channels="first").fit(RGB)


@pytest.mark.parametrize(
    "parameters", [{}, {"hidden": (8,), "decoder_hidden": (12, TRANSPOSED)}], ids=["encoder", "decoder"]
)
def test_sparse_x_is_for_dense_layers(parameters: dict[str, Any]) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = sparse.csr_array(X.reshape(len(X), -1))
    message = r"X is a sparse matrix, which convolutional layers do not support: pass X.toarray\(\)"
    with pytest.raises(TypeError, match=message):
        conv(**parameters).fit(rows)
    with pytest.raises(TypeError, match=message):  # the fitted model decides, not the parameters
        conv(**parameters).fit(X).set_params(hidden=(8,), decoder_hidden=None).transform(rows)
    with pytest.raises(TypeError, match='channels="first" is not supported'):
        conv(image_shape=(7, 3, 2), channels="first", hidden=(8,)).fit(rows)


@pytest.mark.parametrize("build", [TopicModel, ItemResponse])
def test_topics_and_exams_have_dense_layers_only(build: Any) -> None:
    for layer in (Conv2d(1, 2), Dense(4)):
        with pytest.raises(
            ValueError, match=rf"hidden\[1\]={layer.__class__.__name__}\(.*{build.__name__} has dense layers"
        ):
            build(hidden=(5, layer)).fit(X.reshape(len(X), -1))
    assert "image_shape" not in build().get_params()


# ------------------------------------------------------------------------------------------ plots


def canvas_of(ax: Any) -> NDArray[Any]:
    return np.asarray(ax.images[0].get_array())


@pytest.fixture
def pyplot() -> Iterator[Any]:
    """Draw without a display, and close all figures at the end."""
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize("form", [(42,), (7, 6), (7, 6, 1)], ids=str)
def test_plots_of_codes_take_images(form: Sizes, pyplot: Any) -> None:
    given, y = X.reshape(-1, *form), np.arange(len(X)) % 2
    model = conv(epochs=1).fit(given)
    for ax in (
        plots.latent_scatter(model, given, y),
        plots.latent_ellipses(model, given, y, n=10),
        plots.kl_per_dimension(model, given),
        plots.learning_curve(model),
        *plots.three_objectives(given, y, model=conv(epochs=1), n=10),
    ):
        ax.figure.canvas.draw()
    assert latent.mixture_sample(model, given, 4, n_components=2).shape == (4, *form)
    assert latent.attribute_vector(model, given[:9], given[9:]).shape == (3,)
    with pytest.raises(ValueError, match="does not fit image_shape"):
        plots.latent_ellipses(model, X.reshape(-1, 6, 7))


@pytest.mark.parametrize("channels", ["last", "first"])
@pytest.mark.parametrize("flat", [False, True])
def test_plots_know_the_shape_of_images(channels: str, flat: bool, pyplot: Any) -> None:
    for data, shape in ((X, GREY), (RGB, COLOUR)):
        colour = shape[2] == 3
        given = np.moveaxis(data, -1, 1) if channels == "first" else data
        given = given.reshape(len(given), -1) if flat else given
        model = conv(image_shape=shape, channels=channels, epochs=1).fit(given)
        reference = conv(image_shape=shape, epochs=1).fit(data)
        height, width, _ = shape
        drawn = {
            "reconstructions": plots.reconstructions(model, given[:3]),
            "manifold": plots.manifold(model, 3),
            "interpolation": plots.interpolation(model, given[0], given[1], 4),
            "attribute": plots.attribute(model, given[:2], np.ones(3)),
            "traversal": plots.traversal(model, given[0], n=4),
        }
        for name, ax in drawn.items():
            assert canvas_of(ax).shape[2:] == ((3,) if colour else ()), name
        pair = canvas_of(drawn["reconstructions"])
        picture = data[0] if colour else data[0, ..., 0]
        assert np.array_equal(pair[:height, :width], picture)
        again = reference.reconstruct(data[:1])[0]
        assert np.array_equal(pair[height + 1 : 2 * height + 1, :width], again if colour else again[..., 0])
        assert canvas_of(drawn["manifold"]).shape[:2] == (3 * height, 3 * width)
    labelled = conditional_vae(image_shape=(7, 6), hidden=LAYERS).fit(X, np.arange(len(X)) % 2)
    assert canvas_of(plots.conditions(labelled, 3)).shape == (7 * 2 + 1, 6 * 3 + 2)


def test_a_shape_given_to_a_plot_replaces_the_image_shape(pyplot: Any) -> None:
    model = conv(hidden=(5,)).fit(X.reshape(len(X), -1))
    assert canvas_of(plots.manifold(model, 2, shape=(6, 7))).shape == (12, 14)
    assert canvas_of(plots.manifold(conv().fit(X), 2, shape=(6, 7))).shape == (12, 14)


def test_doubly_reparameterized_gradients_need_a_decoder_without_batch_norm() -> None:
    """Normalisation makes each draw's weight depend on the others, whose gradient the estimator leaves out."""
    bound: dict[str, Any] = {"n_importance_samples": 2, "doubly_reparameterized": True}
    normed = (Conv2d(3, 3, batch_norm=True),)
    with pytest.raises(ValueError, match="needs a decoder without batch_norm"):
        conv(hidden=normed, **bound).fit(X)
    model = conv(hidden=normed, decoder_hidden=(5,), **bound).fit(X)
    model.set_params(decoder_hidden=None).partial_fit(X)  # the fitted decoder decides
    normed_model = conv(hidden=normed).fit(X).set_params(hidden=(5,), **bound)
    before = bits(normed_model)
    for train in (normed_model.partial_fit, normed_model.loss_and_gradients):
        with pytest.raises(ValueError, match="needs a decoder without batch_norm"):
            train(X)
    assert bits(normed_model) == before
    unfitted = conv(hidden=normed, **bound)
    with pytest.raises(ValueError, match="needs a decoder without batch_norm"):
        unfitted.partial_fit(X)
    with pytest.raises(fastvae.NotFittedError):
        unfitted.transform(X)


# ------------------------------------------------------------------------------------------ imports


def test_layers_are_imported_with_the_package() -> None:
    assert run_python("import fastvae; print(fastvae.layers.Conv2d(3, 4))").strip() == "Conv2d(3, 4)"
