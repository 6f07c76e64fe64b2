"""Lists of files: .npy, .npz with a sparse matrix, .parquet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data.sources.joined import Joined
from fastvae._data.sources.memory_map import MemoryMap
from fastvae._data.sources.parquet import Parquet
from fastvae._data.sources.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastvae._data.sources.source import Source


def is_files(X: Any) -> bool:
    """Whether `X` is a list of paths with a known suffix."""
    if not isinstance(X, (list, tuple)) or not X or not all(isinstance(path, (str, os.PathLike)) for path in X):
        return False
    return all(os.fspath(path).lower().endswith(tuple(_KINDS)) for path in X)


def of_files(paths: Sequence[Any], name: str) -> Source:
    """Return the rows of all files, in the order of the list; `name` is that of the list in messages."""
    parts = [_source(os.fspath(path)) for path in paths]
    parts = [part for part in parts if part.n_rows]
    if not parts:
        raise ValueError(f"the files of {name} have no rows: pass files with rows")
    return Joined(parts)


def _source(path: str) -> Source:
    for suffix, kind in _KINDS.items():
        if path.lower().endswith(suffix):
            try:
                return kind(path)
            except (OSError, ImportError, TypeError):
                raise  # with the path
            except Exception as error:  # of numpy, zipfile or pyarrow
                if repr(path) in str(error):
                    raise
                raise ValueError(f"the file {path!r} cannot be read as {suffix}: {error}") from error
    raise ValueError(f"the file {path!r} must be {', '.join(_KINDS)}")


def _npy(path: str) -> Source:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:  # of objects, or damaged
        raise ValueError(f"the file {path!r} is no array of numbers that can be mapped: {error}") from error
    if array.ndim < 2:
        raise ValueError(f"the file {path!r} has shape {array.shape}; expected [n_examples, n_features], or images")
    return MemoryMap(array, f"the file {path!r}")


_KINDS = {".npy": _npy, ".npz": Shard, ".parquet": Parquet}
