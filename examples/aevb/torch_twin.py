"""The models of aevb.py in fastvae and in PyTorch, with the same initial weights, minibatches, noise and Adagrad.

    python examples/aevb/torch_twin.py [--latent 10 20] [--samples 3.2e6] [--data PATH]

Both models use noise drawn with numpy, because runs that differ only in the noise differ by nats. The script requires
PyTorch. It can be interrupted; the same command continues the run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from aevb import BATCH_SIZE, COLOUR, MNIST_HIDDEN, N_TRAIN, Run, boundaries, curve_points, measure_bound, stream
from common import (
    MNIST,
    RESULTS,
    SCRATCH,
    Array,
    Data,
    bare,
    load_mnist,
    load_model,
    log_samples,
    new_figure,
    read_json,
    save_figure,
    write_json,
)

from fastvae.likelihoods import Bernoulli

if TYPE_CHECKING:
    from matplotlib.figure import Figure

torch: Any = import_module("torch")  # untyped: mypy runs without PyTorch

OTHER = "#c4541a"
AGREE = 0.5  # nats


def lower_bounds(p: dict[str, Any], x: Any, eps: Any) -> Any:
    """Return the lower bound of each row of x, nats: the paper's equation (10) with L = 1 and appendix C.

    Parameters
    ----------
    p : dict of str to tensor
        Named as in ``fastvae.VAE.state_dict()``.
    x : tensor, [n, n_features]
        Values in 0..1.
    eps : tensor, [n, latent_dim]
        Standard normal.
    """
    linear = torch.nn.functional.linear
    h = torch.tanh(linear(x, p["encoder.0.weight"], p["encoder.0.bias"]))
    mu = linear(h, p["mu.weight"], p["mu.bias"])
    logvar = linear(h, p["logvar.weight"], p["logvar.bias"])
    z = mu + torch.exp(0.5 * logvar) * eps
    h = torch.tanh(linear(z, p["decoder.0.weight"], p["decoder.0.bias"]))
    logits = linear(h, p["decoder.2.weight"], p["decoder.2.bias"])
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    kl = -0.5 * (1 + logvar - mu**2 - torch.exp(logvar)).sum(1)
    return log_p - kl


def normal(n: int, latent_dim: int, *key: int) -> Array:
    """Return standard normal noise for n examples, determined by the key."""
    return np.random.default_rng(key).standard_normal((n, latent_dim), np.float32)


def tensor(images: Array) -> Any:
    """Return uint8 images as a tensor in 0..1."""
    return torch.from_numpy(images).float() / 255


def train(run: Run, stepsize: float, points: Sequence[int], scratch: Path, jobs: int | None) -> dict[str, Any]:
    """Train both models; return their options and "curve": test bounds and training times of both at `points`."""
    data, seed, latent_dim = run.data, run.seed, run.latent_dim
    n = len(data.train)
    ours = run.new_model(stepsize, jobs)
    p = {name: torch.tensor(value, requires_grad=True) for name, value in ours.state_dict().items()}
    optimizer = torch.optim.Adagrad(p.values(), lr=stepsize, weight_decay=1 / n, eps=1e-10)
    notes, state = scratch / f"{run.name}.json", scratch / f"{run.name}.pt"
    log = read_json(notes) or {"latent_dim": latent_dim, "stepsize": stepsize, "seed": seed, "curve": []}
    curve = log["curve"]
    done = curve[-1]["samples"] if curve else 0
    seconds = curve[-1]["torch_seconds"] if curve else 0.0
    if done:  # the number of samples is in the names of both files; the notes are written last
        ours = load_model(scratch / f"{run.name}-{done}.safetensors", jobs)
        kept = torch.load(scratch / f"{run.name}-{done}.pt")
        for name, value in kept["parameters"].items():
            p[name].data.copy_(value)
        optimizer.load_state_dict(kept["optimizer"])

    eps_test = normal(len(data.test), latent_dim, seed, 4)
    for first, last in pairwise(boundaries(points)):
        if last <= done:
            continue
        rows = data.train[stream(n, seed, first, last)]
        eps = normal(len(rows), latent_dim, seed, 3, first)
        ours.partial_fit(rows, eps=eps)
        begun = time.perf_counter()
        for i in range(0, len(rows), BATCH_SIZE):
            loss = -lower_bounds(p, tensor(rows[i : i + BATCH_SIZE]), torch.from_numpy(eps[i : i + BATCH_SIZE])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - begun
        if last not in points:
            continue
        with torch.no_grad():
            theirs = float(lower_bounds(p, tensor(data.test), torch.from_numpy(eps_test)).double().mean())
        mine = float(ours.score_samples(data.test, eps=eps_test).mean(dtype=np.float64))
        times = {"fastvae_seconds": round(ours.elapsed_, 2), "torch_seconds": round(seconds, 2)}
        curve.append({"samples": last, "fastvae": mine, "torch": theirs, **times})
        ours.save(scratch / f"{run.name}-{last}.safetensors")
        torch.save({"parameters": p, "optimizer": optimizer.state_dict()}, state.with_name(f"{run.name}-{last}.pt"))
        write_json(notes, log)
        for suffix in ("safetensors", "pt"):
            (scratch / f"{run.name}-{done}.{suffix}").unlink(missing_ok=True)
        done = last
        print(f"{time.strftime('%H:%M:%S')}  {run.name}  {curve[-1]}", flush=True)
    return {**log, "curve": [point for point in curve if point["samples"] <= points[-1]]}


def draw(twins: Sequence[dict[str, Any]]) -> Figure:
    """Draw the test bounds of both models, and their difference below."""
    figure = new_figure(4.4 * len(twins) + 0.4, 5.2)
    figure.suptitle("Test bound: same initial weights, minibatches and noise", fontsize=13)
    grid = figure.subplots(2, len(twins), squeeze=False, sharex=True, sharey="row", height_ratios=(2, 1))
    for twin, (upper, lower) in zip(twins, grid.T, strict=True):
        samples, mine, other = (
            np.array([point[key] for point in twin["curve"]]) for key in ("samples", "fastvae", "torch")
        )
        upper.plot(samples, mine, "-", color=COLOUR, linewidth=1.8, label="fastvae")
        upper.plot(samples, other, "o", color=OTHER, markersize=6, fillstyle="none", label="PyTorch")
        upper.set_title(f"$N_z$ = {twin['latent_dim']}", fontsize=11)
        lower.axhline(0, color="0.7", linewidth=0.8)
        lower.plot(samples, mine - other, ".-", color=COLOUR, linewidth=1.2)
        log_samples(lower)
        lower.set_xlabel("training samples")
        for ax in (upper, lower):
            bare(ax)
    grid[0, 0].set_ylabel("test bound, nats")
    grid[1, 0].set_ylabel("difference, nats")
    grid[0, 0].legend(frameon=False, loc="lower right")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent", type=int, nargs="+", default=(10, 20))
    parser.add_argument("--samples", type=float, default=3.2e6)
    parser.add_argument("--hidden", type=int, default=MNIST_HIDDEN)
    parser.add_argument("--stepsize", type=float, default=0.01, help="default: 0.01, which aevb.py chooses for MNIST")
    parser.add_argument("--data", type=Path, default=MNIST)
    parser.add_argument("--scratch", type=Path, default=SCRATCH)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--jobs", type=int, help="threads")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if options.jobs:
        torch.set_num_threads(options.jobs)
    whole = load_mnist(options.data)
    data = Data(whole.train[:N_TRAIN], whole.test)
    options.scratch.mkdir(parents=True, exist_ok=True)
    points = curve_points(options.samples)
    twins = []
    for latent_dim in options.latent:
        name = f"twin-latent{latent_dim}"
        run = Run(name, data, latent_dim, options.hidden, Bernoulli(), measure_bound, options.seed)
        twins.append(train(run, options.stepsize, points, options.scratch, options.jobs))
        last = twins[-1]["curve"][-1]
        difference = last["fastvae"] - last["torch"]
        print(
            f"{latent_dim} latent dimensions, {last['samples']:,} samples: fastvae {last['fastvae']:.3f} "
            f"in {last['fastvae_seconds']:.0f} s, PyTorch {last['torch']:.3f} in {last['torch_seconds']:.0f} s; "
            f"they {'agree' if abs(difference) <= AGREE else 'DIFFER'} ({difference:+.4f} nats)"
        )
    write_json(options.out / "torch_twin.json", twins)
    save_figure(draw(twins), options.out / "torch_twin.png")


if __name__ == "__main__":
    main()
