"""Models of tables of mixed columns: their options, types of columns, values of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae._cli import messages
from fastvae._cli.errors import UsageError
from fastvae._cli.read import Data, mixed
from fastvae._cli.write import Output, Result

_WRITTEN = ("csv", "tsv", "parquet")


def is_table(model: Any) -> bool:
    """Whether a model is one of a table of mixed columns."""
    return hasattr(model, "kinds_")


def types_of(model: Any) -> dict[Any, str]:
    """Return the types of the columns of a fitted model, for `mixed.choose`."""
    found = {}
    for label, kind in model.kinds_.items():
        levels = model.levels_.get(label, [])
        if kind == "empty":
            continue
        if levels and all(isinstance(level, str) for level in levels):
            found[label] = "text"
        else:
            found[label] = "boolean" if levels and all(isinstance(level, bool) for level in levels) else "number"
    return found


def add_train(parser: Any) -> None:
    """Add the options of training a model of a table."""
    group = parser.add_argument_group("tables of mixed columns (--model tabular)")
    kinds = "real, positive, count, binary, categorical, ordinal, or an ordinal column's levels in order, with commas"
    group.add_argument(
        "--kind",
        metavar="COLUMN=KIND",
        action="append",
        default=[],
        help=f"kind of a column, instead of that found: {kinds}",
    )
    group.add_argument(
        "--balance",
        metavar="COLUMN=WEIGHT",
        action="append",
        default=[],
        help="weight of a column in the loss (default: 1)",
    )


def add_unknown(parser: Any) -> None:
    """Add ``--unknown``."""
    text = (
        "levels that training has not seen: refused, or read as missing (tables of mixed columns; default: the model's)"
    )
    parser.add_argument("--unknown", choices=["error", "missing"], help=text)


def types_chosen(options: Any) -> dict[Any, str]:
    """Return the columns that are texts by ``--kind``: their levels are the cells of the file."""
    from fastvae._tables.kinds import KINDS, NUMERIC

    found: dict[Any, str] = {}
    for text in options.kind:
        label, _, kind = text.rpartition("=")
        if "," in kind or (kind in KINDS and kind not in NUMERIC):
            found |= {label: "text"} | ({int(label): "text"} if label.isdigit() else {})
    return found


def parameters(options: Any, X: Any) -> dict[str, Any]:
    """Return the parameters of ``--kind`` and ``--balance`` for training data, or raise UsageError."""
    from fastvae._tables import containers
    from fastvae._tables.kinds import KINDS

    table = containers.read(X)
    types = {raw.label: raw.type for raw in table.columns}
    names = list(types) if table.named else None
    kinds: dict[Any, Any] = {}
    for label, text in _pairs(options.kind, "--kind", names):
        if text in KINDS:
            kinds[label] = text
            continue
        levels = [level.strip() for level in text.split(",")]
        if len(levels) < 2:
            raise UsageError(f"--kind {label}={text}: write one of {', '.join(KINDS)}, or levels in order with commas")
        numeric = types.get(label) in ("integer", "float")
        kinds[label] = [_number(level) for level in levels] if numeric else levels
    found: dict[str, Any] = {"columns": kinds} if kinds else {}
    weights: dict[Any, float] = {}
    for label, text in _pairs(options.balance, "--balance", names):
        try:
            weights[label] = float(text)
        except ValueError:
            raise UsageError(f"--balance {label}={text}: the weight must be a number, such as 0.1") from None
    return found | ({"balance": weights} if weights else {})


def refuse(options: Any) -> None:
    """Raise UsageError for options of tables in the training of another model."""
    for name in ("kind", "balance"):
        if getattr(options, name):
            raise UsageError(f"--{name} is for tables of mixed columns: pass --model tabular")


def given(model: Any, texts: list[str]) -> dict[Any, Any] | None:
    """Return the values of ``--given`` by column, or raise UsageError."""
    if not texts:
        return None
    found: dict[Any, Any] = {}
    for label, text in _pairs(texts, "--given", list(model.kinds_)):
        levels = model.levels_.get(label)
        if levels is None:
            try:
                found[label] = float(text)
            except ValueError:
                raise UsageError(f"--given {label}={text}: the column holds numbers") from None
            continue
        same = [level for level in levels if str(level) == text or _equal(level, text)]
        if not same:
            shown = ", ".join(map(str, levels[:20]))
            raise UsageError(f"--given {label}={text}: the levels of the column are {shown}")
        found[label] = same[0]
    return found


def output(options: Any, model: Any) -> Output:
    """Return the destination of a table, or raise UsageError."""
    found = Output(options, options.output, options.to)
    if is_table(model) and found.kind not in _WRITTEN:
        raise UsageError(f"-o {options.output}: a table of mixed columns is written as .csv, .tsv or .parquet, or --to")
    return found


def result(
    X: Any, before: dict[str, NDArray[Any]] | None = None, after: dict[str, NDArray[Any]] | None = None
) -> Result:
    """Return a table of any container for writing, with columns before and after it."""
    made = {name: _short(column) for name, column in mixed.columns(X).items()}
    table = {**(before or {}), **made, **(after or {})}
    frame = X if not before and not after and not isinstance(X, np.ndarray) else None
    return Result(
        np.empty((len(next(iter(table.values()))), len(table)), np.bool_), list(table), table=table, frame=frame
    )


def imputed(data: Data, tables: list[Any], *, draws: bool) -> Result:
    """Return completed tables for writing: the table of the file, with values in the place of its holes."""
    n, given_columns = len(data), mixed.columns(data.X)
    holes = {name: _missing(column) for name, column in given_columns.items()}
    cells = sum(map(np.size, holes.values()))
    messages.note(f"{sum(int(each.sum()) for each in holes.values()):,} of {cells:,} cells were missing")
    first = {"draw": np.repeat(np.arange(len(tables)), n), "row": np.tile(np.arange(n), len(tables))} if draws else {}
    table = data.table
    if table is None:  # a matrix
        parts = [mixed.columns(each) for each in tables]
    else:
        parts = [_completed(data, given_columns, each) for each in tables]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns = {**apart(first, joined), **joined}
    frame = None
    if table is not None and table.frame is not None:
        frames = [mixed.replaced(table.frame, each) for each in tables]
        frame = mixed.stacked(frames, apart(first, joined)) if draws else frames[0]
    return Result(
        np.empty((len(joined[next(iter(joined))]), len(columns)), np.bool_), list(columns), table=columns, frame=frame
    )


def shares(model: Any, data: Data) -> dict[str, NDArray[Any]]:
    """Return the negative ELBO of each row, and the share of each column and of the code in it."""
    scores = model.anomaly_score(data.X, per_column=True)
    if isinstance(scores, np.ndarray):
        labels = [str(label) if isinstance(label, str) else f"x{label}" for label in model.kinds_]
        columns = dict(zip(_distinct([*labels, "kl"]), scores.T, strict=True))
    else:
        names = list(getattr(scores, "column_names", None) or scores.columns)
        values = [np.asarray(scores[name]) for name in names[:-1]] + [np.asarray(_last(scores))]
        columns = dict(zip(_distinct(list(map(str, names))), values, strict=True))
    total = np.sum(list(columns.values()), axis=0)
    found = {**apart({"negative_elbo": total}, columns), **columns}
    return {name: _short(column) for name, column in found.items()}


def code_columns(model: Any, X: Any) -> NDArray[np.float32]:
    """Return the codes of a table: an Imputer's ``transform`` fills holes."""
    codes: NDArray[np.float32] = model.encode(X)[0]
    return codes


# Internal


def _last(found: Any) -> Any:
    """Return the last column of a frame."""
    if hasattr(found, "iloc"):
        return found.iloc[:, -1]
    return found.to_series(-1) if hasattr(found, "to_series") else found.column(found.num_columns - 1)


def _distinct(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        while name in found:
            name += "_"
        found.append(name)
    return found


def apart(first: dict[str, Any], columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns with names that others do not have."""
    names = _distinct([*columns, *first])[len(columns) :]
    return dict(zip(names, first.values(), strict=True))


def _completed(data: Data, before: dict[str, NDArray[Any]], filled: Any) -> dict[str, NDArray[Any]]:
    """Return all columns of the file; cells that were there are as the file has them."""
    table = data.table
    assert table is not None, "the data have a table"
    columns: list[Any] = list(table.columns if table.cells is None else table.cells)
    for place, old, new in zip(data.places, before.values(), mixed.columns(filled).values(), strict=True):
        if table.cells is None:
            columns[place] = new
            continue
        changed = np.array([a is None or a != b for a, b in zip(old.tolist(), new.tolist(), strict=True)], bool)
        changed &= ~_missing(new)
        columns[place] = columns[place].copy()
        columns[place][changed] = [_cell(value) for value in new[changed].tolist()]
    titles = table.names or [f"x{i}" for i in range(len(columns))]
    return dict(zip(titles, columns, strict=True))


def _short(column: NDArray[Any]) -> NDArray[Any]:
    """Return fractions as float32, as the model has them, which are written with fewer digits."""
    fractions = column.dtype == np.float64 and bool((column != np.rint(column)).any())
    return column.astype(np.float32) if fractions else column


def _cell(value: Any) -> str:
    if isinstance(value, float):  # the model's numbers are float32
        return str(np.float32(value)).removesuffix(".0")
    return str(value)


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype == object:
        return np.array([value is None for value in column], bool)
    found: NDArray[np.bool_] = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
    return found


def _pairs(texts: list[str], option: str, names: Any) -> list[tuple[Any, str]]:
    """Return columns and values of "column=value"; a name may hold =."""
    known = {str(name): name for name in names} if names is not None else None
    found = []
    for text in texts:
        ends = [i for i, letter in enumerate(text) if letter == "="]
        if not ends:
            raise UsageError(f"{option} {text}: write COLUMN=VALUE")
        if known is None:
            label: Any = text[: ends[0]]
            if not label.isdigit():
                raise UsageError(
                    f"{option} {text}: the table has no header: name a column by its index, such as 0=real"
                )
            found.append((int(label), text[ends[0] + 1 :]))
            continue
        end = next((i for i in ends if text[:i] in known), None)
        if end is None:
            raise UsageError(
                f"{option} {text}: there is no column {text[: ends[0]]!r}; the table has {', '.join(list(known)[:20])}"
            )
        found.append((known[text[:end]], text[end + 1 :].strip()))
    return found


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _equal(level: Any, text: str) -> bool:
    if isinstance(level, bool):
        return text.lower() == str(level).lower()
    return not isinstance(level, str) and _number(text) == level
