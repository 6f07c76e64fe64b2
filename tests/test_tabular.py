"""TabularVAE and Imputer: tables in and out, what they learn, scores, saving, scikit-learn's contract."""

from __future__ import annotations

import copy
import inspect
import io
import json
import pickle
from typing import Any

import numpy as np
import pytest
from helpers import run_python

import fastvae
from fastvae import Imputer, TabularVAE

pandas = pytest.importorskip("pandas", reason="pandas, which these tests need, is not installed")
polars = pytest.importorskip("polars", reason="polars, which these tests need, is not installed")

LEVELS = ["none", "some", "much"]


def table(n: int = 400, seed: int = 0) -> Any:
    """Columns of all kinds that depend on one latent dimension."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    return pandas.DataFrame(
        {
            "height": 170 + 8 * z + rng.normal(size=n),
            "income": np.exp(7 + 0.5 * z + 0.1 * rng.normal(size=n)),
            "visits": rng.poisson(np.exp(0.5 + 0.8 * z)),
            "member": np.where(z + 0.3 * rng.normal(size=n) > 0, "yes", "no").astype(object),
            "city": np.array(["Bonn", "Köln", "Trier"], object)[np.digitize(z + 0.2 * rng.normal(size=n), [-0.7, 0.7])],
            "pain": pandas.Categorical(
                np.array(LEVELS)[np.digitize(z + 0.2 * rng.normal(size=n), [-0.5, 0.8])], LEVELS, ordered=True
            ),
            "age": (40 + 5 * rng.normal(size=n)).round().astype(int),
            "same": 1,
        },
        index=range(1000, 1000 + n),
    )


FULL = table()
HOLES = np.random.default_rng(1).random(FULL.shape) < 0.2
HOLES[:, -1] = False


def holed() -> Any:
    found = FULL.copy()
    for i, name in enumerate(found):
        if HOLES[:, i].any():
            column = found[name].astype(float) if found[name].dtype.kind == "i" else found[name]
            found[name] = column.mask(HOLES[:, i])
    return found


HOLED = holed()
SMALL: dict[str, Any] = {"hidden": (32,), "epochs": 200, "random_state": 0, "columns": {"income": "positive"}}


def small(**options: Any) -> TabularVAE:
    return TabularVAE(2, **(SMALL | options))


@pytest.fixture(scope="module")
def fitted() -> TabularVAE:
    with pytest.warns(UserWarning, match="'same' have one value"):
        return small().fit(HOLED)


# ------------------------------------------------------------------------------------------------------ imputation


def test_impute_beats_means_and_modes_for_each_kind_of_column(fitted: TabularVAE) -> None:
    filled = fitted.impute(HOLED)
    assert list(filled.dtypes) == list(HOLED.dtypes)
    assert filled.index.equals(HOLED.index)
    assert not filled.isna().any(axis=None)
    for i, name in enumerate(FULL):
        rows, kept = HOLES[:, i], ~HOLES[:, i]
        assert (filled[name][kept] == HOLED[name][kept]).all()
        if name in ("height", "income", "visits"):
            error = np.abs(filled[name][rows] - FULL[name][rows]).mean()
            assert error < 0.7 * np.abs(HOLED[name].mean() - FULL[name][rows]).mean(), name
        elif name in ("member", "city", "pain"):
            right = (filled[name][rows].astype(str) == FULL[name][rows].astype(str)).mean()
            assert right > (FULL[name][rows] == HOLED[name].mode()[0]).mean() + 0.15, name
    assert np.allclose(filled["age"][HOLES[:, 6]], HOLED["age"].mean(), atol=2)  # depends on nothing


def test_draws_have_the_spread_of_the_column_and_are_reproducible(fitted: TabularVAE) -> None:
    means, drawn = fitted.impute(HOLED), fitted.impute(HOLED, draw=True, random_state=0)
    rows = HOLES[:, 6]
    assert means["age"][rows].std() < 2
    assert drawn["age"][rows].std() > 3
    assert (drawn["age"] == drawn["age"].round()).all()
    tables = fitted.impute(HOLED, n=3, random_state=0)
    assert len(tables) == 3
    assert tables[0].equals(drawn)
    assert not tables[1].equals(tables[2])


def test_polars_and_arrays_give_the_values_of_pandas(fitted: TabularVAE) -> None:
    filled = fitted.impute(HOLED)
    frame = polars.from_pandas(HOLED)
    with pytest.warns(UserWarning, match="'same' have one value"):
        model = small(columns={"income": "positive", "pain": LEVELS}).fit(frame)
    found = model.impute(frame)
    assert found.schema == frame.schema
    assert np.array_equal(found["height"].to_numpy(), filled["height"].to_numpy())
    assert found["city"].to_list() == filled["city"].tolist()
    array = HOLED.astype(object).to_numpy()
    with pytest.warns(UserWarning, match="7 have one value"):
        plain = small(columns={1: "positive", 5: LEVELS}).fit(array)
    values = plain.impute(array)
    assert values.dtype == object
    assert values[:, 4].tolist() == filled["city"].tolist()
    assert np.array_equal(values[:, 0].astype(float), filled["height"].to_numpy())


# --------------------------------------------------------------------------------------------------- synthetic rows


def test_sample_has_the_dtypes_levels_and_range_of_the_table(fitted: TabularVAE) -> None:
    drawn, z = fitted.sample(2000, random_state=0, return_latent=True)
    assert z.shape == (2000, 2)
    assert list(drawn.columns) == list(FULL.columns)
    assert [str(t) for t in drawn.dtypes] == [str(t) for t in HOLED.dtypes]
    assert set(drawn["city"]) == set(FULL["city"])
    assert drawn["visits"].min() >= 0
    assert (drawn["visits"] == drawn["visits"].round()).all()
    assert drawn["height"].between(FULL["height"].min(), FULL["height"].max()).all()
    assert (drawn["same"] == 1).all()
    assert abs(drawn["height"].mean() - FULL["height"].mean()) < 1.5
    assert np.corrcoef(drawn["height"], np.log(drawn["income"]))[0, 1] > 0.7
    tall = drawn["height"] > 170
    assert (drawn["member"][tall] == "yes").mean() > (drawn["member"][~tall] == "yes").mean() + 0.5
    assert fitted.sample(20, random_state=0).equals(fitted.sample(20, random_state=0))


def test_sample_given_columns_follows_the_conditional_distribution(fitted: TabularVAE) -> None:
    for city in ("Bonn", "Trier"):
        drawn = fitted.sample(1000, given={"city": city}, random_state=0)
        assert (drawn["city"] == city).all()
        inside = FULL[FULL["city"] == city]
        assert abs(drawn["height"].mean() - inside["height"].mean()) < 2.5
        assert abs((drawn["member"] == "yes").mean() - (inside["member"] == "yes").mean()) < 0.15
        assert drawn["height"].nunique() > 500
    with pytest.raises(ValueError, match=r"'city' of given has the level 'Mainz'"):
        fitted.sample(2, given={"city": "Mainz"})
    with pytest.raises(ValueError, match=r"given names 'town'.*'height'"):
        fitted.sample(2, given={"town": "Bonn"})
    with pytest.raises(TypeError, match="given='Bonn' must map"):
        fitted.sample(2, given="Bonn")  # type: ignore[arg-type]


def test_reconstruct_and_inverse_transform_return_tables(fitted: TabularVAE) -> None:
    found = fitted.reconstruct(FULL)
    assert found.equals(fitted.inverse_transform(fitted.transform(FULL)))
    assert np.corrcoef(found["height"], FULL["height"])[0, 1] > 0.9
    assert (found["city"].to_numpy() == FULL["city"].to_numpy()).mean() > 0.8


# ------------------------------------------------------------------------------------------------------------ scores


def test_the_anomaly_score_names_the_odd_column(fitted: TabularVAE) -> None:
    odd = FULL.copy()
    odd.iloc[0, 0] = 150 + (FULL["height"].iloc[0] < 170) * 40  # small with the rest of a tall one, or the reverse
    assert fitted.anomaly_score(odd)[0] > np.quantile(fitted.anomaly_score(FULL), 0.95)
    shares = fitted.anomaly_score(odd, per_column=True)
    assert list(shares.columns) == [*FULL.columns, "kl"]
    assert shares.index.equals(odd.index)
    assert (shares["same"] == 0).all()
    usual = fitted.anomaly_score(FULL, per_column=True)
    assert (shares.iloc[0] - usual.iloc[0]).idxmax() == "height"
    # The sum over a row is the negative ELBO with other draws of z.
    many = -fitted.score_samples(FULL, n_samples=500)
    assert np.allclose(usual.sum(axis=1), many, atol=3)
    assert abs(usual.sum(axis=1).mean() - many.mean()) < 0.05
    missing = fitted.anomaly_score(HOLED, per_column=True)
    assert (missing.to_numpy()[:, :-1][HOLES] == 0).all()


def test_the_anomaly_score_takes_the_log_marginal(fitted: TabularVAE) -> None:
    found = fitted.anomaly_score(HOLED, method="log_marginal", n_samples=20)
    np.testing.assert_array_equal(found, -fitted.log_marginal(HOLED, 20).estimate.astype(np.float32))
    with pytest.raises(ValueError, match="per_column=True has the shares of the negative ELBO: leave out method="):
        fitted.anomaly_score(HOLED, method="log_marginal", per_column=True)


def test_scores_do_not_depend_on_units_and_rise_with_training(fitted: TabularVAE) -> None:
    metres = HOLED.assign(height=HOLED["height"] / 100, income=HOLED["income"] * 1000)
    with pytest.warns(UserWarning, match="'same'"):
        other = small().fit(metres)
    assert np.isclose(other.score(metres), fitted.score(HOLED), atol=0.05)
    shuffled = FULL.apply(lambda column: np.random.default_rng(len(column.name)).permutation(column))
    assert fitted.score(FULL) > fitted.score(shuffled) + 1
    assert fitted.evaluate(FULL)["elbo"] == pytest.approx(fitted.score(FULL))
    exact = fitted.log_marginal(FULL.iloc[:50], 500)
    assert exact.estimate.mean() > fitted.score_samples(FULL.iloc[:50], n_samples=100).mean()


def test_quantile_normalisation_keeps_the_modes_and_its_density_is_that_of_the_column() -> None:
    rng = np.random.default_rng(0)
    x = np.where(rng.random(1000) < 0.5, rng.normal(-5, 0.3, 1000), rng.normal(5, 0.6, 1000))
    X = pandas.DataFrame({"x": x, "side": np.where(x > 0, "right", "left")})
    options: dict[str, Any] = {"hidden": (32,), "epochs": 120, "random_state": 0}
    quantile = TabularVAE(2, normalize="quantile", **options).fit(X)
    drawn = quantile.sample(2000, random_state=0)["x"]
    assert ((drawn.abs() > 3).mean()) > 0.97
    # The same density in the same units: that of the mixture, with x standardised.
    entropy = np.log(np.array([0.3, 0.6]) / x.std()).mean() + 0.5 * np.log(2 * np.pi * np.e) + np.log(2)
    estimate = quantile.log_marginal(X, 500).estimate.mean()  # log p(x, side) = log p(x): the side follows from x
    assert -0.25 < estimate + entropy < 0.1
    losses = quantile.evaluate(X)
    assert losses["elbo"] == pytest.approx(quantile.score(X))
    assert losses["elbo"] == pytest.approx(float(quantile.score_samples(X).mean()), abs=1e-3)


def test_weights_of_columns_give_a_scarce_dimension_to_other_columns() -> None:
    rng = np.random.default_rng(0)
    z, u = rng.normal(size=(2, 600))
    values = {f"a{i}": z + 0.5 * rng.normal(size=600) for i in range(4)}
    values |= {f"copy{i}": u + 0.002 * rng.normal(size=600) for i in range(3)}
    X = pandas.DataFrame(values)
    options: dict[str, Any] = {"hidden": (32,), "epochs": 60, "random_state": 0}

    def strength(balance: Any) -> float:
        codes = TabularVAE(1, balance=balance, **options).fit(X).transform(X)[:, 0]
        return abs(float(np.corrcoef(codes, z)[0, 1]))

    assert strength(None) < 0.3
    assert strength({"copy0": 0.05, "copy1": 0.05, "copy2": 0.05}) > 0.8


# ------------------------------------------------------------------------------------------------------- bad input


def test_bad_parameters_and_tables_are_refused(fitted: TabularVAE) -> None:
    for options, message in (
        ({"unknown": "ignore"}, "unknown='ignore'"),
        ({"normalize": "minmax"}, "normalize='minmax'"),
        ({"balance": 3}, "balance=3 must map"),
        ({"balance": {"x": 2.0}}, "balance names 'x'"),
        ({"balance": {"age": 0.0}}, "balance.'age'. *= *0"),
        ({"masking": 1.0}, "masking=1.0"),
        ({"beta": 2.0, "n_importance_samples": 5}, "needs beta=1"),
        ({"columns": {"age": "years"}}, "one of 'real'"),
    ):
        with pytest.raises(ValueError, match=message):
            small(**(options | {"columns": options.get("columns")})).fit(FULL)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        fitted.transform(FULL[FULL.columns[::-1]])
    with pytest.raises(ValueError, match="unseen at fit time"):
        fitted.transform(FULL.rename(columns={"age": "years"}))
    later = FULL.copy()
    later.iloc[3, 4] = "Mainz"
    with pytest.raises(ValueError, match=r"'city' of X has the level 'Mainz' in row 3.*unknown='missing'"):
        fitted.impute(later)
    model = copy.deepcopy(fitted).set_params(unknown="missing")
    assert model.impute(later).iloc[3, 4] in ("Bonn", "Köln", "Trier")
    with pytest.raises(TypeError, match="impute"):
        fitted.predictive(FULL)
    codes = fitted.transform(FULL.iloc[:2])
    assert len(fitted.inverse_transform(np.linspace(*codes, 10))) == 10
    for call in (fitted.manifold, lambda: fitted.interpolate(*codes), lambda: fitted.traverse(codes[0])):
        with pytest.raises(TypeError, match="inverse_transform"):
            call()
    with pytest.raises(ValueError, match="need the columns of its table"):
        small().load_state_dict(fitted.state_dict())


def test_a_column_without_values_stays_empty_and_is_left_out_by_the_imputer() -> None:
    X = HOLED.assign(nothing=np.nan)
    with pytest.warns(UserWarning, match="'nothing' have no value at all"):
        model = small(epochs=2).fit(X)
    assert model.impute(X)["nothing"].isna().all()
    assert model.sample(3)["nothing"].isna().all()
    with pytest.warns(UserWarning, match="'nothing'"):
        found = Imputer(2, **(SMALL | {"epochs": 2})).fit_transform(X)
    assert "nothing" not in found
    assert not found.isna().any(axis=None)


# ------------------------------------------------------------------------------------------------ training, saving


THREADS = """
import numpy as np, pandas, fastvae, warnings
warnings.filterwarnings("ignore")
rng = np.random.default_rng(0)
X = pandas.DataFrame({"a": rng.normal(size=300), "b": rng.choice(["u", "v", "w"], 300), "c": rng.poisson(1, 300)})
X.iloc[::3, 0] = np.nan
found = []
for n_jobs in (1, 2, 5):
    model = fastvae.TabularVAE(2, hidden=(32,), epochs=3, random_state=0, n_jobs=n_jobs).fit(X)
    found.append((model.impute(X, n=2), model.sample(50), model.anomaly_score(X, per_column=True)))
for other in found[1:]:
    assert all(a.equals(b) for a, b in zip(found[0][0], other[0]))
    assert found[0][1].equals(other[1]) and found[0][2].equals(other[2])
"""


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    run_python(THREADS, FASTVAE_OVERSUBSCRIBE="1")


@pytest.mark.parametrize("way", ["save", "pickle", "deepcopy"])
def test_a_saved_model_gives_the_same_tables(fitted: TabularVAE, way: str) -> None:
    if way == "save":
        file = io.BytesIO()
        fitted.save(file)
        other = fastvae.load(file.getvalue())
    else:
        other = pickle.loads(pickle.dumps(fitted)) if way == "pickle" else copy.deepcopy(fitted)
    assert isinstance(other, TabularVAE)
    assert other.kinds_ == fitted.kinds_
    assert other.impute(HOLED, n=2, random_state=3)[1].equals(fitted.impute(HOLED, n=2, random_state=3)[1])
    assert other.sample(30, random_state=1).equals(fitted.sample(30, random_state=1))
    assert np.array_equal(other.score_samples(FULL), fitted.score_samples(FULL))


@pytest.mark.filterwarnings("ignore:Columns without information")
def test_warm_start_checkpoints_and_validation_go_on_with_the_same_table(tmp_path: Any) -> None:
    whole = small(epochs=4).fit(HOLED, validation_data=FULL)
    assert len(whole.history_["val_loss"]) == 4
    parts = small(epochs=2, warm_start=True).fit(HOLED).fit(HOLED)
    assert np.array_equal(parts.transform(FULL), whole.transform(FULL))
    path = tmp_path / "model.fastvae"
    small(epochs=4).fit(HOLED, checkpoint=path)
    assert np.array_equal(fastvae.resume(path, HOLED).transform(FULL), whole.transform(FULL))
    assert "log p" in small().describe_objective()
    assert "TabularVAE" in whole._repr_html_()


# ---------------------------------------------------------------------------------------------------------- Imputer


def test_the_imputer_fills_frames_in_a_pipeline() -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, y = HOLED.drop(columns=["member", "same"]), FULL["member"]
    levels = ["city", "pain"]
    chain = make_pipeline(
        Imputer(2, **SMALL),
        ColumnTransformer([("levels", OneHotEncoder(), levels)], remainder=StandardScaler()),
        LogisticRegression(),
    )
    assert chain.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.8
    inside = ColumnTransformer([("holes", Imputer(2, epochs=20, random_state=0), ["height", "city"])], remainder="drop")
    inside.set_output(transform="pandas")
    assert list(inside.fit_transform(X).columns) == ["holes__height", "holes__city"]


def test_the_imputer_is_a_tabular_vae_whose_transform_imputes() -> None:
    X = HOLED.drop(columns="same")
    imputer = Imputer(2, add_indicator=True, **SMALL).fit(X)
    found = imputer.transform(X)
    names = [*X.columns, *(f"missingindicator_{name}" for name in X)]
    assert list(found.columns) == names == list(imputer.get_feature_names_out())
    assert imputer.indicator_columns_ == list(X.columns)
    assert (found["missingindicator_age"].to_numpy() == HOLES[:, 6]).all()
    model = small().fit(X)
    assert found[list(X.columns)].equals(model.impute(X))
    for container in ("pandas", "polars"):
        imputer.set_output(transform=container)
        made = imputer.transform(X)
        assert type(made).__module__.startswith(container)
        assert list(made.columns) == names
    imputer.set_output(transform="default")
    file = io.BytesIO()
    imputer.save(file)
    again = fastvae.load(file.getvalue())
    assert isinstance(again, Imputer)
    assert again.transform(X).equals(found)
    drawn = Imputer(2, draw=True, **SMALL).fit_transform(X)
    assert not drawn.equals(found[list(X.columns)])
    assert imputer.sample(3).shape == (3, 7)


def test_the_imputer_has_the_parameters_of_the_tabular_model_with_their_defaults() -> None:
    table, imputer = (inspect.signature(each).parameters for each in (TabularVAE, Imputer))
    own = {"draw", "n_samples", "add_indicator"}
    assert [name for name in imputer if name not in own] == list(table)
    assert all(imputer[name].default == table[name].default for name in table)
    assert all(imputer[name].kind == table[name].kind for name in table)
    given = {name: object() for name in imputer}
    assert Imputer(**given).get_params(deep=False) == given


def test_the_matrix_of_the_table_is_what_exported_models_read(fitted: TabularVAE) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    X = fitted.to_matrix(HOLED)
    assert X.shape == (len(HOLED), sum(place.stop - place.start for place in fitted.matrix_slices_.values()))
    assert list(fitted.matrix_slices_) == [name for name, kind in fitted.kinds_.items() if kind != "constant"]
    assert np.isnan(X[HOLES[:, 0], 0]).all()
    city = X[~HOLES[:, 4], fitted.matrix_slices_["city"]]
    np.testing.assert_array_equal(city.argmax(1), HOLED["city"][~HOLES[:, 4]].map(fitted.levels_["city"].index))
    module = fastvae.torch.to_module(fitted)
    with torch.no_grad():
        decoded, mu, _ = module(torch.from_numpy(X))
        eps = np.random.default_rng(0).normal(size=mu.shape).astype(np.float32)
        elbo = module.elbo(torch.from_numpy(X), eps=torch.from_numpy(eps))
    np.testing.assert_allclose(mu, fitted.encode(HOLED)[0], atol=1e-4)
    np.testing.assert_allclose(elbo, fitted.score_samples(HOLED, eps=eps), rtol=1e-4, atol=1e-3)
    pandas.testing.assert_frame_equal(fitted.from_matrix(decoded), fitted.reconstruct(HOLED), atol=1e-2)
    with pytest.raises(ValueError, match="the matrix of the table has"):
        fitted.from_matrix(np.zeros((3, 2)))


def test_onnx_of_a_table_has_its_columns_in_the_metadata(fitted: TabularVAE) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    file = io.BytesIO()
    fitted.export_onnx(file, "reconstruct")
    kept = {entry.key: entry.value for entry in onnx.load_model_from_string(file.getvalue()).metadata_props}
    columns = json.loads(kept["table"])
    assert [column["label"] for column in columns] == list(FULL)
    assert columns[4]["levels"] == fitted.levels_["city"]
