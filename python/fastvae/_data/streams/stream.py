"""What training asks of data that are not in memory as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastvae._data.examples import Data, Examples
    from fastvae._data.streams.ahead import ReadAhead


class Part(NamedTuple):
    """Rows in memory that the engine trains in one call."""

    data: Data
    rows: NDArray[np.uint64] | None  # None: all
    batch_size: int
    steps: int  # number of batches
    shuffles: bool = False  # whether the engine shuffles the rows
    numbers: NDArray[np.uint64] | None = None  # of the rows in the whole data, of a stream
    mean_weight: float | None = None  # of the rows of the pass, of a stream with weights

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.data.X) if self.rows is None else len(self.rows)


class Reader(Protocol):
    """Makes what the engine reads from rows as they were given."""

    @property
    def needs_y(self) -> bool:
        """Whether the model is conditional."""
        ...

    def examples(self, X: Any, name: str) -> Examples:
        """Return examples, checked; messages call them `name`."""
        ...

    def conditions(self, y: Any) -> NDArray[Any] | None:
        """Return rows of y; None for a model that is not conditional."""
        ...


class Stream(ABC):
    """Data that are read in pieces, in the place of X in :class:`fastvae._data.examples.Data`.

    Attributes
    ----------
    name : str
        What messages call it.
    shape : tuple of int
        Number of rows (0 if it is not known) and of features.
    sample : Data
        A few rows in memory, to measure losses before and after training.
    fingerprint : str
        A checksum of a sample of the rows.
    ended : bool
        Whether there are no more data.
    """

    name: str
    shape: tuple[int, int]
    sample: Data
    fingerprint: str
    ended: bool = False

    @abstractmethod
    def first(self) -> tuple[Any, Any]:
        """Return some rows of X and y as they were given; X has the names of its columns."""

    @abstractmethod
    def labels(self, first: Any) -> Any:
        """Return all y that are known; `first` are those of the first rows."""

    @abstractmethod
    def read_with(self, reader: Reader, n_features: int) -> None:
        """Set how rows are read."""

    @abstractmethod
    def gathered(self) -> Data:
        """Return a sample of the rows that are trained."""

    @abstractmethod
    def steps(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""

    @abstractmethod
    def examples(self, batch_size: int) -> int:
        """Return the number of examples of an epoch."""

    def whole(self) -> ReadAhead[Data]:
        """Return all rows in blocks, to be scored."""
        raise NotImplementedError

    @abstractmethod
    def pieces(self, seed: int, epoch: int, batch_size: int, *, shuffle: bool) -> ReadAhead[Part]:
        """Return the parts of an epoch, which another thread reads ahead.

        Each but the last holds whole batches.
        """
