"""A group of ranks: collective operations with a time limit, and errors that all ranks raise.

Every wait polls: it hears of a failed rank, notices Ctrl-C, and ends after the time limit. So no rank hangs when
another one has raised an exception, or has died where ``mpirun`` does not notice. Sums are in the order of the ranks:
their bits depend neither on the MPI library nor on chance.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._distributed.communicator import require_mpi, resolve
from fastvae._distributed.errors import (
    DisagreementError,
    FailedElsewhereError,
    SilentRankError,
    described,
    rebuilt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastvae._distributed.communicator import Communicator

_CONTROL = 1  # the tag of messages about failures
_SPIN = 0.002  # seconds of waiting before the first sleep
_SLEEP = 5e-5
_SETTLE = 30.0  # seconds that a failed rank waits for the others to hear of it
_LONGEST = 2000  # characters of an error in a message

# The groups in use by their communicators: to duplicate a communicator takes as long as several steps.
_GROUPS: dict[tuple[int, float], Group] = {}


class Group:
    """The ranks of a communicator.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    timeout : float
        Seconds.

    Attributes
    ----------
    rank, size : int
    threads : int
        The cores of this rank: those that it may use, divided among the ranks that may use them too.
    memory : dict
        What lives as long as the group, since MPI may write to it after a failure too.
    """

    def __init__(self, comm: Any, timeout: float) -> None:
        self.mpi = require_mpi()
        self.timeout = timeout
        self.memory: dict[Any, Any] = {}
        if self.mpi.Query_thread() < self.mpi.THREAD_SERIALIZED:
            raise RuntimeError(
                "fastvae needs MPI with THREAD_SERIALIZED, mpi4py's default: leave mpi4py.rc.thread_level"
            )
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        # Own contexts: messages of the caller do not get in the way. The second one is for the gradients' way back,
        # which must not wait in line with their way out.
        self._spin = _SPIN
        self.comm = self.back = comm
        self.comm, self.back = self._duplicate(comm), self._duplicate(comm)
        self.threads = self._divide_cores()

    def _duplicate(self, comm: Any) -> Any:
        copy, request = comm.Idup()
        try:
            self.wait(request.Test, hears=False)
        except SilentRankError:
            atexit.register(comm.Abort, 1)  # MPI would wait for the others at the end of this process
            raise RuntimeError(
                f"not all of the {self.size} ranks have called fit within {self.timeout:g} s: look for the error of "
                "another rank, start with python -m mpi4py, which ends all ranks after an error, or raise timeout= of "
                "fastvae.distributed.Communicator"
            ) from None
        return copy

    def _divide_cores(self) -> int:
        """Return the cores of this rank. Ranks that share a core must not wait in loops: another one needs it."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [-1] * (os.cpu_count() or 1)
        mine = [socket.gethostname(), cores]
        ranks = self.gather(mine).count(mine)
        self._spin = _SPIN if ranks <= len(cores) else 0.0
        return max(1, len(cores) // ranks)

    # Waiting

    def wait(self, done: Callable[[], bool], *, hears: bool = True) -> None:
        """Return when `done()` is true.

        Raises
        ------
        FailedElsewhereError
            If another rank has failed.
        SilentRankError
            After the time limit.
        """
        if done():
            return
        start = time.monotonic()
        while not done():
            if hears and self.hears_of_a_failure():
                raise FailedElsewhereError
            waited = time.monotonic() - start
            if waited > self.timeout:
                raise SilentRankError
            if waited > self._spin:
                time.sleep(_SLEEP)
            elif hasattr(os, "sched_yield"):
                os.sched_yield()

    def hears_of_a_failure(self) -> bool:
        """Whether another rank has failed."""
        return bool(self.comm.Iprobe(self.mpi.ANY_SOURCE, _CONTROL))

    # Collective operations

    def gather_arrays(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the arrays of all ranks, which have the same shape: [size, ...]."""
        everywhere, request = self.start_gathering(values)
        self.wait(request.Test)
        return everywhere

    def start_gathering(self, values: NDArray[Any]) -> tuple[NDArray[Any], Any]:
        """Return the arrays of all ranks, which arrive by the end of an MPI request, and the request."""
        values = np.ascontiguousarray(values)
        everywhere = np.empty((self.size, *values.shape), values.dtype)
        return everywhere, self.comm.Iallgather(values, everywhere)

    def gather(self, value: Any) -> list[Any]:
        """Return a value of each rank, in JSON types."""
        own = np.frombuffer(json.dumps(value).encode(), np.uint8)
        sizes = self.gather_arrays(np.array([len(own)], np.int64)).ravel()
        padded = np.zeros(sizes.max(), np.uint8)
        padded[: len(own)] = own
        texts = self.gather_arrays(padded)
        return [json.loads(text[:size].tobytes()) for text, size in zip(texts, sizes, strict=True)]

    def sum(self, values: NDArray[np.float64]) -> None:
        """Replace values by their sums over all ranks, in the order of the ranks."""
        values[...] = in_order(self.gather_arrays(values))

    def first(self, value: Any) -> Any:
        """Return the value of rank 0, in JSON types."""
        return self.gather(value if self.rank == 0 else None)[0]

    def first_array(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the array of rank 0; all ranks pass one of its shape."""
        values = np.ascontiguousarray(values)
        self.wait(self.comm.Ibcast(values, 0).Test)
        return values

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on a rank."""
        return bool(self.gather_arrays(np.array([flag], np.uint8)).any())

    def require_same(self, facts: dict[str, Any], remedy: str = "pass the same to all ranks") -> None:
        """Raise the same ValueError on all ranks unless they have the same facts, in JSON types."""
        everywhere = self.gather(facts)
        for name in everywhere[0]:
            values = [found.get(name) for found in everywhere]
            other = next((rank for rank in range(self.size) if values[rank] != values[0]), None)
            if other is not None:
                raise DisagreementError(
                    f"the ranks have different {name}: {_shown(values[0])} on rank 0, {_shown(values[other])} on rank "
                    f"{other}. {remedy[0].upper()}{remedy[1:]}"
                )

    # Failures

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all ranks fail with the same error: that of the lowest rank that fails in the block."""
        try:
            yield
            self.gather_arrays(np.zeros(1, np.uint8))  # from here on no rank can fail
        except DisagreementError as error:  # raised on all ranks
            raise ValueError(str(error)) from None
        except BaseException as error:
            _GROUPS.pop(next((key for key, group in _GROUPS.items() if group is self), (0, 0.0)), None)
            silent, elsewhere = isinstance(error, SilentRankError), isinstance(error, FailedElsewhereError)
            own = None if silent or elsewhere else described(error)
            found, missing = self._tell(own, min(self.timeout, 5.0 if silent else _SETTLE))
            if not isinstance(error, Exception):  # Ctrl-C
                raise
            if missing:
                # MPI waits for all ranks at the end of a process, which these do not reach.
                atexit.register(self.comm.Abort, 1)
            if found:
                rank = min(found)
                kind, message = found[rank]
                if rank == self.rank and not kind:  # of a callback, say
                    raise
                raise rebuilt(kind, f"rank {rank} of {self.size}: {message}") from (
                    error if rank == self.rank else None
                )
            if missing:
                raise RuntimeError(self._silence(missing)) from None
            raise RuntimeError(
                f"the ranks did not meet within {self.timeout:g} s, although all of them run: raise timeout= of "
                "fastvae.distributed.Communicator, or look for a rank that works longer than the others"
            ) from None

    def _tell(self, own: tuple[str, str] | None, patience: float) -> tuple[dict[int, tuple[str, str]], list[int]]:
        """Tell all ranks of this one's failure (None: it has heard of one); return their failures and who is silent."""
        cut = None if own is None else (own[0], own[1][:_LONGEST])
        text = np.frombuffer(json.dumps(cut).encode(), np.uint8)
        others = [rank for rank in range(self.size) if rank != self.rank]
        sent = [self.comm.Isend(text, rank, _CONTROL) for rank in others]
        found = {} if own is None else {self.rank: own}
        missing, start = set(others), time.monotonic()
        while missing and time.monotonic() - start < patience:
            status = self.mpi.Status()
            if not self.comm.Iprobe(self.mpi.ANY_SOURCE, _CONTROL, status):
                time.sleep(_SLEEP)
                continue
            message = np.empty(status.Get_count(self.mpi.BYTE), np.uint8)
            self.comm.Recv(message, status.Get_source(), _CONTROL)
            failure = json.loads(message.tobytes())
            missing.discard(status.Get_source())
            if failure is not None:
                found[status.Get_source()] = (failure[0], failure[1])
        _KEPT.append((self, text, sent))
        return found, sorted(missing)

    def _silence(self, missing: list[int]) -> str:
        ranks = ", ".join(map(str, missing))
        who = f"rank {ranks} of {self.size} does" if len(missing) == 1 else f"ranks {ranks} of {self.size} do"
        return (
            f"{who} not answer: it hangs, or has ended without notice to MPI. Start again from the last checkpoint, "
            "with fastvae.resume, on as many ranks as there are"
        )


# What MPI may still read after a failure.
_KEPT: list[Any] = []


def in_order(everywhere: NDArray[Any]) -> NDArray[Any]:
    """Return the sum over the first axis, the ranks, in their order."""
    total: NDArray[Any] = everywhere[0].copy()
    for other in everywhere[1:]:
        total += other
    return total


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "..."


def connect(communicator: Communicator | Any) -> Group:
    """Return the group of a communicator."""
    given = resolve(communicator)
    mpi = require_mpi()
    comm = mpi.COMM_WORLD if given.comm is None else given.comm
    if comm == mpi.COMM_NULL or comm.Is_inter():
        raise ValueError("communicator= must hold this process, and be no intercommunicator")
    key = comm.py2f(), given.timeout
    group = _GROUPS.get(key)
    if group is None or mpi.Comm.Compare(comm, group.comm) != mpi.CONGRUENT:
        group = _GROUPS[key] = Group(comm, given.timeout)
    return group
