"""Run the notebooks of the gallery from top to bottom, each with a kernel of its own, as a user would.

Usage: python docs/check_notebooks.py docs/auto_gallery
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat


def main() -> None:
    """Run the notebooks in the folder that the command line names."""
    paths = sorted(Path(sys.argv[1]).resolve().glob("*.ipynb"))
    start, pictures = time.perf_counter(), 0
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            nbclient.NotebookClient(
                notebook, timeout=120, resources=resources, extra_arguments=["--log-level=ERROR"]
            ).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        drawn = sum("image/png" in output.get("data", {}) for output in outputs)
        if not drawn:
            sys.exit(f"{path.name} shows no picture")
        if warnings := [output.text for output in outputs if output.get("name") == "stderr"]:
            sys.exit(f"{path.name} writes to standard error: {warnings[0]}")
        pictures += drawn
    if not paths:
        sys.exit(f"no notebooks in {sys.argv[1]}")
    print(f"{len(paths)} notebooks with {pictures} pictures, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
