"""Two thousand models of generated data; ``FASTVAE_MODELS=20000`` trains more."""

from __future__ import annotations

import os

import pytest

from generated.check import MODELS, failure
from generated.families import SHARE

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("FASTVAE_MODELS", 2000))


@pytest.mark.parametrize("family", SHARE)
def test_what_must_hold_for_every_model(family: str) -> None:
    setups = int(COUNT * SHARE[family]) // MODELS
    failures = [found for seed in range(setups) if (found := failure(family, seed))]
    assert not failures, f"{len(failures)} of {setups} set-ups failed:\n" + "\n".join(failures[:10])
