"""Figures 2 and 3 of Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), with fastvae.

    python examples/aevb/aevb.py [--quick] [--samples 1e7] [--data PATH] [--faces PATH]

Figure 2: the lower bound per datapoint of training and test images against the number of training samples, for MNIST
with 3, 5, 10, 20 and 200 latent dimensions and, given --faces, for images of faces with 2, 5, 10 and 20.
Figure 3: the marginal likelihood of models with 3 latent dimensions, trained on 1,000 and on 50,000 images.

A run can be interrupted at any time; the same command continues it, with bitwise identical results. A larger --samples
continues from the models of a smaller one. Losses are in nats per image.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import (
    FEW,
    MNIST,
    RESULTS,
    SCRATCH,
    Array,
    Data,
    bare,
    draw_binary,
    load_mnist,
    load_model,
    log_samples,
    new_figure,
    read_json,
    save_figure,
    write_csv,
    write_json,
)

import fastvae
from fastvae.likelihoods import Bernoulli, Gaussian
from fastvae.optimizers import Adagrad

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Section 5 of the paper.
BATCH_SIZE = 100
STEPSIZES = (0.01, 0.02, 0.1)
MNIST_LATENTS = (3, 5, 10, 20, 200)
MNIST_HIDDEN = 500
FACES_LATENTS = (2, 5, 10, 20)
FACES_HIDDEN = 200
MARGINAL_LATENT, MARGINAL_HIDDEN = 3, 100
MARGINAL_TRAIN = (1_000, 50_000)

# "Initialized by random sampling from N(0, 0.01)": 0.01 is the standard deviation, not the variance, in the first
# author's code of the time (github.com/dpkingma/anglepy, models/VAE_Z_X.py).
INITIAL_STD = 0.01

# MNIST is usually divided into 50,000 training, 10,000 validation and 10,000 test images; the first author's code and
# Figure 3 ("N_train = 50000") use this division. The validation images are not used here.
N_TRAIN = 50_000

FIRST_POINT = 4  # the curves start at 10^4 samples, a hundred minibatches
A_DECADE = 10  # points of a curve per decade
CHUNK = 50_000  # rows per call of partial_fit; limits the memory of the gathered rows
PROBE = 100_000  # samples before the stepsizes are compared: 1,000 iterations, the paper's "first few"


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Run:
    """A model to train and its data."""

    name: str
    data: Data
    latent_dim: int
    hidden: int
    likelihood: Any
    measure: Callable[[fastvae.VAE, Data], dict[str, float]]
    seed: int
    stepsize: float | None = None  # None: choose among STEPSIZES, as in the paper
    draws: int = 1  # of z for each image in a measurement

    def identity(self) -> dict[str, Any]:
        """Return all options that determine the results."""
        n, d = self.data.train.shape
        return {
            "latent_dim": self.latent_dim, "hidden": self.hidden, "likelihood": repr(self.likelihood), "n_features": d,
            "n_train": n, "n_test": len(self.data.test), "data": self.data.checksum(), "seed": self.seed,
            "given_stepsize": self.stepsize, "draws": self.draws,
        }  # fmt: skip

    def new_model(self, stepsize: float, jobs: int | None) -> fastvae.VAE:
        """Return the model before its first step."""
        n, d = self.data.train.shape
        vae = fastvae.VAE(
            self.latent_dim,
            hidden=(self.hidden,),
            activation="tanh",
            likelihood=self.likelihood,
            # The paper maximises (N / M) sum_i L_i + log p(theta), with p(theta) = N(0, I), over a minibatch of M. The
            # gradient is (N / M) sum_i dL_i - theta. Our loss is the mean over the minibatch, that is the objective
            # divided by -N, so the gradient of the prior is theta / N: an L2 penalty of 1 / N, added to the gradient
            # as in torch. Adagrad is invariant to the factor, since it divides by the root of the sum of squares.
            # Biases and the encoder have the prior too ("all parameters ... using the MAP criterion").
            optimizer=Adagrad(weight_decay=1 / n),
            learning_rate=stepsize,
            batch_size=BATCH_SIZE,
            n_jobs=jobs,
            random_state=self.seed,
        )
        return vae.load_state_dict(initial_parameters(d, self.hidden, self.latent_dim, self.seed, self.likelihood))


def initial_parameters(d: int, hidden: int, latent_dim: int, seed: int, likelihood: Any = None) -> dict[str, Array]:
    """Draw all parameters, including biases, from N(0, INITIAL_STD²)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, wide, narrow in (
        ("encoder.0", hidden, d), ("mu", latent_dim, hidden), ("logvar", latent_dim, hidden),
        ("decoder.0", hidden, latent_dim), ("decoder.2", d, hidden),
    ):  # fmt: skip
        shapes |= {f"{name}.weight": (wide, narrow), f"{name}.bias": (wide,)}
    if isinstance(likelihood, Gaussian):
        shapes |= {"scale.weight": (d, hidden), "scale.bias": (d,)}
    random = np.random.default_rng(seed)
    return {name: random.normal(0, INITIAL_STD, shape).astype(np.float32) for name, shape in shapes.items()}


def curve_points(samples: float) -> list[int]:
    """Return the numbers of samples at which a curve is measured: ten per decade from 10^4, whole minibatches."""
    steps = int(np.floor(A_DECADE * (np.log10(max(samples, 10**FIRST_POINT)) - FIRST_POINT) + 1e-9))
    exact = [10 ** (FIRST_POINT + i / A_DECADE) for i in range(steps + 1)]
    return [round(point / BATCH_SIZE) * BATCH_SIZE for point in exact]


def boundaries(points: Sequence[int]) -> list[int]:
    """Return where calls of partial_fit start and end: at the points and at multiples of CHUNK.

    The boundaries of a shorter run are the first ones of a longer run, so the number of calls gives the position.
    """
    return sorted({0, *points, *range(CHUNK, points[-1], CHUNK)})


def stream(n: int, seed: int, start: int, stop: int) -> Array:
    """Return the rows of samples start .. stop in an endless sequence of shuffled passes."""
    passes = range(start // n, -(-stop // n))
    rows = np.concatenate([np.random.default_rng([seed, i]).permutation(n) for i in passes])
    return rows[start - passes[0] * n : stop - passes[0] * n]


def advance(vae: fastvae.VAE, run: Run, start: int, stop: int) -> None:
    """Train on samples start .. stop."""
    vae.partial_fit(run.data.train[stream(len(run.data.train), run.seed, start, stop)])


def choose_stepsize(run: Run, jobs: int | None) -> tuple[float, dict[str, float | None]]:
    """Return the stepsize with the best training bound after PROBE samples, and the bounds of all stepsizes."""
    bounds: dict[str, float | None] = {}
    for stepsize in STEPSIZES:
        vae = run.new_model(stepsize, jobs)
        try:
            for start, stop in pairwise(boundaries([PROBE])):
                advance(vae, run, start, stop)
            bounds[str(stepsize)] = vae.score(run.data.train)
        except FloatingPointError:  # diverged
            bounds[str(stepsize)] = None
    reached = {stepsize: bound for stepsize, bound in bounds.items() if bound is not None}
    return float(max(reached, key=lambda stepsize: reached[stepsize])), bounds


def train(run: Run, points: Sequence[int], scratch: Path, jobs: int | None) -> dict[str, Any]:
    """Train a model and measure it at `points`, saving both in `scratch`; continue an earlier run found there.

    Returns
    -------
    dict
        The options of the run and its "curve": a list of points with "samples", the results of ``run.measure``, and
        the "seconds" of training so far.
    """
    notes, state = scratch / f"{run.name}.json", scratch / f"{run.name}.safetensors"
    log, identity = read_json(notes), run.identity()
    if log is None:
        stepsize, bounds = (run.stepsize, {}) if run.stepsize else choose_stepsize(run, jobs)
        log = {"name": run.name, **identity, "stepsize": stepsize, "probe": bounds, "curve": []}
        write_json(notes, log)
        state.unlink(missing_ok=True)
    other = [key for key, value in identity.items() if key not in log or log[key] != value]
    if other:
        raise SystemExit(
            f"{notes.name} in the scratch folder belongs to another run ({', '.join(other)} differ): remove it, or "
            "pass another --scratch"
        )
    if state.exists():
        vae = load_model(state, jobs)
    else:
        vae, log["curve"] = run.new_model(log["stepsize"], jobs), []
    calls = list(pairwise(boundaries(points)))
    measured = {point["samples"] for point in log["curve"]}

    def measure(samples: int) -> None:
        log["curve"].append({"samples": samples, **run.measure(vae, run.data), "seconds": round(vae.elapsed_, 2)})
        write_json(notes, log)
        values = "  ".join(f"{key} {value:.2f}" for key, value in log["curve"][-1].items() if key != "samples")
        print(f"{time.strftime('%H:%M:%S')}  {run.name}  {samples:>10,}  {values}", flush=True)

    done = min(vae.n_iter_, len(calls))  # calls of partial_fit; the model is saved before the notes
    if done == vae.n_iter_ > 0 and calls[done - 1][1] in points and calls[done - 1][1] not in measured:
        measure(calls[done - 1][1])
    for start, stop in calls[done:]:
        advance(vae, run, start, stop)
        if stop in points:
            vae.save(state)
            measure(stop)
    log["curve"] = [point for point in log["curve"] if point["samples"] <= points[-1]]
    return dict(log)


def measure_bound(vae: fastvae.VAE, data: Data) -> dict[str, float]:
    """Return the mean lower bounds of all training and all test images, with one draw of z for each."""
    return {"train": vae.score(data.train), "test": vae.score(data.test)}


def measure_marginal(n_samples: int) -> Callable[[fastvae.VAE, Data], dict[str, float]]:
    """Return a function that estimates log p(x) of the first 1,000 training and test images.

    The paper's estimator (appendix D) draws from the posterior by Hamiltonian Monte Carlo, fits a density q to the
    draws, and averages q(z) / (p(z) p(x|z)) over further draws, which estimates 1 / p(x). This one draws from the
    encoder's q(z|x) and averages p(x|z) p(z) / q(z|x), which estimates p(x); its logarithm is below log p(x) on
    average. Its quality depends on the encoder: late in training, the median effective sample size of 1,000 draws is
    15 for the test images of the model of 50,000 and 2 for those of the model of 1,000 (training images: 44 and 224).
    Such estimates are too low and their standard errors too small.
    """

    def measure(vae: fastvae.VAE, data: Data) -> dict[str, float]:
        found: dict[str, float] = {}
        for part, images in (("train", data.train[:FEW]), ("test", data.test[:FEW])):
            result = vae.log_marginal(images, n_samples)
            found[part] = float(result.estimate.mean())
            found[f"{part}_error"] = float(np.sqrt((result.standard_error**2).sum()) / len(images))
            found[f"{part}_ess"] = float(np.median(result.ess))
            found[f"{part}_bound"] = vae.score(images)
        return found

    return measure


# ---------------------------------------------------------------------------------------------- the two experiments


def figure2_runs(mnist: Data, latents: Sequence[int], hidden: int, seed: int, stepsize: float | None) -> list[Run]:
    """Return the runs of Figure 2's first row.

    Grey values are not binarized: the paper does not mention it, and the first author's code does it only on request.
    With the Bernoulli decoder, the loss of a grey image is a cross-entropy: the expectation of -log p(b|z) over binary
    images b drawn with the grey values as means. The curve is therefore a lower bound on the mean log-likelihood of
    such binary images, with an encoder that reads the grey image.
    """
    named = f"-stepsize{stepsize:g}" if stepsize else ""
    return [
        Run(f"mnist-latent{latent}{named}", mnist, latent, hidden, Bernoulli(), measure_bound, seed, stepsize)
        for latent in latents
    ]


def faces_runs(faces: Data, hidden: int, seed: int) -> list[Run]:
    """Return the runs of Figure 2's second row.

    The decoder is Gaussian, its means are "constrained to the interval (0, 1) using a sigmoidal activation function",
    and it gives a variance for each pixel of each image (section 5 and appendix C.2). Here the variance has a floor of
    10^-6.
    """
    likelihood = Gaussian("decoder", mean="sigmoid")
    return [
        Run(f"faces-latent{latent}", faces, latent, hidden, likelihood, measure_bound, seed) for latent in FACES_LATENTS
    ]


def figure3_runs(mnist: Data, sizes: Sequence[int], hidden: int, n_samples: int, seed: int) -> list[Run]:
    """Return the runs of Figure 3, on binary images: log p(x) of a grey image is undefined.

    The binary images are drawn once from the grey values, with a seed, not thresholded: the loss of a grey image in
    Figure 2 is the expectation over such draws, so the two figures are comparable.
    """
    random = np.random.default_rng([seed, 1])
    binary = Data(draw_binary(mnist.train, random), draw_binary(mnist.test, random))
    return [
        Run(
            f"marginal-train{n}",
            Data(binary.train[:n], binary.test),
            MARGINAL_LATENT,
            hidden,
            Bernoulli(),
            measure_marginal(n_samples),
            seed,
            draws=n_samples,
        )
        for n in sizes
    ]


def load_faces(path: Path, seed: int) -> Data:
    """Read images of faces from an .npy file or the first array of an .npz file; hold out a random tenth."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot read the faces in {path.name}: {error}") from error
    images = found if isinstance(found, np.ndarray) else found[found.files[0]]
    if images.ndim < 2 or len(images) < 2 * BATCH_SIZE:
        raise SystemExit(f"{path.name} holds an array {images.shape}; at least {2 * BATCH_SIZE} images are needed")
    images = images.reshape(len(images), -1)
    rows = images / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)
    if not (rows.min() >= 0 and rows.max() <= 1):
        raise SystemExit(f"the values in {path.name} must be uint8 or lie in 0..1")
    order = np.random.default_rng([seed, 2]).permutation(len(rows))
    held_out = len(rows) // 10
    return Data(rows[order[held_out:]], rows[order[:held_out]])


# ---------------------------------------------------------------------------------------------- pictures

COLOUR = "#1f5fa8"
FLOOR = -180.0  # the first points are far lower and would dominate the range


def draw_figure2(mnist: Sequence[dict[str, Any]], faces: Sequence[dict[str, Any]]) -> Figure:
    """Draw the lower bounds: a row for each data set, a panel for each number of latent dimensions."""
    rows = [
        (name, sorted(curves, key=lambda curve: curve["latent_dim"]))
        for name, curves in (("MNIST", mnist), ("Faces", faces))
        if curves
    ]
    columns = max(len(curves) for _, curves in rows)
    figure = new_figure(2.55 * columns + 0.5, 3.0 * len(rows) + 0.5)
    figure.suptitle("Lower bound per image against training samples seen", fontsize=13)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (name, curves), line in zip(rows, grid, strict=True):
        best = max(point[part] for curve in curves for point in curve["curve"] for part in ("train", "test"))
        late = [curve["curve"][-1][part] for curve in curves for part in ("train", "test")]
        least = min(FLOOR, min(late) - 5) if name == "MNIST" else min(late) - 0.5 * (best - min(late)) - 100
        for ax, curve in zip(line, curves, strict=False):
            draw_curve(ax, curve)
            ax.set_title(f"{name}, $N_z$ = {curve['latent_dim']}", fontsize=11)
            ax.set_ylim(least, best + 0.12 * (best - least))
            if ax is not line[0]:
                ax.tick_params(labelleft=False)
        line[0].set_ylabel("lower bound, nats")
        for ax in line[len(curves) :]:
            ax.set_visible(False)
    for column in grid.T:  # under the lowest panel
        [ax for ax in column if ax.get_visible()][-1].set_xlabel("training samples")
    grid[0, 0].legend(frameon=False, loc="upper left")
    return figure


def draw_curve(ax: Axes, curve: dict[str, Any]) -> None:
    """Draw the bounds of a curve; annotate the last test bound."""
    samples = [point["samples"] for point in curve["curve"]]
    for part, label, dash in (("train", "training images", "--"), ("test", "test images", "-")):
        ax.plot(samples, [point[part] for point in curve["curve"]], dash, color=COLOUR, label=label, linewidth=1.6)
    last = curve["curve"][-1]
    ax.plot(last["samples"], last["test"], "o", color=COLOUR, markersize=4)
    value = f"{last['test']:.1f}".replace("-", "\N{MINUS SIGN}")
    ax.annotate(
        value,
        (last["samples"], last["test"]),
        (4, 7),
        textcoords="offset points",
        ha="right",
        fontsize=10,
        color=COLOUR,
    )
    log_samples(ax)
    bare(ax)


def draw_figure3(curves: Sequence[dict[str, Any]]) -> Figure:
    """Draw the marginal likelihoods: a panel for each number of training images."""
    figure = new_figure(4.4 * len(curves) + 0.4, 4.1)
    figure.suptitle(f"Estimated marginal likelihood, {MARGINAL_LATENT} latent dimensions", fontsize=13)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    shown = [point[part] for curve in curves for point in curve["curve"] for part in ("train", "test")]
    least = max(min(shown), -200.0)
    for ax, curve in zip(panels, curves, strict=True):
        samples = [point["samples"] for point in curve["curve"]]
        for part, label, dash in (("train", "training images", "--"), ("test", "test images", "-")):
            values = [point[part] for point in curve["curve"]]
            ax.plot(samples, values, dash, color=COLOUR, linewidth=1.8, label=f"log p(x), {label}")
            bounds = [point[f"{part}_bound"] for point in curve["curve"]]
            ax.plot(samples, bounds, dash, color="0.6", linewidth=1.1, label=f"lower bound, {label}")
        ax.set_title(f"$N_{{train}}$ = {curve['n_train']:,}", fontsize=11)
        log_samples(ax)
        ax.set_xlabel("training samples")
        ax.set_ylim(least, max(shown) + 0.04 * (max(shown) - least))
        bare(ax)
    for ax in panels[1:]:
        ax.tick_params(labelleft=False)
    panels[0].set_ylabel("nats per image")
    panels[-1].legend(frameon=False, loc="lower right", fontsize=9)
    return figure


# ---------------------------------------------------------------------------------------------- the program


def keep(out: Path, name: str, curves: Sequence[dict[str, Any]], key: str) -> None:
    """Write curves as JSON and CSV; keep the other curves of earlier runs."""
    mine = {curve["name"] for curve in curves}
    others = [curve for curve in read_json(out / f"{name}.json") or [] if curve["name"] not in mine]
    every = sorted([*others, *curves], key=lambda curve: (curve[key], curve["stepsize"]))
    write_json(out / f"{name}.json", every)
    write_csv(out / f"{name}.csv", every, key)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, write the curves, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 x 10^5 samples per model: about 3 minutes on 2 cores")
    parser.add_argument(
        "--samples", type=float, help="training samples per model, rounded down to a point of the curves"
    )
    parser.add_argument("--data", type=Path, default=MNIST, help="MNIST; default: ../shared/data/mnist.npz")
    parser.add_argument("--faces", type=Path, default=os.environ.get("FACES"), help="images of faces; default: $FACES")
    parser.add_argument("--latent", type=int, nargs="+", default=MNIST_LATENTS, help="latent dimensions of Figure 2")
    parser.add_argument("--hidden", type=int, help="hidden units; default: the paper's")
    parser.add_argument("--stepsize", type=float, help="fixed stepsize for Figure 2; nothing is drawn")
    parser.add_argument("--figure", type=int, nargs="+", choices=(2, 3), default=(2, 3))
    parser.add_argument("--scratch", type=Path, help="unfinished models; default: examples/aevb/scratch")
    parser.add_argument("--out", type=Path, help="default: examples/aevb/results; with --quick: scratch/quick")
    parser.add_argument("--jobs", type=int, help="threads; results do not depend on it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    scratch = options.scratch or (SCRATCH / "quick" if options.quick else SCRATCH)
    out = options.out or (scratch if options.quick else RESULTS)
    points = curve_points(options.samples or (10**5.3 if options.quick else 1e7))
    whole = load_mnist(options.data)
    mnist = Data(whole.train[:N_TRAIN], whole.test)
    draws = 100 if options.quick else 1_000

    if 2 in options.figure:
        first = figure2_runs(mnist, options.latent, options.hidden or MNIST_HIDDEN, options.seed, options.stepsize)
        curves = [train(run, points, scratch, options.jobs) for run in first]
        keep(out, "figure2", curves, "latent_dim")
        faces = []
        if options.faces:
            second = faces_runs(load_faces(options.faces, options.seed), options.hidden or FACES_HIDDEN, options.seed)
            faces = [train(run, points, scratch, options.jobs) for run in second]
            keep(out, "figure2_faces", faces, "latent_dim")
        if not options.stepsize:
            save_figure(draw_figure2(curves, faces), out / "figure2.png")
    if 3 in options.figure:
        sizes = [min(n, len(mnist.train)) for n in MARGINAL_TRAIN]
        third = figure3_runs(mnist, sizes, options.hidden or MARGINAL_HIDDEN, draws, options.seed)
        curves = [train(run, points, scratch, options.jobs) for run in third]
        keep(out, "figure3", curves, "n_train")
        save_figure(draw_figure3(curves), out / "figure3.png")


if __name__ == "__main__":
    main()
