"""Counts of genes in cells, from several batches, as an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core, likelihoods, schedules
from fastvae._data import annotated, examples
from fastvae._estimators.variational import Variational
from fastvae._fitted.specification import Specification
from fastvae._training.convergence import Budget
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples, Format
    from fastvae._fitted.model import FittedModel

_LIKELIHOODS: dict[str, Any] = {
    "negative_binomial": likelihoods.NegativeBinomial(size_factor="total"),
    "zero_inflated_negative_binomial": likelihoods.NegativeBinomial(size_factor="total", zero_inflation=True),
    "poisson": likelihoods.Poisson("total"),
}
_CHECKED = 1024  # rows of a dense X in which values that are no counts are sought


class CountVAE(Variational):
    """Variational autoencoder of counts in rows of different totals and batches, such as genes in single cells.

    The mean of a count is the total of the row (the library size of a cell) times the share of the feature,
    m_j = s p_j with p = softmax(f(z, b)), b the batch; its distribution is negative binomial, optionally with zero
    inflation (scVI: Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 15, 2018).
    The encoder reads ln(1 + x) and the batch, so that z describes the cell without its batch and its total.

    Parameters
    ----------
    latent_dim : int
        Columns of z.
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
    likelihood : {"negative_binomial", "zero_inflated_negative_binomial", "poisson"}
        Distribution of the counts; the dispersion of a feature is the same in all batches.
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
    early_stopping, n_iter_no_change, tol, callbacks, warm_start, n_jobs, random_state, progress
        As for :class:`fastvae.VAE`.

    Attributes
    ----------
    classes_ : ndarray, [n_batches]
        Sorted batches; only of a model with batches.
    dispersion_ : ndarray of float32, [n_features]
        r of each feature: Var x = m + m² / r. Not with "poisson".
    n_features_in_, feature_names_in_, input_scale_, n_iter_, history_, loss_curve_, elapsed_, interrupted_
        As for :class:`fastvae.VAE`.
    n_skipped_batches_ : int
        As for :class:`fastvae.VAE`.

    Notes
    -----
    X are counts, not normalised or logarithms; sparse matrices (CSR) are read in place. Of an AnnData object, ``X`` or
    ``layer`` is read; with ``batch_key``, y need not be passed.

    Examples
    --------
    >>> import numpy as np, fastvae
    >>> X = np.random.default_rng(0).poisson(0.5, (200, 50))
    >>> batch = np.repeat(["a", "b"], 100)
    >>> model = fastvae.CountVAE(2, hidden=(16,), conditional=True, epochs=2, random_state=0).fit(X, batch)
    >>> model.normalized_expression(X, y=batch, batch="a").shape
    (200, 50)
    """

    _BUDGET = Budget(steps=3000, epochs=20)

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        hidden: Any = (128,),
        likelihood: str = "negative_binomial",
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
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | str | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.likelihood = likelihood
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
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    # Cells

    def transform(self, X: Any, *, y: Any = None) -> Any:
        """Return the codes of cells: the means of q(z|x, batch).

        Parameters
        ----------
        X : array_like or AnnData, [n_cells, n_features]
            The codes of an AnnData object, unless it is a view, are also written to ``X.obsm[key_added]``.
        y : array_like, [n_cells], optional
            Batches of the cells, for a model with batches; not needed for AnnData with ``batch_key``.

        Returns
        -------
        ndarray of float32, [n_cells, latent_dim]
            Or a frame: see ``set_output``.
        """
        codes = super().transform(X, y=y)
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
        """Dispersion r of each feature, [n_features]: Var x = m + m² / r."""
        name, state = "likelihood.log_total_count", self._require_fitted().state_dict()
        if name not in state:
            raise AttributeError(f"a {type(self).__name__} with likelihood={self.likelihood!r} has no dispersion_")
        dispersion: NDArray[np.float32] = np.exp(state[name])
        return dispersion

    # Internal

    def _specification(self, n_features: int, conditions: int) -> Specification:
        encoder = self._dense_encoder()
        kind = _checks.choice(self.likelihood, "likelihood", tuple(_LIKELIHOODS))
        return Specification.build(
            n_features=n_features,
            conditions=conditions,
            variational=True,
            latent_dim=self._latent_dim(),
            decoder=encoder["encoder"][::-1],
            likelihood=likelihoods.resolve(_LIKELIHOODS[kind]),
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
        """Return the counts and the batches of an AnnData object; anything else as it is."""
        if not annotated.is_annotated(X):
            return X, y
        if y is None and self.batch_key is not None:
            y = annotated.labels_of(X, self.batch_key)
        return annotated.layer_of(X, self.layer), y

    def _read_first(self, X: Any, y: Any) -> tuple[Examples, Any, Format]:
        return super()._read_first(*self._of_cells(X, y))

    def _read_data(self, X: Any, y: Any = None) -> tuple[Examples, NDArray[Any] | None]:
        return super()._read_data(*self._of_cells(X, y))


def _shown(labels: list[Any]) -> str:
    return ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")
