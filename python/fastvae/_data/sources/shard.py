"""Shards of a sparse matrix: the files of ``scipy.sparse.save_npz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae._data import sparse
from fastvae._data.sources.source import Source, regular_edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class Shard(Source):
    """A file .npz with the arrays of CSR: ``indptr``, ``indices``, ``data`` and ``shape``; it is decoded as a whole.

    Parameters
    ----------
    path : str
        The file.
    """

    sparse: ClassVar[bool] = True

    def __init__(self, path: str) -> None:
        self._path, self.name = path, f"the file {path!r}"
        with np.load(path, allow_pickle=False) as arrays:
            missing = [key for key in ("indptr", "indices", "data", "shape") if key not in arrays.files]
            form = arrays["format"].item() if "format" in arrays.files else b"csr"
            if missing or form not in (b"csr", "csr"):
                raise ValueError(
                    f"{self.name} is no matrix in CSR: write it with scipy.sparse.save_npz(path, matrix.tocsr()), or "
                    "dense rows with numpy.save"
                )
            rows, cols = map(int, arrays["shape"])
            count, self.dtype = _header(path, "data")
        self.shape, self.edges = (rows, cols), regular_edges(rows, rows)
        self._row_bytes = 8.0 + count / max(rows, 1) * (4 + 4)

    @property
    def row_bytes(self) -> float:
        """Bytes of a row in memory, on average: as int32 indices and float32 values."""
        return self._row_bytes

    def read(self, start: int, stop: int) -> Any:
        """Return rows as CSR."""
        with np.load(self._path, allow_pickle=False) as arrays:
            whole: Mapping[str, NDArray[Any]] = {key: arrays[key] for key in ("indptr", "indices", "data")}
        indptr = whole["indptr"].astype(np.int64)
        first, last = int(indptr[start]), int(indptr[stop])
        return sparse.Parts(
            indptr[start : stop + 1] - first,
            whole["indices"][first:last].astype(np.int32, copy=False),
            whole["data"][first:last],
            (stop - start, self.shape[1]),
        )


def _header(path: str, key: str) -> tuple[int, np.dtype[Any]]:
    """Return number and type of the elements of an array in a file .npz, without reading it."""
    import zipfile  # here only, so that `import fastvae` stays cheap

    with zipfile.ZipFile(path) as file, file.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        shape, _, dtype = read(member)
    return int(np.prod(shape)), dtype
