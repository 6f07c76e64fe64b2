"""scikit-learn's metadata routing: which arguments of a method a pipeline or a search passes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_METHODS = ("fit", "partial_fit", "score", "transform", "inverse_transform", "predict_proba")
# Methods that get y by position, not as metadata.
_WITH_Y = ("fit", "partial_fit", "score")


class Requests(dict[str, dict[str, Any]]):
    """The requests of each method that has some; scikit-learn's `clone` copies it with an estimator."""

    def __sklearn_clone__(self) -> Requests:
        return Requests({method: dict(requests) for method, requests in self.items()})


def request_setter(method: str) -> Callable[..., Any]:
    """Return ``set_<method>_request``, a method of an estimator."""

    def set_request(self: Routed, **requests: Any) -> Any:
        return self._set_request(method, requests)

    set_request.__name__ = f"set_{method}_request"
    set_request.__qualname__ = f"Routed.{set_request.__name__}"
    set_request.__doc__ = f"""Choose which arguments of ``{method}`` a pipeline or a search passes on.

        Parameters
        ----------
        **requests
            For each argument True (pass it on), False (do not), None (an error if it is given) or a string, the name
            by which it is given.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If ``{method}`` does not have the argument.
        RuntimeError
            If scikit-learn's metadata routing is not enabled.
        """
    return set_request


class Routed:
    """Requests for metadata, which take effect with ``sklearn.set_config(enable_metadata_routing=True)``.

    Each argument of a method is metadata (``sample_weight``, ``observed``, ``validation_data``, y of ``transform``,
    ...), except X, `out` and where scikit-learn passes it by position y.
    """

    set_fit_request = request_setter("fit")

    def get_metadata_routing(self) -> Any:
        """Return the requests.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
        """
        from sklearn.utils.metadata_routing import MetadataRequest

        found, stored = MetadataRequest(owner=self), self._requests()
        for method in _METHODS:
            for name in self._metadata_of(method):
                getattr(found, method).add_request(param=name, alias=stored.get(method, {}).get(name))
        return found

    # Internal

    def _set_request(self, method: str, requests: dict[str, Any]) -> Self:
        sklearn = sys.modules.get("sklearn")
        if sklearn is None or not sklearn.get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                f"set_{method}_request has an effect only with metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True) first"
            )
        known = self._metadata_of(method)
        for name, alias in requests.items():
            if name not in known:
                raise TypeError(f"{method} has no argument {name!r} for metadata: use {', '.join(known) or 'none'}")
            if not (alias is None or isinstance(alias, bool) or (isinstance(alias, str) and alias)):
                raise ValueError(f"{name}={alias!r} must be True, False, None or a name")
        stored = self._requests()
        # scikit-learn's `clone` copies this attribute.
        self._metadata_request = Requests(stored | {method: stored.get(method, {}) | requests})
        return self

    def _requests(self) -> Requests:
        found = vars(self).get("_metadata_request")
        return found if isinstance(found, Requests) else Requests()

    @classmethod
    def _metadata_of(cls, method: str) -> list[str]:
        """Return the names of the arguments of a method that are metadata."""
        import inspect

        function = getattr(cls, method, None)
        if function is None:
            return []
        _, _, *rest = inspect.signature(function).parameters.values()  # self, and X or Z
        named = [each.name for each in rest if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
        return [name for name in named if name != "out" and (name != "y" or method not in _WITH_Y)]
