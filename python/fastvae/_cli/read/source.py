"""Bytes of a source: a file, standard input, or either compressed by gzip."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import Any

from fastvae._cli.errors import UsageError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
_GZIP = b"\x1f\x8b"
_HEAD = 262  # bytes by which a format is recognised


class Source:
    """A file or standard input.

    Attributes
    ----------
    title : str
        For messages.
    path : Path or None
        None for standard input.
    member : str
        After the colon of ``file.npz:member``.
    """

    def __init__(self, text: str) -> None:
        self.member, self.path, self._bytes = "", None, None
        path, member = text, ""
        if text == "-":
            self.title = "standard input"
            self._bytes = _stdin()
            return
        if not Path(text).exists() and ":" in text:
            path, _, member = text.rpartition(":")
        if not path:
            raise UsageError(f"{text!r} names no data: pass a file, a folder or -")
        self.title, self.path, self.member = text, Path(path), member
        if not self.path.exists():
            raise UsageError(f"{path}: no such file or folder")
        if member and self.path.is_dir():
            raise UsageError(f"{text}: only an .npz file has members")
        if self.path.is_fifo():  # it can be read once
            self._bytes, self.path = self.path.read_bytes(), None

    @property
    def suffixes(self) -> list[str]:
        """Suffixes of the name in lower case, without .gz."""
        found = [] if self.path is None else [suffix.lower() for suffix in self.path.suffixes]
        return found[:-1] if found[-1:] == [".gz"] else found

    @property
    def suffix(self) -> str:
        """The last suffix but .gz, or ""."""
        return (self.suffixes or [""])[-1]

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path is not None and self.path.is_dir()

    def head(self) -> bytes:
        """Return the first bytes, decompressed."""
        if self._bytes is None and self.path is not None:
            with self.path.open("rb") as file:
                start = file.read(2)
                if start != _GZIP:
                    return start + file.read(_HEAD - 2)
        return self.contents()[:_HEAD]

    def contents(self) -> bytes:
        """Return all bytes, decompressed."""
        if self._bytes is None:
            assert self.path is not None, "standard input has been read"
            self._bytes = self.path.read_bytes()
        if self._bytes[:2] == _GZIP:
            try:
                self._bytes = gzip.decompress(self._bytes)
            except (OSError, EOFError, zlib.error) as error:
                raise UsageError(f"{self.title}: the gzip stream is damaged ({error})") from None
        return self._bytes

    def text(self) -> str:
        """Return the contents as text, or raise UsageError."""
        try:
            return self.contents().decode("utf-16" if self.contents().startswith(UTF_16) else "utf-8-sig")
        except UnicodeDecodeError as error:
            coding = error.encoding.upper()
            convert = "" if coding.startswith("UTF-16") else ": convert it, for example with iconv -f latin1 -t utf-8"
            raise UsageError(f"{self.title}: byte {error.start} is not {coding}{convert}") from None

    def file(self) -> Any:
        """Return a seekable binary file: the file itself, or a buffer."""
        if self.path is not None and self._bytes is None and self.path.is_file():
            with self.path.open("rb") as file:
                compressed = file.read(2) == _GZIP
            if not compressed:
                return self.path.open("rb")
        return io.BytesIO(self.contents())


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed")
    if sys.stdin.isatty():
        raise UsageError("- reads standard input, which is a terminal: give a file or a pipe")
    data = sys.stdin.buffer.read()
    if not data:
        raise UsageError("standard input is empty")
    return data
