"""Settings that all tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """Keep torch, whose models are tiny here, from fighting the engine for the cores."""
    torch.set_num_threads(1)
