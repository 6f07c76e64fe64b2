"""The parameters of an estimator as options, read from its constructor and its docstring."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from typing import Any

from fastvae._cli import docstrings, values
from fastvae._cli.errors import UsageError

# Parameters whose option has another name or a short one; None: no option.
_FLAGS: dict[str, tuple[str, ...] | None] = {
    "random_state": ("--seed", "--random-state"),
    "n_jobs": ("--threads", "--n-jobs"),
    "callbacks": None,  # code
    "communicator": None,  # of processes that MPI starts
    "warm_start": None,  # `resume`
    "progress": None,  # added by hand
    "vocabulary": None,  # the words that were counted, and their file
    "columns": None,  # --kind of train
    "balance": None,  # --balance of train
    "seed_words": None,  # added by hand
}
# Parameters that --set refuses too.
_NOT_SET = ("callbacks", "communicator", "warm_start", "columns", "balance")


def add(parser: Any, classes: Sequence[type]) -> None:
    """Add an option for each parameter of the classes, and ``--set``."""
    from fastvae import VAE

    group = parser.add_argument_group("parameters")
    shared = docstrings.parameters(VAE)
    added: set[str] = set()
    for cls in classes:
        described = docstrings.parameters(cls)
        for name, default in defaults(cls).items():
            flags = flags_of(name)
            if name in added or flags is None:
                continue
            added.add(name)
            doc = described.get(name)
            if doc is None or doc.text.startswith("As for "):
                doc = shared.get(name, doc)
            having = [other for other in classes if name in defaults(other)]
            text = "" if doc is None else docstrings.summary(doc.text)
            text += "" if len(having) == len(classes) else f" [{', '.join(each.__name__ for each in having)} only]"
            shown = _shown(default)
            for other in having[1:]:
                own = defaults(other)[name]
                if own != default and _shown(own) and not isinstance(default, bool):
                    shown += f"{'; ' if shown else ''}{other.__name__}: {_shown(own)}"
            if isinstance(default, bool):
                flags = tuple(flag.replace("--", "--no-", 1) for flag in flags) if default else flags
                extra: dict[str, Any] = {"action": "store_const", "const": "false" if default else "true"}
            else:
                extra = {"metavar": _metavar(doc)}
            help_text = text.replace("%", "%%") + (f" (default: {shown.replace('%', '%%')})" if shown else "")
            group.add_argument(*flags, dest=f"param:{name}", default=argparse.SUPPRESS, help=help_text, **extra)
    group.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="any parameter, its value as JSON or a call"
    )
    progress = "show the progress on standard error (default: if it is a terminal)"
    group.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None, help=progress)


def given(options: Any, cls: type) -> dict[str, Any]:
    """Return the parameters of the class that the user has set, as values, or raise UsageError."""
    texts = {key.removeprefix("param:"): text for key, text in vars(options).items() if key.startswith("param:")}
    flags = {name: f"--{name.replace('_', '-')}" for name in texts}
    for item in options.set:
        name, equals, text = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"--set {item}: write NAME=VALUE, such as --set beta=4")
        texts[name], flags[name] = text, f"--set {name}="
    known = defaults(cls)
    found = {}
    for name, text in texts.items():
        if name not in known or name in _NOT_SET:
            raise UsageError(f"{flags[name]}: {name} is not a parameter of {cls.__name__}")
        try:
            found[name] = values.parse(text)
        except ValueError as error:
            raise UsageError(f"{flags[name]}: {error}") from None
    progress = False if options.quiet else options.progress
    if progress is not None and "progress" in known and "progress" not in found:
        found["progress"] = progress
    return found


def flags_of(name: str) -> tuple[str, ...] | None:
    """Return the names of a parameter's option; None: it has none."""
    return _FLAGS.get(name, (f"--{name.replace('_', '-')}",))


def defaults(cls: type) -> dict[str, Any]:
    """Return the parameters of a constructor with their defaults."""
    parameters = inspect.signature(cls).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}


def _metavar(doc: docstrings.Described | None) -> str:
    kind = "" if doc is None else doc.kind
    if kind.startswith("{"):
        return kind[1 : kind.index("}")].replace('"', "").replace(", ", "|")
    for word, shown in (("sequence of int", "N,N,..."), ("tuple of int", "HxWxC"), ("int", "N"), ("float", "X")):
        if kind.startswith(word):
            return shown
    return "VALUE"


def _shown(default: Any) -> str:
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)
