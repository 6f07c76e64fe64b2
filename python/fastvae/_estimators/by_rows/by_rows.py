"""What is known about a method whose result has a row for each row of X."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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

    def take_rows(self, arguments: dict[str, Any], n_rows: float) -> dict[str, Any]:
        """Remove the arguments with a row for each row of X, of which there are `n_rows`, and return them."""
        found = {name: arguments[name] for name in self.rows if arguments.get(name) is not None}
        if self.first == "Z":  # one y may stand for all codes
            found = {name: value for name, value in found.items() if np.ndim(value) and len(value) == n_rows}
        for name in found:
            del arguments[name]
        return found

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

    def bind(self, model: Any, X: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return the arguments besides X by name, or raise TypeError as a call does."""
        signature = inspect.signature(self.function)
        bound = signature.bind(model, X, *arguments, **options).arguments
        _, _, *names = signature.parameters
        return {name: bound[name] for name in names if name in bound}
