"""Upper bounds of logits, by which a ranking computes few of them.

With orthonormal directions V [k, d] the logit of an item with weights w and bias b is, for the input h,

    h w + b <= (V'h) (V'w) + |h - VV'h| |w - VV'w| + b

by the inequality of Cauchy and Schwarz. V are about the principal directions of the inputs of some users, from a few
iterations of a block of vectors: the rest of h is small. The bounds hold for any V: results do not depend on it.
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
_ITERATIONS = 3  # of H'H on a block of vectors
_AT_ONCE = 4096  # items


def bounds(
    weights: NDArray[np.float32], bias: NDArray[np.float32], inputs: NDArray[np.float32], first: NDArray[np.int64]
) -> Bounds | None:
    """Return the bounds for an output layer, or None if its weights overflow.

    Parameters
    ----------
    weights : ndarray, [n_items, k]
    bias : ndarray, [n_items]
    inputs : ndarray, [n_users, k]
        Inputs of the layer.
    first : ndarray of int, [n_items]
        The order in which items are tried: likely ones first.
    """
    k = weights.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        directions = np.zeros((k, WIDTH), np.float32)
        used = directions[:, :_DIRECTIONS]
        used[:] = np.random.default_rng(0).standard_normal(used.shape, np.float32)
        for _ in range(_ITERATIONS):
            image = inputs.T @ (inputs @ used)
            if not np.isfinite(image).all():
                return None
            used[:] = _orthonormal(image.astype(np.float64))
        items = np.empty((len(weights), WIDTH), np.float32)
        for start in range(0, len(first), _AT_ONCE):
            rows = first[start : start + _AT_ONCE]
            part, out = weights[rows], items[start : start + _AT_ONCE]
            out[:, :_DIRECTIONS] = part @ used
            squares = np.einsum("ij,ij->i", part, part)
            rest = squares - np.square(out[:, :_DIRECTIONS]).sum(1)
            if not np.isfinite(rest).all():
                return None
            # The difference has an error of some rounding errors of the squares.
            out[:, _DIRECTIONS] = np.sqrt(np.maximum(rest, 0) + 3e-5 * squares)
            out[:, _DIRECTIONS + 1] = _MARGIN * np.sqrt(squares)
            out[:, _DIRECTIONS + 2] = bias[rows] + 1e-5 * np.abs(bias[rows])
    return directions.ravel(), items.ravel(), first.astype(np.uint32)


def _orthonormal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis: by Cholesky, whose small matrices wake no threads, else by Householder."""
    found: NDArray[np.float64] = columns / np.sqrt(np.square(columns).sum(0))
    try:
        for _ in range(2):  # the second time removes the rounding errors of the first
            found = found @ np.linalg.inv(np.linalg.cholesky(found.T @ found)).T
    except np.linalg.LinAlgError:
        found = np.full_like(columns, np.nan)
    if np.abs(found.T @ found - np.eye(found.shape[1])).max() < 1e-6:  # not NaN either
        return found
    found, _ = np.linalg.qr(columns)
    return found
