"""Binarization of grey values: a Bernoulli likelihood gives a probability to 0 and 1 only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core
from fastvae._data import arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAYS = ("bernoulli", "threshold")


def binarize(X: Any, how: str = "bernoulli", random_state: Any = None) -> NDArray[np.float32]:
    """Binarize grey values before inference; ``VAE(binarize=...)`` binarizes training data.

    Parameters
    ----------
    X : array_like, [n_examples, n_features] or images [n_examples, ...]
        Values in [0, 1] or NaN; uint8 (0..255) is divided by 255 first.
    how : {"bernoulli", "threshold"}
        "bernoulli" draws 1 with the value as its probability; "threshold" takes 1 above one half (uint8: above 127).
    random_state : int, numpy generator or None
        Seed of the draw; None uses fresh entropy.

    Returns
    -------
    ndarray of float32 in the shape of X
        Zeros and ones; NaN stays NaN.

    Raises
    ------
    ValueError
        If a value is outside [0, 1], or ``how`` is not known.

    Examples
    --------
    >>> import fastvae, numpy
    >>> fastvae.binarize(numpy.array([[0, 127, 128, 255]], numpy.uint8), "threshold")
    array([[0., 0., 1., 1.]], dtype=float32)
    """
    how = _checks.choice(how, "how", WAYS)
    values, given = arrays.floats_of_any_shape(X, "X")
    missing = np.isnan(values)
    bad = ~((values >= -_core.ROUNDING) & (values <= 1 + _core.ROUNDING) | missing)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(
            f"X[{i}, {j}] is {values[i, j]}, but a grey value lies in [0, 1]: scale the data, for example with "
            "MinMaxScaler(clip=True)"
        )
    shape = values.shape
    limit = 0.5 if how == "threshold" else np.random.default_rng(_checks.seed(random_state)).random(shape, np.float32)
    return np.where(missing, np.float32(np.nan), (values > limit).astype(np.float32)).reshape(given)
