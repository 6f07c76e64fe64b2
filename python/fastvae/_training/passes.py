"""One pass over the training data: of data in memory in one piece, of a stream in many."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from fastvae._data.streams.stream import Part, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._training.plan import Plan


def stream_of(data: Data) -> Stream | None:
    """Return the X of data that are not in memory, else None."""
    X: Any = data.X
    return X if isinstance(X, Stream) else None


def examples(data: Data, rows: NDArray[np.uint64] | None, plan: Plan) -> int:
    """Return the number of examples of an epoch."""
    stream = stream_of(data)
    if stream is not None:
        return stream.examples(plan.batch_size)
    return len(data.X) if rows is None else len(rows)


def steps(data: Data, rows: NDArray[np.uint64] | None, plan: Plan) -> int:
    """Return the number of batches of an epoch, the same on all ranks."""
    stream = stream_of(data)
    if stream is not None:
        return stream.steps(plan.batch_size)
    return plan.steps_for(examples(data, rows, plan))


def parts(
    data: Data, rows: NDArray[np.uint64] | None, plan: Plan, seed: int, epoch: int, *, shuffle: bool
) -> AbstractContextManager[Iterable[Part]]:
    """Return the parts of an epoch: one of data in memory, the pieces that a stream reads ahead."""
    stream = stream_of(data)
    if stream is None:
        n = examples(data, rows, plan)
        return nullcontext([Part(data, rows, plan.batch_size_for(n), plan.steps_for(n), shuffle)])
    return stream.pieces(seed, epoch, plan.batch_size, shuffle=shuffle)


def tick_from(examples: int, tick: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Return a function that adds the examples before a part to those of it that are done."""
    return tick if tick is None or not examples else lambda done: tick(examples + done)
