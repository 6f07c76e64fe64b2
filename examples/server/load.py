"""Measure the server: latency of one example, throughput and memory, with fastvae, PyTorch and onnxruntime behind it.

    python examples/server/load.py --write     # results/<machine>.json and .md

The opponents are measured in turn, round by round, on loopback. The client takes its share of the machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import backends
import numpy as np

import fastvae

HERE = Path(__file__).parent
FEATURES, HIDDEN, LATENT = 784, 400, 20
ENDPOINTS = ("/encode", "/reconstruct", "/anomaly")
SECONDS_TO_START = 60.0


class Server:
    """A server process."""

    def __init__(self, backend: str, model: Path, workers: int) -> None:
        command = [sys.executable, str(HERE / "serve.py"), str(model), "--port", "0"]
        command += ["--workers", str(workers), "--backend", backend]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "http://" not in line:
            raise RuntimeError(f"the server with {backend} did not start")
        self.port = int(line.split("http://127.0.0.1:")[1].split()[0])

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server does not answer")

    def workers(self) -> list[int]:
        """Return the ids of the worker processes."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> None:
        """End it and its workers."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def memory(pid: int) -> dict[str, float]:
    """Return resident and proportional memory of a process, MB."""
    found = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {name.lower(): int(found[name].split()[0]) / 1024 for name in ("Rss", "Pss")}


class Client:
    """A connection that posts one example of float32 bytes at a time."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.body = np.random.default_rng(0).random(FEATURES, np.float32).tobytes()
        self.headers = {"content-type": "application/octet-stream"}

    def post(self, endpoint: str) -> None:
        """Post one example and read the answer."""
        self.connection.request("POST", endpoint, self.body, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(content.decode())


def latencies(client: Client, endpoint: str, count: int) -> list[float]:
    """Return the times of requests one after another, ms."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        client.post(endpoint)
        found.append(1e3 * (time.perf_counter() - start))
    return found


def throughput(port: int, endpoint: str, connections: int, seconds: float) -> float:
    """Return requests per second of several connections at once."""
    counts = [0] * connections
    end = time.monotonic() + seconds

    def work(i: int) -> None:
        client = Client(port)
        while time.monotonic() < end:
            client.post(endpoint)
            counts[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def in_process(path: Path, names: list[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the times of one example without a server, microseconds, by backend and endpoint."""
    X = np.random.default_rng(0).random((1, FEATURES), np.float32)
    loaded = {name: backends.load(name, str(path)) for name in names}
    functions = {"/encode": "encode", "/reconstruct": "reconstruct", "/anomaly": "anomaly"}
    found: dict[str, dict[str, list[float]]] = {name: {endpoint: [] for endpoint in ENDPOINTS} for name in names}
    for _ in range(rounds):
        for name, backend in loaded.items():
            for endpoint, function in functions.items():
                call = getattr(backend, function)
                call(X, None)
                for _ in range(100):
                    start = time.perf_counter()
                    call(X, None)
                    found[name][endpoint].append(1e6 * (time.perf_counter() - start))
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Return median and 99 % quantile."""
    return {"p50": round(float(np.percentile(values, 50)), 4), "p99": round(float(np.percentile(values, 99)), 4)}


def measure(path: Path, names: list[str], rounds: int, requests: int, workers: int) -> dict[str, Any]:
    """Return all figures by backend."""
    found: dict[str, Any] = {name: {} for name in names}
    for name, times in in_process(path, names, rounds).items():
        found[name]["in_process_us"] = {endpoint: summary(values) for endpoint, values in times.items()}
    servers = {name: Server(name, path, workers) for name in names}
    try:
        for server in servers.values():
            server.wait()
        each: dict[str, dict[str, list[float]]] = {name: {endpoint: [] for endpoint in ENDPOINTS} for name in names}
        rates: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                client = Client(servers[name].port)
                for endpoint in ENDPOINTS:
                    latencies(client, endpoint, 10)
                    each[name][endpoint] += latencies(client, endpoint, requests)
                rates[name].append(throughput(servers[name].port, "/reconstruct", 8, 1.0))
        for name in names:
            found[name]["http_ms"] = {endpoint: summary(values) for endpoint, values in each[name].items()}
            found[name]["requests_per_second"] = round(float(np.median(rates[name])))
            sizes = [memory(pid) for pid in servers[name].workers()]
            found[name]["worker_mb"] = {
                kind: round(float(np.mean([size[kind] for size in sizes])), 1) for kind in ("rss", "pss")
            }
    finally:
        for server in servers.values():
            server.stop()
    return found


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"{result['machine']}, {result['cores']} cores, Python {result['python']}, {result['versions']}; "
        f"{result['workers']} workers with one thread each, a VAE of {FEATURES}-{HIDDEN}-{LATENT}, one example a "
        f"request (raw bytes). Load average at the start {result['load']}.",
        "",
        "| one example | " + " | ".join(result["figures"]) + " |",
        "|---|" + "--:|" * len(result["figures"]),
    ]
    rows = [(f"HTTP {endpoint}, p50 / p99, ms", "http_ms", endpoint, 2) for endpoint in ENDPOINTS]
    rows += [(f"call, {endpoint}, p50 / p99, µs", "in_process_us", endpoint, 0) for endpoint in ENDPOINTS]
    for title, key, endpoint, digits in rows:
        pairs = [figures[key][endpoint] for figures in result["figures"].values()]
        cells = [f"{pair['p50']:.{digits}f} / {pair['p99']:.{digits}f}" for pair in pairs]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    figures = result["figures"].values()
    rate = " | ".join(str(one["requests_per_second"]) for one in figures)
    lines.append(f"| requests / s, 8 connections | {rate} |")
    sizes = " | ".join(f"{one['worker_mb']['rss']:.0f} / {one['worker_mb']['pss']:.0f}" for one in figures)
    lines.append(f"| memory of a worker, RSS / PSS, MB | {sizes} |")
    return "\n".join(lines) + "\n"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description="Measure the model server.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=200, help="requests of a round and endpoint")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--backends", nargs="+", choices=list(backends.KINDS), default=list(backends.KINDS))
    parser.add_argument("--write", action="store_true", help="write results/")
    options = parser.parse_args()
    for name in options.backends:
        import_module(name)
    load = os.getloadavg()[0]
    X = np.random.default_rng(0).random((2000, FEATURES), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        fastvae.VAE(LATENT, hidden=(HIDDEN,), epochs=1, random_state=0).fit(X).save(path, optimizer=False)
        figures = measure(path, options.backends, options.rounds, options.requests, options.workers)
    names = {"fastvae": "fastvae-cpu", "torch": "torch", "onnxruntime": "onnxruntime", "uvicorn": "uvicorn"}
    versions = [f"fastvae {fastvae.__version__}"]
    versions += [f"{name} {version(names[name])}" for name in (*options.backends, "uvicorn") if name != "fastvae"]
    result = {
        "machine": _machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": ", ".join(versions),
        "workers": options.workers,
        "rounds": options.rounds,
        "requests": options.requests,
        "load": round(load, 2),
        "figures": figures,
    }
    print(table(result))
    if options.write:
        name = _machine().lower().replace(" ", "-")
        (HERE / "results" / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        (HERE / "results" / f"{name}.md").write_text(table(result))


if __name__ == "__main__":
    main()
