"""The function ``fastvae.explorer``."""

from __future__ import annotations

import os
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core
from fastvae._estimators.description import describe_model
from fastvae._explorer.dimensions import latent_dimensions, principal_components
from fastvae._explorer.document import document
from fastvae._explorer.encoding import WEIGHTS, pack, sheet
from fastvae._explorer.labels import condition_control, mean_codes, read_labels
from fastvae._explorer.names import names_of_features
from fastvae._explorer.program import program
from fastvae._explorer.source import Source, read_source
from fastvae._explorer.view import original_images, shape_of_images, view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


def explorer(
    model: Any,
    X: Any,
    y: ArrayLike | None = None,
    path: str | os.PathLike[str] = "explorer.html",
    *,
    title: str | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | Mapping[str, int] | None = None,
    attributes: Mapping[str, ArrayLike] | None = None,
    image_shape: Any = "auto",
    weights: str = "float16",
    max_points: int = 2000,
    originals: bool = True,
    max_bytes: int = 3_000_000,
) -> Path:
    """Write a page on which the latent space of a fitted model can be explored: one HTML file that loads nothing else.

    The page has a map of the codes, the decoded example (an image, bars of features, or the words of topics) beside the
    nearest original, a slider for each latent dimension, traversals, attribute vectors and an interpolation between two
    codes. The decoder runs in the browser, so that the page works from the file, without a server.

    Parameters
    ----------
    model : VAE, Autoencoder, TopicModel or ItemResponse
        A fitted model.
    X : array_like, [n_examples, n_features]
        Examples as for ``transform``.
    y : array_like, [n_examples], optional
        Colours: up to 24 distinct labels have a legend and attribute vectors; more must be numbers. A conditional model
        reads it too, as in ``fit``; the first of several covariates gives the colours.
    path : str or path-like
        The file. It is written atomically; an existing file is replaced.
    title : str, optional
        Heading of the page.
    class_names : sequence of str, optional
        Names of the labels in y, in their ascending order.
    feature_names : sequence of str, [n_features], or mapping of str to int, optional
        Names of the features, or words of the columns; a mapping from word to column is scikit-learn's ``vocabulary_``.
        Default: ``feature_names_in_`` of the model.
    attributes : mapping of str to array_like of bool, [n_examples], optional
        Further attribute vectors: the mean code of the examples with the attribute minus the mean of the others.
    image_shape : tuple of int, "auto" or None
        (height, width) or (height, width, 3) of images. "auto" is the model's ``image_shape``; without, features
        without names whose number is a square from 36 on are grey images. None shows bars.
    weights : {"float16", "int8", "float32"}
        Type of the decoder's matrices. With 784-400-20 the error of a decoded value in [0, 1] is about 0.0001 for
        "float16" and 0.002 for "int8", which takes half the bytes.
    max_points : int
        Number of examples on the map, a fixed random sample of X. Mean codes of groups, principal components and the
        activity of dimensions are those of all examples.
    originals : bool
        Include original images of the examples, as many as fit into ``max_bytes``.
    max_bytes : int
        Limit of the file's size.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError
        If the model is no estimator of fastvae.
    NotFittedError
        If the model is not fitted.
    ValueError
        If X or y does not fit the model, an argument is invalid, or the file would exceed ``max_bytes``.
    OSError
        If the file cannot be written.

    Notes
    -----
    Of the examples the file contains: codes, labels and covariates y, and row numbers of the sample; original images of
    as many as fit (256 levels), unless ``originals=False``; mean codes of groups; the names of labels and features; for
    tables the range and the mean of the decoded values. It contains the decoder, but neither the encoder nor other
    values of X, file names or the time. A Content-Security-Policy in the page forbids any connection.

    Examples
    --------
    >>> import fastvae
    >>> X, y = fastvae.datasets.load_digits()
    >>> vae = fastvae.VAE(latent_dim=2, hidden=(64,), epochs=30, random_state=0).fit(X)
    >>> fastvae.explorer(vae, X, y, "digits.html", title="Digits").name
    'digits.html'
    """
    network = describe_model(model, "explorer")
    if network.likelihood.groups:
        raise ValueError(
            "the explorer does not show tables of mixed columns: use sample and reconstruct, or export_onnx and a page "
            "of your own"
        )
    weights = _checks.choice(weights, "weights", WEIGHTS)
    max_points = _checks.integer(max_points, "max_points", least=2)
    max_bytes = _checks.integer(max_bytes, "max_bytes")
    originals = _checks.boolean(originals, "originals")
    if title is not None and not isinstance(title, str):
        raise ValueError(f"title={title!r} must be a string")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path={path!r:.60} must be a string or a path")

    source = read_source(model, network, X, y)
    total = len(source.codes)
    if total < 2:
        raise ValueError("X has one example: a map needs at least two")
    rows = np.random.default_rng(0).permutation(total)[:max_points]
    shape = shape_of_images(source, image_shape)
    names = names_of_features(source, feature_names)
    labels = read_labels(source.y, total, class_names)
    view = view_of(source, shape, names, rows)
    dimensions = latent_dimensions(source, names)
    components = principal_components(source.codes)
    condition = condition_control(source, labels)
    axes = [len(dimensions), len(dimensions) + 1] if components else [0, min(1, len(dimensions) - 1)]

    data: dict[str, Any] = {
        "title": f"{type(model).__name__}: latent explorer" if title is None else title,
        "facts": _facts(model, dimensions, len(rows), total),
        "contents": "",
        "latent": network.latent_dim,
        "operations": program(network, weights),
        "view": view,
        "points": {
            "count": len(rows),
            "codes": pack(source.codes[rows], "float32"),
            "rows": rows.tolist(),
            "conditions": None if source.conditions is None else pack(source.conditions[rows], "float32"),
        },
        "labels": None if labels is None else labels.packed(rows),
        "condition": condition,
        "dimensions": dimensions,
        "components": components,
        "axes": axes,
        "simplex": source.simplex,
        "prior": source.prior,
        "centre": ([0.0] * network.latent_dim if source.prior else source.codes.mean(0, dtype=np.float64).tolist()),
        "attributes": mean_codes(source.codes, labels, attributes),
        "thumbnails": None,
    }
    data["contents"] = _account(data, weights, total)
    page = document(data)
    if len(page) > max_bytes:
        raise ValueError(_too_large(len(page), max_bytes, data, weights))
    if shape is not None and originals:
        page = _with_originals(data, source, shape, rows, max_bytes, page, weights)
    path = Path(os.fsdecode(path))
    _core.write_atomically(str(path), page)
    return path


def _with_originals(
    data: dict[str, Any],
    source: Source,
    shape: tuple[int, int, int],
    rows: NDArray[Any],
    max_bytes: int,
    page: bytes,
    weights: str,
) -> bytes:
    """Return the page with the original images of the first examples that fit, or `page` if none do."""
    images = original_images(source, shape, rows, data["view"]["range"])
    count, budget = len(images), max_bytes - len(page) - 500
    for _ in range(8):
        if count < 1 or budget < 1:
            return page
        columns = ceil(sqrt(count))
        picture = sheet(images[:count], columns)
        if len(picture) <= budget:
            data["thumbnails"] = {"png": picture, "columns": columns, "count": count}
            data["contents"] = _account(data, weights, len(source.codes))
            return document(data)
        count = int(count * budget / len(picture) * 0.98)
    return page


def _facts(model: Any, dimensions: list[dict[str, Any]], shown: int, total: int) -> str:
    """Return the line under the heading."""
    active = sum(dimension["active"] for dimension in dimensions)
    what = "topics" if dimensions[0]["name"].startswith("topic") else "latent dimensions"
    size = f"{len(dimensions)} {what if len(dimensions) > 1 else what[:-1]}"
    used = "" if active == len(dimensions) else f", {active} active"
    some = f"{shown:,} examples" if shown == total else f"{shown:,} of {total:,} examples"
    return f"{type(model).__name__} · {size}{used} · {some}"


def _account(data: dict[str, Any], weights: str, total: int) -> str:
    """Return the sentence on what the file contains."""
    points, found = data["points"], data["labels"]
    parts = [
        f"the decoder with weights in {weights}",
        f"codes and row numbers of {points['count']:,} of the {total:,} examples",
    ]
    if found is not None:
        parts.append("their labels" if found["kind"] == "classes" else f"their values of {found['name']}")
    if data["condition"] is not None:
        parts.append("their condition y")
    if data["attributes"]:
        parts.append(f"mean codes of {len(data['attributes'])} groups")
    if data["view"]["kind"] == "features":
        parts.append("names of the features with range and mean of their decoded values")
    if data["view"]["kind"] == "words":
        parts.append("the words")
    if data["thumbnails"] is not None:
        height, width, _ = data["view"]["shape"]
        parts.append(f"{data['thumbnails']['count']:,} original images of {height} x {width} pixels in 256 levels")
    return (
        f"It contains {'; '.join(parts)}. It contains no encoder, no other values of the examples and no file names. "
        f"It loads nothing and sends nothing: its Content-Security-Policy forbids connections."
    )


def _too_large(size: int, limit: int, data: dict[str, Any], weights: str) -> str:
    """Return the message for a page that exceeds the limit, with the remedies that help."""
    decoder = len(str(data["operations"]))
    remedies = ['pass weights="int8"'] if weights != "int8" else []
    remedies += ["a smaller max_points"] if size - decoder > limit // 4 else []
    remedies += [f"max_bytes={size + size // 10:,}".replace(",", "_")]
    return (
        f"the page takes {size:,} bytes, {decoder:,} of them the decoder's weights, more than max_bytes={limit:,}: "
        f"{', or '.join(remedies)}"
    )
