"""Arrays: .npy, .npz (dense or sparse), IDX."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fastvae._cli.errors import UsageError
from fastvae._cli.read.data import Csr, Data, named
from fastvae._cli.read.source import Source

_CSR = {"data", "indices", "indptr", "shape"}
_NAMES = ("feature_names", "vocabulary", "columns", "names")  # members that name the columns


def npy(source: Source) -> Data:
    """Read an .npy file; a file on disk is mapped, not read."""
    if source.member:
        raise UsageError(f"{source.title}: an .npy file has no members")
    try:
        with source.file() as file:
            if source.path is None or isinstance(file, io.BytesIO):
                array = np.load(file, allow_pickle=False)
            else:
                array = np.load(source.path, mmap_mode="r", allow_pickle=False)
        return Data(_numbers(array, source.title), source.title)
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # of any kind: the bytes are anyone's
        raise UsageError(f"{source.title}: {_reason(error)}") from None


def npz(source: Source) -> Data:
    """Read a member of an .npz file, or the sparse matrix that the file holds."""
    try:
        with source.file() as file, np.load(file, allow_pickle=False) as archive:
            return _member(archive, source)
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # as above
        raise UsageError(f"{source.title}: {_reason(error)}") from None


def _member(archive: Any, source: Source) -> Data:
    stored = set(archive.zip.namelist())
    members = [name for name in archive.files if f"{name}.npy" in stored]
    if not members:
        raise UsageError(f"{source.title} holds no arrays")
    if source.member:
        if source.member not in members:
            raise UsageError(f"{source.path} has no member {source.member!r}; it has {', '.join(members)}")
        return Data(_numbers(archive[source.member], source.title, labels=True), source.title)
    if set(members) >= _CSR or set(members) >= {"row", "col", "data", "shape"}:
        return _sparse(archive, source)
    if len(members) == 1:
        return Data(_numbers(archive[members[0]], source.title, labels=True), source.title)
    shown = ", ".join(f"{name} {list(archive[name].shape)}" for name in members)
    raise UsageError(
        f"{source.title} has {len(members)} arrays: name one, as {source.title}:{members[0]}; it has {shown}"
    )


def _sparse(archive: Any, source: Source) -> Data:
    kind = archive["format"].item() if "format" in archive.files else b"csr"
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if kind == "csr":
        X: Any = Csr(*(archive[name] for name in ("data", "indices", "indptr", "shape")))
        ends = X.indptr[[0, -1]].tolist() if X.indptr.ndim == 1 and len(X.indptr) else []
        if len(X.shape) != 2 or len(X.indptr) != X.shape[0] + 1 or ends != [0, len(X.data)]:
            raise UsageError(f"{source.title}: the arrays of the sparse matrix do not fit together")
    else:
        try:
            from scipy.sparse import load_npz
        except ImportError:
            raise UsageError(
                f"{source.title}: a sparse matrix of format {kind!r} needs scipy: pip install scipy"
            ) from None
        with source.file() as file:
            read = load_npz(file).tocsr()
        X = Csr(read.data, read.indices, read.indptr, read.shape)
    names = None
    for member in _NAMES:
        if member in archive.files and archive[member].shape == (X.shape[1],):
            names = archive[member].astype(str).tolist()
            break
    return Data(named(X, names), source.title, names=names)


def idx(source: Source) -> Data:
    """Read an IDX file, plain or gzipped."""
    from fastvae.datasets import load_idx

    if source.path is not None:
        return Data(load_idx(source.path), source.title)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard input"
        path.write_bytes(source.contents())
        return Data(load_idx(path), source.title)


def _numbers(array: Any, title: str, *, labels: bool = False) -> Any:
    if array.dtype.kind not in ("biufUS" if labels else "biuf"):
        raise UsageError(f"{title}: the array has type {array.dtype}, which is no type of real numbers")
    if array.ndim == 0:
        raise UsageError(f"{title}: the array has no axes")
    return array


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "allow_pickle" in text or "pickled" in text or "Python objects" in text:
        return "damaged or no such format (pickled objects are not read)"
    return f"damaged or no such format ({text})"
