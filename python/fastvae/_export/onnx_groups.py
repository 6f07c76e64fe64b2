"""Groups of columns with likelihoods of their own as nodes of an ONNX graph: means, and log p of each column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastvae._export.density import Group
    from fastvae._export.onnx_graph import Graph


def group_means(graph: Graph, groups: Sequence[Group], out: str) -> str:
    """Return E[x|z], [n, columns], from the decoder's output."""
    means = [_mean(graph, group, graph.columns(out, group.first, group.last)) for group in groups]
    return means[0] if len(means) == 1 else graph.node("Concat", *means, axis=1)


def _mean(graph: Graph, group: Group, y: str) -> str:
    node, likelihood = graph.node, group.likelihood
    match likelihood.kind:
        case "gaussian":
            return node("Sigmoid", y) if group.sigmoid else node("Identity", y)
        case "log_normal":
            half = np.exp(2 * np.asarray(likelihood.log_scale, np.float64)) / 2
            return node("Exp", node("Add", y, graph.constant(half)))
        case "poisson" | "negative_binomial":
            return node("Exp", y)
        case "bernoulli":
            return node("Sigmoid", y)
        case "categorical":
            return node("Softmax", y, axis=1)
        case "ordinal":
            return node("Exp", log_levels(graph, y, group.last - group.first))
    raise NotImplementedError(f"a group of {likelihood.kind} columns has no ONNX operators")


def log_levels(graph: Graph, y: str, levels: int) -> str:
    """Return ln P of each ordered level, [n, levels], without cancellation: see rust/nn/likelihood/ordinal.rs."""
    node, n = graph.node, levels - 1
    increments, location = graph.columns(y, 1, levels), graph.columns(y, 0, 1)
    sums = graph.constant(np.triu(np.ones((n, n))))
    distances = node("Sub", node("MatMul", softplus(graph, increments), sums), location)

    def placed(values: str, places: NDArray[np.float64]) -> str:
        return node("Neg", node("MatMul", softplus(graph, values), graph.constant(places)))

    below, above = np.eye(n, levels), np.eye(n, levels, 1)
    both = below * above.any(0) * (np.arange(levels) > 0)
    parts = [placed(node("Neg", distances), below), placed(distances, above)]
    return node("Add", node("Add", *parts), placed(node("Neg", increments), both))


def softplus(graph: Graph, y: str) -> str:
    """Return ln(1 + e^y) = max(y, 0) + ln(1 + e^-|y|), which does not overflow."""
    node = graph.node
    tail = node("Exp", node("Neg", node("Abs", y)))
    return node("Add", node("Relu", y), node("Log", node("Add", tail, graph.constant(1))))
