"""Instruction counts of a step, by callgrind, compared with recorded counts.

The counts depend on the compiler and, for the installed library, on Python and numpy. They are compared only with the
recorded versions of these; otherwise the test is skipped with a reason. ``make work`` records new counts; give the
reason in the commit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benches" / "work.json"
CASES = ["step", "sparse-step", "small-step", "score", "installed"]
# Relative tolerance: the counts have almost no noise.
TOLERANCE = 1.02


def _compiler() -> str:
    return subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()


def _interpreter() -> str:
    return f"Python {'.'.join(map(str, sys.version_info[:2]))}, numpy {'.'.join(np.__version__.split('.')[:2])}"


def _program() -> Path:
    """Build ``benches/work.rs`` with the release profile and return its path."""
    command = ["cargo", "bench", "--locked", "--bench", "work", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    messages = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    programs = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "work"]
    return Path(programs[-1])


# Twenty steps of the installed library. It is compiled apart from the program, and code that is fast there may be slow
# here: a closure in a kernel that the compiler did not inline has none of the CPU's features.
INSTALLED = """
import sys, numpy, fastvae
x = numpy.random.default_rng(0).random((640, 64), dtype=numpy.float32)
vae = fastvae.VAE(8, hidden=(32,), batch_size=32, n_jobs=1, random_state=0)
for _ in range(int(sys.argv[1])):
    vae.partial_fit(x)
"""


def _instructions(program: Path, case: str, rounds: int) -> int:
    # Valgrind knows AVX2 and not AVX-512, whose kernels are the same loops over wider vectors.
    run = [sys.executable, "-c", INSTALLED] if case == "installed" else [str(program), case]
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *run, str(rounds)]
    environment = os.environ | {"FASTVAE_ISA": "avx2", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1])


def _all_counts(program: Path) -> dict[str, int]:
    """Instructions of one round of each case. Counts do not depend on what else runs: the cores share the runs."""
    rounds = {case: (2, 5) if case != "small-step" else (10, 60) for case in CASES}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {case: [pool.submit(_instructions, program, case, n) for n in rounds[case]] for case in CASES}
    counts = {case: [run.result() for run in runs[case]] for case in CASES}
    return {case: (counts[case][1] - counts[case][0]) // (rounds[case][1] - rounds[case][0]) for case in CASES}


def _missing() -> str | None:
    missing = [tool for tool in ("valgrind", "cargo", "rustc") if not shutil.which(tool)]
    if missing:
        return f"{', '.join(missing)} is not installed: the work of a step is not counted"
    recorded = json.loads(RECORD.read_text())["compiler"]
    if _compiler() != recorded:
        return f"{_compiler()} is not {recorded}, with which the work of a step was recorded"
    flags = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    return None if " avx2 " in flags else "this CPU has no AVX2, with which the work of a step was recorded"


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    if reason := _missing():
        pytest.skip(reason)
    program = _program()
    return _all_counts(program)


@pytest.mark.parametrize("case", CASES)
def test_no_more_instructions_than_recorded(counted: dict[str, int], case: str) -> None:
    record = json.loads(RECORD.read_text())
    if case == "installed" and _interpreter() != record["interpreter"]:
        pytest.skip(f"{_interpreter()} is not {record['interpreter']}, with which the work was recorded")
    assert counted[case] <= TOLERANCE * record["instructions"][case]


def test_skipping_zeros_saves_work(counted: dict[str, int]) -> None:
    assert counted["sparse-step"] < 0.85 * counted["step"]


if __name__ == "__main__":
    built = _program()
    counts = _all_counts(built)
    record = {"compiler": _compiler(), "interpreter": _interpreter(), "instructions": counts}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(RECORD.read_text())
