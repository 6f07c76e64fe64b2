"""Training on data that are read meanwhile: blocks of a source's rows, and batches."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, is_finite, run_python, same, steps
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, CountVAE
from fastvae._data.sources import opening
from fastvae._data.sources.memory_map import MemoryMap
from fastvae._data.sources.opening import open_source
from fastvae._data.sources.source import Source, SourceError
from fastvae._data.streams.ahead import ReadAhead
from fastvae._data.streams.blocks import Blocks
from fastvae._data.streams.stream import Part

RNG = np.random.default_rng(0)
N, D = 2000, 6
X = (RNG.random((N, D)) < RNG.random(D)).astype(np.float32)
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

BLOCK = 320 * 4 * D  # bytes of a block of 320 rows: chunks of 10 rows


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 320 rows of X."""
    monkeypatch.setattr(opening, "BLOCK_BYTES", BLOCK)


class Rows:
    """Rows that can only be sliced. `read` is called with the first row and the last of each slice."""

    def __init__(self, rows: NDArray[Any], read: Callable[[int, int], None] = lambda start, stop: None) -> None:
        self._rows, self._read, self.shape, self.dtype = rows, read, rows.shape, rows.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        self._read(rows.start, rows.stop)
        return self._rows[rows]


class Reader:
    """What a stream reads with: rows as they are."""

    needs_y = False

    def examples(self, X: Any, name: str) -> Any:
        return X

    def conditions(self, y: Any) -> None:
        return None


def tiny(**parameters: Any) -> VAE:
    return VAE(2, **({"hidden": (8,), "epochs": 2, "batch_size": 32, "random_state": 0} | parameters))


def blocks(rows: NDArray[Any], block_rows: int, **changed: Any) -> Blocks:
    """A stream of rows in blocks of about `block_rows`."""
    source: Source = MemoryMap(rows, "the rows")
    vars(source).update(changed)
    stream = Blocks(source, None, changed.get("weights"), int(block_rows * source.row_bytes), "X")
    stream.read_with(Reader(), rows.shape[1])
    return stream


def parts(stream: Blocks, batch_size: int, epoch: int = 0, *, shuffle: bool = True, seed: int = 0) -> list[Part]:
    with stream.pieces(seed, epoch, batch_size, shuffle=shuffle) as found:
        return list(found)


def numbers(found: list[Part]) -> NDArray[np.int64]:
    """The rows of an epoch in the order of training."""
    assert all(part.numbers is not None for part in found)
    return np.concatenate([np.asarray(part.numbers, np.int64) for part in found])


# ----------------------------------------------------------------------------------------------- the shuffle


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100, 5000])
@pytest.mark.parametrize("edges", [None, [0, 1, 2, 3, 700, 701, 1500, 2000], [0, 2000]])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_has_each_row_once_and_full_batches(batch_size: int, edges: Any, shuffle: bool) -> None:
    rows = np.arange(N, dtype=np.float32)[:, None]
    stream = blocks(rows, 300, edges=None if edges is None else np.array(edges, np.int64))
    found = parts(stream, batch_size, shuffle=shuffle)
    order = numbers(found)
    assert sorted(order.tolist()) == list(range(N))
    assert shuffle == (order.tolist() != list(range(N)))
    assert all(part.n % batch_size == 0 for part in found[:-1])
    assert sum(part.steps for part in found) == stream.steps(batch_size) == -(-N // batch_size)
    for part in found:
        assert part.rows is not None
        assert part.numbers is not None
        np.testing.assert_array_equal(part.data.X[part.rows.astype(int), 0], part.numbers)  # type: ignore[index]


def test_sparse_rows_are_those_of_their_numbers() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    dense = X * np.arange(1, N + 1, dtype=np.float32)[:, None]
    whole = scipy_sparse.csr_matrix(dense)

    class Converts(Reader):
        def examples(self, X: Any, name: str) -> Any:
            from fastvae._data import sparse

            return sparse.matrix(X, name)

    stream = blocks(dense, 300)
    vars(stream)["_source"] = open_source(Rows(whole))  # type: ignore[arg-type]
    stream.read_with(Converts(), D)
    found = parts(stream, 64)
    assert sorted(numbers(found).tolist()) == list(range(N))
    for part in found:
        matrix = part.data.X
        rows = scipy_sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), matrix.shape)  # type: ignore[union-attr]
        assert part.rows is not None
        np.testing.assert_array_equal(rows.toarray()[part.rows.astype(int)], dense[numbers([part])])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    stream = blocks(X, 300)
    first = numbers(parts(stream, 32))
    np.testing.assert_array_equal(first, numbers(parts(stream, 32)))
    for other in (parts(stream, 32, epoch=1), parts(stream, 32, seed=1)):
        assert (first != numbers(other)).mean() > 0.9


def test_a_batch_mixes_rows_from_all_over_the_data() -> None:
    order = numbers(parts(blocks(np.zeros((64_000, 1), np.float32), 3200), 64))
    batches = order.reshape(-1, 64)
    # Uniform places have a standard deviation of 0.289 of the range; that of 32 chunks is smaller by a few percent.
    assert 0.25 < (batches.std(axis=1) / len(order)).mean() < 0.30
    assert len(np.unique(batches[0] // 100)) > 20  # chunks of 100 rows


def test_a_unit_is_read_once_in_an_epoch_and_never_in_part() -> None:
    seen: list[tuple[int, int]] = []
    edges = [0, 300, 310, 320, 1000, 1500, 1501, 2000]
    source = open_source(Rows(X, lambda start, stop: seen.append((start, stop))))
    assert source is not None
    source.edges = np.array(edges, np.int64)
    stream = Blocks(source, None, None, 320 * 24, "X")
    stream.read_with(Reader(), D)
    assert sorted(numbers(parts(stream, 32)).tolist()) == list(range(N))
    seen.sort()
    assert seen[0][0] == 0
    assert seen[-1][1] == N
    assert [start for start, _ in seen[1:]] == [stop for _, stop in seen[:-1]]
    assert {start for start, _ in seen} <= set(edges)


def test_rows_without_weight_are_left_out() -> None:
    weights = np.ones(N, np.float32)
    weights[::3] = 0
    weights[1] = 5
    found = parts(blocks(X, 300, weights=weights), 32)
    assert sorted(numbers(found).tolist()) == np.flatnonzero(weights).tolist()
    assert found[0].mean_weight == pytest.approx(weights[weights > 0].mean())
    assert all(part.n % 32 == 0 for part in found[:-1])


# ----------------------------------------------------------------------------------------- blocks and arrays


@pytest.mark.parametrize("parameters", [{}, {"corruption": fastvae.corruption.MaskingNoise(0.3)}, {"clip_norm": 0.1}])
def test_an_epoch_in_blocks_has_the_bits_of_the_same_rows_in_memory(parameters: Any, small_blocks: None) -> None:
    order = numbers(parts(blocks(X, 320), 32))
    start = tiny(**parameters).fit(X).state_dict()
    in_blocks = tiny(warm_start=True, epochs=1, **parameters).load_state_dict(start).fit(Rows(X))
    in_memory = tiny(**parameters).load_state_dict(start).partial_fit(X[order])
    assert same(in_blocks, in_memory)
    assert steps(in_blocks) == 63
    for name in ("loss", "kl"):
        assert in_blocks.history_[name] == pytest.approx(in_memory.history_[name], rel=1e-12)


@pytest.mark.filterwarnings("ignore:precision='bf16' saves no time here")
def test_a_changed_precision_takes_effect(small_blocks: None) -> None:
    order, start = numbers(parts(blocks(X, 320), 32)), tiny().fit(X).state_dict()
    in_blocks, in_memory, rounded_not = (
        tiny(warm_start=True, epochs=1).load_state_dict(start).set_params(precision=precision)
        for precision in ("bf16", "bf16", "float32")
    )
    assert same(in_blocks.fit(Rows(X)), in_memory.partial_fit(X[order]))
    assert not same(in_blocks, rounded_not.fit(Rows(X)))


@pytest.mark.parametrize("likelihood", [{}, {"binarize": "bernoulli"}])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_of_partial_fit_has_the_bits_of_the_array(likelihood: Any, weighted: bool, small_blocks: None) -> None:
    grey = RNG.random((N, D)).astype(np.float32)
    weights = RNG.integers(1, 3, N).astype(float) if weighted else None
    start = tiny(**likelihood).fit(grey).state_dict()
    models = [
        tiny(**likelihood).load_state_dict(start).partial_fit(data, sample_weight=weights)
        for data in (grey, Rows(grey))
    ]
    assert same(*models)


def test_a_schedule_goes_through_the_blocks(small_blocks: None) -> None:
    order = numbers(parts(blocks(X, 320), 32))
    beta = fastvae.schedules.linear(0, 1, steps=60)
    rate = fastvae.schedules.cosine(1e-2, 1e-4, epochs=1)
    start = tiny().fit(X).state_dict()
    in_blocks = tiny(warm_start=True, epochs=1, beta=beta, learning_rate=rate).load_state_dict(start).fit(Rows(X))
    in_memory = tiny(beta=beta, learning_rate=rate).load_state_dict(start).partial_fit(X[order])
    assert same(in_blocks, in_memory)
    assert in_blocks._fitted is not None
    assert in_memory._fitted is not None
    assert in_blocks._fitted.position == in_memory._fitted.position


def test_one_block_is_the_array(small_blocks: None) -> None:
    few = X[:300]
    assert same(tiny().fit(few), tiny().fit(few, steps_per_epoch=1000))


def test_threads_do_not_change_bits_and_seeds_do(small_blocks: None) -> None:
    models = [tiny(n_jobs=jobs).fit(Rows(X)) for jobs in (1, 2, None)]
    assert same(models[0], models[1])
    assert same(models[0], models[2])
    assert not same(models[0], tiny(random_state=1).fit(Rows(X)))
    order = numbers(parts(blocks(X, 320), 32))
    assert not same(models[0], tiny().fit(X[order]))


@pytest.mark.parametrize("kind", ["h5py", "zarr", "dask", "npy", "parquet", "memmap"])
def test_all_sources_of_the_same_units_have_the_same_bits(kind: str, tmp_path: Path, small_blocks: None) -> None:
    data: Any
    if kind == "h5py":
        data = pytest.importorskip("h5py").File(tmp_path / "x.h5", "w").create_dataset("x", data=X, chunks=(10, D))
    elif kind == "zarr":
        data = pytest.importorskip("zarr", minversion="3").create_array(
            tmp_path / "z", shape=X.shape, chunks=(10, D), dtype="f4"
        )
        data[:] = X
    elif kind == "dask":
        data = pytest.importorskip("dask.array").from_array(X, chunks=(10, D))
    elif kind == "npy":
        np.save(tmp_path / "0.npy", X[:1000])
        np.save(tmp_path / "1.npy", X[1000:])
        data = [tmp_path / "0.npy", tmp_path / "1.npy"]
    elif kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pa.table({f"c{i}": X[:, i] for i in range(D)})
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
        data = [tmp_path / "x.parquet"]
    else:
        X.tofile(tmp_path / "x.bin")
        data = np.memmap(tmp_path / "x.bin", np.float32, "r", shape=X.shape)
    model = tiny().fit(data)
    # Each file of the list is a unit of its own where no smaller one is known.
    wanted = tiny().fit(Rows(X))
    assert same(model, wanted) == (kind != "npy" or open_source(data).edges is None)  # type: ignore[union-attr]
    if kind == "parquet":
        assert list(model.feature_names_in_) == [f"c{i}" for i in range(D)]


def test_labels_and_covariates_go_with_their_rows(small_blocks: None) -> None:
    order = numbers(parts(blocks(X, 320), 32))
    for y in (RNG.integers(0, 3, N), np.array(list("abc"))[RNG.integers(0, 3, N)], RNG.normal(size=(N, 2))):
        start = tiny(conditional=True).fit(X, y)
        in_blocks, in_memory = (VAE(**tiny(conditional=True).get_params()) for _ in range(2))
        for model in (in_blocks, in_memory):
            model.__setstate__(start.__getstate__())
        in_blocks.set_params(warm_start=True, epochs=1)
        position = start.n_iter_
        order = numbers(parts(blocks(X, 320), 32, epoch=position))
        assert same(in_blocks.fit(Rows(X), y), in_memory.partial_fit(X[order], y[order]))


def test_a_new_conditional_fit_takes_the_classes_from_all_of_y(small_blocks: None) -> None:
    y = np.zeros(N, int)
    y[777] = 9
    model = tiny(conditional=True).fit(Rows(X), y)
    assert model.classes_.tolist() == [0, 9]
    assert is_finite(model)
    with pytest.raises(ValueError, match=r"y has shape \(3,\), but there are 2000 examples"):
        tiny(conditional=True).fit(Rows(X), y[:3])
    with pytest.raises(ValueError, match="pass y=: a conditional model"):
        tiny(conditional=True).fit(Rows(X))


def test_grey_values_stay_bytes_and_are_divided(small_blocks: None) -> None:
    grey = RNG.integers(0, 256, (8000, D)).astype(np.uint8)
    model = tiny().fit(Rows(grey))
    assert model.input_scale_ == 255
    order = numbers(parts(blocks(grey, 320 * 4), 32))
    start = tiny().fit(grey).state_dict()
    again = [
        tiny(warm_start=True, epochs=1).load_state_dict(start).fit(Rows(rows))
        for rows in (grey, grey / np.float32(255))
    ]
    in_memory = tiny().load_state_dict(start).partial_fit(grey[order])
    assert same(again[0], in_memory)
    assert is_finite(again[1])


def test_images_have_all_axes(small_blocks: None) -> None:
    images = RNG.integers(0, 256, (1000, 3, 4, 2)).astype(np.uint8)  # channels last
    layers = [fastvae.layers.Conv2d(4, 3, padding=1)]
    model = VAE(2, hidden=layers, image_shape=(3, 4, 2), epochs=1, random_state=0).fit(Rows(images))
    assert model.reconstruct(images[:2]).shape == (2, 3, 4, 2)
    assert is_finite(model)


def test_other_models_read_blocks_too(tmp_path: Path, small_blocks: None) -> None:
    assert is_finite(Autoencoder(2, hidden=(8,), epochs=1, random_state=0).fit(Rows(X)))
    scipy_sparse = pytest.importorskip("scipy.sparse")
    counts = RNG.poisson(0.4, (N, D)).astype(np.float32)
    for i in range(4):
        scipy_sparse.save_npz(tmp_path / f"{i}.npz", scipy_sparse.csr_matrix(counts[i * 500 : i * 500 + 500]))
    files = [tmp_path / f"{i}.npz" for i in range(4)]
    model = CountVAE(2, hidden=(8,), epochs=3, random_state=0).fit(files, validation_data=files)
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    assert is_finite(model)
    with pytest.raises(ValueError, match="size_factor= needs an X in memory"):
        CountVAE(2, size_factor="given").fit(files, size_factor=np.ones(N))


# --------------------------------------------------------------------------- what a fit does beside its steps


def test_whole_chunks_are_held_out_and_scored_in_each_epoch(small_blocks: None) -> None:
    seen: set[int] = set()
    trained: list[int] = []

    def note(start: int, stop: int) -> None:
        seen.add(start)

    model = tiny(validation_fraction=0.25, epochs=3).fit(Rows(X, note))
    assert len(seen) == 200  # all chunks: the held-out ones are scored
    assert steps(model) == 3 * -(-1500 // 32)
    assert len(model.history_["val_loss"]) == 3
    stream = blocks(X, 320)
    from fastvae._data.streams import chunks

    rest, held = chunks.held_out(stream.n_chunks, 0.25, 0, "X")
    rows = np.concatenate([np.arange(10 * chunk, 10 * chunk + 10) for chunk in held])
    assert len(rows) == 500
    assert not set(rest) & set(held)
    assert not trained
    wanted = model.evaluate(X[rows])["loss"]
    assert model.history_["val_loss"][-1] == pytest.approx(wanted, rel=1e-5)


def test_validation_data_may_be_a_source(small_blocks: None) -> None:
    held_out = (RNG.random((1000, D)) < 0.5).astype(np.float32)
    fits = [tiny().fit(Rows(X), validation_data=data) for data in (held_out, Rows(held_out), (Rows(held_out), None))]
    for name in ("val_loss", "val_kl"):
        assert fits[1].history_[name] == pytest.approx(fits[0].history_[name], rel=1e-5)
        assert fits[2].history_[name] == fits[1].history_[name]
    assert same(fits[0], fits[1])


def test_validation_data_of_an_array_may_be_files(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", X[:200])
    y = RNG.integers(0, 2, N)
    files = [tmp_path / "x.npy"]
    model = tiny(conditional=True).fit(X, y, validation_data=(files, y[:200]))
    wanted = tiny(conditional=True).fit(X, y, validation_data=(X[:200], y[:200]))
    assert model.history_ == wanted.history_
    monkeypatch.setattr(opening, "BLOCK_BYTES", 100)
    with pytest.raises(ValueError, match=r"validation_data is the file .*x\.npy', which is too large"):
        tiny().fit(X, validation_data=files)


def test_early_stopping_restores_the_best_weights(small_blocks: None) -> None:
    kept: list[dict[str, bytes]] = []
    model = tiny(
        epochs=30,
        early_stopping=True,
        n_iter_no_change=2,
        tol=5.0,
        callbacks=lambda model, logs: kept.append(bits(model)) or False,  # type: ignore[func-returns-value]
    )
    model.fit(Rows(X))
    losses = model.history_["val_loss"]
    assert len(losses) < 30
    assert bits(model) == kept[int(np.argmin(losses))]


def test_warm_start_goes_on_as_if_it_had_never_stopped(small_blocks: None, tmp_path: Path) -> None:
    whole = tiny(epochs=4).fit(Rows(X))
    half = tiny(epochs=2, warm_start=True).fit(Rows(X))
    half.save(tmp_path / "m")
    for model in (half, fastvae.load(tmp_path / "m")):
        assert same(model.fit(Rows(X)), whole)
        assert model.history_["loss"] == whole.history_["loss"]
        assert len(model.history_["data_wait"]) == 4


@pytest.mark.parametrize("limit", [None, 20])
def test_a_killed_fit_is_resumed(small_blocks: None, tmp_path: Path, limit: int | None) -> None:
    path = tmp_path / "checkpoint"
    whole = tiny(epochs=4, validation_fraction=0.2).fit(Rows(X), steps_per_epoch=limit)

    def stop(model: Any, logs: Any) -> None:
        if model.n_iter_ == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        tiny(epochs=4, validation_fraction=0.2, callbacks=stop).fit(
            Rows(X), steps_per_epoch=limit, checkpoint=path, checkpoint_every=1
        )
    with pytest.raises(ValueError, match="are not those of the fit that wrote"):
        fastvae.resume(path, Rows(1 - X), callbacks=lambda model, logs: None, steps_per_epoch=limit)
    with pytest.raises(ValueError, match="are not those of the fit that wrote"):
        fastvae.resume(path, Rows(X), callbacks=stop, steps_per_epoch=7)
    model = fastvae.resume(path, Rows(X), callbacks=stop, steps_per_epoch=limit) if limit == 0 else None
    contents = fastvae.load(path)
    assert contents.n_iter_ == 2
    assert model is None

    def quiet(model: Any, logs: Any) -> None:
        return None

    quiet.__qualname__ = stop.__qualname__  # the callback that the checkpoint names
    resumed = fastvae.resume(path, Rows(X), callbacks=quiet, steps_per_epoch=limit)
    assert same(resumed, whole)
    assert resumed.history_["val_loss"] == whole.history_["val_loss"]


def test_steps_per_epoch_ends_an_epoch_early_and_the_next_has_other_rows(small_blocks: None) -> None:
    seen: list[int] = []
    rows = Rows(X, lambda start, stop: seen.append(start))
    model = tiny(epochs=3)
    model.fit(rows, steps_per_epoch=5)
    assert steps(model) == 15
    first, second = (
        set(numbers(epoch)[:160].tolist()) for epoch in (parts(blocks(X, 320), 32, epoch=e) for e in (0, 1))
    )
    assert first != second
    assert len(seen) < 3 * 200  # most chunks are not read
    same_array = tiny(epochs=3).fit(X, steps_per_epoch=5)
    assert same(model, same_array)


def test_the_start_is_that_of_a_sample(small_blocks: None) -> None:
    shifted = (X * 3 + 100).astype(np.float32)
    start = {"likelihood": "gaussian", "learning_rate": 1e-30, "optimizer": "sgd", "epochs": 1}
    model = tiny(**start).fit(Rows(shifted))
    shift, scale = (model.state_dict()[f"standardize.{name}"] for name in ("shift", "scale"))
    np.testing.assert_allclose(shift, shifted.mean(0), atol=1.0)
    np.testing.assert_allclose(scale, shifted.std(0), rtol=0.3)
    exact = tiny(**start).fit(shifted[np.concatenate([np.arange(r, r + 10) for r in SAMPLED])])
    np.testing.assert_allclose(shift, exact.state_dict()["standardize.shift"], rtol=1e-6)


SAMPLED = [10 * round(float(chunk)) for chunk in np.linspace(0, 199, 16)]


# ---------------------------------------------------------------------------------------- what goes wrong


def test_a_source_that_raises_ends_training_with_the_last_weights_and_its_name(small_blocks: None) -> None:
    calls: list[int] = []

    def fails(start: int, stop: int) -> None:
        calls.append(start)
        if len(calls) > 16 + 16 + 200 + 100:
            raise OSError("the disk is gone")

    model = tiny(epochs=5)
    with pytest.raises(RuntimeError, match=r"rows \d+ to \d+ of the test_out_of_core.Rows could not be read: OSError"):
        model.fit(Rows(X, fails))
    assert model.n_iter_ == 1
    assert steps(model) > 63
    assert model.interrupted_ is False
    assert is_finite(model)
    expected = numbers(parts(blocks(X, 320), 32, epoch=1))[: 32 * (steps(model) - 63)]
    again = tiny(epochs=1).fit(Rows(X))
    assert same(again.partial_fit(X[expected]), model)
    assert model.fit(X).n_iter_ == 5


def test_a_bad_value_is_named_by_its_place_in_the_source(small_blocks: None) -> None:
    bad = X.copy()
    bad[1234, 3] = 7
    model = tiny()
    with pytest.raises(ValueError, match=r"X\[1230:1240\]\[4, 3\] is 7") as raised:
        model.fit(Rows(bad))
    start, row, column = 1230, 4, 3
    assert bad[start:1240][row, column] == 7
    assert "0 to 1" in str(raised.value) or "[0, 1]" in str(raised.value)
    assert not hasattr(model, "n_iter_") or is_finite(model)


def test_divergence_names_the_row_in_the_source(small_blocks: None) -> None:
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    model = tiny(likelihood="gaussian", epochs=1).fit(rows)
    rows[1234, 3] = 1e14
    with pytest.raises(FloatingPointError, match=r"batch 39 of 63.*X\[1234, 3\] = 1e14"):
        model.partial_fit(Rows(rows))
    assert 1234 // 32 == 38
    assert is_finite(model)


def test_a_slow_source_shows_who_waits(small_blocks: None) -> None:
    pause = 0.01
    slow = tiny(epochs=2).fit(Rows(X, lambda start, stop: time.sleep(pause)))
    assert min(slow.history_["data_wait"]) > 30 * pause  # at least the chunks of the first block
    assert sum(slow.history_["data_wait"]) < slow.elapsed_
    assert "data_wait" not in tiny().fit(X).history_


def test_a_wait_of_most_of_the_time_is_a_warning(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastvae._estimators import streamed

    monkeypatch.setattr(streamed, "_SECONDS", 0.01)
    with pytest.warns(UserWarning, match=r"Training waited for the .*Rows \d+% of its time .*faster disk"):
        tiny(epochs=1).fit(Rows(X, lambda start, stop: time.sleep(0.01)))


def test_the_progress_line_tells_the_wait(small_blocks: None, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(progress=True).fit(Rows(X))
    assert "waited 0." in capsys.readouterr().err


@needs_signals
def test_ctrl_c_works_while_training_waits_for_a_slow_source(small_blocks: None) -> None:
    asked, free = threading.Event(), threading.Event()
    calls: list[int] = []

    def slow(start: int, stop: int) -> None:
        calls.append(start)
        if len(calls) > 16 + 16 + 64:
            asked.set()
            free.wait(30)

    def press() -> None:
        asked.wait(30)
        time.sleep(0.2)  # the blocks before are trained meanwhile
        signal.raise_signal(signal.SIGINT)

    model = tiny(epochs=1)
    thread = threading.Thread(target=press)
    thread.start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        model.fit(Rows(X, slow))
    assert time.perf_counter() - begin < 20
    free.set()
    thread.join()
    assert model.interrupted_ is True
    assert model.n_iter_ == 0
    assert steps(model) > 0
    assert is_finite(model)


def test_no_thread_reads_after_a_fit(small_blocks: None) -> None:
    def readers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "fastvae reader"]

    tiny().fit(Rows(X))
    assert not readers()

    def stop(model: Any, logs: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny(callbacks=stop).fit(Rows(X))
    assert not readers()


def test_what_needs_all_rows_at_once_says_so(tmp_path: Path, small_blocks: None) -> None:
    np.save(tmp_path / "x.npy", X)
    files = [tmp_path / "x.npy"]
    for model in (fastvae.TopicModel(2), fastvae.Recommender(2), fastvae.ItemResponse()):
        with pytest.raises(ValueError, match=r"computes with all rows of X at once, so it cannot read the file"):
            model.fit(files)
    with pytest.raises(ValueError, match="a TopicModel computes with all rows of X at once, so it cannot read batches"):
        fastvae.TopicModel(2).fit(Loader())
    with pytest.raises(ValueError, match="condition_columns are taken from an X in memory"):
        tiny(conditional=True, condition_columns=[0]).fit(files)
    with pytest.raises(ValueError, match=r"leave out eps= and corrupted="):
        tiny().partial_fit(files, eps=np.zeros((N, 2)))
    with pytest.raises(ValueError, match=r"X is a list in memory: leave it out"):
        tiny().fit(X.tolist(), steps_per_epoch=3)
    with pytest.raises(ValueError, match="steps_per_epoch=0 must be an integer"):
        tiny().fit(X, steps_per_epoch=0)
    with pytest.raises(ValueError, match=r"expecting 6 features"):
        tiny().fit(X).partial_fit(Rows(np.zeros((N, 7), np.float32)))
    one = open_source(Rows(X))
    assert one is not None
    one.edges = np.array([0, N])
    with pytest.raises(ValueError, match=r"has 1 .*: change it, or pass validation_data"):
        tiny(validation_fraction=0.1).fit(one)


# ----------------------------------------------------------------------------------------------------- batches


class Loader:
    """Batches in a fixed order, again and again."""

    def __init__(self, size: int = 50, y: NDArray[Any] | None = None, fails: int | None = None) -> None:
        self._size, self._y, self._fails = size, y, fails

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, N, self._size):
            if self._fails == start:
                raise KeyError("record 7")
            rows = slice(start, start + self._size)
            yield X[rows] if self._y is None else (X[rows], self._y[rows])

    def __len__(self) -> int:
        return -(-N // self._size)


def forever() -> Iterator[NDArray[np.float32]]:
    while True:
        yield from Loader(64)


def test_each_batch_is_a_step_in_its_order() -> None:
    model = tiny(epochs=2, batch_size=999).fit(Loader(64))
    assert steps(model) == 2 * 32
    start = tiny().fit(X).state_dict()
    streamed = tiny(warm_start=True, epochs=1).load_state_dict(start).fit(Loader(64))
    assert same(streamed, tiny(batch_size=64).load_state_dict(start).partial_fit(X))
    assert streamed.history_["loss"][0] > 0


def test_an_iterator_goes_on_in_the_next_epoch() -> None:
    start = tiny().fit(X).state_dict()
    model = tiny(warm_start=True, epochs=4).load_state_dict(start).fit(forever(), steps_per_epoch=8)
    expected = tiny(batch_size=64).load_state_dict(start)
    for first in range(0, 2048, 512):
        expected.partial_fit(X[first : first + 512])
    assert same(model, expected)
    loader = tiny(warm_start=True, epochs=4).load_state_dict(start).fit(Loader(64), steps_per_epoch=8)
    assert same(loader, expected)


def test_an_endless_iterator_of_batches_is_refused_at_once() -> None:
    pairs = ((batch, np.arange(len(batch))) for batch in forever())
    for call in (tiny().fit, tiny().partial_fit):
        for batches in (forever(), pairs):
            with pytest.raises(ValueError, match=r"X is an iterator of batches.*steps_per_epoch=.*partial_fit"):
                call(batches)


def test_an_iterator_of_rows_is_the_array() -> None:
    assert same(tiny().fit(iter(X)), tiny().fit(X))
    images = X[:400].reshape(-1, 2, 3)
    parameters = {"image_shape": (2, 3, 1), "hidden": (4,), "epochs": 1}
    for rows in (images, images[..., None]):
        assert same(tiny(**parameters).fit(iter(rows)), tiny(**parameters).fit(images))


def test_a_partial_fit_to_batches() -> None:
    start = tiny().fit(X).state_dict()
    model = tiny().load_state_dict(start).partial_fit(Loader(64))
    assert same(model, tiny(batch_size=64).load_state_dict(start).partial_fit(X))


def test_batches_with_y() -> None:
    y = RNG.integers(0, 3, N)
    model = tiny(conditional=True).fit(Loader(50, y))
    assert model.classes_.tolist() == [0, 1, 2]
    assert is_finite(model)
    with pytest.raises(ValueError, match=r"pass y=|has no y"):
        tiny(conditional=True).fit(Loader(50))
    plain = tiny().fit(Loader(50, y))
    assert same(plain, tiny().fit(Loader(50)))


def test_batches_without_a_length_are_counted() -> None:
    class Unknown:
        def __iter__(self) -> Iterator[Any]:
            return iter(Loader(64))

    assert same(tiny().fit(Unknown()), tiny().fit(Loader(64)))


def test_an_iterator_that_ends_ends_training_with_a_warning() -> None:
    model = tiny(epochs=5)
    with pytest.warns(UserWarning, match="The generator ended before the last epoch: pass one that starts anew"):
        model.fit((batch for batch in Loader(50)), steps_per_epoch=30)
    assert model.n_iter_ == 2
    assert steps(model) == 40
    assert all(np.isfinite(values).all() for values in model.history_.values())
    exact = tiny(epochs=2).fit((batch for batch in Loader(50)), steps_per_epoch=20)  # no warning: it is not missed
    assert steps(exact) == 40


def test_batches_that_fail_are_named_and_counted() -> None:
    model = tiny(epochs=5)
    with pytest.raises(RuntimeError, match=r"batch 11 of the Loader could not be read: KeyError: 'record 7'"):
        model.fit(Loader(50, fails=500))
    loader = Loader(10, fails=1500)
    with pytest.raises(RuntimeError, match=r"batch 151 of the Loader"):
        model.fit(loader, steps_per_epoch=100)
    assert model.n_iter_ == 1
    assert steps(model) == 150
    assert is_finite(model)

    def wrong() -> Iterator[Any]:
        yield from list(Loader(500))
        yield X[:4, :2]

    with pytest.raises(ValueError, match=r"batch 5 of X has rows of shape \(2,\), and batch 1 of \(6,\)"):
        tiny().fit(wrong(), steps_per_epoch=5)
    late = [*[*Loader(500), *Loader(500), *Loader(500)][:9], X[:4, :2]]
    with pytest.raises(ValueError, match=r"batch 10 of X has 2 features, but VAE is expecting 6"):
        tiny().fit(iter(late), steps_per_epoch=10)
    with pytest.raises(ValueError, match=r"batch 3 of X\[0, 0\] is 7|the first batches of X"):
        tiny().fit(iter([X[:3000], X[:9], np.full((2, D), 7.0)]), steps_per_epoch=3)


def test_what_batches_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold out rows of X, which batches do not allow: pass validation_data"):
        tiny(validation_fraction=0.1).fit(Loader())
    with pytest.raises(ValueError, match="checkpoint= needs rows that can be read again"):
        tiny().fit(Loader(), checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="leave out y= and sample_weight="):
        tiny(conditional=True).fit(Loader(), np.zeros(N))
    for bad in (iter([3, 4]), iter([X[0]])):
        with pytest.raises(ValueError, match=r"batch 1 of X has shape \(.*\); expected \[n, n_features\]"):
            tiny().fit(bad, steps_per_epoch=2)
    with pytest.raises(ValueError, match="the Empty returns no batches"):
        tiny().fit(Empty())
    with pytest.raises(ValueError, match="the generator returns no batches"):
        tiny().fit((batch for batch in ()), steps_per_epoch=3)
    model = tiny(early_stopping=True).fit(Loader(), validation_data=X[:100])
    assert len(model.history_["val_loss"]) == 2


class Empty:
    """No batches."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def test_an_iterator_of_rows_is_still_an_array() -> None:
    assert same(tiny().fit(iter(X)), tiny().fit(X))


@pytest.mark.torch
def test_a_data_loader_of_torch() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X))
    model = tiny().fit(torch.utils.data.DataLoader(data, batch_size=50))
    assert same(model, tiny().fit(Loader(50)))


# -------------------------------------------------------------------------------------------------- reading ahead


def test_items_come_in_order_and_at_most_two_live() -> None:
    class Item:
        def __init__(self, number: int) -> None:
            self.number = number

    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    most = 0  # without a garbage collection: nothing refers to itself

    def items() -> Iterator[Item]:
        nonlocal most
        for i in range(20):
            item = Item(i)
            alive.add(item)
            most = max(most, len(alive))
            yield item
            del item

    found = []
    with ReadAhead(items()) as reader:
        for item in reader:
            found.append(item.number)
            time.sleep(0.005)
            del item
    assert found == list(range(20))
    assert most == 2
    assert next(iter(reader), None) is None


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("third")

    found = []
    with pytest.raises(LookupError, match="third"), ReadAhead(items()) as reader:
        found.extend(iter(reader))
    with ReadAhead(items(), 5) as reader:
        found += [next(reader), next(reader)]
    assert found == [1, 2, 1, 2]


# --------------------------------------------------------------------------------------------------------- memory


def test_forty_gigabytes_are_trained_in_less_than_500_megabytes(tmp_path: Path) -> None:
    code = f"""
import json, resource, warnings, numpy as np, fastvae
warnings.simplefilter("ignore")  # of a wait, on a slow machine
rows = 40 * 2**30 // 784
with open({str(tmp_path / "x.bin")!r}, "wb") as file:
    file.truncate(rows * 784)
X = np.memmap({str(tmp_path / "x.bin")!r}, np.uint8, "r", shape=(rows, 784))
model = fastvae.VAE(2, hidden=(8,), epochs=2, batch_size=4096, random_state=0, n_jobs=1, beta=0.0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
model.fit(X, steps_per_epoch=40)
print(json.dumps([peak() - before, model.n_iter_, rows]))
"""
    pytest.importorskip("resource")
    more, epochs, rows = json.loads(run_python(code))
    print(f"{more:.0f} MB more")
    assert more < 500
    assert (epochs, rows) == (2, 54_782_746)


# Sources and iterators that are careless


class Slices:
    """Rows that can only be sliced; `read` returns the rows of a slice."""

    def __init__(self, rows: NDArray[Any], read: Any = None) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.reading = read or (lambda part: part)

    def __getitem__(self, part: slice) -> Any:
        return self.reading(self.rows[part])


def reusing() -> Any:
    """Return a function that returns rows in the same memory in each call."""
    memory = np.empty_like(X)

    def read(part: NDArray[np.float32]) -> NDArray[np.float32]:
        memory[: len(part)] = part
        return memory[: len(part)]

    return read


def test_a_source_may_return_the_same_memory_again(small_blocks: None) -> None:
    vae = tiny().fit(Slices(X, reusing()))
    assert same(vae, tiny().fit(Slices(X)))
    assert np.array_equal(vae.transform(Slices(X, reusing())), vae.transform(X))


def test_an_iterator_may_return_the_same_memory_again() -> None:
    def batches(read: Any) -> Iterator[NDArray[np.float32]]:
        return (read(X[start : start + 100]) for start in range(0, 1000, 100))

    reused = tiny().fit(batches(reusing()), steps_per_epoch=5)
    assert same(reused, tiny().fit(batches(np.array), steps_per_epoch=5))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("order", [1, -1])
def test_files_of_several_types_are_read_as_their_common_type(
    order: int, likelihood: str, tmp_path: Path, small_blocks: None
) -> None:
    parts = [X.astype(np.uint8), X * np.float32(0.75)][::order]
    paths = [str(tmp_path / f"{number}.npy") for number in range(2)]
    for path, part in zip(paths, parts, strict=True):
        np.save(path, part)
    together = np.concatenate(parts)
    vae = tiny(likelihood=likelihood).fit(paths)
    assert same(vae, tiny(likelihood=likelihood).fit(Slices(together)))
    assert np.array_equal(vae.score_samples(paths), vae.score_samples(together))


def test_rows_of_another_type_than_that_of_the_source(small_blocks: None) -> None:
    rows = X
    wide = tiny().fit(Slices(rows, lambda part: part.astype(np.uint8 if part[0, 0] else np.float64)))
    assert same(wide, tiny().fit(Slices(rows)))
    lying = Slices(rows.astype(np.uint8), lambda part: part / np.float32(2))
    with pytest.raises(SourceError, match=r"has dtype uint8, but rows .* have dtype float32: give it the dtype of its"):
        tiny().fit(lying)


def test_masked_rows_of_a_source_are_refused(small_blocks: None) -> None:
    with pytest.raises(SourceError, match=r"masked values: return rows.filled"):
        tiny().fit(Slices(X, lambda part: np.ma.MaskedArray(part, part > 0.5)))


def test_a_source_without_rows_is_named(small_blocks: None) -> None:
    with pytest.raises(ValueError, match=r"X is empty: it has 0 examples"):
        tiny().fit(X[:0], steps_per_epoch=2)


def test_a_refused_fit_leaves_the_precision(small_blocks: None) -> None:
    vae = tiny(warm_start=True).fit(X)
    codes = vae.transform(X)
    vae.set_params(precision="bf16")
    for wrong in (Slices(X * np.nan), X * np.nan):
        with pytest.raises(ValueError, match="NaN"):
            vae.fit(wrong)
        assert np.array_equal(vae.transform(X), codes)
    for data in (Slices(X), X):
        with pytest.raises(ValueError, match="features"):
            vae.fit(data, validation_data=X[:, :3])
        assert np.array_equal(vae.transform(X), codes)


def test_batches_of_frames_keep_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    columns = [f"c{i}" for i in range(X.shape[1])]
    frame = pandas.DataFrame(X[:100], columns=columns)
    vae = tiny().fit(iter([frame] * 10), steps_per_epoch=5)
    assert list(vae.feature_names_in_) == columns
    for before in (1, 60):
        with pytest.raises(ValueError, match="same order"):
            tiny(epochs=1).fit(iter([frame] * before + [frame[columns[::-1]]] * 10), steps_per_epoch=before + 1)


def test_batches_of_wrong_parts_are_named() -> None:
    def wrong(batch: Any, **parameters: Any) -> str:
        with pytest.raises((ValueError, RuntimeError)) as caught:
            tiny(**parameters).fit(iter([batch] * 4), steps_per_epoch=2)
        return str(caught.value)

    assert "it is a tuple of 3 parts: return X, or (X, y)" in wrong((X, X, X))
    assert "pass y=" in wrong((X, None), conditional=True)

    pairs = {
        "batch 2 of X has no y, and batch 1 has one": [(X[:4], [0, 1, 0, 1]), X[:4]],
        "batch 1 of X has 4 rows, and its y has shape ()": [(X[:4], 1)],
        "batch 2 of X has 4 rows, and its y has shape (3,)": [(X[:4], [0, 1, 0, 1]), (X[:4], [0, 1, 0])],
        "the y of batch 2 of X has rows of shape (3,)": [(X[:4], X[:4, :2]), (X[:4], X[:4, :3])],
    }
    for message, batches in pairs.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            tiny(conditional=True).fit(iter(batches), steps_per_epoch=2)

    class Fails:
        def __iter__(self) -> Any:
            raise OSError("no disk")

    with pytest.raises(SourceError, match="no disk"):
        tiny().fit(Fails())


def test_early_stopping_of_a_small_array_with_steps() -> None:
    vae = tiny(early_stopping=True, epochs=3).fit(X, steps_per_epoch=4)
    assert len(vae.history_["val_loss"]) == 3
    with pytest.raises(ValueError, match="steps_per_epoch= is for X that is read in blocks"):
        tiny().fit(np.array(3.0), steps_per_epoch=4)
