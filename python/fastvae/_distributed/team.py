"""A group of ranks with their shares in the examples of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae._distributed.errors import DisagreementError
from fastvae._distributed.reduction import Reduction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._distributed.group import Group


_LINE = 16  # floats of a cache line


class Team:
    """The ranks of a fit and their shares.

    Parameters
    ----------
    group : Group
    n : int
        This rank's number of examples.
    weight : float
        The sum of their weights.
    half : bool
        Whether gradients travel in bfloat16.

    Attributes
    ----------
    rows : list of int
        The number of examples of each rank.
    weight : float
        The sum of the weights of all examples.
    """

    def __init__(self, group: Group, n: int, weight: float, *, half: bool) -> None:
        self.group, self._half = group, half
        shares = group.gather([n, weight])
        self.rows: list[int] = [share[0] for share in shares]
        self.weight = float(sum(share[1] for share in shares))

    @property
    def total(self) -> int:
        """The number of examples of all ranks."""
        return sum(self.rows)

    def exchange(self, steps: int) -> Exchange:
        """Return what the engine needs for a pass of `steps` steps, or raise an error that all ranks raise."""
        least = min(self.rows)
        if least < steps:
            raise DisagreementError(
                f"rank {self.rows.index(least)} has {least} examples, but a pass over the {self.total} of all ranks "
                f"has {steps} steps, and each needs an example of every rank: give the ranks equal shares, or raise "
                "batch_size"
            )
        return Exchange(self.group, self.rows, steps, self.weight, half=self._half)


class Exchange:
    """What the engine calls in the steps of a pass. Its attributes are those of the shares."""

    def __init__(self, group: Group, rows: list[int], steps: int, weight: float, *, half: bool) -> None:
        self.rank, self.rows, self.steps, self.weight = group.rank, rows, steps, weight
        self._group, self._half = group, half

    def buffer(self, n: int) -> NDArray[np.float32]:
        """Return the array, aligned to cache lines, that the engine writes gradients to and reads their sums from."""
        found = self._group.memory.get((n, self._half))
        if found is None:
            memory = np.zeros(n + _LINE, np.float32)
            first = (
                -memory.__array_interface__["data"][0] // memory.itemsize % _LINE
            )  # the engine's vectors are aligned
            values = memory[first : first + n]
            found = self._group.memory[n, self._half] = Reduction(self._group, values, half=self._half)
        self._reduction: Reduction = found
        return self._reduction.values

    def start(self, start: int, end: int) -> None:
        """Start to add up elements of the array over all ranks."""
        self._reduction.start(start, end)

    def sum(self, values: NDArray[np.float64]) -> None:
        """Replace values by their sums over all ranks."""
        self._group.sum(values)

    def finish(self, losses: NDArray[np.float64]) -> None:
        """Wait for all sums, and replace the losses by theirs."""
        self._reduction.finish(losses)
