"""Where topics start: at the words' frequencies in the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._data import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Looked at at a time, before training.
_DOCUMENTS = 256
_START_STREAM = 254  # of the counter generator, which the core does not use

# The standard deviation of ln phi about the words' log frequencies before training.
_SPREAD = 0.1


def log_frequencies(X: Any, rows: NDArray[np.uint64] | None) -> NDArray[np.float64]:
    """Return ln of each word's share of all words of some documents, [n_words], each word counted 0.1 times more."""
    counts = count_words(X, rows) + 0.1
    found: NDArray[np.float64] = np.log(counts / counts.sum())
    return found


def spread_out(log_frequencies: NDArray[np.float64], n_topics: int, seed: int) -> NDArray[np.float32]:
    """Return the weights of topics that are the words' frequencies times random factors, [n_words, n_topics]."""
    shape = (len(log_frequencies), n_topics)
    noise = _core.standard_normal(*shape, seed, _START_STREAM).reshape(shape)
    weight = (log_frequencies[:, None] + _SPREAD * noise) / _core.TOPIC_GAIN
    return weight.astype(np.float32)


def count_words(X: Any, rows: NDArray[np.uint64] | None = None) -> NDArray[np.float64]:
    """Return how often each word occurs in some documents, [n_words]: added up in their order, a few at a time."""
    counts = np.zeros(X.shape[1])
    if isinstance(X, _core.SparseMatrix):
        wanted = np.full(len(X), rows is None)
        if rows is not None:
            wanted[rows] = True
        words = np.arange(len(counts))
        for start, document, word, value in sparse.blocks(X, _DOCUMENTS):
            mine = wanted[start + document]
            cells, values = np.append(words, word[mine]), np.append(counts, value[mine])
            counts = np.bincount(cells, values, len(counts))
        return counts
    for start in range(0, len(X) if rows is None else len(rows), _DOCUMENTS):
        some = slice(start, start + _DOCUMENTS)
        counts = np.vstack([counts, X[some if rows is None else rows[some]]]).sum(0)
    return counts
