"""A fitted model on the workers of a Dask cluster."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Replicas:
    """Copies of a fitted model in this process, one for each thread that uses it at a time.

    A copy has weights, but no state of an optimiser. The object is pickled as bytes, once for each process: threads of
    a worker share it, and a call takes a copy that no other thread uses.

    Parameters
    ----------
    state : bytes
        The pickled model.
    """

    def __init__(self, state: bytes) -> None:
        self._state = state
        self._idle: list[Any] = []  # append and pop are atomic

    @classmethod
    def of(cls, model: Any) -> Replicas:
        """Return the copies of a model; without ``n_jobs`` each works with one thread, as blocks run side by side."""
        import cloudpickle  # which Dask needs: parameters may be functions

        return cls(cloudpickle.dumps(model._for_inference(), protocol=5))

    @property
    def token(self) -> str:
        """A hash of the model."""
        return hashlib.blake2b(self._state, digest_size=16).hexdigest()

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Return a copy of the model that no other thread uses until the end of the ``with`` statement."""
        try:
            model = self._idle.pop()
        except IndexError:
            model = pickle.loads(self._state)
        yield model  # a copy whose call has raised is dropped
        self._idle.append(model)

    def __reduce__(self) -> tuple[Any, ...]:
        return Replicas, (self._state,)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + len(self._state)  # by which Dask weighs a transfer

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "fastvae.Replicas", self.token


def in_graph(model: Any) -> Any:
    """Return the copies of a model as one task of a graph of Dask, which all blocks share: a worker gets it once."""
    from dask import delayed

    replicas = Replicas.of(model)
    return delayed(replicas, name=f"fastvae-model-{replicas.token}", traverse=False)
