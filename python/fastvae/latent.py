"""The latent space of a fitted model: grids, paths, directions, neighbours, densities.

A model is any object with ``transform`` (inputs to codes), ``inverse_transform`` (codes to inputs) and
``n_features_in_``, such as :class:`fastvae.VAE`, whose codes are posterior means. A model with ``sample`` has the prior
N(0, I); for one without, functions use the codes of given examples instead. Where a result has the axis n_features,
images of a model with ``image_shape`` have the axes of its training X. The codes of a :class:`fastvae.TopicModel`
lie on a simplex: of the functions here it supports ``interpolate`` (linear) and ``neighbours`` only. A conditional
model needs y, as its own methods do; one with ``condition_columns`` reads the condition of inputs from X, and needs y
only for what is decoded with another condition, or without inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastvae import _checks
from fastvae._checks import NotFittedError
from fastvae._data import arrays, examples, names
from fastvae._neighbours import nearest
from fastvae.likelihoods import Mixed

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

_N_GENERATED = 1000  # examples generated to find the active dimensions
_MIN_SINE = 1e-6  # directions at an angle with a smaller sine count as parallel
_MAX_SIDE = 2**12  # of a grid
_MAX_STEPS = 2**24  # of a path


class LatentModel(Protocol):
    """The interface of a fitted model that this module uses."""

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the inputs."""

    def transform(self, X: Any) -> Any:
        """Return the codes [n, latent_dim] of inputs [n, n_features]."""

    def inverse_transform(self, Z: Any) -> Any:
        """Return the inputs [n, n_features] decoded from codes [n, latent_dim]."""


# ---------------------------------------------------------------------------------------------- grids and paths


def manifold(
    model: LatentModel,
    n: int = 20,
    span: float | None = None,
    *,
    dims: Sequence[int] | None = None,
    X: Any = None,
    y: Any = None,
) -> NDArray[np.float32]:
    """Decode a grid of the prior's quantiles (Kingma & Welling, arXiv:1312.6114, figure 4).

    Parameters
    ----------
    model : fitted model
        With at least two latent dimensions.
    n : int
        Grid points in each direction, at least 2.
    span : float or None
        None uses the quantiles of the probabilities (i + 1/2) / n. A number uses n evenly spaced probabilities from
        P(z < -span) to P(z < span), so that the grid ends at -span and +span.
    dims : pair of int, optional
        The latent dimensions along the columns and along the rows. Default: the two most active ones, whose posterior
        means have the largest variance over X or, without X, over examples generated from fixed draws of the prior.
    X : array_like, [n_examples, n_features], optional
        Examples that determine the active dimensions. Required by a model without a prior, whose grid consists of
        quantiles of a normal distribution with the mean and the standard deviation of the codes of X.
    y : label or array_like, optional
        Required by a conditional model: one label (or row of covariates) for everything that is encoded and decoded.

    Returns
    -------
    ndarray of float32, [n, n, n_features]
        The second coordinate descends with the rows (upwards, as in a graph), the first ascends with the columns;
        :func:`grid_coordinates` returns the values. The other coordinates are 0, the prior's mean, or without a prior
        the mean of the codes of X.

    Raises
    ------
    ValueError
        If the model has only one latent dimension, if n, span or dims are out of range, or if X is missing for a model
        without a prior.
    """
    model = _given(model, y)
    columns, rows, (first, second), centre = _grid(model, n, span, dims, X)
    codes = np.tile(centre, (n, n, 1))
    codes[:, :, first] = columns
    codes[:, :, second] = rows[:, np.newaxis]
    return _decode(model, codes)


def grid_coordinates(
    model: LatentModel,
    n: int = 20,
    span: float | None = None,
    *,
    dims: Sequence[int] | None = None,
    X: Any = None,
    y: Any = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int]]:
    """Return the coordinates of the grid that :func:`manifold` decodes with the same arguments.

    Parameters
    ----------
    model, n, span, dims, X, y
        As for :func:`manifold`.

    Returns
    -------
    columns : ndarray of float32, [n]
        The first coordinate of the columns, ascending from left to right.
    rows : ndarray of float32, [n]
        The second coordinate of the rows, descending from top to bottom.
    dims : pair of int
        The two latent dimensions.

    Raises
    ------
    ValueError
        As from :func:`manifold`.
    """
    columns, rows, pair, _ = _grid(_given(model, y), n, span, dims, X)
    return columns, rows, pair


def interpolate(
    model: LatentModel,
    a: ArrayLike,
    b: ArrayLike,
    n: int = 10,
    method: str = "linear",
    *,
    codes: bool | None = None,
    y: Any = None,
) -> NDArray[np.float32]:
    """Decode a path between two codes.

    Parameters
    ----------
    model : fitted model
    a, b : array_like, [n_features] or [latent_dim], also [1, ...], or an image
        The ends: inputs, which are encoded, or codes; recognised by their length.
    n : int
        Points of the path, ends included; at least 2.
    method : {"linear", "slerp"}
        A straight line, or spherical interpolation (Shoemake, SIGGRAPH 1985), which rotates from a to b and preserves
        the norm of codes of equal norm. High-dimensional normal draws have nearly equal norms; the middle of a straight
        line is shorter (White, arXiv:1609.04468). If a and b are parallel, opposite or zero, "slerp" is linear.
    codes : bool, optional
        Whether the ends are codes; required only if n_features equals latent_dim.
    y : label or array_like, optional
        Required by a conditional model: one label (or row of covariates) for everything that is encoded and decoded.

    Returns
    -------
    ndarray of float32, [n, n_features]
        The first row is exactly the decoded a, the last exactly the decoded b.

    Raises
    ------
    ValueError
        If a or b has neither length, or could be both input and code; if n is less than 2 or the method is not known.
    """
    n = _checks.integer(n, "n", least=2, most=_MAX_STEPS)
    method = _checks.choice(method, "method", ("linear", "slerp"))
    if method == "slerp":
        _refuse_simplex(model)
    ends = ((a, "a"), (b, "b"))
    model = _given(model, _condition_of_inputs(model, ends, codes) if y is None else y)
    start, end = (_code(model, value, name, codes) for value, name in ends)
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
    y: Any = None,
) -> NDArray[np.float32]:
    """Decode a code with one coordinate at a time varied over -span .. span (Higgins et al., ICLR 2017).

    Parameters
    ----------
    model : fitted model
    x : array_like, [n_features] or [latent_dim], also [1, ...], or an image
        An input, which is encoded, or a code; recognised by its length.
    dims : sequence of int, int or None
        The coordinates to vary; None varies each.
    span : float
        The varied coordinate has n evenly spaced values from -span to span.
    n : int
        At least 2.
    codes : bool, optional
        Whether x is a code; required only if n_features equals latent_dim.
    y : label or array_like, optional
        Required by a conditional model: one label (or row of covariates) for everything that is encoded and decoded.

    Returns
    -------
    ndarray of float32, [len(dims), n, n_features]

    Raises
    ------
    ValueError
        If x has neither length, or could be both input and code; if dims, span or n are out of range.
    """
    _refuse_simplex(model)
    n = _checks.integer(n, "n", least=2, most=_MAX_STEPS)
    values = np.linspace(-1, 1, n) * _span(span)
    model = _given(model, _condition_of_inputs(model, ((x, "x"),), codes) if y is None else y)
    code = _code(model, x, "x", codes)
    moved = range(len(code)) if dims is None else _checks.dims(dims, len(code))
    grid = np.tile(code, (len(moved), n, 1))
    for line, dim in zip(grid, moved, strict=True):
        line[:, dim] = values
    return _decode(model, grid)


# ---------------------------------------------------------------------------------------------- directions


def attribute_vector(model: LatentModel, X_with: Any, X_without: Any, *, y: Any = None) -> NDArray[np.float32]:
    """Return the direction of an attribute: mean code of examples with it minus mean code of examples without it.

    The "smile vector" of Larsen et al. (arXiv:1512.09300, section 4.2.1).

    Parameters
    ----------
    model : fitted model
    X_with, X_without : array_like, [n_examples, n_features]
        Examples that, on average, differ in the attribute only; their numbers may differ.
    y : label, array_like or tuple, optional
        Required by a conditional model: one label (or row of covariates) for all examples, or a tuple of the y of
        X_with and the y of X_without.

    Returns
    -------
    ndarray of float32, [latent_dim]
    """
    y_with, y_without = y if isinstance(y, tuple) and len(y) == 2 else (y, y)
    with_it, without = _codes(_encoder(model, y_with), X_with), _codes(_encoder(model, y_without), X_without)
    difference = with_it.mean(axis=0, dtype=np.float64) - without.mean(axis=0, dtype=np.float64)
    return np.asarray(difference, dtype=np.float32)


def apply_attribute(
    model: LatentModel, X: Any, v: ArrayLike, strengths: ArrayLike = (-1, -0.5, 0, 0.5, 1, 1.5, 2), *, y: Any = None
) -> NDArray[np.float32]:
    """Decode the codes of X moved along a direction.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n_examples, n_features]
    v : array_like, [latent_dim]
        A direction, for example from :func:`attribute_vector`.
    strengths : array_like, [n_strengths]
        Multiples of v that are added to each code; 0 is the reconstruction.
    y : label or array_like, optional
        Required by a conditional model: one label (or row of covariates), or one for each example.

    Returns
    -------
    ndarray of float32, [n_examples, n_strengths, n_features]

    Raises
    ------
    ValueError
        If the shape of v is not [latent_dim], or the strengths are not a sequence of finite numbers.
    """
    _refuse_simplex(model)
    if _in_columns(model):
        X = examples.whole(X)
        codes = _codes(model, X)
        y = model.split_condition(X)[1] if y is None else y  # type: ignore[attr-defined]
    else:
        codes = _codes(_given(model, y), X)
    model = _given(model, y)
    v = arrays.tensor(v, "v")
    if v.shape != codes.shape[1:]:
        raise ValueError(f"v has shape {v.shape}; expected [latent_dim], {codes.shape[1:]}")
    strengths = arrays.tensor(strengths, "strengths")
    if strengths.ndim != 1 or len(strengths) == 0:
        raise ValueError(f"strengths has shape {strengths.shape}; expected a sequence of at least one number")
    return _decode(model, codes[:, np.newaxis] + strengths[:, np.newaxis] * v)


# ---------------------------------------------------------------------------------------------- examples


def neighbours(
    model: LatentModel, X: Any, query: Any, n: int = 5, *, y: Any = None, query_y: Any = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the examples of X whose codes are nearest to the codes of the queries.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n_examples, n_features]
        The examples to search.
    query : array_like, [m, n_features]
        The queries; one that is also in X finds itself, at distance 0.
    n : int
        Examples per query, at most n_examples.
    y, query_y : label or array_like, optional
        Required by a conditional model, for X and for the queries: one label (or row of covariates), or one for each.

    Returns
    -------
    indices : ndarray of int64, [m, n]
        Rows of X, nearest first; ties in the order of the rows.
    distances : ndarray of float32, [m, n]
        Euclidean distances of the codes.

    Raises
    ------
    ValueError
        If n is not in 1 .. n_examples.
    """
    pairs = ((X, y), (query, query_y))
    codes, queries = (_codes(_encoder(model, given), data).astype(np.float64) for data, given in pairs)
    n = _checks.integer(n, "n", most=len(codes))
    indices, squares = nearest(codes, queries, n)
    return indices, np.sqrt(squares).astype(np.float32)


def mixture_sample(
    model: LatentModel,
    X: Any,
    n: int,
    *,
    n_components: int = 10,
    random_state: Any = 0,
    return_latent: bool = False,
    y: Any = None,
    new_y: Any = None,
) -> Any:
    """Generate from a Gaussian mixture fitted to the codes of X (Ghosh et al., arXiv:1903.12436, section 4).

    With this ex-post density a model without a prior can generate, and a model whose codes do not match its prior
    generates better. It needs scikit-learn.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n_examples, n_features]
        Examples whose codes the mixture, with full covariances, is fitted to.
    n : int
        Number of examples to generate.
    n_components : int
        Gaussians in the mixture, at most n_examples.
    random_state : int, numpy generator or None
        Seed of the mixture's fit and draws; None uses fresh entropy.
    return_latent : bool
        Return (x, z).
    y : label or array_like, optional
        Required by a conditional model: one label (or row of covariates) for X, or one for each example.
    new_y : label or array_like, optional
        The same for the generated examples; y by default, if it is a single one.

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
    codes = _codes(_encoder(model, y), X).astype(np.float64)
    n_components = _checks.integer(n_components, "n_components", most=len(codes))
    random = np.random.RandomState(np.random.MT19937(seed))
    z, _ = GaussianMixture(n_components, random_state=random).fit(codes).sample(n)
    z = random.permutation(z).astype(np.float32)  # scikit-learn returns them sorted by component
    x = _decode(_given(model, y if new_y is None else new_y), z)
    return (x, z) if return_latent else x


# ---------------------------------------------------------------------------------------------- inside


def _refuse_simplex(model: LatentModel) -> None:
    """Raise ValueError for a model whose codes lie on a simplex."""
    if getattr(model, "_simplex", False):
        raise ValueError(
            f"the codes of a {type(model).__name__} are topic shares, which sum to one, so a coordinate cannot change "
            "alone: use interpolate (linear), plots.document_map or plots.topics"
        )


class _Given:
    """A conditional model with a fixed y: a single one, or one for each example.

    Condition columns of X come before y.
    """

    def __init__(self, model: Any, y: Any) -> None:
        array = np.asarray(y)
        labels = hasattr(model, "classes_")
        one = array.ndim == 0 or (array.ndim == 1 and not labels)
        self._model, self._y = model, array.reshape(1, -1) if one and not labels else np.atleast_1d(array)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def transform(self, X: Any) -> Any:
        """Return the codes of X given y."""
        if _in_columns(self._model):
            return self._model.transform(X)
        return self._model.transform(X, y=self._for(_length(X)))

    def codes_given_y(self, X: Any) -> Any:
        """Return the codes of an X without condition columns."""
        return self._model.transform(X, y=self._for(_length(X)))

    def inverse_transform(self, Z: Any) -> Any:
        """Return the inputs decoded from codes given y; several codes of an example are adjacent rows."""
        times, rest = divmod(len(Z), len(self._y))
        return self._model.inverse_transform(Z, y=self._y if rest else np.repeat(self._y, times, axis=0))

    def sample(self, n: int, **options: Any) -> Any:
        """Generate examples given y."""
        return self._model.sample(n, y=self._for(n), **options)

    def _for(self, n: int) -> NDArray[Any]:
        return np.repeat(self._y, n, axis=0) if len(self._y) == 1 else self._y


def _length(X: Any) -> int:
    """Return the number of rows of X, or raise TypeError."""
    try:
        return len(X)
    except TypeError:
        raise TypeError(f"X={X!r:.60} has no rows; expected an array, [n_examples, n_features]") from None


def _given(model: Any, y: Any) -> Any:
    """Return the model with y bound to its methods; the model itself without y."""
    return model if y is None else _Given(model, y)


def _encoder(model: Any, y: Any) -> Any:
    """Return the model with y bound to `transform`; raise ValueError if it reads the condition from X instead."""
    if y is not None and _in_columns(model):
        raise ValueError("leave out y=: this model reads the condition of X from its condition columns")
    return _given(model, y)


def _in_columns(model: Any) -> bool:
    """Whether the model reads the condition from columns of X."""
    return hasattr(model, "condition_columns_")


def _condition_of_inputs(model: Any, values: Sequence[tuple[Any, str]], codes: bool | None) -> Any:
    """Return the y of values with names that are inputs with a condition in columns; None if none has one."""
    if not _in_columns(model):
        return None
    n_features, latent_dim = _sizes(model)
    inputs = [(_input(model, value, name), name) for value, name in values if not _is_code(value, codes, latent_dim)]
    found = [model.split_condition(value)[1][0] for value, _ in inputs if np.shape(value)[1] == n_features]
    if any(not np.array_equal(each, found[0]) for each in found):
        raise ValueError(f"a and b have different conditions, {found[0]} and {found[1]}: pass y=, that of the path")
    return found[0] if found else None


def _is_code(value: Any, codes: bool | None, latent_dim: int) -> bool:
    """Whether a value, an input or a code, is taken for a code."""
    return codes if isinstance(codes, bool) else np.shape(value)[-1:] == (latent_dim,)


def _input(model: Any, value: Any, name: str) -> Any:
    """Return an input of a model with condition columns, which may be strings, as a table with one row."""
    if names.columns(value) is not None:
        row = value
    else:
        array = np.asarray(value)
        array = np.asarray(value, dtype=object) if array.dtype.kind in "US" else array
        row = names.like(array.reshape(1, -1), array, _names(model)) if array.ndim < 3 else array
    if len(row) != 1:
        raise ValueError(f"{name} has shape {np.shape(value)}; expected a single row, [d] or [1, d]")
    return row


def _codes(model: LatentModel, X: Any) -> NDArray[np.float32]:
    """Return the codes of X as an array, whatever container the model returns."""
    if not hasattr(model, "transform"):
        raise TypeError(f"model={model!r:.60} has no method transform: pass a fitted model")
    return np.asarray(model.transform(X), dtype=np.float32)


def _generated_codes(model: Any, sample: Any) -> NDArray[np.float32]:
    """Return the codes of generated examples."""
    draw = {"draw": True} if _is_mixed(model) else {}  # means are no levels
    generated = sample(_N_GENERATED, random_state=0, **draw)
    if _in_columns(model):
        codes: NDArray[np.float32] = model.codes_given_y(generated)
        return codes
    return _codes(model, generated)


def _decode(model: LatentModel, codes: NDArray[Any]) -> NDArray[np.float32]:
    """Decode codes [..., latent_dim] into [..., n_features], or [..., *shape of an image]."""
    decoded = model.inverse_transform(codes.reshape(-1, codes.shape[-1]).astype(np.float32, copy=False))
    inputs = np.asarray(decoded, dtype=np.float32)
    return inputs.reshape(*codes.shape[:-1], *inputs.shape[1:])


def _sizes(model: LatentModel) -> tuple[int, int]:
    """Return n_features and latent_dim, from a code: parameters may have changed since fitting."""
    if not hasattr(model, "n_features_in_"):
        raise NotFittedError(f"this {type(model).__name__} is not fitted yet: call fit first")
    if _in_columns(model) or isinstance(
        getattr(model, "likelihood", None), Mixed
    ):  # zeros may be no condition or level
        return model.n_features_in_, len(model.get_feature_names_out())  # type: ignore[attr-defined]
    zeros = np.zeros((1, model.n_features_in_), np.float32)
    return model.n_features_in_, _codes(model, names.like(zeros, zeros, _names(model))).shape[1]


def _is_mixed(model: Any) -> bool:
    """Whether examples are rows of columns of several kinds, of which not all values are possible."""
    return isinstance(getattr(model, "likelihood", None), Mixed)


def _names(model: LatentModel) -> Any:
    return getattr(model, "feature_names_in_", None)


def _code(model: LatentModel, value: Any, name: str, codes: bool | None) -> NDArray[np.float32]:
    """Return `value` if it is a code, else the code of the input `value`: [latent_dim]."""
    n_features, latent_dim = _sizes(model)
    if getattr(model, "image_shape", None) is not None and np.ndim(value) > 1 and np.size(value) == n_features:
        value = np.reshape(value, (1, n_features))  # one image
    encoded = _in_columns(model) and not _is_code(value, codes, latent_dim)
    row: Any = _input(model, value, name) if encoded else arrays.row(value, name)
    if codes is None:
        if n_features == latent_dim:
            raise ValueError(
                f"{name} could be an input or a code, because the model has {latent_dim} features and as many latent "
                "dimensions: pass codes=False or codes=True"
            )
        codes = row.shape[1] == latent_dim
        expected = f"{n_features}, an input, or {latent_dim}, a code"
    elif isinstance(codes, bool):
        expected = f"{latent_dim}, a code" if codes else f"{n_features}, an input"
    else:
        raise ValueError(f"codes={codes!r} must be True, False or None")
    if row.shape[1] != (latent_dim if codes else n_features):
        raise ValueError(f"{name} has {row.shape[1]} values; expected {expected}")
    if codes:
        return arrays.tensor(row[0], name)
    code: NDArray[np.float32] = _codes(model, row if encoded else names.like(row, value, _names(model)))[0]
    return code


def _span(span: Any) -> float:
    value = _checks.number(span, "span", below=1e6)
    if value == 0:
        raise ValueError("span=0 would make all points equal; it must be positive")
    return value


def _quantiles(n: int, span: float | None) -> NDArray[np.float64]:
    """Return n quantiles of N(0, 1), ascending, exactly symmetric, at evenly spaced probabilities."""
    from statistics import NormalDist  # here only, so that `import fastvae` stays cheap

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
    """Return columns, rows and dimensions of a grid, and the code [latent_dim] with its other coordinates."""
    _refuse_simplex(model)
    quantiles = _quantiles(_checks.integer(n, "n", least=2, most=_MAX_SIDE), None if span is None else _span(span))
    _, latent_dim = _sizes(model)
    chosen = None if dims is None and latent_dim > 2 else _checks.pair((0, 1) if dims is None else dims, latent_dim)
    centre, scale = np.zeros(latent_dim), np.ones(latent_dim)
    sample = getattr(model, "sample", None)
    if sample is None:
        if X is None:
            raise ValueError("the model has no prior whose quantiles could be the grid: pass X to use its codes")
        codes = _codes(model, X)
        centre, scale = codes.mean(axis=0, dtype=np.float64), codes.std(axis=0, dtype=np.float64)
    elif chosen is None:
        codes = _generated_codes(model, sample) if X is None else _codes(model, X)
    if chosen is None:
        chosen = _checks.plane(None, codes)
    first, second = chosen
    columns, rows = (centre[dim] + scale[dim] * z for dim, z in ((first, quantiles), (second, quantiles[::-1])))
    return columns.astype(np.float32), rows.astype(np.float32), chosen, centre.astype(np.float32)


def _slerp(a: NDArray[Any], b: NDArray[Any], t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the weights of a and b, sin((1 - t) w) / sin(w) and sin(t w) / sin(w), w the angle between a and b."""
    norms = [float(np.linalg.norm(vector.astype(np.float64))) for vector in (a, b)]
    if 0 in norms:
        return 1 - t, t
    u, v = (vector.astype(np.float64) / norm for vector, norm in zip((a, b), norms, strict=True))
    angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))  # accurate at any angle, unlike arccos
    if np.sin(angle) < _MIN_SINE:
        return 1 - t, t
    return np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
