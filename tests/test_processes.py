"""Threads and processes: forks, servers, the size of the pool of threads, one model in several threads."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import at_once, bits, run_python, same, steps

from fastvae import VAE, Autoencoder

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system has no /proc")
LIMIT = 60  # seconds until a test assumes a deadlock

# What the programs of these tests begin with. `model` is idle, `busy` is in use by another thread after `occupy`.
START = """
import os, sys, threading, time, signal, warnings
import numpy as np, fastvae
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
X = np.random.default_rng(0).random((400, 60), dtype=np.float32)
def make(**more):
    return fastvae.VAE(**({"latent_dim": 3, "hidden": (40,), "epochs": 2, "random_state": 0, "progress": False} | more))
def tried(task):
    try:
        return str(task())
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
def occupy(task):
    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    time.sleep(0.3)
def in_child(task):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a hang is no answer
        os.write(writer, tried(task).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said
"""


def program(code: str, **environment: str) -> list[str]:
    """Return the lines that a program prints in a fresh interpreter."""
    return run_python(START + code, timeout=LIMIT, **environment).splitlines()


# --------------------------------------------------------------------------------------------------- forks

FORKED = "RuntimeError: this model was in use by another thread when the process was forked"


@needs_fork
@pytest.mark.parametrize(
    "task",
    [
        "busy.partial_fit(big)",
        "busy.fit(big, epochs=10**6)",
        "[busy.transform(big) for _ in range(10**6)]",
        "[busy.score_samples(big) for _ in range(10**6)]",
    ],
)
def test_a_model_that_was_busy_at_the_fork_answers_or_raises_and_others_work(task: str) -> None:
    code = f"""
big = np.random.default_rng(0).random((200_000, 60), dtype=np.float32)
model, busy = make(n_jobs=2).fit(X), make(n_jobs=2, hidden=(300,)).fit(X)
expected = model.transform(X).tobytes()
occupy(lambda: {task})
for _ in range(5):
    time.sleep(0.013)
    print(in_child(lambda: busy.transform(X).shape))
    print(in_child(lambda: model.transform(X).tobytes() == expected))
    print(in_child(lambda: busy.fit(X, epochs=1).transform(X).shape))
    print(in_child(lambda: make(n_jobs=2).fit(X).transform(X).tobytes() == expected))
os._exit(0)
"""
    said = program(code)
    assert len(said) == 20
    for used, idle, again, new in zip(*[iter(said)] * 4, strict=True):
        assert used == "(400, 3)" or used.startswith(FORKED)
        assert (idle, again, new) == ("True", "(400, 3)", "True")


@needs_fork
def test_every_use_of_a_model_that_was_busy_at_the_fork_is_an_error() -> None:
    code = """
busy = make(n_jobs=1, hidden=(2000,)).fit(X)
occupy(lambda: busy.set_params(batch_size=400_000).partial_fit(np.tile(X, (500, 1))))  # a single step
uses = [
    lambda: busy.transform(X), lambda: busy.state_dict(), lambda: busy.partial_fit(X), lambda: busy.save("unwritten"),
    lambda: __import__("pickle").dumps(busy), lambda: __import__("copy").deepcopy(busy),
    lambda: busy.load_state_dict({}), lambda: busy.sample(3), lambda: busy.diagnose(X),
]
print(in_child(lambda: {tried(use).split(", and")[0] for use in uses}))
os._exit(0)
"""
    assert program(code) == [str({FORKED})]


@needs_fork
def test_a_fit_of_another_thread_at_the_fork_does_not_block_fits_in_the_child() -> None:
    code = """
model = make(callbacks=[lambda model, logs: time.sleep(0.1)], epochs=10**6)
occupy(lambda: model.fit(X))
for _ in range(3):
    print(in_child(lambda: model.set_params(callbacks=()).fit(X, epochs=1).n_iter_))
    time.sleep(0.03)
os._exit(0)
"""
    assert program(code) == ["1"] * 3


@needs_fork
def test_a_fork_in_a_callback_works() -> None:
    code = """
said = []
def fork(model, logs):
    said.append(in_child(lambda: model.transform(X).shape))
model = make(callbacks=[fork], n_jobs=2).fit(X)
print(said, model.transform(X).shape)
"""
    assert program(code) == ["['(400, 3)', '(400, 3)'] (400, 3)"]


@needs_fork
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_multiprocessing_answer_with_the_parents_bits(method: str, tmp_path: Path) -> None:
    # spawn and forkserver import the main module, so it is a file.
    path = tmp_path / "main.py"
    path.write_text(
        START
        + f"""
import multiprocessing
def work(model):
    return model.transform(X).tobytes(), model.fit(X).state_dict()["mu.weight"].tobytes()
if __name__ == "__main__":
    model = make(n_jobs=2).fit(X)
    expected = work(model)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map_async(work, [model] * 4).get(50) == [expected] * 4)
"""
    )
    assert run_python(f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')", timeout=LIMIT) == "True\n"


def test_workers_of_joblib_answer_with_the_parents_bits() -> None:
    pytest.importorskip("joblib")
    code = """
from joblib import Parallel, delayed
warnings.simplefilter("ignore")  # of joblib's own, about resources
model = make(n_jobs=2).fit(X)
expected = model.transform(X).tobytes()
for backend in ("loky", "threading"):
    found = Parallel(2, backend=backend)(delayed(model.transform)(X) for _ in range(4))
    print([answer.tobytes() == expected for answer in found])
"""
    assert program(code) == ["[True, True, True, True]"] * 2


@needs_fork
def test_a_pre_forking_server_answers_in_all_children() -> None:
    code = """
import socket
model = make(n_jobs=2, hidden=(300,)).fit(X)
expected = model.transform(X).tobytes()
server = socket.create_server(("127.0.0.1", 0))
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        while True:
            connection, _ = server.accept()
            rows = int(connection.recv(9))
            connection.sendall(model.transform(X[:rows]).tobytes())
            connection.close()
    children.append(child)
good = 0
for i in range(60):
    with socket.create_connection(server.getsockname(), timeout=20) as client:
        rows = 1 + i * 37 % 400
        client.sendall(b"%d" % rows)
        answer = b"".join(iter(lambda: client.recv(10_000), b""))
        good += answer == expected[: len(answer)] and len(answer) == 12 * rows
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(good)
"""
    assert program(code) == ["60"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_interpreter_exits_while_a_thread_trains(n_jobs: int) -> None:
    code = f"""
model = make(n_jobs={n_jobs}, epochs=10**6, hidden=(300,))
occupy(lambda: model.fit(X))
print(model.n_iter_ > 0)
"""
    start = time.monotonic()
    assert program(code) == ["True"]
    assert time.monotonic() - start < LIMIT / 2


def test_a_subinterpreter_imports_or_is_refused() -> None:
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
made = interpreters.create()
code = "import fastvae, numpy as np; fastvae.VAE(2, hidden=(4,), epochs=1, progress=False).fit(np.eye(9))"
try:
    failed = interpreters.run_string(made, code)
    said = "" if failed is None else failed.formatted
except Exception as error:
    said = str(error)
print(said == "" or "ImportError" in said)
"""
    if sys.version_info < (3, 12):
        pytest.skip("subinterpreters share the lock")
    assert program(code) == ["True"]


# ----------------------------------------------------------------------------------------- threads of a process


@needs_proc
def test_no_number_of_jobs_makes_more_threads_than_cores() -> None:
    code = """
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
make(n_jobs=1).fit(X)
threads, size = status("Threads"), status("VmSize")
start = time.monotonic()
for n_jobs in (1, 2, 3, 4, 8, 13, 64, 300, 1000, 1024, 2, -1, None):
    make(n_jobs=n_jobs).fit(X).transform(X)
time.sleep(0.2)  # threads of a smaller pool end
cores = len(os.sched_getaffinity(0))
print(status("Threads") - threads <= cores - 1, status("VmSize") - size < (cores + 1) * 100_000)
print(time.monotonic() - start < 10)
"""
    said = program(code, FASTVAE_OVERSUBSCRIBE="", OPENBLAS_NUM_THREADS="1")
    assert said == ["True True", "True"]


def test_as_many_threads_as_asked_for_or_as_cores_give_the_same_bits() -> None:
    code = """
import hashlib
def bits(n_jobs):
    model = make(n_jobs=n_jobs, hidden=(300,)).fit(X)
    return hashlib.sha256(b"".join(a.tobytes() for a in model.state_dict().values()) + model.transform(X).tobytes())
print({bits(n).hexdigest() for n in (1, 2, 3, 20)})
"""
    once, above = (program(code, FASTVAE_OVERSUBSCRIBE=value) for value in ("", "1"))
    assert once == above
    assert once[0].count(",") == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no sched_setaffinity")
def test_threads_follow_the_affinity_of_the_calling_thread() -> None:
    code = """
cores = sorted(os.sched_getaffinity(0))
def helpers():
    tasks = os.listdir("/proc/self/task")
    return [int(task) for task in tasks if open(f"/proc/self/task/{task}/comm").read().startswith("fastvae-")]
model = make(n_jobs=2, hidden=(300,)).fit(X)
print(len(helpers()) == min(1, len(cores) - 1), fastvae.show_config()["threads"] == len(cores))
os.sched_setaffinity(0, cores[:1])
time.sleep(0.2)
print(fastvae.show_config()["threads"])
model.fit(X)
os.sched_setaffinity(0, cores)
time.sleep(0.2)
model.fit(X)
allowed = {tuple(sorted(os.sched_getaffinity(helper))) for helper in helpers()}
print(fastvae.show_config()["threads"] == len(cores), allowed <= {tuple(cores)})
"""
    said = program(code, FASTVAE_OVERSUBSCRIBE="", OPENBLAS_NUM_THREADS="1")
    assert said == ["True True", "1", "True True"]


@needs_proc
def test_fits_and_calls_leave_no_threads_and_no_memory() -> None:
    code = """
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
def work(fits, calls):
    for _ in range(fits):
        model = make(n_jobs=2, epochs=1, hidden=(8,)).fit(X[:64])
    for _ in range(calls):
        model.transform(X[:8])
work(200, 2000)
threads, size = status("Threads"), status("VmRSS")
work(400, 4000)
print(status("Threads") == threads, status("VmRSS") - size < 2_000)
"""
    assert program(code) == ["True True"]


# ---------------------------------------------------------------------------------- one model in several threads

X = np.random.default_rng(1).random((2000, 50), dtype=np.float32)
SMALL: dict[str, Any] = {"hidden": (60,), "epochs": 3, "random_state": 0, "progress": False}


def model(**parameters: Any) -> VAE:
    return VAE(3, **(SMALL | parameters))


def test_eight_threads_on_one_fitted_model_and_on_eight_models_give_the_bits_of_one() -> None:
    def ask(fitted: VAE) -> list[bytes]:
        return [a.tobytes() for _ in range(5) for a in (fitted.transform(X), fitted.score_samples(X), fitted.sample(9))]

    fitted = model(n_jobs=2).fit(X)
    expected = ask(fitted)
    assert at_once(*[lambda: ask(fitted)] * 8) == [expected] * 8
    assert at_once(*[lambda: ask(model(n_jobs=2).fit(X))] * 8) == [expected] * 8


class Waiting:
    """A callback that keeps a fit in its first epoch."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
        self.begun.set()
        assert self.go_on.wait(LIMIT)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.fit(X),
        lambda model: model.partial_fit(X),
        lambda model: model.load_state_dict(model.state_dict()),
    ],
    ids=["fit", "partial_fit", "load_state_dict"],
)
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_training_during_a_fit_of_another_thread_is_refused(kind: Any, use: Callable[[Any], Any]) -> None:
    callback = Waiting()
    shape = {"hidden": (9,), "epochs": 3, "random_state": 0, "progress": False}
    fitted = kind(3, callbacks=[callback], **shape)

    def second() -> None:
        assert callback.begun.wait(LIMIT)
        try:
            with pytest.raises(RuntimeError, match=f"this {kind.__name__} is being fitted by another thread"):
                use(fitted)
            fitted.set_params(callbacks=())  # they cannot be copied
            use(copy.deepcopy(fitted))
            use(pickle.loads(pickle.dumps(fitted)))
            assert fitted.transform(X).shape == (2000, 3)
        finally:
            callback.go_on.set()

    at_once(lambda: fitted.fit(X), second)
    assert same(fitted, kind(3, **shape).fit(X))
    use(fitted)  # the turn has ended


def test_a_fit_that_fails_leaves_the_model_to_others() -> None:
    def fail(model: Any, logs: dict[str, float]) -> None:
        raise ZeroDivisionError

    fitted = model(callbacks=[fail])
    with pytest.raises(ZeroDivisionError) as error:  # it keeps the frames alive
        fitted.fit(X)
    at_once(lambda: fitted.set_params(callbacks=()).fit(X))
    assert same(fitted, model().fit(X))
    assert error.value is not None


def test_passes_of_several_threads_follow_one_another() -> None:
    fitted = model().partial_fit(X)
    before = steps(fitted)
    at_once(*[lambda: [fitted.partial_fit(X[:640]) for _ in range(10)]] * 6)
    assert steps(fitted) - before == 60 * 5
    alone = model().partial_fit(X)
    for _ in range(60):
        alone.partial_fit(X[:640])
    assert bits(fitted) == bits(alone)  # in any order: the passes are alike
    assert fitted.n_iter_ == 61


def test_a_first_pass_in_two_threads_makes_one_model() -> None:
    fitted = model()
    at_once(*[lambda: fitted.partial_fit(X)] * 4)
    alone = model()
    for _ in range(4):
        alone.partial_fit(X)
    assert same(fitted, alone)


def test_waiting_for_a_model_ends_with_ctrl_c() -> None:
    code = """
model = make(n_jobs=1, hidden=(2000,)).fit(X)
occupy(lambda: model.set_params(batch_size=400_000).partial_fit(np.tile(X, (500, 1))))  # a single step
start = time.monotonic()
signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGALRM, signal.default_int_handler)
print(tried(lambda: model.transform(X)), time.monotonic() - start < 5)
os._exit(0)
"""
    assert program(code) == ["KeyboardInterrupt:  True"]


def test_a_signal_handler_in_the_middle_of_a_step_cannot_use_the_model() -> None:
    code = """
model = make(n_jobs=1, hidden=(2000,)).fit(X)
said = []
signal.signal(signal.SIGALRM, lambda *_: said.append(tried(lambda: model.transform(X))))
signal.setitimer(signal.ITIMER_REAL, 0.3)
model.set_params(batch_size=100_000).partial_fit(np.tile(X, (50, 1)))  # a single step
print(said[0][:58])
"""
    said = program(code)
    assert said == ["RuntimeError: this model is in the middle of a step, which"]
