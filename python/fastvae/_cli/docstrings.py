"""Parameters described in a numpydoc docstring."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple


class Described(NamedTuple):
    """A parameter's type, "{"relu", ...}" or "int", and its description as plain text."""

    kind: str
    text: str


def parameters(cls: type) -> dict[str, Described]:
    """Return the parameters of a class by name; {} without a docstring (``python -OO``)."""
    lines = inspect.getdoc(cls)
    found: dict[str, Described] = {}
    names: list[str] = []
    kind, text = "", list[str]()

    def finish() -> None:
        for name in names:
            found[name] = Described(kind, _plain(" ".join(text)))

    for line in _section((lines or "").splitlines(), "Parameters"):
        if line and not line[0].isspace():
            finish()
            left, _, kind = line.partition(" : ")
            names, text = [name.strip() for name in left.split(",")], []
        else:
            text.append(line.strip())
    finish()
    return found


def _section(lines: list[str], title: str) -> list[str]:
    for i, line in enumerate(lines[:-1]):
        if line == title and set(lines[i + 1]) == {"-"}:
            rest = lines[i + 2 :]
            end = next((j for j, each in enumerate(rest[1:]) if set(each) == {"-"} and rest[j]), len(rest))
            return rest[:end]
    return []


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    return " ".join(text.replace("``", "").split())


def summary(text: str, most: int = 240) -> str:
    """Return the first sentences of a description that fit into `most` characters, at least one."""
    sentences = re.split(r"(?<=[.:;]) (?=[A-Z\"0-9])", text)
    sentences = sentences[1:] if sentences[0] == "See above." and sentences[1:] else sentences
    shown = sentences[0]
    for sentence in sentences[1:]:
        if len(shown) + len(sentence) >= most:
            break
        shown = f"{shown} {sentence}"
    return shown.rstrip(".:; ")
