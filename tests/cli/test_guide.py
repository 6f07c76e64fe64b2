"""docs/guide/command-line.md: its commands run in order, and print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_documents import ROOT, blocks, differences

PAGE = ROOT / "docs" / "guide" / "command-line.md"


@pytest.mark.skipif(os.name != "posix", reason="shells of POSIX")
def test_the_sessions_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    pytest.importorskip("PIL", reason="needs Pillow")
    bin_folder, folder = tmp_path / "bin", tmp_path / "work"
    bin_folder.mkdir()
    folder.mkdir()
    for name, line in (
        ("fastvae", f"exec '{sys.executable}' -m fastvae \"$@\""),
        ("python", f"exec '{sys.executable}' \"$@\""),
    ):
        (bin_folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (bin_folder / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    monkeypatch.chdir(folder)
    commands = 0
    for block in blocks(PAGE):
        if block.language == "python":
            exec(compile(block.text, str(PAGE), "exec"), {})
        if block.language != "console":
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            line, _, written = part.partition("\n")
            done = subprocess.run(
                ["bash", "-c", line], env=environment, capture_output=True, text=True, cwd=folder, timeout=60
            )
            where = f"{PAGE.name}:{block.line}: {line}"
            assert done.returncode == 0, f"{where}: {done.stderr}"
            assert "warning" not in done.stderr, f"{where}: {done.stderr}"
            problem = differences(without_times(done.stderr + done.stdout), without_times(written))
            assert problem is None, f"{where} prints {problem}"
            commands += 1
    assert commands > 20
    assert (folder / "samples.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((folder / "reconstructed").iterdir())) == 100


def without_times(text: str) -> str:
    """Return output with a placeholder for seconds and sizes, and a single newline at the end."""
    return re.sub(r"in [\d.e-]+ s\b|\([\d.]+ [kM]?B\)", "...", text)
