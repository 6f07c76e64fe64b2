"""Likelihoods of counts: what holds beyond the losses and gradients of torch, which the other tests compare."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from helpers import COUNTS, LIKELIHOODS, needs_lengths
from numpy.typing import NDArray
from reference import AWKWARD, examples, loss_errors, noise, pair, too_large
from scipy import sparse, stats

import fastvae
from fastvae import VAE, _core, likelihoods
from fastvae.corruption import MaskingNoise
from fastvae.likelihoods import Multinomial, NegativeBinomial


def documents(rows: int, words: int, length: int = 60, seed: int = 0) -> NDArray[np.float32]:
    """Bags of words of three topics."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(words, 0.1), 3)
    return np.array([rng.multinomial(length, topics[i % 3]) for i in range(rows)], np.float32)


def linear(words: int, logits: Any, likelihood: Any = "multinomial") -> VAE:
    """Return a model whose decoder gives the same output whatever the code."""
    vae = VAE(2, hidden=(), likelihood=likelihood, random_state=0)
    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {
        "mu.weight": 0.1 * rng.normal(size=(2, words)),
        "mu.bias": np.zeros(2),
        "logvar.weight": np.zeros((2, words)),
        "logvar.bias": np.zeros(2),
        "decoder.0.weight": np.zeros((words, 2)),
        "decoder.0.bias": logits,
    }
    if likelihood == "negative_binomial":
        weights["likelihood.log_total_count"] = np.zeros(words)
    return vae.load_state_dict(weights)


# ------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("likelihood", COUNTS)
@pytest.mark.parametrize(
    "more",
    [
        {"free_bits": 0.3},
        {"capacity": 2.0, "beta": 3.0},
        {"decoder_hidden": ()},
        {"decoder_hidden": (67, 31, 3), "activation": "gelu"},
        {"latent_dim": 37},
    ],
    ids=str,
)
def test_every_option_has_the_losses_and_gradients_of_torch(likelihood: str, more: dict[str, Any]) -> None:
    vae, twin = pair(45, **{**AWKWARD, "likelihood": LIKELIHOODS[likelihood], **more})
    X, eps = examples(likelihood, 29, 45), noise(29, more.get("latent_dim", 5))
    corrupted = MaskingNoise(0.3).corrupt(X, random_state=3)
    assert not too_large(loss_errors(vae, twin, X, eps, corrupted=corrupted))


@pytest.mark.parametrize("likelihood", COUNTS)
def test_uint8_is_counts_everywhere(likelihood: str) -> None:
    X = np.random.default_rng(0).integers(0, 256, (131, 37), dtype=np.uint8)
    floats, eps = X.astype(np.float32), noise(131, 5)
    vae, _ = pair(37, likelihood=LIKELIHOODS[likelihood], random_state=0, **AWKWARD)
    gentle = {name: 0.01 * weight for name, weight in vae.state_dict().items()}
    vae.load_state_dict(gentle)

    def answers(X: Any) -> list[bytes]:
        losses, gradients = vae.loss_and_gradients(X, eps, corrupted=X)
        found = [np.array(list(losses.values())), *gradients.values(), vae.transform(X), *vae.encode(X)]
        found += [vae.reconstruct(X), vae.score_samples(X), *vae.log_marginal(X, 20), vae.posterior_sample(X, 2)]
        found += [*vae.predictive(X, 3), np.array(vae.score(X)), vae.diagnose(X).kl]
        return [array.tobytes() for array in found]

    assert answers(X) == answers(floats)
    params: dict[str, Any] = {"hidden": (8,), "epochs": 2, "random_state": 0, "validation_fraction": 0.2}
    X %= 4
    floats = X.astype(np.float32)
    fits = [VAE(2, likelihood=LIKELIHOODS[likelihood], **params).fit(x) for x in (X, floats)]
    assert fits[0].history_ == fits[1].history_
    more = [fit.partial_fit(x, corrupted=x).state_dict() for fit, x in zip(fits, (X, floats), strict=True)]
    for name, weight in more[0].items():
        assert weight.tobytes() == more[1][name].tobytes(), name
    vae.score_samples(np.ones((3, 37), np.uint8))


@pytest.mark.parametrize("likelihood", COUNTS)
@pytest.mark.parametrize(
    ("value", "complaint"), [(-1, "takes counts: numbers of at least 0"), (np.nan, "finite"), (np.inf, "finite")]
)
def test_what_is_no_count_is_refused(likelihood: str, value: float, complaint: str) -> None:
    X = examples(likelihood, 29, 37)
    X[17, 33] = value
    vae, _ = pair(37, likelihood=LIKELIHOODS[likelihood], **AWKWARD)
    fits = [lambda X: VAE(2, likelihood=LIKELIHOODS[likelihood], epochs=1).fit(X), vae.partial_fit]
    for ask in [*fits, vae.score_samples, vae.loss_and_gradients, vae.log_marginal]:
        with pytest.raises(ValueError, match=r"X\[17, 33\] is .*" + complaint):
            ask(X)
    for ask in (vae.transform, vae.reconstruct):
        if np.isfinite(value):  # the encoder takes it
            assert np.isfinite(ask(X)).all()
        else:
            with pytest.raises(ValueError, match=r"X\[17, 33\] is .*finite"):
                ask(X)


@pytest.mark.parametrize("likelihood", COUNTS)
@pytest.mark.parametrize("more", [{}, {"input_transform": "log1p"}, {"corruption": MaskingNoise(0.3)}], ids=str)
def test_sparse_counts_have_the_bits_of_dense_ones(likelihood: str, more: dict[str, Any]) -> None:
    X = documents(300, 333, length=20)
    assert (X > 0).mean() < 0.06
    found = set()
    for data in (X, sparse.csr_matrix(X)):
        vae = VAE(5, hidden=(40,), likelihood=likelihood, random_state=0, epochs=3, batch_size=70, **more).fit(data)
        answers = [*vae.state_dict().values(), vae.reconstruct(data), vae.score_samples(data)]
        answers += [*vae.log_marginal(data, 50), *vae.loss_and_gradients(data)[1].values()]
        found.add(b"".join(answer.tobytes() for answer in answers))
    assert len(found) == 1


@pytest.mark.parametrize("likelihood", COUNTS)
def test_binarize_is_refused(likelihood: str) -> None:
    with pytest.raises(ValueError, match="binarize"):
        VAE(likelihood=LIKELIHOODS[likelihood], binarize="threshold").fit(examples(likelihood, 29, 37))


@pytest.mark.parametrize("likelihood", COUNTS)
def test_a_fitted_model_comes_back_from_its_file(likelihood: str, tmp_path: Any) -> None:
    X = documents(100, 40)
    params: dict[str, Any] = {"hidden": (8,), "likelihood": LIKELIHOODS[likelihood], "random_state": 0, "epochs": 2}
    vae = VAE(2, **params).fit(X)
    vae.save(tmp_path / "model.safetensors")
    back = fastvae.load(tmp_path / "model.safetensors")
    assert back.get_params() == vae.get_params()
    assert np.array_equal(back.score_samples(X), vae.score_samples(X))
    assert back.partial_fit(X).score(X) == vae.partial_fit(X).score(X)


# --------------------------------------------------------------------------- Poisson, negative binomial


def exact(likelihood: str, x: NDArray[Any], y: NDArray[Any], log_r: NDArray[Any]) -> list[NDArray[np.float64]]:
    """-log p and its gradients with respect to y and ln r, by torch in float64."""
    x, y, log_r = (torch.tensor(values, dtype=torch.float64) for values in (x, y, log_r))
    y.requires_grad_()
    log_r.requires_grad_()
    if likelihood == "poisson":
        log_prob = torch.distributions.Poisson(y.exp(), validate_args=False).log_prob(x)
    else:
        log_prob = torch.distributions.NegativeBinomial(log_r.exp(), logits=y - log_r, validate_args=False).log_prob(x)
    gradients = torch.autograd.grad(-log_prob.sum(), [y, log_r], allow_unused=True)
    return [-log_prob.detach().numpy(), *(np.zeros(len(x)) if g is None else g.numpy() for g in gradients)]


def found(likelihood: str, x: NDArray[Any], y: NDArray[Any], log_r: NDArray[Any]) -> list[NDArray[np.float64]]:
    """The same by fastvae, a feature at a time."""
    values, slopes, scales = [], [], []
    vae = linear(1, y[:1], likelihood)
    for j in range(len(x)):
        weights = vae.state_dict() | {"decoder.0.bias": y[j : j + 1]}
        if likelihood == "negative_binomial":
            weights["likelihood.log_total_count"] = log_r[j : j + 1]
        vae.load_state_dict(weights | {"mu.weight": np.zeros((2, 1))})
        losses, gradients = vae.loss_and_gradients(x[j : j + 1, np.newaxis])
        values.append(losses["reconstruction"])
        slopes.append(gradients["decoder.0.bias"][0])
        scales.append(gradients.get("likelihood.log_total_count", np.zeros(1))[0])
    return [np.array(part, np.float64) for part in (values, slopes, scales)]


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("count", ["zero", "one", "few", "many", "very many", "no integers"])
def test_a_log_probability_is_that_of_torch_over_the_whole_range(likelihood: str, count: str) -> None:
    rng, n = np.random.default_rng(0), 400
    x = {
        "zero": np.zeros(n),
        "one": np.ones(n),
        "few": rng.integers(2, 20, n),
        "many": rng.integers(20, 2000, n),
        "very many": rng.integers(2000, 10**6, n),
        "no integers": rng.gamma(0.3, 20, n),
    }[count].astype(np.float32)
    near = np.log(np.maximum(x, 0.1)) + rng.normal(0, 0.2, n)
    y = np.where(rng.random(n) < 0.5, near, rng.uniform(-40, 60, n)).astype(np.float32)
    log_r = rng.uniform(np.log(1e-3), np.log(1e6), n).astype(np.float32)
    values, slopes, scales = found(likelihood, x, y, log_r)
    want = exact(likelihood, x, y, log_r)
    # The logarithms are float32 numbers, so nothing can be known better than its derivative times their last digits.
    digits = 1.5e-7 * np.maximum(np.maximum(np.abs(y), np.abs(y - log_r)), 2)
    inherent = digits * (np.abs(want[1]) + np.abs(want[2]))
    mean, r = np.exp(y.astype(np.float64)), np.exp(log_r.astype(np.float64))
    if likelihood == "negative_binomial":
        inherent += digits * np.minimum(
            r, x * np.abs(y - np.log(np.maximum(x, 1e-30)))
        )  # see rust/nn/likelihood/deviance.rs
    assert (np.abs(values - want[0]) <= 4e-7 * np.abs(want[0]) + 2e-6 * (count != "zero") + inherent).all()
    size = x + (mean if likelihood == "poisson" else mean * r / (mean + r))  # of the gradient's terms
    assert (np.abs(slopes - want[1]) <= digits * size).all()
    assert (np.abs(scales - want[2]) <= digits * (np.abs(want[2]) + 4 * size) + 3e-7).all()


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_zeros_of_very_many_features_add_up_without_an_error(likelihood: str) -> None:
    y = np.random.default_rng(0).uniform(-12, -6, 50_000)
    vae = linear(50_000, y, likelihood)
    X = np.zeros((1, 50_000), np.float32)
    want = exact(likelihood, X[0], y.astype(np.float32), np.zeros(50_000))[0].sum()
    assert vae.evaluate(X)["reconstruction"] == pytest.approx(want, rel=4e-6)  # the sum's own error


def test_a_rate_beyond_float32_is_an_infinite_loss_and_changes_nothing() -> None:
    vae = linear(40, np.full(40, 88.1), "poisson")
    X, before = np.ones((3, 40)), vae.state_dict()
    with pytest.raises(FloatingPointError, match="the score of row 0 overflows"):
        vae.score_samples(X)
    assert np.isfinite(vae.reconstruct(X)).all()
    with pytest.raises(FloatingPointError, match="the loss is not a finite number"):
        vae.partial_fit(X)
    for name, weight in vae.state_dict().items():
        assert np.array_equal(weight, before[name]), name
    assert np.isfinite(linear(1, np.full(1, 87.9), "poisson").score_samples(X[:, :1])).all()


def test_a_negative_binomial_takes_any_mean() -> None:
    x, log_r = np.array([0, 1, 50, 1000], np.float32), np.log(np.array([0.5, 2, 30, 1e3], np.float32))
    for mean in (85.0, 100.0, 1000.0, -85.0, -1000.0):
        y = np.full(4, mean, np.float32)
        arguments = ("negative_binomial", x, y, log_r)
        for ours, want in zip(found(*arguments), exact(*arguments), strict=True):
            np.testing.assert_allclose(ours, want, rtol=2e-6, atol=1e-3 if mean < 0 else 1e-6)


@pytest.mark.parametrize("r", [0.3, 2.0])
def test_the_dispersion_of_counts_is_recovered_and_stays_in_its_range(r: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.negative_binomial(r, r / (r + 5.0), (3000, 20))
    params: dict[str, Any] = {"hidden": (), "learning_rate": 0.02, "random_state": 0, "beta": 4.0}
    vae = VAE(1, likelihood="negative_binomial", epochs=25, **params).fit(X)
    np.testing.assert_allclose(np.exp(vae.state_dict()["likelihood.log_total_count"]), r, rtol=0.25)
    floored = VAE(1, likelihood=NegativeBinomial(floor=10.0), epochs=2, **params).fit(X)
    np.testing.assert_allclose(np.exp(floored.state_dict()["likelihood.log_total_count"]), 10, rtol=1e-6)
    capped = VAE(1, likelihood=NegativeBinomial(floor=9e5), epochs=5, **params | {"learning_rate": 1.0})
    with pytest.warns(UserWarning, match="Training went wrong"):
        capped.fit(np.full((50, 20), 3))
    assert np.exp(capped.state_dict()["likelihood.log_total_count"]).max() <= 1e6 * (1 + 1e-6)


def test_the_names_of_likelihoods_are_those_of_the_core() -> None:
    public = {kind for kind, facts in _core.LIKELIHOODS.items() if facts["public"]}
    assert public == likelihoods.KINDS.keys()
    for kind, cls in likelihoods.KINDS.items():
        assert likelihoods.resolve(kind) == likelihoods.resolve(cls())
        assert "sum_" in _core.likelihood_formula(json.dumps(likelihoods.resolve(kind)))
    with pytest.raises(ValueError, match="unknown field `shape`"):
        _core.check_likelihood('{"kind": "poisson", "shape": 1}')


@pytest.mark.parametrize("floor", [0, -1, 1e7, np.nan, "small", None])
def test_a_bad_floor_is_refused(floor: Any) -> None:
    with pytest.raises(ValueError, match="floor"):
        VAE(likelihood=NegativeBinomial(floor=floor)).fit(np.ones((3, 4)))


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("rows", [1, 3, 29, 200])
def test_the_number_of_threads_changes_no_bit_of_counts(rows: int, likelihood: str) -> None:
    X = documents(rows, 333)
    found = set()
    for n_jobs in (1, 2, 3):
        vae = VAE(5, hidden=(40,), likelihood=likelihood, random_state=0, n_jobs=n_jobs, epochs=3, batch_size=70)
        vae.set_params(clip_norm=5.0).fit(X)
        losses, gradients = vae.loss_and_gradients(X)
        answers = [*vae.state_dict().values(), *gradients.values(), vae.reconstruct(X), vae.score_samples(X)]
        answers += [*vae.predictive(X, 3), np.array(list(losses.values())), vae.sample(30, draw=True)]
        found.add(b"".join(answer.tobytes() for answer in answers))
    assert len(found) == 1


def test_a_clipped_step_that_clips_nothing_is_the_plain_one() -> None:
    X = documents(100, 45)
    vaes = [VAE(2, hidden=(8,), likelihood="negative_binomial", random_state=0, clip_norm=c) for c in (None, 1e20)]
    plain, clipped = (vae.set_params(epochs=2).fit(X).state_dict() for vae in vaes)
    for name, weight in plain.items():
        assert weight.tobytes() == clipped[name].tobytes(), name


# ------------------------------------------------------------------------------------------ multinomial


@pytest.mark.parametrize("words", [1, 2, 16, 17, 32, 33, 50, 64, 97])
@pytest.mark.parametrize("shift", [0.0, 500.0, -3000.0])
def test_a_multinomial_is_that_of_torch_whatever_is_added_to_its_logits(words: int, shift: float) -> None:
    rng = np.random.default_rng(words)
    logits = np.round(64 * rng.normal(0, 3, words)) / 64 + shift  # sums that float32 has exactly
    X = rng.poisson(0.7, (19, words)).astype(np.float32)
    vae = linear(words, logits)
    log_softmax = torch.tensor(logits, dtype=torch.float64).log_softmax(0).numpy()
    losses = [vae.evaluate(x[np.newaxis])["reconstruction"] for x in X]
    np.testing.assert_allclose(losses, -X @ log_softmax, rtol=1e-6, atol=1e-6)
    p = vae.reconstruct(X)
    np.testing.assert_allclose(p, np.tile(np.exp(log_softmax), (19, 1)), rtol=3e-6)
    np.testing.assert_allclose(p.sum(1, dtype=np.float64), 1, atol=1e-6)
    _, gradients = vae.loss_and_gradients(X)
    expected = (X.sum(1, keepdims=True) * np.exp(log_softmax) - X).mean(0)
    np.testing.assert_allclose(gradients["decoder.0.bias"], expected, atol=1e-5)


def test_the_constant_left_out_is_the_multinomial_coefficient() -> None:
    logits, X = np.linspace(-2, 3, 37), documents(5, 37)
    exact = torch.distributions.Multinomial(60, logits=torch.tensor(logits)).log_prob(torch.tensor(X))
    factorials = torch.lgamma(torch.tensor(X, dtype=torch.float64) + 1).sum(1)
    coefficient = torch.lgamma(torch.tensor(61.0, dtype=torch.float64)) - factorials
    ours = [-linear(37, logits).evaluate(x[np.newaxis])["reconstruction"] for x in X]
    np.testing.assert_allclose(ours + coefficient.numpy(), exact.numpy(), rtol=1e-6)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_absent_words_of_probability_zero_have_no_loss(size: float) -> None:
    logits = np.full(70, -size)
    logits[40] = 0
    X = np.zeros((3, 70))
    X[1, 40], X[2, 41] = 7, 2
    vae = linear(70, logits)
    losses = [vae.evaluate(x[np.newaxis])["reconstruction"] for x in X]
    np.testing.assert_allclose(losses, [0, 0, 2 * size], rtol=1e-6, atol=1e-30)
    _, gradients = vae.loss_and_gradients(X)
    expected = np.zeros(70)
    expected[[40, 41]] = 2 / 3, -2 / 3
    np.testing.assert_allclose(gradients["decoder.0.bias"], expected, atol=1e-6)


def test_an_empty_document_has_no_loss_and_no_gradient() -> None:
    vae, _ = pair(37, likelihood="multinomial", **AWKWARD)
    losses, gradients = vae.loss_and_gradients(np.zeros((3, 37)))
    assert losses["reconstruction"] == 0
    assert not any(gradient.any() for name, gradient in gradients.items() if name.startswith("decoder"))


def test_nan_logits_give_a_nan_loss() -> None:
    # Two hidden units of 1e20 times weights of 1e20 and -1e20: infinity minus infinity, whatever occurs.
    vae = VAE(1, hidden=(), decoder_hidden=(2,), likelihood="multinomial", random_state=0)
    weights: dict[str, Any] = {"mu.weight": np.zeros((1, 40)), "mu.bias": [0], "logvar.weight": np.zeros((1, 40))}
    weights |= {"logvar.bias": [0], "decoder.0.weight": np.zeros((2, 1)), "decoder.0.bias": [1e20, 1e20]}
    weights |= {"decoder.2.weight": np.zeros((40, 2)), "decoder.2.bias": np.zeros(40)}
    weights["decoder.2.weight"][35] = 1e20, -1e20
    vae.load_state_dict(weights)
    with pytest.raises(FloatingPointError, match="the score of row 0"):
        vae.score_samples(np.eye(40)[:3])
    before = vae.state_dict()
    with pytest.raises(FloatingPointError, match="loss"):
        vae.partial_fit(np.eye(40))
    for name, weight in vae.state_dict().items():
        assert np.array_equal(weight, before[name]), name


@pytest.mark.parametrize("y", [None, "labels"])
def test_learning_finds_the_words_of_each_topic(y: str | None) -> None:
    X = documents(600, 50)
    labels = np.arange(600) % 3 if y else None
    vae = VAE(3, hidden=(32,), likelihood=Multinomial(), conditional=y is not None, learning_rate=5e-3, random_state=0)
    vae.set_params(epochs=40).fit(X, labels)
    found, topics = vae.reconstruct(X, y=labels), np.array([X[i::3].mean(0) / 60 for i in range(3)])
    assert np.abs(found - np.tile(topics, (200, 1))).mean() < 0.004
    marginal, elbo = vae.log_marginal(X[:9], 500, y=None if y is None else labels[:9]), vae.score_samples
    bound = elbo(X[:9], y=None if y is None else labels[:9])
    assert (marginal.estimate.mean() - bound.mean()) > -0.5


@pytest.mark.parametrize("rows", [1, 3, 29, 200])
def test_the_number_of_threads_changes_no_bit_of_a_multinomial(rows: int) -> None:
    X = documents(rows, 333)
    found = set()
    for n_jobs in (1, 2, 3):
        vae = VAE(5, hidden=(40,), likelihood="multinomial", random_state=0, n_jobs=n_jobs, epochs=3, batch_size=70)
        vae.fit(X)
        losses, gradients = vae.loss_and_gradients(X)
        answers = [*vae.state_dict().values(), *gradients.values(), vae.reconstruct(X), vae.score_samples(X)]
        answers += [*vae.predictive(X, 3), np.array(list(losses.values())), *vae.log_marginal(X, 50)]
        found.add(b"".join(answer.tobytes() for answer in answers))
    assert len(found) == 1


# ---------------------------------------------------------------------------------------------- samples


def test_documents_are_drawn_with_their_lengths_and_probabilities() -> None:
    p = np.array([0.5, 0.2, 0.0, 0.2999, 0.0001, 0.0])
    with np.errstate(divide="ignore"):
        vae = linear(6, np.maximum(np.log(p), -1000))
    lengths = np.arange(3000) % 500
    X = vae.sample(3000, draw=True, lengths=lengths, random_state=3)
    assert X.dtype == np.float32
    assert np.array_equal(X.sum(1), lengths)
    assert not X[:, p == 0].any()
    total = lengths.sum()
    assert (np.abs(X.sum(0) - total * p) <= 4 * np.sqrt(total * p * (1 - p))).all()
    # Documents are independent: the variance over them is the multinomial's.
    X = vae.sample(4000, draw=True, lengths=100, random_state=4)
    np.testing.assert_allclose(X[:, 0].var(), 100 * 0.25, rtol=4 * np.sqrt(2 / 4000))
    assert np.array_equal(vae.sample(7, draw=True, lengths=100, random_state=4), X[:7])


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_counts_are_drawn_with_their_mean_and_variance(likelihood: str) -> None:
    means, n = np.array([1e-3, 0.1, 0.9, 5.0, 9.9, 10.1, 60.0, 3e4]), 20_000
    vae, r = linear(8, np.log(means), likelihood), np.array([0.2, 5, 0.5, 1.5, 3, 1, 10, 100.0])
    variances, kurtosis = means.copy(), 3 + 1 / means
    if likelihood == "negative_binomial":
        vae.load_state_dict(vae.state_dict() | {"likelihood.log_total_count": np.log(r)})
        variances = means + means**2 / r
        kurtosis = 3 + 6 / r + 1 / variances
    X = vae.sample(n, draw=True, random_state=1).astype(np.float64)
    assert np.array_equal(X, np.round(X))
    assert (X >= 0).all()
    assert (np.abs(X.mean(0) - means) < 4.5 * np.sqrt(variances / n)).all()
    assert (np.abs(X.var(0) - variances) < 4.5 * variances * np.sqrt((kurtosis - 1) / n)).all()
    assert np.abs(np.corrcoef(X.T) - np.eye(8)).max() < 5 / np.sqrt(n)
    if likelihood == "poisson":
        seen = np.bincount(X[:, 4].astype(int), minlength=40)[:40] / n
        assert np.abs(seen - stats.poisson.pmf(np.arange(40), 9.9)).max() < 4.5 * np.sqrt(0.13 / n)
        seen = np.bincount(X[:, 5].astype(int), minlength=40)[:40] / n
        assert np.abs(seen - stats.poisson.pmf(np.arange(40), 10.1)).max() < 4.5 * np.sqrt(0.13 / n)
    assert np.array_equal(vae.sample(9, draw=True, random_state=1), X[:9])


@pytest.mark.parametrize("likelihood", COUNTS)
def test_draws_from_nan_means_are_refused(likelihood: str) -> None:
    vae = VAE(1, hidden=(), decoder_hidden=(2,), likelihood=LIKELIHOODS[likelihood], random_state=0)
    weights = vae.partial_fit(examples(likelihood, 29, 5)).state_dict()
    weights["decoder.0.weight"][:] = weights["decoder.0.bias"][:] = 3e38
    weights["decoder.2.weight"][:] = [1, -1]  # inf - inf
    vae.load_state_dict(weights)
    more = {"lengths": 7} if needs_lengths(likelihood) else {}
    with pytest.raises(FloatingPointError, match=r"not a finite number: .*lower learning_rate"):
        vae.sample(8, draw=True, random_state=0, **more)


@pytest.mark.parametrize("length", [-1, 1.5, [1, 2], 2**40, "many", np.zeros((3, 1), int)], ids=repr)
def test_an_invalid_length_is_refused(length: Any) -> None:
    with pytest.raises(ValueError, match="lengths="):
        linear(6, np.zeros(6)).sample(3, draw=True, lengths=length)


def test_a_length_is_asked_for_where_it_means_something() -> None:
    vae, _ = pair(37, **AWKWARD)
    with pytest.raises(ValueError, match="draw=True needs lengths="):
        linear(6, np.zeros(6)).sample(3, draw=True)
    with pytest.raises(ValueError, match="multinomial"):
        vae.sample(3, draw=True, lengths=7)
    with pytest.raises(ValueError, match="draw=True"):
        linear(6, np.zeros(6)).sample(3, lengths=7)
