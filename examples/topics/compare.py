"""Topics of BBC News: fastvae.TopicModel compared with scikit-learn's LDA and NMF and with ProdLDA in PyTorch.

    python examples/topics/compare.py [--quick] [--models lda torch mixture product] [--topics 10 20] [--seeds 5]
    python examples/topics/compare.py --corpus titles --models lda nmf mixture product --topics 20 --seeds 3

Titles are eight words of an article (titles.py). Each run is saved in results/bbc.json or results/titles.json once it
is measured, and not repeated; --again repeats the runs of --models. All models use one thread. --quick uses one seed
and few epochs and writes to scratch/, which is not committed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from corpus import BBC, HERE, Array, Corpus, in_titles, load
from measures import measure
from sklearn.decomposition import NMF, LatentDirichletAllocation
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.pipeline import make_pipeline

from fastvae._topics import measures

COLUMNS = {  # of the table: the key of a run, its heading, its format
    "npmi": ("NPMI", ".3f"),
    "diversity": ("diversity", ".2f"),
    "perplexity": ("perplexity", ".0f"),
    "accuracy": ("accuracy", ".3f"),
    "topics_used": ("topics used", ".1f"),
    "seconds": ("seconds", ".1f"),
    "ms_an_epoch": ("ms an epoch", ".1f"),
}


# ---------------------------------------------------------------------------------------------- models


class Lda:
    """scikit-learn's LDA (batch variational Bayes) with the methods that ``measure`` needs."""

    def __init__(self, n_topics: int, epochs: int, random_state: int, **options: Any) -> None:
        given = {"max_iter": epochs, "random_state": random_state, "n_jobs": 1}
        self.model = LatentDirichletAllocation(n_topics, **given, **options)

    def fit(self, X: Any) -> Lda:
        """Fit to counts."""
        self.model.fit(X)
        # Rows are pseudo-counts of a Dirichlet posterior; the mean of phi is a row divided by its sum.
        self.components_: Array = self.model.components_ / self.model.components_.sum(axis=1, keepdims=True)
        return self

    def transform(self, X: Any) -> Array:
        """Return theta."""
        return self.model.transform(X)  # type: ignore[no-any-return]

    def inverse_transform(self, theta: Array) -> Array:
        """Return p(w|d) = sum_t theta_dt phi_tw."""
        return theta @ self.components_


class Nmf:
    """scikit-learn's NMF of tf-idf, which has no probabilities of words: no ``inverse_transform``."""

    def __init__(self, n_topics: int, epochs: int) -> None:
        self.model = make_pipeline(TfidfTransformer(), NMF(n_topics, init="nndsvd", max_iter=epochs))

    def fit(self, X: Any) -> Nmf:
        """Fit to counts."""
        self.model.fit(X)
        self.components_: Array = self.model[-1].components_
        self.n_iter_: int = self.model[-1].n_iter_
        return self

    def transform(self, X: Any) -> Array:
        """Return the weights of topics in each document, divided by their sum."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations, with --quick
            weights = self.model.transform(X) + 1e-12
        shares: Array = weights / weights.sum(1, keepdims=True)
        return shares


# Settings of TopicModel for many short documents; the guide recommends them.
SHORT: dict[str, dict[str, Any]] = {
    "mixture": {"init": "clusters", "batch_size": 512, "learning_rate": 2e-3, "masking": 0.0, "epochs": 4},
    "product": {"init": "clusters", "batch_size": 512, "learning_rate": 1e-2, "epochs": 2},
}


def lda(n_topics: int, seed: int, quick: bool, short: bool) -> tuple[Any, dict[str, Any]]:
    # Batches of all titles take minutes.
    settings: dict[str, Any] = {"learning_method": "online", "batch_size": 1024} if short else {}
    settings["epochs"] = 3 if quick or short else 100
    return Lda(n_topics, random_state=seed, **settings), settings


def nmf(n_topics: int, seed: int, quick: bool, short: bool) -> tuple[Any, dict[str, Any]]:
    """The same for all seeds: its start is that of the singular vectors."""
    return Nmf(n_topics, 3 if quick else 500), {}


def prodlda(n_topics: int, seed: int, quick: bool, short: bool) -> tuple[Any, dict[str, Any]]:
    """The best setting of tune.py; other options are those of the authors."""
    from prodlda import BEST, ProdLDA, torch

    torch.set_num_threads(1)
    settings = BEST | ({"epochs": 3} if quick else {})
    return ProdLDA(n_topics, random_state=seed, **settings), settings


def ours(decoder: str) -> Callable[[int, int, bool, bool], tuple[Any, dict[str, Any]]]:
    def make(n_topics: int, seed: int, quick: bool, short: bool) -> tuple[Any, dict[str, Any]]:
        topic_model = import_module("fastvae").TopicModel
        settings: dict[str, Any] = {"decoder": decoder} | (SHORT[decoder] if short else {})
        settings |= {"epochs": 3} if quick else {}
        model = topic_model(n_topics, random_state=seed, n_jobs=1, **settings)
        return model, settings  # and the epochs that they come to, after fit

    return make


MODELS = {
    "lda": ("scikit-learn LDA", lda),
    "nmf": ("scikit-learn NMF", nmf),
    "torch": ("ProdLDA, PyTorch", prodlda),
    "mixture": ('TopicModel, "mixture"', ours("mixture")),
    "product": ('TopicModel, "product"', ours("product")),
}


# ---------------------------------------------------------------------------------------------- runs


def run(name: str, n_topics: int, seed: int, corpus: Corpus, quick: bool) -> dict[str, Any]:
    """Fit a model to the training documents and measure it on the test documents."""
    model, settings = MODELS[name][1](n_topics, seed, quick, corpus.reference is not None)
    train, _ = corpus.part("train")
    begun, wall = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train)
    seconds, wall = time.process_time() - begun, time.perf_counter() - wall
    settings |= {"epochs": getattr(model, "n_iter_", settings.get("epochs"))}
    found = measure(model, corpus)
    words = measures.top_words(model.components_, corpus.vocabulary, min(10, len(corpus.vocabulary)))
    return {
        "model": name, "n_topics": n_topics, "seed": seed, "settings": settings, **found,
        "seconds": seconds, "wall_seconds": wall, "ms_an_epoch": 1000 * seconds / settings["epochs"],
        "words": [" ".join(topic) for topic in words],
    }  # fmt: skip


def missing(runs: Sequence[dict[str, Any]], options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Yield model, number of topics and seed of the runs that are missing."""
    done = {(one["model"], one["n_topics"], one["seed"]) for one in runs}
    for seed in range(1 if options.quick else options.seeds):
        for n_topics in options.topics:
            for name in options.models:
                if (name, n_topics, seed) not in done:
                    yield name, n_topics, seed


def write(path: Path, text: str) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def kept(path: Path) -> list[dict[str, Any]]:
    """Return the runs in a file, or none if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def keep(path: Path, runs: Sequence[dict[str, Any]]) -> None:
    """Write the runs to a file in the order of the table."""
    ordered = sorted(runs, key=lambda one: (one["n_topics"], list(MODELS).index(one["model"]), one["seed"]))
    write(path, json.dumps(ordered, indent=1) + "\n")


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return means and standard deviations over the seeds as a Markdown table."""
    lines = [
        "| topics | model | seeds | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for n_topics in sorted({one["n_topics"] for one in runs}):
        for name, (title, _) in MODELS.items():
            those = [one for one in runs if (one["model"], one["n_topics"]) == (name, n_topics)]
            if not those:
                continue
            cells = []
            for key, (_, form) in COLUMNS.items():
                if those[0][key] is None:
                    cells.append("-")
                    continue
                values = np.array([one[key] for one in those])
                spread = f" ± {values.std(ddof=1):{form}}" if len(values) > 1 else ""
                cells.append(f"{values.mean():{form}}{spread}")
            lines.append(f"| {n_topics} | {title} | {len(those)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, do the missing runs, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=("bbc", "titles"), default="bbc")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--topics", type=int, nargs="+", default=(10, 20))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one seed, few epochs")
    parser.add_argument("--again", action="store_true", help="repeat the runs of the selected models")
    parser.add_argument("--data", type=Path, default=BBC)
    parser.add_argument("--out", type=Path, help="folder; default: results, or scratch with --quick")
    options = parser.parse_args(argv)
    out = options.out or HERE / ("scratch" if options.quick else "results")
    path = out / f"{options.corpus}.json"
    articles = load(options.data)
    if options.again:
        keep(path, [one for one in kept(path) if one["model"] not in options.models])
    for name, n_topics, seed in missing(kept(path), options):
        corpus = in_titles(articles, seed) if options.corpus == "titles" else articles
        found = run(name, n_topics, seed, corpus, options.quick)
        keep(path, [*kept(path), found])  # read again: another process may have added runs
        shown = {key: each for key, each in COLUMNS.items() if found[key] is not None}
        numbers = ", ".join(f"{heading} {found[key]:{form}}" for key, (heading, form) in shown.items())
        print(f"{time.strftime('%H:%M:%S')}  {name}, {n_topics} topics, seed {seed}: {numbers}", flush=True)
    write(out / f"{options.corpus}.md", table(kept(path)))
    print(table(kept(path)))


if __name__ == "__main__":
    main()
