"""A set-up: data in a container, and an estimator with its options, drawn from a family and a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae.layers import Conv2d
from generated import containers


@dataclass
class Setup:
    """What is trained on what.

    `X` is canonical: float64 whose values are exact in float32, NaN for a hole. The estimator gets it in a container.
    """

    family: str
    seed: int
    kind: type
    options: dict[str, Any]
    X: NDArray[np.float64]
    container: str
    facts: list[str]
    y: NDArray[Any] | None = None
    image: tuple[int, ...] | None = None  # the shape of an example in the containers
    fits: dict[str, Any] = field(default_factory=dict)  # further arguments of `fit`

    def model(self, **options: Any) -> Any:
        """Return the estimator, not fitted."""
        return self.kind(**(self.options | options))

    def given(self, rows: Any = slice(None), container: str | None = None, X: Any = None) -> Any:
        """Return rows of X as the user has them."""
        values = (self.X if X is None else X)[rows]
        if self.image is not None:
            values = values.reshape(-1, *self.image)
        return containers.build(container or self.container, values)

    def condition(self, rows: Any = slice(None)) -> dict[str, Any]:
        """Return the argument y of inference methods."""
        return {} if self.y is None or not self.options.get("conditional") else {"y": self.y[rows]}

    def fit(self, model: Any = None, **given: Any) -> Any:
        """Return the estimator, fitted."""
        model = self.model() if model is None else model
        return model.fit(self.given(**given), self.y, **self.fits)

    def of_pixels(self) -> bool:
        """Whether the output layer is a convolution, which has the same parameters for all pixels."""
        return any(isinstance(layer, Conv2d) for layer in self.options.get("hidden", ())[:1])

    def generator(self, purpose: int) -> np.random.Generator:
        """Return random numbers for one purpose."""
        return np.random.default_rng((self.seed, purpose))

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        shape = "x".join(map(str, self.X.shape))
        facts = ", ".join([f"{shape} {self.container}", *self.facts])
        return f"python -m generated {self.family} {self.seed}   # {self.kind.__name__}({options}) on {facts}"
