"""Initial weights of topics: the frequencies of the words in the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._data import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 256  # documents that are counted at a time, at least
_ENTRIES = 2**14  # about the most stored words at a time, in more documents of fewer words
_START_STREAM = 254  # stream of the counter generator that the engine does not use

# Standard deviation of the initial ln phi about the log frequencies of the words.
_START_STD = 0.1


def log_frequencies(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln of each word's share of all words, [n_words], with 0.1 added to each count."""
    counts = counts + 0.1
    found: NDArray[np.float64] = np.log(counts / counts.sum())
    return found


def random_topics(log_frequencies: NDArray[np.float64], n_topics: int, seed: int) -> NDArray[np.float32]:
    """Return weights of topics that are the word frequencies times random factors, [n_words, n_topics]."""
    shape = (len(log_frequencies), n_topics)
    noise = _core.standard_normal(*shape, seed, _START_STREAM).reshape(shape)
    weight = (log_frequencies[:, None] + _START_STD * noise) / _core.TOPIC_GAIN
    return weight.astype(np.float32)


def of_topics(topics: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weights of a mixture of topics [n_topics, n_words], positive probabilities: [n_words, n_topics]."""
    return (np.log(topics) / _core.TOPIC_GAIN).T.astype(np.float32)  # type: ignore[no-any-return]


def count_words(X: Any, rows: NDArray[np.uint64] | None = None) -> NDArray[np.float64]:
    """Return the count of each word in some rows of X (None: all), [n_words], added up in the order of the rows."""
    counts = np.zeros(X.shape[1])
    if isinstance(X, _core.SparseMatrix):
        selected = np.full(len(X), rows is None)
        if rows is not None:
            selected[rows] = True
        words = np.arange(len(counts))
        size = max(_BLOCK, _ENTRIES * len(X) // max(len(X.indices), 1))
        for start, document, word, value in sparse.blocks(X, size):
            keep = selected[start + document]
            cells, values = np.append(words, word[keep]), np.append(counts, value[keep])
            counts = np.bincount(cells, values, len(counts))
        return counts
    for start in range(0, len(X) if rows is None else len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        counts = np.vstack([counts, X[block if rows is None else rows[block]]]).sum(0)
    return counts
