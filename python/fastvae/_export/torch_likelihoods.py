"""log p(x|z) in torch, from the decoder's output. Imported by :mod:`fastvae._export.torch_modules` only."""

from __future__ import annotations

from math import log, pi
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softplus

from fastvae._export.operations import Activation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastvae._export.density import Group, Likelihood
    from fastvae._export.network import Section

LEAST_SIZE = 1e-6  # of a row without counts


def log_prob(
    likelihood: Likelihood,
    mean: Section,
    learned: Any,
    x: Tensor,
    outputs: tuple[Tensor, Tensor | None],
    condition: Tensor | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """Return log p(x|z) of each example, [n], nats; NaN in x is left out.

    `learned` holds the parameters of the likelihood, `outputs` are the decoder's output and its second one; `size` are
    given sizes, [n].
    """
    out, second = outputs
    observed = ~x.isnan()
    x = x.nan_to_num()
    if likelihood.sized:
        out = out.log_softmax(1) + sizes(likelihood, x, size)[:, None].log()
    if likelihood.kind == "mixed":
        parts = []
        for group in likelihood.groups:
            part, y = (value[:, group.first : group.last] for value in (x, out))
            parts.append(_of_group(group, learned_of(group, learned), part, y))
        return torch.cat(parts, 1).masked_fill(~observed, 0).sum(1)
    log_p = _each(likelihood, mean, learned, x, (out, second), condition)
    if likelihood.inflated and second is not None:
        rest = logsigmoid(-second) + log_p
        log_p = torch.where(x == 0, torch.logaddexp(logsigmoid(second), rest), rest)
    return log_p.masked_fill(~observed, 0).sum(1)


def sizes(likelihood: Likelihood, x: Tensor, size: Tensor | None) -> Tensor:
    """Return the sizes of rows of counts, [n]: their totals, or the given ones in counts."""
    if not likelihood.given_size:
        if size is not None:
            raise ValueError("leave out size: it is the total of x")
        return x.sum(1).clamp(min=LEAST_SIZE)
    if size is None:
        raise ValueError("pass size: the sizes of the rows are given, [n]")
    return size.reshape(len(x)).to(x) * likelihood.size_unit


def learned_of(group: Group, learned: Any) -> Any:
    """Return the module with the parameters of a group; None: it has none."""
    return getattr(learned, group.name, None)


def group_means(groups: Sequence[Group], learned: Any, out: Tensor) -> Tensor:
    """Return E[x|z] of groups of columns, [n, columns], from the decoder's output."""
    return torch.cat([_mean(each, learned_of(each, learned), out[:, each.first : each.last]) for each in groups], 1)


def _mean(group: Group, learned: Any, y: Tensor) -> Tensor:
    match group.likelihood.kind:
        case "gaussian":
            return y.sigmoid() if group.sigmoid else y
        case "log_normal":
            return (y + (2 * learned.log_scale).exp() / 2).exp()
        case "poisson" | "negative_binomial":
            return y.exp()
        case "bernoulli":
            return y.sigmoid()
        case "categorical":
            return y.softmax(1)
        case "ordinal":
            return _log_levels(y).exp()
    raise NotImplementedError(f"a group of {group.likelihood.kind} columns has no mean")


def _log_levels(y: Tensor) -> Tensor:
    """Return ln P of each ordered level, [n, levels]: see rust/nn/likelihood/ordinal.rs."""
    distances = softplus(y[:, 1:]).cumsum(1) - y[:, :1]
    found = pad(logsigmoid(distances), (0, 1)) + pad(logsigmoid(-distances), (1, 0))
    return found + pad(logsigmoid(y[:, 2:]), (1, 1))


def _of_group(group: Group, learned: Any, x: Tensor, y: Tensor) -> Tensor:
    """Return log p of each value of a group of columns."""
    match group.likelihood.kind:
        case "categorical":
            return x * y.log_softmax(1)
        case "ordinal":
            return x * _log_levels(y)
        case "log_normal":
            x = torch.where(x > 0, x, 1)  # 0 is a missing value
            log_s = learned.log_scale
            return -0.5 * ((x.log() - y) / log_s.exp()) ** 2 - log_s - 0.5 * log(2 * pi) - x.log()
    return _each(group.likelihood, (Activation("sigmoid"),) if group.sigmoid else (), learned, x, (y, None), None)


def _each(
    likelihood: Likelihood,
    mean: Section,
    learned: Any,
    x: Tensor,
    outputs: tuple[Tensor, Tensor | None],
    condition: Tensor | None,
) -> Tensor:
    """Return log p of each value, without zero inflation."""
    y, u = outputs
    match likelihood.kind:
        case "bernoulli":
            return x * logsigmoid(y) + (1 - x) * logsigmoid(-y)
        case "binomial":
            most = torch.from_numpy(likelihood.trials).to(y)  # x are marks
            ways = (most + 1).lgamma() - (x + 1).lgamma() - (most - x + 1).lgamma()
            return ways + x * logsigmoid(y) + (most - x) * logsigmoid(-y)
        case "gaussian":
            log_s = _log_scale(likelihood, learned, y, u)
            m = y.sigmoid() if mean else y
            return -0.5 * ((x - m) / log_s.exp()) ** 2 - log_s - 0.5 * log(2 * pi)
        case "poisson":
            return x * y - y.exp() - (x + 1).lgamma()
        case "negative_binomial":
            log_r = learned.log_total_count
            if log_r.ndim == 2:
                assert condition is not None, "dispersions of batches are those of a conditional model"
                log_r = condition @ log_r.T
            r, total = log_r.exp(), torch.logaddexp(log_r, y)
            ways = (x + r).lgamma() - r.lgamma() - (x + 1).lgamma()
            return ways + r * (log_r - total) + x * (y - total)
        case "multinomial":
            return x * y.log_softmax(1)
        case "mixture":
            return x * y.clamp(min=1e-30).log()
    raise NotImplementedError(f"a {likelihood.kind} has no log-probability")


def _log_scale(likelihood: Likelihood, learned: Any, y: Tensor, u: Tensor | None) -> Tensor:
    if u is not None:
        return 0.5 * (likelihood.floor**2 + (2 * u.clamp(max=40)).exp()).log()
    if learned is not None:
        scale: Tensor = learned.log_scale
        return scale
    return torch.from_numpy(likelihood.log_scale).to(y)
