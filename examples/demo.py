"""Train two variational autoencoders on images and draw samples, codes and learning curves. `make demo` runs it.

    python examples/demo.py [--data PATH] [--out demo] [--epochs N]

PATH is a file of images: .npz (x_train, y_train, x_test, y_test, or any array of images), .npy or IDX(.gz). Images are
[n, h, w], [n, h, w, 3] or flat squares [n, d]; uint8 in 0..255 or floats in 0..1. The default is a subset of
Fashion-MNIST. Losses are in nats per image.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastvae
from fastvae import plots
from fastvae.datasets import load_idx

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]

FASHION_MNIST = Path(__file__).parent / "data" / "fashion_mnist.npz"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
EXAMPLES_PER_MODEL = 600_000  # for each model, epochs x images; determines the number of epochs
MAX_CLASSES = 20  # with more labels, colours could not be told apart


# ---------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Images:
    """Images as flat rows [n, d], with labels [n] or None, and the shape of an image."""

    train: Array
    test: Array
    test_labels: Array | None
    shape: tuple[int, ...]  # (h, w) or (h, w, 3)
    class_names: Sequence[str]  # one for each label, in ascending order of the labels; empty without labels


def read(path: Path) -> tuple[Array, Array | None, Array | None, Array | None]:
    """Read x_train, y_train, x_test, y_test from a file; missing arrays are None."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return np.load(path, allow_pickle=False), None, None, None
    if start[:2] != b"PK":
        labels_path = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        beside = labels_path != path and labels_path.exists()  # a file of labels beside the images, named as MNIST's
        return load_idx(path), load_idx(labels_path) if beside else None, None, None
    with np.load(path, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    if "x_train" in found:
        return found["x_train"], found.get("y_train"), found.get("x_test"), found.get("y_test")
    images = next((array for array in found.values() if array.ndim >= 2), None)
    if images is None:
        raise ValueError(f"no array of images among {list(found)}")
    labels = next((array for array in found.values() if array.shape == images.shape[:1]), None)
    return images, labels, None, None


def image_shape(x: Array) -> tuple[int, ...]:
    """Return the shape (h, w) or (h, w, 3) of one of the images `x`."""
    if x.ndim == 2 and isqrt(x.shape[1]) ** 2 == x.shape[1] > 0:
        return (isqrt(x.shape[1]),) * 2
    if x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 3):
        return x.shape[1:]
    if x.ndim == 4 and x.shape[3] == 1:
        return x.shape[1:3]
    raise ValueError(
        f"an array of shape {list(x.shape)} does not hold images: pass [n, height, width], [n, height, width, 3] or "
        "[n, d] with d a square number"
    )


def rows(x: Array, shape: tuple[int, ...]) -> Array:
    """Check the values of `x` and return it as rows [n, d] of uint8 (0..255) or floats (0..1)."""
    if x.size == 0 or x.size != len(x) * np.prod(shape):
        raise ValueError(f"images have shape {list(x.shape[1:])}, but the training images have {list(shape)}")
    x = x.reshape(len(x), -1)
    if x.dtype == np.bool_ or x.dtype == np.float16:
        x = x.astype(np.float32)
    if x.dtype == np.uint8:
        if x.max() <= 1:
            raise ValueError("uint8 images must use 0..255, but the largest value is 1: save x.astype(numpy.float32)")
    elif x.dtype.kind != "f":
        raise ValueError(f"the images are {x.dtype}: save them as uint8 (0..255) or as float32 (0..1)")
    elif not (x.min() >= 0 and x.max() <= 1):
        found = "contain NaN" if np.isnan(x.min()) else f"range from {x.min():g} to {x.max():g}"
        raise ValueError(f"floats must lie in 0..1, but these {found}: rescale them, or save 0..255 as uint8")
    return x


def load(path: Path) -> Images:
    """Load the images in `path`; without a test set, hold out a tenth."""
    x_train, y_train, x_test, y_test = read(path)
    shape = image_shape(x_train)
    train = rows(x_train, shape)
    if x_test is not None:
        test = rows(x_test, shape)
    else:  # at random: files are often sorted or periodic in the labels
        held_out = np.zeros(len(train), dtype=bool)
        held_out[np.random.default_rng(0).permutation(len(train))[: len(train) // 10]] = True
        train, test = train[~held_out], train[held_out]
        y_test = None if y_train is None else y_train[held_out]
    if len(train) < 10 or len(test) < 10:
        raise ValueError(
            f"{len(train)} training and {len(test)} test images are too few: at least 10 of each are needed"
        )

    classes = [] if y_test is None else np.unique(y_test).tolist()
    if y_test is None or y_test.shape != test.shape[:1] or len(classes) > MAX_CLASSES:
        return Images(train, test, None, shape, ())
    names = FASHION_CLASSES if path.resolve() == FASHION_MNIST.resolve() else [str(name) for name in classes]
    return Images(train, test, y_test, shape, names)


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Trained:
    """A fitted model, its name in the pictures, and its training time."""

    name: str
    model: fastvae.VAE
    seconds: float
    images_per_second: float


def train(images: Images, latent_dim: int, epochs: int) -> Trained:
    """Fit a VAE with `latent_dim` latent dimensions to `images` and time it."""
    model = fastvae.VAE(latent_dim, hidden=(400, 200), epochs=epochs, random_state=0)
    start = time.perf_counter()
    model.fit(images.train, validation_data=images.test)
    seconds = time.perf_counter() - start
    return Trained(f"{latent_dim}-D", model, seconds, epochs * len(images.train) / seconds)


def table(images: Images, models: Sequence[Trained]) -> str:
    """Evaluate the models; return a table of losses (nats per image) and speed."""
    lines = [
        f"{'latent':8}{'':12}{'ELBO':>9}{'reconstruction':>17}{'KL':>8}{'seconds':>10}{'images/s':>11}",
        f"{'':20}{'nats':>9}{'nats':>17}{'nats':>8}",
    ]
    for trained in models:
        for part, x in (("train", images.train), ("held-out", images.test)):
            terms = trained.model.evaluate(x)
            line = f"{trained.name if part == 'train' else '':8}{part:12}"
            line += f"{terms['elbo']:9.1f}{terms['reconstruction']:17.1f}{terms['kl']:8.1f}"
            if part == "train":
                line += f"{trained.seconds:10.1f}{trained.images_per_second:11,.0f}"
            lines.append(line)
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------- pictures


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that needs no display."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1))


def draw_reconstructions(images: Images, trained: Trained) -> Figure:
    """Draw twenty held-out images above their reconstructions, taking the classes in turn."""
    chosen, names = np.arange(min(20, len(images.test))), None
    if images.test_labels is not None:
        classes = list(enumerate(np.unique(images.test_labels)))
        members = [(i, np.flatnonzero(images.test_labels == label)[:20]) for i, label in classes]
        in_turn = [(i, found[turn]) for turn in range(20) for i, found in members if turn < len(found)][:20]
        chosen = np.array([position for _, position in in_turn])
        names = [images.class_names[i] for i, _ in in_turn]
    lines = -(-len(chosen) // 10)
    figure = new_figure(11, 0.5 + lines * (0.3 + 2 * images.shape[0] / images.shape[1]))
    ax = plots.reconstructions(
        trained.model, images.test[chosen], images.shape, columns=10, ax=figure.subplots(), titles=names
    )
    latent_dim = trained.name.removesuffix("-D")
    ax.set_title(
        f"Held-out images and, below each, its reconstruction from {latent_dim} latent dimensions", fontsize=13, pad=18
    )
    return figure


def draw_samples(images: Images, trained: Trained) -> Figure:
    """Draw decoder means of samples from the prior."""
    columns = 12
    figure = new_figure(8, 0.5 + 8 * images.shape[0] / images.shape[1])
    sampled = trained.model.sample(columns * columns, random_state=0)
    ax = plots.images(sampled, images.shape, columns, ax=figure.subplots())
    ax.set_title(f"Samples: decoder means of draws from the {trained.name} prior", fontsize=13)
    return figure


def draw_latent_grid(images: Images, trained: Trained) -> Figure:
    """Draw the decoder over a 2-D latent space, at evenly spaced quantiles of the prior in each direction."""
    figure = new_figure(9, 0.7 + 9 * images.shape[0] / images.shape[1])
    plots.manifold(trained.model, n=19, shape=images.shape, ax=figure.subplots())
    return figure


def draw_latent_scatter(images: Images, trained: Trained) -> Figure:
    """Draw the posterior means of the held-out images, coloured by class."""
    names = None
    if images.test_labels is not None:
        _, index = np.unique(images.test_labels, return_inverse=True)
        names = np.array(images.class_names)[index]
    figure = new_figure(8 if names is None else 9.5, 7.5)
    ax = plots.latent_scatter(trained.model, images.test, names, ax=figure.subplots())
    ax.set_title(f"Posterior means of {len(images.test):,} held-out images", fontsize=13)
    return figure


def draw_learning_curve(models: Sequence[Trained]) -> Figure:
    """Draw ELBO, reconstruction and KL by epoch; training images (dashed) and held-out ones (solid)."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(13, 4.4)
    figure.suptitle("Learning curves of the two models", fontsize=13)
    terms = {
        "elbo": "ELBO (higher is better)",
        "reconstruction": "Reconstruction, $-$E log p(x|z) (lower is better)",
        "kl": "KL(q(z|x) ‖ p(z))",
    }
    for axes, (key, title) in zip(figure.subplots(1, 3), terms.items(), strict=True):
        shown: list[float] = []
        for i, trained in enumerate(models):
            history = trained.model.history_
            epochs = np.arange(1, len(history[key]) + 1)
            few = len(epochs) <= 10
            for name, part, dash in ((key, "training", "--"), (f"val_{key}", "held out", "-")):
                label = f"{trained.name}, {part}"
                axes.plot(epochs, history[name], dash, color=f"C{i}", marker="." if few else "", label=label)
                shown += history[name][0 if few else 2 :]  # the first two epochs would dominate the range
        if key != "kl":
            margin = 0.04 * (max(shown) - min(shown))
            axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("nats per image")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92")
    figure.axes[0].legend(frameon=False)
    return figure


def write_explorer(images: Images, trained: Trained, path: Path) -> str:
    """Write a page to explore the latent space in a browser; return what the program prints of it."""
    title = f"{len(images.test):,} held-out images in {trained.name.removesuffix('-D')} latent dimensions"
    names = None if images.test_labels is None else images.class_names
    try:
        fastvae.explorer(
            trained.model,
            images.test,
            images.test_labels,
            path,
            title=title,
            class_names=names,
            image_shape=images.shape,
            max_bytes=20_000_000,
        )
    except ValueError as error:  # large images
        return f"{path} is not written: {error}"
    return str(path)


# ---------------------------------------------------------------------------------------------- the program


def main() -> None:
    """Parse the command line, load, train, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=FASHION_MNIST, help="file of images; default: Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the pictures; default: demo")
    parser.add_argument("--epochs", type=int, help="default: 600,000 / number of training images, within 10 to 200")
    options = parser.parse_args()
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        parser.exit(1, "The demo needs matplotlib: pip install 'fastvae-cpu[plot]'\n")
    try:
        images = load(options.data)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        parser.exit(1, f"Cannot use {options.data}: {error}\n")

    n = len(images.train)
    epochs = options.epochs or min(max(EXAMPLES_PER_MODEL // n, 10), 200)
    size = " x ".join(map(str, images.shape))
    print(f"{options.data.name}: {n:,} images of {size}, {len(images.test):,} held out; {epochs} epochs")
    plane, large = (train(images, latent_dim, epochs) for latent_dim in (2, 20))
    print(table(images, (plane, large)))

    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "reconstructions": draw_reconstructions(images, large),
        "samples": draw_samples(images, large),
        "latent_grid": draw_latent_grid(images, plane),
        "latent_scatter": draw_latent_scatter(images, plane),
        "learning_curve": draw_learning_curve((plane, large)),
    }.items():
        figure.savefig(options.out / f"{name}.png", dpi=120, bbox_inches="tight", pad_inches=0.1)
        print(options.out / f"{name}.png")
    print(write_explorer(images, large, options.out / "explorer.html"))


if __name__ == "__main__":
    main()
