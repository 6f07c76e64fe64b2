"""Likelihoods p(x|z), for the parameter ``likelihood`` of an estimator."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

from fastvae import _core

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Group",
    "LogNormal",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
]


class _Optional:
    """A likelihood with options that are unset by default: None, False or "shared"."""

    def set_options(self) -> dict[str, Any]:
        """Return the options without the unset ones."""
        every = {field.name: (getattr(self, field.name), field.default) for field in fields(cast("Any", self))}
        unset = ("None", "False", "'shared'")  # as text: a value may be of any type, even an array
        return {name: value for name, (value, default) in every.items() if not repr(value) == repr(default) in unset}

    def __repr__(self) -> str:
        """Return the class with its set options."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.set_options().items())})"


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


@dataclass(frozen=True, repr=False)
class Poisson(_Optional):
    """Independent Poisson counts: log p(x|z) = sum_j x_j y_j - e^y_j - ln x_j!, in nats.

    The decoder returns y, the logarithm of the mean; a mean above e^88 overflows float32, and the loss is infinite.
    Values are counts or any non-negative numbers; uint8 is not scaled.

    Parameters
    ----------
    size_factor : "total", "given" or None
        With "total" the means are shares of the row's total: see `NegativeBinomial`.
    """

    size_factor: Literal["total", "given"] | None = None


@dataclass(frozen=True, repr=False)
class NegativeBinomial(_Optional):
    """Independent negative binomial counts, with more variance than Poisson: Var x_j = m_j + m_j² / r_j.

    log p(x|z) = sum_j ln Γ(x_j + r_j) - ln Γ(r_j) - ln x_j! + r_j ln(r_j / (r_j + m_j)) + x_j ln(m_j / (r_j + m_j)), in
    nats: torch's ``NegativeBinomial(total_count=r, logits=y - ln r)``. The decoder returns y = ln m. Values are counts
    or any non-negative numbers; uint8 is not scaled.

    Parameters
    ----------
    floor : float
        Lower bound of the learned r, from 1e-6 to 1e6.
    size_factor : "total", "given" or None
        None: m_j = e^y_j. "total": m_j = s p_j with p = softmax(y) and s = sum_j x_j, the total of the row (the
        library size of a cell), as in scVI (Lopez et al., Nature Methods 15, 2018). The model then describes shares,
        and rows of any size are comparable. Missing values are refused. "given": s is a number that comes with each
        row: see :class:`fastvae.CountVAE`, the only estimator that takes it.
    zero_inflation : bool
        Whether a value is zero with a probability of its own: p(x_j) = w_j [x_j = 0] + (1 - w_j) NB(x_j) with
        w = sigmoid(u), u a second output of the decoder. Needs ``size_factor="total"``.
    dispersion : "shared" or "batch"
        "shared": one r_j for all rows. "batch": one for each label y of a conditional model,
        ln r_j = sum_b y_b t_jb (``gene-batch`` of scVI). Needs ``size_factor="total"``.

    Notes
    -----
    With ``size_factor="total"``, ``reconstruct`` and ``predictive`` return E[x|z] for the row's own total;
    ``inverse_transform`` and ``sample`` know no total and return it for a total of one: the shares p, times 1 - w with
    zero inflation. ``sample(draw=True)`` needs the totals, ``lengths=``.

    The output layer of u is ``inflation.weight`` and ``inflation.bias`` in the state dict.

    ln r, one number per feature ([n_features, n_batches] with ``dispersion="batch"``), is
    ``likelihood.log_total_count`` in the state dict. It starts at the value that fits
    the variance of the column or, if most values are zero, the share of zeros. Training keeps r between the floor and
    1e6, where the likelihood is practically Poisson.
    """

    floor: float = 1e-3
    size_factor: Literal["total", "given"] | None = None
    zero_inflation: bool = False
    dispersion: Literal["shared", "batch"] = "shared"


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


@dataclass(frozen=True)
class LogNormal:
    """Independent log-normal columns of a `Mixed` likelihood, x > 0: ln x_j is Gaussian with mean m_j and scale s_j.

    log p(x|z) = sum_j -((ln x_j - m_j) / s_j)² / 2 - ln s_j - ln(2 pi) / 2 - ln x_j, in nats of x. The decoder returns
    m; E[x_j|z] = exp(m_j + s_j² / 2). The encoder reads ln x, standardised.

    Parameters
    ----------
    floor : float
        Lower bound of the learned s, from 1e-6 to 1e6.

    Notes
    -----
    ln s, one number per column, is ``likelihood.<g>.log_scale`` of group g in the state dict.
    """

    floor: float = 1e-3


@dataclass(frozen=True)
class Categorical:
    """One categorical variable of a `Mixed` likelihood, one-hot in L columns: log p(x|z) = ln softmax(y)_k of level k.

    The decoder returns y, a logit for each of the L levels. ``reconstruct`` returns the probabilities of the levels, a
    draw is one-hot. A missing value is NaN in all L columns.
    """


@dataclass(frozen=True)
class Ordinal:
    """One ordinal variable of a `Mixed` likelihood, one-hot in L columns in the order of its levels: an ordered logit.

    P(level <= k|z) = sigmoid(t_(k+1) - h) for k = 0, ..., L - 2, with increasing thresholds t_i = sum_(j <= i)
    ln(1 + exp(y_j)) (Nazábal et al., HI-VAE, arXiv:1807.03653, section 3.1). Of the L outputs of the decoder the first
    is the location h, the others are y_1, ..., y_(L-1). ``reconstruct`` returns the probabilities of the levels, a draw
    is one-hot. A missing value is NaN in all L columns.
    """


@dataclass(frozen=True)
class Group:
    """Consecutive columns of X with one likelihood, for `Mixed`.

    Parameters
    ----------
    likelihood : str or object
        ``Gaussian`` (with a fixed or ``"per_feature"`` scale), ``LogNormal``, ``Poisson``, ``NegativeBinomial`` or
        ``Bernoulli``: independent columns. ``Categorical`` or ``Ordinal``: one variable.
    n_columns : int
        Number of columns; of a categorical or ordinal variable the number of its levels, at least 2.
    weight : float
        Factor of the group's log p in the training loss, from 1e-6 to 1e6.
    """

    likelihood: Any
    n_columns: int
    weight: float = 1.0


@dataclass(frozen=True)
class Mixed:
    """Columns of several kinds, each group with its own likelihood: log p(x|z) = sum_g log p_g(x_g|z), in nats.

    The model of a table (HI-VAE, Nazábal et al., arXiv:1807.03653). Values are never scaled: uint8 holds numbers.

    Parameters
    ----------
    groups : sequence of Group or of tuples (likelihood, n_columns) or (likelihood, n_columns, weight)
        The groups, in the order of their columns in X. The numbers of columns add up to those of X.

    Attributes
    ----------
    n_columns : int
        Number of columns of X.
    variables : list of slice
        Columns of each variable: one for a Gaussian, log-normal, count or binary column, L for a categorical or ordinal
        variable of L levels. ``variable_log_prob`` has one column for each.

    Notes
    -----
    The encoder reads Gaussian columns standardised, ln x of log-normal and ln(1 + x) of count columns standardised, and
    binary and one-hot columns as they are. With ``missing="mask"`` NaN is a missing value, in all columns of a
    categorical or ordinal variable; the loss omits it, and the encoder reads zero: of a standardised column the mean.

    Training starts at the best constant model of each column. The learned scales are ``likelihood.<g>.log_scale``
    (Gaussian, log-normal) or ``likelihood.<g>.log_total_count`` (negative binomial), [n_columns], of group g.

    The weights balance columns whose log p differ in size. They are in the losses of training (``history_``,
    ``loss_and_gradients``) and in the ``loss`` of ``evaluate``; all other results, such as ``score_samples``,
    ``log_marginal`` and the ``elbo`` of ``evaluate``, are without weights.

    Examples
    --------
    >>> from fastvae.likelihoods import Categorical, Gaussian, Mixed
    >>> likelihood = Mixed([(Gaussian("per_feature"), 2), (Categorical(), 3), ("bernoulli", 1)])
    >>> likelihood.n_columns, likelihood.variables[2]
    (6, slice(2, 5, None))
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        if isinstance(self.groups, str) or not isinstance(self.groups, Sequence):
            raise ValueError(f"groups={self.groups!r} must be a sequence of Group(likelihood, n_columns, weight)")
        object.__setattr__(self, "groups", tuple(map(_group, self.groups)))

    @property
    def n_columns(self) -> int:
        """Number of columns of X."""
        return sum(group.n_columns for group in self.groups)

    @property
    def variables(self) -> list[slice]:
        """Columns of each variable."""
        found: list[slice] = []
        first = 0
        for group in self.groups:
            size = group.n_columns if _is_variable(group.likelihood) else 1
            found += [slice(start, start + size) for start in range(first, first + group.n_columns, size)]
            first += group.n_columns
        return found


def _group(given: Any) -> Group:
    """Return a group of columns given as an object or a tuple, or raise ValueError."""
    group = given
    if isinstance(given, (tuple, list)) and len(given) in (2, 3):
        group = Group(*given)
    if not isinstance(group, Group):
        raise ValueError(f"groups: {given!r} must be Group(likelihood, n_columns, weight) or a tuple of these")
    if isinstance(group.n_columns, bool) or not isinstance(group.n_columns, numbers.Integral) or group.n_columns < 1:
        raise ValueError(f"groups: {given!r}: n_columns={group.n_columns!r} must be an integer of at least 1")
    return replace(group, n_columns=int(group.n_columns))


def _is_variable(likelihood: Any) -> bool:
    """Whether the columns of a group are the levels of one variable."""
    return isinstance(likelihood, (Categorical, Ordinal)) or likelihood in ("categorical", "ordinal")


def _kind(cls: type) -> str:
    """Return the engine's name of a likelihood: "negative_binomial" for `NegativeBinomial`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).removeprefix("_")


# The classes of all columns alike, by the names that ``likelihood=`` accepts.
KINDS: dict[str, type] = {_kind(cls): cls for cls in (Bernoulli, Gaussian, Poisson, NegativeBinomial, Multinomial)}
# Those of a group of columns, by the names that a `Group` accepts.
GROUP_KINDS: dict[str, type] = {
    _kind(cls): cls for cls in (Gaussian, LogNormal, Poisson, NegativeBinomial, Bernoulli, Categorical, Ordinal)
}
# All classes of objects.
CLASSES: tuple[type, ...] = (*KINDS.values(), LogNormal, Categorical, Ordinal, Group, Mixed)


def resolve(likelihood: Any) -> dict[str, Any]:
    """Return a likelihood, given by name or as an object, as the engine's options, or raise ValueError."""
    import json  # here only, so that `import fastvae` stays cheap

    instance = likelihood
    if isinstance(instance, Mixed):
        resolved: dict[str, Any] = {"kind": "mixed", "groups": [_resolved_group(group) for group in instance.groups]}
    elif isinstance(instance, (LogNormal, Categorical, Ordinal)):
        raise ValueError(
            f"likelihood={instance!r} is for a group of columns: use fastvae.likelihoods.Mixed([({instance!r}, "
            "n_columns), ...])"
        )
    else:
        resolved = _options(likelihood, KINDS, "likelihood", "or an object from fastvae.likelihoods")
    try:
        _core.check_likelihood(json.dumps(resolved, allow_nan=False))
    except ValueError as error:
        what = "likelihoods.Mixed" if isinstance(instance, Mixed) else repr(_instance(instance, KINDS))
        raise ValueError(f"{what}: {error}") from None
    return resolved


def _instance(likelihood: Any, kinds: dict[str, type]) -> Any:
    """Return a likelihood given by name or as an object as an object."""
    return kinds[likelihood]() if isinstance(likelihood, str) and likelihood in kinds else likelihood


def _options(likelihood: Any, kinds: dict[str, type], name: str, more: str) -> dict[str, Any]:
    """Return a likelihood of `kinds`, given by name or as an object, as the engine's options, or raise ValueError."""
    instance = _instance(likelihood, kinds)
    kind = next((kind for kind, cls in kinds.items() if isinstance(instance, cls)), None)
    if kind is None:
        raise ValueError(f"{name}={likelihood!r} is not known; use one of {', '.join(map(repr, kinds))} {more}")
    if isinstance(instance, _Optional):
        values = instance.set_options()
    else:
        values = {field.name: getattr(instance, field.name) for field in fields(instance)}
    return {"kind": kind} | {name: _option(value, f"{instance!r}: {name}") for name, value in values.items()}


def _resolved_group(group: Group) -> dict[str, Any]:
    """Return a group of columns as the engine's options."""
    return {
        "likelihood": _options(
            group.likelihood, GROUP_KINDS, f"{group!r}: likelihood", "or an object of their classes"
        ),
        "n_columns": group.n_columns,
        "weight": _option(group.weight, f"{group!r}: weight"),
    }


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
