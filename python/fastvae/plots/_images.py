"""Plots of images: given, reconstructed and generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import latent
from fastvae.plots._axes import TITLE
from fastvae.plots._mosaic import Pixels, columns_of, gap_of, mosaic, pictures_of, signed, titles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastvae._estimators.vae import VAE
    from fastvae.plots._mosaic import Inverse, Shape


_TEN_COLUMNS = 100  # reconstructions, above which a picture of ten columns would be a strip


def images(
    X: ArrayLike,
    shape: Shape = None,
    columns: int | None = None,
    ax: Axes | None = None,
    titles: Sequence[object] | None = None,
    *,
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw images side by side.

    Parameters
    ----------
    X : array_like, [n, d], [n, height, width] or [n, height, width, 3]
        uint8 in 0..255 or floats in 0..1.
    shape : tuple of int, optional
        (height, width) or (height, width, 3) of a row; optional for grey squares and for X with more than two axes.
    columns : int, optional
        Images per line. Default: up to ten images in one line, more in a square.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.
    titles : sequence, optional
        A title for each image.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed (also from the other functions).
    ValueError
        If X does not have this shape, or there is not one title for each image.
    """
    pictures = pictures_of(X, shape, None, Pixels(inverse, vmin, vmax))
    return mosaic(pictures, columns_of(columns, len(pictures)), ax, titles=titles_of(titles, len(pictures)))


def reconstructions(
    model: latent.LatentModel,
    X: ArrayLike,
    shape: Shape = None,
    columns: int | None = None,
    ax: Axes | None = None,
    titles: Sequence[object] | None = None,
    y: Any = None,
    *,
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw images and, below each, its reconstruction: the decoder's mean at the code.

    Parameters
    ----------
    model : fitted model
    X : array_like, [n, n_features]
    shape : tuple of int, optional
        (height, width) or (height, width, 3); optional for grey squares and models with an ``image_shape``.
    columns : int, optional
        Pairs per line. Default: at most ten, of more than a hundred pairs a square.
    y : label or array_like, optional
        Required by a conditional model, as in ``fit``.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.
    titles : sequence, optional
        A title for each pair.

    Returns
    -------
    matplotlib Axes
    """
    decoded = pictures_of(_decoded(model, X, y), shape, model, Pixels(inverse, vmin, vmax))
    originals = pictures_of(_pixels(model, X), shape, model, Pixels(inverse, vmin, vmax))
    line = np.ones_like(originals[:, : gap_of(originals)])
    pairs = np.concatenate([originals, line, decoded], axis=1)
    if columns is None:
        columns = min(len(pairs), 10) if len(pairs) <= _TEN_COLUMNS else ceil(sqrt(2 * len(pairs)))
    columns = columns_of(columns, len(pairs))
    between = 3 * gap_of(originals)
    ax = mosaic(pairs, columns, ax, titles=titles_of(titles, len(pairs)), gap=between, left=0.9)
    step = (originals.shape[1] + gap_of(originals)) / 2
    middles = [tick + sign * step for tick in ax.get_yticks() for sign in (-1, 1)]
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
    y: Any = None,
    *,
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw decoded images over a grid of two latent dimensions, at quantiles of the prior.

    Parameters
    ----------
    model, n, span, dims, X
        As in :func:`fastvae.latent.manifold`.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); optional for grey squares and models with an ``image_shape``.
    y : label or array_like, optional
        Required by a conditional model, as in the function of :mod:`fastvae.latent`.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.

    Returns
    -------
    matplotlib Axes
    """
    across, down, dims = latent.grid_coordinates(model, n, span, dims=dims, X=X, y=y)
    decoded = latent.manifold(model, n, span, dims=dims, X=X, y=y)
    ax = mosaic(
        pictures_of(decoded.reshape(n * n, -1), shape, model, Pixels(inverse, vmin, vmax)),
        n,
        ax,
        gap=0,
        left=0.6,
        below=0.6,
    )
    shown = np.linspace(0, n - 1, min(n, 7)).round().astype(int)  # up to seven labels, ends included
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
    y: Any = None,
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw decoded images along a path between two codes, from left to right.

    Parameters
    ----------
    model, a, b, n, method, codes
        As in :func:`fastvae.latent.interpolate`.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); optional for grey squares and models with an ``image_shape``.
    y : label or array_like, optional
        Required by a conditional model, as in the function of :mod:`fastvae.latent`.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.

    Returns
    -------
    matplotlib Axes
    """
    path = latent.interpolate(model, a, b, n, method, codes=codes, y=y)
    ax = mosaic(pictures_of(path, shape, model, Pixels(inverse, vmin, vmax)), n, ax, below=0.5)
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
    y: Any = None,
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw examples moved along a direction of the latent space: one line per example, one column per strength.

    Parameters
    ----------
    model, X, v, strengths
        As in :func:`fastvae.latent.apply_attribute`; the column of strength 0 is the reconstruction.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); optional for grey squares and models with an ``image_shape``.
    y : label or array_like, optional
        Required by a conditional model, as in the function of :mod:`fastvae.latent`.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.

    Returns
    -------
    matplotlib Axes
    """
    moved = latent.apply_attribute(model, X, v, strengths, y=y)
    ax = mosaic(
        pictures_of(moved.reshape(-1, *moved.shape[2:]), shape, model, Pixels(inverse, vmin, vmax)),
        moved.shape[1],
        ax,
        below=0.5,
    )
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
    y: Any = None,
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw an example with one latent coordinate varied at a time: one line per coordinate, one column per value.

    Parameters
    ----------
    model, x, dims, span, n, codes
        As in :func:`fastvae.latent.traverse`.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); optional for grey squares and models with an ``image_shape``.
    y : label or array_like, optional
        Required by a conditional model, as in the function of :mod:`fastvae.latent`.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.

    Returns
    -------
    matplotlib Axes
    """
    lines = latent.traverse(model, x, dims, span, n, codes=codes, y=y)
    ax = mosaic(
        pictures_of(lines.reshape(-1, *lines.shape[2:]), shape, model, Pixels(inverse, vmin, vmax)),
        n,
        ax,
        left=0.4,
        below=0.5,
    )
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
    inverse: Inverse = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw images generated by a conditional model: one line per class, one column per draw z from the prior.

    Images of a column have the same z, so they differ only by the class.

    Parameters
    ----------
    model : conditional VAE
    n : int
        Number of columns.
    y : array_like, [lines] or [lines, c], optional
        The label, or the row of covariates, of each line. Default: all classes of the model.
    random_state : int
        Seed of the draws from the prior.
    shape : tuple of int, optional
        (height, width) or (height, width, 3); optional for grey squares and models with an ``image_shape``.
    ax : matplotlib Axes, optional
    inverse : callable, optional
        Undoes a scaler before drawing: a function of rows [n, d], such as the scaler's ``inverse_transform``.
    vmin, vmax : float, optional
        The values that are black and white; by default 0 and 1, of uint8 0 and 255.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model is not conditional, y does not fit it, or y is missing for a model without classes.
    """
    lines = getattr(model, "classes_", None) if y is None else np.asarray(y)
    if lines is None:
        raise ValueError("the model has no classes to draw as lines: pass y")
    drawn = [model.sample(n, y=line, random_state=random_state) for line in lines]
    ax = mosaic(pictures_of(np.concatenate(drawn), shape, model, Pixels(inverse, vmin, vmax)), n, ax, left=0.9)
    names = [str(line) if np.ndim(line) == 0 else " ".join(f"{value:.3g}" for value in line) for line in lines]
    ax.set_yticks(ax.get_yticks(), names)
    ax.set_title(
        "One z a column, one class a line" if lines.ndim == 1 else "One z a column, one y a line", fontsize=TITLE
    )
    return ax


def _pixels(model: Any, X: Any) -> Any:
    """Return X without condition columns."""
    return model.split_condition(X)[0] if hasattr(model, "condition_columns_") else X


def _decoded(model: Any, X: Any, y: Any) -> Any:
    if hasattr(model, "condition_columns_"):
        return model.reconstruct(X, y=y)
    if y is None:
        return model.inverse_transform(model.transform(X))
    return model.inverse_transform(model.transform(X, y=y), y=y)
