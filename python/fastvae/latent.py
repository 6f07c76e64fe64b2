"""The latent space of a fitted model: grids, paths, directions, neighbours, densities; arrays in, arrays out.

A model is anything with ``transform`` (inputs to codes), ``inverse_transform`` (codes to inputs) and
``n_features_in_``, such as :class:`fastvae.VAE`, whose codes are posterior means. One that also has ``sample`` has
the prior N(0, I); of one that has none, only the codes of given examples tell where its latent space is inhabited.
Codes that are shares of topics (:class:`fastvae.TopicModel`) sum to one: straight lines join them, no plane does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastvae import _checks
from fastvae._checks import NotFittedError
from fastvae._data import arrays
from fastvae._neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "apply_attribute",
    "attribute_vector",
    "grid_coordinates",
    "interpolate",
    "manifold",
    "mixture_sample",
    "neighbours",
    "traverse",
]

_GENERATED = 1000  # examples that a model generates to find out which of its dimensions are active
_PARALLEL = 1e-6  # the sine of an angle below which two directions span no plane to turn in


class LatentModel(Protocol):
    """What this module asks of a fitted model."""

    @property
    def n_features_in_(self) -> int:
        """Columns of the inputs."""

    def transform(self, X: Any) -> Any:
        """Codes [n, latent_dim] of inputs [n, n_features]."""

    def inverse_transform(self, Z: Any) -> Any:
        """Inputs [n, n_features] of codes [n, latent_dim]."""


# ---------------------------------------------------------------------------------------------- grids and paths


def manifold(
    model: LatentModel, n: int = 20, span: float | None = None, *, dims: Sequence[int] | None = None, X: Any = None
) -> NDArray[np.float32]:
    """Decode a grid of the prior's quantiles (Kingma & Welling, arXiv:1312.6114, figure 4).

    Parameters
    ----------
    model : fitted model
        Of at least two latent dimensions.
    n : int
        Grid points in each direction, at least 2.
    span : float or None
        None takes the quantiles of the probabilities (i + 1/2) / n; a number takes n probabilities evenly spaced
        between those of the values below -span and below +span, so that the grid ends at -span and +span.
    dims : pair of int, optional
        The latent dimensions along the columns and along the rows. Without it: both where there are two; else the
        most active two, whose posterior means have the largest variance over X or, without X, over inputs that
        the model itself generates from a fixed draw of the prior.
    X : array_like, [n_examples, n_features], optional
        Examples to find the active dimensions with. A model without a prior needs them: its grid is one of
        quantiles of the normal distribution with the mean and the standard deviation of their codes.

    Returns
    -------
    ndarray of float32, [n, n, n_features]
        Rows from top to bottom with the second coordinate descending (upwards, as in a graph), columns with the
        first ascending; :func:`grid_coordinates` tells the values. The other coordinates are the prior's mean, 0,
        or, without a prior, the mean of the codes of X.

    Raises
    ------
    ValueError
        If the model has one latent dimension, if n, span or dims are out of range, or if X is missing where it is
        needed.
    """
    columns, rows, (first, second), centre = _grid(model, n, span, dims, X)
    codes = np.tile(centre, (n, n, 1))
    codes[:, :, first] = columns
    codes[:, :, second] = rows[:, np.newaxis]
    return _decode(model, codes)


def grid_coordinates(
    model: LatentModel, n: int = 20, span: float | None = None, *, dims: Sequence[int] | None = None, X: Any = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int]]:
    """Return where :func:`manifold` with the same arguments decodes, to label its axes with.

    Returns
    -------
    columns : ndarray of float32, [n]
        The first coordinate of the columns, ascending from left to right.
    rows : ndarray of float32, [n]
        The second coordinate of the rows, descending from top to bottom.
    dims : pair of int
        Which two latent dimensions they are; given to ``manifold``, they need not be looked for again.

    Raises
    ------
    ValueError
        As from :func:`manifold`.
    """
    columns, rows, pair, _ = _grid(model, n, span, dims, X)
    return columns, rows, pair


def interpolate(
    model: LatentModel, a: ArrayLike, b: ArrayLike, n: int = 10, method: str = "linear", *, codes: bool | None = None
) -> NDArray[np.float32]:
    """Decode a path between two codes.

    Parameters
    ----------
    model : fitted model
    a, b : array_like, [n_features] or [latent_dim], also [1, ...]
        The ends: inputs, which are encoded first, or codes; their lengths tell which.
    n : int
        Points of the path, its ends included; at least 2.
    method : {"linear", "slerp"}
        A straight line, or the spherical interpolation of Shoemake (SIGGRAPH 1985), which turns from a to b and,
        between codes of equal norm, keeps it: high-dimensional normal draws have nearly equal norms, and the
        middle of a straight line would be shorter than any of them (White, arXiv:1609.04468). Where a and b
        span no plane (parallel, opposite or zero) it is the straight line.
    codes : bool, optional
        Whether the ends are codes; needed where n_features equals latent_dim only.

    Returns
    -------
    ndarray of float32, [n, n_features]
        The first is exactly the decoded a, the last exactly the decoded b.

    Raises
    ------
    ValueError
        For a length that is neither or could be both, n below 2, or an unknown method.
    """
    n = _checks.integer(n, "n", least=2)
    method = _checks.choice(method, "method", ("linear", "slerp"))
    if method == "slerp":
        _refuse_simplex(model)
    start, end = (_code(model, value, name, codes) for value, name in ((a, "a"), (b, "b")))
    t = np.linspace(0, 1, n)[:, np.newaxis]
    weights = _slerp(start, end, t) if method == "slerp" else (1 - t, t)
    # Both pairs of weights are exactly (1, 0) and (0, 1) at the ends.
    return _decode(model, weights[0] * start.astype(np.float64) + weights[1] * end.astype(np.float64))


def traverse(
    model: LatentModel,
    x: ArrayLike,
    dims: Sequence[int] | int | None = None,
    span: float = 3.0,
    n: int = 9,
    *,
    codes: bool | None = None,
) -> NDArray[np.float32]:
    """Decode one coordinate at a time moved over -span .. span, the others kept (Higgins et al., ICLR 2017).

    Parameters
    ----------
    model : fitted model
    x : array_like, [n_features] or [latent_dim], also [1, ...]
        An input, which is encoded first, or a code; its length tells which.
    dims : sequence of int, int or None
        The coordinates to move; None moves each.
    span : float
        The moved coordinate takes n values evenly spaced over -span .. span, instead of its own.
    n : int
        At least 2.
    codes : bool, optional
        Whether x is a code; needed where n_features equals latent_dim only.

    Returns
    -------
    ndarray of float32, [len(dims), n, n_features]

    Raises
    ------
    ValueError
        For a length that is neither or could be both, or for dims, span or n out of range.
    """
    _refuse_simplex(model)
    n = _checks.integer(n, "n", least=2)
    values = np.linspace(-1, 1, n) * _span(span)
    code = _code(model, x, "x", codes)
    moved = range(len(code)) if dims is None else _checks.dims(dims, len(code))
    grid = np.tile(code, (len(moved), n, 1))
    for line, dim in zip(grid, moved, strict=True):
        line[:, dim] = values
    return _decode(model, grid)


# ---------------------------------------------------------------------------------------------- directions


def attribute_vector(model: LatentModel, X_with: Any, X_without: Any) -> NDArray[np.float32]:
    """Return the direction of an attribute: the mean code of examples that have it minus that of those without.

    The "smile vector" of Larsen et al. (arXiv:1512.09300, section 4.2.1).

    Parameters
    ----------
    model : fitted model
    X_with, X_without : array_like, [n_examples, n_features]
        Examples that differ in the attribute and, on average, in nothing else; their numbers may differ.

    Returns
    -------
    ndarray of float32, [latent_dim]
    """
    with_it, without = _codes(model, X_with), _codes(model, X_without)
    difference = with_it.mean(axis=0, dtype=np.float64) - without.mean(axis=0, dtype=np.float64)
    return np.asarray(difference, dtype=np.float32)


def apply_attribute(
    model: LatentModel, X: Any, v: ArrayLike, strengths: ArrayLike = (-1, -0.5, 0, 0.5, 1, 1.5, 2)
) -> NDArray[np.float32]:
    """Decode the codes of X moved along a direction.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n_examples, n_features]
    v : array_like, [latent_dim]
        A direction, for example from :func:`attribute_vector`.
    strengths : array_like, [n_strengths]
        How many times v is added to each code; 0 is the reconstruction.

    Returns
    -------
    ndarray of float32, [n_examples, n_strengths, n_features]

    Raises
    ------
    ValueError
        If v is not of the model's latent_dim, or the strengths are no list of finite numbers.
    """
    _refuse_simplex(model)
    codes = _codes(model, X)
    v = arrays.tensor(v, "v")
    if v.shape != codes.shape[1:]:
        raise ValueError(f"v has shape {v.shape}; expected [latent_dim], {codes.shape[1:]}")
    strengths = arrays.tensor(strengths, "strengths")
    if strengths.ndim != 1 or len(strengths) == 0:
        raise ValueError(f"strengths has shape {strengths.shape}; expected a list of at least one number")
    return _decode(model, codes[:, np.newaxis] + strengths[:, np.newaxis] * v)


# ---------------------------------------------------------------------------------------------- examples


def neighbours(model: LatentModel, X: Any, query: Any, n: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the examples of X whose codes are nearest to those of other examples.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n_examples, n_features]
        Where to look.
    query : array_like, [m, n_features]
        What to look for; an example that is in X too finds itself, at distance 0.
    n : int
        How many to find for each, at most n_examples.

    Returns
    -------
    indices : ndarray of int64, [m, n]
        Rows of X, nearest first; of equally distant ones the lower index first.
    distances : ndarray of float32, [m, n]
        Euclidean distances of the codes.

    Raises
    ------
    ValueError
        If n is not in 1 .. n_examples.
    """
    codes, wanted = (_codes(model, data).astype(np.float64) for data in (X, query))
    n = _checks.integer(n, "n", most=len(codes))
    indices, squares = nearest(codes, wanted, n)
    return indices, np.sqrt(squares).astype(np.float32)


def mixture_sample(
    model: LatentModel, X: Any, n: int, *, n_components: int = 10, random_state: Any = 0, return_latent: bool = False
) -> Any:
    """Generate from a Gaussian mixture fitted to the codes of X (Ghosh et al., arXiv:1903.12436, section 4).

    This ex-post density makes a generator of a model without a prior, and corrects one whose codes, taken together,
    do not fill its prior. It needs scikit-learn.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n_examples, n_features]
        Examples whose codes the mixture, with full covariances, is fitted to.
    n : int
        How many to generate.
    n_components : int
        Gaussians in the mixture, at most n_examples.
    random_state : int, numpy generator or None
        Of the mixture's fit and draws; None takes fresh entropy.
    return_latent : bool
        Return (x, z).

    Returns
    -------
    x : ndarray of float32, [n, n_features]
        Decoder means of the drawn codes.
    z : ndarray of float32, [n, latent_dim]
        Only if ``return_latent``.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    ValueError
        If n, n_components or random_state are out of range.
    """
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise ImportError("mixture_sample needs scikit-learn, which is missing: pip install scikit-learn") from error
    _refuse_simplex(model)
    n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
    seed = _checks.seed(random_state)
    codes = _codes(model, X).astype(np.float64)
    n_components = _checks.integer(n_components, "n_components", most=len(codes))
    random = np.random.RandomState(np.random.MT19937(seed))
    z, _ = GaussianMixture(n_components, random_state=random).fit(codes).sample(n)
    z = random.permutation(z).astype(np.float32)  # they come component by component
    x = _decode(model, z)
    return (x, z) if return_latent else x


# ---------------------------------------------------------------------------------------------- inside


def _refuse_simplex(model: LatentModel) -> None:
    """Raise ValueError for codes that sum to one."""
    if getattr(model, "_simplex", False):
        raise ValueError(
            f"the codes of a {type(model).__name__} are shares of topics, which sum to one: they have no plane, and "
            "none changes alone. interpolate goes straight from one document to another; plots.document_map and "
            "plots.topics show what documents and topics are like"
        )


def _codes(model: LatentModel, X: Any) -> NDArray[np.float32]:
    """Codes as an array, in whatever container the model returns them."""
    return np.asarray(model.transform(X), dtype=np.float32)


def _decode(model: LatentModel, codes: NDArray[Any]) -> NDArray[np.float32]:
    """Decode codes [..., latent_dim] into [..., n_features]."""
    decoded = model.inverse_transform(codes.reshape(-1, codes.shape[-1]).astype(np.float32, copy=False))
    return np.asarray(decoded, dtype=np.float32).reshape(*codes.shape[:-1], -1)


def _sizes(model: LatentModel) -> tuple[int, int]:
    """n_features and latent_dim, which is not asked of the model's parameters: they may have been set since."""
    if not hasattr(model, "n_features_in_"):
        raise NotFittedError(f"this {type(model).__name__} is not fitted yet: call fit before asking it")
    return model.n_features_in_, _codes(model, np.zeros((1, model.n_features_in_), np.float32)).shape[1]


def _code(model: LatentModel, value: Any, name: str, codes: bool | None) -> NDArray[np.float32]:
    """Return the code [latent_dim] that `value` is, or that of the input that it is."""
    row = arrays.row(value, name)
    n_features, latent_dim = _sizes(model)
    if codes is None:
        if n_features == latent_dim:
            raise ValueError(
                f"{name} could be an input or a code, because the model has {latent_dim} features and as many latent "
                "dimensions; say which with codes=False or codes=True"
            )
        codes = row.shape[1] == latent_dim
        expected = f"{n_features}, an input, or {latent_dim}, a code"
    elif isinstance(codes, bool):
        expected = f"{latent_dim}, a code" if codes else f"{n_features}, an input"
    else:
        raise ValueError(f"codes={codes!r} must be True, False or None")
    if row.shape[1] != (latent_dim if codes else n_features):
        raise ValueError(f"{name} has {row.shape[1]} numbers; expected {expected}")
    return arrays.tensor(row[0], name) if codes else _codes(model, row)[0]


def _span(span: Any) -> float:
    value = _checks.number(span, "span", below=1e6)
    if value == 0:
        raise ValueError("span=0 would put all points in one place; it must be positive")
    return value


def _quantiles(n: int, span: float | None) -> NDArray[np.float64]:
    """Quantiles of N(0, 1), ascending, of n evenly spaced probabilities; exactly symmetric."""
    from statistics import NormalDist  # an import that `import fastvae` does not pay for

    normal = NormalDist()
    if span is None:
        lower = [normal.inv_cdf((i + 0.5) / n) for i in range(n // 2)]
    else:
        least = normal.cdf(-span)
        lower = [-span, *(normal.inv_cdf(least + (1 - 2 * least) * i / (n - 1)) for i in range(1, n // 2))]
    return np.array([*lower, *([0.0] if n % 2 else []), *(-z for z in reversed(lower))])


def _grid(
    model: LatentModel, n: int, span: float | None, dims: Any, X: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int], NDArray[np.float32]]:
    """Columns, rows and dimensions of a grid, and the code [latent_dim] that it is laid through."""
    _refuse_simplex(model)
    quantiles = _quantiles(_checks.integer(n, "n", least=2), None if span is None else _span(span))
    _, latent_dim = _sizes(model)
    chosen = None if dims is None and latent_dim > 2 else _checks.pair((0, 1) if dims is None else dims, latent_dim)
    centre, scale = np.zeros(latent_dim), np.ones(latent_dim)
    sample = getattr(model, "sample", None)
    if sample is None:
        if X is None:
            raise ValueError("the model has no prior to take quantiles of; give X, whose codes tell where it puts them")
        codes = _codes(model, X)
        centre, scale = codes.mean(axis=0, dtype=np.float64), codes.std(axis=0, dtype=np.float64)
    elif chosen is None:
        codes = _codes(model, sample(_GENERATED, random_state=0) if X is None else X)
    if chosen is None:
        activity = codes.var(axis=0, dtype=np.float64)
        chosen = _checks.pair(np.argsort(-activity, kind="stable")[:2], latent_dim)
    first, second = chosen
    columns, rows = (centre[dim] + scale[dim] * z for dim, z in ((first, quantiles), (second, quantiles[::-1])))
    return columns.astype(np.float32), rows.astype(np.float32), chosen, centre.astype(np.float32)


def _slerp(a: NDArray[Any], b: NDArray[Any], t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Weights of a and b: sin((1 - t) w) / sin(w) and sin(t w) / sin(w), w the angle between a and b."""
    norms = [float(np.linalg.norm(vector.astype(np.float64))) for vector in (a, b)]
    if 0 in norms:
        return 1 - t, t
    u, v = (vector.astype(np.float64) / norm for vector, norm in zip((a, b), norms, strict=True))
    angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))  # accurate at any angle, unlike arccos
    if np.sin(angle) < _PARALLEL:
        return 1 - t, t
    return np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
