"""Loading of model files."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastvae._data import sizes
from fastvae._estimators import checkpoint, files
from fastvae._estimators.autoencoder import Autoencoder
from fastvae._estimators.vae import VAE

if TYPE_CHECKING:
    from typing import BinaryIO, TypeAlias

    from fastvae._estimators.anomaly_detector import AnomalyDetector
    from fastvae._estimators.count_vae import CountVAE
    from fastvae._estimators.imputer import Imputer
    from fastvae._estimators.item_response import ItemResponse
    from fastvae._estimators.recommender import Recommender
    from fastvae._estimators.tabular import TabularVAE
    from fastvae._estimators.topic_model import TopicModel

    Trained: TypeAlias = VAE | Autoencoder | TopicModel | ItemResponse | Recommender | CountVAE | TabularVAE | Imputer
    Saved: TypeAlias = Trained | AnomalyDetector

# Imported only if needed.
_MODULES = {
    "CountVAE": "count_vae",
    "AnomalyDetector": "anomaly_detector",
    "Imputer": "imputer",
    "ItemResponse": "item_response",
    "Recommender": "recommender",
    "TabularVAE": "tabular",
    "TopicModel": "topic_model",
}


def load(
    path: str | os.PathLike[str] | bytes | BinaryIO,
) -> Saved:
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
    VAE, Autoencoder, TopicModel, ItemResponse, Recommender, CountVAE, TabularVAE, Imputer or AnomalyDetector
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
    contents = files.read(path)
    contents.engine.drop_best()
    found: Saved = _model(contents, contents.parameters)
    return found


def resume(
    path: str | os.PathLike[str],
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    validation_data: Any = None,
    observed: Any = None,
    size_factor: Any = None,
    steps_per_epoch: int | None = None,
    **parameters: Any,
) -> Trained:
    """Continue the training of a checkpoint, written by ``fit(X, checkpoint=path)``, to its end.

    The model ends with the bits of a fit that was never interrupted: weights, the optimiser's state, order, noise,
    schedules, early stopping, history. It goes on writing checkpoints to `path`. If that fit had ended, its model is
    returned.

    Parameters
    ----------
    path : str or path-like
        The checkpoint.
    X, y, sample_weight, validation_data, observed, size_factor, steps_per_epoch
        As for ``fit``; the values must be the same, in the same order. ``observed`` is for an :class:`ItemResponse`,
        ``size_factor`` for a :class:`CountVAE`.
    **parameters
        Parameters that a file cannot hold: ``callbacks`` and functions as schedules, as for ``fit``. ``n_jobs`` and
        ``progress`` may change. Callbacks with ``load_state_dict`` get their state back.

    Returns
    -------
    VAE, Autoencoder, TopicModel, ItemResponse, Recommender, CountVAE, TabularVAE or Imputer
        The fitted model.

    Raises
    ------
    ValueError
        If the data or the callbacks are not those of the fit, a parameter is missing or superfluous, or the file is no
        checkpoint. Nothing is written then.
    FormatError, OSError
        As from :func:`load`.
    Any error of ``fit``
        As from there.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"resume reads and writes a file: pass its path, not {type(path).__name__}")
    contents = files.read(path)
    if contents.run is None:
        raise ValueError(f"{contents.title} is no checkpoint: only fit(X, checkpoint=...) writes one; use load")
    with files.damage_as_format_error(contents.title):
        cls = _class(contents.class_name)
    parameters = checkpoint.all_parameters(contents.title, cls, contents.parameters, parameters)
    model = _model(contents, parameters)
    if size_factor is not None and contents.class_name != "CountVAE":
        raise ValueError(f"leave out size_factor=: a {contents.class_name} has none")
    y = sizes.attach(y, size_factor)
    found: Trained = model._resume(path, contents.run, X, y, sample_weight, validation_data, observed, steps_per_epoch)
    return found


def _class(name: str) -> type[Any]:
    """Return the class of a name in a file, or raise KeyError."""
    if name in ("VAE", "Autoencoder"):
        return VAE if name == "VAE" else Autoencoder
    found: type[Any] = getattr(import_module(f"fastvae._estimators.{_MODULES[name]}"), name)
    return found


def _model(contents: files.Contents, parameters: dict[str, Any]) -> Any:
    """Return the fitted model of a file with these parameters."""
    with files.damage_as_format_error(contents.title):
        cls = _class(contents.class_name)
        if contents.run is not None:
            checkpoint.check_state(contents.run)
        model = cls._from_parameters(cls._VALUES_BEFORE | parameters)
        model._restore(contents)
    return model
