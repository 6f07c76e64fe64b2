"""Import time, each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import opponents
from conftest import Contest

# As for users: compiled modules are cached.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)


def bench_import(benchmark: Any) -> None:
    """``import fastvae`` compared with ``import torch``."""
    others = {"torch": lambda: _python("import torch")} if opponents.module("torch") else {}
    Contest(benchmark, 1).run("import", lambda: _python("import fastvae"), others, rounds=5)


def bench_import_beyond_numpy(benchmark: Any, fact: Callable[..., None]) -> None:
    """The import time of the package without numpy."""
    times: list[float] = []

    def numpy() -> None:
        start = time.perf_counter()
        _python("import numpy")
        times.append(time.perf_counter() - start)

    benchmark.pedantic(lambda: _python("import fastvae"), setup=numpy, rounds=25, warmup_rounds=2)
    beyond = benchmark.stats.stats.median - median(times[2:])
    fact("import fastvae beyond import numpy", 1e3 * beyond, "ms", "<= 15")
