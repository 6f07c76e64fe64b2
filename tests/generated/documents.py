"""Documents: short ones, long-tailed lengths, empty ones, small vocabularies."""

from __future__ import annotations

import numpy as np

from fastvae import TopicModel
from generated import containers, draw
from generated.setup import Setup


def setup(seed: int) -> Setup:
    """Draw a set-up."""
    rng, facts = np.random.default_rng((6, seed)), []
    n, words = draw.rows(rng), int(draw.pick(rng, [1, rng.integers(2, 6), rng.integers(20, 120)]))
    topics = rng.dirichlet(np.full(words, 0.1), 4)
    shares = rng.dirichlet(np.full(4, 0.3), n)
    lengths = draw.pick(
        rng,
        [
            np.full(n, 10),
            rng.integers(1, 100, n),
            np.rint(rng.lognormal(np.log(80), 1.5, n)).astype(int),
            rng.integers(0, 3, n),
            np.full(n, 100_000),
        ],
    )
    p = shares @ topics
    X = np.stack([rng.multinomial(length, row / row.sum()) for length, row in zip(lengths, p, strict=True)])
    X = draw.repeated(rng, X.astype(float), facts)
    if draw.chance(rng, 0.3):
        X[rng.random(n) < 0.2] = 0
        facts.append("empty documents")
    facts.append(f"{int(X.sum())} words")
    options = draw.training(rng, len(X)) | {"n_topics": int(draw.pick(rng, [2, 3, 8]))}
    options |= {"decoder": draw.pick(rng, ["mixture", "product"]), "hidden": draw.pick(rng, [(8,), (12, 7)])}
    options["epochs"] = int(draw.pick(rng, [5, 15, 30]))
    options.pop("optimizer", None)
    if draw.chance(rng, 0.2):
        options["alpha"] = draw.pick(rng, [0.02, 0.1, 2.0])
    if draw.chance(rng, 0.2):
        some = ["log1p", "binary", "l1", "l2"]
        options["input_transform"] = draw.pick(rng, some + [None] * bool(X.max() < 100))  # goes astray in long ones
    container = draw.pick(rng, containers.suitable(X, sparse=True, counts=True))
    return Setup("documents", seed, TopicModel, options, X, container, facts)
