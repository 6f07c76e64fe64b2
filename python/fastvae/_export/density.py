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
        ln s of a Gaussian; None if the decoder returns it (see `Network.log_scale`).
    floor : float
        The floor in s² = floor² + exp(2 u), u the decoder's log scale.
    log_total_count : ndarray, [n_features], or None
        ln r of a negative binomial.
    trials : ndarray, [n_features], or None
        Maximum marks of each task of a binomial.
    sized : bool
        Whether the decoder's outputs are logits of shares, whose counts have the total of x as their size.
    groups : tuple of Group
        Of the kind "mixed": groups of columns with likelihoods of their own.
    """

    kind: str
    log_scale: NDArray[np.float32] | None = None
    floor: float = 0.0
    log_total_count: NDArray[np.float32] | None = None
    trials: NDArray[np.float32] | None = None
    sized: bool = False
    groups: tuple[Group, ...] = ()


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
