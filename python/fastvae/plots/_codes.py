"""Plots of codes and posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core, latent
from fastvae._data import arrays, examples
from fastvae._estimators.vae import VAE
from fastvae.plots._axes import SMALL, TITLE, new_axes, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]

_MAX_CLASSES = 20  # with more distinct labels, colours are a scale
_OBJECTIVES = {  # the panels of `three_objectives` with their titles
    "reconstruction": "E log p(x|z) alone",
    "kl": "$-$KL(q(z|x) ‖ p(z)) alone",
    "elbo": "both: the ELBO",
}


def latent_scatter(
    model: latent.LatentModel,
    X: Any,
    y: ArrayLike | None = None,
    dims: Sequence[int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Draw two coordinates of the codes of examples.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n, n_features]
    y : array_like, [n], optional
        Colours: up to 20 distinct values, of any type, are classes with a legend; more must be numbers. For a
        conditional model with labels y is also its y.
    dims : pair of int
        The latent dimensions to draw.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If dims are not two of the model's dimensions, or the length of y differs from X.
    """
    codes = np.asarray(model.transform(X, **_condition(model, y)))
    first, second = _checks.pair(dims, codes.shape[1])
    colours, key = colours_of(y, len(codes))
    ax = new_axes(ax, (7.5, 6))
    size = min(16.0, max(2.0, 16 * sqrt(1000 / len(codes))))
    ax.scatter(codes[:, first], codes[:, second], s=size, c=colours, linewidths=0, alpha=0.8)
    _style_plane(ax, "posterior mean of z" if hasattr(model, "sample") else "code z", first, second)
    add_legend(ax, key)
    ax.set_title(f"Where the encoder puts {len(codes):,} examples", fontsize=TITLE)
    return ax


def latent_ellipses(
    model: VAE,
    X: Any,
    y: ArrayLike | None = None,
    n: int = 300,
    dims: Sequence[int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Draw posteriors q(z|x) as ellipses of one sigma, and the prior N(0, I) as circles of one, two and three sigma.

    Parameters
    ----------
    model : fitted model
        A variational model, whose ``encode`` returns mu and logvar.
    X : array_like, [n_examples, n_features]
    y : array_like, [n_examples], optional
        Colours, as in :func:`latent_scatter`.
    n : int
        Number of posteriors to draw, of a fixed random sample of X.
    dims : pair of int
        The latent dimensions to draw.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model has no posterior, dims are not two of its dimensions, or the length of y differs from X.
    """
    n = _checks.integer(n, "n")
    X = X if hasattr(model, "condition_columns_") or hasattr(X, "columns") else arrays.numeric(X, "X")
    if np.ndim(X) == 0:
        raise ValueError(f"X={X!r:.60} is a scalar; expected examples, [n_examples, n_features]")
    total = len(X)
    colours, key = colours_of(y, total)
    chosen = np.sort(np.random.default_rng(0).permutation(total)[:n])
    mu, sigma = _posterior(model, examples.take(X, chosen), None if y is None else np.asarray(y)[chosen])
    pair = _checks.pair(dims, mu.shape[1])
    mu, sigma, colours = mu[:, list(pair)], sigma[:, list(pair)], colours[chosen]
    ax = new_axes(ax, (7.5, 6))

    from matplotlib.collections import EllipseCollection

    def draw(centres: Array, radii: Array, **style: Any) -> None:
        """Draw ellipses with centres and semi-axes [n, 2], in units of the axes."""
        widths, heights = 2 * radii.T
        style |= {"units": "xy", "offsets": centres, "offset_transform": ax.transData}
        ax.add_collection(EllipseCollection(widths, heights, np.zeros(len(radii)), **style))

    draw(mu, sigma, facecolors=colours * [1, 1, 1, 0.15], edgecolors=colours, lw=0.6)
    ax.scatter(mu[:, 0], mu[:, 1], s=5, c=colours, linewidths=0)  # keeps ellipses of vanishing sigma visible
    prior = np.array([[1.0, 1], [2, 2], [3, 3]])
    draw(np.zeros((3, 2)), prior, facecolors="none", edgecolors="0.3", linestyles="--", lw=0.8)
    ends = np.concatenate([mu - sigma, mu + sigma, [[-3, -3], [3, 3]]])
    ax.update_datalim(ends)  # matplotlib does not compute the extent of such a collection
    ax.autoscale_view()
    _style_plane(ax, "z", *pair)
    add_legend(ax, key)
    ax.set_title(f"{len(mu)} posteriors (1 sigma) and the prior (1, 2, 3 sigma)", fontsize=TITLE)
    return ax


def kl_per_dimension(model: VAE, X: Any, ax: Axes | None = None, y: Any = None) -> Axes:
    """Draw the mean KL(q(z|x) || N(0, I)) of each latent dimension, in nats, as bars in descending order.

    Active dimensions, whose posterior mean has a variance over X above 0.01 (Burda et al., arXiv:1509.00519), are
    blue, the others grey.

    Parameters
    ----------
    model : fitted model
        A variational model.
    X : array_like, [n_examples, n_features]
    ax : matplotlib Axes, optional
    y : array_like, optional
        Required by a conditional model, as in ``fit``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model has no posterior.
    """
    if not hasattr(model, "diagnose"):
        raise _no_posterior(model)
    found = model.diagnose(X, **_condition(model, y))
    kl, active = found.kl, found.active
    order = np.argsort(-kl, kind="stable")
    ax = new_axes(ax, (min(max(4.5, 0.28 * len(kl)), 12), 4))
    position = np.arange(len(kl))
    for mask, colour, name in ((active[order], "C0", "active"), (~active[order], "0.7", "inactive")):
        if not mask.any():
            continue
        ax.bar(position[mask], kl[order][mask], color=colour, label=f"{name}: {mask.sum()}")
    # One row of the legend above the highest bar.
    ax.set_ylim(0, 1.15 * max(float(kl.max()), 1e-3))
    shown = slice(0, None, ceil(len(kl) / 40))
    ax.set_xticks(position[shown], [str(dim) for dim in order[shown]], fontsize=SMALL)
    ax.set_xlabel("latent dimension")
    ax.set_ylabel("KL, nats per example")
    ax.set_title(f"KL of each latent dimension; together {kl.sum():.1f} nats", fontsize=TITLE)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, loc="upper right", ncols=2)
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
    """Train a VAE with the reconstruction alone, the KL alone and both terms, and draw the three latent spaces.

    The plot shows why a VAE needs both terms. With the reconstruction alone sigma vanishes, and codes between those of
    the data have no meaning. With the KL alone every posterior equals the prior. With both, the posteriors together
    cover the prior.

    Parameters
    ----------
    X : array_like, [n_examples, n_features]
    y : array_like, [n_examples], optional
        Colours, as in :func:`latent_scatter`.
    model : VAE, optional
        A template, which is not changed: the three models have its parameters except ``objective``, and the same
        initial weights. Default: ``VAE(latent_dim=2, hidden=(256,), epochs=30, random_state=0)``.
    n : int
        Number of posteriors to draw in each panel, of the same examples.
    dims : pair of int
        The latent dimensions to draw.
    axes : sequence of three matplotlib Axes, optional
    return_models : bool
        Return (axes, models).

    Returns
    -------
    axes : ndarray of matplotlib Axes, [3]
        Each with its own limits. Titles give the objective and both terms in nats per example.
    models : dict of str to VAE
        The fitted models by their objectives, "reconstruction", "kl", "elbo". Only if ``return_models``.

    Raises
    ------
    ValueError
        If a parameter of the template is invalid, or there are not three axes.
    """
    template = VAE(latent_dim=2, hidden=(256,), epochs=30, random_state=0) if model is None else model
    seed = _checks.seed(template.random_state)
    panels = _three(axes)
    if axes is None:
        panels[0].figure.suptitle("Posteriors (1 sigma) and the prior (dashed: 1, 2, 3 sigma)", fontsize=TITLE)
    fitted = {}
    for ax, (objective, maximised) in zip(panels, _OBJECTIVES.items(), strict=True):
        parameters = template.get_params() | {"objective": objective, "random_state": seed}
        fitted[objective] = type(template)(**parameters).fit(X)
        latent_ellipses(fitted[objective], X, y, n, dims, ax)
        terms = fitted[objective].evaluate(X)
        numbers = f"reconstruction {terms['reconstruction']:,.1f}, KL {terms['kl']:,.1f} nats"
        ax.set_title(f"Maximised: {maximised}\n{numbers}", fontsize=TITLE)
        if ax is not panels[-1] and (legend := ax.get_legend()) is not None:
            legend.remove()  # the last panel keeps the legend
    return (panels, fitted) if return_models else panels


def _no_posterior(model: Any) -> ValueError:
    return ValueError(f"{type(model).__name__} has codes but no posteriors to draw: use latent_scatter")


def _condition(model: Any, y: Any) -> dict[str, Any]:
    """Return the argument y for a conditional model, for which the colours are labels."""
    reads = getattr(model, "conditional", False) and not hasattr(model, "condition_columns_")
    return {"y": y} if y is not None and reads else {}


def _posterior(model: VAE, X: Any, y: Any = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mu and sigma of q(z|x), in double precision."""
    encoded = model.encode(X, **_condition(model, y)) if hasattr(model, "encode") else None
    if not isinstance(encoded, tuple):
        raise _no_posterior(model)
    mu, logvar = (np.asarray(part, dtype=np.float64) for part in encoded)
    return mu, np.exp(np.clip(logvar, *_core.LOGVAR_RANGE) / 2)


def _three(axes: Any) -> NDArray[np.object_]:
    if axes is None:
        axes = pyplot().subplots(1, 3, figsize=(14, 5), layout="constrained")[1]
    panels = np.asarray(axes, dtype=object).ravel()
    if len(panels) != 3:
        raise ValueError(f"axes holds {len(panels)} axes; expected three, one for each objective")
    return panels


def _style_plane(ax: Axes, what: str, first: int, second: int) -> None:
    """Set equal scales and labels, and remove the top and right spines."""
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(f"{what}[{first}]")
    ax.set_ylabel(f"{what}[{second}]")


def colours_of(y: ArrayLike | None, n: int) -> tuple[Array, dict[str, Any] | ScalarMappable]:
    """Return a colour for each of `n` labels, [n, 4], and the key: a dict of class names, or a colour scale."""
    pyplot()
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
        raise ValueError(f"y has {len(values)} distinct labels: with more than {_MAX_CLASSES} they must be numbers")
    scale = ScalarMappable(colors.Normalize(labels.min(), labels.max()), "viridis")
    return scale.to_rgba(labels), scale


def add_legend(ax: Axes, key: dict[str, Any] | ScalarMappable) -> None:
    from matplotlib.lines import Line2D

    if not isinstance(key, dict):
        ax.figure.colorbar(key, ax=ax, label="y")
    elif key:
        handles = [Line2D([], [], ls="", marker="o", color=colour, label=name) for name, colour in key.items()]
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
