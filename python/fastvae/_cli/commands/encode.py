"""``fastvae encode``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli import models, tables
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data, add_embeddings, add_model, add_output, add_seed
from fastvae._cli.parser import DATA
from fastvae._cli.write import Output, Result, draws_as_table

USAGE = "fastvae encode MODEL DATA [-o FILE] [--logvar | --draws N] [options]"
EPILOG = f"""\
examples:
  fastvae encode digits.safetensors mnist.npz:x_test -o codes.npy
  fastvae encode table.safetensors table.csv --id name > codes.csv
  fastvae sample digits.safetensors -n 100 | fastvae encode digits.safetensors -

The codes are posterior means, columns z0, z1, ...; topic shares of a topic model, abilities of an exam.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    add_model(parser)
    add_data(parser)
    add_embeddings(parser)
    add_output(parser, "the codes")
    tables.add_unknown(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--logvar", action="store_true", help="write ln sigma² too: columns logvar0, ... (.npz: mu, logvar)"
    )
    group.add_argument(
        "--draws", metavar="N", type=int, help="write N draws from the posterior of each example instead"
    )
    add_seed(parser)


def run(options: Any) -> int:
    """Encode."""
    output = Output(options, options.output, options.to)
    model = models.load(options.model, options.threads)
    data = models.read_for(model, options, options.model)
    y, names = models.condition(model, data), models.code_names(model)
    before = models.row_columns(data)
    if options.draws is not None:
        if not hasattr(model, "posterior_sample"):
            raise UsageError(f"--draws needs a posterior, which an {type(model).__name__} does not have")
        drawn = model.posterior_sample(data.X, options.draws, options.seed, **y)
        output.write(draws_as_table(drawn, names, before))
        return 0
    if not options.logvar:
        codes = tables.code_columns(model, data.X) if data.mixed else np.asarray(model.transform(data.X, **y))
        output.write(Result(codes, names, before))
        return 0
    encoded = model.encode(data.X, **y)
    if not isinstance(encoded, tuple):
        raise UsageError(f"--logvar needs a posterior, which an {type(model).__name__} does not have")
    mu, logvar = encoded
    names = [*(f"z{i}" for i in range(len(names))), *(f"logvar{i}" for i in range(len(names)))]
    output.write(Result(np.hstack(encoded), names, before, arrays={"mu": mu, "logvar": logvar}))
    return 0
