"""Duels: ours and PyTorch's turn about in one process, a table of medians and ratios at the end."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pytest
import torch

import fastvae
from fastvae import _core

ROWS: list[dict[str, Any]] = []
# OpenMP threads spin for a while after their work, and would take a core from the side that comes next.
IDLE = 0.05


def pytest_configure(config: pytest.Config) -> None:
    if fastvae.show_config()["debug"]:
        pytest.exit("this is a debug build, whose speed means nothing: install with `make bench`", 1)


@dataclass
class Duel:
    """One row of the table.

    pytest-benchmark times our side; before each of its rounds, in its ``setup``, the opponent is timed.
    """

    benchmark: Any
    threads: int
    theirs: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def run(
        self,
        name: str,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        *,
        per_call: int = 1,
        rounds: int = 30,
        flops: float | None = None,
    ) -> None:
        """Time both; a call does `per_call` times what the row is about, `flops` operations each time."""

        def opponent() -> None:
            start = time.perf_counter()
            theirs()
            self.theirs.append(time.perf_counter() - start)
            time.sleep(IDLE)
            if flops is not None:
                self.peaks.append(_core.peak(self.threads))

        self.benchmark.pedantic(ours, setup=opponent, rounds=rounds, warmup_rounds=2)
        our_time = self.benchmark.stats.stats.median / per_call
        their_time = median(self.theirs[2:]) / per_call
        row = {
            "name": name,
            "threads": self.threads,
            "ours": our_time,
            "torch": their_time,
            "ratio": their_time / our_time,
        }
        if flops is not None:
            row["peak"] = median(self.peaks)
            row["of_peak"] = flops / our_time / 1e9 / row["peak"]
        self.benchmark.extra_info.update(row)
        ROWS.append(row)


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def duel(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Duel]:
    """Both sides on that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield Duel(benchmark, request.param)
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not ROWS:
        return
    config = fastvae.show_config()
    write = terminalreporter.write_line
    write("")
    write(f"fastvae {config['version']} ({config['isa']}) beside torch {torch.__version__}, medians, interleaved")
    write(f"{_processor()}, {config['threads']} cores")
    write("")
    write("| what | threads | fastvae, ms | torch, ms | torch / fastvae | of the FMA peak |")
    write("|---|---|---|---|---|---|")
    for row in ROWS:
        share = f"{row['of_peak']:.0%} of {row['peak']:.0f} GFLOP/s" if "peak" in row else ""
        write(
            f"| {row['name']} | {row['threads']} | {1e3 * row['ours']:.3f} | {1e3 * row['torch']:.3f} "
            f"| {row['ratio']:.2f} | {share} |"
        )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            fields = dict(line.rstrip().split("\t", 1) for line in file if "\t" in line)
        model = {key.strip(): value.lstrip("\t: ") for key, value in fields.items()}
        return f"{model['model name']} (family {model['cpu family']}, model {model['model']})"
    except (OSError, KeyError, ValueError):
        return platform.processor() or "unknown processor"
