"""The scores of the constant model at which training starts, nats per example.

Every example has the same parameters of the likelihood: the best ones for the training data, with the prior that keeps
them finite where a column has one value only (half a pseudo-count), and a scale of at least a twentieth of the range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from fastvae import ItemResponse, TopicModel, likelihoods
from generated.setup import Setup

Values = NDArray[np.float64]


def scores(setup: Setup) -> Values:
    """Return the log-likelihood of each example, [n]; NaN is not observed."""
    X = setup.X
    if setup.of_pixels():  # the output layer has one bias for all pixels of a channel
        order = (0, 2, 3, 1) if setup.options.get("channels") == "first" else (0, 1, 2, 3)
        height, width, channels = setup.options["image_shape"]
        shape = (channels, height, width) if order[1] == 2 else (height, width, channels)
        X = X.reshape(-1, *shape).transpose(order).reshape(-1, channels)
    return np.nansum(_log_prob(setup, X).reshape(len(setup.X), -1), 1)


def _log_prob(setup: Setup, X: Values) -> Values:
    count = (~np.isnan(X)).sum(0)
    total = np.nansum(X, 0)
    mean = total / np.maximum(count, 1)
    if setup.kind is ItemResponse:
        most = np.broadcast_to(setup.options.get("max_marks", 1), X.shape[1])
        p = (total + 0.5) / (count * most + 1)
        if setup.options["model"] == "through_origin":  # no intercepts
            p = np.full(len(p), 0.5)
        coefficient = gammaln(most + 1) - gammaln(X + 1) - gammaln(most - X + 1)
        return coefficient + xlogy(X, p) + xlogy(most - X, 1 - p)
    if setup.kind is TopicModel:
        return xlogy(X, (total + 0.1) / (total + 0.1).sum())
    name = setup.options.get("likelihood", setup.options.get("loss", "squared_error"))
    share, rate = (total + 0.5) / (count + 1), mean + 0.5 / np.maximum(count, 1)
    if name == "bernoulli":
        return xlogy(X, share) + xlog1py(1 - X, -share)
    if name == "squared_error":
        return -((X - mean) ** 2)
    if name == "poisson":
        return xlogy(X, rate) - rate - gammaln(X + 1)
    if name == "negative_binomial":
        return _negative_binomial(X, rate)
    if name == "multinomial":
        return xlogy(X, (total + 0.5) / (total + 0.5).sum())
    likelihood = likelihoods.Gaussian(1.0) if name == "gaussian" else name
    scale = _scale(likelihood, X, mean, count)
    return -(((X - mean) / scale) ** 2) / 2 - np.log(scale) - np.log(2 * np.pi) / 2


def _scale(likelihood: Any, X: Values, mean: Values, count: Values) -> Any:
    """Return the standard deviation: for a constant column a twentieth of that within all columns, or its value."""
    if isinstance(likelihood.scale, float):
        return likelihood.scale
    deviation = np.sqrt(np.nansum((X - mean) ** 2, 0) / np.maximum(count, 1))
    size = np.sqrt(deviation**2 + mean**2)
    deviation = np.where(deviation > 1e-6 * size, deviation, 0)  # beyond float32
    within = np.sqrt((count * deviation**2).sum() / max(count.sum(), 1))
    extent = np.nanmax(X, 0, initial=-np.inf) - np.nanmin(X, 0, initial=np.inf)
    own = np.where(deviation > 0, np.maximum(deviation, extent / 20), within / 20)
    own = np.where(own > 0, own, np.where(mean == 0, 1, np.abs(mean)))
    own = np.maximum(own, 1e-6 * np.abs(mean))
    if likelihood.scale == "shared":
        own = within or np.sqrt((count * size**2).sum() / max(count.sum(), 1)) or 1.0
    return np.maximum(own, likelihood.floor)


def _negative_binomial(X: Values, mean: Values) -> Values:
    """Return the log-probabilities with the best r of each column, of a fine grid."""
    best = np.full(X.shape[1], -np.inf)
    found = np.zeros_like(X)
    for r in np.geomspace(1e-3, 1e6, 91):
        logs = gammaln(X + r) - gammaln(r) - gammaln(X + 1) - r * np.log1p(mean / r) + xlogy(X, mean / (mean + r))
        total = np.nansum(logs, 0)
        better = total > best
        found[:, better], best[better] = logs[:, better], total[better]
    return found
