"""What must hold between two models that are trained on the same data in another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae import TopicModel
from fastvae.likelihoods import Gaussian
from generated import containers, inference
from generated.setup import Setup


def same_bits(a: Any, b: Any) -> str | None:
    """Return the name of a parameter that differs, or None."""
    first, second = a.state_dict(), b.state_dict()
    return next((name for name in first if not np.array_equal(first[name], second[name])), None)


def check_container(setup: Setup, model: Any) -> None:
    """The container does not matter."""
    flat = setup.image is None or len(setup.image) == 1
    counts = isinstance(setup.options.get("likelihood"), str) or setup.kind is TopicModel
    sparse = setup.family not in ("exams", "images")
    counts = counts and setup.family in ("counts", "documents")
    grey = setup.family != "exams"
    names = containers.suitable(setup.X, sparse=sparse, flat=flat, counts=counts, grey=grey)
    rng = setup.generator(3)
    name = names[int(rng.integers(len(names)))]
    differs = same_bits(model, setup.fit(container=name))
    assert differs is None, f"{name} instead of {setup.container}: {differs} differs"


def check_threads(setup: Setup, model: Any) -> None:
    """The number of threads does not matter."""
    differs = same_bits(model, setup.fit(setup.model(n_jobs=2)))
    assert differs is None, f"two threads: {differs} differs"


def check_again(setup: Setup, model: Any) -> None:
    """The same seed gives the same bits, also in an estimator that was fitted before."""
    differs = same_bits(model, setup.fit(setup.fit()))
    assert differs is None, f"a second fit: {differs} differs"


def check_units(setup: Setup, model: Any) -> None:
    """Other units move the score of a learned scale by d ln c, and leave R²."""
    rng = setup.generator(4)
    factor = 10 ** rng.uniform(-3, 3)
    if not _adapts_to_units(setup, min(1.0, factor)):
        return check_threads(setup, model)
    shift = 10 * np.nanstd(setup.X, 0).max() * rng.normal()
    X = ((setup.X + shift) * factor).astype(np.float32).astype(np.float64)
    other, y = setup.model().fit(X, setup.y), setup.condition()
    observed = (~np.isnan(X)).sum() / len(X)
    base, what = setup.given(container="float64"), f"times {factor:.3g} plus {shift:.3g}"
    a, b = np.mean(model.score_samples(base, **y)), np.mean(other.score_samples(X, **y)) + observed * np.log(factor)
    assert abs(a - b) <= 2 + 0.02 * observed, f"{what}: score {a:.5g} became {b:.5g}"
    if setup.options["epochs"] == 20 and "lognormal" not in setup.facts:
        first, second = _r2(setup.X, model.reconstruct(base, **y)), _r2(X, other.reconstruct(X, **y))
        assert abs(first - second) <= 0.1, f"{what}: R2 {first:.3f} became {second:.3f}"
    return None


def _adapts_to_units(setup: Setup, factor: float) -> bool:
    """Whether scales are learned and, times `factor`, far from their floor, and steps do not depend on units."""
    likelihood = setup.options.get("likelihood")
    learned = isinstance(likelihood, Gaussian) and not isinstance(likelihood.scale, float)
    if setup.family != "reals" or not learned or setup.options.get("optimizer") == "sgd":
        return False
    if {"outlier", "t"} & {*setup.facts} or "corruption" in setup.options or np.isnan(setup.X).all(0).any():
        return False
    return bool(np.nanstd(setup.X, 0).min() * factor > 0.1)


def check_column_order(setup: Setup, model: Any) -> None:
    """The order of the columns of the training data leaves the score about as it was."""
    if (
        "image_shape" in setup.options
        or inference.has_fixed_unit(setup)
        or setup.family in ("counts", "exams", "groups")
    ):
        return check_threads(setup, model)
    order = setup.generator(5).permutation(setup.X.shape[1])
    X, y = setup.X[:, order], setup.condition()
    other = setup.model().fit(X, setup.y)
    want = model.score_samples(setup.given(), **y)
    lost = float(np.median(want) - np.median(other.score_samples(X, **y)))
    most = 2 * inference.allowance(setup, want)
    assert abs(lost) <= most, f"columns permuted: the score falls by {lost:.3g} nats, allowed {most:.3g}"
    return None


def check_form(setup: Setup, model: Any) -> None:
    """Images may be given flat."""
    if setup.image is None:
        return check_threads(setup, model)
    flat = setup.model().fit(setup.X.astype(np.float32), setup.y)
    differs = same_bits(model, flat)
    assert differs is None, f"flat images: {differs} differs"
    return None


def check_without_holes(setup: Setup, model: Any) -> None:
    """Missing values may be allowed where there are none."""
    documents = setup.options.get("likelihood") == "multinomial" or setup.kind is TopicModel
    if setup.family == "exams" or documents or "missing" in setup.options:
        return check_threads(setup, model)
    differs = same_bits(model, setup.fit(setup.model(missing="mask")))
    assert differs is None, f"missing='mask': {differs} differs"
    return None


def _r2(X: Any, found: Any) -> float:
    """Return the share of the variance that a reconstruction explains, the median over the columns."""
    left, all_of_it = np.nansum((X - found) ** 2, 0), np.nansum((X - np.nanmean(X, 0)) ** 2, 0)
    return float(np.median(1 - left / all_of_it))


CHECKS: tuple[Callable[[Setup, Any], None], ...] = (
    check_container,
    check_units,
    check_threads,
    check_again,
    check_column_order,
    check_form,
    check_without_holes,
    check_container,
)
