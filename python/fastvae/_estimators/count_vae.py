"""Counts of genes in cells, from several batches, as an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core, likelihoods, schedules
from fastvae._data import annotated, examples, sizes
from fastvae._estimators.by_rows.method import by_rows
from fastvae._estimators.variational import Variational
from fastvae._fitted.specification import Specification
from fastvae._fitted.uncertainty import LogMarginal, Predictive
from fastvae._training.convergence import Budget
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Data, Examples, Format
    from fastvae._data.sources.source import Source
    from fastvae._fitted.model import FittedModel

_LIKELIHOODS = ("negative_binomial", "zero_inflated_negative_binomial", "poisson")
_CHECKED = 1024  # rows of a dense X in which values that are no counts are sought


class CountVAE(Variational):
    """Variational autoencoder of counts in rows of different totals and batches, such as genes in single cells.

    The mean of a count is the size of the row (the library size of a cell) times the share of the feature,
    m_j = s p_j with p = softmax(f(z, b)), b the batch; its distribution is negative binomial, optionally with zero
    inflation (scVI: Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 15, 2018).
    The encoder reads ln(1 + x) and the batch. The decoder is given batch and size, so that z need not hold them.

    Parameters
    ----------
    latent_dim : int
        Columns of z.
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
    likelihood : {"negative_binomial", "zero_inflated_negative_binomial", "poisson"}
        Distribution of the counts.
    dispersion : {"shared", "batch"}
        The dispersion r of a feature is the same in all batches, or each batch has its own (``gene-batch`` of scVI).
    size_factor : {"total", "given"}
        The size of a row is the sum of its counts, or is passed as ``size_factor=`` to ``fit`` and to the methods that
        score or return counts, one positive number for each row: totals over genes that are not in X, spike-ins, size
        factors of scran. Only ratios matter: see ``size_unit_``.
    size_factor_key : str or None
        Column of ``X.obs`` with the sizes, for AnnData objects; it implies ``size_factor="given"``.
    batch_key : str or None
        Column of ``X.obs`` with the batches, for AnnData objects; it implies ``conditional=True``.
    layer : str or None
        Layer of an AnnData object with the counts; None is ``X.X``.
    key_added : str
        Key of ``X.obsm`` under which ``transform`` writes the codes of an AnnData object.
    conditional : bool
        Model the batches, labels y passed to ``fit`` and to the other methods. Without batches: False.
    activation, beta, optimizer, learning_rate, weight_decay, clip_norm, nan_policy, batch_size, validation_fraction
        As for :class:`fastvae.VAE`.
    epochs : int or "auto"
        Passes over the cells. "auto" is at least 20 epochs and 3,000 steps.
    early_stopping, n_iter_no_change, tol, callbacks, warm_start, precision, n_jobs, random_state, progress
        As for :class:`fastvae.VAE`.

    Attributes
    ----------
    classes_ : ndarray, [n_batches]
        Sorted batches; only of a model with batches.
    dispersion_ : ndarray of float32, [n_features] or [n_features, n_batches]
        r of each feature (in each batch, with ``dispersion="batch"``): Var x = m + m² / r. Not with "poisson".
    size_unit_ : float
        Counts in a given size of 1: the mean total of the training rows divided by their mean size; else 1.
    n_features_in_, feature_names_in_, input_scale_, n_iter_, history_, loss_curve_, elapsed_, interrupted_
        As for :class:`fastvae.VAE`.
    n_skipped_batches_ : int
        As for :class:`fastvae.VAE`.

    Notes
    -----
    X are counts, not normalised or logarithms; sparse matrices (CSR) are read in place. Of an AnnData object, ``X`` or
    ``layer`` is read; with ``batch_key``, y need not be passed, with ``size_factor_key`` no sizes.

    With given sizes the expected total of a row is s times ``size_unit_``; the shares still add up to one. (scVI's
    decoder has a softplus in place of the softmax then, so that totals may differ at the same size.) The unit is part
    of the file, not of ``state_dict``.

    Examples
    --------
    >>> import numpy as np, fastvae
    >>> X = np.random.default_rng(0).poisson(0.5, (200, 50))
    >>> batch = np.repeat(["a", "b"], 100)
    >>> model = fastvae.CountVAE(2, hidden=(16,), conditional=True, epochs=2, random_state=0).fit(X, batch)
    >>> model.normalized_expression(X, y=batch, batch="a").shape
    (200, 50)
    """

    _READS_BLOCKS = True
    _BUDGET = Budget(steps=3000, epochs=20)

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        hidden: Any = (128,),
        likelihood: str = "negative_binomial",
        dispersion: str = "shared",
        size_factor: str = "total",
        size_factor_key: str | None = None,
        batch_key: str | None = None,
        layer: str | None = None,
        key_added: str = "X_fastvae",
        conditional: bool = False,
        activation: str = "relu",
        beta: Any = 1.0,
        optimizer: Any = "adam",
        learning_rate: Any = 1e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        nan_policy: str = "raise",
        batch_size: int = 128,
        epochs: int | str = "auto",
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        warm_start: bool = False,
        precision: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | str | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.likelihood = likelihood
        self.dispersion = dispersion
        self.size_factor = size_factor
        self.size_factor_key = size_factor_key
        self.batch_key = batch_key
        self.layer = layer
        self.key_added = key_added
        self.conditional = conditional
        self.activation = activation
        self.beta = beta
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.nan_policy = nan_policy
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    # Cells

    def transform(self, X: Any, *, y: Any = None, out: Any = None) -> Any:
        """Return the codes of cells: the means of q(z|x, batch).

        Parameters
        ----------
        X : array_like or AnnData, [n_cells, n_features]
            The codes of an AnnData object, unless it is a view, are also written to ``X.obsm[key_added]``.
        y : array_like, [n_cells], optional
            Batches of the cells, for a model with batches; not needed for AnnData with ``batch_key``.
        out : ndarray or memory map, [n_cells, latent_dim], optional
            As for :meth:`fastvae.VAE.transform`.

        Returns
        -------
        ndarray of float32, [n_cells, latent_dim]
            Or a frame: see ``set_output``. `out`, if given.
        """
        codes = super().transform(X, y=y, out=out)
        if annotated.is_annotated(X) and not getattr(X, "is_view", False):
            X.obsm[self.key_added] = np.asarray(codes)
        return codes

    def normalized_expression(
        self, X: Any, *, y: Any = None, batch: Any = None, total: float = 1e4
    ) -> NDArray[np.float32]:
        """Return what the model expects of each cell at one total and in one batch: corrected expression.

        Parameters
        ----------
        X : array_like or AnnData, [n_cells, n_features]
        y : array_like, [n_cells], optional
            Batches of the cells, as for ``transform``.
        batch : label or sequence of labels, optional
            Decode all cells as cells of this batch, or return the mean over several, named once. None: each in its own
            batch.
        total : float
            Expected total of each cell.

        Returns
        -------
        ndarray of float32, [n_cells, n_features]
            total times softmax(f(z, b)) at the posterior mean of z. With zero inflation also times the probability that
            a count is not inflated, so that rows sum to less than ``total``.

        Raises
        ------
        ValueError
            If a batch is unknown, or is given for a model without batches.
        """
        total = _checks.number(total, "total")
        fitted, (read, own) = self._require_fitted(), self._read_data(X, y)
        codes, _ = fitted.encode(read, own, self._threads(), logvar=False)
        if batch is None:
            own_batch: NDArray[np.float32] = np.float32(total) * fitted.decode(codes, own, self._threads())
            return own_batch
        if fitted.classes is None:
            raise ValueError(f"batch={batch!r}: this model has no batches; leave batch out")
        several = np.ndim(batch) == 1 or isinstance(batch, (set, frozenset))
        labels = [label.item() if isinstance(label, np.generic) else label for label in (batch if several else [batch])]
        if not labels:
            raise ValueError("batch is an empty list: name one batch or more, or leave it out")
        known = fitted.classes.tolist()
        for i, label in enumerate(labels):
            if label not in known:
                raise ValueError(f"batch={label!r} is none of the batches of the model: {_shown(known)}")
            if label in labels[:i]:
                raise ValueError(
                    f"batch names {label!r} twice: name the batches to average; y= are the batches of the cells"
                )
        expected = np.zeros((len(codes), fitted.n_features), np.float32)
        for label in labels:
            columns = self._read_conditions(np.full(len(codes), label), len(codes))
            expected += np.float32(total / len(labels)) * fitted.decode(codes, columns, self._threads())
        return expected

    @property
    def dispersion_(self) -> NDArray[np.float32]:
        """Dispersion r of each feature, [n_features] or [n_features, n_batches]: Var x = m + m² / r."""
        name, state = "likelihood.log_total_count", self._require_fitted().state_dict()
        if name not in state:
            raise AttributeError(f"a {type(self).__name__} with likelihood={self.likelihood!r} has no dispersion_")
        dispersion: NDArray[np.float32] = np.exp(state[name])
        return dispersion

    @property
    def size_unit_(self) -> float:
        """Counts in a given size of 1."""
        return self._require_fitted().specification.size_unit

    # Methods with sizes

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        size_factor: Any = None,
        validation_data: Any = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
    ) -> Self:
        """Train for ``epochs`` shuffled passes over the cells.

        Parameters
        ----------
        X : array_like or AnnData, [n_cells, n_features]
            Counts.
        y : array_like, [n_cells], optional
            Batches of the cells, for a model with batches; not needed for AnnData with ``batch_key``.
        sample_weight : array_like, [n_cells], optional
            Weights of the cells in the loss, as for :meth:`fastvae.VAE.fit`.
        size_factor : array_like, [n_cells], optional
            Sizes of the cells, for a model with ``size_factor="given"``.
        validation_data : array_like or AnnData, or tuple (X, y) or (X, y, size_factor), optional
            Scored after each epoch. Without batches y is None.
        epochs, steps_per_epoch, checkpoint, checkpoint_every
            As for :meth:`fastvae.VAE.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError, KeyboardInterrupt, OSError, RuntimeError
            As from :meth:`fastvae.VAE.fit`; a ValueError names the row of a size that is not positive.
        """
        return super().fit(
            X,
            self._with_sizes(y, size_factor),
            sample_weight,
            validation_data=validation_data,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
        )

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        size_factor: Any = None,
        classes: Any = None,
        sample_weight: Any = None,
        eps: Any = None,
        corrupted: Any = None,
    ) -> Self:
        """Continue training: one pass over the cells in the given order.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``. The first call determines ``size_unit_``.
        classes, sample_weight, eps, corrupted
            As for :meth:`fastvae.VAE.partial_fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError, RuntimeError
            As from :meth:`fastvae.VAE.partial_fit`.
        """
        y = self._with_sizes(y, size_factor)
        return super().partial_fit(X, y, classes=classes, sample_weight=sample_weight, eps=eps, corrupted=corrupted)

    def loss_and_gradients(
        self,
        X: Any,
        eps: Any = None,
        *,
        corrupted: Any = None,
        y: Any = None,
        size_factor: Any = None,
        sample_weight: Any = None,
    ) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
        """Return the training losses of X as one batch, and the gradients of the loss.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        eps, corrupted, sample_weight
            As for :meth:`fastvae.VAE.loss_and_gradients`.

        Returns
        -------
        losses : dict of str to float
        gradients : dict of str to ndarray of float32
            As from :meth:`fastvae.VAE.loss_and_gradients`.
        """
        y = self._with_sizes(y, size_factor)
        return super().loss_and_gradients(X, eps, corrupted=corrupted, y=y, sample_weight=sample_weight)

    @by_rows("y", "size_factor", result="examples")
    def reconstruct(self, X: Any, *, y: Any = None, size_factor: Any = None, out: Any = None) -> NDArray[np.float32]:
        """Return the expected counts of cells at their codes and sizes; deterministic.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        out : ndarray or memory map, [n_cells, n_features], optional
            As for :meth:`fastvae.VAE.reconstruct`.

        Returns
        -------
        ndarray of float32, [n_cells, n_features]
            `out`, if given.
        """
        return super().reconstruct(X, y=self._with_sizes(y, size_factor), out=out)

    @by_rows("y", "size_factor", result=("examples",) * 3, kind=Predictive)
    def predictive(
        self, X: Any, n: int = 100, random_state: Any = None, *, y: Any = None, size_factor: Any = None
    ) -> Predictive:
        """Return mean and standard deviations of the posterior predictive p(x'|x) at the cells' sizes.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        n, random_state
            As for :meth:`fastvae.VAE.predictive`.

        Returns
        -------
        Predictive
            As from :meth:`fastvae.VAE.predictive`.
        """
        return super().predictive(X, n, random_state, y=self._with_sizes(y, size_factor))

    @by_rows("y", "size_factor", result="scores")
    def anomaly_score(
        self, X: Any, *, y: Any = None, size_factor: Any = None, method: str = "elbo", n_samples: int | None = None
    ) -> NDArray[np.float32]:
        """Return the negative ELBO or -log p(x) of each cell in nats: higher is more anomalous.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        method, n_samples
            As for :meth:`fastvae.VAE.anomaly_score`.

        Returns
        -------
        ndarray of float32, [n_cells]
        """
        y = self._with_sizes(y, size_factor)
        return super().anomaly_score(X, y=y, method=method, n_samples=n_samples)

    @by_rows("y", "size_factor", "eps", result="scores")
    def score_samples(
        self,
        X: Any,
        *,
        y: Any = None,
        size_factor: Any = None,
        eps: Any = None,
        n_samples: int | None = None,
        out: Any = None,
    ) -> NDArray[np.float32]:
        """Return the ELBO of each cell in nats: a lower bound on log p(x) given its batch and its size.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        eps, n_samples, out
            As for :meth:`fastvae.VAE.score_samples`.

        Returns
        -------
        ndarray of float32, [n_cells]
        """
        return super().score_samples(X, y=self._with_sizes(y, size_factor), eps=eps, n_samples=n_samples, out=out)

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, size_factor: Any = None, n_samples: int | None = None
    ) -> float:
        """Return the mean of ``score_samples``, nats per cell: higher is better.

        Parameters
        ----------
        X, y, sample_weight, size_factor
            As for ``fit``.
        n_samples
            As for :meth:`fastvae.VAE.score`.

        Returns
        -------
        float
        """
        return super().score(X, self._with_sizes(y, size_factor), sample_weight, n_samples=n_samples)

    def evaluate(
        self, X: Any, *, y: Any = None, size_factor: Any = None, eps: Any = None, sample_weight: Any = None
    ) -> dict[str, float]:
        """Return mean losses of X in nats per cell.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        eps, sample_weight
            As for :meth:`fastvae.VAE.evaluate`.

        Returns
        -------
        dict of str to float
            As from :meth:`fastvae.VAE.evaluate`.
        """
        return super().evaluate(X, y=self._with_sizes(y, size_factor), eps=eps, sample_weight=sample_weight)

    @by_rows("y", "size_factor", result=("scores",) * 3, kind=LogMarginal, dtype=np.float64)
    def log_marginal(self, X: Any, n_samples: int = 5000, *, y: Any = None, size_factor: Any = None) -> LogMarginal:
        """Estimate log p(x) of each cell, given its batch and its size, by importance sampling.

        Parameters
        ----------
        X, y, size_factor
            As for ``fit``.
        n_samples
            As for :meth:`fastvae.VAE.log_marginal`.

        Returns
        -------
        LogMarginal
            As from :meth:`fastvae.VAE.log_marginal`.
        """
        return super().log_marginal(X, n_samples, y=self._with_sizes(y, size_factor))

    # Internal

    def _likelihood(self) -> likelihoods.NegativeBinomial | likelihoods.Poisson:
        """Return the likelihood, checked."""
        kind = _checks.choice(self.likelihood, "likelihood", _LIKELIHOODS)
        dispersion: Any = _checks.choice(self.dispersion, "dispersion", ("shared", "batch"))
        size: Any = "given" if self._takes_sizes() else "total"
        if kind != "poisson":
            inflated = kind == "zero_inflated_negative_binomial"
            return likelihoods.NegativeBinomial(size_factor=size, zero_inflation=inflated, dispersion=dispersion)
        if dispersion != "shared":
            raise ValueError(f"dispersion={dispersion!r} needs a negative binomial likelihood: a Poisson has none")
        return likelihoods.Poisson(size)

    def _takes_sizes(self) -> bool:
        """Whether ``fit`` builds a model with given sizes, checked."""
        size = _checks.choice(self.size_factor, "size_factor", ("total", "given"))
        return size == "given" or self.size_factor_key is not None

    def _with_sizes(self, y: Any, size_factor: Any) -> Any:
        """Return y with the sizes of the rows, if given."""
        if size_factor is not None and not self._takes_sizes():
            raise ValueError('leave out size_factor=, or create the model with size_factor="given"')
        return sizes.attach(y, size_factor)

    def _specification(self, n_features: int, conditions: int) -> Specification:
        encoder = self._dense_encoder()
        return Specification.build(
            n_features=n_features,
            conditions=conditions,
            variational=True,
            latent_dim=self._latent_dim(),
            decoder=encoder["encoder"][::-1],
            likelihood=likelihoods.resolve(self._likelihood()),
            input_transform="log1p",
            **encoder,
        )

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        plain = specification.variational and specification.unstructured and not specification.convolutional
        return plain and specification.sized

    def _objective(self) -> Objective:
        return Objective(beta=schedules.check(self.beta, "beta"))

    def _counts(self) -> bool:
        return True

    def _check_values(self, fitted: FittedModel, X: Examples, threads: int | None) -> None:
        super()._check_values(fitted, X, threads)
        found = examples.find(X if isinstance(X, _core.SparseMatrix) else X[:_CHECKED], lambda x: x != np.rint(x))
        if found is not None:
            row, column, value = found
            _checks.warn(
                f"X[{row}, {column}] is {value:g}, which is no count: {type(self).__name__} models counts, not "
                "normalised values or logarithms of them. Pass the counts (of an AnnData object by layer=)"
            )

    def _conditional(self) -> bool:
        return _checks.boolean(self.conditional, "conditional") or self.batch_key is not None

    def _requires_y(self) -> bool:
        return bool(self.conditional)

    def _of_cells(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return the counts, and the batches with the sizes, of an AnnData object; anything else as it is."""
        if not annotated.is_annotated(X):
            return X, y
        labels, size_factor = sizes.split(y)
        if labels is None and self.batch_key is not None:
            labels = annotated.labels_of(X, self.batch_key)
        if size_factor is None and self.size_factor_key is not None:
            size_factor = annotated.sizes_of(X, self.size_factor_key)
        return annotated.layer_of(X, self.layer), sizes.attach(labels, size_factor)

    def _open_source(self, X: Any, name: str) -> Source | None:
        return None if annotated.is_annotated(X) else super()._open_source(X, name)

    def _read_first(self, X: Any, y: Any) -> tuple[Examples, Any, Format]:
        return super()._read_first(*self._of_cells(X, y))

    def _read_data(self, X: Any, y: Any = None) -> tuple[Examples, NDArray[Any] | None]:
        return super()._read_data(*self._of_cells(X, y))

    def _read_conditions(self, y: Any, n: int, *, one: bool = False) -> NDArray[Any] | None:
        y, size_factor = sizes.split(y)
        read = super()._read_conditions(y, n, one=one)
        return read if size_factor is None else sizes.join(read, size_factor, n)

    def _read_training_conditions(
        self, y: Any, n: int, format: Format, announced: Any = None
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        y, size_factor = sizes.split(y)
        classes, read = super()._read_training_conditions(y, n, format, announced)
        if read is not None and classes is None and self.dispersion == "batch":
            raise ValueError('dispersion="batch" needs labels as y, [n_cells], not covariates')
        if not self._takes_sizes():
            return classes, read
        if size_factor is None:
            raise ValueError('size_factor="given" needs the sizes: pass size_factor=, one for each row of X')
        return classes, sizes.join(read, size_factor, n)

    def _count_conditions(self, y: NDArray[Any] | None) -> int:
        return super()._count_conditions(y) - int(self._takes_sizes())

    def _y_if_conditional(self, y: Any) -> Any:
        y, size_factor = sizes.split(y)
        return sizes.attach(super()._y_if_conditional(y), size_factor)

    def _initialize_weights(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> None:
        if self._takes_sizes() and data.y is not None:
            given = data.y[:, -1] if rows is None else data.y[rows, -1]
            total = float(fitted.engine.column_moments(data.X, rows, None, self._threads()).mean.sum())
            fitted.set_size_unit(float(np.float32(total / given.mean(dtype=np.float64))) if total > 0 else 1.0)
        super()._initialize_weights(fitted, data, rows)

    def _validation_data(
        self, data: Any, fraction: float, training: Data, format: Format, classes: NDArray[Any] | None
    ) -> Data | None:
        if data is None or (isinstance(data, tuple) and len(data) > 3):
            return super()._validation_data(data, fraction, training, format, classes)
        X, y, size_factor = (*data, *[None] * (3 - len(data))) if isinstance(data, tuple) else (data, None, None)
        X, y = self._of_cells(X, self._with_sizes(y, size_factor))
        y, size_factor = sizes.split(y)
        own = None if self._count_conditions(training.y) == 0 else training.y
        if own is not None and self._takes_sizes():
            own = own[:, :-1]
        found = super()._validation_data(
            X if own is None or y is None else (X, y), fraction, training._replace(y=own), format, classes
        )
        if found is None or not self._takes_sizes():
            return found
        if size_factor is None:
            raise ValueError("validation_data needs sizes: pass a tuple (X, y, size_factor), without batches y is None")
        return found._replace(y=sizes.join(found.y, size_factor, len(found.X)))


def _shown(labels: list[Any]) -> str:
    return ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")
