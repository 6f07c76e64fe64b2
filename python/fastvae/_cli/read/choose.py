"""The choice of a reader, and of rows and columns."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli import messages
from fastvae._cli.errors import UsageError
from fastvae._cli.options import READ_FORMATS, image_size
from fastvae._cli.read import arrays, images, mixed, tables, texts
from fastvae._cli.read.data import Data, Table, bare, named
from fastvae._cli.read.source import UTF_16, Source

_BY_SUFFIX = {
    ".npy": "npy",
    ".npz": "npz",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".text": "text",
}
DATA_SUFFIXES = frozenset(_BY_SUFFIX)
_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_MAX_SHOWN = 3  # columns that a message describes


def read(
    options: Any,
    *,
    expected: list[str] | None = None,
    channels: int | None = None,
    vocabulary: Any = None,
    cells: bool = False,
    types: mixed.Types | None = None,
) -> Data:
    """Read DATA with the options of `add_data`.

    Parameters
    ----------
    options : namespace
    expected : list of str or None
        Names of the columns of a fitted model: a table is reduced to them.
    channels : int or None
        Channels of images that the model reads.
    vocabulary : callable or None
        Maps the documents of a text to the Vocabulary to use. None: texts are refused.
    cells : bool
        Whether the table keeps the cells of a text file.
    types : mapping or None
        Read a table of mixed columns, with these types of columns as far as they are known.
    """
    source = Source(options.data)
    kind = kind_of(source, options.format)
    if kind in ("csv", "tsv", "parquet"):
        table = table_of(source, kind, options)
        if cells:
            table.keep_cells()
        data = _of_table(table, source.title, options, expected, types)
        table.read_cells = None  # and with it the text
    else:
        data = _of_array(source, kind, options, channels, vocabulary)
        if types is not None:
            _as_mixed(data)
    if options.labels is not None:
        data.y, data.label = _beside(options.labels, "--labels", data), "label"
    if getattr(options, "embeddings", None) is not None:
        data.embeddings = _embeddings(options.embeddings, data)
    if options.rows is not None:
        data = _rows(data, options.rows)
    if len(data) == 0:
        raise UsageError(f"{data.title}: there are no rows")
    return data


def kind_of(source: Source, given: str | None) -> str:
    """Return the format of DATA, as given or found, or raise UsageError."""
    if given is not None:
        if given not in READ_FORMATS:
            raise UsageError(f"--format {given} is not known; use one of {', '.join(READ_FORMATS)}")
        return given
    if source.is_folder():
        return "images"
    head = source.head()
    if head[:6] == b"\x93NUMPY":
        return "npy"
    if source.suffix in _SPREADSHEETS:
        raise UsageError(f"{source.title}: spreadsheets are not read: save the sheet as CSV")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "npz"
    if head[:4] == b"PAR1":
        return "parquet"
    if len(head) >= 4 and head[:2] == b"\0\0" and head[2] in (8, 9, 0xB, 0xC, 0xD, 0xE) and 0 < head[3] <= 32:
        return "idx"
    if not head:
        raise UsageError(f"{source.title}: the file is empty")
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        raise UsageError(f"{source.title}: pass the folder of the images, not one of them")
    found = _BY_SUFFIX.get(source.suffix, "csv" if b"\0" not in head or head.startswith(UTF_16) else None)
    if found == "text" and _is_row(head):
        raise UsageError(
            f"{source.title}: the first line is a row of numbers, not a text: pass --format csv (and --delimiter ' ')"
        )
    if found in ("npy", "npz", "parquet"):
        raise UsageError(f"{source.title}: it does not begin as a file of {source.suffix[1:]}; is it damaged?")
    if found is None:
        raise UsageError(f"{source.title}: the format is not known; name it with --format")
    return found


def _is_row(head: bytes) -> bool:
    """Whether the first line is several numbers."""
    cells = head.partition(b"\n")[0].replace(b",", b" ").replace(b";", b" ").split()
    try:
        return len([float(cell) for cell in cells]) > 1
    except ValueError:
        return False


def table_of(source: Source, kind: str, options: Any) -> Table:
    """Read a table of format "csv", "tsv" or "parquet"."""
    if kind == "parquet":
        return tables.read_parquet(source)
    delimiter = options.delimiter or ("\t" if kind == "tsv" else None)
    return tables.read_csv(source, delimiter, options.header, options.na, options.decimal)


def _of_array(source: Source, kind: str, options: Any, channels: int | None, vocabulary: Any) -> Data:
    for name in ("label", "id", "columns", "drop"):
        allowed = kind in ("npy", "npz") and name in ("columns", "drop", "label")
        if getattr(options, name) is not None and not allowed:
            raise UsageError(f"--{name} is for tables (CSV, Parquet); {source.title} is of format {kind}")
    if kind == "images":
        if source.path is None or not source.is_folder():
            raise UsageError(f"{source.title}: --format images reads a folder")
        size = None if options.image_size is None else image_size(options.image_size)
        return images.folder(source.path, size, channels)
    if kind == "text":
        if vocabulary is None:
            raise UsageError(f"{source.title}: this command does not read texts")
        documents = texts.documents(source.text())
        found = vocabulary(documents)
        return Data(named(found.count(documents), found.words), source.title, names=found.words, tokenizer=found)
    data = {"npy": arrays.npy, "npz": arrays.npz, "idx": arrays.idx}[kind](source)
    values = bare(data.X)
    if any(getattr(options, name) is not None for name in ("label", "columns", "drop")):
        if not isinstance(values, np.ndarray) or values.ndim != 2:
            raise UsageError(f"--label, --columns and --drop need a table; {data.title} is none")
        return _of_table(Table(None, list(values.T)), data.title, options, None)
    if isinstance(values, np.ndarray) and values.ndim in (3, 4):
        data.images = values.shape[1:]
    if isinstance(values, np.ndarray) and values.ndim == 1:
        data.X = values[:, np.newaxis]
    return data


def _as_mixed(data: Data) -> None:
    """Make a table of mixed columns of a matrix."""
    X = bare(data.X)
    if not isinstance(X, np.ndarray) or X.ndim != 2:
        raise UsageError(f"{data.title} is no table: a model of mixed columns reads CSV, TSV, Parquet and matrices")
    data.X, data.mixed = X, True


def _of_table(
    table: Table, title: str, options: Any, expected: list[str] | None, types: mixed.Types | None = None
) -> Data:
    """Choose X, y and the names of the rows from the columns of a table."""
    data = Data(None, title, table=table)
    left = set[int]()
    if options.label is not None:
        places = [table.index(name.strip(), "--label") for name in _names(table, options.label)]
        data.y = _y(table, places)
        data.label = "label" if table.names is None else table.names[places[0]]
        left |= set(places)
    if options.id is not None:
        place = table.index(options.id, "--id")
        data.ids = [text.strip() for text in table.texts(place)]
        data.id_name = options.id if table.names is not None else "id"
        left.add(place)
    if options.drop is not None:
        left |= {table.index(name.strip(), "--drop") for text in options.drop for name in _names(table, text)}
    if options.columns is not None:
        names = [name.strip() for text in options.columns for name in _names(table, text)]
        places = [table.index(name, "--columns") for name in names]
    else:
        places = [place for place in range(len(table.columns)) if place not in left]
    if expected is not None and table.names is not None:
        places = _expected(table, places, expected, title)
    if not places:
        raise UsageError(f"{title}: no column is left for X")
    data.places = places
    data.names = None if table.names is None else [table.names[place] for place in places]
    if types is not None:
        data.X, data.mixed = mixed.choose(table, places, types, title), True
        return data
    _refuse_texts(table, places, title)
    data.X = named(np.column_stack([table.columns[place] for place in places]), data.names)
    return data


def _refuse_texts(table: Table, places: list[int], title: str) -> None:
    """Raise UsageError if columns of X hold text; the message names them all."""
    holders = [place for place in places if table.columns[place].dtype == object]
    if not holders:
        return
    shown = []
    for place in holders[:_MAX_SHOWN]:
        column = table.columns[place]
        row = next((i for i, value in enumerate(column) if value is not None and tables.is_text(value)), 0)
        line = f"line {table.lines[row]}" if table.lines is not None else f"row {row}"
        shown.append((table.title(place), f"({str(column[row])[:40]!r} in {line})"))
    names = [str(place) if table.names is None else table.names[place] for place in holders]
    if len(holders) == 1:
        where, name = " holds text ".join(shown[0]), names[0]
        remedy = f"pass --label {name}, --id {name} or --drop {name}"
    else:
        more = f" and {len(holders) - _MAX_SHOWN} more columns" if len(holders) > _MAX_SHOWN else ""
        where = f"{', '.join(map(' '.join, shown))}{more} hold text"
        remedy = f"pass --drop {shlex.quote(','.join(names))}, or name one with --label and one with --id"
    cells = [str(next((value for value in table.columns[place] if value is not None), "")) for place in holders]
    if any(tables.has_decimal_comma(cell) for cell in cells):
        remedy = f"pass --decimal ',' if the comma is a decimal point; else {remedy}"
    elif table.names is None and table.lines is not None and table.lines[0] == 1:
        remedy = f"pass --header if line 1 names the columns; else {remedy}"
    raise UsageError(f"{title}: {where}: {remedy}, or --na TEXT if it marks missing cells")


def _names(table: Table, text: str) -> list[str]:
    """Return the names in an option; a name of a column may hold a comma."""
    return [text] if table.names is not None and text in table.names else text.split(",")


def _expected(table: Table, places: list[int], expected: list[str], title: str) -> list[int]:
    assert table.names is not None, "the table has names"
    lost = [name for name in expected if name not in table.names]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise UsageError(
            f"{title}: the model was trained on columns that are missing here: {', '.join(map(repr, lost[:3]))}{more}"
        )
    found = [table.names.index(name) for name in expected]
    extra = [table.names[place] for place in places if place not in found]
    if extra:
        more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
        messages.note(f"columns that the model does not read: {', '.join(extra[:5])}{more}")
    return found


def _y(table: Table, places: list[int]) -> NDArray[Any]:
    """Return labels, [n], or covariates, [n, c]: several columns, or one of fractions."""
    columns = [table.columns[place] for place in places]
    for place, column in zip(places, columns, strict=True):
        gone = [value is None for value in column] if column.dtype == object else np.isnan(column.astype(np.float64))
        if np.any(gone):
            row = int(np.argmax(gone))
            line = f"line {table.lines[row]}" if table.lines is not None else f"row {row}"
            raise UsageError(
                f"{table.title(place)} is the label, but {line} has none: fill it in, or remove the row; to train "
                "without labels pass --drop in place of --label"
            )
        if len(places) > 1 and column.dtype == object:
            raise UsageError(f"{table.title(place)} holds text: with several columns, labels must be numbers")
    if len(columns) > 1:
        return np.column_stack(columns).astype(np.float64)
    if columns[0].dtype == object:
        return columns[0].astype(str)
    if columns[0].dtype.kind == "f":
        whole = bool((columns[0] == np.rint(columns[0])).all())
        return columns[0].astype(np.int64) if whole and len(np.unique(columns[0])) <= 20 else columns[0][:, np.newaxis]
    return columns[0]


def _beside(text: str, option: str, data: Data) -> NDArray[Any]:
    """Return what a file of its own holds for each row of the data, or raise UsageError."""
    source = Source(text)
    kind = kind_of(source, None)
    what = option.removeprefix("--")
    if kind == "images":
        raise UsageError(f"{option} {text}: a folder holds no {what}")
    if kind in ("csv", "tsv", "text"):
        table = tables.read_csv(source, None, None, ())
        if table.names is not None and len(table) == len(data) - 1:  # labels may be words, without a header
            table = tables.read_csv(source, None, False, ())
        y = _y(table, list(range(len(table.columns))))
    elif kind == "parquet":
        table = tables.read_parquet(source)
        y = _y(table, list(range(len(table.columns))))
    else:
        y = bare({"npy": arrays.npy, "npz": arrays.npz, "idx": arrays.idx}[kind](source).X)
        if not isinstance(y, np.ndarray):
            raise UsageError(f"{option} {text} is a sparse matrix, not {what}")
    if len(y) != len(data):
        raise UsageError(f"{option} {text} has {len(y)} rows, {data.title} {len(data)}")
    return y


def _embeddings(text: str, data: Data) -> NDArray[Any]:
    found = _beside(text, "--embeddings", data)
    found = found[:, np.newaxis] if found.ndim == 1 else found
    if found.ndim != 2 or found.dtype.kind not in "iuf":
        raise UsageError(f"--embeddings {text} must hold numbers, a row for each document")
    return found


def _rows(data: Data, text: str) -> Data:
    try:
        chosen = slice(*(int(part) if part.strip() else None for part in text.split(":"))) if ":" in text else None
    except (ValueError, TypeError):
        chosen = None
    if chosen is None:
        raise UsageError(f"--rows {text}: write a slice, such as 0:1000, -100: or ::10")
    if chosen.step == 0:
        raise UsageError(f"--rows {text}: the step must not be 0")
    data.X = mixed.take(data.X, chosen) if data.mixed else named(bare(data.X)[chosen], data.names)
    data.y = None if data.y is None else data.y[chosen]
    data.embeddings = None if data.embeddings is None else data.embeddings[chosen]
    data.ids = None if data.ids is None else data.ids[chosen]
    data.table = None if data.table is None else data.table.take(chosen)
    return data
