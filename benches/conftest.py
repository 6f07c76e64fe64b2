"""Comparisons: fastvae and other libraries in turn in one process; a table of medians and limits at the end."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import opponents
import pytest

import fastvae
from fastvae import _core

ROWS: list[dict[str, Any]] = []
FACTS: list[dict[str, Any]] = []
# Seconds. Threads of OpenMP and Eigen spin for a while after their work and would slow the next library down.
IDLE = 0.05


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-results", action="store_true", help="write benches/results/<machine>.json")


def pytest_configure(config: pytest.Config) -> None:
    if fastvae.show_config()["debug"]:
        pytest.exit("this is a debug build: run `make bench`, which builds a release", 1)
    if not hasattr(_core, "peak"):
        pytest.exit("this build lacks the feature `probe`: run `make bench`", 1)


@dataclass
class Contest:
    """One row of the table.

    pytest-benchmark times fastvae. Its ``setup``, before each round, times the other libraries.
    """

    benchmark: Any
    threads: int

    def run(
        self,
        name: str,
        ours: Callable[[], object],
        others: Mapping[str, Callable[[], object]],
        *,
        per_call: int = 1,
        rounds: int = 20,
        flops: float | None = None,
    ) -> dict[str, Any]:
        """Time all libraries; a call repeats the task `per_call` times, with `flops` operations each."""
        times: dict[str, list[float]] = {other: [] for other in others}
        peaks: list[float] = []
        trips: list[float] = []

        def opponents_turn() -> None:
            if flops is not None:
                peaks.append(_core.peak(self.threads))
            if self.threads > 1:
                trips.append(_core.round_trip())
            for other, call in others.items():
                time.sleep(IDLE)
                start = time.perf_counter()
                call()
                times[other].append(time.perf_counter() - start)
            time.sleep(IDLE)  # every library starts after the same pause

        warmups = 2
        self.benchmark.pedantic(ours, setup=opponents_turn, rounds=rounds, warmup_rounds=warmups)
        row: dict[str, Any] = {
            "name": name,
            "threads": self.threads,
            "fastvae": self.benchmark.stats.stats.median / per_call,
            "others": {other: median(t[warmups:]) / per_call for other, t in times.items()},
        }
        if row["others"]:
            row["ratio"] = min(row["others"].values()) / row["fastvae"]
        if flops is not None:
            row["limit"] = flops / median(peaks) / 1e9
        if trips:
            row["round_trip"] = median(trips)
        self.benchmark.extra_info.update(row)
        ROWS.append(row)
        return row


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def contest(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Contest]:
    """A comparison with all libraries on 1 or 2 threads."""
    threads = request.param
    if not opponents.module("torch"):
        yield Contest(benchmark, threads)
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    yield Contest(benchmark, threads)
    torch.set_num_threads(before)


@pytest.fixture
def fact() -> Callable[..., None]:
    """Record a figure without a comparison: task, value, unit, goal."""

    def record(what: str, value: float, unit: str, aim: str) -> None:
        FACTS.append({"what": what, "value": value, "unit": unit, "aim": aim})

    return record


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not ROWS and not FACTS:
        return
    machine = _machine()
    lines = ["", *_heading(machine), *_table(), *_facts(), *_missing(), ""]
    for line in lines:
        terminalreporter.write_line(line)
    if config.getoption("--write-results"):
        slug = re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']} {machine['cores']} cores".lower()).strip("-")
        path = Path(__file__).parent / "results" / f"{slug}.json"
        path.write_text(json.dumps({"machine": machine, "rows": ROWS, "facts": FACTS}, indent=1) + "\n")
        terminalreporter.write_line(f"written to {path}")


def _machine() -> dict[str, Any]:
    config = fastvae.show_config()
    libraries = {name: _version(name) for name in ("numpy", "torch", "jax", "optax", "onnxruntime")}
    return {
        "processor": _processor(),
        "cores": config["threads"],
        "isa": config["isa"],
        "peak_gflops": [round(median(_core.peak(n) for _ in range(9))) for n in (1, 2)],
        "date": time.strftime("%Y-%m-%d"),
        "fastvae": config["version"],
        "libraries": libraries,
    }


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _heading(machine: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items() if version)
    peaks = " and ".join(map(str, machine["peak_gflops"]))
    return [
        f"fastvae {machine['fastvae']} ({machine['isa']}); {versions}",
        f"{machine['processor']}, {machine['cores']} cores; multiply-adds at {peaks} GFLOP/s on 1 and 2 threads",
        "Medians in milliseconds, interleaved in one process. limit: time of the matrix products' arithmetic at the "
        "rate of multiply-adds measured in the same run.",
        "core to core: round trip of a word between the two cores; hundreds of nanoseconds mean that "
        "they do not share a cache.",
        "",
    ]


def _table() -> list[str]:
    names = list(dict.fromkeys(other for row in ROWS for other in row["others"]))
    head = ["task", "threads", "fastvae", *names, "speedup", "limit", "share of peak", "core to core"]
    lines = [head, ["---"] * len(head)]
    for row in ROWS:
        others = [_milliseconds(row["others"].get(name)) for name in names]
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        limit = row.get("limit")
        share = f"{limit / row['fastvae']:.0%}" if limit else ""
        cells = [row["name"], str(row["threads"]), _milliseconds(row["fastvae"]), *others]
        trip = f"{1e9 * row['round_trip']:.0f} ns" if "round_trip" in row else ""
        lines.append([*cells, ratio, _milliseconds(limit), share, trip])
    return ["| " + " | ".join(line) + " |" for line in lines] if ROWS else []


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3g}"


def _facts() -> list[str]:
    if not FACTS:
        return []
    lines = ["", "| task | value | goal |", "|---|---|---|"]
    return lines + [f"| {f['what']} | {f['value']:.3g} {f['unit']} | {f['aim']} |" for f in FACTS]


def _missing() -> list[str]:
    return [f"NOT MEASURED, not installed: {name}" for name in sorted(opponents.MISSING)]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            fields = dict(line.rstrip().split("\t", 1) for line in file if "\t" in line)
        model = {key.strip(): value.lstrip("\t: ") for key, value in fields.items()}
        return f"{model['model name']} (family {model['cpu family']}, model {model['model']})"
    except (OSError, KeyError, ValueError):
        return platform.processor() or "unknown processor"
