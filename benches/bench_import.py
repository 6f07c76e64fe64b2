"""Import time, a fresh interpreter each."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from conftest import Duel

# As users run it: compiled modules are kept.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)


def bench_import(benchmark: Any) -> None:
    """``import fastvae`` beside ``import torch``."""
    Duel(benchmark, 1).run("import", lambda: _python("import fastvae"), lambda: _python("import torch"), rounds=5)


def bench_import_beyond_numpy(benchmark: Any) -> None:
    """``import fastvae`` beside ``import numpy``: what the package itself takes."""
    Duel(benchmark, 1).run(
        "import (beside numpy, not torch)",
        lambda: _python("import fastvae"),
        lambda: _python("import numpy"),
        rounds=15,
    )
