"""Imputation of tables with holes: fastvae.TabularVAE beside imputers of scikit-learn and MissForest.

    python examples/tables/impute.py [--tables cancer wine diabetes known adult] [--seeds 3] [--share 0.25]

Values are missing completely at random. "error" is the root mean squared error of missing numbers, in standard
deviations of their columns; "right" the share of missing levels that are right. All run with one thread. Prints a
table in Markdown, as in README.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression
from tables import Array, Table, is_number, known, load, with_holes

import fastvae

Frame: TypeAlias = Any


def encoded(holed: Frame) -> tuple[Array, list[tuple[str, slice, list[Any]]], Array, Array]:
    """Return numbers standardised and levels one-hot, with NaN for holes; the columns of each, means and scales."""
    blocks, places, means, scales, end = [], [], [], [], 0
    for name in holed:
        column = holed[name]
        if is_number(column):
            mean, scale, levels = column.mean(), column.std() or 1.0, list[Any]()
            block = ((column - mean) / scale).to_numpy(float)[:, np.newaxis]
        else:
            mean, scale, levels = 0.0, 1.0, sorted(column.dropna().unique())
            block = np.array([[float(value == level) for level in levels] for value in column])
            block[column.isna()] = np.nan
        blocks.append(block)
        places.append((name, slice(end, end + block.shape[1]), levels))
        end += block.shape[1]
        means += [mean] * block.shape[1]
        scales += [scale] * block.shape[1]
    return np.hstack(blocks), places, np.array(means), np.array(scales)


def decoded(holed: Frame, values: Array, encoding: Any) -> Frame:
    """Return the table with its holes filled from encoded values."""
    _, places, means, scales = encoding
    values, filled = values * scales + means, holed.copy()
    for name, place, levels in places:
        found = np.array(levels, object)[values[:, place].argmax(1)] if levels else values[:, place.start]
        filled[name] = holed[name].where(holed[name].notna(), pandas.Series(found, holed.index))
    return filled


def by_matrix(imputer: Callable[[int], Any]) -> Callable[[Frame, Table, int], Frame]:
    """Return an imputation by an imputer of matrices."""

    def impute(holed: Frame, table: Table, seed: int) -> Frame:
        encoding = encoded(holed)
        return decoded(holed, imputer(seed).fit_transform(encoding[0]), encoding)

    return impute


def mean_and_mode(holed: Frame, table: Table, seed: int) -> Frame:
    """Impute means and modes."""
    return holed.fillna({name: c.mean() if is_number(c) else c.mode()[0] for name, c in holed.items()})


def chained(holed: Frame, models: Callable[[bool], Any], rounds: int) -> Frame:
    """Impute each column in turn by a model of all others, for some rounds."""
    missing, filled = holed.isna(), mean_and_mode(holed, Table(holed), 0)
    order = missing.sum().sort_values().index
    for _ in range(rounds):
        for name in order:
            rows, number = missing[name].to_numpy(), is_number(holed[name])
            if rows.any():
                inputs = encoded(filled.drop(columns=name))[0]
                target = filled[name].to_numpy(float if number else object)
                filled.loc[rows, name] = models(number).fit(inputs[~rows], target[~rows]).predict(inputs[rows])
    return filled


def chained_equations(holed: Frame, table: Table, seed: int) -> Frame:
    """Impute by linear and logistic regressions (the means of MICE): four rounds."""
    return chained(holed, lambda number: BayesianRidge() if number else LogisticRegression(max_iter=200), 4)


def miss_forest(holed: Frame, table: Table, seed: int) -> Frame:
    """Impute as MissForest (Stekhoven & Bühlmann, Bioinformatics 28, 2012): four rounds of random forests."""
    options = {"n_estimators": 50, "min_samples_leaf": 2, "max_features": 0.5, "n_jobs": 1, "random_state": seed}
    return chained(holed, lambda n: (RandomForestRegressor if n else RandomForestClassifier)(**options), 4)


def tabular(holed: Frame, table: Table, seed: int) -> Frame:
    """Impute by fastvae with its defaults."""
    columns = table.columns and {name: kind for name, kind in table.columns.items() if name in holed}
    model = fastvae.TabularVAE(columns=columns, random_state=seed, n_jobs=1).fit(holed)
    found: Frame = model.impute(holed)
    return found


def best_possible(holed: Frame, table: Table, seed: int) -> Frame:
    """Impute the table of known structure by its own model."""
    return known(seed=seed)[1](holed)


WAYS: dict[str, Callable[[Frame, Table, int], Frame]] = {
    "mean, mode": mean_and_mode,
    "KNNImputer": by_matrix(lambda seed: KNNImputer()),
    "IterativeImputer": by_matrix(lambda seed: IterativeImputer(max_iter=10, random_state=seed)),
    "chained regressions": chained_equations,
    "MissForest": miss_forest,
    "TabularVAE": tabular,
}


def errors(filled: Frame, full: Frame, holes: Array) -> tuple[float, float]:
    """Return the error of missing numbers and the share of right levels, NaN without any."""
    squares, right = [], []
    for i, name in enumerate(full):
        rows = holes[:, i]
        if is_number(full[name]):
            wrong = filled[name].to_numpy(float)[rows] - full[name].to_numpy(float)[rows]
            squares.append((wrong / full[name].std()) ** 2)
        else:
            right.append(filled[name].to_numpy(object)[rows] == full[name].to_numpy(object)[rows])
    error = float(np.sqrt(np.concatenate(squares).mean())) if squares else np.nan
    return error, float(np.concatenate(right).mean()) if right else np.nan


def main() -> None:
    """Compare on tables and seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=["cancer", "wine", "diabetes", "known", "adult"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.25)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("| table | imputation | error | right | seconds |\n| :-- | :-- | --: | --: | --: |", flush=True)
    for name in options.tables:
        runs: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(options.seeds):
            table = load(name, seed)
            full = table.frame if name in ("known", "adult") else table.frame.drop(columns=table.target or [])
            holed, holes = with_holes(full, options.share, seed)
            ways = {way: WAYS[way] for way in options.ways}
            if name == "known":
                ways["best possible"] = best_possible
            if not all(is_number(column) for _, column in full.items()):
                ways.pop("IterativeImputer", None)  # it has no levels: see "chained regressions"
            for way, impute in ways.items():
                start = time.perf_counter()
                filled = impute(holed, table, seed)
                seconds = time.perf_counter() - start
                runs.setdefault(way, []).append((*errors(filled, full, holes), seconds))
        for way, found in runs.items():
            error, right, _ = np.mean(found, axis=0)
            seconds = np.median([run[2] for run in found])
            levels = "" if np.isnan(right) else f"{right:.3f}"
            print(f"| {name} | {way} | {error:.3f} | {levels} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
