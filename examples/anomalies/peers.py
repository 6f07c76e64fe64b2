"""The detectors that AnomalyDetector is compared with, at their defaults: each fits X and scores a test set."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from tasks import Array, Task


def isolation_forest(task: Task, seed: int) -> Array:
    """scikit-learn's isolation forest (Liu, Ting & Zhou, 2008)."""
    return np.asarray(-IsolationForest(random_state=seed).fit(task.train).score_samples(task.test))


def local_outlier_factor(task: Task, seed: int) -> Array:
    """scikit-learn's local outlier factor (Breunig et al., 2000) of standardised columns."""
    scaler = StandardScaler().fit(task.train)
    model = LocalOutlierFactor(novelty=True).fit(scaler.transform(task.train))
    return np.asarray(-model.score_samples(scaler.transform(task.test)))


def pca_reconstruction(task: Task, seed: int) -> Array:
    """Squared error of the principal components with 90 % of the variance of standardised columns."""
    scaler = StandardScaler().fit(task.train)
    pca = PCA(0.9, svd_solver="full").fit(scaler.transform(task.train))
    rows = scaler.transform(task.test)
    return np.asarray(((rows - pca.inverse_transform(pca.transform(rows))) ** 2).sum(axis=1))


def pyod(module: str, name: str, **options: Any) -> Callable[[Task, int], Array]:
    """Return a detector of PyOD."""

    def scores(task: Task, seed: int) -> Array:
        from importlib import import_module

        model = getattr(import_module(f"pyod.models.{module}"), name)(random_state=seed, **options)
        return np.asarray(model.fit(task.train).decision_function(task.test))

    return scores


PEERS: dict[str, Callable[[Task, int], Array]] = {
    "isolation forest": isolation_forest,
    "LOF": local_outlier_factor,
    "PCA": pca_reconstruction,
    "PyOD PCA": pyod("pca", "PCA"),
    "PyOD VAE": pyod("vae", "VAE", verbose=0),
    "PyOD AutoEncoder": pyod("auto_encoder", "AutoEncoder", verbose=0),
}


def timed(detector: Callable[[Task, int], Array], task: Task, seed: int) -> tuple[Array, float]:
    """Return scores and seconds of fit and scoring."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        return detector(task, seed), time.perf_counter() - start
