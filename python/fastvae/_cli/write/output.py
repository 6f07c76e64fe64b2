"""The destination of a result: a file, a folder of images, or standard output."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae import _png
from fastvae._cli import messages
from fastvae._cli.errors import UsageError
from fastvae._cli.options import WRITE_FORMATS, image_shape
from fastvae._cli.write import files, pictures, tables

_BINARY = ("npy", "npz", "parquet", "png")


@dataclass
class Result:
    """An array, with its forms as a table and as images.

    Attributes
    ----------
    array : ndarray, [n, ...]
    names : list of str
        Of the columns of the array as a table.
    before : dict of str to ndarray
        Columns of a table before those of the array: names of rows, labels.
    table : dict of str to ndarray or None
        The whole table, if it is not the columns of the array.
    images : tuple of int or None
        Shape of an image, (height, width) or (height, width, channels).
    arrays : dict of str to ndarray
        Members of an .npz; by default the array as ``arr_0``.
    ids : list of str or None
        Names of the files in a folder of images.
    frame : frame or None
        The table as pandas, polars or pyarrow has it, whose types a Parquet file keeps.
    """

    array: NDArray[Any]
    names: list[str]
    before: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    table: Mapping[str, NDArray[Any]] | None = None
    images: tuple[int, ...] | None = None
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    ids: list[str] | None = None
    channels_first: bool = False
    frame: Any = None

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the table: names of columns and their values."""
        if self.table is not None:
            return self.table
        flat = self.array.reshape(len(self.array), -1)
        return {**self.before, **dict(zip(self.names, flat.T, strict=True))}


def draws_as_table(drawn: Any, names: list[str], before: dict[str, Any]) -> Result:
    """Return draws [draws, n, c] with their table: columns "draw" and "row", and the values."""
    draws, n = drawn.shape[:2]
    flat = drawn.reshape(draws * n, -1)
    columns = {"draw": np.repeat(np.arange(draws), n), "row": np.tile(np.arange(n), draws)}
    columns |= {name: np.tile(column, draws) for name, column in before.items()}
    return Result(drawn, names, table={**columns, **dict(zip(names, flat.T, strict=True))})


class Output:
    """The destination of a result.

    Parameters
    ----------
    options : namespace
        With ``force``, and the options of images if the command has them.
    text : str
        A file, a folder, or "-" for standard output.
    to : str or None
        The format; None: by the name.
    """

    def __init__(self, options: Any, text: str, to: str | None = None) -> None:
        self._options = options
        self.stdout = text == "-"
        self.path = Path(text)
        self.kind = self._kind(text, to)
        if not self.stdout:
            files.check(self.path, options.force, folder=self.kind == "folder")
        elif self.kind in _BINARY and sys.stdout is not None and sys.stdout.isatty():
            raise UsageError(f"a terminal does not show {self.kind}: name a file with -o, or redirect the output")

    def _kind(self, text: str, given: str | None) -> str:
        images = hasattr(self._options, "image_shape")
        if given is not None and given not in WRITE_FORMATS:
            raise UsageError(f"--to {given} is not known; use one of {', '.join(WRITE_FORMATS)}")
        if self.stdout:
            kind = given or "csv"
        elif given is None and (text.endswith(("/", "\\")) or self.path.is_dir()):
            kind = "folder"
        elif given is None:
            kind = self.path.suffix.lower().removeprefix(".") or "csv"
            if kind not in WRITE_FORMATS:
                if not self.path.suffix or (self.path.exists() and not files.is_regular(self.path)):
                    return "csv"
                known = ", ".join(f".{each}" for each in WRITE_FORMATS)
                raise UsageError(f"-o {text}: the format {self.path.suffix} is not known; use {known}, or --to")
        else:
            kind = given
        if kind in ("png", "folder") and not images:
            raise UsageError(f"-o {text}: this result is a table, not images; use .csv, .npy or .parquet")
        return kind

    def write(self, result: Result) -> None:
        """Write a result, and say where."""
        if self.kind == "folder":
            self._folder(result)
            return
        data = self._bytes(result)
        if self.stdout:
            files.write_stdout(data)
            return
        files.write(self.path, data)
        if files.is_regular(self.path):
            messages.note(f"wrote {self.path} ({' x '.join(map(str, result.array.shape))})")

    def _bytes(self, result: Result) -> bytes:
        if self.kind in ("csv", "tsv"):
            return tables.csv_bytes(result.columns(), "\t" if self.kind == "tsv" else ",")
        if self.kind == "parquet":
            if result.frame is not None:
                return tables.frame_bytes(result.frame)
            return tables.parquet_bytes(result.columns())
        if self.kind == "png":
            return _png.encode(pictures.mosaic(self._pictures(result), self._options.mosaic_columns))
        file = io.BytesIO()
        if self.kind == "npy":
            np.save(file, result.array, allow_pickle=False)
        else:
            members: dict[str, Any] = dict(result.arrays or {"arr_0": result.array})
            np.savez_compressed(file, **members)
        return file.getvalue()

    def _folder(self, result: Result) -> None:
        drawn = self._pictures(result)
        digits = len(str(len(drawn) - 1))
        self.path.mkdir(parents=True, exist_ok=True)
        names = [f"{i:0{digits}}.png" for i in range(len(drawn))]
        if result.ids is not None:
            names = [str(Path(name).with_suffix(".png")) for name in result.ids]
            twice = {name for name, n in Counter(names).items() if n > 1}  # a.jpg and a.png
            names = [f"{given}.png" if name in twice else name for given, name in zip(result.ids, names, strict=True)]
        for name, picture in zip(names, drawn, strict=True):
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write(path, _png.encode(picture))
        messages.note(f"wrote {len(drawn)} images to {self.path}/")

    def _pictures(self, result: Result) -> NDArray[np.uint8]:
        """Return the array as images, [n, height, width] or [n, height, width, 3], or raise UsageError."""
        array = result.array
        size = prod(array.shape[1:])
        shape = result.images
        if self._options.image_shape is not None:
            shape = image_shape(self._options.image_shape)
        elif shape is None and isqrt(size) ** 2 == size:
            shape = (isqrt(size),) * 2
        if shape is None:
            raise UsageError(f"{size} values are not a grey square: pass --image-shape HEIGHTxWIDTH[xCHANNELS]")
        shape = shape[:2] if shape[2:] == (1,) else shape
        if prod(shape) != size or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
            raise UsageError(
                f"images of {'x'.join(map(str, shape))} do not fit {size} values; PNG has 1 or 3 channels: "
                "pass --image-shape, or write .npy"
            )
        if result.channels_first and len(shape) == 3:
            array = array.reshape(len(array), shape[2], *shape[:2]).transpose(0, 2, 3, 1)
        zoom = max(1, self._options.zoom)
        return pictures.grey(array.reshape(len(array), *shape)).repeat(zoom, 1).repeat(zoom, 2)
