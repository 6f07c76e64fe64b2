"""Readers: every format gives the same codes, from a file and from standard input."""

from __future__ import annotations

import csv
import gzip
import io
import os
import struct
import threading
import zipfile
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from cli.conftest import Run, error_of
from fastvae._cli.errors import UsageError
from fastvae._cli.read import read
from fastvae._cli.read.source import Source
from fastvae._cli.read.tables import read_csv
from fastvae._cli.read.texts import Vocabulary

HAS_PARQUET = bool(find_spec("pyarrow") or find_spec("polars"))
OPTIONS = {
    "format": None,
    "label": None,
    "labels": None,
    "id": None,
    "columns": None,
    "drop": None,
    "rows": None,
    "header": None,
    "delimiter": None,
    "na": [],
    "image_size": None,
    "vocabulary": None,
}


def reading(path: Path, **options: Any) -> Any:
    return read(Namespace(data=str(path), **{**OPTIONS, **options}))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_arrays_in_every_format_have_the_same_codes(
    process: Run, run: Run, tmp_path: Path, models: Path, images: np.ndarray
) -> None:
    expected = fastvae.load(models / "image.safetensors").transform(images)
    (tmp_path / "x.npy").write_bytes(npy(images))
    np.savez(tmp_path / "two.npz", x=images, y=np.arange(3))
    np.savez(tmp_path / "one.npz", x=images)
    (tmp_path / "x.idx.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "plain-ubyte").write_bytes(idx(images))
    table = "\n".join(",".join(map(str, row)) for row in images.reshape(60, -1).tolist())
    (tmp_path / "x.csv").write_text(table)
    for name in ("x.npy", "two.npz:x", "one.npz", "x.idx.gz", "plain-ubyte", "x.csv"):
        found = run("encode", models / "image.safetensors", name, "--to", "npy")
        np.testing.assert_array_equal(np.load(io.BytesIO(found.out)), expected, err_msg=name)
    found = process("encode", models / "image.safetensors", "x.idx.gz", "--to", "npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(found.out)), expected)
    for data in (npy(images), (tmp_path / "one.npz").read_bytes(), idx(images), gzip.compress(table.encode())):
        found = run("encode", models / "image.safetensors", "-", "--to", "npy", stdin=data)
        np.testing.assert_array_equal(np.load(io.BytesIO(found.out)), expected)


def test_a_folder_of_images(run: Run, tmp_path: Path, images: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for i, pixels in enumerate(images[:12]):
        folder = tmp_path / "photos" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(folder / f"{i}.png")
    found = reading(tmp_path / "photos")
    order = [1, 3, 5, 7, 9, 11, 0, 2, 4, 6, 8, 10]  # cat before dog, 2 before 10
    np.testing.assert_array_equal(found.X, images[order])
    assert found.ids[:2] == ["cat/1.png", "cat/3.png"]
    assert found.y.tolist() == ["cat"] * 6 + ["dog"] * 6
    run("train", "photos", "-o", "m.safetensors", "--epochs", 1, "--hidden", 4, "-q")
    model = fastvae.load(tmp_path / "m.safetensors")
    assert model.image_shape == (6, 4)
    lines = run("encode", "m.safetensors", "photos").lines
    assert lines[0] == "file,label,z0,z1"
    assert lines[1].startswith("cat/1.png,cat,")
    refused = run("encode", "m.safetensors", "photos", "--image-size", "3x2", code=2)
    assert error_of(refused) == "photos: the images have 3x2 pixels, those of the model 6x4: pass --image-size 6x4"

    image.fromarray(images[0, :5]).save(tmp_path / "photos" / "dog" / "z.png")
    with pytest.raises(UsageError, match=r"z.png has 5x4 pixels, 1.png 6x4: pass --image-size 6x4"):
        reading(tmp_path / "photos")
    assert reading(tmp_path / "photos", image_size="3x2").X.shape == (13, 3, 2)
    image.new("RGB", (4, 6), (255, 0, 0)).save(tmp_path / "photos" / "red.jpg")
    coloured = reading(tmp_path / "photos", image_size="6x4").X
    assert coloured.shape == (14, 6, 4, 3)
    assert coloured[-1, 0, 0].tolist()[0] > 240
    (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"bad\.png: no image that Pillow can read"):
        reading(tmp_path / "photos", image_size="6x4")


def test_parquet_by_pyarrow_and_by_polars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    table = {"name": ["u", None], "a": [1, 2], "b": [0.5, None], "c": [3, None], "d": [True, False]}
    parquet.write_table(pyarrow.table(table), tmp_path / "t.parquet")

    def check() -> None:
        found = reading(tmp_path / "t.parquet", id="name")
        assert found.names == ["a", "b", "c", "d"]
        assert found.ids == ["u", ""]
        np.testing.assert_array_equal(np.asarray(found.X), [[1, 0.5, 3, 1], [2, np.nan, np.nan, 0]])

    check()
    pytest.importorskip("polars", reason="needs polars")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    check()


def test_sparse_matrices_with_and_without_scipy(tmp_path: Path, run: Run) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="needs scipy")
    dense = np.random.default_rng(0).poisson(0.4, (30, 7)).astype(np.float32)
    for kind in ("csr", "csc", "coo"):
        sparse.save_npz(tmp_path / f"{kind}.npz", sparse.coo_array(dense).asformat(kind))
        found = reading(tmp_path / f"{kind}.npz", rows="3:20:2").X
        rebuilt = sparse.csr_array((found.data, found.indices, found.indptr), found.shape).toarray()
        np.testing.assert_array_equal(rebuilt, dense[3:20:2], err_msg=kind)
    csr = sparse.csr_array(dense)
    words = np.array([f"w{i}" for i in range(7)])
    parts = {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr, "shape": csr.shape}
    np.savez(tmp_path / "words.npz", vocabulary=words, **parts)
    assert reading(tmp_path / "words.npz").names == words.tolist()
    run("train", "words.npz", "-o", "m.safetensors", "--likelihood", "poisson", "--epochs", 1, "--hidden", 4, "-q")
    assert fastvae.load(tmp_path / "m.safetensors").feature_names_in_.tolist() == words.tolist()
    np.savez(tmp_path / "bad.npz", **{**parts, "shape": (31, 7)})
    with pytest.raises(UsageError, match="do not fit together"):
        reading(tmp_path / "bad.npz")


def csv_of(tmp_path: Path, text: str | bytes, **options: Any) -> Any:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return reading(path, **options)


@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("1,2\n3,4", None, [[1, 2], [3, 4]]),
        ("a;b\r\n1.5;2\r\n3;-4e1\r\n", ["a", "b"], [[1.5, 2], [3, -40]]),
        ("a\tb\n1\t\n\n3\t4\n", ["a", "b"], [[1, np.nan], [3, 4]]),
        ("a|b\nNA|1\nnull|NaN\n", ["a", "b"], [[np.nan, 1], [np.nan, np.nan]]),
        ('"x, y","say ""b"""\n"1","2"\n', ["x, y", 'say "b"'], [[1, 2]]),
        ("\ufeffa,b\n1,2\n", ["a", "b"], [[1, 2]]),
        ("a,b\ntrue,1\nfalse,0\n", ["a", "b"], [[1, 1], [0, 0]]),
        ("a\n1\n2\n", ["a"], [[1], [2]]),
        (" a , b \n 1 , 2 \n", ["a", "b"], [[1, 2]]),
        ("a,b\n1,inf\n2,3\n", ["a", "b"], [[1, np.inf], [2, 3]]),
    ],
)
def test_tables(tmp_path: Path, text: str, names: list[str] | None, values: Any) -> None:
    found = csv_of(tmp_path, text)
    assert found.names == names
    np.testing.assert_array_equal(np.asarray(getattr(found.X, "values", found.X)).astype(float), values)


def test_the_fast_parser_reads_what_the_other_one_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for table in (rng.integers(-99, 99, (50, 4)), rng.normal(size=(50, 4)), np.array([[0.1, 1e300], [3, 2**60]])):
        plain = "\n".join(",".join(map(repr, row)) for row in table.tolist())
        quoted = "\n".join(",".join(f'"{value!r}"' for value in row) for row in table.tolist())  # by the csv module
        fast, slow = csv_of(tmp_path, plain).X, csv_of(tmp_path, quoted).X
        np.testing.assert_array_equal(fast, table)
        np.testing.assert_array_equal(slow, table)
        assert fast.dtype == slow.dtype


def test_a_column_that_turns_to_text_late_keeps_its_first_cells(tmp_path: Path) -> None:
    cells = [str(i) for i in range(9000)] + ["x"]
    (tmp_path / "t.csv").write_text("n,v\n" + "".join(f"{cell},1\n" for cell in cells))
    table = read_csv(Source(str(tmp_path / "t.csv")), None, None, ())
    assert table.columns[0].tolist() == cells
    assert table.columns[1].dtype == np.int64


def test_labels_ids_and_choices_of_columns(tmp_path: Path) -> None:
    text = "who,age,x,y,kind\nann,3,1,2,red\nbob,4,5,,blue\n"
    found = csv_of(tmp_path, text, id="who", label="kind", drop=["age"])
    assert (found.names, found.ids, found.y.tolist()) == (["x", "y"], ["ann", "bob"], ["red", "blue"])
    assert csv_of(tmp_path, text, columns=["y", "x"]).names == ["y", "x"]
    assert csv_of(tmp_path, text, columns=["x"], label="-1").y.tolist() == ["red", "blue"]
    assert csv_of(tmp_path, text, columns=["x"], label="age").y.tolist() == [3, 4]
    np.testing.assert_array_equal(csv_of(tmp_path, text, columns=["y"], label="age,x").y, [[3, 1], [4, 5]])
    assert csv_of(tmp_path, text, columns=["x"], rows="1:", id="who").ids == ["bob"]
    assert csv_of(tmp_path, "1.5,3,a\n2.5,4,b\n", label="2").y.tolist() == ["a", "b"]
    assert csv_of(tmp_path, "a,b\n-9,1\n2,3\n", na=["-9"]).X.values.tolist()[1] == [2, 3]
    assert np.isnan(csv_of(tmp_path, "a,b\n-9,1\n2,3\n", na=["-9"]).X.values[0, 0])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 cells, the first line 2"),
        ("a,a\n1,2\n", {}, "'a' occurs twice"),
        ("a,b\n", {}, "no rows"),
        ("\n\n", {}, "the table is empty"),
        ("a,b\n1,x\n", {}, "column 'b' holds text ('x' in line 2): pass --label b, --id b or --drop b"),
        (
            "a,b,c\nu,x,1\nv,y,2\n",
            {},
            "column 'a' ('u' in line 2), column 'b' ('x' in line 2) hold text: pass --drop a,b, or name",
        ),
        ("a b,c,d\nu,x,1\n", {}, "pass --drop 'a b,c',"),
        ("a,b\n1,2\n", {"label": "z"}, "--label z: there is no such column; the table has a, b"),
        ("1,2\n", {"label": "5"}, "the 2 columns 0 to 1"),
        ("a,b\n1,x\n2,\n", {"label": "b"}, "column 'b' is the label, but line 3 has none: fill it in"),
        ("a,b\n1,2\n", {"drop": ["a", "b"]}, "no column is left"),
        ("a,b\n1,2\n", {"rows": "5:"}, "there are no rows"),
        ("a,b\n1,2\n", {"rows": "x"}, "--rows x: write a slice"),
        ('a,b\n"1,2\n', {}, "unexpected end of data"),
        (b"a,b\n\xff,2\n", {}, "not UTF-8"),
        ("a,b\n1,2\n", {"format": "xls"}, "--format xls is not known; use one of npy"),
        ("a,b\n1,2\n", {"format": "npy"}, "damaged or no such format"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        csv_of(tmp_path, text, **options)
    assert message in str(caught.value)


def test_files_that_are_refused(tmp_path: Path, run: Run, models: Path) -> None:
    cases: dict[str, tuple[bytes, str]] = {
        "empty.npy": (b"", "the file is empty"),
        "cut.npy": (npy(np.zeros((9, 9)))[:-8], "damaged or no such format"),
        "no.npy": (b"1,2\n", "does not begin as a file of npy"),
        "objects.npy": (npy(np.array([{}])), "pickled objects are not read"),
        "words.npy": (npy(np.array(["a"])), "no type of real numbers"),
        "cut.csv.gz": (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "gzip stream is damaged"),
        "x.png": (b"\x89PNG\r\n\x1a\n", "pass the folder of the images"),
        "cut.npz": (b"PK\x03\x04abc", "damaged or no such format"),
        "cut.idx": (idx(np.zeros((3, 3), np.uint8))[:-1], "truncated"),
        "x.parquet": (b"PAR1abcPAR1", "no Parquet file" if HAS_PARQUET else "pip install pyarrow"),
        "real.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "pass the folder of the images"),
        "table.txt": (b"1.5 2\n3 4\n", "pass --format csv (and --delimiter ' ')"),
        "binary": (b"\x01\0\x02", "the format is not known"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises((UsageError, ValueError)) as caught:
            reading(tmp_path / name)
        assert message in str(caught.value), name
    spaced = reading(tmp_path / "table.txt", format="csv", delimiter=" ")
    np.testing.assert_array_equal(spaced.X, [[1.5, 2], [3, 4]])
    np.savez(tmp_path / "two.npz", x=np.zeros((3, 2)), y=np.zeros(3))
    found = error_of(run("encode", models / "image.safetensors", "two.npz", code=2))
    assert found == "two.npz has 2 arrays: name one, as two.npz:x; it has x [3, 2], y [3]"
    assert "has no member 'z'" in error_of(run("encode", models / "image.safetensors", "two.npz:z", code=2))
    assert "no such file" in error_of(run("encode", models / "image.safetensors", "none.csv", code=2))
    assert "standard input is empty" in error_of(run("encode", models / "image.safetensors", "-", code=2))


TEXTS = ["The cat sat on the mat.", "A dog and a cat!", "", "Dogs, dogs: the DOG, été"]


def test_words_are_those_of_scikit_learn() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="needs scikit-learn")
    for options in ({}, {"min_df": 2}, {"max_df": 0.5}, {"max_features": 1}, {"stop_words": ["the"]}):
        theirs = text.CountVectorizer(**options)
        expected = theirs.fit_transform(TEXTS).toarray()
        given = {{"max_features": "max_words"}.get(key, key): value for key, value in options.items()}
        ours = Vocabulary.learn(TEXTS, **given)
        assert ours.words == theirs.get_feature_names_out().tolist(), options
        found = ours.count(TEXTS)
        dense = np.zeros(found.shape)
        for row in range(len(TEXTS)):
            part = slice(found.indptr[row], found.indptr[row + 1])
            dense[row, found.indices[part]] = found.data[part]
        np.testing.assert_array_equal(dense, expected)


def test_a_written_table_is_read_again(tmp_path: Path) -> None:
    from fastvae._cli.write.tables import csv_bytes

    values = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    values[3, 1] = np.nan
    data = csv_bytes({"a,b": values[:, 0], 'c"d': values[:, 1]})
    assert next(csv.reader(io.StringIO(data.decode()))) == ["a,b", 'c"d']
    found = csv_of(tmp_path, data)
    np.testing.assert_array_equal(np.asarray(found.X).astype(np.float32), values)


def test_archives_that_hold_no_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("a.txt", "hello")
    np.savez(tmp_path / "flat.npz", data=np.ones(3), indices=np.arange(3), indptr=np.arange(4), shape=np.array(7))
    for name, said in (
        ("empty", "holds no arrays"),
        ("text", "holds no arrays"),
        ("flat", "damaged or no such format"),
    ):
        with pytest.raises(UsageError, match=said):
            reading(tmp_path / f"{name}.npz")


def test_a_picture_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    image.new("L", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UsageError, match=r"a\.png: no image that Pillow can read .*exceeds limit"):
        reading(tmp_path)


def test_the_message_shows_the_cell_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,inf\n3,4\n"5,5",6\n')
    with pytest.raises(UsageError, match=r"column 'a' holds text \('5,5' in line 4\)"):
        reading(tmp_path / "t.csv")


def test_data_without_a_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Path("") is this folder
    for name in ("", ":", ":x"):
        with pytest.raises(UsageError, match="names no data"):
            Source(name)


def test_tables_in_utf_16(tmp_path: Path) -> None:
    for coding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "t").write_bytes("\ufeffä,b\n1,2\n3,4\n".encode(coding))
        found = reading(tmp_path / "t")
        assert found.names == ["ä", "b"]
        np.testing.assert_array_equal(np.asarray(found.X), [[1, 2], [3, 4]])
    (tmp_path / "t").write_bytes(b"\xff\xfea")
    with pytest.raises(UsageError, match=r"byte 2 is not UTF-16-LE$"):
        reading(tmp_path / "t")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    X = np.arange(6.0).reshape(3, 2)
    for contents in (npy(X), b"0,1\n2,3\n4,5\n"):
        (tmp_path / "pipe").unlink(missing_ok=True)
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(contents,))
        writer.start()
        found = reading(tmp_path / "pipe")
        writer.join()
        np.testing.assert_array_equal(np.asarray(found.X), X)


def test_labels_are_words_with_or_without_a_header(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    for name, text in (("a.txt", "cat\ndog\ncow\n"), ("b.csv", "animal\ncat\ndog\ncow\n"), ("c.csv", "cat\ndog\ncow")):
        (tmp_path / name).write_text(text)
        assert reading(tmp_path / "x.npy", labels=str(tmp_path / name)).y.tolist() == ["cat", "dog", "cow"]
    with pytest.raises(UsageError, match="a folder holds no labels"):
        reading(tmp_path / "x.npy", labels=str(tmp_path))
