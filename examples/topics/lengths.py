"""Topic models on documents of all lengths: short, equal, long-tailed, and longer than in training.

    python examples/topics/lengths.py [--seeds 3] [--sets titles tail ...] [--models lda mixture product]

Writes the means over the seeds to results/lengths.md. Synthetic documents are drawn by LDA's process with alpha 0.1.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from compare import Lda, write
from corpus import BBC, HERE, Array, Corpus, load, sparse

import fastvae
from fastvae._topics import measures

linear_sum_assignment: Any = import_module("scipy.optimize").linear_sum_assignment  # untyped

LDA_ITERATIONS = 50


class Set(NamedTuple):
    """Documents [n, n_words] for training and testing; theta and phi that synthetic ones were drawn from."""

    n_topics: int
    train: Any
    test: Any
    reference: Any  # documents for NPMI
    theta: Array | None = None
    phi: Array | None = None
    longer: tuple[tuple[Any, Array], ...] = ()  # further test documents with their theta


def drawn(n: int, phi: Array, lengths: Any, seed: int) -> tuple[Array, Array]:
    """Draw documents by LDA's process: counts [n, n_words] and theta [n, n_topics]."""
    random = np.random.default_rng(seed)
    theta = random.dirichlet(np.full(len(phi), 0.1), n)
    words = np.maximum(1, lengths(random, n) if callable(lengths) else np.full(n, lengths)).astype(int)
    p = theta @ phi
    p /= p.sum(1, keepdims=True)
    counts: Array = np.stack([random.multinomial(*one) for one in zip(words, p, strict=True)]).astype(np.float32)
    return counts, theta


def synthetic(n: int, n_topics: int, n_words: int, eta: float, lengths: Any, more: tuple[int, ...] = ()) -> Any:
    def make(corpus: Corpus, seed: int) -> Set:
        phi = np.random.default_rng(seed).dirichlet(np.full(n_words, eta), n_topics)
        train, _ = drawn(n, phi, lengths, seed + 1000)
        test, theta = drawn(1000, phi, lengths, seed + 2000)
        longer = tuple(drawn(1000, phi, length, seed + 3000 + length) for length in more)
        return Set(n_topics, train, test, train, theta, phi, longer)

    return make


def long_tail(random: np.random.Generator, n: int) -> Array:
    words: Array = np.exp(np.log(80) + 1.5 * random.standard_normal(n))
    return words


def bbc(n_topics: int) -> Callable[[Corpus, int], Set]:
    def make(corpus: Corpus, seed: int) -> Set:
        return Set(n_topics, corpus.part("train")[0], corpus.part("test")[0], corpus.counts)

    return make


def bbc_titles(corpus: Corpus, seed: int) -> Set:
    """Up to seven titles of ten words from each document, drawn without replacement."""

    def titles(split: str) -> Any:
        counts, random = corpus.part(split)[0], np.random.default_rng(0)
        rows = []
        for one in counts:
            words = random.permutation(np.repeat(one.indices, one.data.astype(int)))[:70]
            for part in words[: len(words) // 10 * 10].reshape(-1, 10):
                rows.append(np.bincount(part, minlength=counts.shape[1]).astype(np.float32))
        return sparse.csr_matrix(np.array(rows))

    return Set(20, titles("train"), titles("test"), corpus.counts)


SETS = {
    "bbc10": ("BBC News, 10 topics", bbc(10)),
    "bbc20": ("BBC News, 20 topics", bbc(20)),
    "bbc_titles": ("ten words of BBC News, 20 topics", bbc_titles),
    "titles": ("10,000 of ten words, 20 topics of 1,000 words", synthetic(10_000, 20, 1000, 0.05, 10)),
    "equal": ("1,000 of 80 words, 6 topics of 300 words", synthetic(1000, 6, 300, 0.1, 80)),
    "tail": ("1,000 of a long tail of lengths, 6 topics of 300 words", synthetic(1000, 6, 300, 0.1, long_tail)),
    "sparse_tail": ("the same, topics of fewer words (eta 0.05)", synthetic(1000, 6, 300, 0.05, long_tail)),
    "longer": ("1,000 of 40 words, 6 topics of 300 words", synthetic(1000, 6, 300, 0.1, 40, (400, 4000))),
}
MODELS = {"lda": (None,), "mixture": (None, 0.1), "product": (None, 0.1)}


def measure(name: str, alpha: float | None, documents: Set, seed: int) -> list[float]:
    """Fit a model: NPMI, perplexity, topics like another one, and shares of documents in the right topic."""
    options: dict[str, Any] = {"alpha": alpha, "decoder": name, "random_state": seed, "n_jobs": 1}
    model: Any = (
        Lda(documents.n_topics, LDA_ITERATIONS, seed)
        if name == "lda"
        else fastvae.TopicModel(documents.n_topics, **options)
    )
    model.fit(documents.train)
    topics = np.asarray(model.components_, np.float64)
    overlap = np.array([np.minimum(one, topics).sum(1) for one in topics])
    np.fill_diagonal(overlap, 0)
    found = [
        float(measures.coherence(topics, documents.reference, "npmi", 10).mean()),
        float((model.model if name == "lda" else model).perplexity(documents.test)),
        float((overlap.max(1) > 0.7).sum()),
    ]
    if documents.phi is not None and documents.theta is not None:
        shared = np.array([np.minimum(one, documents.phi).sum(1) for one in topics])
        true = linear_sum_assignment(-shared)[1]
        for counts, theta in ((documents.test, documents.theta), *documents.longer):
            found.append(float((true[np.asarray(model.transform(counts)).argmax(1)] == theta.argmax(1)).mean()))
    return found


def main() -> None:
    """Measure the selected sets and models, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--data", type=Path, default=BBC)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "lengths.md")
    options = parser.parse_args()
    corpus = load(options.data)
    lines = ["| documents | model | alpha | NPMI | perplexity | alike | right topic |", "|---" * 7 + "|"]
    for key in options.sets:
        title, make = SETS[key]
        for name in options.models:
            for alpha in MODELS[name]:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    runs = [measure(name, alpha, make(corpus, seed), seed) for seed in range(options.seeds)]
                npmi, perplexity, alike, *right = np.mean(runs, axis=0)
                shares = ", ".join(f"{share:.3f}" for share in right)
                cells = [
                    title,
                    name,
                    f"{alpha or 'default'}",
                    f"{npmi:.3f}",
                    f"{perplexity:.1f}",
                    f"{alike:.1f}",
                    shares,
                ]
                lines.append(f"| {' | '.join(cells)} |")
                print(lines[-1], flush=True)
                write(options.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
