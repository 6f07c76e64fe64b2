"""Encoding and decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Duel
from opponent import TorchVAE

import fastvae


@pytest.mark.parametrize("n", [1, 128, 10_000])
@pytest.mark.parametrize("what", ["encode", "decode"])
def bench_questions(duel: Duel, what: str, n: int) -> None:
    """784-400-20 through the public methods, n examples a call."""
    calls = max(1, 1000 // n)
    ours, theirs = fastvae.VAE(20, random_state=0, n_jobs=duel.threads), TorchVAE()
    rng = np.random.default_rng(0)
    x = rng.random((n, 784), dtype=np.float32)
    ours.partial_fit(x)
    if what == "encode":
        questions, answer, torch_answer = x, ours.transform, theirs.encode
    else:
        questions = rng.standard_normal((n, 20), dtype=np.float32)
        answer, torch_answer = ours.inverse_transform, theirs.decode
    tensor = torch.from_numpy(questions)
    flops = 2.0 * n * (784 * 400 + 400 * (40 if what == "encode" else 20))
    duel.run(
        f"{what}, n = {n}",
        lambda: [answer(questions) for _ in range(calls)],
        lambda: [torch_answer(tensor) for _ in range(calls)],
        per_call=calls,
        flops=flops,
    )
