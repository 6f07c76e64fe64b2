"""Initial topics from the data: clusters of words that occur in the same documents.

A word is described by the words it occurs with, as positive pointwise mutual information,
max(ln(p(w, c) / (p(w) p(c))), 0) (Levy & Goldberg, NeurIPS 2014), in as many documents as a budget allows. Spherical
k-means (Dhillon & Modha, Machine Learning 42, 2001) with the starts of k-means++ (Arthur & Vassilvitskii, SODA 2007)
finds clusters, each a topic.

Descriptions and centres are rounded to whole numbers so small that products in float32 are exact: results depend
neither on the number of threads nor on the order of sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core
from fastvae._data import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastvae._topics.seeds import Pairs

_CONTEXTS = 256  # most frequent words that describe the others
_PAIRS = 2**24  # pairs of words that are counted
_BLOCK = 1024  # documents that are read at a time
_AT_ONCE = 2**20  # pairs that are in memory at a time, about
_LEAST = 3  # documents of a pair, below which it is chance
_LEVELS = 63  # of a description
_CENTRE = 127  # levels of a centre: 256 * 63 * 127 < 2^24, the largest sum that float32 holds exactly
_PART, _SUMMED = 255, 1024  # levels of a word's weight in a centre, and words of a sum: 1024 * 63 * 255 < 2^24
# Multiply-adds of a product: numpy's library runs larger ones on all cores, where they wait for those that are busy.
_WORK = 2**18
_STARTS, _FIRST_ROUNDS, _ROUNDS = 3, 2, 6  # of k-means
_CANDIDATES = 5  # words of which the best becomes a centre
_SHARPNESS = 8.0  # ln of the odds of two clusters whose cosines with a word differ by one
_PRODUCT_SCALE = 0.3
_EVEN = 1e-3  # standard deviation of ln p(w|k) over the topics, below which a word is in no cluster
_SMOOTHING = 0.1  # words added to each topic's count of a word, divided by the topics


class Words(NamedTuple):
    """Words as k-means reads them."""

    features: NDArray[np.float32]  # [n_words, contexts], whole numbers
    lengths: NDArray[np.float64]  # of the features, 1 for words without any
    weight: NDArray[np.float64]  # in the objective: the root of the number of documents, 0 for words without features
    parts: NDArray[np.float32]  # weight / length in _PART levels


def topics(
    X: Any, rows: NDArray[np.uint64] | None, counts: NDArray[np.float64], n: int, seed: int, seeds: Pairs
) -> NDArray[np.float64]:
    """Return n topics of some rows of X (None: all), word probabilities [n_topics, n_words].

    `counts` are those of each word in the rows, `seeds` topics and words that belong together.
    """
    words = _describe(X, rows, counts)
    cosines = _cosines(words, _cluster(words, n, seed, seeds))
    for topic, word in seeds:
        cosines[word, topic] = 1.0
    odds = np.exp(_SHARPNESS * (cosines - cosines.max(1, keepdims=True)))
    shares = odds / odds.sum(1, keepdims=True)
    found = (counts[:, np.newaxis] * shares + _SMOOTHING / n).T
    found /= found.sum(1, keepdims=True)
    return found  # type: ignore[no-any-return]


def product_weights(topics: NDArray[np.float64], random: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return initial weights beta of a product, [n_words, n_topics], from topics [n_topics, n_words].

    The weights of a word are the standard scores of ln p(w|k) over the topics, times 0.3: batch normalisation divides
    by their scale, and small ones learn fast. Words that no topic prefers keep the `random` weights.
    """
    logs = np.log(topics).T
    deviation = logs.std(1, keepdims=True)
    scores = _PRODUCT_SCALE * (logs - logs.mean(1, keepdims=True)) / np.maximum(deviation, _EVEN)
    return np.where(deviation > _EVEN, scores, random).astype(np.float32)


def _describe(X: Any, rows: NDArray[np.uint64] | None, counts: NDArray[np.float64]) -> Words:
    n_words = len(counts)
    contexts = np.argsort(-counts, kind="stable")[:_CONTEXTS]
    column = np.full(n_words, -1)
    column[contexts] = np.arange(len(contexts))
    together = np.zeros(n_words * len(contexts))
    alone, n_documents = np.zeros(n_words), 0
    # If the pairs are too many, every m-th document is read.
    pairs = sum(float((np.bincount(document) ** 2.0).sum()) for document, _ in _blocks(X, rows, 1, _BLOCK))
    size = min(max(1, int(_AT_ONCE / max(pairs, 1) * len(X))), 8 * _BLOCK)
    for document, word in _blocks(X, rows, max(1, int(np.ceil(pairs / _PAIRS))), size):
        sizes = np.bincount(document)
        starts = np.cumsum(sizes) - sizes
        known = column[word] >= 0
        # Each context of a document is paired with all its words.
        of, context = document[known], column[word[known]]
        repeats = sizes[of]
        first = np.repeat(starts[of] - (np.cumsum(repeats) - repeats), repeats)
        other = word[first + np.arange(len(first))].astype(np.int64)
        together += np.bincount(other * len(contexts) + np.repeat(context, repeats), minlength=len(together))
        alone += np.bincount(word, minlength=n_words)
        n_documents += int((sizes > 0).sum())
    table = together.reshape(n_words, len(contexts))
    table[contexts, np.arange(len(contexts))] = 0  # a word with itself
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(table * n_documents / alone[:, np.newaxis] / alone[contexts])
    pmi[(table < _LEAST) | ~(pmi > 0)] = 0
    largest = pmi.max(1, keepdims=True)
    features = np.rint(pmi * (_LEVELS / np.where(largest > 0, largest, 1))).astype(np.float32)
    lengths = np.sqrt((features.astype(np.float64) ** 2).sum(1))
    weight = np.where(lengths > 0, np.rint(16 * np.sqrt(alone)), 0)
    lengths = np.where(lengths > 0, lengths, 1)
    parts = weight / lengths
    parts = np.ceil(parts * (_PART / max(parts.max(), 1e-9))).astype(np.float32)
    return Words(features, lengths, weight, parts)


def _blocks(
    X: Any, rows: NDArray[np.uint64] | None, every: int, size: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield documents, numbered in a block of `size`, and words of the entries of every so many of the rows."""
    chosen = np.zeros(len(X), bool)
    chosen[(np.arange(len(X)) if rows is None else np.sort(rows))[::every]] = True
    if isinstance(X, _core.SparseMatrix):
        for start, document, word, value in sparse.blocks(X, size):
            keep = (value > 0) & chosen[start + document]
            yield document[keep], word[keep]
        return
    for start in range(0, len(X), size):
        of, present = np.nonzero(X[start : start + size])
        keep = chosen[start + of]
        yield of[keep], present[keep]


def _cluster(words: Words, n: int, seed: int, seeds: Pairs) -> NDArray[np.float32]:
    """Return the centres of n clusters, whole numbers, [n, contexts], the best of some starts."""
    random = np.random.default_rng(seed)
    best, most = None, -1.0
    for _ in range(_STARTS):
        centres = _spread(words, n, random, seeds)
        quality = _move(words, centres, _FIRST_ROUNDS, seeds)
        if quality > most:
            best, most = centres, quality
    assert best is not None, "there is a start"
    _move(words, best, _ROUNDS, seeds)
    return best


def _spread(words: Words, n: int, random: np.random.Generator, seeds: Pairs) -> NDArray[np.float32]:
    """Return the centres of a start: seeds, then by greedy k-means++, the best of some words each."""
    weight = words.weight
    centres = np.zeros((n, words.features.shape[1]), np.float32)
    fixed = sorted({topic for topic, _ in seeds})
    for topic in fixed:
        own = np.isin(np.arange(len(weight)), [word for of, word in seeds if of == topic])
        centres[topic] = _centres(words.features, np.ones_like(words.parts), own[np.newaxis])[0]
    nearest = _cosines(words, centres[fixed]).max(1, initial=0.0)
    for topic in sorted(set(range(n)) - set(fixed)):
        distance = np.where(weight > 0, np.maximum(1 - nearest, 0), 0) * weight
        steps = np.cumsum(distance)
        if steps[-1] <= 0:
            break  # fewer words than topics
        drawn = np.searchsorted(steps, random.random(_CANDIDATES) * steps[-1], side="right")
        drawn = np.minimum(drawn, len(weight) - 1)
        candidates = words.features[drawn]
        cosines = np.maximum(_cosines(words, candidates), nearest[:, np.newaxis])
        chosen = int((weight @ cosines).argmax())
        centres[topic], nearest = candidates[chosen], cosines[:, chosen]
    return centres


def _move(words: Words, centres: NDArray[np.float32], rounds: int, seeds: Pairs) -> float:
    """Run rounds of k-means on `centres`, in place; return the weighted sum of the cosines before the last one."""
    weight, own = words.weight, np.array(seeds, np.int64).reshape(-1, 2)
    quality = 0.0
    for _ in range(rounds):
        cosines = _cosines(words, centres)
        quality = float(weight @ cosines.max(1))
        cluster = cosines.argmax(1)
        cluster[own[:, 1]] = own[:, 0]
        found = _centres(words.features, words.parts, cluster == np.arange(len(centres))[:, np.newaxis])
        np.copyto(centres, found, where=found.any(1, keepdims=True))
    return quality


def _centres(
    features: NDArray[np.float32], parts: NDArray[np.float32], members: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the directions of weighted sums of unit descriptions, rounded to levels; members [n, n_words]."""
    total = np.zeros((len(members), features.shape[1]))
    for block in _parts(len(parts), total.size):
        total += (members[:, block] * parts[block]) @ features[block]
    largest = total.max(1, keepdims=True)
    centres: NDArray[np.float32] = np.rint(total * (_CENTRE / np.maximum(largest, 1))).astype(np.float32)
    return centres


def _cosines(words: Words, centres: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines of all words and centres, [n_words, n]."""
    lengths = np.sqrt((centres.astype(np.float64) ** 2).sum(1))
    products = np.empty((len(words.features), len(centres)))
    for block in _parts(len(products), centres.size):
        products[block] = words.features[block] @ centres.T
    found: NDArray[np.float64] = products / words.lengths[:, np.newaxis] / np.where(lengths > 0, lengths, 1)
    return found


def _parts(n: int, each: int) -> Iterator[slice]:
    """Yield blocks of n rows, such that a product of `each` multiply-adds for a row is small."""
    size = min(max(1, _WORK // max(each, 1)), _SUMMED)
    for start in range(0, n, size):
        yield slice(start, start + size)
