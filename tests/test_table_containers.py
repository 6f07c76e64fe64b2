"""Tables as users have them: any dtype of pandas, polars, Arrow and numpy, huge numbers, and dtypes that change."""

from __future__ import annotations

import io
import warnings
from decimal import Decimal

import numpy as np
import pytest

import fastvae

pandas = pytest.importorskip("pandas", reason="frames of pandas need pandas")
polars = pytest.importorskip("polars", reason="frames of polars need polars")
pyarrow = pytest.importorskip("pyarrow", reason="Arrow tables need pyarrow")

N = 60
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=N), RNG.choice(list("xyz"), N)


def model(**options):
    return fastvae.TabularVAE(2, hidden=(8,), epochs=2, random_state=0, **options)


def cycle(*values):
    return list(values) * (N // len(values))


def check(table, schema, rows):
    """Check that holes are filled, dtypes stay, and a saved model does the same."""
    fitted = model().fit(table)
    filled = fitted.impute(table)
    assert schema(filled) == schema(table)
    assert schema(fitted.sample(3, random_state=0)) == schema(table)
    assert schema(fitted.reconstruct(table)) == schema(table)
    assert all(cell == cell and cell is not None for row in rows(filled) for cell in row)
    for was, now in zip(rows(table), rows(filled), strict=True):
        assert all(a == b for a, b in zip(was, now, strict=True) if a is not None and a == a)
    buffer = io.BytesIO()
    fitted.save(buffer)
    buffer.seek(0)
    assert rows(fastvae.load(buffer).impute(table)) == rows(filled)


PANDAS = {
    "float32": pandas.Series(cycle(np.nan, 1.5, 2.25), dtype="float32"),
    "float16": pandas.Series(cycle(np.nan, 1.5, 2.25), dtype="float16"),
    "Float32": pandas.array(cycle(None, 1.5, 2.25), dtype="Float32"),
    "Int8": pandas.array(cycle(None, -3, 7, 30), dtype="Int8"),
    "UInt64": pandas.array(cycle(None, 2**64 - 1, 2**63 + 5, 7), dtype="UInt64"),
    "sparse": pandas.arrays.SparseArray(cycle(np.nan, 0.0, 1.5, 0.0), fill_value=0.0),
    "decimal": pandas.Series(
        cycle(None, Decimal("1.25"), Decimal("7.5")), dtype=pandas.ArrowDtype(pyarrow.decimal128(10, 2))
    ),
    "dictionary": pandas.Series(
        cycle(None, "p", "q", "r"), dtype=pandas.ArrowDtype(pyarrow.dictionary(pyarrow.int8(), pyarrow.string()))
    ),
    "large_string": pandas.Series(cycle(None, "p", "q", "r"), dtype=pandas.ArrowDtype(pyarrow.large_string())),
}


@pytest.mark.parametrize("dtype", PANDAS)
def test_pandas(dtype):
    def rows(table):
        cells = [[None if value is pandas.NA else value for value in table[label]] for label in table.columns]
        return list(zip(*cells, strict=True))

    check(pandas.DataFrame({"a": A, "b": B, "c": PANDAS[dtype]}), lambda table: list(table.dtypes), rows)


POLARS = {
    "decimal": polars.Series(cycle(None, Decimal("1.25"), Decimal("7.50")), dtype=polars.Decimal(10, 2)),
    "uint64": polars.Series(cycle(None, 2**64 - 1, 5, 7), dtype=polars.UInt64),
    "float32": polars.Series(cycle(None, 0.5, 1.5), dtype=polars.Float32),
    "enum": polars.Series(cycle(None, "u", "v", "w"), dtype=polars.Enum(["w", "v", "u", "t"])),
}


@pytest.mark.parametrize("dtype", POLARS)
def test_polars(dtype):
    table = polars.DataFrame({"a": A, "b": B.tolist(), "c": POLARS[dtype]})
    check(table, lambda found: found.schema, lambda found: found.rows())


STRINGS = pyarrow.array(cycle(None, "u", "v", "w"))
ARROW = {
    "decimal": pyarrow.array(cycle(None, Decimal("1.25"), Decimal("7.50")), type=pyarrow.decimal128(10, 2)),
    "int8 dictionary": STRINGS.cast(pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
    "large dictionary": STRINGS.cast(pyarrow.large_string()).dictionary_encode(),
    "uint64": pyarrow.array(cycle(None, 2**64 - 1, 5, 7), type=pyarrow.uint64()),
    "float32": pyarrow.array(cycle(None, 0.5, 1.5), type=pyarrow.float32()),
}


@pytest.mark.parametrize("dtype", ARROW)
def test_arrow(dtype):
    table = pyarrow.table({"a": A, "b": B.tolist(), "c": ARROW[dtype]})
    check(table, lambda found: found.schema, lambda found: list(zip(*found.to_pydict().values(), strict=True)))


# Holes in columns whose dtype cannot hold the value that fills them.


@pytest.fixture(scope="module")
def fitted():
    table = pandas.DataFrame({"a": A, "b": B, "d": A > 0, "e": pandas.Categorical(B)})
    return model().fit(table)


ONE = {"a": [1.0], "b": [None], "d": [None], "e": [None]}


def test_a_row_of_holes_that_are_nan(fitted):
    table = pandas.DataFrame({label: [np.nan] for label in ONE}, index=["r"])
    filled = fitted.impute(table)
    assert filled["b"]["r"] in list("xyz")
    assert filled["e"]["r"] in list("xyz")
    assert filled["a"].dtype == filled["d"].dtype == np.float64
    assert filled["d"]["r"] in (0.0, 1.0)


@pytest.mark.parametrize("convert", [polars.DataFrame, pyarrow.table], ids=["polars", "arrow"])
def test_a_row_of_holes_without_a_dtype(fitted, convert):
    filled = fitted.impute(convert(ONE))
    row = filled.to_dicts()[0] if hasattr(filled, "to_dicts") else filled.to_pylist()[0]
    assert row["b"] in list("xyz")
    assert row["e"] in list("xyz")
    assert row["d"] in (True, False)
    assert row["a"] == 1.0


def test_categories_without_the_level(fitted):
    likely = fitted.impute(pandas.DataFrame({"a": A, "b": None, "d": A > 0, "e": None}))["b"].mode()[0]
    other = next(level for level in "xyz" if level != likely)
    frame = {"a": A, "b": [None] * (N - 1) + [other], "d": A > 0, "e": B}
    table = pandas.DataFrame(frame).astype({"b": pandas.CategoricalDtype([other])})
    filled = fitted.impute(table)["b"]
    assert (filled == likely).any()
    assert filled.iloc[-1] == other
    assert list(filled.dtype.categories)[:1] == [other]
    filled = fitted.impute(polars.DataFrame(frame, schema_overrides={"b": polars.Enum([other])}))["b"]
    assert filled.null_count() == 0
    assert (filled == likely).any()


def test_a_column_of_integers_at_transform_only():
    trained = model().fit(pandas.DataFrame({"a": A, "c": A.round(1) * 5}))
    table = pandas.DataFrame({"a": A, "c": pandas.array(cycle(None, 3), dtype="Int64")})
    assert trained.impute(table)["c"].dtype == "Int64"
    assert trained.impute(polars.from_pandas(table))["c"].dtype == polars.Int64
    assert trained.impute(pyarrow.Table.from_pandas(table)).schema.field("c").type == pyarrow.int64()


def test_texts_of_an_array_are_not_cut():
    X = np.array([["a", "long"], ["b", "long"], ["b", "word"]] * 20)
    trained = model(unknown="missing").fit(X)
    assert set(trained.impute(np.array([["a", "w"]]))[0]) <= {"a", "long", "word"}


# Numbers


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (2**64 - 1 - np.arange(N, dtype=object) * 10**17, np.uint64),
        (2**63 - 1 - np.arange(N, dtype=object) * 10**17, np.int64),
        (-(2**63) + np.arange(N, dtype=object) * 10**17, np.int64),
        (10**30 + np.arange(N, dtype=object) * 10**28, object),
    ],
)
def test_huge_integers(values, dtype):
    table = pandas.DataFrame({"a": A, "c": values.astype(dtype)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = model().fit(table).sample(500, random_state=0)["c"]
    assert drawn.dtype == table["c"].dtype
    assert min(values) <= int(drawn.min())
    assert int(drawn.max()) <= max(values)


@pytest.mark.parametrize("unit", [1e300, 1e-160, 1e-300])
@pytest.mark.parametrize("normalize", ["standard", "quantile"])
def test_units_whose_squares_leave_float64(unit, normalize):
    table = pandas.DataFrame({"a": A, "c": A + 0.1 * RNG.normal(size=N)})
    there = table.assign(c=table["c"] * unit)
    here, fitted = (model(normalize=normalize).fit(each) for each in (table, there))
    np.testing.assert_allclose(fitted.transform(there), here.transform(table), atol=1e-5)
    np.testing.assert_allclose(
        fitted.sample(50, random_state=0)["c"] / unit, here.sample(50, random_state=0)["c"], rtol=1e-4
    )
    fitted.save(io.BytesIO())


def test_whole_numbers_beyond_the_engine_are_real():
    values = np.where(np.arange(N) % 9 == 0, 8 * 10**18, 3)
    trained = model().fit(pandas.DataFrame({"a": A, "c": values}))
    assert trained.kinds_["c"] == "real"


def test_a_count_beyond_the_engine_is_refused():
    values = np.where(np.arange(N) % 9 == 0, 8 * 10**18, 3)
    with pytest.raises(ValueError, match=r"column 'c' of X is 8e\+18 in row 0, which is larger than 1e\+15"):
        model(columns={"c": "count"}).fit(pandas.DataFrame({"a": A, "c": values}))


def test_a_number_beyond_float64_is_refused():
    with pytest.raises(ValueError, match="column 'c' has a number beyond 1e308 in row 1"):
        model().fit(pandas.DataFrame({"a": A, "c": pandas.Series(cycle(1, 10**400), dtype=object)}))


# Parameters, names, containers


@pytest.mark.parametrize("levels", [np.array([100, 110, 120]), list(np.array([100, 110, 120]))])
def test_levels_from_numpy(levels):
    trained = model(columns={"c": levels}).fit(pandas.DataFrame({"a": A, "c": cycle(110, 100, 120)}))
    trained.save(io.BytesIO())
    assert trained.kinds_["c"] == "ordinal"
    with pytest.raises(ValueError, match=r"has the level 105 in row 0, .*levels are 100, 110, 120"):
        trained.transform(pandas.DataFrame({"a": [1.0], "c": [105]}))


def test_a_given_fraction_for_whole_numbers_is_refused():
    trained = model().fit(pandas.DataFrame({"a": A, "c": cycle(100, 110, 120)}))
    with pytest.raises(ValueError, match=r"given\['c'\]=100.5 must be a whole number"):
        trained.sample(2, given={"c": 100.5})
    assert (trained.sample(2, given={"c": np.int64(110)})["c"] == 110).all()


def test_integer_names_in_another_order_are_refused():
    trained = model().fit(pandas.DataFrame({5: A, 3: B}))
    trained.transform(pandas.DataFrame({5: A, 3: B}))
    with pytest.raises(ValueError, match="the columns of X are 3, 5, but TabularVAE was fitted to 5, 3"):
        trained.transform(pandas.DataFrame({3: B, 5: A}))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pandas.DataFrame({True: A, False: A}), "True of X must be named by a string"),
        (A[:, np.newaxis].view(np.matrix), "numpy.asarray"),
        (np.zeros(9, [("x", "f4", (2,))]), "column 'x' has cells of shape"),
        (polars.LazyFrame({"a": A}), "X.collect()"),
        ({"a": A}, "pandas.DataFrame"),
    ],
    ids=["bool names", "matrix", "subarray", "lazy", "dict"],
)
def test_refused(X, message):
    with pytest.raises(TypeError, match=message):
        model().fit(X)


# Indicators of Imputer


def imputer(**options):
    return fastvae.Imputer(2, hidden=(8,), epochs=2, random_state=0, add_indicator=True, **options)


def test_an_indicator_replaces_no_column():
    table = pandas.DataFrame({"a": np.where(A > 1, np.nan, A), "missingindicator_a": A + RNG.normal(size=N)})
    for found in (table, polars.from_pandas(table)):
        with pytest.raises(ValueError, match="has a column 'missingindicator_a'"):
            imputer().fit(found).transform(found)


def test_indicators_of_numbered_columns_have_names_that_scikit_learn_takes():
    table = pandas.DataFrame({0: np.where(A > 1, np.nan, A), 1: A**2})
    step = imputer().fit(table)
    assert list(step.transform(table).columns) == ["x0", "x1", "missingindicator_x0"]
    assert list(step.get_feature_names_out()) == ["x0", "x1", "missingindicator_x0"]


def test_indicators_are_numbers_and_include_unknown_levels():
    X = np.array([["a", None], ["b", "u"], ["b", "v"], ["c", "v"]] * 15, object)
    flags = imputer(unknown="missing").fit(X).transform([["a", "new"], ["b", None], ["c", "u"]])[:, -1]
    assert [(type(flag), flag) for flag in flags] == [(int, 1), (int, 1), (int, 0)]


def test_many_categories_are_refused_before_they_fill_the_memory():
    n = 20_000
    table = pandas.DataFrame({"a": RNG.normal(size=n), "b": pandas.Categorical([f"id{i}" for i in range(n)])})
    with pytest.raises(ValueError, match="column 'b' has 20000 categories, more than 2000"):
        model().fit(table)
    few = pandas.DataFrame({"a": A, "b": pandas.Categorical(B, [*"xyz", *map(str, range(n))])})
    drawn = model().fit(few).sample(5, random_state=0)
    assert drawn["b"].dtype == few["b"].dtype
