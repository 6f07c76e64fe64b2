"""Adapters: the rows of every kind of source are those of the array that was written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastvae import VAE
from fastvae._data.sources.opening import named, open_source
from fastvae._data.sources.source import SourceError, read

X = np.random.default_rng(0).random((1000, 7)).astype(np.float32)
SPARSE = X * (X > 0.6)


def dense(rows: Any) -> NDArray[Any]:
    """The rows as an array; they may have the arrays of CSR."""
    if isinstance(rows, np.ndarray):
        return rows
    found = np.zeros(rows.shape, np.float32)
    for i in range(rows.shape[0]):
        part = slice(rows.indptr[i], rows.indptr[i + 1])
        found[i, rows.indices[part]] = rows.data[part]
    return found


def save_csr(path: Path, rows: NDArray[np.float32]) -> None:
    """Write what ``scipy.sparse.save_npz`` writes."""
    places = np.nonzero(rows)
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))]).astype(np.int32)
    np.savez(
        path, data=rows[places], indices=places[1].astype(np.int32), indptr=indptr, shape=rows.shape, format=b"csr"
    )


def memory_map(folder: Path) -> Any:
    found = np.memmap(folder / "x.bin", np.float32, "w+", shape=X.shape)
    found[:] = X
    return found


def private_map(folder: Path) -> Any:
    X.tofile(folder / "x.bin")
    return np.memmap(folder / "x.bin", np.float32, "c", shape=X.shape)


def part_of_a_map(folder: Path) -> Any:
    np.concatenate([X[:13], X]).tofile(folder / "x.bin")
    return np.memmap(folder / "x.bin", np.float32, "r", shape=(1013, 7))[13:]


def columns_of_a_map(folder: Path) -> Any:
    np.concatenate([X, X], axis=1).tofile(folder / "x.bin")
    return np.memmap(folder / "x.bin", np.float32, "r", shape=(1000, 14))[:, 7:]


def npy_files(folder: Path) -> Any:
    for i, rows in enumerate((X[:300], X[300:300], X[300:])):
        np.save(folder / f"{i}.npy", rows)
    return [str(folder / f"{i}.npy") for i in range(3)]


def h5py_chunked(folder: Path) -> Any:
    file = pytest.importorskip("h5py").File(folder / "x.h5", "w")
    return file.create_dataset("x", data=X, chunks=(64, 3), compression="gzip")


def h5py_contiguous(folder: Path) -> Any:
    return pytest.importorskip("h5py").File(folder / "x.h5", "w").create_dataset("x", data=X)


def zarr_array(folder: Path) -> Any:
    found = pytest.importorskip("zarr", minversion="3").create_array(
        folder / "x.zarr", shape=X.shape, chunks=(100, 7), dtype="f4"
    )
    found[:] = X
    return found


def zarr_shards(folder: Path) -> Any:
    zarr = pytest.importorskip("zarr", minversion="3")
    found = zarr.create_array(folder / "x.zarr", shape=X.shape, chunks=(50, 7), shards=(200, 7), dtype="f4")
    found[:] = X
    return found


def dask_array(folder: Path) -> Any:
    return pytest.importorskip("dask.array").from_array(X, chunks=((123, 400, 477), 3))


def frame(rows: NDArray[Any]) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})


def parquet(folder: Path) -> Any:
    frame(X)
    from pyarrow import parquet as pq

    pq.write_table(frame(X[:500]), folder / "0.parquet", row_group_size=120)
    pq.write_table(frame(X[500:]), folder / "1.parquet", row_group_size=300)
    return [folder / "0.parquet", folder / "1.parquet"]


def parquet_file(folder: Path) -> Any:
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(frame(X), folder / "x.parquet", row_group_size=120)
    return pq.ParquetFile(folder / "x.parquet")


def parquet_of_lists(folder: Path) -> Any:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 7)
    pq.write_table(pa.table({"x": column}), folder / "x.parquet", row_group_size=128)
    return [folder / "x.parquet"]


DENSE = [
    memory_map,
    private_map,
    part_of_a_map,
    columns_of_a_map,
    npy_files,
    h5py_chunked,
    h5py_contiguous,
    zarr_array,
    zarr_shards,
    dask_array,
    parquet,
    parquet_file,
    parquet_of_lists,
]
EDGES = {
    "h5py_chunked": [*range(0, 1000, 64), 1000],
    "zarr_array": [*range(0, 1001, 100)],
    "zarr_shards": [*range(0, 1001, 200)],
    "dask_array": [0, 123, 523, 1000],
    "parquet": [0, 120, 240, 360, 480, 500, 800, 1000],
    "parquet_file": [*range(0, 1000, 120), 1000],
    "parquet_of_lists": [*range(0, 1000, 128), 1000],
}


@pytest.mark.parametrize("make", DENSE)
def test_rows_are_those_that_were_written_and_units_those_of_the_file(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    source = open_source(make(tmp_path))
    assert source is not None
    assert (source.n_rows, source.n_features, source.dtype, source.row_bytes) == (1000, 7, np.float32, 28)
    for start, stop in ((0, 1000), (3, 4), (120, 777), (499, 501), (999, 1000)):
        rows = read(source, start, stop)
        assert isinstance(rows, np.ndarray)
        np.testing.assert_array_equal(rows, X[start:stop])
    wanted = EDGES.get(make.__name__)
    assert (source.edges is None) == (wanted is None)
    assert wanted is None or source.edges is None or source.edges.tolist() == wanted


def test_shards_of_a_sparse_matrix(tmp_path: Path) -> None:
    for i, rows in enumerate((SPARSE[:400], SPARSE[400:])):
        save_csr(tmp_path / f"{i}.npz", rows)
    source = open_source([tmp_path / "0.npz", tmp_path / "1.npz"])
    assert source is not None
    assert source.edges is not None
    assert source.sparse
    assert source.edges.tolist() == [0, 400, 1000]
    for start, stop in ((0, 1000), (3, 4), (120, 777), (399, 401)):
        np.testing.assert_array_equal(dense(read(source, start, stop)), SPARSE[start:stop])
    assert 8 < source.row_bytes < 8 + 7 * 8


def test_shards_are_what_scipy_writes(tmp_path: Path) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    scipy_sparse.save_npz(tmp_path / "x.npz", scipy_sparse.csr_matrix(SPARSE))
    source = open_source([tmp_path / "x.npz"])
    assert source is not None
    np.testing.assert_array_equal(dense(read(source, 10, 20)), SPARSE[10:20])
    scipy_sparse.save_npz(tmp_path / "x.npz", scipy_sparse.csc_matrix(SPARSE))
    with pytest.raises(ValueError, match=r"x\.npz' is no matrix in CSR: write it with"):
        open_source([tmp_path / "x.npz"])


def test_slices_may_be_sparse_as_those_of_backed_annotated_data_are() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    backed = SimpleNamespace(X=Slices(scipy_sparse.csr_matrix(SPARSE)), var_names=list("abcdefg"), shape=X.shape)
    source = open_source(backed)
    assert source is not None
    assert source.columns == list("abcdefg")
    np.testing.assert_array_equal(dense(read(source, 5, 9)), SPARSE[5:9])


class Slices:
    """An array whose rows can be sliced, and nothing else."""

    def __init__(self, rows: Any) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, rows: slice) -> Any:
        return self._rows[rows]


def test_what_is_in_memory_is_no_source() -> None:
    lists = (X.tolist(), (1, 2), [["a", "b"]], ["a", "b"])
    for data in (X, X[0], np.ma.masked_array(X), iter(X), "x.npy", None, 3, *lists):
        assert open_source(data) is None, type(data)


def test_arrays_and_frames_of_other_libraries_are_in_memory() -> None:
    pandas = pytest.importorskip("pandas")
    assert open_source(pandas.DataFrame(X)) is None
    assert open_source(frame(X)) is None
    scipy_sparse = pytest.importorskip("scipy.sparse")
    assert open_source(scipy_sparse.csr_matrix(X)) is None


@pytest.mark.torch
def test_tensors_are_in_memory() -> None:
    torch = pytest.importorskip("torch")
    assert open_source(torch.tensor(X)) is None


def test_columns_of_parquet_have_names_and_missing_values(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"a": pa.array([1, None, 3]), "b": pa.array([True, False, True]), "c": pa.array([0.5, 1.5, None])})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    source = open_source([tmp_path / "x.parquet"])
    assert source is not None
    assert source.columns == ["a", "b", "c"]
    rows = read(source, 0, 3)
    np.testing.assert_array_equal(rows, [[1, 1, 0.5], [np.nan, 0, 1.5], [3, 1, np.nan]])
    assert list(named(rows, source).columns) == ["a", "b", "c"]
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "x.parquet")
    source = open_source([tmp_path / "x.parquet"])
    assert source is not None
    assert source.dtype == np.int64


def test_what_no_file_can_be_read_from_is_named(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"a": [1], "town": ["Ulm"]}), tmp_path / "x.parquet")
    with pytest.raises(TypeError, match=r"column 'town' of the file '.*x\.parquet' holds string; .* must hold numbers"):
        open_source([tmp_path / "x.parquet"])
    np.save(tmp_path / "o.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"o\.npy' is no array of numbers that can be mapped"):
        open_source([tmp_path / "o.npy"])
    np.save(tmp_path / "v.npy", X[0])
    with pytest.raises(ValueError, match=r"v\.npy' has shape \(7,\); expected"):
        open_source([tmp_path / "v.npy"])
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(ValueError, match="is no matrix in CSR"):
        open_source([tmp_path / "x.npz"])
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", X[:, :3])
    with pytest.raises(ValueError, match=r"b\.npy' has rows of shape \(3,\), and the file .*a\.npy' of \(7,\)"):
        open_source([tmp_path / "a.npy", tmp_path / "b.npy"])
    with pytest.raises(FileNotFoundError):
        open_source([tmp_path / "gone.npy"])
    np.save(tmp_path / "empty.npy", X[:0])
    with pytest.raises(ValueError, match="the files of X have no rows"):
        open_source([tmp_path / "empty.npy"])


def test_names_of_columns_must_agree(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(frame(X), tmp_path / "0.parquet")
    pq.write_table(frame(X).rename_columns(list("abcdefg")), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet' has other names of columns"):
        open_source([tmp_path / "0.parquet", tmp_path / "1.parquet"])


class Broken(Slices):
    """An array that fails from a row on."""

    def __getitem__(self, rows: slice) -> Any:
        if rows.stop > 500:
            raise OSError("the disk is gone")
        return super().__getitem__(rows)


def test_an_error_names_the_source_and_keeps_the_cause() -> None:
    source = open_source(Broken(X))
    assert source is not None
    with pytest.raises(SourceError, match=r"rows 490 to 510 of the .*Broken could not be read: OSError: the disk") as e:
        read(source, 490, 510)
    assert isinstance(e.value.__cause__, OSError)


class Short(Slices):
    """An array whose slices lack a row."""

    def __getitem__(self, rows: slice) -> Any:
        return super().__getitem__(rows)[1:]


def test_a_slice_of_another_shape_is_refused() -> None:
    source = open_source(Short(X))
    assert source is not None
    with pytest.raises(SourceError, match=r"rows 0 to 10 of it have shape \(9, 7\): return the rows of the slice"):
        read(source, 0, 10)


@pytest.mark.parametrize("make", DENSE)
def test_a_small_source_has_the_bits_of_the_array(make: Callable[[Path], Any], tmp_path: Path) -> None:
    fits = [VAE(2, hidden=(8,), epochs=2, random_state=0).fit(data) for data in (X, make(tmp_path))]
    weights = [model.state_dict() for model in fits]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's account of memory")
def test_pages_of_a_memory_map_that_were_read_are_released(tmp_path: Path) -> None:
    rows, width = 4096, 16_384
    with (tmp_path / "x.bin").open("wb") as file:
        file.truncate(rows * width)  # 64 MB
    source = open_source(np.memmap(tmp_path / "x.bin", np.uint8, "r", shape=(rows, width)))
    assert source is not None

    def mapped() -> int:
        lines = Path(f"/proc/{os.getpid()}/smaps").read_text().split("\n")
        start = next(i for i, line in enumerate(lines) if line.endswith("x.bin"))
        return int(next(line for line in lines[start:] if line.startswith("Rss:")).split()[1])

    for start in range(0, rows, 256):
        assert not read(source, start, start + 256).any()
        assert mapped() < 1024  # kB


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_an_empty_file_is_named(suffix: str, tmp_path: Path) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"none.{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=re.escape(f"the file {str(path)!r} cannot be read as .{suffix}")):
        VAE(1).fit([str(path)])


def test_sparse_and_dense_files_do_not_mix(tmp_path: Path) -> None:
    np.save(tmp_path / "dense.npy", X)
    save_csr(tmp_path / "sparse.npz", SPARSE)
    with pytest.raises(ValueError, match=r"dense.npy' is dense, and the file .*sparse.npz' is sparse"):
        VAE(1).fit([tmp_path / "sparse.npz", tmp_path / "dense.npy"])
