"""Recommendation from implicit feedback as an estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core, corruption, priors, schedules
from fastvae._data import examples
from fastvae._estimators.variational import Variational
from fastvae._fitted.specification import Specification
from fastvae._recommender import ranking
from fastvae._recommender.clicks import Clicks
from fastvae._recommender.metrics import parse
from fastvae._recommender.ranking import NdcgJudge
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Data, Examples
    from fastvae._estimators.job import Job
    from fastvae._fitted.model import FittedModel
    from fastvae._training.plan import FitSettings, Plan

_SPLIT = 0  # seed of the split of clicks in `score`
_MAX_VALIDATION = 10_000  # users of a validation_fraction, as for the data sets of the paper
_LEAST_STEPS = 20  # of an epoch
_BETA, _BETA_OF_A_CLICK = 1.0, 0.005  # weights of the KL: a user's, and with a composite prior a click's
_BLOCK = 512  # items whose similarities to all others are in memory


class Recommender(Variational):
    """Recommender for clicks, purchases or plays: a VAE with the multinomial likelihood (Mult-VAE).

    Each user is a row of item counts x. The encoder reads x / |x| with half of the items masked, the decoder computes
    the probability of each item, p = softmax(f(z)), and the loss is -sum_i x_i ln p_i + beta KL, in nats per user
    (Liang, Krishnan, Hoffman & Jebara, "Variational autoencoders for collaborative filtering", arXiv:1802.05814). A
    user who was not in the training data is encoded from the clicks alone: no training is needed.

    Parameters
    ----------
    latent_dim : int
        Columns of z, the code of a user.
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
    activation : str
        Activation of the hidden layers, as for :class:`fastvae.VAE`.
    masking : float
        Share of each user's items, in [0, 1), masked at random in the encoder's input at each step of training; the
        others are divided by 1 - masking. The likelihood uses all items.
    prior : "standard", "composite" or fastvae.priors.CompositePrior
        Prior of z in training: N(0, I), or RecVAE's mixture, which keeps each user near the posterior of the epoch
        before (arXiv:1912.11160); its KL is weighted by ``beta`` times the user's clicks.
    beta : float, schedule or None
        Weight of the KL in the loss; None is 1, with a composite prior 0.005, as in RecVAE. A number b stands for
        ``schedules.linear(0, b, epochs=epochs)``: the weight rises in all of ``epochs``. Training keeps the epoch with
        the best NDCG@100 of validation users and so chooses the final weight, ``beta_``, up to b, in one run (section
        2.2.2 of the paper). With a composite prior a number is the same in all epochs, and the weight of a user is beta
        times the sum of x.
    items : sequence of str or int, or None
        Names of the items, [n_items], in the order of the columns of X; ``recommend`` and ``similar_items`` then return
        names and take them. None: the names of a frame's columns, if they are strings, else column numbers.
    optimizer, learning_rate, weight_decay, clip_norm, nan_policy, callbacks, warm_start, precision, n_jobs, \
random_state, progress
        As for :class:`fastvae.VAE`.
    batch_size : int
        Most users per step. There are at least 20 steps in an epoch, with fewer users if necessary.
    epochs : int
        Most passes over the users.
    validation_fraction : float
        Share of the users, in [0, 1), that are not trained on, at most 10,000: a fifth of the items of each is hidden,
        and each epoch is measured by the NDCG@100 of the hidden items, in a ranking from the others. 0: no validation,
        the last epoch is kept, and ``beta`` must be chosen by hand.
    n_iter_no_change : int
        Epochs without a better NDCG@100 before training stops.

    Attributes
    ----------
    items_ : ndarray, [n_items]
        Names of the items; column numbers without names.
    popularity_ : ndarray of int, [n_items]
        Number of users of each item in the first training data.
    best_epoch_ : int
        The epoch, from 1, whose weights were kept; the last one without validation users.
    beta_ : float
        Weight of the KL at the end of that epoch; with a composite prior, for each click.
    item_embeddings_ : ndarray of float32, [n_items, hidden[0]]
        Weights of the output layer, minus their mean over the items, which has no effect on p.
    n_features_in_, feature_names_in_, input_scale_, n_iter_, loss_curve_, elapsed_, interrupted_, n_skipped_batches_
        As for :class:`fastvae.VAE`.
    history_ : dict of str to list of float
        As for :class:`fastvae.VAE`, and "val_ndcg@100". With a composite prior "kl" is its estimate by the
        draws, without the weights, and there are no "val_kl" and "val_loss".

    Notes
    -----
    Values above 1 are repeated clicks: a five-star rating counts as five clicks. To use ratings, keep the good ones
    as ones, ``(X >= 4).astype("float32")``. X may be sparse (CSR is read in place) or dense. ``recommend``,
    ``evaluate`` and ``score`` do not store arrays of users times items; results of ``reconstruct``, ``predictive``,
    ``inverse_transform`` and ``sample`` are such arrays.

    A composite prior belongs to training: ``score_samples``, ``log_marginal``, ``sample`` and ``diagnose`` have
    N(0, I). The posteriors of all training users are in memory, 8 bytes times users times ``latent_dim``. RecVAE's
    other parts are not included: its encoder with layer normalisation, and steps that alternate between encoder and
    decoder.

    Examples
    --------
    >>> import numpy as np, fastvae
    >>> X = (np.random.default_rng(0).random((200, 50)) < 0.2).astype(np.float32)
    >>> model = fastvae.Recommender(8, hidden=(16,), epochs=2, random_state=0).fit(X)
    >>> items, scores = model.recommend(X[:3], n=5)
    >>> items.shape
    (3, 5)
    """

    _NOT_QUANTIZED = "recommend searches the items in float32"
    early_stopping: Any = False  # `_prepare` decides
    tol: Any = 0.0

    def __init__(
        self,
        latent_dim: int = 200,
        *,
        hidden: Any = (600,),
        activation: str = "tanh",
        masking: float = 0.5,
        prior: Any = "standard",
        beta: Any = None,
        items: Any = None,
        optimizer: Any = "adam",
        learning_rate: Any = 1e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        nan_policy: str = "raise",
        batch_size: int = 500,
        epochs: int = 100,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        callbacks: Any = (),
        warm_start: bool = False,
        precision: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | str | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.activation = activation
        self.masking = masking
        self.prior = prior
        self.beta = beta
        self.items = items
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.nan_policy = nan_policy
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    # Recommendations

    def recommend(
        self, X: Any, n: int = 10, *, exclude_seen: bool = True, candidates: Any = None
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the n best items for each user, best first.

        The items are ranked by p(item|user), with z at the posterior mean; of equal items the one in the lower column
        comes first. The outputs of a block of users go through the selection as they are computed: memory does not grow
        with users times items.

        Parameters
        ----------
        X : array_like, [n_users, n_items]
            The clicks of the users, who need not be in the training data. A user without clicks gets the most popular
            items, with a warning.
        n : int
            Items per user.
        exclude_seen : bool
            Leave out the items that the user has in X.
        candidates : sequence of names or column numbers, or mask [n_items] of bool, optional
            Recommend these items only.

        Returns
        -------
        items : ndarray, [n_users, n]
            Names of ``items_``. A user with fewer than n items to recommend has -1 at the end, or None among names.
        scores : ndarray of float32, [n_users, n]
            Logits, ln p(item|user) in nats up to a constant for each user; -inf where there is no item. For a user
            without clicks the logarithm of the item's share of popularity.

        Raises
        ------
        ValueError
            If a value of X is negative or not finite, or a candidate is unknown.
        """
        n = _checks.integer(n, "n", most=_core.MAX_WIDTH)
        exclude_seen = _checks.boolean(exclude_seen, "exclude_seen")
        fitted, clicks = self._require_fitted(), self._clicks(X)
        allowed = None if candidates is None else self._mask(candidates, "candidates")
        empty = np.flatnonzero(clicks.lengths == 0)
        if len(empty) and fitted.popularity is not None:
            _checks.warn(
                f"{len(empty)} users of X have no clicks, the first of them user {empty[0]}: they get the most popular "
                "items"
            )
        items, scores = ranking.best_items(fitted, clicks, n, allowed, exclude_seen, self._threads())
        return self._named(items), scores

    def similar_items(self, items: Any, n: int = 10) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the n items most similar to each item, by the cosine of ``item_embeddings_``.

        Items with similar embeddings are recommended to the same users.

        Parameters
        ----------
        items : name or column number, or sequence of them, [m]
        n : int
            Items for each; an item is not similar to itself.

        Returns
        -------
        items : ndarray, [m, n], or [n] for a single item
            Names of ``items_``, the most similar first; of equal ones the lower column. -1 or None: no more items.
        similarities : ndarray of float32, of the same shape
            From -1 to 1; -inf where there is no item.

        Raises
        ------
        ValueError
            If an item is unknown.
        """
        n = _checks.integer(n, "n", most=_core.MAX_WIDTH)
        vectors = self.item_embeddings_
        one = isinstance(items, (str, bytes)) or np.ndim(items) == 0
        columns = self._columns([items] if one else items, "items")
        norms = np.sqrt(np.square(vectors).sum(1, keepdims=True))
        vectors = vectors / np.where(norms > 0, norms, np.float32(1))
        most = min(n, len(vectors) - 1)
        found = np.full((len(columns), n), -1)
        similarities = np.full((len(columns), n), -np.inf, np.float32)
        for start in range(0, len(columns), _BLOCK):
            part = columns[start : start + _BLOCK]
            cosines = vectors[part] @ vectors.T
            cosines[np.arange(len(part)), part] = -np.inf
            for i, row in enumerate(cosines, start):
                if most:
                    least = np.partition(row, -most)[-most]
                    near = np.flatnonzero(row >= least)  # ascending, ties included
                    best = near[np.argsort(-row[near], kind="stable")[:most]]
                    found[i, :most], similarities[i, :most] = best, row[best]
        named = self._named(found)
        return (named[0], similarities[0]) if one else (named, similarities)

    # Measures

    def evaluate(  # type: ignore[override]
        self, X_seen: Any, X_held: Any, metrics: Any = ("ndcg@100", "recall@20", "recall@50")
    ) -> dict[str, float]:
        """Return mean measures of the ranking of items that users have not seen.

        Parameters
        ----------
        X_seen : array_like, [n_users, n_items]
            The clicks from which items are ranked; they are left out of the ranking.
        X_held : array_like, [n_users, n_items]
            Other clicks of the same users, to be found. Users without any are left out of the means.
        metrics : str or sequence of str
            "ndcg@k": DCG / best possible DCG, where DCG = sum over ranks r up to k of hit_r / log2(r + 1).
            "recall@k": hits among the first k, divided by min(k, held-out items). Both as in the paper
            (arXiv:1802.05814, section 4.2). "precision@k": hits divided by k. "hit@k": 1 if there is a hit.

        Returns
        -------
        dict of str to float
            In the order of ``metrics``.

        Raises
        ------
        ValueError
            If the shapes differ, X_held is empty, a click is in both, or a metric is unknown.
        """
        wanted = parse(metrics)
        fitted, seen, held = self._require_fitted(), self._clicks(X_seen, "X_seen"), self._clicks(X_held, "X_held")
        if len(seen.indptr) != len(held.indptr):
            raise ValueError(
                f"X_seen has {len(seen.lengths)} users and X_held {len(held.lengths)}: pass a row of each for each user"
            )
        if len(held.items) == 0:
            raise ValueError("X_held has no clicks: there is nothing to predict")
        both = np.flatnonzero(np.isin(held.keys, seen.keys, assume_unique=True))
        if len(both):
            user, item = held.users[both[0]], held.items[both[0]]
            raise ValueError(
                f"user {user} has item {self._title(item)} in X_seen and in X_held: seen items are not ranked, so hold "
                "out other clicks than those that are seen"
            )
        return ranking.mean_measures(fitted, seen, held, wanted, self._threads())

    def score(  # type: ignore[override]
        self, X: Any, y: Any = None
    ) -> float:
        """Return the mean NDCG@100 of a fifth of each user's clicks, hidden, ranked from the others: higher is better.

        The split depends on the places of the clicks only: models are compared on the same one.

        Parameters
        ----------
        X : array_like, [n_users, n_items]
            Users with a single click are left out.
        y : None
            Ignored.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no user has two clicks.
        """
        seen, held = self._clicks(X).split(_SPLIT)
        if len(held.items) == 0:
            raise ValueError(
                "score hides a fifth of the clicks of each user, but no user of X has two: pass more clicks"
            )
        [value] = ranking.mean_measures(self._require_fitted(), seen, held, parse("ndcg@100"), self._threads()).values()
        return value

    # Attributes

    @property
    def items_(self) -> NDArray[Any]:
        """Names of the items, [n_items]; column numbers without names."""
        labels = self._labels()
        return np.arange(self._require_fitted().n_features) if labels is None else labels

    @property
    def popularity_(self) -> NDArray[np.int64]:
        """Number of users of each item in the first training data, [n_items]."""
        popularity = self._require_fitted().popularity
        if popularity is None:
            raise AttributeError(f"this {type(self).__name__} has seen no training data, so it has no popularity_")
        return popularity

    @property
    def item_embeddings_(self) -> NDArray[np.float32]:
        """Weights of the output layer minus their mean over the items, [n_items, hidden[0] or latent_dim]."""
        weights = self._require_fitted().state_dict()[f"decoder.{2 * len(self._widths())}.weight"]
        centred: NDArray[np.float32] = weights - weights.mean(0, dtype=np.float64).astype(np.float32)
        return centred

    @property
    def best_epoch_(self) -> int:
        """The epoch, from 1, whose weights were kept."""
        measured = np.array(self.history_.get(NdcgJudge.name, []))
        if not len(measured) or np.isnan(measured[-1]) or self.interrupted_:  # NaN: an epoch of partial_fit
            return self.n_iter_
        return int(np.nanargmax(measured)) + 1

    @property
    def beta_(self) -> float:
        """Weight of the KL at the end of that epoch."""
        fitted, epoch = self._require_fitted(), self.best_epoch_
        per_epoch = max(fitted.engine.steps // max(self.n_iter_, 1), 1)
        beta = self._objective().at(max(epoch * per_epoch - 1, 0), max(epoch - 1 / per_epoch, 0.0)).beta
        assert isinstance(beta, float)
        return beta

    # Internal: overridden

    def _specification(self, n_features: int, conditions: int) -> Specification:
        encoder = self._dense_encoder()
        return Specification.build(
            n_features=n_features,
            variational=True,
            latent_dim=self._latent_dim(),
            decoder=encoder["encoder"][::-1],
            likelihood={"kind": "multinomial"},
            input_transform="l2",
            **encoder,
        )

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        plain = specification.variational and specification.unstructured and not specification.convolutional
        return plain and specification.likelihood["kind"] == "multinomial" and not specification.conditions

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.items is not None:
            self._given_labels()

    def _objective(self) -> Objective:
        prior = priors.resolve_composite(self.prior)
        default = _BETA if prior is None else _BETA_OF_A_CLICK
        beta = schedules.check(default if self.beta is None else self.beta, "beta")
        if isinstance(beta, float) and prior is None:
            beta = schedules.linear(0.0, beta, epochs=_checks.integer(self.epochs, "epochs"))
        return Objective(beta=beta, prior=prior)

    def _corruption(self) -> corruption.MaskingNoise | None:
        share = _checks.number(self.masking, "masking", below=1.0)
        return corruption.MaskingNoise(share) if share else None

    def _plan(self) -> Plan:
        return replace(super()._plan(), least_steps=_LEAST_STEPS)

    def _counts(self) -> bool:
        return True

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, validation_data: Any, settings: FitSettings, going_on: bool
    ) -> Job:
        X = examples.whole(X)
        try:
            n = len(X) if isinstance(X, (list, tuple)) else int(X.shape[0])
        except (AttributeError, IndexError, TypeError, ValueError):  # what is no table: reading it raises the error
            n = 0
        fraction = settings.validation_fraction if validation_data is None else 0.0
        fraction = min(fraction, _MAX_VALIDATION / max(n, 1))
        fraction = fraction if round(n * fraction) else 0.0
        judged = fraction > 0 or validation_data is not None
        settings = settings._replace(validation_fraction=fraction, early_stopping=judged)
        job = super()._prepare(X, y, sample_weight, validation_data, settings, going_on)
        if job.held_out is None:
            return job
        data, rows = job.held_out
        judge = NdcgJudge(job.fitted, Clicks.of(data.X, rows), job.fitted.specification.seed, self._threads())
        if judge.users == 0:
            raise ValueError(
                "no validation user has two clicks, so none can be hidden: pass validation_data with such users, or "
                "validation_fraction=0"
            )
        return job._replace(judge=judge)

    def _check_values(self, fitted: FittedModel, X: Examples, threads: int | None) -> None:
        labels = self._labels_for(fitted)
        if X.shape[1] < 2:
            raise ValueError("X has a single item (n_features=1): a ranking needs two or more columns")
        self._refuse_bad(X, "X", labels)
        super()._check_values(fitted, X, threads)

    def _initialize_weights(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> None:
        super()._initialize_weights(fitted, data, rows)
        fitted.popularity = Clicks.of(data.X).popularity()

    # Internal

    def _widths(self) -> list[Any]:
        return list(self._require_fitted().specification.options["decoder"])

    def _clicks(self, X: Any, name: str = "X") -> Clicks:
        """Return the clicks of users for the fitted model, checked."""
        fitted = self._require_fitted()
        read = self._read_examples(examples.whole(X), name)
        self._refuse_bad(read, name, self._labels_for(fitted))
        return Clicks.of(read)

    def _refuse_bad(self, X: Examples, name: str, labels: NDArray[Any] | None) -> None:
        """Raise ValueError, with user and item, for a value that is negative or not finite."""
        if X.dtype.kind != "f":
            return
        found = examples.find(X, lambda values: ~((values >= 0) & np.isfinite(values)))
        if found is None:
            return
        user, item, value = found
        title = f"item {item}" if labels is None else f"item {labels[item]!r} (column {item})"
        if np.isfinite(value):
            raise ValueError(
                f"Negative values in data: {name}[{user}, {item}] is {value:g}, of user {user} and {title}. Clicks are "
                "counts: pass a number above 0 for an item that the user has chosen, and 0 else"
            )
        raise ValueError(
            f"{name}[{user}, {item}] is {value}, of user {user} and {title}; {name} must be finite, without NaN: an "
            "item that the user has not chosen is 0"
        )

    def _given_labels(self) -> NDArray[Any]:
        """Return the parameter ``items`` as an array, checked."""
        given = self.items
        if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
            raise ValueError(f"items={given!r} must be a sequence of names, one for each column of X")
        found = np.empty(len(given), object)
        found[:] = [name.item() if isinstance(name, np.generic) else name for name in given]
        bad = next((name for name in found if isinstance(name, bool) or not isinstance(name, (str, int))), None)
        if bad is not None:
            raise ValueError(f"items has the name {bad!r}: names are strings or integers")
        names, counts = np.unique([f"{type(name).__name__} {name}" for name in found], return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"items has the name {names[counts > 1][0].split(' ', 1)[1]!r} twice: names must differ")
        return found

    def _labels_for(self, fitted: FittedModel) -> NDArray[Any] | None:
        """Return the names of a model's items, or None."""
        if self.items is None:
            return fitted.names
        labels = self._given_labels()
        if len(labels) != fitted.n_features:
            raise ValueError(f"items has {len(labels)} names, but X has {fitted.n_features} columns: pass one for each")
        return labels

    def _labels(self) -> NDArray[Any] | None:
        return self._labels_for(self._require_fitted())

    def _title(self, item: Any) -> str:
        labels = self._labels()
        return str(item) if labels is None else repr(labels[item])

    def _named(self, columns: NDArray[np.int64]) -> NDArray[Any]:
        """Return the names of items; -1 becomes None."""
        labels = self._labels()
        return columns if labels is None else np.append(labels, [None])[columns]

    def _columns(self, items: Any, name: str) -> NDArray[np.int64]:
        """Return the columns of items given by name, or by number if they have no names."""
        if isinstance(items, (str, bytes)) or not (hasattr(items, "__len__") or hasattr(items, "__iter__")):
            raise ValueError(f"{name}={items!r} must be a sequence of items")
        given = [item.item() if isinstance(item, np.generic) else item for item in items]
        labels, n = self._labels(), self._require_fitted().n_features
        if not given:
            raise ValueError(f"{name} is empty: pass at least one item")
        if labels is None:
            known: Any = range(n)
            bad = next((i for i in given if isinstance(i, bool) or not isinstance(i, int) or i not in known), None)
            if bad is not None:
                raise ValueError(f"{name} has {bad!r}, which is no column of X, 0 to {n - 1}")
            return np.array(given, np.int64)
        places = {label: column for column, label in enumerate(labels)}
        bad = next((item for item in given if item not in places), None)
        if bad is not None:
            raise ValueError(f"{name} has {bad!r}, which is no name of an item (items_)")
        return np.array([places[item] for item in given], np.int64)

    def _mask(self, candidates: Any, name: str) -> NDArray[np.bool_]:
        """Return which items are candidates, [n_items]."""
        n = self._require_fitted().n_features
        given = np.asarray(candidates) if hasattr(candidates, "__len__") else None
        if given is not None and given.dtype.kind == "b":
            mask = np.ascontiguousarray(given)
            if mask.shape != (n,) or not mask.any():
                raise ValueError(f"{name} is a mask of shape {mask.shape}; expected ({n},) with at least one True")
            return mask
        mask = np.zeros(n, bool)
        mask[self._columns(candidates, name)] = True
        return mask
