"""``fastvae export``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from fastvae._cli import messages, models
from fastvae._cli.errors import UsageError, missing
from fastvae._cli.options import add_force
from fastvae._cli.write import files

USAGE = "fastvae export MODEL -o FILE.onnx|.pt|.npz [--part encoder|decoder|reconstruct|score]"
EPILOG = """\
examples:
  fastvae export digits.safetensors -o encoder.onnx --part encoder
  fastvae export digits.safetensors -o digits.pt        # a state dict: torch.load(path, weights_only=True)
  fastvae export digits.safetensors -o digits.npz       # the same arrays for numpy
"""


def add(parser: Any) -> None:
    """Add the options."""
    from fastvae._export.onnx import PARTS

    parser.add_argument("model", metavar="MODEL", help="model file")
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", metavar="FILE", required=True, help="file: .onnx, .pt, .pth or .npz")
    group.add_argument("--part", choices=PARTS, help="what an ONNX file computes (default: encoder)")
    add_force(group)


def run(options: Any) -> int:
    """Export."""
    path = Path(options.output)
    kind = path.suffix.lower()
    if kind not in (".onnx", ".pt", ".pth", ".npz"):
        raise UsageError(f"-o {options.output}: export writes .onnx, .pt, .pth or .npz")
    if options.part is not None and kind != ".onnx":
        raise UsageError(f"--part is for .onnx: {path.suffix} holds all weights")
    files.check(path, options.force)
    model = models.load(options.model)
    if kind == ".onnx":
        file = io.BytesIO()
        model.export_onnx(file, part=options.part or "encoder")
        _write(path, file.getvalue(), options.part or "encoder")
        return 0
    if kind == ".npz":
        weights = model.state_dict()
        file = io.BytesIO()
        np.savez(file, **weights)
        _write(path, file.getvalue(), models.plural(len(weights), "tensor"))
        return 0
    try:
        import torch
    except ImportError:
        raise missing("torch", f"export to {path.suffix}") from None
    from fastvae.torch import to_module

    state = to_module(model).state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    _write(path, file.getvalue(), models.plural(len(state), "tensor"))
    return 0


def _write(path: Path, data: bytes, what: str) -> None:
    files.write(path, data)
    messages.note(f"wrote {path} ({what}, {files.size(path)})")
