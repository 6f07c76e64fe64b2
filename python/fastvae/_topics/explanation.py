"""Words of documents by topic: the probability that a topic has produced a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core
from fastvae._data import sparse
from fastvae._topics.measures import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_BLOCK = 256  # documents that are read at a time


@dataclass(frozen=True, eq=False)
class Explanation:
    """Result of :meth:`fastvae.TopicModel.explain`: p(topic | word, document) of each word that occurs.

    The entries are those of a sparse matrix (CSR) [n_documents, n_words]: document d has the entries
    ``indptr[d] .. indptr[d + 1]``.

    Attributes
    ----------
    shares : ndarray of float32, [nnz, n_topics]
        Rows sum to one.
    counts : ndarray of float32, [nnz]
        Count of the word in the document.
    indices : ndarray of int32, [nnz]
        Words, ascending in each document.
    indptr : ndarray of int64, [n_documents + 1]
    shape : tuple of int
        n_documents, n_words and n_topics.
    """

    shares: NDArray[np.float32]
    counts: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    shape: tuple[int, int, int]
    words: Sequence[str] | None = None  # names of the columns

    def __repr__(self) -> str:
        """Show the sizes."""
        n_documents, n_words, n_topics = self.shape
        return (
            f"Explanation({len(self.indices)} words of {n_documents} documents, {n_topics} topics, {n_words} columns)"
        )

    def document(
        self, d: int, vocabulary: Sequence[str] | Mapping[str, int] | None = None
    ) -> list[tuple[str, NDArray[np.float32]]]:
        """Return the words of a document with their shares, in the order of the columns.

        Parameters
        ----------
        d : int
            Row of X.
        vocabulary : sequence of str, mapping or None
            As for :meth:`fastvae.TopicModel.top_words`. None is the names that the model knows, else "w0", "w1", ...

        Returns
        -------
        list of tuple of str and ndarray, [n_topics]

        Raises
        ------
        IndexError
            If there is no such document.
        """
        n_documents, n_words, _ = self.shape
        if not -n_documents <= d < n_documents:
            raise IndexError(f"document {d} is not one of {n_documents}")
        words = self.words if vocabulary is None else words_of(vocabulary, n_words, "X")
        part = slice(self.indptr[d % n_documents], self.indptr[d % n_documents + 1])
        columns = self.indices[part].tolist()
        names = [f"w{j}" if words is None else words[j] for j in columns]
        return list(zip(names, self.shares[part], strict=True))

    def topic_counts(self) -> NDArray[np.float64]:
        """Return the expected number of words that each topic has produced, [n_documents, n_topics].

        Returns
        -------
        ndarray of float64, [n_documents, n_topics]
            Rows sum to the number of words of the document.
        """
        found = np.zeros((self.shape[0], self.shape[2]))
        document = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        for k in range(self.shape[2]):
            found[:, k] = np.bincount(document, self.counts * self.shares[:, k], self.shape[0])
        return found

    def toarray(self) -> NDArray[np.float32]:
        """Return a dense array, [n_documents, n_words, n_topics], zero where a word does not occur.

        Returns
        -------
        ndarray of float32, [n_documents, n_words, n_topics]
        """
        dense = np.zeros(self.shape, np.float32)
        dense[np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), self.indices] = self.shares
        return dense


@dataclass(frozen=True, eq=False)
class TopicShares:
    """Shares of one topic as a sparse matrix (CSR), from :meth:`fastvae.TopicModel.explain` with ``topic=``.

    ``scipy.sparse.csr_matrix((s.data, s.indices, s.indptr), s.shape)`` converts it to scipy.

    Attributes
    ----------
    data : ndarray of float32, [nnz]
        p(topic | word, document) of each word that occurs.
    indices : ndarray of int32, [nnz]
    indptr : ndarray of int64, [n_documents + 1]
    shape : tuple of int
        n_documents, n_words.
    """

    data: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    shape: tuple[int, int]


def explain(
    X: Any, theta: NDArray[np.float32], components: NDArray[np.float32], topic: Any, words: Sequence[str] | None
) -> Explanation | TopicShares:
    """Return p(k|w, d) = theta_dk phi_kw / sum_j theta_dj phi_jw of the words of X, of all topics or of one.

    Temporary memory is that of the shares of 256 documents.
    """
    n_topics, n_words = components.shape
    if topic is not None:
        topic = _checks.integer(topic, "topic", least=0, most=n_topics - 1)
    phi = np.ascontiguousarray(components.T, dtype=np.float64)
    shares, counts, indices, sizes = [], [], [], [np.zeros(1, np.int64)]
    for start, document, word, value in entries(X):
        joint = theta[start + document] * phi[word]
        # Of a word that no topic has, theta is all there is.
        joint = np.where(joint.sum(1, keepdims=True) > 0, joint, theta[start + document])
        joint /= joint.sum(1, keepdims=True)
        shares.append((joint if topic is None else joint[:, topic]).astype(np.float32))
        counts.append(value.astype(np.float32))
        indices.append(word.astype(np.int32))
        sizes.append(np.bincount(document, minlength=min(_BLOCK, len(theta) - start)))
    indptr = np.cumsum(np.concatenate(sizes))
    if topic is not None:
        return TopicShares(np.concatenate(shares), np.concatenate(indices), indptr, (len(theta), n_words))
    columns = np.concatenate(shares), np.concatenate(counts), np.concatenate(indices)
    return Explanation(*columns, indptr, (len(theta), n_words, n_topics), words)


def entries(X: Any) -> Iterator[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield the first row of a block, then row in the block, column and value of each entry above zero."""
    if isinstance(X, _core.SparseMatrix):
        for start, document, word, value in sparse.blocks(X, _BLOCK):
            keep = value > 0
            yield start, document[keep], word[keep], value[keep]
        return
    for start in range(0, len(X), _BLOCK):
        rows = X[start : start + _BLOCK]
        of, present = np.nonzero(rows)
        values = rows[of, present]
        yield start, of, present, values.view(np.uint8) if values.dtype == np.int8 else values
