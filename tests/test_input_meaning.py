"""What input means: the scale of integers, names of columns, values out of range, cells of objects."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import conditional_vae, tiny
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel
from fastvae.layers import Conv2d

RNG = np.random.default_rng(3)
BYTES = RNG.integers(0, 256, (60, 12), dtype=np.uint8)
BINARY = RNG.integers(0, 2, (60, 12), dtype=np.uint8)
GREY = BYTES / np.float32(255)
COUNTS = RNG.poisson(3, (60, 12)).astype(np.uint8)
DARK = np.zeros((1, 12), np.uint8)
DARK[0, 3] = 1


def pandas() -> Any:
    return pytest.importorskip("pandas", reason="pandas, whose frames this test passes, is not installed")


def sparse() -> Any:
    return pytest.importorskip("scipy.sparse", reason="scipy, whose matrices this test passes, is not installed")


# --------------------------------------------------------------------------------------- the scale of integers

LIKELIHOODS = ["bernoulli", "gaussian"]
CONTAINERS: dict[str, Any] = {
    "array": lambda a: a,
    "columns": np.asfortranarray,
    "list": lambda a: a.tolist(),
    "int64": lambda a: a.astype(np.int64),
    "frame": lambda a: pandas().DataFrame(a),
    "frame of int64": lambda a: pandas().DataFrame(a.astype(np.int64)),
    "nullable frame": lambda a: pandas().DataFrame(a).astype("UInt8"),
    "CSR": lambda a: sparse().csr_array(a),
    "CSC": lambda a: sparse().csc_array(a),
    "CSR of int64": lambda a: sparse().csr_array(a.astype(np.int64)),
    "objects": lambda a: a.astype(object),
}


def answers(model: Any, X: Any) -> dict[str, Any]:
    """Everything that a model computes from X."""
    found = {"transform": model.transform(X), "reconstruct": model.reconstruct(X), "score": model.score_samples(X)}
    if isinstance(model, VAE):
        found |= {"predictive": model.predictive(X, 3).mean, "draws": model.posterior_sample(X, 2, 0)}
    losses, gradients = model.loss_and_gradients(X)
    return found | losses | gradients


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("data", ["grey", "binary"])
def test_after_training_on_uint8_every_container_of_integers_is_read_alike(
    data: str, container: str, likelihood: str
) -> None:
    X = BYTES if data == "grey" else BINARY
    model = tiny(likelihood=likelihood).fit(X)
    assert model.input_scale_ == (255 if data == "grey" else 1)
    floats = X.astype(np.float32) / np.float32(model.input_scale_)
    wanted = answers(model, floats)
    for few in (X, X[:5]):
        assert same(answers(model, CONTAINERS[container](few)), {k: v for k, v in answers(model, few).items()})
    assert same(answers(model, CONTAINERS[container](X)), wanted)
    trained = tiny(likelihood=likelihood).fit(floats).partial_fit(floats)
    assert same(model.partial_fit(CONTAINERS[container](X)).state_dict(), trained.state_dict())


@pytest.mark.parametrize("container", ["array", "frame", "nullable frame", "CSR", "CSC"])
def test_training_on_uint8_decides_alike_in_every_container(container: str) -> None:
    for X, scale in ((BYTES, 255), (BINARY, 1)):
        for train in ("fit", "partial_fit"):
            given = getattr(tiny(likelihood="gaussian"), train)(CONTAINERS[container](X))
            assert given.input_scale_ == scale
            assert same(given.state_dict(), getattr(tiny(likelihood="gaussian"), train)(X).state_dict())


@pytest.mark.parametrize("make", [lambda a: a, lambda a: sparse().csr_array(a)], ids=["dense", "CSR"])
def test_a_dark_picture_is_a_picture(make: Any) -> None:
    model = tiny().fit(BYTES)
    for ask in (model.transform, model.reconstruct, model.score_samples):
        assert np.array_equal(ask(make(DARK)), ask(DARK / np.float32(255)))
    dark = np.repeat(DARK, 60, 0)
    assert tiny(validation_fraction=0.2).fit(np.concatenate([BYTES, dark])).input_scale_ == 255
    assert np.isfinite(tiny().fit(BYTES, validation_data=make(dark)).history_["val_loss"]).all()
    assert model.partial_fit(make(dark)).input_scale_ == 255


@pytest.mark.parametrize(
    ("X", "scale"),
    [
        (GREY, 255),  # uint8 later is the grey value that the user divided
        (GREY.astype(np.float64), 255),
        (BINARY.astype(np.float32), 1),
        (BINARY.astype(bool), 1),
        (BINARY.astype(np.int64), 1),
        (np.where(BINARY, np.nan, GREY), 255),
    ],
    ids=["grey", "float64", "binary", "bool", "int64", "holes"],
)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_training_on_other_types_decides_what_uint8_means(likelihood: str, X: NDArray[Any], scale: int) -> None:
    model = tiny(likelihood=likelihood, missing="mask").fit(X)
    assert model.input_scale_ == scale
    assert np.array_equal(model.transform(BINARY), model.transform(BINARY / np.float32(scale)))
    assert np.array_equal(model.transform(sparse().csr_array(BINARY)), model.transform(BINARY))
    # Integers of other types are the numbers that floats are.
    assert np.array_equal(model.transform(BINARY.astype(int)), model.transform(BINARY.astype(float)))


@pytest.mark.filterwarnings("ignore:likelihood=.* has the fixed scale")
def test_numbers_outside_the_unit_interval_are_no_grey_values() -> None:
    ages = RNG.integers(0, 100, (60, 12))
    for X in (ages.astype(float), ages, GREY - 0.5):
        model = tiny(likelihood="gaussian", learning_rate=1e-5).fit(X)
        assert model.input_scale_ == 1
        small = ages.astype(np.uint8)
        assert np.array_equal(model.transform(small), model.transform(small.astype(float)))
        assert np.array_equal(model.score_samples(small), model.score_samples(small.astype(float)))


def test_pictures_for_a_model_of_numbers_are_refused_with_the_remedy() -> None:
    model = tiny().fit(BINARY)
    for ask in (model.transform, model.score_samples, model.partial_fit):
        with pytest.raises(ValueError, match=r"uint8 is not divided by 255.*pass X / 255"):
            ask(BYTES)
    assert np.isfinite(model.score_samples(BYTES / 255)).all()  # the remedy


def test_floats_for_a_model_of_integers_that_seem_undivided_are_warned_of() -> None:
    model = tiny(likelihood="gaussian").fit(BYTES)
    model.transform(2 * GREY)
    for ask in (model.transform, model.score_samples):
        with pytest.warns(UserWarning, match=r"X holds floats up to 25\d.*pass integers, or X / 255"):
            ask(BYTES.astype(float))


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial", "multinomial"])
def test_counts_are_never_scaled(likelihood: str) -> None:
    model = tiny(likelihood=likelihood).fit(COUNTS)
    assert model.input_scale_ == 1
    for make in CONTAINERS.values():
        assert np.array_equal(model.transform(make(COUNTS)), model.transform(COUNTS.astype(float)))
    assert TopicModel(3, epochs=1).fit(COUNTS).input_scale_ == 1
    assert ItemResponse(epochs=1).fit(BINARY).input_scale_ == 1


@pytest.mark.parametrize("X", [BYTES, BINARY, GREY, GREY - 1], ids=["grey", "binary", "floats", "reals"])
def test_the_scale_and_the_names_are_saved(tmp_path: Path, X: NDArray[Any]) -> None:
    import copy
    import pickle

    frame = pandas().DataFrame(X, columns=list("abcdefghijkl"))
    model = tiny(likelihood="gaussian").fit(frame)
    model.save(tmp_path / "m")
    for again in (fastvae.load(tmp_path / "m"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.input_scale_ == model.input_scale_
        assert list(again.feature_names_in_) == list("abcdefghijkl")
        given = pandas().DataFrame(BINARY, columns=list("abcdefghijkl"))
        assert np.array_equal(again.transform(given), model.transform(given))
        with pytest.raises(ValueError, match="same order"):
            again.transform(frame[frame.columns[::-1]])


def test_weights_without_training_data_read_uint8_as_grey_values() -> None:
    model = tiny().load_state_dict(tiny().fit(BINARY).state_dict())
    assert model.input_scale_ == 255
    assert not hasattr(model, "feature_names_in_")
    assert np.array_equal(model.transform(BYTES), model.transform(GREY))


def test_images_and_encoder_inputs_have_the_scale_too() -> None:
    images = BYTES.reshape(60, 4, 3)
    model = tiny(image_shape=(4, 3)).fit(images)
    assert np.array_equal(
        model.transform(DARK.reshape(1, 4, 3)), model.transform(DARK.reshape(1, 4, 3) / np.float32(255))
    )
    assert np.array_equal(model.transform(images.tolist()), model.transform(images))
    for corrupted in (BYTES, BYTES.tolist(), sparse().csr_array(BYTES)):
        a = tiny().partial_fit(BYTES, corrupted=corrupted).partial_fit(BYTES, corrupted=corrupted)
        b = tiny().partial_fit(GREY, corrupted=GREY).partial_fit(GREY, corrupted=GREY)
        assert same(a.state_dict(), b.state_dict())
    small = tiny(missing="mask").fit(BINARY)
    assert np.array_equal(small.impute(BINARY), BINARY)


@pytest.mark.filterwarnings("ignore:VAE after training")  # such covariates ask for StandardScaler
def test_covariates_and_codes_are_never_scaled() -> None:
    y = RNG.integers(0, 200, (60, 2))
    model = conditional_vae(epochs=1).fit(BYTES, y)
    assert np.array_equal(model.transform(BYTES, y=y.astype(np.uint8)), model.transform(BYTES, y=y))


# ------------------------------------------------------------------------------------------- names of columns

NAMES = list("abcd")


def as_pandas(a: NDArray[Any], names: list[str] = NAMES) -> Any:
    return pandas().DataFrame(a, columns=names)


def as_polars(a: NDArray[Any], names: list[str] = NAMES) -> Any:
    return pytest.importorskip("polars", reason="polars is not installed").DataFrame(a, schema=names)


def as_arrow(a: NDArray[Any], names: list[str] = NAMES) -> Any:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return arrow.table({name: a[:, i] for i, name in enumerate(names)})


class Frame:
    """The least of a frame: columns, a shape and an array."""

    def __init__(self, a: NDArray[Any], names: list[str] = NAMES) -> None:
        self.values, self.columns, self.shape = a, names, a.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.values if dtype is None else self.values.astype(dtype)


FRAMES = {"pandas": as_pandas, "polars": as_polars, "Arrow": as_arrow, "like": Frame}
ESTIMATORS: dict[str, tuple[Any, NDArray[Any]]] = {
    "VAE": (lambda: tiny(), GREY[:, :4]),
    "Autoencoder": (lambda: Autoencoder(2, hidden=(8,), epochs=1), GREY[:, :4]),
    "TopicModel": (lambda: TopicModel(2, epochs=1), COUNTS[:, :4]),
    "ItemResponse": (lambda: ItemResponse(epochs=1), BINARY[:, :4].astype(float)),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("frame", FRAMES)
def test_names_of_columns_are_kept_and_checked(frame: str, estimator: str) -> None:
    make, X = ESTIMATORS[estimator]
    as_frame = FRAMES[frame]
    model = make().fit(as_frame(X))
    assert model.feature_names_in_.tolist() == NAMES
    assert model.feature_names_in_.dtype == object
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(as_frame(X))
        model.partial_fit(as_frame(X))
    ask = [model.transform, model.reconstruct, model.score, model.encode, model.partial_fit, model.evaluate]
    if estimator == "ItemResponse":
        seen = np.ones(X.shape, bool)
        ask += [lambda X: model.transform(X, observed=seen), lambda X: model.fit(as_frame(X), validation_data=X)][:1]
    for method in ask:
        with pytest.raises(ValueError, match="same order as they were in fit"):
            method(as_frame(X, NAMES[::-1]))
        with pytest.raises(ValueError, match=r"(?s)unseen at fit time:\n- e\n.*now missing:\n- d\n"):
            method(as_frame(X, ["a", "b", "c", "e"]))
        with pytest.warns(
            UserWarning, match="X does not have valid feature names, but .* was fitted with feature names"
        ):
            method(X)
    with pytest.raises(ValueError, match="of validation_data should match"):
        make().fit(as_frame(X), validation_data=as_frame(X, NAMES[::-1]))
    model.fit(X)
    assert not hasattr(model, "feature_names_in_")
    with pytest.warns(UserWarning, match="X has feature names, but .* was fitted without feature names"):
        model.transform(as_frame(X))


def test_names_warnings_point_at_the_caller() -> None:
    model = tiny().fit(as_pandas(GREY[:, :4]))
    with pytest.warns(UserWarning, match="valid feature names") as caught:
        model.score(GREY[:, :4])
    assert caught[0].filename == __file__


def test_names_that_are_no_strings_are_ignored_and_mixtures_refused() -> None:
    X = GREY[:, :4]
    model = tiny().fit(pandas().DataFrame(X))
    assert not hasattr(model, "feature_names_in_")
    model.transform(pandas().DataFrame(X, columns=[9, 8, 7, 6]))
    with pytest.raises(TypeError, match=r"columns\.astype\(str\)"):
        model.fit(pandas().DataFrame(X, columns=["a", 1, 2, 3]))


def test_rows_chosen_from_a_frame_keep_their_names() -> None:
    pytest.importorskip("matplotlib")
    X = as_pandas(GREY[:, :4])
    model = tiny().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastvae.latent.interpolate(model, X.iloc[[0]], X.iloc[[1]], codes=False)
        fastvae.plots.latent_ellipses(model, X, n=20)
    exam = ItemResponse(epochs=1).fit(as_pandas(BINARY[:, :4].astype(float)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exam.transform(as_pandas(BINARY[:, :4].astype(float)), observed=np.ones((60, 4), bool))


# ----------------------------------------------------------------------------- outside the likelihood's range


def test_a_pipeline_with_a_scaler_has_scores_in_every_fold() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    X, y = datasets.load_digits(return_X_y=True)
    vae = VAE(16, hidden=(64,), epochs=2, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), vae, LogisticRegression(max_iter=200))
    scores = cross_val_score(pipeline, X, y, cv=5, error_score="raise")
    assert scores.min() > 0.5


def test_the_remedy_for_values_out_of_range_works() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is not installed")
    X = RNG.normal(size=(200, 4))
    new = 3 * X
    scaled = preprocessing.MinMaxScaler().fit(X).transform(new)
    model = tiny().fit(preprocessing.MinMaxScaler().fit_transform(X))
    for ask in (model.score_samples, model.partial_fit, model.evaluate, model.loss_and_gradients, model.log_marginal):
        with pytest.raises(ValueError, match=r"X\[\d+, \d+\] is .*MinMaxScaler\(clip=True\)"):
            ask(scaled)
    for ask in (model.transform, model.encode, model.reconstruct):
        assert np.isfinite(np.asarray(ask(scaled))).all()
    clipped = preprocessing.MinMaxScaler(clip=True).fit(X).transform(new)
    assert np.isfinite(model.score_samples(clipped)).all()


def tables() -> Iterator[NDArray[np.float32]]:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        spread, centre = np.exp(rng.normal(0, 2, 2))
        yield (rng.normal(size=(30, 5)) * spread + centre).astype(np.float32)


def test_a_rounding_step_outside_of_the_range_is_its_end() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing", reason="scikit-learn is not installed")
    overshot = 0
    for X in tables():
        scaled = preprocessing.MinMaxScaler().fit_transform(X)
        overshot += scaled.max() > 1 or scaled.min() < 0
        for form in (scaled, sparse().csr_array(scaled)):
            for dtype in (np.float32, np.float64):
                given = form.astype(dtype)
                model = tiny(batch_size=7).fit(given)
                assert same(answers(model, given), answers(model, scaled.clip(0, 1)))
    assert overshot > 20
    plain = Autoencoder(2, hidden=(8,), loss="bernoulli", epochs=1)
    assert np.isfinite(plain.fit(np.array([[1 + 1e-6, -1e-6], [0, 1]])).score_samples([[1 + 1e-6, -1e-6]])).all()


@pytest.mark.parametrize("value", [1 + 1e-5, -1e-5])
@pytest.mark.parametrize("make", [np.asarray, lambda a: sparse().csr_array(a)], ids=["dense", "CSR"])
def test_beyond_a_rounding_step_the_cell_is_named(make: Any, value: float) -> None:
    X = GREY.copy()
    X[7, 5] = value
    with pytest.raises(ValueError, match=r"X\[7, 5\] is (1\.00001|-0\.00001), but the Bernoulli likelihood"):
        tiny().fit(make(X))


def test_rounding_steps_are_zeros_and_ones_for_marginals_and_importance_samples() -> None:
    X = BINARY.astype(np.float64)
    near = X + np.where(X == 1, 1e-6, -1e-6)
    model = tiny(n_importance_samples=3).fit(X)
    assert np.array_equal(model.score_samples(near), model.score_samples(X))
    assert np.array_equal(model.log_marginal(near, 20).estimate, model.log_marginal(X, 20).estimate)
    assert np.array_equal(fastvae.binarize(near), X)


# --------------------------------------------------------------------------------------------- too large values


def test_huge_values_are_refused_by_name() -> None:
    X = RNG.normal(size=(60, 12))
    model = tiny(likelihood="gaussian").fit(X)
    for value, text in ((3e38, "3e38"), (1e19, "1e19"), (-1e16, "-1e16"), (1e300, "1e300")):
        huge = X.copy()
        huge[4, 2] = value
        for form in (huge, huge.astype(np.float32) if abs(value) < 1e39 else huge, huge.tolist()):
            for ask in (model.transform, model.encode, model.reconstruct, model.score_samples, model.predictive):
                with pytest.raises(ValueError, match=rf"X\[4, 2\] is {text}.*scale the data"):
                    ask(form)
    for value in (1e15, -1e14):
        huge = X.copy()
        huge[4, 2] = value
        assert np.isfinite(model.transform(huge)).all()
        assert np.isfinite(model.score_samples(huge)).all()
    with pytest.raises(ValueError, match=r"Z\[0, 1\] is 3e38"):
        model.inverse_transform(np.array([[0, 3e38]], np.float32))


@pytest.mark.filterwarnings("ignore:likelihood=.* has the fixed scale")
def test_a_score_that_overflows_names_the_largest_value() -> None:
    X = 1e-3 * RNG.normal(size=(60, 12))
    model = tiny(likelihood=fastvae.likelihoods.Gaussian(1e-6), learning_rate=1e-9).fit(1e-6 * X)
    X[4, 2] = 1e14
    for ask in (model.score_samples, model.score, model.evaluate, model.anomaly_score):
        with pytest.raises(FloatingPointError, match=r"X\[4, 2\] is 1e\+14.*scale the data"):
            ask(X)


def test_too_many_words_are_refused() -> None:
    model = TopicModel(2, input_transform=None, epochs=1).fit(COUNTS)
    X = COUNTS.astype(float)
    X[3, 1] = 1e20
    for ask in (model.perplexity, model.transform, model.score):
        with pytest.raises(ValueError, match=r"X\[3, 1\] is 1e20"):
            ask(X)
    X[3, 1] = 1e14
    with pytest.raises(FloatingPointError, match=r"X\[3, 1\] is 1e\+14"):
        model.perplexity(X)


def test_a_learning_rate_that_float32_cannot_hold_is_refused_as_zero_is() -> None:
    for rate in (1e-40, 1e-46, 0):
        with pytest.raises(ValueError, match=r"learning_rate=.* would not train"):
            tiny(learning_rate=rate).fit(GREY)
    tiny(learning_rate=1e-37, optimizer="sgd").fit(GREY)


def test_covariates_too_large_are_refused() -> None:
    y = np.zeros((60, 1))
    y[5] = 3e38
    with pytest.raises(ValueError, match=r"y\[5, 0\] is 3e\+38"):
        conditional_vae(epochs=1).fit(GREY, y)


# ------------------------------------------------------------------------------------------ cells of objects


def test_none_and_na_are_missing_values() -> None:
    X = GREY.astype(np.float64)
    X[2, 3] = np.nan
    objects = X.astype(object)
    objects[2, 3] = None
    frame = pandas().DataFrame(objects)
    frame.iloc[2, 3] = pandas().NA
    model = tiny(missing="mask").fit(X)
    for given in (
        objects,
        objects.tolist(),
        frame,
        pandas().DataFrame(objects),
        pandas().DataFrame(X).astype("Float64"),
    ):
        assert np.array_equal(model.transform(given), model.transform(X))
        assert same(tiny(missing="mask").fit(given).state_dict(), model.state_dict())
        with pytest.raises(ValueError, match=r"X\[2, 3\] is NaN"):
            tiny().fit(given)


def test_none_among_bytes_is_a_missing_byte() -> None:
    model = tiny(missing="mask").fit(BYTES)
    objects, floats = BYTES.astype(object), GREY.copy()
    objects[2, 3], floats[2, 3] = None, np.nan
    for given in (objects, objects.tolist(), pandas().DataFrame(objects).astype("UInt8")):
        assert np.array_equal(model.transform(given), model.transform(floats))


def test_what_is_no_number_is_named_by_its_column() -> None:
    frame = pandas().DataFrame({"age": [1.0, 2.0], "city": ["Bonn", "Köln"], "n": [1, 2]})
    with pytest.raises(TypeError, match=r"X holds objects \(row 0 of column 'city' is 'Bonn'\)"):
        tiny().fit(frame)
    with pytest.raises(TypeError, match="row 1, column 0 is 'a'"):
        tiny().fit([[1.0], ["a"]])
    with pytest.raises(TypeError, match="row 0 of column 'day'"):
        tiny().fit(pandas().DataFrame({"a": [1.0], "day": pandas().to_datetime(["2020-01-01"])}))


def test_rows_of_a_generator_are_read() -> None:
    model = tiny().fit(row for row in GREY)
    assert same(model.state_dict(), tiny().fit(GREY).state_dict())
    assert np.array_equal(model.transform(iter(GREY.tolist())), model.transform(GREY))
    assert np.array_equal(tiny().fit_transform(row for row in GREY), model.transform(GREY))
    images = tiny(image_shape=(4, 3)).fit(image for image in GREY.reshape(60, 4, 3))
    assert images.sample(2).shape == (2, 4, 3)


def test_a_table_with_annotations_is_its_numbers() -> None:
    genes = [f"gene{i}" for i in range(12)]
    for numbers in (COUNTS.astype(np.float32), sparse().csr_matrix(COUNTS.astype(np.float32))):
        cells = SimpleNamespace(X=numbers, obs=None, var_names=genes, shape=(60, 12))
        model = tiny(likelihood="poisson").fit(cells)
        assert same(model.state_dict(), tiny(likelihood="poisson").fit(numbers).state_dict())
        assert model.feature_names_in_.tolist() == genes
        with pytest.raises(ValueError, match="same order"):
            model.transform(SimpleNamespace(X=numbers, obs=None, var_names=genes[::-1], shape=(60, 12)))
    answers = np.where(GREY > 0.5, 1.0, np.where(GREY > 0.2, 0.0, np.nan))
    table = SimpleNamespace(X=answers, obs=None, var_names=genes, shape=(60, 12))
    exam = ItemResponse(hidden=(4,), epochs=1, random_state=0).fit(table)
    assert exam.feature_names_in_.tolist() == genes
    assert np.array_equal(
        exam.impute(table), ItemResponse(hidden=(4,), epochs=1, random_state=0).fit(answers).impute(answers)
    )
    with pytest.raises(TypeError, match=r"X is a sparse matrix, which is not supported here: pass X\.toarray"):
        exam.transform(SimpleNamespace(X=sparse().csr_matrix(COUNTS), obs=None, var_names=genes, shape=(60, 12)))
    with pytest.raises(TypeError, match="X is a sparse matrix, which convolutional layers do not support"):
        tiny(image_shape=(4, 3), hidden=(Conv2d(2, 2),), likelihood="poisson").fit(
            SimpleNamespace(X=sparse().csr_matrix(COUNTS), obs=None, var_names=genes, shape=(60, 12))
        )


# ------------------------------------------------------------------------------- inputs taken for something else


def test_a_column_of_integers_is_neither_labels_nor_a_covariate_until_the_user_says() -> None:
    labels = RNG.integers(0, 3, (60, 1))
    model = VAE(2, hidden=(8,), conditional=True, epochs=1, random_state=0)
    for train in (model.fit, model.partial_fit):
        for y in (labels, labels.astype(np.uint8), labels.tolist()):
            with pytest.raises(ValueError, match=r"y has shape \(60, 1\).*y\.ravel\(\).*y\.astype\(float\)"):
                train(GREY, y)
    assert model.fit(GREY, labels.ravel()).classes_.tolist() == [0, 1, 2]
    assert np.array_equal(model.transform(GREY, y=labels), model.transform(GREY, y=labels.ravel()))
    names = np.array(["x", "y", "z"])[labels]
    assert model.fit(GREY, names).classes_.tolist() == ["x", "y", "z"]
    model.fit(GREY, labels.astype(float))
    assert not hasattr(model, "classes_")
    assert np.array_equal(model.transform(GREY, y=labels), model.transform(GREY, y=labels.astype(float)))


@pytest.mark.parametrize("likelihood", ["multinomial"])
@pytest.mark.parametrize("make", [np.asarray, lambda a: sparse().csr_array(a)], ids=["dense", "CSR"])
def test_fractions_as_counts_are_warned_of_once(make: Any, likelihood: str) -> None:
    X = COUNTS.astype(np.float32)
    tiny(likelihood=likelihood).fit(make(X))
    X[4, 7] = 0.25
    for train in ("fit", "partial_fit"):
        with pytest.warns(UserWarning, match=r"X\[4, 7\] is 0\.25, but the .* likelihood is one of counts") as caught:
            model = getattr(tiny(likelihood=likelihood), train)(make(X))
        assert len(caught) == 1
        assert caught[0].filename == __file__
        model.partial_fit(make(X)).transform(make(X))
    with pytest.warns(UserWarning, match="is one of counts"):
        TopicModel(2, epochs=1).fit(make(X))


@pytest.mark.parametrize("make", [VAE, Autoencoder, TopicModel, ItemResponse])
def test_a_word_is_no_architecture(make: Any) -> None:
    with pytest.raises(ValueError, match="hidden='conv' must be a sequence of layer widths"):
        make(hidden="conv").fit(BINARY)


def test_a_function_is_a_callback() -> None:
    seen: list[float] = []

    def note(model: Any, logs: dict[str, float]) -> bool:
        seen.append(logs["loss"])
        return len(seen) == 2

    model = tiny(epochs=5, callbacks=[note]).fit(GREY)
    assert seen == model.history_["loss"]
    assert len(seen) == 2
    seen.clear()
    assert tiny(epochs=5, callbacks=note).fit(GREY).n_iter_ == 2
    for wrong in ([VAE], ["print"], VAE, "print"):
        with pytest.raises(ValueError, match=r"a function f\(model, logs\)"):
            tiny(callbacks=wrong).fit(GREY)


# ------------------------------------------------------------------------------------------ advice that helps


def divergence(model: VAE, X: NDArray[Any]) -> str:
    with pytest.raises(FloatingPointError, match="training diverged") as error:
        model.fit(X)
    return str(error.value)


@pytest.mark.filterwarnings("ignore:likelihood=.* has the fixed scale")
def test_the_remedies_of_a_divergence_help() -> None:
    X = RNG.normal(size=(200, 6))
    wild = {"optimizer": "sgd", "learning_rate": 10.0, "epochs": 5}
    for data, likelihood in ((X, "gaussian"), (GREY, "bernoulli")):
        said = divergence(tiny(likelihood=likelihood, **wild), data)
        assert "Lower learning_rate (it is 10)" in said
        assert "clip_norm" not in said  # the loss becomes finite, not good
        assert ("scale the data" in said) == (likelihood == "gaussian")
        tiny(likelihood=likelihood, **wild | {"learning_rate": 0.01}).fit(data)
    said = divergence(tiny(likelihood="gaussian", **wild | {"learning_rate": 0.1}), 1000 * X)
    assert "StandardScaler" in said
    tiny(likelihood="gaussian", **wild | {"learning_rate": 0.1}).fit(X)


def test_the_remedy_for_large_counts_helps() -> None:
    X = RNG.poisson(1e5, (200, 6))
    said = divergence(tiny(likelihood="poisson", optimizer="sgd", learning_rate=10.0, epochs=5), X)
    assert 'input_transform="log1p"' in said
    assert "scale" not in said
    tiny(likelihood="poisson", input_transform="log1p", epochs=5).fit(X)
    with pytest.raises(ValueError, match=r'takes counts: .*use likelihood="gaussian"'):
        tiny(likelihood="poisson").fit(GREY - 0.5)
    tiny(likelihood="gaussian").fit(GREY - 0.5)
