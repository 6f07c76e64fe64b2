"""Serve a model file over HTTP with pre-forked workers.

    python examples/server/serve.py model.safetensors --port 8000 --workers 2

The parent binds the port, loads the model and forks; the workers accept connections from the same socket. A worker that
dies is replaced. SIGTERM or Ctrl-C ends all of them.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from importlib import import_module
from typing import Any

import backends
from app import Application

SECONDS_TO_END = 5.0
SHORTEST_LIFE = 1.0  # a worker that dies sooner is not replaced: it would die again


def main() -> int:
    """Serve until a signal ends it."""
    options = _options()
    try:  # before the fork if the workers can share its memory
        backend = backends.load(options.backend, options.model) if backends.KINDS[options.backend].forks else None
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # asyncio sets TCP_NODELAY only on sockets whose protocol is named; without it an answer takes 40 ms (delayed ACK).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        listener.listen(1024)
        host, port = listener.getsockname()[:2]
        print(f"serving {options.model} at http://{host}:{port} with {options.workers} workers", flush=True)
        return Workers(listener, backend, options).supervise()


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Serve a fastvae model over HTTP.")
    parser.add_argument("model", help="file of fastvae's save")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free port")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--backend", choices=list(backends.KINDS), default="fastvae")
    return parser.parse_args()


class Workers:
    """The worker processes and their supervision."""

    def __init__(self, listener: socket.socket, backend: backends.Backend | None, options: Any) -> None:
        self.listener, self.backend, self.options = listener, backend, options
        self.started: dict[int, float] = {}
        self.alive = os.pipe()  # the parent alone holds the end for writing, which closes when it dies
        self.ends = False

    def supervise(self) -> int:
        """Start the workers, replace dead ones, and end them on SIGTERM or SIGINT. Return an exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        for _ in range(self.options.workers):
            self._fork()
        code = 0
        while self.started:
            pid, _ = os.wait()
            lived = time.monotonic() - self.started.pop(pid)
            if self.ends:
                continue
            if lived < SHORTEST_LIFE:
                print(f"worker {pid} died after {lived:.1f} s: the server ends", file=sys.stderr, flush=True)
                code = 1
                self._end()
            else:
                print(f"worker {pid} died and is replaced", file=sys.stderr, flush=True)
                self._fork()
        return code

    def _end(self, *_: object) -> None:
        self.ends = True
        for pid in self.started:
            os.kill(pid, signal.SIGTERM)

    def _fork(self) -> None:
        pid = os.fork()
        if pid:
            self.started[pid] = time.monotonic()
            if self.ends:  # the signal came before the worker was known
                os.kill(pid, signal.SIGTERM)
            return
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.close(self.alive[1])
            threading.Thread(target=self._end_with_parent, daemon=True).start()
            self._work()
            code = 0
        finally:
            os._exit(code)

    def _end_with_parent(self) -> None:
        os.read(self.alive[0], 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _work(self) -> None:
        """Serve requests, in a worker."""
        uvicorn = import_module("uvicorn")
        backend = self.backend or backends.load(self.options.backend, self.options.model)
        config = uvicorn.Config(
            Application(backend),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        uvicorn.Server(config).run(sockets=[self.listener])


if __name__ == "__main__":
    sys.exit(main())
