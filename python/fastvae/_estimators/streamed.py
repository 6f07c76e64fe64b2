"""Training on data that are read meanwhile: sources of rows, and batches of an iterator.

`model` is an estimator, a ``Trained``, whose module imports this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _checks, _core
from fastvae._data import conditions, names, sizes, sparse, weights
from fastvae._data.examples import Data, Format
from fastvae._data.sources import opening
from fastvae._data.sources.memory_map import MemoryMap
from fastvae._data.sources.source import Source
from fastvae._data.streams import chunks
from fastvae._data.streams.batches import Batches, is_batches, is_pair
from fastvae._data.streams.blocks import Blocks
from fastvae._data.streams.stream import Stream
from fastvae._estimators.job import Job
from fastvae._fitted import precision
from fastvae._training import progress
from fastvae._training.callbacks import Callbacks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples
    from fastvae._fitted.model import FittedModel
    from fastvae._training.plan import FitSettings

# Training that waits for more than this share of its time, and for more than these seconds, is worth a sentence.
_SHARE, _SECONDS = 0.5, 10.0

_SIZES = "size_factor= needs an X in memory: without it the size of a row is its total"


def opened(model: Any, X: Any, steps: Any = None, name: str = "X") -> Any:
    """Return a Source or Batches of data that are to be read in blocks; else X, read if it is a source.

    Raises ValueError for data that this class cannot read in blocks.
    """
    reads, source = model._READS_BLOCKS, model._open_source(X, name)
    if reads and model._ranks is not None:
        return _share(X, source, steps, name)
    if source is None and steps is not None and isinstance(X, np.ndarray) and X.ndim:
        source = MemoryMap(X, f"the array {name}")
    if source is not None:
        if reads and (steps is not None or opening.is_large(source)):
            return source
        if isinstance(X, np.ndarray):
            return X
        if not opening.is_large(source):
            return opening.whole(source)
        if hasattr(X, "__array__"):  # numpy reads all of it
            return X
    elif steps is None and not is_batches(X):
        if not (reads and isinstance(X, Iterator)):
            return X
        X, of_batches = _peeked(model, X)
        if not of_batches:
            return X
    if not reads:
        shown = "batches" if source is None else source.name
        raise ValueError(
            f"a {type(model).__name__} computes with all rows of {name} at once, so it cannot read {shown} in blocks: "
            "pass the rows that fit into memory, for example as a numpy array"
        )
    if isinstance(X, Iterator) or is_batches(X):
        return Batches(X, steps)
    raise ValueError(
        f"steps_per_epoch= is for {name} that is read in blocks or batches, and {name} is a {type(X).__name__} in "
        "memory: leave it out, or pass an array or an iterator of batches"
    )


def _peeked(model: Any, X: Iterator[Any]) -> tuple[Iterator[Any], bool]:
    """Return an iterator, and whether its first item is a batch: then it may never end. Else its items are rows."""
    first: Any = next(X, None)
    if is_pair(first):
        return chain([first], X), True
    shape, image = np.shape(first), getattr(model, "image_shape", None)
    sides = tuple(image) if isinstance(image, (tuple, list)) else ()
    of_rows = (sides, sides[:2], (*sides[2:], *sides[:2]))  # of images; with the channels last, without, first
    batch = len(shape) > 1 and shape not in of_rows
    return chain([] if first is None else [first], X), batch


def _share(X: Any, source: Source | None, steps: Any, name: str) -> Any:
    """Return the rows of one of several ranks, as what is in memory, or raise ValueError."""
    if steps is not None:
        raise ValueError(
            "leave out steps_per_epoch= with communicator=: on several ranks an epoch is a pass over all their rows"
        )
    if isinstance(X, np.ndarray):  # also a memory map, which is read in place
        return X
    if source is not None and not opening.is_large(source):
        return opening.whole(source)
    if source is None and not (isinstance(X, Iterator) or is_batches(X)):
        return X
    shown = f"{name} is batches" if source is None else f"{name} is {source.name}"
    raise ValueError(
        f"with communicator= {name} is not read in blocks or batches, and {shown}: pass the rows of this rank as an "
        "array, which may be a memory map, or train in one process"
    )


def validation_in_memory(model: Any, validation_data: Any) -> Any:
    """Return the validation data of an X in memory, read if they are a small source."""
    given, pair = validation_data, isinstance(validation_data, tuple) and 1 < len(validation_data) < 4
    X, *rest = given if pair and model._open_source(given, "validation_data") is None else (given,)
    source = model._open_source(X, "validation_data")
    if source is None or hasattr(X, "__array__"):
        return validation_data
    if opening.is_large(source):
        raise ValueError(
            f"validation_data is {source.name}, which is too large to be read at once, beside an X in memory: pass "
            "rows that fit into memory"
        )
    return (opening.whole(source), *rest) if rest else opening.whole(source)


class Reader:
    """Makes what the engine reads from rows as they were given, for a model.

    Parameters
    ----------
    model : Trained
        The estimator.
    fitted : FittedModel
        Its model, which it has, or will have when training begins.
    form : Format
        The format of X.
    """

    def __init__(self, model: Any, fitted: FittedModel, form: Format) -> None:
        self._model, self._fitted, self._form = model, fitted, form

    def examples(self, X: Any, name: str) -> Examples:
        """Return examples, checked."""
        own = self._model._fitted is self._fitted
        if self._form.names is not None and names.columns(X) is not None:  # a batch that is a frame
            names.check(X, name, self._form.names, type(self._model).__name__)
        given = self._model._given(X, name, self._fitted.n_features, fitted=own)
        read: Examples = self._model._convert(given, name, self._form.scale, fitted=own)
        self._fitted.engine.check(read, name, 1)
        return read

    def conditions(self, y: Any) -> NDArray[Any] | None:
        """Return rows of y; None for a model that is not conditional."""
        if not self.needs_y:
            return None
        return conditions.read(y, len(y), self._fitted.classes, self._fitted.specification.conditions)

    @property
    def needs_y(self) -> bool:
        """Whether the model is conditional."""
        return self._fitted.specification.conditions > 0


def prepare(
    model: Any,
    X: Source | Batches,
    y: Any,
    sample_weight: Any,
    validation_data: Any,
    settings: FitSettings,
    steps: int | None,
    *,
    going_on: bool,
) -> Job:
    """Return a fit; set a new model unless training goes on with the fitted one."""
    called = Callbacks(model.callbacks)
    progress.require(settings.progress)
    fraction = settings.validation_fraction
    if fraction and validation_data is not None:
        raise ValueError("pass validation_data or validation_fraction, not both")
    if settings.early_stopping and validation_data is None and not fraction:
        fraction = 0.1
    if fraction and isinstance(X, Batches):
        raise ValueError(
            "validation_fraction and early_stopping hold out rows of X, which batches do not allow: pass "
            "validation_data"
        )
    if steps is not None:
        _checks.integer(steps, "steps_per_epoch")
    begun = _begun(model, X, y, sample_weight, going_on=going_on)
    precision.warn_if_slow(model.precision)
    stream, held_out = begun.stream, None
    if fraction and isinstance(stream, Blocks):
        rest, held = chunks.held_out(stream.n_chunks, fraction, begun.fitted.specification.seed, stream.name)
        part = stream.limited(held)
        part.fingerprint = ""  # the data are those of the stream
        held_out = _as_data(part)
        stream.choose(rest)
    if steps is not None and isinstance(stream, Blocks):
        stream.most_steps = steps
    if validation_data is not None:
        held_out = _held_out(model, validation_data, begun)
    begun.start(model, going_on=going_on)
    stream.fingerprint += f" of {stream.shape} by {steps}"
    return Job(begun.fitted, (_as_data(stream), None), None if held_out is None else (held_out, None), called, settings)


def pass_over(model: Any, X: Source | Batches, y: Any, sample_weight: Any, classes: Any) -> Data:
    """Return the data of a pass of ``partial_fit``; set a new model unless there is one."""
    going_on = model._fitted is not None
    begun = _begun(model, X, y, sample_weight, going_on=going_on, announced=classes)
    begun.start(model, going_on=going_on)
    return _as_data(begun.stream)


def problems(stream: Stream, waited: float, seconds: float, *, complete: bool) -> list[str]:
    """Return sentences about a stream after training in which all `seconds`, or some, have been waited for it."""
    found = []
    if stream.ended and not complete:
        found.append(
            f"{stream.name[0].upper()}{stream.name[1:]} ended before the last epoch: pass one that starts anew when it "
            "is iterated over again, or fewer epochs or steps_per_epoch."
        )
    if waited > max(_SHARE * seconds, _SECONDS):
        found.append(
            f"Training waited for {stream.name} {waited / seconds:.0%} of its time ({waited:.0f} s): reading is slower "
            "than training. Use a faster disk, larger chunks, a faster codec or values of fewer bytes."
        )
    return found


class _Begun(NamedTuple):
    """A stream, the model that it trains, and how its X was given."""

    stream: Blocks | Batches
    fitted: FittedModel
    form: Format
    reader: Reader

    def start(self, model: Any, *, going_on: bool) -> None:
        """Move a new model to the level of a sample of the data, and set it."""
        sample = self.stream.gathered()
        self.stream.fingerprint = self.fitted.fingerprint(sample)
        if going_on:  # after all that may refuse
            self.fitted.set_precision(model.precision)
        else:
            model._check_values(self.fitted, sample.X, model._threads())
            model._initialize_weights(self.fitted, sample, None)
            model._set_fitted(self.fitted)
        self.stream.sample = _top(sample, model._plan().batch_size)


def _begun(
    model: Any, X: Source | Batches, y: Any, sample_weight: Any, *, going_on: bool, announced: Any = None
) -> _Begun:
    """Return a stream, and its model: the fitted one or a new one, which is not set yet."""
    stream = _stream(model, X, y, sample_weight, going_on=going_on)
    first, first_y = stream.first()
    if going_on:
        fitted = model._require_fitted()
        names.check(first, "X", fitted.names, type(model).__name__)
        if announced is not None:
            conditions.check_classes(announced, fitted.classes)
        precision.check(model.precision)
        form = Format(fitted.scale, fitted.names, fitted.form, None)
    else:
        examples, _, form = model._read_first(first, None)
        classes, count = None, 0
        if model._conditional():
            all_classes = conditions.classes_of(stream.labels(first_y), announced)
            classes, rows = model._read_training_conditions(first_y, len(examples), form, all_classes)
            count = model._count_conditions(rows)
        fitted = model._new_model(examples.shape[1], count, classes, form)
    if fitted.specification.takes_sizes:
        raise ValueError(_SIZES)
    model._plan().objective.check(fitted.specification)
    reader = Reader(model, fitted, form)
    stream.read_with(reader, fitted.n_features)
    return _Begun(stream, fitted, form, reader)


def _stream(model: Any, X: Source | Batches, y: Any, sample_weight: Any, *, going_on: bool) -> Blocks | Batches:
    """Return the stream of X, y and weights."""
    columns = model._require_fitted().columns if going_on else model._condition_columns()
    if columns is not None:
        raise ValueError(
            "condition_columns are taken from an X in memory: for an X that is read in blocks pass y=, "
            "with conditional=True"
        )
    if isinstance(X, Batches):
        if y is not None or sample_weight is not None:
            raise ValueError(
                "leave out y= and sample_weight=: batches hold their own y, as pairs (X, y), and have no weights"
            )
        return X
    if sizes.split(y)[1] is not None:
        raise ValueError(_SIZES)
    conditional = model._is_conditional() if going_on else model._conditional()
    if conditional and y is None:
        raise ValueError("pass y=: a conditional model needs labels [n_examples], or real covariates [n_examples, c]")
    rows = np.asarray(y) if conditional else None
    if rows is not None and (rows.ndim == 0 or len(rows) != X.n_rows):
        raise ValueError(f"y has shape {rows.shape}, but there are {X.n_rows} examples: pass a row for each")
    return Blocks(X, rows, weights.read(sample_weight, X.n_rows), opening.BLOCK_BYTES, "X")


def _held_out(model: Any, validation_data: Any, begun: _Begun) -> Data:
    """Return validation data, in memory or in blocks."""
    name, given = "validation_data", validation_data
    pair = isinstance(given, tuple) and len(given) == 2 and not opening.open_source(given)
    X = opened(model, given[0] if pair else given, name=name)
    conditional = begun.fitted.specification.conditions > 0
    if conditional and not pair:
        raise ValueError("validation_data of a conditional model must be a tuple (X, y)")
    if isinstance(X, Batches):
        raise ValueError("validation_data must be rows that can be read again in each epoch: pass an array")
    if isinstance(X, Source):
        blocks = Blocks(X, np.asarray(given[1]) if conditional else None, None, opening.BLOCK_BYTES, name)
        blocks.read_with(begun.reader, begun.fitted.n_features)
        blocks.sample = _top(blocks.gathered(), 1)
        blocks.fingerprint = f"{begun.fitted.fingerprint(blocks.sample)} of {blocks.shape}"
        return _as_data(blocks)
    names.check(X, name, begun.fitted.names, type(model).__name__)
    read = begun.reader.examples(X, name)
    return Data(read, begun.reader.conditions(np.asarray(given[1])) if conditional else None)


def _top(data: Data, n: int) -> Data:
    """Return a copy of the first rows."""
    rows = np.arange(min(len(data.X), n))
    X = sparse.take(data.X, rows) if isinstance(data.X, _core.SparseMatrix) else data.X[rows]
    return Data(X, *(None if part is None else part[rows] for part in data[1:]))


def _as_data(stream: Stream) -> Data:
    """Return data whose X is a stream."""
    return Data(stream)  # type: ignore[arg-type]
