"""Variational autoencoders on the CPU: a Rust engine with a scikit-learn interface.

>>> import fastvae
>>> X, y = fastvae.datasets.load_digits()
>>> vae = fastvae.VAE(latent_dim=2, hidden=(64,), epochs=50, random_state=0).fit(X)
>>> codes = vae.transform(X)      # posterior means, [1797, 2]
>>> images = vae.sample(16)       # decoder means of prior samples, [16, 64]
"""

from typing import TYPE_CHECKING, Any

from fastvae import corruption, datasets, functional, latent, layers, likelihoods, optimizers, priors, schedules
from fastvae._checks import ConvergenceWarning, NotFittedError
from fastvae._config import show_config
from fastvae._core import FormatError, __version__
from fastvae._data.binary import binarize
from fastvae._estimators.autoencoder import Autoencoder
from fastvae._estimators.loading import load, resume
from fastvae._estimators.vae import VAE

if TYPE_CHECKING:
    from fastvae import callbacks, distributed, plots
    from fastvae import dask as dask  # not in __all__, like torch
    from fastvae import torch as torch  # not in __all__: a star import would hide torch
    from fastvae._estimators.anomaly_detector import AnomalyDetector
    from fastvae._estimators.count_vae import CountVAE
    from fastvae._estimators.imputer import Imputer
    from fastvae._estimators.item_response import ItemResponse
    from fastvae._estimators.recommender import Recommender
    from fastvae._estimators.tabular import TabularVAE
    from fastvae._estimators.topic_model import TopicModel
    from fastvae._explorer.explorer import explorer

__all__ = [
    "VAE",
    "AnomalyDetector",
    "Autoencoder",
    "ConvergenceWarning",
    "CountVAE",
    "FormatError",
    "Imputer",
    "ItemResponse",
    "NotFittedError",
    "Recommender",
    "TabularVAE",
    "TopicModel",
    "__version__",
    "binarize",
    "callbacks",
    "corruption",
    "datasets",
    "distributed",
    "explorer",
    "functional",
    "latent",
    "layers",
    "likelihoods",
    "load",
    "optimizers",
    "plots",
    "priors",
    "resume",
    "schedules",
    "show_config",
]


# Imported on first access: most programs do not use them.
_LAZY = {
    "CountVAE": "fastvae._estimators.count_vae",
    "AnomalyDetector": "fastvae._estimators.anomaly_detector",
    "Imputer": "fastvae._estimators.imputer",
    "ItemResponse": "fastvae._estimators.item_response",
    "Recommender": "fastvae._estimators.recommender",
    "TabularVAE": "fastvae._estimators.tabular",
    "TopicModel": "fastvae._estimators.topic_model",
    "explorer": "fastvae._explorer.explorer",
}
_LAZY_MODULES = ("callbacks", "dask", "distributed", "plots", "torch")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY_MODULES:
        return import_module(f"fastvae.{name}")
    if name in _LAZY:
        globals()[name] = found = getattr(import_module(_LAZY[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((globals().keys() | set(__all__)) - {"Any", "TYPE_CHECKING"})
