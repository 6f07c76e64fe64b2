"""Results for the rows of a ``dask.array``: arrays of Dask with the chunks of its rows, not computed."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import arrays, names
from fastvae._estimators.by_rows.noise import RowNoise
from fastvae._estimators.by_rows.replicas import Replicas, in_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._estimators.by_rows.by_rows import ByRows


def apply(model: Any, method: ByRows, X: Any, arguments: dict[str, Any]) -> Any:
    """Return the result of a method for a Dask array; `arguments` are those besides X.

    Raises ValueError if X does not fit the model, or an argument does not fit X.
    """
    import dask.array as da

    if arguments.pop("out", None) is not None:
        raise ValueError("leave out out=: the result of a Dask array is one too; its store() writes it")
    model._require_fitted()
    X = _by_rows(X, "X")
    _check(model, method, X)
    inputs = {name: _along(value, name, X) for name, value in method.take_rows(arguments, X.shape[0]).items()}
    _check_y(model, given=not {"y", "embeddings"}.isdisjoint(inputs) or arguments.get("y") is not None)
    if method.is_noisy:
        noise = model._noise_for(arguments.get("random_state"))
        starts = [noise.first + start for start in _starts(X)]
        inputs["random_state"] = da.from_array(np.array(starts, np.uint64), chunks=1)
        arguments["random_state"] = RowNoise(noise.seed)
    shapes = [shape_of(kind, model, X) for kind in method.result]
    widths = [prod(shape) for shape in shapes]
    outer = {} if method.draws is None else {"draws": method.draws_of(arguments)}
    # The results of a block lie side by side: [draws, rows, sum of widths].
    single = len(shapes) == 1
    shape = shapes[0] if single else (sum(widths),)
    inner = {f"out{i}": size for i, size in enumerate(shape)}
    axes = [*outer, "rows", *inner]
    pairs: list[Any] = []
    for number, value in enumerate((X, *inputs.values())):
        pairs += [value, ["rows", *(f"in{number}.{axis}" for axis in range(1, value.ndim))]]
    found = da.blockwise(
        _block,
        axes,
        *pairs,
        token=f"fastvae-{method.name}",
        new_axes=outer | inner,
        dtype=np.dtype(method.dtype),
        meta=np.empty((0,) * len(axes), method.dtype),
        concatenate=True,
        align_arrays=False,
        model=in_graph(model),
        method=method.name,
        names=tuple(inputs),
        options=arguments,
        empty=np.zeros((*outer.values(), 0, *shape), method.dtype),
    )
    if single:
        return found
    ends = np.cumsum(widths).tolist()
    return method.results([_part(found, end, shape) for end, shape in zip(ends, shapes, strict=True)])


def shape_of(kind: str, model: Any, X: Any) -> tuple[int, ...]:
    """Return the shape of a row of a result."""
    fitted = model._require_fitted()
    if kind == "codes":
        return (fitted.latent_dim,)
    if kind == "scores":
        return ()
    shape: tuple[int, ...] = fitted.row_shape(X if kind == "examples" else None)
    return shape


def _block(
    X: NDArray[Any],
    *inputs: NDArray[Any],
    model: Replicas,
    method: str,
    names: tuple[str, ...],
    options: dict[str, Any],
    empty: NDArray[Any],
) -> NDArray[Any]:
    """Return the results for a block of rows, side by side; `empty` are those for no rows."""
    if len(X) == 0:
        return empty
    given = options | dict(zip(names, inputs, strict=True))
    if "random_state" in given:
        given["random_state"] = RowNoise(options["random_state"].seed, int(given["random_state"][0]))
    with model.one() as copy:
        found = getattr(copy, method)(X, **given)
    if not isinstance(found, tuple):
        return np.asarray(found)
    outer = empty.ndim - 1
    return np.concatenate([part.reshape(*part.shape[:outer], -1) for part in found], -1)


def _check(model: Any, method: ByRows, X: Any) -> None:
    """Raise ValueError if X does not fit the fitted model; warn, once, of names of columns."""
    fitted, owner = model._require_fitted(), type(model).__name__
    codes = method.first == "Z"
    if not codes:
        names.check(X, "X", fitted.names, owner)
    if X.ndim < 2:
        arrays.check_table(np.empty((1,) * X.ndim), method.first, None, owner)
    cols = fitted.latent_dim if codes else fitted.n_columns
    if codes and X.shape[1] != cols:
        raise ValueError(f"Z has {X.shape[1]} columns, but latent_dim is {cols}")
    if not codes and fitted.images is None:
        if X.ndim != 2:
            arrays.check_table(np.empty((1,) * X.ndim), method.first, None, owner)
        known = (cols, fitted.n_features) if fitted.columns is not None else (cols,)
        if X.shape[1] not in known:
            arrays.check_cols(X.shape[1], "X", cols, owner)
    if not codes and fitted.images is not None:
        fitted.images.flatten(np.empty((0, *X.shape[1:]), np.uint8), "X")


def _check_y(model: Any, *, given: bool) -> None:
    """Raise ValueError if y, or what stands for it, is given to a model without conditions, or not to one with them."""
    fitted = model._require_fitted()
    if fitted.columns is None and given != (fitted.specification.conditions > 0):
        model._read_conditions(np.zeros(1) if given else None, 1)  # raises, unless the model ignores y


def _by_rows(X: Any, name: str) -> Any:
    """Return a Dask array whose blocks are whole rows."""
    if X.ndim == 0:
        raise ValueError(f"{name} is a scalar; expected an array of rows")
    whole = {axis: -1 for axis in range(1, X.ndim) if X.numblocks[axis] != 1}
    return X.rechunk(whole) if whole else X


def _along(value: Any, name: str, X: Any) -> Any:
    """Return an argument with a row for each row of X as a Dask array with the chunks of X."""
    import dask.array as da

    rows = X.chunks[0]
    known = not np.isnan(X.shape[0])
    if not isinstance(value, da.Array):
        value = np.asarray(value)
        if value.ndim == 0 or not known or len(value) != X.shape[0]:
            if not known:
                raise ValueError(
                    f"{name} cannot be cut like X, whose chunks have unknown sizes: call X.compute_chunk_sizes() first"
                )
            raise ValueError(f"{name} must have {X.shape[0]} rows, one for each row of X")
        return da.from_array(value, chunks=(rows, *value.shape[1:]))
    value = _by_rows(value, name)
    same = len(value.chunks[0]) == len(rows) and (value.chunks[0] == rows or not known)
    if same:
        return value
    if not known or np.isnan(value.shape[0]):
        raise ValueError(f"{name} and X have chunks of unknown sizes that differ: call compute_chunk_sizes() on both")
    if value.shape[0] != X.shape[0]:
        raise ValueError(f"{name} has {value.shape[0]} rows, but X has {X.shape[0]}")
    return value.rechunk({0: rows})


def _starts(X: Any) -> list[int]:
    """Return the number of the first row of each block, or raise ValueError."""
    if np.isnan(X.shape[0]):
        raise ValueError(
            "the chunks of X have unknown sizes, but noise is numbered by row: call X.compute_chunk_sizes()"
        )
    return [int(start) for start in np.cumsum([0, *X.chunks[0][:-1]])]


def _part(found: Any, end: int, shape: tuple[int, ...]) -> Any:
    """Return the result of results side by side whose last column is `end` - 1."""
    if not shape:
        return found[..., end - 1]
    part = found[..., end - prod(shape) : end]
    return part.reshape(*part.shape[:-1], *shape) if len(shape) > 1 else part
