"""Arrays of the caller that results are written to: the argument ``out``."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check(out: Any, shape: tuple[int, ...], read: dict[str, Any], dtype: Any = np.float32) -> NDArray[Any] | None:
    """Return `out` if a result of this shape can be written to it, None if it is None.

    Parameters
    ----------
    out : ndarray or None
        A C-contiguous array of `dtype`, or a memory map.
    shape : tuple of int
        Of the result.
    read : dict of str to object
        What is read while the result is written, by name: arrays, sparse matrices, or other objects, which are not
        looked at.
    dtype : dtype
        Of the result.

    Raises
    ------
    TypeError
        If `out` is no numpy array.
    ValueError
        If its shape or type is wrong, it is not contiguous, cannot be written, or shares memory with what is read.
    """
    if out is None:
        return None
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}: pass a numpy array or a memory map (numpy.memmap)")
    wanted = np.dtype(dtype)
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has shape {shape}")
    if out.dtype != wanted:
        raise ValueError(f"out has dtype {out.dtype}, but the result has {wanted}: pass an array of it")
    if not out.flags.c_contiguous:
        raise ValueError("out is not C-contiguous: pass a whole array, or rows of one")
    if not out.flags.aligned:
        raise ValueError("out is not aligned: its data must start at a multiple of four bytes")
    if not out.flags.writeable:
        raise ValueError('out is read-only: pass an array that can be written, or a memory map of mode "r+" or "w+"')
    for name, value in read.items():
        if any(_overlap(out, part) for part in _parts(value)):
            raise ValueError(f"out shares memory with {name}, which is read while out is written: pass another array")
    return out


def release(rows: NDArray[Any]) -> None:
    """Let go of the pages of written rows of a memory map, so that they do not count as memory of this process.

    The system writes them to the file as usual.
    """
    pages, mode = getattr(rows, "_mmap", None), getattr(rows, "mode", None)
    # A private map (mode "c") would lose what was written.
    if mode not in ("r+", "w+") or not isinstance(pages, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    whole = np.frombuffer(pages, np.uint8)
    first = rows.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    begin, end = first // mmap.PAGESIZE * mmap.PAGESIZE, min(first + rows.nbytes, len(whole))
    if 0 <= begin < end:
        pages.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _parts(value: Any) -> list[NDArray[Any]]:
    """Return the arrays of a matrix, dense or sparse; none of other objects."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, _core.SparseMatrix):
        return [value.indptr, value.indices, value.data]
    return []


def _overlap(out: NDArray[Any], part: NDArray[Any]) -> bool:
    """Whether two arrays share memory, or are maps of the same file."""
    return np.shares_memory(out, part) or _same_file(_file(out), _file(part))


def _file(array: NDArray[Any]) -> Any:
    """Return the path of the file of a memory map, or of one that the array is a view of; else None."""
    base: Any = array
    while isinstance(base, np.ndarray):
        found = getattr(base, "filename", None)
        if found is not None:
            return found
        base = base.base
    return None


def _same_file(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return False
    try:
        return os.path.samefile(a, b)
    except OSError:  # a file was deleted
        return bool(os.fspath(a) == os.fspath(b))
