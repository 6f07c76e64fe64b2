"""The decorator of methods whose result has a row for each row of X.

The modules for sources and Dask arrays are imported by the first call with one, so that `import fastvae` stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastvae._estimators.by_rows.by_rows import ByRows

if TYPE_CHECKING:
    from collections.abc import Sequence

_Method = TypeVar("_Method", bound=Callable[..., Any])


def by_rows(
    *rows: str,
    result: str | Sequence[str],
    draws: str | None = None,
    kind: Callable[..., Any] | None = None,
    dtype: Any = np.float32,
) -> Callable[[_Method], _Method]:
    """Let a method of an estimator, whose first argument are rows, take sources and Dask arrays.

    A source (a large memory map, an object with slices of rows, a list of files) is read in blocks, and each is passed
    to the method; the results are those of all rows at once. A Dask array gives Dask arrays, which are not computed.

    Parameters
    ----------
    *rows : str
        The arguments that have a row for each row of X.
    result : str or sequence of str
        What the method returns, or of a tuple of results each: "codes" [n, latent_dim], "scores" [n], "examples" (in
        the shape of X) or "decoded" (in the shape of the training X).
    draws : str, optional
        The argument with the number of draws, which is the first axis of the results.
    kind : type, optional
        The class of a tuple of results.
    dtype : dtype
        Of the results.
    """

    def decorate(method: _Method) -> _Method:
        kinds = [result] if isinstance(result, str) else list(result)
        known = ByRows(method.__name__, method, rows, kinds, draws, kind, dtype)
        first = method.__code__.co_varnames[1]

        @wraps(method)
        def call(self: Any, /, *arguments: Any, **options: Any) -> Any:
            if arguments and type(arguments[0]) is np.ndarray:  # first: it takes a tenth of the time of one row
                return method(self, *arguments, **options)
            if not arguments and first not in options:
                return method(self, **options)  # raises TypeError
            X, *arguments = arguments if arguments else (options.pop(first),)  # type: ignore[assignment]
            if type(X) is np.ndarray:
                return method(self, X, *arguments, **options)
            if is_dask_array(X):
                from fastvae._estimators.by_rows import lazily

                return lazily.apply(self, known, X, known.bind(self, X, *arguments, **options))
            from fastvae._data.sources import opening

            source = self._open_source(X, first)
            if source is None or (not opening.is_large(source) and isinstance(X, np.ndarray)):
                return method(self, X, *arguments, **options)
            if not opening.is_large(source):
                return method(self, opening.whole(source), *arguments, **options)
            from fastvae._estimators.by_rows import blocks

            return blocks.apply(self, known, source, known.bind(self, X, *arguments, **options), X)

        call.by_rows = known  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def opened(model: Any, X: Any) -> tuple[Any, Any]:
    """Return the adapter of data that are read in blocks, also of a Dask array, or None; and X, read if it is small."""
    if type(X) is np.ndarray:
        return None, X
    from fastvae._data.sources import opening

    source = model._open_source(X, "X")
    if source is None or isinstance(X, np.ndarray) or opening.is_large(source):
        return source if source is not None and opening.is_large(source) else None, X
    return None, opening.whole(source)


def in_blocks(method: Any, model: Any, source: Any, X: Any, **options: Any) -> Any:
    """Return the result of a method (a function with this module's decorator) for all rows of a source."""
    from fastvae._estimators.by_rows import blocks

    return blocks.apply(model, method.by_rows, source, options, X)


def is_dask_array(X: Any) -> bool:
    """Whether `X` is a ``dask.array.Array``; dask is not imported."""
    return type(X).__module__.startswith("dask.array") and hasattr(X, "__dask_graph__")
