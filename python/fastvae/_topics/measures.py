"""What topics and their documents are like, in numbers: arrays in, arrays out, whatever model they are from.

A topic is a row of ``components`` [n_topics, n_words]: the greater a value, the more the word belongs to it. A document
is a row of counts, [n_documents, n_words]: an array or a sparse matrix. ``theta`` [n_documents, n_topics] are
documents' shares of the topics, rows that sum to one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import arrays, examples, sparse
from fastvae._neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MEASURES = ("npmi", "umass")  # of `coherence`

_DOCUMENTS = 4096  # read at a time
_TOLERANCE = 1e-3  # by how much shares may miss a sum of one: far more than float32 rounds
_CELLS = 2**19  # of a document and a word, drawn at a time: 4 MB each of some arrays


@dataclass(frozen=True)
class Counts:
    """Word counts of documents as a sparse matrix by rows (CSR).

    ``scipy.sparse.csr_matrix((c.data, c.indices, c.indptr), c.shape)`` makes it scipy's.
    """

    data: NDArray[np.int32]  # [nnz], at least 1
    indices: NDArray[np.int32]  # [nnz], words, ascending in each document
    indptr: NDArray[np.int64]  # [n_documents + 1]: document d has the entries indptr[d] .. indptr[d + 1]
    shape: tuple[int, int]

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return len(self.data)

    def toarray(self) -> NDArray[np.int32]:
        """Return the counts as an array, [n_documents, n_words]."""
        dense = np.zeros(self.shape, np.int32)
        dense[np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), self.indices] = self.data
        return dense


# ---------------------------------------------------------------------------------------------- topics


def top_words(
    components: ArrayLike, vocabulary: Sequence[str] | Mapping[str, int], n: int | None = None
) -> list[list[str]]:
    """Return the n words that belong most to each topic, in descending order; ties in the order of the vocabulary.

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
    vocabulary : sequence of str, [n_words], or mapping of str to int
        The words in the order of the columns, or the column of each, as in scikit-learn's
        ``CountVectorizer.vocabulary_``.
    n : int or None
        At most n_words; None is 10, or as many as there are.

    Returns
    -------
    list of list of str, [n_topics][n]

    Raises
    ------
    ValueError
        If n is out of range, the vocabulary has another length than a topic, or its columns are not 0 .. n_words - 1.
    """
    topics = _topics(components)
    words = _words(vocabulary, topics.shape[1])
    return [[words[i] for i in topic] for topic in _top(topics, n, 10)]


def coherence(components: ArrayLike, X: Any, measure: str = "npmi", n: int | None = None) -> NDArray[np.float64]:
    """Return how much the n top words w_1, w_2, ... of each topic keep company in the documents of X.

    With D the number of documents, D(a) of those with the word a and D(a, b) of those with both, p = D(...) / D:

    "npmi", in [-1, 1], the mean over all pairs (Lau, Newman & Baldwin, EACL 2014) of the normalised pointwise mutual
    information (Bouma, GSCL 2009)

        ln(p(a, b) / (p(a) p(b))) / -ln p(a, b);

    0 for words that are independent, 1 for words that come together only. A pair that never comes together has the
    limit, -1, also if one of its words is in no document. Two words that are in all documents tell nothing of each
    other: 0.

    "umass", at most 0 (but for pairs of which the one word is in all documents of the other: ln((D(b) + 1) / D(b))),
    the sum over all pairs (Mimno et al., EMNLP 2011, equation 1)

        sum_{m=2..n} sum_{l<m} ln((D(w_m, w_l) + 1) / D(w_l)).

    A pair whose w_l is in no document, which the paper's documents exclude, has the least value that a pair can
    have, ln(1 / D).

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
    X : array_like or sparse matrix, [n_documents, n_words]
        The documents to count in. A word is in a document if its value is above 0.
    measure : {"npmi", "umass"}
    n : int or None
        From 2 to n_words; None is 10, or as many as there are.

    Returns
    -------
    ndarray of float64, [n_topics]
        Greater is better. Sums and logarithms to base e.

    Raises
    ------
    ValueError
        If n is out of range, the measure is not known, or X does not hold counts of these words.
    """
    measure = _checks.choice(measure, "measure", MEASURES)
    topics = _topics(components)
    top = _top(topics, n, 10, least=2)
    words, place = np.unique(top, return_inverse=True)
    documents, together = _co_occurrence(X, words, topics.shape[1])
    later, earlier = np.tril_indices(top.shape[1], -1)  # m and l < m
    place = place.reshape(top.shape)
    w_m, w_l = place[:, later], place[:, earlier]  # [n_topics, n_pairs]
    both, alone = together[w_m, w_l], np.diag(together)
    if measure == "umass":
        terms = np.log((both + 1) / np.maximum(alone[w_l], 1))
        return np.where(alone[w_l] > 0, terms, -np.log(documents)).sum(axis=1)  # type: ignore[no-any-return]
    with np.errstate(divide="ignore", invalid="ignore"):  # both are answered below
        p = both / documents
        terms = np.log(p * documents / alone[w_m] * documents / alone[w_l]) / -np.log(p)
    terms[both == 0] = -1
    terms[both == documents] = 0
    return terms.mean(axis=1)  # type: ignore[no-any-return]


def diversity(components: ArrayLike, n: int | None = None) -> float:
    """Return the share of different words among the n top words of all topics (Dieng, Ruiz & Blei, TACL 2020).

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
    n : int or None
        At most n_words; None is 25, or as many as there are.

    Returns
    -------
    float
        From 1 / n_topics, for topics that are all the same, to 1.

    Raises
    ------
    ValueError
        If n is out of range.
    """
    top = _top(_topics(components), n, 25)
    return len(np.unique(top)) / top.size


# ---------------------------------------------------------------------------------------------- documents


def sample_documents(
    theta: ArrayLike, components: ArrayLike, lengths: ArrayLike, generator: np.random.Generator
) -> Counts:
    """Draw documents: for each word a topic from theta_d, then a word from the topic (Blei, Ng & Jordan, JMLR 2003).

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
    components : array_like, [n_topics, n_words]
        Rows that sum to one.
    lengths : int or array_like of int, [n_documents]
        Words in each document, at most 2^24; 0 makes an empty one.
    generator : numpy.random.Generator

    Returns
    -------
    Counts
        The documents as a sparse matrix; ``toarray`` makes an array of it.

    Raises
    ------
    ValueError
        If rows of theta or of components are no probabilities, or do not fit each other or the lengths.
    """
    theta, phi = shares(theta, "theta"), shares(components, "components")
    if theta.shape[1] != len(phi):
        raise ValueError(f"theta has {theta.shape[1]} topics, but components has {len(phi)}")
    wanted, steps = arrays.lengths(lengths, len(theta)).astype(np.int64), np.cumsum(phi, axis=1)
    # Topics and words have a stream each, in the order of the documents, so that no document depends on the blocks.
    of_words = np.random.default_rng(generator.integers(2**63))

    def draw(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        of_topic = generator.multinomial(wanted[rows], theta[rows])  # of each document's words: how many are from it
        topic = np.repeat(np.tile(np.arange(len(phi)), len(of_topic)), of_topic.ravel())
        level, word = of_words.random(len(topic)), np.empty(len(topic), np.int64)
        for k, step in enumerate(steps):
            mine = topic == k
            word[mine] = np.searchsorted(step, level[mine] * step[-1], side="right")
        document = np.repeat(np.arange(len(of_topic)), wanted[rows])
        return np.unique(document * phi.shape[1] + word, return_counts=True)

    return _in_blocks(draw, wanted, *phi.shape)


def sample_words(
    theta: NDArray[Any],
    probabilities: Callable[[NDArray[Any]], NDArray[Any]],
    n_words: int,
    lengths: ArrayLike,
    generator: np.random.Generator,
) -> Counts:
    """Draw documents, each word from p(w|theta_d): `probabilities` gives those of some rows of theta, [rows, n_words].

    Raises ValueError for lengths as `sample_documents` does.
    """
    wanted = arrays.lengths(lengths, len(theta)).astype(np.int64)

    def draw(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts = generator.multinomial(wanted[rows], shares(probabilities(theta[rows]), "p(w|theta)")).ravel()
        cell = np.flatnonzero(counts)
        return cell, counts[cell]

    return _in_blocks(draw, wanted, n_words, n_words)


def _in_blocks(
    draw: Callable[[slice], tuple[NDArray[np.int64], NDArray[np.int64]]],
    lengths: NDArray[np.int64],
    width: int,
    n_words: int,
) -> Counts:
    """Put documents together of which `draw` gives some: their cells, row * n_words + word, ascending, and the counts.

    Of each it holds `width` numbers, or as many as it has words.
    """
    n = len(lengths)
    size = max(1, _CELLS // max(width, int(lengths.max(initial=0))))
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
    """Find the documents whose shares of the topics are nearest to those of others, in Hellinger distance.

    That is sqrt(1/2 sum_t (sqrt(theta_t) - sqrt(theta'_t))²), from 0 to 1.

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
        Where to look.
    query : array_like, [m, n_topics]
        What to look for; a document that is in theta too finds itself, at distance 0.
    n : int or None
        How many to find for each, at most n_documents; None is 5, or as many as there are.

    Returns
    -------
    indices : ndarray of int64, [m, n]
        Rows of theta, nearest first; of equally distant ones the lower index first.
    distances : ndarray of float64, [m, n]

    Raises
    ------
    ValueError
        If n is out of range, rows are no probabilities, or the numbers of topics differ.
    """
    theirs, wanted = np.sqrt(shares(theta, "theta")), np.sqrt(shares(query, "query"))
    if theirs.shape[1] != wanted.shape[1]:
        raise ValueError(f"theta has {theirs.shape[1]} topics, but query has {wanted.shape[1]}")
    n = _number(n, 5, most=len(theirs))
    return nearest(theirs, wanted, n, lambda squares: np.minimum(np.sqrt(squares / 2), 1))


def document_map(theta: ArrayLike) -> NDArray[np.float64]:
    """Return a place in the plane for each document: the first two principal components of sqrt(theta).

    Euclidean distances of sqrt(theta) are Hellinger's, times sqrt(2); the plane is the one that keeps most of their
    squares. An axis points to where its greatest coefficient is positive, so the same documents have the same map.

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
        At least two documents and two topics.

    Returns
    -------
    ndarray of float64, [n_documents, 2]
        Centred; the first coordinate has the greater variance.

    Raises
    ------
    ValueError
        If rows are no probabilities, or there is one document or topic only.
    """
    roots = np.sqrt(shares(theta, "theta"))
    if min(roots.shape) < 2:
        raise ValueError(f"theta has shape {roots.shape}; a map needs two documents and two topics at least")
    roots -= roots.mean(axis=0)
    axes = np.linalg.svd(roots, full_matrices=False)[2][:2]
    greatest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    return roots @ (axes * np.where(greatest < 0, -1, 1)).T  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------- arguments


def _topics(components: Any) -> NDArray[Any]:
    topics = arrays.matrix(components, "components")
    if not np.isfinite(topics).all():
        raise ValueError("components must be finite")
    return topics


def _words(vocabulary: Any, n: int) -> list[str]:
    """The words of n columns, in their order."""
    if isinstance(vocabulary, str):
        raise ValueError(f"vocabulary is one text, {vocabulary[:20]!r}; expected a word for each column")
    words = list(vocabulary)
    if len(words) != n:
        raise ValueError(f"vocabulary has {len(words)} words, but components has {n} columns")
    if isinstance(vocabulary, Mapping):
        columns = np.array(list(vocabulary.values()))
        if columns.dtype.kind not in "iu" or not np.array_equal(np.sort(columns), np.arange(n)):
            raise ValueError(f"vocabulary must map each word to a column of its own, 0 to {n - 1}")
        words = [words[i] for i in np.argsort(columns)]
    return [str(word) for word in words]


def _top(topics: NDArray[Any], n: Any, usual: int, least: int = 1) -> NDArray[np.int64]:
    """Columns of the n greatest values of each row, [n_topics, n]; of equal ones the lower first."""
    n = _number(n, usual, topics.shape[1], least)
    return np.argsort(-topics.astype(np.float64), axis=1, kind="stable")[:, :n]


def _number(n: Any, usual: int, most: int, least: int = 1) -> int:
    """Return how many are wanted, checked: of None as many as usual, or as there are."""
    return _checks.integer(min(usual, most) if n is None else n, "n", least=least, most=most)


def shares(value: Any, name: str) -> NDArray[np.float64]:
    """Rows of probabilities in double precision, whose sums are one to its last places."""
    rows = arrays.matrix(value, name).astype(np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    if not ((rows >= 0).all() and (np.abs(sums - 1) <= _TOLERANCE).all()):
        raise ValueError(f"each row of {name} must be probabilities: not negative, with a sum of one")
    rows /= sums
    return rows


def _co_occurrence(X: Any, words: NDArray[np.int64], n_words: int) -> tuple[int, NDArray[np.int64]]:
    """Return the number of documents, and in how many each two of the words are, [len(words), len(words)]."""
    documents = 0
    together = np.zeros((len(words), len(words)), np.int64)
    for present in _presence(X, words, n_words):
        documents += len(present)
        together += (present.T @ present).astype(np.int64)
    return documents, together


def _presence(X: Any, words: NDArray[np.int64], n_words: int) -> Iterator[NDArray[np.float32]]:
    """Yield for some documents after the other which of the words are in them, [documents, len(words)], 0 or 1.

    float32 has fast products, and counts exactly up to 2^24 documents.
    """
    X = examples.read(X, "X", n_words, "components")
    if isinstance(X, np.ndarray):
        for start in range(0, len(X), _DOCUMENTS):
            rows = X[start : start + _DOCUMENTS]
            _check_counts(rows)
            yield (rows[:, words] > 0).astype(np.float32)
        return
    column = np.full(n_words, -1)
    column[words] = np.arange(len(words))
    for start, document, entry, value in sparse.blocks(X, _DOCUMENTS):
        _check_counts(value)
        word = column[entry]
        there = (word >= 0) & (value > 0)
        present = np.zeros((min(_DOCUMENTS, len(X) - start), len(words)), np.float32)
        present[document[there], word[there]] = 1
        yield present


def _check_counts(values: NDArray[Any]) -> None:
    if not (values >= 0).all():  # not a number is not, either
        raise ValueError("X must hold counts of words, none of them negative")
