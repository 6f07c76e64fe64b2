"""Texts, one document a line, as word counts.

The words are those of scikit-learn's ``CountVectorizer`` with the same options; scikit-learn itself is needed only for
its list of English stop words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastvae._cli.errors import UsageError, missing
from fastvae._cli.read.data import Csr

TOKEN = r"(?u)\b\w\w+\b"
_FORMAT = "fastvae vocabulary"


@dataclass(frozen=True)
class Vocabulary:
    """Words, one for each column of X, and how a text is split into words.

    Attributes
    ----------
    words : list of str
    lowercase : bool
    token : str
        Regular expression of a word.
    """

    words: list[str]
    lowercase: bool = True
    token: str = TOKEN

    @classmethod
    def learn(
        cls,
        documents: Sequence[str],
        *,
        lowercase: bool = True,
        token: str = TOKEN,
        min_df: float = 1,
        max_df: float = 1.0,
        max_words: int | None = None,
        stop_words: Iterable[str] = (),
    ) -> Vocabulary:
        """Return the words of documents, in alphabetical order.

        Parameters
        ----------
        documents : sequence of str
        min_df, max_df : float
            Least and most documents with the word: a share in 0 .. 1, or a number above 1.
        max_words : int or None
            Keep the most frequent words only.
        stop_words : iterable of str
            Words to leave out.
        """
        least, most = (_count(bound, len(documents)) for bound in (min_df, max_df))
        found = cls([], lowercase, token)
        within: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for document in documents:
            tokens = found.split(document)
            total.update(tokens)
            within.update(set(tokens))
        stopped = set(stop_words)
        words = sorted(word for word, n in within.items() if least <= n <= most and word not in stopped)
        if max_words is not None and len(words) > max_words:
            words = sorted(sorted(words, key=lambda word: -total[word])[:max_words])
        if not words:
            raise UsageError(
                f"no word is left of {len(within)} in {len(documents)} documents: lower --min-df or raise --max-df"
            )
        return cls(words, lowercase, token)

    def split(self, document: str) -> list[str]:
        """Return the words of a document."""
        return re.findall(self.token, document.lower() if self.lowercase else document)

    def count(self, documents: Sequence[str]) -> Csr:
        """Return the counts of each document, [n_documents, n_words]."""
        place = {word: i for i, word in enumerate(self.words)}
        data, indices, indptr = [], [], [0]
        for document in documents:
            counts = Counter(place[word] for word in self.split(document) if word in place)
            for column in sorted(counts):
                indices.append(column)
                data.append(counts[column])
            indptr.append(len(indices))
        shape = (len(documents), len(self.words))
        return Csr(np.array(data, np.float32), np.array(indices, np.int32), np.array(indptr, np.int64), shape)

    def dump(self) -> bytes:
        """Return the vocabulary as JSON."""
        found = {"format": _FORMAT, "version": 1, "lowercase": self.lowercase, "token": self.token, "words": self.words}
        return (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary: JSON as from `dump`, or a text file with one word a line."""
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"{path}: a vocabulary is a text file") from None
        if not text.lstrip().startswith("{"):
            words = text.split("\n")
            return cls([word.strip() for word in words if word.strip()])
        try:
            found = json.loads(text)
            words, lowercase, token = found["words"], found["lowercase"], found["token"]
            if found["format"] != _FORMAT or not isinstance(words, list) or not all(isinstance(w, str) for w in words):
                raise ValueError
            re.compile(token)
        except (ValueError, KeyError, TypeError, re.error):
            raise UsageError(f"{path} is no vocabulary of fastvae") from None
        return cls(words, bool(lowercase), token)


def beside(model: Path) -> Path:
    """Return the path of the vocabulary of a model file."""
    return model.with_name(f"{model.name.removesuffix('.safetensors')}.vocabulary.json")


def documents(text: str) -> list[str]:
    """Return the documents of a text, one a line; empty lines are empty documents."""
    return text.removesuffix("\n").split("\n")


def stop_words(given: str) -> frozenset[str]:
    """Return stop words: those of a file, one a line, or "english", scikit-learn's list."""
    if given != "english":
        return frozenset(Path(given).read_text("utf-8").split())
    try:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
    except ImportError:
        raise missing("scikit-learn", "--stop-words english") from None
    words: Any = ENGLISH_STOP_WORDS
    return frozenset(words)


def _count(bound: float, n: int) -> float:
    """Return a bound as a number of documents: a share of n, or the number itself."""
    return bound if bound > 1 or (isinstance(bound, int) and bound == 1) else bound * n
