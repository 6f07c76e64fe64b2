"""The models of aevb.py in PyTorch: the same start, minibatches and Adagrad, noise of its own.

    python examples/aevb/torch_twin.py [--latent 10 20] [--samples 3e6] [--data PATH]

It needs aevb.py's results, whose stepsizes it takes and beside whose curves it draws its own, and PyTorch. It can be
stopped and goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aevb import BATCH_SIZE, COLOUR, N_TRAIN, boundaries, curve_points, initial_parameters, stream
from common import (
    MNIST,
    RESULTS,
    SCRATCH,
    Array,
    Data,
    bare,
    load_mnist,
    new_figure,
    read_json,
    save_figure,
    write_json,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

torch: Any = import_module("torch")  # typed where it is installed only, and the project does not depend on it

OTHER = "#c4541a"
AGREE = 0.5  # nats


def lower_bounds(p: dict[str, Any], x: Any, eps: Any) -> Any:
    """Return the lower bound of each row of x, nats: the paper's equation (10) with L = 1 and appendix C.

    Parameters
    ----------
    p : dict of str to tensor
        Named as in ``fastvae.VAE.state_dict()``.
    x : tensor, [n, n_features]
        In 0..1.
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


def train(
    data: Data, ours: dict[str, Any], points: Sequence[int], scratch: Path
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Train the twin of one of aevb.py's runs; return its curve and its parameters."""
    latent_dim, seed = ours["latent_dim"], ours["seed"]
    n, d = data.train.shape
    start = initial_parameters(d, ours["hidden"], latent_dim, seed)
    p = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    optimizer = torch.optim.Adagrad(p.values(), lr=ours["stepsize"], weight_decay=1 / n, eps=1e-10)
    noise = torch.Generator().manual_seed(seed)
    curve: list[dict[str, float]] = []
    seconds = 0.0
    state = scratch / f"torch-{ours['name']}.pt"
    if state.exists():
        kept = torch.load(state)
        for name, value in kept["parameters"].items():
            p[name].data.copy_(value)
        optimizer.load_state_dict(kept["optimizer"])
        noise.set_state(kept["noise"])
        curve = kept["curve"]
        seconds = curve[-1]["seconds"]

    def bound(images: Array) -> float:
        """Return the mean lower bound of all images, with the same noise each time."""
        fixed, total = torch.Generator().manual_seed(seed + 1), 0.0
        with torch.no_grad():
            for first in range(0, len(images), 10_000):
                x = torch.from_numpy(images[first : first + 10_000]).float() / 255
                total += float(lower_bounds(p, x, torch.randn(len(x), latent_dim, generator=fixed)).double().sum())
        return total / len(images)

    done = curve[-1]["samples"] if curve else 0
    for first, last in pairwise(boundaries(points)):
        if last <= done:
            continue
        rows = data.train[stream(n, seed, first, last)]
        begun = time.perf_counter()
        for i in range(0, len(rows), BATCH_SIZE):
            x = torch.from_numpy(rows[i : i + BATCH_SIZE]).float() / 255
            loss = -lower_bounds(p, x, torch.randn(len(x), latent_dim, generator=noise)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - begun
        if last not in points:
            continue
        bounds = {"train": bound(data.train), "test": bound(data.test)}
        curve.append({"samples": last, **bounds, "seconds": round(seconds, 2)})
        kept = {"parameters": p, "optimizer": optimizer.state_dict(), "noise": noise.get_state(), "curve": curve}
        beside = state.with_suffix(".part")
        torch.save(kept, beside)
        beside.replace(state)
        print(f"{time.strftime('%H:%M:%S')}  torch, latent {latent_dim}  {last:>10,}  {bounds}", flush=True)
    return [point for point in curve if point["samples"] <= points[-1]], p


def draw(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Figure:
    """Draw both test bounds, and below them their difference."""
    figure = new_figure(4.4 * len(pairs) + 0.4, 5.2)
    figure.suptitle("Test bound in fastvae and in PyTorch: the same start and minibatches, other noise", fontsize=12.5)
    grid = figure.subplots(2, len(pairs), squeeze=False, sharex=True, sharey="row", height_ratios=(2, 1))
    for (ours, theirs), (upper, lower) in zip(pairs, grid.T, strict=True):
        both = {point["samples"]: point["test"] for point in ours["curve"]}
        samples = [point["samples"] for point in theirs["curve"] if point["samples"] in both]
        other = [point["test"] for point in theirs["curve"] if point["samples"] in both]
        mine = [both[s] for s in samples]
        upper.plot(samples, mine, "-", color=COLOUR, linewidth=1.8, label="fastvae")
        upper.plot(samples, other, "o", color=OTHER, markersize=5, fillstyle="none", label="PyTorch")
        upper.set_title(f"$N_z$ = {ours['latent_dim']}", fontsize=11)
        lower.axhspan(-AGREE, AGREE, color="0.93", linewidth=0)
        lower.axhline(0, color="0.7", linewidth=0.8)
        lower.plot(samples, [a - b for a, b in zip(mine, other, strict=True)], ".-", color=COLOUR, linewidth=1.2)
        lower.set_xscale("log")
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
    parser.add_argument("--samples", type=float, default=10**6.5)
    parser.add_argument("--data", type=Path, default=MNIST)
    parser.add_argument("--scratch", type=Path, default=SCRATCH)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where aevb.py's results are, and these go")
    parser.add_argument("--jobs", type=int, help="threads")
    options = parser.parse_args(argv)
    if options.jobs:
        torch.set_num_threads(options.jobs)
    whole = load_mnist(options.data)
    data = Data(whole.train[:N_TRAIN], whole.test)
    by_name = {curve["name"]: curve for curve in read_json(options.out / "figure2.json") or []}
    pairs = []
    options.scratch.mkdir(parents=True, exist_ok=True)
    for latent_dim in options.latent:
        ours = by_name.get(f"mnist-latent{latent_dim}")
        if ours is None:
            raise SystemExit(f"there is no curve of {latent_dim} latent dimensions: run aevb.py first")
        points = [point for point in curve_points(options.samples) if point <= ours["curve"][-1]["samples"]]
        curve, _ = train(data, ours, points, options.scratch)
        pairs.append((ours, {key: ours[key] for key in ("name", "latent_dim", "stepsize", "seed")} | {"curve": curve}))
        mine = next(point for point in ours["curve"] if point["samples"] == curve[-1]["samples"])
        difference = mine["test"] - curve[-1]["test"]
        print(
            f"{latent_dim} latent dimensions, {curve[-1]['samples']:,} samples: fastvae {mine['test']:.2f} "
            f"in {mine['seconds']:.0f} s, PyTorch {curve[-1]['test']:.2f} in {curve[-1]['seconds']:.0f} s; "
            f"they {'agree' if abs(difference) <= AGREE else 'DIFFER'} ({difference:+.2f} nats)"
        )
    write_json(options.out / "torch_twin.json", [theirs for _, theirs in pairs])
    save_figure(draw(pairs), options.out / "torch_twin.png")


if __name__ == "__main__":
    main()
