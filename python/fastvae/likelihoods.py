"""Likelihoods p(x|z), for the parameter ``likelihood`` of an estimator."""

from __future__ import annotations

import contextlib
import math
import numbers
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from fastvae import _core

__all__ = ["Bernoulli", "Gaussian", "Multinomial", "NegativeBinomial", "Poisson"]


@dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli features: log p(x|z) = sum_j x_j ln p_j + (1 - x_j) ln(1 - p_j), in nats.

    The decoder returns logits. Values must lie in [0, 1]; with grey values the formula is a cross-entropy, not a
    log-probability.
    """


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian features: log p(x|z) = sum_j -((x_j - m_j) / s_j)² / 2 - ln s_j - ln(2 pi) / 2.

    Parameters
    ----------
    scale : float, "shared", "per_feature" or "decoder"
        Standard deviation s: a fixed number; one learned value ("shared"); a learned value for each feature
        ("per_feature"); or an output of the decoder for each feature of each example ("decoder", heteroscedastic).
    floor : float
        Lower bound of a learned standard deviation, from 1e-6 to 1e6. Without a bound the likelihood of a perfectly
        predicted feature would be infinite.
    mean : "identity" or "sigmoid"
        The mean m is the decoder's output y, or sigmoid(y) for data in [0, 1] (Kingma & Welling, arXiv:1312.6114,
        appendix C.2). "sigmoid" needs a fixed scale or "decoder".

    Notes
    -----
    A "shared" or "per_feature" scale is ``likelihood.log_scale`` (natural logarithm) in the state dict. It starts at
    the standard deviation of the training data, of each column or within all columns (or at the floor, if that is
    larger), and training keeps it above the floor. "shared" and a fixed number are for columns of one unit;
    "per_feature" and "decoder" take columns of any units.

    With "decoder" a second output layer, ``scale.weight`` and ``scale.bias`` in the state dict, computes u_j, and
    s_j² = floor² + exp(2 u_j). This is a smooth form of ln s_j = max(u_j, ln floor), whose gradient
    d ln s_j / du_j = exp(2 u_j) / s_j² is not zero below the floor. u_j is clamped to at most 40, with zero gradient
    above. s starts near the standard deviation of each column of the training data.
    """

    scale: float | Literal["shared", "per_feature", "decoder"] = 1.0
    floor: float = 1e-3
    mean: Literal["identity", "sigmoid"] = "identity"


@dataclass(frozen=True)
class Poisson:
    """Independent Poisson counts: log p(x|z) = sum_j x_j y_j - e^y_j - ln x_j!, in nats.

    The decoder returns y, the logarithm of the mean; a mean above e^88 overflows float32, and the loss is infinite.
    Values are counts or any non-negative numbers; uint8 is not scaled.

    Parameters
    ----------
    size_factor : "total" or None
        With "total" the means are shares of the row's total: see `NegativeBinomial`.
    """

    size_factor: Literal["total"] | None = None


@dataclass(frozen=True)
class NegativeBinomial:
    """Independent negative binomial counts, with more variance than Poisson: Var x_j = m_j + m_j² / r_j.

    log p(x|z) = sum_j ln Γ(x_j + r_j) - ln Γ(r_j) - ln x_j! + r_j ln(r_j / (r_j + m_j)) + x_j ln(m_j / (r_j + m_j)), in
    nats: torch's ``NegativeBinomial(total_count=r, logits=y - ln r)``. The decoder returns y = ln m. Values are counts
    or any non-negative numbers; uint8 is not scaled.

    Parameters
    ----------
    floor : float
        Lower bound of the learned r, from 1e-6 to 1e6.
    size_factor : "total" or None
        None: m_j = e^y_j. "total": m_j = s p_j with p = softmax(y) and s = sum_j x_j, the total of the row (the
        library size of a cell), as in scVI (Lopez et al., Nature Methods 15, 2018). The model then describes shares,
        and rows of any size are comparable. Missing values are refused.
    zero_inflation : bool
        Whether a value is zero with a probability of its own: p(x_j) = w_j [x_j = 0] + (1 - w_j) NB(x_j) with
        w = sigmoid(u), u a second output of the decoder. Needs ``size_factor="total"``.

    Notes
    -----
    With ``size_factor="total"``, ``reconstruct`` and ``predictive`` return E[x|z] for the row's own total;
    ``inverse_transform`` and ``sample`` know no total and return it for a total of one: the shares p, times 1 - w with
    zero inflation. ``sample(draw=True)`` needs the totals, ``lengths=``.

    The output layer of u is ``inflation.weight`` and ``inflation.bias`` in the state dict.

    ln r, one number per feature, is ``likelihood.log_total_count`` in the state dict. It starts at the value that fits
    the variance of the column or, if most values are zero, the share of zeros. Training keeps r between the floor and
    1e6, where the likelihood is practically Poisson.
    """

    floor: float = 1e-3
    size_factor: Literal["total"] | None = None
    zero_inflation: bool = False


@dataclass(frozen=True)
class Multinomial:
    """Multinomial counts of words (or clicks, genes, ...): log p(x|z) = sum_w x_w ln softmax(y)_w, in nats.

    The decoder returns y, a logit for each word. Values are counts or any non-negative numbers; uint8 is not scaled.

    Notes
    -----
    The multinomial coefficient, ln N! - sum_w ln x_w! with N = sum_w x_w, is left out, since it does not depend on the
    model. log p(x|z) is therefore the log-probability of the sequence of words, and exp(-log p(x|z) / N) the
    perplexity.

    ``reconstruct`` and ``inverse_transform`` return the probabilities softmax(y), whose rows sum to one: the model does
    not know N, so it cannot return E[x|z] = N softmax(y). Likewise ``predictive`` is about a single word.
    """


def _kind(cls: type) -> str:
    """Return the engine's name of a likelihood: "negative_binomial" for `NegativeBinomial`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).removeprefix("_")


# The classes above, by the names that ``likelihood=`` accepts.
KINDS: dict[str, type] = {
    _kind(cls): cls for cls in list(globals().values()) if isinstance(cls, type) and is_dataclass(cls)
}


def resolve(likelihood: Any) -> dict[str, Any]:
    """Return a likelihood, given by name or as an object, as the engine's options, or raise ValueError."""
    import json  # here only, so that `import fastvae` stays cheap

    instance = KINDS[likelihood]() if isinstance(likelihood, str) and likelihood in KINDS else likelihood
    kind = next((kind for kind, cls in KINDS.items() if isinstance(instance, cls)), None)
    if kind is None:
        raise ValueError(
            f"likelihood={likelihood!r} is not known; use one of {', '.join(map(repr, KINDS))} or an object from "
            "fastvae.likelihoods"
        )
    values = {field.name: (getattr(instance, field.name), field.default) for field in fields(instance)}
    options = {
        name: _option(value, f"{instance!r}: {name}")
        for name, (value, default) in values.items()
        if not (value is default and value in (None, False))
    }
    resolved = {"kind": kind} | options
    try:
        _core.check_likelihood(json.dumps(resolved, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"{instance!r}: {error}") from None
    return resolved


def _option(value: Any, name: str) -> float | str | bool:
    """Return an option as a name, True or a finite number, or raise ValueError."""
    if isinstance(value, str) or value is True:
        return value
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} must be a finite number or a name")
    return number
