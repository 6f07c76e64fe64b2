"""Errors name the argument and the value that was given; notebooks show an estimator."""

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import run_python
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import fastvae

X = np.random.default_rng(0).random((40, 6), dtype=np.float32)
BINARY = (X > 0.5).astype(np.float32)
BIG = np.where(np.arange(6) == 2, 1e39, X.astype(np.float64))


def small(**options: Any) -> fastvae.VAE:
    return fastvae.VAE(2, **({"hidden": (4,), "epochs": 1, "random_state": 0} | options))


MODEL = small().fit(X)
TOPICS = fastvae.TopicModel(2, hidden=(4,), epochs=1, random_state=0).fit(np.ones((8, 6), np.float32))

CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "manifold": (lambda: MODEL.manifold(2**40), r"n=1099511627776 must be an integer, at least 2 and at most"),
    "interpolate": (lambda: MODEL.interpolate(X[0], X[1], 2**63), r"n=9223372036854775808 must be an integer"),
    "traverse": (lambda: MODEL.traverse(X[0], n=2**63), r"n=9223372036854775808 must be an integer"),
    "sample": (lambda: MODEL.sample(2**63), r"n=9223372036854775808 must be an integer"),
    "topics": (lambda: fastvae.TopicModel(10**9).fit(X), r"n_topics=1000000000 must be an integer"),
    "dims": (lambda: fastvae.ItemResponse(n_dims=10**9).fit(BINARY), r"n_dims=1000000000 must be an integer"),
    "epochs": (lambda: small(epochs=10**400).fit(X), "epochs must be an integer, at most 18446744073709551615"),
    "hidden": (lambda: small(hidden=np.array([[3]])).fit(X), r"hidden\[0\]=array\(\[3\]\) must be an integer"),
    "hidden, 0-d": (lambda: small(hidden=np.array(3.5)).fit(X), r"hidden=3.5 must be a sequence of layer widths"),
    "top_words": (lambda: TOPICS.top_words(5), r"vocabulary=5 must be a sequence of words .*n="),  # type: ignore[arg-type]
    "observed": (
        lambda: fastvae.ItemResponse(epochs=1).fit(BINARY, observed=[[True], [True, False]]),
        "observed is not a rectangular array of True and False",
    ),
    "validation_data": (lambda: small().fit(X, validation_data=(X, X, X)), "validation_data is a tuple of 3 items"),
    "longdouble": (lambda: MODEL.transform(BIG.astype(np.longdouble)), r"X\[0, 2\] is 1e\+39"),
    "float64": (lambda: MODEL.transform(BIG), r"X\[0, 2\] is 1e39"),
    "marks": (lambda: fastvae.ItemResponse(epochs=1).fit(BIG), r"X\[0, 2\] is 1e\+39"),
    "eps": (lambda: MODEL.score_samples(X, eps=np.full((40, 2), 1e39)), r"eps\[0, 0\] is 1e\+39"),
    "impute": (lambda: small(missing="mask").fit(X).impute(BIG), r"X\[0, 2\] is 1e\+39"),
    "functional": (lambda: fastvae.functional.gaussian_kl([1e39], [0.0]), r"mu\[0\] is 1e\+39"),
    "shapes": (lambda: fastvae.functional.gaussian_kl([1.0, 2.0], [0.0] * 3), r"mu \(2,\), logvar \(3,\)"),
    "complex": (lambda: fastvae.functional.gaussian_kl([1j], [0.0]), "mu holds complex numbers"),
    "seed": (lambda: fastvae.functional.standard_normal(3, 0.5), "seed=0.5 must be an integer"),  # type: ignore[arg-type]
    "shape": (lambda: fastvae.functional.standard_normal(2**60, 0), "shape=.* has 1152921504606846976 elements"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_argument_is_named(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_sparse_value_beyond_float32_is_shown_with_its_place() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=r"X\[3, 2\] is 1e\+39"):
        MODEL.transform(sparse.csr_matrix(([1e39], ([3], [2])), shape=(5, 6)))


def test_an_array_without_axes_is_one_width() -> None:
    model = small(hidden=np.array(3)).fit(X)
    assert model.state_dict()["encoder.0.weight"].shape == (3, 6)


@pytest.mark.parametrize("action", ["error", "always"])
def test_a_warning_of_save_in_a_callback_comes_when_training_has_ended(action: Any, tmp_path: Any) -> None:
    def save(model: fastvae.VAE, logs: dict[str, float]) -> None:
        model.save(tmp_path / "model")

    model = small(epochs=3, callbacks=save, beta=lambda step: 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        if action == "error":
            with pytest.raises(UserWarning, match="A file cannot hold beta"):
                model.fit(X)
        else:
            model.fit(X)
    assert model.n_iter_ == 3
    assert len(caught) == (action == "always")
    assert fastvae.load(tmp_path / "model").n_iter_ == 3


# ------------------------------------------------------------------------------------------------ scikit-learn


def test_not_fitted_is_scikit_learns_error_too() -> None:
    with pytest.raises(SklearnNotFittedError) as caught:
        small().transform(X)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert isinstance(error, (fastvae.NotFittedError, SklearnNotFittedError))
        assert isinstance(error, fastvae.NotFittedError)
        assert isinstance(error, SklearnNotFittedError)
        assert str(error) == str(caught.value)
        assert type(error).__name__ == "NotFittedError"


def test_not_fitted_follows_the_import_of_scikit_learn() -> None:
    found = run_python("""
import pickle, sys
import fastvae
def error():
    try:
        fastvae.VAE().sample(1)
    except fastvae.NotFittedError as error:
        return error
early = error()
assert "sklearn" not in sys.modules
assert isinstance(early, (ValueError, AttributeError))
text = pickle.dumps(early)
import sklearn.exceptions
assert isinstance(error(), sklearn.exceptions.NotFittedError)
assert isinstance(pickle.loads(text), sklearn.exceptions.NotFittedError)
print("good")
""")
    assert found.strip() == "good"


def test_the_diagram_of_a_pipeline_shows_the_estimator() -> None:
    text = estimator_html_repr(make_pipeline(StandardScaler(), small()))
    assert "VAE" in text
    assert "StandardScaler" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("table.csv", "X is a string: pass an array or a frame"),
        (object(), "X is an object of type object: pass an array of real numbers"),
        (np.array([["2020-01-01"], ["2020-01-02"]], "datetime64[D]"), r"X holds dates .*numpy.timedelta64\(1, \"D\"\)"),
        ([["a", 1.0]], r"X holds strings.*leave out columns of text and dates, or encode them .*OneHotEncoder"),
        (["one text", "another"], r"X holds strings \(row 0 is 'one text'\).*count the words .*CountVectorizer"),
        (np.array(["one text", "another"], object), r"X holds objects \(row 0 is 'one text'.*CountVectorizer"),
        (np.array([["a", 1.0]], object), r"X holds objects \(row 0, column 0 is 'a'.*OneHotEncoder"),
    ],
    ids=["path", "object", "dates", "strings", "texts", "objects, texts", "objects"],
)
def test_what_is_no_number_has_a_remedy(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        small().fit(given)


@pytest.mark.parametrize("gone", [None, float("nan")])
def test_missing_labels_are_named(gone: Any) -> None:
    y = np.array(["a", "b"] * 20, object)
    y[3] = gone
    with pytest.raises(TypeError, match=rf"y has missing labels \(row 3 is {gone}\): leave these rows out"):
        small(conditional=True).fit(X, y)


def test_archives_are_no_models(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", X)
    for source in (tmp_path / "weights.npz", (tmp_path / "weights.npz").read_bytes()):
        with pytest.raises(fastvae.FormatError, match=r"a zip archive, as torch.save and numpy.savez write"):
            fastvae.load(source)


def test_a_state_dict_with_other_names_has_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"fastvae.torch.rename\(state_dict\) translates"):
        small().load_state_dict({"fc1.weight": X})


def test_channels_before_the_sides_are_noticed() -> None:
    images = np.random.default_rng(0).random((20, 1, 6, 6), dtype=np.float32)
    with pytest.warns(UserWarning, match=r'pass image_shape=\(6, 6, 1\), channels="first"'):
        small(image_shape=(1, 6, 6)).fit(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(image_shape=(6, 6, 1), channels="first").fit(images)
        small(image_shape=(1, 12, 3)).fit(images.reshape(20, 1, 12, 3))


def test_completion_of_the_package_shows_its_names_only() -> None:
    shown = {name for name in dir(fastvae) if not name.startswith("_")}
    assert {"VAE", "plots", "explorer"} <= shown <= {*fastvae.__all__, "dask", "torch", "annotations"}
