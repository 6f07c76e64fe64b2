"""Pictures of images: as they are, reconstructed, generated, on their way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import latent
from fastvae.plots._axes import TITLE
from fastvae.plots._mosaic import columns_of, gap_of, mosaic, pictures_of, signed, titles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastvae._estimators.vae import VAE
    from fastvae.plots._mosaic import Shape


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
    pictures = pictures_of(X, shape)
    return mosaic(pictures, columns_of(columns, len(pictures)), ax, titles=titles_of(titles, len(pictures)))


def reconstructions(
    model: latent.LatentModel,
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
    originals = pictures_of(X, shape)
    again = pictures_of(model.inverse_transform(model.transform(X)), originals.shape[1:])
    line = np.ones_like(originals[:, : gap_of(originals)])
    pairs = np.concatenate([originals, line, again], axis=1)
    columns = columns_of(min(len(pairs), 10) if columns is None else columns, len(pairs))
    between = 3 * gap_of(originals)
    ax = mosaic(pairs, columns, ax, titles=titles_of(titles, len(pairs)), gap=between, left=0.9)
    step = (originals.shape[1] + gap_of(originals)) / 2
    middles = [y + sign * step for y in ax.get_yticks() for sign in (-1, 1)]
    ax.set_yticks(middles, ["original", "reconstructed"] * (len(middles) // 2))
    return ax


def manifold(
    model: latent.LatentModel,
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
    ax = mosaic(pictures_of(decoded.reshape(n * n, -1), shape), n, ax, gap=0, left=0.6, below=0.6)
    shown = np.linspace(0, n - 1, min(n, 7)).round().astype(int)  # both ends, and what fits between
    ax.set_xticks(ax.get_xticks()[shown], [signed(z, ".2f") for z in across[shown]])
    ax.set_yticks(ax.get_yticks()[shown], [signed(z, ".2f") for z in down[shown]])
    where = "quantiles of the prior" if hasattr(model, "sample") else "quantiles of the codes"
    ax.set_xlabel(f"z[{dims[0]}], {where}")
    ax.set_ylabel(f"z[{dims[1]}], {where}")
    ax.set_title("The decoder over the latent space", fontsize=TITLE)
    return ax


def interpolation(
    model: latent.LatentModel,
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
    ax = mosaic(pictures_of(path, shape), n, ax, below=0.5)
    ax.set_xticks(ax.get_xticks(), ["a", *(f"{t:.2f}" for t in np.linspace(0, 1, n)[1:-1]), "b"])
    ax.set_title({"linear": "From a to b", "slerp": "From a to b, spherically"}[method], fontsize=TITLE)
    return ax


def attribute(
    model: latent.LatentModel,
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
    ax = mosaic(pictures_of(moved.reshape(-1, moved.shape[-1]), shape), moved.shape[1], ax, below=0.5)
    ax.set_xticks(ax.get_xticks(), [signed(s) for s in np.asarray(strengths, np.float64)])
    ax.set_yticks([])
    ax.set_xlabel("strength of the attribute")
    return ax


def traversal(
    model: latent.LatentModel,
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
    ax = mosaic(pictures_of(lines.reshape(-1, lines.shape[-1]), shape), n, ax, left=0.4, below=0.5)
    moved = range(len(lines)) if dims is None else np.atleast_1d(np.asarray(dims)).tolist()
    ax.set_xticks(ax.get_xticks(), [signed(z) for z in np.linspace(-span, span, n)])
    ax.set_yticks(ax.get_yticks(), [f"z[{dim}]" for dim in moved])
    ax.set_xlabel("value of the coordinate")
    return ax


def conditions(
    model: VAE,
    n: int = 8,
    y: ArrayLike | None = None,
    *,
    random_state: int = 0,
    shape: Shape = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a conditional model generates: a line a class, a column one z from the prior, the same in all lines.

    What differs down a column is due to the class alone, what is common is what z says.

    Parameters
    ----------
    model : conditional VAE
    n : int
        Columns.
    y : array_like, [lines] or [lines, c], optional
        The labels, or the rows of covariates; without it all classes of the model.
    random_state : int
        Of the prior's draws.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); not needed for grey squares.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model is not conditional, or y is missing where the model has no classes or does not fit it.
    """
    lines = getattr(model, "classes_", None) if y is None else np.asarray(y)
    if lines is None:
        raise ValueError("the model has no classes, so the lines must be told: give y")
    drawn = [model.sample(n, y=line, random_state=random_state) for line in lines]
    ax = mosaic(pictures_of(np.concatenate(drawn), shape), n, ax, left=0.9)
    names = [str(line) if np.ndim(line) == 0 else " ".join(f"{value:.3g}" for value in line) for line in lines]
    ax.set_yticks(ax.get_yticks(), names)
    ax.set_title(
        "One z a column, one class a line" if lines.ndim == 1 else "One z a column, one y a line", fontsize=TITLE
    )
    return ax
