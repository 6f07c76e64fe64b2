"""``fastvae impute``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli import messages, models, tables
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data, add_model, add_output, add_seed
from fastvae._cli.parser import DATA
from fastvae._cli.write import Result, draws_as_table

USAGE = "fastvae impute MODEL DATA [-o FILE] [--draws N] [--n-iter N] [--n-samples N] [options]"
EPILOG = f"""\
examples:
  fastvae train holes.csv -o m.safetensors --id name --likelihood gaussian --missing mask
  fastvae impute m.safetensors holes.csv --id name -o filled.csv
  fastvae impute m.safetensors holes.csv --id name --draws 20 --n-samples 1000 -o draws.parquet
  fastvae impute people.safetensors people.csv -o filled.csv    # a table of mixed columns

The result is the table with its missing cells filled in; other columns, order and observed values stay as they are.
With --draws the table has a column "draw" (multiple imputation).

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    add_model(parser)
    add_data(parser)
    parser.add_argument("--draws", metavar="N", type=int, help="write N draws instead of means")
    parser.add_argument("--n-iter", metavar="N", type=int, default=0, help="further rounds of encoding and decoding")
    parser.add_argument(
        "--n-samples",
        metavar="N",
        type=int,
        help="importance samples of z; 0 uses q(z|x) (default: 0; tables of mixed columns: 100)",
    )
    tables.add_unknown(parser)
    add_seed(parser)
    add_output(parser, "the filled table", images=True)


def _short(given: Any, filled: Any, cells: Any = None) -> Any:
    """Return a column, or its cells, with imputed values, which are float32, in their shortest digits."""
    gone, found = np.isnan(given), (given if cells is None else cells).copy()
    digits = filled[gone].astype(np.float32).astype(str)
    found[gone] = digits.astype(given.dtype) if cells is None else [each.removesuffix(".0") for each in digits.tolist()]
    return found


def run(options: Any) -> int:
    """Impute."""
    model = models.load(options.model, options.threads)
    output = tables.output(options, model)
    data = models.read_for(model, options, options.model, cells=output.kind in ("csv", "tsv"))
    if data.mixed:
        draws, samples = options.draws, options.n_samples
        made = model.impute(
            data.X,
            n=draws,
            n_iter=options.n_iter,
            n_samples=getattr(model, "n_samples", 100) if samples is None else samples,
            draw=getattr(model, "draw", False),
            random_state=options.seed,
        )
        output.write(tables.imputed(data, made if draws is not None else [made], draws=draws is not None))
        return 0
    options.n_samples = options.n_samples or 0
    given: dict[str, Any] = {"n_iter": options.n_iter, **models.condition(model, data)}
    if hasattr(model, "sample"):
        given |= {"draws": options.draws, "n_samples": options.n_samples, "random_state": options.seed}
    elif options.draws is not None or options.n_samples:
        raise UsageError(f"--draws and --n-samples need a posterior, which an {type(model).__name__} does not have")
    filled = np.asarray(model.impute(data.X, **given))
    names = models.value_names(
        model, filled.reshape(-1, *filled.shape[(1 if options.draws is None else 2) :])[0].size, data
    )
    X = np.asarray(data.X)
    holes = int(np.isnan(X).sum()) if X.dtype.kind == "f" else 0
    messages.note(f"{holes:,} of {X.size:,} cells were missing")
    if options.draws is not None:
        output.write(draws_as_table(filled, names, models.row_columns(data)))
        return 0
    result = Result(filled, names, models.row_columns(data), **models.image_layout(model, data))
    if data.table is not None and filled.ndim == 2 and filled.shape[1] == len(data.places):
        table = data.table
        columns: list[Any] = list(table.columns if table.cells is None else table.cells)
        for place, column in zip(data.places, filled.T, strict=True):
            if table.columns[place].dtype.kind == "f":
                columns[place] = _short(table.columns[place], column, None if table.cells is None else columns[place])
        titles = table.names or [f"x{i}" for i in range(len(columns))]
        result.table = dict(zip(titles, columns, strict=True))
    output.write(result)
    return 0
