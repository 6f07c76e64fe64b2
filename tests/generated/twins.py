"""What must hold between two models that are trained on the same data in another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae import TopicModel
from fastvae.likelihoods import Gaussian
from generated import containers
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
    names = containers.suitable(
        setup.X, sparse=sparse, flat=flat, counts=counts and setup.family in ("counts", "documents")
    )
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
    likelihood = setup.options.get("likelihood")
    if setup.family != "reals" or not isinstance(likelihood, Gaussian) or isinstance(likelihood.scale, float):
        return check_threads(setup, model)
    if np.isnan(setup.X).all(0).any():
        return check_threads(setup, model)
    spread = np.nanstd(setup.X, 0)
    rng = setup.generator(4)
    factor = 10 ** rng.uniform(-3, 3)
    if (
        {"outlier", "t"} & {*setup.facts} or spread.min() < 0.1 or spread.min() * factor < 0.1
    ):  # the floor of the scale is near
        return check_threads(setup, model)
    shift = 10 * np.nanmax(spread) * rng.normal()
    X = ((setup.X + shift) * factor).astype(np.float32).astype(np.float64)
    other = setup.model().fit(X, setup.y)
    y = setup.condition()
    observed = (~np.isnan(X)).sum() / len(X)
    base = setup.given(container="float64")
    a, b = np.mean(model.score_samples(base, **y)), np.mean(other.score_samples(X, **y)) + observed * np.log(factor)
    assert abs(a - b) <= 2 + 0.02 * observed, f"times {factor:.3g} plus {shift:.3g}: score {a:.5g} became {b:.5g}"
    first, second = _r2(setup.X, model.reconstruct(base, **y)), _r2(X, other.reconstruct(X, **y))
    assert abs(first - second) <= 0.1, f"times {factor:.3g} plus {shift:.3g}: R2 {first:.3f} became {second:.3f}"


def _r2(X: Any, found: Any) -> float:
    """Return the share of the variance that a reconstruction explains, the median over the columns."""
    left, all_of_it = np.nansum((X - found) ** 2, 0), np.nansum((X - np.nanmean(X, 0)) ** 2, 0)
    return float(np.median(1 - left / all_of_it))


CHECKS: tuple[Callable[[Setup, Any], None], ...] = (
    check_container,
    check_container,
    check_threads,
    check_again,
    check_units,
)
