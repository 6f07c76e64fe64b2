"""One sentence about any error, with options in place of parameters, and its exit code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

# Remedies of the library that are a call, as options.
_SHELL = {
    'use fastvae.likelihoods.Gaussian("per_feature")': "pass --likelihood 'Gaussian(\"per_feature\")'",
    "an object from fastvae.likelihoods": "a call such as 'Gaussian(\"per_feature\")'",
}


@cache
def _parameters() -> dict[str, str]:
    """Return the option of each parameter of an estimator."""
    from fastvae import VAE, Autoencoder, ItemResponse, TabularVAE, TopicModel
    from fastvae._cli.parameters import defaults, flags_of

    found = {}
    for cls in (VAE, Autoencoder, ItemResponse, TopicModel, TabularVAE):
        for name in defaults(cls):
            flags = flags_of(name)
            if flags is not None:
                found[name] = flags[0]
    return found


def in_options(text: str) -> str:
    """Return a message of the library with options in place of parameters: --missing mask for missing="mask"."""

    def option(match: re.Match[str]) -> str:
        flag = _parameters().get(match["name"])
        value = next((each for each in match.group("single", "double", "bare") if each is not None), "")
        if flag is None:
            return match[0]
        return flag if value == "True" else f"{flag} {value}"

    text = re.sub(r"(?:pass )?columns=\{(['\"])([^'\"]+)\1: \"(\w+)\"\}", r"pass --kind \2=\3", text)
    assigned = r"(?<![\w.\-])(?P<name>[a-z_]+)=(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<bare>[\w.\-]*\w))"
    for library, shell in _SHELL.items():
        text = text.replace(library, shell)
    text = re.sub(assigned, option, text)
    bare = "|".join(name for name in _parameters() if "_" in name)
    return re.sub(rf"(?<![\w.\-`'\"])({bare})(?![\w=`'\"\[(])", lambda match: _parameters()[match[1]], text)


def explain(error: Exception) -> tuple[str, int]:
    """Return one sentence about an error, and the exit code."""
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case FloatingPointError():
            return in_options(text), 1
        case MemoryError():
            return f"out of memory: {text}" if str(error) else "out of memory", 1
        case FileNotFoundError() | IsADirectoryError() | NotADirectoryError() | PermissionError():
            return _of_file(error), 2
        case OSError():
            return _of_file(error), 1
        case ImportError() | NotImplementedError():
            return text, 2
        case ValueError() | TypeError():
            return in_options(text), 2
        case _:
            kind = type(error).__name__
            return f"unexpected {kind}: {text} (--debug shows the traceback; please report it)", 1


def _of_file(error: OSError) -> str:
    text = " ".join(str(error).split())
    if error.strerror is None or error.filename is None:
        return text
    # The core's errors name their file in the sentence already.
    return f"{Path(str(error.filename))}: {error.strerror}"
