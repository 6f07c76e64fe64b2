"""BBC News as word counts, and how a document is divided for document completion."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
sparse: Any = import_module("scipy.sparse")  # scikit-learn has it; the project does not depend on it

HERE = Path(__file__).resolve().parent
BBC = HERE.parents[2] / "shared" / "data" / "bbc_news.npz"  # beside the repository


@dataclass(frozen=True)
class Corpus:
    """Counts of words, a CSR matrix [n_documents, n_words], and what is known of the documents."""

    counts: Any
    labels: Array
    split: Array  # "train", "val" or "test"
    vocabulary: list[str]

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
            f"The corpus is looked for in {path.name} in shared/data beside the repository, and is not there.\n"
            f"Give --data PATH: an .npz file with the arrays {', '.join(names)}."
        )
    with np.load(path, allow_pickle=False) as archive:
        if not set(names) <= set(archive.files):
            raise SystemExit(f"{path.name} holds {archive.files}, but {', '.join(names)} are needed")
        data, indices, indptr, shape, vocabulary, labels, split = (archive[name] for name in names)
    counts = sparse.csr_matrix((data.astype(np.float32), indices, indptr), tuple(shape))
    return Corpus(counts, labels, split, vocabulary.tolist())


def halves(counts: Any, seed: int = 0) -> tuple[Any, Any]:
    """Divide the words of each document at random: one half to infer its topics from, one to score.

    An odd word goes to the second half.
    """
    random = np.random.default_rng(seed)
    ends = counts.indptr
    first = np.zeros_like(counts.data)
    for start, end in pairwise(ends):
        entry = np.repeat(np.arange(start, end), counts.data[start:end].astype(int))  # a word each
        chosen = random.permutation(entry)[: len(entry) // 2]
        np.add.at(first, chosen, 1)
    second = counts.copy()
    second.data -= first
    first = sparse.csr_matrix((first, counts.indices, counts.indptr), counts.shape, copy=True)
    for part in (first, second):
        part.eliminate_zeros()  # in place: no part may share its indices with another
    return first, second
