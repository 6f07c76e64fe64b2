"""What the scripts of this folder share: MNIST, binary images, the marginal likelihood, files, axes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastvae

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

HERE = Path(__file__).resolve().parent
SCRATCH = HERE / "scratch"  # models under way; not committed
RESULTS = HERE / "results"  # curves and figures; committed
MNIST = HERE.parents[2] / "shared" / "data" / "mnist.npz"  # beside the repository
FEW = 1_000  # points whose marginal likelihood is estimated (the paper's appendix E: the first 1,000)


# ---------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """Images as rows: uint8 in 0..255 or float32 in 0..1."""

    train: Array
    test: Array


def load_mnist(path: Path) -> Data:
    """Read x_train and x_test, uint8 [n, height, width], from an .npz file.

    Raises
    ------
    SystemExit
        If there is no such file, or it holds something else.
    """
    if not path.exists():
        raise SystemExit(
            f"MNIST is looked for in {path.name} in shared/data beside the repository, and is not there.\n"
            "Give --data PATH: an .npz file with x_train [60000, 28, 28] and x_test [10000, 28, 28], uint8."
        )
    with np.load(path, allow_pickle=False) as archive:
        if not {"x_train", "x_test"} <= set(archive.files):
            raise SystemExit(f"{path.name} holds {archive.files}, but x_train and x_test are needed")
        train, test = (archive[name].reshape(len(archive[name]), -1) for name in ("x_train", "x_test"))
    if train.dtype != np.uint8 or test.dtype != np.uint8:
        raise SystemExit(f"{path.name} holds {train.dtype} and {test.dtype}, but uint8 in 0..255 are needed")
    return Data(train, test)


def draw_binary(images: Array, random: np.random.Generator) -> Array:
    """Draw each pixel from a Bernoulli distribution whose mean is its grey value.

    Parameters
    ----------
    images : ndarray of uint8
        Grey values g in 0..255.
    random : numpy generator
        Where the draws come from.

    Returns
    -------
    ndarray of uint8
        0 or 255, which fastvae reads as exactly 0 and 1: an integer of 0..254 is below g with probability g / 255.
    """
    binary: Array = (random.integers(0, 255, images.shape, dtype=np.uint8) < images).view(np.uint8)
    binary *= 255
    return binary


# ---------------------------------------------------------------------------------------------- log p(x)


class LogMarginal(NamedTuple):
    """Estimates of log p(x), nats, with their standard errors and effective sample sizes: each [n]."""

    estimate: Array
    standard_error: Array
    ess: Array


def log_marginal(vae: fastvae.VAE, X: Array, n_samples: int, seed: int = 0) -> LogMarginal:
    """Estimate log p(x) = log E_q[w], w = p(x|z) p(z) / q(z|x), by importance sampling from the encoder's q.

    TODO: this is a stand-in for ``vae.log_marginal(X, n_samples)``, to be deleted when that is there.

    Parameters
    ----------
    vae : fitted VAE
        With a likelihood that is one for X: binary images.
    X : ndarray, [n, n_features]
        Images.
    n_samples : int
        Draws of z an image.
    seed : int
        Of the draws.

    Returns
    -------
    LogMarginal
        The logarithm of an average is below log p(x) on average (Burda et al., arXiv:1509.00519, theorem 1).
    """
    parts = []
    for first in range(0, len(X), 1_000):
        rows = X[first : first + 1_000]
        random = np.random.default_rng([seed, first])
        mu, logvar = (part.astype(np.float64) for part in vae.encode(rows))
        kl = -0.5 * (1 + logvar - mu**2 - np.exp(logvar)).sum(1)
        log_w = np.empty((n_samples, len(rows)))
        for k in range(n_samples):
            eps = random.standard_normal(mu.shape, np.float32)
            z = mu + np.exp(0.5 * logvar) * eps
            log_p = vae.score_samples(rows, eps=eps) + kl  # log p(x|z): the score is that minus the analytic KL
            log_w[k] = log_p + 0.5 * (logvar + eps.astype(np.float64) ** 2 - z**2).sum(1)
        top = log_w.max(0)
        w = np.exp(log_w - top)
        ess = w.sum(0) ** 2 / (w**2).sum(0)
        # The delta method: the relative error of the mean of w is that of log p(x).
        error = np.sqrt(np.maximum(1 / ess - 1 / n_samples, 0) * n_samples / max(n_samples - 1, 1))
        parts.append((np.log(w.mean(0)) + top, error, ess))
    return LogMarginal(*(np.concatenate(column) for column in zip(*parts, strict=True)))


# ---------------------------------------------------------------------------------------------- files


def load_model(path: Path, jobs: int | None) -> fastvae.VAE:
    """Read a model that is under way."""
    vae = fastvae.load(path)
    assert isinstance(vae, fastvae.VAE)
    vae.n_jobs = jobs
    return vae


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_csv(path: Path, curves: Sequence[dict[str, Any]], key: str) -> None:
    """Write the points of all curves as lines, with the number that tells the curves apart in the first column."""
    lines = [{key: curve[key], "stepsize": curve["stepsize"], **point} for curve in curves for point in curve["curve"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()} for line in lines)


# ---------------------------------------------------------------------------------------------- pictures


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches; pictures go to files only, so no display is needed."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))


def bare(ax: Axes) -> None:
    """Leave of the frame what is read: two lines and a faint grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)


def log_samples(ax: Axes) -> None:
    """Make the horizontal axis logarithmic, with numbers at whole decades only."""
    from matplotlib.ticker import NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.12)
    print(path.name, flush=True)
