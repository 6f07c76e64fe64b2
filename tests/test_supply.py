"""What the library depends on and what it touches: licences, sources, files, sockets and processes."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import run_python

ROOT = Path(__file__).parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# Records every event of writing, of networks and of processes. `os.devnull` and pipes are no files.
AUDIT = """
import os, sys
events = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NAMES = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.mkdir", "os.rename",
         "os.remove", "os.link", "os.symlink", "shutil.", "tempfile.", "ftplib.", "http.", "urllib.", "smtplib.")
def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags & WRITES and path != os.devnull and "__pycache__" not in str(path):
            events.append((event, str(path)))
    elif event.startswith(NAMES):
        events.append((event, str(arguments)[:200]))
sys.dont_write_bytecode = True
sys.addaudithook(hook)
%s
print(events)
"""


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression allows the use under a permissive licence: each AND needs one of its ORs."""
    parts = re.split(r"\s+AND\s+", expression)
    return all(any(name.strip(" ()") in PERMISSIVE for name in re.split(r"\s+OR\s+|/", part)) for part in parts)


def test_the_parser_of_licences() -> None:
    assert is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0")
    assert is_permissive("GPL-3.0-only OR MIT")
    assert is_permissive("MIT/Apache-2.0")
    assert not is_permissive("MIT AND GPL-3.0-only")
    assert not is_permissive("AGPL-3.0-only")


@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_all_crates_are_permissive_and_of_the_registry() -> None:
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    crates = [crate for crate in json.loads(found.stdout)["packages"] if crate["name"] != "fastvae"]
    assert len(crates) > 10
    for crate in crates:
        assert crate["source"] == REGISTRY, f"{crate['name']} is of {crate['source']}"
        assert is_permissive(crate["license"] or ""), f"{crate['name']} has the licence {crate['license']}"


@pytest.mark.parametrize(
    "work",
    [
        "import fastvae",
        "import fastvae; fastvae.TopicModel, fastvae.ItemResponse, fastvae.show_config()",
        "import fastvae; X, _ = fastvae.datasets.load_digits(); m = fastvae.VAE(2, hidden=(8,), epochs=2).fit(X); "
        "m.transform(X); m.sample(3)",
    ],
)
def test_no_file_is_written_and_nothing_is_sent_or_started(work: str) -> None:
    assert run_python(AUDIT % work).splitlines()[-1] == "[]"


def test_the_hook_sees_files_and_processes() -> None:
    seen = run_python(AUDIT % "import subprocess; subprocess.run(['true']); open('/dev/full', 'w').close()")
    assert "subprocess.Popen" in seen
    assert "/dev/full" in seen
