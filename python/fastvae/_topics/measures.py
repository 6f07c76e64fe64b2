"""Measures of topics: top words, coherence, diversity; on arrays, for any topic model.

A topic is a row of ``components`` [n_topics, n_words]: the larger a value, the more the word belongs to the topic. A
document is a row of counts, [n_documents, n_words], in an array or a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import arrays, examples, sparse
from fastvae._data.names import in_order_of_columns

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MEASURES = ("npmi", "umass")  # of `coherence`

_BLOCK = 4096  # documents that are read at a time


def top_words(
    components: ArrayLike, vocabulary: Sequence[str] | Mapping[str, int], n: int | None = None
) -> list[list[str]]:
    """Return the n words with the largest values in each topic, in descending order; ties in the order of the columns.

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
    vocabulary : sequence of str, [n_words], or mapping of str to int
        The words in the order of the columns, or a mapping from word to column, such as scikit-learn's
        ``CountVectorizer.vocabulary_``.
    n : int or None
        At most n_words; None is min(10, n_words).

    Returns
    -------
    list of list of str, [n_topics][n]

    Raises
    ------
    ValueError
        If n is out of range, the length of the vocabulary is not n_words, or its columns are not 0 .. n_words - 1.
    """
    topics = _topics(components)
    words = words_of(vocabulary, topics.shape[1])
    return [[words[i] for i in topic] for topic in _top(topics, n, 10)]


def coherence(components: ArrayLike, X: Any, measure: str = "npmi", n: int | None = None) -> NDArray[np.float64]:
    """Return the coherence of the n top words w_1, w_2, ... of each topic, from co-occurrences in the documents X.

    Let D be the number of documents, D(a) the number that contain word a, D(a, b) the number that contain both, and
    p = D(...) / D.

    "npmi", in [-1, 1], is the mean over all pairs (Lau, Newman & Baldwin, EACL 2014) of the normalised pointwise mutual
    information (Bouma, GSCL 2009)

        ln(p(a, b) / (p(a) p(b))) / -ln p(a, b),

    which is 0 for independent words and 1 for words that occur only together. A pair that never occurs together has the
    limit -1, even if one of its words occurs nowhere. A pair that occurs in all documents has 0.

    "umass" is the sum over all pairs (Mimno et al., EMNLP 2011, equation 1)

        sum_{m=2..n} sum_{l<m} ln((D(w_m, w_l) + 1) / D(w_l)).

    A term is at most 0, unless w_m is in all documents with w_l: ln((D(w_l) + 1) / D(w_l)). A pair whose w_l occurs
    nowhere, which the paper excludes, has the smallest possible value, ln(1 / D).

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
    X : array_like or sparse matrix, [n_documents, n_words]
        Documents in which co-occurrences are counted. A word is in a document if its value is above 0.
    measure : {"npmi", "umass"}
    n : int or None
        From 2 to n_words; None is min(10, n_words).

    Returns
    -------
    ndarray of float64, [n_topics]
        Higher is better. Logarithms are natural.

    Raises
    ------
    ValueError
        If n is out of range, the measure is not known, or X does not hold counts of n_words words.
    """
    measure = _checks.choice(measure, "measure", MEASURES)
    topics = _topics(components)
    if topics.shape[1] < 2:
        raise ValueError("coherence is of pairs of words, but the vocabulary has one word: count more words")
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
    with np.errstate(divide="ignore", invalid="ignore"):  # both cases are replaced below
        p = both / documents
        terms = np.log(p * documents / alone[w_m] * documents / alone[w_l]) / -np.log(p)
    terms[both == 0] = -1
    terms[both == documents] = 0
    return terms.mean(axis=1)  # type: ignore[no-any-return]


def diversity(components: ArrayLike, n: int | None = None) -> float:
    """Return the share of distinct words among the n top words of all topics (Dieng, Ruiz & Blei, TACL 2020).

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
    n : int or None
        At most n_words; None is min(25, n_words).

    Returns
    -------
    float
        From 1 / n_topics, for identical topics, to 1, for topics without common words.

    Raises
    ------
    ValueError
        If n is out of range.
    """
    top = _top(_topics(components), n, 25)
    return len(np.unique(top)) / top.size


def relevance(components: ArrayLike, weight: float) -> NDArray[np.float64]:
    """Return the relevance of each word to each topic (Sievert & Shirley, ILLVI 2014, equation 1).

    It is weight ln p(w|k) + (1 - weight) ln(p(w|k) / p(w)), where p(w) is the mean of the topics.

    Parameters
    ----------
    components : array_like, [n_topics, n_words]
        Word probabilities of the topics.
    weight : float
        From 0 to 1; 1 ranks words by their probability.

    Returns
    -------
    ndarray of float64, [n_topics, n_words]

    Raises
    ------
    ValueError
        If the weight is out of range.
    """
    weight = _checks.number(weight, "relevance", below=np.inf)
    if weight > 1:
        raise ValueError(f"relevance={weight:g} must be a number from 0 to 1")
    p = np.maximum(_topics(components).astype(np.float64), np.finfo(np.float32).tiny)
    found: NDArray[np.float64] = np.log(p) - (1 - weight) * np.log(p.mean(0))
    return found


def _topics(components: Any) -> NDArray[Any]:
    topics = arrays.matrix(components, "components")
    if not np.isfinite(topics).all():
        raise ValueError("components must be finite")
    return topics


def words_of(vocabulary: Any, n: int | None = None, owner: str = "components") -> list[str]:
    """Return the words of n columns (None: as many as there are), in their order, or raise ValueError."""
    if isinstance(vocabulary, str):
        raise ValueError(f"vocabulary is one string, {vocabulary[:20]!r}; expected a word for each column")
    if not isinstance(vocabulary, Iterable) or (isinstance(vocabulary, np.ndarray) and vocabulary.ndim != 1):
        raise ValueError(
            f"vocabulary={vocabulary!r} must be a sequence of words or a mapping from word to column; n=, the number "
            "of words of each topic, comes after it"
        )
    words = list(vocabulary)
    if n is not None and len(words) != n:
        raise ValueError(f"vocabulary has {len(words)} words, but {owner} has {n} columns")
    return in_order_of_columns(vocabulary, words, "vocabulary", "word")


def _top(topics: NDArray[Any], n: Any, default: int, least: int = 1) -> NDArray[np.int64]:
    """Return the columns of the n largest values of each row, [n_topics, n]; ties in the order of the columns."""
    n = resolve_n(n, default, topics.shape[1], least)
    return np.argsort(-topics.astype(np.float64), axis=1, kind="stable")[:, :n]


def resolve_n(n: Any, default: int, most: int, least: int = 1) -> int:
    """Return the parameter n, checked; None is min(default, most)."""
    return _checks.integer(min(default, most) if n is None else n, "n", least=least, most=most)


def _co_occurrence(X: Any, words: NDArray[np.int64], n_words: int) -> tuple[int, NDArray[np.int64]]:
    """Return the number of documents, and the number that contain each pair of words, [len(words), len(words)]."""
    documents = 0
    together = np.zeros((len(words), len(words)), np.int64)
    for present in _presence(X, words, n_words):
        documents += len(present)
        together += (present.T @ present).astype(np.int64)
    return documents, together


def _presence(X: Any, words: NDArray[np.int64], n_words: int) -> Iterator[NDArray[np.float32]]:
    """Yield, for blocks of documents, whether they contain each word: [documents, len(words)], 0 or 1.

    float32 has fast products, and counts exactly up to 2^24 documents.
    """
    X = examples.read(X, "X", n_words, "components")
    if isinstance(X, np.ndarray):
        for start in range(0, len(X), _BLOCK):
            rows = X[start : start + _BLOCK]
            _check_counts(rows)
            yield (rows[:, words] > 0).astype(np.float32)
        return
    column = np.full(n_words, -1)
    column[words] = np.arange(len(words))
    for start, document, entry, value in sparse.blocks(X, _BLOCK):
        _check_counts(value)
        word = column[entry]
        selected = (word >= 0) & (value > 0)
        present = np.zeros((min(_BLOCK, len(X) - start), len(words)), np.float32)
        present[document[selected], word[selected]] = 1
        yield present


def _check_counts(values: NDArray[Any]) -> None:
    if not (values >= 0).all():  # false for NaN too
        raise ValueError("X must hold word counts: non-negative numbers")
