"""Search for the settings of ProdLDA in PyTorch on the validation documents of BBC News.

    python examples/topics/tune.py

ProdLDA's default settings are for 11,000 documents and 50 topics, hence the search. Settings in results/tuning.json are
not tried again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from compare import write
from corpus import BBC, HERE, Corpus, load
from measures import measure
from prodlda import ProdLDA, torch

N_TOPICS = 10
CHECKPOINTS = (25, 50, 100, 200)  # epochs

GRID: tuple[dict[str, Any], ...] = (
    {"shift": True, "dropout": 0.2, "batch_size": 200},
    {"shift": True, "dropout": 0.0, "batch_size": 200},
    {"shift": True, "dropout": 0.6, "batch_size": 200},  # the authors'
    {"shift": True, "dropout": 0.0, "batch_size": 64},
    {"shift": False, "dropout": 0.2, "batch_size": 64},  # later implementations, such as OCTIS
    {"shift": True, "dropout": 0.0, "batch_size": 200, "alpha": 0.1},
)


def attempt(setting: dict[str, Any], corpus: Corpus, checkpoints: Sequence[int]) -> list[dict[str, Any]]:
    """Train with a setting; return the measures at the checkpoints."""
    model = ProdLDA(N_TOPICS, random_state=0, **setting)
    model.start(corpus.part("train")[0])
    found = []
    for epoch in range(1, checkpoints[-1] + 1):
        model.epoch()
        if epoch in checkpoints:
            speed = {"ms_an_epoch": 1000 * float(np.median(model.seconds_))}
            found.append({"setting": setting | {"epochs": epoch}, **measure(model, corpus, "val"), **speed})
            print(found[-1], flush=True)
    return found


def best(tried: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the attempt with the greatest sum of NPMI and accuracy, the measures of the goal."""
    return max(tried, key=lambda one: one["npmi"] + one["accuracy"])


def main() -> None:
    """Try the settings that have not been tried."""
    torch.set_num_threads(1)
    path = HERE / "results" / "tuning.json"
    tried = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    corpus = load(BBC)
    for setting in GRID:
        if not any(one["setting"] == setting | {"epochs": CHECKPOINTS[-1]} for one in tried):
            tried = [one for one in tried if {**one["setting"], "epochs": 0} != {**setting, "epochs": 0}]
            tried += attempt(setting, corpus, CHECKPOINTS)
            write(path, json.dumps(tried, indent=1) + "\n")
    print("best:", best(tried))


if __name__ == "__main__":
    main()
