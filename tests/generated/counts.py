"""Tables of counts: any level, long tails, empty rows and columns, sparse."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae import VAE
from fastvae.corruption import MaskingNoise
from fastvae.likelihoods import Gaussian
from generated import containers, draw
from generated.setup import Setup


def values(rng: draw.Rng, facts: list[str]) -> Any:
    """Return counts, [n, d]."""
    n, d = draw.rows(rng), draw.columns(rng)
    level = 10 ** rng.uniform(-2, 6)
    means = level * np.exp(draw.pick(rng, [0.0, 0.5, 2.0]) * rng.normal(size=d))
    means = means * np.exp(0.5 * rng.normal(size=(n, 1)) @ rng.normal(size=(1, d)))
    spread = draw.pick(rng, ["poisson", "gamma", "lognormal"])
    if spread == "gamma":
        means = means * rng.gamma(0.5, 2.0, (n, d))
    if spread == "lognormal":
        means = means * np.exp(1.5 * rng.normal(size=(n, d)))
    facts += [f"means about {level:.1g}", spread]
    X = rng.poisson(np.minimum(means, 1e7)).astype(float)
    if draw.chance(rng, 0.5):
        X[rng.random((n, d)) < draw.pick(rng, [0.5, 0.9, 0.99])] = 0
        facts.append("zeros")
    if draw.chance(rng, 0.2):
        X[rng.integers(n)] = 0
        X[:, rng.integers(d)] = 0
        facts.append("empty row and column")
    return draw.exact(draw.repeated(rng, X, facts))


def setup(seed: int) -> Setup:
    """Draw a set-up."""
    rng, facts = np.random.default_rng((2, seed)), []
    X = values(rng, facts)
    y = draw.labels(rng, len(X), facts)
    options = draw.training(rng, len(X)) | draw.network(rng)
    names = ["poisson", "poisson", "negative_binomial", "negative_binomial", "multinomial", Gaussian("per_feature")]
    options["likelihood"] = draw.pick(rng, names)
    options |= draw.variational(rng, len(X), y is not None)
    if draw.chance(rng, 0.3):
        options["input_transform"] = draw.pick(rng, ["log1p", "binary", "l1", "l2", "frequencies"])
    if draw.chance(rng, 0.1):
        options["corruption"] = MaskingNoise(0.3)
    if options["likelihood"] != "multinomial" and draw.chance(rng, 0.1):
        X = draw.holed(rng, X, facts)
        options["missing"] = "mask"
    counts = isinstance(options["likelihood"], str)
    container = draw.pick(rng, containers.suitable(X, sparse=True, counts=counts))
    return Setup("counts", seed, VAE, options, X, container, facts, y)
