"""Grey values as binary ones: what a Bernoulli likelihood gives a probability to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, _input

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAYS = ("bernoulli", "threshold")


def binarize(X: Any, how: str = "bernoulli", random_state: Any = None) -> NDArray[np.float32]:
    """Make grey values binary, for questions about them: ``VAE(binarize=...)`` does it to what it is trained on.

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
    how = _input.choice(how, "how", WAYS)
    values = _input.floats(X, "X")
    holes = np.isnan(values)
    bad = ~((values >= 0) & (values <= 1) | holes)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(f"X[{i}, {j}] is {values[i, j]}, but a grey value lies in [0, 1]: scale the data")
    shape = values.shape
    limit = 0.5 if how == "threshold" else np.random.default_rng(_input.seed(random_state)).random(shape, np.float32)
    return np.where(holes, np.float32(np.nan), (values > limit).astype(np.float32))


def check_binary(engine: _core.Engine, X: _input.Examples, name: str, how: str | None, threads: int | None) -> None:
    """Raise ValueError if a matrix holds other values than 0, 1 (of uint8, 0 and 255) and NaN that the model takes.

    `how` is the way in which the model's training data became binary: the remedy that is named.
    """
    engine.check(X, name, threads)  # what is no grey value either has a message of its own
    one = 255 if X.dtype == np.uint8 else 1
    found = _input.find(X, lambda values: (values != 0) & (values != one) & ~np.isnan(values))
    if found:
        i, j, value = found
        ways = WAYS if how is None else (how,)
        remedies = " or ".join(f'fastvae.binarize({name}, "{way}")' for way in ways)
        training = "" if how else f' (and train with binarize="{WAYS[0]}" or "{WAYS[1]}")'
        raise ValueError(
            f"{name}[{i}, {j}] is {value}: under the Bernoulli likelihood only 0 and 1 have a "
            f"probability. Ask about {remedies}{training}, or use a Gaussian likelihood"
        )
