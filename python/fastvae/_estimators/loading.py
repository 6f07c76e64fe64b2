"""Loading of model files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvae._estimators import files
from fastvae._estimators.autoencoder import Autoencoder
from fastvae._estimators.vae import VAE

if TYPE_CHECKING:
    import os
    from typing import BinaryIO

    from fastvae._estimators.item_response import ItemResponse
    from fastvae._estimators.topic_model import TopicModel


def load(path: str | os.PathLike[str] | bytes | BinaryIO) -> VAE | Autoencoder | TopicModel | ItemResponse:
    """Load a model written by ``save``: same predictions, bit for bit, and training continues where it stopped.

    Loading never runs code from a file. It refuses damaged files (by checksums, which do not protect against forgery),
    parameters that ``fit`` would refuse, and files whose tensors are not those of their specification before it
    allocates memory for them: memory and time are small multiples of those of the file. Files of older versions load
    too.

    Parameters
    ----------
    path : str, path-like, bytes or binary file object
        The file, its contents, or an object with a method ``read``, which is read to its end.

    Returns
    -------
    VAE, Autoencoder, TopicModel or ItemResponse
        The fitted model.

    Raises
    ------
    FormatError
        If the file is damaged, has another format, or was written by a newer version with unknown options. A subclass
        of ValueError.
    OSError
        If the file cannot be read, or is no regular file.
    TypeError
        If ``path`` is something else, for example a file in text mode.
    """
    from fastvae._estimators.item_response import ItemResponse
    from fastvae._estimators.topic_model import TopicModel

    classes = {cls.__name__: cls for cls in (VAE, Autoencoder, TopicModel, ItemResponse)}
    contents = files.read(path)
    model: VAE | Autoencoder | TopicModel | ItemResponse
    with files.damage_as_format_error(contents.title):
        cls = classes[contents.class_name]
        model = cls._from_parameters(cls._VALUES_BEFORE | contents.parameters)
        model._restore(contents)
    return model
