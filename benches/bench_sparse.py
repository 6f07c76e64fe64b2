"""Counts in CSR matrices: documents, topics, a recommender. PyTorch converts each batch to a dense tensor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import opponents
import pytest
from conftest import Contest

import fastvae

sparse = pytest.importorskip("scipy.sparse")

BBC = Path(__file__).parents[2] / "shared" / "data" / "bbc_news.npz"
BATCH = 128


def _random_counts(rows: int, cols: int, per_row: int) -> Any:
    """A CSR matrix with ``per_row`` different words in each row and small counts."""
    random = np.random.default_rng(0)
    indices = np.sort(random.integers(0, cols - per_row + 1, (rows, per_row), dtype=np.int32), 1)
    indices += np.arange(per_row, dtype=np.int32)
    data = random.geometric(0.6, indices.size).astype(np.float32)
    indptr = np.arange(0, indices.size + 1, per_row)
    return sparse.csr_matrix((data, indices.ravel(), indptr), (rows, cols))


def _bbc() -> Any:
    if not BBC.exists():
        pytest.skip(f"{BBC} is missing")
    news = np.load(BBC)
    return sparse.csr_matrix((news["data"].astype(np.float32), news["indices"], news["indptr"]), news["shape"])


def _multinomial(latent_dim: int, hidden: int, threads: int) -> fastvae.VAE:
    return fastvae.VAE(
        latent_dim,
        hidden=(hidden,),
        likelihood="multinomial",
        input_transform="log1p",
        batch_size=BATCH,
        epochs=1,
        random_state=0,
        n_jobs=threads,
    )


def _contest(contest: Contest, name: str, x: Any, latent_dim: int, hidden: int, rounds: int, per_call: int = 1) -> None:
    ours, others = _multinomial(latent_dim, hidden, contest.threads), {}
    if torch_counts := opponents.module("torch", "torch_counts"):
        theirs = torch_counts.TorchMultinomial(x.shape[1], hidden, latent_dim)
        others["torch"] = lambda: theirs.epoch(x, BATCH)
    contest.run(name, lambda: ours.partial_fit(x), others, rounds=rounds, per_call=per_call)


def bench_news(contest: Contest) -> None:
    """An epoch of 2,225 documents over 2,949 words; 2.8 % of the counts are not zero."""
    _contest(contest, "epoch, BBC News, multinomial 2949-100-20", _bbc(), 20, 100, 7)


@pytest.mark.parametrize("decoder", ["mixture", "product"])
def bench_topics(contest: Contest, decoder: str) -> None:
    """An epoch of 20 topics, compared with ProdLDA."""
    x, others = _bbc(), {}
    ours = fastvae.TopicModel(20, decoder=decoder, batch_size=BATCH, epochs=1, random_state=0, n_jobs=contest.threads)
    if torch_counts := opponents.module("torch", "torch_counts"):
        theirs = torch_counts.TorchProdLDA(x.shape[1], ours.hidden, 20)
        others["torch"] = lambda: theirs.epoch(x, BATCH)
    contest.run(f"epoch, BBC News, {decoder} of 20 topics", lambda: ours.partial_fit(x), others, rounds=7)


def bench_documents(contest: Contest) -> None:
    """Steps on documents of 100 different words out of 50,000."""
    x = _random_counts(8 * BATCH, 50_000, 100)
    _contest(contest, "step, 50000-100-20 of 100 words, batch 128", x, 20, 100, 3, per_call=8)


def bench_recommender(contest: Contest) -> None:
    """Steps of a recommender such as Mult-VAE (Liang et al., arXiv:1802.05814): 600 hidden, 200 latent dimensions."""
    x = _random_counts(8 * BATCH, 20_000, 140)
    x.data[:] = 1
    _contest(contest, "step, 20000-600-200 of 140 clicks, batch 128", x, 200, 600, 3, per_call=8)


MEMORY = """
import re, sys, numpy as np, fastvae
field = lambda name: int(re.search(name + r":\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = field("VmRSS")
class Counts:
    indptr, indices, data = (np.load(f"{sys.argv[1]}/{name}.npy") for name in ("indptr", "indices", "data"))
    shape = len(indptr) - 1, 50_000
if sys.argv[2] == "VAE":
    model = fastvae.VAE(20, hidden=(100,), likelihood="multinomial", input_transform="log1p", epochs=1, random_state=0)
else:
    model = fastvae.TopicModel(20, hidden=(100,), batch_size=128, epochs=1, random_state=0)
model.set_params(n_jobs=2).fit(Counts())
weights = sum(a.nbytes for a in model.state_dict().values())
given = sum(a.nbytes for a in (Counts.indptr, Counts.indices, Counts.data))
print((field("VmHWM") - before) - (given + 3 * weights) / 2**20, model.elapsed_)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("name", ["VAE", "TopicModel"])
def bench_sparse_memory(benchmark: Any, fact: Callable[..., None], tmp_path: Path, name: str) -> None:
    """An epoch of 100,000 documents of 100 different words out of 50,000, in a new process."""
    x = _random_counts(100_000, 50_000, 100)
    for part in ("indptr", "indices", "data"):
        np.save(tmp_path / f"{part}.npy", getattr(x, part))

    def trained() -> tuple[float, float]:
        command = [sys.executable, "-c", MEMORY, str(tmp_path), name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        megabytes, seconds = map(float, done.stdout.split())
        return megabytes, seconds

    megabytes, seconds = benchmark.pedantic(trained, rounds=1)
    fact(f"{name}: peak memory of 100,000 x 50,000 beyond CSR, weights and moments", megabytes, "MB", "<= 200")
    fact(f"{name}: epoch of 100,000 documents x 50,000 words, 2 threads", seconds, "s", "")
