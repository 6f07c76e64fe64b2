"""Exams: few answers, students and tasks without answers, tasks that all or none have solved, marks."""

from __future__ import annotations

import numpy as np

from fastvae import ItemResponse
from generated import containers, draw
from generated.setup import Setup


def setup(seed: int) -> Setup:
    """Draw a set-up."""
    rng, facts = np.random.default_rng((5, seed)), []
    n, d = draw.rows(rng), int(draw.pick(rng, [rng.integers(1, 5), rng.integers(5, 30)]))
    most = draw.pick(rng, [None, None, 1, 3, "several"])
    marks = rng.integers(1, 6, d) if most == "several" else np.full(d, most or 1)
    ability, slopes = rng.normal(size=(n, 1)), rng.lognormal(0, 0.5, d)
    logits = slopes * ability + draw.pick(rng, [0.5, 2.0, 6.0]) * rng.normal(size=d)
    X = rng.binomial(marks, 1 / (1 + np.exp(-logits))).astype(float)
    for p, value, fact in ((0.3, 0.0, "task unsolved"), (0.3, 1.0, "task solved by all")):
        if draw.chance(rng, p):
            task = rng.integers(d)
            X[:, task] = value * marks[task]
            facts.append(fact)
    for p, value, fact in ((0.2, 0.0, "student without marks"), (0.2, 1.0, "student with all marks")):
        if draw.chance(rng, p):
            X[rng.integers(n)] = value * marks
            facts.append(fact)
    if draw.chance(rng, 0.1):
        task = rng.integers(d)
        X[:, task] = marks[task] - X[:, task]
        facts.append("reverse-keyed task")
    if draw.chance(rng, 0.5):
        X = draw.holed(rng, X, facts)
    options = draw.training(rng, len(X)) | {"model": draw.pick(rng, ["2pl", "2pl", "rasch", "through_origin"])}
    options |= {"hidden": draw.dense_layers(rng), "epochs": int(draw.pick(rng, [10, 60, 150]))}
    options["batch_size"] = max(16, options.get("batch_size", 64))
    if options["model"] == "2pl" and draw.chance(rng, 0.3):
        options["n_dims"] = 2
    if most is not None:
        options["max_marks"] = draw.pick(rng, [marks, marks.tolist()]) if most == "several" else most
    if draw.chance(rng, 0.2):
        options["prior"] = None
    container = draw.pick(rng, containers.suitable(X, sparse=False, grey=False))
    return Setup("exams", seed, ItemResponse, options, X, container, facts)
