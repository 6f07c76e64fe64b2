"""A fit that is ready to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fastvae._training import passes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._fitted.model import FittedModel
    from fastvae._training.callbacks import Callbacks
    from fastvae._training.judge import Judge
    from fastvae._training.plan import FitSettings


class Job(NamedTuple):
    """The model, the data and the settings of a fit; data are pairs of X and y with rows, None for all."""

    fitted: FittedModel
    training: tuple[Data, NDArray[np.uint64] | None]
    held_out: tuple[Data, NDArray[np.uint64] | None] | None
    callbacks: Callbacks
    settings: FitSettings
    judge: Judge | None = None

    def fingerprint(self) -> str:
        """Return a hash of the data; of a stream, of a sample."""
        data, _ = self.training
        held_out = None if self.held_out is None else self.held_out[0]
        own = held_out is None or held_out.X is data.X
        return self._hash(data) + ("" if own or held_out is None else self._hash(held_out))

    def _hash(self, data: Data) -> str:
        stream = passes.stream_of(data)
        return self.fitted.fingerprint(data) if stream is None else stream.fingerprint
