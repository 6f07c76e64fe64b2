"""Grey values as binary ones: what a Bernoulli likelihood gives a probability to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAYS = ("bernoulli", "threshold")


def binarize(X: Any, how: str = "bernoulli", random_state: Any = None) -> NDArray[np.float32]:
    """Make grey values binary, for inference: ``VAE(binarize=...)`` does so with training data.

    Parameters
    ----------
    X : array_like, [n_examples, n_features]
        In [0, 1], or NaN, which stays; uint8 (0..255) is scaled to that first.
    how : {"bernoulli", "threshold"}
        A draw, 1 with the value as its probability; or 1 above one half (of uint8, above 127).
    random_state : int, numpy generator or None
        Seed of the draw; None takes fresh entropy.

    Returns
    -------
    ndarray of float32, [n_examples, n_features]
        Zeros and ones, and NaN where it was.

    Raises
    ------
    ValueError
        If a value is not in [0, 1], or ``how`` is not known.

    Examples
    --------
    >>> import fastvae, numpy
    >>> fastvae.binarize(numpy.array([[0, 127, 128, 255]], numpy.uint8), "threshold")
    array([[0., 0., 1., 1.]], dtype=float32)
    """
    how = _checks.choice(how, "how", WAYS)
    values = arrays.floats(X, "X")
    holes = np.isnan(values)
    bad = ~((values >= 0) & (values <= 1) | holes)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(f"X[{i}, {j}] is {values[i, j]}, but a grey value lies in [0, 1]: scale the data")
    shape = values.shape
    limit = 0.5 if how == "threshold" else np.random.default_rng(_checks.seed(random_state)).random(shape, np.float32)
    return np.where(holes, np.float32(np.nan), (values > limit).astype(np.float32))
