"""Imputer: filling the holes of tables as a step of a pipeline."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._estimators.tabular import TabularVAE
from fastvae._tables import containers

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Imputer(TabularVAE):
    """Transformer that fills the holes of a table: a :class:`fastvae.TabularVAE` whose ``transform`` imputes.

    Parameters
    ----------
    latent_dim, columns, unknown, normalize, balance, hidden, decoder_hidden, activation, beta, n_importance_samples, \
masking, optimizer, learning_rate, weight_decay, clip_norm, nan_policy, batch_size, epochs, validation_fraction, \
early_stopping, n_iter_no_change, tol, callbacks, warm_start, precision, n_jobs, random_state, progress
        As for :class:`fastvae.TabularVAE`.
    draw : bool
        ``transform`` fills holes with draws instead of means and most probable levels.
    n_samples : int
        Importance samples for each row, as for :meth:`fastvae.TabularVAE.impute`.
    add_indicator : bool
        Append a column for each column with holes in the training table: 1 where the value is missing.

    Attributes
    ----------
    indicator_columns_ : list of str
        Columns with holes in the training table.
    n_features_in_, feature_names_in_, kinds_, levels_, matrix_slices_, history_, n_iter_, loss_curve_, elapsed_, \
interrupted_, n_skipped_batches_
        As for :class:`fastvae.TabularVAE`.

    Notes
    -----
    ``transform`` returns the container that it is given, unless ``set_output`` chooses one. Columns without any value
    in the training table are left out, as by scikit-learn's imputers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastvae
    >>> X = np.random.default_rng(0).normal(size=(200, 1)) * [1, 2, 3]
    >>> X[0, 1] = np.nan
    >>> imputer = fastvae.Imputer(1, random_state=0).fit(X)
    >>> bool(abs(imputer.transform(X)[0, 1] - 2 * X[0, 0]) < 0.5)
    True
    """

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
        draw: bool = False,
        n_samples: int = 100,
        add_indicator: bool = False,
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
        given = locals()
        super().__init__(**{name: given[name] for name in signature(TabularVAE).parameters})
        self.draw = draw
        self.n_samples = n_samples
        self.add_indicator = add_indicator

    def transform(self, X: Any, *, y: Any = None) -> Any:  # type: ignore[override]
        """Return the table with its holes filled.

        Parameters
        ----------
        X : frame or array_like, [n_rows, n_columns]
        y : None
            Not used.

        Returns
        -------
        frame or array
            In the container of X or of ``set_output``, with the dtypes of X.
        """
        schema = self._schema()
        filled = self.impute(X, draw=_checks.boolean(self.draw, "draw"), n_samples=self.n_samples)
        table = schema.read(X, "X", type(self).__name__)
        kept = [i for i, column in enumerate(schema.columns) if column.kind != "empty"]
        found = filled if len(kept) == len(schema.columns) else containers.select(filled, table.container, kept)
        places = self._indicated()
        if places:
            flags = [schema.columns[i].missing(table.columns[i]) for i in places]
            names = list(self.get_feature_names_out())
            found = containers.append(found, table.container, flags, names)
        return self._in_container(found, table.container)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the columns of ``transform``'s result.

        Parameters
        ----------
        input_features : sequence of str, optional
            Names of the columns of X, if it had none in ``fit``; else they must be its names.

        Returns
        -------
        ndarray of object
            Names of the columns ("x0", "x1", ... without names), then "missingindicator_<name>" of each column with
            an indicator.
        """
        schema = self._schema()
        names = [str(label) if schema.named else f"x{label}" for label in schema.labels]
        if input_features is not None:
            given = [str(name) for name in input_features]
            if schema.named and given != names:
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(given) != len(names):
                raise ValueError(f"input_features should have length equal to number of features ({len(names)})")
            names = given
        kept = [name for name, column in zip(names, schema.columns, strict=True) if column.kind != "empty"]
        return np.array(kept + [f"missingindicator_{names[i]}" for i in self._indicated()], object)

    @property
    def indicator_columns_(self) -> list[Any]:
        """Columns with holes in the training table."""
        return [column.label for column in self._schema().columns if column.holes]

    # Internal

    def _indicated(self) -> list[int]:
        """Return the places of the columns that have an indicator."""
        if not _checks.boolean(self.add_indicator, "add_indicator"):
            return []
        return [i for i, column in enumerate(self._schema().columns) if column.holes]

    def _in_container(self, found: Any, container: str) -> Any:
        """Return a table in the container of ``set_output``."""
        wanted = self._output_container()
        if wanted in ("default", container):
            return found
        return containers.convert(found, wanted, list(self.get_feature_names_out()))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        _checks.boolean(self.draw, "draw")
        _checks.boolean(self.add_indicator, "add_indicator")
        _checks.integer(self.n_samples, "n_samples", least=0, most=2**31)
