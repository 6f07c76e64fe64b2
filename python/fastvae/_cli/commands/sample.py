"""``fastvae sample``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli import models, tables
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_model, add_output, add_seed
from fastvae._cli.write import Output, Result

USAGE = "fastvae sample MODEL [-n N] [-o FILE] [--draw] [--label-value VALUE] [options]"
EPILOG = """\
examples:
  fastvae sample digits.safetensors -n 64 --seed 0 -o samples.png
  fastvae sample photos.safetensors -n 10 -o samples/
  fastvae sample iris.safetensors -n 20 --label-value setosa > setosa.csv
  fastvae sample table.safetensors -n 1000 --draw -o synthetic.parquet
  fastvae sample people.safetensors -n 9 --given sex=f --given city=Ulm    # of a table of mixed columns
"""


def add(parser: Any) -> None:
    """Add the options."""
    add_model(parser)
    parser.add_argument("-n", metavar="N", type=int, default=16, help="number of examples")
    parser.add_argument("--draw", action="store_true", help="draw from p(x|z) instead of writing its mean")
    parser.add_argument(
        "--label-value", metavar="VALUE", help="label, or covariates with commas, of a conditional model"
    )
    parser.add_argument("--length", metavar="N", type=int, help="words of each document, with --draw of a topic model")
    parser.add_argument(
        "--given",
        metavar="COLUMN=VALUE",
        action="append",
        default=[],
        help="value of a column (tables of mixed columns)",
    )
    parser.add_argument("--codes", action="store_true", help="write the codes z too, after the values")
    add_seed(parser)
    add_output(parser, "the examples", images=True)


def run(options: Any) -> int:
    """Sample."""
    model = models.load(options.model, options.threads)
    output = tables.output(options, model)
    if tables.is_table(model):
        return _table(model, options, output)
    if options.given:
        raise UsageError("--given is for models of tables of mixed columns; --label-value is for conditional models")
    if not hasattr(model, "sample"):
        raise UsageError(f"an {type(model).__name__} has no prior to sample from")
    given: dict[str, Any] = {} if options.length is None else {"lengths": options.length}
    given |= models.condition_value(model, options.label_value, "--label-value")
    found, z = model.sample(options.n, random_state=options.seed, draw=options.draw, return_latent=True, **given)
    found = np.asarray(found)
    names = models.value_names(model, found[0].size)
    result = Result(found, names, **models.image_layout(model))
    if options.codes:
        codes = dict(zip(models.code_names(model), z.T, strict=True))
        result.table, result.arrays = {**result.columns(), **codes}, {"x": found, "z": z}
    output.write(result)
    return 0


def _table(model: Any, options: Any, output: Output) -> int:
    """Draw rows of a table; --draw is implied."""
    if options.label_value is not None or options.length is not None:
        raise UsageError(f"a {type(model).__name__} has no labels and no lengths: --given COLUMN=VALUE fixes a column")
    made, z = model.sample(
        options.n, given=tables.given(model, options.given), random_state=options.seed, return_latent=True
    )
    codes = dict(zip(models.code_names(model), z.T, strict=True)) if options.codes else None
    output.write(tables.result(made, after=codes))
    return 0
