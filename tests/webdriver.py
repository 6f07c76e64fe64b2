"""A browser for tests: Chromium without a window, controlled by chromedriver with the WebDriver protocol."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")


class Browser:
    """A session of a browser."""

    def __init__(self, address: str, profile: Path) -> None:
        arguments = ["--headless=new", "--no-first-run", "--disable-gpu", f"--user-data-dir={profile}"]
        if os.name == "posix" and os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium refuses to run as root with one
        options = {"binary": CHROMIUM, "args": arguments, "perfLoggingPrefs": {"enableNetwork": True}}
        logs = {"browser": "ALL", "performance": "ALL"}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        self.address = address
        session = self.send("session", {"capabilities": {"alwaysMatch": capabilities}})
        self.address = f"{address}/session/{session['sessionId']}"

    def send(self, command: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/{command}", data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a function's body; a promise is awaited."""
        return self.send("execute/sync", {"script": script, "args": arguments})

    def chrome(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's developer tools."""
        return self.send("goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.chrome("Emulation.setDeviceMetricsOverride", **metrics)

    def open(self, path: Path) -> None:
        self.logs("browser"), self.logs("performance")
        self.send("url", {"url": path.as_uri()})

    def logs(self, kind: str) -> list[dict[str, Any]]:
        """The entries since the last call."""
        found: list[dict[str, Any]] = self.send("se/log", {"type": kind})
        return found

    def requests(self) -> list[str]:
        """The addresses that the page has asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logs("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def drag(self, start: Any, end: Any, steps: int = 5, pointer: str = "mouse") -> None:
        """Press at a point of the window, move in steps and release."""
        places = [[a + (b - a) * k / steps for a, b in zip(start, end, strict=True)] for k in range(steps + 1)]
        moves = [{"type": "pointerMove", "x": round(x), "y": round(y), "duration": 10} for x, y in places]
        down, up = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        self.pointer([moves[0], down, *moves[1:], up], pointer)

    def hover(self, x: float, y: float) -> None:
        self.pointer([{"type": "pointerMove", "x": round(x), "y": round(y), "duration": 10}])

    def pointer(self, actions: list[dict[str, Any]], pointer: str = "mouse") -> None:
        device = {"type": "pointer", "id": pointer, "parameters": {"pointerType": pointer}, "actions": actions}
        self.send("actions", {"actions": [device]})

    def keys(self, text: str) -> None:
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.send("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start chromedriver and a session; both end with the block."""
    assert CHROMEDRIVER is not None
    assert CHROMIUM is not None
    log = folder / "chromedriver.log"
    driver = subprocess.Popen([CHROMEDRIVER, "--port=0", f"--log-path={log}"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        port = next(line.split()[-1].rstrip(".") for line in driver.stdout if "started successfully" in line)
        session = Browser(f"http://127.0.0.1:{port}", folder / "profile")
        try:
            yield session
        finally:
            session.send("execute/sync", {"script": "", "args": []})
            urllib.request.urlopen(urllib.request.Request(session.address, method="DELETE"), timeout=60).close()
    finally:
        driver.terminate()
        driver.wait(30)
        if driver.stdout is not None:
            driver.stdout.close()


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until a condition holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)
