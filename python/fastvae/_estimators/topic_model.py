"""Topic models as an estimator."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core, corruption, schedules
from fastvae._data import arrays, examples
from fastvae._data.names import Named
from fastvae._estimators import ranks
from fastvae._estimators.by_rows.method import by_rows
from fastvae._estimators.layered import check_transform
from fastvae._estimators.variational import Variational
from fastvae._fitted import output, overflow
from fastvae._fitted.diagnosis import FINE
from fastvae._fitted.specification import HIDDEN, Specification
from fastvae._topics import choice, clusters, documents, explanation, measures, prior, seeds, texts, weights
from fastvae._topics.choice import TopicChoice
from fastvae._topics.diagnosis import TopicDiagnosis, diagnose
from fastvae._topics.documents import Counts
from fastvae._topics.explanation import Explanation, TopicShares
from fastvae._training.convergence import Budget
from fastvae._training.objective import Objective
from fastvae._training.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Data, Given
    from fastvae._export.onnx import Extras
    from fastvae._fitted.model import FittedModel

_DECODERS = ("mixture", "product")
_CONTEXTUAL = ("combined", "only")
_INITS = ("random", "clusters")

# The default alpha. Of 5,000 synthetic documents of ten topics with alpha 0.1, mixtures with 0.3 missed two topics for
# half of the seeds, with 0.5 none. A product's topics of titles had words that never occur together with 0.7.
_ALPHA = {"mixture": 0.5, "product": 0.3}

# Steps in which the default beta rises from 0 to 1. Ten words say little about theta: with beta 1 from the start and
# alpha 0.1, all topics of a mixture stayed alike on such titles.
_WARM_UP = 500

# The default masking. On BBC News a product was more coherent with 0.5 than with 0.25. With synthetic documents of ten
# random topics a mixture lost some of them with 0.5.
_MASKING = {"mixture": 0.25, "product": 0.5}

# Epochs before which `fit` does not warn of topics that are alike: they start alike.
_SEPARATED = 20


class TopicModel(Variational):
    """Topic model: a VAE in which a topic is a distribution over words, and a document a distribution over topics.

    The code is theta = softmax(z) on the simplex with the prior z ~ N(m0, diag(s0²)), the Laplace approximation of a
    Dirichlet(alpha) (Srivastava & Sutton, arXiv:1703.01488, section 3.2): m0_k = ln alpha_k - mean ln alpha,
    s0_k² = (1 - 2/K) / alpha_k + sum_j 1/alpha_j / K². The likelihood of word counts x is
    log p(x|theta) = sum_w x_w ln p_w, in nats, without the multinomial coefficient, which does not depend on the model.

    Parameters
    ----------
    n_topics : int
        Number of topics K, at least 2.
    decoder : {"mixture", "product"}
        "mixture": p = sum_k theta_k phi_k with topics phi_k on the simplex; a word is drawn from a topic drawn from
        theta. "product" (ProdLDA): p = softmax(BN(theta beta) + b), where BN is batch normalisation over the documents
        of a step.
    alpha : float, array_like [n_topics] or None
        Parameter of the Dirichlet prior; small values prefer few topics per document. None is 0.5
        for a mixture and 0.3 for a product.
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    activation : str
        Activation of the hidden layers, as for :class:`fastvae.VAE`.
    input_transform : {"frequencies", "log1p", "binary", "l1", "l2"} or None
        Transformation of the encoder's input, as for :class:`fastvae.VAE`; the likelihood uses the counts. With
        "frequencies", 50 x / (10 + words), theta settles as a document grows. With None, the counts, or "log1p" it
        goes astray in documents that are longer than those of training. "l1" makes the inputs too small to learn from:
        on BBC News a product then used two to four of ten topics.
    masking : float or None
        Share of each document's input, in [0, 1), that is set to zero in training, at random in each step; the rest is
        divided by 1 - masking, and the likelihood uses all counts. It reduces overfitting. None is 0.25 for a mixture
        and 0.5 for a product.
    beta : float, schedule or None
        Weight of the KL, as for :class:`fastvae.VAE`. None is a warm-up, ``schedules.linear(0, 1, steps=500)``, in
        which topics of short documents separate; with ``init="clusters"``, whose topics are separate, it is 1.
    init : {"random", "clusters"} or None
        Topics at the start. "random": word frequencies times random factors; random weights of a product. "clusters":
        groups of words that occur in the same documents, by spherical k-means of their positive pointwise mutual
        information, which takes 0.1 s for 30,000 titles. A few epochs are then enough for many documents: see the
        guide. None is "clusters" with ``seed_words``, else "random".
    seed_words : mapping of int to sequences, or None
        Words that the prior gives to topics, by topic: ``{0: ["goal", "match"], 3: ["market"]}``. A word is its name in
        ``vocabulary`` or in the columns of a frame, or the index of its column. Other topics are free. See Notes.
    seed_strength : float
        Strength of that prior, in (0, 1): the share of a topic's words that its seeds would have in the prior alone, if
        each topic had as many words.
    vocabulary : sequence of str, mapping of str to int, or None
        The words in the order of the columns of X, or a mapping from word to column, such as scikit-learn's
        ``CountVectorizer.vocabulary_``: names for ``seed_words`` and ``top_words``. None is the columns of a frame.
    contextual : {"combined", "only"}
        What the encoder reads if ``fit`` is given embeddings of the documents (CTM): the words and the embeddings
        (Bianchi, Terragni & Hovy, arXiv:2004.03974), or the embeddings only, so that documents need no words of the
        vocabulary: those of another language, for example (ZeroShotTM; Bianchi et al., arXiv:2004.07737).
    optimizer, learning_rate, weight_decay, clip_norm, nan_policy, validation_fraction, early_stopping, \
n_iter_no_change, tol, callbacks, warm_start, n_jobs, random_state, progress, communicator
        As for :class:`fastvae.VAE`.
    epochs : int or "auto"
        Passes over the documents. "auto" is at least 100 epochs and 5,000 steps (625 epochs for 500 documents), and up
        to twice as many while the loss falls; ``fit`` warns if it still falls then.
    batch_size : int
        Maximum number of documents per step. Batch normalisation needs large batches: the actual size, more than half
        of the maximum, is the one whose last batch of an epoch is fullest. A batch of a single document uses the
        running statistics.

    Attributes
    ----------
    components_ : ndarray of float32, [n_topics, n_words]
        Word probabilities of each topic.
    n_embeddings_ : int
        Number of columns of the embeddings that the encoder reads; 0 without.
    n_features_in_, feature_names_in_, input_scale_, n_iter_, history_, loss_curve_, elapsed_, interrupted_, \
n_skipped_batches_
        As for :class:`fastvae.VAE`.

    Notes
    -----
    Such models are prone to **collapse**: all topics become alike. Three measures counteract it. Posterior means are
    batch-normalised, so that each topic is used (as in Zhu et al., arXiv:2004.12585). The topics of a mixture start as
    word frequencies times random factors. Topics learn faster than the encoder, since phi = softmax(10 W).
    ``diagnose`` reports collapse.

    **Seed words** of topic k are a prior of its words: as if n occurrences of each had been seen with the topic, where
    the n of a topic add up to s / (1 - s) times the number of words of the training documents, divided by n_topics (s
    is ``seed_strength``). In a mixture they are pseudo-counts, phi_k ~ Dirichlet(1 + n), with the penalty -n ln phi_kw.
    In a product the penalty is -n ln softmax_k(beta_w), over the topics: n occurrences that are labelled with their
    topic (as the z-labels of Andrzejewski & Zhu, NAACL Workshop on Semi-supervised Learning 2009). The clusters at the
    start have the seeds as centres. Jagarlamudi, Daumé & Udupa (EACL 2012), who introduced seeds in LDA, mix a topic
    with a distribution of its seeds instead. ``history_["loss"]`` includes the penalty, divided by the number of
    documents; ``elbo`` and scores do not. A model from ``load_state_dict`` has no such prior.

    ``state_dict`` has ``topics.weight`` [n_words, n_topics]. In a mixture phi_k is the softmax over the words of 10
    times column k. In a product the weight is beta, and ``topics.norm.bias`` is b. Running statistics, which have no
    gradients, are ``mu.norm.running_mean``, ``mu.norm.running_var`` and those of ``topics.norm``.

    Examples
    --------
    >>> import numpy as np, fastvae
    >>> X = np.random.default_rng(0).poisson(0.5, (200, 50))
    >>> model = fastvae.TopicModel(5, epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.components_.shape
    ((200, 5), (5, 50))
    """

    _NOT_QUANTIZED = "its topics are its result"
    _BUDGET = Budget(steps=5000, epochs=100, factor=2)
    _with_embeddings: bool | None = None  # of a running `fit`
    _simplex = True  # codes lie on the simplex: fastvae.latent refuses grids and directions

    def __init__(
        self,
        n_topics: int = 20,
        *,
        decoder: str = "mixture",
        alpha: Any = None,
        hidden: Any = (100, 100),
        activation: str = "softplus",
        input_transform: str | None = "frequencies",
        masking: float | None = None,
        beta: Any = None,
        init: str | None = None,
        seed_words: Any = None,
        seed_strength: float = 0.05,
        vocabulary: Any = None,
        contextual: str = "combined",
        optimizer: Any = "adam",
        learning_rate: Any = 2e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        nan_policy: str = "raise",
        batch_size: int = 64,
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
        communicator: Any = None,
    ) -> None:
        self.n_topics = n_topics
        self.decoder = decoder
        self.alpha = alpha
        self.hidden = hidden
        self.activation = activation
        self.input_transform = input_transform
        self.masking = masking
        self.beta = beta
        self.init = init
        self.seed_words = seed_words
        self.seed_strength = seed_strength
        self.vocabulary = vocabulary
        self.contextual = contextual
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
        self.communicator = communicator

    # Training

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        embeddings: Any = None,
        validation_data: Any = None,
        epochs: int | None = None,
        checkpoint: Any = None,
        checkpoint_every: int | None = None,
    ) -> Self:
        """Train as :meth:`fastvae.VAE.fit` does, optionally with embeddings of the documents beside their words.

        Parameters
        ----------
        X : array_like or CSR, [n_documents, n_words]
            Counts of words.
        y : None
            Ignored.
        sample_weight : array_like, [n_documents], optional
        embeddings : array_like, [n_documents, n_dimensions], optional
            Vectors of the documents, from a language model for example, which the encoder reads; the decoder generates
            the words. Columns far from unit size are standardised within the network. Every method that reads
            documents then needs the embeddings of them, as ``embeddings=`` or, where a method has only y, as ``y=``.
            ``fastvae.resume`` takes them as y.
        validation_data : array_like or tuple (X, embeddings), optional
            A tuple with embeddings.
        epochs, checkpoint, checkpoint_every
            As for :meth:`fastvae.VAE.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError, KeyboardInterrupt, OSError, RuntimeError
            As from :meth:`fastvae.VAE.fit`; if the embeddings are not a matrix with a row for each document.
        """
        with ranks.joined(self, "fit", epochs=epochs), self._reading(embeddings):
            X = examples.whole(X)
            return super().fit(
                X,
                self._vectors(embeddings, X),
                sample_weight,
                validation_data=validation_data,
                epochs=epochs,
                checkpoint=checkpoint,
                checkpoint_every=checkpoint_every,
            )

    def partial_fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any = None,
        *,
        embeddings: Any = None,
        sample_weight: Any = None,
        eps: Any = None,
        corrupted: Any = None,
    ) -> Self:
        """Continue training: one pass over X in the given order.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        y : None
            Ignored.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``fit``.
        sample_weight, eps, corrupted
            As for :meth:`fastvae.VAE.partial_fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError, RuntimeError
            As from :meth:`fastvae.VAE.partial_fit`.
        """
        with ranks.joined(self, "partial_fit"), self._reading(embeddings):
            X = examples.whole(X)
            vectors = self._vectors(embeddings, X)
            return super().partial_fit(X, vectors, sample_weight=sample_weight, eps=eps, corrupted=corrupted)

    # Documents

    @by_rows("y", "embeddings", result="codes")
    def transform(self, X: Any, *, y: Any = None, embeddings: Any = None, out: Any = None) -> Any:
        """Return topic shares of each document, E_q[theta].

        E_q is a mean over 64 to 128 fixed points of the noise, the same for all documents, so a row does not depend on
        the other documents. The mean error of a share is below 0.02 / n_topics.

        Parameters
        ----------
        X : array_like, [n_documents, n_words], or None
            None is documents without words, for a model with ``contextual="only"``.
        y : array_like, optional
            Another name of ``embeddings``; ignored by a model without.
        embeddings : array_like, [n_documents, n_dimensions], optional
            Required by a model that was fitted with embeddings.
        out : ndarray or memory map, [n_documents, n_topics], optional
            As for :meth:`fastvae.VAE.transform`.

        Returns
        -------
        ndarray of float32, [n_documents, n_topics]
            Rows sum to one. Or a frame: see ``set_output``. `out`, if given.
        """
        fitted = self._require_fitted()
        vectors = self._given_vectors(y, embeddings)
        X = self._wordless(vectors) if X is None else X
        counts, vectors = self._read_data(X, vectors)
        given = {"X": X, "X as it is read": counts, "embeddings": vectors}
        out = output.check(out, (len(counts), fitted.latent_dim), given)
        theta = fitted.mean_code(counts, vectors, prior.points(fitted.latent_dim), self._threads(), out)
        return self._as_output(theta, X) if out is None else out

    def encode(
        self, X: Any, *, y: Any = None, embeddings: Any = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the parameters of q(z|x), where z is the code before theta = softmax(m0 + s0 z).

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        y : array_like, optional
            Another name of ``embeddings``; ignored by a model without.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``transform``.

        Returns
        -------
        mu : ndarray of float32, [n_documents, n_topics]
        logvar : ndarray of float32, [n_documents, n_topics]
        """
        return super().encode(X, y=self._given_vectors(y, embeddings))

    def posterior_sample(self, X: Any, n: int, random_state: Any = None, *, y: Any = None) -> NDArray[np.float32]:
        """Draw theta from the posterior of each document.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        n, random_state
            As for :meth:`fastvae.VAE.posterior_sample`.
        y : array_like, [n_documents, n_dimensions], optional
            Embeddings, required by a model that was fitted with them; ignored by one without.

        Returns
        -------
        ndarray of float32, [n, n_documents, n_topics]
        """
        return super().posterior_sample(X, n, random_state, y=y)

    def sample(self, n: int, **options: Any) -> Any:
        """Return p(w|theta) for theta drawn from the prior.

        Parameters
        ----------
        n : int
            Number of documents.
        **options
            As for :meth:`fastvae.VAE.sample`.

        Returns
        -------
        x : ndarray of float32, [n, n_words]
        theta : ndarray of float32, [n, n_topics]
            Only with ``return_latent=True``.
        """
        return super().sample(n, **options)

    def impute(self, X: Any, **options: Any) -> NDArray[Any]:
        """Raise ValueError: a document has no missing values, since a word that does not occur is a zero.

        Parameters
        ----------
        X, **options
            Ignored.

        Raises
        ------
        ValueError
            Always.
        """
        return super().impute(X, **options)

    @by_rows(result="decoded")
    def inverse_transform(self, Z: Any, *, y: Any = None, out: Any = None) -> NDArray[np.float32]:
        """Return the word probabilities of documents with topic shares Z.

        Parameters
        ----------
        Z : array_like, [n, n_topics]
            Not negative; rows sum to one.
        y : None
            Ignored.
        out : ndarray or memory map, [n, n_words], optional
            As for :meth:`fastvae.VAE.inverse_transform`.

        Returns
        -------
        ndarray of float32, [n, n_words]
            `out`, if given.

        Raises
        ------
        ValueError
            If a row of Z has negative values or does not sum to one.
        """
        self._require_fitted()
        theta = documents.shares(Z, "Z").astype(np.float32)
        return super().inverse_transform(theta, y=y, out=out)

    @by_rows("y", "embeddings", result="decoded")
    def reconstruct(self, X: Any, *, y: Any = None, embeddings: Any = None, out: Any = None) -> NDArray[np.float32]:
        """Return ``inverse_transform(transform(X))``, word probabilities.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        y : array_like, optional
            Another name of ``embeddings``; ignored by a model without.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``transform``.
        out : ndarray or memory map, [n_documents, n_words], optional
            As for :meth:`fastvae.VAE.reconstruct`.

        Returns
        -------
        ndarray of float32, [n_documents, n_words]
            `out`, if given.
        """
        self._require_fitted()
        theta = np.asarray(self.transform(X, y=y, embeddings=embeddings))
        output.check(out, (len(theta), self._require_fitted().n_features), {"X": X})
        return self.inverse_transform(theta, out=out)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, *, n_samples: int | None = None) -> float:
        """Return the mean of ``score_samples``, nats per document: higher is better.

        scikit-learn's LatentDirichletAllocation returns a sum over the documents.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        y : array_like, [n_documents, n_dimensions], optional
            Embeddings, required by a model that was fitted with them; ignored by one without.
        sample_weight : array_like, [n_documents], optional
            Weights of the mean, sum w_i elbo_i / sum w_i.
        n_samples : int or None
            Draws that are averaged.

        Returns
        -------
        float
        """
        return super().score(X, y, sample_weight, n_samples=n_samples)

    def perplexity(self, X: Any, sub_sampling: bool = False, *, embeddings: Any = None) -> float:
        """Return exp(-ELBO / words), with the sums of ELBO and words over all documents of X: lower is better.

        A uniform distribution over the vocabulary has perplexity n_words.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        sub_sampling : bool
            Ignored; a parameter of scikit-learn's method.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``transform``.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If X contains no words.
        FloatingPointError
            If it overflows.
        """
        bound = self.score_samples(X, y=self._given_vectors(None, embeddings))
        counts = self._read_examples(X)
        words = float(weights.count_words(counts).sum())
        if words == 0:
            raise ValueError("perplexity is undefined: X contains no words")
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(-np.sum(bound, dtype=np.float64) / words))
        return overflow.check_means({"perplexity": perplexity}, counts)["perplexity"]

    def similar_documents(
        self, X: Any, query: Any, n: int | None = None, *, embeddings: Any = None, query_embeddings: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the n documents of X most similar to each query, by the Hellinger distance of their topic shares.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        query : array_like, [m, n_words]
        n : int or None
            Documents per query, at most n_documents; None is min(5, n_documents).
        embeddings, query_embeddings : array_like, [n_documents, n_dimensions] and [m, n_dimensions], optional
            As for ``transform``.

        Returns
        -------
        indices : ndarray of int64, [m, n]
            Rows of X, nearest first. A query that is also in X finds itself, at distance 0.
        distances : ndarray of float64, [m, n]
            From 0 to 1.
        """
        self._require_fitted()
        theta = np.asarray(self.transform(X, embeddings=embeddings))
        query_theta = np.asarray(self.transform(query, embeddings=query_embeddings))
        return documents.similar_documents(theta, query_theta, n)

    def explain(self, X: Any, *, topic: int | None = None, embeddings: Any = None) -> Explanation | TopicShares:
        """Return the topics of each word in each document, p(topic | word, document).

        p(k|w, d) = theta_dk phi_kw / sum_j theta_dj phi_jw, the responsibilities of a mixture, with theta from
        ``transform`` and phi from ``components_``. With decoder "product" they are those of a mixture of its
        components, an approximation, since a product has none.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
        topic : int or None
            One topic, whose shares take 1 / n_topics of the memory. None is all topics.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``transform``.

        Returns
        -------
        Explanation or TopicShares
            All topics: ``shares`` [nnz, n_topics] of the words that occur, whose rows sum to one, with the ``indices``
            and ``indptr`` of a sparse matrix; ``document(d)`` lists the words of a document, ``topic_counts()`` adds up
            words by topic, ``toarray()`` is dense. One topic: a sparse matrix [n_documents, n_words] with scipy's
            attributes.

        Raises
        ------
        ValueError
            If there is no such topic.

        Notes
        -----
        Memory beyond the result is that of 256 documents and of ``transform(X)``.
        """
        fitted = self._require_fitted()
        read, theta = self._read_examples(X), np.asarray(self.transform(X, embeddings=embeddings))
        return explanation.explain(read, theta, self.components_, topic, self._words(fitted))

    def sample_documents(self, n: int, lengths: Any = 100, random_state: Any = None) -> Counts:
        """Draw documents: theta from the prior, then for each word a topic from theta and a word from that topic.

        With decoder "product" each word is drawn from p(w|theta).

        Parameters
        ----------
        n : int
            Number of documents.
        lengths : int or array_like of int, [n]
            Number of words of each document.
        random_state : int, numpy generator or None
            As for :meth:`fastvae.VAE.sample`.

        Returns
        -------
        Counts
            A sparse matrix with the attributes of scipy's CSR: ``data``, ``indices``, ``indptr``, ``shape``.
            ``toarray()`` returns a dense array [n, n_words].
        """
        n = _checks.integer(n, "n", most=_checks.MAX_ROWS)
        fitted = self._require_fitted()
        seed = self._seed_for(random_state)
        theta = self._prior(n, seed)
        generator = np.random.default_rng(seed)
        if fitted.specification.likelihood["kind"] == "mixture":
            return documents.sample_documents(theta, self.components_, lengths, generator)
        return documents.sample_words(theta, self.inverse_transform, self.n_features_in_, lengths, generator)

    # Topics

    @property
    def components_(self) -> NDArray[np.float32]:
        """Word probabilities of each topic, p(w|theta = e_k): [n_topics, n_words], rows sum to one.

        For a mixture they are phi; for a product softmax(BN(beta_k) + b), where BN uses the running statistics.
        """
        if self._fitted is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet, so it has no components_")
        return self.inverse_transform(np.eye(self._fitted.latent_dim))

    @property
    def n_embeddings_(self) -> int:
        """Number of columns of the embeddings that the encoder reads; 0 without."""
        if self._fitted is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet, so it has no n_embeddings_")
        return self._fitted.specification.conditions

    def top_words(
        self,
        vocabulary: Sequence[str] | Mapping[str, int] | None = None,
        n: int | None = None,
        *,
        relevance: float = 1.0,
    ) -> list[list[str]]:
        """Return the n most probable words of each topic.

        Parameters
        ----------
        vocabulary : sequence of str, mapping or None
            The words in the order of the columns of X, or a mapping from word to column, such as scikit-learn's
            ``CountVectorizer.vocabulary_``. None is the parameter ``vocabulary``, or the columns of the frame that was
            fitted.
        n : int or None
            None is min(10, n_words).
        relevance : float
            Weight of p(w|k) in the ranking of words, from 0 to 1; below 1 words that other topics have too rank lower,
            weight ln p(w|k) + (1 - weight) ln(p(w|k) / p(w)), p(w) the mean of the topics (Sievert & Shirley, 2014;
            0.6 there). 1 is the order of the probabilities.

        Returns
        -------
        list of list of str, [n_topics][n]
        """
        if vocabulary is None:
            vocabulary = self._words()
        if vocabulary is None:
            raise ValueError("pass vocabulary=, the words of the columns: the model was fitted without names")
        return measures.top_words(self._ranked(relevance), vocabulary, n)

    def topic_diversity(self, n: int | None = None, *, relevance: float = 1.0) -> float:
        """Return the share of distinct words among the n most probable words of all topics.

        Parameters
        ----------
        n : int or None
            None is min(25, n_words).
        relevance : float
            As for ``top_words``.

        Returns
        -------
        float
            1 means that no two topics share a word.
        """
        return measures.diversity(self._ranked(relevance), n)

    def coherence(
        self, X_reference: Any, measure: str = "npmi", n: int | None = None, *, relevance: float = 1.0
    ) -> NDArray[np.float64]:
        """Return the coherence of the n most probable words of each topic: higher is better.

        Parameters
        ----------
        X_reference : array_like or CSR, [n_documents, n_words]
            Documents in which co-occurrences are counted.
        measure : {"npmi", "umass"}
            "npmi" is the mean normalised pointwise mutual information of word pairs (Bouma, GSCL 2009; Lau, Newman &
            Baldwin, EACL 2014), in [-1, 1]; "umass" the sum of equation 1 of Mimno et al. (EMNLP 2011).
        n : int or None
            None is min(10, n_words).
        relevance : float
            As for ``top_words``.

        Returns
        -------
        ndarray of float64, [n_topics]
        """
        return measures.coherence(self._ranked(relevance), X_reference, measure, n)

    def choose_n_topics(
        self,
        X: Any,
        grid: Sequence[int] = (5, 10, 20, 40),
        *,
        embeddings: Any = None,
        held_out: float = 0.2,
        n_repeats: int = 1,
        random_state: Any = None,
    ) -> TopicChoice:
        """Compare numbers of topics by the perplexity of held-out documents and by coherence.

        Fits a copy of this model, with its parameters, for each number. ``print`` of the result shows a table and an
        advice, :func:`fastvae.plots.n_topics` a picture.

        Parameters
        ----------
        X : array_like or CSR, [n_documents, n_words]
        grid : sequence of int
            Numbers of topics, at least 2.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``fit``.
        held_out : float
            Share of the documents that are held out, in (0, 1).
        n_repeats : int
            Repeats with other seeds and other held-out documents.
        random_state : int, numpy generator or None
            Seed of the split and of the fits. None uses the estimator's ``random_state`` or, if that is None too, fresh
            entropy.

        Returns
        -------
        TopicChoice

        Raises
        ------
        ValueError
            If an argument is out of range, ``alpha`` is a number for each topic, or the embeddings are not a matrix
            with a row for each document.

        Notes
        -----
        Perplexity is by document completion (Wallach, Murray, Salakhutdinov & Mimno, ICML 2009, section 5.2): theta is
        inferred from a random half of the words of each held-out document, and the other half has
        exp(-mean ln p(w|theta)). Embeddings are of whole documents and so know the other half: perplexities with and
        without them do not compare. Coherence is the mean NPMI of the topics' ten top words in the training documents.
        The advice is the smallest number whose coherence is within 0.01 of the best among the numbers whose perplexity
        is within 5 % of the lowest.
        """
        numbers = choice.grid_of(grid)
        n_repeats = _checks.integer(n_repeats, "n_repeats")
        share = _checks.number(held_out, "held_out", below=1.0)
        if share == 0:
            raise ValueError("held_out=0 leaves no documents to score: pass a share, such as 0.2")
        if self.alpha is not None and np.ndim(self.alpha):
            raise ValueError("alpha is a number for each topic, which does not fit other numbers of topics: pass one")
        self._check_parameters()
        seed = self._seed_for(random_state)
        X = examples.whole(X)
        vectors = self._vectors(embeddings, X)
        read, _, form = self._read_first(X, None)
        words = self.vocabulary if self.vocabulary is not None or form.names is None else form.names.tolist()
        found = np.zeros((4, n_repeats, len(numbers)))
        for repeat in range(n_repeats):
            random = np.random.default_rng([seed, repeat])
            held = choice.hold_out(len(read), share, random)
            training, seen, scored = choice.divide(read, held, random)
            known = (None, None) if vectors is None else (vectors[~held], vectors[held])
            for i, n in enumerate(numbers):
                options = {"n_topics": n, "random_state": (seed + repeat) % 2**32, "vocabulary": words}
                model = type(self)(**self.get_params() | options | {"warm_start": False})
                with warnings.catch_warnings():  # too many topics are alike, which the coherence shows
                    warnings.filterwarnings("ignore", f"{type(self).__name__} after training")
                    model.fit(training, embeddings=known[0])
                theta = np.asarray(model.transform(seen, embeddings=known[1]))
                perplexity = choice.completion(theta, model.inverse_transform, scored)
                coherence = float(model.coherence(training).mean())
                found[:, repeat, i] = perplexity, coherence, model.topic_diversity(), model.elapsed_
        best, advice = choice.advise(np.array(numbers), found[0].mean(0), found[1].mean(0))
        perplexities, coherences, diversities, seconds = found
        return TopicChoice(np.array(numbers), perplexities, coherences, diversities, seconds, best, advice)

    def diagnose(self, X: Any, *, y: Any = None, embeddings: Any = None) -> TopicDiagnosis:
        """Diagnose collapse: topics that are alike, topics that no document uses, KL near zero.

        Parameters
        ----------
        X : array_like, [n_documents, n_words]
            At least two documents.
        y : array_like, optional
            Another name of ``embeddings``; ignored by a model without.
        embeddings : array_like, [n_documents, n_dimensions], optional
            As for ``transform``.

        Returns
        -------
        TopicDiagnosis
            Numbers and messages: ``print(model.diagnose(X))``.
        """
        vectors = self._given_vectors(y, embeddings)
        codes = super().diagnose(X, y=vectors)
        return diagnose(codes, np.asarray(self.transform(X, y=vectors)), self.components_)

    def describe_objective(self) -> str:
        """Return the objective of ``fit`` as one paragraph: the exact formula, its constants, sums and means."""
        words = {
            "mixture": "p = sum_k theta_k phi_k, each topic phi_k a softmax over the words",
            "product": "the output is BN(theta beta) + b, BN over the documents of a batch",
        }[_checks.choice(self.decoder, "decoder", _DECODERS)]
        alpha = self._alpha()
        if self._fitted is not None and self.alpha is None:  # the default of the version that trained the model
            topics = self._fitted.specification.topics
            assert topics is not None, "a topic model has a prior of topics"
            alpha = np.round((1 - 1 / len(alpha)) / np.asarray(topics[1], np.float64) ** 2, 4)
        shown = f"{alpha[0]:g}, ..." if np.ptp(alpha) else f"{alpha[0]:g}"
        return (
            f"{super().describe_objective()} theta = softmax(m0 + s0 z), where N(m0, diag s0²) is the Laplace "
            f"approximation of a Dirichlet({shown}), whose KL from the posterior of m0 + s0 z is that of z; {words}."
        )

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
            input_transform=self._transform(conditions),
            conditions=conditions,
            topics=prior.laplace(self._alpha()),
            **self._dense_encoder(),
        )

    def _transform(self, conditions: int) -> str | None:
        """Return the transform of the encoder's input, checked."""
        only = _checks.choice(self.contextual, "contextual", _CONTEXTUAL) == "only"
        transform = check_transform(self.input_transform)
        return HIDDEN if only and conditions else transform

    def _check_specification(self) -> None:
        # Without the network, whose prior would take memory for each of `n_topics`.
        self._alpha()
        self._init()
        self._transform(0)
        self._dense_encoder()
        words = None if self.vocabulary is None else measures.words_of(self.vocabulary)
        seeds.resolve(self.seed_words, self._latent_dim(), None if words is None else len(words), words)
        seeds.check_share(self.seed_strength)

    def _objective(self) -> Objective:
        default = 1.0 if self._init() == "clusters" else schedules.linear(0.0, 1.0, steps=_WARM_UP)
        return Objective(beta=default if self.beta is None else schedules.check(self.beta, "beta"))

    def _latent_dim(self) -> int:
        return _checks.integer(self.n_topics, "n_topics", least=2, most=_core.MAX_WIDTH // 2)

    def _decoder(self) -> str:
        return _checks.choice(self.decoder, "decoder", _DECODERS)

    def _init(self) -> str:
        if self.init is None:
            return "random" if self.seed_words is None else "clusters"
        return _checks.choice(self.init, "init", _INITS)

    def _corruption(self) -> corruption.MaskingNoise | None:
        """Return the masking of the encoder's input in training, or None."""
        default = _MASKING[self._decoder()]
        share = default if self.masking is None else _checks.number(self.masking, "masking", below=1.0)
        return corruption.MaskingNoise(share) if share else None

    def _problems(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> Sequence[str]:
        """Return what ``diagnose`` finds, after enough epochs for topics to separate."""
        if self.n_iter_ < _SEPARATED or len(data.X) < 2:
            return ()
        X: Any = data.X
        named = X if fitted.names is None or not isinstance(X, np.ndarray) else Named(X, fitted.names)
        return [message for message in self.diagnose(named, y=data.y).messages if message != FINE]

    def _counts(self) -> bool:
        return True

    # Embeddings are the conditions of the engine, which only the encoder reads.

    @contextmanager
    def _reading(self, embeddings: Any) -> Iterator[None]:
        """Let ``fit`` build a model that reads embeddings, if they are given."""
        if embeddings is None and self.contextual == "only":
            raise ValueError('contextual="only" needs embeddings=: the encoder reads nothing else')
        self._with_embeddings = embeddings is not None
        try:
            yield
        finally:
            vars(self).pop("_with_embeddings", None)

    def _conditional(self) -> bool:
        with_embeddings = self._with_embeddings
        if with_embeddings is None:
            return self._fitted is not None and self._fitted.specification.conditions > 0
        return with_embeddings

    def _conditions_in(self, d: Mapping[str, Any]) -> int:
        first = np.shape(d["encoder.0.weight"] if "encoder.0.weight" in d else d[self._HEAD])
        words = np.shape(d.get("topics.weight", ()))
        return max(0, first[1] - words[0]) if len(first) == len(words) == 2 else 0

    def _vectors(self, embeddings: Any, X: Any = None) -> NDArray[np.float32] | None:
        """Return embeddings (of documents X) as a matrix, checked; None without."""
        if embeddings is None:
            return None
        found = arrays.tensor(arrays.matrix(embeddings, "embeddings"), "embeddings")
        arrays.check_magnitude(found, "embeddings")
        n = len(found) if X is None else X.shape[0] if hasattr(X, "shape") else len(X)
        if len(found) != n:
            raise ValueError(f"embeddings have {len(found)} rows, but there are {n} documents: pass a row for each")
        return found

    def _given_vectors(self, y: Any, embeddings: Any) -> Any:
        """Return the argument ``embeddings``, or y in its place, checked; None for a model without."""
        if not self._is_conditional():
            if embeddings is not None:
                raise ValueError(f"leave out embeddings=: this {type(self).__name__} was fitted without")
            return None
        return y if embeddings is None else embeddings

    def _read_conditions(self, y: Any, n: int, *, one: bool = False) -> NDArray[Any] | None:
        fitted = self._require_fitted()
        columns = fitted.specification.conditions
        if one or not columns:  # of the decoder
            return None
        if y is None:
            raise ValueError(
                f"pass embeddings=, or y= to a method without it: this {type(self).__name__} was fitted with "
                "embeddings of the documents"
            )
        vectors = self._vectors(y)
        assert vectors is not None, "y is given"
        if vectors.shape != (n, columns):
            raise ValueError(
                f"embeddings have shape {vectors.shape}; expected ({n}, {columns}), a row for each document, with as "
                "many columns as those of fit"
            )
        return vectors

    def _wordless(self, vectors: Any) -> Counts:
        """Return documents without words for these embeddings, or raise ValueError."""
        fitted = self._require_fitted()
        if vectors is None or fitted.specification.input_transform != HIDDEN:
            raise ValueError('X is None: only a model with contextual="only" and embeddings= needs no words')
        n = len(vectors)
        empty = np.zeros(0, np.int32)
        return Counts(empty, empty, np.zeros(n + 1, np.int64), (n, fitted.n_features))

    def _given(self, X: Any, name: str, cols: int | None = None, *, fitted: bool) -> Given:
        X = examples.whole(X)
        try:
            return super()._given(X, name, cols, fitted=fitted)
        except (TypeError, ValueError) as error:
            message = texts.refusal(X, name, fitted=fitted)
            if message is None:
                raise
            raise TypeError(message) from error

    def _onnx_extras(self) -> Extras:
        from fastvae._export.onnx import Extras

        return Extras(points=prior.points(self._require_fitted().latent_dim))

    def _components(self) -> NDArray[np.float32]:
        self._require_fitted()
        return self.components_

    def _ranked(self, relevance: float) -> NDArray[Any]:
        """Return values of the words in each topic, by which they are ranked."""
        components = self._components()
        return components if relevance == 1 else measures.relevance(components, relevance)

    def _alpha(self) -> NDArray[np.float64]:
        """Return the parameters of the Dirichlet prior, [n_topics], checked."""
        n = self._latent_dim()
        alpha = np.asarray(_ALPHA[self._decoder()] if self.alpha is None else self.alpha)
        good = alpha.dtype.kind in "iuf" and alpha.shape in ((), (n,))
        if not good or not ((alpha >= 1e-3) & (alpha <= 1e3)).all():
            raise ValueError(f"alpha={self.alpha!r} must be one number, or {n} numbers, from 0.001 to 1000")
        return np.broadcast_to(alpha.astype(np.float64), (n,))

    def _plan(self) -> Plan:
        return replace(super()._plan(), even_batches=True)

    def _prior(self, n: int, seed: int, first: int = 0) -> NDArray[np.float32]:
        topics = self._require_fitted().specification.topics
        assert topics is not None, "a topic model has a prior of topics"
        return prior.to_simplex(super()._prior(n, seed, first), *topics)

    def _initial_weights(
        self, fitted: FittedModel, X: Any, rows: NDArray[np.uint64] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Return initial topics; word frequencies are the bias of a product."""
        counts, product = weights.count_words(X, rows), self.decoder == "product"
        if self._ranks is not None:
            self._ranks.sum(counts)
        frequencies = weights.log_frequencies(counts)
        pairs, n, seed = self._seeds(fitted), fitted.latent_dim, fitted.specification.seed
        if pairs:
            seeds.warn_of_unseen(pairs, counts, self._words(fitted))
            share = seeds.check_share(self.seed_strength)
            fitted.set_seed_words(seeds.occurrences(pairs, share, n, float(counts.sum())))
        initial = {"topics.norm.bias": frequencies.astype(np.float32)} if product else {}
        if self._init() == "random":
            return initial if product else {"topics.weight": weights.random_topics(frequencies, n, seed)}
        found = clusters.topics(X, rows, counts, n, seed, pairs)
        random = fitted.state_dict()["topics.weight"]
        weight = clusters.product_weights(found, random) if product else weights.of_topics(found)
        return initial | {"topics.weight": weight}

    def _seeds(self, fitted: FittedModel) -> seeds.Pairs:
        """Return topic and column of each seed word for a model of known columns."""
        words = self._words(fitted)
        pairs = seeds.resolve(self.seed_words, fitted.latent_dim, fitted.n_features, words)
        seeds.check_named(self.seed_words, words)
        return pairs

    def _words(self, fitted: FittedModel | None = None) -> list[str] | None:
        """Return the names of the columns, from the parameter or from the frame that was fitted; None without."""
        fitted = self._require_fitted() if fitted is None else fitted
        if self.vocabulary is not None:
            return measures.words_of(self.vocabulary, fitted.n_features, "X")
        return None if fitted.names is None else [str(name) for name in fitted.names]

    def _check_unchanged(self, fitted: FittedModel) -> None:
        super()._check_unchanged(fitted)
        if self._seeds(fitted) != fitted.specification.seeds:
            raise ValueError(
                "warm_start=True goes on with the fitted prior, but seed_words has changed: set it back, or fit with "
                "warm_start=False"
            )
