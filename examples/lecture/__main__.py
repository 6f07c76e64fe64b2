"""Run the lecture's scripts in order and write lecture/index.html: the program of `make lecture`.

    python examples/lecture [NAME ...]

With names (denoising, for example) it runs only those scripts, and the page contains only their sections.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

from page import OUT

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

STYLE = """
body { font: 17px/1.5 Georgia, serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem; color: #222; }
h1, h2 { font-family: Helvetica, Arial, sans-serif; line-height: 1.2; } h2 { margin-top: 4rem; }
figure { margin: 2rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: 15px; }
table { border-collapse: collapse; margin: 1.5rem 0; } th, td { padding: .2rem 1.2rem .2rem 0; text-align: right; }
th { border-bottom: 1px solid #999; } th:first-child, td:first-child { text-align: left; }
"""


def main() -> None:
    """Run the scripts and join their pages."""
    chapters = sys.argv[1:] or CHAPTERS
    pages = []
    for name in chapters:
        start = time.perf_counter()
        pages.append(runpy.run_path(str(Path(__file__).parent / f"{name}.py"))["page"].html())
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    title = "Variational autoencoders, in pictures"
    document = f"<h1>{title}</h1>\n" + "\n".join(pages)
    index = OUT / "index.html"
    index.write_text(
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{document}\n</body>\n</html>\n",
        encoding="utf-8",
    )
    print(index)


if __name__ == "__main__":
    main()
