"""The decorator of methods whose result has a row for each row of X."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from fastvae import _checks
from fastvae._data import names
from fastvae._data.sources.opening import is_large, open_source, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Method = TypeVar("_Method", bound=Callable[..., Any])


class ByRows(NamedTuple):
    """What is known about a method."""

    name: str
    function: Callable[..., Any]
    rows: Sequence[str]  # arguments with a row for each row of X
    result: Sequence[str]  # kinds of the arrays that it returns: see `lazily.shape_of`
    draws: str | None  # the argument with the number of draws, the first axis of the result
    kind: Callable[..., Any] | None  # the named tuple of several results; None: a tuple
    dtype: Any

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the method by name, self included."""
        return inspect.signature(self.function).parameters

    @property
    def first(self) -> str:
        """The name of the argument with the rows: X, or Z."""
        return list(self.parameters)[1]

    @property
    def is_noisy(self) -> bool:
        """Whether results depend on noise that is numbered by row."""
        return "random_state" in self.parameters

    def draws_of(self, arguments: dict[str, Any]) -> int:
        """Return the number of draws, or raise ValueError."""
        assert self.draws is not None, "only of methods with draws"
        value = arguments.get(self.draws, self.parameters[self.draws].default)
        return _checks.integer(value, self.draws, most=_checks.MAX_DRAWS)

    def results(self, parts: Sequence[Any]) -> Any:
        """Return the results as the method does: one, or a tuple of several."""
        if len(self.result) == 1:
            return parts[0]
        return tuple(parts) if self.kind is None else self.kind(*parts)

    def bind(self, model: Any, X: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments besides X by name, or raise TypeError as a call does."""
        signature = inspect.signature(self.function)
        bound = signature.bind(model, X, *arguments, **options).arguments
        _, _, *names = signature.parameters
        return {name: bound[name] for name in names if name in bound}


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

        @wraps(method)
        def call(self: Any, X: Any, *arguments: Any, **options: Any) -> Any:
            if type(X) is np.ndarray:
                return method(self, X, *arguments, **options)
            if is_dask_array(X):
                from fastvae._estimators.by_rows import lazily  # here and below only: `import fastvae` stays cheap

                return lazily.apply(self, known, X, known.bind(self, X, arguments, options))
            source = open_source(X)
            annotated = names.of_annotated(X) is not X
            if source is None or (not is_large(source) and (annotated or isinstance(X, np.ndarray))):
                return method(self, X, *arguments, **options)
            if not is_large(source):
                return method(self, named(source), *arguments, **options)
            from fastvae._estimators.by_rows import blocks

            source = blocks.Annotated(X, source) if annotated else source
            return blocks.apply(self, known, source, known.bind(self, X, arguments, options), X)

        call.by_rows = known  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def large_source(X: Any) -> Any:
    """Return the adapter of data that are larger than a block and read in ranges of rows, also of Dask; else None."""
    if type(X) is np.ndarray:
        return None
    source = open_source(X)
    return source if source is not None and is_large(source) else None


def in_blocks(method: Any, model: Any, source: Any, X: Any, **options: Any) -> Any:
    """Return the result of a method (a function with this module's decorator) for all rows of a source."""
    from fastvae._estimators.by_rows import blocks

    return blocks.apply(model, method.by_rows, source, options, X)


def named(source: Any) -> Any:
    """Return all rows of a source, with the names of its columns."""
    from fastvae._estimators.by_rows import blocks

    return blocks.with_names(whole(source), source.columns)


def is_dask_array(X: Any) -> bool:
    """Whether `X` is a ``dask.array.Array``; dask is not imported."""
    return type(X).__module__.startswith("dask.array") and hasattr(X, "__dask_graph__")
