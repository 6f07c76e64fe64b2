"""Training with a file at its end: a whole model, or the partial one of an interrupted or diverged fit."""

from __future__ import annotations

import copy
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastvae._cli import messages, models
from fastvae._cli.errors import UsageError, WorkError
from fastvae._cli.explain import in_options
from fastvae._cli.read import Data, mixed, read
from fastvae._cli.read.texts import Vocabulary, beside
from fastvae._cli.write import files, json_text


def add_fit(parser: Any, *, required: bool) -> None:
    """Add the options of a fit: output, validation data, checkpoints, summary."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "-o",
        "--output",
        metavar="MODEL",
        required=required,
        help="model file to write (safetensors), such as m.safetensors",
    )
    group.add_argument("--force", action="store_true", help="replace existing files")
    group.add_argument("--validation", metavar="DATA", help="validation data, read as DATA, for early stopping")
    group.add_argument("--checkpoint", metavar="FILE", help="write checkpoints, from which `fastvae resume` continues")
    group.add_argument(
        "--checkpoint-every", metavar="N", type=int, help="epochs between checkpoints (default: about a minute)"
    )
    add_log(group)
    group.add_argument("--json", action="store_true", help="print a summary as JSON on standard output")


def add_log(group: Any) -> None:
    """Add ``--log``."""
    group.add_argument("--log", metavar="FILE", help="write the losses of each epoch to a file: .csv or .jsonl")


def loggers(text: str | None) -> list[Any]:
    """Return the callbacks of ``--log``, or raise UsageError."""
    if text is None:
        return []
    from fastvae import callbacks

    kinds = {".csv": callbacks.CSVLogger, ".jsonl": callbacks.JSONLLogger}
    kind = kinds.get(Path(text).suffix.lower())
    if kind is None:
        raise UsageError(f"--log {text}: name a file .csv or .jsonl")
    return [kind(text)]


def _free(path: Path, how: str) -> Path:
    """Return the path of a partial model, which replaces no earlier one."""
    stem = f"{path.name.removesuffix('.safetensors')}.{how}"
    found, number = path.with_name(f"{stem}.safetensors"), 2
    while found.exists():
        found, number = path.with_name(f"{stem}-{number}.safetensors"), number + 1
    return found


class Fit:
    """A fit and its files.

    Parameters
    ----------
    options : namespace
        Of `add_fit`.
    resumes : bool
        Whether the fit goes on, so that checkpoint and log exist.
    """

    def __init__(self, options: Any, *, resumes: bool = False) -> None:
        self._options = options
        self.loggers = loggers(options.log)
        self.path = None if options.output is None else Path(options.output)
        if options.output == "-":
            raise UsageError("-o -: a model is written to a file")
        if self.path is not None:
            files.check(self.path, options.force)
        if options.checkpoint is not None and not resumes:
            files.check(Path(options.checkpoint), options.force)
        if options.log is not None and not resumes:
            files.check(Path(options.log), options.force)
        written = {"--checkpoint": None if resumes else options.checkpoint, "-o": options.output, "--log": options.log}
        found: dict[str, str] = {}
        for option, text in written.items():
            if text is not None and (other := found.setdefault(os.path.realpath(text), option)) != option:
                raise UsageError(f"{other} and {option} are the same file")
        if options.checkpoint is None and options.checkpoint_every is not None:
            raise UsageError("--checkpoint-every needs --checkpoint FILE")

    def seed(self, parameters: dict[str, Any]) -> None:
        """Choose a seed, so that the summary can name it."""
        if parameters.get("random_state") is None:
            parameters["random_state"] = secrets.randbits(32)

    def run(self, model: Any, data: Data, validation: Data | None, **arguments: Any) -> None:
        """Train the model and write it, or raise WorkError or KeyboardInterrupt."""
        options = self._options
        model.callbacks = self.loggers
        held_out = None if validation is None else validation.X
        if validation is not None and models.is_conditional(model):
            if validation.y is None:
                raise UsageError("--validation has no labels: its file needs the column of --label")
            held_out = (validation.X, validation.y)
        extra = {"checkpoint": options.checkpoint, "checkpoint_every": options.checkpoint_every}
        given = {key: value for key, value in extra.items() if value is not None}
        written = [Path(each) for each in (self.path, options.checkpoint) if each is not None]
        if data.tokenizer is not None:
            for each in written:
                files.check(beside(each), options.force)
        if options.checkpoint is not None:  # `resume` counts the same words
            self._vocabulary(Path(options.checkpoint), data.tokenizer)
        with _cells(data):
            self.guard(model, lambda: model.fit(data.X, validation_data=held_out, **given, **arguments), data.tokenizer)

    def guard(self, model: Any, work: Callable[[], Any], vocabulary: Vocabulary | None = None) -> Any:
        """Run `work`, which trains the model; keep a partial model in a file of its own if it stops early."""
        try:
            found = work()
        except KeyboardInterrupt:
            self._keep(model, "interrupted", vocabulary)
            self._hint()
            raise
        except FloatingPointError as error:
            self._keep(model, "diverged", vocabulary)
            raise WorkError(f"{in_options(' '.join(str(error).split()))}") from None
        model = found if found is not None else model
        if self.path is not None:
            try:
                models.save(model, self.path)
            except OSError as error:
                raise WorkError(f"{self.path} was not written: {error.strerror or error}{_rescued(model)}") from None
            self._vocabulary(self.path, vocabulary)
        return model

    def _keep(self, model: Any, how: str, vocabulary: Vocabulary | None) -> None:
        if self.path is None or model is None or not model.__sklearn_is_fitted__():
            return
        path = _free(self.path, how)
        try:
            model.save(path)
            self._vocabulary(path, vocabulary)
        except (OSError, ValueError) as error:
            messages.warning(f"the partial model was not kept: {error}")
            return
        n = model.n_iter_
        messages.note(f"{how}: the model after {models.plural(n, 'whole epoch')} is in {path}")

    def _hint(self) -> None:
        path = getattr(self._options, "checkpoint", None)
        if path is not None and Path(path).exists():
            messages.note(f"fastvae resume {path} {self._options.data} goes on from the last checkpoint")

    def _vocabulary(self, path: Path, vocabulary: Vocabulary | None) -> None:
        if vocabulary is not None:
            files.write(beside(path), vocabulary.dump())

    def summarise(self, model: Any) -> None:
        """Note sizes, epochs, time and losses of the fit."""
        last = models.last_losses(model)
        losses = ", ".join(f"{key} {value:.6g}" for key, value in last.items())
        epochs = models.plural(model.n_iter_, "epoch")
        messages.note(f"{models.summary(model)}; {epochs} in {model.elapsed_:.3g} s, seed {model.random_state}")
        if losses:
            messages.note(f"{losses} (nats per example)" if "kl" in last else losses)

    def print_json(self, model: Any, data: Data) -> None:
        """Print the same on standard output, as JSON."""
        found = {
            "model": type(model).__name__,
            "file": None if self.path is None else str(self.path),
            "examples": len(data),
            "features": model.n_features_in_,
            "epochs": model.n_iter_,
            "seconds": model.elapsed_,
            "seed": model.random_state,
            "losses": models.last_losses(model),
            "warnings": messages.seen(),
        }
        files.print_text(json_text(found))


def _rescued(model: Any) -> str:
    """Write a model that has no other place to the folder of temporary files, and return what to say."""
    try:
        path = Path(tempfile.mkdtemp(prefix="fastvae-")) / "model.safetensors"
        model.save(path)
    except OSError:
        return ""
    return f": the model is in {path}"


def loaded(options: Any, given: dict[str, Any], cls: type, title: str) -> Any:
    """Return the model of ``--load``, with the parameters of its use in `given`; raise UsageError for others."""
    if set(given) - {"n_jobs", "progress"} or options.output is not None:
        raise UsageError("--load trains no model: leave out -o and parameters of training")
    model = models.load(options.load, given.get("n_jobs"))
    if not isinstance(model, cls):
        raise UsageError(f"{options.load} is a {type(model).__name__}, not {title}")
    return model


def read_validation(
    options: Any, data: Data, channels: int | None, vocabulary: Any, types: mixed.Types | None = None
) -> Data | None:
    """Read ``--validation`` with the options of DATA."""
    if options.validation is None:
        return None
    changed = copy.copy(options)
    changed.data, changed.rows, changed.labels = options.validation, None, None
    if options.labels is not None:
        raise UsageError("--validation with --labels is not supported: use a table with --label")
    names = data.names if data.table is not None else None
    found = read(changed, expected=names, channels=channels, vocabulary=vocabulary, types=types)
    if data.images is not None and found.images is None:
        raise UsageError(f"--validation {options.validation} holds no images, but {data.title} does")
    return found


@contextmanager
def _cells(data: Data) -> Iterator[None]:
    """Name the line and the column of the cell X[i, j] in an error."""
    try:
        yield
    except ValueError as error:
        text = " ".join(str(error).split())
        cell = re.match(r"X\[(\d+), (\d+)\]", text)
        if cell is None or data.table is None:
            raise
        row, place = int(cell[1]), data.places[int(cell[2])]
        line = "" if data.table.lines is None else f"line {data.table.lines[row]}, "
        text = f"{data.title}, {line}{data.table.title(place)}: {text}"
        raise UsageError(in_options(text)) from None
