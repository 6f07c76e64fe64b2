"""Dask: examples that a fitted model generates, as a Dask array.

Needs Dask (``pip install "dask[array,distributed]"``), which is imported when a function is called. The methods of
estimators, such as ``transform``, take Dask arrays themselves: see :meth:`fastvae.VAE.transform`.

>>> import fastvae, fastvae.dask
>>> X, y = fastvae.datasets.load_digits()
>>> vae = fastvae.VAE(2, hidden=(64,), epochs=5, random_state=0).fit(X)
>>> images = fastvae.dask.sample(vae, 10_000_000, chunks=100_000, random_state=0)  # doctest: +SKIP
>>> images.to_zarr("images.zarr")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fastvae import _checks
from fastvae._estimators.by_rows import samples

__all__ = ["sample"]


def sample(
    model: Any,
    n: int,
    *,
    chunks: Any = "auto",
    y: Any = None,
    random_state: Any = None,
    draw: bool = False,
    lengths: Any = None,
) -> Any:
    """Return ``model.sample(n)`` as a Dask array, which is computed in blocks, on a cluster if there is one.

    The noise of a row depends on the seed and the number of the row, so the examples do not depend on the chunks: they
    are those of ``model.sample(n, random_state=...)`` with the same seed, bit for bit.

    Parameters
    ----------
    model : VAE or another variational model
        A fitted model whose ``sample`` returns an array.
    n : int
        Number of examples.
    chunks : int, str or tuple of int
        Rows of a block: a number, "auto" (blocks of about 128 MiB, as Dask is configured), or the rows of each block.
    y, draw, lengths
        As for :meth:`fastvae.VAE.sample`.
    random_state : int, numpy generator or None
        As for :meth:`fastvae.VAE.sample`. The seed is drawn now: the array has the same values whenever it is computed.

    Returns
    -------
    dask.array.Array of float32, [n, n_features]
        Images have the shape that they had in the training X.

    Raises
    ------
    TypeError
        If the model has no ``sample``, or it returns tables.
    NotFittedError
        If the model is not fitted.
    ValueError
        If an argument does not fit the model, or ``chunks`` not n.
    ModuleNotFoundError
        If Dask is not installed.
    """
    n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
    draw = _checks.boolean(draw, "draw")
    try:
        import_module("dask.array")
    except ModuleNotFoundError as error:
        message = 'fastvae.dask needs Dask, which is not installed: pip install "dask[array,distributed]"'
        raise ModuleNotFoundError(message, name=error.name) from error
    return samples.sample(model, n, chunks, y, random_state, draw, lengths)
