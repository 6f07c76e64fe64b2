"""log p(x|z) as nodes of an ONNX graph, from the decoder's output: see :mod:`fastvae.likelihoods` for the formulas.

ONNX has no ln Γ. It is computed in float64, so that differences of large values keep their digits, by Stirling's series
at z + 8: ln Γ(z) = ln Γ(z + 8) - ln(z (z + 1) ... (z + 7)), whose remainder is below 1e-11.
"""

from __future__ import annotations

from math import log, pi
from typing import TYPE_CHECKING

import numpy as np

from fastvae._export import protobuf
from fastvae._export.onnx_groups import log_levels, softplus

if TYPE_CHECKING:
    from fastvae._export.density import Likelihood
    from fastvae._export.onnx_graph import Graph

_SHIFT = 8


def log_prob(
    graph: Graph,
    likelihood: Likelihood,
    x: str,
    outputs: tuple[str, str | None],
    *,
    sigmoid: bool,
    condition: str | None = None,
    given_size: str | None = None,
) -> str:
    """Return log p(x|z) of each example, [n], nats; NaN in x is left out.

    `outputs` are the decoder's output and its second one; `sigmoid`: a Gaussian's mean is the sigmoid of the first.
    `given_size` are sizes in counts, [n, 1].
    """
    out, second = outputs
    given = graph.node("Where", graph.missing(x), graph.constant(0), x)
    if likelihood.sized:
        out = graph.node(
            "Add", graph.node("LogSoftmax", out, axis=1), graph.node("Log", size(graph, given, given_size))
        )
    if likelihood.kind == "mixed":
        parts = []
        for group in likelihood.groups:
            part, y = (graph.columns(value, group.first, group.last) for value in (given, out))
            made = _Each(graph, group.likelihood, None, group.last - group.first)
            parts.append(made.log_prob(part, y, None, group.sigmoid))
        each = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    else:
        each = _Each(graph, likelihood, condition).log_prob(given, out, second, sigmoid)
    observed = graph.node("Where", graph.missing(x), graph.constant(0), each)
    return graph.node("ReduceSum", observed, graph.constant([1], np.int64), keepdims=0)


def size(graph: Graph, x: str, given: str | None = None) -> str:
    """Return the sizes of rows of counts, [n, 1]: the given ones, or totals; a row without counts has a small one."""
    if given is not None:
        return given
    total = graph.node("ReduceSum", x, graph.constant([1], np.int64), keepdims=1)
    return graph.node("Max", total, graph.constant(1e-6))


class _Each:
    """log p of each value."""

    def __init__(self, graph: Graph, likelihood: Likelihood, condition: str | None = None, levels: int = 0) -> None:
        self.graph, self.likelihood, self.condition, self.levels = graph, likelihood, condition, levels

    def log_prob(self, x: str, y: str, u: str | None, sigmoid: bool) -> str:
        node, likelihood = self.graph.node, self.likelihood
        match likelihood.kind:
            case "bernoulli":
                return node("Sub", node("Mul", x, y), softplus(self.graph, y))
            case "binomial":
                most = self.graph.constant(likelihood.trials)
                logits = node("Sub", node("Mul", x, y), node("Mul", most, softplus(self.graph, y)))
                return node("Add", self._single(self._ln_choose(x)), logits)
            case "gaussian":
                return self._gaussian(x, node("Sigmoid", y) if sigmoid else y, u)
            case "poisson":
                x, y = self._double(x), self._double(y)
                terms = node("Sub", node("Mul", x, y), node("Exp", y))
                return self._single(node("Sub", terms, self._ln_gamma(node("Add", x, self._constant(1)))))
            case "negative_binomial":
                log_p = self._negative_binomial(self._double(x), self._double(y))
                if likelihood.inflated and u is not None:
                    log_p = self._inflated(self._double(x), log_p, self._double(u))
                return self._single(log_p)
            case "multinomial" | "categorical":
                return node("Mul", x, node("LogSoftmax", y, axis=1))
            case "ordinal":
                return node("Mul", x, log_levels(self.graph, y, self.levels))
            case "log_normal":
                log_x = node("Log", x)
                return node("Sub", self._gaussian(log_x, y, None), log_x)
            case "mixture":
                return node("Mul", x, node("Log", node("Max", y, self.graph.constant(1e-30))))
            case "squared_error":
                error = node("Sub", x, y)
                return node("Neg", node("Mul", error, error))
        raise NotImplementedError(f"the likelihood {likelihood.kind} has no ONNX operators")

    def _gaussian(self, x: str, mean: str, u: str | None) -> str:
        node, constant = self.graph.node, self.graph.constant
        error = node("Sub", x, mean)
        if u is not None:  # s² = floor² + e^(2 u)
            above = node("Exp", node("Mul", node("Min", u, constant(40)), constant(2)))
            variance = node("Add", above, constant(self.likelihood.floor**2))
            square = node("Div", node("Mul", error, error), variance)
            rest = node("Add", node("Log", variance), constant(log(2 * pi)))
        else:
            log_s = np.asarray(self.likelihood.log_scale, np.float64)
            ratio = node("Mul", error, constant(np.exp(-log_s)))
            square, rest = node("Mul", ratio, ratio), constant(2 * log_s + log(2 * pi))
        return node("Mul", node("Add", square, rest), constant(-0.5))

    def _negative_binomial(self, x: str, y: str) -> str:
        """Ln Γ(x + r) - ln Γ(r) - ln x! + r ln(r / (r + m)) + x ln(m / (r + m)), in float64."""
        node = self.graph.node
        stored = np.asarray(self.likelihood.log_total_count, np.float64)
        if stored.ndim == 2:
            assert self.condition is not None, "dispersions of batches are those of a conditional model"
            log_r = node("MatMul", self._double(self.condition), self._constant(stored.T))
            r = node("Exp", log_r)
        else:
            log_r, r = self._constant(stored), self._constant(np.exp(stored))
        ways = node("Sub", self._ln_gamma(node("Add", x, r)), self._ln_gamma(r))
        ways = node("Sub", ways, self._ln_gamma(node("Add", x, self._constant(1))))
        t = node("Sub", y, log_r)
        tail = node("Log", node("Add", node("Exp", node("Neg", node("Abs", t))), self._constant(1)))
        zero = self._constant(0)
        failures = node("Mul", r, node("Add", node("Max", t, zero), tail))
        successes = node("Mul", x, node("Add", node("Max", node("Neg", t), zero), tail))
        return node("Sub", node("Sub", ways, failures), successes)

    def _inflated(self, x: str, log_p: str, u: str) -> str:
        """Ln(w [x = 0] + (1 - w) p), w = sigmoid(u), in float64."""
        node, zero = self.graph.node, self._constant(0)
        tail = node("Log", node("Add", node("Exp", node("Neg", node("Abs", u))), self._constant(1)))
        log_w = node("Neg", node("Add", node("Max", node("Neg", u), zero), tail))
        rest = node("Sub", log_p, node("Add", node("Max", u, zero), tail))
        distance = node("Exp", node("Neg", node("Abs", node("Sub", log_w, rest))))
        both = node("Add", node("Max", log_w, rest), node("Log", node("Add", distance, self._constant(1))))
        return node("Where", node("Equal", x, zero), both, rest)

    # float64

    def _constant(self, value: object) -> str:
        return self.graph.constant(value, np.float64)

    def _double(self, value: str) -> str:
        return self.graph.node("Cast", value, to=protobuf.DOUBLE)

    def _single(self, value: str) -> str:
        return self.graph.node("Cast", value, to=protobuf.FLOAT)

    def _ln_choose(self, x: str) -> str:
        """Ln C(m, x) of whole marks x, m the trials."""
        node, one = self.graph.node, self._constant(1)
        x, most = self._double(x), self._constant(self.likelihood.trials)
        ways = self._ln_gamma(node("Add", most, one))
        ways = node("Sub", ways, self._ln_gamma(node("Add", x, one)))
        return node("Sub", ways, self._ln_gamma(node("Add", node("Sub", most, x), one)))

    def _ln_gamma(self, z: str) -> str:
        node, constant = self.graph.node, self._constant
        product = z
        for k in range(1, _SHIFT):
            product = node("Mul", product, node("Add", z, constant(k)))
        z = node("Add", z, constant(_SHIFT))
        inverse = node("Div", constant(1), z)
        square = node("Mul", inverse, inverse)
        series = constant(-1 / 1680)
        for coefficient in (1 / 1260, -1 / 360, 1 / 12):
            series = node("Add", node("Mul", series, square), constant(coefficient))
        log_z = node("Log", z)
        main = node("Sub", node("Mul", node("Sub", z, constant(0.5)), log_z), z)
        total = node("Add", node("Add", main, constant(0.5 * log(2 * pi))), node("Mul", series, inverse))
        return node("Sub", total, node("Log", product))
