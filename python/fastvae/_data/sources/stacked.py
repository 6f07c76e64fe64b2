"""Pieces of rows: one below the other, and copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence


def stacked(pieces: Sequence[Any]) -> Any:
    """Return arrays, or matrices with the arrays of CSR, one below the other."""
    if len(pieces) == 1:
        return pieces[0]
    if not any(map(sparse.is_sparse, pieces)):
        return np.concatenate(pieces)
    if not all(map(sparse.is_sparse, pieces)):
        raise ValueError("some rows of X are sparse, and others are dense: pass rows of one kind")
    parts = [sparse.parts(piece, "X") for piece in pieces]
    starts = np.cumsum([0, *(part.indptr[-1] - part.indptr[0] for part in parts)])
    indptr = [part.indptr[1:] - part.indptr[0] + start for part, start in zip(parts, starts, strict=False)]
    return sparse.Parts(
        np.concatenate([[0], *indptr]).astype(np.int64),
        np.concatenate([part.indices[part.indptr[0] : part.indptr[-1]] for part in parts]),
        np.concatenate([part.data[part.indptr[0] : part.indptr[-1]] for part in parts]),
        (sum(part.shape[0] for part in parts), parts[0].shape[1]),
    )


def copied(rows: Any) -> Any:
    """Return a copy of an array, a matrix, a tensor or a frame, by its own method."""
    for name in ("copy", "clone"):  # clone: torch, polars
        method = getattr(rows, name, None)
        if callable(method):
            return method()
    return rows
