"""The check of the built documentation finds broken links, missing files and addresses of other hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import module_of

# docs/check_site.py, a step of `make docs`; the folder is not put on the path, since it has a module `reference` too.
_FILE = Path(__file__).parent.parent / "docs" / "check_site.py"
if not _FILE.exists():
    pytest.skip("needs the folder docs of a checkout", allow_module_level=True)
check_site = module_of(_FILE, "check_site")


def site(folder: Path, body: str) -> list[str]:
    """Return the problems of a site of two pages, of which the first has this body."""
    (folder / "other").mkdir(exist_ok=True)
    (folder / "other" / "page.html").write_text('<h1 id="title">Other</h1><a href="../index.html">back</a>')
    (folder / "picture.png").write_bytes(b"")
    (folder / "index.html").write_text(f"<body>{body}</body>")
    return check_site.problems(folder)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other/page.html#title">other</a>',
        '<a href="#here">here</a><p id="here">',
        '<a href="https://arxiv.org/abs/1312.6114">paper</a>',
        '<a href="mailto:someone@example.org">mail</a>',
        '<img src="picture.png"><img src="data:image/png;base64,AAAA">',
        '<link rel="canonical" href="https://example.org/">',
    ],
)
def test_good_pages_pass(tmp_path: Path, body: str) -> None:
    assert site(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="missing.html">gone</a>', "no such file"),
        ('<a href="other/page.html#gone">gone</a>', "no anchor 'gone'"),
        ('<a href="#gone">gone</a>', "no anchor 'gone'"),
        ('<a href="https://arxiv/abs/1">host without a dot</a>', "malformed address"),
        ('<a href="https://arxiv.org/a b">space</a>', "malformed address"),
        ('<a href="javascript:alert(1)">script</a>', "unexpected scheme"),
        ('<script src="https://cdn.example.org/a.js"></script>', "loads https://cdn.example.org/a.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', "loads //fonts.example.org/a.css"),
        ('<img src="gone.png">', "no such file"),
    ],
)
def test_bad_pages_are_named(tmp_path: Path, body: str, problem: str) -> None:
    (found,) = site(tmp_path, body)
    assert found.startswith("index.html: ")
    assert problem in found


def test_style_sheets_load_nothing(tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text("@font-face { src: url(https://fonts.example.org/a.woff); }")
    (found,) = site(tmp_path, "")
    assert found == "site.css: loads https://fonts.example.org/a.woff"


def test_an_empty_site_is_no_site(tmp_path: Path) -> None:
    assert check_site.problems(tmp_path) == [f"{tmp_path} has no index.html"]
