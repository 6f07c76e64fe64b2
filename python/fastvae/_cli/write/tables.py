"""Tables: CSV and TSV by the standard library, Parquet by pyarrow or polars."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli.errors import missing

_CHUNK = 4096  # rows converted at a time


def csv_bytes(columns: Mapping[str, NDArray[Any]], delimiter: str = ",") -> bytes:
    """Return a table with a header; numbers have the digits that give the same value again, missing ones are empty."""
    lines = _Lines()
    writer = csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")  # cells with either are quoted
    writer.writerow(columns)
    n = len(next(iter(columns.values())))
    for start in range(0, n, _CHUNK):
        chunk = [_cells(column[start : start + _CHUNK]) for column in columns.values()]
        writer.writerows(zip(*chunk, strict=True))
    return "".join(lines).encode()


class _Lines(list[str]):
    """A file of lines that end with a newline."""

    def write(self, line: str) -> None:
        """Add a line of the writer."""
        self.append(line.removesuffix("\r\n") + "\n")


def _cells(column: NDArray[Any]) -> list[str]:
    if column.dtype == object:
        return ["" if value is None else str(value) for value in column]
    if column.dtype.kind == "f":
        cells = column.astype(str)  # the shortest digits
        cells[np.isnan(column)] = ""
        return [cell.removesuffix(".0") for cell in cells.tolist()]
    return list(column.astype(str).tolist())


def parquet_bytes(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a Parquet file."""
    file = io.BytesIO()
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        try:
            import polars
        except ImportError:
            raise missing("pyarrow or polars", "Parquet", "pyarrow") from None
        frame = polars.DataFrame(
            {name: column.tolist() if column.dtype == object else column for name, column in columns.items()}
        )
        frame.write_parquet(file)
        return file.getvalue()
    arrays = [pyarrow.array(np.ascontiguousarray(column), from_pandas=True) for column in columns.values()]
    parquet.write_table(pyarrow.table(arrays, names=list(columns)), file)
    return file.getvalue()


def frame_bytes(frame: Any) -> bytes:
    """Return the Parquet file of a frame of pandas, polars or pyarrow, with its types."""
    file = io.BytesIO()
    if hasattr(frame, "write_parquet"):
        frame.write_parquet(file)
    elif hasattr(frame, "iloc"):
        frame.to_parquet(file, index=False)
    else:
        import pyarrow.parquet as parquet

        parquet.write_table(frame, file)
    return file.getvalue()
