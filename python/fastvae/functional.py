"""The formulas of the model on arrays, computed by the code of the engine.

Inputs are array-like and converted to float32; leading axes are batch axes. Results are in nats.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core
from fastvae._data import arrays

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "bernoulli_log_prob",
    "gaussian_kl",
    "gaussian_log_prob",
    "reparameterize",
    "standard_normal",
]


def reparameterize(mu: ArrayLike, logvar: ArrayLike, eps: ArrayLike) -> NDArray[np.float32]:
    """Return z = mu + exp(logvar / 2) eps, the reparameterisation trick (arXiv:1312.6114, section 2.4).

    Parameters
    ----------
    mu, logvar, eps : array_like
        Means, log variances (clamped to [-30, 20]) and standard normal noise; broadcast together.

    Returns
    -------
    ndarray of float32
        Of the broadcast shape.
    """
    mu, logvar, eps = _broadcast(mu=mu, logvar=logvar, eps=eps)
    return _core.reparameterize(*map(_flat, (mu, logvar, eps))).reshape(mu.shape)


def gaussian_kl(mu: ArrayLike, logvar: ArrayLike) -> NDArray[np.float32]:
    """Return KL(N(mu, sigma²) || N(0, I)) = -1/2 sum(1 + logvar - mu² - exp(logvar)) (arXiv:1312.6114, appendix B).

    Parameters
    ----------
    mu, logvar : array_like, [..., latent_dim]
        Means and log variances (clamped to [-30, 20]); broadcast together.

    Returns
    -------
    ndarray of float32, [...]
        Nats, one per example.
    """
    mu, logvar = _broadcast(mu=mu, logvar=logvar)
    batch, cols = _batch("mu", mu)
    return _core.gaussian_kl(_flat(mu), _flat(logvar), cols).reshape(batch)


def bernoulli_log_prob(x: ArrayLike, logits: ArrayLike) -> NDArray[np.float32]:
    """Return the sum over features of x ln p + (1 - x) ln(1 - p), with p = 1 / (1 + exp(-logit)).

    Parameters
    ----------
    x : array_like, [..., n_features]
        Values in [0, 1].
    logits : array_like, [..., n_features]
        Any finite values; the result neither overflows nor cancels.

    Returns
    -------
    ndarray of float32, [...]
        Nats, one per example.

    Raises
    ------
    ValueError
        If a value of x is outside [0, 1].
    """
    x, logits = _broadcast(x=x, logits=logits)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError("x must lie in [0, 1] for a Bernoulli likelihood")
    batch, cols = _batch("x", x)
    return _core.log_prob(_flat(x), _flat(logits), None, cols).reshape(batch)


def gaussian_log_prob(x: ArrayLike, mean: ArrayLike, scale: ArrayLike = 1.0) -> NDArray[np.float32]:
    """Return the sum over features of -((x - mean) / scale)² / 2 - ln(scale) - ln(2 pi) / 2.

    Parameters
    ----------
    x, mean : array_like, [..., n_features]
        Values and means; broadcast together.
    scale : float or array_like, [n_features]
        Standard deviations, positive.

    Returns
    -------
    ndarray of float32, [...]
        Nats, one per example.

    Raises
    ------
    ValueError
        If a scale is not positive, or its shape is neither [] nor [n_features].
    """
    x, mean = _broadcast(x=x, mean=mean)
    batch, cols = _batch("x", x)
    scale = arrays.numeric(scale, "scale").astype(np.float64)
    if scale.shape not in ((), (1,), (cols,)):
        raise ValueError(f"scale has shape {scale.shape}; expected one number, or one for each of {cols} features")
    if not ((scale > 0) & (scale < np.inf)).all():
        raise ValueError("scale must be positive and finite")
    log_scale = np.broadcast_to(np.log(scale), (cols,)).astype(np.float32)
    return _core.log_prob(_flat(x), _flat(mean), log_scale, cols).reshape(batch)


def standard_normal(shape: int | tuple[int, ...], seed: int, stream: int = 0) -> NDArray[np.float32]:
    """Return N(0, 1) noise by counter: Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller.

    An element is a function of the seed, the stream, its row (over all axes but the last) and its column (the last
    axis), not of the shape.

    Parameters
    ----------
    shape : int or tuple of int
    seed : int
        From 0 to 2**64 - 1.
    stream : int
        From 0 to 255; streams are independent.

    Returns
    -------
    ndarray of float32, of the given shape

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    sides = shape if isinstance(shape, (tuple, list, np.ndarray)) and np.ndim(shape) == 1 else (shape,)
    shape = tuple(_checks.integer(side, f"shape={shape!r}: a side", least=0) for side in sides)
    seed = _checks.integer(seed, "seed", least=0, most=2**64 - 1)
    stream = _checks.integer(stream, "stream", least=0, most=255)
    size = math.prod(shape)
    if size > _checks.MAX_ROWS:
        raise ValueError(f"shape={shape} has {size} elements; at most {_checks.MAX_ROWS} are possible")
    if size == 0:
        return np.zeros(shape, np.float32)
    cols = shape[-1] if shape else 1
    if cols > _core.MAX_WIDTH:
        raise ValueError(f"shape={shape}: the last axis must be at most {_core.MAX_WIDTH}")
    return _core.standard_normal(size // cols, cols, seed, stream).reshape(shape)


def _float32(values: ArrayLike, name: str) -> NDArray[np.float32]:
    return arrays.float32(arrays.numeric(values, name), name)


def _broadcast(**values: ArrayLike) -> list[NDArray[np.float32]]:
    """Return arrays as float32, broadcast together, or raise ValueError with their names."""
    found = [_float32(each, name) for name, each in values.items()]
    try:
        return list(np.broadcast_arrays(*found))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(values, found, strict=True))
        raise ValueError(f"arrays of these shapes do not broadcast together: {shapes}") from None


def _flat(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(-1)


def _batch(name: str, values: NDArray[Any]) -> tuple[tuple[int, ...], int]:
    """Return the shape of the batch axes and the length of the last axis."""
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"{name} has shape {values.shape}; expected a last axis of at least one element")
    return values.shape[:-1], values.shape[-1]
