"""The parser of the command line: one sub-parser a command, filled only when the command is used."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from fastvae._cli.errors import UsageError

# Command -> what it does. The module fastvae._cli.commands.<name> has `add(parser)` and `run(options)`.
COMMANDS = {
    "train": "train a VAE or an autoencoder and write it to a file",
    "resume": "continue a fit from its checkpoint",
    "encode": "write the codes of examples",
    "reconstruct": "encode and decode examples",
    "sample": "generate examples from the prior",
    "score": "print losses, or a score for each example",
    "impute": "fill in missing values",
    "topics": "train a topic model, or print its topics",
    "recommend": "train a recommender on clicks, or list the best items of each user",
    "exam": "fit an item response model to the answers of an exam",
    "plot": "draw a model: learning curve, latent space, images, topics, exams",
    "explorer": "write an HTML page to explore the latent space",
    "info": "describe a model file",
    "export": "convert a model to ONNX, PyTorch or npz",
    "bench": "measure training and inference on this machine",
    "completion": "print a completion script for bash, zsh or fish",
}

_EXAMPLES = """\
examples:
  fastvae train mnist.npz:x_train -o digits.safetensors --latent-dim 20 --epochs 5
  fastvae encode digits.safetensors mnist.npz:x_test -o codes.csv
  fastvae sample digits.safetensors -n 64 -o samples.png
  fastvae train table.csv -o table.safetensors --label species --likelihood gaussian --missing mask
  fastvae topics articles.txt --n-topics 20 -o news.safetensors
  fastvae recommend clicks.csv --top 5 -o shop.safetensors --recommendations best.csv
  fastvae exam answers.csv --items items.csv --abilities abilities.csv
"""

DATA = """\
data (by content, then by name; --format decides):
  file.npy, file.npz:member   arrays of numpy; an .npz of a sparse matrix is read as one
  file.csv, .tsv (also .gz)   a header if no cell of the first line is a number; empty cells, NA, NaN, null are missing
  file.parquet                needs pyarrow or polars
  IDX, IDX.gz                 the format of MNIST
  folder/                     PNG and JPEG of equal size, or with --image-size; needs Pillow; folders in it are labels
  file.txt                    one document a line, counted as words
  -                           standard input: .npy, CSV, or another of these formats
"""


_WIDEST = 120  # columns of the help


class Parser(argparse.ArgumentParser):
    """argparse with one-sentence errors, unabbreviated options and defaults in the help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, with the command whose help explains the usage."""
        text = message.replace("unrecognized arguments", "unknown option or argument")
        raise UsageError(f"{text}{self._near(message)} (see {self.prog} --help)")

    def _near(self, message: str) -> str:
        if not message.startswith("unrecognized arguments"):
            return ""
        given = next((word.partition("=")[0] for word in message.split() if word.startswith("--")), "")
        near = difflib.get_close_matches(given, [name for option in self.flags() for name in option.option_strings], 1)
        return f"; did you mean {near[0]}?" if near else ""

    def flags(self) -> list[argparse.Action]:
        """Return the options of this parser."""
        return [action for action in self._actions if action.option_strings]

    def positionals(self) -> list[argparse.Action]:
        """Return the positional arguments of this parser."""
        return [action for action in self._actions if not action.option_strings]


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with defaults, but none that say nothing, and with the usage shortened to a line."""

    def __init__(self, prog: str, *args: Any, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns, _WIDEST) - 2
        options |= {"max_help_position": 28, "width": width}
        super().__init__(prog, *args, **options)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        silent = action.default in (None, False, argparse.SUPPRESS, [], ()) or "default" in text
        return text if silent or not action.option_strings else f"{text} (default: %(default)s)"


def build(chosen: Sequence[str] | None) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser and those of the commands; only the `chosen` commands (None: all) have their options."""
    import fastvae

    parser = Parser(
        prog="fastvae",
        usage="fastvae COMMAND ...",
        description="Variational autoencoders on the CPU: train, encode, generate, score, impute.",
        epilog=f"{_EXAMPLES}\n{DATA}\n"
        "fastvae COMMAND --help explains a command. Exit codes: 0; 1 failure of the work (diverged training); 2 wrong\n"
        "usage or bad input; 130 Ctrl-C (a partial model is kept).",
    )
    parser.add_argument("--version", action="version", version=f"fastvae {fastvae.__version__}")
    found = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", prog="fastvae")
    commands = {}
    for name, text in COMMANDS.items():
        if chosen is not None and name not in chosen:
            commands[name] = found.add_parser(name, help=text, add_help=False)
            continue
        module = import_module(f"fastvae._cli.commands.{name}")
        command = commands[name] = found.add_parser(
            name,
            help=text,
            usage=module.USAGE,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=module.EPILOG,
        )
        module.add(command)
        shared = command.add_argument_group("messages")
        shared.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress on standard error")
        shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.run)
    return parser, commands


def parse(argv: list[str]) -> Any:
    """Return the options of a command, or raise UsageError. ``--help`` and ``--version`` raise SystemExit."""
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    name = next((word for word in argv if not word.startswith("-")), None)
    if name is not None and name not in COMMANDS and not argv[0].startswith("-"):
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(COMMANDS)}"
        raise UsageError(f"there is no command {name!r}: {hint}")
    parser, commands = build(() if name is None else (name,))
    options, unknown = parser.parse_known_args([word for word in argv if word != "--debug" or name is None])
    if unknown:
        (parser if options.command is None else commands[options.command]).error(
            f"unrecognized arguments: {' '.join(unknown)}"
        )
    if options.command is None:
        parser.print_help(sys.stderr)
        raise UsageError("name a command")
    options.debug = "--debug" in argv
    return options
