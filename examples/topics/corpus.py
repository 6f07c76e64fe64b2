"""BBC News as word counts, and the split of documents for document completion."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
sparse: Any = import_module("scipy.sparse")  # untyped; installed with scikit-learn

HERE = Path(__file__).resolve().parent
BBC = HERE.parents[2] / "shared" / "data" / "bbc_news.npz"  # beside the repository


@dataclass(frozen=True)
class Corpus:
    """Word counts, a CSR matrix [n_documents, n_words], with labels, split and vocabulary."""

    counts: Any
    labels: Array
    split: Array  # "train", "val" or "test"
    vocabulary: list[str]
    reference: Any = None  # documents in which words co-occur, for NPMI; None: `counts`

    def part(self, name: str) -> tuple[Any, Array]:
        """Return counts and labels of the documents of a split."""
        rows = self.split == name
        return self.counts[rows], self.labels[rows]


def load(path: Path) -> Corpus:
    """Read counts (CSR: data, indices, indptr, shape), vocabulary, labels and split from an .npz file.

    Raises
    ------
    SystemExit
        If there is no such file, or it holds something else.
    """
    names = ("data", "indices", "indptr", "shape", "vocabulary", "labels", "split")
    if not path.exists():
        raise SystemExit(
            f"The corpus {path.name} is missing in shared/data beside the repository.\n"
            f"Pass --data PATH: an .npz file with the arrays {', '.join(names)}."
        )
    with np.load(path, allow_pickle=False) as archive:
        if not set(names) <= set(archive.files):
            raise SystemExit(f"{path.name} holds the arrays {archive.files}, but needs {', '.join(names)}")
        data, indices, indptr, shape, vocabulary, labels, split = (archive[name] for name in names)
    counts = sparse.csr_matrix((data.astype(np.float32), indices, indptr), tuple(shape))
    return Corpus(counts, labels, split, vocabulary.tolist())


def titles(counts: Any, seed: int) -> tuple[Any, Array]:
    """Divide the words of each article at random into titles of about eight words.

    Returns their counts, a CSR matrix [n_titles, n_words], and the article of each.
    """
    random = np.random.default_rng(seed)
    rows, words = [], []
    articles: list[int] = []
    for article, one in enumerate(counts):
        shuffled = random.permutation(np.repeat(one.indices, one.data.astype(int)))
        for part in np.array_split(shuffled, max(1, len(shuffled) // 8)):
            rows.append(np.full(len(part), len(articles)))
            words.append(part)
            articles.append(article)
    entries = np.concatenate(rows), np.concatenate(words)
    found = sparse.csr_matrix((np.ones(len(entries[0]), np.float32), entries), (len(articles), counts.shape[1]))
    found.sum_duplicates()
    return found, np.array(articles)


def in_titles(corpus: Corpus, seed: int) -> Corpus:
    """Return the titles of a corpus, whose words co-occur in the articles."""
    counts, article = titles(corpus.counts, seed)
    return Corpus(counts, corpus.labels[article], corpus.split[article], corpus.vocabulary, corpus.counts)


def halves(counts: Any, seed: int = 0) -> tuple[Any, Any]:
    """Divide the words of each document at random into a half to infer topics from and a half to score.

    With an odd number of words, the second half is larger by one.
    """
    random = np.random.default_rng(seed)
    ends = counts.indptr
    first = np.zeros_like(counts.data)
    for start, end in pairwise(ends):
        entry = np.repeat(np.arange(start, end), counts.data[start:end].astype(int))  # one entry for each word
        chosen = random.permutation(entry)[: len(entry) // 2]
        np.add.at(first, chosen, 1)
    second = counts.copy()
    second.data -= first
    first = sparse.csr_matrix((first, counts.indices, counts.indptr), counts.shape, copy=True)
    for part in (first, second):
        part.eliminate_zeros()  # works in place: the parts must not share their arrays
    return first, second
