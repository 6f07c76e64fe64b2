"""The importance-weighted bound: gradients against torch, closed forms, order, reports, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS, clamped
from numpy.typing import NDArray
from reference import (
    AWKWARD,
    AWKWARD_FEATURES,
    AWKWARD_ROWS,
    SIZES,
    Size,
    TorchVAE,
    examples,
    lively_weights,
    loss_errors,
    relative_error,
)
from scipy.sparse import csr_matrix
from torch.distributions import MultivariateNormal, Normal

import fastvae
from fastvae import VAE, schedules
from fastvae.corruption import MaskingNoise
from fastvae.datasets import load_digits
from fastvae.likelihoods import Gaussian

Array = NDArray[Any]
DIGITS = (load_digits()[0] > 0.5).astype(np.float32)

# A log-probability of some hundred nats has its last digit at 3e-5, which a draw's share multiplies.
TOLERANCE = 5e-5


def draws(rows: int, samples: int, latent_dim: int, seed: int = 1) -> NDArray[np.float32]:
    """Noise for several draws of each row."""
    return np.random.default_rng(seed).normal(size=(rows, samples, latent_dim)).astype(np.float32)


def pair(cols: int, samples: int, size: float = 0.3, seed: int = 0, **params: Any) -> tuple[VAE, TorchVAE]:
    """A model and its twin with weights so small that several draws have a share."""
    conditions = params.pop("conditions", 0)
    known = ("latent_dim", "hidden", "decoder_hidden", "activation", "likelihood", "missing_indicator")
    twin = TorchVAE(cols, conditions=conditions, **{name: params[name] for name in known if name in params})
    weights = {name: np.float32(size) * w for name, w in lively_weights(twin, seed).items()}
    vae = VAE(n_importance_samples=samples, conditional=conditions > 0, **params)
    return vae.load_state_dict(weights), twin.load(weights)


def effective_draws(twin: TorchVAE, X: Array, eps: Array) -> float:
    """Mean over the examples of 1 / sum of squared shares."""
    with torch.no_grad():
        log_weights, _, _ = twin.log_weights(twin.tensor(X), twin.tensor(eps))
        return float((1 / torch.softmax(log_weights, 1).square().sum(1)).mean())


def wrong(errors: dict[str, float], tolerance: float = TOLERANCE) -> dict[str, float]:
    """Errors beyond the tolerance."""
    return {name: error for name, error in errors.items() if not error <= tolerance}


# ------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("samples", [2, 5])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_has_the_losses_and_gradients_of_torch(likelihood: str, activation: str, samples: int) -> None:
    chosen = LIKELIHOODS[likelihood]
    vae, twin = pair(AWKWARD_FEATURES, samples, likelihood=chosen, activation=activation, **AWKWARD)
    X, eps = examples(chosen, AWKWARD_ROWS, AWKWARD_FEATURES), draws(AWKWARD_ROWS, samples, 5)
    assert 1.02 < effective_draws(twin, X, eps) < 0.99 * samples  # shares that differ, and more than one that counts
    assert not wrong(loss_errors(vae, twin, X, eps))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "gaussian decoder"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_depth_and_size_has_the_losses_and_gradients_of_torch(size: Size, likelihood: str) -> None:
    rows, cols, latent_dim, hidden, decoder_hidden = size
    shape: dict[str, Any] = {"latent_dim": latent_dim, "hidden": hidden, "decoder_hidden": decoder_hidden}
    vae, twin = pair(cols, 3, likelihood=LIKELIHOODS[likelihood], activation="silu", **shape)
    X = examples(LIKELIHOODS[likelihood], rows, cols)
    assert not wrong(loss_errors(vae, twin, X, draws(rows, 3, latent_dim)))


@pytest.mark.parametrize("samples", [15, 16, 17, 33, 100])
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_every_number_of_draws_has_the_losses_and_gradients_of_torch(rows: int, samples: int) -> None:
    vae, twin = pair(AWKWARD_FEATURES, samples, likelihood=Gaussian("per_feature"), **AWKWARD)
    X, eps = examples("gaussian", rows, AWKWARD_FEATURES), draws(rows, samples, 5)
    assert not wrong(loss_errors(vae, twin, X, eps))


@pytest.mark.parametrize("decoder_hidden", [(), (31,)], ids=str)
@pytest.mark.parametrize("latent_dim", [5, 16, 30])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian decoder"])
def test_a_conditional_model_has_the_losses_and_gradients_of_torch(
    likelihood: str, latent_dim: int, decoder_hidden: tuple[int, ...]
) -> None:
    chosen = LIKELIHOODS[likelihood]
    shape: dict[str, Any] = {"latent_dim": latent_dim, "hidden": (33,), "decoder_hidden": decoder_hidden}
    vae, twin = pair(37, 4, likelihood=chosen, conditions=3, **shape)
    y = np.random.default_rng(5).normal(size=(29, 3)).astype(np.float32)
    X, eps = examples(chosen, 29, 37), draws(29, 4, latent_dim)
    assert not wrong(loss_errors(vae, twin, X, eps, y=y))
    corrupted = np.random.default_rng(6).normal(size=X.shape).astype(np.float32)
    assert not wrong(loss_errors(vae, twin, X, eps, y=y, corrupted=corrupted))


def test_what_the_encoder_sees_is_not_the_target() -> None:
    vae, twin = pair(37, 4, **AWKWARD)
    X = examples("bernoulli", 29, 37)
    corrupted = np.random.default_rng(6).normal(size=X.shape).astype(np.float32)
    assert not wrong(loss_errors(vae, twin, X, draws(29, 4, 5), corrupted=corrupted))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian 0.3", "gaussian per_feature", "gaussian decoder"])
def test_one_draw_may_have_all_the_weight(likelihood: str) -> None:
    # The others are hundreds of nats below it: their shares are not only small, their gradients are exactly zero.
    chosen = LIKELIHOODS[likelihood]
    vae, twin = pair(AWKWARD_FEATURES, 5, likelihood=chosen, **AWKWARD)
    weights = vae.state_dict()
    weights["logvar.bias"] += 2  # q is wider than the prior: far draws have too little of the prior
    twin.load(vae.load_state_dict(weights).state_dict())
    X, eps = examples(chosen, AWKWARD_ROWS, AWKWARD_FEATURES), draws(AWKWARD_ROWS, 5, 5)
    eps[:, [0, 1, 3, 4]] *= 60
    assert effective_draws(twin, X, eps) == pytest.approx(1.0, abs=1e-6)
    assert not wrong(loss_errors(vae, twin, X, eps))
    _, alone = vae.loss_and_gradients(X, np.repeat(eps[:, 2:3], 5, 1))
    _, gradients = vae.loss_and_gradients(X, eps)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, alone[name], rtol=1e-4, atol=1e-5 * np.abs(gradient).max(), err_msg=name)


@pytest.mark.parametrize("samples", [2, 5, 30])
@pytest.mark.parametrize("likelihood", ["multinomial", "negative_binomial", "poisson", "bernoulli"])
def test_a_sparse_matrix_gives_the_bits_of_the_dense_one(likelihood: str, samples: int) -> None:
    rng = np.random.default_rng(3)
    X = rng.poisson(1.0, (203, 157)) * (rng.random((203, 157)) < 0.05)
    X = np.minimum(X, 1) if likelihood == "bernoulli" else X
    X = X.astype(np.float32)
    found = []
    for data in (X, csr_matrix(X)):
        options: dict[str, Any] = {"n_importance_samples": samples, "batch_size": 64, "epochs": 2, "random_state": 0}
        model = VAE(5, hidden=(20,), likelihood=likelihood, progress=False, **options).fit(data)
        losses, gradients = model.loss_and_gradients(data)
        found.append(
            ([*model.state_dict().values(), *gradients.values()], losses, model.evaluate(data), model.history_)
        )
    dense, sparse = found
    assert [array.tobytes() for array in dense[0]] == [array.tobytes() for array in sparse[0]]
    assert dense[1:] == sparse[1:]


def doubly_gradients(twin: TorchVAE, X: Array, eps: Array) -> dict[str, Array]:
    """The doubly reparameterised gradients (Tucker et al., arXiv:1810.04152): a hook on z weighs once more."""
    x, noise = twin.tensor(X), twin.tensor(eps)
    n, samples, latent_dim = eps.shape
    mu, logvar = (t[:, None] for t in twin.encode(x))
    logvar = logvar.clamp(-30, 20)
    z = mu + (logvar / 2).exp() * noise
    q = Normal(mu.detach(), (logvar.detach() / 2).exp())
    log_prob = -twin.reconstruction(x.repeat_interleave(samples, 0), z.reshape(-1, latent_dim)).reshape(n, samples)
    log_weights = log_prob + (Normal(torch.zeros_like(z), 1.0).log_prob(z) - q.log_prob(z)).sum(2)  # type: ignore[no-untyped-call]
    shares = torch.softmax(log_weights, 1).detach()
    z.register_hook(lambda gradient: shares[:, :, None] * gradient)  # type: ignore[no-untyped-call]
    twin.zero_grad(set_to_none=False)
    (-(shares * log_weights).sum(1).mean()).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.numpy().copy() for name, p in twin.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("samples", [2, 5, 33])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian per_feature", "gaussian decoder"])
def test_the_doubly_reparameterised_gradient_is_that_of_torch(likelihood: str, samples: int) -> None:
    chosen = LIKELIHOODS[likelihood]
    vae, twin = pair(AWKWARD_FEATURES, samples, likelihood=chosen, doubly_reparameterized=True, **AWKWARD)
    X, eps = examples(chosen, AWKWARD_ROWS, AWKWARD_FEATURES), draws(AWKWARD_ROWS, samples, 5)
    _, gradients = vae.loss_and_gradients(X, eps)
    expected = doubly_gradients(twin, X, eps)
    assert gradients.keys() == expected.keys()
    assert not wrong({name: relative_error(gradients[name], expected[name]) for name in expected})


def encoder_gradients(model: VAE, X: Array, samples: int, times: int) -> Array:
    """The encoder's gradients, one row for each of many draws of the noise."""
    found = []
    for seed in range(times):
        _, gradients = model.loss_and_gradients(X, draws(len(X), samples, 5, seed))
        found.append(np.concatenate([g.ravel() for name, g in gradients.items() if not name.startswith("decoder")]))
    return np.array(found, np.float64)


def test_both_gradients_have_the_same_expectation_and_one_has_less_noise(fitted: VAE) -> None:
    X, times = DIGITS[:20], 600
    doubly = VAE(**fitted.get_params() | {"doubly_reparameterized": True}).load_state_dict(fitted.state_dict())
    plain, quiet = (encoder_gradients(model, X, 5, times) for model in (fitted, doubly))
    alive = plain.std(0) > 1e-9
    off = (quiet - plain)[:, alive]
    errors = np.abs(off.mean(0)) / (off.std(0) / np.sqrt(times))
    assert errors.max() < 5.5  # of some thousand numbers
    assert np.mean(errors > 2) < 0.15
    assert (quiet.var(0).sum()) < 0.8 * plain.var(0).sum()


def test_training_with_the_doubly_reparameterised_gradient_differs_and_learns() -> None:
    plain, doubly = (trained(10, epochs=20, doubly_reparameterized=flag) for flag in (False, True))
    assert doubly.history_["loss"] != plain.history_["loss"]
    assert doubly.evaluate(DIGITS[1000:])["loss"] < plain.evaluate(DIGITS[1000:])["loss"] + 0.2
    assert doubly.describe_objective() != plain.describe_objective()


@pytest.mark.parametrize("shift", [-50.0, 50.0])
def test_a_log_variance_beyond_the_clamp_has_no_gradient_as_in_torch(shift: float) -> None:
    vae, twin = pair(37, 4, latent_dim=20, hidden=(33,), likelihood="gaussian")
    weights = vae.state_dict()
    weights["logvar.bias"][3] = shift
    weights["decoder.0.weight"][:, 3] *= 1e-6  # what has a deviation of e^10 must not decide alone
    vae.load_state_dict(weights)
    twin.load(weights)
    X, eps = examples("gaussian", 29, 37), draws(29, 4, 20)
    assert not wrong(loss_errors(vae, twin, X, eps))
    _, gradients = vae.loss_and_gradients(X, eps)
    alive = gradients["logvar.weight"].any(1)
    assert alive.tolist() == [column != 3 for column in range(20)]
    before = clamped(vae)
    vae.evaluate(X)
    assert clamped(vae) == before + 29  # one for each example, however many draws


# ------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("limit", [None, 0.5])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared"])
def test_training_with_a_schedule_and_clipping_ends_where_that_of_torch_ends(
    likelihood: str, limit: float | None
) -> None:
    rows, batch, samples = 29, 8, 3  # the last batch has 5
    chosen, rate = LIKELIHOODS[likelihood], schedules.linear(2e-3, 1e-3, steps=8)
    vae, twin = pair(
        37,
        samples,
        likelihood=chosen,
        batch_size=batch,
        learning_rate=rate,
        clip_norm=limit,
        activation="tanh",
        **AWKWARD,
    )
    X, eps = examples(chosen, rows, 37), draws(rows, samples, 5)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1.0)
    clipped, losses = [], []
    for step, start in enumerate([*range(0, rows, batch)] * 2):
        optimizer.param_groups[0]["lr"] = 2e-3 - 1e-3 * step / 8
        optimizer.zero_grad()
        part = slice(start, start + batch)
        loss = twin(twin.tensor(X[part]), twin.tensor(eps[part]))["loss"]
        losses.append((len(X[part]), loss.item()))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), float("inf") if limit is None else limit)
        clipped.append(limit is not None and norm.item() > limit)
        optimizer.step()
    vae.partial_fit(X, eps=eps).partial_fit(X, eps=eps)
    assert any(clipped) == (limit is not None)
    for name, value in twin.weights().items():
        np.testing.assert_allclose(vae.state_dict()[name], value, rtol=1e-4, atol=2e-5, err_msg=name)
    means = [sum(n * loss for n, loss in epoch) / rows for epoch in (losses[:4], losses[4:])]
    np.testing.assert_allclose(vae.history_["loss"], means, rtol=1e-5)


def trained(samples: int, **parameters: Any) -> VAE:
    """A small model of digits."""
    defaults: dict[str, Any] = {"latent_dim": 5, "hidden": (40,), "epochs": 10, "random_state": 0, "progress": False}
    return VAE(n_importance_samples=samples, **defaults | parameters).fit(DIGITS[:1000])


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return trained(5)


def with_samples(model: VAE, samples: int, seed: int = 0) -> VAE:
    """The same weights with another K and other noise."""
    parameters = model.get_params() | {"n_importance_samples": samples, "random_state": seed}
    return VAE(**parameters).load_state_dict(model.state_dict())


def test_one_sample_is_the_elbo_bit_for_bit() -> None:
    one, plain = trained(1, epochs=2), VAE(5, hidden=(40,), epochs=2, random_state=0).fit(DIGITS[:1000])
    for name, value in plain.state_dict().items():
        assert one.state_dict()[name].tobytes() == value.tobytes()
    assert one.history_ == plain.history_


def test_training_on_the_bound_raises_it() -> None:
    on_elbo, on_bound = (with_samples(trained(samples, epochs=40), 20) for samples in (1, 20))
    held_out = DIGITS[1000:]
    assert on_bound.evaluate(held_out)["loss"] < on_elbo.evaluate(held_out)["loss"] - 0.1
    assert on_bound.log_marginal(held_out, 1000).estimate.mean() > on_elbo.log_marginal(held_out, 1000).estimate.mean()


def test_a_step_of_training_draws_noise_anew_and_for_each_draw() -> None:
    # With a learning rate of nearly nothing two epochs differ by their noise alone.
    model = trained(3, learning_rate=1e-12, epochs=2)
    first, second = model.history_["loss"]
    assert first != second
    assert first == pytest.approx(second, rel=1e-2)
    assert first < -model.history_["elbo"][0] - 0.01  # with equal draws they were the same


# --------------------------------------------------------------------------------------------- bounds


def sampled_elbo(model: VAE, X: Array, seed: int) -> tuple[float, float]:
    """The bound of one draw, without the analytic KL (two equal draws have its value), and the ELBO with it."""
    eps = np.repeat(draws(len(X), 1, 5, seed), 2, axis=1)
    losses = model.evaluate(X, eps=eps)
    return -losses["loss"], losses["elbo"]


def test_the_sampled_bound_of_one_draw_is_the_elbo_in_expectation(fitted: VAE) -> None:
    model, X = with_samples(fitted, 2), DIGITS[1000:1100]
    sampled, analytic = np.array([sampled_elbo(model, X, seed) for seed in range(400)]).T
    off = sampled - analytic  # the same draws: what remains is the sampled KL's noise
    assert off.std() > 1e-3
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off))
    # The scores' own noise says the same.
    ones = np.array([with_samples(fitted, 1, seed).log_marginal(X, 1).estimate.mean() for seed in range(100)])
    error = np.hypot(ones.std() / np.sqrt(len(ones)), analytic.std() / np.sqrt(len(analytic)))
    assert abs(ones.mean() - analytic.mean()) < 4 * error


def test_the_bound_rises_with_the_samples_up_to_the_marginal(fitted: VAE) -> None:
    X = DIGITS[1000:]
    losses = {k: with_samples(fitted, k).evaluate(X) for k in (2, 5, 20, 100)}
    bounds = [fitted.score(X), *(-losses[k]["loss"] for k in losses), fitted.log_marginal(X, 5000).estimate.mean()]
    assert bounds == sorted(bounds)
    assert bounds[1] > bounds[0] + 0.1
    elbos = [losses[k]["elbo"] for k in losses]
    assert np.ptp(elbos) < 0.2  # its expectation does not depend on K


def test_the_bound_is_what_log_marginal_estimates(fitted: VAE) -> None:
    X, samples = DIGITS[1000:1300], 10
    bounds = [-with_samples(fitted, samples, seed).evaluate(X)["loss"] for seed in range(30)]
    estimates = [with_samples(fitted, 1, seed).log_marginal(X, samples).estimate.mean() for seed in range(30)]
    error = np.hypot(np.std(bounds), np.std(estimates)) / np.sqrt(30)
    assert abs(np.mean(bounds) - np.mean(estimates)) < 4 * error


def test_with_the_exact_posterior_every_weight_is_the_marginal() -> None:
    # Probabilistic PCA with one latent dimension (Tipping & Bishop, 1999): every ln w is log p(x).
    rng = np.random.default_rng(0)
    w, b, scale = rng.normal(size=(6, 1)), rng.normal(size=6), 0.5
    variance = 1 / (1 + (w**2).sum() / scale**2)
    gain = variance * w.T / scale**2
    weights = {
        "mu.weight": gain,
        "mu.bias": -gain @ b,
        "logvar.weight": np.zeros((1, 6)),
        "logvar.bias": np.log([variance]),
        "decoder.0.weight": w,
        "decoder.0.bias": b,
    }
    exact = MultivariateNormal(torch.from_numpy(b), torch.from_numpy(w @ w.T + scale**2 * np.eye(6)))
    X = exact.sample((20,)).numpy().astype(np.float32)  # type: ignore[no-untyped-call]
    truth = exact.log_prob(torch.from_numpy(X).double()).mean().item()  # type: ignore[no-untyped-call]
    for samples in (2, 7, 50):
        options: dict[str, Any] = {"n_importance_samples": samples, "doubly_reparameterized": True}
        model = VAE(1, hidden=(), likelihood=Gaussian(scale), **options).load_state_dict(weights)
        losses, gradients = model.loss_and_gradients(X)
        assert -losses["loss"] == pytest.approx(truth, rel=1e-5)
        for name in (
            "mu.weight",
            "mu.bias",
            "logvar.weight",
            "logvar.bias",
        ):  # no other posterior is better, in any draw
            np.testing.assert_allclose(gradients[name], 0, atol=1e-4)


# -------------------------------------------------------------------------------------------- reports


def test_reports_agree_with_each_other(fitted: VAE) -> None:
    X = DIGITS[1000:1203]
    for eps in (None, draws(len(X), 5, 5)):
        losses = fitted.evaluate(X, eps=eps)
        assert losses == pytest.approx(fitted.loss_and_gradients(X, eps)[0], rel=1e-6)
        assert losses["elbo"] == pytest.approx(-losses["reconstruction"] - losses["kl"], rel=1e-6)
        assert losses["elbo"] == pytest.approx(fitted.score_samples(X, eps=eps).mean(), rel=1e-6)
    assert fitted.score(X) == fitted.evaluate(X)["elbo"]
    assert losses["kl"] == pytest.approx(with_samples(fitted, 1).evaluate(X)["kl"], rel=1e-6)  # analytic, as ever


def test_scores_with_given_noise_are_means_over_the_draws(fitted: VAE) -> None:
    X, eps, one = DIGITS[:7], draws(7, 5, 5), with_samples(fitted, 1)
    means = np.mean([one.score_samples(X, eps=eps[:, k]) for k in range(5)], axis=0)
    np.testing.assert_allclose(fitted.score_samples(X, eps=eps), means, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 5, 200])
def test_no_bit_of_a_score_depends_on_threads_order_or_company(fitted: VAE, n: int) -> None:
    X = DIGITS[1000 : 1000 + n]
    models = [VAE(**fitted.get_params() | {"n_jobs": jobs}).load_state_dict(fitted.state_dict()) for jobs in (1, 2, 3)]
    scores = [model.score_samples(X) for model in models]
    assert scores[0].tobytes() == scores[1].tobytes() == scores[2].tobytes()
    assert scores[0][::-1].tobytes() == models[1].score_samples(X[::-1]).tobytes()
    assert scores[0][:1].tobytes() == models[2].score_samples(X[:1]).tobytes()
    losses = [model.evaluate(X) for model in models]
    assert losses[0] == losses[1] == losses[2]


def test_early_stopping_looks_at_the_bound() -> None:
    model = trained(4, early_stopping=True, n_iter_no_change=2, tol=10.0, epochs=50)
    assert model.n_iter_ == 3  # no later epoch is better by so much
    held_out = DIGITS[1000:1200]
    model = trained(4, epochs=2, callbacks=())
    model.fit(DIGITS[:500], validation_data=held_out)
    losses = model.evaluate(held_out)
    for key, value in losses.items():
        assert model.history_[f"val_{key}"][-1] == pytest.approx(value, rel=1e-6)
    assert model.history_["val_loss"][-1] < -model.history_["val_elbo"][-1]


@pytest.mark.parametrize("options", [{"binarize": "bernoulli"}, {"corruption": MaskingNoise(0.3)}], ids=str)
def test_noise_on_the_data_works_as_ever(options: dict[str, Any]) -> None:
    grey = load_digits()[0][:500]
    model = VAE(3, hidden=(20,), n_importance_samples=3, epochs=3, random_state=0, progress=False, **options)
    model.fit(grey, validation_data=grey[:50])
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    again = VAE(**model.get_params()).fit(grey, validation_data=grey[:50])
    assert again.history_ == model.history_


def test_labels_and_samples_go_together() -> None:
    X, y = load_digits()
    options: dict[str, Any] = {"hidden": (50,), "epochs": 40, "random_state": 0, "progress": False}
    model = VAE(2, conditional=True, n_importance_samples=3, **options)
    model.fit(X[:500], y[:500], validation_data=(X[500:600], y[500:600]))
    right, wrong_labels = model.evaluate(X[:500], y=y[:500]), model.evaluate(X[:500], y=(y[:500] + 1) % 10)
    assert right["loss"] < wrong_labels["loss"] - 1


def test_a_file_keeps_the_objective(fitted: VAE, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    again = fastvae.load(tmp_path / "model")
    assert again.n_importance_samples == 5
    assert again.evaluate(DIGITS[:50]) == fitted.evaluate(DIGITS[:50])
    assert again.partial_fit(DIGITS[:50]).history_["loss"][-1] < -again.history_["elbo"][-1]


def test_the_objective_is_described(fitted: VAE) -> None:
    text = fitted.describe_objective()
    assert "ln(1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)) with K = 5" in text
    assert "KL_j" not in text


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("samples", [0, -1, 2.5, "many", True, None, 2**21])
def test_a_bad_number_of_samples_is_refused(samples: Any) -> None:
    with pytest.raises(ValueError, match="n_importance_samples="):
        VAE(n_importance_samples=samples).fit(DIGITS[:20])


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.5},
        {"beta": schedules.linear(0, 1, epochs=5)},
        {"free_bits": 0.1},
        {"capacity": 3.0},
        {"objective": "reconstruction"},
        {"objective": "kl"},
    ],
    ids=str,
)
def test_what_has_no_meaning_in_the_bound_is_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"n_importance_samples=2 .* set {name}="):
        VAE(n_importance_samples=2, **options).fit(DIGITS[:20])


def test_a_gradient_of_samples_wants_samples() -> None:
    with pytest.raises(ValueError, match="set n_importance_samples > 1"):
        VAE(doubly_reparameterized=True).fit(DIGITS[:20])
    with pytest.raises(ValueError, match="doubly_reparameterized='yes' must be True or False"):
        VAE(n_importance_samples=2, doubly_reparameterized="yes").fit(DIGITS[:20])  # type: ignore[arg-type]


def test_noise_of_another_shape_is_refused(fitted: VAE) -> None:
    for eps in (draws(10, 4, 5), draws(9, 5, 5), draws(10, 5, 4), draws(10, 5, 5)[:, 0]):
        for ask in (fitted.evaluate, fitted.score_samples, fitted.loss_and_gradients, fitted.partial_fit):
            with pytest.raises(ValueError, match=r"eps has shape .*\[n_examples, n_importance_samples, latent_dim\]"):
                ask(DIGITS[:10], eps=eps)


def test_samples_beyond_the_memory_are_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        VAE(n_importance_samples=2**20, batch_size=1000, hidden=(4000,), progress=False).fit(DIGITS[:1000])
