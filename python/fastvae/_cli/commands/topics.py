"""``fastvae topics``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastvae._cli import messages, models, parameters, training, words
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data
from fastvae._cli.parser import DATA
from fastvae._cli.read import Data, read
from fastvae._cli.write import Output, Result, files, json_text

USAGE = "fastvae topics [DATA] [-o MODEL | --load MODEL] [--n-topics N] [--theta FILE] [options]"
EPILOG = f"""\
examples:
  fastvae topics articles.txt --n-topics 20 --stop-words english -o news.safetensors
  fastvae topics articles.txt --load news.safetensors --theta shares.csv
  fastvae topics --load news.safetensors --top 15
  fastvae topics counts.npz --vocabulary words.txt --decoder product --theta shares.parquet

DATA are word counts, or texts with one document a line. Words come from the texts, from an array "vocabulary" in an
.npz file, from the header of a table, or from --vocabulary. Those of texts are kept beside the model, in
MODEL.vocabulary.json, so that new texts are read alike.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    from fastvae import TopicModel

    add_data(parser, nargs="?")
    group = parser.add_argument_group("topics")
    group.add_argument("--load", metavar="MODEL", help="print the topics of this model; train none")
    group.add_argument("--top", metavar="N", type=int, default=10, help="words of each topic")
    group.add_argument(
        "--theta", metavar="FILE", help="write the topic shares of each document (.csv, .npy, .parquet, -)"
    )
    group.add_argument("--to", metavar="FORMAT", help="format of --theta")
    training.add_fit(parser, required=False)
    parameters.add(parser, [TopicModel])
    words.add(parser)


def run(options: Any) -> int:
    """Train or load, and print the topics."""
    from fastvae import TopicModel

    theta = None
    if options.theta is not None:
        theta = Output(options, options.theta, options.to)
        if options.data is None:
            raise UsageError("--theta needs DATA, the documents")
        if theta.stdout and options.json:
            raise UsageError("--theta - and --json both write to standard output")
    elif options.to is not None:
        raise UsageError("--to is the format of --theta")
    given = parameters.given(options, TopicModel)
    data: Data | None = None
    if options.load is not None:
        model = training.loaded(options, given, TopicModel, "a topic model")
        if options.data is not None:
            data = models.read_for(model, options, options.load)
    else:
        if options.data is None:
            raise UsageError("pass DATA to train on, or --load MODEL")
        fit = training.Fit(options)
        fit.seed(given)
        vocabulary = words.learner(options)
        data = read(options, vocabulary=vocabulary)
        if data.names is None and options.vocabulary is not None:
            _with_words(data, vocabulary([]).words, options.vocabulary)
        messages.note(f"read {data.describe()}")
        validation = training.read_validation(options, data, None, vocabulary)
        model = TopicModel(**given)
        fit.run(model, data, validation)
        fit.summarise(model)
    if theta is None or not theta.stdout:
        files.print_text(_report(model, data, options))
    elif not options.quiet:  # standard output is for theta
        sys.stderr.write(_report(model, data, options))
    if theta is not None and data is not None:
        shares = np.asarray(model.transform(data.X))
        theta.write(Result(shares, models.code_names(model), models.row_columns(data)))
    return 0


def _with_words(data: Data, words: list[str], file: str) -> None:
    from fastvae._cli.read.data import bare, named

    if len(words) != data.X.shape[1]:
        raise UsageError(f"--vocabulary {file} has {len(words)} words, {data.title} {data.X.shape[1]} columns")
    data.names, data.X = words, named(bare(data.X), words)


def _report(model: Any, data: Data | None, options: Any) -> str:
    """Return the topics as text, or as JSON."""
    names = models.words_of(model)
    top = model.top_words(names, min(options.top, len(names)))
    coherence = share = None
    if data is not None:
        coherence = model.coherence(data.X, n=min(max(options.top, 2), len(names)))
        share = np.asarray(model.transform(data.X)).mean(0)
    if options.json:
        topics = [
            {
                "topic": i,
                "words": each,
                "coherence": None if coherence is None else coherence[i],
                "share": None if share is None else share[i],
            }
            for i, each in enumerate(top)
        ]
        found: dict[str, Any] = {"topics": topics, "diversity": model.topic_diversity(min(options.top, len(names)))}
        if coherence is not None and data is not None:
            found |= {"coherence": np.nanmean(coherence), "perplexity": model.perplexity(data.X)}
        return json_text(found, ascii_only=False)
    lines = []
    for i, each in enumerate(top):
        numbers = "" if coherence is None or share is None else f"  npmi {coherence[i]:6.3f}  share {share[i]:5.3f}"
        lines.append(f"topic {i:<3}{numbers}  {' '.join(each)}")
    means = f"diversity {model.topic_diversity(min(options.top, len(names))):.3f}"
    if coherence is not None and data is not None:
        means = f"mean npmi {np.nanmean(coherence):.3f}, {means}, perplexity {model.perplexity(data.X):.6g}"
    return "\n".join([*lines, means]) + "\n"
