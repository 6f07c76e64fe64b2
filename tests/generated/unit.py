"""Values in [0, 1]: binary tables, grey values, images."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae import VAE, Autoencoder
from fastvae.corruption import MaskingNoise, SaltAndPepper
from fastvae.layers import AvgPool2d, Conv2d, Dense, MaxPool2d
from fastvae.likelihoods import Gaussian
from generated import containers, draw
from generated.setup import Setup

GREY = np.float32(255)


def values(rng: draw.Rng, n: int, d: int, facts: list[str]) -> Any:
    """Return binary or grey values, [n, d]."""
    logits = draw.pick(rng, [0.3, 2.0, 8.0]) * (rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + rng.normal(size=d))
    p = 1 / (1 + np.exp(-logits))
    kind = draw.pick(rng, ["binary", "binary", "grey", "rare", "dark", "two levels"])
    facts.append(kind)
    X = {
        "binary": rng.random((n, d)) < p,
        "rare": rng.random((n, d)) < 0.02,
        "grey": p,
        "dark": p * (rng.random((n, d)) < 0.1),
        "two levels": np.where(rng.random((n, d)) < p, 0.25, 0.75),
    }[kind].astype(float)
    X = np.rint(draw.repeated(rng, X, facts) * 255).astype(np.float32) / GREY
    return X.astype(np.float64)


def _options(rng: draw.Rng, facts: list[str], X: Any, y: Any) -> tuple[Any, dict[str, Any]]:
    """Return an estimator for values in [0, 1] and its options, without the network."""
    options = draw.training(rng, len(X))
    if draw.chance(rng, 0.1):
        options["corruption"] = draw.pick(rng, [SaltAndPepper(0.2), MaskingNoise(0.2)])
    if y is None and draw.chance(rng, 0.15):
        return Autoencoder, options | {"loss": draw.pick(rng, ["bernoulli", "squared_error"])}
    names = ["bernoulli"] * 4 + [Gaussian("shared"), Gaussian(0.1, mean="sigmoid"), Gaussian("decoder", mean="sigmoid")]
    options["likelihood"] = draw.pick(rng, names)
    if options["likelihood"] == "bernoulli" and draw.chance(rng, 0.1):
        options["binarize"] = draw.pick(rng, ["bernoulli", "threshold"])
    return VAE, options | draw.variational(rng, len(X), y is not None)


def table(seed: int) -> Setup:
    """Draw a set-up with a table."""
    rng, facts = np.random.default_rng((3, seed)), []
    X = values(rng, draw.rows(rng), draw.columns(rng), facts)
    y = draw.labels(rng, len(X), facts)
    kind, options = _options(rng, facts, X, y)
    options |= draw.network(rng)
    if draw.chance(rng, 0.15):
        X = draw.holed(rng, X, facts)
        options |= {"missing": "mask", "missing_indicator": draw.chance(rng, 0.5)}
    container = draw.pick(rng, containers.suitable(X, sparse=True))
    return Setup("unit", seed, kind, options, X, container, facts, y)


def _layers(rng: draw.Rng) -> tuple[Any, ...]:
    """Return the hidden layers of an encoder of small images."""
    norm = draw.chance(rng, 0.3)
    first = Conv2d(4, 3, padding=1, batch_norm=norm)
    return tuple(
        draw.pick(
            rng,
            [
                (first,),
                (first, MaxPool2d(2), 8),
                (first, AvgPool2d(2), Conv2d(3, 2)),
                (Conv2d(4, 4, stride=2, padding=1, batch_norm=norm), Dense(9, batch_norm=norm)),
                (8,),
            ],
        )
    )


def images(seed: int) -> Setup:
    """Draw a set-up with images of 6 or 8 pixels a side, one or three channels."""
    rng, facts = np.random.default_rng((4, seed)), []
    height, width, channels = draw.pick(rng, [6, 8]), draw.pick(rng, [6, 8]), draw.pick(rng, [1, 1, 3])
    X = values(rng, draw.rows(rng), height * width * channels, facts)
    y = draw.labels(rng, len(X), facts)
    kind, options = _options(rng, facts, X, y)
    options |= {"latent_dim": int(rng.integers(1, 4)), "hidden": _layers(rng)}
    options.pop("doubly_reparameterized", None)  # needs a decoder without batch normalisation
    if draw.chance(rng, 0.1):
        X = draw.holed(rng, X, facts)
        options |= {"missing": "mask", "missing_indicator": draw.chance(rng, 0.5)}
    options["image_shape"] = (height, width, channels)
    image: Any = draw.pick(rng, [(height * width * channels,), (height, width, channels)])
    if draw.chance(rng, 0.2):
        options["channels"] = "first"
        image = draw.pick(rng, [(height * width * channels,), (channels, height, width)])
    container = draw.pick(rng, containers.suitable(X, sparse=False, flat=len(image) == 1))
    return Setup("images", seed, kind, options, X, container, facts, y, image)
