"""Results with uncertainty: the posterior predictive and log p(x)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Predictive(NamedTuple):
    """Mean and standard deviations of p(x'|x) = E_q(z|x) p(x'|z), each float32 [n_examples, n_features].

    By the law of total variance Var[x'|x] = ``latent_std``² + ``observation_std``².
    """

    mean: NDArray[np.float32]
    """E_q E[x'|z]."""
    latent_std: NDArray[np.float32]
    """Var_q(E[x'|z]) ** 0.5: standard deviation of the decoder's mean over z ~ q(z|x)."""
    observation_std: NDArray[np.float32]
    """(E_q Var[x'|z]) ** 0.5: standard deviation of x' about the decoder's mean."""


class LogMarginal(NamedTuple):
    """Result of :meth:`VAE.log_marginal`, each float64 [n_examples]."""

    estimate: NDArray[np.float64]
    """Logarithm of the mean weight, nats; its expectation is a lower bound on log p(x)."""
    standard_error: NDArray[np.float64]
    """Standard error of the estimate, nats, by the delta method: standard error of the mean weight over its mean."""
    ess: NDArray[np.float64]
    """Effective sample size (sum w)² / sum w², from 1 to n_samples."""
