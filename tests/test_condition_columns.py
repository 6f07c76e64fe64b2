"""Condition columns of X: the results of y, all kinds of tables, pipelines, files, the latent space, bad columns."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from test_saving import edited

import fastvae
from fastvae import VAE, FormatError, latent, plots
from fastvae.likelihoods import Gaussian

Array = NDArray[Any]
DIGITS, LABELS = fastvae.datasets.load_digits()
X, Y = DIGITS[:300], LABELS[:300]
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[Y]
COVARIATES = np.stack([X.mean(1), Y / 9], 1)
WITH_LABELS = np.column_stack([X[:, :20], Y, X[:, 20:]])  # float64: column 20 holds whole floats
WITH_COVARIATES = np.column_stack([X, COVARIATES])


def model(**options: Any) -> VAE:
    return VAE(3, hidden=(16,), **{"epochs": 2, "random_state": 0} | options)


@pytest.fixture(scope="module")
def labelled() -> VAE:
    return model(condition_columns=20).fit(WITH_LABELS)


@pytest.fixture(scope="module")
def by_y() -> VAE:
    return model(conditional=True).fit(X, Y)


def frame(kind: str, column: Any = NAMES, at: int = 5) -> Any:
    """X as a frame with the column "digit" at place `at`."""
    names = [f"p{i}" for i in range(64)]
    columns = {name: X[:, i] for i, name in enumerate(names)}
    columns["digit"] = column
    names.insert(at, "digit")
    library = pytest.importorskip(kind)
    if kind == "pyarrow":
        return library.table({name: columns[name] for name in names})
    return library.DataFrame({name: columns[name] for name in names})


def same(a: Any, b: Any) -> bool:
    return bool(np.asarray(a).tobytes() == np.asarray(b).tobytes())


# ------------------------------------------------------------------------------------------------- the results of y


def test_every_method_has_the_results_of_y(labelled: VAE, by_y: VAE) -> None:
    data = WITH_LABELS
    assert labelled.history_ == by_y.history_
    assert labelled.classes_.tolist() == list(range(10))
    assert labelled.condition_columns_.tolist() == [20]
    assert labelled.n_features_in_ == 65
    assert (np.delete(data, labelled.condition_columns_, 1) == X).all()
    assert same(labelled.transform(data), by_y.transform(X, y=Y))
    assert same(labelled.encode(data), by_y.encode(X, y=Y))
    assert same(labelled.reconstruct(data), by_y.reconstruct(X, y=Y))
    assert same(labelled.score_samples(data), by_y.score_samples(X, y=Y))
    assert same(labelled.anomaly_score(data), by_y.anomaly_score(X, y=Y))
    assert labelled.score(data) == labelled.score(data, Y[::-1]) == by_y.score(X, Y)
    assert labelled.evaluate(data) == by_y.evaluate(X, y=Y)
    assert same(labelled.posterior_sample(data, 2, 0), by_y.posterior_sample(X, 2, 0, y=Y))
    assert same(labelled.predictive(data, 3, 0), by_y.predictive(X, 3, 0, y=Y))
    black = np.column_stack([X[:, :20] > 0.5, Y, X[:, 20:] > 0.5])
    assert same(labelled.log_marginal(black, 9), by_y.log_marginal(X > 0.5, 9, y=Y))
    assert same(labelled.diagnose(data).kl, by_y.diagnose(X, y=Y).kl)
    rest, y = labelled.split_condition(data)
    assert same(rest, np.delete(data, 20, 1))
    assert (y == Y).all()
    assert same(labelled.transform(rest, y=y), by_y.transform(X, y=Y))
    assert same(labelled.reconstruct(rest, y=y), by_y.reconstruct(X, y=Y))
    ours, theirs = labelled.loss_and_gradients(data), by_y.loss_and_gradients(X, y=Y)
    assert ours[0] == theirs[0]
    assert all(same(ours[1][name], theirs[1][name]) for name in theirs[1])
    assert same(labelled.sample(4, y=3, random_state=0), by_y.sample(4, y=3, random_state=0))
    assert same(
        labelled.inverse_transform(np.ones((2, 3)), y=[1, 2]), by_y.inverse_transform(np.ones((2, 3)), y=[1, 2])
    )


@pytest.mark.parametrize("columns", [[64, 65], (-2, -1), np.array([64, -1])], ids=str)
def test_several_columns_are_covariates(columns: Any) -> None:
    ours, theirs = model(condition_columns=columns), model(conditional=True).fit(X, COVARIATES)
    ours.fit(WITH_COVARIATES, Y)  # scikit-learn passes y to every step
    assert same(ours.transform(WITH_COVARIATES), theirs.transform(X, y=COVARIATES))
    assert not hasattr(ours, "classes_")
    swapped = model(condition_columns=[65, 64]).fit(WITH_COVARIATES)
    assert same(
        swapped.score_samples(WITH_COVARIATES),
        model(conditional=True).fit(X, COVARIATES[:, ::-1]).score_samples(X, y=COVARIATES[:, ::-1]),
    )


def test_one_column_in_a_list_is_labels_unless_it_holds_floats() -> None:
    table = np.column_stack([(X > 0.5), Y])  # integers
    assert model(condition_columns=[-1]).fit(table).classes_.tolist() == list(range(10))
    covariate = model(condition_columns=[-1]).fit(table.astype(float))
    assert not hasattr(covariate, "classes_")
    assert same(covariate.transform(table), covariate.transform(table.astype(float)))  # the kind is decided by fit
    cells = np.column_stack([X.astype(object), NAMES])
    assert model(condition_columns=[64]).fit(cells).classes_.tolist() == sorted(set(NAMES))


def test_validation_data_and_partial_fit_read_the_columns(by_y: VAE) -> None:
    a, b = WITH_LABELS[:200], WITH_LABELS[200:]
    expected = model(conditional=True).fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:])).history_
    for held_out in (b, (b, None), (b, Y[200:])):
        assert model(condition_columns=20).fit(a, validation_data=held_out).history_ == expected
    ours, theirs = model(condition_columns=20), model(conditional=True)
    ours.partial_fit(a, classes=range(10)).partial_fit(b, Y[200:], corrupted=b)
    theirs.partial_fit(X[:200], Y[:200], classes=range(10)).partial_fit(X[200:], Y[200:])
    assert same(ours.transform(WITH_LABELS), theirs.transform(X, y=Y))
    model(condition_columns=20).partial_fit(WITH_LABELS, corrupted=WITH_LABELS)
    held = model(condition_columns=20, validation_fraction=0.2).fit(WITH_LABELS)
    assert held.history_ == model(conditional=True, validation_fraction=0.2).fit(X, Y).history_


def test_a_warm_start_reads_the_columns() -> None:
    a, b = WITH_LABELS[:200], WITH_LABELS[200:]
    going_on, once = model(condition_columns=20, warm_start=True), model(condition_columns=20, epochs=4)
    for _ in range(2):
        going_on.fit(a, Y, validation_data=b)
    assert going_on.history_ == once.fit(a, validation_data=b).history_


def test_impute_returns_the_other_columns_unchanged_where_observed() -> None:
    holes = WITH_LABELS.copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.2] = np.nan
    holes[:, 20] = Y
    rest = np.delete(holes, 20, 1)
    ours = model(condition_columns=20, missing="mask").fit(holes)
    theirs = model(conditional=True, missing="mask").fit(rest, Y)
    for options in ({}, {"n_samples": 9}, {"draws": 2, "random_state": 0}):
        filled = ours.impute(holes, **options)
        assert filled.dtype == np.float64
        assert same(filled, theirs.impute(rest, y=Y, **options))
    assert same(ours.impute(rest, y=Y), ours.impute(holes))
    holes[7, 20] = np.nan
    with pytest.raises(ValueError, match="column 20 of X is NaN in row 7: the condition of an example must be"):
        ours.impute(holes)


def test_columns_at_the_ends_of_an_array_are_left_out_without_a_copy() -> None:
    for chosen, at in ((0, 0), (-1, 64), ([1, 0], 0), ([63, 64], 63)):
        table = np.insert(X, at, Y, axis=1)
        rest, _ = model(condition_columns=chosen, epochs=1).fit(table).split_condition(table)
        assert np.shares_memory(rest, table)
        assert same(rest, np.delete(table, chosen, axis=1))


def test_pixels_of_images_lie_beside_the_condition() -> None:
    grey = (DIGITS[:300] * 255).astype(np.uint8)
    beside = np.column_stack([Y.astype(np.uint8), grey])
    ours = VAE(2, image_shape=(8, 8), hidden=(fastvae.layers.Conv2d(4, 3),), epochs=1, random_state=0)
    theirs = clone(ours).set_params(conditional=True).fit(grey, Y)
    ours.set_params(condition_columns=0).fit(beside)
    assert ours.input_scale_ == 255
    assert same(ours.reconstruct(beside), theirs.reconstruct(grey, y=Y))
    assert ours.reconstruct(beside).shape == ours.sample(300, y=3).shape == (300, 64)
    with pytest.raises(ValueError, match=r"X has 3 dimensions, \(300, 8, 8\), but condition_columns need a table"):
        clone(ours).fit(grey.reshape(-1, 8, 8))


# ------------------------------------------------------------------------------------------------- kinds of tables


@pytest.mark.parametrize("chosen", ["digit", ["digit"], 5, [-60]], ids=str)
@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_frames_have_named_columns(kind: str, chosen: Any) -> None:
    data = frame(kind)
    ours, theirs = model(condition_columns=chosen).fit(data), model(conditional=True).fit(X, NAMES)
    assert ours.classes_.tolist() == sorted(set(NAMES))
    assert ours.feature_names_in_.tolist()[4:7] == ["p4", "digit", "p5"]
    assert ours.n_features_in_ == 65
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(ours.transform(data), theirs.transform(X, y=NAMES))
    with pytest.raises(ValueError, match="should match those that were passed during fit"):
        ours.transform(frame(kind, at=6))
    rest, y = ours.split_condition(data)
    assert type(rest) is type(data)
    assert same(ours.transform(rest, y=y), ours.transform(data))
    reverse = [f"p{i}" for i in range(63, -1, -1)]
    with pytest.raises(ValueError, match="must be in the same order"):
        ours.transform(rest.select(reverse) if kind == "pyarrow" else rest[reverse], y=y)
    with pytest.raises(
        ValueError, match="X has no column 'number', which condition_columns names: its columns are 'p0'"
    ):
        model(condition_columns="number").fit(data)


def test_columns_of_pandas_may_be_categories_integers_or_nullable() -> None:
    pandas = pytest.importorskip("pandas")
    theirs = model(conditional=True).fit(X, NAMES).transform(X, y=NAMES)
    assert same(model(condition_columns=["digit"]).fit_transform(frame("pandas", pandas.Categorical(NAMES))), theirs)
    theirs = model(conditional=True).fit(X, Y).transform(X, y=Y)
    for column in (Y, pandas.array(Y, dtype="Int64"), pandas.Categorical(Y), Y.astype(np.uint8), Y.astype(object)):
        assert same(model(condition_columns=["digit"]).fit_transform(frame("pandas", column)), theirs)
    missing = pandas.array(Y, dtype="Int64")
    missing[3] = pandas.NA
    for column in (missing, np.where(Y == 3, None, NAMES), np.where(Y == 3, np.nan, Y)):
        with pytest.raises(ValueError, match=r"column 'digit' of X is (NaN|None|<NA>) in row 3"):
            model(condition_columns="digit").fit(frame("pandas", column))
    flags = model(condition_columns=["digit"]).fit(frame("pandas", Y > 4))
    assert flags.classes_.tolist() == [False, True]
    assert flags.sample(1, y=True).shape == (1, 64)


def test_lists_generators_and_sparse_matrices_are_read(labelled: VAE) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    expected = labelled.transform(WITH_LABELS)
    assert same(labelled.transform(WITH_LABELS.tolist()), expected)
    assert same(labelled.transform(row for row in WITH_LABELS), expected)
    rows = [[*row, name] for row, name in zip(X.tolist(), NAMES, strict=True)]
    named = model(condition_columns=-1).fit(rows)
    assert same(named.transform(rows), model(conditional=True).fit(X, NAMES).transform(X, y=NAMES))
    for form in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        assert same(labelled.transform(form(WITH_LABELS)), expected)
        assert same(model(condition_columns=20).fit_transform(form(WITH_LABELS)), expected)


# ------------------------------------------------------------------------------------------------- scikit-learn


def test_pipelines_and_searches(labelled: VAE) -> None:
    rng = np.random.default_rng(0)
    group, age = rng.integers(0, 3, 300), rng.uniform(20, 80, 300)
    table = np.column_stack([X * 16 + 5 * group[:, np.newaxis], group, age])
    vae = VAE(4, hidden=(16,), likelihood=Gaussian("shared"), epochs=200, random_state=0)
    prepared = ColumnTransformer(
        [("scale", StandardScaler(), slice(0, 64)), ("group", OneHotEncoder(), [64]), ("age", StandardScaler(), [65])]
    )
    kept = ColumnTransformer([("scale", StandardScaler(), [*range(64), 65])], remainder="passthrough")
    for before, chosen in ((prepared, [-4, -3, -2, -1]), (kept, -1), (StandardScaler(), [64, 65])):
        steps = make_pipeline(before, clone(vae).set_params(condition_columns=chosen), LogisticRegression(max_iter=500))
        scores = cross_val_score(steps, table, Y, cv=3, error_score="raise")
        assert scores.mean() > 0.4  # chance is 0.1
    search = GridSearchCV(clone(vae), {"condition_columns": [64, [64, 65], None]}, cv=2, error_score="raise")
    assert "condition_columns" in search.fit(table, Y).best_params_
    frames = pytest.importorskip("pandas").DataFrame(table, columns=[*(f"p{i}" for i in range(64)), "group", "age"])
    kept = ColumnTransformer([("scale", StandardScaler(), [f"p{i}" for i in range(64)])], remainder="passthrough")
    steps = make_pipeline(kept.set_output(transform="pandas"), vae.set_params(condition_columns="remainder__group"))
    codes = steps.fit(frames, Y).transform(frames)
    assert codes.shape == (300, 4)
    assert steps[-1].feature_names_in_[-1] == "remainder__age"
    assert steps[-1].classes_.tolist() == [0, 1, 2]


def test_parameters_files_and_copies(labelled: VAE, tmp_path: Path) -> None:
    assert clone(labelled).get_params()["condition_columns"] == 20
    assert "condition_columns=20" in repr(labelled)
    pytest.importorskip("pandas")
    named = model(condition_columns=["digit"]).fit(frame("pandas"))
    reals = model(condition_columns=[64, 65]).fit(WITH_COVARIATES)
    for each, data in ((labelled, WITH_LABELS), (named, frame("pandas")), (reals, WITH_COVARIATES)):
        each.save(tmp_path / "model")
        for copy in (fastvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(each))):
            assert same(copy.transform(data), each.transform(data))
            assert copy.n_features_in_ == each.n_features_in_
            assert copy.condition_columns_.tolist() == each.condition_columns_.tolist()
            assert list(copy.condition_columns if each is not labelled else []) == list(
                each.condition_columns if each is not labelled else []
            )
            again = copy.partial_fit(data)
            assert np.isfinite(again.transform(data)).all()
    with pytest.raises(ValueError, match="should match those"):
        fastvae.load(_saved(named, tmp_path)).transform(frame("pandas", at=9))


@pytest.mark.parametrize(
    "condition",
    [
        {"indices": [65], "alone": True},
        {"indices": [-1], "alone": True},
        {"indices": ["20"], "alone": True},
        {"indices": [20.0], "alone": True},
        {"indices": [], "alone": False},
        {"indices": [1, 1], "alone": False},
        {"indices": [1, 2], "alone": False},
        {"indices": [1], "alone": True, "more": 1},
        {"indices": 3, "alone": True},
        {"indices": [20]},
        3,
    ],
    ids=str,
)
def test_damaged_condition_columns_are_refused(condition: Any, labelled: VAE, tmp_path: Path) -> None:
    path = _saved(labelled, tmp_path)
    edited(path, "estimator", lambda estimator: estimator["learned"]["_input"].update(condition=condition))
    with pytest.raises(FormatError, match="damaged configuration"):
        fastvae.load(path)


def _saved(vae: VAE, path: Path) -> Path:
    vae.save(path / "another")
    return path / "another"


def test_weights_need_indices() -> None:
    reals = model(condition_columns=[64, 65]).fit(WITH_COVARIATES)
    weights = reals.state_dict()
    assert same(
        model(condition_columns=[-2, -1]).load_state_dict(weights).transform(WITH_COVARIATES),
        reals.transform(WITH_COVARIATES),
    )
    with pytest.raises(ValueError, match="condition_columns names 'a', but X has no column names"):
        model(condition_columns=["a", "b"]).load_state_dict(weights)
    with pytest.raises(ValueError, match="has 1 columns, but the state dict is of 2 covariates or classes"):
        model(condition_columns=-1).load_state_dict(weights)


# ------------------------------------------------------------------------------------------------- the latent space


def test_functions_of_the_latent_space(labelled: VAE, by_y: VAE) -> None:
    data = WITH_LABELS
    v = latent.attribute_vector(labelled, data[:9], data[9:30])
    assert same(v, latent.attribute_vector(by_y, X[:9], X[9:30], y=(Y[:9], Y[9:30])))
    assert same(latent.apply_attribute(labelled, data[:9], v), latent.apply_attribute(by_y, X[:9], v, y=Y[:9]))
    codes = by_y.transform(X[:9], y=Y[:9])
    assert same(latent.apply_attribute(labelled, data[:9], v, [0], y=3)[:, 0], by_y.inverse_transform(codes, y=3))
    assert same(labelled.neighbours(data, data[:5], 3), by_y.neighbours(X, X[:5], 3, y=Y, query_y=Y[:5]))
    assert same(labelled.manifold(4, y=3), by_y.manifold(4, y=3))
    assert latent.manifold(labelled, 4, X=data, y=3).shape == (4, 4, 64)
    assert same(labelled.traverse(data[3], n=3), by_y.traverse(X[3], n=3, y=Y[3]))
    assert same(labelled.traverse(np.ones(3), n=3, y=2), by_y.traverse(np.ones(3), n=3, y=2))
    a, b = np.flatnonzero(Y == 3)[:2]
    assert same(labelled.interpolate(data[a], data[b : b + 1], 5), by_y.interpolate(X[a], X[b], 5, y=3))
    path = labelled.interpolate(data[0], data[1], 5, y=7)
    assert same(path[0], by_y.inverse_transform(by_y.transform(X[:1], y=Y[:1]), y=7)[0])
    with pytest.raises(ValueError, match=r"a and b have different conditions, 0.0 and 1.0: pass y=, that of the path"):
        labelled.interpolate(data[0], data[1], 5)
    with pytest.raises(ValueError, match="pass y="):
        labelled.interpolate(np.ones(3), np.zeros(3), 5)
    with pytest.raises(
        ValueError, match="leave out y=: this model reads the condition of X from its condition columns"
    ):
        labelled.neighbours(data, data[:5], 3, y=Y)
    x, z = latent.mixture_sample(labelled, data, 6, n_components=2, return_latent=True, new_y=3)
    assert same(x, by_y.inverse_transform(z, y=3))


def test_rows_of_frames_are_interpolated() -> None:
    pytest.importorskip("pandas")
    data, theirs = frame("pandas"), model(conditional=True).fit(X, NAMES)
    ours = model(condition_columns="digit").fit(data)
    a, b = np.flatnonzero(Y == 3)[:2]
    expected = theirs.interpolate(X[a], X[b], 5, y="three")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ends in ((data.iloc[[a]], data.iloc[[b]]), (data.iloc[a], data.iloc[b].tolist())):
            assert same(ours.interpolate(*ends, 5), expected)


@pytest.mark.parametrize("kind", ["numpy", "pandas", "polars", "pyarrow"])
def test_plots(kind: str, labelled: VAE) -> None:
    vae, data = labelled, WITH_LABELS
    if kind != "numpy":
        data = frame(kind)
        vae = model(condition_columns="digit").fit(data)
    plots.latent_scatter(vae, data, Y)
    plots.latent_ellipses(vae, data, Y, n=50)
    plots.kl_per_dimension(vae, data)
    plots.reconstructions(vae, data)
    plots.attribute(vae, data[:3], np.ones(3), (0, 1))
    plots.conditions(vae, 3)
    mpl.pyplot.close("all")
    if kind == "numpy":
        three = clone(vae).set_params(epochs=1)
        plots.three_objectives(data, Y, model=three)
        plots.traversal(vae, data[0], n=3)
        with pytest.raises(ValueError, match="leave out y="):
            plots.reconstructions(vae, data[:3], y=Y[:3])
    mpl.pyplot.close("all")


# ------------------------------------------------------------------------------------------------- bad columns


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("a", "condition_columns names 'a', but X has no column names: pass a frame, or the index of the column"),
        (65, "condition_columns has the index 65, but X has 65 columns"),
        (-66, "condition_columns has the index -66"),
        ([1, -64], "has a column twice"),
        (list(range(65)), "are all columns of X: none is left to encode"),
        ([], "must be the name or index of a column of X, or a list"),
        (2.5, "must be the name or index"),
        (True, "must be the name or index"),
        ([True], "must be the name or index"),
        ({"a": 1}, "must be the name or index"),
        (10, "column 10 of X is of labels, but holds 0.8125: labels must not be scaled .*; for a real covariate pass"),
    ],
    ids=str,
)
def test_bad_columns_are_refused(chosen: Any, message: str) -> None:
    for train in (VAE.fit, VAE.partial_fit):
        with pytest.raises(ValueError, match=message):
            train(model(condition_columns=chosen), WITH_LABELS)


def test_strings_in_several_columns_are_refused() -> None:
    cells = np.column_stack([X.astype(object), NAMES, NAMES])
    with pytest.raises(
        TypeError, match=r"column 64 of X holds 'zero', but several condition columns.*: give a column of"
    ):
        model(condition_columns=[64, 65]).fit(cells)


def test_a_y_beside_condition_columns_is_refused(labelled: VAE) -> None:
    calls: list[Callable[..., Any]] = [
        labelled.transform, labelled.encode, labelled.reconstruct, labelled.score_samples, labelled.evaluate,
        labelled.diagnose, labelled.anomaly_score, labelled.loss_and_gradients,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="leave out y=: this VAE reads the condition from column 20 of X"):
            call(WITH_LABELS, y=Y)
    for call in (lambda: labelled.sample(3), lambda: labelled.inverse_transform(np.ones((2, 3)))):
        with pytest.raises(ValueError, match="pass y=: this VAE is conditional"):
            call()


def test_bad_data_are_refused(labelled: VAE) -> None:
    with pytest.raises(ValueError, match="X has 64 features, but VAE is expecting 65 features as input"):
        labelled.transform(X)
    unknown = WITH_LABELS.copy()
    unknown[3, 20] = 11
    with pytest.raises(ValueError, match=r"column 20 of X has the label 11.0, which is none of the classes"):
        labelled.transform(unknown)
    with pytest.raises(ValueError, match=r"column 20 of validation_data has the label 11.0"):
        model(condition_columns=20).fit(WITH_LABELS, validation_data=unknown)
    infinite = WITH_COVARIATES.copy()
    infinite[0, 64] = np.inf
    with pytest.raises(ValueError, match="column 64 of X is inf in row 0"):
        model(condition_columns=[64, 65]).fit(infinite)
    with pytest.raises(ValueError, match="fitted without condition_columns"):
        model(conditional=True).fit(X, Y).split_condition(X)
    with pytest.raises(AttributeError, match="fitted without condition_columns"):
        _ = model(conditional=True).fit(X, Y).condition_columns_
    with pytest.raises(ValueError, match="VAE is not conditional"):
        model().partial_fit(X, classes=range(10))


def test_scaled_labels_are_refused() -> None:
    table = np.column_stack([X, Y])
    with pytest.raises(ValueError, match=r"column 64 of X is of labels, but holds 0.1111.*labels must not be scaled"):
        make_pipeline(MinMaxScaler(), model(condition_columns=-1)).fit(table)
