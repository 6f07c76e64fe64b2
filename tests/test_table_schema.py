"""Tables: kinds of columns, levels, holes, errors, and the way back with dtypes and order, for each container."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fastvae._tables import containers, normalize
from fastvae._tables.schema import Schema

pandas = pytest.importorskip("pandas", reason="pandas, which these tests need, is not installed")
polars = pytest.importorskip("polars", reason="polars, which these tests need, is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, which these tests need, is not installed")

N = 60
RNG = np.random.default_rng(0)
VALUES: dict[str, list[Any]] = {
    "height": RNG.normal(170, 8, N).round(1).tolist(),
    "age": RNG.integers(18, 80, N).tolist(),
    "visits": RNG.poisson(1.5, N).tolist(),
    "smoker": RNG.choice(["no", "yes"], N).tolist(),
    "member": (RNG.random(N) < 0.5).tolist(),
    "city": RNG.choice(["Bonn", "Köln", "Trier"], N).tolist(),
    "grade": RNG.choice(["low", "mid", "high"], N).tolist(),
}
KINDS = {
    "height": "real",
    "age": "real",
    "visits": "count",
    "smoker": "binary",
    "member": "binary",
    "city": "categorical",
    "grade": "ordinal",
}
ORDER = ["low", "mid", "high"]
GRADES = {"grade": ORDER}


def frame(container: str, rows: slice = slice(None)) -> Any:
    """The table in a container."""
    values = {name: column[rows] for name, column in VALUES.items()}
    if container == "pandas":
        found = pandas.DataFrame(values, index=range(100, 100 + len(values["age"])))
        found["city"] = found["city"].astype("category")
        found["grade"] = pandas.Categorical(found["grade"], ORDER, ordered=True)
        return found
    if container == "nullable":
        return pandas.DataFrame(values).convert_dtypes()
    if container == "polars":
        return polars.DataFrame(values).with_columns(polars.col("city").cast(polars.Categorical))
    if container == "enum":
        return polars.DataFrame(values).with_columns(polars.col("city").cast(polars.Enum(["Bonn", "Köln", "Trier"])))
    if container == "arrow":
        table = pyarrow.table(values)
        return table.set_column(5, "city", table["city"].dictionary_encode())
    types = [("height", "f8"), ("age", "i4"), ("visits", "i8"), ("smoker", "U3"), ("member", "?")]
    types += [("city", "U5"), ("grade", "U4")]
    if container == "structured":
        return np.array(list(zip(*values.values(), strict=True)), types)
    return np.array(list(zip(*values.values(), strict=True)), object)


def fitted(X: Any, columns: Any = None, way: str = "standard") -> tuple[Schema, Any]:
    table = containers.read(X)
    return Schema.fit(table, columns, way), table


CONTAINERS = ("pandas", "nullable", "polars", "enum", "arrow", "structured", "objects")


@pytest.mark.parametrize("container", CONTAINERS)
def test_kinds_are_found_and_a_table_comes_back(container: str) -> None:
    X = frame(container)
    chosen = None if container == "pandas" else {6 if container == "objects" else "grade": ORDER}
    schema, table = fitted(X, chosen)
    assert list(schema.kinds.values()) == list(KINDS.values())
    encoded = schema.encode(table, "X", "error")
    assert encoded.shape == (N, 5 + 3 + 3)
    assert encoded.dtype == np.float32
    assert np.allclose(encoded[:, :2].mean(0), 0, atol=1e-5)
    assert np.allclose(encoded[:, :2].std(0), 1, atol=1e-5)
    assert (encoded[:, 5:8].sum(1) == 1).all()
    assert (encoded[:, 8:].sum(1) == 1).all()
    assert np.array_equal(encoded[:, 8:].argmax(1), [ORDER.index(grade) for grade in VALUES["grade"]])
    columns = schema.decode(encoded, draw=False)
    for found, expected in zip(columns, VALUES.values(), strict=True):
        if isinstance(expected[0], float):
            assert np.allclose(found.astype(float), expected, atol=1e-4)
        else:
            assert found.tolist() == expected
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    made = again.build(again.decode(encoded, draw=False))
    if container in ("pandas", "nullable"):
        assert list(made.dtypes) == list(X.dtypes)
        assert list(made.columns) == list(X.columns)
        assert (made["grade"].to_numpy() == X["grade"].to_numpy()).all()
    elif container in ("polars", "enum"):
        assert made.schema == X.schema
        assert made["city"].to_list() == VALUES["city"]
    elif container == "arrow":
        assert made.schema.equals(X.schema)
    else:
        assert made.dtype == X.dtype
        assert made.shape == X.shape


HOLES = {"height": [0, 3], "age": [1], "visits": [2], "smoker": [4, 5], "member": [6], "city": [7], "grade": [8, 9]}


def with_holes(container: str) -> Any:
    X = frame(container)
    if container in ("pandas", "nullable"):
        for i, (name, rows) in enumerate(HOLES.items()):
            column = X[name].astype(object) if name in ("member", "smoker") and container == "pandas" else X[name]
            column = column.astype(float) if name in ("age", "visits") and container == "pandas" else column
            column = column.copy()
            column.iloc[rows] = None if column.dtype == object else (pandas.NA if container == "nullable" else np.nan)
            X.isetitem(i, column)
        return X
    if container in ("polars", "enum"):
        for name, rows in HOLES.items():
            cells = X[name].to_list()
            for row in rows:
                cells[row] = None
            X = X.with_columns(polars.Series(name, cells, dtype=X[name].dtype))
        return X
    if container == "arrow":
        for i, (name, rows) in enumerate(HOLES.items()):
            cells = X[name].to_pylist()
            for row in rows:
                cells[row] = None
            X = X.set_column(i, X.schema.field(i), pyarrow.array(cells, type=X.schema.field(i).type))
        return X
    for i, rows in enumerate(HOLES.values()):
        X[rows, i] = None
    return X


@pytest.mark.parametrize("container", ["pandas", "nullable", "polars", "enum", "arrow", "objects"])
def test_holes_are_found_and_filled_without_a_change_elsewhere(container: str) -> None:
    X = with_holes(container)
    chosen = None if container == "pandas" else {6 if container == "objects" else "grade": ORDER}
    schema, table = fitted(X, chosen)
    assert list(schema.kinds.values()) == list(KINDS.values())  # holes make floats of integers, and the kinds stay
    assert [rows.tolist() for rows in schema.holes(table)] == list(HOLES.values())
    encoded = schema.encode(table, "X", "error")
    assert np.isnan(encoded[7, 5:8]).all()
    assert np.isnan(encoded[8, 8:]).all()
    assert np.isnan(encoded[0, 0])
    whole = schema.encode(containers.read(frame(container)), "X", "error")
    columns = schema.decode(whole, draw=False)
    places = [(i, rows, columns[i][rows]) for i, rows in enumerate(schema.holes(table)) if len(rows)]
    full = containers.fill(X, schema.container, places)
    found = containers.read(full)
    for raw, expected in zip(found.columns, containers.read(frame(container)).columns, strict=True):
        assert not raw.missing.any()
        if raw.values.dtype == object:
            assert raw.values.tolist() == expected.values.tolist()
        else:
            assert np.allclose(raw.values, expected.values, atol=1e-4)
    if container in ("pandas", "nullable"):
        assert list(full.dtypes) == list(X.dtypes)
        assert full.index.equals(X.index)
        assert X.isna().sum().sum() == 10  # the table of the caller is as it was
    elif container in ("polars", "enum", "arrow"):
        assert full.schema == X.schema


def test_kinds_are_found_by_value() -> None:
    X = pandas.DataFrame(
        {
            "years": RNG.integers(30, 60, 50),
            "children": RNG.poisson(1, 50),
            "loss": -RNG.poisson(1, 50),
            "whole": RNG.poisson(1, 50).astype(float),
            "zero_one": RNG.integers(0, 2, 50).astype(float),
            "two_reals": np.where(RNG.random(50) < 0.5, 0.5, 1.5),
            "level": pandas.Categorical(RNG.integers(1, 4, 50)),
            "ordered": pandas.Categorical(RNG.integers(1, 4, 50), ordered=True),
            "same": 3,
            "nothing": np.nan,
            "one": "a",
        }
    )
    schema, _ = fitted(X)
    assert schema.kinds == {
        "years": "real",
        "children": "count",
        "loss": "real",
        "whole": "count",
        "zero_one": "binary",
        "two_reals": "real",
        "level": "categorical",
        "ordered": "ordinal",
        "same": "constant",
        "nothing": "empty",
        "one": "constant",
    }
    with pytest.warns(UserWarning, match=r"'same', 'one' have one value; 'nothing' have no value"):
        schema.warn_of_unmodelled()
    chosen, _ = fitted(X, {"years": "positive", "children": "ordinal", "loss": "categorical", "two_reals": "binary"})
    assert [chosen.kinds[name] for name in ("years", "children", "loss", "two_reals")] == [
        "positive",
        "ordinal",
        "categorical",
        "binary",
    ]
    made = schema.build(schema.decode(schema.encode(containers.read(X), "X", "error"), draw=True))
    assert (made["same"] == 3).all()
    assert made["nothing"].isna().all()
    assert (made["one"] == "a").all()


def test_numbers_stay_in_the_range_of_the_column_and_integers_stay_integers() -> None:
    X = pandas.DataFrame({"a": [1, 5, 9, 4], "b": [0.5, 1.5, 2.5, 4.0], "c": [11.0, 20.0, 13.0, 14.0]})
    schema, _ = fitted(X, {"b": "positive"})
    far = np.array([[-50, 0.001, -50], [50, 1e6, 50], [0.1, 1, 0.1]], np.float32)
    a, b, c = schema.decode(far, draw=True)
    assert a.tolist()[:2] == [1, 9]
    assert a.dtype.kind == "i"
    assert b[:2].tolist() == [0.5, 4.0]
    assert np.isclose(b[2], np.exp(np.log(X["b"]).mean()))
    assert c.tolist()[:2] == [11.0, 20.0]
    assert c[2] == round(c[2])
    assert schema.decode(far, draw=False)[2][2] != c[2]  # means of floats are not rounded


def test_draws_of_few_whole_numbers_are_among_them_and_quantiles_keep_their_shares() -> None:
    years = RNG.choice([5.0, 8.0, 12.0, 21.0], 400, p=[0.1, 0.5, 0.3, 0.1])
    X = pandas.DataFrame({"years": years})
    schema, _ = fitted(X, {"years": "real"})
    z = RNG.normal(size=(20000, 1)).astype(np.float32)
    assert set(schema.decode(z, draw=True)[0]) == {5.0, 8.0, 12.0, 21.0}
    assert len(set(schema.decode(z, draw=False)[0])) > 100
    quantile, _ = fitted(X, {"years": "real"}, "quantile")
    again = Schema.from_json(json.loads(json.dumps(quantile.to_json())))
    drawn = again.decode(z, draw=True)[0]
    assert np.allclose(
        [(drawn == v).mean() for v in (5, 8, 12, 21)], [(years == v).mean() for v in (5, 8, 12, 21)], atol=0.01
    )


BAD: dict[str, tuple[dict[str, list[Any]], Any, type[Exception], str]] = {
    "dates": ({"day": list(pandas.date_range("2024-01-01", periods=4))}, None, TypeError, r"'day' holds dates.*days"),
    "mixed": ({"a": [1, "x", 2, 3]}, None, TypeError, r"'a' mixes numbers and strings \(row 1 is 'x'\).*to_numeric"),
    "objects": ({"a": [1, {}, 2, 3]}, None, TypeError, r"'a' holds objects \(row 1 is \{\}"),
    "text as a number": (
        {"a": ["1", "2", "x", "y"]},
        {"a": "real"},
        TypeError,
        r"'a' of X is '1' in row 0.*to_numeric",
    ),
    "not positive": ({"a": [1.0, 0.0, 2, 3]}, {"a": "positive"}, ValueError, r"'a' of X is 0 in row 1.*\"real\""),
    "no count": ({"a": [1.0, 2.5, 2, 3]}, {"a": "count"}, ValueError, r"'a' of X is 2.5 in row 1"),
    "negative count": ({"a": [1, -2, 2, 3]}, {"a": "count"}, ValueError, r"'a' of X is -2 in row 1"),
    "infinite": ({"a": [1.0, np.inf, 2, 3]}, None, ValueError, r"'a' of X is inf in row 1"),
    "not binary": ({"a": [1, 2, 3, 4]}, {"a": "binary"}, ValueError, r"'a' has 4 levels \(1, 2, 3, 4\)"),
    "no order": ({"a": ["u", "v", "w", "w"]}, {"a": "ordinal"}, ValueError, r"'a' is \"ordinal\".*pass the levels"),
    "not in the list": ({"a": ["u", "v", "w", "w"]}, {"a": ["u", "v"]}, ValueError, r"level 'w' in row 2.*list"),
    "unknown column": ({"a": [1, 2, 3, 4]}, {"b": "real"}, ValueError, r"columns names 'b'.*'a'"),
    "unknown kind": ({"a": [1, 2, 3, 4]}, {"a": "number"}, ValueError, r"one of 'real'.*see 'a'"),
    "nothing varies": ({"a": [1, 1, 1, 1]}, None, ValueError, r"no column of X varies"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_columns_are_refused_by_name_with_a_remedy(case: str) -> None:
    values, columns, error, message = BAD[case]
    with pytest.raises(error, match=message):
        fitted(pandas.DataFrame(values), columns)


def test_free_text_is_refused_and_may_be_called_categorical() -> None:
    X = pandas.DataFrame({"name": [f"name {i}" for i in range(50)], "a": range(50)})
    with pytest.raises(ValueError, match=r"'name' holds 50 different texts in 50 rows.*columns=\{'name'"):
        fitted(X)
    assert fitted(X, {"name": "categorical"})[0].width == 51


def test_a_level_of_later_tables_only_is_refused_or_a_hole() -> None:
    schema, _ = fitted(frame("pandas"))
    later = frame("pandas", slice(0, 5))
    later["city"] = ["Bonn", "Mainz", "Köln", None, "Trier"]
    table = containers.read(later)
    with pytest.raises(ValueError, match=r"'city' of X has the level 'Mainz' in row 1.*unknown='missing'"):
        schema.encode(table, "X", "error")
    encoded = schema.encode(table, "X", "missing")
    assert np.isnan(encoded[:, 5:8]).all(1).tolist() == [False, True, False, True, False]
    assert schema.holes(table)[5].tolist() == [1, 3]


def test_quantile_normalisation_makes_a_bimodal_column_normal_and_knows_its_slope() -> None:
    x = np.concatenate([RNG.normal(-5, 0.5, 400), RNG.normal(5, 1, 600)])
    found = normalize.fit(x, "quantile")
    z = found.forward(x)
    assert stats.kstest(z, "norm").pvalue > 0.5
    assert stats.kstest(x / x.std(), "norm").pvalue < 1e-6
    assert np.allclose(found.inverse(z), x)
    assert np.allclose(found.inverse(found.forward(x * 3)), x * 3)
    inside = x[~np.isin(x, found.x)]
    step = 1e-7
    numeric = (found.forward(inside + step) - found.forward(inside - step)) / (2 * step) * x.std()
    close = np.isclose(np.log(numeric), found.log_slope(inside), atol=1e-4)
    assert close.all()
    assert len(close) > 900
    # The density of u = (x - mean) / sd integrates to one.
    grid = np.linspace(-4, 4, 400001)
    density = stats.norm.logpdf(found.forward(x.mean() + x.std() * grid))
    density += found.log_slope(x.mean() + x.std() * grid)
    assert np.isclose(np.trapezoid(np.exp(density), grid), 1, atol=1e-3)
    again = normalize.from_json(json.loads(json.dumps(found.to_json())))
    assert np.array_equal(again.forward(x), z)
