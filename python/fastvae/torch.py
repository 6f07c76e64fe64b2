"""PyTorch: a fitted model as an ``nn.Module``, and an ``nn.Module`` as a fitted model.

Needs torch (``pip install torch``), which is imported when a function is called.

>>> import fastvae, fastvae.torch
>>> X, y = fastvae.datasets.load_digits()
>>> vae = fastvae.VAE(2, hidden=(64,), epochs=5, random_state=0).fit(X)
>>> module = fastvae.torch.to_module(vae)  # doctest: +SKIP
>>> vae.load_state_dict(module.state_dict())  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastvae._estimators.description import describe_model
from fastvae._export import state_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["from_module", "load_state_dict", "rename", "to_module"]


def to_module(model: Any) -> Any:
    """Return a fitted model as a ``torch.nn.Module`` in evaluation mode, on the CPU, with copies of the weights.

    Parameters
    ----------
    model : VAE, Autoencoder, TopicModel or ItemResponse
        A fitted model.

    Returns
    -------
    torch.nn.Module
        ``encoder`` and ``decoder`` are ``nn.Sequential``, ``mu`` and ``logvar`` (or ``code``) the heads: the names of
        ``model.state_dict()``, so that ``model.load_state_dict(module.state_dict())`` takes trained weights back.
        Methods: ``encode(x)`` returns (mu, logvar), or the code; ``decode(z)`` E[x|z]; ``forward(x)`` (E[x|z], mu,
        logvar), where z is drawn in training mode and mu in evaluation mode; ``reparameterize(mu, logvar)`` z;
        ``elbo(x)`` the ELBO of each example in nats; ``outputs(z)`` the decoder's output before its link, such as
        logits. The module of an autoencoder has ``encode``, ``decode``, ``outputs`` and ``forward``.

    Raises
    ------
    TypeError
        If ``model`` is no estimator of fastvae.
    NotFittedError
        If it is not fitted.
    ModuleNotFoundError
        If torch is not installed.

    Notes
    -----
    x is [n, n_features] as ``transform`` reads floats (grey values divided by 255; the marks of an exam, NaN where
    missing). A model with ``image_shape`` also reads images [n, channels, height, width], and ``decode`` returns them;
    ``forward`` returns the layout of x. A conditional model takes y, [n, n_covariates] or one-hot rows in the order of
    ``classes_``, as the last argument of each method. A topic model decodes ``module.code(z)``, the topic shares.

    In training mode the module draws z and uses the statistics of the batch, as an ``nn.Module`` does; corruption,
    beta and the other parameters of ``fit`` are not part of it.
    """
    network = describe_model(model, "to_module")
    modules = _import("fastvae._export.torch_modules")
    kind = modules.VariationalModule if network.variational else modules.AutoencoderModule
    module = kind(network, model.state_dict())
    module.estimator = (type(model), {name: value for name, value in model.get_params().items() if name != "callbacks"})
    return module


def rename(state_dict: Mapping[str, Any], mapping: Mapping[str, str] | None = None) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a torch state dict as arrays under the names of fastvae.

    Parameters
    ----------
    state_dict : mapping of str to tensor
        From ``module.state_dict()`` or ``torch.load``: of any floating type and device, with or without gradients.
        Prefixes of wrappers (``module.``, ``_orig_mod.``, ``model.``, ...) and counters of batches are left out.
    mapping : mapping of str to str, optional
        Their names to ours, of modules (``{"fc1": "encoder.0"}``) or tensors. Other names are kept. None recognises
        common ones: the heads ``mu``, ``fc_mu``, ``fc21``, ``z_mean``, ``logvar``, ``log_var``, ``fc_var``, ``fc22``,
        ...; ``enc...`` and modules before the heads as the encoder, ``dec...`` and modules behind them as the decoder.

    Returns
    -------
    dict of str to ndarray
        For ``load_state_dict`` of an estimator with the same layers. Modules are numbered as in an ``nn.Sequential``
        with activations between layers, and Flatten or Unflatten between dense and convolutional ones.

    Raises
    ------
    ValueError
        If heads or decoder are missing or tensors are left over; the message names them.
    TypeError
        If it is no mapping.
    """
    return state_names.renamed(state_names.tensors(state_dict), mapping)


def load_state_dict(model: Any, state_dict: Mapping[str, Any], mapping: Mapping[str, str] | None = None) -> Any:
    """Load a torch state dict into a model, fitted or not: ``model.load_state_dict(rename(state_dict, mapping))``.

    Parameters
    ----------
    model : VAE, Autoencoder, TopicModel or ItemResponse
        A model with the layers of the state dict.
    state_dict, mapping
        As for ``rename``.

    Returns
    -------
    model

    Raises
    ------
    ValueError
        If names or shapes do not fit the model; the message names those that are missing or left over.
    """
    return model.load_state_dict(rename(state_dict, mapping))


def from_module(module: Any, mapping: Mapping[str, str] | None = None, **parameters: Any) -> Any:
    """Return a fitted :class:`~fastvae.VAE` or :class:`~fastvae.Autoencoder` with the weights of a torch module.

    Parameters
    ----------
    module : torch.nn.Module
        From ``to_module``, or a VAE or autoencoder of dense and convolutional layers. Layers, sizes, batch
        normalisations and the activations in an ``nn.Sequential`` are read from its modules.
    mapping : mapping of str to str, optional
        Their names of modules to "encoder", "mu", "logvar", "code" or "decoder": see ``rename``, which recognises
        common ones.
    **parameters
        Parameters of the estimator. A module whose activations are function calls needs ``activation``; one of
        ``to_module`` needs none. ``likelihood`` (``loss`` of an autoencoder) is needed unless the decoder ends with
        ``nn.Sigmoid``, which means "bernoulli". Convolutions need ``image_shape``.

    Returns
    -------
    VAE, Autoencoder, or the class that ``to_module`` was given
        It has weights, but neither history nor ``classes_``. To keep these, load the state dict into the old model.

    Raises
    ------
    TypeError
        If ``module`` is no ``nn.Module``.
    ValueError
        If a layer has no counterpart, or a parameter is needed.
    """
    reader, modules = (_import(f"fastvae._export.torch_{name}") for name in ("reader", "modules"))
    if isinstance(module, modules.FittedModule):
        kind, known = module.estimator
        return kind(**(known | parameters)).load_state_dict(rename(module.state_dict(), mapping))
    from fastvae._estimators.autoencoder import Autoencoder
    from fastvae._estimators.description import named_tensors
    from fastvae._estimators.vae import VAE

    found = reader.read(module, mapping, parameters)
    model = (VAE if found.variational else Autoencoder)(**(found.parameters | parameters))
    return model.load_state_dict(named_tensors(model, found.tensors))


def _import(name: str) -> Any:
    """Import a module that needs torch."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "fastvae.torch needs torch, which is not installed: pip install torch"
        raise ModuleNotFoundError(message, name="torch") from error
