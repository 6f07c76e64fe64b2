"""From a file to a model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastvae import _persist

if TYPE_CHECKING:
    from fastvae import VAE, Autoencoder, ItemResponse, TopicModel


def load(path: str | os.PathLike[str]) -> VAE | Autoencoder | TopicModel | ItemResponse:
    """Read a model that ``save`` has written: it predicts the same bits, and goes on training where it was.

    Nothing in a file is believed, and none of it is run: a file that does not hold exactly the tensors that its
    configuration implies is refused before memory is taken for them.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    VAE, Autoencoder, TopicModel or ItemResponse
        Fitted.

    Raises
    ------
    FormatError
        A ValueError: the file is damaged, of another format, or of a version that this library does not know.
    OSError
        If the file cannot be read.
    """
    from fastvae import VAE, Autoencoder, ItemResponse, TopicModel  # of which some are not there yet

    model: VAE | Autoencoder | TopicModel | ItemResponse
    model = _persist.load(path, (VAE, Autoencoder, TopicModel, ItemResponse))
    return model
