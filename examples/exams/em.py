"""method="mml" beside girth (pip install girth), in turn in one process: times, log-likelihoods, recovery.

    python examples/exams/em.py --json examples/exams/results/em.json

girth's "rasch" has a fixed slope of 1, its "onepl" a common slope, as fastvae's "rasch". Of both libraries the defaults
are measured; fastvae also without its prior, which girth does not have.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastvae

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benches"))

# Seconds before each fit: threads of the fit before spin for a while.
IDLE = 0.05

# LSAT section 7 (Bock & Lieberman, 1970): numbers of the patterns 00000, 00001, ..., 11111.
_FIRST = (12, 19, 1, 7, 3, 19, 3, 17, 10, 5, 3, 7, 7, 23, 8, 28)
LSAT7 = (*_FIRST, 7, 39, 11, 34, 14, 51, 15, 90, 6, 25, 7, 35, 18, 136, 32, 308)


def lsat() -> np.ndarray:
    """Return the answers of 1,000 students to five tasks."""
    patterns = (np.arange(32)[:, np.newaxis] >> np.arange(4, -1, -1)) & 1
    return np.repeat(patterns, LSAT7, 0)


def simulated(n: int, n_tasks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return answers, slopes and intercepts: a ~ LogNormal(0, 0.3), d ~ N(0, 1)."""
    rng = np.random.default_rng(0)
    slopes, intercepts = rng.lognormal(0, 0.3, n_tasks), rng.normal(size=n_tasks)
    chance = 1 / (1 + np.exp(-rng.normal(size=(n, 1)) * slopes - intercepts))
    return (rng.random(chance.shape) < chance).astype(int), slopes, intercepts


def log_likelihood(answers: np.ndarray, slopes: Any, intercepts: Any) -> float:
    """Return the sum of log p(Y_s), by the trapezoidal rule with 241 nodes."""
    nodes = np.linspace(-8, 8, 241)
    logits = nodes[:, np.newaxis] * slopes + intercepts
    patterns, counts = np.unique(answers, axis=0, return_counts=True)
    joint = patterns @ logits.T - np.logaddexp(0, logits).sum(1) - nodes**2 / 2
    largest = joint.max(1)
    sums = np.log(np.exp(joint - largest[:, np.newaxis]).sum(1)) + largest
    return float(counts @ (sums - np.log(np.exp(-(nodes**2) / 2).sum())))


def ours(model: str, prior: Any, jobs: int) -> Callable[[np.ndarray], tuple[Any, Any]]:
    """Return a function that fits fastvae."""

    def fit(answers: np.ndarray) -> tuple[Any, Any]:
        exam = fastvae.ItemResponse(model, method="mml", prior=prior, n_jobs=jobs, random_state=0).fit(answers)
        return exam.discrimination_, exam.intercept_

    return fit


def girth() -> Any:
    """Return the function that fits girth, or None."""
    try:
        return importlib.import_module("opponents.girth_exam").fit
    except ImportError:
        return None


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    theirs = girth()
    if theirs is None:
        print("girth is missing: pip install girth")
    tasks = [("LSAT 7", (lsat(), None, None), 4 * options.rounds), ("1,000 x 20", simulated(1000, 20), options.rounds)]
    tasks += [("5,000 x 40", simulated(5000, 40), max(3, options.rounds // 2))]
    rows = []
    for name, (answers, slopes, intercepts), rounds in tasks:
        for model, names in (("2pl", ["twopl"]), ("rasch", ["rasch", "onepl"])):
            fits = {f"fastvae, {jobs} threads": ours(model, "weak", jobs) for jobs in (1, 2)}
            fits["fastvae, no prior, 1 threads"] = ours(model, None, 1)
            if theirs is not None:
                fits |= {f"girth {own}": partial(theirs, own) for own in names}
            times: dict[str, list[float]] = {key: [] for key in fits}
            found = {}
            for _ in range(rounds + 1):
                for key, fit in fits.items():
                    time.sleep(IDLE)
                    start = time.perf_counter()
                    found[key] = fit(answers)
                    times[key].append(time.perf_counter() - start)
            for key, (a, d) in found.items():
                row: dict[str, Any] = {"exam": name, "model": model, "fit": key, "seconds": median(times[key][1:])}
                row["log_likelihood"] = log_likelihood(answers, a, d)
                if slopes is not None and model == "2pl":
                    row |= {
                        "rmse_slopes": float(np.sqrt(np.mean((a - slopes) ** 2))),
                        "rmse_intercepts": float(np.sqrt(np.mean((d - intercepts) ** 2))),
                    }
                rows.append(row)
                shown = "  ".join(f"{row[k]:.4f}" for k in ("rmse_slopes", "rmse_intercepts") if k in row)
                print(f"{name:11} {model:6} {key:29} {row['seconds']:.5f} s  {row['log_likelihood']:.3f}  {shown}")
    if options.json is not None:
        options.json.write_text(json.dumps({"rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
