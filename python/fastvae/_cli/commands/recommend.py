"""``fastvae recommend``."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastvae._cli import messages, parameters, training
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data
from fastvae._cli.parser import DATA
from fastvae._cli.read import Data
from fastvae._cli.read.clicks import read_clicks
from fastvae._cli.write import Output, Result

USAGE = "fastvae recommend DATA [-o MODEL | --load MODEL] [--top N] [--recommendations FILE] [options]"
EPILOG = f"""\
examples:
  fastvae recommend clicks.csv -o shop.safetensors
  fastvae recommend clicks.csv --load shop.safetensors --top 5 --recommendations best.csv
  fastvae recommend plays.csv --user listener --item song --count plays --prior composite -o songs.safetensors
  fastvae recommend matrix.npz --load shop.safetensors --include-seen

DATA: a table with a row for each pair of user and item, whose repetitions are added up, or a matrix, a row a user, a
column an item (an .npz of scipy.sparse.save_npz, .npy). Users of DATA need not be those of the training.

The result has the columns user, rank (1 is the best), item and score, ln p(item|user) up to a constant for each user.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    from fastvae import Recommender

    add_data(parser)
    group = parser.add_argument_group("recommendations")
    group.add_argument(
        "--user", metavar="COLUMN", help="column of users in a table of pairs (default: the first of two)"
    )
    group.add_argument("--item", metavar="COLUMN", help="column of items (default: the second of two)")
    group.add_argument("--count", metavar="COLUMN", help="column of numbers of clicks (default: 1 for each row)")
    group.add_argument("--load", metavar="MODEL", help="use this model; train none")
    group.add_argument("--top", metavar="N", type=int, default=10, help="items for each user (default: 10)")
    group.add_argument("--include-seen", action="store_true", help="rank the items that a user has in DATA too")
    group.add_argument(
        "--recommendations",
        metavar="FILE",
        help="write the best items of each user (.csv, .tsv, .parquet, -; default: -, without -o)",
    )
    training.add_fit(parser, required=False)
    parameters.add(parser, [Recommender])


def run(options: Any) -> int:
    """Train or load, and write the best items of each user."""
    from fastvae import Recommender

    if options.top < 1:
        raise UsageError(f"--top {options.top} must be at least 1")
    to = options.recommendations or (None if options.output or options.json else "-")
    output = None if to is None else Output(options, to)
    if output is not None and output.kind not in ("csv", "tsv", "parquet"):
        raise UsageError(f"--recommendations {to}: the result is a table; use .csv, .tsv or .parquet")
    if output is not None and output.stdout and options.json:
        raise UsageError("--recommendations - and --json both write to standard output")
    given = parameters.given(options, Recommender)
    if options.load is not None:
        if options.json:
            raise UsageError("--json is the summary of a training: leave it out with --load")
        model = training.loaded(options, given, Recommender, "a recommender")
        data = read_clicks(options, [str(item) for item in model.items_.tolist()])
    else:
        fit = training.Fit(options)
        fit.seed(given)
        data = read_clicks(options)
        messages.note(f"read {data.describe()}")
        if data.names is not None and "items" not in given:
            given["items"] = data.names
        model = Recommender(**given)
        fit.run(model, data, _validation(options, data))
        fit.summarise(model)
        if options.json:
            fit.print_json(model, data)
    if output is not None:
        output.write(_best(model, data, options))
    return 0


def _validation(options: Any, data: Data) -> Data | None:
    """Read ``--validation`` as DATA."""
    if options.validation is None:
        return None
    changed = copy.copy(options)
    changed.data, changed.rows = options.validation, None
    return read_clicks(changed, data.names)


def _best(model: Any, data: Data, options: Any) -> Result:
    """Return the table of recommendations."""
    items, scores = model.recommend(data.X, options.top, exclude_seen=not options.include_seen)
    used = np.isfinite(scores)
    users = np.arange(len(data)) if data.ids is None else np.array(data.ids, object)
    row, rank = np.nonzero(used)
    found = items[used]
    table = {"user": users[row], "rank": rank + 1, "item": found, "score": scores[used]}
    return Result(scores, list(table), table=table)
