"""Tables: three of scikit-learn's, and two that are simulated, one of them with a known best imputation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

Array = NDArray[Any]
Frame: TypeAlias = Any  # of pandas


class Table(NamedTuple):
    """A complete table, the target of a classifier among its columns, and the parameter ``columns``."""

    frame: Frame
    target: str | None = None
    columns: dict[str, Any] | None = None


def sklearn_table(load: Callable[..., Any], target: str | None) -> Table:
    """Return a table of scikit-learn; with its classes as a column if they have a name."""
    found = load(as_frame=True)
    frame = found.data.copy()
    if target is not None:
        frame[target] = np.asarray(found.target_names)[found.target]
    return Table(frame, target)


LEVELS = ["none", "some", "much"]


def known(n: int = 2000, seed: int = 0) -> tuple[Table, Callable[[Frame], Frame]]:
    """Simulate a mixed table from two latent dimensions, and return the best imputation: posterior means and modes.

    The posterior of z given the observed values is computed on a grid of 61 x 61 points.
    """
    rng = np.random.default_rng(seed)
    parameters = np.random.default_rng(1234)
    loadings, noise = parameters.normal(0, 1.2, (4, 2)), 0.5
    count, binary, level = parameters.normal(0, 0.6, 2), parameters.normal(0, 2, 2), parameters.normal(0, 2, 2)
    choice, cuts = parameters.normal(0, 2, (4, 2)), np.array([-1.0, 1.0])

    def log_levels(z: Array) -> dict[str, Array]:
        def normalized(logits: Array) -> Array:
            found: Array = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            return found

        yes = z @ binary
        below = 1 / (1 + np.exp(-(cuts - (z @ level)[:, np.newaxis])))
        steps = np.diff(below, axis=1, prepend=0, append=1)
        return {
            "member": normalized(np.stack([np.zeros(len(z)), yes], axis=1)),
            "region": normalized(z @ choice.T),
            "pain": np.log(np.maximum(steps, 1e-300)),
        }

    names = {"member": ["no", "yes"], "region": ["east", "north", "south", "west"], "pain": LEVELS}
    z = rng.normal(size=(n, 2))
    frame = pandas.DataFrame(z @ loadings.T + noise * rng.normal(size=(n, 4)), columns=["a", "b", "c", "d"])
    frame["visits"] = rng.poisson(np.exp(0.7 + z @ count))
    for name, logs in log_levels(z).items():
        drawn = (rng.random((n, 1)) > np.exp(logs).cumsum(1)).sum(1).clip(0, logs.shape[1] - 1)
        frame[name] = np.array(names[name], object)[drawn]

    def best(holed: Frame) -> Frame:
        axis = np.linspace(-4, 4, 61)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        log = np.tile(-(grid**2).sum(1) / 2, (len(holed), 1))
        means, rates, logs = grid @ loadings.T, np.exp(0.7 + grid @ count), log_levels(grid)
        for i, name in enumerate("abcd"):
            values = holed[name].to_numpy(float)
            log += np.nan_to_num(-((values[:, np.newaxis] - means[:, i]) ** 2) / (2 * noise**2))
        values = holed["visits"].to_numpy(float)[:, np.newaxis]
        log += np.nan_to_num(values * np.log(rates) - rates) * ~np.isnan(values)
        for name, found in logs.items():
            codes = pandas.Categorical(holed[name], names[name]).codes
            log[codes >= 0] += found.T[codes[codes >= 0]]
        share = np.exp(log - log.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        filled = holed.copy()
        for i, name in enumerate("abcd"):
            filled[name] = holed[name].fillna(pandas.Series(share @ means[:, i], holed.index))
        filled["visits"] = holed["visits"].fillna(pandas.Series(share @ rates, holed.index))
        for name, found in logs.items():
            modes = np.array(names[name], object)[(share @ np.exp(found)).argmax(1)]
            filled[name] = holed[name].fillna(pandas.Series(modes, holed.index))
        return filled

    return Table(frame, "member", {"pain": LEVELS}), best


SCHOOL = ["basic", "middle", "high school", "college", "bachelor", "master", "doctor"]


def adult(n: int = 5000, seed: int = 0) -> Table:
    """Simulate a census-like table: mixed kinds, long tails, dependent categories, most capital gains zero."""
    rng = np.random.default_rng(seed)

    def pick(names: list[str], logits: Array) -> Array:
        gumbel = rng.gumbel(size=(n, len(names)))
        found: Array = np.array(names, object)[(logits + gumbel).argmax(1)]
        return found

    drive, sex = rng.normal(size=n), pick(["female", "male"], np.tile([0.0, 0.7], (n, 1)))
    age = (17 + rng.gamma(2.6, 8.5, n)).clip(17, 90).astype(int)
    steps = np.arange(len(SCHOOL))
    wish = 2.6 + 1.2 * drive - 0.6 * (age > 60)
    school = pick(SCHOOL, -((steps - wish[:, np.newaxis]) ** 2) / 1.2)
    years = np.array([5, 8, 12, 14, 16, 18, 21])[[SCHOOL.index(each) for each in school]]
    marital = pick(
        ["divorced", "married", "single", "widowed"],
        np.stack([(age - 45) / 15, (age - 30) / 10, (36 - age) / 5, (age - 72) / 6], axis=1),
    )
    jobs = ["clerk", "craft", "farm", "manager", "professional", "sales", "service", "transport"]
    male = (sex == "male").astype(float)
    logits = np.stack(
        [
            1 - male * 1.5 + 0 * age,
            1.8 * male - (years - 11) / 3,
            male - (years - 9) / 2,
            (years - 14) / 3 + (age - 40) / 20,
            (years - 15) / 1.5,
            0.3 + 0 * years,
            1 - male - (years - 11) / 3,
            1.5 * male - (years - 10) / 2,
        ],
        axis=1,
    )
    job = pick(jobs, logits)
    hours = 40 + 6 * male + 4 * (job == "manager") - 12 * (age < 22) + rng.normal(0, 9, n)
    hours = np.where(rng.random(n) < 0.4, 40, hours.round()).clip(1, 99).astype(int)
    pay = np.exp(6.5 + 0.09 * (years - 12) + 0.25 * male + 0.012 * (hours - 40) + 0.3 * drive + rng.normal(0, 0.35, n))
    rich = rng.random(n) < 1 / (1 + np.exp(-(np.log(pay) - 7.2) * 4 - (marital == "married") + 0.4))
    gain = np.where(rng.random(n) < 0.04 + 0.2 * rich, np.exp(rng.normal(8 + rich, 0.8, n)), 0).round()
    visits = rng.poisson(np.exp(0.2 + (age - 40) / 30 + 0.4 * (1 - male)))
    frame = pandas.DataFrame(
        {
            "age": age,
            "sex": sex,
            "education": pandas.Categorical(school, SCHOOL, ordered=True),
            "years": years,
            "marital": marital,
            "job": job,
            "hours": hours,
            "wage": pay.round(2),
            "gain": gain.astype(int),
            "visits": visits,
            "income": np.where(rich, ">50k", "<=50k").astype(object),
        }
    )
    return Table(frame, "income", {"wage": "positive"})


def load(name: str, seed: int = 0) -> Table:
    """Return a table by its name."""
    if name == "known":
        return known(seed=seed)[0]
    if name == "adult":
        return adult(seed=seed)
    if name == "diabetes":
        return sklearn_table(load_diabetes, None)
    return sklearn_table(load_wine, "cultivar") if name == "wine" else sklearn_table(load_breast_cancer, "diagnosis")


def is_number(column: Any) -> bool:
    """Whether a column holds numbers."""
    return column.dtype.kind in "iuf"


def with_holes(frame: Frame, share: float, seed: int) -> tuple[Frame, Array]:
    """Return the table with a share of its values missing completely at random, and where."""
    holes = np.random.default_rng(seed).random(frame.shape) < share
    holed = pandas.DataFrame(index=frame.index)
    for i, name in enumerate(frame):
        column = frame[name].astype(float) if is_number(frame[name]) else frame[name]
        holed[name] = column.mask(holes[:, i])
    return holed, holes
