"""Time to coherent topics on short texts: TopicModel beside collapsed Gibbs sampling, LDA and NMF.

    pip install tomotopy
    python examples/topics/titles.py [--seeds 3] [--sets titles drawn] [--threads 2]

Titles are eight words of BBC News, drawn without replacement; `drawn` are 38,000 documents of
ten words by LDA's process.
A run is stopped at several points, where its clock stops too. NPMI is that of the top ten words in the whole articles,
or in the drawn documents. The runs of a seed follow each other in one process. Writes results/titles_time.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from compare import SHORT, write
from corpus import BBC, HERE, Array, load, sparse, titles
from lengths import drawn

import fastvae
from fastvae._topics import measures

N_TOPICS = 20

# A run yields its clock and its topics, [n_topics, n_words], at several points.
Points = Iterator[tuple[str, float, Array]]


def topic_model(X: Any, decoder: str, epochs: tuple[int, ...], seed: int, threads: int) -> Points:
    model: Any = None
    for n in epochs:
        options = SHORT[decoder] | {"random_state": seed, "n_jobs": threads, "epochs": n, "decoder": decoder}
        start = time.perf_counter()
        model = fastvae.TopicModel(N_TOPICS, **options).fit(X)
        yield f"{n} epochs", time.perf_counter() - start, model.components_


def gibbs(X: Any, iterations: tuple[int, ...], seed: int, threads: int) -> Points:
    tomotopy = import_module("tomotopy")
    bounds = zip(X.indptr[:-1], X.indptr[1:], strict=True)
    texts = [[f"w{w}" for w in np.repeat(X.indices[a:b], X.data[a:b].astype(int))] for a, b in bounds]
    start = time.perf_counter()
    model = tomotopy.LDAModel(k=N_TOPICS, seed=seed + 1)
    for text in texts:
        if text:
            model.add_doc(text)
    done, clock = 0, time.perf_counter() - start
    for n in iterations:
        start = time.perf_counter()
        model.train(n - done, workers=threads)
        done, clock = n, clock + time.perf_counter() - start
        topics = np.zeros((N_TOPICS, X.shape[1]))
        columns = [int(word[1:]) for word in model.used_vocabs]
        for k in range(N_TOPICS):
            topics[k, columns] = model.get_topic_word_dist(k)
        yield f"{n} iterations", clock, topics


def scikit(X: Any, name: str, seed: int) -> Points:
    decomposition, text = import_module("sklearn.decomposition"), import_module("sklearn.feature_extraction.text")
    start = time.perf_counter()
    if name == "LDA":
        options = {"learning_method": "online", "batch_size": 1024, "max_iter": 3, "random_state": seed}
        model = decomposition.LatentDirichletAllocation(N_TOPICS, **options).fit(X)
    else:
        model = decomposition.NMF(N_TOPICS, init="nndsvd", random_state=seed, max_iter=200)
        model.fit(text.TfidfTransformer().fit_transform(X))
    yield "3 passes" if name == "LDA" else "tf-idf", time.perf_counter() - start, model.components_


def main() -> None:
    """Run all models on the selected sets, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=("titles", "drawn"), default=["titles", "drawn"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=BBC)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "titles_time.md")
    options = parser.parse_args()
    articles = load(options.data).counts
    lines = ["| documents | model | stopped after | seconds | NPMI | diversity |", "|---" * 6 + "|"]
    for name in options.sets:
        found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
        for seed in range(options.seeds):
            if name == "titles":
                X, reference = titles(articles, seed)[0], articles
            else:
                phi = np.random.default_rng(seed).dirichlet(np.full(1000, 0.05), N_TOPICS)
                X = sparse.csr_matrix(drawn(38_000, phi, 10, seed + 1000)[0])
                reference = X
            runs: dict[str, Callable[[], Points]] = {
                "TopicModel, product": partial(topic_model, X, "product", (1, 2), seed, options.threads),
                "TopicModel, mixture": partial(topic_model, X, "mixture", (1, 4), seed, options.threads),
                "tomotopy": partial(gibbs, X, (20, 30, 50), seed, options.threads),
                "scikit-learn NMF": partial(scikit, X, "NMF", seed),
                "scikit-learn LDA": partial(scikit, X, "LDA", seed),
            }
            for model, run in runs.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    for point, seconds, topics in run():
                        npmi = float(measures.coherence(topics, reference).mean())
                        found.setdefault((model, point), []).append((seconds, npmi, measures.diversity(topics)))
                        print(f"{name} seed {seed} {model} {point}: {seconds:.2f} s, NPMI {npmi:.3f}", flush=True)
        for (model, point), values in found.items():
            (seconds, npmi, diversity), spread = np.median(values, axis=0), np.std(values, axis=0)
            lines.append(
                f"| {name} | {model} | {point} | {seconds:.2f} | {npmi:.3f} ± {spread[1]:.3f} | {diversity:.2f} |"
            )
        write(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
