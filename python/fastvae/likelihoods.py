"""Likelihoods p(x|z) for the decoder, as parameters of an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastvae import _input


@dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli features: log p(x|z) = sum_j x_j ln p_j + (1 - x_j) ln(1 - p_j), in nats.

    The decoder's last layer gives logits. Values must lie in [0, 1]; grey values train (a cross-entropy).
    """


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian features: log p(x|z) = sum_j -((x_j - m_j) / s_j)² / 2 - ln s_j - ln(2 pi) / 2.

    Parameters
    ----------
    scale : float, "shared" or "per_feature"
        The standard deviation s: given, learned as one value, or learned for each feature. A learned scale
        starts at 1, is kept above 0.001 by training, and is ``likelihood.log_scale`` (natural logarithm) in the
        state dict.
    """

    scale: float | Literal["shared", "per_feature"] = 1.0


_NAMES: dict[str, Bernoulli | Gaussian] = {"bernoulli": Bernoulli(), "gaussian": Gaussian()}


def resolve(likelihood: object) -> tuple[str, float | str]:
    """Turn a name or an object into the core's (name, scale), or raise ValueError."""
    if isinstance(likelihood, str):
        likelihood = _NAMES.get(likelihood, likelihood)
    if isinstance(likelihood, Bernoulli):
        return "bernoulli", 1.0
    if isinstance(likelihood, Gaussian):
        if isinstance(likelihood.scale, str):
            return "gaussian", _input.choice(likelihood.scale, f"{likelihood!r}: scale", ("shared", "per_feature"))
        return "gaussian", _input.number(likelihood.scale, f"{likelihood!r}: scale", least=1e-6, below=1e6)
    raise ValueError(
        f"likelihood={likelihood!r} is not known; use 'bernoulli', 'gaussian' or an object from fastvae.likelihoods"
    )
