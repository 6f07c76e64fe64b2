"""``fastvae topics``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastvae._cli import messages, models, parameters, training, words
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data, add_embeddings
from fastvae._cli.parser import DATA
from fastvae._cli.read import Data, read
from fastvae._cli.write import Output, Result, files, json_text

USAGE = "fastvae topics [DATA] [-o MODEL | --load MODEL] [--n-topics N] [--theta FILE] [--explain FILE] [options]"
EPILOG = f"""\
examples:
  fastvae topics articles.txt --n-topics 20 --stop-words english -o news.safetensors
  fastvae topics articles.txt --load news.safetensors --theta shares.csv
  fastvae topics --load news.safetensors --top 15
  fastvae topics articles.txt --load news.safetensors --explain words.csv
  fastvae topics articles.txt --seed-words 0=goal,match --seed-words 1=market,bank -o news.safetensors
  fastvae topics articles.txt --embeddings vectors.npy -o contextual.safetensors
  fastvae topics articles.txt --grid 5,10,20,40 -o news.safetensors
  fastvae topics counts.npz --vocabulary words.txt --decoder product --theta shares.parquet

DATA are word counts, or texts with one document a line. Words come from the texts, from an array "vocabulary" in an
.npz file, from the header of a table, or from --vocabulary. Those of texts are kept beside the model, in
MODEL.vocabulary.json, so that new texts are read alike.

--explain writes a row for each word of each document: its count, and the probability that each topic has produced it.
--grid compares numbers of topics by held-out perplexity and coherence, and trains with the one that it advises.

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
    group.add_argument("--explain", metavar="FILE", help="write the topics of each word in each document")
    group.add_argument("--to", metavar="FORMAT", help="format of --theta and --explain")
    seed_words = 'words that the prior gives to topic K, with commas; or a JSON file, {"0": ["goal", ...], ...}'
    group.add_argument("--seed-words", metavar="K=WORDS|FILE", action="append", help=seed_words)
    group.add_argument("--grid", metavar="N,N,...", help="choose the number of topics among these")
    add_embeddings(group)
    training.add_fit(parser, required=False)
    parameters.add(parser, [TopicModel])
    words.add(parser)


def run(options: Any) -> int:
    """Train or load, and print the topics."""
    from fastvae import TopicModel

    theta, explained = _output(options, "theta"), _output(options, "explain")
    if options.to is not None and theta is None and explained is None:
        raise UsageError("--to is the format of --theta and --explain")
    to_stdout = [f"--{name}" for name, each in (("theta", theta), ("explain", explained)) if each and each.stdout]
    if len(to_stdout) + options.json > 1:
        both = [*(f"{name} -" for name in to_stdout), *["--json"] * options.json]
        raise UsageError(f"{' and '.join(both)} both write to standard output")
    given = parameters.given(options, TopicModel)
    data: Data | None = None
    if options.load is not None:
        if options.seed_words is not None or options.grid is not None:
            name = "--grid" if options.seed_words is None else "--seed-words"
            raise UsageError(f"{name} is for training, and --load trains no model")
        model = training.loaded(options, given, TopicModel, "a topic model")
        if options.data is not None:
            data = models.read_for(model, options, options.load)
        elif options.embeddings is not None:
            raise UsageError("--embeddings needs DATA, the documents")
    else:
        if options.data is None:
            raise UsageError("pass DATA to train on, or --load MODEL")
        data, model = _train(options, given)
    vectors = {} if data is None else models.condition(model, data)
    if not to_stdout:
        files.print_text(_report(model, data, vectors, options))
    elif not options.quiet:  # standard output is for a table
        sys.stderr.write(_report(model, data, vectors, options))
    if theta is not None and data is not None:
        shares = np.asarray(model.transform(data.X, **vectors))
        theta.write(Result(shares, models.code_names(model), models.row_columns(data)))
    if explained is not None and data is not None:
        explained.write(_explanation(model, data, vectors))
    return 0


def _output(options: Any, name: str) -> Output | None:
    path = getattr(options, name)
    if path is None:
        return None
    if options.data is None:
        raise UsageError(f"--{name} needs DATA, the documents")
    return Output(options, path, options.to)


def _train(options: Any, given: dict[str, Any]) -> tuple[Data, Any]:
    from fastvae import TopicModel

    fit = training.Fit(options)
    fit.seed(given)
    if options.validation is not None and options.embeddings is not None:
        raise UsageError("--validation has no embeddings: pass --validation-fraction in its place")
    if options.seed_words is not None:
        given["seed_words"] = _seed_words(options.seed_words)
    vocabulary = words.learner(options)
    data = read(options, vocabulary=vocabulary)
    if data.names is None and options.vocabulary is not None:
        _with_words(data, vocabulary([]).words, options.vocabulary)
    messages.note(f"read {data.describe()}")
    validation = training.read_validation(options, data, None, vocabulary)
    if options.grid is not None:
        if "n_topics" in given:
            raise UsageError("pass --n-topics or --grid, not both")
        choice = TopicModel(**given).choose_n_topics(data.X, _grid(options.grid), embeddings=data.embeddings)
        messages.note(str(choice))
        given["n_topics"] = choice.best
    model = TopicModel(**given)
    fit.run(model, data, validation, embeddings=data.embeddings)
    fit.summarise(model)
    return data, model


def _grid(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--grid {text}: write numbers of topics, such as 5,10,20,40") from None


def _seed_words(given: list[str]) -> dict[int, list[str]]:
    """Return the seeds of topics from values of --seed-words, or raise UsageError."""
    found: dict[int, list[str]] = {}
    for text in given:
        topic, equals, seeds = text.partition("=")
        for key, each in ({topic: seeds.split(",")} if equals else _seed_file(text)).items():
            if not key.strip().isdecimal():
                raise UsageError(
                    f"--seed-words {text}: the topic {key!r} is no number: write 0=goal,match or FILE.json"
                )
            found.setdefault(int(key), []).extend(word.strip() for word in each if word.strip())
    return found


def _seed_file(path: str) -> dict[str, list[str]]:
    if not Path(path).is_file():
        raise UsageError(f"--seed-words {path}: there is no such file; write topics and words as 0=goal,match")
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--seed-words {path} is no JSON file: {error}") from None
    lists = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(each, list) and all(isinstance(word, str) for word in each) for each in lists):
        raise UsageError(f'--seed-words {path} must hold topics and their words: {{"0": ["goal", "match"]}}')
    return found  # type: ignore[no-any-return]


def _explanation(model: Any, data: Data, vectors: dict[str, Any]) -> Result:
    """Return a row for each word of each document: its count and the probability of each topic."""
    found = model.explain(data.X, embeddings=vectors.get("y"))
    document = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    rows = models.row_columns(data) or {"document": np.arange(found.shape[0])}
    names = np.array(models.words_of(model), object)
    before = {name: values[document] for name, values in rows.items()}
    before |= {"word": names[found.indices], "count": found.counts}
    return Result(found.shares, models.code_names(model), before)


def _with_words(data: Data, words: list[str], file: str) -> None:
    from fastvae._cli.read.data import bare, named

    if len(words) != data.X.shape[1]:
        raise UsageError(f"--vocabulary {file} has {len(words)} words, {data.title} {data.X.shape[1]} columns")
    data.names, data.X = words, named(bare(data.X), words)


def _report(model: Any, data: Data | None, vectors: dict[str, Any], options: Any) -> str:
    """Return the topics as text, or as JSON."""
    names = models.words_of(model)
    top = model.top_words(names, min(options.top, len(names)))
    coherence = share = perplexity = None
    if data is not None:
        coherence = model.coherence(data.X, n=min(max(options.top, 2), len(names)))
        share = np.asarray(model.transform(data.X, **vectors)).mean(0)
        perplexity = model.perplexity(data.X, embeddings=vectors.get("y"))
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
            found |= {
                "coherence": np.nanmean(coherence),
                "perplexity": perplexity,
            }
        return json_text(found, ascii_only=False)
    lines = []
    for i, each in enumerate(top):
        numbers = "" if coherence is None or share is None else f"  npmi {coherence[i]:6.3f}  share {share[i]:5.3f}"
        lines.append(f"topic {i:<3}{numbers}  {' '.join(each)}")
    means = f"diversity {model.topic_diversity(min(options.top, len(names))):.3f}"
    if coherence is not None and data is not None:
        means = f"mean npmi {np.nanmean(coherence):.3f}, {means}, perplexity {perplexity:.6g}"
    return "\n".join([*lines, means]) + "\n"
