"""Noise on the encoder's input for denoising autoencoders; the target stays clean.

Source: Vincent, Larochelle, Bengio & Manzagol, "Extracting and composing robust features with denoising autoencoders",
ICML 2008. With ``corruption=`` an estimator draws new noise in every step of training, and one fixed noise for
validation data. Inference methods never corrupt their input. A model trained with Gaussian or salt-and-pepper noise
accepts noisy data of any values in ``reconstruct`` and ``transform``.

>>> import fastvae
>>> X, _ = fastvae.datasets.load_digits()
>>> noise = fastvae.corruption.GaussianNoise(sigma=0.5)
>>> model = fastvae.Autoencoder(16, hidden=(64,), corruption=noise, epochs=5, random_state=0).fit(X)
>>> denoised = model.reconstruct(noise.corrupt(X, random_state=1))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastvae import _checks, _core
from fastvae._data import arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GaussianNoise", "MaskingNoise", "SaltAndPepper"]


class _Corruption:
    """Base class of the kinds of noise."""

    def corrupt(self, X: Any, random_state: Any = None) -> NDArray[np.float32]:
        """Return a corrupted copy of X.

        Parameters
        ----------
        X : array_like, [n_examples, n_features] or images [n_examples, ...]
            uint8 is divided by 255 first.
        random_state : int, numpy generator or None
            Seed of the noise; None uses fresh entropy.

        Returns
        -------
        ndarray of float32 in the shape of X
        """
        values, shape = arrays.floats_of_any_shape(X, "X")
        seed = _checks.seed(random_state)
        corrupted = _core.corrupt(values.reshape(-1), resolve(self), values.shape[1], seed)
        return corrupted.reshape(shape)


@dataclass(frozen=True)
class GaussianNoise(_Corruption):
    """Gaussian noise: x + sigma eps with eps ~ N(0, 1), not clipped.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise.
    """

    sigma: float = 0.5


@dataclass(frozen=True, repr=False)
class MaskingNoise(_Corruption):
    """Masking noise: x becomes 0 with probability p < 1.

    Parameters
    ----------
    p : float
        Probability of a zero.
    rescale : bool or None
        Whether the other values become x / (1 - p) (inverted dropout; Srivastava et al., JMLR 2014, section 10), so
        that the mean stays x: the encoder reads the same level in training and, without noise, in use. None is True
        in models of counts, in which the sum of a row matters and a single zero does not. It is False in other models,
        which then denoise masked examples as they are, and in ``corrupt``. Set it to True if examples in use are not
        masked: the ELBO of clean MNIST digits after MaskingNoise(0.5) is -116 instead of -177 nats, but the
        cross-entropy of masked ones, as they are, 117 instead of 93.
    """

    p: float = 0.25
    rescale: bool | None = None

    def __repr__(self) -> str:
        """Return the call that makes this object, without options that have their defaults."""
        rescale = "" if self.rescale is None else f", rescale={self.rescale!r}"
        return f"MaskingNoise(p={self.p!r}{rescale})"


@dataclass(frozen=True)
class SaltAndPepper(_Corruption):
    """Salt-and-pepper noise: x becomes 0 or 1.

    Parameters
    ----------
    p : float
        Probability of a change, below 1: p / 2 for 0 and for 1.
    """

    p: float = 0.25


def resolve(corruption: Any, *, counts: bool = False) -> tuple[str, float]:
    """Return a corruption as the engine's (name, level), or raise ValueError; `counts`: in a model of counts."""
    match corruption:
        case GaussianNoise(sigma):
            return "gaussian", _checks.number(sigma, f"{corruption!r}: sigma")
        case MaskingNoise(p, rescale):
            rescaled = counts if rescale is None else _checks.boolean(rescale, f"{corruption!r}: rescale")
            return "rescaled_masking" if rescaled else "masking", _checks.number(p, f"{corruption!r}: p", below=1.0)
        case SaltAndPepper(p):
            return "salt_and_pepper", _checks.number(p, f"{corruption!r}: p", below=1.0)
    raise ValueError(f"corruption={corruption!r} is not known; use None or an object from fastvae.corruption")
