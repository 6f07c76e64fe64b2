"""The choice of the words of training texts, and its options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastvae._cli.errors import UsageError
from fastvae._cli.read.texts import TOKEN, Vocabulary, stop_words


def add(parser: Any) -> None:
    """Add the options of counting words."""
    group = parser.add_argument_group("texts")
    group.add_argument("--min-df", metavar="N", default="2", help="least documents with a word: a number or a share")
    group.add_argument("--max-df", metavar="N", default="0.5", help="most documents with a word: a number or a share")
    group.add_argument("--max-words", metavar="N", type=int, help="keep the most frequent words")
    group.add_argument(
        "--stop-words", metavar="FILE", help='words to leave out, one a line; "english": scikit-learn\'s'
    )
    group.add_argument("--token", metavar="REGEX", default=TOKEN, help="what a word is")
    group.add_argument("--keep-case", action="store_true", help="do not convert texts to lower case")


def learner(options: Any) -> Callable[[list[str]], Vocabulary]:
    """Return the function that chooses the words of training texts, once: validation texts get the same."""
    found: list[Vocabulary] = []

    def vocabulary(documents: list[str]) -> Vocabulary:
        if not found:
            found.append(_learn(documents, options))
        return found[0]

    return vocabulary


def _learn(documents: list[str], options: Any) -> Vocabulary:
    if options.vocabulary is not None:
        return Vocabulary.load(Path(options.vocabulary))
    try:
        groups = re.compile(options.token).groups
    except re.error as error:
        raise UsageError(f"--token {options.token} is no regular expression: {error}") from None
    if groups > 1:
        raise UsageError(f"--token {options.token} has {groups} groups, and a word is one: write (?:...) for a group")
    bounds = {}
    for name in ("min_df", "max_df"):
        text = getattr(options, name)
        try:
            bounds[name] = int(text) if text.isdigit() else float(text)
        except ValueError:
            raise UsageError(f"--{name.replace('_', '-')} {text} must be a number of documents or a share") from None
    return Vocabulary.learn(
        documents,
        lowercase=not options.keep_case,
        token=options.token,
        max_words=options.max_words,
        stop_words=() if options.stop_words is None else stop_words(options.stop_words),
        **bounds,
    )
