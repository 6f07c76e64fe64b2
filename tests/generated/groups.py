"""Arrays with groups of columns for `likelihoods.Mixed`: units, holes, constant columns, levels without rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae import VAE
from fastvae.likelihoods import Bernoulli, Categorical, Gaussian, LogNormal, Mixed, NegativeBinomial, Ordinal, Poisson
from generated import containers, draw
from generated.setup import Setup


def _group(rng: draw.Rng, z: Any, facts: list[str]) -> tuple[Any, Any]:
    """Return a likelihood and its columns, [n, c]."""
    n = len(z)
    likelihood = draw.pick(
        rng,
        [
            Gaussian("per_feature"),
            Gaussian(draw.pick(rng, [0.1, 1.0])),
            LogNormal(),
            Poisson(),
            NegativeBinomial(),
            Bernoulli(),
            Categorical(),
            Ordinal(),
        ],
    )
    facts.append(type(likelihood).__name__)
    c = int(draw.pick(rng, [1, 2, 5, 20, 40]))
    logits = rng.normal(size=(n, c)) + draw.pick(rng, [0.0, 1.0, 3.0]) * z @ rng.normal(size=(2, c))
    if isinstance(likelihood, Gaussian):
        unit = 1.0 if isinstance(likelihood.scale, float) else 10 ** rng.uniform(-2, 6, c)
        return likelihood, (logits + draw.pick(rng, [0.0, 10.0])) * unit
    if isinstance(likelihood, LogNormal):
        return likelihood, np.exp(np.clip(logits * draw.pick(rng, [0.1, 0.5, 1.0]), -6, 6)) * 10 ** rng.uniform(-5, 5)
    if isinstance(likelihood, (Poisson, NegativeBinomial)):
        return likelihood, rng.poisson(np.exp(np.clip(logits + draw.pick(rng, [-3.0, 1.0, 4.0]), -10, 9))).astype(float)
    if isinstance(likelihood, Bernoulli):
        return likelihood, (logits > draw.pick(rng, [0.0, 3.0])).astype(float)
    levels = max(2, c)
    found = np.digitize(logits[:, 0], np.linspace(-2, draw.pick(rng, [2.0, 9.0]), levels - 1))
    return likelihood, np.eye(levels)[found]


def setup(seed: int) -> Setup:
    """Draw a set-up."""
    rng, facts = np.random.default_rng((8, seed)), list[str]()
    z = rng.normal(size=(draw.rows(rng), 2))
    parts = [_group(rng, z, facts) for _ in range(int(rng.integers(1, 6)))]
    weights = [float(draw.pick(rng, [1.0, 1.0, 1.0, 0.1, 3.0])) for _ in parts]
    given = [(each, X.shape[1], weight) for (each, X), weight in zip(parts, weights, strict=True)]
    likelihood, X = Mixed(given), draw.exact(np.hstack([X for _, X in parts]))
    if draw.chance(rng, 0.15):
        X = X[rng.integers(0, max(1, len(X) // 3), len(X))]
        facts.append("copied rows")
    options = draw.training(rng, len(X)) | draw.network(rng) | {"likelihood": likelihood}
    if options.get("optimizer") == "sgd":
        del options["optimizer"]
    y = draw.labels(rng, len(X), facts)
    options |= draw.variational(rng, len(X), y is not None)
    if draw.chance(rng, 0.4):
        share = draw.pick(rng, [0.02, 0.3, 0.8])
        for columns in likelihood.variables:
            gone = rng.random(len(X)) < share
            gone |= draw.chance(rng, 0.05)
            X[gone, columns] = np.nan
        facts.append(f"{share:.0%} holes")
        options |= {"missing": "mask", "missing_indicator": draw.chance(rng, 0.5)}
    names = ["float64", "float32", "fortran", "reversed", "frame"]
    container = draw.pick(rng, [name for name in containers.suitable(X, sparse=False) if name in names])
    return Setup("groups", seed, VAE, options, X, container, facts, y)
