"""``fastvae exam``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli import messages, models, parameters, training
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data
from fastvae._cli.parser import DATA
from fastvae._cli.read import read
from fastvae._cli.write import Output, Result, files, json_text

USAGE = (
    "fastvae exam DATA [-o MODEL | --load MODEL] [--model 2pl|rasch|through_origin|3pl|graded] [--items FILE] "
    "[--abilities FILE]"
)
EPILOG = f"""\
examples:
  fastvae exam answers.csv --id student
  fastvae exam answers.csv --id student --items items.csv --abilities abilities.csv -o exam.safetensors
  fastvae exam new.csv --id student --load exam.safetensors --abilities - --quiet
  fastvae exam marks.csv --max-marks 3,5,10

DATA: a row a student, a column a task; 1 solved, 0 not, empty where there is no answer, or marks with --max-marks.
Standard errors of items are from the observed information, those of abilities are posterior standard deviations.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    from fastvae import ItemResponse

    add_data(parser)
    group = parser.add_argument_group("exam")
    group.add_argument("--load", metavar="MODEL", help="use this model; fit none")
    group.add_argument("--items", metavar="FILE", help="write the item parameters (.csv, .parquet, -)")
    group.add_argument("--abilities", metavar="FILE", help="write abilities, standard errors and intervals of 95 %%")
    training.add_fit(parser, required=False)
    parameters.add(parser, [ItemResponse])


def run(options: Any) -> int:
    """Fit or load; print and write items and abilities."""
    from fastvae import ItemResponse

    items_to, abilities_to = (
        None if path is None else Output(options, path) for path in (options.items, options.abilities)
    )
    to_stdout = [each for each in (items_to, abilities_to) if each is not None and each.stdout]
    if len(to_stdout) + bool(options.json) > 1:
        raise UsageError("only one of --items -, --abilities - and --json can write to standard output")
    given = parameters.given(options, ItemResponse)
    if options.load is not None:
        model = training.loaded(options, given, ItemResponse, "an item response model")
        data = models.read_for(model, options, options.load)
    else:
        fit = training.Fit(options)
        fit.seed(given)
        data = read(options)
        messages.note(f"read {data.describe()}")
        validation = training.read_validation(options, data, None, None)
        model = ItemResponse(**given)
        fit.run(model, data, validation)
        fit.summarise(model)
    names = models.value_names(model, model.n_features_in_, data)
    table = _items(model, data.X, names, errors=options.load is None)
    if items_to is not None:
        numbers = np.column_stack([column for key, column in table.items() if key != "task"])
        items_to.write(Result(numbers, list(table), table=table))
    if abilities_to is not None:
        abilities_to.write(_abilities(model, data))
    if options.json:
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        files.print_text(json_text({"students": len(data), "items": rows}))
    elif not to_stdout and (items_to is None or abilities_to is None):
        _print(table)
    return 0


def _items(model: Any, X: Any, names: list[str], errors: bool) -> dict[str, Any]:
    """Return the table of items; standard errors need the answers of the fit."""
    slopes, columns = model.discrimination_, dict[str, Any]()
    tasks = np.empty(len(names), object)
    tasks[:] = names
    columns["task"] = tasks
    if slopes.ndim == 2:
        columns |= {f"discrimination{i}": slope for i, slope in enumerate(slopes.T)}
        columns |= {"intercept": model.intercept_, "difficulty": model.difficulty_}
    else:
        values = {"discrimination": slopes, "intercept": model.intercept_, "difficulty": model.difficulty_}
        if hasattr(model, "guessing_"):
            values["guessing"] = model.guessing_
        found = model.standard_errors(X) if errors else None
        for key, value in values.items():
            error = None if found is None else getattr(found, key).astype(np.float32)
            for k in range(1 if value.ndim == 1 else value.shape[1]):  # a column for each threshold of graded tasks
                name = key if value.ndim == 1 else f"{key}{k + 1}"
                columns[name] = value if value.ndim == 1 else value[:, k]
                if error is not None:
                    columns[f"{name}_se"] = error if value.ndim == 1 else error[:, k]
    fit = model.item_fit(X)
    return columns | {"infit": fit.infit.astype(np.float32), "outfit": fit.outfit.astype(np.float32), "n": fit.n}


def _abilities(model: Any, data: Any) -> Result:
    means, errors = np.asarray(model.transform(data.X)), model.ability_std(data.X)
    interval = model.ability_interval(data.X)
    columns: dict[str, Any] = models.row_columns(data) or {"row": np.arange(len(data))}
    for dim, name in enumerate(models.code_names(model)):
        columns |= {name: means[:, dim], f"{name}_se": errors[:, dim]}
        columns |= {f"{name}_low": interval[:, dim, 0], f"{name}_high": interval[:, dim, 1]}
    return Result(means, list(columns), table=columns)


def _print(table: dict[str, Any]) -> None:
    cells = [[key, *(_cell(value) for value in column)] for key, column in table.items()]
    widths = [max(map(len, column)) for column in cells]
    for row in zip(*cells, strict=True):
        first, *rest = (
            f"{text:<{w}}" if i == 0 else f"{text:>{w}}" for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        files.print_text("  ".join([first, *rest]).rstrip() + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, np.integer) else f"{value:.3f}"
