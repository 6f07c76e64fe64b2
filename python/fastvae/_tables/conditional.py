"""Codes of rows with given values: draws from r(z) p(given | z), r the distribution of the codes of all rows.

Sampling importance resampling with two proposals (balance heuristic, Veach & Guibas, 1995): r itself, which reaches all
rows with these values, and the encoder's q(z | given), which is the better one for values that few rows have.
"""

from __future__ import annotations

from math import log, pi
from typing import TYPE_CHECKING

import numpy as np

from fastvae import _checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel
    from fastvae._tables.codes import Codes

_CANDIDATES = 50  # for each row
_LEAST, _MOST = 4000, 2**17
_OF_ENCODER = 0.2  # of the candidates
_BLOCK = 2**13  # candidates that are scored at a time
_FEW = 10.0  # effective candidates


def draw(
    fitted: FittedModel,
    row: NDArray[np.float32],
    density: Codes | None,
    n: int,
    seed: int,
    threads: int | None,
) -> NDArray[np.float32]:
    """Return codes [n, latent_dim] for the values of `row` [1, width]; without `density` r is N(0, I).

    Raises FloatingPointError if no candidate has a finite density.
    """
    count = int(np.clip(_CANDIDATES * n, _LEAST, max(n, _MOST)))
    own = round(_OF_ENCODER * count)
    mu, logvar = fitted.encode(row, None, threads)
    deviation: NDArray[np.float32] = np.exp(logvar.clip(-30, 20) / 2, dtype=np.float32)
    normal = fitted.prior(count, seed)
    wide = normal[own:] if density is None else density.sample(normal[own:], seed)
    z = np.concatenate([mu + deviation * normal[:own], wide])
    eps: NDArray[np.float32] = (z - mu) / deviation  # of the encoder's z, which the scores are asked for
    prior = _log_normal(z) + (0 if density is None else density.log_ratio(z))
    posterior = _log_normal(eps) - np.log(deviation.astype(np.float64)).sum()
    proposal = np.logaddexp(log(_OF_ENCODER) + posterior, log(1 - _OF_ENCODER) + prior)
    weights = prior - proposal + _log_likelihood(fitted, row, eps, threads)
    top = np.nanmax(weights)
    if not np.isfinite(top):
        raise FloatingPointError("no code explains the values of given: the model gives them no probability")
    shares = np.nan_to_num(np.exp(weights - top))
    effective = shares.sum() ** 2 / (shares**2).sum()
    if effective < min(n, _FEW):
        _checks.warn(
            f"the values of given are rare together: the rows have about {effective:.0f} different codes of {count:,} "
            "that were tried. Give fewer values, or check their units"
        )
    return z[_resampled(shares, n, seed)]


def _log_normal(z: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ln N(z; 0, I), [n]."""
    found: NDArray[np.float64] = -(z.astype(np.float64) ** 2).sum(1) / 2 - z.shape[1] * log(2 * pi) / 2
    return found


def _log_likelihood(
    fitted: FittedModel, row: NDArray[np.float32], eps: NDArray[np.float32], threads: int | None
) -> NDArray[np.float64]:
    """Return ln p(row | mu + sigma eps), [n], of its observed values."""
    found = []
    for start in range(0, len(eps), _BLOCK):
        block = np.ascontiguousarray(eps[start : start + _BLOCK])
        rows = np.repeat(row, len(block), axis=0)
        found.append(-fitted.score(rows, None, threads, eps=block)[0].astype(np.float64))
    return np.concatenate(found)


def _resampled(shares: NDArray[np.float64], n: int, seed: int) -> NDArray[np.intp]:
    """Return n indices in proportion to shares, by systematic resampling, in random order."""
    rng = np.random.default_rng(seed)
    sums = shares.cumsum()
    places = np.searchsorted(sums, (np.arange(n) + rng.random()) / n * sums[-1], "right")
    return rng.permutation(np.minimum(places, len(shares) - 1))
