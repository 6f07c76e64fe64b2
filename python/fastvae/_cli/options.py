"""Options that commands share: data, output, model, condition."""

from __future__ import annotations

from typing import Any

from fastvae._cli.errors import UsageError


def add_data(parser: Any, *, nargs: str | None = None, labels: str = "column of labels, left out of X") -> None:
    """Add the positional DATA and the options of reading."""
    parser.add_argument("data", metavar="DATA", nargs=nargs, help="file, folder or - (see below)")
    group = parser.add_argument_group("data")
    group.add_argument("--format", metavar="FORMAT", help=f"format of DATA: {', '.join(READ_FORMATS)}")
    group.add_argument("--label", metavar="COLUMN", help=f"{labels}: name or index; several, with commas, are numbers")
    group.add_argument("--labels", metavar="DATA", help="labels from a file of their own, such as mnist.npz:y_train")
    group.add_argument("--id", metavar="COLUMN", help="column that names the rows: left out of X, kept in a table")
    columns = "columns to read as X, with commas (default: all others)"
    group.add_argument("--columns", metavar="NAMES", action="append", help=columns)
    group.add_argument("--drop", metavar="NAMES", action="append", help="columns to leave out, with commas")
    group.add_argument("--rows", metavar="A:B", help="rows to read, as a slice of Python: 0:1000, ::10")
    header = group.add_mutually_exclusive_group()
    header.add_argument("--header", action="store_true", default=None, help="the first line of a table is its header")
    header.add_argument("--no-header", dest="header", action="store_false", default=None, help="a table has no header")
    group.add_argument("--delimiter", metavar="CHAR", help="of a table (default: the comma, semicolon, tab or | in it)")
    group.add_argument(
        "--decimal", metavar="CHAR", default=".", help="of numbers in a table: . or a comma (default: .)"
    )
    group.add_argument("--na", metavar="TEXT", action="append", default=[], help="a further text for a missing cell")
    group.add_argument("--image-size", metavar="HxW", help="resize the images of a folder")
    group.add_argument("--vocabulary", metavar="FILE", help="words to count in texts (default: beside the model)")


def add_embeddings(parser: Any) -> None:
    """Add ``--embeddings``."""
    text = "vectors of the documents of a topic model, a row each: an array or a table of numbers"
    parser.add_argument("--embeddings", metavar="FILE", help=text)


READ_FORMATS = ("npy", "npz", "csv", "tsv", "parquet", "idx", "images", "text")
WRITE_FORMATS = ("npy", "npz", "csv", "tsv", "parquet", "png")


def add_output(parser: Any, what: str, *, images: bool = False, default: str | None = "-") -> None:
    """Add ``-o``, ``--to`` and ``--force``."""
    group = parser.add_argument_group("output")
    kinds = ".npy, .npz, .csv, .tsv, .parquet" + (", .png (a mosaic), folder/ (a PNG each)" if images else "")
    text = f"file for {what}: {kinds}, or - for standard output"
    group.add_argument("-o", "--output", metavar="FILE", default=default, help=text)
    group.add_argument("--to", metavar="FORMAT", help=f"format of the output: {', '.join(WRITE_FORMATS)}")
    if images:
        group.add_argument("--image-shape", metavar="HxW[xC]", help="shape of the images (default: the model's)")
        group.add_argument("--mosaic-columns", metavar="N", type=int, help="images in a line of a mosaic")
        group.add_argument("--zoom", metavar="N", type=int, default=1, help="side of a pixel in a PNG")
    add_force(group)


def add_force(group: Any) -> None:
    """Add ``--force``."""
    group.add_argument("--force", action="store_true", help="replace existing files")


def add_model(parser: Any) -> None:
    """Add the positional MODEL and ``--threads``."""
    parser.add_argument("model", metavar="MODEL", help="model file")
    parser.add_argument("--threads", metavar="N", type=int, help="number of threads; -1 uses all cores")


def add_seed(parser: Any) -> None:
    """Add ``--seed``."""
    parser.add_argument("--seed", metavar="N", type=int, help="seed of the draws (default: the model's)")


def image_shape(text: str) -> tuple[int, ...]:
    """Return the sides in the value of ``--image-shape``, "28x28" or "32x32x3", or raise UsageError."""
    found = _sides(text)
    if len(found) not in (2, 3):
        raise UsageError(f"--image-shape {text}: write HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, such as 28x28")
    return found


def image_size(text: str) -> tuple[int, int]:
    """Return height and width in the value of ``--image-size``, "28x28", or raise UsageError."""
    found = _sides(text)
    if len(found) != 2:
        raise UsageError(f"--image-size {text}: write HEIGHTxWIDTH, such as 28x28")
    return found[0], found[1]


def _sides(text: str) -> tuple[int, ...]:
    """Return the numbers of "28x28"; () for another text."""
    parts = text.lower().split("x")
    return tuple(map(int, parts)) if all(part.isdigit() and int(part) > 0 for part in parts) else ()
