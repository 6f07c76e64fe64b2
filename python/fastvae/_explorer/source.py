"""The fitted model, the examples, and their codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import conditions, examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.network import Network


@dataclass(frozen=True)
class Source:
    """A fitted model with its network, the examples X and y, and their codes [n, latent_dim].

    `conditions` are the columns of y [n, c] of a conditional model, labels as one-hot rows.
    """

    model: Any
    network: Network
    X: Any
    y: Any
    codes: NDArray[np.float32]
    conditions: NDArray[np.float32] | None

    @property
    def simplex(self) -> bool:
        """Whether codes are shares of topics."""
        return bool(self.network.simplex)

    @property
    def exam(self) -> bool:
        """Whether it is an item response model."""
        return hasattr(self.model, "discrimination_")

    @property
    def prior(self) -> bool:
        """Whether codes have the prior N(0, I)."""
        return self.network.variational and not self.simplex

    @property
    def given(self) -> dict[str, Any]:
        """The argument y of the model's methods that read X."""
        return {"y": self.y} if self.network.conditions and not hasattr(self.model, "condition_columns_") else {}


def read_source(model: Any, network: Network, X: Any, y: Any) -> Source:
    """Encode X and return it with the model, or raise ValueError if X or y does not fit the model."""
    X = examples.whole(X)
    source = Source(model, network, X, y, np.empty((0, 0), np.float32), None)
    codes = np.asarray(model.transform(X, **source.given), np.float32)
    columns = None
    if network.conditions:
        of_rows = model.split_condition(X)[1] if not source.given else y
        found = conditions.read(of_rows, len(codes), getattr(model, "classes_", None), network.conditions)
        columns = found.astype(np.float32) / np.float32(255 if found.dtype == np.uint8 else 1)
        y = of_rows if y is None else y
    return Source(model, network, X, y, codes, columns)
