"""The sum of gradients over the ranks, piece by piece while the backward pass goes on.

A piece makes two steps (Rabenseifner, "Optimization of collective reduction operations", ICCS 2004): each rank gets its
part of the piece from all others and adds them up in the order of the ranks; then each gets the sums of all parts. In
each step a rank sends and receives (R - 1) / R of the piece, R ranks, and all ranks have the same bits. With bfloat16
messages have half the length; sums are in float32.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._distributed.group import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._distributed.group import Group

# Floats of a piece: one travels while another one is added up.
_PIECE = 1 << 18


class Reduction:
    """The sums of the parts of an array over the ranks.

    Parameters
    ----------
    group : Group
    values : ndarray of float32
        The array. A part that was given to :meth:`start` belongs to the reduction until :meth:`finish`.
    half : bool
        Whether messages are in bfloat16.
    """

    def __init__(self, group: Group, values: NDArray[np.float32], *, half: bool) -> None:
        self._group, self.values, self._half = group, values, half
        self._known: dict[tuple[int, int], _Piece] = {}
        self._running: list[_Piece] = []
        self._returning: list[_Piece] = []

    def start(self, start: int, end: int) -> None:
        """Start to add up elements `start` to `end`."""
        for first in range(start, end, _PIECE):
            place = first, min(first + _PIECE, end)
            piece = self._known.get(place)
            if piece is None:
                piece = self._known[place] = _Piece(self._group, self.values[slice(*place)], half=self._half)
            piece.send()
            self._running.append(piece)
        self.progress()

    def progress(self) -> bool:
        """Do what can be done without waiting, and return whether all is done.

        The ways back start in the order of the ways out, as MPI wants it: the same on all ranks.
        """
        while self._running and self._running[0].has_arrived():
            piece = self._running.pop(0)
            piece.send_back()
            self._returning.append(piece)
        self._returning = [piece for piece in self._returning if not piece.is_back()]
        return not self._running and not self._returning

    def finish(self, losses: NDArray[np.float64]) -> None:
        """Wait until all is done, and replace values by their sums over the ranks too."""
        everywhere, request = self._group.start_gathering(losses)
        self._group.wait(lambda: self.progress() and bool(request.Test()))
        losses[...] = in_order(everywhere)


class _Piece:
    """A piece of the array, of which each rank adds up a part."""

    def __init__(self, group: Group, values: NDArray[np.float32], *, half: bool) -> None:
        self._group, self._values, self._half = group, values, half
        ends = [len(values) * rank // group.size for rank in range(group.size + 1)]
        self._own = slice(ends[group.rank], ends[group.rank + 1])
        self._firsts = ends[:-1]
        self._counts = [after - before for before, after in pairwise(ends)]
        kind = np.uint16 if half else np.float32
        self._out: NDArray[Any] = np.empty(len(values), kind) if half else values
        self._type = group.mpi.UINT16_T if half else group.mpi.FLOAT
        # The parts of the others; this rank's own stays where it is.
        own, others = self._counts[group.rank], [rank for rank in range(group.size) if rank != group.rank]
        self._parts: NDArray[Any] = np.empty((len(others), own), kind)
        self._come = [0 if rank == group.rank else own for rank in range(group.size)]
        self._places = [own * (rank - (rank > group.rank)) for rank in range(group.size)]
        self._go = [0 if rank == group.rank else count for rank, count in enumerate(self._counts)]
        self._request: Any = None

    def send(self) -> None:
        if self._half:
            self._out[...] = to_bfloat16(self._values)
        self._request = self._group.comm.Ialltoallv(
            [self._out, self._go, self._firsts, self._type], [self._parts, self._come, self._places, self._type]
        )

    def has_arrived(self) -> bool:
        return bool(self._request.Test())

    def send_back(self) -> None:
        """Add up this rank's part, in the order of the ranks, and start to send it to all."""
        mine = self._values[self._own]
        parts: list[NDArray[np.float32]] = [from_bfloat16(part) if self._half else part for part in self._parts]
        parts.insert(self._group.rank, mine)
        total = parts[0]
        for i, part in enumerate(parts[1:], 1):
            np.add(total, part, out=mine if i + 1 == len(parts) else total)
        if self._half:
            self._out[self._own] = to_bfloat16(mine)
        self._request = self._group.back.Iallgatherv(
            self._group.mpi.IN_PLACE, [self._out, self._counts, self._firsts, self._type]
        )

    def is_back(self) -> bool:
        if not self._request.Test():
            return False
        if self._half:
            self._values[...] = from_bfloat16(self._out)
        return True


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bits of values in bfloat16, rounded to the nearest, ties to even; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF)
    rounded += (bits >> np.uint32(16)) & np.uint32(1)
    rounded >>= np.uint32(16)
    found: NDArray[np.uint16] = rounded.astype(np.uint16)
    nan = np.isnan(values)
    if nan.any():
        found[nan] = 0x7FC0
    return found


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return values from their bits in bfloat16."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)
