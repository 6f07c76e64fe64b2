"""The page of the lecture: it loads nothing from a network, and fits a desktop and a telephone."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import webdriver

FOLDER = Path(__file__).parent.parent / "examples" / "lecture"
if not FOLDER.exists():
    pytest.skip("needs the folder examples of a checkout", allow_module_level=True)


@pytest.fixture
def lecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The program of `make lecture`, which writes pictures to tmp_path."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(FOLDER))
    import page

    monkeypatch.setattr(page, "OUT", tmp_path)
    yield runpy.run_path(str(FOLDER / "__main__.py"))
    del sys.modules["page"]


def sections(n: int) -> dict[str, Any]:
    """Sections with a wide picture, a wide table and a long word."""
    import matplotlib.pyplot as plt
    from page import Page

    found = {}
    for i in range(n):
        found[f"part{i}"] = section = Page(f"Section {i}.\n\nA word: {'long' * 40}.")
        _, ax = plt.subplots(figsize=(20, 3))
        section.show(ax, f"picture{i}", "A picture <with> a caption")
        section.table([f"column {j}" for j in range(20)], [[float(j) for j in range(20)]])
    return found


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_loads_only_its_pictures(lecture: dict[str, Any], tmp_path: Path) -> None:
    text = lecture["document"](sections(2))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    elements = Elements(text).found
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in elements}
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    assert [picture["src"] for picture in pictures] == ["picture0.png", "picture1.png"]
    assert all((tmp_path / str(picture["src"])).exists() and picture["alt"] for picture in pictures)
    names = {attributes["id"] for _, attributes in elements if "id" in attributes}
    assert {attributes["href"] for tag, attributes in elements if tag == "a"} == {f"#{name}" for name in names}
    viewport = next(each for tag, each in elements if tag == "meta" and each.get("name") == "viewport")
    assert "width=device-width" in str(viewport["content"])


def test_every_script_of_the_lecture_is_a_chapter(lecture: dict[str, Any]) -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"__main__", "page"}
    assert scripts == set(lecture["CHAPTERS"])
    for name in scripts:
        assert not re.search(r"https?://", (FOLDER / f"{name}.py").read_text(encoding="utf-8")), name


@pytest.mark.skipif(not (webdriver.CHROMIUM and webdriver.CHROMEDRIVER), reason="needs chromium and chromedriver")
def test_the_page_fits_a_desktop_and_a_telephone(lecture: dict[str, Any], tmp_path: Path) -> None:
    index = tmp_path / "index.html"
    index.write_text(lecture["document"](sections(2)), encoding="utf-8")
    with webdriver.browser(tmp_path) as browser:
        for width in (1400, 390):
            browser.size(width, 900)
            browser.open(index)
            assert all(address.startswith("file:") for address in browser.requests())
            shown = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
            assert browser.run(shown)
            assert browser.run("return innerWidth") == width
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run("return [...document.images].every(image => image.width <= innerWidth)")
            assert not browser.logs("browser")
