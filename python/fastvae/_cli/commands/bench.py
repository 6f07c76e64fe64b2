"""``fastvae bench``: training steps and transforms on this machine, and PyTorch's if it is installed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from fastvae._cli import messages
from fastvae._cli.write import files, json_text

USAGE = "fastvae bench [--json] [--seconds X] [--no-torch] [--threads N]"
EPILOG = """\
examples:
  fastvae bench
  fastvae bench --json --seconds 0.5 > bench.json

Medians of interleaved repetitions. A training step is forward, backward and Adam on a batch; a transform encodes 10,000
examples. PyTorch runs the same model in eager mode with its fused Adam. On a busy machine all figures are too large.
"""


class Size(NamedTuple):
    """A model and its batch."""

    features: int
    hidden: int
    latent: int
    batch: int

    def __str__(self) -> str:
        return f"{self.features}-{self.hidden}-{self.latent}, batch {self.batch}"


SIZES = (Size(64, 32, 8, 32), Size(784, 400, 20, 128), Size(784, 512, 32, 512))
_TRANSFORMED = 10_000
_STEPS = 8  # in a repetition


def add(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seconds", metavar="X", type=float, default=2.0, help="time for each measurement")
    parser.add_argument("--no-torch", action="store_true", help="do not measure PyTorch, even if it is installed")
    parser.add_argument("--threads", metavar="N", type=int, help="number of threads of both")


def run(options: Any) -> int:
    """Measure."""
    import fastvae

    torch = not options.no_torch and find_spec("torch") is not None
    config = fastvae.show_config()
    threads = options.threads or int(str(config["threads"]))
    rows = []
    for size in SIZES:
        messages.note(f"measuring {size}")
        rows += _measure(size, threads, options.seconds, torch)
    found = {
        "version": config["version"],
        "isa": config["isa"],
        "threads": threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": _torch_version() if torch else None,
        "results": rows,
    }
    if config["debug"]:
        messages.warning("fastvae was built without optimisation: the figures say nothing")
    if options.json:
        files.print_text(json_text(found, indent=1))
        return 0
    files.print_text(
        f"fastvae {found['version']}, {found['isa']}, {threads} threads; PyTorch {found['torch'] or 'not measured'}\n"
    )
    files.print_text(f"{'task':<48} {'fastvae, ms':>12} {'PyTorch, ms':>12} {'speedup':>8}\n")
    for row in rows:
        other = "" if row["torch_ms"] is None else f"{row['torch_ms']:>12.4g} {row['speedup']:>8.3g}"
        files.print_text(f"{row['task']:<48} {row['fastvae_ms']:>12.4g} {other}".rstrip() + "\n")
    return 0


def _measure(size: Size, threads: int, seconds: float, torch: bool) -> list[dict[str, Any]]:
    import fastvae

    rng = np.random.default_rng(0)
    X = (rng.random((size.batch * _STEPS, size.features)) < 0.2).astype(np.float32)
    many = (rng.random((_TRANSFORMED, size.features)) < 0.2).astype(np.float32)
    model = fastvae.VAE(
        size.latent,
        hidden=(size.hidden,),
        batch_size=size.batch,
        epochs=1,
        random_state=0,
        n_jobs=threads,
        progress=False,
    ).fit(X)
    tasks: list[tuple[str, int, Callable[[], Any], Callable[[], Any] | None]] = [
        (f"training step, {size}", _STEPS, lambda: model.partial_fit(X), None),
        (
            f"transform of {_TRANSFORMED}, {size.features}-{size.hidden}-{size.latent}",
            1,
            lambda: model.transform(many),
            None,
        ),
    ]
    if torch:
        step, transform = _torch_twin(size, threads, X, many)
        tasks = [(*tasks[0][:3], step), (*tasks[1][:3], transform)]
    return [_compare(*task, seconds) for task in tasks]


def _compare(
    task: str, count: int, ours: Callable[[], Any], theirs: Callable[[], Any] | None, seconds: float
) -> dict[str, Any]:
    """Return medians of repetitions of both in turn."""
    works = [ours] if theirs is None else [ours, theirs]
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for work, found in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            found.append(1000 * (time.perf_counter() - start) / count)
    medians = [statistics.median(found) for found in times]
    other = medians[1] if theirs is not None else None
    speedup = None if other is None else other / medians[0]
    return {
        "task": task,
        "fastvae_ms": medians[0],
        "torch_ms": other,
        "speedup": speedup,
        "repetitions": len(times[0]),
    }


def _torch_twin(size: Size, threads: int, X: Any, many: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return a training step on each batch, and a transform, of the same model in PyTorch."""
    torch: Any = import_module("torch")
    nn, functional = torch.nn, torch.nn.functional
    torch.set_num_threads(threads)
    encoder = nn.Sequential(nn.Linear(size.features, size.hidden), nn.ReLU())
    mu, logvar = nn.Linear(size.hidden, size.latent), nn.Linear(size.hidden, size.latent)
    decoder = nn.Sequential(nn.Linear(size.latent, size.hidden), nn.ReLU(), nn.Linear(size.hidden, size.features))
    weights = [p for part in (encoder, mu, logvar, decoder) for p in part.parameters()]
    adam = torch.optim.Adam(weights, lr=1e-3, fused=True)
    batches = torch.from_numpy(X).split(size.batch)

    def step() -> None:
        for x in batches:
            adam.zero_grad(set_to_none=True)
            h = encoder(x)
            mean, log = mu(h), logvar(h)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log)
            reconstruction = functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            kl = -0.5 * torch.sum(1 + log - mean**2 - log.exp())
            ((reconstruction + kl) / len(x)).backward()
            adam.step()

    given = torch.from_numpy(many)

    def transform() -> Any:
        with torch.inference_mode():
            return mu(encoder(given))

    return step, transform


def _torch_version() -> str:
    return str(import_module("torch").__version__)
