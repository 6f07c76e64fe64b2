"""The HTML document: template, style, scripts and data in one file that may load nothing else."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from fastvae import _core

_PAGE = Path(__file__).parent / "page"

SCRIPTS = (
    "codec.js",
    "runtime.js",
    "palette.js",
    "projection.js",
    "scatter.js",
    "views.js",
    "strips.js",
    "app.js",
)


def document(data: dict[str, Any]) -> bytes:
    """Return the page that shows `data`, in UTF-8."""
    style = _read("style.css")
    script = '(() => {\n"use strict";\n' + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"
    parts = {
        "policy": _policy(style, script),
        "generator": f"fastvae {_core.__version__}",
        "title": escape(data["title"]),
        "style": style,
        "script": script,
        "data": _json(data),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html")).encode(errors="replace")


def _read(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy: this style and this script, images in the file, and nothing else."""

    def digest(text: str) -> str:
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(data: dict[str, Any]) -> str:
    """Return JSON that HTML cannot mistake for markup: <, >, & and the line separators of JavaScript are escaped."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
