"""The example of a model server: as an ASGI application, and as a process with pre-forked workers."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TIMEOUT, small
from numpy.typing import NDArray

from fastvae import VAE

FOLDER = Path(__file__).parents[1] / "examples" / "server"
X: NDArray[np.float32] = np.random.default_rng(0).random((300, 12), np.float32)

RAW = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[None]:
    """The example's folder is in front of the modules' path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield


@pytest.fixture(scope="module")
def model() -> VAE:
    fitted: VAE = small().fit(X)
    return fitted


def ask(application: Any, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """The status and the content of an answer of the application."""
    sent: list[dict[str, Any]] = []
    parts = [{"type": "http.request", "body": body[:7], "more_body": True}, {"type": "http.request", "body": body[7:]}]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(application({"type": "http", "method": method, "path": path, "headers": pairs}, receive, send))
    start, content = sent
    return start["status"], json.loads(content["body"])


@pytest.fixture(scope="module")
def application(model: VAE) -> Any:
    from app import Application
    from backends import Backend

    return Application(Backend(model))


def post(application: Any, path: str, given: Any) -> tuple[int, Any]:
    return ask(application, "POST", path, json.dumps(given).encode())


def test_answers_are_those_of_the_model(application: Any, model: VAE) -> None:
    for n in (1, 200):  # in the event loop, and in a thread
        wanted = {
            "/encode": ("codes", model.transform(X[:n])),
            "/reconstruct": ("reconstruction", model.reconstruct(X[:n])),
            "/score": ("score", model.score_samples(X[:n])),
            "/anomaly": ("anomaly", model.anomaly_score(X[:n])),
        }
        for path, (name, array) in wanted.items():
            status, found = post(application, path, {"X": X[:n].tolist()})
            assert status == 200
            np.testing.assert_array_equal(np.array(found[name], np.float32), array)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"X": [[0.5] * 11]}, "X has 11 features"),
        ({"X": [[0.5] * 11 + ["a"]]}, "X must be rows of numbers of one length"),
        ({"X": [[0.5] * 12, [0.5]]}, "X must be rows of numbers of one length"),
        ({"X": [[0.5] * 11 + [None]]}, "NaN"),
        ({"X": [[0.5] * 12], "y": [1]}, "leave out y="),
        ({"X": 3}, "not one number"),
        ({"x": [[0.5] * 12]}, 'the body must be {"X"'),
        ({"X": [[0.5] * 12], "z": 1}, "unknown keys ['z']"),
    ],
)
def test_bad_input_is_a_400_with_a_sentence(application: Any, given: Any, sentence: str) -> None:
    status, found = post(application, "/encode", given)
    assert status == 400
    assert sentence in found["error"], found


def test_other_mistakes_have_their_status(application: Any) -> None:
    assert ask(application, "GET", "/encode")[0] == 405
    assert ask(application, "POST", "/health")[0] == 405
    assert ask(application, "POST", "/train")[0] == 404
    assert ask(application, "POST", "/encode", b"{")[0] == 400
    assert ask(application, "POST", "/encode", b"a" * 50, content_type="application/octet-stream")[0] == 400
    assert ask(application, "POST", "/encode", b"", content_type="text/csv")[0] == 415
    assert ask(application, "POST", "/encode", b"a" * (2**24 + 1))[0] == 413


def test_a_conditional_model_reads_y() -> None:
    from app import Application
    from backends import Backend

    y = [["a", "b"][i % 2] for i in range(len(X))]
    model = small(conditional=True).fit(X, y)
    status, found = post(Application(Backend(model)), "/encode", {"X": X[:3].tolist(), "y": y[:3]})
    assert status == 200
    np.testing.assert_array_equal(np.array(found["codes"], np.float32), model.transform(X[:3], y=y[:3]))
    status, found = post(Application(Backend(model)), "/encode", {"X": X[:1].tolist()})
    assert (status, found["error"].split(":")[0]) == (400, "pass y=")


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_the_opponents_have_the_same_weights(name: str, model: VAE, tmp_path: Path) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    import backends

    path = str(tmp_path / "model.safetensors")
    model.save(path)
    ours, other = (backends.load(backend, path) for backend in ("fastvae", name))
    np.testing.assert_allclose(other.encode(X, None), ours.encode(X, None), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.reconstruct(X, None), ours.reconstruct(X, None), rtol=1e-4)
    mean = model.score_samples(X, eps=np.zeros((len(X), 3), np.float32))
    np.testing.assert_allclose(other.score(X, None), mean, rtol=1e-5)


# --------------------------------------------------------------------------------------------- as a process


class Server:
    """A process of the example."""

    def __init__(self, path: Path, workers: int) -> None:
        command = [sys.executable, str(FOLDER / "serve.py"), str(path), "--port", "0", "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "http://127.0.0.1:" in line, self.process.communicate()[1]
        self.port = int(line.split("127.0.0.1:")[1].split()[0])

    def ask(
        self, method: str, path: str, body: Any = None, headers: Any = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """An answer over a new connection."""
        end = time.monotonic() + TIMEOUT
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                return answer, answer.read()
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.02)
            finally:
                connection.close()

    def worker(self) -> int:
        """The process that answers a question."""
        return int(json.loads(self.ask("GET", "/health")[1])["worker"])


@pytest.fixture
def server(model: VAE, tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("uvicorn", reason="the server's process needs uvicorn")
    model.save(tmp_path / "model.safetensors")
    started = Server(tmp_path / "model.safetensors", workers=2)
    try:
        yield started
    finally:
        started.process.kill()  # the workers end too, or the pipes would stay open
        started.process.communicate(timeout=TIMEOUT)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_forked_workers_answer_are_replaced_and_end(server: Server, model: VAE) -> None:
    seen: set[int] = set()
    end = time.monotonic() + TIMEOUT
    while len(seen) < 2 and time.monotonic() < end:  # both accept from one socket
        seen.add(server.worker())
    assert len(seen) == 2
    for _ in range(20):
        answer, content = server.ask("POST", "/encode", X[:5].tobytes(), RAW)
        assert (answer.status, answer.headers["x-shape"]) == (200, "5,3")
        codes = np.frombuffer(content, np.float32).reshape(5, 3)
        np.testing.assert_array_equal(codes, model.transform(X[:5]))
    time.sleep(1.1)  # a worker that dies sooner is not replaced
    first = min(seen)
    os.kill(first, signal.SIGKILL)
    while len(seen) < 3 and time.monotonic() < end:
        seen.add(server.worker())
    assert len(seen) == 3
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(TIMEOUT) == 0
    assert not any(exists(pid) for pid in seen)
    assert server.process.stderr is not None
    assert f"worker {first} died and is replaced" in server.process.stderr.read()


def test_answers_on_one_connection_do_not_wait_for_delayed_acknowledgements(server: Server) -> None:
    server.worker()
    connection, times = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT), []
    for _ in range(60):
        start = time.perf_counter()
        connection.request("POST", "/encode", X[:1].tobytes(), RAW)
        connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
    assert min(times[-20:]) < 0.03  # 0.04 with Nagle's algorithm


def test_a_model_that_does_not_load_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    command = [sys.executable, str(FOLDER / "serve.py"), str(tmp_path / "bad.safetensors"), "--port", "0"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert "bad.safetensors" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("X", ["[" * 200_000 + "]" * 200_000, f"[[{'1' * 400}]]"], ids=["deep", "large"])
def test_hostile_json_is_refused(application: Any, X: str) -> None:
    status, answer = ask(application, "POST", "/encode", f'{{"X": {X}}}'.encode())
    assert status == 400
    assert "error" in answer
