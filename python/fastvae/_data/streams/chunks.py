"""Chunks: the ranges of rows that are read at once, and the two-level shuffle of an epoch.

An epoch puts the chunks in random order and reads as many of them as fill a block; the rows of a block are then trained
in random order. So a batch mixes rows of some thirty chunks from all over the data, while each chunk is read, and
decoded, once. Both orders are functions of the seed, the epoch and the block's number. Data of a single block have the
order of data in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastvae._data.sources.source import Source

# Chunks of a block, unless the source's own units are larger.
_PER_BLOCK = 32
# In place of a block's number, for the order of the chunks.
_ORDER_OF_CHUNKS = 2**32 - 1
# Chunks of a sample of the data, spread over all rows.
_SAMPLED = 16


def edges(source: Source, block_bytes: int) -> NDArray[np.int64]:
    """Return the first rows of the chunks, and the number of rows at the end.

    A chunk is a range of rows, or several of the units that the source decodes as a whole.
    """
    rows = max(int(block_bytes / _PER_BLOCK / max(source.row_bytes, 1.0)), 1)
    if source.edges is None:
        rows = max(min(rows, source.n_rows // _PER_BLOCK), 1)  # so that a part of little data can be held out
        return np.append(np.arange(0, source.n_rows, rows, dtype=np.int64), source.n_rows)
    found, last = [0], int(source.edges[-1])
    for edge in map(int, source.edges[1:-1]):
        if edge - found[-1] >= rows:
            found.append(edge)
    return np.array([*found, last], np.int64)


def blocks(
    sizes: NDArray[np.int64], chunks: NDArray[np.int64], block_rows: int, order: tuple[int, int] | None
) -> Iterator[NDArray[np.int64]]:
    """Yield the chunks of each block, ascending; `sizes` are the rows of all chunks.

    `order`: the seed and the epoch of a random order; None for that of `chunks`.
    """
    if order is not None:
        chunks = chunks[_core.permutation(*order, _ORDER_OF_CHUNKS, len(chunks)).astype(np.int64)]
    block, rows = list[int](), 0
    for chunk in chunks.tolist():
        block.append(chunk)
        rows += int(sizes[chunk])
        if rows >= block_rows:
            yield np.sort(np.array(block, np.int64))
            block, rows = [], 0
    if block:
        yield np.sort(np.array(block, np.int64))


def spread(sizes: NDArray[np.int64], chosen: NDArray[np.int64], block_rows: int) -> NDArray[np.int64]:
    """Return some of the chosen chunks, from all places, half a block at most; all of them if they fit into a block."""
    rows = int(sizes[chosen].sum())
    if rows <= block_rows:
        return chosen
    count = min(_SAMPLED, max(block_rows * len(chosen) // (2 * rows), 1))
    places = np.linspace(0, len(chosen) - 1, count)
    found: NDArray[np.int64] = chosen[np.unique(places.round().astype(np.int64))]
    return found


def held_out(n_chunks: int, fraction: float, seed: int, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return random chunks to train on and chunks to hold out, each ascending."""
    count = max(round(n_chunks * fraction), 1)
    if count >= n_chunks:
        raise ValueError(
            f"validation_fraction={fraction} holds out whole chunks, and {name} has {n_chunks} (a chunk, a row group "
            "or a file is not divided): change it, or pass validation_data"
        )
    order = np.random.default_rng(seed).permutation(n_chunks).astype(np.int64)
    return np.sort(order[count:]), np.sort(order[:count])
