"""An epoch of an exam: 10,000 students, 200 tasks, 30 % of the answers missing, 16 importance samples; fits by EM.

examples/exams/em.py has log-likelihoods and recovery too.
"""

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


def bench_two_parameters_by_em(contest: Contest) -> None:
    """The two-parameter model by EM, and girth's, which has one thread: 5,000 students, 40 tasks."""
    _by_em(contest, "2pl", "twopl")


def bench_rasch_by_em(contest: Contest) -> None:
    """One slope by EM, and girth's: 5,000 students, 40 tasks."""
    _by_em(contest, "rasch", "onepl")


def _by_em(contest: Contest, model: str, theirs: str) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 1)) * rng.lognormal(0, 0.3, 40) + rng.normal(size=40)
    marks = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    others: dict[str, Callable[[], object]] = {}
    if girth_exam := opponents.module("girth"):
        others["girth"] = lambda: girth_exam.fit(theirs, marks)
    ours = fastvae.ItemResponse(model, method="mml", random_state=0, n_jobs=contest.threads)
    contest.run(f"ItemResponse {model} by EM, 5,000 x 40", lambda: ours.fit(marks), others, rounds=3)
