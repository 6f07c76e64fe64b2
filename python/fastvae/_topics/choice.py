"""The number of topics: held-out perplexity and coherence over a grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._topics.documents import Counts
from fastvae._topics.explanation import entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_NEAR = 0.05  # perplexities within this share of the lowest one are as good
_ALIKE = 0.01  # NPMI that differs by less is the same
_BLOCK = 256  # documents that are scored at a time


@dataclass(frozen=True, eq=False)
class TopicChoice:
    """Result of :meth:`fastvae.TopicModel.choose_n_topics`; ``print`` shows a table and the advice.

    Attributes
    ----------
    n_topics : ndarray of int64, [n]
        The grid, ascending.
    perplexity : ndarray of float64, [n_repeats, n]
        Held-out perplexity by document completion: lower is better.
    coherence : ndarray of float64, [n_repeats, n]
        Mean NPMI of the topics: higher is better.
    diversity : ndarray of float64, [n_repeats, n]
        Share of distinct words among the 25 most probable words of all topics.
    seconds : ndarray of float64, [n_repeats, n]
        Time of each fit.
    best : int
        The advised number of topics.
    advice : str
        Why, in words.
    """

    n_topics: NDArray[np.int64]
    perplexity: NDArray[np.float64]
    coherence: NDArray[np.float64]
    diversity: NDArray[np.float64]
    seconds: NDArray[np.float64]
    best: int
    advice: str

    def __str__(self) -> str:
        """Return a table of the means over the repeats, and the advice."""
        lines = ["topics  perplexity  coherence  diversity  seconds"]
        means = (values.mean(0) for values in (self.perplexity, self.coherence, self.diversity, self.seconds))
        for n, perplexity, coherence, diversity, seconds in zip(self.n_topics, *means, strict=True):
            mark = " *" if n == self.best else ""
            lines.append(f"{n:6d}  {perplexity:10.1f}  {coherence:9.3f}  {diversity:9.2f}  {seconds:7.1f}{mark}")
        return "\n".join([*lines, self.advice])

    def __repr__(self) -> str:
        """Show the advised number."""
        return f"TopicChoice(best={self.best} of {self.n_topics.tolist()})"


def grid_of(given: Any) -> list[int]:
    """Return numbers of topics, ascending and distinct, or raise ValueError."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ValueError(f"grid={given!r} must be numbers of topics, such as (5, 10, 20, 40)")
    found = sorted({_checks.integer(n, "a number of the grid", least=2) for n in given})
    if not found:
        raise ValueError("grid is empty: pass numbers of topics, such as (5, 10, 20, 40)")
    return found


def hold_out(n: int, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return whether each of n documents is held out, a `share` of them, or raise ValueError."""
    held = np.zeros(n, bool)
    held[random.permutation(n)[: max(1, round(share * n))]] = True
    if held.all():
        raise ValueError(
            f"X has too few documents, {n}, to hold out {share:g} of them: pass more, or a smaller held_out"
        )
    return held


def divide(X: Any, held: NDArray[np.bool_], random: np.random.Generator) -> tuple[Counts, Counts, Counts]:
    """Return training documents, and of those `held` out two random halves of the words of each."""
    n = len(X)
    document, word, count = _table(X)
    fraction = np.flatnonzero(count != np.rint(count))
    if len(fraction):
        row, column, value = (each[fraction[0]] for each in (document, word, count))
        raise ValueError(
            f"X[{row}, {column}] is {value:g}: the words of documents are divided, so X must be whole counts, not "
            "frequencies or tf-idf"
        )
    own = held[document]
    training = _counts(document[~own], word[~own], count[~own], np.flatnonzero(~held), n, X.shape[1])
    # One entry for each word, in random order within its document.
    times = np.rint(count[own]).astype(np.int64)
    token, of = np.repeat(word[own], times), np.repeat(document[own], times)
    order = np.lexsort((random.random(len(of)), of))
    token, of = token[order], of[order]
    sizes = np.bincount(of, minlength=n)
    rank = np.arange(len(of)) - (np.cumsum(sizes) - sizes)[of]
    first = rank < sizes[of] // 2
    rows = np.flatnonzero(held)
    ones = np.ones(len(of))
    seen, scored = (_counts(of[half], token[half], ones[half], rows, n, X.shape[1]) for half in (first, ~first))
    if not scored.nnz:
        raise ValueError("the held-out documents contain no words")
    return training, seen, scored


def _table(X: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return row, column and value of each entry."""
    parts = [(start + row, word, value) for start, row, word, value in entries(X)]
    row, word, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return row.astype(np.int64), word.astype(np.int64), value.astype(np.float64)


def _counts(
    document: NDArray[np.int64],
    word: NDArray[np.int64],
    count: NDArray[np.float64],
    rows: NDArray[np.int64],
    n: int,
    n_words: int,
) -> Counts:
    """Return the counts of some rows as a sparse matrix; equal cells are added."""
    place = np.zeros(n, np.int64)
    place[rows] = np.arange(len(rows))
    cells, at = np.unique(place[document] * n_words + word, return_inverse=True)
    data = np.bincount(at, count, len(cells))
    row, column = np.divmod(cells, n_words)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
    whole = np.rint(data).astype(np.int32)
    return Counts(whole, column.astype(np.int32), indptr, (len(rows), n_words))


def completion(
    theta: NDArray[np.float32], probabilities: Callable[[NDArray[Any]], NDArray[np.float32]], scored: Counts
) -> float:
    """Return exp(-mean ln p(w|theta)) of the words of documents with topic shares theta, [n_documents, n_topics]."""
    total = 0.0
    for start in range(0, len(theta), _BLOCK):
        stop = min(start + _BLOCK, len(theta))
        p = np.asarray(probabilities(theta[start:stop]), np.float64)
        part = slice(scored.indptr[start], scored.indptr[stop])
        row = np.repeat(np.arange(stop - start), np.diff(scored.indptr[start : stop + 1]))
        p_words = np.maximum(p[row, scored.indices[part]], np.finfo(np.float32).tiny)
        total += float(scored.data[part] @ np.log(p_words))
    return float(np.exp(-total / scored.data.sum()))


def advise(n_topics: NDArray[np.int64], perplexity: NDArray[np.float64], coherence: NDArray[np.float64]) -> Any:
    """Return the advised number of topics and the reason: the most coherent of those that predict about best."""
    lowest = int(perplexity.argmin())
    good = perplexity <= (1 + _NEAR) * perplexity[lowest]
    best = int(np.flatnonzero(good & (coherence >= coherence[good].max() - _ALIKE))[0])
    n, most = int(n_topics[best]), int(n_topics[int(coherence.argmax())])
    words = [f"{n} topics:"]
    if best == lowest:
        words.append(
            f"the lowest held-out perplexity ({perplexity[best]:.0f}) and about the best coherence of those near it "
            f"(NPMI {coherence[best]:.3f})."
        )
    else:
        words.append(
            f"about the best coherence (NPMI {coherence[best]:.3f}) of the numbers whose held-out perplexity "
            f"({perplexity[best]:.0f}) is within {_NEAR:.0%} of the lowest ({perplexity[lowest]:.0f}, with "
            f"{n_topics[lowest]} topics)."
        )
    if coherence.max() > coherence[best] + _ALIKE:
        words.append(f"{most} topics are more coherent ({coherence.max():.3f}), but predict documents worse.")
    if len(n_topics) > 1 and best in (0, len(n_topics) - 1) and n > 2:
        end, way = ("smallest", "smaller") if best == 0 else ("largest", "larger")
        words.append(f"It is the {end} number of the grid: try {way} ones.")
    return n, " ".join(words)
