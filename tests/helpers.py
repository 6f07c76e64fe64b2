"""Shared by several tests: lists taken from the library, small models, data, comparisons of bits, new interpreters.

Private members of the library are used here and nowhere else, each with its reason.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import types
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, _core, corruption, likelihoods, optimizers, schedules
from fastvae._irt.convergence import Distance
from fastvae._training.plan import fullest_last_batch

if TYPE_CHECKING:
    from scipy import sparse

TIMEOUT = 120  # seconds until a test assumes a deadlock; not a measurement

# ------------------------------------------------------------------------------------ lists from the library


def members(module: types.ModuleType) -> list[type]:
    """The public dataclasses that a module defines, in the order of their definition."""
    return [
        kind
        for name, kind in vars(module).items()
        if is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == module.__name__ and name[0] != "_"
    ]


def literals(hint: Any) -> tuple[Any, ...]:
    """The choices that a type hint lists."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(choice for part in get_args(hint) for choice in literals(part))
    return ()


def is_valid(likelihood: Any) -> bool:
    """Whether a model accepts it."""
    try:
        VAE(likelihood=likelihood).describe_objective()
    except ValueError:
        return False
    return True


def needs_lengths(likelihood: Any) -> bool:
    """Whether a draw from it needs the length of each row."""
    return likelihood == "multinomial" or hasattr(likelihood, "size_factor")


def variants(name: str, kind: type, numbers: dict[str, float]) -> dict[str, Any]:
    """An object for every combination of a likelihood's choices; ``numbers`` are the others' values, if not default."""
    hints = get_type_hints(kind)
    options = []
    for field in fields(kind):
        choices = literals(hints[field.name])
        number = numbers.get(field.name, field.default)
        options.append(choices if field.default in choices else (number, *choices))
    found = {}
    for values in product(*options):
        named = {field.name: value for field, value in zip(fields(kind), values, strict=True)}
        likelihood = kind(**named)
        told = [str(named[f.name]) for f in fields(kind) if named[f.name] != f.default]
        if told and is_valid(likelihood) and getattr(likelihood, "dispersion", "shared") == "shared":  # no batches here
            found[" ".join([name, *told])] = likelihood
    return found


# Every likelihood by its name, then every combination of its choices. A scale of 1 would hide a forgotten factor.
LIKELIHOODS: dict[str, Any] = {
    name: likelihood
    for kind, cls in likelihoods.KINDS.items()
    for name, likelihood in ({kind: kind} | variants(kind, cls, {"scale": 0.3})).items()
} | {
    "gaussian decoder 0.5": likelihoods.Gaussian("decoder", floor=0.5),
    "negative_binomial total inflated": likelihoods.NegativeBinomial(size_factor="total", zero_inflation=True),
}
COUNTS = tuple(name for name, facts in _core.LIKELIHOODS.items() if facts["counts"] and facts["public"])
# The core lists the activations; the Python layer names them only in an error.
ACTIVATIONS: list[str] = _core.ACTIVATIONS
OPTIMIZER_NAMES: list[str] = [kind.__name__.lower() for kind in members(optimizers)]
OPTIMIZERS: list[Any] = [*OPTIMIZER_NAMES, optimizers.SGD(momentum=0.9, nesterov=True)]
CORRUPTIONS: list[Any] = [kind(0.4) for kind in members(corruption)]
SCHEDULES: list[Callable[..., schedules.Schedule]] = [
    getattr(schedules, name) for name in schedules.__all__ if name != "Schedule"
]
ISAS = ("avx512", "avx2", "portable")


def available(isa: str) -> bool:
    """Whether this machine has an instruction set."""
    found = fastvae.show_config()["isa_available"]
    assert isinstance(found, list)
    assert set(found) <= set(ISAS), "the tests do not know all instruction sets"
    return isa in found


def needs(*isas: str) -> None:
    """Skip, with a reason, if the machine lacks the instruction set."""
    for isa in isas:
        if not available(isa):
            pytest.skip(f"this machine lacks {isa}")


# ---------------------------------------------------------------------------------------------------- models

SMALL: dict[str, Any] = {"latent_dim": 3, "hidden": (16,), "epochs": 2, "batch_size": 64, "random_state": 0}
STILL: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 1e-30}  # training that changes no bit of a weight


def small(model: type[VAE] | type[Autoencoder] = VAE, **parameters: Any) -> Any:
    """A model that trains in milliseconds."""
    return model(**(SMALL | parameters))


def tiny(**parameters: Any) -> VAE:
    """A smaller one, for a few columns."""
    return small(**({"latent_dim": 2, "hidden": (8,), "epochs": 1, "batch_size": 16} | parameters))


def masking_vae(**parameters: Any) -> VAE:
    """A small model for data with holes."""
    return small(**({"missing": "mask"} | parameters))


def conditional_vae(**parameters: Any) -> VAE:
    """A small model of p(x|y)."""
    return small(**({"conditional": True} | parameters))


def started(model: Any, X: Any) -> Any:
    """Return the model with the initial weights of a fit to X, which depend on X."""
    first = type(model)(**model.get_params()).set_params(optimizer="sgd", learning_rate=1e-30, epochs=1, callbacks=())
    return model.load_state_dict(first.fit(X).state_dict())


def steps(model: Any) -> int:
    """The optimiser steps of a model. Private: users count epochs, tests count steps."""
    return int(model._fitted.engine.steps)


def pass_with_exchange(model: Any, X: NDArray[Any], exchange: Any, threads: int) -> float:
    """Train a pass with this exchange between ranks, and return the loss. Private: users pass an MPI communicator."""
    one = np.ones(1, np.float32)
    *_, loss, n, _ = model._fitted.engine.train(
        X,
        None,
        None,
        None,
        None,
        None,
        shuffle=False,
        batch_size=10,
        objective=(1.0, 1.0, 0.0, None, 1, False),
        step_values=(one, np.empty(0, np.float32), np.full(1, 1e-3)),
        corruption=None,
        binarize=None,
        clip_norm=None,
        threads=threads,
        checks_end=False,
        skips_bad=False,
        tick=None,
        exchange=exchange,
    )
    return float(loss / n)


def clamped(model: Any) -> int:
    """How many log variances were clamped. Private: users get a warning instead."""
    return int(model._fitted.engine.clamped)


def documents_of_a_step(n: int, most: int) -> int:
    """The batch size of a topic model for n documents. Private: public steps give only the number of batches."""
    return fullest_last_batch(n, most)


def rows_of(model: Any, X: Any) -> Any:
    """The rows that the engine reads. Private: users see the same arrays whether they were copied or not."""
    return model._read_first(X, None)[0]


def mirror(model: Any, coordinate: int) -> None:
    """Flip the sign of a coordinate. Private: ``fit`` does it if a mean slope is negative."""
    model._fitted.engine.flip_sign(coordinate)


def distance_of(exam: Any, shares: Any) -> Distance:
    """The distance of an exam's item parameters from their estimates. Private: ``fit`` warns if it is large."""
    found: Distance = exam._distance_to_maximum(exam._fitted, shares)
    return found


def is_finite(model: Any) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(np.isfinite(array).all() for array in model.state_dict().values())


# ------------------------------------------------------------------------------------------------------ bits


def bits(source: Any) -> dict[str, bytes]:
    """The bits of a model's parameters, or of the arrays in a state dict."""
    arrays = source if isinstance(source, Mapping) else source.state_dict()
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}


def same(a: Any, b: Any) -> bool:
    """Whether two models, or two state dicts, have the same parameters in the same order, bit for bit."""
    return list(bits(a).items()) == list(bits(b).items())


def answers(model: Any, X: Any, y: Any = None, binary: Any = None) -> dict[str, bytes]:
    """The bits of all that a fitted model says of X; log_marginal is asked about ``binary``, if given."""
    given = {} if y is None else {"y": y}
    losses, gradients = model.loss_and_gradients(X, **given)
    found = {
        "transform": model.transform(X, **given),
        "scores": model.score_samples(X, **given),
        "reconstruct": model.reconstruct(X, **given),
        "losses": list(losses.values()),
        "evaluate": [model.evaluate(X, **given)[name] for name in losses],
        "history": list(getattr(model, "history_", {}).values()),
    }
    found["decoded"] = model.inverse_transform(found["transform"], **given)
    if isinstance(model, VAE):
        one = {} if y is None else {"y": y[0]}
        lengths = 50 if needs_lengths(model.likelihood) else None
        mean, latent = model.sample(70, return_latent=True, **one)
        found |= {"sample": mean, "latent": latent, "draw": model.sample(70, draw=True, lengths=lengths, **one)}
        found |= {f"encode {name}": part for name, part in zip(("mu", "logvar"), model.encode(X, **given), strict=True)}
        found["posterior_sample"] = model.posterior_sample(X, 3, random_state=0, **given)
        predicted = zip(("mean", "std", "latent_std"), model.predictive(X, 3, random_state=0, **given), strict=False)
        found |= {f"predictive {name}": part for name, part in predicted}
        if binary is not None:
            some = {} if y is None else {"y": y[: len(binary)]}
            for n in (3, 300):  # the second in several blocks
                rows = slice(None) if n == 3 else slice(2)
                asked = {} if y is None else {"y": some["y"][rows]}
                found |= {f"log_marginal {n}": np.concatenate(list(model.log_marginal(binary[rows], n, **asked)))}
    return bits(found) | {f"gradient {name}": bit for name, bit in bits(gradients).items()} | bits(model)


def differing(a: Mapping[str, bytes], b: Mapping[str, bytes]) -> list[str]:
    """The names of the results whose bits differ."""
    assert a.keys() == b.keys()
    return [name for name in a if a[name] != b[name]]


# ------------------------------------------------------------------------------------------------------ data


def holed(X: NDArray[Any], share: float, seed: int = 7) -> NDArray[np.float32]:
    """A copy of X with a share of its values replaced by NaN."""
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X).astype(np.float32)


def sparse_counts(rows: int = 150, cols: int = 77, density: float = 0.05, seed: int = 0) -> sparse.csr_array:
    """Counts 1 to 5 in random places; some rows and columns are empty."""
    from scipy import sparse

    rng = np.random.default_rng(seed)
    kept = rng.random((rows, cols)) < density
    kept[rows // 3], kept[:, cols // 2] = False, False
    return sparse.csr_array(np.where(kept, rng.integers(1, 6, (rows, cols)), 0).astype(np.float32))


# ------------------------------------------------------------------------------- interpreters, threads, files

# ----------------------------------------------------------------------------------------------- model files


def safetensors(header: str, data: bytes = b"") -> bytes:
    """Return a container with that header."""
    return struct.pack("<Q", len(header.encode())) + header.encode() + data


def parts(file: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a container."""
    (length,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + length]), file[8 + length :]


def resealed(file: bytes, edit: Callable[[dict[str, str]], Any]) -> bytes:
    """Return a model file with edited metadata and the checksum that belongs to them."""
    header, data = parts(file)
    edit(header["__metadata__"])
    return sealed(header, data)


def sealed(header: dict[str, Any], data: bytes) -> bytes:
    """Return a model file with the checksum that belongs to its metadata."""
    metadata = header["__metadata__"]
    if metadata.pop("metadata_checksum", None) is None and "config" in metadata:
        return safetensors(json.dumps(header), data)  # of version 1
    text = "".join(f"{key}\0{value}\0" for key, value in sorted(metadata.items()))
    metadata["metadata_checksum"] = f"{zlib.crc32(text.encode(errors='replace')):08x}"
    return safetensors(json.dumps(header), data)


def reads_as_damaged(file: bytes, load: Callable[[bytes], Any], bit: int) -> bool:
    """Whether loading a file raises FormatError once one of its bits is flipped."""
    changed = bytearray(file)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        load(bytes(changed))
    except fastvae.FormatError:
        return True
    return False


class Killed(BaseException):
    """Ends a fit as a kill would: no code of the fit writes anything afterwards."""


def killed_at(epoch: int) -> Any:
    """Return a callback that ends the fit after an epoch."""

    def callback(model: Any, logs: dict[str, float]) -> bool:
        if model.n_iter_ == epoch:
            raise Killed
        return False

    return callback


def module_of(path: Path, name: str) -> Any:
    """Import a file under a name, without its folder on the path."""
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_python(code: str, *arguments: str, timeout: float = TIMEOUT, **environment: str) -> str:
    """Run code in a fresh interpreter where warnings are errors, and return what it prints.

    The variables of the engine and of OpenMP are unset, but for those given and for leave to have more threads than
    cores; the tests' folder is on the path.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FASTVAE_", "OMP_"))}
    inherited["FASTVAE_OVERSUBSCRIBE"] = "1"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=inherited | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_same_output_of_both_sets(script: str) -> None:
    """Check that a program prints the same with AVX2 and AVX-512; skip if the machine lacks one of them."""
    needs("avx2", "avx512")
    narrow, wide = (run_python(script, FASTVAE_ISA=isa) for isa in ("avx2", "avx512"))
    assert narrow.strip()
    assert narrow == wide


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """Run tasks in threads that start together; fail if they do not end."""
    results: list[Any] = [None] * len(tasks)
    gate = threading.Barrier(len(tasks))

    def run(i: int) -> None:
        gate.wait(TIMEOUT)
        try:
            results[i] = tasks[i]()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "deadlock"
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
