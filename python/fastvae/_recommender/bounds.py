"""Upper bounds of logits, by which a ranking computes few of them.

With orthonormal directions V [k, d] the logit of an item with weights w and bias b is, for the input h,

    h w + b <= (V'h) (V'w) + |h - VV'h| |w - VV'w| + b

by the inequality of Cauchy and Schwarz. V are about the first principal directions of the weights of all items, from a
few iterations of a block of vectors: the rest of w is small. The bounds hold for any V: results do not depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # V with columns of zeros for the norms; for each place the numbers of an item; the item at each place. All flat.
    Bounds: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]]

WIDTH = 32  # numbers of an item: d directions, the norm of the rest, a margin, the bias
_DIRECTIONS = WIDTH - 3
_MARGIN = 1e-4  # of |h| |w|: more than the rounding errors of products in float32
_ITERATIONS = 3  # of W'W on a block of vectors
_AT_ONCE = 4096  # items


def bounds(weights: NDArray[np.float32], bias: NDArray[np.float32], first: NDArray[np.int64]) -> Bounds | None:
    """Return the bounds for an output layer, or None if its weights overflow.

    Parameters
    ----------
    weights : ndarray, [n_items, k]
    bias : ndarray, [n_items]
    first : ndarray of int, [n_items]
        The order in which items are tried: likely ones first.
    """
    k = weights.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        directions = np.zeros((k, WIDTH), np.float32)
        used = directions[:, :_DIRECTIONS]
        used[:] = np.random.default_rng(0).standard_normal(used.shape, np.float32)
        for _ in range(_ITERATIONS):
            image = weights.T @ (weights @ used)
            if not np.isfinite(image).all():
                return None
            used[:] = np.linalg.qr(image.astype(np.float64))[0]
        items = np.empty((len(weights), WIDTH), np.float32)
        for start in range(0, len(first), _AT_ONCE):
            rows = first[start : start + _AT_ONCE]
            part, out = weights[rows], items[start : start + _AT_ONCE]
            out[:, :_DIRECTIONS] = part @ used
            norm = np.sqrt(np.square(part).sum(1))
            rest = np.sqrt(np.square(part - out[:, :_DIRECTIONS] @ used.T).sum(1))
            out[:, _DIRECTIONS] = rest + 1e-5 * norm
            out[:, _DIRECTIONS + 1] = _MARGIN * norm
            out[:, _DIRECTIONS + 2] = bias[rows] + 1e-5 * np.abs(bias[rows])
    return directions.ravel(), items.ravel(), first.astype(np.uint32)
