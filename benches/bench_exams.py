"""An epoch of an exam: 10,000 students, 200 tasks, 30 % of the answers missing, 16 importance samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import opponents
from conftest import Contest

import fastvae


def bench_item_response(contest: Contest) -> None:
    """The two-parameter model and the same network in PyTorch, batch 128."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(10_000, 1)) * rng.lognormal(0, 0.3, 200) + rng.normal(size=200)
    marks = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    marks[rng.random(marks.shape) < 0.3] = np.nan
    others: dict[str, Callable[[], object]] = {}
    if torch_exam := opponents.module("torch", "torch_exam"):
        theirs, tensor = torch_exam.TorchExam(200), torch_exam.torch.from_numpy(marks)
        others["torch"] = lambda: theirs.epoch(tensor, 128)
    ours = fastvae.ItemResponse(batch_size=128, random_state=0, n_jobs=contest.threads).partial_fit(marks)
    contest.run("ItemResponse epoch, 10,000 x 200, K = 16", lambda: ours.partial_fit(marks), others, rounds=5)
