"""A page of the lecture: a script adds paragraphs, pictures and tables to it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")  # writes files, needs no display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUT = Path("lecture")
DATA = Path(__file__).parent.parent / "data" / "fashion_mnist.npz"
GARMENTS = np.array(
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
)

Array = NDArray[Any]


def garments() -> tuple[Array, Array, Array, Array]:
    """Return 5,000 training and 1,000 test images with their classes; rows of floats in 0..1."""
    with np.load(DATA, allow_pickle=False) as archive:
        parts = {name: archive[name] for name in archive.files}
    x_train, x_test = (parts[f"x_{part}"].reshape(-1, 784) / np.float32(255) for part in ("train", "test"))
    return x_train, parts["y_train"], x_test, parts["y_test"]


class Page:
    """The text and pictures of one script. The script's docstring gives title and introduction."""

    def __init__(self, doc: str | None) -> None:
        title, *paragraphs = (doc or "").strip().split("\n\n")
        self.title = title.rstrip(".")
        self._parts = [f"<h2>{html.escape(self.title)}</h2>"]
        for paragraph in paragraphs:
            self.say(paragraph)

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def show(self, ax: Axes, name: str, caption: str) -> None:
        """Save the figure of `ax` as `name`.png and add it with a caption."""
        OUT.mkdir(exist_ok=True)
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(OUT / f"{name}.png", dpi=110, bbox_inches="tight", pad_inches=0.1)
        plt.close(figure)
        self._parts.append(
            f'<figure><img src="{name}.png" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def table(self, head: list[str], rows: list[list[Any]]) -> None:
        """Add a table; floats are printed with one decimal."""

        def line(cells: list[Any], tag: str) -> str:
            texts = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
            return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"

        body = "".join(line(row, "td") for row in rows)
        self._parts.append(f'<div class="table"><table>{line(head, "th")}{body}</table></div>')

    def html(self) -> str:
        """Return the page as a fragment of HTML."""
        return "\n".join(self._parts)
