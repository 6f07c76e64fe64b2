"""Plots of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._checks import NotFittedError
from fastvae.plots._axes import TITLE, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curve(model: Any, ax: Axes | None = None) -> Axes:
    """Draw the loss of each epoch, in nats per example: training data dashed, validation data solid.

    Parameters
    ----------
    model : fitted model
        With ``history_``. The validation curve needs validation data in ``fit``.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the model is not fitted, or its history is empty.
    """
    if not hasattr(model, "history_"):
        raise NotFittedError(f"this {type(model).__name__} is not fitted yet: call fit before drawing its history")
    epochs = np.arange(1, len(model.history_["loss"]) + 1)
    if len(epochs) == 0:
        raise ValueError("the model's history is empty, because it was not trained: call fit or partial_fit")
    ax = new_axes(ax, (6.5, 4.2))

    from matplotlib.ticker import MaxNLocator

    few = len(epochs) <= 10
    shown: list[float] = []
    for key, name, dash in (("loss", "training", "--"), ("val_loss", "validation", "-")):
        values = np.array(model.history_.get(key, []))
        if len(values) and not np.isnan(values).all():
            ax.plot(epochs, values, dash, color="C0", marker="." if few else "", label=name)
            later = values[0 if few else 2 :]
            shown += later[np.isfinite(later)].tolist()
    margin = 0.04 * (max(shown) - min(shown)) if shown else 0.0
    if margin > 0:  # leaves out the first two of many epochs, whose losses are far larger
        ax.set_ylim(min(shown) - margin, max(shown) + margin)
    if len(epochs) == 1:
        ax.set_xlim(0.5, 1.5)
    ax.set_title("Learning curve", fontsize=TITLE)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("loss, nats per example")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.legend(frameon=False)
    return ax
