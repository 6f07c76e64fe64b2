"""The interface that scikit-learn expects of a transformer, beyond ``transform``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastvae._estimators.base import Estimator
from fastvae._estimators.routing import request_setter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self


class Transformer(Estimator):
    """An estimator whose ``transform`` returns an array or a frame."""

    set_transform_request = request_setter("transform")
    set_inverse_transform_request = request_setter("inverse_transform")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=["float32"])
        return tags

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
