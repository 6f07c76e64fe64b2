"""The VAE baseline of Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders" (arXiv:1509.00519).

    python examples/aevb/burda.py [--minutes 60] [--quick] [--data PATH]

The model has a stochastic layer of 50 units and two deterministic layers of 200 tanh units on either side. Every epoch
draws new binary images; Adam runs with eight learning rates over 3,280 epochs. Table 1 of the paper reports a negative
log-likelihood of 86.76 nats (k = 1, 5,000 samples). The run stops after --minutes of training in total and estimates
the log-likelihood; the same command with more minutes continues the training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    MNIST,
    RESULTS,
    SCRATCH,
    Array,
    Data,
    draw_binary,
    load_mnist,
    load_model,
    read_json,
    write_json,
)

import fastvae
from fastvae.optimizers import Adam

THEIRS = 86.76  # nats, their Table 1
LATENT, HIDDEN, BATCH_SIZE, STAGES = 50, (200, 200), 20, 8


def schedule() -> Iterator[tuple[int, float]]:
    """Yield the stage and learning rate of each epoch: 0.001 * 10^(-i/7) for 3^i epochs, i = 0 .. 7."""
    for stage in range(STAGES):
        for _ in range(3**stage):
            yield stage, 1e-3 * 10 ** (-stage / 7)


def initial_parameters(d: int, mean: Array, seed: int) -> dict[str, Array]:
    """Draw Glorot's uniform weights; biases are 0, except the output's: the log-odds of the mean of the data."""
    random = np.random.default_rng(seed)
    parameters: dict[str, Array] = {}
    encoder, decoder = (d, *HIDDEN), (LATENT, *reversed(HIDDEN), d)
    layers = [(f"encoder.{2 * i}", *sizes) for i, sizes in enumerate(pairwise(encoder))]
    layers += [(head, HIDDEN[-1], LATENT) for head in ("mu", "logvar")]
    layers += [(f"decoder.{2 * i}", *sizes) for i, sizes in enumerate(pairwise(decoder))]
    for name, n_in, n_out in layers:
        bound = np.sqrt(6 / (n_in + n_out))
        parameters[f"{name}.weight"] = random.uniform(-bound, bound, (n_out, n_in)).astype(np.float32)
        parameters[f"{name}.bias"] = np.zeros(n_out, np.float32)
    mean = np.clip(mean, 0.001, 0.999)  # as in their published code
    parameters[f"{layers[-1][0]}.bias"] = np.log(mean / (1 - mean)).astype(np.float32)
    return parameters


def new_model(images: Array, seed: int, jobs: int | None) -> fastvae.VAE:
    """Return the model before its first step."""
    vae = fastvae.VAE(
        LATENT,
        hidden=HIDDEN,
        activation="tanh",
        # Their epsilon of 1e-4 applies to gradients of a sum over the minibatch (github.com/yburda/iwae, iwae.py). Our
        # gradients are of the mean, 20 times smaller, so the equivalent epsilon is 20 times smaller too.
        optimizer=Adam(beta1=0.9, beta2=0.999, eps=1e-4 / BATCH_SIZE),
        batch_size=BATCH_SIZE,
        binarize="bernoulli",
        n_jobs=jobs,
        random_state=seed,
    )
    return vae.load_state_dict(initial_parameters(images.shape[1], images.mean(0) / 255, seed))


def one_epoch(vae: fastvae.VAE, images: Array, seed: int, epoch: int) -> None:
    """Train on all images once, in a new order; the model draws new binary images in each pass."""
    vae.partial_fit(images[np.random.default_rng([seed, epoch]).permutation(len(images))])


def train(data: Data, minutes: float, epochs: int, scratch: Path, seed: int, jobs: int | None) -> fastvae.VAE:
    """Train until the time or the epochs are over; save the model in `scratch` about once a minute."""
    images, run = data.train, {"seed": seed, "data": data.checksum()}
    state, notes = scratch / "burda.safetensors", scratch / "burda-run.json"
    scratch.mkdir(parents=True, exist_ok=True)
    if state.exists() and read_json(notes) != run:
        raise SystemExit(
            f"{state.name} in the scratch folder belongs to another run (seed, data or script): remove it, or pass "
            "another --scratch"
        )
    write_json(notes, run)
    vae = load_model(state, jobs) if state.exists() else new_model(images, seed, jobs)
    kept = shown = time.perf_counter()
    for epoch, (stage, rate) in enumerate(schedule()):
        if epoch < vae.n_iter_:
            continue
        if epoch >= epochs or vae.elapsed_ >= 60 * minutes:
            break
        vae.learning_rate = rate
        one_epoch(vae, images, seed, epoch)
        now = time.perf_counter()
        if now - kept > 60:
            vae.save(state)
            kept = now
        if now - shown > 30 or epoch in (0, 3, 12, 39, 120, 363, 1092):
            bound = vae.history_["elbo"][-1]
            print(
                f"{time.strftime('%H:%M:%S')}  epoch {epoch + 1}, stage {stage}: training bound {bound:.2f}, "
                f"{vae.elapsed_ / 60:.1f} minutes",
                flush=True,
            )
            shown = now
    if vae.n_iter_ == 0:
        raise SystemExit("no epoch was completed: pass more --minutes")
    vae.save(state)
    return vae


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, estimate, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="of training, in total; default: 60")
    parser.add_argument("--quick", action="store_true", help="13 epochs, 100 samples, 1,000 test images")
    parser.add_argument("--epochs", type=int, help="at most, of 3,280")
    parser.add_argument("--draws", type=int, help="of z for each test image; default: 5,000")
    parser.add_argument("--data", type=Path, default=MNIST)
    parser.add_argument("--scratch", type=Path, help="default: examples/aevb/scratch")
    parser.add_argument("--out", type=Path, help="default: examples/aevb/results; with --quick: scratch/quick")
    parser.add_argument("--jobs", type=int, help="threads; results do not depend on it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    scratch = options.scratch or (SCRATCH / "quick" if options.quick else SCRATCH)
    out = options.out or (scratch if options.quick else RESULTS)
    minutes = 60 if options.minutes is None else options.minutes
    epochs = options.epochs or (1 + 3 + 9 if options.quick else sum(3**i for i in range(STAGES)))
    draws = options.draws or (100 if options.quick else 5_000)

    data = load_mnist(options.data)
    vae = train(data, minutes, epochs, scratch, options.seed, options.jobs)
    test = draw_binary(data.test, np.random.default_rng([options.seed, 1 << 32]))[: 1_000 if options.quick else None]
    stage = [stage for stage, _ in schedule()][vae.n_iter_ - 1]
    before: list[dict[str, Any]] = read_json(out / "burda.json") or []
    asked = {"epochs": vae.n_iter_, "draws": draws, "n_test": len(test), "seed": options.seed, "data": data.checksum()}
    # The oldest entries lack the seed (0) and the checksum of the data (MNIST).
    if any(asked == {key: entry.get(key, 0 if key == "seed" else asked[key]) for key in asked} for entry in before):
        print("these epochs are already measured")
        return
    begun = time.perf_counter()
    found = vae.log_marginal(test, draws)
    entry = {
        "epochs": vae.n_iter_,
        "stage": stage,
        "training_minutes": round(vae.elapsed_ / 60, 1),
        "test_bound": vae.score(test),
        "draws": draws,
        "test_nll": -float(found.estimate.mean()),
        "standard_error": float(np.sqrt((found.standard_error**2).sum()) / len(test)),
        "median_ess": float(np.median(found.ess)),
        "n_test": len(test),
        "estimation_seconds": round(time.perf_counter() - begun, 1),
        "seed": options.seed,
        "data": asked["data"],
    }
    write_json(out / "burda.json", [*before, entry])
    print(
        f"after {entry['epochs']} of 3,280 epochs (in stage {stage} of 0..7), {entry['training_minutes']} minutes: "
        f"test bound {entry['test_bound']:.2f}, negative log-likelihood {entry['test_nll']:.2f} "
        f"(+- {entry['standard_error']:.3f}, k = {draws}); the paper has {THEIRS}, "
        f"difference {entry['test_nll'] - THEIRS:+.2f} nats"
    )


if __name__ == "__main__":
    main()
