"""Compare 2 ranks with one thread each to one process with 2 threads, at the same batches.

    python examples/distributed/bench.py [--rounds 5] [--ranks 2] [network ...]

Rounds alternate between the two. A round is a new process, or new ranks, that trains two passes to warm up and then
measures three to eight; the throughput is that of the fastest. The result is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

import fastvae
from fastvae import layers

BATCH = 512  # of each rank


def dense(batch: int, **options: Any) -> tuple[fastvae.VAE, np.ndarray]:
    """784-400-20."""
    x = (np.random.default_rng(0).random((batch * 16, 784)) < 0.2).astype(np.uint8)
    return fastvae.VAE(20, hidden=(400,), batch_size=batch, random_state=0, **options), x


def conv(batch: int, **options: Any) -> tuple[fastvae.VAE, np.ndarray]:
    """64 x 64 x 3, channels 32-64-128-256, latent 128."""
    hidden = [layers.Conv2d(channels, 4, stride=2, padding=1) for channels in (32, 64, 128, 256)]
    x = np.random.default_rng(0).integers(256, size=(batch * 2, 64, 64, 3), dtype=np.uint8)
    model = fastvae.VAE(128, image_shape=(64, 64, 3), hidden=hidden, batch_size=batch, random_state=0, **options)
    return model, x


NETWORKS = {"dense": (dense, BATCH), "conv": (conv, 64), "conv512": (conv, BATCH)}


def measure(name: str, ranks: int) -> None:
    """Print examples per second of a network in this process, or on all ranks."""
    build, batch = NETWORKS[name]
    if "FASTVAE_BENCH_RANKS" in os.environ:
        from mpi4py import MPI

        model, x = build(batch * ranks, n_jobs=1, communicator=MPI.COMM_WORLD)
        rank = MPI.COMM_WORLD.Get_rank()
        own = x[len(x) * rank // ranks : len(x) * (rank + 1) // ranks]
    else:
        model, x = build(batch * ranks, n_jobs=ranks)
        rank, own = 0, x
    model.partial_fit(own).partial_fit(own)
    best, end = 1e9, time.monotonic() + 3
    passes = 0
    while passes < 3 or (time.monotonic() < end and passes < 8):
        passes += 1
        start = time.perf_counter()
        model.partial_fit(own)
        best = min(best, time.perf_counter() - start)
        if "FASTVAE_BENCH_RANKS" in os.environ:
            end = MPI.COMM_WORLD.bcast(end if rank == 0 else None)  # the same number of passes
    if rank == 0:
        print(json.dumps(len(x) / best))


def throughput(name: str, ranks: int, *, distributed: bool) -> float:
    """Return the examples per second of a round."""
    command, environment = [sys.executable, __file__, "--measure", "--ranks", str(ranks), name], dict(os.environ)
    if distributed:
        environment |= {
            "FASTVAE_BENCH_RANKS": "1",
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        command = ["mpirun", "-n", str(ranks), *command]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=600).stdout
    return float(output.splitlines()[-1])


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["dense", "conv"], choices=NETWORKS, metavar="network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(arguments.networks[0], arguments.ranks)
    for name in arguments.networks:
        pairs = []
        for _ in range(arguments.rounds):
            alone = throughput(name, arguments.ranks, distributed=False)
            together = throughput(name, arguments.ranks, distributed=True)
            pairs.append((alone, together))
            print(f"  {name}: {alone:,.0f} and {together:,.0f} examples/s, ratio {together / alone:.3f}", flush=True)
        ratio = statistics.median(together / alone for alone, together in pairs)
        build, batch = NETWORKS[name]
        print(
            f"{build.__doc__} batch {batch} per rank: {arguments.ranks} ranks x 1 thread / 1 process x "
            f"{arguments.ranks} threads: median {ratio:.3f} of {arguments.rounds} rounds"
        )


if __name__ == "__main__":
    main()
