"""A large simulated exam: 100,000 students, 200 tasks, 30 % of the answers missing; accuracy and time of the fit.

    python examples/exams/large.py [--students N] [--tasks N] [--epochs N] [--torch N]

Slopes are LogNormal(0, 0.3), intercepts and abilities N(0, 1); answers are missing at random. --torch N also trains the
same network in PyTorch for N epochs, in the same process, with the same batch size, objective and learning rates.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastvae

HERE = Path(__file__).parent
Array = NDArray[Any]


def simulate(students: int, tasks: int, missing: float = 0.3, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Return answers in {0, 1, NaN}, [students, tasks], and the true abilities, slopes and intercepts."""
    rng = np.random.default_rng(seed)
    alpha, a, d = rng.normal(size=students), rng.lognormal(0, 0.3, tasks), rng.normal(size=tasks)
    answers = np.empty((students, tasks), np.float32)
    for first in range(0, students, 1000):
        rows = slice(first, first + 1000)
        p = 1 / (1 + np.exp(-alpha[rows, np.newaxis] * a - d))
        answers[rows] = rng.random(p.shape) < p
        answers[rows][rng.random(p.shape) < missing] = np.nan
    return answers, alpha, a, d


def rmse(found: Array, true: Array) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((found - true) ** 2)))


def main() -> None:
    """Train, compare, write results/large.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=5, help="importance samples")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-2)
    parser.add_argument("--jobs", type=int, default=None, help="threads, for both libraries")
    parser.add_argument(
        "--torch", type=int, default=0, metavar="EPOCHS", help="epochs of the comparison in PyTorch; default: 0"
    )
    options = parser.parse_args()
    answers, alpha, a, d = simulate(options.students, options.tasks)

    start, start_cpu = time.perf_counter(), time.process_time()
    exam = fastvae.ItemResponse(
        "2pl",
        n_importance_samples=options.samples,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        epochs=options.epochs,
        n_jobs=options.jobs,
        random_state=0,
        progress=False,
    ).fit(answers)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    start = time.perf_counter()
    abilities = exam.transform(answers)[:, 0]
    ability_seconds = time.perf_counter() - start
    ends = exam.ability_interval(answers[:1000])[:, 0]
    inside = (ends[:, 0] <= alpha[:1000]) & (alpha[:1000] <= ends[:, 1])
    results: dict[str, Any] = {"options": vars(options), "threads": fastvae.show_config()["threads"]}
    results["fastvae"] = {
        "seconds_per_epoch": seconds / options.epochs,
        "cpu_seconds_per_epoch": cpu_seconds / options.epochs,
        "rmse_a": rmse(exam.discrimination_, a),
        "rmse_d": rmse(exam.intercept_, d),
        "ability_correlation": float(np.corrcoef(abilities, alpha)[0, 1]),
        "ability_seconds": ability_seconds,
        "coverage_of_95_percent": float(inside.mean()),
    }
    print(json.dumps(results["fastvae"], indent=1), flush=True)
    if options.torch:
        sys.path.insert(0, str(HERE.parents[1] / "benches"))
        opponents: Any = import_module("opponents")
        torch_exam = opponents.module("torch exam")
        if torch_exam is None:
            sys.exit("PyTorch is not installed")
        torch = torch_exam.torch
        torch.manual_seed(0)
        if options.jobs:
            torch.set_num_threads(options.jobs)
        start, start_cpu = time.perf_counter(), time.process_time()
        twin = torch_exam.TorchExam(options.tasks, 64, options.samples, options.learning_rate)
        twin.fit(torch.from_numpy(answers), options.torch, options.batch_size)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
        slopes, intercepts = twin.decoder.weight.detach().numpy()[:, 0], twin.decoder.bias.detach().numpy()
        results["torch"] = {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "epochs": options.torch,
            "seconds_per_epoch": seconds / options.torch,
            "cpu_seconds_per_epoch": cpu_seconds / options.torch,
            "rmse_a": rmse(slopes * np.sign(slopes.mean()), a),
            "rmse_d": rmse(intercepts, d),
        }
        print(json.dumps(results["torch"], indent=1))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "large.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
