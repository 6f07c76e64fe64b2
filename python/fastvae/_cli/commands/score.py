"""``fastvae score``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli import models, tables
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data, add_embeddings, add_model, add_output
from fastvae._cli.parser import DATA
from fastvae._cli.write import Output, Result, files, json_text

USAGE = "fastvae score MODEL DATA [--json] [--each [-o FILE]] [--log-marginal N] [options]"
EPILOG = f"""\
examples:
  fastvae score digits.safetensors mnist.npz:x_test
  fastvae score digits.safetensors mnist.npz:x_test --json
  fastvae score table.safetensors table.csv --each --id name | sort -t, -k2 -g | head    # the least likely rows
  fastvae score digits.safetensors binary.npy --log-marginal 1000 --each -o marginal.csv
  fastvae score people.safetensors people.csv --id name --per-column    # of a table of mixed columns: which is odd
  fastvae score detector.safetensors table.csv --each    # of an AnomalyDetector: scores, and 1 for anomalies

Losses are sums over features and means over examples, in nats. loss, reconstruction and kl: lower is better; elbo and
log_marginal: higher is better.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    add_model(parser)
    add_data(parser)
    add_embeddings(parser)
    parser.add_argument("--each", action="store_true", help="write a score for each example, higher is better")
    shares = "write the share of each column in the negative ELBO of each row (tables of mixed columns)"
    parser.add_argument("--per-column", action="store_true", help=shares)
    tables.add_unknown(parser)
    parser.add_argument("--log-marginal", metavar="N", type=int, help="estimate log p(x) with N importance samples")
    parser.add_argument("--json", action="store_true", help="print the means as JSON")
    add_output(parser, "the scores of --each")


def run(options: Any) -> int:
    """Score."""
    if options.per_column and (options.log_marginal is not None or options.json):
        raise UsageError("--per-column has the shares of the negative ELBO: leave out --log-marginal and --json")
    options.each = options.each or options.per_column
    if not options.each and (options.output != "-" or options.to is not None):
        raise UsageError("-o and --to are for --each, a score for each example")
    if options.each and options.json:
        raise UsageError("pass --each or --json, not both")
    output = Output(options, options.output, options.to)
    model = models.load(options.model, options.threads, detectors=True)
    detects = hasattr(model, "decision_function")
    if detects and (not options.each or options.log_marginal is not None):
        raise UsageError(f"{options.model} is an anomaly detector: pass --each, without --log-marginal")
    data = models.read_for(model, options, options.model)
    y = {} if detects else models.condition(model, data)
    columns: dict[str, Any] = {}
    if options.per_column:
        if not data.mixed:
            raise UsageError(
                f"--per-column is for tables of mixed columns, and {options.model} is a {type(model).__name__}"
            )
        columns = tables.shares(model, data)
    elif detects:
        scores = model.score_samples(data.X)
        columns = {model.method: scores, "anomalous": (scores < model.offset_).astype(int)}
    elif options.log_marginal is not None:
        if not hasattr(model, "log_marginal"):
            raise UsageError(f"--log-marginal needs a prior, which an {type(model).__name__} does not have")
        found = model.log_marginal(data.X, options.log_marginal, **y)
        columns = {"log_marginal": found.estimate, "standard_error": found.standard_error, "ess": found.ess}
    if options.each:
        if not columns:
            name = "elbo" if hasattr(model, "sample") else "negative_loss"
            columns = {name: model.score_samples(data.X, **y)}
        table = {**tables.apart(models.row_columns(data) or {"row": np.arange(len(data))}, columns), **columns}
        array = np.column_stack(list(columns.values())) if len(columns) > 1 else next(iter(columns.values()))
        output.write(Result(array, list(columns), table=table))
        return 0
    means = model.evaluate(data.X, **y)
    if columns:
        means["log_marginal"] = float(columns["log_marginal"].mean())
    if options.json:
        files.print_text(json_text({"examples": len(data), **means}))
        return 0
    width = max(map(len, means))
    for key, value in means.items():
        files.print_text(f"{key:<{width}}  {value:.6g}\n")
    return 0
