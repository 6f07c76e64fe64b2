"""Tables: CSV and TSV by the standard library, Parquet by pyarrow or polars."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli.errors import UsageError, missing
from fastvae._cli.read.data import Table
from fastvae._cli.read.source import Source

MISSING = frozenset(
    ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "-nan", "null", "NULL", "None", "none", "NIL"]
)
BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_CHUNK = 4096  # rows converted at a time
_DELIMITERS = ",;\t|"


def read_csv(
    source: Source, delimiter: str | None, header: bool | None, na: Sequence[str], decimal: str = "."
) -> Table:
    """Read a table of cells with a delimiter. Columns of numbers are float64, int64 or bool; others objects."""
    text = source.text()
    if "\0" in text[:4096]:
        raise UsageError(f"{source.title}: it is no text: name its format with --format")
    if delimiter is None:
        delimiter = "\t" if source.suffix in (".tsv", ".tab") else _sniff(text, decimal)
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1:
        raise UsageError(f"--delimiter {delimiter!r} must be one character")
    if decimal not in (".", ","):
        raise UsageError(f"--decimal {decimal!r} must be . or a comma")
    if decimal == delimiter == ",":
        raise UsageError(
            f"{source.title}: the comma is the delimiter: name another with --delimiter, or leave out --decimal"
        )
    gone = MISSING | set(na)
    csv.field_size_limit(1 << 24)
    rows = _rows(text, delimiter, source.title, decimal)
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{source.title}: the table is empty")
    if header is None:
        header = not any(_is_number(cell) for cell in first[1])
    names = [cell.strip() for cell in first[1]] if header else None
    if names is not None:
        twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
        if twice:
            raise UsageError(f"{source.title}: the column {twice[0]!r} occurs twice in the header (or use --no-header)")
    width = len(first[1])

    def read_cells(places: Iterable[int]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {j: [] for j in places}
        for row, (_, cells) in enumerate(_rows(text, delimiter, source.title, decimal)):
            if row or not header:
                for j, column in found.items():
                    column.append(cells[j])
        return found

    fast = _all_numbers(text, delimiter, header, width, na) if decimal == "." else None
    if fast is not None:
        return Table(names, list(fast.T), None, read_cells, gone=frozenset(gone))
    columns, lines = _Columns(width, gone), []
    chunk: list[list[str]] = []
    for line, cells in rows if header else chain([first], rows):
        if len(cells) != width:
            raise UsageError(f"{source.title}: line {line} has {len(cells)} cells, the first line {width}")
        chunk.append(cells)
        lines.append(line)
        if len(chunk) == _CHUNK:
            columns.add(chunk)
            chunk = []
    columns.add(chunk)
    if not lines:
        raise UsageError(f"{source.title}: the table has a header but no rows")
    kept = columns.texts()
    texts = read_cells(kept) if kept else {}  # once more: only these columns are kept as texts
    return Table(names, columns.finish(texts), np.array(lines), read_cells, gone=frozenset(gone))


def has_decimal_comma(cell: str) -> bool:
    """Whether a cell is a number with a decimal comma, such as 3,14."""
    return _DECIMAL_COMMA.fullmatch(cell.strip()) is not None


def _rows(text: str, delimiter: str, title: str, decimal: str) -> Any:
    """Yield the number of the line and the cells of each row, with decimal points; empty lines are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if cells and decimal == ",":
                cells = [cell.replace(",", ".") if has_decimal_comma(cell) else cell for cell in cells]
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UsageError(f"{title}: line {reader.line_num}: {error}") from None


def _sniff(text: str, decimal: str) -> str:
    """Return the delimiter that occurs most in the first line, outside of quotes."""
    line = text.lstrip("\r\n").partition("\n")[0]
    outside = "".join(line.split('"')[::2])
    return max(_DELIMITERS.replace(decimal, ""), key=outside.count)


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell))) and "_" not in cell
    except ValueError:
        return False


def is_text(cell: str) -> bool:
    """Whether a cell is no number, be it NaN or infinite."""
    try:
        float(cell)
    except ValueError:
        return True
    return "_" in cell


def _all_numbers(text: str, delimiter: str, header: bool, width: int, na: Sequence[str]) -> NDArray[Any] | None:
    """Return a table without quotes and missing cells, by numpy's parser, or None: it has others."""
    body = text.lstrip("\r\n").partition("\n")[2] if header else text
    if not body.strip() or '"' in text or na or "#" in body or "_" in body or "\n" not in body:
        return None
    try:
        found = np.loadtxt(io.StringIO(body), delimiter=delimiter, ndmin=2, comments=None)
    except ValueError:
        return None
    if found.shape[1] != width or not np.isfinite(found).all():
        return None
    if not set(".eE") & set(body) and np.abs(found).max() < 2**53:
        return found.astype(np.int64)
    return found


class _Columns:
    """Columns of numbers, converted chunk by chunk, which keeps memory small."""

    def __init__(self, width: int, gone: frozenset[str] | set[str]) -> None:
        self._gone = gone
        self._numbers: list[list[NDArray[Any]] | None] = [[] for _ in range(width)]
        self._whole = [True] * width

    def add(self, chunk: list[list[str]]) -> None:
        for j, cells in enumerate(zip(*chunk, strict=True)):
            numbers = self._numbers[j]
            if numbers is None:
                continue
            filled = ["nan" if (text := cell.strip()) in self._gone else text for cell in cells]
            joined = "".join(filled)
            try:
                values = np.array(filled, np.float64) if "_" not in joined else None
            except ValueError:
                values = None
            if values is None:
                self._numbers[j] = None
            else:
                self._whole[j] = self._whole[j] and joined.replace("-", "").isdigit()
                numbers.append(values)

    def texts(self) -> list[int]:
        """Return the columns that are no numbers."""
        return [j for j, numbers in enumerate(self._numbers) if numbers is None]

    def finish(self, texts: dict[int, list[str]]) -> list[NDArray[Any]]:
        return [self._column(j, texts.get(j, [])) for j in range(len(self._numbers))]

    def _column(self, j: int, texts: list[str]) -> NDArray[Any]:
        numbers = self._numbers[j]
        if numbers is not None:
            values = np.concatenate(numbers)
            return values.astype(np.int64) if self._whole[j] and np.abs(values).max() < 2**53 else values
        texts = [text.strip() for text in texts]
        if set(texts) <= set(BOOLEANS):
            return np.array([BOOLEANS[text] for text in texts])
        return _texts([None if text in self._gone else text for text in texts])


def read_parquet(source: Source) -> Table:
    """Read a Parquet file."""
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        return _by_polars(source)
    try:
        with source.file() as file:
            found = parquet.read_table(file)
    except Exception as error:
        raise UsageError(f"{source.title}: damaged or no Parquet file ({' '.join(str(error).split())[:200]})") from None
    names = list(map(str, found.column_names))
    return Table(names, [_arrow(column) for column in found.columns], frame=found)


def _arrow(column: Any) -> NDArray[Any]:
    import pyarrow.types as types

    kind = column.type
    if types.is_boolean(kind) and not column.null_count:
        return np.array(column.to_pylist(), bool)
    if types.is_integer(kind) and not column.null_count:
        return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        values = [np.nan if value is None else float(value) for value in column.to_pylist()]
        found = np.array(values, np.float64)
        return found.astype(np.float32) if types.is_float32(kind) else found
    return _texts(column.to_pylist())


def _by_polars(source: Source) -> Table:
    try:
        import polars
    except ImportError:
        raise missing("pyarrow or polars", "Parquet", "pyarrow") from None
    try:
        with source.file() as file:
            frame = polars.read_parquet(file)
    except Exception as error:
        raise UsageError(f"{source.title}: damaged or no Parquet file ({' '.join(str(error).split())[:200]})") from None
    columns = []
    for series in frame.get_columns():
        if series.dtype.is_numeric() and not series.null_count():
            columns.append(series.to_numpy())
        elif series.dtype.is_numeric():
            columns.append(series.cast(polars.Float64).fill_null(float("nan")).to_numpy())
        elif series.dtype == polars.Boolean and not series.null_count():
            columns.append(series.to_numpy())
        else:
            columns.append(_texts(series.to_list()))
    return Table(list(frame.columns), columns, frame=frame)


def _texts(values: list[Any]) -> NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = [None if value is None else str(value) for value in values]
    return found
