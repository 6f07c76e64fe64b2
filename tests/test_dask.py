"""Dask arrays: lazy results with the chunks of the rows, on a cluster of two processes; the bits of rows in memory."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import run_python

import fastvae
from fastvae import VAE, Autoencoder, CountVAE, ItemResponse, TabularVAE, TopicModel

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

pytestmark = pytest.mark.filterwarnings("default::ResourceWarning", "ignore::DeprecationWarning")

SMALL: dict[str, Any] = {"epochs": 2, "random_state": 0, "progress": False}
N = 1000
CHUNKS = (250, 250, 300, 200)
generator = np.random.default_rng(0)
X = generator.random((N, 24), dtype=np.float32)
COUNTS = generator.poisson(3.0, (N, 24)).astype(np.float32)
MARKS = (X > 0.5).astype(np.float32)
LABELS = generator.choice(["a", "b", "c"], N)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster of two processes, each with two threads."""
    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def vae(**parameters: Any) -> VAE:
    return VAE(3, **(SMALL | {"hidden": (16,)} | parameters))


def rows_of(values: Any, chunks: Any = CHUNKS) -> Any:
    return da.from_array(values, chunks=(chunks, *values.shape[1:]))


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return type(found) is type(expected) and all(map(same, found, expected))
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


CALLS: dict[str, dict[str, Any]] = {
    "transform": {},
    "encode": {},
    "reconstruct": {},
    "score_samples": {"n_samples": 2},
    "anomaly_score": {},
    "log_marginal": {"n_samples": 20},
    "posterior_sample": {"n": 4, "random_state": 3},
    "predictive": {"n": 5, "random_state": 3},
}


@pytest.mark.parametrize("method", CALLS)
def test_results_are_lazy_and_have_the_bits_of_the_rows_in_memory(client: Any, method: str) -> None:
    model, options = vae(likelihood="gaussian").fit(X), CALLS[method]
    found, expected = getattr(model, method)(rows_of(X), **options), getattr(model, method)(X, **options)
    parts = found if isinstance(found, tuple) else (found,)
    axis = 1 if method == "posterior_sample" else 0
    for part, wanted in zip(parts, expected if isinstance(expected, tuple) else (expected,), strict=True):
        assert isinstance(part, da.Array)
        assert part.chunks[axis] == CHUNKS
        assert (part.shape, part.dtype) == (wanted.shape, wanted.dtype)
        assert isinstance(part._meta, np.ndarray)
    [found] = dask.compute(found)
    assert same(found, expected)


def test_nothing_is_computed_before_compute() -> None:
    def fail(block: Any) -> Any:
        raise AssertionError("computed")

    rows = rows_of(X).map_blocks(fail, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    codes = vae().fit(X).transform(rows)
    assert codes.chunks == (CHUNKS, (3,))
    with pytest.raises(AssertionError, match="computed"):
        codes.compute(scheduler="synchronous")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda: Autoencoder(3, hidden=(16,), **SMALL), X),
        (lambda: TopicModel(3, hidden=(16,), **SMALL), COUNTS),
        (lambda: CountVAE(3, hidden=(16,), **SMALL), COUNTS),
        (lambda: ItemResponse(n_dims=2, **SMALL), MARKS),
        (lambda: vae(image_shape=(4, 6)), X.reshape(N, 4, 6)),
        (lambda: vae(image_shape=(4, 3, 2), channels="first"), X.reshape(N, 2, 4, 3)),
        (lambda: vae(), (X * 255).astype(np.uint8)),
    ],
    ids=["Autoencoder", "TopicModel", "CountVAE", "exam", "images", "channels", "uint8"],
)
def test_all_estimators(client: Any, make: Any, rows: Any) -> None:
    model = make().fit(rows)
    for method in ("transform", "reconstruct", "score_samples"):
        assert same(getattr(model, method)(rows_of(rows)).compute(), getattr(model, method)(rows)), method
    codes = model.transform(rows_of(rows))
    assert same(model.inverse_transform(codes).compute(), model.inverse_transform(model.transform(rows)))


def test_columns_in_several_chunks_are_joined() -> None:
    model = vae().fit(X)
    codes = model.transform(da.from_array(X, chunks=(300, 7)))
    assert codes.chunks == ((300, 300, 300, 100), (3,))
    assert same(codes.compute(scheduler="threads"), model.transform(X))


def test_y_is_cut_like_x(client: Any) -> None:
    model = vae(conditional=True).fit(X, LABELS)
    expected = model.score_samples(X, y=LABELS)
    for labels in (LABELS, LABELS.tolist(), rows_of(LABELS), rows_of(LABELS, 100)):
        assert same(model.score_samples(rows_of(X), y=labels).compute(), expected)
    with pytest.raises(ValueError, match="y must have 1000 rows"):
        model.transform(rows_of(X), y=LABELS[1:])
    with pytest.raises(ValueError, match="y has 999 rows, but X has 1000"):
        model.transform(rows_of(X), y=rows_of(LABELS[1:], 111))
    with pytest.raises(ValueError, match="pass y=: this VAE is conditional"):
        model.transform(rows_of(X))
    with pytest.raises(ValueError, match="leave out y=: this VAE is not conditional"):
        vae().fit(X).transform(rows_of(X), y=LABELS)
    codes = model.transform(X, y=LABELS)
    for labels in ("b", LABELS):
        found = model.inverse_transform(rows_of(codes), y=labels)
        assert same(found.compute(), model.inverse_transform(codes, y=labels))
    covariates = X[:, :2]
    real = vae(conditional=True).fit(X, covariates)
    assert same(real.transform(rows_of(X), y=rows_of(covariates)).compute(), real.transform(X, y=covariates))
    sizes = COUNTS.sum(1)
    cells = CountVAE(3, hidden=(16,), size_factor="given", **SMALL).fit(COUNTS, size_factor=sizes)
    found = cells.score_samples(rows_of(COUNTS), size_factor=rows_of(sizes))
    assert same(found.compute(), cells.score_samples(COUNTS, size_factor=sizes))


def test_chunks_of_unknown_size(client: Any) -> None:
    model, kept = vae().fit(X), X[:, 0] > 0.3
    rows = rows_of(X)[rows_of(kept)]
    assert np.isnan(rows.shape[0])
    assert same(model.transform(rows).compute(), model.transform(X[kept]))
    few = rows_of(X)[rows_of(np.arange(N) == 7)]  # of most blocks no rows are left
    assert same(model.transform(few).compute(), model.transform(X[7:8]))
    assert same(model.encode(few)[1].compute(), model.encode(X[7:8])[1])
    assert model.transform(rows_of(X[:0], 0)).compute().shape == (0, 3)
    with pytest.raises(ValueError, match=r"call X.compute_chunk_sizes\(\)"):
        model.posterior_sample(rows, 2)
    conditional = vae(conditional=True).fit(X, LABELS)
    found = conditional.transform(rows, y=rows_of(LABELS)[rows_of(kept)])
    assert same(found.compute(), conditional.transform(X[kept], y=LABELS[kept]))
    with pytest.raises(ValueError, match="unknown sizes"):
        conditional.transform(rows, y=LABELS[kept])


def test_scores_of_all_rows_are_numbers(client: Any) -> None:
    model = vae().fit(X)
    assert model.score(rows_of(X)) == model.score(X)
    assert model.evaluate(rows_of(X)) == model.evaluate(X)


def test_what_does_not_fit_is_refused_at_once() -> None:
    model = vae().fit(X)
    for rows, message in (
        (rows_of(X[:, 1:]), "X has 23 features, but VAE is expecting 24"),
        (da.from_array(X[:, 0], chunks=100), "X is 1-D"),
        (rows_of(X.reshape(N, 4, 6)), "X has 3 dimensions"),
    ):
        with pytest.raises(ValueError, match=message):
            model.transform(rows)
    with pytest.raises(ValueError, match="Z has 4 columns, but latent_dim is 3"):
        model.inverse_transform(rows_of(X[:, :4]))
    with pytest.raises(ValueError, match="leave out out="):
        model.transform(rows_of(X), out=np.empty((N, 3), np.float32))
    with pytest.raises(fastvae.NotFittedError):
        vae().transform(rows_of(X))
    with pytest.raises(TypeError, match="unexpected keyword"):
        model.transform(rows_of(X), observed=1)


def test_names_are_warned_of_once(client: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    model = vae().fit(pandas.DataFrame(X, columns=[f"c{i}" for i in range(24)]))
    with pytest.warns(UserWarning, match="X does not have valid feature names") as caught:
        model.set_output(transform="pandas").transform(rows_of(X)).compute()
    assert len(caught) == 1


# ---------------------------------------------------------------------------------------------- the model


def transfers(dask_worker: Any) -> list[int]:
    """Bytes of models that a worker has got from others."""
    log = dask_worker.transfer_incoming_log
    return [size for event in log for key, size in event["keys"].items() if str(key).startswith("fastvae-model")]


def test_the_model_travels_once_without_the_optimizer(client: Any) -> None:
    model = vae(hidden=(500,)).fit(X)
    rows = rows_of(X, 20).persist()
    distributed.wait(rows)
    before = {worker: len(found) for worker, found in client.run(transfers).items()}
    codes = model.transform(rows)
    size = len(pickle.dumps(codes.dask))
    weights = sum(array.nbytes for array in model.state_dict().values())
    assert weights < size < 1.5 * weights  # once in the graph of 50 blocks; the optimiser's state is twice the weights
    assert same(codes.compute(), model.transform(X))
    got = {worker: found[before[worker] :] for worker, found in client.run(transfers).items()}
    assert sum(len(found) for found in got.values()) <= 1  # one worker has it from the scheduler, the other one from it
    assert all(weights < size < 1.5 * weights for found in got.values() for size in found)


def test_the_same_model_has_the_same_name() -> None:
    model = vae().fit(X)
    rows = rows_of(X)
    assert model.transform(rows).name == model.transform(rows).name
    assert model.transform(rows).name != model.partial_fit(X).transform(rows).name
    assert model.posterior_sample(rows, 2, 0).name != model.posterior_sample(rows, 2, 1).name


def test_callbacks_do_not_travel_and_functions_do(client: Any) -> None:
    lock = threading.Lock()  # cannot be pickled
    model = vae(callbacks=[lambda model, logs: lock.locked() and None], beta=lambda step: 0.5).fit(X)
    assert same(model.transform(rows_of(X)).compute(), model.transform(X))


THREADS = """
import os, dask.array as da, numpy as np, fastvae
X = np.random.default_rng(0).random((20_000, 60), dtype=np.float32)
model = fastvae.VAE(3, hidden=(300,), epochs=1, random_state=0, n_jobs=1, progress=False).fit(X[:500])
def helpers():
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    return sum(name.startswith("fastvae-") for name in names)
rows = da.from_array(X, chunks=(2000, 60))
for n_jobs in (None, 2):
    model.set_params(n_jobs=n_jobs).score_samples(rows).compute(scheduler="threads", num_workers=2)
    print(helpers())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system has no /proc")
def test_without_n_jobs_the_threads_of_dask_compute_alone() -> None:
    before, after = map(int, run_python(THREADS, timeout=60).split())
    assert before == 0
    assert after > 0  # with n_jobs blocks have helpers


def test_threads_of_one_process_have_copies_of_the_model() -> None:
    model = vae(likelihood="gaussian").fit(X)
    found = model.log_marginal(rows_of(X, 50), 200)
    with dask.config.set(scheduler="threads", num_workers=4):
        assert same(dask.compute(found)[0], model.log_marginal(X, 200))


# ---------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("chunks", [1000, 300, 7, (400, 600), "auto"])
@pytest.mark.parametrize("draw", [False, True])
def test_samples_do_not_depend_on_the_chunks(chunks: Any, draw: bool) -> None:
    model = vae().fit(X)
    found = fastvae.dask.sample(model, N, chunks=chunks, random_state=5, draw=draw)
    assert isinstance(found, da.Array)
    assert found.shape == (N, 24)
    assert same(found.compute(scheduler="threads"), model.sample(N, random_state=5, draw=draw))


LIKELIHOODS: list[Any] = [
    "bernoulli",
    "gaussian",
    fastvae.likelihoods.Gaussian(scale="decoder"),
    "poisson",
    "negative_binomial",
    "multinomial",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
def test_draws_of_all_likelihoods_are_numbered_by_row(likelihood: Any) -> None:
    counts = not isinstance(likelihood, str) or likelihood not in ("bernoulli", "gaussian")
    model = vae(likelihood=likelihood).fit(COUNTS.clip(0, 5) if counts else X)
    lengths = generator.integers(1, 20, N) if likelihood == "multinomial" else None
    found = fastvae.dask.sample(model, N, chunks=170, random_state=5, draw=True, lengths=lengths)
    expected = model.sample(N, random_state=5, draw=True, lengths=lengths)
    assert len(np.unique(expected[:, 0])) > 1
    assert same(found.compute(scheduler="threads"), expected)


def test_samples_of_conditional_models_topics_and_images(client: Any) -> None:
    conditional = vae(conditional=True).fit(X, LABELS)
    for labels in ("b", LABELS):
        found = fastvae.dask.sample(conditional, N, chunks=300, y=labels, random_state=1)
        assert same(found.compute(), conditional.sample(N, y=labels, random_state=1))
    topics = TopicModel(3, hidden=(16,), **SMALL).fit(COUNTS)
    found = fastvae.dask.sample(topics, N, chunks=300, random_state=1, draw=True, lengths=30)
    assert same(found.compute(), topics.sample(N, random_state=1, draw=True, lengths=30))
    images = vae(image_shape=(4, 6)).fit(X.reshape(N, 4, 6))
    found = fastvae.dask.sample(images, N, chunks=300, random_state=1)
    assert found.chunks == ((300, 300, 300, 100), (4,), (6,))
    assert same(found.compute(), images.sample(N, random_state=1))


def test_the_seed_of_samples_is_drawn_once() -> None:
    model = vae(random_state=None).fit(X)
    found = fastvae.dask.sample(model, N, chunks=300)
    assert same(found.compute(scheduler="threads"), found.compute(scheduler="threads"))


def test_what_cannot_be_sampled_is_refused_at_once() -> None:
    model = vae().fit(X)
    with pytest.raises(ValueError, match="n=0 must be an integer"):
        fastvae.dask.sample(model, 0)
    with pytest.raises(ValueError, match="Chunks do not add up to shape"):
        fastvae.dask.sample(model, N, chunks=(3, 4))
    with pytest.raises(ValueError, match="lengths=3 needs draw=True"):
        fastvae.dask.sample(model, N, lengths=3)
    with pytest.raises(ValueError, match="leave out y="):
        fastvae.dask.sample(model, N, y=LABELS)
    with pytest.raises(fastvae.NotFittedError):
        fastvae.dask.sample(vae(), N)
    with pytest.raises(TypeError, match="Autoencoder does not generate examples"):
        fastvae.dask.sample(Autoencoder(2, **SMALL).fit(X), N)
    with pytest.raises(TypeError, match="generates tables"):
        fastvae.dask.sample(TabularVAE(2, **SMALL).fit(X), N)
    with pytest.raises(ValueError, match="has no decoder"):
        fastvae.dask.sample(ItemResponse(model="3pl", **SMALL).fit(MARKS), N)
