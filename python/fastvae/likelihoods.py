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
    mean : "identity" or "sigmoid"
        The mean m is the decoder's output y, or sigmoid(y), for data in [0, 1] (Kingma & Welling, arXiv:1312.6114,
        appendix C.2). "sigmoid" goes with a fixed scale and with "decoder".

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
    mean: Literal["identity", "sigmoid"] = "identity"


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
        mean = _input.choice(likelihood.mean, f"{likelihood!r}: mean", ("identity", "sigmoid"))
        name = "gaussian" if mean == "identity" else "gaussian_sigmoid"
        if not isinstance(likelihood.scale, str):
            return name, _input.number(likelihood.scale, f"{likelihood!r}: scale", least=1e-6, below=1e6), floor
        scale = _input.choice(likelihood.scale, f"{likelihood!r}: scale", _LEARNED)
        if mean == "sigmoid" and scale != "decoder":
            raise ValueError(f"{likelihood!r}: sigmoid means go with a fixed scale or scale='decoder', not {scale!r}")
        return name, scale, floor
    raise ValueError(
        f"likelihood={likelihood!r} is not known; use 'bernoulli', 'gaussian' or an object from fastvae.likelihoods"
    )
