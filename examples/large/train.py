"""Training on 40 GB of images in a few hundred MB of memory.

usage: python examples/large/train.py sparse|generated|slow|memory [--gigabytes 40] [--steps 2000] [--epochs 3]

sparse: a memory map of a file without contents (a sparse file takes no space on the disk; its rows are zeros).
generated: an object that draws its rows when they are asked for. slow: the same, with a pause at each read.
memory: as many rows as an epoch has, as an array in memory: the speed to compare with.

Prints examples per second, the share of the time that training waited for data, and the largest memory of the process
beyond what it had before the fit.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastvae

PIXELS = 784


class Generated:
    """Rows that are drawn when they are asked for: one of ten patterns, each pixel turned over with probability 1/16.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    pause : float
        Seconds of a pause at each read.
    """

    def __init__(self, n_rows: int, pause: float = 0.0) -> None:
        self.shape, self.dtype = (n_rows, PIXELS), np.dtype(np.uint8)
        self._pause = pause
        self._patterns = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (10, PIXELS), p=[0.8, 0.2])
        self._noise = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), 2**22, p=[15 / 16, 1 / 16])

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Return a range of rows, the same at each call."""
        time.sleep(self._pause)
        numbers = np.arange(rows.start, rows.stop)
        first = numbers * 7919 % (len(self._noise) - PIXELS)
        noise = np.lib.stride_tricks.sliding_window_view(self._noise, PIXELS)[first]
        found: NDArray[np.uint8] = self._patterns[numbers % 10] ^ noise
        return found


def sparse_file(n_rows: int, path: Path) -> NDArray[np.uint8]:
    """Return a memory map of a file without contents."""
    with path.open("wb") as file:
        file.truncate(n_rows * PIXELS)
    return np.memmap(path, np.uint8, "r", shape=(n_rows, PIXELS))


def peak() -> float:
    """Return the largest memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Train, and print speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("sparse", "generated", "slow", "memory"))
    parser.add_argument("--gigabytes", type=float, default=40.0)
    parser.add_argument("--steps", type=int, default=2000, help="steps of an epoch; 0 for all rows")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds of each read of the slow source")
    parser.add_argument("--jobs", type=int, default=None)
    chosen = parser.parse_args()
    n_rows = int(chosen.gigabytes * 2**30) // PIXELS
    model = fastvae.VAE(
        20, hidden=(400,), batch_size=chosen.batch_size, epochs=chosen.epochs, random_state=0, n_jobs=chosen.jobs
    )
    options: dict[str, Any] = {"steps_per_epoch": chosen.steps} if chosen.steps else {}
    with tempfile.TemporaryDirectory() as folder:
        X: Any
        if chosen.kind == "sparse":
            X = sparse_file(n_rows, Path(folder) / "images.bin")
        elif chosen.kind == "memory":
            X, options = Generated(n_rows)[0 : (chosen.steps * chosen.batch_size) or n_rows], {}
        else:
            X = Generated(n_rows, chosen.pause if chosen.kind == "slow" else 0.0)
        before, start = peak(), time.perf_counter()
        model.fit(X, **options)
        seconds = time.perf_counter() - start
    waited = sum(model.history_.get("data_wait", [0.0]))
    examples = (chosen.steps * chosen.batch_size or n_rows) * chosen.epochs
    print(f"{chosen.kind}: {n_rows:,} rows of {PIXELS} bytes, {examples:,} examples trained")
    print(f"  {examples / model.elapsed_:,.0f} examples/s, loss {model.loss_curve_[-1]:.2f}, {seconds:.1f} s in all")
    print(f"  waited for data: {waited:.1f} s, {waited / model.elapsed_:.1%} of training")
    print(f"  largest memory: {peak():.0f} MB, {peak() - before:.0f} MB more than before the fit")


if __name__ == "__main__":
    main()
