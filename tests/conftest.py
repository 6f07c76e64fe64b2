"""Settings that all tests share."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# Teams of three and more threads on machines with two cores.
os.environ["FASTVAE_OVERSUBSCRIBE"] = "1"

# Files that import torch, or the models that are written in it.
_IMPORTS_TORCH = re.compile(r"^(?:import|from) (?:torch|reference|conv_reference)\b", re.MULTILINE)
WITH_TORCH = {path.name for path in Path(__file__).parent.rglob("test_*.py") if _IMPORTS_TORCH.search(path.read_text())}

collect_ignore = [] if find_spec("torch") else sorted(WITH_TORCH)


def pytest_report_header() -> str | None:
    """Say what is left out."""
    if not collect_ignore:
        return None
    return f"torch is not installed: {len(collect_ignore)} files of comparisons with it are left out"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of files that need torch, for ``-m "not torch"``."""
    for item in items:
        if item.path.name in WITH_TORCH:
            item.add_marker("torch")


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """Use one torch thread: its models are tiny here, and the engine needs the cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
