"""Tables of mixed columns for TabularVAE and Imputer: units, tails, levels without rows, holes, no values."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow

import fastvae
from fastvae import Imputer, TabularVAE
from generated import draw

KINDS = ("real", "real", "tail", "whole", "count", "levels", "levels", "grade", "yes", "odd")
MODELLED = ("real", "positive", "count", "binary", "categorical", "ordinal")


@dataclass
class Frames:
    """A table, and the options of a model."""

    family: str
    seed: int
    options: dict[str, Any]
    frame: Any  # of pandas
    container: str
    facts: list[str]

    def given(self, frame: Any = None) -> Any:
        """Return the table in its container."""
        frame = self.frame if frame is None else frame
        if self.container == "pandas":
            return frame
        plain = frame.astype({name: object for name in frame if str(frame[name].dtype) == "category"})
        plain = plain.where(plain.notna(), None) if self.container == "array" else plain
        if self.container == "array":
            return plain.to_numpy(object)
        return polars.from_pandas(plain) if self.container == "polars" else pyarrow.Table.from_pandas(plain)

    def model(self, kind: Any = TabularVAE, **more: Any) -> Any:
        """Return an estimator, not fitted."""
        return kind(**(self.options | more))

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        kinds = f"{len(self.frame)} rows, {self.container}, {', '.join(self.facts)}"
        return f"python -m generated {self.family} {self.seed}   # TabularVAE({options}) on {kinds}"

    def check(self) -> None:
        """Raise AssertionError unless everything holds."""
        X = self.given()
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", UserWarning)
            try:
                model = self.model().fit(X)
            except ValueError as error:
                if "nothing to learn" not in str(error):
                    raise
                return
            self._check_tables(model, X)
            self._check_scores(model, X)
            self._check_saved(model, X)
            twin = (self._check_threads, self._check_units, self._check_imputer)[self.seed % 3]
            twin(model, X)

    # Internal

    def _check_tables(self, model: Any, X: Any) -> None:
        kinds = list(model.kinds_.values())
        before = columns(X)
        for filled in (model.impute(X), *model.impute(X, n=2, random_state=0)):
            after = columns(filled)
            for old, new, kind in zip(before, after, kinds, strict=True):
                same = [missing(a) or a == b for a, b in zip(old, new, strict=True)]
                assert all(same), "an observed value has changed"
                assert kind == "empty" or not any(map(missing, new)), f"a hole of a {kind} column is left"
                self._check_values(old, new)
        assert type(filled) is type(X), "another container"
        for prior in ("fitted", "normal"):
            made = model.sample(20, prior=prior, random_state=0)
            for old, new, kind in zip(before, columns(made), kinds, strict=True):
                assert kind == "empty" or not any(map(missing, new)), f"a {kind} column has holes in synthetic rows"
                self._check_values(old, new)
        if self.container == "pandas":
            assert list(made.dtypes) == list(X.dtypes), "other dtypes"
        labels = [label for label, kind in model.kinds_.items() if kind in MODELLED]
        place = list(model.kinds_).index(labels[0])
        value = next(value for value in before[place] if not missing(value))
        fixed = columns(model.sample(5, given={labels[0]: value}, random_state=0))[place]
        assert all(each == value or np.isclose(each, value) for each in fixed), "a given value has changed"

    @staticmethod
    def _check_values(old: list[Any], new: list[Any]) -> None:
        known = [value for value in old if not missing(value)]
        found = [value for value in new if not missing(value)]
        if not known or not found:
            return
        if isinstance(known[0], (str, bool, np.bool_)):
            assert set(found) <= set(known), "a level that the table does not have"
        else:
            low, high = min(known), max(known)
            slack = 1e-5 * (abs(low) + abs(high))
            assert low - slack <= min(found) and max(found) <= high + slack, "a number beyond the range"  # noqa: PT018

    def _check_scores(self, model: Any, X: Any) -> None:
        for name, values in (
            ("scores", model.score_samples(X)),
            ("marginal", model.log_marginal(X, 5).estimate),
            ("codes", model.transform(X)),
            ("losses", np.array(list(model.evaluate(X).values()))),
            ("shares", np.asarray(model.anomaly_score(X, per_column=True), float)),
        ):
            holes = name == "losses" and not any(not missing(v) for column in columns(X) for v in column)
            assert holes or np.isfinite(values).all(), f"{name} are not finite"
        assert all(np.isfinite(array).all() for array in model.state_dict().values()), "weights are not finite"

    def _check_saved(self, model: Any, X: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "model")
            again: Any = fastvae.load(Path(folder) / "model")
        assert np.array_equal(again.transform(X), model.transform(X)), "loaded: other codes"
        made = (columns(each.sample(9, random_state=1)) for each in (again, model))
        assert all(same(a, b) for a, b in zip(*made, strict=True)), "loaded: other synthetic rows"

    def _check_threads(self, model: Any, X: Any) -> None:
        other = self.model(n_jobs=2).fit(X)
        for name, array in model.state_dict().items():
            assert np.array_equal(array, other.state_dict()[name]), f"two threads: {name} differs"
        made = (columns(each.sample(9, random_state=1)) for each in (other, model))
        assert all(same(a, b) for a, b in zip(*made, strict=True)), "two threads: other synthetic rows"

    def _check_units(self, model: Any, X: Any) -> None:
        """Other units of real columns leave the scores."""
        if "validation_fraction" in self.options:
            return
        frame = self.frame.copy()
        for name, kind in zip(frame, model.kinds_.values(), strict=True):
            if kind == "real" and frame[name].dtype == np.float64:
                frame[name] = frame[name] * 1024.0
        other = self.model().fit(self.given(frame))
        if list(other.kinds_.values()) != list(model.kinds_.values()):
            return  # kinds are found from values
        a, b = model.score_samples(X), other.score_samples(self.given(frame))
        assert np.allclose(a, b, rtol=1e-3, atol=1e-3), f"other units: scores differ by {np.abs(a - b).max():.3g}"

    def _check_imputer(self, model: Any, X: Any) -> None:
        imputer = self.model(Imputer, add_indicator=True).fit(X)
        filled = columns(imputer.transform(X))
        assert len(filled) == len(imputer.get_feature_names_out())
        assert not any(missing(value) for column in filled for value in column), "the Imputer leaves holes"


def columns(X: Any) -> list[list[Any]]:
    """Return the columns of a table as lists."""
    if isinstance(X, np.ndarray):
        return [list(column) for column in X.T]
    if hasattr(X, "iloc"):
        return [X.iloc[:, i].tolist() for i in range(X.shape[1])]
    return [X[name].to_list() if hasattr(X, "get_column") else X[name].to_pylist() for name in names(X)]


def names(X: Any) -> list[str]:
    """Return the names of a table's columns."""
    return list(X.columns) if hasattr(X, "get_column") else list(X.column_names)


def missing(value: Any) -> bool:
    """Whether a cell is a hole."""
    return value is None or value is pandas.NA or value != value


def same(a: list[Any], b: list[Any]) -> bool:
    """Whether two columns are equal, holes too."""
    return all((missing(x) and missing(y)) or x == y for x, y in zip(a, b, strict=True))


def _column(rng: draw.Rng, z: Any, facts: list[str]) -> Any:
    """Return a column that may depend on z."""
    n, kind = (
        len(z),
        draw.pick(rng, ["real", "real", "tail", "whole", "count", "levels", "levels", "grade", "yes", "odd"]),
    )
    y = draw.pick(rng, [0.0, 1.0, 3.0]) * z + rng.normal(size=n)
    unit = 10 ** rng.uniform(-30, 30) if draw.chance(rng, 0.1) else 10 ** rng.uniform(-6, 6)
    facts.append(kind)
    if kind == "real":
        return pandas.Series(unit * (y + draw.pick(rng, [0.0, 100.0])))
    if kind == "tail":
        return pandas.Series(
            draw.pick(rng, [np.exp(y), np.exp(3 * y), rng.standard_t(1, n), np.where(y > 2, 1e6, 0.0)])
        )
    if kind == "whole":
        return pandas.Series((100 * y).round().astype(np.int64))
    if kind == "count":
        found = rng.poisson(np.exp(np.clip(draw.pick(rng, [-3.0, 1.0, 6.0]) + y, None, 15)))
        return pandas.Series(found, dtype=draw.pick(rng, ["int64", "float64", "Int64"]))
    if kind == "levels":
        levels = int(draw.pick(rng, [1, 2, 3, 15]))
        texts = pandas.Series([f"level {i}" for i in (np.abs(y * 2).astype(int) % levels)], dtype=object)
        return texts.astype("category").cat.add_categories(["never"]) if draw.chance(rng, 0.3) else texts
    if kind == "grade":
        cuts = np.digitize(y, [-1, 0.5, 5])
        return pandas.Series(pandas.Categorical(np.array(list("abcd"))[cuts], list("abcd"), ordered=True))
    if kind == "yes":
        return pandas.Series(y > draw.pick(rng, [0, 2]), dtype=draw.pick(rng, ["bool", "boolean"]))
    odd = draw.pick(rng, ["constant", "empty", "one value", "copies"])
    facts.append(odd)
    if odd == "constant":
        return pandas.Series(np.full(n, draw.pick(rng, [0.0, 7.5, 1e20])))
    if odd == "empty":
        return pandas.Series([None] * n, dtype=draw.pick(rng, ["float64", "object"]))
    if odd == "one value":
        return pandas.Series(np.where(np.arange(n) == 0, 3.5, np.nan))
    return pandas.Series(np.round(z, 1))


def setup(seed: int) -> Frames:
    """Draw a set-up."""
    rng, facts = np.random.default_rng((7, seed)), list[str]()
    n, z = draw.rows(rng), None
    z = rng.normal(size=n)
    frame = pandas.DataFrame({f"c{i}": _column(rng, z, facts) for i in range(int(rng.integers(1, 9)))})
    if draw.chance(rng, 0.6):
        share = draw.pick(rng, [0.02, 0.3, 0.7])
        facts.append(f"{share:.0%} holes")
        for name in frame:
            gone = rng.random(n) < share
            if draw.chance(rng, 0.05):
                gone[:] = True
            if frame[name].dtype.kind in "ib" and isinstance(frame[name].dtype, np.dtype):
                frame[name] = frame[name].astype({"i": "Int64", "b": "boolean"}[frame[name].dtype.kind])
            frame[name] = frame[name].mask(gone)
    if draw.chance(rng, 0.1):
        frame = frame.iloc[rng.integers(0, max(1, n // 3), n)].reset_index(drop=True)
        facts.append("copied rows")
    options = draw.training(rng, n)
    for name in ("optimizer", "clip_norm"):
        options.pop(name, None)
    options |= {"latent_dim": int(rng.integers(1, 5)), "hidden": draw.dense_layers(rng)}
    if draw.chance(rng, 0.3):
        options["normalize"] = "quantile"
    if draw.chance(rng, 0.2):
        options["masking"] = 0.3
    return Frames(
        "frames", seed, options, frame, draw.pick(rng, ["pandas", "pandas", "polars", "arrow", "array"]), facts
    )
