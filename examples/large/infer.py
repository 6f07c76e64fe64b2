"""Codes of 40 GB of images, written to a file, in a few hundred MB of memory.

usage: python examples/large/infer.py sparse|generated|memory [--gigabytes 40] [--method transform|reconstruct]

sparse: a memory map of a file without contents. generated: an object that draws its rows when they are asked for.
memory: an array in memory, whose result is in memory too: the speed to compare with.

Prints rows per second and the largest memory of the process beyond what it had before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from train import PIXELS, Generated, peak, sparse_file

import fastvae


def main() -> None:
    """Transform, and print speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("sparse", "generated", "memory"))
    parser.add_argument("--gigabytes", type=float, default=40.0)
    parser.add_argument("--method", choices=("transform", "reconstruct", "score_samples"), default="transform")
    parser.add_argument("--jobs", type=int, default=None)
    chosen = parser.parse_args()
    n_rows = int(chosen.gigabytes * 2**30) // PIXELS
    few = Generated(20_000)[0:20_000]
    model = fastvae.VAE(20, hidden=(400,), epochs=1, random_state=0, n_jobs=chosen.jobs, progress=False).fit(few)
    width = {"transform": (20,), "reconstruct": (PIXELS,), "score_samples": ()}[chosen.method]
    with tempfile.TemporaryDirectory() as folder:
        out = None
        X: Any
        if chosen.kind == "memory":
            X = Generated(n_rows)[0:n_rows]
        else:
            X = sparse_file(n_rows, Path(folder) / "images") if chosen.kind == "sparse" else Generated(n_rows)
            out = np.memmap(Path(folder) / "out", np.float32, "w+", shape=(n_rows, *width))
        before, start = peak(), time.perf_counter()
        found = getattr(model, chosen.method)(X, out=out)
        seconds = time.perf_counter() - start
        last = float(np.asarray(found[-1]).sum())
    more = peak() - before
    print(f"{chosen.kind}, {chosen.method}: {n_rows:,} rows of {PIXELS} bytes in {seconds:.1f} s (checked: {last:.4f})")
    print(f"  {n_rows / seconds:,.0f} rows/s; largest memory: {peak():.0f} MB, {more:.0f} MB more than before")


if __name__ == "__main__":
    main()
