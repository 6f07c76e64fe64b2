"""Documents as shares of topics: drawing, similarity, a map; on arrays, for any topic model.

``theta`` [n_documents, n_topics] are the topic shares of documents, rows that sum to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays
from fastvae._neighbours import nearest
from fastvae._topics.measures import resolve_n

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_TOLERANCE = 1e-3  # of the sum of shares, far above the rounding of float32
_MAX_CELLS = 2**19  # entries of a temporary table [documents, words]: 4 MB


@dataclass(frozen=True)
class Counts:
    """Word counts of documents as a sparse matrix (CSR).

    ``scipy.sparse.csr_matrix((c.data, c.indices, c.indptr), c.shape)`` converts it to scipy.
    """

    data: NDArray[np.int32]  # counts [nnz], at least 1
    indices: NDArray[np.int32]  # words [nnz], ascending in each document
    indptr: NDArray[np.int64]  # [n_documents + 1]: document d has the entries indptr[d] .. indptr[d + 1]
    shape: tuple[int, int]

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return len(self.data)

    def toarray(self) -> NDArray[np.int32]:
        """Return the counts as a dense array, [n_documents, n_words]."""
        dense = np.zeros(self.shape, np.int32)
        dense[np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), self.indices] = self.data
        return dense


def sample_documents(
    theta: ArrayLike, components: ArrayLike, lengths: ArrayLike, generator: np.random.Generator
) -> Counts:
    """Draw documents: for each word a topic from theta_d, then a word from the topic (Blei, Ng & Jordan, JMLR 2003).

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
    components : array_like, [n_topics, n_words]
        Word probabilities of the topics; rows sum to one.
    lengths : int or array_like of int, [n_documents]
        Number of words of each document, 0 to 2^24.
    generator : numpy.random.Generator

    Returns
    -------
    Counts
        The documents as a sparse matrix.

    Raises
    ------
    ValueError
        If rows of theta or components are not probabilities, or shapes do not match.
    """
    theta, phi = shares(theta, "theta"), shares(components, "components")
    if theta.shape[1] != len(phi):
        raise ValueError(f"theta has {theta.shape[1]} topics, but components has {len(phi)}")
    n_words, cumulative = arrays.lengths(lengths, len(theta)).astype(np.int64), np.cumsum(phi, axis=1)
    # Topics and words have one random stream each, in the order of the documents: results do not depend on the blocks.
    word_generator = np.random.default_rng(generator.integers(2**63))

    def draw(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        topic_counts = generator.multinomial(n_words[rows], theta[rows])
        topic = np.repeat(np.tile(np.arange(len(phi)), len(topic_counts)), topic_counts.ravel())
        level, word = word_generator.random(len(topic)), np.empty(len(topic), np.int64)
        for k, steps in enumerate(cumulative):
            mask = topic == k
            word[mask] = np.searchsorted(steps, level[mask] * steps[-1], side="right")
        document = np.repeat(np.arange(len(topic_counts)), n_words[rows])
        return np.unique(document * phi.shape[1] + word, return_counts=True)

    return _in_blocks(draw, n_words, *phi.shape)


def sample_words(
    theta: NDArray[Any],
    probabilities: Callable[[NDArray[Any]], NDArray[Any]],
    n_words: int,
    lengths: ArrayLike,
    generator: np.random.Generator,
) -> Counts:
    """Draw documents, each word from p(w|theta_d); `probabilities` maps rows of theta to p(w|theta), [rows, n_words].

    Raises ValueError for invalid lengths, as `sample_documents` does.
    """
    checked = arrays.lengths(lengths, len(theta)).astype(np.int64)

    def draw(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts = generator.multinomial(checked[rows], shares(probabilities(theta[rows]), "p(w|theta)")).ravel()
        cell = np.flatnonzero(counts)
        return cell, counts[cell]

    return _in_blocks(draw, checked, n_words, n_words)


def _in_blocks(
    draw: Callable[[slice], tuple[NDArray[np.int64], NDArray[np.int64]]],
    lengths: NDArray[np.int64],
    width: int,
    n_words: int,
) -> Counts:
    """Draw documents in blocks and return them as one matrix.

    `draw` returns the cells row * n_words + word of a block, ascending, and their counts. Per document it uses memory
    for `width` numbers, or for as many as the document has words.
    """
    n = len(lengths)
    size = max(1, _MAX_CELLS // max(width, int(lengths.max(initial=0))))
    indptr, words, counts = np.zeros(n + 1, np.int64), [], []
    for start in range(0, n, size):
        cell, count = draw(slice(start, start + size))
        row, word = np.divmod(cell, n_words)
        words.append(word.astype(np.int32))
        counts.append(count.astype(np.int32))
        stored = np.bincount(row, minlength=min(size, n - start))
        indptr[start + 1 : start + 1 + len(stored)] = indptr[start] + np.cumsum(stored)
    return Counts(np.concatenate(counts), np.concatenate(words), indptr, (n, n_words))


def similar_documents(
    theta: ArrayLike, query: ArrayLike, n: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the documents most similar to each query, by the Hellinger distance of their topic shares.

    The distance is sqrt(1/2 sum_t (sqrt(theta_t) - sqrt(theta'_t))²), from 0 to 1.

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
        The documents to search.
    query : array_like, [m, n_topics]
        The queries; one that is also in theta finds itself, at distance 0.
    n : int or None
        Documents per query, at most n_documents; None is min(5, n_documents).

    Returns
    -------
    indices : ndarray of int64, [m, n]
        Rows of theta, nearest first; ties in the order of the rows.
    distances : ndarray of float64, [m, n]

    Raises
    ------
    ValueError
        If n is out of range, rows are not probabilities, or the numbers of topics differ.
    """
    roots, query_roots = np.sqrt(shares(theta, "theta")), np.sqrt(shares(query, "query"))
    if roots.shape[1] != query_roots.shape[1]:
        raise ValueError(f"theta has {roots.shape[1]} topics, but query has {query_roots.shape[1]}")
    n = resolve_n(n, 5, most=len(roots))
    return nearest(roots, query_roots, n, lambda squares: np.minimum(np.sqrt(squares / 2), 1))


def document_map(theta: ArrayLike) -> NDArray[np.float64]:
    """Return two coordinates for each document: the first two principal components of sqrt(theta).

    Euclidean distances of sqrt(theta) are sqrt(2) times the Hellinger distances. The sign of each axis makes its
    largest coefficient positive, so the same documents have the same map.

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
        At least two documents and two topics.

    Returns
    -------
    ndarray of float64, [n_documents, 2]
        Centred; the first coordinate has the larger variance.

    Raises
    ------
    ValueError
        If rows are not probabilities, or there are fewer than two documents or topics.
    """
    roots = np.sqrt(shares(theta, "theta"))
    if min(roots.shape) < 2:
        raise ValueError(f"theta has shape {roots.shape}; a map needs at least two documents and two topics")
    roots -= roots.mean(axis=0)
    axes = np.linalg.svd(roots, full_matrices=False)[2][:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    return roots @ (axes * np.where(largest < 0, -1, 1)).T  # type: ignore[no-any-return]


def shares(value: Any, name: str) -> NDArray[np.float64]:
    """Return rows of probabilities in double precision, normalised to a sum of one, or raise ValueError."""
    rows = arrays.matrix(value, name).astype(np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    if not ((rows >= 0).all() and (np.abs(sums - 1) <= _TOLERANCE).all()):
        raise ValueError(f"each row of {name} must be probabilities: non-negative, with a sum of one")
    rows /= sums
    return rows
