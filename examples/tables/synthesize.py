"""Synthetic tables: fastvae.TabularVAE beside CTGAN's TVAE (PyTorch) and independent columns.

    pip install --no-deps ctgan rdt faker
    python examples/tables/synthesize.py [--tables known adult cancer wine] [--seeds 3]

Models are fitted to 60 % of the rows. Of as many synthetic rows

- "two samples" is the ROC-AUC of gradient boosting that tells them from the other 40 %: 0.5 is indistinguishable;
- "shapes" is the mean distance of a column's distribution to that of the held-out rows: Kolmogorov-Smirnov of numbers,
  total variation of levels;
- "pairs" is the mean error of pairs of columns: half the difference of Spearman's correlations of two numbers, else the
  total variation of the contingency table, numbers in four bins;
- "trained" is the ROC-AUC on held-out rows of gradient boosting that is trained on synthetic rows;
- "nearer" is the share of synthetic rows that are nearer to a training row than to any of as many held-out rows: 0.5 if
  no training row is remembered.

All run with one thread; "seconds" is fitting and drawing. Prints a table in Markdown, as in README.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors
from tables import Array, Frame, Table, is_number, load

import fastvae


def tabular(prior: str = "fitted", **options: Any) -> Callable[[Frame, Table, int], Frame]:
    """Return fastvae with its defaults but for `options`."""

    def draw(train: Frame, table: Table, seed: int) -> Frame:
        model = fastvae.TabularVAE(columns=table.columns, random_state=seed, n_jobs=1, **options).fit(train)
        found: Frame = model.sample(len(train), prior=prior, random_state=seed)
        return found

    return draw


def tvae(train: Frame, table: Table, seed: int) -> Frame:
    """Draw by CTGAN's TVAE with its defaults: 300 epochs."""
    import torch
    from ctgan import TVAE  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    np.random.seed(seed)  # noqa: NPY002
    plain = train.astype({name: object for name in train if not is_number(train[name])})
    model = TVAE(enable_gpu=False)
    model.fit(plain, [name for name in plain if not is_number(plain[name])])
    found: Frame = model.sample(len(train))
    return found


def independent(train: Frame, table: Table, seed: int) -> Frame:
    """Draw each column from its training values, independently of the others."""
    rng = np.random.default_rng(seed)
    return pandas.DataFrame({name: rng.choice(column.to_numpy(), len(train)) for name, column in train.items()})


WAYS: dict[str, Callable[[Frame, Table, int], Frame]] = {
    "independent columns": independent,
    "TVAE": tvae,
    "TabularVAE": tabular(),
    "TabularVAE, quantile": tabular(normalize="quantile"),
    "TabularVAE, quantile, beta 0.5": tabular(normalize="quantile", beta=0.5),
    "TabularVAE, quantile, N(0, I)": tabular("normal", normalize="quantile"),
}


def as_numbers(frame: Frame, like: Frame) -> Array:
    """Return a matrix for trees: levels as codes."""
    found = []
    for name in like:
        if is_number(like[name]):
            found.append(frame[name].to_numpy(float))
        else:
            found.append(pandas.Categorical(frame[name], sorted(like[name].astype(str).unique())).codes.astype(float))
    return np.stack(found, axis=1)


def trees() -> Any:
    """Return the classifier of the measures."""
    return HistGradientBoostingClassifier(max_iter=60, random_state=0)


def two_samples(made: Frame, real: Frame) -> float:
    """Return the ROC-AUC of trees that tell synthetic rows from real ones."""
    n = min(len(made), len(real))
    X = as_numbers(pandas.concat([made[:n], real[:n]]), real)
    y = np.repeat([1, 0], n)
    return float(roc_auc_score(y, cross_val_predict(trees(), X, y, cv=3, method="predict_proba")[:, 1]))


def shares(a: Array, b: Array) -> float:
    """Return the total variation between two samples of labels."""
    levels = set(a) | set(b)
    return float(sum(abs(np.mean(a == level) - np.mean(b == level)) for level in levels) / 2)


def shapes(made: Frame, real: Frame) -> float:
    """Return the mean distance of the columns' distributions."""
    found = []
    for name in real:
        a, b = made[name].to_numpy(), real[name].to_numpy()
        if is_number(real[name]):
            found.append(stats.ks_2samp(a.astype(float), b.astype(float)).statistic)
        else:
            found.append(shares(a.astype(str), b.astype(str)))
    return float(np.mean(found))


def pairs(made: Frame, real: Frame) -> float:
    """Return the mean error of pairs of columns."""

    def binned(frame: Frame, name: str) -> Array:
        values: Array = frame[name].to_numpy()
        if is_number(real[name]):
            edges = np.quantile(real[name].to_numpy(float), [0.25, 0.5, 0.75])
            values = np.digitize(values.astype(float), edges)
        return values.astype(str)

    labels = {name: (binned(made, name), binned(real, name)) for name in real}
    found = []
    for one, other in list(combinations(real.columns, 2))[:150]:
        if is_number(real[one]) and is_number(real[other]):
            a, b = (
                stats.spearmanr(frame[one].astype(float), frame[other].astype(float)).statistic
                for frame in (made, real)
            )
            found.append(abs(np.nan_to_num(a) - b) / 2)
        else:
            a, b = (np.char.add(np.char.add(labels[one][i], "|"), labels[other][i]) for i in (0, 1))
            found.append(shares(a, b))
    return float(np.mean(found))


def trained(made: Frame, real: Frame, target: str) -> float:
    """Return the ROC-AUC on real rows of trees that are trained on synthetic ones."""
    y, y_real = made[target].astype(str).to_numpy(), real[target].astype(str).to_numpy()
    if len(set(y)) < len(set(y_real)):
        return 0.5
    inputs = real.drop(columns=target)
    model = trees().fit(as_numbers(made.drop(columns=target), inputs), y)
    p = model.predict_proba(as_numbers(inputs, inputs))
    if p.shape[1] == 2:
        return float(roc_auc_score(y_real == model.classes_[1], p[:, 1]))
    return float(roc_auc_score(y_real, p, multi_class="ovr", labels=model.classes_))


def nearer(made: Frame, train: Frame, real: Frame) -> float:
    """Return the share of synthetic rows whose nearest real row is a training row, out of as many of both."""
    rows, ours, others = (as_numbers(frame, train) for frame in (made, train[: len(real)], real))
    scale = ours.std(0) + 1e-9
    near = [
        NearestNeighbors(n_neighbors=1).fit(each / scale).kneighbors(rows / scale)[0][:, 0] for each in (ours, others)
    ]
    return float(np.mean(near[0] < near[1]) + np.mean(near[0] == near[1]) / 2)


def measured(made: Frame, train: Frame, real: Frame, target: str) -> tuple[float, ...]:
    """Return all measures."""
    measures = two_samples(made, real), shapes(made, real), pairs(made, real), trained(made, real, target)
    return (*measures, nearer(made, train, real))


def main() -> None:
    """Compare on tables and seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=["known", "adult", "cancer", "wine"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("| table | rows | two samples | shapes | pairs | trained | nearer | seconds |")
    print("| :-- | :-- | --: | --: | --: | --: | --: | --: |", flush=True)
    for name in options.tables:
        runs: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(options.seeds):
            table = load(name, seed)
            order = np.random.default_rng(seed).permutation(len(table.frame))
            cut = round(0.6 * len(order))
            train, test = (table.frame.iloc[rows].reset_index(drop=True) for rows in (order[:cut], order[cut:]))
            assert table.target is not None
            runs.setdefault("real rows", []).append((*measured(train, train, test, table.target), 0.0))
            for way in options.ways:
                start = time.perf_counter()
                made = WAYS[way](train, table, seed)
                seconds = time.perf_counter() - start
                runs.setdefault(way, []).append((*measured(made, train, test, table.target), seconds))
        for way, found in runs.items():
            mean, seconds = np.mean(found, axis=0), float(np.median([run[-1] for run in found]))
            cells = " | ".join(f"{value:.3f}" for value in mean[:-1])
            print(f"| {name} | {way} | {cells} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
