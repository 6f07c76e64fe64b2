"""``fastvae recommend``: pairs or a matrix in, a table of the best items out."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from cli.conftest import Run, error_of

GIVEN = ("--latent-dim", 4, "--hidden", 8, "--epochs", 3, "--seed", 0, "-q")


@pytest.fixture
def clicks(tmp_path: Path) -> np.ndarray:
    """Clicks [60, 12], 0 or 1; their pairs are in clicks.csv, items in an order that is not theirs."""
    X = (np.random.default_rng(0).random((60, 12)) < 0.4).astype(np.float32)
    X[:, :2] = 1
    pairs = [f"user {u},{'ghijklabcdef'[i]}" for u, i in zip(*np.nonzero(X), strict=True)]
    (tmp_path / "clicks.csv").write_text("who,what\n" + "\n".join(pairs) + "\n")
    return X[:, np.argsort(list("ghijklabcdef"))]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_pairs_become_a_matrix_and_the_best_items_of_each_user(
    process: Run, run: Run, tmp_path: Path, clicks: np.ndarray
) -> None:
    process("recommend", "clicks.csv", *GIVEN, "-o", "m.safetensors", "--recommendations", "best.csv", "--top", 3)
    model: Any = fastvae.load(tmp_path / "m.safetensors")
    assert model.items_.tolist() == list("abcdefghijkl")
    found = rows((tmp_path / "best.csv").read_text())
    items, scores = model.recommend(clicks, 3)
    assert [row["user"] for row in found] == [f"user {u}" for u in range(60) for _ in range(3)]
    assert [row["rank"] for row in found] == ["1", "2", "3"] * 60
    assert [row["item"] for row in found] == items.ravel().tolist()
    np.testing.assert_array_equal(np.array([row["score"] for row in found], np.float32), scores.ravel())
    again = run("recommend", "clicks.csv", "--load", "m.safetensors", "--top", 3, "-q")
    assert again.text == (tmp_path / "best.csv").read_text()
    seen = rows(run("recommend", "clicks.csv", "--load", "m.safetensors", "--include-seen", "--top", 20).text)
    assert len(seen) == 60 * 12
    few = rows(run("recommend", "clicks.csv", "--load", "m.safetensors", "--top", 20).text)
    assert len(few) == (clicks == 0).sum()  # users with fewer items have fewer rows


def test_matrices_have_row_numbers_as_users(run: Run, tmp_path: Path, clicks: np.ndarray) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="needs scipy")
    sparse.save_npz(tmp_path / "clicks.npz", sparse.csr_matrix(clicks))
    np.save(tmp_path / "clicks.npy", clicks)
    both = [run("recommend", f"clicks.{kind}", *GIVEN, "--top", 2).text for kind in ("npz", "npy")]
    assert both[0] == both[1]
    found = rows(both[0])
    assert [row["user"] for row in found[:3]] == ["0", "0", "1"]
    assert {int(row["item"]) for row in found} <= set(range(12))


def test_counts_columns_and_unknown_items(process: Run, run: Run, tmp_path: Path, clicks: np.ndarray) -> None:
    run("recommend", "clicks.csv", *GIVEN, "-o", "m.safetensors")
    model: Any = fastvae.load(tmp_path / "m.safetensors")
    (tmp_path / "new.csv").write_text(
        "when,item,n,user\n1,b,2,new\n2,zzz,1,new\n3,c,1,other\n4,b,1,new\n5,zzz,1,lost\n"
    )
    columns = ("--user", "user", "--item", "item", "--count", "n")
    found = process("recommend", "new.csv", *columns, "--load", "m.safetensors", "--top", 1)
    assert "2 clicks on items that the model does not know are left out, such as 'zzz'" in found.err
    assert "1 users of X have no clicks" in found.err
    X = np.zeros((3, 12), np.float32)
    X[0, 1], X[1, 2] = 3, 1
    with pytest.warns(UserWarning, match="no clicks"):
        items, _ = model.recommend(X, 1)
    assert [(row["user"], row["item"]) for row in rows(found.text)] == [
        (user, item) for user, item in zip(["new", "other", "lost"], items[:, 0], strict=True)
    ]


def test_validation_has_the_items_of_the_training_data(run: Run, tmp_path: Path, clicks: np.ndarray) -> None:
    lines = (tmp_path / "clicks.csv").read_text().splitlines()
    (tmp_path / "valid.csv").write_text("\n".join([*lines[:100], "user 3,zzz"]) + "\n")
    found = run("recommend", "clicks.csv", *GIVEN[:-1], "-o", "m.safetensors", "--validation", "valid.csv")
    assert "val_ndcg@100" in found.err
    assert "such as 'zzz'" in found.err
    assert not found.out


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b,c\nu,v,w\n", (), "b.csv: the table has 3 columns, a, b, c: pass --user COLUMN and --item COLUMN"),
        ("a\nu\n", (), "b.csv: the table has 1 column, a"),
        ("a,b\nu,\n", (), "b.csv: line 2, column 'b' is empty"),
        ("a,b\nu,v\n", ("--user", "c"), "--user c: there is no such column"),
        ("a,b\nu,v\n", ("--user", "b"), "user and item are the same column"),
        ("a,b,n\nu,v,-1\n", ("--user", "a", "--item", "b", "--count", "n"), "--count n is -1: counts are numbers"),
        ("a,b,n\nu,v,x\n", ("--user", "a", "--item", "b", "--count", "n"), "has cells that are no numbers"),
        ("a,b\nu,v\n", ("--label", "a"), "--label is not for pairs of user and item"),
        ("a,b\nu,v\n", ("--top", "0"), "--top 0 must be at least 1"),
        ("a,b\nu,v\n", ("--recommendations", "x.npy"), "the result is a table; use .csv, .tsv or .parquet"),
        ("a,b\nu,v\n", ("--prior", "normal"), "prior"),
    ],
)
def test_bad_input_gets_a_sentence(run: Run, tmp_path: Path, text: str, options: Any, message: str) -> None:
    (tmp_path / "b.csv").write_text(text)
    assert message in error_of(run("recommend", "b.csv", *options, "-q", code=2))


def test_a_model_of_another_kind_is_refused(run: Run, tmp_path: Path, models: Path, clicks: np.ndarray) -> None:
    path = models / "ae.safetensors"
    assert "is a Autoencoder, not a recommender" in error_of(run("recommend", "clicks.csv", "--load", path, code=2))
    np.save(tmp_path / "m.npy", clicks)
    message = error_of(run("recommend", "m.npy", "--user", "a", code=2))
    assert "--user is for tables of pairs; m.npy is of format npy" in message
