"""Errors, exit codes, signals, streams, and files that must not be lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastvae
from cli.conftest import Run, command, error_of
from fastvae._cli.explain import explain


def test_usage(process: Run, run: Run, models: Path, tmp_path: Path) -> None:
    model = models / "image.safetensors"
    for name in ("images.npz", "sheet.xlsx"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    cases = [
        (["trian"], "there is no command 'trian': did you mean train?"),
        (["xyzzy"], "there is no command 'xyzzy': use one of train, resume"),
        (["train", "x.npy"], "the following arguments are required: -o/--output (see fastvae train --help)"),
        (["train", "x.npy", "-o", "m", "--latent_dim", "3"], "did you mean --latent-dim? (see fastvae train --help)"),
        (["train", "x.npy", "-o", "m", "--set", "beta"], "--set beta: write NAME=VALUE"),
        (["train", "x.npy", "-o", "m", "--set", "betta=1"], "betta is not a parameter of VAE"),
        (
            ["train", "x.npy", "-o", "m", "--beta", "lniear(0, 1)"],
            "--beta: lniear is not known; use one of Adagrad, Adam",
        ),
        (["encode", str(model), "x.npy", "-o", "x.exe"], "-o x.exe: the format .exe is not known"),
        (["encode", str(model), "x.npy", "--to", "exe"], "--to exe is not known; use one of npy"),
        (["encode", str(model), "x.npy", "-o", "x.png"], "this result is a table, not images"),
        (["encode", "none.safetensors", "x.npy"], "none.safetensors: no such file"),
        (["encode", "x.npy", str(model)], "x.npy: no such file"),
        (["encode", "images.npz:x", str(model)], "images.npz:x: no such file: MODEL comes first, then DATA"),
        (["encode", "images.npz", str(model)], "images.npz is a data file: MODEL, which `fastvae train` writes, comes"),
        (["train", "sheet.xlsx", "-o", "m"], "sheet.xlsx: spreadsheets are not read: save the sheet as CSV"),
        (["encode", str(model)], "the following arguments are required: DATA"),
        (["topics", "x.txt", "-o", "m", "--token", "[a"], "--token [a is no regular expression: unterminated"),
        (["topics", "x.txt", "-o", "m", "--token", "(a)(b)"], "--token (a)(b) has 2 groups, and a word is one"),
        (["completion", "tcsh"], "invalid choice: 'tcsh'"),
    ]
    (tmp_path / "x.txt").write_text("one two\nthree\n")
    for arguments, message in cases:
        assert message in error_of(run(*arguments, code=2)), arguments
    assert error_of(process("trian", code=2)) == "there is no command 'trian': did you mean train?"
    empty = run(code=2)
    assert not empty.out
    assert "commands:" in empty.err
    assert "name a command" in empty.err
    assert run("help", "info").out == run("info", "--help").out


def test_errors_of_the_library_are_sentences_about_options(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n0.5,0.25\n,1\n0.5,1\n")
    found = error_of(run("train", "t.csv", "-o", "m.safetensors", "-q", code=2))
    assert found.startswith("t.csv, line 3, column 'a': X[1, 0] is NaN; ")
    assert "pass --missing mask" in found
    found = error_of(run("train", "t.csv", "-o", "m.safetensors", "-q", "--latent-dim", "abc", code=2))
    assert found.startswith("--latent-dim abc must be an integer")
    (tmp_path / "no.safetensors").write_bytes(b"no model" * 9)
    assert "no model file that fastvae can read" in error_of(run("info", "no.safetensors", code=2))
    debugged = subprocess.run(command("info", tmp_path / "no.safetensors", "--debug"), capture_output=True)
    assert debugged.returncode == 1
    assert b"Traceback" in debugged.stderr


def test_what_cannot_be_explained_is_not_a_users_mistake() -> None:
    assert explain(KeyError("x")) == ("unexpected KeyError: 'x' (--debug shows the traceback; please report it)", 1)
    assert explain(MemoryError()) == ("out of memory", 1)
    assert explain(OSError(28, "No space left on device", "a"))[1] == 1
    assert explain(ValueError("line\n  break")) == ("line break", 2)


def test_existing_files_are_replaced_only_by_force(run: Run, tmp_path: Path, models: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", images)
    (tmp_path / "old").write_text("precious")
    (tmp_path / "old.csv").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("precious")
    model = models / "image.safetensors"
    for arguments in (
        ("encode", model, "x.npy", "-o", "old.csv"),
        ("train", "x.npy", "-o", "old"),
        ("train", "x.npy", "-o", "new", "--checkpoint", "old"),
        ("score", model, "x.npy", "--each", "-o", "old.csv"),
    ):
        assert "pass --force to replace it" in error_of(run(*arguments, code=2))
    assert "the folder full is not empty" in error_of(run("sample", model, "-o", "full/", code=2))
    assert (tmp_path / "old.csv").read_text() == (tmp_path / "old").read_text() == "precious"
    run("encode", model, "x.npy", "-o", "old.csv", "--force")
    assert (tmp_path / "old.csv").read_text().startswith("z0,")
    run("sample", model, "-n", 2, "-o", "full/", "--force")
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["0.png", "1.png", "a.txt"]
    assert "the folder nowhere does not exist" in error_of(run("sample", model, "-o", "nowhere/x.csv", code=2))
    run("encode", model, "x.npy", "-o", "x.npy", "--force")  # over its own input, which is mapped
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), fastvae.load(model).transform(images))


def test_diverged_training_keeps_the_last_good_weights_and_fails(process: Run, run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(64, 3)))
    options = ("--likelihood", "gaussian", "--learning-rate", 1e5, "--epochs", 200, "--batch-size", 16, "--seed", 0)
    found = process("train", "x.npy", "-o", "m.safetensors", *options, "--hidden", 16, code=1)
    assert "fastvae: error: training diverged at step" in found.err
    assert not (tmp_path / "m.safetensors").exists()
    weights = fastvae.load(tmp_path / "m.diverged.safetensors").state_dict()
    assert all(np.isfinite(value).all() for value in weights.values())
    first = (tmp_path / "m.diverged.safetensors").read_bytes()
    run("train", "x.npy", "-o", "m.safetensors", *options, "--hidden", 8, code=1)
    assert (tmp_path / "m.diverged.safetensors").read_bytes() == first
    assert (tmp_path / "m.diverged-2.safetensors").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_partial_model(tmp_path: Path, images: np.ndarray, number: int, code: int) -> None:
    np.save(tmp_path / "x.npy", np.repeat(images, 50, 0))
    options = ("--epochs", 10**6, "--hidden", 4, "--checkpoint", "c.ckpt", "--checkpoint-every", 1)
    arguments = command("train", "x.npy", "-o", "m.safetensors", *options)
    training = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (tmp_path / "c.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    training.send_signal(number)
    out, err = training.communicate(timeout=30)
    assert training.returncode == code, err
    assert not out
    assert b"Traceback" not in err
    assert b"interrupted: the model after" in err
    assert b"fastvae resume c.ckpt x.npy goes on" in err
    assert not (tmp_path / "m.safetensors").exists()
    assert fastvae.load(tmp_path / "m.interrupted.safetensors").interrupted_
    assert fastvae.load(tmp_path / "c.ckpt").n_iter_ >= 0


@pytest.mark.skipif(os.name != "posix", reason="shells of POSIX")
def test_streams_that_end_early_or_are_closed(tmp_path: Path, models: Path) -> None:
    def shell(line: str) -> subprocess.CompletedProcess[bytes]:
        fast = f"'{sys.executable}' -m fastvae"
        text = line.replace("fastvae", fast, 1)
        return subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, timeout=60)

    model = models / "image.safetensors"
    for environment in ("PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED="):
        done = shell(f"{environment} fastvae sample {model} -n 20000 | head -c1; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode, done.stdout, done.stderr) == (141, b"x", b"")
    done = shell(f"fastvae sample {model} >&-")
    assert done.returncode == 1
    assert done.stderr == b"fastvae: error: standard output is closed\n"
    if Path("/dev/full").exists():
        done = shell(f"fastvae info {model} > /dev/full")
        assert done.returncode == 1
        assert b"No space left" in done.stderr
        assert b"Traceback" not in done.stderr
    done = shell(f"fastvae sample {model} 2>&-")
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 17


def test_warnings_are_single_lines(process: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "t.csv", rng.random((50, 2)), delimiter=",")
    found = process("train", "t.csv", "-o", "m.safetensors", "--likelihood", "multinomial", "--epochs", 1, "-q")
    lines = found.err.splitlines()
    assert lines
    assert all(line.startswith("fastvae: warning: ") for line in lines)
    assert "is one of counts" in lines[0]


def test_quiet_and_progress_on_standard_error_only(process: Run, run: Run, tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", images)
    given = ("--epochs", 2, "--hidden", 4)
    shown = process("train", "x.npy", "-o", "a.safetensors", "--progress", *given)
    assert not shown.out
    assert "epoch 2/2" in shown.err
    assert not run("train", "x.npy", "-o", "b.safetensors", "-q", *given).err
    assert "epoch" not in run("train", "x.npy", "-o", "c.safetensors", *given).err.replace("2 epochs", "")


def test_missing_packages_are_named_with_the_command_that_installs_them(
    run: Run, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "PIL",
        "matplotlib",
        "sklearn.feature_extraction.text",
        "pyarrow",
        "pyarrow.parquet",
        "polars",
        "torch",
    ):
        monkeypatch.setitem(sys.modules, name, None)
    model = models / "table.safetensors"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("one two\none two\n")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    cases = [
        (("encode", model, "photos"), "a folder of images needs Pillow, which is missing: pip install pillow"),
        (
            ("plot", "learning-curve", model, "-o", "p.png"),
            "plot needs matplotlib, which is missing: pip install 'fastv",
        ),
        (("topics", "a.txt", "--stop-words", "english"), "--stop-words english needs scikit-learn, which is missing"),
        (("encode", model, "x.parquet"), "Parquet needs pyarrow or polars, which is missing: pip install pyarrow"),
        (
            ("sample", model, "-o", "x2.parquet"),
            "Parquet needs pyarrow or polars, which is missing: pip install pyarrow",
        ),
        (("export", model, "-o", "w.pt"), "export to .pt needs torch, which is missing: pip install torch"),
    ]
    for arguments, message in cases:
        assert message in error_of(run(*arguments, code=2))


def test_no_heavy_import_before_a_command_runs() -> None:
    script = (
        "import sys; from fastvae._cli.parser import build; build(None)\n"
        "print([name for name in ('pandas', 'scipy', 'sklearn', 'torch', 'matplotlib', 'PIL', 'pyarrow', 'polars')"
        " if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).stdout == b"[]\n"


def test_the_console_script_is_the_command_line() -> None:
    import re

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    found = re.search(r'^\[project\.scripts\]\nfastvae = "([\w.]+):(\w+)"$', text, re.M)
    assert found is not None
    from importlib import import_module

    assert getattr(import_module(found[1]), found[2])(["completion", "bash", "--quiet"]) == 0


def test_a_trained_model_without_room_is_kept_elsewhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 3)))
    save = fastvae.VAE.save

    def fails(self: fastvae.VAE, path: Path, **options: bool) -> None:
        if Path(path).name == "m.safetensors":
            raise OSError(28, "No space left on device", str(path))
        save(self, path, **options)

    monkeypatch.setattr(fastvae.VAE, "save", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    found = error_of(run("train", "x.npy", "-o", "m.safetensors", "--epochs", 3, "-q", code=1))
    start, _, path = found.partition(": the model is in ")
    assert start == "m.safetensors was not written: No space left on device"
    assert fastvae.load(path).n_iter_ == 3
    (tmp_path / "temporary").rename(tmp_path / "gone")
    found = error_of(run("train", "x.npy", "-o", "m.safetensors", "--epochs", 3, "-q", code=1))
    assert found == start


def test_two_options_do_not_write_to_one_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for options in (("-o", "m.csv", "--log", "folder/../m.csv"), ("-o", "./m", "--checkpoint", "m")):
        found = error_of(run("train", "x.npy", *options, code=2))
        assert re.fullmatch(r"(-o|--checkpoint) and (-o|--log) are the same file", found)
