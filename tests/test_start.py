"""The start of training: at the level of the data, in any units."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from torch import distributions

import fastvae
from fastvae import VAE, Autoencoder
from fastvae.corruption import GaussianNoise, MaskingNoise
from fastvae.layers import Conv2d, ConvTranspose2d, Upsample
from fastvae.likelihoods import Gaussian, NegativeBinomial

LIKELIHOODS: dict[str, Any] = {
    "bernoulli": "bernoulli",
    "poisson": "poisson",
    "negative_binomial": "negative_binomial",
    "multinomial": "multinomial",
    "gaussian": "gaussian",
    "shared": Gaussian("shared"),
    "per_feature": Gaussian("per_feature"),
    "decoder": Gaussian("decoder"),
    "sigmoid": Gaussian(0.1, mean="sigmoid"),
}


def data(name: str, rows: int = 300, cols: int = 37, size: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
    """Return examples of a likelihood with means of very different sizes, about `size`."""
    rng = np.random.default_rng(seed)
    level = np.exp(rng.normal(size=cols))
    if name == "bernoulli":
        return (rng.random((rows, cols)) < level / (1 + level)).astype(np.float32)
    if name == "sigmoid":
        return np.clip(level / (1 + level) + 0.1 * rng.normal(size=(rows, cols)), 0, 1).astype(np.float32)
    if name in ("poisson", "multinomial"):
        return rng.poisson(size * level, (rows, cols)).astype(np.float32)
    if name == "negative_binomial":
        return rng.poisson(size * level * rng.gamma(2.0, 0.5, (rows, cols))).astype(np.float32)
    columns = level if name in ("per_feature", "decoder") else 1.0
    return (size * (10 * level + columns * rng.normal(size=(rows, cols)))).astype(np.float32)


def constant_loss(name: str, X: NDArray[np.float32]) -> float:
    """Return -log p(x) a row of the best constant model, whose parameters torch optimises."""
    x = torch.tensor(X, dtype=torch.float64)
    seen = ~torch.isnan(x)
    x = torch.where(seen, x, 0.0)
    count = seen.sum(0).clamp(min=1)
    mean = x.sum(0) / count
    square = torch.where(seen, (x - mean) ** 2, 0.0)
    if name == "multinomial":
        return -float((x * torch.log_softmax(torch.log(mean.clamp(min=1e-300)), 0)).nan_to_num().sum() / len(x))
    p: Any = None
    free: list[torch.Tensor] = []
    if name == "bernoulli":
        p = distributions.Bernoulli(probs=mean)
    elif name == "poisson":
        p = distributions.Poisson(mean.clamp(min=1e-30))
    elif name == "negative_binomial":
        free = [torch.zeros_like(mean, requires_grad=True)]
    elif name in ("gaussian", "sigmoid"):
        p = distributions.Normal(mean, 1.0 if name == "gaussian" else 0.1)
    elif name == "shared":
        p = distributions.Normal(mean, (square.sum() / count.sum()).sqrt())
    else:
        p = distributions.Normal(mean, (square.sum(0) / count).sqrt().clamp(min=1e-3))

    def loss() -> torch.Tensor:
        q = p
        if free:
            r = free[0].clamp(max=13.8).exp()
            q = distributions.NegativeBinomial(r, probs=mean / (mean + r))
        return -torch.where(seen, q.log_prob(x), 0.0).sum() / len(x)

    if free:
        optimizer = torch.optim.LBFGS(free, max_iter=200, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)
    return float(loss().detach())


def start_loss(model: Any, X: Any, y: Any = None) -> float:
    """Return the mean of -log p(x|z) before training: that of an epoch with a negligible learning rate."""
    model.set_params(epochs=1, learning_rate=1e-20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units, which has its own test
        model.fit(X, y)
    return float(model.history_["reconstruction"][0])


# ------------------------------------------------------------------------------------------ the best constant model


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_the_loss_starts_at_the_best_constant_model(name: str, size: float) -> None:
    X = data(name, size=size)
    want = constant_loss(name, X)
    assert start_loss(VAE(5, likelihood=LIKELIHOODS[name], random_state=1), X) == pytest.approx(want, rel=0.05)


@pytest.mark.parametrize("zeros", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("level", [1, 100, 1e5])
@pytest.mark.parametrize("spread", ["poisson", "gamma", "lognormal"])
def test_overdispersed_counts_with_zeros_start_there_too(zeros: float, level: float, spread: str) -> None:
    rng = np.random.default_rng(0)
    factor = {"poisson": 1.0, "gamma": rng.gamma(10, 0.1, (200, 20)), "lognormal": np.exp(rng.normal(size=(200, 20)))}
    X = rng.poisson(level * factor[spread], (200, 20)) * (rng.random((200, 20)) > zeros)
    loss = start_loss(VAE(5, likelihood="negative_binomial", random_state=1), X)
    assert loss == pytest.approx(constant_loss("negative_binomial", X.astype(np.float32)), rel=0.05)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "negative_binomial", "per_feature", "shared"])
@pytest.mark.parametrize("how", ["sparse", "mask", "conditional", "rows", "linear", "deep"])
def test_the_loss_starts_there_for_all_kinds_of_models(name: str, how: str) -> None:
    X, y = data(name, size=30), None
    want, parameters, given = constant_loss(name, X), {}, X
    if how == "sparse":
        X = np.where(np.random.default_rng(1).random(X.shape) < 0.9, 0, X)
        given, want = sparse.csr_array(X), constant_loss(name, X)
    if how == "mask":
        parameters = {"missing": "mask"}
        given = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)
        given[:, 3] = np.nan
        want = constant_loss(name, given)
    if how == "conditional":
        parameters, y = {"conditional": True}, np.arange(len(X)) % 3
    if how == "rows":
        parameters = {"validation_fraction": 0.3}
    if how == "linear":
        parameters = {"hidden": ()}
    if how == "deep":
        parameters = {"hidden": (40, 30, 20)}
    vae = VAE(5, likelihood=LIKELIHOODS[name], random_state=1, **parameters)
    assert start_loss(vae, given, y) == pytest.approx(want, rel=0.05)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "shared", "per_feature", "decoder"])
@pytest.mark.parametrize(
    "last",
    [
        (ConvTranspose2d(2, 4, stride=2, padding=1),),
        (Conv2d(2, 3, padding=1),),
        (Conv2d(2, 3, padding=1), Upsample(2)),
    ],
    ids=["transposed", "plain", "enlarged"],
)
def test_a_convolutional_output_starts_at_the_level_of_each_channel(name: str, last: Any) -> None:
    rng = np.random.default_rng(0)
    level = np.array([0.2, 0.7]) * (1 if name == "bernoulli" else 1e4)
    noise = rng.random((200, 8, 8, 2)) if name == "bernoulli" else rng.random((200, 8, 8, 2)) + 0.5
    X = (level > noise if name == "bernoulli" else np.rint(level * noise)).astype(np.float32)
    size = 8 if last == (Conv2d(2, 3, padding=1),) else 4
    decoder = (size * size * 3, *last)
    vae = VAE(3, likelihood=LIKELIHOODS[name], image_shape=(8, 8, 2), decoder_hidden=decoder, random_state=0)
    flat = X.reshape(-1, 2)
    want = 64 * constant_loss(name, flat)
    assert start_loss(vae, X) == pytest.approx(want, rel=0.05)


@pytest.mark.parametrize("loss", ["squared_error", "bernoulli"])
def test_an_autoencoder_starts_there_too(loss: str) -> None:
    X = data("bernoulli" if loss == "bernoulli" else "per_feature", size=1e4)
    want = constant_loss("bernoulli", X) if loss == "bernoulli" else float(X.var(0, dtype=np.float64).sum())
    model = Autoencoder(5, loss=loss, epochs=1, learning_rate=1e-20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    assert model.history_["loss"][0] == pytest.approx(want, rel=0.15 if loss == "squared_error" else 0.05)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_columns_without_information_stay_finite(name: str) -> None:
    X = data(name).astype(np.float64)
    X[:, 0], X[:, 1], X[:, 2] = 0, 1, np.where(np.arange(len(X)) == 7, 1, 0)
    X = X.astype(np.float32)
    for rows in (X, X[:1], X[:2]):
        vae = VAE(3, likelihood=LIKELIHOODS[name], random_state=0, epochs=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vae.fit(rows)
        assert all(np.isfinite(value).all() for value in vae.state_dict().values())
        assert np.isfinite(vae.score_samples(X)).all()


def test_the_start_is_the_closed_form() -> None:
    X = data("negative_binomial", size=30).astype(np.float64)
    m, v, n = X.mean(0), X.var(0), len(X)
    vae = VAE(2, likelihood=NegativeBinomial(), epochs=1, learning_rate=1e-20).fit(X)
    weights = vae.state_dict()
    np.testing.assert_allclose(weights["decoder.2.bias"], np.log(m + 0.5 / n), rtol=1e-5)
    r = np.minimum(m**2 / np.maximum(v - m - 0.5 / n, 1e-9), 10 * (1 + m))
    whole = (X > 0).all(0)  # zeros have a say too
    assert whole.sum() > 5
    np.testing.assert_allclose(weights["likelihood.log_total_count"][whole], np.log(r)[whole], rtol=1e-2, atol=1e-2)
    X = data("bernoulli").astype(np.float64)
    weights = VAE(2, epochs=1, learning_rate=1e-20).fit(X).state_dict()
    p = (X.sum(0) + 0.5) / (len(X) + 1)
    np.testing.assert_allclose(weights["decoder.2.bias"], np.log(p / (1 - p)), rtol=1e-5, atol=1e-6)
    X = data("multinomial").astype(np.float64)
    weights = VAE(2, likelihood="multinomial", epochs=1, learning_rate=1e-20).fit(X).state_dict()
    p = (X.sum(0) + 0.5) / (X.sum() + 0.5 * X.shape[1])
    np.testing.assert_allclose(weights["decoder.2.bias"], np.log(p), rtol=1e-5)
    X = data("per_feature").astype(np.float64)
    X = (X - X.mean(0)) / X.std(0) * np.linspace(0.5, 2, X.shape[1]) + np.linspace(-1, 1, X.shape[1])
    weights = VAE(2, likelihood=Gaussian("per_feature"), epochs=1, learning_rate=1e-20).fit(X).state_dict()
    np.testing.assert_allclose(weights["decoder.2.bias"], X.mean(0), atol=1e-5)
    np.testing.assert_allclose(weights["likelihood.log_scale"], np.log(X.std(0)), atol=1e-5)
    weights = VAE(2, likelihood=Gaussian("decoder"), epochs=1, learning_rate=1e-20).fit(X).state_dict()
    np.testing.assert_allclose(weights["scale.bias"], np.log(X.std(0)), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- any data


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("mean", [30, 100, 1e3, 1e6])
@pytest.mark.parametrize("seed", range(3))
def test_counts_of_any_size_train_at_defaults(likelihood: str, mean: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.poisson(mean, (500, 20)).astype(np.float32)
    vae = VAE(2, likelihood=likelihood, random_state=seed, epochs=50).fit(X)
    assert vae.score(X) > -1.1 * constant_loss("poisson", X)


@pytest.mark.parametrize("scale", ["shared", "per_feature", "decoder", 1.0])
@pytest.mark.parametrize(("shift", "factor"), [(1e5, 1.0), (-1e5, 1e4), (0.0, 1e3), (100.0, 0.01)])
def test_reals_of_any_level_train_as_standardised_ones(scale: Any, shift: float, factor: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 12)) + 0.5 * rng.normal(size=(400, 12))
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    likelihood = Gaussian(scale * factor if scale == 1.0 else scale, floor=1e-4 * factor)
    if factor == 1e4 and scale == 1.0:
        likelihood = Gaussian(scale * factor)
    vae = VAE(3, likelihood=Gaussian(scale, floor=1e-4), random_state=0, epochs=50).fit(X)
    other = VAE(3, likelihood=likelihood, random_state=0, epochs=50).fit(factor * X + shift)
    difference = other.score(factor * X + shift) + X.shape[1] * np.log(factor) - vae.score(X)
    assert abs(difference) < 1.0


def test_a_shared_scale_does_not_depend_on_units() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5)) @ rng.normal(size=(5, 20)) + 0.5 * rng.normal(size=(2000, 20))
    X = (X - X.mean(0)) / X.std(0)
    scores = []
    for c in (1.0, 0.3, 0.1, 0.01):
        vae = VAE(5, hidden=64, likelihood=Gaussian("shared"), epochs=50, random_state=0).fit(c * X)
        scores.append(vae.score(c * X) + X.shape[1] * np.log(c))
    assert np.ptp(scores) < 2


@pytest.mark.parametrize("scale", ["per_feature", "decoder"])
def test_unscaled_columns_are_reconstructed(scale: Any) -> None:
    X = load_breast_cancer().data
    vae = VAE(4, likelihood=Gaussian(scale), random_state=0, epochs=100).fit(X)
    residual = ((vae.reconstruct(X) - X) ** 2).sum(0) / ((X - X.mean(0)) ** 2).sum(0)
    assert np.median(1 - residual) > 0.8


def test_the_same_start_from_any_array(tmp_path: Any) -> None:
    X = data("poisson", size=20)
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, X.shape)
    file[:] = X
    forms = [X, X.astype(np.float64), np.asfortranarray(X), file, sparse.csr_array(X), X.astype(np.uint8)]
    found = []
    for form in forms:
        for n_jobs in (1, 2):
            vae = VAE(2, likelihood="poisson", epochs=1, random_state=0, n_jobs=n_jobs).fit(form)
            found.append({name: value.tobytes() for name, value in vae.state_dict().items()})
    assert all(weights == found[0] for weights in found)


def test_the_held_out_rows_are_not_read() -> None:
    X = data("poisson", size=20)
    first = VAE(2, likelihood="poisson", epochs=1, random_state=0, validation_fraction=0.5, learning_rate=1e-20).fit(X)
    whole = VAE(2, likelihood="poisson", epochs=1, random_state=0, learning_rate=1e-20).fit(X)
    a, b = (vae.state_dict()["decoder.2.bias"] for vae in (first, whole))
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.3)


def test_given_weights_stay() -> None:
    X = data("poisson", size=1e3)
    weights = VAE(2, likelihood="poisson", epochs=1, random_state=0).fit(data("poisson")).state_dict()
    vae = VAE(2, likelihood="poisson", learning_rate=1e-20).load_state_dict(weights)
    with pytest.raises(FloatingPointError):
        vae.partial_fit(1e10 * X)
    assert all(np.array_equal(value, weights[name]) for name, value in vae.state_dict().items())


# ---------------------------------------------------------------------------------------------------- other units


def both(likelihood: Any, other: Any, shift: Any, scale: Any, **parameters: Any) -> tuple[Any, Any]:
    """Return a model with a standardisation, and one without that has the same weights."""
    n, rng = len(shift), np.random.default_rng(0)
    model = Autoencoder if likelihood == "squared_error" else VAE
    option = {"loss": likelihood} if model is Autoencoder else {"likelihood": likelihood}
    plain = model(3, **(option if model is Autoencoder else {"likelihood": other}), **parameters)
    shape = (30, n) if "image_shape" not in parameters else (30, *parameters["image_shape"])
    y = {"y": np.arange(30) % 3} if parameters.get("conditional") else {}
    plain.set_params(epochs=1, random_state=0)
    plain.fit(rng.normal(size=shape).astype(np.float32), **y)
    weights = plain.state_dict()
    units = {"standardize.shift": np.float32(shift), "standardize.scale": np.float32(scale)}
    moved = dict(weights)
    if "likelihood.log_scale" in weights:
        log = np.log(units["standardize.scale"])
        moved["likelihood.log_scale"] = weights["likelihood.log_scale"] + (
            log if weights["likelihood.log_scale"].ndim else log[0]
        )
    if "scale.bias" in weights:
        log = np.log(units["standardize.scale"])
        moved["scale.bias"] = weights["scale.bias"] + log[: len(weights["scale.bias"])]
    fitted = model(3, **option, **parameters, random_state=0).load_state_dict(moved | units)
    if y:
        plain = model(3, likelihood=other, **parameters, random_state=0).load_state_dict(weights)
    return fitted, plain


CASES: dict[str, tuple[Any, Any, bool, dict[str, Any]]] = {
    "fixed": (Gaussian(4.0), Gaussian(0.5), True, {}),
    "shared": (Gaussian("shared"), Gaussian("shared"), True, {}),
    "per_feature": (Gaussian("per_feature"), Gaussian("per_feature"), False, {}),
    "decoder": (Gaussian("decoder", floor=1e-6), Gaussian("decoder", floor=1e-6), False, {}),
    "squared_error": ("squared_error", None, True, {}),
    "several draws": (Gaussian("per_feature"), Gaussian("per_feature"), False, {"n_importance_samples": 5}),
    "mask": (Gaussian("per_feature"), Gaussian("per_feature"), False, {"missing": "mask"}),
    "conditional": (Gaussian("shared"), Gaussian("shared"), True, {"conditional": True}),
    "wide": (Gaussian("per_feature"), Gaussian("per_feature"), False, {"hidden": (70, 40)}),
    "images": (
        Gaussian("shared"),
        Gaussian("shared"),
        True,
        {
            "image_shape": (6, 6, 1),
            "hidden": (Conv2d(4, 3, stride=2, padding=1),),
            "decoder_hidden": (36, ConvTranspose2d(1, 4, stride=2, padding=1)),
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_standardisation_is_a_change_of_units(case: str) -> None:
    likelihood, other, common, parameters = CASES[case]
    rng = np.random.default_rng(1)
    n = 36
    shift = rng.normal(0, 50, n).astype(np.float32)
    scale = np.full(n, 8.0, np.float32) if common else (2.0 ** rng.integers(-4, 6, n)).astype(np.float32)
    fitted, plain = both(likelihood, other, shift, scale, **parameters)
    U = rng.normal(size=(50, n)).astype(np.float32)
    if case == "mask":
        U[rng.random(U.shape) < 0.3] = np.nan
    X = (shift + scale * U).astype(np.float32)
    U = ((X - shift) / scale).astype(np.float32)
    shape = (50, *parameters["image_shape"]) if "image_shape" in parameters else (50, n)
    X, U = X.reshape(shape), U.reshape(shape)
    y = {"y": np.eye(3, dtype=np.float32)[np.arange(50) % 3]} if "conditional" in parameters else {}
    eps = rng.normal(size=(50, 3) if case != "several draws" else (50, 5, 3)).astype(np.float32)
    noise = {} if case == "squared_error" else {"eps": eps}
    volume = float((np.log(scale) * ~np.isnan(U.reshape(50, n))).sum(1).mean())
    if case == "squared_error":
        (a, grads), (b, want) = (model.loss_and_gradients(x) for model, x in ((fitted, X), (plain, U)))
        assert a["loss"] == pytest.approx(64 * b["loss"], rel=1e-4)
        want = {name: 64 * gradient for name, gradient in want.items()}
    else:
        (a, grads), (b, want) = (model.loss_and_gradients(x, **noise, **y) for model, x in ((fitted, X), (plain, U)))
        assert a["loss"] == pytest.approx(b["loss"] + volume, rel=1e-4, abs=1e-3)
    assert list(grads) == list(want)
    for name, gradient in grads.items():
        size = np.abs(want[name]).max() + 1e-6
        assert np.abs(gradient - want[name]).max() < 2e-3 * size, name
    np.testing.assert_allclose(fitted.transform(X, **y), plain.transform(U, **y), atol=2e-4)
    means = plain.reconstruct(U, **y).reshape(50, n) * scale + shift
    np.testing.assert_allclose(fitted.reconstruct(X, **y).reshape(50, n), means, atol=1e-3 * scale.max())
    if case == "squared_error":
        return
    if case != "several draws":
        lost = (np.log(scale) * ~np.isnan(U.reshape(50, n))).sum(1)
        # The noise of scores depends on the values, so it is given.
        scores = [model.score_samples(x, **y) for model, x in ((fitted, X), (plain, U))]
        assert abs((scores[0] + lost - scores[1]).mean()) < 0.1 * np.abs(scores[1]).mean()
    predicted, wanted = (model.predictive(x, n=200, **y) for model, x in ((fitted, X), (plain, U)))
    ratio = predicted.observation_std.reshape(50, n) / (wanted.observation_std.reshape(50, n) * scale)
    assert np.abs(ratio - 1).max() < 0.2


def test_a_state_dict_and_a_file_hold_the_standardisation(tmp_path: Any) -> None:
    X = data("per_feature", size=1e4)
    vae = VAE(3, likelihood=Gaussian("per_feature"), epochs=2, random_state=0).fit(X)
    weights = vae.state_dict()
    np.testing.assert_allclose(weights["standardize.shift"], X.mean(0), rtol=1e-4)
    assert (weights["standardize.scale"] >= 0.99 * X.std(0)).all()
    vae.save(tmp_path / "model")
    twins = [
        VAE(3, likelihood=Gaussian("per_feature"), random_state=0).load_state_dict(weights),
        fastvae.load(tmp_path / "model"),
        vae.load_state_dict(weights),
    ]
    for twin in twins:
        assert np.array_equal(twin.reconstruct(X), vae.reconstruct(X))
        assert np.array_equal(twin.score_samples(X), vae.score_samples(X))
    other = VAE(3, likelihood=Gaussian("per_feature"), epochs=1).fit(2 * X)
    with pytest.raises(ValueError, match="load it into an unfitted model"):
        other.load_state_dict(weights)
    with pytest.raises(ValueError, match="load it into an unfitted model"):
        VAE(3, likelihood=Gaussian("per_feature"), epochs=1).fit(data("bernoulli")).load_state_dict(weights)
    with pytest.raises(ValueError, match="scale from 1e-30"):
        VAE(3, likelihood=Gaussian("per_feature")).load_state_dict(weights | {"standardize.scale": 0 * X[0]})
    assert "standardize" not in "".join(VAE(3, epochs=1).fit(data("bernoulli")).state_dict())


def test_noise_is_in_the_units_of_the_data() -> None:
    X = data("per_feature", size=1e3)
    plain = VAE(2, likelihood=Gaussian("per_feature"), epochs=2, random_state=0).fit(X)
    for noise in (GaussianNoise(1e-3), MaskingNoise(0.0)):
        vae = VAE(2, likelihood=Gaussian("per_feature"), epochs=2, random_state=0, corruption=noise).fit(X)
        np.testing.assert_allclose(vae.history_["loss"], plain.history_["loss"], rtol=1e-3)


@pytest.mark.parametrize("method", ["reconstruct", "score_samples", "predictive"])
def test_a_scale_from_the_decoder_hides_no_overflow(method: str) -> None:
    X = data("decoder", rows=20, cols=5)
    vae = VAE(2, likelihood=Gaussian("decoder"), epochs=1, random_state=0).fit(X)
    weights = {name: 1e25 * value for name, value in vae.state_dict().items() if not name.startswith("standardize.")}
    units = {name: value for name, value in vae.state_dict().items() if name.startswith("standardize.")}
    vae.load_state_dict(weights | units)
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        getattr(vae, method)(X)


# ------------------------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize("scale", ["shared", "per_feature", "decoder"])
def test_a_floor_above_the_data_is_named(scale: Any) -> None:
    X = 1e-4 * np.random.default_rng(0).normal(size=(60, 4))
    X[:, 3] = 0  # a constant column, for which the floor is
    with pytest.warns(
        UserWarning, match=r"floor=0\.001, .* in column 0, .* in column 1, .* in column 2 .*: standardise X"
    ) as found:
        VAE(2, likelihood=Gaussian(scale), epochs=1, random_state=0).fit(X)
    assert len(found) == 1
    assert found[0].filename == __file__
    VAE(2, likelihood=Gaussian(scale, floor=1e-6), epochs=1, random_state=0).fit(X[:, :3])


@pytest.mark.parametrize("likelihood", ["gaussian", Gaussian("shared")])
def test_unscaled_columns_are_named(likelihood: Any) -> None:
    X = load_breast_cancer().data
    with pytest.warns(UserWarning, match=r"569 in column 23, 352 in column 3, ") as found:
        VAE(4, likelihood=likelihood, epochs=1, random_state=0).fit(X)
    assert len(found) == 1
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="standardise X"):
        Autoencoder(4, epochs=1, random_state=0).fit(X)
    with pytest.warns(UserWarning, match="standard deviations of X are 0.0"):
        VAE(4, likelihood="gaussian", epochs=1, random_state=0).fit(0.001 * X / X.std(0))


def test_the_remedies_do_not_warn() -> None:
    X = load_breast_cancer().data
    images = np.random.default_rng(0).integers(0, 256, (50, 36), dtype=np.uint8)
    images[:, :9] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1.0, "shared", "per_feature", "decoder"):
            VAE(4, likelihood=Gaussian(scale), epochs=1).fit((X - X.mean(0)) / X.std(0))
            VAE(4, likelihood=Gaussian(scale), epochs=1).fit(images)
        for scale in ("per_feature", "decoder"):
            VAE(4, likelihood=Gaussian(scale), epochs=1).fit(X)
        Autoencoder(4, epochs=1).fit(images)


# --------------------------------------------------------------------------------------------- few and constant values


@pytest.mark.parametrize("scale", [0.1, "decoder"])
@pytest.mark.parametrize("rows", [1, 2, 20])
def test_sigmoid_means_start_within_the_scale_of_the_data(scale: Any, rows: int) -> None:
    X = np.zeros((rows, 30), np.float32)
    X[0, :3], X[:, 3:6] = 1.0, 1.0
    loss = start_loss(VAE(2, hidden=(8,), likelihood=Gaussian(scale, mean="sigmoid"), random_state=0), X)
    assert loss < 30  # half a pseudo-count, far from a small scale, made it 10,000


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("model", ["gaussian", "squared_error"])
def test_constant_columns_of_any_size_train(rows: int, model: str) -> None:
    X = np.tile(np.float32([1e5, -3e7, 1e-4, 0]), (rows, 1))
    kind: Any = VAE(2, likelihood="gaussian") if model == "gaussian" else Autoencoder(2)
    kind.set_params(hidden=(8,), epochs=20, random_state=0).fit(X)
    assert kind.score(X) > -20  # was -5e10: a step moved the means by a thousandth of the values


def test_a_shared_scale_of_constant_columns_is_that_of_all_columns() -> None:
    X = np.float32([[1e-3, 1e5, -2e5, 3e5]])
    vae = VAE(2, hidden=(8,), epochs=20, likelihood=Gaussian("shared"), random_state=0).fit(X)
    assert vae.score(X) > -4 * (np.log(2e5) + 3)


# ------------------------------------------------------------------------------------------------ the encoder's input


@pytest.mark.parametrize("transform", ["frequencies", "log1p"])
@pytest.mark.parametrize("hidden", [(), (16,)])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_large_transformed_inputs_start_with_a_small_kl(transform: str, hidden: Any, container: Any) -> None:
    X = container(np.random.default_rng(0).poisson(1e5, (50, 2)).astype(np.float32))
    vae = VAE(2, likelihood="poisson", hidden=hidden, input_transform=transform, random_state=0)
    start_loss(vae, X)
    assert vae.history_["kl"][0] < 5  # was 1e8 with frequencies


@pytest.mark.parametrize("transform", ["frequencies", None])
def test_documents_of_few_words_start_with_a_small_kl(transform: str | None) -> None:
    X = np.random.default_rng(0).poisson(300, (50, 1))
    model = fastvae.TopicModel(3, input_transform=transform, epochs=1, learning_rate=1e-20, random_state=0).fit(X)
    assert model.history_["kl"][0] < 20


def test_frequencies_of_many_words_start_as_they_are() -> None:
    X = np.random.default_rng(0).poisson(0.2, (50, 300))
    first = VAE(2, likelihood="multinomial", input_transform="frequencies", epochs=1, random_state=0)
    weights = [first.set_params(input_transform=how).fit(X).state_dict() for how in ("frequencies", "binary")]
    largest = [np.abs(state["encoder.0.weight"]).max() for state in weights]
    assert largest[0] == pytest.approx(largest[1], rel=0.1)


@pytest.mark.parametrize("likelihood", ["poisson", Gaussian("per_feature"), Gaussian("shared")], ids=str)
def test_outliers_of_a_linear_encoder_start_with_a_small_kl(likelihood: Any) -> None:
    rng = np.random.default_rng(0)
    X = np.zeros((150, 7), np.float32)
    X[:, 0] = rng.poisson(5, 150)
    X[9] = 500
    for seed in range(8):
        vae = VAE(3, likelihood=likelihood, hidden=(), random_state=seed)
        start_loss(vae, X)
        assert vae.history_["kl"][0] < 5  # was up to 10,000
