"""The interface that scikit-learn expects of an estimator; scikit-learn itself is not a dependency."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._estimators.routing import Routed

if TYPE_CHECKING:
    from numpy.typing import NDArray
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
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=self._requires_y()),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(
                sparse=self._ACCEPTS_SPARSE,
                allow_nan=self._allows_nan(),
                positive_only=self._requires_positive(),
            ),
        )

    def set_output(self, *, transform: str | None = None) -> Self:
        """Set the container that ``transform`` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None
            "default" is numpy; None changes nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the container is not known.
        """
        if transform is not None and not (isinstance(transform, str) and transform in ("default", "pandas", "polars")):
            raise ValueError(f"set_output(transform={transform!r}): use 'default', 'pandas' or 'polars'")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # scikit-learn's `clone` copies this attribute
        return self

    def _as_output(self, codes: NDArray[np.float32], X: object) -> Any:
        """Return codes in the container chosen by ``set_output`` or by scikit-learn's global configuration."""
        container = self._output_container()
        if container == "default":
            return codes
        names = list(self.get_feature_names_out())
        if container == "pandas":
            import pandas

            index = X.index if isinstance(X, pandas.DataFrame) else None
            return pandas.DataFrame(codes, columns=names, index=index)
        import polars

        return polars.DataFrame(codes, schema=names)

    def _output_container(self) -> str:
        """Return the container chosen by ``set_output`` or by scikit-learn's global configuration."""
        sklearn = sys.modules.get("sklearn")
        default = sklearn.get_config()["transform_output"] if sklearn else "default"
        return str(getattr(self, "_sklearn_output_config", {"transform": default})["transform"])

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the columns of ``transform``'s result."""
        raise NotImplementedError
