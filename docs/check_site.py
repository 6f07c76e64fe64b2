"""Check a built site: internal links exist, external ones are well formed, and nothing is loaded from a network.

Usage: python docs/check_site.py docs/_build/html
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Elements that a browser loads by itself, with the attribute that holds the address.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
# Relations of <link> that are addresses only.
NOT_LOADED = {"canonical", "index", "search", "next", "prev", "author", "up"}
NETWORK = re.compile(r"url\(['\"]?((?:https?:)?//[^)]*)")  # in a style sheet
HOST = re.compile(r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")


class Document(HTMLParser):
    """The links, the anchors and the loaded resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the element's id, its link, and what it loads."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel", "") not in NOT_LOADED:
            self.loaded.append(values[LOADED[tag]])


def problems(folder: Path) -> list[str]:
    """Return a sentence for each broken link, malformed address and resource of another host in the site."""
    pages = (path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts)
    documents = {path: Document(path.read_text(encoding="utf-8")) for path in pages}
    found = [] if folder / "index.html" in documents else [f"{folder} has no index.html"]
    for path, document in documents.items():
        page = path.relative_to(folder)
        for link in document.links:
            if problem := _link_problem(path, link, documents):
                found.append(f"{page}: {link}: {problem}")
        for address in document.loaded:
            parts = urlsplit(address)
            if parts.scheme not in ("", "data") or parts.netloc:
                found.append(f"{page}: loads {address}")
            elif parts.scheme == "" and not (path.parent / unquote(parts.path)).exists():
                found.append(f"{page}: loads {address}: no such file")
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(folder)}: loads {url}" for url in NETWORK.findall(text)]
    return found


def _link_problem(path: Path, link: str, documents: dict[Path, Document]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme in ("http", "https"):
        return None if HOST.match(parts.hostname or "") and " " not in link else "malformed address"
    if parts.scheme:
        return None if parts.scheme == "mailto" else f"unexpected scheme {parts.scheme}"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in documents and anchor not in documents[target].anchors:
        return f"no anchor {anchor!r}"
    return None


def main() -> None:
    """Check the site in the folder that the command line names."""
    folder = Path(sys.argv[1]).resolve()
    found = problems(folder)
    for problem in found:
        print(problem, file=sys.stderr)
    pages = len(list(folder.rglob("*.html")))
    print(f"{pages} pages, {len(found)} problems")
    sys.exit(1 if found or pages < 2 else 0)


if __name__ == "__main__":
    main()
