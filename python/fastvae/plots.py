"""Pictures of a model and its latent space, drawn with matplotlib (``pip install 'fastvae-cpu[plot]'``).

Every function draws into the axes it is given, or into a new pyplot figure, and returns the axes. A model is what
:mod:`fastvae.latent` takes; what needs more of it says so. Latent dimensions are counted from 0, as in the columns
of a code: z[0] is the first. Images are rows [n, d] with a ``shape`` (height, width) or (height, width, 3), which
need not be told where they are grey squares; uint8 in 0..255 or floats in 0..1, beyond which they are clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isqrt, prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _input, latent
from fastvae._estimator import NotFittedError
from fastvae._vae import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]
    Shape = Sequence[int] | None

__all__ = [
    "attribute",
    "images",
    "interpolation",
    "kl_per_dimension",
    "latent_ellipses",
    "latent_scatter",
    "learning_curve",
    "manifold",
    "reconstructions",
    "three_objectives",
    "traversal",
]

ACTIVE = 0.01  # the variance of the posterior mean above which a latent dimension is active (arXiv:1509.00519)
_MAX_CLASSES = 20  # more labels than this are no classes to tell apart by colour
_TITLE, _SMALL = 12, 9  # points
_OBJECTIVES = {  # of `three_objectives`, in the order of its panels: what each maximises
    "reconstruction": "E log p(x|z) alone",
    "kl": "$-$KL(q(z|x) ‖ p(z)) alone",
    "elbo": "both: the ELBO",
}


# ---------------------------------------------------------------------------------------------- images


def images(
    X: ArrayLike,
    shape: Shape = None,
    columns: int | None = None,
    ax: Axes | None = None,
    titles: Sequence[object] | None = None,
) -> Axes:
    """Draw images side by side.

    Parameters
    ----------
    X : array_like, [n, d], [n, height, width] or [n, height, width, 3]
        uint8 in 0..255 or floats in 0..1.
    shape : tuple of int, optional
        (height, width) or (height, width, 3) of a row; not needed for grey squares or where X is not flat.
    columns : int, optional
        Images a line; without it, ten images or fewer make one line and more a square.
    ax : matplotlib Axes, optional
    titles : sequence, optional
        What to write above each image.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed (as from every function here).
    ValueError
        If X holds no images of the shape, or the titles are not one an image.
    """
    pictures = _pictures(X, shape)
    return _mosaic(pictures, _columns(columns, len(pictures)), ax, titles=_titles(titles, len(pictures)))


def reconstructions(
    model: latent.Model,
    X: ArrayLike,
    shape: Shape = None,
    columns: int | None = None,
    ax: Axes | None = None,
    titles: Sequence[object] | None = None,
) -> Axes:
    """Draw images and, below each, its reconstruction: the decoder's mean of the code.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n, n_features]
    shape : tuple of int, optional
        (height, width) or (height, width, 3); not needed for grey squares.
    columns : int, optional
        Pairs a line; at most ten without it.
    ax : matplotlib Axes, optional
    titles : sequence, optional
        What to write above each pair.

    Returns
    -------
    matplotlib Axes
    """
    originals = _pictures(X, shape)
    again = _pictures(model.inverse_transform(model.transform(X)), originals.shape[1:])
    line = np.ones_like(originals[:, : _gap(originals)])
    pairs = np.concatenate([originals, line, again], axis=1)
    columns = _columns(min(len(pairs), 10) if columns is None else columns, len(pairs))
    between = 3 * _gap(originals)
    ax = _mosaic(pairs, columns, ax, titles=_titles(titles, len(pairs)), gap=between, left=0.9)
    step = (originals.shape[1] + _gap(originals)) / 2
    middles = [y + sign * step for y in ax.get_yticks() for sign in (-1, 1)]
    ax.set_yticks(middles, ["original", "reconstructed"] * (len(middles) // 2))
    return ax


def manifold(
    model: latent.Model,
    n: int = 20,
    span: float | None = None,
    dims: Sequence[int] | None = None,
    X: Any = None,
    shape: Shape = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the decoder over a grid of two latent dimensions, at quantiles of the prior.

    Parameters
    ----------
    model, n, span, dims, X
        As in :func:`fastvae.latent.manifold`.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); not needed for grey squares.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    across, down, dims = latent.grid_coordinates(model, n, span, dims=dims, X=X)
    decoded = latent.manifold(model, n, span, dims=dims, X=X)
    ax = _mosaic(_pictures(decoded.reshape(n * n, -1), shape), n, ax, gap=0, left=0.6, below=0.6)
    shown = np.linspace(0, n - 1, min(n, 7)).round().astype(int)  # both ends, and what fits between
    ax.set_xticks(ax.get_xticks()[shown], [_signed(z, ".2f") for z in across[shown]])
    ax.set_yticks(ax.get_yticks()[shown], [_signed(z, ".2f") for z in down[shown]])
    where = "quantiles of the prior" if hasattr(model, "sample") else "quantiles of the codes"
    ax.set_xlabel(f"z[{dims[0]}], {where}")
    ax.set_ylabel(f"z[{dims[1]}], {where}")
    ax.set_title("The decoder over the latent space", fontsize=_TITLE)
    return ax


def interpolation(
    model: latent.Model,
    a: ArrayLike,
    b: ArrayLike,
    n: int = 10,
    method: str = "linear",
    *,
    codes: bool | None = None,
    shape: Shape = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the decoder along a path between two codes, from left to right.

    Parameters
    ----------
    model, a, b, n, method, codes
        As in :func:`fastvae.latent.interpolate`.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); not needed for grey squares.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    path = latent.interpolate(model, a, b, n, method, codes=codes)
    ax = _mosaic(_pictures(path, shape), n, ax, below=0.5)
    ax.set_xticks(ax.get_xticks(), ["a", *(f"{t:.2f}" for t in np.linspace(0, 1, n)[1:-1]), "b"])
    ax.set_title({"linear": "From a to b", "slerp": "From a to b, spherically"}[method], fontsize=_TITLE)
    return ax


def attribute(
    model: latent.Model,
    X: Any,
    v: ArrayLike,
    strengths: ArrayLike = (-1, -0.5, 0, 0.5, 1, 1.5, 2),
    *,
    shape: Shape = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw examples moved along a direction of the latent space: a line an example, a column a strength.

    Parameters
    ----------
    model, X, v, strengths
        As in :func:`fastvae.latent.apply_attribute`; the column of strength 0 is the reconstruction.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); not needed for grey squares.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    moved = latent.apply_attribute(model, X, v, strengths)
    ax = _mosaic(_pictures(moved.reshape(-1, moved.shape[-1]), shape), moved.shape[1], ax, below=0.5)
    ax.set_xticks(ax.get_xticks(), [_signed(s) for s in np.asarray(strengths, np.float64)])
    ax.set_yticks([])
    ax.set_xlabel("strength of the attribute")
    return ax


def traversal(
    model: latent.Model,
    x: ArrayLike,
    dims: Sequence[int] | int | None = None,
    span: float = 3.0,
    n: int = 9,
    *,
    codes: bool | None = None,
    shape: Shape = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an example with one latent coordinate at a time moved: a line a coordinate, a column a value.

    Parameters
    ----------
    model, x, dims, span, n, codes
        As in :func:`fastvae.latent.traverse`.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); not needed for grey squares.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    lines = latent.traverse(model, x, dims, span, n, codes=codes)
    ax = _mosaic(_pictures(lines.reshape(-1, lines.shape[-1]), shape), n, ax, left=0.4, below=0.5)
    moved = range(len(lines)) if dims is None else np.atleast_1d(np.asarray(dims)).tolist()
    ax.set_xticks(ax.get_xticks(), [_signed(z) for z in np.linspace(-span, span, n)])
    ax.set_yticks(ax.get_yticks(), [f"z[{dim}]" for dim in moved])
    ax.set_xlabel("value of the coordinate")
    return ax


# ---------------------------------------------------------------------------------------------- codes


def latent_scatter(
    model: latent.Model,
    X: Any,
    y: ArrayLike | None = None,
    dims: Sequence[int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Draw where the encoder puts examples: two coordinates of their codes.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n, n_features]
    y : array_like, [n], optional
        Colours: up to 20 different values, of any type, are classes and named in a legend; more must be numbers.
    dims : pair of int
        The latent dimensions to draw.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If dims are no two of the model's dimensions, or y does not fit X.
    """
    codes = np.asarray(model.transform(X))
    first, second = _input.pair(dims, codes.shape[1])
    colours, key = _colours(y, len(codes))
    ax = _axes(ax, (7.5, 6))
    size = min(16.0, max(2.0, 16 * sqrt(1000 / len(codes))))
    ax.scatter(codes[:, first], codes[:, second], s=size, c=colours, linewidths=0, alpha=0.8)
    _frame(ax, "posterior mean of z" if hasattr(model, "sample") else "code z", first, second)
    _legend(ax, key)
    ax.set_title(f"Where the encoder puts {len(codes):,} examples", fontsize=_TITLE)
    return ax


def latent_ellipses(
    model: VAE,
    X: Any,
    y: ArrayLike | None = None,
    n: int = 300,
    dims: Sequence[int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Draw posteriors q(z|x) as ellipses of one sigma, and the prior N(0, I) as circles of one, two and three.

    Parameters
    ----------
    model : fitted model
        With ``encode`` that returns mu and logvar.
    X : array_like, [n_examples, n_features]
    y : array_like, [n_examples], optional
        Colours, as in :func:`latent_scatter`.
    n : int
        How many posteriors to draw: those of a random sample, always the same one, of X.
    dims : pair of int
        The latent dimensions to draw.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model has no posterior, dims are no two of its dimensions, or y does not fit X.
    """
    n = _input.integer(n, "n")
    X = _input.matrix(X, "X")
    colours, key = _colours(y, len(X))
    chosen = np.sort(np.random.default_rng(0).permutation(len(X))[:n])
    mu, sigma = _posterior(model, X[chosen])
    pair = _input.pair(dims, mu.shape[1])
    mu, sigma, colours = mu[:, list(pair)], sigma[:, list(pair)], colours[chosen]
    ax = _axes(ax, (7.5, 6))

    from matplotlib.collections import EllipseCollection

    def draw(centres: Array, radii: Array, **style: Any) -> None:
        """Ellipses in the units of the axes: centres and semi-axes, [n, 2]."""
        widths, heights = 2 * radii.T
        style |= {"units": "xy", "offsets": centres, "offset_transform": ax.transData}
        ax.add_collection(EllipseCollection(widths, heights, np.zeros(len(radii)), **style))

    draw(mu, sigma, facecolors=colours * [1, 1, 1, 0.15], edgecolors=colours, lw=0.6)
    ax.scatter(mu[:, 0], mu[:, 1], s=5, c=colours, linewidths=0)  # an ellipse of a vanishing sigma is still a point
    prior = np.array([[1.0, 1], [2, 2], [3, 3]])
    draw(np.zeros((3, 2)), prior, facecolors="none", edgecolors="0.3", linestyles="--", lw=0.8)
    ends = np.concatenate([mu - sigma, mu + sigma, [[-3, -3], [3, 3]]])
    ax.update_datalim(ends)  # a collection in data units does not know its own extent
    ax.autoscale_view()
    _frame(ax, "z", *pair)
    _legend(ax, key)
    ax.set_title(f"{len(mu)} posteriors (1 sigma) and the prior (1, 2, 3 sigma)", fontsize=_TITLE)
    return ax


def kl_per_dimension(model: VAE, X: Any, ax: Axes | None = None) -> Axes:
    """Draw the mean KL(q(z|x) || N(0, I)) of each latent dimension, in nats, as bars in descending order.

    Active dimensions, whose posterior mean has a variance over X above 0.01 (Burda et al., arXiv:1509.00519), are
    blue, the others grey.

    Parameters
    ----------
    model : fitted model
        With ``encode`` that returns mu and logvar.
    X : array_like, [n_examples, n_features]
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model has no posterior.
    """
    mu, sigma = _posterior(model, X)
    kl = (-0.5 * (1 + 2 * np.log(sigma) - mu**2 - sigma**2)).mean(axis=0)
    active = mu.var(axis=0) > ACTIVE
    order = np.argsort(-kl, kind="stable")
    ax = _axes(ax, (min(max(4.5, 0.28 * len(kl)), 12), 4))
    position = np.arange(len(kl))
    for those, colour, name in ((active[order], "C0", "active"), (~active[order], "0.7", "inactive")):
        ax.bar(position[those], kl[order][those], color=colour, label=f"{name}: {those.sum()}")
    shown = slice(0, None, ceil(len(kl) / 40))
    ax.set_xticks(position[shown], [str(dim) for dim in order[shown]], fontsize=_SMALL)
    ax.set_xlabel("latent dimension")
    ax.set_ylabel("KL, nats per example")
    ax.set_title(f"KL of each latent dimension; together {kl.sum():.1f} nats", fontsize=_TITLE)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    return ax


def three_objectives(
    X: Any,
    y: ArrayLike | None = None,
    *,
    model: VAE | None = None,
    n: int = 300,
    dims: Sequence[int] = (0, 1),
    axes: Sequence[Axes] | None = None,
    return_models: bool = False,
) -> Any:
    """Train one VAE three times, for the reconstruction alone, the KL alone and both; draw their latent spaces.

    Why a variational autoencoder needs both terms: the reconstruction alone scatters the codes over islands with
    vanishing sigma, between which nothing has a meaning; the KL alone makes every posterior the prior, which
    forgets the data; together they order the data into one whole that the prior covers.

    Parameters
    ----------
    X : array_like, [n_examples, n_features]
    y : array_like, [n_examples], optional
        Colours, as in :func:`latent_scatter`.
    model : VAE, optional
        A template: three models with its parameters, but each with its own ``objective``, start from the same
        initial weights; it is not changed itself. Default: ``VAE(latent_dim=2, hidden=(256,), epochs=30,
        random_state=0)``.
    n : int
        How many posteriors to draw in each panel, the same examples in all.
    dims : pair of int
        The latent dimensions to draw.
    axes : sequence of three matplotlib Axes, optional
    return_models : bool
        Return (axes, models).

    Returns
    -------
    axes : ndarray of matplotlib Axes, [3]
        Each with limits of its own. The titles tell what was maximised, and both terms in nats per example.
    models : dict of str to VAE
        The fitted models by their objectives, "reconstruction", "kl", "elbo". Only if ``return_models``.

    Raises
    ------
    ValueError
        For a bad parameter of the template, or axes that are not three.
    """
    template = VAE(latent_dim=2, hidden=(256,), epochs=30, random_state=0) if model is None else model
    seed = _input.seed(template.random_state)
    panels = _three(axes)
    if axes is None:
        panels[0].figure.suptitle("Posteriors (1 sigma) and the prior (dashed: 1, 2, 3 sigma)", fontsize=_TITLE)
    fitted = {}
    for ax, (objective, maximised) in zip(panels, _OBJECTIVES.items(), strict=True):
        parameters = template.get_params() | {"objective": objective, "random_state": seed}
        fitted[objective] = type(template)(**parameters).fit(X)
        latent_ellipses(fitted[objective], X, y, n, dims, ax)
        terms = fitted[objective].evaluate(X)
        numbers = f"reconstruction {terms['reconstruction']:,.1f}, KL {terms['kl']:,.1f} nats"
        ax.set_title(f"Maximised: {maximised}\n{numbers}", fontsize=_TITLE)
        if ax is not panels[-1] and (legend := ax.get_legend()) is not None:
            legend.remove()  # one serves all three
    return (panels, fitted) if return_models else panels


# ---------------------------------------------------------------------------------------------- training


def learning_curve(model: Any, ax: Axes | None = None) -> Axes:
    """Draw the loss by epoch, in nats per example: on training data dashed, on validation data solid.

    Parameters
    ----------
    model : fitted model
        With ``history_``; the validation curve is there if ``fit`` had validation data.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model is not fitted, or its history holds no epoch.
    """
    if not hasattr(model, "history_"):
        raise NotFittedError(f"this {type(model).__name__} is not fitted yet: call fit before drawing its history")
    epochs = np.arange(1, len(model.history_["loss"]) + 1)
    if len(epochs) == 0:
        raise ValueError("the model's history holds no epoch: it has weights, but was not trained")
    ax = _axes(ax, (6.5, 4.2))

    from matplotlib.ticker import MaxNLocator

    few = len(epochs) <= 10
    shown: list[float] = []
    for key, name, dash in (("loss", "training", "--"), ("val_loss", "validation", "-")):
        values = np.array(model.history_.get(key, []))
        if len(values) and not np.isnan(values).all():
            ax.plot(epochs, values, dash, color="C0", marker="." if few else "", label=name)
            shown += values[0 if few else 2 :][~np.isnan(values[0 if few else 2 :])].tolist()
    margin = 0.04 * (max(shown) - min(shown))
    if margin > 0:  # the first two of many epochs would squeeze the rest
        ax.set_ylim(min(shown) - margin, max(shown) + margin)
    ax.set_title("Learning curve", fontsize=_TITLE)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("loss, nats per example")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.legend(frameon=False)
    return ax


# ---------------------------------------------------------------------------------------------- inside


def _posterior(model: VAE, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mu and sigma of q(z|x), in double precision."""
    encoded = model.encode(X) if hasattr(model, "encode") else None
    if not isinstance(encoded, tuple):
        raise ValueError(f"{type(model).__name__} has codes but no posteriors to draw; latent_scatter draws its codes")
    mu, logvar = (np.asarray(part, dtype=np.float64) for part in encoded)
    return mu, np.exp(np.clip(logvar, -30, 20) / 2)


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError("the plots need matplotlib, which is missing: pip install 'fastvae-cpu[plot]'") from error
    return matplotlib.pyplot


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes given, or new ones in a figure of this size in inches."""
    pyplot = _pyplot()
    return pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def _three(axes: Any) -> NDArray[np.object_]:
    if axes is None:
        axes = _pyplot().subplots(1, 3, figsize=(14, 5), layout="constrained")[1]
    panels = np.asarray(axes, dtype=object).ravel()
    if len(panels) != 3:
        raise ValueError(f"axes holds {len(panels)} axes; expected three, one for each objective")
    return panels


def _frame(ax: Axes, what: str, first: int, second: int) -> None:
    """Equal scales, open at the top and on the right, with named axes."""
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(f"{what}[{first}]")
    ax.set_ylabel(f"{what}[{second}]")


def _colours(y: ArrayLike | None, n: int) -> tuple[Array, dict[str, Any] | ScalarMappable]:
    """One colour for each of `n` labels, [n, 4], and the key to them: classes by name, or a scale."""
    _pyplot()
    from matplotlib import colormaps, colors
    from matplotlib.cm import ScalarMappable

    if y is None:
        return np.tile(colors.to_rgba("C0"), (n, 1)), {}
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"y has shape {labels.shape}; expected {(n,)}, a label for each example of X")
    values, index = np.unique(labels, return_inverse=True)
    if len(values) <= _MAX_CLASSES:
        palette = colormaps["tab10" if len(values) <= 10 else "tab20"](np.arange(len(values)))
        return palette[index.reshape(-1)], dict(zip(map(str, values), palette, strict=True))
    if labels.dtype.kind not in "iufb":
        raise ValueError(f"y has {len(values)} different labels: more than {_MAX_CLASSES} must be numbers")
    scale = ScalarMappable(colors.Normalize(labels.min(), labels.max()), "viridis")
    return scale.to_rgba(labels), scale


def _legend(ax: Axes, key: dict[str, Any] | ScalarMappable) -> None:
    from matplotlib.lines import Line2D

    if not isinstance(key, dict):
        ax.figure.colorbar(key, ax=ax, label="y")
    elif key:
        handles = [Line2D([], [], ls="", marker="o", color=colour, label=name) for name, colour in key.items()]
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


# ---------------------------------------------------------------------------------------------- mosaics


def _pictures(X: ArrayLike, shape: Shape) -> Array:
    """Images as floats in 0..1, [n, height, width] or [n, height, width, 3]."""
    array = np.asarray(X)
    if array.ndim > 2:
        shape = array.shape[1:] if shape is None else shape
        array = array.reshape(len(array), -1)
    array = _input.matrix(array, "X")
    size = array.shape[1]
    if shape is None:
        if isqrt(size) ** 2 != size:
            raise ValueError(f"{size} values are no grey square: give the shape, (height, width) or (height, width, 3)")
        shape = (isqrt(size),) * 2
    shape = tuple(shape[:2]) if len(shape) == 3 and shape[2] == 1 else tuple(shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or prod(shape) != size:
        raise ValueError(
            f"shape={shape} does not fit rows of {size} values: it must be (height, width) or (height, width, 3)"
        )
    return np.clip(array.reshape(-1, *shape) / (255 if array.dtype == np.uint8 else 1), 0, 1)


def _gap(pictures: Array) -> int:
    """Pixels between images: one where they are as small as MNIST's, and so in proportion."""
    _, height, width, *_ = pictures.shape
    return max(1, round(max(int(height), int(width)) / 28))


def _columns(columns: int | None, n: int) -> int:
    if columns is None:
        return n if n <= 10 else ceil(sqrt(n))
    wanted = _input.integer(columns, "columns")
    return min(wanted, n)


def _titles(titles: Sequence[object] | None, n: int) -> list[str] | None:
    if titles is None:
        return None
    if len(titles) != n:
        raise ValueError(f"{len(titles)} titles for {n} images; expected one each")
    return [str(title) for title in titles]


def _signed(value: float, form: str = ".3g") -> str:
    """A number with its sign, a minus of a plus's width."""
    return f"{value:+{form}}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _mosaic(
    pictures: Array,
    columns: int,
    ax: Axes | None,
    *,
    titles: list[str] | None = None,
    gap: int | None = None,
    left: float = 0.0,
    below: float = 0.0,
) -> Axes:
    """Lay pictures out as one, white between them, with ticks at the middles of its columns and lines.

    `gap` are pixels between lines; `left` and `below` are inches that the labels of a new figure need.
    """
    between = _gap(pictures) if gap is None else gap
    height, width = pictures.shape[1] + between, pictures.shape[2] + min(between, _gap(pictures))
    above = 0
    if titles is not None:  # room for a line of text over each picture, also over the first ones
        above = ceil(0.22 * pictures.shape[2])
        height += above
    lines = -(-len(pictures) // columns)
    canvas = np.ones((lines * height, columns * width, *pictures.shape[3:]))
    for i, picture in enumerate(pictures):
        y, x = i // columns * height + above, i % columns * width
        canvas[y : y + pictures.shape[1], x : x + pictures.shape[2]] = picture
    canvas = canvas[: lines * height - between, : columns * width - (width - pictures.shape[2])]

    inches = min(max(0.85 * columns, 3.0), 10.0)
    ax = _axes(ax, (inches + left, inches * canvas.shape[0] / canvas.shape[1] + below + 0.3))
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=1)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=_SMALL)
    ax.set_xticks([i * width + (pictures.shape[2] - 1) / 2 for i in range(columns)], [""] * columns)
    ax.set_yticks([i * height + above + (pictures.shape[1] - 1) / 2 for i in range(lines)], [""] * lines)
    for i, title in enumerate(titles or []):
        x, y = ax.get_xticks()[i % columns], i // columns * height + above - 1
        ax.text(x, y, title, ha="center", va="bottom", fontsize=_SMALL)
    return ax
