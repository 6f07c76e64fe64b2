"""Training on several ranks: the results of one process, errors on all ranks, nothing hangs.

mpirun runs distributed/cases.py.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, pass_with_exchange, steps
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, layers
from fastvae._distributed.errors import described, rebuilt
from fastvae._distributed.reduction import from_bfloat16, to_bfloat16
from fastvae.distributed import Communicator

ROOT = Path(__file__).parent.parent
MISSING = [
    name for name, found in {"mpirun": shutil.which("mpirun"), "mpi4py": find_spec("mpi4py")}.items() if not found
]
WHY = (
    f"{' and '.join(MISSING)} not found, which training on several processes needs: apt-get install openmpi-bin "
    "libopenmpi-dev, pip install mpi4py"
)
needs_mpi = pytest.mark.skipif(bool(MISSING) and "FASTVAE_NEEDS_MPI" not in os.environ, reason=WHY)
LIMIT = 300  # seconds until a test assumes a deadlock; not a measurement
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(Path(fastvae.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
    # More ranks than cores, and in containers root. Other MPI libraries have no such limits.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}


def mpirun(ranks: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program on several ranks."""
    command = ("mpirun", "-n", str(ranks), sys.executable, *command)
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT)


@cache
def results(ranks: int, case: str, *arguments: str) -> list[Any]:
    """The results of a case on all ranks."""
    done = mpirun(ranks, str(ROOT / "tests" / "distributed" / "cases.py"), case, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[Any] = json.loads(done.stdout.partition("RESULT ")[2].splitlines()[0])
    return found


@needs_mpi
def test_a_hundred_steps_on_four_ranks_are_those_of_one_process() -> None:
    found = results(4, "exactness")[0]
    assert len(found) >= 21
    distances = {name: each for name, each in found.items() if not max(each) <= 1e-5}
    assert not distances


@needs_mpi
def test_fits_on_four_ranks_are_those_of_one_process() -> None:
    """Shuffled epochs; the start and the standardisation by the moments of all shares; validation; early stopping."""
    everywhere = results(4, "fits")
    found = everywhere[0]
    assert max(found["shuffled"]) <= 1e-5
    assert found["standardised"]
    assert max(found["early stopping"]) <= 1e-5
    assert found["epochs"][0] == found["epochs"][1] < 60
    assert found["free bits"] <= 1e-5
    assert all(each["classes"] == ["a", "b", "c", "d"] for each in everywhere)
    skipped = [each["skipped"] for each in everywhere]
    assert skipped == [1] * 4
    assert len({each["weights"] for each in everywhere}) == 1


@needs_mpi
def test_the_same_number_of_ranks_gives_the_same_bits_on_all_ranks() -> None:
    everywhere = results(3, "bits")
    for found in everywhere:
        assert len(set(found["same"])) == len(set(found["half"])) == len(set(found["warm"])) == 1
        assert found["same"] == everywhere[0]["same"]
        assert found["half"] == everywhere[0]["half"]
        assert found["changed"].startswith("the ranks have different weights so far: those of the last call on rank 0")
        assert found["threads"] == max(1, fastvae.show_config()["threads"] // 3)
        # Messages in bfloat16 change little, but something.
        assert found["half"][0] != found["same"][0]
        assert 0 < found["distance"] < 0.05


@needs_mpi
def test_bfloat16_on_two_ranks_is_that_of_one_process() -> None:
    """After ten steps as near as float32; after a hundred some values have been rounded to another side, but few."""
    everywhere = results(2, "words")
    for found in everywhere:
        assert len(set(found["bits"])) == 1
        assert found["bits"] == everywhere[0]["bits"]
    (after_ten, _, loss), (after_hundred, rounding, last_loss) = everywhere[0]["distances"]
    assert after_ten <= 1e-5
    assert loss <= 1e-5
    assert after_hundred <= rounding / 10
    assert last_loss <= 1e-3


@needs_mpi
def test_a_memory_map_is_a_share_like_an_array() -> None:
    for found in results(2, "sources"):
        assert len(set(found["fits"])) == len(set(found["passes"])) == 1


REFUSALS = {
    "empty share": "ValueError: rank 1 of 3: X is empty",
    "small share": "ValueError: rank 1 has 5 examples",
    "columns": "ValueError: the ranks have different numbers of columns of X: 50 on rank 0, 40 on rank 1",
    "parameters": "ValueError: the ranks have different values of learning_rate: 0.02 on rank 0, -1 on rank 1",
    "seeds": "ValueError: the ranks have different values of random_state",
    "calls": "ValueError: the ranks have different calls: VAE.fit on rank 0, VAE.partial_fit on rank 1",
    "classes": "ValueError: the ranks have different calls: VAE.fit on rank 0, Autoencoder.fit on rank 1",
    "weights": "ValueError: the ranks have different presences of sample_weight",
    "validation": "ValueError: the ranks have different presences of validation_data",
    "integers": "ValueError: the ranks have different scales of integers in X",
    "values": r"ValueError: rank 1 of 3: X\[3, 4\] is NaN",
    "models": "ValueError: the ranks have different weights so far",
    "mml": "ValueError: communicator= needs method='amortized'",
    "diverges": r"FloatingPointError: rank \d of 3: training diverged",
    "versions": "ValueError: the ranks have different versions of fastvae",
    "epochs": "ValueError: the ranks have different values of epochs: 2 on rank 0, 3 on rank 1",
    "epochs of the model": "ValueError: the ranks have different values of epochs: 2 on rank 0, 3 on rank 1",
    "iterator": r"ValueError: rank \d of 3: with communicator= X is not read in blocks or batches, and X is batches: ",
    "batches": "ValueError: rank 1 of 3: with communicator= X is not read in blocks or batches",
    "steps": r"ValueError: rank \d of 3: leave out steps_per_epoch= with communicator=",
    "source": r"ValueError: rank \d of 3: with communicator= X is not read in blocks or batches, and X is",
    "quantised": r"ValueError: rank \d of 3: fit needs weights in float32, but this model is quantised",
    "quantised pass": r"ValueError: rank \d of 3: partial_fit needs weights in float32, but this model is quantised",
    "fine": "fitted",
}


@needs_mpi
@pytest.mark.parametrize("case", REFUSALS)
def test_all_ranks_refuse_with_the_same_sentence(case: str) -> None:
    found = [each[case] for each in results(3, "refusals")]
    assert re.match(REFUSALS[case], found[0])
    assert found == [found[0]] * 3


@needs_mpi
def test_an_error_of_one_rank_is_its_own_and_an_error_of_the_others() -> None:
    callback, interrupt = ([each[case] for each in results(3, "refusals")] for case in ("callback", "interrupt"))
    assert callback[1] == "KeyError: 'the callback of a rank'"
    assert callback[0] == callback[2] == "RuntimeError: rank 1 of 3: KeyError: 'the callback of a rank'"
    assert interrupt[1].startswith("KeyboardInterrupt")
    assert interrupt[0] == interrupt[2] == "RuntimeError: rank 1 of 3: interrupted by Ctrl-C"


@needs_mpi
def test_a_killed_rank_ends_all_and_training_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    path, start = str(tmp_path / "checkpoint"), time.monotonic()
    done = mpirun(3, str(ROOT / "tests" / "distributed" / "cases.py"), "killed", path)
    assert done.returncode != 0
    assert "rank 1" in done.stdout + done.stderr
    assert time.monotonic() - start < LIMIT / 3
    assert fastvae.load(path).n_iter_ == 4
    other = str(shutil.copy(path, tmp_path / "other"))
    assert results(3, "resumed", path) == results(3, "unkilled")  # with the same bits on as many ranks
    everywhere = results(2, "resumed", other)
    assert everywhere[0] == everywhere[1]
    n_iter, _, losses = everywhere[0]
    assert n_iter == losses == 8


@needs_mpi
@pytest.mark.parametrize(
    ("case", "sentence"),
    [("silent", "rank 1 of 2 does not answer"), ("absent", "not all of the 2 ranks have called fit within 1 s")],
)
def test_a_rank_that_hangs_ends_all(case: str, sentence: str) -> None:
    done = mpirun(2, str(ROOT / "tests" / "distributed" / "cases.py"), case)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr


@needs_mpi
def test_the_example_runs_on_two_ranks(tmp_path: Path) -> None:
    example, checkpoint = str(ROOT / "examples" / "distributed" / "digits.py"), str(tmp_path / "checkpoint")
    done = mpirun(2, "-m", "mpi4py", example, "--epochs", "3", "--checkpoint", checkpoint)
    assert done.returncode == 0, done.stderr
    assert "2 ranks, 1797 rows, 3 epochs" in done.stdout
    again = mpirun(3, example, "--resume", "--checkpoint", checkpoint)  # of a fit that has ended
    assert "3 ranks, 1797 rows, 3 epochs" in again.stdout, again.stderr


# ------------------------------------------------------------------------------------------------- without MPI


class Recorder:
    """An exchange with no other rank, which records the calls of the engine."""

    def __init__(self, n: int, steps: int) -> None:
        self.rank, self.rows, self.steps, self.weight = 0, [n], steps, float(n)
        self.calls: list[Any] = []

    def buffer(self, n: int) -> NDArray[np.float32]:
        memory = np.zeros(n + 16, np.float32)
        first = -memory.ctypes.data // 4 % 16
        self.values = memory[first : first + n]
        return self.values

    def start(self, start: int, end: int) -> None:
        self.calls.append((start, end))

    def sum(self, values: NDArray[np.float64]) -> None:
        self.calls.append("sum")

    def finish(self, losses: NDArray[np.float64]) -> None:
        self.calls.append("finish")
        self.sums = losses.copy()


NETWORKS = {
    "dense": {"hidden": (64, 33)},
    "scales": {"hidden": (8,), "likelihood": "gaussian"},
    "normalised": {"image_shape": (6, 2, 1), "hidden": (layers.Conv2d(4, 2, batch_norm=True), layers.Dense(8))},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_are_handed_over_layer_by_layer(network: str, threads: int) -> None:
    """Each row once in a step, from the last layer to the first, before the end of the backward pass."""
    X = np.random.default_rng(0).random((40, 12), np.float32)
    options = {"latent_dim": 3, "batch_size": 10, "random_state": 0, "n_jobs": threads, **NETWORKS[network]}
    model, alone = (VAE(**options).partial_fit(X) for _ in range(2))
    recorder = Recorder(40, 4)
    losses = pass_with_exchange(model, X, recorder, threads)
    alone.partial_fit(X)
    steps = "".join("." if isinstance(call, tuple) else call[0] for call in recorder.calls).split("f")
    assert len(steps) == 5
    assert not steps[4]
    of_each = [call for call in recorder.calls if isinstance(call, tuple)]
    first = of_each[: len(of_each) // 4]
    assert of_each == 4 * first
    assert len(first) >= 4
    assert first[-1][0] == 0
    assert all(lower[1] == upper[0] for upper, lower in pairwise(first))
    assert ("s" in steps[0]) == (network == "normalised")
    # A single rank takes the steps of a process without others.
    assert losses == pytest.approx(alone.history_["loss"][-1], rel=1e-6)
    if network != "normalised":  # whose statistics are merged in float64
        assert bits(model) == bits(alone)


def test_an_error_of_the_exchange_leaves_the_weights_of_the_step_before() -> None:
    X = np.random.default_rng(0).random((40, 12), np.float32)
    model = VAE(3, hidden=(8,), batch_size=10, random_state=0).partial_fit(X)

    class Failing(Recorder):
        def finish(self, losses: NDArray[np.float64]) -> None:
            if self.calls.count("finish") == 1:
                raise KeyboardInterrupt
            super().finish(losses)

    alone = copy.deepcopy(model).partial_fit(X[:10])
    with pytest.raises(KeyboardInterrupt):
        pass_with_exchange(model, X, Failing(40, 4), 1)
    assert bits(model) == bits(alone)
    assert steps(model) == 5


def test_bfloat16_rounds_to_the_nearest() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32) * np.float32(1e3)
    bits = to_bfloat16(values)
    back = from_bfloat16(bits)
    assert np.array_equal(to_bfloat16(back), bits)
    below, above = from_bfloat16(bits - np.uint16(1)), from_bfloat16(bits + np.uint16(1))
    error = np.abs(back.astype(np.float64) - values)
    assert (error <= np.abs(below.astype(np.float64) - values)).all()
    assert (error <= np.abs(above.astype(np.float64) - values)).all()
    # Ties go to the even neighbour; infinity and NaN stay.
    ties = np.array([0x3F808000, 0x3F818000, 0x7F800000, 0xFF800000, 0x00000000, 0x80000000], np.uint32)
    assert to_bfloat16(ties.view(np.float32)).tolist() == [0x3F80, 0x3F82, 0x7F80, 0xFF80, 0, 0x8000]
    assert np.isnan(from_bfloat16(to_bfloat16(np.array([np.nan, -np.nan], np.float32)))).all()


def test_a_communicator_is_shared_by_copies_and_in_no_pickle() -> None:
    communicator = Communicator(timeout=5, gradients="bfloat16")
    assert copy.copy(communicator) is copy.deepcopy(communicator) is communicator
    assert repr(communicator) == "Communicator(timeout=5.0, gradients='bfloat16')"
    with pytest.raises(TypeError, match="leave it out"):
        pickle.dumps(communicator)
    model = VAE(2, communicator=communicator)
    assert pickle.loads(pickle.dumps(model)).communicator is None
    assert model.get_params()["communicator"] is communicator


def test_scikit_learn_clones_it() -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn, which this test needs, is not installed")
    communicator = Communicator(timeout=5)
    assert base.clone(VAE(2, communicator=communicator)).communicator is communicator


@pytest.mark.parametrize(("name", "value"), [("timeout", 0), ("timeout", "1"), ("gradients", "float16")])
def test_bad_options_of_a_communicator_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}="):
        Communicator(**{name: value})


def test_what_is_no_communicator_is_refused() -> None:
    with pytest.raises(TypeError, match=r"communicator='world' must be a communicator of mpi4py"):
        VAE(2, communicator="world").fit(np.ones((4, 3), np.float32))


def test_without_mpi4py_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"pip install 'fastvae-cpu\[mpi\]'"):
        VAE(2, communicator=Communicator()).fit(np.ones((4, 3), np.float32))


def test_errors_of_other_ranks_keep_their_class_if_it_is_a_common_one() -> None:
    for error in (ValueError("a"), TypeError("b"), FloatingPointError("c")):
        again = rebuilt(*described(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
    other = rebuilt(*described(FileNotFoundError(2, "No such file")))
    assert type(other) is RuntimeError
    assert str(other) == "FileNotFoundError: [Errno 2] No such file"
