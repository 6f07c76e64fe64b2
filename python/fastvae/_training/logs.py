"""Records for ``logging.getLogger("fastvae")``, and the losses that callbacks get."""

from __future__ import annotations

import sys
from typing import Any

_NAME = "fastvae"


class Logs(dict[str, float]):
    """The losses of an epoch, as in ``history_``, with its number.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1: ``n_iter_`` of the model.
    epochs : int
        Number of the last epoch that ``fit`` plans.
    """

    def __init__(self, losses: dict[str, float], epoch: int, epochs: int) -> None:
        super().__init__(losses)
        self.epoch, self.epochs = epoch, epochs


def logger(level: str) -> Any:
    """Return the logger if it takes records of a level ("DEBUG", "INFO", "ERROR"), else None.

    ``logging`` is not imported: if nothing else has imported it, nobody reads records.
    """
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    found = logging.getLogger(_NAME)
    if not found.handlers:
        found.addHandler(logging.NullHandler())  # else records without a handler would be printed
    return found if found.isEnabledFor(getattr(logging, level)) else None


def shown(losses: dict[str, float]) -> str:
    """Return losses as text."""
    return ", ".join(f"{key} {value:.4f}" for key, value in losses.items())
