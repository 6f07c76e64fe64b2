"""The price of ``precision="bf16"``: test bounds of models trained with bfloat16 and with float32 products.

    python examples/aevb/bf16.py [--models NAME ...] [--seeds 3] [--quick] [--data PATH]

Five models of MNIST: 784-400-20 for 10 epochs; 784-200-200-50 of Burda, Grosse & Salakhutdinov (arXiv:1509.00519) with
tanh units for 20 epochs, new binary images in each; the first with a Gaussian likelihood, of a learned scale and of
scale 1; and two convolutions for 10 epochs. Each seed has the same initial weights, order and noise in both precisions.
Results are added to ``results/bf16.json``; finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import MNIST, RESULTS, SCRATCH, Array, draw_binary, load_mnist, read_json, write_json

import fastvae
from fastvae.layers import Conv2d
from fastvae.likelihoods import Gaussian

CONVOLUTIONS = (Conv2d(32, 4, stride=2, padding=1), Conv2d(64, 4, stride=2, padding=1))
MODELS: dict[str, dict[str, Any]] = {
    "784-400-20": {"latent_dim": 20, "epochs": 10},
    "784-200-200-50": {
        "latent_dim": 50,
        "hidden": (200, 200),
        "activation": "tanh",
        "binarize": "bernoulli",
        "batch_size": 20,
        "epochs": 20,
    },
    "784-400-20, Gaussian": {"latent_dim": 20, "epochs": 10, "likelihood": Gaussian("shared")},
    "784-400-20, scale 1": {"latent_dim": 20, "epochs": 10, "likelihood": Gaussian(1.0)},
    "convolutions 32-64": {"latent_dim": 16, "epochs": 10, "hidden": CONVOLUTIONS, "image_shape": (28, 28)},
}
PRECISIONS = ("float32", "bf16")
GOAL = 0.3  # nats between the means over the seeds


def measure(name: str, precision: str, seed: int, train: Array, test: Array, jobs: int | None) -> dict[str, Any]:
    """Train a model; return its training and test bounds, in nats per image."""
    parameters = MODELS[name] | {"precision": precision, "random_state": seed, "n_jobs": jobs, "progress": False}
    vae = fastvae.VAE(**parameters)
    begun = time.perf_counter()
    vae.fit(train)
    seconds = time.perf_counter() - begun
    seen = (draw_binary(test, np.random.default_rng(0)) if vae.binarize else test) / np.float32(255)
    exact = fastvae.VAE(**(parameters | {"precision": "float32"})).load_state_dict(vae.state_dict())
    return {
        "model": name,
        "precision": precision,
        "seed": seed,
        "images": len(train),
        "training_elbo": vae.history_["elbo"][-1],
        "test_elbo": vae.score(seen),
        "test_elbo_in_float32": exact.score(seen),
        "seconds": round(seconds, 1),
    }


def report(entries: Sequence[dict[str, Any]]) -> None:
    """Print the means over the seeds and the differences."""
    print(f"{'model':24s} {'float32':>9s} {'bf16':>9s} {'difference':>11s}  of each seed")
    for name in dict.fromkeys(entry["model"] for entry in entries):
        bounds = {
            precision: {e["seed"]: e["test_elbo"] for e in entries if (e["model"], e["precision"]) == (name, precision)}
            for precision in PRECISIONS
        }
        seeds = sorted(bounds["float32"].keys() & bounds["bf16"].keys())
        if not seeds:
            continue
        long, short = (np.array([bounds[precision][seed] for seed in seeds]) for precision in PRECISIONS)
        each = "  ".join(f"{difference:+.3f}" for difference in short - long)
        gap = short.mean() - long.mean()
        print(
            f"{name:24s} {long.mean():9.3f} {short.mean():9.3f} {gap:+11.3f}  {each}"
            f"{'' if abs(gap) <= GOAL else '   beyond the goal'}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2,000 images; results in the scratch folder")
    parser.add_argument("--data", type=Path, default=MNIST)
    parser.add_argument("--out", type=Path, help="default: examples/aevb/results; with --quick: scratch/quick")
    parser.add_argument("--jobs", type=int, help="threads; results do not depend on it")
    options = parser.parse_args(argv)
    data = load_mnist(options.data)
    train, test = (images[:2000] if options.quick else images for images in (data.train, data.test))
    path = (options.out or (SCRATCH / "quick" if options.quick else RESULTS)) / "bf16.json"
    entries: list[dict[str, Any]] = read_json(path) or []
    for name in options.models:
        for seed in range(options.seeds):
            for precision in PRECISIONS:
                asked = {"model": name, "precision": precision, "seed": seed, "images": len(train)}
                if not any(asked.items() <= entry.items() for entry in entries):
                    entries.append(measure(name, precision, seed, train, test, options.jobs))
                    write_json(path, entries)
                    print(*(f"{key} {value}" for key, value in entries[-1].items()), sep=", ", flush=True)
    report([entry for entry in entries if entry["model"] in options.models and entry["images"] == len(train)])


if __name__ == "__main__":
    main()
