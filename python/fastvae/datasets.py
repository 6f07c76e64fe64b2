"""Data: the 8x8 digits included in the package, and a reader of IDX (MNIST) files.

Modules that only a function needs are imported inside it, so that ``import fastvae`` stays cheap.
"""

from __future__ import annotations

import math
import os
import sys
from io import BufferedIOBase
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_digits", "load_idx"]

# The third byte of an IDX file -> the type of its values, big-endian on disk.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_NDIM = 32  # numpy 1's limit; numpy 2 allows 64
_CHUNK = 1 << 20  # bytes read at a time, the memory that a wrong size in the header can cost
_DEFLATE_MAX_RATIO = 1032  # 258 bytes per 2 bits: no gzip file expands further (RFC 1951)


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load the 8x8 handwritten digits that are included in the package.

    Returns
    -------
    X : ndarray of float32, [1797, 64]
        One image per row, row-major 8x8; multiples of 1/16 in 0..1. ``X.reshape(-1, 8, 8)`` are the images.
    y : ndarray of int64, [1797]
        The digits, 0..9.

    Notes
    -----
    The test set of *Optical Recognition of Handwritten Digits* by E. Alpaydin and C. Kaynak (1998), UCI
    Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed CC BY 4.0; the same images in the
    same order as in scikit-learn's ``load_digits``. Values are counts 0..16 in the original, here over 16.

    Examples
    --------
    >>> from fastvae.datasets import load_digits
    >>> X, y = load_digits()
    >>> X.shape, y[:5].tolist()
    ((1797, 64), [0, 1, 2, 3, 4])
    """
    from importlib.resources import files

    with (
        (files(__package__) / "data" / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        X = archive["x"].astype(np.float32) / np.float32(16)
        y = archive["y"].astype(np.int64)
    return X, y


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file, the format of MNIST, gzipped or plain.

    Parameters
    ----------
    path : str or path-like
        The file. Compression is recognised by the content, not by the name.

    Returns
    -------
    ndarray
        The array with the shape in the file's header, for example [60000, 28, 28]; uint8, int8, int16, int32, float32
        or float64 in native byte order, C-contiguous and writable.

    Raises
    ------
    ValueError
        If the file is not IDX, is damaged, or its size does not match its header. Memory grows with the bytes read, not
        with the size in the header, and decompression stops at that size.
    OSError
        If the file cannot be read.

    Notes
    -----
    The format (http://yann.lecun.com/exdb/mnist): bytes 0, 0, type, number of dimensions; the dimensions as
    big-endian uint32; then the values, big-endian, last dimension fastest.

    Examples
    --------
    >>> from fastvae.datasets import load_idx
    >>> X = load_idx("train-images-idx3-ubyte.gz")  # doctest: +SKIP
    """
    import gzip
    import zlib

    name = os.fspath(path)
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.peek(2)[:2] != b"\x1f\x8b":
            return _parse_idx(file, name, most=size)
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _parse_idx(unzipped, name, most=_DEFLATE_MAX_RATIO * size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{name!r} is damaged: its gzip stream is broken or cut short ({error})") from error


def _parse_idx(stream: BufferedIOBase, name: str, most: int) -> NDArray[Any]:
    """Parse IDX from `stream` of at most `most` bytes; error messages use `name`."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        shown = magic.hex(" ") or "nothing"
        raise ValueError(
            f"{name!r} is not an IDX file: it starts with {shown}, not with 00 00, a type "
            f"({', '.join(f'{code:02x}' for code in _IDX_TYPES)}) and a number of dimensions"
        )
    ndim = magic[3]
    if not 1 <= ndim <= _MAX_NDIM:
        raise ValueError(f"{name!r} is not a usable IDX file: it has {ndim} dimensions, not 1 to {_MAX_NDIM}")
    header = stream.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise ValueError(f"{name!r} is truncated: it ends within its header, before its {ndim} dimensions")

    dtype = np.dtype(_IDX_TYPES[magic[2]])
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    promised = math.prod(shape) * dtype.itemsize  # Python integers do not overflow
    what = f"its header promises {promised} bytes of values in the shape {list(shape)}"
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"{name!r} has impossible dimensions: {what}")
    if promised > most - len(magic) - len(header):
        raise ValueError(f"{name!r} is truncated or has wrong dimensions: {what}, more than it can hold")

    values = bytearray()  # grows with the bytes read, up to one more than promised
    while chunk := stream.read(min(_CHUNK, promised + 1 - len(values))):
        values += chunk
    if len(values) < promised:
        raise ValueError(f"{name!r} is truncated or has wrong dimensions: {what}, but {len(values)} follow")
    if len(values) > promised:
        raise ValueError(f"{name!r} has trailing bytes or wrong dimensions: {what}, but more follow")

    array = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
