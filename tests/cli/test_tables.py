"""Tables of mixed columns on the command line: train, impute, sample, score, info, resume."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from cli.conftest import Ended, Run, error_of

LEVELS = ["low", "mid", "high"]
TRAIN = ("--model", "tabular", "--hidden", "32", "--latent-dim", "2", "--epochs", "200", "--seed", "0")
KINDS = ("--kind", "income=positive", "--kind", "grade=low,mid,high")


def people(n: int = 300, seed: int = 0, holes: float = 0.15) -> str:
    """Rows whose columns depend on one latent dimension, written as people write them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    columns = {
        "name": [f"p{i:03}" for i in range(n)],
        "age": [f"{round(45 + 10 * each)}" for each in z],
        "income": [f"{np.exp(10 + 0.5 * each):.2f}" for each in z],
        "visits": [str(each) for each in rng.poisson(np.exp(0.6 + 0.7 * z))],
        "code": [("007", "010", "100")[each] for each in np.digitize(z + 0.2 * rng.normal(size=n), [-0.6, 0.6])],
        "smoker": ["TRUE" if each else "FALSE" for each in z + 0.3 * rng.normal(size=n) > 0],
        "grade": [LEVELS[each] for each in np.digitize(z + 0.2 * rng.normal(size=n), [-0.5, 0.8])],
        "note": ['say "so", ok'] * n,
    }
    gone = rng.random((n, len(columns))) < holes
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for i in range(n):
        row = [cells[i] for cells in columns.values()]
        writer.writerow([row[0], *("NA" if hole else cell for cell, hole in zip(row[1:], gone[i, 1:], strict=True))])
    return out.getvalue()


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


PEOPLE = people()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the table, from the command line."""
    from fastvae._cli import main

    folder = tmp_path_factory.mktemp("tables")
    (folder / "people.csv").write_text(PEOPLE)
    path = folder / "people.safetensors"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the constant column
        patch.chdir(folder)
        assert main(["train", "people.csv", "-o", str(path), "--id", "name", *TRAIN, *KINDS, "-q"]) == 0
    return path


@pytest.fixture(autouse=True)
def table(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return path


def test_train_as_a_process_finds_kinds_and_takes_those_given(process: Run, tmp_path: Path) -> None:
    given = ("--balance", "age=0.5", "--normalize", "quantile", "--unknown", "missing", "--epochs", "2", "--json")
    found = process("train", "people.csv", "-o", "m.safetensors", "--id", "name", *TRAIN, *KINDS, *given)
    assert "read people.csv: 300 x 7, mixed columns" in found.err
    assert "'note' have one value" in found.err
    assert json.loads(found.text)["model"] == "TabularVAE"
    model: Any = fastvae.load(tmp_path / "m.safetensors")
    assert model.kinds_ == {
        "age": "real",
        "income": "positive",
        "visits": "count",
        "code": "categorical",
        "smoker": "binary",
        "grade": "ordinal",
        "note": "constant",
    }
    assert model.levels_["code"] == ["007", "010", "100"]
    assert model.levels_["smoker"] == ["FALSE", "TRUE"]
    assert model.levels_["grade"] == LEVELS
    assert (model.balance, model.normalize, model.unknown) == ({"age": 0.5}, "quantile", "missing")


def test_info_as_a_process_shows_kinds_and_levels(process: Run, model: Path) -> None:
    found = process("info", model)
    assert "  code                     categorical: 007, 010, 100" in found.lines
    assert "  income                   positive" in found.lines
    assert "latent dimensions:   2" in found.lines
    described = json.loads(process("info", model, "--json").text)
    assert described["columns"]["grade"] == {"kind": "ordinal", "levels": LEVELS}


def test_impute_as_a_process_fills_holes_and_keeps_every_other_cell(process: Run, model: Path) -> None:
    found = process("impute", model, "people.csv", "--id", "name")
    before, after = rows_of(PEOPLE), rows_of(found.text)
    assert "cells were missing" in found.err
    assert after[0] == before[0]
    assert len(after) == len(before)
    filled = {name: [] for name in before[0]}
    for old, new in zip(before[1:], after[1:], strict=True):
        for name, a, b in zip(before[0], old, new, strict=True):
            if a != "NA":
                assert a == b, name
            else:
                filled[name].append(b)
    assert all(cell.isdigit() for cell in filled["visits"] + filled["age"])
    assert all(float(cell) > 0 for cell in filled["income"])
    assert set(filled["code"]) <= {"007", "010", "100"}
    assert set(filled["smoker"]) == {"TRUE", "FALSE"}
    assert set(filled["grade"]) <= set(LEVELS)
    assert set(filled["note"]) == {'say "so", ok'}


def test_impute_is_what_python_gives_for_the_frame(run: Run, model: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    run("impute", model, "people.csv", "-o", "filled.csv")
    text = {"code": str, "smoker": str, "grade": str, "name": str, "note": str}
    frame = pandas.read_csv("people.csv", dtype=text)
    loaded: Any = fastvae.load(model)
    wanted = loaded.impute(frame.drop(columns="name"))
    found = pandas.read_csv(tmp_path / "filled.csv", dtype=text)
    for name in ("code", "smoker", "grade", "note"):
        assert found[name].tolist() == wanted[name].tolist()
    np.testing.assert_allclose(found["income"], wanted["income"], rtol=1e-6)
    np.testing.assert_array_equal(found["visits"], wanted["visits"].round())


def test_draws_of_impute_differ_in_the_holes_only(run: Run, model: Path) -> None:
    found = rows_of(run("impute", model, "people.csv", "--draws", 3, "--seed", 0, "--rows", ":50").text)
    before = rows_of(PEOPLE)[1:51]
    assert found[0] == ["draw", "row", *rows_of(PEOPLE)[0]]
    assert [row[:2] for row in found[1:]] == [[str(d), str(i)] for d in range(3) for i in range(50)]
    draws = [[row[2:] for row in found[1 + 50 * d : 51 + 50 * d]] for d in range(3)]
    differ = 0
    for i, old in enumerate(before):
        for j, cell in enumerate(old):
            values = {draw[i][j] for draw in draws}
            assert values == {cell} or cell == "NA"
            differ += len(values) > 1
    assert differ > 20
    again = run("impute", model, "people.csv", "--draws", 3, "--seed", 0, "--rows", ":50").text
    assert rows_of(again) == found


def test_parquet_keeps_its_types(process: Run, run: Run, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    import pyarrow.parquet as parquet

    rows = rows_of(people(holes=0.0))[1:]
    rng = np.random.default_rng(1)

    def column(j: int, kind: Any, convert: Any) -> Any:
        cells = [None if j and rng.random() < 0.1 else convert(row[j]) for row in rows]
        return pyarrow.array(cells).cast(kind) if kind is not None else pyarrow.array(cells).dictionary_encode()

    frame = pyarrow.table(
        {
            "id": column(0, pyarrow.string(), str),
            "age": column(1, pyarrow.int16(), int),
            "income": column(2, pyarrow.float32(), float),
            "smoker": column(5, pyarrow.bool_(), lambda cell: cell == "TRUE"),
            "grade": column(6, None, str),
        }
    )
    parquet.write_table(frame, tmp_path / "p.parquet")
    process("train", "p.parquet", "-o", "p.safetensors", "--drop", "id", *TRAIN, "--epochs", 20)
    process("impute", "p.safetensors", "p.parquet", "-o", "filled.parquet")
    filled = parquet.read_table(tmp_path / "filled.parquet")
    assert filled.schema.equals(frame.schema)
    for name in frame.column_names:
        old, new = frame.column(name).to_pylist(), filled.column(name).to_pylist()
        assert None not in new
        assert all(a is None or a == b for a, b in zip(old, new, strict=True))
    run("impute", "p.safetensors", "p.parquet", "--draws", 2, "-o", "draws.parquet", "--rows", ":7")
    drawn = parquet.read_table(tmp_path / "draws.parquet")
    assert drawn.column_names == ["draw", "row", *frame.column_names]
    assert drawn.column("row").to_pylist() == [*range(7), *range(7)]
    assert drawn.schema.field("age").type == pyarrow.int16()
    run("sample", "p.safetensors", "-n", 20, "--given", "smoker=true", "-o", "made.parquet")
    made = parquet.read_table(tmp_path / "made.parquet")
    assert made.schema.field("smoker").type == pyarrow.bool_()
    assert made.column("smoker").to_pylist() == [True] * 20
    assert pyarrow.types.is_dictionary(made.schema.field("grade").type)
    # A model of a Parquet file reads CSV: its booleans are texts there.
    lines = run("impute", "p.safetensors", "filled.parquet", "--to", "csv").text
    (tmp_path / "filled.csv").write_text(lines)
    codes = [
        np.array(rows_of(run("encode", "p.safetensors", each).text)[1:], float)
        for each in ("filled.csv", "filled.parquet")
    ]
    np.testing.assert_allclose(*codes, atol=1e-4)


def test_sample_as_a_process_has_the_columns_and_levels_of_the_table(process: Run, model: Path) -> None:
    found = rows_of(process("sample", model, "-n", 200, "--seed", 1).text)
    assert found[0] == rows_of(PEOPLE)[0][1:]
    cells = dict(zip(found[0], zip(*found[1:], strict=True), strict=True))
    assert set(cells["code"]) <= {"007", "010", "100"}
    assert set(cells["smoker"]) == {"TRUE", "FALSE"}
    assert all(cell.isdigit() for cell in cells["visits"])
    given = ("--given", "code=007", "--given", "visits=3", "--given", "smoker=TRUE")
    fixed = rows_of(process("sample", model, "-n", 50, *given, "--codes", "--seed", 1).text)
    assert fixed[0][-2:] == ["z0", "z1"]
    assert {(row[2], row[3], row[4]) for row in fixed[1:]} == {("3", "007", "TRUE")}
    low, high = (
        np.mean([float(row[0]) for row in rows_of(run.text)[1:]])
        for run in (process("sample", model, "-n", 200, "--given", f"grade={level}", "--draw") for level in LEVELS[::2])
    )
    assert low + 8 < high


def test_scores_as_a_process_tell_the_odd_column(process: Run, model: Path, tmp_path: Path) -> None:
    loaded: Any = fastvae.load(model)
    X = np.array(
        [(50, 36000.0, 2, "010", "TRUE", "mid", 'say "so", ok')],
        [
            ("age", "i8"),
            ("income", "f8"),
            ("visits", "i8"),
            *((name, "O") for name in ("code", "smoker", "grade", "note")),
        ],
    )
    header = PEOPLE.partition("\n")[0]
    (tmp_path / "odd.csv").write_text(f'{header}\nzoe,50,360000,2,010,TRUE,mid,"say ""so"", ok"\n')
    found = rows_of(process("score", model, "odd.csv", "--id", "name", "--per-column").text)
    assert found[0] == ["name", "negative_elbo", "age", "income", "visits", "code", "smoker", "grade", "note", "kl"]
    shares = dict(zip(found[0][1:], map(float, found[1][1:]), strict=True))
    assert shares["income"] > 5 + max(
        value for name, value in shares.items() if name not in ("income", "negative_elbo")
    )
    assert shares["negative_elbo"] == pytest.approx(sum(shares.values()) - shares["negative_elbo"], rel=1e-6)
    X["income"] = 360000
    np.testing.assert_allclose(list(shares.values())[1:], loaded.anomaly_score(X, per_column=True)[0], rtol=1e-5)
    means = json.loads(process("score", model, "people.csv", "--json", "--log-marginal", 50).text)
    assert {"elbo", "kl", "log_marginal"} <= set(means)
    each = rows_of(process("score", model, "people.csv", "--each").text)
    assert each[0] == ["row", "elbo"]
    assert float(np.mean([float(row[1]) for row in each[1:]])) == pytest.approx(means["elbo"], abs=0.5)


def test_encode_and_reconstruct(run: Run, model: Path) -> None:
    codes = rows_of(run("encode", model, "people.csv", "--id", "name").text)
    assert codes[0] == ["name", "z0", "z1"]
    decoded = rows_of(run("reconstruct", model, "people.csv", "--id", "name").text)
    assert decoded[0] == rows_of(PEOPLE)[0]
    right = [a[4] == b[4] for a, b in zip(rows_of(PEOPLE)[1:], decoded[1:], strict=True) if a[4] != "NA"]
    assert np.mean(right) > 0.7
    drawn = rows_of(run("encode", model, "people.csv", "--draws", 2).text)
    assert drawn[0] == ["draw", "row", "z0", "z1"]


def test_resume_and_validation(run: Run, tmp_path: Path) -> None:
    fit = ("train", "people.csv", "--drop", "name,note", *TRAIN, *KINDS, "--normalize", "quantile")
    (tmp_path / "held.csv").write_text(people(40, seed=1))
    held = ("--validation", "held.csv")
    run(*fit, "-o", "whole.safetensors", "--epochs", 6, *held)
    run(*fit, "-o", "part.safetensors", "--epochs", 6, *held, "--checkpoint", "c.ckpt", "--checkpoint-every", 2)
    run("resume", "c.ckpt", "people.csv", *held, "-o", "resumed.safetensors")
    whole, resumed = (fastvae.load(tmp_path / f"{name}.safetensors").state_dict() for name in ("whole", "resumed"))
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_an_imputer_from_python_works_too(run: Run, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.read_csv(tmp_path / "people.csv").drop(columns=["name", "note"])
    frame["smoker"] = frame["smoker"].astype("boolean")
    fastvae.Imputer(2, hidden=(16,), epochs=20, random_state=0).fit(frame).save(tmp_path / "i.safetensors")
    filled = rows_of(run("impute", "i.safetensors", "people.csv", "--drop", "note").text)
    smoker = {(a[5], b[5]) for a, b in zip(rows_of(PEOPLE)[1:], filled[1:], strict=True)}
    assert smoker <= {("TRUE", "TRUE"), ("FALSE", "FALSE"), ("NA", "True"), ("NA", "False")}
    assert rows_of(run("encode", "i.safetensors", "people.csv").text)[0] == ["z0", "z1"]
    assert len(rows_of(run("sample", "i.safetensors", "-n", 3, "--given", "smoker=false").text)) == 4


def test_a_matrix_and_a_table_without_a_header(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = np.stack([rng.normal(size=80), rng.integers(0, 2, 80)], 1)
    X[:9, 0] = np.nan
    np.save(tmp_path / "x.npy", X)
    run("train", "x.npy", "-o", "m.safetensors", *TRAIN, "--epochs", 3, "--kind", "1=binary")
    assert rows_of(run("impute", "m.safetensors", "x.npy").text)[0] == ["x0", "x1"]
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    run("train", "x.csv", "-o", "n.safetensors", *TRAIN, "--epochs", 3, "--kind", "0=real")
    filled = rows_of(run("impute", "n.safetensors", "x.csv").text)
    assert filled[0] == ["x0", "x1"]
    assert filled[10][0] == f"{X[9, 0]:.18e}"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--kind", "agee=real"), "--kind agee=real: there is no column 'agee'"),
        (("--kind", "age"), "write COLUMN=VALUE"),
        (("--kind", "age=number"), "--kind age=number: write one of real, positive"),
        (("--kind", "code=real"), "column 'code' of X is '010' in row 0, but is 'real'"),
        (("--balance", "age=much"), "the weight must be a number"),
        (("--conv",), "--conv is for images"),
        (("--likelihood", "gaussian"), "likelihood is not a parameter of TabularVAE"),
        (("--set", "columns=1"), "columns is not a parameter"),
        (
            ("--columns", "name"),
            "column 'name' holds 300 different texts in 300 rows, too many for categories: drop it, or pass --kind "
            "name=categorical",
        ),
    ],
)
def test_errors_of_train_name_option_and_column(run: Run, arguments: Any, wanted: str) -> None:
    drop = () if "--columns" in arguments else ("--drop", "name,note")
    found = run("train", "people.csv", "-o", "m.safetensors", *drop, *TRAIN, "--epochs", 1, *arguments, code=2)
    assert wanted in error_of(found)


def test_other_errors(run: Run, model: Path, tmp_path: Path) -> None:
    def error(*arguments: object) -> str:
        return error_of(run(*arguments, code=2))

    assert "--kind is for tables of mixed columns" in error("train", "people.csv", "-o", "m.st", "--kind", "age=real")
    assert "the levels of the column are low, mid, high" in error("sample", model, "--given", "grade=top")
    assert "the column holds numbers" in error("sample", model, "--given", "age=old")
    assert "there is no column 'sex'" in error("sample", model, "--given", "sex=f")
    assert "written as .csv, .tsv or .parquet" in error("sample", model, "-o", "x.npy")
    assert "has no labels" in error("sample", model, "--label-value", "f")
    assert "leave out --log-marginal" in error("score", model, "people.csv", "--per-column", "--log-marginal", 9)
    (tmp_path / "new.csv").write_text(PEOPLE.replace(",low,", ",lowest,"))
    refused = error("impute", model, "new.csv")
    assert "column 'grade' of X has the level 'lowest'" in refused
    assert "--unknown missing makes a hole of it" in refused
    filled = rows_of(run("impute", model, "new.csv", "--unknown", "missing").text)
    assert {row[6] for row in filled[1:]} == set(LEVELS)
    (tmp_path / "unnamed.csv").write_text(",b\n1,x\n2,y\n3,x\n")
    assert "column 0 has no name in the header: pass --drop 0" in error(
        "train", "unnamed.csv", "-o", "m.st", *TRAIN, "--epochs", 1
    )
    plain = fastvae.VAE(1, hidden=(4,), epochs=1).fit(np.eye(5))
    plain.save(tmp_path / "vae.safetensors")
    np.save(tmp_path / "eye.npy", np.eye(5))
    assert "--per-column is for tables" in error("score", "vae.safetensors", "eye.npy", "--per-column")
    assert "--given is for models of tables" in error("sample", "vae.safetensors", "--given", "a=1")
    assert "--unknown is for models of tables" in error("encode", "vae.safetensors", "eye.npy", "--unknown", "error")


def test_a_column_named_as_a_result_keeps_its_own_place(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = "".join(f"{a:.3f},{b:.3f}\n" for a, b in rng.normal(size=(50, 2)))
    (tmp_path / "t.csv").write_text(f"kl,row\n{rows}")
    run("train", "t.csv", "-o", "m.safetensors", *TRAIN, "--epochs", 2)
    found: Ended = run("score", "m.safetensors", "t.csv", "--per-column")
    assert found.lines[0] == "row_,negative_elbo,kl,row,kl_"
