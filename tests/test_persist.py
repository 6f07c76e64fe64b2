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
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import at_once, parts, reads_as_damaged, resealed, run_python, safetensors, sealed
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
        skips_bad=False,
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


def test_the_history_is_kept_as_tensors() -> None:
    engine, rng = trained(), np.random.default_rng(0)
    losses = [(name, rng.standard_normal(5)) for name in ("loss", "val_loss", "é")]
    losses[1][1][:3] = np.nan, np.inf, -0.0
    dumped = engine.dump("{}", True, losses)
    header, data = parts(dumped)
    for name, values in losses:
        about = header[f"history.{name}"]
        assert (about["dtype"], about["shape"]) == ("F64", [5])
        assert data[slice(*about["data_offsets"])] == values.astype("<f8").tobytes()
        assert about["data_offsets"][0] % 8 == 0
    again, found = _core.ModelFile(dumped).read()
    assert alike(again, engine)
    assert [(name, values.tobytes()) for name, values in found] == [(name, x.tobytes()) for name, x in losses]
    assert _core.ModelFile(engine.dump("", True, [("loss", np.zeros(0))])).read()[1][0][1].shape == (0,)
    for bad in ([("a", np.zeros(2)), ("b", np.zeros(3))], [(f"{i}", np.zeros(1)) for i in range(65)]):
        with pytest.raises(ValueError, match="one value of each loss for each epoch, and at most 64"):
            engine.dump("", True, bad)
    for edit in (
        lambda header: header.update({"history.b": header.pop("history.loss") | {"shape": [1, 5]}}),
        lambda header: header.update({"history.b": header["history.loss"]}),
        lambda header: header["history.loss"].update(dtype="F32"),
        lambda header: header["history.loss"].update(shape=[4]),
        lambda header: header.update({"mu.bias": header.pop("history.loss")}),
    ):
        header, data = parts(dumped)
        edit(header)
        with pytest.raises(fastvae.FormatError):
            load(sealed(header, data))


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


def temporary(number: int) -> str:
    """Return a name of a temporary file."""
    return f".fastvae-{number:016x}.tmp"


@posix
def test_a_write_removes_the_temporary_files_of_killed_processes_and_no_others(tmp_path: Path) -> None:
    import fcntl

    for number in range(3):
        (tmp_path / temporary(number)).write_bytes(b"half")
    others = {".fastvae-notes", "fastvae-1.tmp", ".fastvae-.tmp.npz"}
    for name in others:
        (tmp_path / name).write_bytes(b"of the user")
    os.mkfifo(tmp_path / temporary(3))
    (tmp_path / temporary(4)).mkdir()
    (tmp_path / temporary(5)).symlink_to("nowhere")
    kept = {temporary(number) for number in (3, 4, 5, 6)}
    with (tmp_path / temporary(6)).open("wb") as other:  # of a living process
        fcntl.flock(other, fcntl.LOCK_EX)
        at_once(lambda: _core.write_atomically(str(tmp_path / "model"), b"new"))
        assert set(names(tmp_path)) == {"model", *others, *kept}
    _core.write_atomically(str(tmp_path / "model"), b"new")
    assert set(names(tmp_path)) == {"model", *others, *kept} - {temporary(6)}


@posix
def test_processes_that_are_killed_while_they_write_leave_a_whole_file_and_nothing_else(tmp_path: Path) -> None:
    code = """
import os, random, signal, sys, time
from fastvae import _core
folder, files = sys.argv[1], [bytes([number]) * 1_000_000 for number in (1, 2)]
path, random = os.path.join(folder, "model"), random.Random(0)
_core.write_atomically(path, files[0])
strays = most = 0
for kill in range(65):
    child = os.fork()
    if child == 0:
        while True:
            for data in files:
                _core.write_atomically(path, data)
    time.sleep(random.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert open(path, "rb").read() in files, kill
    left = len(os.listdir(folder)) - 1
    strays += left
    most = max(most, left)
_core.write_atomically(path, files[0])
print(os.listdir(folder), most, strays)
"""
    found, most, strays = run_python(code, str(tmp_path)).rsplit(maxsplit=2)
    assert found == "['model']"
    assert int(most) <= 1  # a child removes the one of the child before
    print(f"65 kills, {strays} temporary files left and removed")


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_and_permissions_of_a_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    os.chown(path, 1234, 5678)
    path.chmod(0o640)
    _core.write_atomically(str(path), b"new")
    about = path.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (1234, 5678, 0o640)


@posix
def test_another_hard_link_keeps_the_old_contents(tmp_path: Path) -> None:
    path, link = tmp_path / "model", tmp_path / "link"
    path.write_bytes(b"old")
    os.link(path, link)
    _core.write_atomically(str(path), b"new")
    assert (path.read_bytes(), link.read_bytes()) == (b"new", b"old")


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
        for path, kind, number in [
            (str(tmp_path), IsADirectoryError, errno.EISDIR),
            ("a\0b", OSError, errno.EINVAL),
            ("", FileNotFoundError, errno.ENOENT),
        ]:
            with pytest.raises(kind) as raised:
                call(path)
            assert raised.value.errno == number
            assert raised.value.filename == path
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
        assert (tried.error.errno, tried.error.filename) == (errno.EINVAL, str(path))
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


SAVE = """
import io, os, sys
import fastvae, numpy as np
from helpers import bits
X = np.random.default_rng(0).random((50, 200), np.float32)
model = fastvae.VAE(hidden=(300,), epochs=1, random_state=0).fit(X)
before = bits(model)
prepare(sys.argv[1])
for name in ("model", "another"):
    path = os.path.join(sys.argv[1], name)
    try:
        model.save(path)
    except OSError as error:
        print(error.errno, error.filename == path)
    else:
        print("written")
assert bits(model) == before
stream = io.BytesIO()
model.save(stream)
assert bits(fastvae.load(stream)) == before
"""


def outcomes_of_saving(prepare: str, folder: Path) -> list[str]:
    """Return what happens when a model is saved to an existing and to a new file, after what `prepare` does."""
    (folder / "model").write_bytes(b"old")
    (folder / "model").chmod(0o666)
    found = run_python(
        f"{prepare}\n{SAVE.replace('fastvae.load(stream)', 'fastvae.load(stream.getvalue())')}", str(folder)
    )
    assert names(folder) == ["model"]
    assert (folder / "model").read_bytes() == b"old"
    return found.splitlines()


@posix
def test_a_model_larger_than_the_limit_of_files_is_not_saved(tmp_path: Path) -> None:
    prepare = "import resource\ndef prepare(_): resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    assert outcomes_of_saving(prepare, tmp_path) == [f"{errno.EFBIG} True"] * 2


@posix
def test_a_model_is_not_saved_to_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    # Root may write anywhere; another user must reach the folder.
    prepare = "import os\ndef prepare(folder):\n    os.chmod(folder, 0o555)\n    os.geteuid() or os.setuid(65534)"
    with tempfile.TemporaryDirectory() as folder:
        assert outcomes_of_saving(prepare, Path(folder)) == [f"{errno.EACCES} True"] * 2
        Path(folder).chmod(0o755)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k,mode=777", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_model_larger_than_the_disk_is_not_saved(small_disk: Path) -> None:
    assert outcomes_of_saving("def prepare(_): pass", small_disk) == [f"{errno.ENOSPC} True"] * 2


def test_a_model_is_not_saved_to_a_disk_that_is_mounted_read_only(small_disk: Path) -> None:
    prepare = (
        "import subprocess\ndef prepare(folder): subprocess.run(['mount', '-o', 'remount,ro', folder], check=True)"
    )
    assert outcomes_of_saving(prepare, small_disk) == [f"{errno.EROFS} True"] * 2


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_file_object_on_a_full_disk_is_an_error_of_the_system() -> None:
    model = fastvae.VAE(hidden=(9,), epochs=1, random_state=0).fit(X)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="space") as raised:
        model.save(full)
    assert raised.value.errno == errno.ENOSPC


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
