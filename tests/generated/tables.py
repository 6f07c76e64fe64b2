"""Tables of reals: scales, shifts, tails, integers, holes, constants, copies, few rows, many columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae import VAE, Autoencoder
from fastvae.corruption import GaussianNoise, MaskingNoise
from fastvae.likelihoods import Gaussian
from generated import containers, draw
from generated.setup import Setup


def values(rng: draw.Rng, facts: list[str]) -> Any:
    """Return a table, [n, d]."""
    n, d = draw.rows(rng), draw.columns(rng)
    factors = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d))
    tail = draw.pick(rng, ["normal", "normal", "normal", "t", "lognormal", "outlier"])
    noise = rng.normal(size=(n, d))
    if tail == "t":
        noise = rng.standard_t(2, (n, d))
    X = factors + draw.pick(rng, [0.1, 1.0]) * noise
    if tail == "lognormal":
        X = np.exp(X)
    if tail == "outlier":
        X[rng.integers(n), rng.integers(d)] += 1e4
    facts.append(tail)
    unit = draw.pick(rng, ["one", "one", "table", "columns"])
    scale = {"one": 1.0, "table": 10 ** rng.uniform(-6, 6), "columns": 10 ** rng.uniform(-6, 6, d)}[unit]
    X *= scale
    if unit != "one":
        facts.append(f"scales {np.min(scale):.1e} to {np.max(scale):.1e}")
    if draw.chance(rng, 0.2):
        X += draw.pick(rng, [1e5, 1e5 * np.max(scale), -1e3 * scale])
        facts.append("shifted")
    if draw.chance(rng, 0.15):
        X = np.rint(X)
        facts.append("whole numbers")
    return draw.exact(draw.repeated(rng, X, facts))


def setup(seed: int) -> Setup:
    """Draw a set-up."""
    rng, facts = np.random.default_rng((1, seed)), []
    X = values(rng, facts)
    y = draw.labels(rng, len(X), facts)
    options = draw.training(rng, len(X)) | draw.network(rng)
    if draw.chance(rng, 0.2):
        X = draw.holed(rng, X, facts)
        options |= {"missing": "mask", "missing_indicator": draw.chance(rng, 0.5)}
    if draw.chance(rng, 0.1):
        unit = not any(fact.startswith("scales") for fact in facts)  # that of the noise is the data's
        options["corruption"] = GaussianNoise(0.3) if unit else MaskingNoise(0.2)
    kind: Any = VAE
    if draw.chance(rng, 0.15):
        kind, y = Autoencoder, None
    else:
        likelihoods = ["gaussian", Gaussian(0.3), *map(Gaussian, ["shared", "per_feature", "per_feature", "decoder"])]
        options["likelihood"] = draw.pick(rng, likelihoods)
        options |= draw.variational(rng, len(X), y is not None)
    container = draw.pick(rng, containers.suitable(X, sparse=True))
    return Setup("reals", seed, kind, options, X, container, facts, y)
