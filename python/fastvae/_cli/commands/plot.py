"""``fastvae plot``."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastvae._cli import messages, models
from fastvae._cli.errors import UsageError, missing
from fastvae._cli.options import add_data, add_force, image_shape
from fastvae._cli.parser import DATA
from fastvae._cli.read import Data
from fastvae._cli.read.data import bare
from fastvae._cli.write import files

USAGE = "fastvae plot KIND MODEL [DATA] -o FILE.png|.svg|.pdf [options]"


class Kind(NamedTuple):
    """A kind of plot."""

    draw: Callable[[Any, Any, Any], Any]  # of the model, the data (None if there are none) and the options
    text: str
    data: bool | None  # required, unused (False), optional (None)


def _plots() -> Any:
    from fastvae import plots

    return plots


def _y(data: Data) -> Any:
    return None if data.y is None or data.y.ndim != 1 else data.y


def _shape(model: Any, data: Any, options: Any) -> Any:
    if options.image_shape is not None:
        return image_shape(options.image_shape)
    return None if getattr(model, "image_shape", None) is not None or data is None else data.images


def _condition(model: Any, options: Any) -> dict[str, Any]:
    return models.condition_value(model, options.label_value, "--label-value")


def _first(data: Data, n: int) -> Any:
    X = bare(data.X)
    return X[:n] if isinstance(X, np.ndarray) else X[:n].toarray()


def _n(options: Any) -> dict[str, int]:
    return {} if options.n is None else {"n": options.n}


def _manifold(model: Any, data: Any, options: Any) -> Any:
    return _plots().manifold(
        model,
        shape=_shape(model, data, options),
        dims=_dims(options),
        **_n(options),
        **_condition(model, options),
    )


def _samples(model: Any, data: Any, options: Any) -> Any:
    found = model.sample(options.n or 64, random_state=options.seed, **_condition(model, options))
    shape = _shape(model, data, options)
    if shape is None and getattr(model, "image_shape", None) is not None:
        shape = tuple(model.image_shape)
        if model.channels == "first" and len(shape) == 3:
            found = found.reshape(len(found), shape[2], *shape[:2]).transpose(0, 2, 3, 1)
        found = found.reshape(len(found), *(shape[:2] if shape[2:] == (1,) else shape))
        shape = None
    return _plots().images(found, shape)


def _reconstructions(model: Any, data: Any, options: Any) -> Any:
    n = options.n or 10
    y = {} if not models.is_conditional(model) else {"y": models.condition(model, data)["y"][:n]}
    return _plots().reconstructions(model, _first(data, n), shape=_shape(model, data, options), **y)


def _traversal(model: Any, data: Any, options: Any) -> Any:
    return _plots().traversal(
        model,
        _first(data, 1)[0],
        _dims(options),
        shape=_shape(model, data, options),
        **_n(options),
        **_condition(model, options),
    )


def _interpolation(model: Any, data: Any, options: Any) -> Any:
    if len(data) < 2:
        raise UsageError("an interpolation needs two examples: its ends are the first and the last row of DATA")
    X = _first(data, len(data))
    return _plots().interpolation(
        model, X[0], X[-1], shape=_shape(model, data, options), **_n(options), **_condition(model, options)
    )


def _conditions(model: Any, data: Any, options: Any) -> Any:
    return _plots().conditions(model, shape=_shape(model, data, options), random_state=options.seed or 0, **_n(options))


def _scatter(model: Any, data: Any, options: Any) -> Any:
    return _plots().latent_scatter(model, data.X, _y(data), _dims(options))


def _ellipses(model: Any, data: Any, options: Any) -> Any:
    return _plots().latent_ellipses(model, data.X, _y(data), options.n or 300, _dims(options))


def _kl(model: Any, data: Any, options: Any) -> Any:
    return _plots().kl_per_dimension(model, data.X, **models.condition(model, data))


def _topics(model: Any, data: Any, options: Any) -> Any:
    return _plots().topics(model, models.words_of(model), options.n)


def _documents(model: Any, data: Any, options: Any) -> Any:
    return _plots().document_map(np.asarray(model.transform(data.X)), _y(data))


def _items(model: Any, data: Any, options: Any) -> Any:
    names = models.value_names(model, model.n_features_in_, data)
    return _plots().item_characteristic(model, None if data is None else data.X, names=names)


def _abilities(model: Any, data: Any, options: Any) -> Any:
    return _plots().abilities(model, data.X, options.n or 60, names=data.ids)


KINDS = {
    "learning-curve": Kind(lambda model, data, options: _plots().learning_curve(model), "losses of each epoch", False),
    "manifold": Kind(_manifold, "decoder means over a grid of two latent dimensions", None),
    "samples": Kind(_samples, "images from the prior", None),
    "reconstructions": Kind(_reconstructions, "the first images of DATA and their reconstructions", True),
    "traversal": Kind(_traversal, "the first image of DATA, one latent dimension changed at a time", True),
    "interpolation": Kind(_interpolation, "a path from the first image of DATA to the last", True),
    "conditions": Kind(_conditions, "images of each class of a conditional model", None),
    "scatter": Kind(_scatter, "two dimensions of the codes, coloured by --label", True),
    "ellipses": Kind(_ellipses, "posteriors as ellipses, and the prior", True),
    "kl": Kind(_kl, "the KL of each latent dimension", True),
    "topics": Kind(_topics, "the top words of each topic", False),
    "documents": Kind(_documents, "a map of documents by their topics", True),
    "items": Kind(_items, "characteristic curves of the tasks; with DATA the observed shares", None),
    "abilities": Kind(_abilities, "abilities of students with intervals", True),
}

_LIST = "\n".join(f"  {name:<16} {kind.text}" for name, kind in KINDS.items())
EPILOG = f"""\
kinds:
{_LIST}

examples:
  fastvae plot learning-curve digits.safetensors -o curve.svg
  fastvae plot scatter digits.safetensors mnist.npz:x_test --labels mnist.npz:y_test -o scatter.png
  fastvae plot manifold digits.safetensors -n 15 -o grid.png
  fastvae plot items exam.safetensors answers.csv --id student -o items.pdf

{DATA}"""
_FORMATS = ("png", "svg", "pdf")


def add(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("kind", choices=list(KINDS), metavar="KIND", help="what to draw (see below)")
    parser.add_argument("model", metavar="MODEL", help="model file")
    add_data(parser, nargs="?", labels="column of colours, left out of X")
    group = parser.add_argument_group("plot")
    group.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="picture: .png, .svg, .pdf, or - for a PNG"
    )
    add_force(group)
    group.add_argument("-n", metavar="N", type=int, help="number of images, lines, words, posteriors or students")
    group.add_argument(
        "--dims", metavar="I,J", help="latent dimensions (default: those that vary most, or of the largest KL)"
    )
    group.add_argument("--image-shape", metavar="HxW[xC]", help="shape of the images (default: the model's)")
    group.add_argument(
        "--label-value",
        metavar="VALUE",
        help="label, or covariates with commas, for decoded images",
    )
    group.add_argument("--seed", metavar="N", type=int, help="seed of samples")
    group.add_argument("--title", metavar="TEXT", help="title of the plot")
    group.add_argument("--dpi", metavar="N", type=int, default=150, help="pixels per inch of a PNG")
    group.add_argument("--size", metavar="WxH", help="size of the figure in inches, such as 8x5")
    parser.add_argument("--threads", metavar="N", type=int, help="number of threads; -1 uses all cores")


def run(options: Any) -> int:
    """Draw."""
    kind = KINDS[options.kind]
    path, kind_of_file = Path(options.output), "png"
    if options.output != "-":
        kind_of_file = path.suffix.lower().removeprefix(".")
        if kind_of_file not in _FORMATS:
            raise UsageError(f"-o {options.output}: write .png, .svg or .pdf")
        files.check(path, options.force)
    if kind.data and options.data is None:
        raise UsageError(f"plot {options.kind} needs DATA: fastvae plot {options.kind} MODEL DATA -o FILE")
    if kind.data is False and options.data is not None:
        raise UsageError(f"plot {options.kind} reads no DATA: leave out {options.data}")
    try:
        import matplotlib
    except ImportError:
        raise missing("matplotlib", "plot", "'fastvae-cpu[plot]'") from None
    matplotlib.use("agg")
    model = models.load(options.model, options.threads)
    needed = {
        "samples": ("sample", "VAE"),
        "topics": ("components_", "TopicModel"),
        "items": ("difficulty_", "ItemResponse"),
    }
    attribute, estimator = needed.get(options.kind, ("fit", ""))
    if not hasattr(model, attribute):
        raise UsageError(
            f"plot {options.kind} draws models of type {estimator}; {options.model} holds one of type "
            f"{type(model).__name__}"
        )
    data = None if options.data is None else models.read_for(model, options, options.model)
    drawn = kind.draw(model, data, options)
    axes = drawn if hasattr(drawn, "figure") else np.ravel(drawn)[0]
    figure = axes.figure
    if options.title is not None:
        axes.set_title(options.title) if axes is drawn else figure.suptitle(options.title)
    if options.size is not None:
        figure.set_size_inches(*_inches(options.size))
    file = io.BytesIO()
    figure.savefig(file, format=kind_of_file, dpi=options.dpi)
    if options.output == "-":
        files.write_stdout(file.getvalue())
    else:
        files.write(path, file.getvalue())
        messages.note(f"wrote {path}")
    return 0


def _dims(options: Any) -> Any:
    if options.dims is None:
        return None
    try:
        return [int(part) for part in options.dims.split(",")]
    except ValueError:
        raise UsageError(f"--dims {options.dims}: write numbers with commas, such as 0,1") from None


def _inches(text: str) -> tuple[float, float]:
    try:
        width, height = (float(part) for part in text.lower().split("x"))
    except ValueError:
        raise UsageError(f"--size {text}: write WIDTHxHEIGHT in inches, such as 8x5") from None
    if not (0.5 <= width <= 100 and 0.5 <= height <= 100):
        raise UsageError(f"--size {text}: sides are 0.5 to 100 inches")
    return width, height
