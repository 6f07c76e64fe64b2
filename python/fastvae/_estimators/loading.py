"""From a file to a model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastvae._estimators import files
from fastvae._estimators.autoencoder import Autoencoder
from fastvae._estimators.vae import VAE

if TYPE_CHECKING:
    from fastvae._estimators.item_response import ItemResponse
    from fastvae._estimators.topic_model import TopicModel


def load(path: str | os.PathLike[str]) -> VAE | Autoencoder | TopicModel | ItemResponse:
    """Read a model that ``save`` has written: it predicts the same bits, and goes on training where it was.

    Loading never runs code from a file. It refuses a file with a damaged piece (by checksums), and one without exactly
    the tensors that its specification implies, before it allocates memory for them. Files of older versions load too.

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
    from fastvae._estimators.item_response import ItemResponse
    from fastvae._estimators.topic_model import TopicModel

    classes = {cls.__name__: cls for cls in (VAE, Autoencoder, TopicModel, ItemResponse)}
    contents = files.read(path)
    with files.damage_as_format_error(path):
        model: VAE | Autoencoder | TopicModel | ItemResponse = classes[contents.class_name](**contents.parameters)
        model._restore(contents)
    return model
