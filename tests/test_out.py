"""Results that are written to an array or a memory map of the caller: the argument ``out``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae import VAE, Autoencoder, CountVAE, ItemResponse, TopicModel

SMALL: dict[str, Any] = {"epochs": 2, "random_state": 0, "progress": False}
generator = np.random.default_rng(0)
X = generator.random((300, 24), dtype=np.float32)
COUNTS = generator.poisson(3.0, (300, 24)).astype(np.float32)
MARKS = (X > 0.5).astype(np.float32)
IMAGES = X[:, :18].reshape(300, 2, 3, 3)  # channels, height, width


def vae(**parameters: Any) -> VAE:
    return VAE(3, **(SMALL | {"hidden": (16,)} | parameters))


MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "VAE": (lambda: vae().fit(X), X),
    "images": (lambda: vae(image_shape=(4, 6)).fit(X.reshape(300, 4, 6)), X.reshape(300, 4, 6)),
    "channels first": (lambda: vae(image_shape=(3, 3, 2), channels="first").fit(IMAGES), IMAGES),
    "uint8": (lambda: vae().fit((X * 255).astype(np.uint8)), (X * 255).astype(np.uint8)),
    "int16": (lambda: vae(likelihood="poisson").fit(COUNTS.astype(np.int16)), COUNTS.astype(np.int16)),
    "Autoencoder": (lambda: Autoencoder(3, hidden=(16,), **SMALL).fit(X), X),
    "TopicModel": (lambda: TopicModel(3, hidden=(16,), **SMALL).fit(COUNTS), COUNTS),
    "CountVAE": (lambda: CountVAE(3, hidden=(16,), **SMALL).fit(COUNTS), COUNTS),
    "exam": (lambda: ItemResponse(n_dims=1, **SMALL).fit(MARKS), MARKS),
    "exam of two dimensions": (
        lambda: ItemResponse(n_dims=2, **SMALL).fit(MARKS),
        MARKS,
    ),
}
METHODS = ("transform", "reconstruct", "score_samples")


@pytest.mark.filterwarnings("ignore")  # two epochs train nothing well
@pytest.mark.parametrize("name", MODELS)
def test_out_holds_the_result_and_is_returned(name: str) -> None:
    make, given = MODELS[name]
    model = make()
    for method in METHODS:
        expected = getattr(model, method)(given)
        out = np.full(expected.shape, np.nan, np.float32)
        assert getattr(model, method)(given, out=out) is out
        assert out.tobytes() == expected.tobytes()
    codes = np.asarray(model.transform(given))
    expected = model.inverse_transform(codes)
    out = np.full(expected.shape, np.nan, np.float32)
    assert model.inverse_transform(codes, out=out) is out
    assert out.tobytes() == expected.tobytes()


def test_a_memory_map_gets_the_result(tmp_path: Path) -> None:
    model = vae().fit(X)
    out = np.memmap(tmp_path / "codes", np.float32, "w+", shape=(300, 3))
    assert model.transform(X, out=out) is out
    out.flush()
    assert np.fromfile(tmp_path / "codes", np.float32).tobytes() == model.transform(X).tobytes()
    part = out[100:200]  # rows of a map
    assert model.transform(X[:100], out=part) is part
    assert np.array_equal(out[100:200], out[:100])


def test_the_result_is_not_allocated_besides() -> None:
    import tracemalloc

    model = vae(likelihood="gaussian", n_jobs=1).fit(X)
    codes = np.zeros((20_000, 3), np.float32)
    out = np.empty((20_000, 24), np.float32)
    tracemalloc.start()
    model.inverse_transform(codes, out=out)  # numpy reports what it allocates
    _, with_out = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert with_out < out.nbytes / 10


def test_out_goes_before_set_output() -> None:
    pytest.importorskip("pandas")
    model = vae().fit(X).set_output(transform="pandas")
    out = np.empty((300, 3), np.float32)
    assert model.transform(X, out=out) is out


read_only = np.empty((300, 3), np.float32)
read_only.flags.writeable = False
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": ([0.0], TypeError, "out is a list: pass a numpy array or a memory map"),
    "few rows": (np.empty((299, 3), np.float32), ValueError, r"out has shape \(299, 3\), but the result has shape"),
    "flat": (np.empty(900, np.float32), ValueError, r"out has shape \(900,\), but the result has shape \(300, 3\)"),
    "float64": (np.empty((300, 3)), ValueError, "out has dtype float64, but the result has float32"),
    "big-endian": (np.empty((300, 3), ">f4"), ValueError, "out has dtype >f4"),
    "columns": (np.empty((300, 6), np.float32)[:, :3], ValueError, "out is not C-contiguous"),
    "Fortran": (np.empty((3, 300), np.float32).T, ValueError, "out is not C-contiguous"),
    "unaligned": (np.empty(3601, np.uint8)[1:].view(np.float32).reshape(300, 3), ValueError, "out is not aligned"),
    "read-only": (read_only, ValueError, "out is read-only"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_out_is_refused_and_not_written(kind: str) -> None:
    out, error, message = WRONG[kind]
    model = vae().fit(X)
    before = None if isinstance(out, list) else out.tobytes()
    with pytest.raises(error, match=message):
        model.transform(X, out=out)
    assert isinstance(out, list) or out.tobytes() == before


def test_out_that_shares_memory_with_what_is_read_is_refused(tmp_path: Path) -> None:
    model = vae().fit(X)
    given = X.copy()
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.transform(given, out=given.reshape(-1)[:900].reshape(300, 3))
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.reconstruct(given, out=given)
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.score_samples(given, out=given.reshape(-1)[-300:])
    codes = np.zeros((900, 3), np.float32)
    with pytest.raises(ValueError, match="out shares memory with Z"):
        vae().fit(X[:, :3]).inverse_transform(codes, out=codes)
    rows = given.copy()
    between = rows[1, :9].reshape(3, 3)  # within the bounds of X, but in none of its rows
    assert model.transform(rows[:6:2], out=between) is between
    assert rows[1, :9].tobytes() == model.transform(given[:6:2]).tobytes()
    path = tmp_path / "x"
    given.tofile(path)
    maps = [np.memmap(path, np.float32, "r+", shape=(300, 24)) for _ in range(2)]
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.reconstruct(maps[0], out=maps[1])
    assert np.fromfile(path, np.float32).tobytes() == given.tobytes()


def test_conditions_must_not_share_memory_with_out() -> None:
    covariates = np.zeros((300, 3), np.float32)
    model = vae(conditional=True).fit(X, covariates)
    with pytest.raises(ValueError, match="out shares memory with y"):
        model.transform(X, y=covariates, out=covariates)


def test_out_is_no_metadata_of_pipelines() -> None:
    pytest.importorskip("sklearn")
    request = VAE(2).get_metadata_routing()
    assert set(request.transform.requests) == {"y"}
    assert "out" in inspect.signature(fastvae.VAE.transform).parameters


def test_a_bad_value_is_an_error_with_out_too() -> None:
    model, given = vae().fit(X), X.copy()
    given[250, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[250, 3\] is NaN"):
        model.transform(given, out=np.empty((300, 3), np.float32))
