"""The model server's application: plain ASGI, without a framework."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from backends import Backend
    from numpy.typing import NDArray

MAX_BODY = 2**24  # bytes
# Requests with more rows leave the event loop, so that small ones need not wait for them.
MAX_INLINE = 64

JSON, RAW = "application/json", "application/octet-stream"

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class RefusalError(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Examples(NamedTuple):
    """The examples of a request, and y or None."""

    X: NDArray[Any]
    y: Any


class Application:
    """Answers GET /health and POST /encode, /reconstruct, /score and /anomaly.

    A POST holds JSON, ``{"X": [[...]], "y": [...]}``, or the bytes of float32 rows; the answer is of the same kind.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.functions = {
            "/encode": ("codes", backend.encode),
            "/reconstruct": ("reconstruction", backend.reconstruct),
            "/score": ("score", backend.score),
            "/anomaly": ("anomaly", backend.anomaly),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            status, kind, body, shape = 200, *await self._answer(scope["method"], scope["path"], headers, receive)
        except RefusalError as refusal:
            status, kind, shape = refusal.status, JSON, ""
            body = json.dumps({"error": refusal.sentence}).encode()
        sent = {"content-type": kind, "content-length": str(len(body))} | ({"x-shape": shape} if shape else {})
        pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})
        return None

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], receive: Receive
    ) -> tuple[str, bytes, str]:
        """Return the type of an answer, its bytes and the shape of raw bytes."""
        if path == "/health":
            _require(method == "GET", 405, "use GET")
            facts = {"status": "ok", "worker": os.getpid(), **self.backend.facts()}
            return JSON, json.dumps(facts).encode(), ""
        _require(path in self.functions, 404, f"there is no {path}; there are /health, {', '.join(self.functions)}")
        _require(method == "POST", 405, "use POST")
        name, function = self.functions[path]
        kind = headers.get("content-type", JSON).partition(";")[0].strip().lower()
        body = await _body(receive)
        examples = self._read(kind, body)
        try:
            if len(examples.X) > MAX_INLINE:
                found = await asyncio.to_thread(function, *examples)
            else:
                found = function(*examples)
        except (ValueError, TypeError, FloatingPointError) as error:
            raise RefusalError(400, str(error)) from error
        if kind == RAW:
            array = np.ascontiguousarray(found, "<f4")
            return RAW, array.tobytes(), ",".join(map(str, array.shape))
        return JSON, json.dumps({name: found.tolist()}).encode(), ""

    def _read(self, kind: str, body: bytes) -> Examples:
        """Return the examples in a body."""
        if kind == RAW:
            n = self.backend.n_features
            row = 4 * n
            _require(
                len(body) > 0 and len(body) % row == 0, 400, f"the body must be rows of {n} float32, {row} bytes each"
            )
            return Examples(np.frombuffer(body, "<f4").reshape(-1, n), None)
        _require(kind == JSON, 415, f"content-type {kind!r} is not known: use {JSON} or {RAW}")
        try:
            given = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusalError(400, f"the body is not JSON: {error}") from error
        _require(isinstance(given, dict) and "X" in given, 400, 'the body must be {"X": [[...], ...]}')
        unknown = sorted(given.keys() - {"X", "y"})
        _require(not unknown, 400, f"the body has unknown keys {unknown}: use X and y")
        try:
            X = np.array(given["X"], np.float32)  # null is NaN: a missing value
        except (TypeError, ValueError, OverflowError):
            raise RefusalError(400, "X must be rows of numbers of one length, null where missing") from None
        _require(X.ndim >= 1, 400, "X must be rows of numbers, not one number")
        return Examples(X, given.get("y"))


def _require(condition: bool, status: int, sentence: str) -> None:
    if not condition:
        raise RefusalError(status, sentence)


async def _body(receive: Receive) -> bytes:
    """Return the body of a request, or refuse one that is too large."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusalError(400, "the client closed the connection")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        _require(size <= MAX_BODY, 413, f"the body is larger than {MAX_BODY} bytes: send fewer rows")
        if not message.get("more_body", False):
            return b"".join(parts)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
