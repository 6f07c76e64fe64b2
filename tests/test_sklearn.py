"""scikit-learn: its own checks, pipelines, searches, metadata, names of columns, notebooks."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import small
from sklearn_checks import WEIGHTS, passes_all_checks

import fastvae
from fastvae import Autoencoder, TopicModel

sklearn = pytest.importorskip("sklearn", reason="scikit-learn, which these tests need, is not installed")
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402

DIGITS, LABELS = fastvae.datasets.load_digits()
X = DIGITS[:150]

# ------------------------------------------------------------------------------------------- scikit-learn's checks

# A Pipeline fits its steps in place, as the next test but one shows.
PIPELINE = {
    "check_estimators_overwrite_params": "a Pipeline fits its steps in place",
    "check_dont_overwrite_parameters": "a Pipeline fits its steps in place",
}
CHECKED: dict[str, tuple[Any, dict[str, str]]] = {
    "gaussian": (small(likelihood="gaussian"), WEIGHTS),
    "mask": (small(likelihood="gaussian", missing="mask"), WEIGHTS),
    "poisson": (small(likelihood="poisson"), WEIGHTS),
    # The data of the checks are not in [0, 1], which the Bernoulli likelihood requires.
    "bernoulli": (make_pipeline(MinMaxScaler(clip=True), small()), PIPELINE),
    "autoencoder": (small(Autoencoder), WEIGHTS),
    "autoencoder, bernoulli": (make_pipeline(MinMaxScaler(clip=True), small(Autoencoder, loss="bernoulli")), PIPELINE),
    "product": (TopicModel(2, decoder="product", hidden=(5,), epochs=1, random_state=0), WEIGHTS),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKED)
def test_scikit_learns_checks_pass(name: str) -> None:
    passes_all_checks(*CHECKED[name])


@pytest.mark.filterwarnings("ignore")
def test_the_exceptions_are_those_of_every_pipeline() -> None:
    passes_all_checks(make_pipeline(MinMaxScaler(), PCA(1)), PIPELINE)
