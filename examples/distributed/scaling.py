"""The efficiency of many machines on paper, from constants measured on one.

    python examples/distributed/scaling.py --measure    # writes constants.json
    python examples/distributed/scaling.py --speedup 32

The time of a step with b examples per rank is t(b) = fixed + b * example. The gradients of a layer, n floats, are on
their way for 2 (R - 1) (messages + 4 n / R / bandwidth) on R ranks: out to the ranks that add them up, and back. A
rank's link carries one layer after another, in the order of the backward pass, which goes on meanwhile. The exchange
itself takes time of the processor too. Efficiency is t(b) / (time of a step on R ranks), at b examples per rank.

``--speedup`` is the speed of a node relative to one core of the machine that was measured. Bandwidths count as nine
tenths of their name; the time of a message, its latency hidden by others, is an assumption, not measured: 10 us on
10 Gbit/s (TCP), 5 us on 25, 1 us on 100 (RDMA).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import NETWORKS

CONSTANTS = Path(__file__).parent / "constants.json"
NODES = (8, 64, 512)
NETWORK = {10: 10e-6, 25: 5e-6, 100: 1e-6}  # Gbit/s, seconds of a message
GOAL = 0.9
PIECE = 1 << 18  # floats of a message for all ranks


def fastest(*works: Callable[[], object], rounds: int = 12) -> list[float]:
    """Return the shortest time of each work, seconds; they take turns."""
    best = [np.inf] * len(works)
    for _ in range(rounds):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def measure() -> dict[str, Any]:
    """Return the constants of this machine, with one thread."""
    from mpi4py import MPI

    found: dict[str, Any] = {}
    floats = np.ones(1 << 18, np.float32)
    total = floats.copy()

    def add() -> None:
        for _ in range(20):
            np.add(total, floats, out=total)

    found["add, seconds per byte of a sum"] = fastest(add)[0] / 20 / floats.nbytes
    for name, batches in (("dense", (64, 512)), ("conv", (8, 32))):
        build, times, own = NETWORKS[name][0], list[float](), list[float]()
        for batch in batches:
            models = [build(batch, n_jobs=1, communicator=communicator) for communicator in (None, MPI.COMM_SELF)]
            x = models[0][1]
            steps = max(2, len(x) // batch // 4)
            rows = x[: steps * batch]
            works = [partial(model.partial_fit, rows) for model, _ in models]
            fastest(*works, rounds=1)
            alone, exchanged = (seconds / steps for seconds in fastest(*works))
            times.append(alone)
            own.append(exchanged - alone)
        example = (times[1] - times[0]) / (batches[1] - batches[0])
        found[name] = {
            "example, seconds": example,
            "fixed, seconds": max(0.0, times[0] - batches[0] * example),
            "own cost of the exchange, seconds": max(0.0, min(own)),
            "floats of the layers": [value.size for value in models[0][0].state_dict().values() if value.ndim > 1],
        }
    return found


def step(
    network: dict[str, Any], batch: float, ranks: int, gigabits: int, speedup: float, constants: dict[str, Any]
) -> tuple[float, float, float]:
    """Return the times of a step, seconds: alone, on all ranks, and of these the link's work."""
    example, fixed = network["example, seconds"] / speedup, network["fixed, seconds"] / speedup
    alone = fixed + batch * example
    layers = network["floats of the layers"][::-1]  # the last one's gradient is the first
    share = np.array(layers) / sum(layers)
    # Two thirds of the products are in the backward pass; a layer's part is that of its weights.
    ready = batch * example * (1 / 3 + 2 / 3 * np.cumsum(share))
    bytes_per_second = 0.9 * gigabits * 1e9 / 8
    seconds = np.array(
        [2 * (ranks - 1) * (-(-n // PIECE) * NETWORK[gigabits] + 4 * n / ranks / bytes_per_second) for n in layers]
    )
    end = 0.0
    for at, time_of_layer in zip(ready, seconds, strict=True):
        end = max(end, at) + time_of_layer
    floats = 4 * sum(layers)
    work = (
        network["own cost of the exchange, seconds"] + floats * constants["add, seconds per byte of a sum"]
    ) / speedup
    return alone, max(end, batch * example) + fixed + work, float(seconds.sum())


def enough(network: dict[str, Any], ranks: int, gigabits: int, speedup: float, constants: dict[str, Any]) -> int:
    """Return the smallest power of two of examples per rank with the wanted efficiency."""
    batch = 1
    while batch < 1 << 24:
        alone, together, _ = step(network, batch, ranks, gigabits, speedup, constants)
        if alone / together >= GOAL:
            return batch
        batch *= 2
    return batch


def main() -> None:
    """Measure, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the constants first, and write them to a file")
    parser.add_argument(
        "--speedup", type=float, default=1.0, help="speed of a node relative to one core of this machine"
    )
    arguments = parser.parse_args()
    if arguments.measure:
        CONSTANTS.write_text(json.dumps(measure(), indent=1) + "\n")
    constants = json.loads(CONSTANTS.read_text())
    for name, batch in (("dense", 512), ("conv", 64)):
        network = constants[name]
        megabytes = 4e-6 * sum(network["floats of the layers"])
        print(f"{NETWORKS[name][0].__doc__} Gradients of {megabytes:.1f} MB, {batch} examples per rank")
        print("nodes  Gbit/s  efficiency  alone, ms  together, ms  link busy, ms  batch per rank for 0.9")
        for ranks in NODES:
            for gigabits in NETWORK:
                alone, together, link = step(network, batch, ranks, gigabits, arguments.speedup, constants)
                least = enough(network, ranks, gigabits, arguments.speedup, constants)
                print(
                    f"{ranks:5}  {gigabits:6}  {alone / together:10.2f}  {1e3 * alone:9.2f}  {1e3 * together:12.2f}  "
                    f"{1e3 * link:13.2f}  {least:22,}"
                )


if __name__ == "__main__":
    main()
