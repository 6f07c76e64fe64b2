"""Arrays in memory and memory maps (``numpy.memmap``)."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data.sources.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MemoryMap(Source):
    """An array; of a memory map the pages of a range are fetched at once, and released when they have been copied.

    So the system reads many pages at a time, and they do not count as memory of the process. They stay in the system's
    cache.

    Parameters
    ----------
    array : ndarray
        An array, or a memory map.
    name : str
        What messages call it.
    """

    def __init__(self, array: NDArray[Any], name: str) -> None:
        self._array, self.name = array, name
        self.shape, self.dtype = array.shape, array.dtype
        pages = getattr(array, "_mmap", None)
        # A private map (mode "c") holds changes that no file has: releasing its pages would lose them.
        shared = isinstance(pages, mmap.mmap) and getattr(array, "mode", "c") != "c"
        self._pages = pages if shared and hasattr(mmap, "MADV_DONTNEED") else None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows; those of a memory map are a copy."""
        rows = self._array[start:stop]
        if self._pages is None or not rows.flags.forc:
            return rows
        whole = np.frombuffer(self._pages, np.uint8)
        first = rows.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        begin = first // mmap.PAGESIZE * mmap.PAGESIZE
        length = min(first + rows.nbytes, len(whole)) - begin
        if begin < 0 or length <= 0:
            return rows
        self._pages.madvise(mmap.MADV_WILLNEED, begin, length)
        found = np.array(rows)
        self._pages.madvise(mmap.MADV_DONTNEED, begin, length)
        return found
