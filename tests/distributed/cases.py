"""Programs that test_distributed.py runs under mpirun. Rank 0 prints a line of JSON with the result of a case."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel, _core, layers
from fastvae._data.sources import opening
from fastvae._distributed.group import connect
from fastvae.distributed import Communicator, share

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.Get_rank(), WORLD.Get_size()

rng = np.random.default_rng(0)
BINARY = (rng.random((1200, 50)) < rng.random(50)).astype(np.float32)
COUNTS = rng.poisson(rng.gamma(0.3, 3, (1200, 60))).astype(np.float32)
REALS = rng.standard_normal((1200, 6)).astype(np.float32) * [1, 20, 1, 5, 1, 1] + [0, 100, 0, 0, 3, 0]
IMAGES = rng.random((320, 8, 8, 1)).astype(np.float32)
GREY = np.where(rng.random((1200, 50)) < 0.3, rng.random((1200, 50)), 0).astype(np.float32)
WEIGHTS = rng.gamma(2.0, size=1200).astype(np.float32)
LABELS = np.repeat(["a", "b", "c", "d"], 300)  # each rank of four has another one


class Sparse:
    """A sparse matrix, without scipy."""

    def __init__(self, X: NDArray[np.float32]) -> None:
        self.dense, self.shape, self.dtype, self.format = X, X.shape, X.dtype, "csr"
        rows, columns = np.nonzero(X)
        self.indptr = np.searchsorted(rows, np.arange(len(X) + 1)).astype(np.int32)
        self.indices, self.data = columns.astype(np.int32), X[rows, columns]

    def __len__(self) -> int:
        return len(self.dense)

    def __getitem__(self, rows: Any) -> Sparse:
        return Sparse(self.dense[rows])


def report(result: Any) -> None:
    """Print the results of all ranks."""
    everywhere = WORLD.gather(result)
    if RANK == 0:
        print("RESULT", json.dumps(everywhere), flush=True)


def own(n: int) -> slice:
    return share(n, WORLD)


def distance(model: Any, other: Any) -> float:
    """The largest difference of two models' weights."""
    first, second = model.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def in_batches(X: NDArray[Any], shares: list[slice], steps: int) -> list[NDArray[Any]]:
    """The rows of each batch: the parts of all shares, one behind another."""
    numbers = [np.arange(len(X))[share] for share in shares]
    return [
        np.concatenate([rows[len(rows) * s // steps : len(rows) * (s + 1) // steps] for rows in numbers])
        for s in range(steps)
    ]


def trained_alike(
    make: Callable[..., Any],
    X: Any,
    *,
    batch_size: int,
    passes: int,
    weights: NDArray[Any] | None = None,
    y: NDArray[Any] | None = None,
    shares: list[slice] | None = None,
) -> list[float]:
    """The distances of weights and losses after passes on all ranks and in one process with the same batches."""
    even = shares is None
    shares = [slice(len(X) * r // SIZE, len(X) * (r + 1) // SIZE) for r in range(SIZE)] if shares is None else shares
    start = make().partial_fit(X, y).state_dict()
    model, alone = make(communicator=WORLD, batch_size=batch_size), make(batch_size=batch_size)
    model.load_state_dict(start)
    alone.load_state_dict(start)

    def at(values: NDArray[Any] | None, rows: Any) -> NDArray[Any] | None:
        return None if values is None else values[rows]

    mine = shares[RANK]
    for _ in range(passes):
        model.partial_fit(X[mine], at(y, mine), sample_weight=at(weights, mine))
    if RANK > 0:
        return []
    order = in_batches(X, shares, -(-len(X) // batch_size))
    for _ in range(passes):
        if even:
            rows = np.concatenate(order)
            alone.partial_fit(X[rows], at(y, rows), sample_weight=at(weights, rows))
            loss = alone.history_["loss"][-1]
            continue
        loss = 0.0
        for rows in order:  # of different sizes
            alone.set_params(batch_size=len(rows)).partial_fit(X[rows], at(y, rows))
            loss += alone.history_["loss"][-1] * len(rows) / len(X)
    return [distance(model, alone), abs(model.history_["loss"][-1] - loss)]


def exactness() -> None:
    """One hundred steps of every estimator on all ranks and in one process."""
    common = {"random_state": 3, "n_jobs": 1}
    dense = {"latent_dim": 5, "hidden": (32,), **common}
    conv = (layers.Conv2d(8, 3, stride=2), layers.Conv2d(16, 3, stride=2), layers.Dense(32))
    normed = (
        layers.Conv2d(8, 3, stride=2),
        layers.Conv2d(16, 3, stride=2, batch_norm=True),
        layers.Dense(32, batch_norm=True),
    )
    pictures = {"latent_dim": 5, "image_shape": (8, 8, 1), **common}
    sgd = {"optimizer": fastvae.optimizers.SGD(momentum=0.9), "learning_rate": 0.005}
    uneven = [slice(0, 100), slice(100, 453), slice(453, 800), slice(800, 1200)]
    cases: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "VAE": (lambda **o: VAE(**dense | o), BINARY, {}),
        "Gaussian": (lambda **o: VAE(**dense | {"likelihood": "gaussian"} | o), REALS, {}),
        "wide": (lambda **o: VAE(**dense | {"hidden": (600, 600)} | o), BINARY, {}),  # two pieces of a layer's gradient
        "free bits": (lambda **o: VAE(**dense | {"free_bits": 0.1} | o), BINARY, {}),
        "capacity": (lambda **o: VAE(**dense | {"capacity": 2.0, "beta": 5.0} | o), BINARY, {}),
        "importance samples": (lambda **o: VAE(**dense | {"n_importance_samples": 4} | o), BINARY, {}),
        "doubly": (
            lambda **o: VAE(**dense | {"n_importance_samples": 4, "doubly_reparameterized": True} | o),
            BINARY,
            {"weights": WEIGHTS},
        ),
        "clipping": (lambda **o: VAE(**dense | {"clip_norm": 0.5} | o), BINARY, {}),
        "corruption": (lambda **o: VAE(**dense | {"corruption": fastvae.corruption.MaskingNoise(0.3)} | o), BINARY, {}),
        "skipping": (lambda **o: VAE(**dense | {"nan_policy": "skip"} | o), BINARY, {}),
        "weights": (lambda **o: VAE(**dense | o), BINARY, {"weights": WEIGHTS}),
        "conditional": (
            lambda **o: VAE(**dense | {"conditional": True} | o),
            BINARY,
            {"y": np.eye(4)[rng.integers(4, size=1200)]},
        ),
        "unequal shares": (lambda **o: VAE(**dense | o), BINARY, {"shares": uneven}),
        "Autoencoder": (lambda **o: Autoencoder(**dense | o), BINARY, {}),
        "mixture": (lambda **o: TopicModel(5, hidden=(32,), **common | {"init": "random"} | sgd | o), COUNTS, {}),
        "product": (
            lambda **o: TopicModel(5, hidden=(32,), decoder="product", **common | {"init": "random"} | sgd | o),
            COUNTS,
            {},
        ),
        "ItemResponse": (lambda **o: ItemResponse(hidden=(16,), **common | o), BINARY, {}),
        "convolutions": (lambda **o: VAE(**pictures | {"hidden": conv} | o), IMAGES, {}),
        "binarised": (lambda **o: VAE(**dense | {"binarize": "bernoulli"} | o), GREY, {}),
        "binarised, sparse": (lambda **o: VAE(**dense | {"binarize": "bernoulli"} | o), Sparse(GREY), {}),
        # Adam would turn the rounding errors of a bias before a normalisation, whose gradient is zero, into full steps.
        "batch normalisation": (lambda **o: VAE(**pictures | {"hidden": normed} | sgd | o), IMAGES, {}),
    }
    found = {}
    for name, (make, X, options) in cases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = 120 if len(X) == 1200 else 40
            if name == "wide":
                found[name] = trained_alike(make, X, batch_size=batch, passes=1)
                continue
            if name.startswith("binarised"):  # by the number of the row: in one batch rows have the same order
                found[name] = trained_alike(make, X, batch_size=len(X), passes=20)
                continue
            found[name] = trained_alike(make, X, batch_size=batch, passes=-(-100 * batch // len(X)), **options)
    report(found)


def fits() -> None:
    """Whole fits: a shuffled one against one process in the same order, and validation with early stopping."""
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"latent_dim": 5, "hidden": (32,), "random_state": 3, "likelihood": "gaussian"}
        model = VAE(**options, batch_size=120, epochs=10, communicator=WORLD).fit(REALS[own(1200)])
        if RANK == 0:
            alone = VAE(**options, batch_size=120, n_jobs=1)
            n, steps = 1200 // SIZE, 10
            for epoch in range(10):
                orders = [np.array(_core.order_of_rank(3, epoch, rank, n)) + rank * n for rank in range(SIZE)]
                parts = [
                    np.concatenate([o[n * s // steps : n * (s + 1) // steps] for o in orders]) for s in range(steps)
                ]
                alone.partial_fit(REALS[np.concatenate(parts)])
            found["shuffled"] = [distance(model, alone), abs(model.history_["loss"][-1] - alone.history_["loss"][-1])]
            found["standardised"] = "standardize.scale" in model.state_dict()
        # In one batch an epoch's order does not matter to a model without noise.
        options = {"latent_dim": 5, "hidden": (32,), "random_state": 3, "batch_size": 1000, "epochs": 60}
        options |= {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.02, "learning_rate": 0.02}
        held = BINARY[1000:]
        model = Autoencoder(**options, communicator=WORLD).fit(BINARY[own(1000)], validation_data=held[own(200)])
        if RANK == 0:
            alone = Autoencoder(**options, n_jobs=1).fit(BINARY[:1000], validation_data=held)
            found["early stopping"] = [
                distance(model, alone),
                max(
                    float(np.abs(np.subtract(model.history_[key], alone.history_[key])).max()) for key in alone.history_
                ),
            ]
            found["epochs"] = [model.n_iter_, alone.n_iter_]
        # One rank has the outlier, and all skip its batch.
        usual = rng.random((1200, 6), dtype=np.float32)[own(1200)]
        options = {"hidden": (8,), "likelihood": "gaussian", "batch_size": 120, "random_state": 0}
        model = VAE(2, **options, communicator=WORLD).partial_fit(usual)
        if RANK == 2:
            usual[47, 2] = 1e15
        model.set_params(nan_policy="skip").partial_fit(usual)
        found["skipped"], found["weights"] = model.n_skipped_batches_, weights_of(model)
        labels = VAE(2, hidden=(8,), conditional=True, epochs=1, random_state=0, communicator=WORLD).fit(
            BINARY[own(1200)], LABELS[own(1200)]
        )
        found["classes"] = labels.classes_.tolist()
        free = VAE(5, hidden=(32,), free_bits=0.2, random_state=3, batch_size=500, epochs=2, communicator=WORLD)
        free.fit(BINARY[own(1000)], validation_data=held[own(200)])
        if RANK == 0:
            alone = VAE(5, hidden=(32,), free_bits=0.2, random_state=3, epochs=1, n_jobs=1).fit(
                BINARY[:1000], validation_data=held
            )
            alone.load_state_dict(free.state_dict())
            alone.set_params(warm_start=True, learning_rate=1e-30)
            alone.fit(BINARY[:1000], validation_data=held)
            found["free bits"] = abs(alone.history_["val_loss"][-1] - free.history_["val_loss"][-1])
    report(found)


def words() -> None:
    """Passes with products of bfloat16: on all ranks, twice, and in one process."""
    found: dict[str, Any] = {"distances": []}
    for passes in (1, 10):  # of ten steps

        def make(**options: Any) -> VAE:
            return VAE(8, hidden=(64,), random_state=3, batch_size=120, **options)

        start = make(n_jobs=1).partial_fit(BINARY).state_dict()

        def train(model: VAE, X: NDArray[Any], times: int = passes, start: Any = start) -> VAE:
            model.load_state_dict(start)
            for _ in range(times):
                model.partial_fit(X)
            return model

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first, second = (
                train(make(precision="bf16", communicator=WORLD, n_jobs=threads), BINARY[own(1200)])
                for threads in (1, 2)
            )
            found["bits"] = [weights_of(first), weights_of(second)]
            if RANK == 0:
                shares = [slice(1200 * r // SIZE, 1200 * (r + 1) // SIZE) for r in range(SIZE)]
                X = BINARY[np.concatenate(in_batches(BINARY, shares, 10))]
                alone = train(make(precision="bf16", n_jobs=1), X)
                exact = train(make(n_jobs=1), X)
                losses = [model.history_["loss"][-1] for model in (first, alone)]
                found["distances"].append([distance(first, alone), distance(alone, exact), abs(np.subtract(*losses))])
    report(found)


def sources() -> None:
    """Shares in files, of more bytes than a block of rows, which this case makes small."""
    opening.BLOCK_BYTES = 1000
    X, found = BINARY[own(1200)], {}
    options: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "random_state": 0, "epochs": 2, "communicator": WORLD}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.npy")
        np.save(path, X)
        mapped = np.load(path, mmap_mode="r")
        found["fits"] = [weights_of(VAE(**options).fit(rows)) for rows in (X, mapped)]
        found["passes"] = [weights_of(VAE(**options).partial_fit(rows)) for rows in (X, mapped)]
        opening.BLOCK_BYTES = 2**26
        found["fits"].append(weights_of(VAE(**options).fit([path])))  # read at once
    report(found)


def weights_of(model: Any) -> int:
    import zlib

    found = 0
    for value in model.state_dict().values():
        found = zlib.crc32(np.ascontiguousarray(value), found)
    return found


def bits() -> None:
    """The same fit twice; threads, formats of gradients; and what the estimator keeps of the communicator."""
    import copy
    import io
    import pickle

    X, found = BINARY[own(1200)], {}
    options = {"latent_dim": 5, "hidden": (64,), "random_state": 3, "batch_size": 120, "epochs": 2}

    def fit(communicator: Any, **more: Any) -> Any:
        return VAE(**options, **more, communicator=communicator).fit(X)

    model = fit(WORLD)
    found["same"] = [weights_of(model), weights_of(fit(Communicator())), weights_of(fit(WORLD, n_jobs=2))]
    half = fit(Communicator(WORLD, gradients="bfloat16"))
    found["half"] = [weights_of(half), weights_of(fit(Communicator(WORLD, gradients="bfloat16")))]
    found["distance"] = distance(model, half)
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert copied.communicator is None
        assert weights_of(copied) == weights_of(model)
    file = io.BytesIO()
    model.save(file)
    assert fastvae.load(file.getvalue()).communicator is None
    # Without a share of it, one rank can go on alone.
    alone = copy.deepcopy(model)
    if RANK == 0:
        alone.partial_fit(X)
    for communicator in (WORLD, Communicator(WORLD)):
        model_of = VAE(**options, communicator=communicator)
        again = VAE(**copy.deepcopy(model_of.get_params()))  # as scikit-learn's clone
        assert weights_of(again.fit(X)) == weights_of(model)
    # A model that one rank has changed since the last call is refused, as all models with other weights.
    changed = VAE(**options, communicator=WORLD).partial_fit(X).partial_fit(X)
    if RANK == 1:
        changed.load_state_dict(model.state_dict())
    try:
        changed.partial_fit(X)
        found["changed"] = "trained"
    except ValueError as error:
        found["changed"] = str(error)
    found["threads"] = connect(WORLD).threads
    model.set_params(warm_start=True).fit(X)
    twice = VAE(**options | {"epochs": 4}, communicator=WORLD).fit(X)
    found["warm"] = [weights_of(model), weights_of(twice)]
    report(found)


def refusals() -> None:
    """What is refused, on all ranks with the same sentence. One run has all cases: a group survives them."""
    X, odd = BINARY[own(1200)], RANK == 1
    options: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "random_state": 0, "epochs": 1, "communicator": WORLD}

    def refuse(*_: Any) -> None:
        raise KeyError("the callback of a rank")

    def interrupt(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    class Large:
        shape, dtype = (10**6, 50), np.dtype(np.float32)

        def __getitem__(self, rows: Any) -> Any:
            raise AssertionError("rows are read")

    class Halves:
        def __iter__(self) -> Any:
            return iter([X[:200], X[200:]])

    quantised = VAE(2, hidden=(8,), epochs=1, random_state=0).fit(BINARY).quantize()
    holes = X.copy()
    holes[3, 4] = np.nan
    cases: dict[str, Callable[[], Any]] = {
        "empty share": lambda: VAE(**options).fit(X[:0] if odd else X),
        "small share": lambda: VAE(**options).fit(X[:5] if odd else X),
        "columns": lambda: VAE(**options).fit(X[:, :40] if odd else X),
        "parameters": lambda: VAE(**options | {"learning_rate": -1 if odd else 0.02}).fit(X),
        "seeds": lambda: VAE(**options | {"random_state": RANK}).fit(X),
        "calls": lambda: VAE(**options).partial_fit(X) if odd else VAE(**options).fit(X),
        "classes": lambda: Autoencoder(**options).fit(X) if odd else VAE(**options).fit(X),
        "weights": lambda: VAE(**options).fit(X, sample_weight=np.ones(len(X)) if odd else None),
        "validation": lambda: VAE(**options).fit(X, validation_data=X if odd else None),
        "integers": lambda: VAE(**options).fit((255 * X).astype(np.uint8) if odd else X.astype(np.uint8)),
        "values": lambda: VAE(**options).fit(holes if odd else X),
        "callback": lambda: VAE(**options, callbacks=refuse if odd else ()).fit(X),
        "interrupt": lambda: VAE(**options, callbacks=interrupt if odd else ()).fit(X),
        "models": lambda: (
            VAE(**options | {"warm_start": True})
            .load_state_dict(VAE(2, hidden=(8,), epochs=1).fit(X).state_dict())
            .fit(X)
        ),
        "mml": lambda: ItemResponse("3pl", random_state=0, communicator=WORLD).fit(X),
        "diverges": lambda: VAE(**options | {"likelihood": "gaussian", "learning_rate": 1e5, "epochs": 50}).fit(
            REALS[own(1200)]
        ),
        "versions": lambda: VAE(**options).fit(X),
        "epochs": lambda: VAE(**options).fit(X, epochs=3 if odd else 2),
        "epochs of the model": lambda: VAE(**options | {"epochs": 3 if odd else 2}).fit(X),
        "iterator": lambda: VAE(**options).fit(iter([X])),
        "batches": lambda: VAE(**options).partial_fit(Halves() if odd else X),
        "steps": lambda: VAE(**options).fit(X, steps_per_epoch=2),
        "source": lambda: VAE(**options).fit(Large()),
        "quantised": lambda: quantised.set_params(**options).fit(X),
        "quantised pass": lambda: quantised.set_params(**options).partial_fit(X),
        "fine": lambda: VAE(**options).fit(X),
    }
    found = {}
    for name, case in cases.items():
        version = _core.__version__
        if name == "versions" and odd:
            _core.__version__ = "0.0.1"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case()
            found[name] = "fitted"
        except (Exception, KeyboardInterrupt) as error:
            found[name] = f"{type(error).__name__}: {error}"
        finally:
            _core.__version__ = version
    report(found)


def killed(path: str) -> None:
    """Rank 1 dies in the fifth epoch."""

    def die(model: Any, logs: Any) -> None:
        if RANK == 1 and logs.epoch == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    model = VAE(2, hidden=(8,), random_state=0, epochs=8, callbacks=die, communicator=WORLD)
    model.fit(BINARY[own(1200)], checkpoint=path, checkpoint_every=2)


def resumed(path: str) -> None:
    """The rest of that fit, on other ranks."""
    model = fastvae.resume(path, BINARY[own(1200)], communicator=WORLD, callbacks=the_callback())
    report([model.n_iter_, weights_of(model), len(model.history_["loss"])])


def unkilled() -> None:
    """That fit without a kill."""
    model = VAE(2, hidden=(8,), random_state=0, epochs=8, communicator=WORLD).fit(BINARY[own(1200)])
    report([model.n_iter_, weights_of(model), len(model.history_["loss"])])


def the_callback() -> Any:
    """A callback with the name of the one that kills."""

    def die(*_: Any) -> None:
        pass

    die.__qualname__ = "killed.<locals>.die"
    return die


def silent() -> None:
    """Rank 1 hangs."""
    hang = (lambda *_: time.sleep(600)) if RANK == 1 else ()
    VAE(2, hidden=(8,), epochs=8, callbacks=hang, communicator=Communicator(timeout=1)).fit(BINARY[own(1200)])


def absent() -> None:
    """Rank 1 does not call fit."""
    if RANK == 1:
        time.sleep(600)
    VAE(2, hidden=(8,), epochs=8, communicator=Communicator(timeout=1)).fit(BINARY[own(1200)])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
