"""The interface that scikit-learn expects of an estimator; scikit-learn itself is not a dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastvae._estimators.routing import Routed

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_SHOWN = 200  # characters of a parameter's value in a notebook


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


class Estimator(Routed):
    """Base class: ``__init__`` stores its parameters unchanged, and ``get_params`` reads them by name."""

    _ACCEPTS_SPARSE = True

    @classmethod
    def _parameter_names(cls) -> list[str]:
        import inspect

        parameters = inspect.signature(cls.__init__).parameters.items()
        return [name for name, spec in parameters if name != "self" and spec.kind is not spec.VAR_KEYWORD]

    @classmethod
    def _default_parameters(cls) -> dict[str, Any]:
        import inspect

        parameters = inspect.signature(cls.__init__).parameters
        values = {name: parameters[name].default for name in cls._parameter_names()}
        return {name: value for name, value in values.items() if value is not inspect.Parameter.empty}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters by name.

        Parameters
        ----------
        deep : bool
            Ignored: no parameter is an estimator.

        Returns
        -------
        dict of str to object
        """
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Set constructor parameters by name.

        Parameters
        ----------
        **params
            Names and values.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        names = self._parameter_names()
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"{name!r} is not a parameter of {type(self).__name__}; use one of {', '.join(names)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Show the parameters that differ from their defaults."""
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in self._changed())})"

    def _changed(self) -> list[tuple[str, str]]:
        """Return names and representations of the parameters that differ from their defaults."""
        defaults = self._default_parameters()
        texts = ((name, repr(value)) for name, value in self.get_params().items())
        return [(name, text) for name, text in texts if name not in defaults or text != repr(defaults[name])]

    def _repr_html_(self) -> str:
        """Return the class, its parameters and, once fitted, its training, for notebooks."""
        from html import escape

        from fastvae import _html

        state = "fitted" if self.__sklearn_is_fitted__() else "not fitted"
        changed = {name for name, _ in self._changed()}
        rows: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for name, value in self.get_params().items():
            text = escape(_shortened(repr(value)))
            cells = f"<code>{escape(name)}</code>", f"<code>{text}</code>"
            if name in changed:
                cells = f"<span class=changed>{cells[0]}</span>", f"<span class=changed>{cells[1]}</span>"
            rows[name in changed].append(cells)
        parameters = _html.table(("", ""), rows[True]) if rows[True] else ""
        title = f"{len(rows[False])} parameters with their defaults"
        rest = _html.details(f"<span class=quiet>{title}</span>", _html.table(("", ""), rows[False]))
        return _html.page(
            f"<b>{escape(type(self).__name__)}</b> ({state})", parameters, rest if rows[False] else "", self._html()
        )

    def _html(self) -> str:
        """Return HTML about the training, empty before."""
        return ""

    def __sklearn_is_fitted__(self) -> bool:
        raise NotImplementedError

    def _requires_y(self) -> bool:
        """Whether ``fit`` needs y."""
        return False

    def _allows_nan(self) -> bool:
        """Whether X may hold NaN."""
        return False

    def _requires_positive(self) -> bool:
        """Whether X must not hold negative numbers."""
        return False

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=self._requires_y()),
            transformer_tags=None,
            input_tags=InputTags(
                sparse=self._ACCEPTS_SPARSE,
                allow_nan=self._allows_nan(),
                positive_only=self._requires_positive(),
            ),
        )
