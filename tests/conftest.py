"""Settings that all tests share."""

from __future__ import annotations

import os

import pytest
import torch

# Teams of three and more threads on machines with two cores.
os.environ["FASTVAE_OVERSUBSCRIBE"] = "1"


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """Use one torch thread: its models are tiny here, and the engine needs the cores."""
    torch.set_num_threads(1)
