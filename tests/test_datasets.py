"""The digits in the package and the IDX reader."""

from __future__ import annotations

import gzip
import math
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastvae.datasets import load_digits, load_idx

CODES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
DIGIT_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def idx_bytes(code: int, shape: tuple[int, ...], values: bytes) -> bytes:
    """Build an IDX file from its parts, true to each other or not."""
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


@pytest.fixture
def idx_file(tmp_path: Path) -> Path:
    """Name a file to write an IDX file to."""
    return tmp_path / "some-idx-ubyte"


def example(dtype: str) -> NDArray[Any]:
    """Return an array [2, 3, 5] that tells byte orders, signs and axes apart."""
    x = np.arange(30).reshape(2, 3, 5) * 7 - (0 if dtype == "u1" else 100)
    if dtype in {"i2", "i4"}:
        x = x * 250
    return x.astype(dtype) / np.array(3, dtype) if dtype[0] == "f" else x.astype(dtype)


# ------------------------------------------------------------------------------------------------ digits


def test_digits_shapes_types_and_range() -> None:
    X, y = load_digits()
    assert X.shape == (1797, 64)
    assert X.dtype == np.float32
    assert y.shape == (1797,)
    assert y.dtype == np.int64
    assert X.min() == 0
    assert X.max() == 1
    assert set(np.unique(X * 16)) == set(range(17))


def test_digits_classes() -> None:
    X, y = load_digits()
    assert np.bincount(y).tolist() == DIGIT_COUNTS
    assert y[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (X[0, :8] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # the first image's top row
    assert int((X.astype(np.float64) * 16).sum()) == 561718


def test_digits_equal_those_of_sklearn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    theirs_x, theirs_y = datasets.load_digits(return_X_y=True)
    X, y = load_digits()
    np.testing.assert_array_equal(X * 16, theirs_x)
    np.testing.assert_array_equal(y, theirs_y)


def test_digits_are_fresh_each_time() -> None:
    X, y = load_digits()
    X[:], y[:] = 0.5, 3
    again_x, again_y = load_digits()
    assert again_x.max() == 1
    assert np.bincount(again_y).tolist() == DIGIT_COUNTS


# ------------------------------------------------------------------------------------------------ IDX


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("code", "dtype"), CODES.items())
def test_idx_round_trip(idx_file: Path, code: int, dtype: str, compressed: bool) -> None:
    x = example(dtype)
    content = idx_bytes(code, x.shape, x.astype(f">{dtype}").tobytes())
    idx_file.write_bytes(gzip.compress(content) if compressed else content)
    read = load_idx(idx_file)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert read.flags.c_contiguous
    assert read.flags.writeable
    np.testing.assert_array_equal(read, x)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 1, 6), (1, 2, 1, 3, 1), (0,), (3, 0, 2)])
def test_idx_shapes(idx_file: Path, shape: tuple[int, ...]) -> None:
    x = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    idx_file.write_bytes(idx_bytes(8, shape, x.tobytes()))
    read = load_idx(str(idx_file))
    assert read.shape == shape
    np.testing.assert_array_equal(read, x)


def test_idx_bytes_known_by_heart(idx_file: Path) -> None:
    idx_file.write_bytes(bytes.fromhex("00000b02 00000001 00000003 0102 fffe 7fff"))
    assert load_idx(idx_file).tolist() == [[258, -2, 32767]]


def test_idx_larger_than_one_read(idx_file: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 1234, 1024), dtype=np.uint8)
    for content in (idx_bytes(8, x.shape, x.tobytes()), gzip.compress(idx_bytes(8, x.shape, x.tobytes()), 1)):
        idx_file.write_bytes(content)
        np.testing.assert_array_equal(load_idx(idx_file), x)


def test_gzip_as_dense_as_can_be(idx_file: Path) -> None:
    idx_file.write_bytes(gzip.compress(idx_bytes(8, (1 << 22,), bytes(1 << 22)), 9))
    assert idx_file.stat().st_size < (1 << 22) / 1000
    np.testing.assert_array_equal(load_idx(idx_file), np.zeros(1 << 22, np.uint8))


def test_gzip_is_known_by_content_not_by_name(tmp_path: Path) -> None:
    content = idx_bytes(8, (4,), b"\1\2\3\4")
    for name, stored in (("plain.gz", content), ("compressed.idx", gzip.compress(content))):
        (tmp_path / name).write_bytes(stored)
        assert load_idx(tmp_path / name).tolist() == [1, 2, 3, 4]


def test_gzip_of_several_members(idx_file: Path) -> None:
    content = idx_bytes(8, (4,), b"\1\2\3\4")
    idx_file.write_bytes(gzip.compress(content[:7]) + gzip.compress(content[7:]))
    assert load_idx(idx_file).tolist() == [1, 2, 3, 4]


MALFORMED = {
    "empty": (b"", "not an IDX file"),
    "three bytes": (b"\0\0\x08", "not an IDX file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(64), "not an IDX file: it starts with 89 50 4e 47"),
    "first byte": (b"\1" + idx_bytes(8, (2,), b"ab")[1:], "not an IDX file"),
    "second byte": (b"\0\1" + idx_bytes(8, (2,), b"ab")[2:], "not an IDX file"),
    "unknown type": (idx_bytes(0x0A, (2,), b"abcd"), "not an IDX file: it starts with 00 00 0a 01"),
    "no dimensions": (idx_bytes(8, (), b"a"), "0 dimensions"),
    "many dimensions": (idx_bytes(8, (1,) * 33, b"a"), "33 dimensions"),
    "ends in header": (idx_bytes(8, (2, 3), b"")[:-1], "truncated: it ends within its header"),
    "one byte short": (idx_bytes(8, (2, 3), b"abcde"), "truncated"),
    "half a value": (idx_bytes(0x0C, (2,), b"abcdefg"), "truncated"),
    "no values": (idx_bytes(8, (2, 3), b""), "truncated"),
    "one byte more": (idx_bytes(8, (2, 3), b"abcdefg"), "trailing bytes"),
    "more than nothing": (idx_bytes(8, (0, 3), b"a"), "trailing bytes"),
    "2^64 bytes": (idx_bytes(8, (1 << 22, 1 << 21, 1 << 21), b""), "impossible dimensions"),
    "huge": (idx_bytes(0x0E, (2**32 - 1, 2**32 - 1), bytes(64)), "impossible dimensions"),
    "huge but empty": (idx_bytes(8, (0, 2**32 - 1, 2**32 - 1, 5), b""), "impossible dimensions"),
    "large": (
        idx_bytes(8, (2**20, 2**20), bytes(64)),
        r"promises 1099511627776 bytes .* more than it can hold",
    ),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_idx(idx_file: Path, content: bytes, message: str, compressed: bool) -> None:
    idx_file.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(ValueError, match=message) as caught:
        load_idx(idx_file)
    assert str(idx_file) in str(caught.value).replace("\\\\", "\\")


def broken_gzip() -> dict[str, bytes]:
    """Return gzip streams cut or changed in each place that matters."""
    good = gzip.compress(idx_bytes(8, (1000,), np.random.default_rng(0).bytes(1000)))
    return {
        "magic only": good[:2],
        "cut in its header": good[:7],
        "cut in its values": good[: len(good) // 2],
        "cut before its checksum": good[:-8],
        "wrong checksum": good[:-8] + bytes(4) + good[-4:],
        "wrong length": good[:-4] + bytes(4),
        "not deflate": good[:2] + b"\7" + good[3:],
        "broken deflate": good[:10] + b"\xff" * 8 + good[18:],
        "rubbish behind": good + b"rubbish",
    }


@pytest.mark.parametrize("content", broken_gzip().values(), ids=broken_gzip())
def test_broken_gzip(idx_file: Path, content: bytes) -> None:
    idx_file.write_bytes(content)
    with pytest.raises(ValueError, match="damaged: its gzip stream") as caught:
        load_idx(idx_file)
    assert idx_file.name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(idx_bytes(8, (10,), bytes(1 << 27))), "trailing bytes"),
        (gzip.compress(idx_bytes(8, (1 << 27,), np.random.default_rng(0).bytes(1 << 18))), "truncated"),
        (idx_bytes(8, (1 << 27,), bytes(1 << 10)), "truncated"),
        (idx_bytes(8, (10,), bytes(1 << 24)), "trailing bytes"),
    ],
    ids=["gzip bomb", "gzip promise", "plain promise", "plain bomb"],
)
def test_malformed_idx_takes_no_memory(idx_file: Path, content: bytes, message: str) -> None:
    idx_file.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load_idx(idx_file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_files_that_cannot_be_read_raise_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_idx(tmp_path / "missing")
    with pytest.raises(PermissionError if sys.platform == "win32" else IsADirectoryError):
        load_idx(tmp_path)
