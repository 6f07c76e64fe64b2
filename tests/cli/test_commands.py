"""Commands as processes: what they write, where, and how pipes work."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from cli.conftest import Run, error_of
from fastvae import _png
from fastvae._cli.parser import COMMANDS
from fastvae._cli.read.data import named
from fastvae._cli.write import pictures

TABLE = "name,a,b,c,kind\n" + "".join(
    f"n{i},{i % 5 / 5},{'' if i % 4 == 1 else i % 7 / 7},{-(i % 3)},{'red' if i % 2 else 'blue'}\n" for i in range(40)
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def npy(found: Any) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(found.out))
    return array


def decoded(data: bytes) -> np.ndarray:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    with image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def test_help_version_and_python_m(process: Run, run: Run) -> None:
    found = process("--help")
    assert "commands:" in found.text
    assert all(f"\n    {name}" in found.text for name in COMMANDS)
    assert "Exit codes" in found.text
    assert process("--version").text == f"fastvae {fastvae.__version__}\n"
    help_of_train = run("train", "--help").text
    assert "--latent-dim N" in help_of_train
    assert "(default: 128; TabularVAE: 64)" in " ".join(help_of_train.split())
    assert "examples:" in help_of_train


def test_train_passes_every_kind_of_option_to_the_model(process: Run, table: Path, tmp_path: Path) -> None:
    found = process(
        *(
            "train",
            table,
            "-o",
            "m.safetensors",
            "--id",
            "name",
            "--drop",
            "kind",
            "--likelihood",
            'Gaussian("shared")',
        ),
        *("--missing", "mask", "--hidden", "8,4", "--latent-dim", 3, "--beta", "linear(0, 1, epochs=2)", "--epochs", 3),
        *("--set", "optimizer=SGD(momentum=0.5)", "--set", "free_bits=0.1", "--seed", 5, "--threads", 1, "--json"),
        *("--missing-indicator", "--validation-fraction", 0.2),
    )
    model = fastvae.load(tmp_path / "m.safetensors")
    expected = {
        "likelihood": fastvae.likelihoods.Gaussian("shared"),
        "hidden": (8, 4),
        "latent_dim": 3,
        "beta": fastvae.schedules.linear(0, 1, epochs=2),
        "epochs": 3,
        "optimizer": fastvae.optimizers.SGD(momentum=0.5),
        "free_bits": 0.1,
        "random_state": 5,
        "n_jobs": 1,
        "missing_indicator": True,
        "validation_fraction": 0.2,
    }
    assert {name: getattr(model, name) for name in expected} == expected
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    summary = json.loads(found.out)
    assert summary["examples"] == 40
    assert summary["epochs"] == 3
    assert summary["losses"]["val_loss"] == model.history_["val_loss"][-1]
    assert "40 x 3, float64" in found.err


def test_the_same_seed_gives_the_same_model_and_the_seed_is_reported(run: Run, table: Path, tmp_path: Path) -> None:
    given = ("--columns", "a,c", "--likelihood", "gaussian", "--epochs", 2, "--hidden", 4, "--json")
    first = json.loads(run("train", table, "-o", "a.safetensors", *given).out)
    second = json.loads(run("train", table, "-o", "b.safetensors", *given, "--seed", first["seed"]).out)
    assert first["losses"] == second["losses"]
    one, two = (fastvae.load(tmp_path / f"{name}.safetensors").state_dict() for name in "ab")
    assert all((one[name] == two[name]).all() for name in one)


def test_an_autoencoder_with_noise_and_validation_data(run: Run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("".join(TABLE.splitlines(keepends=True)[:9]))
    given = ("--columns", "c,a", "--epochs", 2, "--hidden", 4, "-q", "--validation", "v.csv")
    options = ("--model", "autoencoder", "--loss", "squared_error", "--corruption", "MaskingNoise(0.3)")
    found = run("train", table, "-o", "m.safetensors", *given, *options)
    assert not found.err
    model = fastvae.load(tmp_path / "m.safetensors")
    assert isinstance(model, fastvae.Autoencoder)
    assert len(model.history_["val_loss"]) == 2
    each = run("score", "m.safetensors", table, "--each", "--id", "name", "-q").lines
    assert each[0] == "name,negative_loss"
    assert len(each) == 41
    message = error_of(run("train", table, "-o", "n.safetensors", *options, "--beta", 2, code=2))
    assert message == "--beta: beta is not a parameter of Autoencoder"


def test_conditional_models_take_labels_from_a_column_and_from_a_file(
    run: Run, table: Path, tmp_path: Path, models: Path
) -> None:
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    given = ("--columns", "a,c", "--likelihood", "gaussian", "--conditional", "--epochs", 1, "--hidden", 4, "-q")
    run("train", table, "-o", "m.safetensors", "--label", "kind", *given)
    assert fastvae.load(tmp_path / "m.safetensors").classes_.tolist() == ["blue", "red"]
    run("train", table, "-o", "n.safetensors", "--labels", "y.npy", *given)
    model = fastvae.load(tmp_path / "n.safetensors")
    assert model.classes_.tolist() == [0, 1]
    found = run("encode", "n.safetensors", table, "--labels", "y.npy", "--to", "npy", "-q")
    assert npy(found).shape == (40, 2)
    assert "pass --label COLUMN" in error_of(run("encode", "n.safetensors", table, "-q", code=2))
    text = run("train", table, "-o", "o.safetensors", "--condition-columns", "kind", "--drop", "name", "-q", code=2)
    assert error_of(text).endswith("A condition that is text: --label COLUMN --conditional")
    assert "needs labels" in error_of(run("train", table, "-o", "o.safetensors", *given, code=2))
    lines = run("sample", "m.safetensors", "-n", 3, "--label-value", "red").lines
    assert lines[0] == "a,c"
    assert len(lines) == 4
    assert "one of blue, red" in error_of(run("sample", "m.safetensors", code=2))
    assert "none of the model's classes" in error_of(run("sample", "m.safetensors", "--label-value", "x", code=2))


def test_a_table_of_grey_values_is_read_as_images_are(run: Run, tmp_path: Path, images: np.ndarray) -> None:
    flat = images.reshape(60, -1)
    np.savetxt(tmp_path / "grey.csv", flat, fmt="%d", delimiter=",")
    given = ("--epochs", 1, "--hidden", 4, "--seed", 0, "-q")
    run("train", "grey.csv", "-o", "m.safetensors", *given)
    model = fastvae.load(tmp_path / "m.safetensors")
    assert model.input_scale_ == 255
    np.testing.assert_array_equal(npy(run("encode", "m.safetensors", "grey.csv", "--to", "npy")), model.transform(flat))


def test_conv_makes_convolutions_for_images(run: Run, tmp_path: Path) -> None:
    X = np.random.default_rng(0).integers(0, 256, (20, 16, 12, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", X)
    run("train", "x.npy", "-o", "m.safetensors", "--conv", "--epochs", 1, "-q")
    model = fastvae.load(tmp_path / "m.safetensors")
    assert model.image_shape == (16, 12, 3)
    assert [type(layer).__name__ for layer in model.hidden] == ["Conv2d", "int"]
    run("reconstruct", "m.safetensors", "x.npy", "-o", "out/", "-q")
    pixels = decoded((tmp_path / "out" / "03.png").read_bytes())
    expected = np.rint(255 * model.reconstruct(X)[3])
    np.testing.assert_array_equal(pixels, expected)
    table = "1,2\n3,4\n"
    assert "--conv needs images" in error_of(
        run("train", "-", "-o", "n.safetensors", "--conv", "-q", stdin=table.encode(), code=2)
    )


def test_sample_and_encode_in_a_pipe(process: Run, run: Run, models: Path) -> None:
    model = fastvae.load(models / "image.safetensors")
    samples = model.sample(5, random_state=3)
    text = process("sample", models / "image.safetensors", "-n", 5, "--seed", 3)
    assert not text.err
    codes = process("encode", models / "image.safetensors", "-", stdin=text.out)
    values = np.loadtxt(io.StringIO(codes.text), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(values.astype(np.float32), model.transform(samples))
    assert codes.lines[0] == "z0,z1,z2"
    binary = run("sample", models / "image.safetensors", "-n", 5, "--seed", 3, "-o", "-", "--to", "npy")
    np.testing.assert_array_equal(npy(binary), samples)
    again = run("encode", models / "image.safetensors", "-", "--to", "npy", stdin=binary.out)
    np.testing.assert_array_equal(npy(again), model.transform(samples))


def test_encode_writes_every_format(run: Run, tmp_path: Path, models: Path, images: np.ndarray) -> None:
    model = fastvae.load(models / "image.safetensors")
    np.save(tmp_path / "x.npy", images)
    mu, logvar = model.encode(images)
    for name in ("z.npy", "z.npz", "z.csv", "z.tsv"):
        run("encode", models / "image.safetensors", "x.npy", "--logvar", "-o", name)
    both = np.hstack([mu, logvar])
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), both)
    with np.load(tmp_path / "z.npz") as archive:
        np.testing.assert_array_equal(archive["mu"], mu)
        np.testing.assert_array_equal(archive["logvar"], logvar)
    for name, delimiter in (("z.csv", ","), ("z.tsv", "\t")):
        values = np.loadtxt(tmp_path / name, delimiter=delimiter, skiprows=1).astype(np.float32)
        np.testing.assert_array_equal(values, both)
        header = (tmp_path / name).read_text().partition("\n")[0].split(delimiter)
        assert header == ["z0", "z1", "z2", "logvar0", "logvar1", "logvar2"]
    drawn = run("encode", models / "image.safetensors", "x.npy", "--draws", 2, "--seed", 1).lines
    assert drawn[0] == "draw,row,z0,z1,z2"
    assert drawn[61].startswith("1,0,")
    expected = model.posterior_sample(images, 2, 1)
    found = run("encode", models / "image.safetensors", "x.npy", "--draws", 2, "--seed", 1, "--to", "npy")
    np.testing.assert_array_equal(npy(found), expected)


def test_encode_writes_parquet(run: Run, tmp_path: Path, models: Path, table: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    run("encode", models / "table.safetensors", table, "--id", "name", "--label", "kind", "-o", "z.parquet", "-q")
    found = parquet.read_table(tmp_path / "z.parquet").to_pydict()
    assert list(found) == ["name", "kind", "z0", "z1"]
    assert found["name"][:2] == ["n0", "n1"]
    assert found["kind"][:2] == ["blue", "red"]


def test_columns_are_found_by_name(run: Run, tmp_path: Path, models: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(3, 3)).astype(np.float32)
    ordered = "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows.tolist())
    other = "more,c,a,b\n" + "\n".join(f"9,{c},{a},{b}" for a, b, c in rows.tolist())
    first = run("encode", models / "table.safetensors", "-", stdin=ordered.encode())
    second = run("encode", models / "table.safetensors", "-", stdin=other.encode())
    assert first.out == second.out
    assert second.err == "fastvae: columns that the model does not read: more\n"
    lost = run("encode", models / "table.safetensors", "-", stdin=b"a,c\n1,2\n", code=2)
    assert error_of(lost) == "standard input: the model was trained on columns that are missing here: 'b'"
    np.save(tmp_path / "x.npy", rows)  # no names: columns in order, and no warning
    third = run("encode", models / "table.safetensors", "x.npy")
    assert (third.out, third.err) == (first.out, "")


def test_impute_keeps_the_table_and_fills_its_holes(
    process: Run, run: Run, tmp_path: Path, table: Path, models: Path
) -> None:
    found = process(
        "impute", models / "table.safetensors", table, "--id", "name", "--label", "kind", "-o", "filled.csv"
    )
    assert "10 of 120 cells were missing" in found.err
    given = [line.split(",") for line in TABLE.splitlines()]
    filled = [line.split(",") for line in (tmp_path / "filled.csv").read_text().splitlines()]
    assert filled[0] == given[0]
    X = np.array([[float(cell or "nan") for cell in row[1:4]] for row in given[1:]])
    model = fastvae.load(models / "table.safetensors")
    expected = np.asarray(model.impute(named(X, ["a", "b", "c"])))
    for old, new, row in zip(given[1:], filled[1:], expected, strict=True):
        assert [new[0], new[4]] == [old[0], old[4]]
        np.testing.assert_allclose([float(cell) for cell in new[1:4]], row, rtol=1e-6)
        assert all(float(one) == float(two) for one, two in zip(old[1:4], new[1:4], strict=True) if one)
    lines = run("impute", models / "table.safetensors", table, "--id", "name", "--draws", 2, "-q").lines
    assert lines[0] == "draw,row,name,a,b,c"
    assert len(lines) == 81


def test_cells_that_the_model_does_not_fill_are_copied_as_texts(run: Run, tmp_path: Path, models: Path) -> None:
    head, row = "id,a,b,c,price,big,flag", "{:03},1.50,,+2,0.10,12345678901234567890,TRUE"
    given = [head, *(row.format(i) for i in range(9))]
    (tmp_path / "t.csv").write_text("\n".join(given))
    filled = run("impute", models / "table.safetensors", "t.csv", "-q").lines
    assert filled[0] == head
    for old, new in zip(given[1:], filled[1:], strict=True):
        cells = new.split(",")
        assert float(cells[2])
        assert ",".join([*cells[:2], "", *cells[3:]]) == old
    some = run("impute", models / "table.safetensors", "t.csv", "-q", "--rows", "4:6").lines
    assert some[1:] == filled[5:7]
    codes = run("encode", models / "table.safetensors", "t.csv", "-q", "--id", "id").lines
    assert [line.split(",")[0] for line in codes] == ["id", *(f"{i:03}" for i in range(9))]
    (tmp_path / "numbers.csv").write_text("id,a,b,c\n" + "".join(f"{i:03},1,2,3\n" for i in range(9)))  # all numbers
    codes = run("encode", models / "table.safetensors", "numbers.csv", "-q", "--id", "id").lines
    assert codes[1].startswith("000,")


@pytest.mark.parametrize("name", ["reconstruct", "impute", "sample"])
def test_images_with_channels_first_are_written_as_pictures(name: str, run: Run, tmp_path: Path) -> None:
    X = np.random.default_rng(0).random((20, 3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    options = {"image_shape": (4, 5, 3), "channels": "first", "missing": "mask", "hidden": (4,)}
    fastvae.VAE(2, epochs=1, random_state=0, **options).fit(X).save(tmp_path / "m.safetensors")
    data = ["-n", 20] if name == "sample" else ["x.npy"]
    run(name, "m.safetensors", *data, "-o", "pictures/")
    run(name, "m.safetensors", *data, "-o", "array.npy")
    expected = np.load(tmp_path / "array.npy")[7].transpose(1, 2, 0)
    np.testing.assert_allclose(decoded((tmp_path / "pictures" / "07.png").read_bytes()) / 255, expected, atol=0.5 / 254)


def test_score_takes_an_anomaly_detector(run: Run, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[4] = 30
    X[5, 1] = np.nan
    detector = fastvae.AnomalyDetector(0.05, epochs=5, random_state=0).fit(X)
    detector.save(tmp_path / "d.safetensors")
    np.save(tmp_path / "x.npy", X)
    lines = run("score", "d.safetensors", "x.npy", "--each").lines
    assert lines[0] == "row,log_marginal,anomalous"
    found = np.array([line.split(",") for line in lines[1:]], float)
    np.testing.assert_allclose(found[:, 1], detector.score_samples(X), rtol=1e-5)
    np.testing.assert_array_equal(found[:, 2], detector.predict(X) == -1)
    assert found[4, 2] == 1
    for arguments in (("score", "d.safetensors", "x.npy"), ("score", "d.safetensors", "x.npy", "--log-marginal", 9)):
        assert "is an anomaly detector: pass --each" in run(*arguments, code=2).err
    for command in ("encode", "reconstruct", "info"):
        arguments = [command, "d.safetensors"] + ["x.npy"] * (command != "info")
        assert "is an anomaly detector: use fastvae score --each" in run(*arguments, code=2).err


def test_score_prints_means_json_and_scores_of_each(
    process: Run, run: Run, tmp_path: Path, models: Path, images: np.ndarray
) -> None:
    np.save(tmp_path / "x.npy", images)
    model = fastvae.load(models / "image.safetensors")
    expected = model.evaluate(images)
    shown = dict(line.split() for line in process("score", models / "image.safetensors", "x.npy").lines)
    assert {key: float(value) for key, value in shown.items()} == pytest.approx(expected, rel=1e-5)
    found = json.loads(run("score", models / "image.safetensors", "x.npy", "--json").out)
    assert found == {"examples": 60, **expected}
    each = run("score", models / "image.safetensors", "x.npy", "--each", "-o", "s.npy")
    assert "wrote s.npy" in each.err
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), model.score_samples(images))
    np.save(tmp_path / "b.npy", (images > 128).astype(np.float32))
    marginal = run("score", models / "image.safetensors", "b.npy", "--log-marginal", 20, "--each").lines
    assert marginal[0] == "row,log_marginal,standard_error,ess"
    assert "-o and --to are for --each" in error_of(
        run("score", models / "image.safetensors", "x.npy", "-o", "s", code=2)
    )


def test_reconstruct_and_sample_write_a_mosaic(
    process: Run, run: Run, tmp_path: Path, models: Path, images: np.ndarray
) -> None:
    np.save(tmp_path / "x.npy", images)
    model = fastvae.load(models / "image.safetensors")
    process("reconstruct", models / "image.safetensors", "x.npy", "--rows", ":5", "-o", "r.png", "--mosaic-columns", 3)
    pixels = decoded((tmp_path / "r.png").read_bytes())
    assert pixels.shape == (2 * 6 + 1, 3 * 4 + 2)
    np.testing.assert_array_equal(pixels[7:, 5:9], np.rint(255 * model.reconstruct(images[4:5])[0]))
    piped = run("sample", models / "image.safetensors", "-n", 4, "--seed", 0, "--to", "png", "--zoom", 2)
    samples = np.rint(255 * model.sample(4, random_state=0))
    np.testing.assert_array_equal(decoded(piped.out)[::2, ::2][:6, :4], samples[0])
    codes = run("sample", models / "image.safetensors", "-n", 2, "--codes").lines[0].split(",")
    assert codes[-3:] == ["z0", "z1", "z2"]
    assert codes[0] == "x0"
    message = error_of(run("sample", models / "table.safetensors", "-o", "x.png", code=2))
    assert "3 values are not a grey square: pass --image-shape" in message
    assert run("sample", models / "table.safetensors", "-o", "x.png", "--image-shape", "1x3").code == 0


def test_png_files_are_those_of_the_format() -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (5, 7, 3)):
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        np.testing.assert_array_equal(decoded(_png.encode(pixels)), pixels)
    assert pictures.grey(np.array([-1, 0, 0.5, 1, 2, np.nan])).tolist() == [0, 0, 128, 255, 255, 0]


def test_info(process: Run, run: Run, models: Path) -> None:
    text = process("info", models / "image.safetensors").text
    assert "latent_dim " in text
    assert "encoder.0.weight" in text
    found = json.loads(run("info", models / "conditional.safetensors", "--json").out)
    model = fastvae.load(models / "conditional.safetensors")
    assert found["model"] == "VAE"
    assert found["classes"] == ["blue", "red"]
    assert found["feature_names"] == ["a", "b", "c"]
    assert found["parameters"]["conditional"] is True
    assert found["losses"]["loss"] == model.history_["loss"][-1]
    assert found["weights"] == sum(value.size for value in model.state_dict().values())


def test_topics_train_print_and_read_new_texts_alike(process: Run, run: Run, tmp_path: Path) -> None:
    lines = ["apple banana cherry", "Apple banana", "stone rock sand", "sand rock hill stone", "sea"] * 10
    lines[-1] = "single"
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    given = ("--n-topics", 2, "--epochs", 30, "--seed", 0, "--top", 3)
    found = process("topics", "a.txt", "-o", "t.safetensors", *given, "--theta", "theta.csv", "--json")
    topics = json.loads(found.out)
    assert len(topics["topics"]) == 2
    assert -1 <= topics["coherence"] <= 1
    assert topics["perplexity"] > 1
    words = json.loads((tmp_path / "t.vocabulary.json").read_text())["words"]
    model = fastvae.load(tmp_path / "t.safetensors")
    assert (
        model.feature_names_in_.tolist()
        == words
        == ["apple", "banana", "cherry", "hill", "rock", "sand", "sea", "stone"]
    )
    assert topics["topics"][0]["words"] == model.top_words(words, 3)[0]
    theta = np.loadtxt(tmp_path / "theta.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(theta.sum(1), 1, atol=1e-5)
    assert "valid feature names" not in found.err
    new = run(
        "topics", "-", "--load", "t.safetensors", "--format", "text", "--theta", "-", "-q", stdin=b"rock, ROCK!\n"
    )
    counts = np.zeros((1, len(words)), np.float32)
    counts[0, words.index("rock")] = 2
    shares = [float(cell) for cell in new.lines[1].split(",")]
    np.testing.assert_allclose(shares, model.transform(named(counts, words))[0], atol=1e-6)
    printed = run("topics", "--load", "t.safetensors").lines
    assert len(printed) == 3
    assert printed[0].startswith("topic 0 ")
    assert run("encode", "t.safetensors", "a.txt", "--rows", ":2").lines[0] == "topic0,topic1"
    refused = run("topics", "a.txt", "-o", "t", "-q", code=2)
    assert "t.vocabulary.json exists: pass --force" in error_of(refused)
    (tmp_path / "t.vocabulary.json").unlink()
    message = error_of(run("encode", "t.safetensors", "a.txt", code=2))
    assert (
        message == "texts need the vocabulary of the model, t.vocabulary.json, which is missing: pass --vocabulary FILE"
    )
    (tmp_path / "words.txt").write_text("\n".join(words))
    assert run("encode", "t.safetensors", "a.txt", "--vocabulary", "words.txt").lines[0] == "topic0,topic1"


def test_topics_take_seeds_and_embeddings_and_explain_words(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    themes = [["goal", "match", "team"], ["bank", "market", "share"]]
    of = rng.integers(0, 2, 120)
    (tmp_path / "a.txt").write_text("".join(" ".join(rng.choice(themes[k], 6)) + "\n" for k in of))
    vectors = (np.eye(2)[of] + 0.05 * rng.normal(size=(120, 2))).astype(np.float32)
    np.save(tmp_path / "e.npy", vectors)
    (tmp_path / "seeds.json").write_text('{"1": ["goal"]}')
    fast = ("--epochs", 30, "--seed", 0, "--n-topics", 2, "--max-df", 0.9, "-q")

    seeded = run("topics", "a.txt", *fast, "--seed-words", "0=bank, share", "--seed-words", "seeds.json", "--top", 3)
    assert set(seeded.lines[0].split()[-3:]) == set(themes[1])
    assert "vocabulary" in error_of(run("topics", "a.txt", *fast, "--seed-words", "0=zebra", code=2))
    assert "there is no such file" in error_of(run("topics", "a.txt", *fast, "--seed-words", "zebra", code=2))
    assert "is no number" in error_of(run("topics", "a.txt", *fast, "--seed-words", "a=goal", code=2))

    run("topics", "a.txt", *fast, "--embeddings", "e.npy", "-o", "c.safetensors", "--explain", "words.csv")
    model, words = fastvae.load(tmp_path / "c.safetensors"), (tmp_path / "words.csv").read_text().splitlines()
    assert model.n_embeddings_ == 2
    assert words[0] == "document,word,count,topic0,topic1"
    names = model.feature_names_in_.tolist()
    texts = [text.split() for text in (tmp_path / "a.txt").read_text().splitlines()]
    counts = np.array([[text.count(word) for word in names] for text in texts], np.float32)
    found = model.explain(named(counts, names), embeddings=vectors)
    cells = [line.split(",") for line in words[1:]]
    assert [cell[1] for cell in cells[: found.indptr[2]]] == [names[j] for j in found.indices[: found.indptr[2]]]
    np.testing.assert_array_equal([float(cell[2]) for cell in cells], found.counts)
    np.testing.assert_allclose([[float(v) for v in cell[3:]] for cell in cells], found.shares, rtol=1e-5, atol=1e-7)
    shares = run("encode", "c.safetensors", "a.txt", "--embeddings", "e.npy", "--rows", "3:5").lines
    expected = model.transform(named(counts[3:5], names), embeddings=vectors[3:5])
    np.testing.assert_allclose([[float(v) for v in line.split(",")] for line in shares[1:]], expected, rtol=1e-4)
    assert "pass --embeddings FILE" in error_of(run("encode", "c.safetensors", "a.txt", code=2))
    np.save(tmp_path / "few.npy", vectors[:3])
    message = error_of(run("encode", "c.safetensors", "a.txt", "--embeddings", "few.npy", code=2))
    assert message == "--embeddings few.npy has 3 rows, a.txt 120"

    fast = ("--epochs", 30, "--seed", 0, "--max-df", 0.9)
    chosen = run("topics", "a.txt", *fast, "--grid", "2,5", "-o", "g.safetensors", "--embeddings", "e.npy")
    assert "topics  perplexity  coherence" in chosen.err
    assert fastvae.load(tmp_path / "g.safetensors").n_topics == 2
    assert "--n-topics or --grid" in error_of(run("topics", "a.txt", *fast, "--n-topics", 3, "--grid", "2,5", code=2))
    assert "such as 5,10" in error_of(run("topics", "a.txt", *fast, "--grid", "few", code=2))
    assert "--load trains no model" in error_of(run("topics", "--load", "c.safetensors", "--grid", "2,5", code=2))


def test_exam_prints_and_writes_items_and_abilities(process: Run, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ability = rng.normal(size=200)
    Y = (rng.random((200, 4)) < 1 / (1 + np.exp(-ability[:, np.newaxis] - [1, 0, -1, 0.5]))).astype(int)
    rows = [f"s{i},{','.join(map(str, row))}" for i, row in enumerate(Y)]
    rows[0] = rows[0][:-1]  # a missing answer
    (tmp_path / "y.csv").write_text("student,q1,q2,q3,q4\n" + "\n".join(rows) + "\n")
    given = ("--id", "student", "--model", "rasch", "--seed", 1, "-q")
    found = process("exam", "y.csv", *given, "-o", "e.safetensors", "--abilities", "a.csv")
    assert found.lines[0].split()[:3] == ["task", "discrimination", "discrimination_se"]
    assert [line.split()[0] for line in found.lines[1:]] == ["q1", "q2", "q3", "q4"]
    marks = Y.astype(float)
    marks[0, 3] = np.nan
    answers = named(marks, ["q1", "q2", "q3", "q4"])
    model = fastvae.load(tmp_path / "e.safetensors")
    assert model.model == "rasch"
    errors = model.standard_errors(answers)
    shown = np.array([[float(cell) for cell in line.split()[1:7]] for line in found.lines[1:]])
    np.testing.assert_allclose(shown[:, 5], errors.difficulty, atol=6e-4)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "student,ability,ability_se,ability_low,ability_high"
    values = np.array([line.split(",")[1:] for line in lines[1:]], float)
    np.testing.assert_allclose(values[:, 0], model.transform(answers)[:, 0], atol=1e-5)
    np.testing.assert_allclose(values[:, 1], model.ability_std(answers)[:, 0], atol=1e-5)
    again = run("exam", "y.csv", "--id", "student", "--load", "e.safetensors", "--abilities", "-", "-q")
    assert again.text == (tmp_path / "a.csv").read_text()
    items = json.loads(run("exam", "y.csv", "--id", "student", "--load", "e.safetensors", "--json").out)["items"]
    assert [item["task"] for item in items] == ["q1", "q2", "q3", "q4"]
    assert "discrimination_se" not in items[0]  # the answers need not be those of the fit


def test_resume_continues_a_fit_to_the_same_bits(process: Run, run: Run, tmp_path: Path, table: Path) -> None:
    given = ("--drop", "name,kind", "--likelihood", "gaussian", "--missing", "mask", "--hidden", 4, "--seed", 2, "-q")
    run("train", table, "-o", "whole.safetensors", *given, "--epochs", 6)
    # A checkpoint in the middle: that of a callback which ends the process.
    script = (
        "import sys, os; from fastvae._estimators.checkpoint import Checkpoint; write = Checkpoint.epoch\n"
        "def epoch(self, model, run):\n"
        "    write(self, model, run)\n"
        "    if run.done == 3: os._exit(7)\n"
        "Checkpoint.epoch = epoch\n"
        "from fastvae._cli import main; sys.exit(main())"
    )
    options = [
        "train",
        table,
        "-o",
        "m.safetensors",
        *given,
        "--epochs",
        6,
        "--checkpoint",
        "c.ckpt",
        "--checkpoint-every",
        1,
    ]
    killed = subprocess.run([sys.executable, "-c", script, *map(str, options)], cwd=tmp_path, timeout=60)
    assert killed.returncode == 7
    assert not (tmp_path / "m.safetensors").exists()
    assert fastvae.load(tmp_path / "c.ckpt").n_iter_ == 3
    found = process("resume", "c.ckpt", table, "--drop", "name,kind", "-o", "m.safetensors", "--json")
    assert json.loads(found.out)["epochs"] == 6
    one, two = (fastvae.load(tmp_path / f"{name}.safetensors").state_dict() for name in ("whole", "m"))
    assert all((one[name] == two[name]).all() for name in one)
    assert "is a model, not a checkpoint" in error_of(run("resume", "whole.safetensors", table, "-q", code=2))
    message = error_of(run("resume", "c.ckpt", table, "--rows", ":9", "-q", code=2))
    assert "are not those of the fit that wrote 'c.ckpt'" in message


@pytest.mark.parametrize(
    ("kind", "model", "options"),
    [
        ("learning-curve", "table", ()),
        ("manifold", "image", ("-n", 3)),
        ("samples", "image", ("-n", 3)),
        ("reconstructions", "image", ("x.npy", "-n", 2)),
        ("traversal", "image", ("x.npy", "--dims", "0", "-n", 3)),
        ("interpolation", "image", ("x.npy", "-n", 3)),
        ("conditions", "conditional", ("-n", 2, "--image-shape", "1x3")),
        ("scatter", "table", ("t.csv", "--label", "kind", "--drop", "name")),
        ("ellipses", "table", ("t.csv", "--label", "kind", "-n", 5)),
        ("kl", "image", ("x.npy",)),
    ],
)
def test_plots(kind: str, model: str, options: tuple[Any, ...], table: Path, models: Path, images: np.ndarray) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from fastvae._cli import main

    folder = table.parent
    np.save(folder / "x.npy", images)
    given = [folder / each if str(each) in ("x.npy", "t.csv") else each for each in options]
    arguments = ["plot", kind, models / f"{model}.safetensors", *given, "-o", folder / "p.png", "-q", "--dpi", 40]
    assert main(list(map(str, arguments))) == 0  # in this process: matplotlib takes a second to import
    assert decoded((folder / "p.png").read_bytes()).std() > 1


def test_plots_of_decoded_images_take_the_label_as_sample_does(run: Run, tmp_path: Path, models: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    X = np.random.default_rng(0).random((20, 5)).astype(np.float32)
    fastvae.VAE(2, hidden=(4,), epochs=1, condition_columns=[4], random_state=0).fit(X).save(tmp_path / "m")
    given = (
        "plot",
        "samples",
        "m",
        "-o",
        "p.png",
        "--image-shape",
        "2x2",
        "-n",
        1,
        "--seed",
        0,
        "--force",
        "--dpi",
        30,
    )
    assert error_of(run(*given, code=2)).endswith("the model is conditional: pass --label-value VALUE")
    assert "the condition is numbers" in error_of(run(*given, "--label-value", "red", code=2))
    run(*given, "--label-value", 0.1)
    low = (tmp_path / "p.png").read_bytes()
    run(*given, "--label-value", 100)
    assert (tmp_path / "p.png").read_bytes() != low
    other = ("plot", "samples", models / "table.safetensors", "-o", "q.png", "--label-value", "red")
    assert error_of(run(*other, code=2)).endswith("--label-value: the model is not conditional")


def test_plot_as_a_process(process: Run, run: Run, models: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    found = process(
        "plot", "learning-curve", models / "image.safetensors", "-o", "-", "--title", "Curve", "--size", "4x3"
    )
    assert decoded(found.out).shape[:2] == (450, 600)
    assert "needs DATA" in error_of(run("plot", "kl", models / "image.safetensors", "-o", "x.png", code=2))
    assert "write .png, .svg or .pdf" in error_of(run("plot", "kl", "m", "d", "-o", "x.gif", code=2))


def test_export(process: Run, run: Run, tmp_path: Path, models: Path, images: np.ndarray) -> None:
    model = fastvae.load(models / "image.safetensors")
    process("export", models / "image.safetensors", "-o", "w.npz")
    with np.load(tmp_path / "w.npz") as archive:
        assert set(archive.files) == set(model.state_dict())
        np.testing.assert_array_equal(archive["mu.weight"], model.state_dict()["mu.weight"])
    assert "--part is for .onnx" in error_of(
        run("export", models / "image.safetensors", "-o", "a.npz", "--part", "score", code=2)
    )
    assert "export writes .onnx" in error_of(run("export", models / "image.safetensors", "-o", "a.xyz", code=2))


def test_export_to_onnx(process: Run, tmp_path: Path, models: Path, images: np.ndarray) -> None:
    process("export", models / "image.safetensors", "-o", "e.onnx", "--part", "reconstruct")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = runtime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    X = images.reshape(60, -1).astype(np.float32) / 255
    [found] = session.run(None, {session.get_inputs()[0].name: X.reshape(session_shape(session, X))})
    expected = fastvae.load(models / "image.safetensors").reconstruct(images)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)


def session_shape(session: Any, X: np.ndarray) -> tuple[int, ...]:
    """The shape of the input of an ONNX model for these rows."""
    return (len(X), *(int(side) for side in session.get_inputs()[0].shape[1:]))


def test_explorer(process: Run, run: Run, tmp_path: Path, models: Path, table: Path) -> None:
    given = ("--id", "name", "--label", "kind", "--title", "Shops & more", "--no-originals")
    (tmp_path / "full.csv").write_text(TABLE.replace(",,", ",0,"))
    process("explorer", models / "conditional.safetensors", "full.csv", *given, "-o", "x.html", "--points", 7)
    page = (tmp_path / "x.html").read_text()
    assert "Shops &amp; more" in page
    assert "n12" not in page  # names of rows are not part of it
    found = run("explorer", models / "conditional.safetensors", "full.csv", *given, "-o", "x.txt", code=2)
    assert "name a file .html" in error_of(found)


def test_log_of_the_losses(run: Run, tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", images)
    given = ("--epochs", 3, "--hidden", 4, "-q", "--checkpoint", "c.ckpt", "--checkpoint-every", 1)
    for name in ("log.csv", "log.jsonl"):
        run("train", "x.npy", "-o", "m.safetensors", "--force", *given, "--log", name)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,seconds,loss")
    assert len(lines) == 4
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    model = fastvae.load(tmp_path / "m.safetensors")
    assert [record["loss"] for record in records] == model.history_["loss"]
    run("resume", "c.ckpt", "x.npy", "--log", "log.jsonl", "-q")
    refused = run("train", "x.npy", "-o", "n.safetensors", "--log", "log.csv", code=2)
    assert "log.csv exists: pass --force" in error_of(refused)
    assert "name a file .csv or .jsonl" in error_of(run("train", "x.npy", "-o", "n", "--log", "l.txt", code=2))


def test_export_to_torch(run: Run, tmp_path: Path, models: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    run("export", models / "image.safetensors", "-o", "w.pt")
    state = torch.load(tmp_path / "w.pt", weights_only=True)
    model = fastvae.load(models / "image.safetensors")
    again = fastvae.load(models / "image.safetensors").load_state_dict({k: v.numpy() for k, v in state.items()})
    assert all((again.state_dict()[name] == value).all() for name, value in model.state_dict().items())


def test_bench(process: Run) -> None:
    found = json.loads(process("bench", "--json", "--seconds", 0.01, "--no-torch", "-q").out)
    assert len(found["results"]) == 6
    for row in found["results"]:
        assert row["fastvae_ms"] > 0
        assert row["torch_ms"] is None
    assert found["isa"] == fastvae.show_config()["isa"]


def test_reconstructions_of_pictures_with_one_stem_have_two_files(run: Run, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    (tmp_path / "in").mkdir()
    for i, name in enumerate(("a.png", "a.jpg", "b.jpg")):
        image.new("L", (4, 4), 80 * i).save(tmp_path / "in" / name)
    run("train", "in", "-o", "m.safetensors", "--epochs", 1, "--hidden", 4, "-q")
    run("reconstruct", "m.safetensors", "in", "-o", "out/")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg.png", "a.png.png", "b.png"]


def test_commands_take_a_sparse_matrix_or_say_what_they_need(run: Run, tmp_path: Path) -> None:
    X = np.random.default_rng(0).poisson(0.5, (30, 4)).astype(np.float32)
    where = np.nonzero(X)
    indptr = np.concatenate([[0], (X != 0).sum(1).cumsum()])
    np.savez(tmp_path / "s.npz", data=X[where], indices=where[1], indptr=indptr, shape=X.shape, format=b"csr")
    np.save(tmp_path / "x.npy", X)
    run("train", "s.npz", "-o", "m.safetensors", "--likelihood", "poisson", "--epochs", 1, "--hidden", 4, "-q")
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    for name in ("s.npz", "x.npy"):
        run("plot", "reconstructions", "m.safetensors", name, "-o", f"{name}.png", "-q")
    assert (tmp_path / "s.npz.png").read_bytes() == (tmp_path / "x.npy.png").read_bytes()
    assert "s.npz is a sparse matrix" in error_of(run("encode", "m.safetensors", "x.npy", "--labels", "s.npz", code=2))


def test_cells_with_line_breaks_come_back(run: Run, tmp_path: Path, models: Path) -> None:
    names = ["a\rb", "c\nd", "e\r\nf", 'g"h', "i,j", "k\u2028l"]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerows([["id", "a", "b", "c"], *([name, 1, "", 3] for name in names)])
    found = run("impute", models / "table.safetensors", "t.csv", "-q").text
    assert [row[0] for row in csv.reader(io.StringIO(found, newline=""))] == ["id", *names]
    codes = run("encode", models / "table.safetensors", "-", "--id", "id", "-q", stdin=found.encode()).text
    assert [row[0] for row in csv.reader(io.StringIO(codes, newline=""))] == ["id", *names]
