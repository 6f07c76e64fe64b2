"""Arrays in memory and memory maps (``numpy.memmap``)."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data.sources.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MemoryMap(Source):
    """An array; of a memory map the pages that were read are released, so that they do not count as memory in use.

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
        self._pages = getattr(array, "_mmap", None)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows; those of a memory map are a copy."""
        rows = self._array[start:stop]
        if self._pages is None:
            return rows
        found = np.array(rows)
        self._release(rows)
        return found

    def _release(self, rows: NDArray[Any]) -> None:
        """Release the pages of rows; they stay in the system's cache."""
        if not hasattr(mmap, "MADV_DONTNEED") or not isinstance(self._pages, mmap.mmap) or not rows.flags.forc:
            return
        whole = np.frombuffer(self._pages, np.uint8)
        first = rows.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        start = first // mmap.PAGESIZE * mmap.PAGESIZE
        length = min(first + rows.nbytes, len(whole)) - start
        if start >= 0 and length > 0 and not self._is_private():
            self._pages.madvise(mmap.MADV_DONTNEED, start, length)

    def _is_private(self) -> bool:
        """Whether the map holds changes that no file has (mode "c"): releasing its pages would lose them."""
        return getattr(self._array, "mode", "c") == "c"
