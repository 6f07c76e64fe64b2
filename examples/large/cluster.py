"""A model on a local Dask cluster of two processes, and a search with two jobs: times, bytes and threads.

usage: python examples/large/cluster.py [--rows 100000] [--repeats 3]

Prints how many bytes of the model travel, the times of `score_samples` in this process and on the cluster, and those of
a grid search with one and with two jobs, with the number of threads in each process. Needs dask, distributed and
scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from train import Generated

import fastvae


class Record:
    """A callback that writes the threads of the engine in its process.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
        """Write the process and its threads."""
        names = [Path(f"/proc/self/task/{task}/comm").read_text() for task in os.listdir("/proc/self/task")]
        with self._path.open("a") as file:
            file.write(f"{os.getpid()}: {1 + sum(name.startswith('fastvae-') for name in names)}\n")


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def of_models(dask_worker: Any) -> list[int]:
    """Return the bytes of models that a worker has got from another one."""
    log = dask_worker.transfer_incoming_log
    return [size for event in log for key, size in event["keys"].items() if str(key).startswith("fastvae-model")]


def on_dask(X: Any, repeats: int) -> None:
    """Score rows here and on a cluster."""
    import dask.array as da
    from distributed import Client, LocalCluster, wait

    model = fastvae.VAE(20, hidden=(400,), epochs=1, random_state=0, progress=False).fit(X[:20_000])
    rows = X.astype(np.float32) / np.float32(255)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        blocks = da.from_array(rows, chunks=(len(rows) // 16, -1)).persist()
        wait(blocks)
        scores: Any = model.score_samples(blocks)
        weights = sum(array.nbytes for array in model.state_dict().values())
        pickled, graph = len(pickle.dumps(model)), len(pickle.dumps(scores.dask))
        print(f"weights: {weights:,} bytes; pickle of the model: {pickled:,}; graph of 16 blocks: {graph:,}")
        assert np.array_equal(scores.compute(), model.score_samples(rows))
        print(f"sent from worker to worker: {list(client.run(of_models).values())}")
        here, there = [], []
        for _ in range(repeats):
            here.append(timed(lambda: model.score_samples(rows)))
            there.append(timed(lambda: wait(scores.persist())))
        print(f"score_samples of {len(rows):,} rows: here {median(here):.2f} s, on two processes {median(there):.2f} s")


def in_searches(X: Any, repeats: int) -> None:
    """Search with one and with two jobs."""
    from sklearn.model_selection import GridSearchCV

    warnings.simplefilter("ignore")  # of models that three epochs do not train
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "threads"
        model = fastvae.VAE(20, hidden=(400,), epochs=3, random_state=0, callbacks=[Record(path)], progress=False)
        times: dict[int, list[float]] = {1: [], 2: []}
        threads: dict[int, str] = {}
        for repeat in range(repeats + 1):
            for n_jobs in (1, 2):
                search = GridSearchCV(model, {"latent_dim": [5, 10, 20, 40]}, cv=2, n_jobs=n_jobs, refit=False)
                path.write_text("")
                seconds = timed(lambda search=search: search.fit(X[:20_000]))  # type: ignore[misc]
                if repeat:  # the workers of the first one have to start
                    times[n_jobs].append(seconds)
                lines = [line.split(": ") for line in path.read_text().splitlines()]
                processes = len({process for process, _ in lines})
                threads[n_jobs] = f"{processes} processes with {max(int(number) for _, number in lines)} threads each"
    for n_jobs, seconds_of in times.items():
        print(f"GridSearchCV(n_jobs={n_jobs}): {median(seconds_of):.2f} s; {threads[n_jobs]}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    X = Generated(chosen.rows)[0 : chosen.rows]
    on_dask(X, chosen.repeats)
    in_searches(X, chosen.repeats)


if __name__ == "__main__":
    main()
