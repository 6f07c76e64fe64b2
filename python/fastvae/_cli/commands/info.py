"""``fastvae info``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from fastvae._cli import models, tables
from fastvae._cli.write import files, json_text

USAGE = "fastvae info MODEL [--json]"
EPILOG = """\
examples:
  fastvae info digits.safetensors
  fastvae info digits.safetensors --json | jq .losses.elbo
"""
# Lines are wrapped between words only.
_WIDTH = 110
_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


def add(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="model file or checkpoint")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Describe."""
    found = describe(models.load(options.model), Path(options.model))
    if options.json:
        files.print_text(json_text(found, indent=1))
        return 0
    lines = []
    for key, value in found.items():
        if value in (None, {}, []):
            continue
        if isinstance(value, dict) and key in ("columns", "parameters", "tensors"):
            shown = {name: _column(each) if key == "columns" else _shown(each) for name, each in value.items()}
            lines += [f"{key}:", *(f"  {name:<24} {each}" for name, each in shown.items())]
        else:
            text = f"{value:,}" if key == "weights" else _shown(value)
            label = f"{key.replace('_', ' ') + ':':<20} "
            lines.append(textwrap.fill(label + text, _WIDTH, subsequent_indent=" " * len(label), **_WHOLE_WORDS))
    files.print_text("\n".join(lines) + "\n")
    return 0


def describe(model: Any, path: Path) -> dict[str, Any]:
    """Return what a model file holds, in JSON types."""
    weights = model.state_dict()
    names, classes = models.feature_names(model), getattr(model, "classes_", None)
    defaults = type(model)().get_params()
    changed = {key: value for key, value in model.get_params().items() if repr(value) != repr(defaults[key])}
    for name in ("n_jobs", "progress"):
        changed.pop(name, None)
    return {
        "file": str(path),
        "size": files.size(path),
        "model": type(model).__name__,
        "objective": _objective(model),
        "features": model.n_features_in_,
        "feature_names": names,
        "columns": _columns(model) if tables.is_table(model) else None,
        "latent_dimensions": models.code_width(model),
        "classes": None if classes is None else classes.tolist(),
        "integers_divided_by": model.input_scale_,
        "weights": int(sum(value.size for value in weights.values())),
        "epochs": model.n_iter_,
        "seconds": round(model.elapsed_, 3),
        "interrupted": model.interrupted_,
        "losses": models.last_losses(model),
        "parameters": {key: _plain(value) for key, value in changed.items()},
        "tensors": {name: list(value.shape) for name, value in weights.items()},
    }


def _columns(model: Any) -> dict[str, Any]:
    """Return kind and levels of each column of a table."""
    found = {}
    for label, kind in model.kinds_.items():
        levels = [str(level) for level in model.levels_.get(label, [])]
        found[str(label)] = {"kind": kind, "levels": levels} if levels else {"kind": kind}
    return found


def _objective(model: Any) -> str | None:
    try:
        return str(model.describe_objective()) if hasattr(model, "describe_objective") else None
    except (ValueError, TypeError):
        return None


def _column(column: dict[str, Any]) -> str:
    levels = column.get("levels")
    return str(column["kind"]) + (f": {_shown(levels)}" if levels else "")


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        texts = [str(item) for item in value[:12]]
        return ", ".join(texts) + (f", ... ({len(value)})" if len(value) > 12 else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
