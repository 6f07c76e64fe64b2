"""The likelihood of a fitted network: its kind and its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Likelihood:
    """p(x|z) by its name in the engine, and its parameters.

    Attributes
    ----------
    kind : str
        "bernoulli", "binomial", "gaussian", "poisson", "negative_binomial", "multinomial", "mixture", "mixed" or
        "squared_error".
    log_scale : ndarray, [] or [n_features], or None
        ln s of a Gaussian; None if the decoder returns it (see `Network.second`).
    floor : float
        The floor in s² = floor² + exp(2 u), u the decoder's log scale.
    log_total_count : ndarray, [n_features] or [n_features, conditions], or None
        ln r of a negative binomial; with columns, ln r of a row is their sum, weighted by y.
    trials : ndarray, [n_features], or None
        Maximum marks of each task of a binomial.
    size_factor : "total", "given" or None
        The size of x, if the decoder's outputs are logits of shares: the total of x, or a further input, in units of
        `size_unit` counts.
    size_unit : float
        Counts in a given size of 1.
    inflated : bool
        Whether the second output u is the logit of a zero: p(x) = w [x = 0] + (1 - w) f(x), w = sigmoid(u).
    groups : tuple of Group
        Of the kind "mixed": groups of columns with likelihoods of their own.
    """

    kind: str
    log_scale: NDArray[np.float32] | None = None
    floor: float = 0.0
    log_total_count: NDArray[np.float32] | None = None
    trials: NDArray[np.float32] | None = None
    size_factor: str | None = None
    size_unit: float = 1.0
    inflated: bool = False
    groups: tuple[Group, ...] = ()

    @property
    def sized(self) -> bool:
        """Whether the decoder's outputs are logits of shares."""
        return self.size_factor is not None

    @property
    def given_size(self) -> bool:
        """Whether the size of x is a further input."""
        return self.size_factor == "given"


@dataclass(frozen=True, eq=False)
class Group:
    """Columns `first` to `last` - 1 with a likelihood, whose parameters are ``likelihood.<name>`` in ``state_dict()``.

    Of the kinds "log_normal", "categorical" and "ordinal", too, where the latter two are one variable.
    """

    likelihood: Likelihood
    first: int
    last: int
    sigmoid: bool
    name: str
