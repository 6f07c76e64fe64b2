"""Completion scripts: bash's in a real bash, those of other shells by their syntax."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cli.conftest import Run
from fastvae._cli.parser import COMMANDS, build


def test_bash_completes_commands_options_values_and_files(run: Run, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "complete.sh").write_bytes(run("completion", "bash").out)
    (tmp_path / "data.csv").write_text("1\n")

    def complete(*words: str) -> set[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        line = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _fastvae"
        script = f"source ./complete.sh; {line}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run([bash, "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert not done.stderr
        return set(done.stdout.split())

    assert complete("fastvae", "") >= {*COMMANDS, "--help"}
    assert complete("fastvae", "re") == {"resume", "recommend", "reconstruct"}
    assert complete("fastvae", "train", "--lat") == {"--latent-dim"}
    assert complete("fastvae", "train", "--missing", "") == {"error", "mask"}
    assert complete("fastvae", "exam", "--model", "") == {"2pl", "rasch", "through_origin", "3pl", "graded"}
    assert complete("fastvae", "train", "da") == {"data.csv"}
    assert complete("fastvae", "train", "x", "-o", "da") == {"data.csv"}
    assert complete("fastvae", "plot", "learn") == {"learning-curve"}
    assert complete("fastvae", "completion", "") >= {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells(run: Run, tmp_path: Path, shell: str) -> None:
    text = run("completion", shell).text
    _, commands = build(None)
    for name, parser in commands.items():
        assert name in text
        for action in parser.flags():
            for flag in action.option_strings:
                assert (
                    flag if shell == "zsh" else f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}"
                ) in text
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"needs {shell} for a check of the syntax")
    (tmp_path / "script").write_text(text)
    done = subprocess.run([found, "-n", str(tmp_path / "script")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
