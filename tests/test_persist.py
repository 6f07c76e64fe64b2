"""The core's model file: the same bits after loading, clear errors, and no file half written."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import at_once, parts, reads_as_damaged, resealed, run_python, safetensors
from numpy.typing import NDArray

import fastvae
from fastvae import _core

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"beta2": 0.99, "weight_decay": 0.01},
    "adamw": {"beta2": 0.99, "weight_decay": 0.01},
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adagrad": {"lr_decay": 0.1},
}
LIKELIHOODS: list[dict[str, Any]] = [
    {"kind": "bernoulli"},
    {"kind": "gaussian", "scale": 0.5},
    {"kind": "gaussian", "scale": "shared"},
    {"kind": "gaussian", "scale": "per_feature"},
    {"kind": "gaussian", "scale": "decoder"},
    {"kind": "gaussian", "scale": 0.5, "mean": "sigmoid"},
    {"kind": "gaussian", "scale": "decoder", "mean": "sigmoid"},
]
X = np.random.default_rng(0).random((100, 37), dtype=np.float32)

posix = pytest.mark.skipif(os.name != "posix", reason="of a POSIX system")


def choices(optimizer: str = "adam", **more: Any) -> dict[str, Any]:
    """Return the specification of an engine."""
    specification = {
        "n_features": 37,
        "latent_dim": 3,
        "encoder": [33],
        "decoder": [5, 40],
        "activation": "tanh",
        "optimizer": {"kind": optimizer} | OPTIMIZERS.get(optimizer, {}),
        "seed": 7,
    }
    return specification | more


def train(engine: _core.Engine, shuffle: bool = True) -> _core.Engine:
    """Train for an epoch."""
    engine.train(
        X,
        None,
        None,
        None,
        None,
        shuffle=shuffle,
        batch_size=16,
        objective=(1.0, 0.0, 0.0, None, 1, False),
        step_values=(np.ones(1, np.float32), np.empty(0, np.float32), np.array([0.01])),
        corruption=None,
        binarize=None,
        clip_norm=None,
        threads=1,
        checks_end=False,
        tick=None,
    )
    return engine


def trained(**more: Any) -> _core.Engine:
    """Return an engine with some training."""
    return train(_core.Engine(json.dumps(choices(**more))))


def counters(engine: _core.Engine) -> dict[str, int]:
    """Return what a configuration keeps beside the architecture."""
    return {name: getattr(engine, name) for name in ("steps", "epochs", "clamped", "optimizer_start")}


def load(source: str | bytes) -> _core.Engine:
    """Read a file."""
    return _core.ModelFile(source).read()[0]


def respecified(dumped: bytes, specification: dict[str, Any]) -> bytes:
    """Return a file with another specification."""
    return resealed(dumped, lambda metadata: metadata.update(specification=json.dumps(specification)))


def answers_of(engine: _core.Engine) -> list[NDArray[np.float32]]:
    """Return codes, log variances, both losses, means and parameters."""
    mu, logvar = engine.encode(X, None, True, 1)
    return [
        mu,
        logvar,
        *engine.score(X, None, None, 1, 1),
        engine.reconstruct(X, None, 1),
        *engine.parameters(),
    ]


def alike(a: _core.Engine, b: _core.Engine) -> bool:
    """Whether two engines answer with the same bits."""
    pairs = zip(answers_of(a), answers_of(b), strict=True)
    return all(one.tobytes() == other.tobytes() for one, other in pairs) and counters(a) == counters(b)


# ------------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("source", ["bytes", "path"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
def test_a_model_answers_and_goes_on_with_the_same_bits(
    source: str, optimizer: str, likelihood: dict[str, Any], tmp_path: Path
) -> None:
    made: dict[str, Any] = {"optimizer": optimizer, "likelihood": likelihood}
    engine = trained(**made)
    dumped = engine.dump('{"a": 1}', True)
    path = str(tmp_path / "model")
    _core.write_atomically(path, dumped)
    opened = _core.ModelFile(dumped if source == "bytes" else path)
    assert opened.estimator == '{"a": 1}'
    assert opened.specification == engine.specification
    again = opened.read()[0]
    assert alike(again, engine)
    assert alike(train(again), train(engine))
    assert alike(train(again, shuffle=False), train(engine, shuffle=False))
    assert again.dump("", True) == engine.dump("", True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_model_without_moments_answers_with_the_same_bits(optimizer: str) -> None:
    engine = trained(optimizer=optimizer)
    short, whole = (engine.dump("", moments) for moments in (False, True))
    assert len(short) < len(whole)
    again = load(short)
    assert all(np.array_equal(a, b) for a, b in zip(answers_of(again), answers_of(engine), strict=True))
    assert again.steps == again.optimizer_start == engine.steps
    fresh = _core.Engine(json.dumps(choices(optimizer)))
    fresh.set_parameters(engine.parameters())
    assert (fresh.steps, fresh.optimizer_start) == (0, 0)
    gradients = [np.full_like(array, 0.5) for array in fresh.parameters()]
    for one in (again, fresh):
        one.apply_gradients(gradients, 1e-3, 1)
    assert all(np.array_equal(a, b) for a, b in zip(again.parameters(), fresh.parameters(), strict=True))


def test_an_optimiser_whose_moments_were_not_kept_starts_anew_and_the_noise_goes_on() -> None:
    # Adam's first step is of the size of the learning rate, if it knows that it is the first.
    engine = trained(optimizer="adam")
    again = load(engine.dump("", False))
    assert again.steps == again.optimizer_start == engine.steps > 0
    before = again.parameters()
    again.apply_gradients([np.full_like(array, 0.5) for array in before], 1e-3, 1)
    moved = np.concatenate([a - b for a, b in zip(before, again.parameters(), strict=True)])
    np.testing.assert_allclose(moved, 1e-3, rtol=0.03)


def test_the_file_is_safetensors_in_the_layout_of_torch() -> None:
    engine = trained()
    header, data = parts(engine.dump('{"é": "\\u0000"}', True))
    about = header.pop("__metadata__")
    assert json.loads(about.pop("counters")) == counters(engine)
    checksums = json.loads(about.pop("checksums"))
    about.pop("metadata_checksum")
    assert about == {"estimator": '{"é": "\\u0000"}', "format_version": "3", "specification": engine.specification}
    assert checksums == {
        name: f"{zlib.crc32(data[slice(*tensor['data_offsets'])]):08x}" for name, tensor in header.items()
    }
    kinds = ("", "optimizer.first.", "optimizer.second.")
    assert list(header) == [kind + name for kind in kinds for name, _ in engine.shapes()]
    for (name, shape), values in zip(engine.shapes(), engine.parameters(), strict=True):
        tensor = header[name]
        assert tensor["dtype"] == "F32"
        assert tensor["shape"] == shape
        start, end = tensor["data_offsets"]
        assert data[start:end] == values.astype("<f4").tobytes()
    assert max(tensor["data_offsets"][1] for tensor in header.values()) == len(data)


def test_the_same_model_gives_the_same_bytes_in_any_process() -> None:
    code = "import test_persist, sys; sys.stdout.buffer.write(test_persist.trained().dump('{}', True))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, cwd=Path(__file__).parent, timeout=60, check=True)
    assert done.stdout == trained().dump("{}", True)


def test_a_model_is_dumped_between_two_slices_while_it_is_trained() -> None:
    engine = trained()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            train(engine)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(20):
            load(engine.dump("", True))
    finally:
        stop.set()
        worker.join()


# ----------------------------------------------------------------------------------------------------- errors


def test_format_error_is_a_value_error_of_the_package_and_is_pickled() -> None:
    with pytest.raises(fastvae.FormatError, match="no model file that fastvae can read") as raised:
        _core.ModelFile(b"\x89PNG\r\n\x1a\n")
    error = raised.value
    assert isinstance(error, ValueError)
    assert _core.FormatError is fastvae.FormatError
    assert (type(error).__module__, type(error).__qualname__) == ("fastvae", "FormatError")
    assert fastvae.FormatError.__doc__
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is fastvae.FormatError
    assert again.args == error.args


def test_a_newer_format_names_both_versions() -> None:
    header, data = parts(trained().dump("", True))
    header["__metadata__"] |= {"format_version": "4", "more": ""}
    header["mu.bias"]["dtype"] = "F16"
    with pytest.raises(fastvae.FormatError, match=r'version "4".* reads versions "1", "2" and "3"; use a newer'):
        _core.ModelFile(safetensors(json.dumps(header), data))


def test_a_file_of_another_program_is_refused() -> None:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    foreign = safetensors(json.dumps({"__metadata__": {"format": "pt"}, "weight": tensor}), b"\0" * 4)
    for source in (foreign, b"", b"\0" * 7, b"\0" * 8, pickle.dumps(OPTIMIZERS), b"PK\x03\x04" + b"\0" * 30):
        with pytest.raises(fastvae.FormatError):
            _core.ModelFile(source)


class Refused:
    """A call whose error is kept, to be made in a thread that a test can give up."""

    def __init__(self, call: Callable[[str], Any], path: str) -> None:
        self.call, self.path, self.error = call, path, None

    def __call__(self) -> None:
        try:
            self.call(self.path)
        except (OSError, ValueError) as error:
            self.error = error


@pytest.mark.parametrize("shape", [[10**12], [10**6, 10**6], [10**12, 10**12], [2**32, 2**32], [2**63]])
def test_a_file_that_lies_about_its_size_is_refused_unread(shape: list[int], tmp_path: Path) -> None:
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * 10**12]}
    metadata = {"format_version": "3", "estimator": ""}
    lie = safetensors(json.dumps({"__metadata__": metadata, "mu.weight": tensor}))
    with pytest.raises(fastvae.FormatError):
        _core.ModelFile(lie)
    path = tmp_path / "lie"
    path.write_bytes(lie)
    try:
        os.truncate(path, len(lie) + 4 * 10**12)  # a hole of four terabytes
    except OSError:
        pytest.skip("the file system has no files of that size")
    tried = Refused(load, str(path))
    at_once(tried)  # to read it would take an hour
    assert isinstance(tried.error, fastvae.FormatError)


def test_a_truncated_file_is_refused() -> None:
    tiny = choices("sgd", n_features=2, latent_dim=1, encoder=[], decoder=[])
    dumped = _core.Engine(json.dumps(tiny)).dump("{}", True)
    for length in range(len(dumped)):
        with pytest.raises(fastvae.FormatError):
            _core.ModelFile(dumped[:length])


def test_a_model_of_another_architecture_is_refused_by_name() -> None:
    dumped = trained().dump("", True)
    for more, match in [
        ({"encoder": [32]}, r"encoder\.0\.weight has shape \[33, 37\].*\[32, 37\]"),
        ({"decoder": []}, r"decoder\.0\.weight has shape"),
        ({"likelihood": {"kind": "gaussian", "scale": "shared"}}, r"likelihood\.log_scale is missing"),
        ({"likelihood": {"kind": "gaussian", "scale": "decoder"}}, r"scale\.(weight|bias) is missing"),
        ({"optimizer": "sgd"}, r"optimizer\.second\.encoder\.0\.weight.* is no part"),
        ({"n_features": 0}, "n_features=0 must be 1 to"),
        ({"latent_dim": 2**63}, "latent_dim=9223372036854775808 must be 1 to"),
        ({"encoder": [1] * 10**6}, "more than 32768 layers"),
    ]:
        with pytest.raises(fastvae.FormatError, match=match):
            load(respecified(dumped, choices(**more)))


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        ({"kind": "adam", "beta1": 1.0}, "beta1=1 "),
        ({"kind": "adamw", "beta2": -0.1}, "beta2=-0.1 "),
        ({"kind": "adam", "eps": 1e-16}, "eps=0.0000000000000001 must be at least 1e-15"),
        ({"kind": "adam", "eps": float("nan")}, "not JSON"),
        ({"kind": "adamw", "weight_decay": float("inf")}, "not JSON"),
        ({"kind": "sgd", "momentum": None}, "specification's optimizer"),
        ({"kind": "sgd", "momentum": 1.0}, "momentum=1 "),
        ({"kind": "sgd", "nesterov": 1.0}, "specification's optimizer: .* expected a boolean"),
        ({"kind": "sgd", "weight_decay": 1e300}, "weight_decay=1"),
        ({"kind": "adagrad", "eps": 0.0}, "eps=0 "),
        ({"kind": "adagrad", "lr_decay": -1.0}, "lr_decay=-1 "),
        ({"kind": "adam", "momentum": 0.5}, "specification's optimizer: unknown option `momentum`"),
        ({"kind": "rprop"}, "specification's optimizer: .*`rprop`, expected one of `adam`"),
        ({}, "specification's optimizer: missing field `kind`"),
    ],
)
def test_options_that_no_optimizer_has_are_refused(optimizer: dict[str, Any], match: str) -> None:
    specification = choices() | {"optimizer": optimizer}
    with pytest.raises(fastvae.FormatError, match=match):
        load(respecified(trained().dump("", False), specification))
    with pytest.raises(ValueError, match=match):
        _core.Engine(json.dumps(specification))


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-7, 1e7, float("nan"), float("inf"), 1e300, "other"])
def test_scales_that_no_likelihood_has_are_refused(scale: float | str) -> None:
    with pytest.raises(fastvae.FormatError):
        load(respecified(trained().dump("", False), choices(likelihood={"kind": "gaussian", "scale": scale})))


@pytest.mark.parametrize("floor", [0.0, -1.0, 1e-7, 1e7, float("nan"), float("inf")])
def test_floors_that_no_scale_has_are_refused(floor: float) -> None:
    likelihood = {"kind": "gaussian", "scale": "decoder", "floor": floor}
    with pytest.raises(fastvae.FormatError):
        load(respecified(trained().dump("", False), choices(likelihood=likelihood)))


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"loadings": "free"}, "an unknown option `loadings`"),
        ({"activation": "other"}, 'specification\'s activation: .*"other" is not known; use one of relu'),
        ({"latent_dim": "3"}, "specification's latent_dim: .* expected usize"),
        ({"encoder": [3, {"kind": "dense", "unit": 3}]}, "specification's encoder: unknown option `unit`"),
        ({"topics": {"mean": [0.0] * 3}}, "specification's topics: missing field `scale`"),
    ],
)
def test_a_bad_option_is_named(option: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _core.Engine(json.dumps(choices() | option))


def test_an_engine_tells_its_specification_with_all_defaults() -> None:
    told = json.loads(trained().specification)
    assert told.items() > (choices() | {"optimizer": told["optimizer"]}).items()
    assert told["optimizer"] == {"kind": "adam", "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.01}
    assert told["likelihood"] == {"kind": "bernoulli"}
    assert told["missing"] == "error"
    assert told["topics"] is None
    assert json.loads(_core.Engine(json.dumps(told)).specification) == told


def test_a_model_is_read_once() -> None:
    dumped = trained().dump("{}", True)
    opened = _core.ModelFile(dumped)
    opened.read()[0]
    with pytest.raises(RuntimeError, match="read already"):
        opened.read()[0]
    assert opened.estimator == "{}"


def test_the_bytes_of_a_model_are_let_go() -> None:
    dumped = trained().dump("", True)
    damaged = dumped[:-1] + bytes([dumped[-1] ^ 1])
    before = sys.getrefcount(dumped), sys.getrefcount(damaged)
    for _ in range(10):
        load(dumped)
        _core.ModelFile(dumped)
        with pytest.raises(fastvae.FormatError):
            load(damaged)
    gc.collect()
    assert (sys.getrefcount(dumped), sys.getrefcount(damaged)) == before


# ------------------------------------------------------------------------------------------------------ files


def names(folder: Path) -> list[str]:
    """Return what is in a folder, whatever its name."""
    return sorted(os.listdir(folder))


def test_writing_leaves_the_new_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    path = tmp_path / "modèl ☃"
    for data in (b"old", b"", b"new" * 100_000):
        _core.write_atomically(str(path), data)
        assert path.read_bytes() == data
        assert names(tmp_path) == [path.name, "other"]
    assert (tmp_path / "other").read_text() == "other"


def test_a_file_in_the_current_folder_needs_no_folder_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _core.write_atomically("model", trained().dump("{}", True))
    assert names(tmp_path) == ["model"]
    assert _core.ModelFile("model").estimator == "{}"


def test_errors_of_files_are_those_of_python_with_the_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for path, kind, number in [
        (tmp_path / "no" / "model", FileNotFoundError, errno.ENOENT),
        (tmp_path / "file" / "model", NotADirectoryError if os.name == "posix" else OSError, errno.ENOTDIR),
    ]:
        with pytest.raises(kind) as written:
            _core.write_atomically(str(path), b"new")
        with pytest.raises(kind) as opened:
            _core.ModelFile(str(path))
        for error in (written.value, opened.value):
            if os.name == "posix":
                assert error.errno == number
                assert error.strerror == os.strerror(number)
            assert error.filename == str(path)
            assert str(path) in str(error)
    for call in (lambda path: _core.write_atomically(path, b"new"), _core.ModelFile):
        with pytest.raises(IsADirectoryError) as raised:
            call(str(tmp_path))
        assert str(tmp_path) in str(raised.value)
        with pytest.raises((OSError, ValueError)):
            call("\0")
        with pytest.raises(FileNotFoundError):
            call("")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@posix
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    for call in (lambda path: _core.write_atomically(path, b"new"), _core.ModelFile):
        tried = Refused(call, str(path))
        at_once(tried)  # to open or to read it would take for ever
        assert isinstance(tried.error, OSError)
        assert "no regular file" in str(tried.error)
        assert str(path) in str(tried.error)
    assert not path.is_file()
    assert names(tmp_path) == [kind]


@posix
def test_a_disk_that_fills_up_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"old")
    code = """
import resource, sys
from fastvae import _core
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for name in ("model", "another"):
    try:
        _core.write_atomically(f"{sys.argv[1]}/{name}", b"new" * 1000)
    except OSError as error:
        assert error.filename.endswith(name), error
    else:
        raise SystemExit("it was written")
"""
    run_python(code, str(tmp_path))
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model").read_bytes() == b"old"


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="model"):
            _core.write_atomically(str(path), b"new")
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == ["model"]
    assert path.read_bytes() == b"old"


@posix
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    files = [bytes([number]) * 3_000_000 for number in (1, 2)]
    path.write_bytes(files[0])
    code = """
import sys
from fastvae import _core
files = [bytes([number]) * 3_000_000 for number in (1, 2)]
print("ready", flush=True)
while True:
    for data in files:
        _core.write_atomically(sys.argv[1], data)
        print("written", flush=True)
"""
    for writes in (0, 1, 2, 5):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(1 + writes):
                writer.stdout.readline()
            assert path.read_bytes() in files  # and while it is being written
            writer.kill()
        assert path.read_bytes() in files
    _core.write_atomically(str(path), b"new")  # whatever a killed one left beside it
    assert path.read_bytes() == b"new"


def test_threads_that_write_the_same_file_leave_one_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "model"
    files = [bytes([number]) * 10_000 for number in range(4)]
    workers = [
        threading.Thread(target=lambda data: [_core.write_atomically(str(path), data) for _ in range(10)], args=(data,))
        for data in files
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert path.read_bytes() in files
    assert names(tmp_path) == ["model"]


def test_any_change_of_two_bytes_of_a_header_is_an_error() -> None:
    made: dict[str, Any] = {"n_features": 1, "latent_dim": 1, "encoder": [], "decoder": []}
    dumped = _core.Engine(json.dumps(choices("sgd", **made))).dump("{}", True)
    (length,) = struct.unpack("<Q", dumped[:8])
    rng, changes, refused = np.random.default_rng(0), 0, 0
    text = np.frombuffer(b'\0 "\\{}[],:0123456789e-+.tfnu\xff', np.uint8)
    for _ in itertools.repeat(None, 3000):
        changed = np.frombuffer(dumped, np.uint8).copy()
        changed[rng.integers(length + 8, size=2)] = rng.choice(text, 2)
        changes += changed.tobytes() != dumped
        try:
            load(changed.tobytes())
        except fastvae.FormatError:
            refused += 1
    assert refused == changes > 2900


def test_a_flipped_bit_in_each_region_of_a_file_is_refused() -> None:
    dumped = trained(likelihood={"kind": "gaussian", "scale": "shared"}).dump("{}", True)
    header, data = parts(dumped)
    start = len(dumped) - len(data)
    tensors = [name for name in header if name != "__metadata__"]
    refused = []
    for name in tensors:
        begin, end = header[name]["data_offsets"]
        for byte in (begin, (begin + end) // 2, end - 1):
            for bit in range(8):
                changed = bytearray(dumped)
                changed[start + byte] ^= 1 << bit
                with pytest.raises(fastvae.FormatError, match=re.escape(f"{name} is damaged: its checksum is")):
                    load(bytes(changed))
                refused.append(name)
    assert len(refused) == 24 * len(tensors) > 900
    whole = [reads_as_damaged(dumped, load, bit) for bit in range(8 * start)]  # the length and the header
    assert sum(whole) == len(whole) == 8 * start
