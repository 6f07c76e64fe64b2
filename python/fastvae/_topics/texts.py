"""Refusal of texts where counts of words are expected."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._data import names

_FEW = 100  # documents, below which no word is rare
_SHOWN = 40  # characters of a text in a message
_PLAIN = 'stop_words="english"'


def refusal(X: Any, name: str, *, fitted: bool) -> str | None:
    """Return an error message, with the lines that count the words, for X that holds texts; None for other data.

    `fitted` says that X is for a fitted model, whose vectorizer exists.
    """
    found = _first(X)
    if found is None:
        return None
    what, given, options = found
    if fitted or name != "X":  # validation data
        lines = f"    {name} = vectorizer.transform({given})  # the CountVectorizer of the training documents"
    else:
        lines = (
            f"    vectorizer = sklearn.feature_extraction.text.CountVectorizer({options})\n"
            f"    {name} = vectorizer.fit_transform({given})"
        )
    return f"{name} {what}, but a topic model reads counts of words, [n_documents, n_words]. Count them first:\n{lines}"


def _first(X: Any) -> tuple[str, str, str] | None:
    """Return what texts X holds, an expression for a list of them, and options of the vectorizer."""
    if isinstance(X, str):
        return f"is a string, {_short(X)}", "texts", _PLAIN  # one text, or a path
    for label in names.columns(X) or ():
        cells = np.asarray(X[label], object)
        if len(cells) and isinstance(cells[0], str):
            return f"holds texts (row 0 of column {label!r} is {_short(cells[0])})", f"table[{label!r}]", _options(X)
    if names.columns(X) is not None:
        return None
    rows: Any = X if isinstance(X, (list, tuple)) else np.atleast_1d(np.asarray(X, object))
    first: Any = rows[0] if len(rows) else None
    if isinstance(first, str):
        return f"holds texts (row 0 is {_short(first)})", "texts", _options(X)
    words = isinstance(first, (list, tuple, np.ndarray)) and len(first) > 0 and all(isinstance(w, str) for w in first)
    if words:  # of each text
        return f"holds lists of words (row 0 is {_short(list(first))})", "texts", "analyzer=lambda words: words"
    return None


def _options(X: Any) -> str:
    return _PLAIN if len(X) < _FEW else f"{_PLAIN}, min_df=5, max_df=0.5"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
