"""``fastvae train``."""

from __future__ import annotations

from typing import Any

from fastvae._cli import messages, parameters, tables, training, words
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data
from fastvae._cli.parser import DATA
from fastvae._cli.read import Data, mixed, read
from fastvae._cli.read.grey import grey_values

USAGE = "fastvae train DATA -o MODEL [--latent-dim N] [--hidden N,N] [--likelihood NAME] [--epochs N] [options]"
EPILOG = f"""\
examples:
  fastvae train mnist.npz:x_train -o digits.safetensors --latent-dim 20 --hidden 400,200 --epochs 10
  fastvae train photos/ -o photos.safetensors --image-size 64x64 --conv --latent-dim 32
  fastvae train table.csv -o table.safetensors --id name --likelihood 'Gaussian("per_feature")' --missing mask
  fastvae train iris.csv -o iris.safetensors --label species --conditional --likelihood gaussian
  fastvae train counts.npz -o counts.safetensors --likelihood poisson --beta 'linear(0, 1, epochs=10)'
  fastvae train x.npy -o ae.safetensors --model autoencoder --corruption 'MaskingNoise(0.3)'
  fastvae train people.csv -o people.safetensors --model tabular --kind income=positive --kind grade=low,mid,high
  fastvae train x.npy -o m.safetensors --checkpoint m.ckpt --checkpoint-every 5

values: a number, a word, 400,200, 28x28x1, JSON, or a call of fastvae's classes: Conv2d(32, 4, stride=2, padding=1),
Gaussian("shared"), SGD(momentum=0.9), MaskingNoise(0.3), linear(0, 1, epochs=10).

Arrays [n, height, width(, channels)] and folders of images set --image-shape. A table of integers 0 to 255 is read as
grey values, 0 to 1, if the likelihood is Bernoulli. An interrupted fit keeps a model in MODEL.interrupted.safetensors,
a diverged one (exit code 1) in MODEL.diverged.safetensors. Existing files are replaced only with --force.

--model tabular takes a table of mixed columns: numbers, counts, yes/no, categories, texts with few levels, holes.

{DATA}"""

# The classes of --model.
_CLASSES = {"vae": "VAE", "autoencoder": "Autoencoder", "tabular": "TabularVAE"}
# The layers of --conv: sides are halved while they are above this.
_SMALLEST = 7


def add(parser: Any) -> None:
    """Add the options."""
    from fastvae import VAE, Autoencoder, TabularVAE

    add_data(parser)
    training.add_fit(parser, required=True)
    group = parser.add_argument_group("model")
    group.add_argument("--model", choices=list(_CLASSES), default="vae", help="what to train")
    group.add_argument("--conv", action="store_true", help="convolutional layers that halve the sides, for images")
    parameters.add(parser, [VAE, Autoencoder, TabularVAE])
    tables.add_train(parser)
    words.add(parser)


def run(options: Any) -> int:
    """Train."""
    import fastvae

    cls = getattr(fastvae, _CLASSES[options.model])
    given = parameters.given(options, cls)
    fit = training.Fit(options)
    fit.seed(given)
    if options.model == "tabular":
        return _table(options, cls, given, fit)
    tables.refuse(options)
    vocabulary = words.learner(options)
    try:
        data = read(options, channels=_channels(given), vocabulary=vocabulary)
    except UsageError as error:
        if given.get("condition_columns") is not None and "holds text" in str(error):
            raise UsageError(f"{error}. A condition that is text: --label COLUMN --conditional") from None
        raise
    messages.note(f"read {data.describe()}")
    validation = training.read_validation(options, data, _channels(given), vocabulary)
    _shape(data, given)
    if options.conv:
        given.setdefault("hidden", _convolutions(given.get("image_shape")))
    y = _condition(data, given)
    loss = given.get("likelihood" if options.model == "vae" else "loss", "bernoulli" if options.model == "vae" else "")
    if str(loss).lower().startswith("bernoulli") and grey_values(data):
        messages.note("integers 0 to 255 are read as grey values, divided by 255")
        if validation is not None:
            grey_values(validation)
    model = cls(**given)
    if y is None:
        fit.run(model, data, validation)
    else:
        fit.run(model, data, validation, y=y)
    fit.summarise(model)
    if options.json:
        fit.print_json(model, data)
    return 0


def _table(options: Any, cls: Any, given: dict[str, Any], fit: training.Fit) -> int:
    """Train a model of a table of mixed columns."""
    if options.conv:
        raise UsageError("--conv is for images, not for --model tabular")
    data = read(options, types=tables.types_chosen(options))
    messages.note(f"read {data.describe()}")
    validation = training.read_validation(options, data, None, None, types=mixed.types(data.X))
    model = cls(**given, **tables.parameters(options, data.X))
    fit.run(model, data, validation)
    fit.summarise(model)
    if options.json:
        fit.print_json(model, data)
    return 0


def _channels(given: dict[str, Any]) -> int | None:
    shape = given.get("image_shape")
    return shape[2] if isinstance(shape, tuple) and len(shape) == 3 and shape[2] in (1, 3) else None


def _shape(data: Data, given: dict[str, Any]) -> None:
    """Set ``image_shape`` from the data; arrays with more axes than images have are refused by the estimator."""
    if data.images is None or "image_shape" in given:
        return
    shape = data.images
    if given.get("channels") == "first" and len(shape) == 3:
        shape = (*shape[1:], shape[0])
    given["image_shape"] = shape


def _convolutions(shape: Any) -> tuple[Any, ...]:
    """Return convolutions that halve the sides to about seven pixels, and a dense layer of 128 units."""
    from fastvae.layers import Conv2d

    if shape is None:
        raise UsageError("--conv needs images: pass --image-shape HEIGHTxWIDTHxCHANNELS")
    side, width = min(shape[:2]), 32
    found: list[Any] = []
    while (side > _SMALLEST or not found) and len(found) < 5:
        found.append(Conv2d(width, 4, stride=2, padding=1))
        side, width = side // 2, min(2 * width, 128)
    return (*found, 128)


def _condition(data: Data, given: dict[str, Any]) -> Any:
    if given.get("condition_columns") is not None or not given.get("conditional"):
        return None
    if data.y is None:
        raise UsageError("--conditional needs labels: pass --label COLUMN or --labels FILE")
    return data.y
