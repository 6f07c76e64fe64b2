"""fastvae.Recommender beside Mult-VAE in PyTorch, EASE and popularity, on simulated clicks.

    python examples/recommenders/simulated.py quality [--users 20000 --items 5000 --seeds 2 --minutes 20]
    python examples/recommenders/simulated.py quality --users 100000 --items 20000 --seeds 1 --minutes 30
    python examples/recommenders/simulated.py table
    python examples/recommenders/simulated.py recommend [--users 100000 --items 20000 --sample 4000]
    python examples/recommenders/simulated.py epoch [--users 20000 --items 5000 --sample 5000]

Every command adds its figures to results/clicks.json. All models use the same number of threads, --jobs (2).
``quality`` measures NDCG@100, recall@20 and recall@50 on users that were not trained on. Each network stops after
--minutes; the one in PyTorch has as many epochs as fastvae's, and is left out if --minutes are not enough for them, as
is EASE where its matrices are larger than --gigabytes. ``table`` writes the means over the seeds to README.md.
``recommend`` and ``epoch`` take turns with PyTorch and report medians and ratios; with --sample they measure on that
many users only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import mult_vae
import numpy as np
from clicks import hide, simulate
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import fastvae

torch: Any = import_module("torch")  # untyped: mypy runs without PyTorch

RESULTS = Path(__file__).parent / "results" / "clicks.json"
README = Path(__file__).parent / "README.md"
TITLES = {
    "popularity": "popularity",
    "ease": "EASE, penalty by validation users",
    "fastvae": "fastvae, defaults",
    "composite": 'fastvae, `prior="composite"`',
    "torch": "the same Mult-VAE in PyTorch",
}
LATENT, HIDDEN, BATCH = 200, 600, 500
EASE = (200.0, 500.0, 1000.0, 2000.0)  # penalties, of which validation users choose one


def record(key: str, figures: dict[str, Any]) -> None:
    """Print figures and add them to the file of results."""
    print(key, json.dumps(figures), flush=True)
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(stored | {key: figures}, indent=1, sort_keys=True) + "\n")


def measures(rank: Callable[[csr_matrix], NDArray[Any]], seen: csr_matrix, held: csr_matrix) -> dict[str, float]:
    """Return NDCG@100, recall@20 and recall@50 of rankings of 100 items, computed in blocks of users."""
    gains = 1 / np.log2(np.arange(2, 102))
    best = np.concatenate([[0.0], np.cumsum(gains)])
    sums, users = np.zeros(3), 0
    for first in range(0, seen.shape[0], 500):
        wanted = held[first : first + 500].toarray() > 0
        n = wanted.sum(1)
        hits = np.take_along_axis(wanted, rank(seen[first : first + 500]), 1)[n > 0]
        n = n[n > 0]
        users += len(n)
        sums[0] += (hits @ gains / best[np.minimum(n, 100)]).sum()
        for i, k in ((1, 20), (2, 50)):
            sums[i] += (hits[:, :k].sum(1) / np.minimum(n, k)).sum()
    return dict(zip(("ndcg@100", "recall@20", "recall@50"), np.round(sums / users, 4).tolist(), strict=True))


def by_scores(scores: Callable[[csr_matrix], NDArray[Any]]) -> Callable[[csr_matrix], NDArray[Any]]:
    """Return a ranking of the 100 new items with the largest scores."""

    def rank(seen: csr_matrix) -> NDArray[Any]:
        table = torch.from_numpy(np.where(seen.toarray() > 0, -np.inf, scores(seen)))
        return np.asarray(table.topk(100).indices)

    return rank


def ease(train: csr_matrix, penalty: float) -> NDArray[np.float32]:
    """Return the item-to-item weights of EASE (Steck, arXiv:1905.03375)."""
    gram = torch.from_numpy((train.T @ train).toarray().astype(np.float32))
    gram += penalty * torch.eye(len(gram))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = -inverse / inverse.diagonal()
    weights.fill_diagonal_(0.0)
    return np.asarray(weights)


def ease_gigabytes(items: int) -> float:
    """Return the memory of EASE: the matrix of pairs of items, its factor, its inverse and the weights, in float32."""
    return 4 * 4 * items**2 / 1e9


def split(users: int, items: int, seed: int) -> tuple[csr_matrix, csr_matrix, csr_matrix]:
    """Return clicks of training users, and those to see and to find of others: a tenth, at most 10,000."""
    clicks = simulate(users, items, seed)
    held_out = min(users // 10, 10_000)
    return clicks[held_out:], *hide(clicks[:held_out], seed)


def quality(options: argparse.Namespace) -> None:
    """Compare rankings."""
    users, items, epochs = options.users, options.items, options.epochs
    limit = 60 * options.minutes
    for seed in range(options.first, options.first + options.seeds):
        ran = epochs
        train, seen, held = split(users, items, seed)
        held_out = min(round(0.1 * train.shape[0]), 10_000)
        inner, valid = train[held_out:], hide(train[:held_out], seed + 1000)
        for name in options.models:
            start, more, key = time.perf_counter(), dict[str, Any](), f"quality {users}x{items} seed {seed} {name}"
            if name == "ease" and ease_gigabytes(items) > options.gigabytes:
                record(key, {"left out": f"its matrices take {ease_gigabytes(items):.1f} GB"})
                continue
            if name == "popularity":
                counts = np.asarray(train.sum(0)).ravel()
                found = measures(by_scores(lambda x: np.tile(counts, (x.shape[0], 1))), seen, held)  # noqa: B023
            elif name == "ease":
                tried = {}
                for penalty in EASE:
                    weights = ease(inner, penalty)
                    tried[penalty] = measures(by_scores(lambda x: np.asarray(x @ weights)), *valid)["ndcg@100"]  # noqa: B023
                more["penalty"] = max(tried, key=lambda penalty: tried[penalty])
                weights = ease(train, more["penalty"])
                found = measures(by_scores(lambda x: np.asarray(x @ weights)), seen, held)  # noqa: B023
            elif name == "torch":
                minutes = torch_epoch(inner, options.jobs) * ran / 60
                if minutes > options.minutes:
                    record(key, {"left out": f"{ran} epochs, as many as fastvae's, take about {minutes:.1f} minutes"})
                    continue
                found, more = torch_quality(inner, valid, seen, held, seed, (epochs, ran), options.jobs)
            else:
                prior = "composite" if name == "composite" else "standard"
                model = fastvae.Recommender(
                    epochs=epochs,
                    prior=prior,
                    random_state=seed,
                    n_jobs=options.jobs,
                    callbacks=lambda *_: time.perf_counter() - start > limit,  # noqa: B023
                ).fit(train)
                ran = model.n_iter_ if name == "fastvae" else ran
                found = measures(lambda x: model.recommend(x, 100)[0], seen, held)  # noqa: B023
                more = {"epochs": model.n_iter_, "best": model.best_epoch_, "beta": round(model.beta_, 4)}
            seconds = round(time.perf_counter() - start, 1)
            record(key, found | more | {"seconds": seconds})


def torch_epoch(clicks: csr_matrix, jobs: int) -> float:
    """Return the seconds of an epoch in PyTorch, from a few steps."""
    torch.set_num_threads(jobs)
    batch = min(BATCH, clicks.shape[0] // 20)
    few = clicks[: 4 * batch]
    model = mult_vae.MultVae(clicks.shape[1], LATENT, HIDDEN)
    given: dict[str, Any] = {"seed": 0, "epochs": 2, "batch_size": batch}
    seconds = mult_vae.train(few, model, beta=lambda _: 0.1, after_epoch=lambda _: False, **given)
    return float(seconds[-1] * clicks.shape[0] / few.shape[0])


def torch_quality(
    train: csr_matrix,
    valid: tuple[csr_matrix, csr_matrix],
    seen: csr_matrix,
    held: csr_matrix,
    seed: int,
    epochs: tuple[int, int],
    jobs: int,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Train the twin as ``fastvae.Recommender`` is trained, and measure it.

    `epochs` are those of the schedule, and those that are run.
    """
    planned, ran = epochs
    torch.set_num_threads(jobs)
    torch.manual_seed(seed)
    model = mult_vae.MultVae(train.shape[1], LATENT, HIDDEN)
    with torch.no_grad():  # the output starts at the level of the data, as in fastvae
        share = np.asarray(train.sum(0)).ravel() + 0.5
        model.output.bias.copy_(torch.from_numpy(np.log(share / share.sum()).astype(np.float32)))
    curve, best = list[float](), dict[str, Any]()

    def after_epoch(epoch: int) -> bool:
        curve.append(measures(lambda x: mult_vae.recommend(model, x, 100), *valid)["ndcg@100"])
        if curve[-1] == max(curve):
            best.update({name: value.clone() for name, value in model.state_dict().items()})
        return epoch + 1 == ran

    batch = min(BATCH, train.shape[0] // 20)  # as fastvae does
    steps = planned * -(-train.shape[0] // batch)
    mult_vae.train(
        train,
        model,
        seed=seed,
        epochs=ran,
        beta=lambda step: step / steps,
        after_epoch=after_epoch,
        batch_size=batch,
    )
    model.load_state_dict(best)
    found = measures(lambda x: mult_vae.recommend(model, x, 100), seen, held)
    return found, {"epochs": len(curve), "best": int(np.argmax(curve)) + 1}


def memory(*, peak: bool = False) -> float:
    """Return the memory of this process in MB (Linux), now or at its peak since the last call without `peak`."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM" if peak else "VmRSS"].split()[0]) / 1024


def recommend(options: argparse.Namespace) -> None:
    """Compare the time of the best items of all users, and measure memory."""
    torch.set_num_threads(options.jobs)
    clicks = simulate(options.users, options.items, 0)
    part = clicks[: options.sample or options.users]
    start = time.perf_counter()
    model = fastvae.Recommender(
        LATENT,
        hidden=(HIDDEN,),
        random_state=0,
        n_jobs=options.jobs,
        callbacks=lambda *_: time.perf_counter() - start > options.train,
    ).fit(clicks[: options.users // 10])
    for n in (10, 100):
        before = memory()
        start = time.perf_counter()
        items, _ = model.recommend(clicks, n)
        whole = time.perf_counter() - start
        grown = memory(peak=True) - before
        record(
            f"recommend {options.users}x{options.items} n={n} all users",
            {
                "seconds": round(whole, 2),
                "peak_growth_mb": round(grown, 1),
                "result_mb": round(1.5 * items.nbytes / 2**20, 1),
            },
        )
    twin = mult_vae.copy_weights(mult_vae.MultVae(options.items, LATENT, HIDDEN), model.state_dict())
    for n in (10, 100):
        ours, theirs = list[float](), list[float]()
        for _ in range(options.rounds):
            start = time.perf_counter()
            items, _ = model.recommend(part, n)
            middle = time.perf_counter()
            others = mult_vae.recommend(twin, part, n)
            ours.append(middle - start)
            theirs.append(time.perf_counter() - middle)
        per_user = 1e6 / part.shape[0]
        record(
            f"recommend {options.users}x{options.items} n={n}",
            {
                "microseconds_a_user": round(statistics.median(ours) * per_user, 1),
                "torch": round(statistics.median(theirs) * per_user, 1),
                "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
                "same_items": round(float((items == others).mean()), 5),
            },
        )


def epoch(options: argparse.Namespace) -> None:
    """Compare the time of an epoch."""
    torch.set_num_threads(options.jobs)
    clicks = simulate(options.users, options.items, 0)[: options.sample or options.users]
    model = fastvae.Recommender(
        LATENT, hidden=(HIDDEN,), epochs=1, validation_fraction=0, random_state=0, n_jobs=options.jobs, warm_start=True
    )
    model.fit(clicks[:1000])
    twin, ours, theirs = mult_vae.MultVae(options.items, LATENT, HIDDEN), list[float](), list[float]()
    for _ in range(options.rounds):
        start = time.perf_counter()
        model.fit(clicks)
        ours.append(time.perf_counter() - start)
        theirs += mult_vae.train(
            clicks,
            twin,
            seed=0,
            epochs=1,
            beta=lambda _: 0.1,
            after_epoch=lambda _: True,
            batch_size=min(BATCH, clicks.shape[0] // 20),
        )
    record(
        f"epoch {clicks.shape[0]}x{options.items}",
        {
            "seconds": round(statistics.median(ours), 2),
            "torch": round(statistics.median(theirs), 2),
            "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        },
    )


def table(_: argparse.Namespace) -> None:
    """Write the means over the seeds to README.md, between two comments."""
    stored = json.loads(RESULTS.read_text())
    runs = dict[str, dict[str, list[dict[str, Any]]]]()
    for key, figures in stored.items():
        kind, size, *rest = key.split()
        if kind == "quality":
            runs.setdefault(size, {}).setdefault(rest[-1], []).append(figures)
    lines = list[str]()
    for size in sorted(runs, key=lambda size: int(size.split("x")[0])):
        users, items = (f"{int(n):,}" for n in size.split("x"))
        lines += [f"| {users} users x {items} items | NDCG@100 | recall@20 | recall@50 | seconds | epochs | seeds |"]
        lines += ["|---" * 7 + "|"]
        for name, title in TITLES.items():
            found = runs[size].get(name, [])
            out = next((figures["left out"] for figures in found if "left out" in figures), None)
            if out is not None:
                lines += [f"| {title} | left out: {out} | | | | | |"]
            elif found:
                means = [
                    statistics.mean(figures[column] for figures in found)
                    for column in ("ndcg@100", "recall@20", "recall@50", "seconds")
                ]
                ran = ", ".join(str(figures["epochs"]) for figures in found if "epochs" in figures)
                cells = [*(f"{mean:.4f}" for mean in means[:3]), f"{means[3]:.1f}", ran, str(len(found))]
                lines += [f"| {title} | {' | '.join(cells)} |"]
        lines += [""]
    text = README.read_text()
    before, after = text.split("<!-- quality -->")[0], text.split("<!-- end of quality -->")[1]
    body = "\n".join(lines)
    README.write_text(f"{before}<!-- quality -->\n\n{body}\n<!-- end of quality -->{after}")
    print(body)


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("quality", "recommend", "epoch", "table"))
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30.0, help="of a network's training in `quality`")
    parser.add_argument("--gigabytes", type=float, default=3.0, help="the most memory of EASE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", type=float, default=60.0, help="seconds after which the model to rank with is ready")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=list(TITLES))
    options = parser.parse_args()
    {"quality": quality, "recommend": recommend, "epoch": epoch, "table": table}[options.command](options)


if __name__ == "__main__":
    main()
