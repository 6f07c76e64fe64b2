"""Plots of topics and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._checks import NotFittedError
from fastvae._data import arrays
from fastvae._topics import documents, measures
from fastvae.plots._axes import SMALL, TITLE, new_axes, pyplot
from fastvae.plots._codes import add_legend, colours_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from fastvae._topics.choice import TopicChoice

_GREYS = (14, 15)  # the grey entries of the colour map "tab20", reserved for less frequent topics


def topics(
    components: Any,
    vocabulary: Sequence[str] | Mapping[str, int],
    n: int | None = None,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 5,
    axes: Sequence[Axes] | None = None,
) -> NDArray[np.object_]:
    """Draw the n top words of each topic as bars, the largest at the top.

    Parameters
    ----------
    components : array_like, [n_topics, n_words], or fitted model
        Values of each word in each topic; ``components_`` of a model, its word probabilities.
    vocabulary : sequence of str, [n_words], or mapping of str to int
        The words in the order of the columns, or a mapping from word to column, such as scikit-learn's
        ``CountVectorizer.vocabulary_``.
    n : int or None
        At most n_words; None is min(10, n_words).
    titles : sequence of str, [n_topics], optional
        Default: "topic 0" and so on.
    columns : int
        Topics per line of a new figure.
    axes : sequence of matplotlib Axes, [n_topics], optional
        One for each topic.

    Returns
    -------
    ndarray of matplotlib Axes, [n_topics]
        All with the same horizontal scale.

    Raises
    ------
    ValueError
        If n is out of range, or the vocabulary, the titles or the axes do not fit the topics.
    """
    if hasattr(components, "fit") and not hasattr(components, "components_"):
        raise NotFittedError(f"this {type(components).__name__} is not fitted yet: call fit before drawing its topics")
    components = arrays.matrix(getattr(components, "components_", components), "components")
    words = measures.top_words(components, vocabulary, n)
    values = -np.sort(-components.astype(np.float64), axis=1)[:, : len(words[0])]
    names = _names(titles, "titles", len(words))
    panels = _panels(axes, len(words), len(words[0]), _checks.integer(columns, "columns"))
    places = np.arange(len(words[0]))
    ends = min(values.min(), 0.0), max(values.max(), 0.0)
    for ax, name, top, heights in zip(panels, names, words, values, strict=True):
        ax.barh(places, heights, height=0.75, color="C0")
        ax.set_yticks(places, top, fontsize=SMALL)
        ax.invert_yaxis()
        ax.set_xlim(ends[0] * 1.05, ends[1] * 1.05 or 1.0)
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="x", color="0.92")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(name, fontsize=TITLE - 1)
    return panels


def document_map(
    theta: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a map of documents, in which documents with similar topic shares are close.

    Coordinates are the first two principal components of sqrt(theta), in which distances are sqrt(2) times the
    Hellinger distances.

    Parameters
    ----------
    theta : array_like, [n_documents, n_topics]
        Topic shares, rows that sum to one, as from ``TopicModel.transform``.
    labels : array_like, [n_documents], optional
        Colours: up to 20 distinct values, of any type, are classes with a legend; more must be numbers. By default the
        colour is the largest topic of the document, grey beyond the 18 most frequent ones.
    names : sequence of str, [n_topics], optional
        Names of the topics for the legend; only without labels. Default: "topic 0" and so on.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If rows of theta are not probabilities, there are fewer than two documents or topics, or the length of labels or
        names does not match.
    """
    places = documents.document_map(theta)
    shares = np.asarray(theta)
    key: Any
    if labels is None:
        greatest = shares.argmax(axis=1)
        colours, key = _topic_colours(greatest, _names(names, "names", shares.shape[1]))
        title = f"{len(places):,} documents by their greatest topic"
    else:
        if names is not None:
            raise ValueError("names belong to topics, but labels are given as colours: leave out one of them")
        colours, key = colours_of(labels, len(places))
        title = f"{len(places):,} documents by their topics"
    ax = new_axes(ax, (7.5, 6))
    size = min(16.0, max(2.0, 16 * np.sqrt(1000 / len(places))))
    ax.scatter(places[:, 0], places[:, 1], s=size, c=colours, linewidths=0, alpha=0.8)
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("first principal component of √θ")
    ax.set_ylabel("second principal component of √θ")
    ax.set_title(title, fontsize=TITLE)
    add_legend(ax, key)
    return ax


def _panels(axes: Any, n_topics: int, n_words: int, columns: int) -> NDArray[np.object_]:
    """Return axes for the topics: the given ones, or a new grid."""
    if axes is None:
        columns = min(columns, n_topics)
        rows = ceil(n_topics / columns)
        size = (2.6 * columns + 0.4, rows * (0.19 * n_words + 0.7))
        grid = pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")[1].ravel()
        for unused in grid[n_topics:]:
            unused.remove()
        return np.asarray(grid[:n_topics], dtype=object)
    pyplot()
    panels = np.asarray(axes, dtype=object).ravel()
    if len(panels) != n_topics:
        raise ValueError(f"axes holds {len(panels)} axes; expected {n_topics}, one for each topic")
    return panels


def _names(names: Sequence[str] | None, what: str, n_topics: int) -> list[str]:
    found = [f"topic {topic}" for topic in range(n_topics)] if names is None else list(map(str, names))
    if len(found) != n_topics:
        raise ValueError(f"{what} has {len(found)} entries; expected {n_topics}, one for each topic")
    return found


def _topic_colours(greatest: NDArray[np.intp], names: list[str]) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return a colour for each document, [n, 4], and the key; less frequent topics are grey."""
    pyplot()
    from matplotlib import colormaps, colors

    count = np.bincount(greatest, minlength=len(names))
    used = int((count > 0).sum())
    palette = colormaps["tab10"](np.arange(10))
    if used > len(palette):
        palette = np.delete(colormaps["tab20"](np.arange(20)), _GREYS, axis=0)
    shown = np.sort(np.argsort(-count, kind="stable")[: min(used, len(palette))])
    table = np.tile(colors.to_rgba("0.8"), (len(names), 1))
    table[shown] = palette[: len(shown)]
    key = {names[topic]: table[topic] for topic in shown}
    if used > len(shown):
        key["others"] = colors.to_rgba("0.8")
    return table[greatest], key


def n_topics(choice: TopicChoice, *, ax: Axes | None = None) -> Axes:
    """Draw held-out perplexity and coherence over the number of topics.

    Parameters
    ----------
    choice : TopicChoice
        Result of :meth:`fastvae.TopicModel.choose_n_topics`.
    ax : matplotlib Axes, optional
        Default: a new figure. A twin of it has the scale of the coherence.

    Returns
    -------
    matplotlib Axes
        Lines are means over the repeats, points the repeats. The advised number has a vertical line.
    """
    ax = new_axes(ax, (5.0, 3.2))
    other = ax.twinx()
    for each, values, name, colour in (
        (ax, choice.perplexity, "held-out perplexity (lower is better)", "C0"),
        (other, choice.coherence, "coherence, NPMI (higher is better)", "C1"),
    ):
        each.plot(choice.n_topics, values.mean(0), color=colour)
        each.plot(np.tile(choice.n_topics, len(values)), values.ravel(), "o", color=colour, markersize=4)
        each.set_ylabel(name, color=colour, fontsize=SMALL)
        each.tick_params(axis="y", labelcolor=colour, labelsize=SMALL)
    ax.axvline(choice.best, color="0.6", linestyle=":", zorder=0)
    ax.set_xscale("log")
    ax.set_xticks(choice.n_topics, [str(n) for n in choice.n_topics])
    ax.minorticks_off()
    ax.set_xlabel("topics")
    ax.set_title(f"{choice.best} topics", fontsize=TITLE)
    return ax
