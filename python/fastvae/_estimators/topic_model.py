"""Topics: documents as mixtures of topics, topics as distributions on words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core, corruption, schedules
from fastvae._estimators.dense import check_transform
from fastvae._estimators.variational import Variational
from fastvae._fitted.specification import Specification
from fastvae._topics import measures, prior, weights
from fastvae._topics.diagnosis import TopicDiagnosis, diagnose
from fastvae._topics.measures import Counts
from fastvae._training.objective import Objective
from fastvae._training.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel

_DECODERS = ("mixture", "product")

# The default alpha. Of ten topics of documents drawn with 0.1, models with 0.5 missed one for three of four seeds, with
# 0.7 and 1 none; coherence and perplexity on BBC News were better with 0.5 than with 1, by little.
_ALPHA = 0.7

# The default masking. On BBC News a product with 0.5 was more coherent than with 0.25; a mixture of ten topics that
# were drawn at random lost some of them with 0.5.
_MASKING = {"mixture": 0.25, "product": 0.5}


class TopicModel(Variational):
    """Topics of documents: each topic is a distribution on words, each document one on topics.

    A variational autoencoder whose code becomes theta = softmax(z) on the simplex, z ~ N(m0, diag(s0²)): the Laplace
    approximation of a Dirichlet(alpha) (Srivastava & Sutton, arXiv:1703.01488, section 3.2),
    m0_k = ln alpha_k - mean ln alpha, s0_k² = (1 - 2/K) / alpha_k + sum_j 1/alpha_j / K². Its words have
    log p(x|theta) = sum_w x_w ln p_w, in nats; the multinomial coefficient, which no model changes, is left out.

    Parameters
    ----------
    n_topics : int
        K, at least 2.
    decoder : {"mixture", "product"}
        "mixture": p = sum_k theta_k phi_k, the topics phi_k on the simplex: for each word draw a topic, then a word of
        it.
        "product" (ProdLDA): p = softmax(BN(theta beta) + b), BN a batch normalisation over the documents of a step.
    alpha : float, array_like [n_topics] or None
        Of the Dirichlet prior: small values want few topics in a document. None is 0.7.
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    activation : str
        Between them.
    input_transform : {"log1p", "binary", "l1", "l2"} or None
        What the encoder sees of the counts, as for :class:`fastvae.VAE`; the likelihood sees the counts. "l1" and "l2"
        hide how long a document is; on BBC News a product with them used two to four of ten topics.
    masking : float or None
        The share of the vocabulary that the encoder does not see of a document in training, in [0, 1), anew in each
        step; the likelihood sees all. None is 0.25 for a mixture, 0.5 for a product. The encoder then tells topics from
        a part of a document, and overfits less.
    beta : float or schedule
        The KL's weight, as for :class:`fastvae.VAE`.
    optimizer, learning_rate, weight_decay, clip_norm, epochs, validation_fraction, early_stopping, n_iter_no_change, \
tol, callbacks, n_jobs, random_state, progress
        As for :class:`fastvae.VAE`.
    batch_size : int
        The most documents in a step. A batch of few is a poor one to normalise over, so steps have as many, more than
        half of it, as leave the last batch of an epoch fullest. (One of a single document is normalised with the
        running statistics.)

    Attributes
    ----------
    components_ : ndarray of float32, [n_topics, n_words]
        Each topic's distribution on words.
    n_features_in_, n_iter_, history_, loss_curve_, elapsed_, interrupted_
        As for :class:`fastvae.VAE`.

    Notes
    -----
    **Collapse**, topics that are all alike, is what such models are prone to. Against it: the posterior's means are
    normalised over the batch (so that each topic is used, as in Zhu et al., arXiv:2004.12585); the topics start as the
    words' frequencies times random factors, and learn faster than the encoder (phi = softmax(10 W)). ``diagnose`` says
    whether it has happened.

    ``state_dict`` has ``topics.weight`` [n_words, n_topics]: phi_k = softmax over the words of 10 times its column k,
    or beta of a product, whose b is ``topics.norm.bias``. Running statistics are ``mu.norm.running_mean``,
    ``mu.norm.running_var`` and those of ``topics.norm``; no gradient is theirs.

    Examples
    --------
    >>> import numpy as np, fastvae
    >>> X = np.random.default_rng(0).poisson(0.5, (200, 50))
    >>> model = fastvae.TopicModel(5, epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.components_.shape
    ((200, 5), (5, 50))
    """

    _simplex = True  # what codes are of: fastvae.latent lays no plane through it

    def __init__(
        self,
        n_topics: int = 20,
        *,
        decoder: str = "mixture",
        alpha: Any = None,
        hidden: Any = (100, 100),
        activation: str = "softplus",
        input_transform: str | None = None,
        masking: float | None = None,
        beta: Any = 1.0,
        optimizer: Any = "adam",
        learning_rate: Any = 2e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        batch_size: int = 64,
        epochs: int = 200,
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ) -> None:
        self.n_topics = n_topics
        self.decoder = decoder
        self.alpha = alpha
        self.hidden = hidden
        self.activation = activation
        self.input_transform = input_transform
        self.masking = masking
        self.beta = beta
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    # Documents

    def transform(self, X: Any, *, y: Any = None) -> Any:
        """Return each document's topics, E_q[theta]: float32 [n_documents, n_topics], rows that sum to one.

        The mean over fixed points of the noise, 64 to 128, the same for all documents: a document's row depends neither
        on the order nor on the company. Shares are off by less than a fiftieth of 1 / n_topics, on average. ``y`` is
        ignored.
        """
        fitted, (documents, _) = self._require_fitted(), self._read_data(X)
        theta = fitted.mean_code(documents, prior.points(fitted.latent_dim), self._threads())
        return self._as_output(theta, X)

    def encode(self, X: Any, *, y: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mu and logvar of z, the code before theta = softmax(m0 + s0 z), each [n_documents, n_topics]."""
        return super().encode(X, y=y)

    def posterior_sample(self, X: Any, n: int, random_state: Any = None, *, y: Any = None) -> NDArray[np.float32]:
        """Draw each document's theta from its posterior, [n, n_documents, n_topics]; as of :class:`fastvae.VAE`."""
        return super().posterior_sample(X, n, random_state, y=y)

    def sample(self, n: int, **options: Any) -> Any:
        """Return p(w|theta), [n, n_words], of theta from the prior (``return_latent``); else as :meth:`VAE.sample`."""
        return super().sample(n, **options)

    def impute(
        self, X: Any, *, y: Any = None, draws: int | None = None, n_iter: int = 0, random_state: Any = None
    ) -> NDArray[np.float32]:
        """Raise ValueError: a document has no holes, since a word that does not occur is a zero."""
        return super().impute(X, y=y, draws=draws, n_iter=n_iter, random_state=random_state)

    def inverse_transform(self, Z: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Return the distribution on words, float32 [n, n_words], of documents with topics Z, [n, n_topics].

        Raises
        ------
        ValueError
            If rows of Z are no shares: negative, or with a sum other than one.
        """
        self._require_fitted()
        theta = measures.shares(Z, "Z").astype(np.float32)
        return super().inverse_transform(theta, y=y)

    def reconstruct(self, X: Any, *, y: Any = None) -> NDArray[np.float32]:
        """Return the distribution on words of each document's topics: ``inverse_transform(transform(X))``."""
        self._require_fitted()
        return self.inverse_transform(np.asarray(self.transform(X)), y=y)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of ``score_samples``, nats per document: higher is better.

        (That of scikit-learn's LatentDirichletAllocation is a total.)
        """
        return super().score(X, y)

    def perplexity(self, X: Any, sub_sampling: bool = False) -> float:
        """Return exp(-bound / words), the bound being the ELBO of all documents of X: lower is better.

        A model that knows nothing has as many as the vocabulary has words. ``sub_sampling`` is scikit-learn's, and
        ignored.
        """
        bound = self.score_samples(X)
        words = float(weights.count_words(self._read_data(X)[0]).sum())
        if words == 0:
            raise ValueError("perplexity is undefined: X has no words")
        return float(np.exp(-np.sum(bound, dtype=np.float64) / words))

    def similar_documents(
        self, X: Any, query: Any, n: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the n documents of X whose topics are nearest to those of each in ``query``, in Hellinger distance.

        None is 5, or as many as there are.

        Returns
        -------
        indices, distances : ndarray, [len(query), n]
            Rows of X, nearest first. A query that is in X finds itself, at distance 0.
        """
        self._require_fitted()
        theta, wanted = (np.asarray(self.transform(documents)) for documents in (X, query))
        return measures.similar_documents(theta, wanted, n)

    def sample_documents(self, n: int, lengths: Any = 100, random_state: Any = None) -> Counts:
        """Draw documents: theta from the prior, then for each word a topic from theta and a word from that topic.

        Of a "product", whose words come from all topics together, each word is drawn from p(w|theta).

        Parameters
        ----------
        n : int
            How many.
        lengths : int or array_like of int, [n]
            Words in each.
        random_state : int, numpy generator or None
            As for :meth:`fastvae.VAE.sample`.

        Returns
        -------
        Counts
            Sparse: ``data``, ``indices``, ``indptr``, ``shape`` as of a scipy CSR matrix; ``toarray()`` makes it dense.
        """
        n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
        fitted = self._require_fitted()
        seed = self._seed_for(random_state)
        theta = self._prior(n, seed)
        generator = np.random.default_rng(seed)
        if fitted.specification.likelihood["kind"] == "mixture":
            return measures.sample_documents(theta, self.components_, lengths, generator)
        words = self.n_features_in_
        return measures.sample_words(theta, self.inverse_transform, words, lengths, generator)

    # Topics

    @property
    def components_(self) -> NDArray[np.float32]:
        """Each topic's distribution on words, [n_topics, n_words], rows that sum to one: p(w|theta) of it alone.

        Of a mixture that is phi; of a product the softmax of beta_k, normalised with the running statistics, plus b.
        """
        if self._fitted is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet, so it has no components_")
        return self.inverse_transform(np.eye(self._fitted.latent_dim))

    def top_words(self, vocabulary: Sequence[str] | Mapping[str, int], n: int | None = None) -> list[list[str]]:
        """Return the n likeliest words of each topic, [n_topics][n]: None is 10, or as many as there are.

        ``vocabulary`` holds the words in the order of the columns of X, or the column of each, as that of
        scikit-learn's ``CountVectorizer`` does.
        """
        return measures.top_words(self._components(), vocabulary, n)

    def topic_diversity(self, n: int | None = None) -> float:
        """Return the share of different words among the n likeliest of all topics: 1 where no two topics share one.

        None is 25, or as many as there are.
        """
        return measures.diversity(self._components(), n)

    def coherence(self, X_reference: Any, measure: str = "npmi", n: int | None = None) -> NDArray[np.float64]:
        """Return how much the n likeliest words of each topic occur together, [n_topics]: higher is better.

        Parameters
        ----------
        X_reference : array_like or CSR, [n_documents, n_words]
            Where to look.
        measure : {"npmi", "umass"}
        n : int or None
            None is 10, or as many as there are.
        """
        return measures.coherence(self._components(), X_reference, measure, n)

    def diagnose(self, X: Any, *, y: Any = None) -> TopicDiagnosis:
        """Look at whether the topics have collapsed: topics that are alike, that no document uses, a KL near zero.

        Returns
        -------
        TopicDiagnosis
            Numbers, and what they mean in words: ``print(model.diagnose(X))``.
        """
        codes = super().diagnose(X, y=y)
        return diagnose(codes, np.asarray(self.transform(X)), self.components_)

    def describe_objective(self) -> str:
        """Say in one paragraph what ``fit`` maximises."""
        words = {
            "mixture": "p = sum_k theta_k phi_k, each topic phi_k a softmax over the words",
            "product": "the output is BN(theta beta) + b, BN over the documents of a batch",
        }[_checks.choice(self.decoder, "decoder", _DECODERS)]
        alpha = self._alpha()
        shown = f"{alpha[0]:g}, ..." if np.ptp(alpha) else f"{alpha[0]:g}"
        return (
            f"{super().describe_objective()} theta = softmax(m0 + s0 z), where N(m0, diag s0²) is the Laplace "
            f"approximation of a Dirichlet({shown}), whose KL from the posterior of m0 + s0 z is that of z; {words}."
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    # Internal

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        return specification.topics is not None

    def _specification(self, n_features: int, conditions: int) -> Specification:
        kind = {"mixture": "mixture", "product": "multinomial"}[self._decoder()]
        return Specification.build(
            n_features=n_features,
            variational=True,
            latent_dim=self._latent_dim(),
            decoder=[],
            likelihood={"kind": kind},
            input_transform=check_transform(self.input_transform),
            topics=prior.laplace(self._alpha()),
            **self._encoder(),
        )

    def _objective(self) -> Objective:
        return Objective(beta=schedules.check(self.beta, "beta"))

    def _latent_dim(self) -> int:
        return _checks.integer(self.n_topics, "n_topics", least=2, most=_core.MAX_WIDTH // 2)

    def _decoder(self) -> str:
        return _checks.choice(self.decoder, "decoder", _DECODERS)

    def _corruption(self) -> corruption.MaskingNoise | None:
        """Return what the encoder does not see in training."""
        usual = _MASKING[self._decoder()]
        share = usual if self.masking is None else _checks.number(self.masking, "masking", below=1.0)
        return corruption.MaskingNoise(share) if share else None

    def _components(self) -> NDArray[np.float32]:
        self._require_fitted()
        return self.components_

    def _alpha(self) -> NDArray[np.float64]:
        """Return the prior's parameters, [n_topics], checked."""
        n = self._latent_dim()
        alpha = np.asarray(_ALPHA if self.alpha is None else self.alpha)
        good = alpha.dtype.kind in "iuf" and alpha.shape in ((), (n,))
        if not good or not ((alpha >= 1e-3) & (alpha <= 1e3)).all():
            raise ValueError(f"alpha={self.alpha!r} must be a number, or {n} numbers, from 0.001 to 1000")
        return np.broadcast_to(alpha.astype(np.float64), (n,))

    def _plan(self) -> Plan:
        return replace(super()._plan(), even_batches=True)

    def _prior(self, n: int, seed: int) -> NDArray[np.float32]:
        topics = self._require_fitted().specification.topics
        assert topics is not None, "a topic model has a prior of topics"
        return prior.to_simplex(super()._prior(n, seed), *topics)

    def _initial_weights(
        self, fitted: FittedModel, X: Any, rows: NDArray[np.uint64] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Let the topics start as the words' frequencies: times random factors, or, of a product, in the bias."""
        frequencies = weights.log_frequencies(X, rows)
        if self.decoder == "product":
            return {"topics.norm.bias": frequencies.astype(np.float32)}
        return {"topics.weight": weights.random_topics(frequencies, fitted.latent_dim, fitted.specification.seed)}
