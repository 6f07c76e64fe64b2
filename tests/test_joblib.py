"""Searches with several jobs: the workers of joblib divide the threads of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import run_python

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("joblib", reason="joblib is not installed")

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system has no /proc")

# A search whose fits write after each epoch: process, threads that the engine has in it, default number of threads.
SEARCH = """
import os, sys, warnings
import joblib, numpy as np, fastvae
from sklearn.model_selection import GridSearchCV
warnings.simplefilter("ignore")  # of joblib's own, about resources
class Record:
    def __init__(self, path):
        self.path = path
    def on_epoch_end(self, model, logs):
        names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
        threads = 1 + sum(name.startswith("fastvae-") for name in names)
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} {threads} {fastvae.show_config()['threads']}\\n")
path, backend = sys.argv[1:]
X = np.random.default_rng(0).random((600, 60), dtype=np.float32)
model = fastvae.VAE(3, hidden=(100,), epochs=1, callbacks=[Record(path)], random_state=0, progress=False)
with joblib.parallel_config(backend=backend):
    search = GridSearchCV(model, {"latent_dim": [2, 3], "n_jobs": [None, -1]}, cv=2, n_jobs=2, refit=False).fit(X)
print(joblib.cpu_count(), list(search.cv_results_["mean_test_score"]))
"""


def search(path: Path, backend: str) -> tuple[int, dict[str, set[tuple[int, ...]]], str]:
    """Return the number of cores, what each process wrote, and the scores of a search with two jobs."""
    cores, scores = run_python(SEARCH, str(path), backend, FASTVAE_OVERSUBSCRIBE="").split(" ", 1)
    found: dict[str, set[tuple[int, ...]]] = {}
    for line in path.read_text().splitlines():
        process, *numbers = line.split()
        found.setdefault(process, set()).add(tuple(map(int, numbers)))
    return int(cores), found, scores


def test_jobs_divide_the_cores_and_change_no_result(tmp_path: Path) -> None:
    cores, found, scores = search(tmp_path / "processes", "loky")
    share = max(1, cores // 2)
    assert len(found) == 2  # each of the two processes takes its half of the cores, with n_jobs=-1 too
    assert all(threads <= share and default == share for lines in found.values() for threads, default in lines)
    cores, found, of_threads = search(tmp_path / "threads", "threading")
    [lines] = found.values()
    assert all(threads <= cores for threads, _ in lines)
    assert of_threads == scores
