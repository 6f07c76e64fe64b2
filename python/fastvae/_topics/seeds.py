"""Seed words: words that the prior gives to a topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_SHOWN = 5  # unknown words in a message

# Topic and word of each seed, in ascending order.
Pairs = list[tuple[int, int]]


def resolve(given: Any, n_topics: int, n_words: int | None, words: list[str] | None) -> Pairs:
    """Return the seeds as topics and columns, or raise ValueError.

    `given` maps topics to words: names in `words` (None: there are no names), or columns below `n_words` (None: not
    known yet).
    """
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise ValueError(
            f"seed_words={given!r} must map topics to their words, such as {{0: ['goal', 'match'], 1: ['market']}}"
        )
    columns = {} if words is None else {word: column for column, word in enumerate(words)}
    found = set()
    for topic, seeds in given.items():
        if isinstance(topic, bool) or not isinstance(topic, (int, np.integer)) or not 0 <= topic < n_topics:
            raise ValueError(
                f"seed_words has the topic {topic!r}, but n_topics={n_topics}: topics are 0 to {n_topics - 1}"
            )
        if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
            raise ValueError(f"seed_words[{topic}]={seeds!r} must be a list of words, such as ['goal', 'match']")
        unknown = []
        for seed in seeds:
            if isinstance(seed, str):
                if words is not None and seed not in columns:
                    unknown.append(seed)
                found.add((int(topic), columns.get(seed, 0)))
            elif isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
                if seed < 0 or (n_words is not None and seed >= n_words):
                    end = "" if n_words is None else f" to {n_words - 1}"
                    raise ValueError(f"seed_words[{topic}] has the column {seed}; the columns of X are 0{end}")
                found.add((int(topic), int(seed)))
            else:
                raise ValueError(f"seed_words[{topic}] has {seed!r}; a seed is a word or the index of its column")
        if unknown:
            raise ValueError(_unknown(topic, unknown, columns))
    return sorted(found)


def check_named(given: Any, words: list[str] | None) -> None:
    """Raise ValueError if seeds are strings and the columns have no names."""
    named = given is not None and any(isinstance(seed, str) for seeds in given.values() for seed in seeds)
    if named and words is None:
        raise ValueError(
            "seed_words holds words, but the columns of X have no names: pass vocabulary=vectorizer.vocabulary_, a "
            "frame with the words as its columns, or the columns' indices as seeds"
        )


def _unknown(topic: Any, unknown: list[str], columns: Mapping[str, int]) -> str:
    from difflib import get_close_matches

    shown = ", ".join(map(repr, unknown[:_MAX_SHOWN])) + (", ..." if len(unknown) > _MAX_SHOWN else "")
    close = [match for word in unknown[:_MAX_SHOWN] for match in get_close_matches(word, columns, 1)]
    hint = f" (there is {', '.join(map(repr, close))})" if close else ""
    return (
        f"seed_words[{topic}] has {shown}, not in the vocabulary of {len(columns)} words{hint}: leave them out, or "
        "count them too"
    )


def warn_of_unseen(pairs: Pairs, counts: NDArray[np.float64], words: list[str] | None) -> None:
    """Warn of seeds that occur in no document; `counts` are those of each word."""
    unseen = [(topic, word) for topic, word in pairs if counts[word] == 0]
    if not unseen:
        return
    names = [f"seed_words[{topic}] {word if words is None else words[word]!r}" for topic, word in unseen[:_MAX_SHOWN]]
    shown = ", ".join(names) + (", ..." if len(unseen) > _MAX_SHOWN else "")
    _checks.warn(f"{shown}: no training document has such a word, so it draws no others into its topic: leave it out")


def occurrences(pairs: Pairs, share: float, n_topics: int, total: float) -> list[dict[str, Any]]:
    """Return the seeds as the engine takes them.

    The occurrences of a topic's seeds are as many as make them a `share` of its words, if it has a fair part of the
    `total` number of words: n = share / (1 - share) * total / n_topics, in equal parts.
    """
    topics = np.array([topic for topic, _ in pairs])
    each = min(share / (1 - share) * total / n_topics, 1e9)
    counts = [each / float((topics == topic).sum()) for topic, _ in pairs]
    return [{"topic": topic, "word": word, "count": count} for (topic, word), count in zip(pairs, counts, strict=True)]


def check_share(value: Any) -> float:
    """Return the parameter ``seed_strength``, checked."""
    share = _checks.number(value, "seed_strength", below=1.0)
    if share < 1e-6:
        raise ValueError(f"seed_strength={value!r} must be a share of a topic's words, above 0 and below 1")
    return share
