"""Functions that the scripts of this folder share: MNIST, binary images, files, axes."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastvae

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

HERE = Path(__file__).resolve().parent
SCRATCH = HERE / "scratch"  # unfinished models; not committed
RESULTS = HERE / "results"  # curves and figures; committed
MNIST = HERE.parents[2] / "shared" / "data" / "mnist.npz"  # beside the repository
FEW = 1_000  # images for the marginal likelihood (appendix E of the paper: the first 1,000)


# ---------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """Images as rows: uint8 in 0..255 or float32 in 0..1."""

    train: Array
    test: Array

    def checksum(self) -> str:
        """Return a checksum of the images."""
        train, test = (np.ascontiguousarray(images).data.cast("B") for images in (self.train, self.test))
        return f"{zlib.crc32(test, zlib.crc32(train)):08x}"


def load_mnist(path: Path) -> Data:
    """Read x_train and x_test, uint8 [n, height, width], from an .npz file.

    Raises
    ------
    SystemExit
        If there is no such file, or it holds something else.
    """
    if not path.exists():
        raise SystemExit(
            f"MNIST ({path.name}) is missing in shared/data beside the repository.\n"
            "Pass --data PATH: an .npz file with x_train [60000, 28, 28] and x_test [10000, 28, 28], uint8."
        )
    with np.load(path, allow_pickle=False) as archive:
        if not {"x_train", "x_test"} <= set(archive.files):
            raise SystemExit(f"{path.name} holds {archive.files}, but needs x_train and x_test")
        train, test = (archive[name].reshape(len(archive[name]), -1) for name in ("x_train", "x_test"))
    if train.dtype != np.uint8 or test.dtype != np.uint8:
        raise SystemExit(f"{path.name} holds {train.dtype} and {test.dtype}, but needs uint8 in 0..255")
    return Data(train, test)


def draw_binary(images: Array, random: np.random.Generator) -> Array:
    """Draw each pixel from a Bernoulli distribution whose mean is its grey value.

    Parameters
    ----------
    images : ndarray of uint8
        Grey values g in 0..255.
    random : numpy generator

    Returns
    -------
    ndarray of uint8
        0 or 255, which fastvae reads as exactly 0 and 1: an integer in 0..254 is below g with probability g / 255.
    """
    binary: Array = (random.integers(0, 255, images.shape, dtype=np.uint8) < images).view(np.uint8)
    binary *= 255
    return binary


# ---------------------------------------------------------------------------------------------- files


def load_model(path: Path, jobs: int | None) -> fastvae.VAE:
    """Load an unfinished model."""
    vae = fastvae.load(path)
    assert isinstance(vae, fastvae.VAE)
    vae.n_jobs = jobs
    return vae


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; return None if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_csv(path: Path, curves: Sequence[dict[str, Any]], key: str) -> None:
    """Write the points of all curves as rows; the first column, `key`, identifies the curve."""
    lines = [{key: curve[key], "stepsize": curve["stepsize"], **point} for curve in curves for point in curve["curve"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()} for line in lines)


# ---------------------------------------------------------------------------------------------- pictures


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that needs no display."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))


def bare(ax: Axes) -> None:
    """Remove the upper and right spines and draw a faint grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)


def log_samples(ax: Axes) -> None:
    """Make the horizontal axis logarithmic, with labels at whole decades."""
    from matplotlib.ticker import NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and print its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.12)
    print(path.name, flush=True)
