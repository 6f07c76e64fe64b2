"""Detection of anomalies in tables, with scikit-learn's interface of outlier detectors."""

from __future__ import annotations

import numbers
import os
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _checks, likelihoods
from fastvae._checks import NotFittedError
from fastvae._data import arrays, examples, names, sparse
from fastvae._data.robust import RobustScale
from fastvae._estimators import files, sources
from fastvae._estimators.base import Estimator
from fastvae._estimators.turn import Turn
from fastvae._estimators.vae import VAE
from fastvae._fitted import precision
from fastvae._fitted.files import checked_names, with_keys

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.names import Names

# Steps of epochs="auto", passes over the rows that it takes at least, and steps of a pass over copies of few rows.
_STEPS = 400
_LEAST_EPOCHS = 2
_STEPS_OF_COPIES = 30
# Of robust training: the times that a network of half of the rows chooses its rows anew.
_ROUNDS = 4
# Lower bound of the learned standard deviations, in units of RobustScale: a tenth of a column's own.
_FLOOR = 0.1
# Draws of the code for the scores that choose rows, and for the shares of the columns.
_DRAWS_OF_CHOICE = 4
_DRAWS_OF_COLUMNS = 32
_ROWS_OF_MEANS = 1000
_METHODS = ("elbo", "log_marginal")
_KEYS = {"center", "scale", "column_means", "offset", "names", "support"}


class AnomalyDetector(Estimator):
    """Detector of anomalous rows of a table by the density of a variational autoencoder.

    The score of a row is an estimate of log p(x) under a :class:`fastvae.VAE` of standardised columns (An & Cho,
    "Variational autoencoder based anomaly detection using reconstruction probability", 2015): low is anomalous. Columns
    may have any units, holes (NaN) and constant values. Training is robust: it leaves out the rows that look most
    anomalous to a network that has not seen them.

    Parameters
    ----------
    contamination : float or "auto"
        Share of the training rows that ``predict`` calls anomalous, in (0, 0.5]: it sets ``offset_`` and has no effect
        on training. "auto": rows whose score is below the lower quartile of the training rows by more than one and a
        half times the range between the quartiles (Tukey's fence).
    trim : float
        Share of the rows, in [0, 0.5), that the network does not learn; 0 trains on all of them. The default expects
        some anomalies in the training data. 0 is more accurate if there are none (see Notes).
    method : {"log_marginal", "elbo"}
        Score: the importance-sampled log p(x) (Burda et al., arXiv:1509.00519), or its lower bound, the ELBO.
    n_samples : int
        Draws of the code for a score.
    latent_dim : int
        Dimensions of the code.
    hidden : sequence of int
        Widths of the hidden layers of encoder and, reversed, decoder.
    activation : str
        Activation of the hidden layers, as for :class:`fastvae.VAE`.
    beta : float
        Weight of the KL in training. Scores are those of a likelihood: with the weight 1.
    learning_rate : float
        Of Adam.
    batch_size : int
        Rows per step.
    epochs : int or "auto"
        Passes over the data. "auto" takes about 400 steps and at least two passes.
    precision : {"float32", "bf16"}
        Operands of matrix products, as for :class:`fastvae.VAE`; networks of the default size gain nothing.
    n_jobs : int or None
        Number of threads, as for :class:`fastvae.VAE`. Results do not depend on it.
    random_state : int, numpy generator or None
        Seed of weights, order, noise and halves. The same seed gives the same bits.

    Attributes
    ----------
    offset_ : float
        Threshold, nats: ``predict`` calls rows with lower ``score_samples`` anomalous. It may be set.
    vae_ : VAE
        The trained network. It reads columns in the units of ``center_`` and ``scale_``.
    center_, scale_ : ndarray of float64, [n_features]
        Median and robust standard deviation (from the quartiles) of the columns; the network reads (x - center) /
        scale, drawn in logarithmically beyond 5.
    support_ : ndarray of bool, [n_examples]
        Whether a row of the training X took part in the training of ``vae_``.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of object, [n_features]
        Names of the columns; only if X was a frame whose names are strings.

    Notes
    -----
    Robust training (``trim`` above 0) first trains two networks, each on one half of the rows. They leave out the share
    2 ``trim`` of their rows with the lowest scores, and choose it anew four times: trimming, as of least trimmed
    squares (Rousseeuw, 1984) and of the minimum covariance determinant. Each row is then scored by the network of the
    other half, which cannot have memorised it, and the last network learns the rows but for the ``trim`` lowest. This
    takes about twice the time of ``trim=0``.

    Scores are nats of the columns in common units: they compare rows, not detectors or data sets. A missing value
    counts as much as a value of that column does on average in training. A density is no test for anomalies (Nalisnick
    et al., arXiv:1810.09136): check the scores of known ones.

    Defaults were chosen on 20 public sets and checked on 12 others: ``examples/anomalies`` has the comparison.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvae import AnomalyDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> X[:3] += 8
    >>> detector = AnomalyDetector(contamination=0.02, random_state=0).fit(X)
    >>> detector.predict(X[:5])
    array([-1, -1, -1,  1,  1])
    """

    _ACCEPTS_SPARSE = False
    # Parameters that files of earlier versions do not have.
    _VALUES_BEFORE: ClassVar[dict[str, Any]] = {}

    vae_: VAE
    offset_: float

    def __init__(
        self,
        contamination: float | str = 0.05,
        *,
        trim: float = 0.1,
        method: str = "log_marginal",
        n_samples: int = 16,
        latent_dim: int = 8,
        hidden: Any = (32,),
        activation: str = "tanh",
        beta: float = 2.0,
        learning_rate: float = 6e-3,
        batch_size: int = 64,
        epochs: int | str = "auto",
        precision: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.contamination = contamination
        self.trim = trim
        self.method = method
        self.n_samples = n_samples
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.activation = activation
        self.beta = beta
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state

    # Training

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the network and set the threshold.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            Numbers; NaN, None and ``pandas.NA`` are missing values. Frames of pandas, polars and Arrow are accepted.
        y : object
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, a shape or a value is invalid, a column has no value at all, or ``trim`` leaves no rows.
        TypeError
            If X is sparse or does not hold numbers.
        """
        self._check_parameters()
        precision.warn_if_slow(precision.check(self.precision))
        with Turn(self, fits=True):
            X = examples.whole(X)
            labels, values = names.of(X), self._read(X, None)
            unseen = np.flatnonzero(np.isnan(values).all(axis=0))
            if len(unseen):
                raise ValueError(f"{_title(unseen[0], labels)} has no value at all: leave it out")
            units = RobustScale.of(values)
            rows, seed = units.apply(values), _checks.seed(self.random_state)
            with warnings.catch_warnings():
                # Independent columns need no code, and constant ones are no problem here.
                warnings.simplefilter("ignore", UserWarning)
                support = self._choose(rows, seed)
                vae = self._learn(rows[support], seed)
            self.vae_, self.support_, self._units, self._names = vae, support, units, labels
            self._column_means = self._means(vae, rows, support)
            self.offset_ = self._threshold(self._score(rows))
        return self

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int64]:
        """Train and return ``predict`` of the training rows.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : object
            Ignored.

        Returns
        -------
        ndarray of int, [n_examples]
            -1 for anomalies, 1 for others.
        """
        X = examples.whole(X)
        return self.fit(X).predict(X)

    # Scores

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the estimate of log p(x) of each row, by ``method``: lower is more anomalous.

        The noise depends on the seed and the content of a row: a score does not depend on the other rows.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        ndarray of float64, [n_examples]
            Nats, in the units of the network.
        """
        return self._score(self._rows(X))

    def anomaly_score(self, X: Any) -> NDArray[np.float64]:
        """Return -``score_samples(X)``, nats: higher is more anomalous.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        ndarray of float64, [n_examples]
        """
        return -self.score_samples(X)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return ``score_samples(X) - offset_``: negative for anomalies.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        ndarray of float64, [n_examples]
            Nats above the threshold.
        """
        scores = self.score_samples(X)
        if np.ndim(self.offset_) or not isinstance(self.offset_, numbers.Real) or not np.isfinite(self.offset_):
            raise ValueError(f"offset_={self.offset_!r} must be a finite number of nats, a threshold of score_samples")
        return scores - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Tell anomalies from other rows.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        ndarray of int, [n_examples]
            -1 for anomalies, 1 for others.
        """
        return np.where(self.decision_function(X) < 0, -1, 1).astype(np.int64)

    def feature_scores(self, X: Any) -> NDArray[np.float64]:
        """Return the share of each column in the anomaly of a row: which column is odd.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        ndarray of float64, [n_examples, n_features]
            E_q(z|x)[-log p(x_j|z)] less its mean over the training rows, nats; 0 for missing values. Higher is odder.

        Notes
        -----
        A row's negative ELBO is the sum of its terms, not less their means, and KL(q(z|x) || p(z)). The terms are means
        over 32 draws of the code, the same for all rows. A value that contradicts several others may shift the code
        towards itself: then these have high shares, too.
        """
        rows = self._rows(X)
        found = self._column_terms(self.vae_, rows) - self._column_means
        return np.where(np.isnan(rows), 0.0, found)

    # Saving

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the fitted detector to a file, which :func:`fastvae.load` reads.

        Parameters
        ----------
        path : str, path-like or binary file object
            As for :meth:`fastvae.VAE.save`: a path is written atomically.

        Raises
        ------
        NotFittedError
            If the detector is not fitted.
        OSError
            If the file cannot be written.
        TypeError
            If the detector is an instance of a subclass outside fastvae: use pickle.
        ValueError
            If ``fit`` would refuse a parameter.

        Warns
        -----
        UserWarning
            If a file cannot hold a parameter (a numpy generator as ``random_state``).
        """
        self._require_fitted()
        self._check_parameters()
        cls = type(self)
        if not cls.__module__.startswith("fastvae."):
            raise TypeError(
                f"a file holds only fastvae's own classes, so load could not create a {cls.__qualname__}: use pickle"
            )
        stored, skipped = files.encode_parameters(self.get_params())
        more = {
            "center": self.center_.tolist(),
            "scale": self.scale_.tolist(),
            "column_means": self._column_means.tolist(),
            "offset": float(self.offset_),
            "names": None if self._names is None else self._names.tolist(),
            "support": [len(self.support_), np.packbits(self.support_).tobytes().hex()],
        }
        vae = self.vae_
        data = files.dump(vae._require_fitted(), vae._record.copy(), cls.__name__, stored, True, detector=more)
        sources.write(path, data)
        if skipped:
            _checks.warn(f"a file cannot hold {', '.join(skipped)}: the loaded detector will have the default value")

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Return an unfitted detector with parameters from a file; raise ValueError for bad ones."""
        unknown = sorted(parameters.keys() - set(cls._parameter_names()))
        if unknown:
            raise ValueError(f"{cls.__name__} has no parameters {', '.join(unknown)}")
        detector = cls(**parameters)
        detector._check_parameters()
        return detector

    def _restore(self, contents: files.Contents) -> None:
        """Take over the fitted network, units and threshold from a file, or raise an error for damaged ones."""
        found = with_keys(contents.learned.pop("_detector", None), _KEYS, set(), "the detector")
        vae = self._network(0, 1)
        vae._restore(contents)
        vae.set_params(random_state=vae._require_fitted().specification.seed, epochs=max(1, vae.n_iter_))
        n = vae.n_features_in_
        center, scale, means = (_numbers(found[key], n, key) for key in ("center", "scale", "column_means"))
        if not (scale > 0).all():
            raise ValueError("the scale of a column must be positive")
        total, bits = found["support"]
        packed = np.frombuffer(bytes.fromhex(bits), np.uint8)
        if len(packed) != -(-_checks.integer(total, "support") // 8):
            raise ValueError("support does not fit the number of rows")
        support = np.unpackbits(packed, count=total).astype(bool)
        self._names = None if found["names"] is None else checked_names(found["names"], n)
        self.vae_, self.support_, self._units, self._column_means = vae, support, RobustScale(center, scale), means
        self.offset_ = float(_numbers([found["offset"]], 1, "offset")[0])

    # Attributes

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X."""
        return self._require_fitted().n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns of the training X, [n_features]; only if it was a frame whose names are strings."""
        self._require_fitted()
        if self._names is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without feature names")
        return self._names

    @property
    def center_(self) -> NDArray[np.float64]:
        """Median of each column, [n_features]."""
        self._require_fitted()
        return self._units.center

    @property
    def scale_(self) -> NDArray[np.float64]:
        """Robust standard deviation of each column, [n_features]."""
        self._require_fitted()
        return self._units.scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "outlier_detector"
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return "vae_" in vars(self)

    def _allows_nan(self) -> bool:
        return True

    def _html(self) -> str:
        return self.vae_._html() if self.__sklearn_is_fitted__() else ""

    # Internal

    def _require_fitted(self) -> VAE:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self.vae_

    def _check_parameters(self) -> None:
        """Raise ValueError if ``fit`` would refuse a parameter, whatever X is."""
        self._contamination()
        _checks.number(self.trim, "trim", below=0.5)
        _checks.choice(self.method, "method", _METHODS)
        _checks.integer(self.n_samples, "n_samples", most=2**14)
        self._passes(1)
        _checks.check_seed(self.random_state)
        self._network(0, 1)._check_parameters()

    def _contamination(self) -> float | None:
        """Return the parameter ``contamination``, checked; None for "auto"."""
        if isinstance(self.contamination, str):
            if self.contamination != "auto":
                raise ValueError(f'contamination={self.contamination!r} must be a number in (0, 0.5] or "auto"')
            return None
        share = _checks.number(self.contamination, "contamination", below=1.0)
        if not 0 < share <= 0.5:
            raise ValueError(f'contamination={self.contamination!r} must be in (0, 0.5], or "auto"')
        return share

    def _passes(self, n: int) -> int:
        """Return the number of passes over `n` rows."""
        if not isinstance(self.epochs, str):
            return _checks.integer(self.epochs, "epochs")
        if self.epochs != "auto":
            raise ValueError(f'epochs={self.epochs!r} must be an integer or "auto"')
        steps = -(-n // _checks.integer(self.batch_size, "batch_size"))
        return max(_LEAST_EPOCHS, round(_STEPS / steps))

    def _network(self, seed: int, epochs: int) -> VAE:
        """Return a network that is not trained yet."""
        return VAE(
            self.latent_dim,
            hidden=self.hidden,
            activation=self.activation,
            likelihood=likelihoods.Gaussian("per_feature", floor=_FLOOR),
            missing="mask",
            beta=self.beta,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            epochs=epochs,
            precision=self.precision,
            n_jobs=self.n_jobs,
            random_state=seed,
            progress=False,
        )

    def _choose(self, rows: NDArray[np.float32], seed: int) -> NDArray[np.bool_]:
        """Return which rows the network learns, [n]: without the share ``trim`` with the lowest scores.

        Each row is scored by a network of the other half of the rows.
        """
        n, support = len(rows), np.ones(len(rows), bool)
        left_out = int(self.trim * n)
        if left_out == 0:
            return support
        halves = np.random.default_rng([seed, 1]).permutation(n) % 2
        scores = np.empty(n)
        for half in (0, 1):
            mine = halves == half
            scores[~mine] = _scores(self._trimmed(rows[mine], seed), rows[~mine])
        support[np.argsort(scores, kind="stable")[:left_out]] = False
        return support

    def _learn(self, rows: NDArray[np.float32], seed: int) -> VAE:
        """Return a network trained on rows."""
        copies = 1
        if isinstance(self.epochs, str):  # a pass of few steps costs more than its steps
            copies = max(1, _STEPS_OF_COPIES * self.batch_size // len(rows))
        rows = np.tile(rows, (copies, 1))
        return self._network(seed, self._passes(len(rows))).fit(rows)

    def _trimmed(self, rows: NDArray[np.float32], seed: int) -> VAE:
        """Return a network trained on rows, of which it leaves out twice the share ``trim`` with the lowest scores.

        It takes half as many steps as the last network. The first score is the distance from the centre.
        """
        n, done = len(rows), 0
        kept = n - int(2 * self.trim * n)
        examples = self._passes(2 * n) * n
        vae, rng = self._network(seed, 1), np.random.default_rng([seed, 2])
        scores = -np.nansum(np.square(rows, dtype=np.float64), axis=1)
        for stage in range(1, _ROUNDS + 1):
            count = examples * stage // _ROUNDS - done
            if count == 0:
                continue
            support = np.argsort(scores, kind="stable")[n - kept :]
            orders = [rng.permutation(support) for _ in range(-(-count // kept))]
            vae.partial_fit(rows[np.concatenate(orders)[:count]])
            done += count
            scores = _scores(vae, rows)
        return vae

    @classmethod
    def _means(cls, vae: VAE, rows: NDArray[np.float32], support: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the mean of each column's terms over learned rows, at most 10,000, or all if those lack a column."""
        some = rows[support]
        some = some[:: -(-len(some) // _ROWS_OF_MEANS)]
        complete = (~np.isnan(some)).any(axis=0).all()
        return np.asarray(np.nanmean(cls._column_terms(vae, some if complete else rows), axis=0))

    def _threshold(self, scores: NDArray[np.float64]) -> float:
        share = self._contamination()
        if share is not None:
            return float(np.quantile(scores, share))
        low, high = np.quantile(scores, (0.25, 0.75))
        return float(low - 1.5 * (high - low))

    def _read(self, X: Any, n_features: int | None) -> NDArray[Any]:
        """Return X as numbers, [n, n_features], NaN where values are missing."""
        if sparse.is_sparse(names.of_annotated(X)):
            raise TypeError(f"{type(self).__name__} does not support sparse matrices: pass X.toarray()")
        values = examples.given(X, "X", n_features, type(self).__name__).values
        infinite = examples.find(values, np.isinf) if values.dtype.kind == "f" else None
        if infinite:
            row, column, value = infinite
            raise ValueError(f"X[{row}, {column}] is {value}: X must be finite, or NaN where missing")
        return values

    def _rows(self, X: Any) -> NDArray[np.float32]:
        """Return rows as the fitted network reads them."""
        vae, X = self._require_fitted(), examples.whole(X)
        vae.n_jobs = self.n_jobs
        names.check(X, "X", self._names, type(self).__name__)
        return self._units.apply(self._read(X, vae.n_features_in_))

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log p(x) of rows as the network reads them."""
        n_samples = _checks.integer(self.n_samples, "n_samples", most=2**14)
        if _checks.choice(self.method, "method", _METHODS) == "elbo":
            found = self.vae_.score_samples(rows, n_samples=n_samples).astype(np.float64)
        else:
            found = self.vae_.log_marginal(rows, n_samples).estimate
        missing = np.isnan(rows)
        return np.asarray(found - missing @ self._column_means if missing.any() else found)

    @staticmethod
    def _column_terms(vae: VAE, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return E_q(z|x)[-log p(x_j|z)] in nats, [n, n_features], NaN where values are missing.

        Draws of z are mu + sigma e and mu - sigma e, with the same e for all rows.
        """
        mu, logvar = vae.encode(rows)
        sigma = np.exp(np.clip(logvar, -30, 20) / 2)
        log_scale = vae.state_dict()["likelihood.log_scale"].astype(np.float64)
        noise = np.random.default_rng(0).standard_normal((_DRAWS_OF_COLUMNS // 2, mu.shape[1]))
        squares = np.zeros(rows.shape)
        for e in np.concatenate([noise, -noise]).astype(np.float32):
            residuals = vae.inverse_transform(mu + sigma * e)
            residuals -= rows
            residuals *= residuals
            squares += residuals
        constants = log_scale + np.log(2 * np.pi) / 2
        return np.asarray(squares / _DRAWS_OF_COLUMNS * np.exp(-2 * log_scale) / 2 + constants)


def _scores(vae: VAE, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the ELBO of rows per observed value, times the number of columns."""
    observed = (~np.isnan(rows)).sum(axis=1)
    scores = vae.score_samples(rows, n_samples=_DRAWS_OF_CHOICE).astype(np.float64)
    return np.asarray(scores * rows.shape[1] / np.maximum(observed, 1))


def _title(column: Any, labels: Names) -> str:
    return f"column {column} of X" if labels is None else f"column {labels[column]!r} of X"


def _numbers(found: Any, n: int, what: str) -> NDArray[np.float64]:
    """Return `n` finite numbers from a file, or raise ValueError."""
    values = arrays.numeric(found, what).astype(np.float64)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise ValueError(f"{what} must be {n} finite numbers")
    return values
