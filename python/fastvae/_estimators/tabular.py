"""TabularVAE: tables of mixed columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, corruption, layers, likelihoods, schedules
from fastvae._data import weights
from fastvae._data.examples import Data, Format
from fastvae._data.scale import UNSCALED
from fastvae._estimators.by_rows.method import by_rows
from fastvae._estimators.variational import Variational
from fastvae._fitted import architecture, diagnosis, imputation
from fastvae._fitted.model import FittedModel
from fastvae._fitted.specification import Specification
from fastvae._fitted.uncertainty import LogMarginal
from fastvae._tables import codes, conditional, containers, normalize
from fastvae._tables.balance import likelihood_of
from fastvae._tables.columns import UNKNOWN
from fastvae._tables.schema import Schema
from fastvae._training.convergence import Budget
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Examples
    from fastvae._tables.containers import RawTable

_CODES = 10_000  # training rows whose codes are fitted, at most twice as many
_PRIORS = ("fitted", "normal")
_LEAST_KL = 0.01  # nats per latent dimension; below, codes do not depend on the data
_STEPS = 200


def _no_path(method: str) -> TypeError:
    return TypeError(
        f"{method} decodes into arrays of numbers, which a table of mixed columns is not: pass codes of your path, for "
        "example numpy.linspace(*transform(X)[:2], 10), to inverse_transform"
    )


class TabularVAE(Variational):
    """Variational autoencoder of a table with mixed columns: numbers, counts, yes/no, categories, levels, holes.

    Each column has its own likelihood (Nazábal et al., arXiv:1807.03653): real columns a Gaussian with a learned scale,
    positive ones a log-normal, counts a negative binomial, two levels a Bernoulli, categories a softmax over their
    levels, ordinal columns an ordered logit. Holes (NaN, None, pandas.NA, null) may be anywhere: the likelihood
    includes the observed values only. Assumes values are missing at random.

    Parameters
    ----------
    latent_dim : int
        Columns of the code.
    columns : mapping of str to str or list, or None
        Kinds of columns by name (by index for arrays), in place of those found: "real", "positive", "count", "binary",
        "categorical", "ordinal", or the list of the levels of an ordinal column in order. Without it

        - texts, and dtypes of categories, are "categorical", ordered ones "ordinal";
        - booleans, and columns with two levels (texts, categories or whole numbers), are "binary";
        - whole numbers without a negative one and with a mean of less than two standard deviations are "count";
        - other numbers are "real".

        Columns of dates, and texts with more than 100 levels (or more than 20, with less than two rows for each), are
        refused.
    unknown : {"error", "missing"}
        A level that ``fit`` has not seen: "error" refuses it, "missing" makes a hole of it.
    normalize : {"standard", "quantile"}
        Real columns inside: "standard" has mean 0 and variance 1. "quantile" makes each normal by its quantiles, which
        multimodal and long-tailed columns need (the task of the mode-specific normalisation of Xu et al.,
        arXiv:1907.00503).
    balance : mapping of str to float, or None
        Weights of columns in the loss of training, 1 for others: a column that is known almost exactly from others
        (copies, sums) may take a latent dimension of its own, which a small ``latent_dim`` then lacks for the others; a
        weight of 0.1 gives it back. Scores have no weights.
    hidden : sequence of int or layer
        The encoder's hidden layers, as for :class:`fastvae.VAE`.
    decoder_hidden : sequence of int or layer, or None
        The decoder's hidden layers; None mirrors ``hidden``.
    activation : str
        Activation of the hidden layers, as for :class:`fastvae.VAE`.
    beta : float or schedule
        Weight of the KL.
    n_importance_samples : int
        Samples of the bound that training maximises, as for :class:`fastvae.VAE`; 1 is the ELBO. With more, gradients
        are doubly reparameterised.
    masking : float
        Share of the encoder's input, in [0, 1), that training hides at random, so that ``impute`` and
        ``sample(given=)`` know rows with holes.
    optimizer, learning_rate, weight_decay, clip_norm, nan_policy, batch_size, validation_fraction, early_stopping, \
n_iter_no_change, tol, callbacks, warm_start, precision, n_jobs, random_state, progress
        As for :class:`fastvae.VAE`.
    epochs : int or "auto"
        Passes over the data in ``fit``. "auto": as many as 3,000 steps of the optimiser need, at least 20.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns of the table.
    feature_names_in_ : ndarray of object, [n_features_in_]
        Names of its columns; only if they are strings.
    kinds_ : dict of str to str
        Kind of each column; "constant" (one value) and "empty" (none) columns are kept, but not modelled.
    levels_ : dict of str to list
        Levels of each binary, categorical, ordinal and constant column, in order.
    matrix_slices_ : dict of str to slice
        Columns of each modelled column in the matrix of ``to_matrix``.
    history_ : dict of str to list of float
        As for :class:`fastvae.VAE`, with the weights of ``balance``, and with densities of real columns as normalised.
    n_iter_, loss_curve_, elapsed_, interrupted_, n_skipped_batches_
        As for :class:`fastvae.VAE`.

    Notes
    -----
    X of all methods is a frame of pandas or polars, an Arrow table, a structured array or a 2-D array (also of
    objects). Results are tables of the same container, with the same order of columns and dtypes. Numbers in them lie
    in the range of the training column.

    Scores are nats of the observed columns. They do not depend on units: densities of real columns are those of the
    standardised column, of positive ones those of the column divided by its geometric mean.

    Examples
    --------
    >>> import numpy as np
    >>> import fastvae
    >>> rng = np.random.default_rng(0)
    >>> X = np.empty((300, 2), object)
    >>> X[:, 0] = rng.choice(["bus", "car"], 300)
    >>> X[:, 1] = np.where(X[:, 0] == "car", 30.0, 5.0) + rng.normal(size=300)
    >>> model = fastvae.TabularVAE(1, epochs=100, random_state=0).fit(X)
    >>> model.kinds_
    {0: 'binary', 1: 'real'}
    >>> model.impute([["car", None]])[0, 1] > 25
    True
    """

    _CONVERTS_NOTHING = False
    _ACCEPTS_SPARSE = False
    _BUDGET = Budget(steps=3000, epochs=20)

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        columns: Any = None,
        unknown: str = "error",
        normalize: str = "standard",
        balance: Any = None,
        hidden: Any = (256,),
        decoder_hidden: Any = None,
        activation: str = "relu",
        beta: Any = 1.0,
        n_importance_samples: int = 1,
        masking: float = 0.0,
        optimizer: Any = "adam",
        learning_rate: Any = 1e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        nan_policy: str = "raise",
        batch_size: int = 64,
        epochs: Any = "auto",
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
        self.columns = columns
        self.unknown = unknown
        self.normalize = normalize
        self.balance = balance
        self.hidden = hidden
        self.decoder_hidden = decoder_hidden
        self.activation = activation
        self.beta = beta
        self.n_importance_samples = n_importance_samples
        self.masking = masking
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

    # Attributes

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the table."""
        return len(self._schema().columns)

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns of the training table, [n_features_in_]; only if they are strings."""
        schema = self._schema()
        if not schema.named:
            raise AttributeError(f"this {type(self).__name__} was fitted without feature names")
        return np.array(schema.labels, object)

    @property
    def kinds_(self) -> dict[Any, str]:
        """Kind of each column by its name, or its index if it has none."""
        return self._schema().kinds

    @property
    def levels_(self) -> dict[Any, list[Any]]:
        """Levels of each column that has some, in order, by its name, or its index if it has none."""
        return {column.label: list(column.levels) for column in self._schema().columns if column.levels}

    # Tables

    def impute(  # type: ignore[override]
        self,
        X: Any,
        *,
        n: int | None = None,
        draw: bool = False,
        n_iter: int = 0,
        n_samples: int = 100,
        random_state: Any = None,
    ) -> Any:
        """Fill the holes of a table by means (numbers) and most probable levels, or by draws.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        n : int or None
            A number of completed tables with draws in the holes (multiple imputation).
        draw : bool
            Fill with one draw instead of means: table statistics keep their spread.
        n_iter, n_samples
            As for :meth:`fastvae.VAE.impute`: rounds, and importance samples for each row.
        random_state : int, numpy generator or None
            Seed of draws, as for ``sample``.

        Returns
        -------
        table like X, or list of n tables
            Same container, dtypes, order and index; observed values are unchanged. Columns without any value in the
            training table stay empty. With ``unknown="missing"`` unknown levels are replaced too.

        Raises
        ------
        ValueError
            If a value or level does not fit its column.
        FloatingPointError
            If all importance weights of a row are 0 or not finite.
        """
        draw = _checks.boolean(draw, "draw") or n is not None
        draws = _checks.integer(1 if n is None else n, "n", most=_checks.MAX_DRAWS)
        n_iter = _checks.integer(n_iter, "n_iter", least=0)
        n_samples = _checks.integer(n_samples, "n_samples", least=0, most=2**31)
        fitted, schema = self._require_fitted(), self._schema()
        table = schema.read(X, "X", type(self).__name__)
        encoded, holes = schema.encode(table, "X", self._unknown()), schema.holes(table)
        if draw:
            seed = self._seed_for(random_state)
            filled = list(imputation.with_draws(fitted, encoded, None, draws, n_iter, n_samples, seed, self._threads()))
        else:
            filled = [imputation.with_means(fitted, encoded, None, n_iter, n_samples, self._threads())]
        tables = [self._filled(X, table, holes, values, draw=draw) for values in filled]
        return tables if n is not None else tables[0]

    def sample(  # type: ignore[override]
        self,
        n: int,
        *,
        given: Mapping[Any, Any] | None = None,
        prior: str = "fitted",
        random_state: Any = None,
        return_latent: bool = False,
    ) -> Any:
        """Draw a table of synthetic rows: z from the distribution of the codes, then each column from its likelihood.

        Parameters
        ----------
        n : int
            Number of rows.
        given : mapping of str to object, optional
            Values of some columns by name, the same in all rows: z is then drawn from p(z | given) by importance
            resampling of 50 candidates for each row, from the distribution of all codes and from the encoder's
            q(z | given). Values that are rare together have few different z, of which a warning tells.
        prior : {"fitted", "normal"}
            Distribution of z. "fitted": a mixture of at most 20 normal distributions, which ``fit`` fits to the codes
            of the training rows (Ghosh et al., arXiv:1903.12436); it has the clusters of the table. "normal": N(0, I),
            as in the ELBO. ``partial_fit`` and ``load_state_dict`` fit no mixture: after them "fitted" is N(0, I).
        random_state : int, numpy generator or None
            None uses the estimator's ``random_state`` or, if that is None too, fresh entropy.
        return_latent : bool
            Return (table, z).

        Returns
        -------
        table : frame or array, [n, n_columns]
            In the container of the training table, with its names, order, dtypes and levels.
        z : ndarray of float32, [n, latent_dim]
            Only if ``return_latent``.

        Raises
        ------
        ValueError
            If a given column or level is not known.
        """
        n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
        return_latent = _checks.boolean(return_latent, "return_latent")
        fitted, schema, seed = self._require_fitted(), self._schema(), self._seed_for(random_state)
        density = schema.codes if _checks.choice(prior, "prior", _PRIORS) == "fitted" else None
        if density is not None and density.steps != fitted.engine.steps:
            density = None
        if given is None:
            z, fixed = self._prior(n, seed), dict[int, Any]()
            z = z if density is None else density.sample(z, seed)
        else:
            row, fixed = schema.row(given)
            z = conditional.draw(fitted, row, density, n, seed, self._threads())
        columns = schema.decode(fitted.sample(z, None, None, seed, self._threads()), draw=True)
        for i, value in fixed.items():
            columns[i] = np.full(n, value, columns[i].dtype)
        made = schema.build(columns)
        return (made, z) if return_latent else made

    def reconstruct(self, X: Any, *, y: Any = None) -> Any:  # type: ignore[override]
        """Return the table of means and most probable levels at the codes of X; deterministic.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        y : None
            Not used.

        Returns
        -------
        frame or array, [n_rows, n_columns]
            In the container of the training table.
        """
        return self.inverse_transform(self.encode(X, y=y)[0])

    def inverse_transform(self, Z: Any, *, y: Any = None) -> Any:  # type: ignore[override]
        """Return the table of means and most probable levels of given codes.

        Parameters
        ----------
        Z : array_like, [n, latent_dim]
        y : None
            Not used.

        Returns
        -------
        frame or array, [n, n_columns]
            In the container of the training table.
        """
        schema = self._schema()
        return schema.build(schema.decode(super().inverse_transform(Z, y=y), draw=False))

    # The engine's matrix

    def to_matrix(self, X: Any) -> NDArray[np.float32]:
        """Return a table as the network reads it: what exported models take (:meth:`export_onnx`, fastvae.torch).

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]

        Returns
        -------
        ndarray of float32, [n_rows, width]
            Columns in the order of the table, without constant and empty ones: normalised values of a real column, a
            positive one divided by its geometric mean, counts, 0 or 1 for the levels of a binary column, one-hot
            columns for the L levels of a categorical or ordinal one. NaN in all of them for a missing value.
            ``matrix_slices_`` has the places.
        """
        schema = self._schema()
        return schema.encode(schema.read(X, "X", type(self).__name__), "X", self._unknown())

    def from_matrix(self, values: Any) -> Any:
        """Return the table of means in the layout of ``to_matrix``, as the decoder of an exported model returns them.

        Parameters
        ----------
        values : array_like, [n_rows, width]
            Levels are the most probable ones.

        Returns
        -------
        frame or array, [n_rows, n_columns]
            In the container of the training table.
        """
        schema = self._schema()
        values = np.asarray(values, np.float32)
        if values.ndim != 2 or values.shape[1] != schema.width or len(values) == 0:
            raise ValueError(f"values has shape {values.shape}, but the matrix of the table has {schema.width} columns")
        return schema.build(schema.decode(values, draw=False))

    @property
    def matrix_slices_(self) -> dict[Any, slice]:
        """Columns of ``to_matrix`` of each column of the table that is modelled."""
        schema = self._schema()
        return {column.label: place for column, place in zip(schema.modelled, schema.slices, strict=True)}

    # Scores

    @by_rows("eps", result="scores")
    def score_samples(
        self, X: Any, *, y: Any = None, eps: Any = None, n_samples: int | None = None, out: Any = None
    ) -> NDArray[np.float32]:
        """Return the ELBO of each row in nats, a lower bound on log p of its observed values.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        y : None
            Not used.
        eps, n_samples, out
            As for :meth:`fastvae.VAE.score_samples`.

        Returns
        -------
        ndarray of float32, [n_rows]
        """
        scores = super().score_samples(X, y=y, eps=eps, n_samples=n_samples, out=out)
        slopes = self._log_slopes(X)
        return scores if slopes is None else np.add(scores, slopes.sum(1).astype(np.float32), out=out)

    def anomaly_score(
        self,
        X: Any,
        *,
        y: Any = None,
        method: str = "elbo",
        n_samples: int | None = None,
        per_column: bool = False,
    ) -> Any:
        """Return the negative ELBO or -log p(x) of each row in nats, or the share of each column in the negative ELBO.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        y : None
            Not used.
        method, n_samples
            As for :meth:`fastvae.VAE.anomaly_score`; ``per_column`` is for "elbo" only, with 32 draws.
        per_column : bool
            Return a table with -E log p(x_j|z) of each column j, 0 where its value is missing, and a last column "kl",
            the KL of the code. Their sum over a row is the negative ELBO, with the mean over 32 draws of z.

        Returns
        -------
        ndarray of float32, [n_rows], or table [n_rows, n_columns + 1]
            The table is a frame of pandas or polars or an Arrow table if X is one, else an array.
        """
        if not _checks.boolean(per_column, "per_column"):
            return super().anomaly_score(X, y=y, method=method, n_samples=n_samples)
        if method != "elbo" or n_samples is not None:
            raise ValueError("per_column=True has the shares of the negative ELBO: leave out method= and n_samples=")
        schema = self._schema()
        table = schema.read(X, "X", type(self).__name__)
        shares = self.variable_log_prob(X, random_state=0).astype(np.float64) + schema.log_slopes(table)
        mu, logvar = (each.astype(np.float64) for each in self.encode(X))
        logvar = logvar.clip(-30, 20)
        found = np.zeros((len(mu), len(schema.columns) + 1))
        found[:, [i for i, column in enumerate(schema.columns) if column.width]] = -shares
        found += 0.0  # no -0
        found[:, -1] = (mu**2 + np.exp(logvar) - 1 - logvar).sum(1) / 2
        labels = schema.labels if schema.named else list(range(len(schema.columns)))
        return containers.numbers_table(found, [*labels, "kl"], table.container, X)

    def evaluate(self, X: Any, *, y: Any = None, eps: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """Return mean losses of X in nats per row.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        y, eps, sample_weight
            As for :meth:`fastvae.VAE.evaluate`.

        Returns
        -------
        dict of str to float
            As from :meth:`fastvae.VAE.evaluate`.
        """
        losses = super().evaluate(X, y=y, eps=eps, sample_weight=sample_weight)
        slopes = self._log_slopes(X)
        if slopes is None:
            return losses
        read = self._read_examples(X)
        mean = float(np.average(slopes.sum(1), weights=weights.read(sample_weight, len(slopes))))
        shift = {"reconstruction": -mean, "elbo": mean, "loss": -mean}
        observed = self._per_observed(
            {"reconstruction": -mean, "elbo": mean}, Data(read, None, weights.read(sample_weight, len(slopes)))
        )
        shift |= observed
        return {key: value + shift.get(key, 0.0) for key, value in losses.items()}

    @by_rows(result=("scores",) * 3, kind=LogMarginal, dtype=np.float64)
    def log_marginal(self, X: Any, n_samples: int = 5000, *, y: Any = None) -> LogMarginal:
        """Estimate log p of the observed values of each row by importance sampling, nats.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        n_samples : int
            Samples per row, as for :meth:`fastvae.VAE.log_marginal`.
        y : None
            Not used.

        Returns
        -------
        LogMarginal
            ``estimate``, ``standard_error`` and ``ess``, each [n_rows].
        """
        found = super().log_marginal(X, n_samples, y=y)
        slopes = self._log_slopes(X)
        return found if slopes is None else found._replace(estimate=found.estimate + slopes.sum(1))

    def predictive(self, X: Any, n: int = 100, random_state: Any = None, *, y: Any = None) -> Any:
        """Raise TypeError: levels have no standard deviation; ``impute(X, n=...)`` shows the spread of holes.

        Parameters
        ----------
        X, n, random_state, y
            Not used.

        Returns
        -------
        None
            It always raises.
        """
        raise TypeError(
            "predictive gives standard deviations, which levels do not have: impute(X, n=20) draws completed tables"
        )

    def manifold(self, n: int = 20, span: float | None = None, **options: Any) -> Any:
        """Raise TypeError: a path through a table is ``inverse_transform`` of codes.

        Parameters
        ----------
        n, span, **options
            Not used.

        Returns
        -------
        None
            It always raises.
        """
        raise _no_path("manifold")

    def interpolate(self, a: Any, b: Any, n: int = 10, method: str = "linear", **options: Any) -> Any:
        """Raise TypeError: a path through a table is ``inverse_transform`` of codes.

        Parameters
        ----------
        a, b, n, method, **options
            Not used.

        Returns
        -------
        None
            It always raises.
        """
        raise _no_path("interpolate")

    def traverse(self, x: Any, dims: Any = None, span: float = 3.0, n: int = 9, **options: Any) -> Any:
        """Raise TypeError: a path through a table is ``inverse_transform`` of codes.

        Parameters
        ----------
        x, dims, span, n, **options
            Not used.

        Returns
        -------
        None
            It always raises.
        """
        raise _no_path("traverse")

    # Internal

    def _schema(self) -> Schema:
        table = self._require_fitted().table
        assert isinstance(table, Schema)
        return table

    def _unknown(self) -> str:
        return _checks.choice(self.unknown, "unknown", UNKNOWN)

    def _filled(
        self, X: Any, table: RawTable, holes: list[NDArray[np.intp]], values: NDArray[np.float32], *, draw: bool
    ) -> Any:
        """Return X with the holes of its columns taken from encoded values."""
        schema = self._schema()
        columns = schema.decode(values, draw=draw)
        places = [
            (i, rows, columns[i][rows])
            for i, (rows, column) in enumerate(zip(holes, schema.columns, strict=True))
            if len(rows) and column.kind != "empty"
        ]
        return containers.fill(X, table.container, places)

    def _log_slopes(self, X: Any) -> NDArray[np.float64] | None:
        """Return ln dz/du of the normalisation, [n_rows, modelled columns]; None if all are 0."""
        schema = self._schema()
        if not any(isinstance(column.normalizer, normalize.Quantile) for column in schema.columns):
            return None
        return schema.log_slopes(schema.read(X, "X", type(self).__name__))

    # Internal: the network

    def _specification(self, n_features: int, conditions: int) -> Specification:
        fitted = None if self._fitted is None else self._fitted.table
        return self._specification_of(fitted)

    def _specification_of(self, schema: Schema | None) -> Specification:
        """Return the specification for a table; None stands for one real column."""
        latent_dim = self._latent_dim()
        encoder = layers.resolve(self.hidden, "hidden")
        width = 1 if schema is None else schema.width
        if self.decoder_hidden is None:
            decoder = architecture.mirror(encoder, (width,), latent_dim)
        else:
            decoder = layers.resolve(self.decoder_hidden, "decoder_hidden")
        return Specification.build(
            n_features=width,
            variational=True,
            latent_dim=latent_dim,
            encoder=architecture.options(encoder),
            decoder=architecture.options(decoder),
            likelihood=likelihoods.resolve(likelihood_of(schema, self.balance)),
            missing="indicator",
            **self._common(),
        )

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        return specification.variational and specification.likelihood["kind"] == "mixed"

    def _missing(self) -> str:
        return "indicator"

    def _allows_nan(self) -> bool:
        return True

    def _new_model(
        self, n_features: int, n_conditions: int, classes: NDArray[Any] | None = None, format: Format | None = None
    ) -> FittedModel:
        if format is None:
            raise ValueError(
                f"the weights of a {type(self).__name__} need the columns of its table: fit it, or load a file that "
                "save wrote, then call load_state_dict"
            )
        specification = self._specification_of(format.table)
        fitted = FittedModel(specification.seeded(_checks.seed(self.random_state)))
        fitted.set_input(UNSCALED, None)
        fitted.table = format.table
        return fitted

    def _corruption(self) -> Any:
        share = _checks.number(self.masking, "masking", 0.0, 1.0)
        return corruption.MaskingNoise(share, rescale=False) if share else None

    def _objective(self) -> Objective:
        samples = _checks.integer(self.n_importance_samples, "n_importance_samples", most=_checks.MAX_SAMPLES)
        beta = schedules.check(self.beta, "beta")
        if samples > 1 and beta != 1.0:
            raise ValueError(
                f"n_importance_samples={samples} needs beta=1, not {self.beta!r}: the bound has no KL term"
            )
        return Objective(1.0, beta, 0.0, None, samples, samples > 1)

    def _finish(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> None:
        assert isinstance(data.X, np.ndarray), "tables are dense"
        places = np.arange(len(data.X)) if rows is None else rows.astype(np.intp)
        chosen = data.X[places[:: max(1, len(places) // _CODES)]]
        fitted.table.codes = codes.fit(*fitted.encode(chosen, None, self._threads()), fitted.engine.steps)

    def _collapse(self, fitted: FittedModel, kl: float) -> Sequence[str]:
        if self._objective().beta == 0.0 or fitted.engine.steps < _STEPS or not kl < _LEAST_KL * fitted.latent_dim:
            return ()
        return [diagnosis.collapse_message(self._parameter_names())]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        _checks.choice(self.normalize, "normalize", normalize.WAYS)
        self._unknown()

    # Internal: data

    def _read_first(self, X: Any, y: Any) -> tuple[Examples, Any, Format]:
        way, unknown = _checks.choice(self.normalize, "normalize", normalize.WAYS), self._unknown()
        table = containers.read(X)
        schema = Schema.fit(table, self.columns, way)
        likelihood_of(schema, self.balance)  # raises for names that X does not have
        schema.warn_of_unmodelled()
        return schema.encode(table, "X", unknown), None, Format(UNSCALED, None, None, None, schema)

    def _read_alike(self, X: Any, name: str, cols: int, format: Format) -> Examples:
        schema = self._schema() if format.table is None else format.table
        return schema.encode(schema.read(X, name, type(self).__name__), name, self._unknown())

    def _read_examples(self, X: Any, name: str = "X") -> Examples:
        schema = self._schema()
        return schema.encode(schema.read(X, name, type(self).__name__), name, self._unknown())
