"""Hostile model files: seeded mutations of a file of each kind of model, and files that claim too much.

A mutated file raises FormatError, or it is a consistent model: parameters that ``fit`` accepts, and answers. Never a
crash, another exception, a long time, or memory beyond a small multiple of the file. By default 5,000 mutations;
``make mutations``, for the night, sets ``FASTVAE_MUTATIONS=100000``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import parts, run_python, sealed
from test_bits import whole, with_holes
from test_old_files import ANSWERS, FOLDERS, MARKS, MOST, exam, models

import fastvae

pytestmark = pytest.mark.slow

MUTATIONS = int(os.environ.get("FASTVAE_MUTATIONS", "5000"))
MOST_SECONDS = 1.0  # of processor time, for one file
MOST_MEGABYTES = 20  # that loading a file of a few kilobytes takes, whatever it says

# --------------------------------------------------------------------------------- changes of bytes, as accidents make


def flip(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data)))
    data[at] ^= 1 << int(rng.integers(8))


def overwrite(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data)))
    data[at] = int(rng.choice(np.frombuffer(b'\0 "\\{}[],:0123456789e-+.tfnu\xff', np.uint8)))


def delete(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data)))
    del data[at : at + int(rng.integers(1, 100))]


def insert(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data) + 1))
    data[at:at] = rng.bytes(int(rng.integers(1, 100)))


def repeat(data: bytearray, rng: np.random.Generator) -> None:
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 1000))
    data[at:at] = data[at : at + size]


def truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def swap(data: bytearray, rng: np.random.Generator) -> None:
    size = int(rng.integers(1, 200))
    a, b = (int(at) for at in rng.integers(len(data) - size, size=2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


ACCIDENTS = (flip, overwrite, delete, insert, repeat, truncate, swap)

# ------------------------------------------------------------------ changes of meaning, with the checksums of a forger

# Texts that json.dumps does not write, by the strings that stand for them.
RAW = {"<1e4000>": "1e4000", "<twice>": '{"a": 1, "a": 1}', "<long>": "9" * 5000, "<deep>": "[" * 2000 + "]" * 2000}
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, -16, 10**6, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.5, 1e-300, 1e308),
    *("", "x", "auto", "adam", "bernoulli", "gaussian", "x" * 10_000, "\0", "\ud800"),
    *([], [[]], [[]] * 1000, [1] * 1000, [None], ["x"], [2, 3], {}, {"x": 1}, {"kind": "adam"}),
    *(float("nan"), float("inf"), *RAW),
    {"schedules.Schedule": {"shape": "linear", "start": 0.0, "end": 1.0, "steps": 10}},
    {"schedules.Schedule": {"shape": "linear", "start": -1.0, "end": 1.0, "steps": 10}},
    {"layers.Conv2d": {"channels": 3, "kernel_size": 3}},
    {"likelihoods.Gaussian": {"scale": "shared"}},
    {"corruption.MaskingNoise": {"p": 2.0}},
    {"optimizers.SGD": {"momentum": "x"}},
]


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON value but itself."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, child in children:
        found += [(*path, key), *spots(child, (*path, key))]
    return found


def edit(value: Any, rng: np.random.Generator) -> tuple[Any, ...]:
    """Change one spot in a JSON value and return its path."""
    found = spots(value)
    path = found[int(rng.integers(len(found)))]
    owner, key = value, path[-1]
    for step in path[:-1]:
        owner = owner[step]
    match int(rng.integers(8)):
        case 0:
            del owner[key]
        case 1:
            other: Any = value
            for step in found[int(rng.integers(len(found)))]:
                other = other[step]
            owner[key] = json.loads(json.dumps(other))
        case 2 if isinstance(owner, dict):
            name = str(rng.choice(["x", "kind", "__class__", *map(str, owner)])) + "_" * int(rng.integers(2))
            owner[name] = VALUES[int(rng.integers(len(VALUES)))]
            return (*path[:-1], name)
        case 2 if isinstance(owner[key], list):
            owner[key] = owner[key] * 1000
        case 3 if isinstance(owner[key], (int, float)) and not isinstance(owner[key], bool):
            owner[key] += int(rng.choice([-1, 1]))
        case _:
            owner[key] = VALUES[int(rng.integers(len(VALUES)))]
    return path


def written(value: Any) -> str:
    text = json.dumps(value)
    for mark, raw in RAW.items():
        text = text.replace(json.dumps(mark), raw)
    return text


def forge(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return a file with one change of meaning, sealed again, and where the change is."""
    header, tensors = parts(data)
    metadata = header["__metadata__"]
    texts = ["specification", "counters", "estimator", "estimator", "estimator"]
    texts = texts if "estimator" in metadata else ["counters", "config", "config", "config"]  # of version 1
    where = str(rng.choice([*texts, "metadata", "header"]))
    if where == "metadata":
        edit(metadata, rng)
    elif where == "header":
        names = [name for name in header if name != "__metadata__"]
        a, b = (str(name) for name in rng.choice(names, 2))
        match int(rng.integers(3)):
            case 0:
                header[a], header[b] = header[b], header[a]
            case 1:
                edit(header[a], rng)
            case _:
                start, end = header[a]["data_offsets"]
                pattern = np.array([np.nan, np.inf, -1.0, 1e38, 0.0, 1e-45])[int(rng.integers(6))]
                values = np.frombuffer(tensors[start:end], np.uint8).copy()
                if header[a]["dtype"] == "F32" and len(values):
                    values.view(np.float32)[int(rng.integers(len(values) // 4))] = pattern
                tensors = tensors[:start] + values.tobytes() + tensors[end:]
    else:
        value = json.loads(metadata[where])
        where = "/".join(map(str, (where, *edit(value, rng)[:2])))
        metadata[where.split("/", 1)[0]] = written(value)
    if isinstance(header.get("__metadata__"), dict) and "checksums" in metadata:
        sums = {}
        for name, about in header.items():
            if name != "__metadata__" and isinstance(about, dict):
                offsets = about.get("data_offsets")
                if isinstance(offsets, list) and len(offsets) == 2 and all(type(at) is int for at in offsets):
                    sums[name] = f"{zlib.crc32(tensors[slice(*offsets)]):08x}"
        if where == "header":
            metadata["checksums"] = json.dumps(sums)
    return sealed(header, tensors), where


# --------------------------------------------------------------------------------------------------- what must hold


def use(model: Any, case: Any, where: str) -> None:
    """Use a loaded model as its user would."""
    parameters = model.get_params()
    repr(model)
    X, y = case.X, {} if case.y is None else {"y": case.y}
    # Other layers or more draws may take any time and memory, as the user's own would.
    sized = ("hidden", "layers", "latent_dim", "n_topics", "n_dims", "n_importance_samples", "epochs", "_shape")
    trains = not any(name in where for name in sized)
    if where.startswith(("specification/encoder", "specification/decoder")):
        return  # such as a padding of thousands of pixels
    try:
        model.transform(X, **y)
        beyond = model._fitted.item_parameters is not None  # then the network is no whole model
        for ask in (model.log_marginal, model.item_fit) if beyond else (model.evaluate,):
            ask(X, **y)
        if trains:
            if not beyond:
                model.partial_fit(X, case.y)
            type(model)(**parameters | {"epochs": 1}).fit(X, case.y)
    except FloatingPointError:
        pass  # a learning rate that is too large, or weights
    except (ValueError, TypeError):
        # Parameters must fit any data of the model; other changes may make another model of these data.
        if where.startswith("estimator/parameters/") and not any(name in where for name in AS_DATA):
            raise


# Parameters that say what X is: those of another X are not wrong.
AS_DATA = (
    *("image_shape", "channels", "missing", "likelihood", "loss", "binarize", "max_marks", "condition"),
    *("input_transform", "validation_fraction"),
)


class Session:
    """Loads mutated files and counts what happens."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.files = {path: path.read_bytes() for folder in FOLDERS for path in sorted(folder.glob("*.safetensors"))}
        self.files |= {CHECKPOINT: checkpoint()} | {
            Path(f"new/{name}"): written_by(case) for name, case in exams().items()
        }
        self.cases = models() | exams()
        self.outcomes: Counter[str] = Counter()
        self.slowest = self.largest = 0.0
        self.failures: list[str] = []

    def run(self, n: int) -> None:
        """Try `n` mutations, of the kinds of models in turn."""
        newest = [path for path in self.files if path.parent not in FOLDERS[:-1]]
        older = [path for path in self.files if path not in newest]
        for i in range(n):
            path = older[i // 5 % len(older)] if i % 5 == 0 else newest[i % len(newest)]
            data = self.files[path]
            if self.rng.random() < 0.4:
                changed, where = bytearray(data), "bytes"
                accident = ACCIDENTS[int(self.rng.integers(len(ACCIDENTS)))]
                accident(changed, self.rng)
                kind = f"accident: {accident.__name__}"
            else:
                changed, where = forge(data, self.rng)
                kind = f"forgery: {where.split('/')[0]}"
            if bytes(changed) != data:
                self.load(path, bytes(changed), f"{path.parent.name} {kind}", where)

    def load(self, path: Path, data: bytes, kind: str, where: str) -> None:
        """Load a file and judge the outcome."""
        name = f"{path.parent.name}/{path.stem}"
        reset_peak()
        resident, before = memory("VmRSS"), time.process_time()
        model: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                model = fastvae.load(data)
            outcome = "loads"
        except fastvae.FormatError as error:
            outcome = "FormatError"
            if len(str(error)) > 1000:
                self.failures.append(f"{name}, {where}: a message of {len(str(error))} characters")
        except Exception as error:
            outcome = f"{type(error).__name__}"
            self.failures.append(f"{name}, {where}: {error!r}"[:500])
        seconds = time.process_time() - before
        self.slowest = max(self.slowest, seconds)
        megabytes = memory("VmHWM") - resident
        self.largest = max(self.largest, megabytes)
        if seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES:
            self.failures.append(f"{name}, {where}: {seconds:.1f} s, {megabytes:.0f} MB")
        self.outcomes[f"{kind}: {outcome}"] += 1
        if model is not None and "accident" in kind and "v1" not in kind:  # version 1 has no checksums
            self.failures.append(f"{name}: a damaged file loads ({kind})")
        elif model is not None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    use(model, self.cases[path.stem], where)
                    if path == CHECKPOINT:
                        resume(data, self.cases[path.stem], where)
            except Exception as error:
                self.failures.append(f"{name}, {where}: loads, and then {error!r}"[:500])


def exams() -> dict[str, Any]:
    """Return exams by marginal maximum likelihood, which tests/data does not have."""
    by_em: dict[str, Any] = {"method": "mml", "epochs": 20}
    return {
        "exam_by_em": exam("2pl", with_holes(ANSWERS), **by_em),
        "exam_marks_by_em": exam("2pl", MARKS, max_marks=MOST, **by_em),
        "exam_guessing": exam("3pl", ANSWERS, epochs=20),
        "exam_graded": exam("graded", whole(21, 7, 3, 107), epochs=20),
    }


def written_by(case: Any) -> bytes:
    """Return the file of a model of a case."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.model.fit(case.X, case.y).save(file)
    return file.getvalue()


CHECKPOINT = Path("checkpoint/vae_validation.safetensors")  # its name in a session; no file


class Stop:
    """A callback that raises an exception after an epoch."""

    def __init__(self, epoch: int, error: type[BaseException]) -> None:
        self.epoch, self.error = epoch, error

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
        if model.n_iter_ >= self.epoch:
            raise self.error


def checkpoint() -> bytes:
    """Return a checkpoint in the middle of a fit with early stopping."""
    case = models()["vae_validation"]
    model = case.model.set_params(epochs=5, callbacks=Stop(3, KeyboardInterrupt))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(case.X, checkpoint=path, checkpoint_every=1)
        return path.read_bytes()


def resume(data: bytes, case: Any, where: str) -> None:
    """Resume a fit from a checkpoint with a changed state."""
    if "planned" in where or "most" in where:
        return  # a million epochs are legal
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ValueError, FloatingPointError, StopIteration):
        path = Path(folder) / "model"
        path.write_bytes(data)
        fastvae.resume(path, case.X, callbacks=Stop(5, StopIteration))


def memory(name: str) -> float:
    """Return the memory of this process in megabytes: "VmRSS", now, or "VmHWM", the peak."""
    # Not getrusage, whose peak includes that of the parent at the fork.
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


def reset_peak() -> None:
    """Let the peak of the memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def session(n: int, seed: int) -> dict[str, Any]:
    """Run mutations and return the outcomes; in a process of its own, because a crash would end it."""
    running = Session(seed)
    for path, data in running.files.items():
        use(fastvae.load(data), running.cases[path.stem], "")
    running.run(n)
    return {
        "outcomes": dict(sorted(running.outcomes.items())),
        "slowest": running.slowest,
        "largest": running.largest,
        "failures": running.failures,
    }


SESSION = """
import json, sys, warnings, test_mutations
warnings.resetwarnings()
warnings.simplefilter("ignore")
print(json.dumps(test_mutations.session(*map(int, sys.argv[1:]))))
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak memory of a process")


@linux
def test_a_mutated_file_is_refused_or_a_consistent_model() -> None:
    run = run_python(SESSION, str(MUTATIONS), "0", timeout=60 + MUTATIONS / 20)
    found = json.loads(run.splitlines()[-1])
    print(json.dumps(found, indent=1))
    assert found["failures"] == []
    assert found["slowest"] < MOST_SECONDS
    assert found["largest"] < MOST_MEGABYTES
    assert sum(found["outcomes"].values()) > 0.9 * MUTATIONS


# ------------------------------------------------------------------------------------------- files that claim too much

MEGABYTES = 12


def filled(pattern: str) -> str:
    """Return a text of so many megabytes."""
    return pattern * (MEGABYTES * 2**20 // len(pattern))


# A text of the metadata, the text in it that is replaced, and the replacement.
CLAIMS: dict[str, tuple[str, str, Callable[[], str]]] = {
    "empty lists as layers": ("estimator", '"hidden": [5]', lambda: f'"hidden": [{filled("[],")}5]'),
    "empty objects as layers": ("estimator", '"hidden": [5]', lambda: f'"hidden": [{filled("{},")}5]'),
    "layers": ("estimator", '"hidden": [5]', lambda: f'"hidden": [{filled("1,")}5]'),
    "large layers": ("estimator", '"hidden": [5]', lambda: f'"hidden": [{filled("-900,")}5]'),
    "fractions": ("estimator", '"hidden": [5]', lambda: f'"hidden": [{filled("0.5,")}5]'),
    "a long name": ("estimator", '"tanh"', lambda: f'"{filled("tanh")}"'),
    "escapes": ("estimator", '"tanh"', lambda: '"' + filled("\\u00e9") + '"'),
    "a long number": ("estimator", '"n_jobs": null', lambda: f'"n_jobs": {filled("9")}'),
    "a long fraction": ("estimator", '"n_jobs": null', lambda: f'"n_jobs": 0.{filled("9")}'),
    "many parameters": ("estimator", '"n_jobs": null', lambda: ", ".join(f'"p{i}": 0' for i in range(1_000_000))),
    "deep lists": ("estimator", '"n_jobs": null', lambda: f'"n_jobs": {filled("[")}'),
    "deep objects": ("estimator", '"n_jobs": null', lambda: '"n_jobs": ' + filled('{"a":')),
    "names": ("estimator", '"names": null', lambda: f'"names": [{filled(chr(34) * 2 + ",")}""]'),
    "different names": (
        "estimator",
        '"names": null',
        lambda: f'"names": {json.dumps([str(i) for i in range(900_000)])}',
    ),
    "classes": (
        "estimator",
        '"classes_": null',
        lambda: f'"classes_": {{"type": "int64", "values": [{filled("1,")}1]}}',
    ),
    "units": ("specification", '"encoder":[5]', lambda: f'"encoder":[{filled("1,")}5]'),
    "layers of the network": ("specification", '"encoder":[5]', lambda: f'"encoder":[{filled("{},")}5]'),
    "topics": ("specification", '"topics":null', lambda: f'"topics":{{"mean":[{filled("0,")}0],"scale":[]}}'),
    "trials": ("specification", '"trials":[]', lambda: f'"trials":[{filled("1,")}1]'),
    "a long option": ("specification", '"tanh"', lambda: f'"{filled("tanh")}"'),
    "many counters": ("counters", '"steps"', lambda: "".join(f'"c{i}":0,' for i in range(1_000_000)) + '"steps"'),
    "checksums": ("checksums", "{", lambda: "{" + "".join(f'"t{i}":"",' for i in range(1_000_000))),
    "an old history": ("estimator", '"history_": {"loss": [', lambda: f'"history_": {{"loss": [{filled("1.5,")}'),
    "an old history of nulls": (
        "estimator",
        '"history_": {"loss": [',
        lambda: f'"history_": {{"loss": [{filled("null,")}',
    ),
}


CLAIM = """
import json, sys, time, fastvae
from test_mutations import memory, reset_peak
reset_peak()
before, start = memory("VmRSS"), time.process_time()
try:
    fastvae.load(sys.argv[1])
except fastvae.FormatError as error:
    message = str(error)
print(json.dumps([message, memory("VmHWM") - before, time.process_time() - start]))
"""


@linux
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_file_that_claims_too_much_gets_little(kind: str, tmp_path: Path) -> None:
    key, old, new = CLAIMS[kind]
    version = "v2" if "history" in kind else FOLDERS[-1].name
    header, tensors = parts((FOLDERS[-1].parent / version / "vae.safetensors").read_bytes())
    text = header["__metadata__"][key]
    assert text.count(old) >= 1, f"{kind}: {old} is not in {text}"
    header["__metadata__"][key] = text.replace(old, new(), 1)
    path = tmp_path / "model"
    path.write_bytes(sealed(header, tensors))
    message, megabytes, seconds = json.loads(run_python(CLAIM, str(path)))
    print(kind, f"{megabytes / (path.stat().st_size / 2**20):.1f} times, {seconds:.2f} s:", message)
    assert len(message) < 1000
    assert megabytes < 10 * path.stat().st_size / 2**20
    assert seconds < 2


if __name__ == "__main__":
    print(json.dumps(session(int(sys.argv[1]), int(sys.argv[2])), indent=1))
