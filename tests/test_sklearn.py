"""scikit-learn: its own checks, pipelines, searches, metadata, names of columns, notebooks."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import run_python, same, small
from sklearn_checks import WEIGHTS, passes_all_checks, sklearn_version

import fastvae
from fastvae import VAE, Autoencoder, Imputer, ItemResponse, TabularVAE, TopicModel

sklearn = pytest.importorskip("sklearn", reason="scikit-learn, which these tests need, is not installed")
from sklearn.base import clone  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate  # noqa: E402
from sklearn.pipeline import FeatureUnion, make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402

DIGITS, LABELS = fastvae.datasets.load_digits()
X = DIGITS[:150]

# ------------------------------------------------------------------------------------------- scikit-learn's checks

# A Pipeline fits its steps in place, as the next test but one shows.
PIPELINE = {
    "check_estimators_overwrite_params": "a Pipeline fits its steps in place",
    "check_dont_overwrite_parameters": "a Pipeline fits its steps in place",
}
DENSE = {name: reason for name, reason in WEIGHTS.items() if "dense" in name}  # of estimators without sparse X
CHECKED: dict[str, tuple[Any, dict[str, str]]] = {
    "gaussian": (small(likelihood="gaussian"), WEIGHTS),
    "mask": (small(likelihood="gaussian", missing="mask"), WEIGHTS),
    "poisson": (small(likelihood="poisson"), WEIGHTS),
    # The data of the checks are not in [0, 1], which the Bernoulli likelihood requires.
    "bernoulli": (make_pipeline(MinMaxScaler(clip=True), small()), PIPELINE),
    "autoencoder": (small(Autoencoder), WEIGHTS),
    "autoencoder, bernoulli": (make_pipeline(MinMaxScaler(clip=True), small(Autoencoder, loss="bernoulli")), PIPELINE),
    "table": (TabularVAE(2, hidden=(5,), epochs=1, random_state=0), DENSE),
    "imputer": (Imputer(2, hidden=(5,), epochs=1, n_samples=5, random_state=0), {}),
    "product": (TopicModel(2, decoder="product", hidden=(5,), epochs=1, random_state=0), WEIGHTS),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKED)
def test_scikit_learns_checks_pass(name: str) -> None:
    passes_all_checks(*CHECKED[name])


@pytest.mark.filterwarnings("ignore")
def test_the_exceptions_are_those_of_every_pipeline() -> None:
    passes_all_checks(make_pipeline(MinMaxScaler(), PCA(1)), PIPELINE)


# ------------------------------------------------------------------------------------------------------- metadata

WEIGHTS_OF_ROWS = np.random.default_rng(0).integers(1, 4, len(X)).astype(np.float32)
ANSWERS = (np.random.default_rng(1).random((120, 6)) < 0.6).astype(float)
OBSERVED = np.random.default_rng(2).random((120, 6)) < 0.8


new_routing = pytest.mark.skipif(
    sklearn_version() < (1, 8), reason="scikit-learn before 1.8 routes no weights to the score of an estimator"
)


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_the_metadata_are_the_arguments_of_the_methods() -> None:
    found = VAE().get_metadata_routing()
    assert set(found.fit.requests) == {
        "sample_weight",
        "validation_data",
        "epochs",
        "steps_per_epoch",
        "checkpoint",
        "checkpoint_every",
    }
    assert set(found.score.requests) == {"sample_weight", "n_samples"}
    assert set(found.transform.requests) == {"y"}
    assert "sample_weight" in found.partial_fit.requests
    assert "observed" in ItemResponse().get_metadata_routing().fit.requests
    assert set(ItemResponse().get_metadata_routing().predict_proba.requests) == {"observed"}
    every = [found.fit, found.score, found.transform, found.partial_fit]
    assert all(alias is None for method in every for alias in method.requests.values())


@pytest.mark.usefixtures("routing")
def test_a_pipeline_passes_weights_on_where_they_are_asked_for() -> None:
    model = small().set_fit_request(sample_weight=True)
    chain = make_pipeline(MinMaxScaler(), model, PCA(2)).fit(X, sample_weight=WEIGHTS_OF_ROWS)
    expected = small().fit(MinMaxScaler().fit_transform(X), sample_weight=WEIGHTS_OF_ROWS)
    assert same(chain[1], expected)
    assert not same(expected, small().fit(MinMaxScaler().fit_transform(X)))
    last = make_pipeline(MinMaxScaler(), small().set_fit_request(sample_weight="w"))
    assert same(last.fit(X, w=WEIGHTS_OF_ROWS)[-1], expected)


@new_routing
@pytest.mark.usefixtures("routing")
def test_weights_that_nobody_asked_for_are_an_error() -> None:
    from sklearn.exceptions import UnsetMetadataPassedError

    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        make_pipeline(MinMaxScaler(), small()).fit(X, sample_weight=WEIGHTS_OF_ROWS)
    ignores = small().set_fit_request(sample_weight=False).set_score_request(sample_weight=True)
    cross_val_score(ignores, X, params={"sample_weight": WEIGHTS_OF_ROWS}, cv=2, error_score="raise")


@new_routing
@pytest.mark.usefixtures("routing")
def test_a_search_splits_weights_and_masks_by_rows() -> None:
    weighted = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    search = GridSearchCV(weighted, {"latent_dim": [1, 2]}, cv=2, error_score="raise")
    search.fit(X, sample_weight=WEIGHTS_OF_ROWS)
    halves = np.arange(75), np.arange(75, 150)
    scores = [
        small(latent_dim=2)
        .fit(X[halves[1 - i]], sample_weight=WEIGHTS_OF_ROWS[halves[1 - i]])
        .score(X[halves[i]], sample_weight=WEIGHTS_OF_ROWS[halves[i]])
        for i in (0, 1)
    ]
    assert search.cv_results_["mean_test_score"][1] == pytest.approx(np.mean(scores), rel=1e-6)
    exam = ItemResponse(hidden=(4,), epochs=2, random_state=0).set_fit_request(observed=True)
    found = cross_validate(
        exam, ANSWERS, params={"observed": OBSERVED}, cv=2, return_estimator=True, error_score="raise"
    )
    first = ItemResponse(hidden=(4,), epochs=2, random_state=0).fit(ANSWERS[60:], observed=OBSERVED[60:])
    assert same(found["estimator"][0], first)


@pytest.mark.usefixtures("routing")
def test_a_mask_goes_to_fit_and_transform() -> None:
    exam = ItemResponse(hidden=(4,), epochs=2, random_state=0)
    exam.set_fit_request(observed=True).set_transform_request(observed=True)
    codes = make_pipeline(exam, MinMaxScaler()).fit(ANSWERS, observed=OBSERVED)[0].transform(ANSWERS, observed=OBSERVED)
    direct = clone(exam).fit_transform(ANSWERS, observed=OBSERVED)
    assert np.array_equal(codes, direct)
    assert not np.array_equal(direct, clone(exam).fit(ANSWERS, observed=OBSERVED).transform(ANSWERS))


@pytest.mark.usefixtures("routing")
def test_a_conditional_model_gets_its_labels_in_transform() -> None:
    model = small(conditional=True).set_transform_request(y="labels")
    chain = make_pipeline(MinMaxScaler(), model).fit(X, LABELS[:150])
    codes = chain.transform(X, labels=LABELS[:150])
    scaled = MinMaxScaler().fit_transform(X)
    assert np.array_equal(codes, small(conditional=True).fit(scaled, LABELS[:150]).transform(scaled, y=LABELS[:150]))


@pytest.mark.usefixtures("routing")
def test_a_conditional_model_within_a_pipeline_gets_its_labels_in_fit_too() -> None:
    model, y = small(conditional=True).set_transform_request(y="labels"), LABELS[:150]
    chain = make_pipeline(model, MinMaxScaler()).fit(X, y, labels=y)
    expected = small(conditional=True).fit(X, y).transform(X, y=y)
    np.testing.assert_array_equal(chain[0].transform(X, y=y), expected)
    assert chain[1].data_max_.tolist() == expected.max(0).tolist()
    np.testing.assert_array_equal(clone(model).fit_transform(X, y=y), expected)


@pytest.mark.usefixtures("routing")
def test_validation_data_reach_the_model() -> None:
    union = FeatureUnion(
        [("a", small().set_fit_request(validation_data=True)), ("b", small().set_fit_request(validation_data=False))]
    )
    union.fit(X, validation_data=X[:20])
    assert "val_loss" in union.transformer_list[0][1].history_
    assert "val_loss" not in union.transformer_list[1][1].history_


@pytest.mark.usefixtures("routing")
def test_clone_and_files_and_copies_keep_or_forget_requests() -> None:
    model = small().set_fit_request(sample_weight=True).set_fit_request(epochs=False)
    for other in (model, clone(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        requests = other.get_metadata_routing().fit.requests
        assert (requests["sample_weight"], requests["epochs"], requests["checkpoint"]) == (True, False, None)
    assert small().get_metadata_routing().fit.requests["sample_weight"] is None
    with pytest.raises(TypeError, match="fit has no argument 'weights' for metadata: use sample_weight, "):
        model.set_fit_request(weights=True)
    with pytest.raises(ValueError, match="sample_weight=3 must be"):
        model.set_fit_request(sample_weight=3)


def test_requests_need_routing() -> None:
    with pytest.raises(RuntimeError, match=r"set_config\(enable_metadata_routing=True\)"):
        small().set_fit_request(sample_weight=True)


def test_weights_reach_a_step_by_its_name_without_routing() -> None:
    chain = make_pipeline(MinMaxScaler(), small(), PCA(2)).fit(X, vae__sample_weight=WEIGHTS_OF_ROWS)
    assert same(chain[1], small().fit(MinMaxScaler().fit_transform(X), sample_weight=WEIGHTS_OF_ROWS))


# ------------------------------------------------------------------------------------- pipelines and searches


@pytest.mark.parametrize(
    "grid",
    [{"latent_dim": [1, 3]}, {"beta": [0.5, 4.0]}, {"hidden": [(4,), (8, 8)]}],
    ids=lambda grid: next(iter(grid)),
)
def test_a_search_over_a_pipeline_sets_the_parameter(grid: dict[str, list[Any]]) -> None:
    ((name, values),) = grid.items()
    search = GridSearchCV(make_pipeline(MinMaxScaler(clip=True), small(epochs=4)), {f"vae__{name}": values}, cv=2)
    search.fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    assert getattr(search.best_estimator_[-1], name) in values
    scores = cross_val_score(search.best_estimator_, X, cv=2)
    assert np.isfinite(scores).all()


def test_scores_do_not_depend_on_beta_but_through_the_weights() -> None:
    model = small(beta=4.0).fit(X)
    parts = model.evaluate(X)
    assert model.score(X) == pytest.approx(-parts["reconstruction"] - parts["kl"], rel=1e-6)
    assert parts["loss"] == pytest.approx(parts["reconstruction"] + 4 * parts["kl"], rel=1e-6)
    state = model.state_dict()
    assert small(beta=0.1).load_state_dict(state).score(X) == pytest.approx(model.score(X), rel=0.02)  # another seed


def test_every_container_takes_frames_and_gives_names() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X[:, :8], columns=[f"pixel {i}" for i in range(8)])
    columns = ColumnTransformer([("code", small(), list(frame.columns[:6])), ("rest", "passthrough", ["pixel 7"])])
    chain = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(frame, LABELS[:150])
    assert list(chain[0].get_feature_names_out()) == ["code__vae0", "code__vae1", "code__vae2", "rest__pixel 7"]
    assert list(chain[0].named_transformers_["code"].feature_names_in_) == list(frame.columns[:6])
    assert chain.predict(frame).shape == (150,)


def test_routing_needs_no_scikit_learn_at_run_time() -> None:
    code = """
import sys, numpy as np, fastvae
X = np.ones((20, 3), np.float32)
fastvae.VAE(hidden=(4,), epochs=1).fit_transform(X)
try:
    fastvae.VAE().set_fit_request(sample_weight=True)
except RuntimeError as error:
    print("sklearn" in sys.modules, "set_config" in str(error))
"""
    assert run_python(code).strip() == "False True"
