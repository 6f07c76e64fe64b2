"""The command line as a process, and small data and models for it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import fastvae
from fastvae._cli import main
from fastvae._cli.read.data import named


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


Run = Callable[..., Ended]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fastvae", *map(str, arguments)]


@pytest.fixture
def process(tmp_path: Path) -> Run:
    """Run a command as a process in an empty folder; its exit code must be `code`, and no traceback may show."""

    def call(*arguments: object, stdin: bytes = b"", code: int = 0) -> Ended:
        done = subprocess.run(command(*arguments), input=stdin, capture_output=True, cwd=tmp_path, timeout=60)
        return checked(Ended(done.returncode, done.stdout, done.stderr.decode()), code)

    return call


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As `process`, within this process, which is faster."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: bytes = b"", code: int = 0) -> Ended:
        streams = io.BytesIO(), io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr("sys.stdout", io.TextIOWrapper(streams[0], write_through=True))
            patch.setattr("sys.stderr", streams[1])
            try:
                found = main(list(map(str, arguments)))
            except SystemExit as ended:
                found = int(ended.code or 0)
            return checked(Ended(found, streams[0].getvalue(), streams[1].getvalue()), code)

    return call


def checked(found: Ended, code: int) -> Ended:
    assert found.code == code, found.err
    assert "Traceback" not in found.err
    return found


def error_of(found: Ended) -> str:
    """Return the sentence of the one line of error that a command has written."""
    lines = [line for line in found.err.splitlines() if line.startswith("fastvae: error: ")]
    assert len(lines) == 1, found.err
    assert not found.out
    return lines[0].removeprefix("fastvae: error: ")


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Grey images, uint8 [60, 6, 4]."""
    return np.random.default_rng(0).integers(0, 256, (60, 6, 4)).astype(np.uint8)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray) -> Path:
    """A folder of small models: image, table (named columns, missing values), conditional, autoencoder."""
    folder = tmp_path_factory.mktemp("models")
    options = {"hidden": (8,), "epochs": 2, "random_state": 0}
    fastvae.VAE(3, image_shape=(6, 4), **options).fit(images).save(folder / "image.safetensors")
    fastvae.Autoencoder(3, **options).fit(images.reshape(60, -1)).save(folder / "ae.safetensors")
    frame = named(np.random.default_rng(1).normal(size=(40, 3)), ["a", "b", "c"])
    likelihood = fastvae.likelihoods.Gaussian("shared")
    table = fastvae.VAE(2, likelihood=likelihood, missing="mask", **options).fit(frame)
    table.save(folder / "table.safetensors")
    y = np.array(["red", "blue"] * 20)
    conditional = fastvae.VAE(2, likelihood=likelihood, conditional=True, **options).fit(frame, y)
    conditional.save(folder / "conditional.safetensors")
    return folder
