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
    scale : float, "shared", "per_feature" or "decoder"
        The standard deviation s: given, learned as one value, learned for each feature, or given by the decoder for
        each feature of each example (heteroscedastic).
    floor : float
        The smallest standard deviation that a learned scale may take, 1e-6 to 1e6. A feature that is predicted
        perfectly would otherwise have infinite likelihood.

    Notes
    -----
    A "shared" or "per_feature" scale is ``likelihood.log_scale`` (natural logarithm) in the state dict; it starts at 1
    (or the floor, if that is larger) and is kept above the floor by training.

    With "decoder" a second layer beside the decoder's last one, ``scale.weight`` and ``scale.bias`` in the state dict,
    gives u_j: s_j² = floor² + exp(2 u_j), so that ln s_j is about max(u_j, ln floor), but smooth: the gradient
    d ln s_j / du_j = exp(2 u_j) / s_j² does not end at the floor. u_j above 40 counts as 40, its gradient as zero. The
    layer starts as PyTorch's does, s near 1.
    """

    scale: float | Literal["shared", "per_feature", "decoder"] = 1.0
    floor: float = 1e-3


_LEARNED = ("shared", "per_feature", "decoder")
_NAMES: dict[str, Bernoulli | Gaussian] = {"bernoulli": Bernoulli(), "gaussian": Gaussian()}


def resolve(likelihood: object) -> tuple[str, float | str, float]:
    """Turn a name or an object into the core's (name, scale, floor), or raise ValueError."""
    if isinstance(likelihood, str):
        likelihood = _NAMES.get(likelihood, likelihood)
    if isinstance(likelihood, Bernoulli):
        return "bernoulli", 1.0, 1e-3
    if isinstance(likelihood, Gaussian):
        floor = _input.number(likelihood.floor, f"{likelihood!r}: floor", least=1e-6, below=1e6)
        if isinstance(likelihood.scale, str):
            return "gaussian", _input.choice(likelihood.scale, f"{likelihood!r}: scale", _LEARNED), floor
        return "gaussian", _input.number(likelihood.scale, f"{likelihood!r}: scale", least=1e-6, below=1e6), floor
    raise ValueError(
        f"likelihood={likelihood!r} is not known; use 'bernoulli', 'gaussian' or an object from fastvae.likelihoods"
    )
