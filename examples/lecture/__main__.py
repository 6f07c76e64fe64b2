"""Run the lecture's scripts in order and write lecture/index.html: the program of `make lecture`.

    python examples/lecture [NAME ...]

With names (denoising, for example) it runs only those scripts, and the page contains only their sections.
"""

from __future__ import annotations

import html
import runpy
import sys
import time
from pathlib import Path

from page import OUT, Page

CHAPTERS = (
    "autoencoder",
    "denoising",
    "missing",
    "two_terms",
    "kl_control",
    "latent_space",
    "attributes",
    "conditional",
    "convolution",
    "uncertainty",
    "topics",
    "exams",
    "training",
)

TITLE = "Variational autoencoders, in pictures"

# Pictures are drawn on white; on a dark page they keep a white frame.
STYLE = """
:root { color-scheme: light dark; --text: #222; --quiet: #555; --line: #bbb; --page: #fff; --link: #06c; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --quiet: #aaa; --line: #555; --page: #161616; --link: #7bf; }
  img { background: #fff; padding: .5rem; border-radius: .4rem; }
}
body { font: 17px/1.55 Georgia, serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
  color: var(--text); background: var(--page); overflow-wrap: break-word; }
p, li { max-width: 42rem; }
a { color: var(--link); }
h1, h2 { font-family: Helvetica, Arial, sans-serif; line-height: 1.2; } h2 { margin-top: 4rem; }
nav ol { columns: 18rem; padding-left: 1.5rem; }
figure { margin: 2rem 0; } img { box-sizing: border-box; max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: 15px; max-width: 46rem; }
.table { overflow-x: auto; margin: 1.5rem 0; } table { border-collapse: collapse; }
th, td { padding: .2rem 1.2rem .2rem 0; text-align: right; }
th { border-bottom: 1px solid var(--line); } th:first-child, td:first-child { text-align: left; }
@media (max-width: 40rem) {
  body { font-size: 16px; } h1 { font-size: 1.7rem; } h2 { font-size: 1.35rem; margin-top: 2.5rem; }
}
"""


def document(pages: dict[str, Page]) -> str:
    """Return the lecture as HTML: a list of contents, then the sections by their names."""
    contents = "\n".join(f'<li><a href="#{name}">{html.escape(page.title)}</a></li>' for name, page in pages.items())
    sections = "\n".join(f'<section id="{name}">\n{page.html()}\n</section>' for name, page in pages.items())
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{TITLE}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{TITLE}</h1>\n<nav><ol>\n{contents}\n</ol></nav>\n{sections}\n</body>\n</html>\n"
    )


def main() -> None:
    """Run the scripts and join their pages."""
    pages = {}
    for name in sys.argv[1:] or CHAPTERS:
        start = time.perf_counter()
        pages[name] = runpy.run_path(str(Path(__file__).parent / f"{name}.py"))["page"]
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    index = OUT / "index.html"
    index.write_text(document(pages), encoding="utf-8")
    print(index)


if __name__ == "__main__":
    main()
