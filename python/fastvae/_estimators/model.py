"""Inference methods common to all estimators: codes, reconstructions, latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _checks, latent
from fastvae._data import arrays, examples, missing, weights
from fastvae._estimators import sources
from fastvae._estimators.by_rows.method import by_rows, in_blocks
from fastvae._estimators.quantized import Quantized
from fastvae._estimators.trained import Trained
from fastvae._estimators.transformer import Transformer
from fastvae._fitted import output, overflow

if TYPE_CHECKING:
    import os
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastvae._data.examples import Data
    from fastvae._export.onnx import Extras


class Model(Transformer, Quantized, Trained):
    """Encoder and decoder as a scikit-learn transformer."""

    _PER_OBSERVED: ClassVar[tuple[str, ...]] = ()  # losses that are also given per observed value

    @by_rows("y", result="codes")
    def transform(self, X: Any, *, y: Any = None, out: Any = None) -> Any:
        """Return codes: posterior means of a variational model, never draws.

        The range of the likelihood limits X in training and scores only: the encoder takes any numbers up to 1e15 in
        magnitude.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            Or a source that is larger than memory, or a Dask array: see Notes.
        y : array_like, optional
            Required by a conditional model, as in ``fit``.
        out : ndarray or memory map, [n_examples, latent_dim], optional
            C-contiguous float32: the result is written to it. It must not share memory with X or y.

        Returns
        -------
        ndarray of float32, [n_examples, latent_dim]
            Or a frame: see ``set_output``. `out`, if given.

        Raises
        ------
        ValueError
            If X or y does not fit the model, or `out` the result.
        TypeError
            If `out` is no numpy array.

        Notes
        -----
        ``transform``, ``inverse_transform``, ``reconstruct``, ``encode``, ``score_samples``, ``anomaly_score``,
        ``log_marginal``, ``posterior_sample``, ``predictive``, ``evaluate`` and ``score`` read memory maps, objects
        with ``shape`` and slices of rows (h5py, zarr) and lists of files (.npy, .npz with CSR, .parquet) in blocks of
        64 MiB, the next one while one is computed. Results are those of the rows in memory, with the same bits. If an
        exception ends the call, `out` holds the rows of the blocks before.

        A ``dask.array`` gives Dask arrays with the chunks of its rows, which are not computed (``evaluate`` and
        ``score`` read its blocks in this process). The model is one task of the graph, without the state of the
        optimiser. A block is computed with one thread unless ``n_jobs`` is given.
        """
        codes, _ = self._encode(X, y, logvar=False, out=out)
        return self._as_output(codes, X) if out is None else out

    def fit_transform(self, X: Any, y: Any = None, /, **fit_params: Any) -> Any:
        """Fit, then return ``transform(X)``.

        Parameters
        ----------
        X, y
            As for ``fit``; a conditional model passes y to both.
        **fit_params
            Other arguments of ``fit``; those that ``transform`` has too (``observed``) go to both. y by name, besides
            y by position, is the y of ``transform``: a pipeline passes both.

        Returns
        -------
        ndarray of float32, [n_examples, latent_dim]
            Or a frame: see ``set_output``.
        """
        X = examples.whole(X)
        condition = fit_params.pop("y", y)
        both = {name: value for name, value in fit_params.items() if name in self._metadata_of("transform")}
        fitted = self.fit(X, condition if y is None else y, **fit_params)
        return fitted.transform(X, y=self._y_if_conditional(condition), **both)

    @by_rows("y", result="decoded")
    def inverse_transform(self, Z: Any, *, y: Any = None, out: Any = None) -> NDArray[np.float32]:
        """Return the decoder's means E[x|z] for given codes.

        Parameters
        ----------
        Z : array_like, [n, latent_dim]
        y : label or array_like, optional
            Required by a conditional model: one label (or row of covariates) for all codes, or one for each.
        out : ndarray or memory map, [n, n_features], optional
            C-contiguous float32: the result is written to it. It must not share memory with Z or y.

        Returns
        -------
        ndarray of float32, [n, n_features]
            Images have the shape that they had in the training X. `out`, if given.

        Raises
        ------
        ValueError
            If Z does not have latent_dim columns, y does not fit the model, or `out` not the result.
        """
        fitted = self._require_fitted()
        Z = arrays.matrix(Z, "Z")
        if Z.shape[1] != fitted.latent_dim:
            raise ValueError(f"Z has {Z.shape[1]} columns, but latent_dim is {fitted.latent_dim}")
        if Z.dtype == np.uint8:  # codes are not images: the engine must not divide them by 255
            Z = Z.astype(np.float32)
        y = self._read_conditions(y, len(Z), one=True)
        out, direct = fitted.output(out, (len(Z), *fitted.row_shape()), {"Z": Z, "y": y})
        return _written(out, direct, fitted.shaped(fitted.decode(Z, y, self._threads(), direct)))

    @by_rows("y", result="examples")
    def reconstruct(self, X: Any, *, y: Any = None, out: Any = None) -> NDArray[np.float32]:
        """Return the decoder's means at the codes of X; deterministic.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, optional
            Required by a conditional model, as in ``fit``.
        out : ndarray or memory map in the shape of X, optional
            C-contiguous float32: the result is written to it. It must not share memory with X or y.

        Returns
        -------
        ndarray of float32 in the shape of X
            Without condition columns. `out`, if given.
        """
        fitted, (read, y) = self._require_fitted(), self._read_data(X, y)
        given = {"X": X, "X as it is read": read, "y": y}
        out, direct = fitted.output(out, (len(read), *fitted.row_shape(X)), given)
        found = fitted.reconstruct(read, y, self._threads(), direct)
        return _written(out, direct, fitted.shaped(found, X))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the latent dimensions: class name in lower case and number.

        Parameters
        ----------
        input_features : object
            Ignored.

        Returns
        -------
        ndarray of object, [latent_dim]
            For example "vae0", "vae1".
        """
        name, fitted = type(self).__name__.lower(), self._require_fitted()
        return np.array([f"{name}{i}" for i in range(fitted.latent_dim)], dtype=object)

    def export_onnx(self, path: str | os.PathLike[str] | BinaryIO, part: str = "encoder") -> None:
        """Write a part of the fitted model as an ONNX model (opset 13, float32, any number of rows).

        Parameters
        ----------
        path : str, path-like or binary file object
            A path is written atomically, as by ``save``.
        part : {"encoder", "decoder", "reconstruct", "score"}
            Inputs and outputs, each [n, columns] or [n]:

            - "encoder": X to ``mu`` and ``logvar`` (not clamped); ``code`` of an autoencoder; also ``theta`` of a topic
              model and ``ability`` of an exam, which are what ``transform`` returns.
            - "decoder": ``z`` (``theta`` of a topic model) to ``mean``, as ``inverse_transform``.
            - "reconstruct": X to ``reconstruction``, as the method.
            - "score": X and ``eps`` [n, latent_dim] to ``elbo`` = -``reconstruction`` - ``kl``, nats, as
              ``score_samples(X, eps=eps, n_samples=1)``; zeros as ``eps`` give the ELBO at the posterior mean, which
              is deterministic. An autoencoder has X to ``loss`` only.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        ValueError
            If ``part`` is not known, or the model has 2 GiB or more.
        OSError
            If the file cannot be written.

        Notes
        -----
        X is float32 as ``transform`` reads floats: divide grey values by ``input_scale_``, and pass images as rows in
        the order height, width, channels, without condition columns. NaN is a missing value where the model accepts
        it; values are not checked. A conditional model has a second input y, [n, n_covariates] or one-hot rows in the
        order of ``classes_``, which the metadata list. X and the means of a table of mixed columns have the layout of
        :meth:`fastvae.TabularVAE.to_matrix`; the metadata "table" lists columns with levels and normalisation. Outputs
        are deterministic and equal those of fastvae up to rounding (1e-5). ln Γ of count likelihoods in "score" is
        computed in float64.
        """
        from fastvae._export import onnx  # here only, so that `import fastvae` stays cheap
        from fastvae._export.network import describe

        fitted = self._require_fitted()
        _checks.choice(part, "part", onnx.PARTS)
        metadata = onnx.metadata_of(fitted.classes, fitted.table)
        data = onnx.export(describe(fitted), part, type(self).__name__, metadata, self._onnx_extras())
        sources.write(path, data, "export_onnx")

    # The latent space

    def manifold(self, n: int = 20, span: float | None = None, **options: Any) -> NDArray[np.float32]:
        """Decode a grid of the prior's quantiles: :func:`fastvae.latent.manifold`.

        Parameters
        ----------
        n, span
            As for that function.
        **options
            The other parameters of that function.

        Returns
        -------
        ndarray of float32, [n, n, n_features]
        """
        return latent.manifold(self, n, span, **options)

    def interpolate(self, a: Any, b: Any, n: int = 10, method: str = "linear", **options: Any) -> NDArray[np.float32]:
        """Decode a path between two inputs or two codes: :func:`fastvae.latent.interpolate`.

        Parameters
        ----------
        a, b, n, method
            As for that function.
        **options
            The other parameters of that function.

        Returns
        -------
        ndarray of float32, [n, n_features]
        """
        return latent.interpolate(self, a, b, n, method, **options)

    def traverse(self, x: Any, dims: Any = None, span: float = 3.0, n: int = 9, **options: Any) -> NDArray[np.float32]:
        """Decode a code with one coordinate varied at a time: :func:`fastvae.latent.traverse`.

        Parameters
        ----------
        x, dims, span, n
            As for that function.
        **options
            The other parameters of that function.

        Returns
        -------
        ndarray of float32, [n_dims, n, n_features]
        """
        return latent.traverse(self, x, dims, span, n, **options)

    def neighbours(
        self, X: Any, query: Any, n: int = 5, **options: Any
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the examples with the nearest codes: :func:`fastvae.latent.neighbours`.

        Parameters
        ----------
        X, query, n
            As for that function.
        **options
            The other parameters of that function.

        Returns
        -------
        indices : ndarray of int64, [m, n]
        distances : ndarray of float32, [m, n]
        """
        return latent.neighbours(self, X, query, n, **options)

    # Internal: overridden by subclasses

    def _onnx_extras(self) -> Extras:
        """Return what ``transform`` needs beyond the network."""
        from fastvae._export.onnx import Extras

        return Extras()

    # Internal

    def _encode(self, X: Any, y: Any, logvar: bool, out: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        fitted, (read, y) = self._require_fitted(), self._read_data(X, y)
        if out is not None:
            out = output.check(out, (len(read), fitted.latent_dim), {"X": X, "X as it is read": read, "y": y})
        return fitted.encode(read, y, self._threads(), logvar=logvar, out=out)

    def _per_observed(self, losses: dict[str, float], data: Data) -> dict[str, float]:
        """Return weighted mean losses per observed value if the model accepts missing values, else an empty dict."""
        if self._require_fitted().specification.missing == "error":
            return {}
        return missing.per_observed(losses, missing.count_observed(data.X), data.weights)

    def _losses_of_source(
        self, source: Any, X: Any, y: Any, sample_weight: Any, objectives: Any, **options: Any
    ) -> dict[str, float]:
        """Return the mean losses of all rows of a source, as ``evaluate`` does."""
        fitted = self._require_fitted()
        given = weights.read(sample_weight, source.n_rows)
        options |= {"y": y, "objectives": objectives}
        *losses, observed = in_blocks(Model._row_losses, self, source, X, **options, balanced=False)
        reconstruction, kl, (loss,) = fitted.mean_of_losses(losses, given, objectives)
        if fitted.specification.balanced:
            *losses, _ = in_blocks(Model._row_losses, self, source, X, **options, balanced=True)
            *_, (loss,) = fitted.mean_of_losses(losses, given, objectives)
        found = self._name_losses(reconstruction, kl, loss)
        if fitted.specification.missing == "error":
            return found
        return found | missing.per_observed({key: found[key] for key in self._PER_OBSERVED}, observed, given)

    @by_rows("y", "eps", result=("scores",) * 5)
    def _row_losses(
        self, X: Any, *, y: Any = None, eps: Any = None, objectives: Any, balanced: bool
    ) -> tuple[NDArray[Any], ...]:
        """Return the losses of each example, as ``FittedModel.row_losses``, and its number of observed values."""
        fitted, (read, y) = self._require_fitted(), self._read_data(X, y)
        noise = self._read_noise(eps, len(read))
        losses = fitted.row_losses(read, y, self._threads(), objectives, eps=noise, balanced=balanced)
        overflow.check(losses[0] + losses[1], read)
        return *losses, missing.count_observed(read)


def _written(
    out: NDArray[Any] | None, direct: NDArray[np.float32] | None, found: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a result, or `out` with it; with `direct` it has been written already."""
    if out is None:
        return found
    if direct is None:
        out[...] = found
    return out
