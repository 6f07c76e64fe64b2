"""Clicks of users as the arrays of CSR, without entries that are zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastvae import _core
from fastvae._data import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastvae._data.examples import Examples

_HIDDEN = 0.2  # share of a user's items that a split hides (Liang et al., arXiv:1802.05814, section 4.2)


class Clicks(NamedTuple):
    """Values above zero of a matrix [n_users, n_items], items ascending in each row."""

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    n_items: int

    @classmethod
    def of(cls, X: Examples, rows: NDArray[np.uint64] | None = None) -> Clicks:
        """Return the clicks of some rows (None: all) of examples as the engine reads them."""
        if isinstance(X, _core.SparseMatrix):
            set_ = X.data != 0
            if set_.all() and len(X.data) == X.indptr[-1]:
                found = cls(X.indptr, X.indices, X.data, X.shape[1])
            else:
                ends = np.concatenate([[0], np.cumsum(set_)])[X.indptr]
                found = cls(ends.astype(np.int64), X.indices[set_], X.data[set_], X.shape[1])
            return found if rows is None else found.take(rows.astype(np.int64))
        table = examples.floats(X if rows is None else X[rows.astype(np.int64)], "X", counts=True)
        users, items = np.nonzero(table)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(table)))])
        return cls(indptr.astype(np.int64), items.astype(np.int32), table[users, items], table.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of items of each user, [n_users]."""
        return np.diff(self.indptr)

    @property
    def users(self) -> NDArray[np.int64]:
        """The user of each click."""
        return np.repeat(np.arange(len(self.indptr) - 1), self.lengths)

    @property
    def keys(self) -> NDArray[np.int64]:
        """A number for each pair of user and item, ascending."""
        return self.users * self.n_items + self.items

    def matrix(self) -> _core.SparseMatrix:
        """Return the clicks as the engine reads them."""
        indptr, items, values = map(np.ascontiguousarray, (self.indptr, self.items, self.values))
        return _core.SparseMatrix(indptr, items, values, (len(indptr) - 1, self.n_items), "X")

    def take(self, rows: NDArray[np.int64]) -> Clicks:
        """Return the clicks of some users."""
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return Clicks(indptr, self.items[places], self.values[places], self.n_items)

    def blocks(self, size: int) -> Iterator[tuple[slice, Clicks]]:
        """Yield blocks of `size` users."""
        n = len(self.indptr) - 1
        for first in range(0, n, size):
            rows = slice(first, min(first + size, n))
            start, end = self.indptr[rows.start], self.indptr[rows.stop]
            indptr = self.indptr[rows.start : rows.stop + 1] - start
            yield rows, Clicks(indptr, self.items[start:end], self.values[start:end], self.n_items)

    def choose(self, chosen: NDArray[np.bool_]) -> Clicks:
        """Return some of the clicks, of the same users."""
        ends = np.concatenate([[0], np.cumsum(chosen)])[self.indptr]
        return Clicks(ends.astype(np.int64), self.items[chosen], self.values[chosen], self.n_items)

    def split(self, seed: int) -> tuple[Clicks, Clicks]:
        """Return the clicks to see and the clicks to predict: a fifth, but at least one of a user with two or more.

        The split depends on the seed and on the place of a click.
        """
        order = np.lexsort((np.random.default_rng(seed).random(len(self.items)), self.users))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order)) - np.repeat(self.indptr[:-1], self.lengths)
        hidden = np.where(self.lengths > 1, np.maximum(1, np.rint(_HIDDEN * self.lengths)), 0)
        held = place < np.repeat(hidden, self.lengths)
        return self.choose(~held), self.choose(held)

    def popularity(self) -> NDArray[np.int64]:
        """Return the number of users of each item, [n_items]."""
        return np.bincount(self.items, minlength=self.n_items)
