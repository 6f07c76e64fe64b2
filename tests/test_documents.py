"""README.md and the pages of docs/: Python blocks run and print what the page says; commands and files exist.

The blocks of a page run in order, in one namespace and in an empty folder. A block ```output``` after a Python block is
what it prints; numbers may differ by rounding on other processors. Shell blocks are not run.

    python tests/test_documents.py docs/guide/images.md    # replaces the output in a page by that of its blocks
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "docs").exists():
    pytest.skip("needs the folder docs of a checkout", allow_module_level=True)
GENERATED = {"_build", "api", "auto_gallery"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if not GENERATED & set(page.relative_to(ROOT).parts)),
]
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
# Packages that the tests can do without: a block that imports one that is not installed is skipped, and so is the rest
# of its section. Every other import must succeed.
OPTIONAL = {
    "dask",
    "fastapi",
    "h5py",
    "httpx",
    "keras",
    "onnx",
    "onnxruntime",
    "polars",
    "pyarrow",
    "pythae",
    "tensorboardX",
    "torch",
}
SHELL = {"console", "sh", "bash", "shell"}
OTHER = {"output", "text", "toml", "json", "html", "javascript", "ini", "yaml", "csv", "docker", "dockerfile", "http"}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block, the number of its first line, and the second-level heading above it."""

    language: str
    text: str
    line: int
    section: str


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a page; directives of MyST ({toctree}) are not code."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    section, i = "", 0
    while i < len(lines):
        fence = re.match(r"( *)(```+|~~~+)\s*(\S*)", lines[i])
        if fence is None:
            section = lines[i] if lines[i].startswith("## ") else section
            i += 1
            continue
        indent, marks, language = fence.groups()
        end = next((j for j in range(i + 1, len(lines)) if lines[j].strip() == marks), None)
        assert end is not None, f"{path}:{i + 1}: the block does not end"
        body = "\n".join(line.removeprefix(indent) for line in lines[i + 1 : end])
        if not language.startswith("{"):
            found.append(Block(language, body, i + 2, section))
        i = end + 1
    return found


def missing_package(tree: ast.Module) -> str | None:
    """Return the first optional package that the code imports and that is not installed."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in (name.partition(".")[0] for name in names):
            if name in OPTIONAL and find_spec(name) is None:
                return name
    return None


def differences(printed: str, written: str) -> str | None:
    """Return how a printed text differs from that of the page, beyond the rounding of numbers."""
    lines, expected = ([line.rstrip() for line in text.strip().split("\n")] for text in (printed, written))
    if len(lines) != len(expected):
        return f"{len(lines)} lines instead of {len(expected)}:\n{printed}"
    for line, wanted in zip(lines, expected, strict=True):
        same = [" ".join(NUMBER.sub("0", text).split()) for text in (line, wanted)]
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (line, wanted)]
        close = all(abs(a - b) <= 0.02 + 0.03 * abs(b) for a, b in zip(*numbers, strict=False))
        if same[0] != same[1] or not close:
            return f"{line!r} instead of {wanted!r} in\n{printed}"
    return None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run(path: Path) -> Iterator[tuple[Block | None, str]]:
    """Run the blocks of a page; return what each prints with the block of output that follows it, if there is one.

    At the end, skip the test if a section was skipped.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    skipped: dict[str, str] = {}
    found = blocks(path)
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language != "python" or block.section in skipped:
            continue
        code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
        tree = ast.parse(code, str(path))
        if package := missing_package(tree):
            skipped[block.section] = f"{block.section or 'the page'} needs {package}"
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, str(path), "exec"), namespace)
        yield following if following is not None and following.language == "output" else None, printed.getvalue()
    if skipped:
        pytest.skip("; ".join(skipped.values()))


@pytest.mark.parametrize("path", WITH_PYTHON, ids=name_of)
def test_the_python_blocks_of_a_page_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    for output, printed in run(path):
        problem = output and differences(printed, output.text)
        assert output is None or problem is None, f"{name_of(path)}:{output.line}: the block above prints {problem}"
    plt.close("all")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_and_languages_of_a_page_are_known(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    commands = {file.stem for file in (ROOT / "python" / "fastvae" / "_cli" / "commands").glob("[a-z]*.py")}
    for block in blocks(path):
        where = f"{name_of(path)}:{block.line}"
        assert block.language in {"python", *SHELL, *OTHER}, f"{where}: a block of language {block.language!r}"
        if block.language not in SHELL:
            continue
        for target in re.findall(r"^(?:\$ )?(?:\w+=\S+ )*make ([a-z]+)", block.text, re.M):
            assert target in targets, f"{where}: make {target} is no target"
        for command in re.findall(r"^(?:\$ )?(?:python -m )?fastvae ([a-z]+)", block.text, re.M):
            assert command in commands, f"{where}: fastvae {command} is no command"
        for file in re.findall(r"(?<![\w/.])((?:examples|tests|benches|docs)/[\w./-]+)", block.text):
            assert (ROOT / file).exists(), f"{where}: {file} does not exist"
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z]+)", text):
        assert target in targets, f"{name_of(path)}: make {target} is no target"


def test_the_check_of_a_page_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("## One\n\n```python\nx = 1\nprint(x / 3)\n```\n\n```output\n0.3333\n```\n\n```{toctree}\na\n```\n")
    python, output = blocks(page)
    assert (python.language, python.line, python.section) == ("python", 4, "## One")
    assert output.text == "0.3333"
    assert differences("0.3333333\n", output.text) is None
    assert differences("0.37", output.text)
    assert differences("0.33 nats", output.text)
    assert differences("0.33\n0.33", output.text)
    assert missing_package(ast.parse("import numpy, re")) is None
    monkeypatch.setitem(globals(), "find_spec", lambda name: None)
    assert missing_package(ast.parse("from torch.nn import Linear")) == "torch"


def rewrite(path: Path) -> None:
    """Replace the blocks of output in a page by what its blocks print."""
    lines = path.read_text(encoding="utf-8").split("\n")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        outputs = [(block, printed) for block, printed in run(path) if block is not None]
    for block, printed in reversed(outputs):
        length = len(block.text.split("\n")) if block.text else 0
        lines[block.line - 1 : block.line - 1 + length] = [line.rstrip() for line in printed.rstrip().split("\n")]
    path.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    for argument in sys.argv[1:]:
        rewrite(Path(argument).resolve())
