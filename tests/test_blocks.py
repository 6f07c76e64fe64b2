"""Inference on data that are read in blocks (memory maps, h5py, zarr, lists of files): the bits of rows in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae import VAE, Autoencoder, CountVAE, ItemResponse, TopicModel
from fastvae._data.sources import opening

SMALL: dict[str, Any] = {"epochs": 2, "random_state": 0, "progress": False}
N = 1000
generator = np.random.default_rng(0)
X = generator.random((N, 24), dtype=np.float32)
COUNTS = generator.poisson(3.0, (N, 24)).astype(np.float32)
MARKS = (X > 0.5).astype(np.float32)
LABELS = generator.choice(["a", "b", "c"], N)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 130 rows of 24 floats, so that small data fill several."""
    monkeypatch.setattr(opening, "BLOCK_BYTES", 130 * 24 * 4)


class Sliced:
    """What h5py and zarr have: shape, dtype and slices of rows."""

    def __init__(self, values: Any, fails_at: int | None = None) -> None:
        self._values, self.shape, self.dtype = values, values.shape, values.dtype
        self.slices: list[tuple[int, int]] = []
        self.threads: set[str] = set()
        self.fails_at = fails_at

    def __getitem__(self, rows: slice) -> Any:
        if self.fails_at is not None and rows.stop > self.fails_at:
            raise OSError("the disk is gone")
        self.slices.append((rows.start, rows.stop))
        self.threads.add(threading.current_thread().name)
        return self._values[rows]


def vae(**parameters: Any) -> VAE:
    return VAE(3, **(SMALL | {"hidden": (16,)} | parameters))


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return type(found) is type(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return found == expected
    found, expected = np.asarray(found), np.asarray(expected)
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "transform": lambda model, rows: model.transform(rows),
    "encode": lambda model, rows: model.encode(rows),
    "reconstruct": lambda model, rows: model.reconstruct(rows),
    "score_samples": lambda model, rows: model.score_samples(rows),
    "several draws": lambda model, rows: model.score_samples(rows, n_samples=3),
    "given noise": lambda model, rows: model.score_samples(rows, eps=X[:, :3]),
    "anomaly_score": lambda model, rows: model.anomaly_score(rows),
    "log_marginal": lambda model, rows: model.log_marginal(rows, 20),
    "posterior_sample": lambda model, rows: model.posterior_sample(rows, 4, random_state=3),
    "predictive": lambda model, rows: model.predictive(rows, 5, random_state=3),
    "evaluate": lambda model, rows: model.evaluate(rows),
    "evaluate with weights": lambda model, rows: model.evaluate(rows, sample_weight=X[:, 0], eps=X[:, :3]),
    "score": lambda model, rows: model.score(rows),
    "score with draws": lambda model, rows: model.score(rows, n_samples=2),
}


@pytest.mark.parametrize("call", CALLS)
def test_blocks_have_the_bits_of_the_rows_in_memory(call: str) -> None:
    model, source = vae(likelihood="gaussian").fit(X), Sliced(X)
    assert same(CALLS[call](model, source), CALLS[call](model, X))
    assert sorted(source.slices) == [(start, min(start + 130, N)) for start in range(0, N, 130)]


OBJECTIVES: dict[str, dict[str, Any]] = {
    "free bits": {"free_bits": 0.1},
    "importance": {"n_importance_samples": 3},
    "missing": {"missing": "mask"},
    "beta": {"beta": 0.5, "capacity": 1.0},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_mean_losses_of_blocks_are_those_of_all_rows(objective: str) -> None:
    rows = X.copy()
    if objective == "missing":
        rows[generator.random(rows.shape) < 0.2] = np.nan
    model = vae(likelihood="gaussian", **OBJECTIVES[objective]).fit(rows)
    for weights in (None, 1 + X[:, 0]):
        expected = model.evaluate(rows, sample_weight=weights)
        assert model.evaluate(Sliced(rows), sample_weight=weights) == expected
    assert model.score(Sliced(rows)) == model.score(rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda: Autoencoder(3, hidden=(16,), **SMALL), X),
        (lambda: Autoencoder(3, hidden=(16,), missing="mask", **SMALL), np.where(X < 0.1, np.float32(np.nan), X)),
        (lambda: TopicModel(3, hidden=(16,), **SMALL), COUNTS),
        (lambda: CountVAE(3, hidden=(16,), **SMALL), COUNTS),
        (lambda: ItemResponse(n_dims=2, **SMALL), MARKS),
        (lambda: ItemResponse(method="mml", **SMALL), MARKS),
        (lambda: vae(image_shape=(4, 6)), X.reshape(N, 4, 6)),
        (lambda: vae(image_shape=(4, 3, 2), channels="first"), X.reshape(N, 2, 4, 3)),
        (lambda: vae(), (X * 255).astype(np.uint8)),
        (lambda: vae(likelihood="gaussian"), (X * 9).astype(np.int16)),
    ],
    ids=["Autoencoder", "missing", "TopicModel", "CountVAE", "exam", "mml", "images", "channels", "uint8", "int16"],
)
def test_blocks_of_all_estimators_have_the_bits_of_the_rows_in_memory(make: Callable[[], Any], rows: Any) -> None:
    model = make().fit(rows)
    for method in ("transform", "reconstruct", "score_samples", "score", "evaluate"):
        assert same(getattr(model, method)(Sliced(rows)), getattr(model, method)(rows)), method
        if method in ("transform", "reconstruct", "score_samples"):
            expected = getattr(model, method)(rows)
            out = np.full(expected.shape, np.nan, np.float32)
            assert getattr(model, method)(Sliced(rows), out=out) is out
            assert same(out, expected), method
    codes = np.asarray(model.transform(rows))
    assert same(model.inverse_transform(Sliced(codes.repeat(4, 0))), model.inverse_transform(codes.repeat(4, 0)))


def test_arguments_with_a_row_for_each_row_are_cut_too() -> None:
    model = vae(conditional=True).fit(X, LABELS)
    for labels in (LABELS, LABELS.tolist()):
        assert same(model.transform(Sliced(X), y=labels), model.transform(X, y=LABELS))
    assert same(model.evaluate(Sliced(X), y=LABELS), model.evaluate(X, y=LABELS))
    with pytest.raises(ValueError, match="y must have 1000 rows, one for each row of X, not 999"):
        model.transform(Sliced(X), y=LABELS[:-1])
    with pytest.raises(ValueError, match="pass y=: this VAE is conditional"):
        model.transform(Sliced(X))
    sizes = COUNTS.sum(1)
    cells = CountVAE(3, hidden=(16,), size_factor="given", conditional=True, **SMALL).fit(
        COUNTS, LABELS, size_factor=sizes
    )
    for method in ("score_samples", "reconstruct", "evaluate", "score"):
        given, expected = (
            getattr(cells, method)(rows, y=LABELS, size_factor=sizes) for rows in (Sliced(COUNTS), COUNTS)
        )
        assert same(given, expected), method


@pytest.mark.parametrize("condition", ["b", LABELS])
def test_one_label_may_stand_for_all_codes(condition: Any) -> None:
    model = vae(conditional=True).fit(X, LABELS)
    many = np.tile(model.transform(X, y=LABELS), (8, 1))
    labels = condition if isinstance(condition, str) else np.tile(condition, 8)
    source = Sliced(many)
    assert same(model.inverse_transform(source, y=labels), model.inverse_transform(many, y=labels))
    assert len(source.slices) > 1


def test_memory_maps_and_lists_of_files(tmp_path: Path) -> None:
    model = vae().fit(X)
    np.save(tmp_path / "a.npy", X[:420])
    np.save(tmp_path / "b.npy", X[420:])
    for rows in (np.load(tmp_path / "a.npy", mmap_mode="r"), [tmp_path / "a.npy"]):
        assert same(model.transform(rows), model.transform(X[:420]))
    both = [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    assert same(model.score_samples(both), model.score_samples(X))
    assert model.evaluate(both) == model.evaluate(X)
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=X.shape)
    assert model.reconstruct(both, out=out) is out
    assert same(np.fromfile(tmp_path / "out", np.float32).reshape(X.shape), model.reconstruct(X))
    own = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    own[...] = X
    again = np.memmap(tmp_path / "x", np.float32, "r+", shape=X.shape)
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.reconstruct(own, out=again)
    assert same(np.array(own), X)


def test_small_data_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    model, source = vae().fit(X), Sliced(X)
    assert same(model.transform(source), model.transform(X))
    assert source.slices == [(0, N)]
    np.save(tmp_path / "x.npy", X)
    for rows in ([tmp_path / "x.npy"], Sliced(X)):
        assert model.score(rows) == model.score(X)
        assert same(model.score_samples(rows), model.score_samples(X))


def test_shards_of_sparse_rows(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    sparse = COUNTS * (COUNTS > 3)
    model = TopicModel(3, hidden=(16,), **SMALL).fit(sparse)
    paths = []
    for start in range(0, N, 300):
        paths.append(tmp_path / f"{start}.npz")
        scipy.save_npz(paths[-1], scipy.csr_matrix(sparse[start : start + 300]))
    for method in ("transform", "score_samples"):
        assert same(getattr(model, method)(paths), getattr(model, method)(sparse))


def test_h5py_and_zarr(tmp_path: Path) -> None:
    model = vae().fit(X)
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for chunks in (None, (100, 24), (400, 7)):
            rows = file.create_dataset(f"x{chunks}", data=X, chunks=chunks)
            assert same(model.transform(rows), model.transform(X))
            assert same(model.posterior_sample(rows, 2, 0), model.posterior_sample(X, 2, 0))
    zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed")
    rows = zarr.create_array(store=str(tmp_path / "x.zarr"), shape=X.shape, chunks=(90, 24), dtype="f4")
    rows[...] = X
    assert same(model.transform(rows), model.transform(X))


def test_parquet_has_names(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    import pyarrow

    frame = pandas.DataFrame(X, columns=[f"c{i}" for i in range(24)])
    parquet.write_table(pyarrow.Table.from_pandas(frame), tmp_path / "x.parquet", row_group_size=128)
    model = vae().fit(frame)
    assert same(model.transform([tmp_path / "x.parquet"]), model.transform(frame))
    other = vae().fit(frame.iloc[:, ::-1])
    with pytest.raises(ValueError, match="feature names"):
        other.transform([tmp_path / "x.parquet"])
    with pytest.warns(UserWarning, match="X does not have valid feature names") as caught:
        model.transform(Sliced(X))
    assert len(caught) == 1  # not once a block


def test_set_output_gives_a_frame() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    model = vae().fit(X).set_output(transform="pandas")
    found = model.transform(Sliced(X))
    assert isinstance(found, pandas.DataFrame)
    assert same(found.to_numpy(), model.transform(X).to_numpy())


def test_the_next_block_is_read_by_another_thread() -> None:
    source = Sliced(X)
    vae().fit(X).transform(source)
    assert source.threads
    assert threading.current_thread().name not in source.threads
    assert not any("fastvae reader" in thread.name for thread in threading.enumerate())


def test_whole_units_of_a_source_are_read() -> None:
    source = Sliced(X)
    source.chunks = (48, 24)  # type: ignore[attr-defined]
    model = vae().fit(X)
    assert same(model.transform(source), model.transform(X))
    assert [stop - start for start, stop in sorted(source.slices)][:-1] == [96] * 10  # two chunks of 48 fit 130 rows
    source = Sliced(X)
    source.chunks = (400, 24)  # type: ignore[attr-defined]
    model.transform(source)
    assert sorted(source.slices) == [(0, 400), (400, 800), (800, 1000)]


def test_errors_name_the_rows() -> None:
    model = vae().fit(X)
    with pytest.raises(RuntimeError, match=r"rows 390 to 520 of the .* could not be read: OSError: the disk is gone"):
        model.transform(Sliced(X, fails_at=500))
    bad = X.copy()
    bad[500, 2] = np.inf
    with pytest.raises(ValueError, match=r"in rows 390 to 520 of the .*: X\[110, 2\] is inf"):
        model.transform(Sliced(bad))
    with pytest.raises(ValueError, match="X has 23 features, but VAE is expecting 24"):
        model.transform(Sliced(X[:, 1:]))
    with pytest.raises(ValueError, match=r"out has shape \(999, 3\), but the result has 1000 rows"):
        model.transform(Sliced(X), out=np.empty((999, 3), np.float32))
    with pytest.raises(ValueError, match=r"out has shape \(130, 2\), but the result has shape \(130, 3\)"):
        model.transform(Sliced(X), out=np.empty((N, 2), np.float32))
    with pytest.raises(ValueError, match=r"^out has dtype float64, but the result has float32"):
        model.transform(Sliced(X), out=np.empty((N, 3)))
    with pytest.raises(TypeError, match="out is a list"):
        model.transform(Sliced(X), out=[])
    with pytest.raises(fastvae.NotFittedError):
        vae().transform(Sliced(X))


def test_seeds_are_drawn_once() -> None:
    model = vae().fit(X)
    expected = model.posterior_sample(X, 2, np.random.default_rng(5))
    assert same(model.posterior_sample(Sliced(X), 2, np.random.default_rng(5)), expected)
    fresh = model.set_params(random_state=None).posterior_sample(Sliced(np.zeros_like(X)), 1)[0]
    assert len(np.unique(fresh[:, 0])) > 900  # noise of the second block is not that of the first one
