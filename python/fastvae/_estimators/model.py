"""What the estimators have in common beside their training: codes, means and the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import latent
from fastvae._data import arrays, examples, missing
from fastvae._estimators.trained import Trained

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Model(Trained):
    """An encoder, a code and a decoder, as a transformer of scikit-learn's."""

    def transform(self, X: Any, *, y: Any = None) -> Any:
        """Codes, deterministic (a posterior's means): float32 [n_examples, latent_dim]. A conditional model needs y."""
        codes, _ = self._encode(X, y, logvar=False)
        return self._as_output(codes, X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """``fit(X, y)``, then ``transform(X)``, of a conditional model with y."""
        return self.fit(X, y).transform(X, y=self._y_if_conditional(y))

    def inverse_transform(self, Z: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Decoder means E[x|z], [n, n_features], of codes Z [n, latent_dim].

        A conditional model needs y: one label (or row of covariates) for all codes, or one for each.
        """
        fitted = self._require_fitted()
        Z = arrays.matrix(Z, "Z")
        if Z.shape[1] != fitted.latent_dim:
            raise ValueError(f"Z has {Z.shape[1]} columns, but latent_dim is {fitted.latent_dim}")
        if Z.dtype == np.uint8:  # codes are no pictures: do not scale them
            Z = Z.astype(np.float32)
        return fitted.decode(Z, self._read_conditions(y, len(Z), one=True), self._threads())

    def reconstruct(self, X: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Decoder means of the codes of X, [n_examples, n_features]; deterministic. A conditional model needs y."""
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        return fitted.reconstruct(X, y, self._threads())

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the latent coordinates: the class's name in lower case and a number."""
        name, fitted = type(self).__name__.lower(), self._require_fitted()
        return np.array([f"{name}{i}" for i in range(fitted.latent_dim)], dtype=object)

    # The latent space

    def manifold(self, n: int = 20, span: float | None = None, **options: Any) -> NDArray[np.float32]:
        """Decode a grid of the prior's quantiles: :func:`fastvae.latent.manifold`."""
        return latent.manifold(self, n, span, **options)

    def interpolate(self, a: Any, b: Any, n: int = 10, method: str = "linear", **options: Any) -> NDArray[np.float32]:
        """Decode a path between two inputs or codes: :func:`fastvae.latent.interpolate`."""
        return latent.interpolate(self, a, b, n, method, **options)

    def traverse(self, x: Any, dims: Any = None, span: float = 3.0, n: int = 9, **options: Any) -> NDArray[np.float32]:
        """Decode one moving coordinate at a time: :func:`fastvae.latent.traverse`."""
        return latent.traverse(self, x, dims, span, n, **options)

    def neighbours(self, X: Any, query: Any, n: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the examples with the nearest codes: :func:`fastvae.latent.neighbours`."""
        return latent.neighbours(self, X, query, n)

    # Internal

    def _encode(self, X: Any, y: Any, logvar: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        fitted, (X, y) = self._require_fitted(), self._read_data(X, y)
        return fitted.encode(X, y, self._threads(), logvar=logvar)

    def _per_observed(self, losses: dict[str, float], X: Any) -> dict[str, float]:
        """Return mean losses of X per observed value, if it may have holes; else nothing."""
        if self._require_fitted().specification.missing == "error":
            return {}
        X = examples.read(X, "X")
        return missing.per_observed(losses, len(X), missing.count_observed(X))
