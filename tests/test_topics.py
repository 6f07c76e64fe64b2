"""Topic models: against torch's autograd, against known topics, and the promises about bits."""

from __future__ import annotations

import copy
import pickle
import re
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from helpers import check_same_output_of_both_sets, documents_of_a_step, same, steps
from reference import Twin, noise, relative_error, sequential, too_large
from sklearn_checks import passes_all_checks
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import fastvae
from fastvae import FormatError, NotFittedError, TopicModel
from fastvae._data import sparse as _sparse
from fastvae._estimators import topic_model
from fastvae._topics.prior import laplace
from fastvae._topics.prior import points as _points
from fastvae._topics.weights import count_words as _counted
from fastvae._training.convergence import Budget, still_falls

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DECODERS = ("mixture", "product")
QUIET: dict[str, Any] = {"input_transform": None, "masking": 0.0, "beta": 1.0, "random_state": 0}

# rows, words, topics, hidden
SIZES = [
    (2, 3, 2, ()),
    (29, 37, 5, (33,)),
    (13, 67, 16, (7, 40)),
    (31, 33, 17, (32,)),
    (64, 64, 33, (16,)),
    (17, 129, 67, (5,)),
]


def counts(rows: int, words: int, seed: int = 0) -> NDArray[np.float32]:
    """Counts, most of them zero, and one empty document."""
    X = np.random.default_rng(seed).poisson(0.4, (rows, words)).astype(np.float32)
    X[rows // 2] = 0
    X[0, 0] = 31
    return X


class Norm(nn.Module):
    """Batch normalisation without a scale, by torch's own function."""

    def __init__(self, cols: int, shift: bool) -> None:
        super().__init__()
        if shift:
            self.bias = nn.Parameter(torch.zeros(cols))
        self.register_buffer("running_mean", torch.zeros(cols))
        self.register_buffer("running_var", torch.ones(cols))

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch of one, the running statistics: torch would refuse."""
        bias = getattr(self, "bias", None)
        of_batch = self.training and len(x) > 1
        mean, variance = (self.get_buffer(f"running_{name}") for name in ("mean", "var"))
        return nn.functional.batch_norm(x, mean, variance, None, bias, of_batch, 0.1, 1e-5)


class TorchTopics(Twin):
    """A topic model with the parameters of :class:`fastvae.TopicModel`, and its ``state_dict`` names."""

    def __init__(self, words: int, topics: int, hidden: tuple[int, ...], decoder: str, alpha: Any = 1.0) -> None:
        super().__init__()
        head = [words, *hidden][-1]
        self.encoder = sequential([words, *hidden], "softplus", last=True)
        self.mu, self.logvar = nn.Linear(head, topics, bias=False), nn.Linear(head, topics)
        self.mu.norm = Norm(topics, shift=False)
        self.topics = nn.Linear(topics, words, bias=False)
        self.product = decoder == "product"
        if self.product:
            self.topics.norm = Norm(words, shift=True)
        a = torch.as_tensor(alpha, dtype=torch.float64).expand(topics)
        self.prior_mean = a.log() - a.log().mean()
        self.prior_scale = ((1 - 2 / topics) / a + (1 / a).sum() / topics**2).sqrt()
        self.double()

    def log_words(self, theta: Tensor) -> Tensor:
        """ln p(w|theta)."""
        if self.product:
            return self.topics.norm(self.topics(theta)).log_softmax(1)
        return (theta @ (10 * self.topics.weight.T).softmax(1)).log()

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of z."""
        hidden = self.encoder(x)
        return self.mu.norm(self.mu(hidden)), self.logvar(hidden).clamp(-30, 20)

    def theta(self, z: Tensor) -> Tensor:
        """Topics of a code."""
        return (self.prior_mean + self.prior_scale * z).softmax(1)

    def forward(self, x: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """Batch means; the KL is between the Gaussians before the softmax, by ``torch.distributions``."""
        mu, logvar = self.posterior(x)
        sigma = (logvar / 2).exp()
        reconstruction = -(x * self.log_words(self.theta(mu + sigma * eps))).sum(1).mean()
        posterior = Normal(self.prior_mean + self.prior_scale * mu, self.prior_scale * sigma)
        kl = kl_divergence(posterior, Normal(self.prior_mean, self.prior_scale)).sum(1).mean()
        elbo = -reconstruction - kl
        return {"reconstruction": reconstruction, "kl": kl, "elbo": elbo, "loss": -elbo}


def pair(
    words: int, topics: int, hidden: tuple[int, ...], decoder: str, **parameters: Any
) -> tuple[TopicModel, TorchTopics]:
    """A ``fastvae.TopicModel`` and its float64 twin with the same random weights and statistics."""
    rng = np.random.default_rng(1)
    parameters = {"alpha": 0.6} | parameters
    twin = TorchTopics(words, topics, hidden, decoder, parameters["alpha"])
    weights = {}
    for name, value in twin.state_dict().items():
        scale = 0.3 if name == "topics.weight" else 1.5 / np.sqrt(value.shape[-1])
        drawn = rng.normal(size=tuple(value.shape)) * scale
        weights[name] = (np.abs(drawn) + 0.5 if "running_var" in name else drawn).astype(np.float32)
    model = TopicModel(topics, hidden=hidden, decoder=decoder, **QUIET | parameters)
    return model.load_state_dict(weights), twin.load(weights)


# ---------------------------------------------------------------------------------------------- against torch


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("rows", "words", "topics", "hidden"), SIZES)
def test_losses_and_gradients_are_those_of_torch(
    rows: int, words: int, topics: int, hidden: tuple[int, ...], decoder: str
) -> None:
    alpha = np.random.default_rng(0).uniform(0.3, 2.0, topics)
    model, twin = pair(words, topics, hidden, decoder, alpha=alpha)
    X, eps = counts(rows, words), noise(rows, topics)
    losses, gradients = model.loss_and_gradients(X, eps)
    torch_losses, torch_gradients = twin.losses_and_gradients(X, eps)
    assert gradients.keys() == torch_gradients.keys()
    errors = {name: relative_error(losses[name], torch_losses[name]) for name in torch_losses}
    errors |= {name: relative_error(gradients[name], torch_gradients[name]) for name in torch_gradients}
    if rows == 2:  # two rows are normalised to plus and minus one, whatever they are: only rounding is left
        errors = {name: error for name, error in errors.items() if not name.startswith(("mu", "encoder", "topics.w"))}
    assert not too_large(errors)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_batch_of_one_is_normalised_with_the_running_statistics(decoder: str) -> None:
    model, twin = pair(37, 5, (33,), decoder)
    X, eps = counts(9, 37)[:1], noise(1, 5)
    losses, gradients = model.loss_and_gradients(X, eps)
    torch_losses, torch_gradients = twin.losses_and_gradients(X, eps)
    errors = {name: relative_error(losses[name], torch_losses[name]) for name in torch_losses}
    errors |= {name: relative_error(gradients[name], torch_gradients[name]) for name in torch_gradients}
    assert not too_large(errors)
    before = statistics(model)
    model.partial_fit(X, eps=eps)
    assert same(before, statistics(model)), "one document has no variance to follow"


@pytest.mark.parametrize("decoder", DECODERS)
def test_steps_and_running_statistics_are_those_of_torch(decoder: str) -> None:
    model, twin = pair(37, 5, (33,), decoder, optimizer="sgd", learning_rate=1e-3, batch_size=10)
    X, eps = counts(30, 37), noise(30, 5)
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3)
    for start in range(0, 30, 10):
        optimizer.zero_grad()
        twin(twin.tensor(X[start : start + 10]), twin.tensor(eps[start : start + 10]))["loss"].backward()
        optimizer.step()
    found = model.partial_fit(X, eps=eps).state_dict()
    wanted = twin.state_dict()
    assert found.keys() == wanted.keys()
    # A step follows gradients that are lively, in float32: of each, 1e-5 is lost.
    assert max(relative_error(found[name], wanted[name]) for name in wanted) < 1e-4


@pytest.mark.parametrize("decoder", DECODERS)
def test_inference_uses_the_running_statistics(decoder: str) -> None:
    model, twin = pair(67, 17, (33,), decoder)
    twin.eval()
    X, eps = counts(13, 67), noise(13, 17)
    with torch.no_grad():
        x = twin.tensor(X)
        mu, logvar = twin.posterior(x)
        losses = twin(x, twin.tensor(eps))
        theta = twin.theta(mu).float()
        words = twin.log_words(theta.double()).exp()
    for found, wanted in zip(model.encode(X), (mu, logvar), strict=True):
        assert relative_error(found, wanted) < 1e-5
    assert not too_large(
        {name: relative_error(value, losses[name]) for name, value in model.evaluate(X, eps=eps).items()}
    )
    assert relative_error(model.inverse_transform(theta.numpy()), words) < 1e-5


def test_the_prior_is_the_laplace_approximation_of_a_dirichlet() -> None:
    alpha = np.array([0.2, 0.5, 1.0, 3.0])
    mean, scale = laplace(alpha)
    np.testing.assert_allclose(
        np.exp(mean) / np.exp(mean).sum(), alpha / alpha.sum(), rtol=1e-6
    )  # softmax(m0): its mean
    assert abs(mean.sum()) < 1e-5, "of all logits with that softmax those that sum to zero"
    # The inverse of what is left of the negative log density's Hessian, diag(alpha) - alpha alpha' / sum, off its null
    # space (the ones), is near the diagonal that the formula gives where topics are many and alike.
    many = np.full(50, 0.7)
    hessian = np.diag(many) - np.outer(many, many) / many.sum()
    np.testing.assert_allclose(laplace(many)[1] ** 2, np.diag(np.linalg.pinv(hessian)), rtol=1e-6)
    np.testing.assert_allclose(scale**2, (1 - 2 / 4) / alpha + (1 / alpha).sum() / 16, rtol=1e-6)


# ---------------------------------------------------------------------------------------------- bits


def statistics(model: TopicModel) -> dict[str, NDArray[np.float32]]:
    """The running statistics."""
    return {name: value for name, value in model.state_dict().items() if "running" in name}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("extra", [{}, {"clip_norm": 0.5}, {"optimizer": "sgd"}, {"masking": 0.5}])
def test_the_number_of_threads_changes_no_bit(decoder: str, extra: dict[str, Any]) -> None:
    X = counts(70, 131)
    models = [
        TopicModel(19, decoder=decoder, hidden=(33,), batch_size=32, epochs=3, n_jobs=n, **QUIET | extra).fit(X)
        for n in (1, 2, 3)
    ]
    for other in models[1:]:
        assert same(models[0].state_dict(), other.state_dict())
        assert np.array_equal(models[0].transform(X), other.transform(X))
        assert np.array_equal(models[0].score_samples(X), other.score_samples(X))


def test_avx2_and_avx512_give_the_same_bits() -> None:
    check_same_output_of_both_sets("""
import hashlib
import numpy as np
import fastvae
X = np.random.default_rng(0).poisson(0.4, (70, 131)).astype(np.float32)
for decoder in ("mixture", "product"):
    model = fastvae.TopicModel(19, decoder=decoder, hidden=(33,), batch_size=32, epochs=3, random_state=0).fit(X)
    for value in (*model.state_dict().values(), model.transform(X)):
        print(hashlib.sha256(value.tobytes()).hexdigest())
""")


@pytest.mark.parametrize("decoder", DECODERS)
def test_stored_gradients_step_as_fused_ones_do(decoder: str) -> None:
    X, eps = counts(20, 67), noise(20, 5)
    fused, stored, clipped = (
        pair(67, 5, (33,), decoder, batch_size=20, clip_norm=clip)[0] for clip in (None, None, 1e9)
    )
    before = statistics(stored)
    fused.partial_fit(X, eps=eps)
    clipped.partial_fit(X, eps=eps)
    stored.apply_gradients(stored.loss_and_gradients(X, eps)[1])
    assert same(fused.state_dict(), clipped.state_dict())
    assert same(statistics(stored), before), "gradients alone say nothing of a batch's statistics"
    assert same(fused.state_dict(), stored.state_dict() | statistics(fused))
    assert np.array_equal(fused.components_, clipped.components_)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_optimiser_leaves_running_statistics_alone(decoder: str) -> None:
    model, _ = pair(67, 5, (33,), decoder, optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    before = model.state_dict()
    zeros = {name: np.zeros_like(value) for name, value in model.loss_and_gradients(counts(9, 67))[1].items()}
    after = model.apply_gradients(zeros).state_dict()
    assert same({name: after[name] for name in statistics(model)}, {name: before[name] for name in statistics(model)})
    assert not np.array_equal(before["topics.weight"], after["topics.weight"]), "the decay is at work"


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_step_that_fails_leaves_running_statistics_alone(decoder: str, clip_norm: float | None) -> None:
    model = TopicModel(5, decoder=decoder, hidden=(9,), epochs=2, clip_norm=clip_norm, **QUIET)
    X = counts(60, 37)
    before, score = statistics(model.fit(X)), model.score(X)
    state = model.state_dict()
    model.load_state_dict(state | {"mu.weight": np.full_like(state["mu.weight"], 3e38)})
    with pytest.raises(FloatingPointError):
        model.partial_fit(X)
    assert same(before, statistics(model))
    model.load_state_dict(state)
    assert np.isfinite(score)
    assert np.isfinite(model.score(X))


# ---------------------------------------------------------------------------------------------- questions


@pytest.fixture(scope="module", params=DECODERS)
def fitted(request: pytest.FixtureRequest) -> TopicModel:
    """A model of a few topics."""
    return TopicModel(7, alpha=0.7, decoder=request.param, hidden=(33,), epochs=5, random_state=0).fit(counts(200, 67))


def test_documents_and_topics_are_distributions(fitted: TopicModel) -> None:
    theta = fitted.transform(counts(50, 67, seed=1))
    assert theta.shape == (50, 7)
    assert theta.dtype == np.float32
    for shares in (theta, fitted.components_, fitted.reconstruct(counts(50, 67))):
        assert (shares >= 0).all()
        np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-6)


def test_the_components_are_the_softmax_of_their_weights() -> None:
    mixture, _ = pair(67, 5, (33,), "mixture")
    weight = 10 * mixture.state_dict()["topics.weight"].T.astype(np.float64)
    shares = np.exp(weight - weight.max(1, keepdims=True))
    assert relative_error(mixture.components_, shares / shares.sum(1, keepdims=True)) < 1e-6


def test_topics_with_weights_of_any_size_are_distributions() -> None:
    model = TopicModel(3, hidden=(9,), epochs=1, random_state=0).fit(counts(60, 67))
    weights = model.state_dict()
    weights["topics.weight"][:] = np.linspace(-3.4e38, 3.4e38, 201).reshape(67, 3)
    components = model.load_state_dict(weights).components_
    assert np.allclose(components.sum(1), 1)
    assert components[:, -1] == pytest.approx(1)
    assert np.isfinite(model.score(counts(60, 67)))


def test_topics_of_a_document_depend_on_nothing_but_it(fitted: TopicModel) -> None:
    X = counts(300, 67, seed=1)
    theta, order = fitted.transform(X), np.random.default_rng(0).permutation(300)
    assert np.array_equal(fitted.transform(X[order]), theta[order])
    assert np.array_equal(fitted.transform(X[17:18])[0], theta[17])
    assert np.array_equal(fitted.transform(X.astype(np.float64)), theta)


def test_a_table_of_topics_has_the_index_of_the_documents(fitted: TopicModel) -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(counts(20, 67, seed=1), index=[f"document {i}" for i in range(20)])
    theta = copy.copy(fitted).set_output(transform="pandas").transform(X)
    assert list(theta.index) == list(X.index)
    assert np.array_equal(theta.to_numpy(), fitted.transform(X))


def test_topics_are_the_mean_over_the_posterior(fitted: TopicModel) -> None:
    X = counts(20, 67, seed=1)
    draws = fitted.posterior_sample(X, 20_000, random_state=0)
    np.testing.assert_allclose(draws.sum(2), 1.0, atol=1e-5)
    wanted = draws.mean(0, dtype=np.float64)
    at_the_mean = softmax(np.stack(laplace(np.broadcast_to(fitted.alpha, 7))).T, fitted.encode(X)[0])
    assert np.abs(fitted.transform(X) - wanted).mean() < 0.003  # of which 0.001 is that of the draws
    assert np.abs(fitted.transform(X) - wanted).max() < 0.02
    assert np.abs(at_the_mean - wanted).mean() > 0.004


def softmax(prior: NDArray[Any], z: NDArray[Any]) -> NDArray[np.float64]:
    """Topics of codes z, given the prior's mean and scale of each, [n_topics, 2]."""
    shares: NDArray[np.float64] = np.exp(prior[:, 0] + prior[:, 1] * z)
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.parametrize("topics", [2, 7, 20, 50, 64, 65, 200])
def test_the_points_of_that_mean_are_exact_to_the_third_degree_and_good_beyond(topics: int) -> None:
    points = _points(topics).astype(np.float64)
    assert 64 <= len(points) <= 128
    assert np.array_equal(np.sort(points, axis=0), -np.sort(points, axis=0)[::-1]), "no odd moments"
    np.testing.assert_allclose((points.T @ points)[:64, :64] / len(points), np.eye(min(topics, 64)), atol=1e-6)
    np.testing.assert_allclose((points**2).mean(0), 1, atol=1e-6)
    rng, prior = np.random.default_rng(0), np.tile([0.0, 1.0], (topics, 1))
    errors = []
    for _ in range(8):
        mu, sigma = rng.normal(0, 1.5, topics), rng.uniform(0.2, 1.5, topics)
        wanted = softmax(prior, mu + sigma * rng.normal(size=(10_000, topics))).mean(0)
        errors.append([softmax(prior, mu + sigma * some).mean(0) - wanted for some in (points, np.zeros((1, topics)))])
    ours, of_the_mean = np.abs(errors).mean((0, 2))
    assert ours < 0.2 * of_the_mean
    assert ours < 0.03 / topics


def test_perplexity_is_that_of_the_bound(fitted: TopicModel) -> None:
    X = counts(50, 67, seed=1)
    wanted = np.exp(-fitted.score_samples(X).astype(np.float64).sum() / X.sum())
    assert fitted.perplexity(X) == pytest.approx(wanted)
    assert fitted.score(X) == pytest.approx(fitted.score_samples(X).mean(), rel=1e-6)
    with pytest.raises(ValueError, match="no words"):
        fitted.perplexity(np.zeros((2, 67)))


def test_the_marginal_likelihood_is_above_the_bound(fitted: TopicModel) -> None:
    X = counts(30, 67, seed=1)
    estimate, _, _ = fitted.log_marginal(X, 500)
    assert estimate.mean() > fitted.score(X) - 0.1  # one draw


def test_words_and_measures_are_asked_of_the_components(fitted: TopicModel) -> None:
    vocabulary = [f"w{i}" for i in range(67)]
    words = fitted.top_words(vocabulary, 4)
    assert [topic[0] for topic in words] == [vocabulary[i] for i in fitted.components_.argmax(1)]
    assert 0 < fitted.topic_diversity(5) <= 1
    for measure in ("npmi", "umass"):
        assert fitted.coherence(counts(50, 67), measure).shape == (7,)


def test_small_vocabularies_and_corpora_have_measures_too() -> None:
    X = counts(4, 6)
    model, _ = pair(6, 3, (5,), "mixture")
    assert model.topic_diversity() == 6 / 18
    assert [len(words) for words in model.top_words({f"w{i}": i for i in range(6)})] == [6, 6, 6]
    assert np.array_equal(model.coherence(X), model.coherence(X, n=6))
    assert model.similar_documents(X, X)[0].shape == (4, 4)
    vocabulary = [f"w{i}" for i in range(6)]
    for ask in (
        lambda: model.topic_diversity(7),
        lambda: model.top_words(vocabulary, 7),
        lambda: model.coherence(X, n=7),
        lambda: model.similar_documents(X, X, 5),
    ):
        with pytest.raises(ValueError, match=r"n=[57] must be"):
            ask()


def test_a_document_is_most_similar_to_itself(fitted: TopicModel) -> None:
    X = counts(50, 67, seed=1)
    indices, distances = fitted.similar_documents(X, X[10:13], 4)
    assert indices.shape == distances.shape == (3, 4)
    assert np.array_equal(indices[:, 0], [10, 11, 12])
    np.testing.assert_allclose(distances[:, 0], 0.0, atol=1e-3)


def test_documents_are_drawn_as_long_as_asked_for(fitted: TopicModel) -> None:
    lengths = np.arange(40)
    drawn = fitted.sample_documents(40, lengths, random_state=3).toarray()
    assert drawn.shape == (40, 67)
    assert np.array_equal(drawn.sum(1), lengths)
    assert np.array_equal(drawn, fitted.sample_documents(40, lengths, random_state=3).toarray())


@pytest.mark.parametrize("decoder", DECODERS)
def test_documents_drawn_have_the_models_words(decoder: str) -> None:
    model, _ = pair(37, 5, (33,), decoder, alpha=[0.5, 1, 1, 2, 4])
    _, theta = model.sample(4000, random_state=0, return_latent=True)
    drawn = model.sample_documents(4000, 50, random_state=0).toarray()
    expected = model.inverse_transform(theta)
    np.testing.assert_allclose(drawn.mean(0) / 50, expected.mean(0), atol=4 * np.sqrt(expected.mean(0).max() / 4000))
    of_each = (drawn * expected).sum(1).mean() / 50, (expected**2).sum(1).mean()  # each document has its own theta's
    assert of_each[0] == pytest.approx(of_each[1], rel=0.02)
    # The prior's theta: of the Gaussian in softmax space, in torch.
    torch.manual_seed(0)
    twin = TorchTopics(37, 5, (33,), decoder, [0.5, 1, 1, 2, 4])
    wanted = twin.theta(torch.randn(40000, 5, dtype=torch.float64)).mean(0)
    np.testing.assert_allclose(theta.mean(0), wanted, atol=0.02)


@pytest.mark.parametrize("decoder", DECODERS)
def test_documents_are_drawn_in_memory_that_grows_with_their_words_only(decoder: str) -> None:
    model, _ = pair(50, 5, (33,), decoder)
    model.sample_documents(3, 2)
    peak = peak_of(lambda: model.sample_documents(3000, 20, random_state=0))
    assert peak < 8e6  # the square of 3000 would be 72 MB
    vast, _ = pair(20_000, 3, (5,), decoder)
    assert peak_of(lambda: vast.sample_documents(2000, 5, random_state=0)) < 40e6  # dense counts would be 320 MB


def peak_of(do: Callable[[], Any]) -> int:
    """The most bytes that Python and numpy hold at a time beyond what they hold before."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_sample_is_the_words_of_topics_from_the_prior(fitted: TopicModel) -> None:
    words, theta = fitted.sample(9, random_state=1, return_latent=True)
    np.testing.assert_allclose(theta.sum(1), 1.0, atol=1e-6)
    assert np.array_equal(words, fitted.inverse_transform(theta))
    assert np.array_equal(fitted.sample(9, random_state=1, draw=True, lengths=30).sum(1), np.full(9, 30))


def test_codes_on_the_simplex_have_straight_lines_and_no_plane(fitted: TopicModel) -> None:
    X = counts(9, 67, seed=1)
    path = fitted.interpolate(X[0], X[8], 5)
    np.testing.assert_allclose(path.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(path[0], fitted.reconstruct(X[:1])[0], atol=1e-6)
    assert fitted.neighbours(X, X[:2], 3)[0][:, 0].tolist() == [0, 1]
    for ask in (
        fitted.manifold,
        lambda: fastvae.latent.grid_coordinates(fitted),
        lambda: fitted.traverse(X[0]),
        lambda: fitted.interpolate(X[0], X[8], method="slerp"),
        lambda: fastvae.latent.apply_attribute(fitted, X, np.zeros(7)),
        lambda: fastvae.latent.mixture_sample(fitted, X, 3, n_components=1),
        lambda: fastvae.plots.manifold(fitted, shape=(67, 1)),
    ):
        with pytest.raises(ValueError, match="the codes of a TopicModel are topic shares, which sum to one"):
            ask()


@pytest.mark.parametrize("way", ["file", "pickle", "copy"])
def test_a_kept_model_goes_on_with_the_same_bits(fitted: TopicModel, way: str, tmp_path: Path) -> None:
    X = counts(50, 67, seed=2)
    first = copy.deepcopy(fitted)
    first.save(tmp_path / "m")
    keep: dict[str, Callable[[], Any]] = {
        "file": lambda: fastvae.load(tmp_path / "m"),
        "pickle": lambda: pickle.loads(pickle.dumps(first)),
        "copy": lambda: copy.copy(first),
    }
    second = keep[way]()
    assert type(second) is TopicModel
    assert same(first.state_dict(), second.state_dict())
    assert np.array_equal(first.transform(X), second.transform(X))
    if way != "copy":  # a shallow copy trains the same engine
        assert same(first.partial_fit(X).state_dict(), second.partial_fit(X).state_dict())
        assert not same(statistics(first), statistics(fitted))


def test_a_file_with_a_negative_variance_is_refused(tmp_path: Path) -> None:
    model, _ = pair(37, 5, (33,), "mixture")
    weights = model.state_dict()
    weights["mu.norm.running_var"][2] = 0.0
    marked = np.float32(1234.5678)
    weights["mu.norm.running_var"][3] = marked
    model.load_state_dict(weights).save(tmp_path / "m", optimizer=False)
    data = (tmp_path / "m").read_bytes()
    assert data.count(marked.tobytes()) == 1
    (tmp_path / "m").write_bytes(data.replace(marked.tobytes(), (-marked).tobytes()))
    with pytest.raises(FormatError, match="running_var"):
        fastvae.load(tmp_path / "m")
    weights["mu.norm.running_var"][3] = -1.0
    with pytest.raises(ValueError, match="running_var"):
        model.load_state_dict(weights)


def test_a_file_whose_class_does_not_fit_its_network_is_refused(tmp_path: Path) -> None:
    fastvae.VAE(2, hidden=(3,), epochs=1).fit(np.zeros((4, 5))).save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(data.replace(rb"\"class\": \"VAE\"", rb"\"class\": \"TopicModel\""))
    with pytest.raises(FormatError):
        fastvae.load(tmp_path / "m")


# ---------------------------------------------------------------------------------------------- learning


def drawn_documents(n: int, words: int, topics: int, length: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Documents by the lecture's process, and the topics that they are of."""
    rng = np.random.default_rng(0)
    phi = rng.dirichlet(np.full(words, 0.05), topics)
    theta = rng.dirichlet(np.full(topics, 0.1), n)
    return np.stack([rng.multinomial(length, p) for p in theta @ phi]).astype(np.float32), phi


def matched(found: NDArray[Any], true: NDArray[Any]) -> NDArray[np.float64]:
    """Cosines of topics with the true ones, optimally matched."""
    optimize = pytest.importorskip("scipy.optimize")
    unit = [topics / np.linalg.norm(topics, axis=1, keepdims=True) for topics in (found, true)]
    cosines = unit[0] @ unit[1].T
    rows, columns = optimize.linear_sum_assignment(-cosines)
    matches: NDArray[np.float64] = cosines[rows, columns]
    return matches


def test_a_mixture_finds_the_true_topics() -> None:
    X, phi = drawn_documents(5000, 1000, 10, 100)
    model = TopicModel(10, epochs=40, random_state=0).fit(X)
    assert matched(model.components_, phi).min() >= 0.98
    assert model.diagnose(X).messages == ("Nothing is wrong.",)


def test_a_product_finds_topics_like_the_true_ones() -> None:
    X, phi = drawn_documents(5000, 1000, 10, 100)
    model = TopicModel(10, decoder="product", alpha=0.3, masking=0.5, epochs=40, random_state=0).fit(X)
    assert matched(model.components_, phi).mean() >= 0.9  # its documents are no mixtures, so not the same


def right_topic(model: TopicModel, X: NDArray[Any], theta: NDArray[Any], phi: NDArray[Any]) -> float:
    """Share of the documents whose largest topic is the true one, topics matched by their words."""
    optimize = pytest.importorskip("scipy.optimize")
    overlap = np.minimum(model.components_[:, None], phi[None]).sum(2)
    true = optimize.linear_sum_assignment(-overlap)[1]
    return float((true[np.asarray(model.transform(X)).argmax(1)] == theta.argmax(1)).mean())


def mixed_documents(
    n: int, phi: NDArray[np.float64], lengths: Any, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Documents of some lengths drawn from topics phi, and their shares of topics."""
    rng = np.random.default_rng(seed)
    theta = rng.dirichlet(np.full(len(phi), 0.1), n)
    words = np.broadcast_to(lengths, n).astype(int)
    X = np.stack([rng.multinomial(length, p / p.sum()) for length, p in zip(words, theta @ phi, strict=True)])
    return X.astype(np.float32), theta


@pytest.mark.parametrize("decoder", DECODERS)
def test_theta_settles_in_documents_longer_than_in_training(decoder: str) -> None:
    phi = np.random.default_rng(0).dirichlet(np.full(300, 0.1), 6)
    X, _ = mixed_documents(1000, phi, 40, 1)
    model = TopicModel(6, decoder=decoder, epochs=60, random_state=0).fit(X)
    for length, least in ((40, 0.85), (400, 0.96), (4000, 0.96)):  # inputs twice as large: at most 0.957
        longer, theta = mixed_documents(1000, phi, length, 2)
        assert right_topic(model, longer, theta, phi) >= least
        assert model.perplexity(longer) < 110  # 300 words


@pytest.mark.parametrize("alpha", [None, 0.1])
@pytest.mark.parametrize("decoder", DECODERS)
def test_titles_have_topics_that_differ(decoder: str, alpha: float | None) -> None:
    phi = np.random.default_rng(0).dirichlet(np.full(200, 0.05), 6)
    X, theta = mixed_documents(600, phi, 10, 1000)
    model = TopicModel(6, decoder=decoder, alpha=alpha, epochs=60, random_state=0).fit(X)
    assert right_topic(model, X, theta, phi) >= 0.8
    assert (model.diagnose(X).overlap < 0.7).all()
    assert model.coherence(X).mean() > 0.2


def test_titles_have_as_many_topics_as_asked_for() -> None:
    phi = np.random.default_rng(0).dirichlet(np.full(400, 0.05), 20)
    X, theta = mixed_documents(3000, phi, 10, 1000)
    model = TopicModel(20, epochs=30, random_state=0).fit(X)
    assert (model.diagnose(X).overlap < 0.7).all()  # five are alike without a warm-up of beta
    assert right_topic(model, X, theta, phi) >= 0.58


def test_a_long_tail_of_lengths_is_described_nearly_as_well_as_by_lda() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    phi = np.random.default_rng(8).dirichlet(np.full(300, 0.05), 6)
    lengths = np.maximum(1, np.exp(np.log(80) + 1.5 * np.random.default_rng(3).standard_normal(1500)))
    X, _ = mixed_documents(1500, phi, lengths, 8)
    lda = decomposition.LatentDirichletAllocation(6, max_iter=50, random_state=0).fit(X[:1000])
    model = TopicModel(6, epochs=120, random_state=0).fit(X[:1000])
    assert model.perplexity(X[1000:]) < 1.04 * lda.perplexity(X[1000:])  # before: 1.23


def test_lengths_with_a_long_tail_do_no_harm() -> None:
    phi = np.random.default_rng(7).dirichlet(np.full(300, 0.05), 6)
    lengths = np.maximum(1, np.exp(np.log(80) + 1.5 * np.random.default_rng(3).standard_normal(800)))
    X, _ = mixed_documents(800, phi, lengths, 8)
    model = TopicModel(6, epochs=60, random_state=0).fit(X[:400])
    counts = TopicModel(6, epochs=60, input_transform=None, random_state=0)
    with pytest.warns(UserWarning, match="log variances lie outside"):
        counts.fit(X[:400])
    assert model.perplexity(X[400:]) < 0.95 * counts.perplexity(X[400:])


def test_epochs_auto_is_a_number_of_steps_and_more_while_the_loss_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = drawn_documents(100, 50, 5, 50)
    assert TopicModel().epochs == "auto"
    assert Budget(steps=5000, epochs=100).epochs_for(8) == 625
    assert Budget(steps=5000, epochs=100).epochs_for(1000) == 100
    falling, flat = np.linspace(10, 5, 20).tolist(), [10.0, *[5 + (i % 2) / 10 for i in range(30)]]
    assert still_falls(falling)
    assert not still_falls(flat)
    assert not still_falls(falling[:9])
    assert not still_falls(falling[::-1])
    monkeypatch.setattr(TopicModel, "_BUDGET", Budget(steps=20, epochs=2, factor=2))
    with pytest.warns(UserWarning, match=r"TopicModel.*loss still fell after 20 epochs.*pass epochs=40") as caught:
        model = TopicModel(5, learning_rate=1e-4, random_state=0).fit(X)
    assert (len(caught), model.n_iter_) == (1, 20)  # 2 steps an epoch, twice the budget
    same_bits = TopicModel(5, learning_rate=1e-4, random_state=0, epochs=20)
    monkeypatch.setattr(topic_model, "_SEPARATED", 100)
    assert same(model, same_bits.fit(X))
    assert TopicModel(5, learning_rate=1e-9, random_state=0).fit(X).n_iter_ == 10  # its loss does not fall
    with pytest.raises(ValueError, match=r"epochs='long' must be an integer or \"auto\""):
        TopicModel(epochs="long").fit(X)
    with pytest.raises(ValueError, match="epochs='auto'"):
        fastvae.VAE(epochs="auto").fit(X > 0)


def test_fit_warns_once_of_what_the_diagnosis_finds() -> None:
    X, _ = drawn_documents(300, 100, 5, 50)
    with pytest.warns(UserWarning, match="TopicModel after training: .*The topics have collapsed") as caught:
        TopicModel(5, epochs=20, learning_rate=1e-6, random_state=0).fit(X)
    assert len(caught) == 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_empty_documents_single_words_absent_words_and_constant_columns(decoder: str) -> None:
    X, _ = drawn_documents(200, 60, 4, 30)
    X[::3] = 0  # no words
    X[1::3] = 0
    X[1::3, 7] = 1  # a single word
    X[:, 20:30] = 0  # never occur
    X[:, 40] = 2  # constant
    X[0] = 0
    model = TopicModel(4, decoder=decoder, epochs=19, random_state=0).fit(X)
    for found in (model.transform(X), model.components_, model.score_samples(X), model.coherence(X)):
        assert np.isfinite(found).all()
    assert np.isfinite(model.perplexity(X))


def test_a_perplexity_that_overflows_is_named(fitted: TopicModel, monkeypatch: pytest.MonkeyPatch) -> None:
    X = counts(3, fitted.n_features_in_)
    monkeypatch.setattr(fitted, "score_samples", lambda X, y=None: np.full(len(X), -1e9, np.float32))
    with pytest.raises(FloatingPointError, match="the mean of 'perplexity' overflows"):
        fitted.perplexity(X)


def test_the_diagnosis_says_when_topics_are_alike() -> None:
    X, _ = drawn_documents(300, 100, 5, 50)
    model = TopicModel(5, epochs=1, learning_rate=1e-9, random_state=0).fit(X)
    weights = model.state_dict()
    weights["topics.weight"][:] = weights["topics.weight"][:, :1]
    found = model.load_state_dict(weights).diagnose(X)
    assert found.overlap.min() > 0.99
    assert "topics have collapsed" in str(found)
    assert found.usage.sum() == pytest.approx(1, abs=1e-5)


def test_the_diagnosis_says_when_the_posterior_or_a_topic_is_not_used() -> None:
    X, _ = drawn_documents(300, 100, 5, 50)
    model = TopicModel(5, epochs=1, random_state=0).fit(X)
    weights = model.state_dict()
    weights["mu.weight"][:] = 0.0
    weights["mu.norm.running_mean"][:] = 0.0
    weights["mu.norm.running_mean"][2] = 50 * np.sqrt(
        weights["mu.norm.running_var"][2]
    )  # z_2 = -50, whatever the document
    found = model.load_state_dict(weights).diagnose(X)
    assert "the posterior has collapsed" in str(found).lower()
    assert "uses 1 of 5 topics" in str(found)


@pytest.mark.parametrize("decoder", DECODERS)
def test_extreme_documents_never_give_nan(decoder: str) -> None:
    X = np.zeros((65, 40), np.float32)
    X[0, 0], X[1, 1], X[2] = 1e6, 1, 1
    model = TopicModel(4, decoder=decoder, epochs=5, batch_size=64, random_state=0).fit(X)
    model.partial_fit(X[:1]).partial_fit(X[3:9])
    assert all(np.isfinite(value).all() for value in model.state_dict().values())
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.transform(X)).all()


def test_the_last_batch_of_an_epoch_is_nearly_as_full_as_the_others() -> None:
    seen: list[int] = []

    class Count:
        def on_epoch_end(self, model: TopicModel, logs: dict[str, float]) -> None:
            seen.append(steps(model))

    TopicModel(3, hidden=(5,), batch_size=64, epochs=1, callbacks=[Count()]).fit(counts(65, 11))
    assert seen == [2]
    size = documents_of_a_step
    assert [size(10, 64), size(65, 64), size(128, 64), size(1, 64), size(7, 1)] == [10, 33, 64, 1, 1]
    for n, most in ((101, 10), (201, 10), (4033, 64)):
        assert (n % size(n, most) or size(n, most)) > 0.6 * size(n, most)
    rng = np.random.default_rng(0)
    for n, most in zip(rng.integers(1, 5000, 200).tolist(), rng.integers(1, 300, 200).tolist(), strict=True):
        chosen = size(n, most)
        last = {some: (n % some or some) / some for some in range(min(n, most) // 2 + 1, min(n, most) + 1)}
        assert chosen in last
        assert last[chosen] == max(last.values())
        assert chosen == max(some for some in last if last[some] == last[chosen])


@pytest.mark.parametrize("decoder", DECODERS)
def test_training_on_counts_of_any_type_is_the_same(decoder: str) -> None:
    X = counts(50, 37)
    models = [
        TopicModel(3, decoder=decoder, hidden=(5,), epochs=2, **QUIET).fit(X.astype(kind))
        for kind in (np.float32, np.float64, np.uint8, np.uint16, np.int64)
    ]
    assert all(same(models[0].state_dict(), other.state_dict()) for other in models[1:])


@pytest.mark.parametrize("decoder", DECODERS)
def test_inference_takes_counts_of_any_type_unscaled(decoder: str) -> None:
    X = counts(50, 37)
    model = TopicModel(3, decoder=decoder, hidden=(5,), epochs=2, **QUIET).fit(X)
    for question in (model.transform, model.reconstruct, model.score_samples):
        assert all(np.array_equal(question(X), question(X.astype(kind))) for kind in (np.float64, np.uint8, np.int64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_words_are_counted_a_few_documents_at_a_time(dtype: type[Any]) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X = counts(3000, 200).astype(dtype)
    rows = np.sort(np.random.default_rng(0).permutation(3000)[:2100]).astype(np.uint64)
    for data in (X, np.asfortranarray(X), X[::-1][::-1], _sparse.matrix(sparse.csr_array(X), "X")):
        for some in (None, rows):
            wanted = X[slice(None) if some is None else some].sum(0, dtype=np.float64)
            assert np.array_equal(_counted(data, some), wanted)
            assert peak_of(lambda data=data, some=some: _counted(data, some)) < 1.2e6  # X as float32: 2.4 MB


def test_words_are_counted_within_bounds_whatever_the_arrays_have_become(fitted: TopicModel) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rng, counted = np.random.default_rng(0), []
    for rows in (None, np.arange(50, dtype=np.uint64)):
        for part, wild in (("indices", [2**31 - 1, -(2**31), -1]), ("indptr", [2**62, -(2**63), 10**6])):
            X = _sparse.matrix(sparse.csr_array(counts(100, 67)), "X")
            array = getattr(X, part)
            array[rng.integers(0, len(array), 20)] = rng.choice(wild, 20)

            def ask(X: Any = X, rows: Any = rows) -> None:
                assert _counted(X, rows).shape == (67,)
                assert np.isfinite(fitted.coherence(X)).all()
                counted.append(rows)

            assert peak_of(ask) < 2e6
    assert len(counted) == 4


def test_shares_of_words_are_added_up_in_one_order() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X = (counts(900, 60) / np.float32(7)).astype(np.float32)
    rows = np.arange(0, 900, 3, dtype=np.uint64)
    found = _counted(X, rows)
    np.testing.assert_allclose(found, X[rows].sum(0, dtype=np.float64), rtol=1e-12)
    assert np.array_equal(_counted(np.asfortranarray(X), rows), found)
    assert np.array_equal(_counted(_sparse.matrix(sparse.csr_array(X), "X"), rows), found)


@pytest.mark.parametrize(
    "extra", [{}, {"validation_fraction": 0.3}, {"clip_norm": 0.5, "input_transform": "l2"}], ids=str
)
@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize("decoder", DECODERS)
def test_sparse_documents_give_the_bits_of_dense_ones(
    decoder: str, density: float, extra: dict[str, Any], tmp_path: Path
) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((150, 77)) < density, rng.integers(1, 6, (150, 77)), 0).astype(np.float32)
    dense[50], dense[:, 20] = 0, 0
    found = []
    for X, n_jobs in ((dense, 1), (sparse.csr_array(dense), 1), (sparse.csr_array(dense), 2)):
        model = TopicModel(5, decoder=decoder, hidden=(40,), epochs=3, batch_size=32, random_state=0, n_jobs=n_jobs)
        model.set_params(**extra).fit(X)
        found.append(all_that_it_says(model, X))
        model.save(tmp_path / "m")
        for kept in (fastvae.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
            assert same(all_that_it_says(kept, X), found[-1])
            assert same(kept.partial_fit(X).state_dict(), copy.deepcopy(model).partial_fit(X).state_dict())
    assert same(found[0], found[1])
    assert same(found[1], found[2])
    assert ("val_loss" in found[0]) == ("validation_fraction" in extra)


def all_that_it_says(model: TopicModel, X: Any) -> dict[str, NDArray[Any]]:
    """The answers of a fitted model, its parameters and its history."""
    indices, distances = model.similar_documents(X, X[:7], 4)
    found = {"topics": model.transform(X), "scores": model.score_samples(X), "words": model.reconstruct(X)}
    found |= {"indices": indices, "distances": distances, "perplexity": np.array(model.perplexity(X))}
    found |= {"coherence": model.coherence(X), "usage": model.diagnose(X).usage}
    return found | model.state_dict() | {name: np.array(losses) for name, losses in model.history_.items()}


# ---------------------------------------------------------------------------------------------- arrays that change


PARTS = ("indptr", "indices", "data")


@pytest.mark.parametrize("model", [TopicModel(4), fastvae.VAE(3, likelihood="poisson")], ids=repr)
@pytest.mark.parametrize("extra", [{}, {"validation_fraction": 0.3}, {"early_stopping": True}], ids=str)
def test_counts_that_change_while_they_are_trained_on_do_no_harm(
    model: TopicModel | fastvae.VAE, extra: dict[str, Any]
) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    outcomes = {"trained": 0, "refused": 0}
    for seed in range(12):
        X = sparse.csr_array(counts(200, 40))
        X.indptr = X.indptr.astype(np.int64)
        assert all(np.shares_memory(getattr(_sparse.matrix(X, "X"), part), getattr(X, part)) for part in PARTS)
        change = Change(X, np.random.default_rng(seed), PARTS[seed % 3])
        trained = copy.copy(model).set_params(hidden=(9,), epochs=4, batch_size=16, random_state=0, n_jobs=1, **extra)
        try:
            trained.set_params(callbacks=[change]).fit(X)
            outcomes["trained"] += 1
        except (ValueError, FloatingPointError):
            outcomes["refused"] += 1
        assert change.times
        assert all(np.isfinite(value).all() for value in trained.state_dict().values())
    assert sum(outcomes.values()) == 12
    assert min(outcomes.values()) > 0


class Change:
    """A callback that writes wild values into the arrays of X, or not so wild ones."""

    def __init__(self, X: Any, rng: np.random.Generator, part: str) -> None:
        self.X, self.rng, self.part, self.times = X, rng, part, 0

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
        self.times += 1
        array = getattr(self.X, self.part)
        wild = {
            "indptr": [-(2**63), -1, 0, 3, 10**6, 2**62],
            "indices": [-(2**31), -1, 5, 2**31 - 1],
            "data": [-1.0, 3.0, 1e30, np.inf, np.nan],
        }[self.part]
        array[self.rng.integers(0, len(array), 9)] = self.rng.choice(wild, 9)


def test_early_stopping_keeps_the_best_weights_and_their_statistics() -> None:
    X = counts(200, 37)
    model = TopicModel(5, hidden=(33,), epochs=60, learning_rate=0.02, early_stopping=True, n_iter_no_change=3, **QUIET)
    model.fit(X[:150], validation_data=X[150:])
    assert model.n_iter_ < 60
    assert model.evaluate(X[150:])["loss"] == pytest.approx(min(model.history_["val_loss"]), rel=1e-6)


# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_topics": 1}, "n_topics=1"),
        ({"n_topics": 2.5}, "n_topics=2.5"),
        ({"decoder": "sum"}, "decoder='sum'"),
        ({"alpha": 0}, "alpha=0"),
        ({"alpha": [1.0, 2.0]}, "alpha="),
        ({"alpha": "1"}, "alpha='1'"),
        ({"alpha": np.nan}, "alpha=nan"),
        ({"masking": 1.0}, "masking=1.0"),
        ({"hidden": (0,)}, "hidden"),
        ({"activation": "softmax"}, "activation"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TopicModel(**{"n_topics": 3, **parameters}).fit(counts(9, 7))


def test_counts_are_not_negative() -> None:
    X = counts(9, 7)
    X[3, 2] = -1
    with pytest.raises(ValueError, match=re.escape("X[3, 2] is -1")):
        TopicModel(3).fit(X)
    model = TopicModel(3, hidden=(5,), epochs=1).fit(np.abs(X))
    questions: list[Any] = [model.transform, model.encode, model.score_samples, model.reconstruct, model.perplexity]
    questions += [lambda X: model.posterior_sample(X, 2), lambda X: model.predictive(X, 2)]
    for question in questions:  # the default masking is no noise that could be negative
        with pytest.raises(ValueError, match=re.escape("X[3, 2] is -1")):
            question(X)


TEXTS = ["The match was won by a late goal.", "Markets fell today.", "A goal in a late match."] * 2


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (TEXTS, r"row 0 is 'The match was won"),
        (np.array(TEXTS), r"row 0 is 'The match was won"),
        (np.array(TEXTS, object), r"row 0 is 'The match was won"),
        (iter(TEXTS), r"row 0 is 'The match was won"),
        ([text.split() for text in TEXTS], r"lists of words \(row 0 is \['The', 'match'"),
        (TEXTS[0], r"X is a string, 'The match was won"),
    ],
    ids=["list", "strings", "objects", "iterator", "words", "one text"],
)
def test_texts_are_refused_with_the_lines_that_count_their_words(given: Any, place: str) -> None:
    with pytest.raises(TypeError, match=place) as caught:
        TopicModel(2).fit(given)
    import sklearn.feature_extraction.text  # the lines name it

    texts = [text.split() for text in TEXTS] if "lists of words" in place else TEXTS
    scope: dict[str, Any] = {"sklearn": sklearn, "texts": texts}
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2
    exec("\n".join(line.strip() for line in lines), scope)  # as a user would
    model = TopicModel(2, epochs=1, random_state=0).fit(scope["X"])
    with pytest.raises(TypeError, match="validation_data holds") as caught:
        model.fit(scope["X"], validation_data=texts)
    assert "validation_data = vectorizer.transform(texts)" in str(caught.value)
    with pytest.raises(TypeError, match="X holds") as caught:
        model.transform(texts)
    line = str(caught.value).splitlines()[1].strip()
    assert "fit_transform" not in line
    exec(line, scope)
    assert model.transform(scope["X"]).shape == (len(TEXTS), 2)


def test_texts_in_a_frame_are_refused_by_their_column() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"date": [1, 2], "text": TEXTS[:2]})
    with pytest.raises(TypeError, match=r"row 0 of column 'text' is 'The match.*\n.*\n.*\(table\['text'\]\)"):
        TopicModel(2).fit(table)
    with pytest.raises(TypeError, match=r"stop_words=\"english\", min_df=5, max_df=0.5\)"):
        TopicModel(2).fit(table["text"].repeat(60))
    with pytest.raises(TypeError, match=r"row 0, column 0 is 'a'.*OneHotEncoder"):  # no texts: a table
        TopicModel(2).fit([["a", 1.0]])


def test_shares_are_shares(fitted: TopicModel) -> None:
    for wrong in (np.ones((2, 7)), -np.eye(7), np.eye(6)):
        with pytest.raises(ValueError, match="Z"):
            fitted.inverse_transform(wrong)


def test_an_unfitted_model_says_so() -> None:
    model = TopicModel()
    assert not hasattr(model, "components_")
    for ask in (
        lambda: model.transform(counts(3, 4)),
        lambda: model.top_words(["a"]),
        lambda: model.sample_documents(3),
    ):
        with pytest.raises(NotFittedError):
            ask()


def test_the_objective_of_a_model_of_an_earlier_version_has_its_alpha() -> None:
    file = Path(__file__).parent / "data" / "v2" / "topics_product.safetensors"
    loaded = fastvae.load(file)
    assert isinstance(loaded, TopicModel)
    assert "Dirichlet(0.7)" in loaded.describe_objective()
    assert "Dirichlet(0.3)" in TopicModel(decoder="product").describe_objective()
    assert "Dirichlet(0.5)" in TopicModel().describe_objective()
    assert "linear(0, 1, steps=500)" in TopicModel().describe_objective()


def test_the_objective_is_described() -> None:
    text = TopicModel(alpha=0.3).describe_objective()
    assert "Dirichlet(0.3)" in text
    assert "of a batch of at most 64, in nats" in text
    assert "sum_k theta_k phi_k" in text
    assert "BN(theta beta) + b" in TopicModel(decoder="product").describe_objective()


@pytest.mark.filterwarnings("ignore:Estimator TopicModel does not inherit:UserWarning")
def test_scikit_learns_checks_pass() -> None:
    passes_all_checks(TopicModel(2, hidden=(5,), epochs=1))
