"""Examples that a model generates, as an array of Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._estimators.by_rows.noise import RowNoise
from fastvae._estimators.by_rows.replicas import Replicas, in_graph
from fastvae._estimators.variational import Variational

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sample(model: Any, n: int, chunks: Any, y: Any, random_state: Any, draw: bool, lengths: Any) -> Any:
    """Return ``model.sample(n, ...)`` as a Dask array with the given chunks of rows."""
    import dask.array as da
    from dask.array.core import normalize_chunks

    if not isinstance(model, Variational):
        raise TypeError(f"{type(model).__name__} does not generate examples: pass a VAE or another variational model")
    fitted = model._require_fitted()
    if fitted.table is not None:
        raise TypeError(f"{type(model).__name__} generates tables, not arrays: call its sample(n)")
    fitted.require_decoder()
    noise = RowNoise(model._seed_for(random_state))
    given = {
        "conditions": model._read_one_or_each(y, n),
        "words": model._lengths(lengths, 1 if np.ndim(lengths) == 0 else n, draw),
    }
    shape = fitted.row_shape()
    sizes = normalize_chunks((chunks, *shape), (n, *shape), dtype=np.float32)[0]
    starts = da.from_array(np.cumsum([0, *sizes[:-1]], dtype=np.int64), chunks=1)
    pairs: list[Any] = [starts, ["rows"]]
    many = {name: value for name, value in given.items() if value is not None and len(value) > 1}
    for number, value in enumerate(many.values()):
        rows = da.from_array(value, chunks=(sizes, *value.shape[1:]))
        pairs += [rows, ["rows", *(f"in{number}.{axis}" for axis in range(1, value.ndim))]]
    sizes_of_blocks = da.from_array(np.array(sizes, np.int64), chunks=1)
    inner = {f"out{i}": size for i, size in enumerate(shape)}
    return da.blockwise(
        _drawn,
        ["rows", *inner],
        sizes_of_blocks,
        ["rows"],
        *pairs,
        token="fastvae-sample",
        new_axes=inner,
        adjust_chunks={"rows": tuple(sizes)},
        dtype=np.dtype(np.float32),
        meta=np.empty((0,) * (1 + len(shape)), np.float32),
        concatenate=True,
        align_arrays=False,
        model=in_graph(model),
        names=tuple(many),
        options={name: value for name, value in given.items() if name not in many} | {"draw": draw},
        noise=noise,
    )


def _drawn(
    size: NDArray[np.int64],
    start: NDArray[np.int64],
    *inputs: NDArray[Any],
    model: Replicas,
    names: tuple[str, ...],
    options: dict[str, Any],
    noise: RowNoise,
) -> NDArray[np.float32]:
    """Return a block of samples."""
    given = options | dict(zip(names, inputs, strict=True))
    n = int(size[0])
    for name in ("conditions", "words"):
        if given[name] is not None:  # one row may stand for all
            given[name] = np.ascontiguousarray(np.broadcast_to(given[name], (n, *given[name].shape[1:])))
    with model.one() as copy:
        found: NDArray[np.float32] = copy._sampled(n, RowNoise(noise.seed, int(start[0])), **given)[0]
    return found
