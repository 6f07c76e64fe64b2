"""What a model says about an example, with how sure it is of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Predictive(NamedTuple):
    """Mean and spread of p(x'|x), the mixture of p(x'|z) over q(z|x), each float32 [n_examples, n_features].

    By the law of total variance Var[x'|x] = ``latent_std``² + ``observation_std``².
    """

    mean: NDArray[np.float32]
    """E_q E[x'|z]."""
    latent_std: NDArray[np.float32]
    """Var_q(E[x'|z]) ** 0.5: how far the decoder's mean moves while z moves in q(z|x)."""
    observation_std: NDArray[np.float32]
    """(E_q Var[x'|z]) ** 0.5: the spread of an observation around the decoder's mean."""


class LogMarginal(NamedTuple):
    """What :meth:`VAE.log_marginal` found, each [n_examples]."""

    estimate: NDArray[np.float64]
    """The logarithm of the weights' mean, nats: in expectation below log p(x)."""
    standard_error: NDArray[np.float64]
    """Of the estimate, nats, by the delta method: the spread of the weights' mean over that mean."""
    ess: NDArray[np.float64]
    """(sum w)² / sum w², in 1 .. n_samples: how many equal weights would do as well."""
