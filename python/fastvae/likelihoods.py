"""Likelihoods p(x|z) for the decoder, as parameters of an estimator."""

from __future__ import annotations

import contextlib
import math
import numbers
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from fastvae import _core


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


@dataclass(frozen=True)
class Poisson:
    """Independent Poisson counts: log p(x|z) = sum_j x_j y_j - e^y_j - ln x_j!, in nats.

    The decoder's last layer gives y, the logarithms of the means; a mean beyond e^88 is too large for float32, and its
    loss infinite. Values are counts, or any numbers of at least 0; uint8 is read as it is, not scaled.
    """


@dataclass(frozen=True)
class NegativeBinomial:
    """Independent negative binomial counts, for those that vary more than Poisson's: Var x_j = m_j + m_j² / r_j.

    log p(x|z) = sum_j ln Γ(x_j + r_j) - ln Γ(r_j) - ln x_j! + r_j ln(r_j / (r_j + m_j)) + x_j ln(m_j / (r_j + m_j)), in
    nats: torch's ``NegativeBinomial(total_count=r, logits=y - ln r)``. The decoder's last layer gives y = ln m. Values
    are counts, or any numbers of at least 0; uint8 is read as it is, not scaled.

    Parameters
    ----------
    floor : float
        The smallest r that is learned, 1e-6 to 1e6.

    Notes
    -----
    ln r, a number for each feature, is ``likelihood.log_total_count`` in the state dict. It starts at 0 (or at the
    floor, if that is larger), and training keeps r between the floor and 1e6, where it hardly differs from Poisson's.
    """

    floor: float = 1e-3


@dataclass(frozen=True)
class Multinomial:
    """Counts of words (or clicks, genes, ...), drawn independently: log p(x|z) = sum_w x_w ln softmax(y)_w, in nats.

    The decoder's last layer gives y, a logit for each word. Values are counts, or any numbers of at least 0; uint8 is
    read as it is, not scaled.

    Notes
    -----
    The multinomial coefficient, ln N! - sum_w ln x_w! with N = sum_w x_w, is left out: it does not depend on the model.
    So log p(x|z) is that of the words in their order; its exponential per word is the perplexity's inverse.

    ``reconstruct`` and ``inverse_transform`` give the probabilities softmax(y), whose rows sum to one: E[x|z] = N
    softmax(y), and N is not the model's to say. Likewise the spreads of ``predictive`` are those of a single word.
    """


def _kind(cls: type) -> str:
    """Return what the core calls a likelihood: `NegativeBinomial` is "negative_binomial"."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).removeprefix("_")


# The classes above, by the names that users may give instead.
KINDS: dict[str, type] = {_kind(cls): cls for cls in list(globals().values()) if is_dataclass(cls)}


def resolve(likelihood: Any) -> dict[str, Any]:
    """Turn a name or an object into the engine's likelihood, or raise ValueError."""
    import json  # here only, so that `import fastvae` stays cheap

    chosen = KINDS[likelihood]() if isinstance(likelihood, str) and likelihood in KINDS else likelihood
    kind = next((kind for kind, cls in KINDS.items() if isinstance(chosen, cls)), None)
    if kind is None:
        raise ValueError(
            f"likelihood={likelihood!r} is not known; use one of {', '.join(map(repr, KINDS))} or an object from "
            "fastvae.likelihoods"
        )
    options = {
        field.name: _option(getattr(chosen, field.name), f"{chosen!r}: {field.name}") for field in fields(chosen)
    }
    resolved = {"kind": kind} | options
    try:
        _core.check_likelihood(json.dumps(resolved, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"{chosen!r}: {error}") from None
    return resolved


def _option(value: Any, name: str) -> float | str:
    """Return an option as JSON knows it: a name or a finite number."""
    if isinstance(value, str):
        return value
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} must be a number or a name")
    return number
