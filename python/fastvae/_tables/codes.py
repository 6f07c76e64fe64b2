"""The distribution of the training rows' codes: a mixture of normal distributions, from which synthetic rows are drawn.

The standard normal prior of training is not the distribution of the codes, q(z) = mean_i q(z|x_i): rows drawn with z
from the prior lie between the clusters of the table, too. A density that is fitted to the codes after training (Ghosh
et al., arXiv:1903.12436; Dai & Wipf, arXiv:1903.05789) has the modes of q(z).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._fitted.files import with_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_MOST_COMPONENTS = 20
_ROWS_A_COMPONENT = 25
_POINTS = 4000
_ROUNDS = 25
_LEAST_VARIANCE = 1e-3
_LEAST_KL = 0.01  # nats, of a dimension that is modelled; others keep the prior


@dataclass(frozen=True, eq=False)
class Codes:
    """A mixture of normal distributions in some latent dimensions; the others are standard normal.

    Attributes
    ----------
    steps : int
        Steps of the optimiser after which it was fitted: it does not describe a model with other weights.
    dims : ndarray of int, [d]
        The latent dimensions.
    weights, means, factors : ndarray
        Shares [k], means [k, d] and lower Cholesky factors of the covariances [k, d, d] of the components.
    """

    steps: int
    dims: NDArray[np.int64]
    weights: Array
    means: Array
    factors: Array

    def sample(self, z: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Return draws made of standard normal draws z, [n, latent_dim]."""
        found: NDArray[np.float32] = z.copy()
        chosen = np.random.default_rng(seed).choice(len(self.weights), len(z), p=self.weights)
        normal = z[:, self.dims].astype(np.float64)
        found[:, self.dims] = self.means[chosen] + np.einsum("nij,nj->ni", self.factors[chosen], normal)
        return found

    def log_ratio(self, z: NDArray[np.float32]) -> Array:
        """Return ln of the density over that of the prior N(0, I), [n]."""
        x = z[:, self.dims].astype(np.float64)
        joint = np.log(self.weights) + _log_densities(_products(x), self.means, self.factors)
        ratio: Array = _log_sum(joint) + (x**2).sum(1) / 2 + x.shape[1] * log(2 * pi) / 2
        return ratio

    def to_json(self) -> dict[str, Any]:
        """Return the mixture in JSON types."""
        lists = {name: getattr(self, name).tolist() for name in ("dims", "weights", "means", "factors")}
        return {"steps": self.steps, **lists}

    @classmethod
    def from_json(cls, found: Any) -> Codes:
        """Return a mixture from a file, or raise an error for a damaged one."""
        found = with_keys(found, {"steps", "dims", "weights", "means", "factors"}, set(), "the codes of the table")
        weights, means, factors = (np.array(found[name], np.float64) for name in ("weights", "means", "factors"))
        dims = np.array(found["dims"])
        k, d = len(weights), len(dims)
        good = type(found["steps"]) is int and dims.dtype.kind == "i" and bool((np.diff(dims) > 0).all()) and k > 0 < d
        good = good and weights.shape == (k,) and means.shape == (k, d) and factors.shape == (k, d, d) and dims[0] >= 0
        good = good and all(np.isfinite(each).all() for each in (weights, means, factors))
        if not (good and (weights >= 0).all() and abs(weights.sum() - 1) < 1e-6 and _is_lower(factors)):
            raise ValueError("the codes of the table are damaged")
        return cls(found["steps"], dims, weights / weights.sum(), means, factors)


def fit(mu: NDArray[np.float32], logvar: NDArray[np.float32], steps: int) -> Codes | None:
    """Fit the codes N(mu, exp(logvar)) of rows, [n, latent_dim] each, by EM. None: they are those of the prior."""
    mean, variance = mu.astype(np.float64), np.exp(logvar.astype(np.float64))
    kl = ((mean**2 + variance - 1 - logvar) / 2).mean(0)
    dims = np.flatnonzero(kl > _LEAST_KL)
    if not len(dims) or not np.isfinite(kl).all():
        return None
    rng = np.random.default_rng(0)
    k = int(np.clip(len(mu) // _ROWS_A_COMPONENT, 1, _MOST_COMPONENTS))
    rows = np.resize(rng.permutation(len(mu))[:_POINTS], _POINTS)
    x = mean[rows][:, dims] + np.sqrt(variance[rows][:, dims]) * rng.normal(size=(len(rows), len(dims)))
    products = _products(x)
    shares = np.eye(k)[_clusters(x, k, rng)]
    for _ in range(_ROUNDS):
        weights, means, factors = _maximised(products, shares)
        joint = np.log(weights) + _log_densities(products, means, factors)
        shares = np.exp(joint - _log_sum(joint)[:, np.newaxis])
    return Codes(steps, dims, *_maximised(products, shares))


def _clusters(x: Array, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the nearest of k centres for each point: k-means++ and a few rounds of Lloyd's algorithm."""
    centres = x[rng.integers(len(x), size=1)]
    nearest = _distances(x, centres)[:, 0]
    while len(centres) < k:
        total = nearest.sum()
        place = rng.choice(len(x), p=nearest / total) if total > 0 else rng.integers(len(x))
        centres = np.concatenate([centres, x[place : place + 1]])
        nearest = np.minimum(nearest, _distances(x, centres[-1:])[:, 0])
    found: NDArray[np.intp] = _distances(x, centres).argmin(1)
    for _ in range(5):
        counts = np.maximum(np.bincount(found, minlength=k), 1)
        centres = np.stack([np.bincount(found, x[:, j], k) for j in range(x.shape[1])], 1) / counts[:, np.newaxis]
        found = _distances(x, centres).argmin(1)
    return found


def _distances(x: Array, centres: Array) -> Array:
    """Return squared distances, [n, k]."""
    return np.stack([((x - centre) ** 2).sum(1) for centre in centres], 1)


def _products(x: Array) -> Array:
    """Return 1, x_i and x_i x_j (i <= j) of each point: sums over points are two matrix products with them."""
    i, j = np.triu_indices(x.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, i] * x[:, j]])


def _maximised(products: Array, shares: Array) -> tuple[Array, Array, Array]:
    """Return weights, means and Cholesky factors of components for the points' shares [n, k]."""
    sums = shares.T @ products
    sizes = sums[:, 0] + 1e-9
    d = _width(products)
    means = sums[:, 1 : d + 1] / sizes[:, np.newaxis]
    i, j = np.triu_indices(d)
    seconds = np.empty((len(sizes), d, d))
    seconds[:, i, j] = seconds[:, j, i] = sums[:, d + 1 :] / sizes[:, np.newaxis]
    covariances = seconds - means[:, :, np.newaxis] * means[:, np.newaxis]
    return sizes / sizes.sum(), means, np.linalg.cholesky(covariances + _LEAST_VARIANCE * np.eye(d))


def _log_densities(products: Array, means: Array, factors: Array) -> Array:
    """Return ln N(x; means, factors factorsᵀ), [n, k]."""
    d = means.shape[1]
    inverses = np.linalg.inv(factors)
    precisions = np.einsum("kij,kil->kjl", inverses, inverses)
    linear = np.einsum("kij,kj->ki", precisions, means)
    logs = np.log(np.diagonal(inverses, axis1=1, axis2=2)).sum(1)
    constant = logs - (linear * means).sum(1) / 2 - d * log(2 * pi) / 2
    i, j = np.triu_indices(d)
    quadratic = precisions[:, i, j] * np.where(i == j, -0.5, -1.0)
    densities: Array = products @ np.hstack([constant[:, np.newaxis], linear, quadratic]).T
    return densities


def _width(products: Array) -> int:
    """Return d, the number of columns of x: products has 1 + d + d (d + 1) / 2."""
    return int(((8 * products.shape[1] + 1) ** 0.5 - 3) / 2 + 0.5)


def _log_sum(joint: Array) -> Array:
    top = joint.max(1)
    found: Array = top + np.log(np.exp(joint - top[:, np.newaxis]).sum(1))
    return found


def _is_lower(factors: Array) -> bool:
    return bool((np.triu(factors, 1) == 0).all() and (np.diagonal(factors, axis1=1, axis2=2) > 0).all())
