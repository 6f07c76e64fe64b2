"""Open every page of a built site in Chromium, as wide as a telephone: it fits, has no error and asks no network.

The search must find a page, from the file system. Without chromium and chromedriver nothing is checked.

Usage: python docs/check_browser.py docs/_build/html
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import webdriver

WIDTH = 390


def problems(browser: webdriver.Browser, path: Path) -> list[str]:
    """Return what is wrong with the page that is open."""
    found = [f"asks for {address}" for address in browser.requests() if not address.startswith(("file:", "data:"))]
    found += [entry["message"] for entry in browser.logs("browser") if entry["level"] == "SEVERE"]
    if (width := browser.run("return document.documentElement.scrollWidth")) > WIDTH:
        found.append(f"is {width} pixels wide")
    if browser.run("return [...document.images].some(image => image.complete && !image.naturalWidth)"):
        found.append("has a picture that does not load")
    return [f"{path.name}: {problem}" for problem in found]


def main() -> None:
    """Check the site in the folder that the command line names."""
    folder = Path(sys.argv[1]).resolve()
    if not (webdriver.CHROMIUM and webdriver.CHROMEDRIVER):
        print("no chromium and chromedriver: pages were not opened in a browser")
        return
    pages = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    with tempfile.TemporaryDirectory() as scratch, webdriver.browser(Path(scratch)) as browser:
        browser.size(WIDTH, 900)
        found = []
        for path in pages:
            browser.open(path)
            found += problems(browser, path)
        search = folder / "search.html"
        browser.send("url", {"url": f"{search.as_uri()}?q=anomaly"})
        webdriver.until(lambda: "Anomalies" in browser.run("return document.body.innerText"))
        found += problems(browser, search)
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{len(pages)} pages in a browser, {len(found)} problems")
    sys.exit(1 if found or not pages else 0)


if __name__ == "__main__":
    main()
