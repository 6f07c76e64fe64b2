"""Given sizes of rows and dispersions of batches of `CountVAE`, against autograd and in every way to pass them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, same
from numpy.typing import NDArray
from scipy import sparse

import fastvae
from fastvae import VAE, CountVAE
from fastvae.likelihoods import NegativeBinomial, Poisson

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "cells"))
from simulate import simulate

SMALL: dict[str, Any] = {"latent_dim": 3, "hidden": (16,), "epochs": 3, "batch_size": 64, "random_state": 0}
KINDS = ("negative_binomial", "zero_inflated_negative_binomial", "poisson")


def cells(n: int = 200) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float64]]:
    """Counts, batches, and sizes that are not the totals."""
    found = simulate(n, 45, 3, 3, seed=1)
    X = found.X.toarray().astype(np.float32)
    X[:, 30:] *= found.X.toarray()[:, 30:] % 2 == 0  # some dense columns less
    sizes = np.random.default_rng(0).lognormal(0, 0.5, n)
    return X, np.array(["a", "b", "c"])[found.batches], sizes


def autograd(
    model: CountVAE, X: NDArray[Any], y: NDArray[Any] | None, s: NDArray[Any], eps: NDArray[Any], w: NDArray[Any]
) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """Losses and gradients of a model of one hidden layer in float64, written down once more."""
    torch = pytest.importorskip("torch")
    p = {
        name: torch.tensor(value.astype(np.float64), requires_grad=True)
        for name, value in model.state_dict().items()
        if not name.startswith("standardize")
    }
    x, noise, size, weight = (torch.tensor(np.asarray(a, np.float64)) for a in (X, eps, s, w))
    hot = torch.zeros(len(x), 0, dtype=torch.float64)
    if y is not None:
        hot = torch.tensor((y[:, None] == model.classes_).astype(np.float64))
    relu, linear = torch.relu, torch.nn.functional.linear
    h = relu(linear(torch.cat([torch.log1p(x), hot], 1), p["encoder.0.weight"], p["encoder.0.bias"]))
    mu, logvar = (linear(h, p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("mu", "logvar"))
    z = mu + (logvar / 2).exp() * noise
    g = relu(linear(torch.cat([z, hot], 1), p["decoder.0.weight"], p["decoder.0.bias"]))
    m = size[:, None] * linear(g, p["decoder.2.weight"], p["decoder.2.bias"]).softmax(1)
    if model.likelihood == "poisson":
        log_p = torch.distributions.Poisson(m, validate_args=False).log_prob(x)
    else:
        t = p["likelihood.log_total_count"]
        log_r = t if t.ndim == 1 else hot @ t.T
        log_p = torch.distributions.NegativeBinomial(log_r.exp(), logits=m.log() - log_r, validate_args=False).log_prob(
            x
        )
    if "inflation.weight" in p:
        u = linear(g, p["inflation.weight"], p["inflation.bias"])
        rest = torch.nn.functional.logsigmoid(-u) + log_p
        log_p = torch.where(x == 0, torch.logaddexp(torch.nn.functional.logsigmoid(u), rest), rest)
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1)
    weight = weight / weight.sum()
    reconstruction, kl = -(weight * log_p.sum(1)).sum(), (weight * kl).sum()
    (reconstruction + kl).backward()
    return {"reconstruction": reconstruction.item(), "kl": kl.item()}, {n: v.grad.numpy() for n, v in p.items()}


MODELS = [
    *((kind, conditional, "shared") for kind in KINDS for conditional in (False, True)),
    *((kind, True, "batch") for kind in KINDS[:2]),
]


@pytest.mark.parametrize("given", [False, True], ids=["total", "given"])
@pytest.mark.parametrize(("kind", "conditional", "dispersion"), MODELS)
def test_losses_and_gradients_are_those_of_autograd(kind: str, conditional: bool, given: bool, dispersion: str) -> None:
    X, y, sizes = cells(90)
    size_factor: Any = {"size_factor": "given"} if given else {}
    model = CountVAE(likelihood=kind, conditional=conditional, dispersion=dispersion, **size_factor, **SMALL)
    own: Any = {"y": y} if conditional else {}
    passed = own | ({"size_factor": sizes} if given else {})
    model.fit(X, **passed)
    rng = np.random.default_rng(2)
    # Away from the start, where the dispersions of all batches are equal.
    state = model.state_dict()
    moved = {
        name: value + np.float32(0.05) * rng.standard_normal(value.shape).astype(np.float32)
        for name, value in state.items()
        if not name.startswith("standardize")
    }
    model.load_state_dict(state | moved)
    eps, weight = rng.standard_normal((90, 3)).astype(np.float32), rng.uniform(0.1, 2, 90)
    s = np.float32(model.size_unit_) * sizes if given else np.maximum(X.sum(1), 1e-6)
    losses, gradients = model.loss_and_gradients(X, eps, sample_weight=weight, **passed)
    wanted, slopes = autograd(model, X, own.get("y"), s, eps, weight)
    for name, value in wanted.items():
        assert losses[name] == pytest.approx(value, rel=2e-5)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradients[name], slope, atol=3e-5 * max(1, np.abs(slope).max()), err_msg=name)
    thin, slopes_of_thin = model.loss_and_gradients(sparse.csr_array(X), eps, sample_weight=weight, **passed)
    assert thin == losses
    assert same(slopes_of_thin, gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_given_totals_are_the_totals(kind: str) -> None:
    X, y, _ = cells()
    X[:, 0] += 1
    own = CountVAE(likelihood=kind, conditional=True, **SMALL).fit(X, y)
    given = CountVAE(likelihood=kind, conditional=True, size_factor="given", **SMALL).fit(X, y, size_factor=X.sum(1))
    assert given.size_unit_ == pytest.approx(1, rel=1e-6)
    state = own.state_dict()
    for name, value in given.state_dict().items():
        np.testing.assert_allclose(value, state[name], atol=1e-4)
    np.testing.assert_allclose(
        given.reconstruct(X, y=y, size_factor=X.sum(1)), own.reconstruct(X, y=y), rtol=2e-3, atol=1e-5
    )


def test_only_ratios_of_sizes_matter() -> None:
    X, _, sizes = cells()
    one, other = (CountVAE(size_factor="given", **SMALL).fit(X, size_factor=c * sizes) for c in (1, 1024))
    assert one.size_unit_ == pytest.approx(X.sum() / sizes.sum(), rel=1e-5)
    assert same(one.state_dict(), other.state_dict())
    np.testing.assert_array_equal(one.reconstruct(X, size_factor=sizes), other.reconstruct(X, size_factor=1024 * sizes))
    np.testing.assert_allclose(one.reconstruct(X, size_factor=sizes).sum(1), one.size_unit_ * sizes, rtol=1e-4)


@pytest.mark.parametrize("dispersion", ["shared", "batch"])
@pytest.mark.parametrize("given", [False, True], ids=["total", "given"])
def test_sparse_cells_with_batches_give_the_bits_of_dense_ones(given: bool, dispersion: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.poisson(0.15, (300, 130)).astype(np.float32)
    labels = rng.integers(0, 40, 300).astype(str)
    options: Any = {"size_factor": "given"} if given else {}
    passed: Any = {"size_factor": rng.lognormal(0, 1, 300)} if given else {}
    models = [
        CountVAE(conditional=True, dispersion=dispersion, n_jobs=jobs, **options, **SMALL).fit(data, labels, **passed)
        for data, jobs in ((X, 1), (sparse.csr_array(X), 1), (sparse.csr_array(X), 2))
    ]
    dense, thin, parallel = models
    assert same(dense.state_dict(), thin.state_dict())
    assert same(dense.state_dict(), parallel.state_dict())
    for method in ("score_samples", "reconstruct"):
        results = [getattr(dense, method)(data, y=labels, **passed) for data in (X, sparse.csr_array(X))]
        np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(dense.transform(X, y=labels), dense.transform(sparse.csr_array(X), y=labels))


def test_covariates_of_sparse_rows_give_the_bits_of_dense_ones() -> None:
    rng = np.random.default_rng(4)
    X = rng.poisson(0.1, (200, 70)).astype(np.float32)
    y = np.where(rng.uniform(size=(200, 35)) < 0.5, 0, 100 * rng.standard_normal((200, 35)))
    fits = [
        VAE(3, hidden=(8,), likelihood="poisson", conditional=True, epochs=2, random_state=0).fit(data, y)
        for data in (X, sparse.csr_array(X))
    ]
    assert same(fits[0].state_dict(), fits[1].state_dict())
    np.testing.assert_array_equal(fits[0].score_samples(X, y=y), fits[0].score_samples(sparse.csr_array(X), y=y))


@pytest.mark.parametrize("samples", [1, 3])
def test_weights_and_draws_go_with_sizes(samples: int) -> None:
    X, y, sizes = cells(60)
    model = CountVAE(size_factor="given", conditional=True, dispersion="batch", **SMALL).fit(X, y, size_factor=sizes)
    weight = np.arange(60) % 3
    used = np.repeat(np.arange(60), weight)
    losses = model.evaluate(X, y=y, size_factor=sizes, sample_weight=weight)
    repeated = model.evaluate(X[used], y=y[used], size_factor=sizes[used])
    for name, value in losses.items():
        assert value == pytest.approx(repeated[name], rel=1e-5)
    scores = model.score_samples(X, y=y, size_factor=sizes, n_samples=samples)
    rows = np.random.default_rng(1).permutation(60)
    shuffled = model.score_samples(X[rows], y=y[rows], size_factor=sizes[rows], n_samples=samples)
    np.testing.assert_array_equal(shuffled, scores[rows])
    np.testing.assert_array_equal(model.anomaly_score(X, y=y, size_factor=sizes, n_samples=samples), -scores)
    assert model.score(X, y, size_factor=sizes, n_samples=samples) == pytest.approx(scores.mean(), rel=1e-5)


def test_the_bound_of_many_samples_is_above_the_elbo_at_the_given_size() -> None:
    X, y, sizes = cells(40)
    model = CountVAE(size_factor="given", conditional=True, dispersion="batch", **SMALL | {"epochs": 20})
    model.fit(X, y, size_factor=sizes)
    elbo = model.score_samples(X, y=y, size_factor=sizes, n_samples=500)
    found = model.log_marginal(X, 500, y=y, size_factor=sizes)
    assert (found.estimate > elbo - 0.2).all()
    assert np.mean(found.estimate - elbo) < 10
    other = model.log_marginal(X, 500, y=y, size_factor=3 * sizes)
    assert np.mean(found.estimate - other.estimate) > 10


def test_draws_and_moments_have_the_dispersion_of_their_batch() -> None:
    X, y, sizes = cells()
    model = CountVAE(size_factor="given", conditional=True, dispersion="batch", **SMALL).fit(X, y, size_factor=sizes)
    state = {n: v if n.startswith("standardize") else np.zeros_like(v) for n, v in model.state_dict().items()}
    r = np.exp(np.random.default_rng(5).uniform(-1, 2, (45, 3)))
    state["likelihood.log_total_count"] = np.log(r).astype(np.float32)
    model.load_state_dict(state)
    np.testing.assert_allclose(model.dispersion_, r, rtol=1e-5)
    n, total = 30_000, 450
    for batch, label in enumerate("abc"):
        drawn = model.sample(n, y=label, draw=True, lengths=total, random_state=0)
        variance = 10 + 100 / r[:, batch]
        np.testing.assert_allclose(drawn.mean(0), 10, atol=5 * np.sqrt(variance.max() / n))
        np.testing.assert_allclose(drawn.var(0), variance, rtol=0.15)
    own = total / model.size_unit_
    found = model.predictive(X[:3], 2, y=["c", "a", "b"], size_factor=[own] * 3)
    np.testing.assert_allclose(found.mean, 10, rtol=1e-4)
    np.testing.assert_allclose(found.observation_std, np.sqrt(10 + 100 / r[:, [2, 0, 1]].T), rtol=1e-4)


def test_each_batch_finds_its_dispersion() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 4000)
    r = np.where(y[:, None] == 0, 0.7, 8.0)
    X = rng.negative_binomial(r, r / (r + 5.0), (4000, 20)).astype(np.float32)
    model = CountVAE(
        2, hidden=(8,), conditional=True, dispersion="batch", epochs=60, learning_rate=3e-3, random_state=0
    )
    dispersion = model.fit(X, y).dispersion_
    assert dispersion.shape == (20, 2)
    shared = CountVAE(2, hidden=(8,), conditional=True, epochs=60, learning_rate=3e-3, random_state=0).fit(X, y)
    assert model.score(X, y) > shared.score(X, y) + 1
    assert np.median(dispersion[:, 0]) == pytest.approx(0.7, rel=0.2)
    assert np.median(dispersion[:, 1]) > 4


class Annotated:
    """The parts of an AnnData object that are read."""

    def __init__(self, X: Any, obs: dict[str, Any]) -> None:
        self.X, self.layers, self.obs, self.var_names = X, dict[str, Any](), obs, [f"g{j}" for j in range(X.shape[1])]
        self.shape, self.obsm = X.shape, dict[str, Any]()


def test_annotated_cells_have_their_sizes_in_obs() -> None:
    X, y, sizes = cells()
    data = Annotated(sparse.csr_array(X), {"donor": y, "size_factors": sizes})
    held_out = Annotated(X[:50], {"donor": y[:50], "size_factors": sizes[:50]})
    model = CountVAE(batch_key="donor", size_factor_key="size_factors", **SMALL).fit(data, validation_data=held_out)
    given = CountVAE(conditional=True, size_factor="given", **SMALL)
    given.fit(X, y, size_factor=sizes, validation_data=(X[:50], y[:50], sizes[:50]))
    assert same(model.state_dict(), given.state_dict())
    assert model.history_["val_loss"] == given.history_["val_loss"]
    np.testing.assert_array_equal(model.score_samples(data), given.score_samples(X, y=y, size_factor=sizes))
    np.testing.assert_array_equal(model.transform(data), given.transform(X, y=y))
    np.testing.assert_array_equal(
        model.normalized_expression(data, batch="b"), given.normalized_expression(X, y=y, batch="b")
    )
    with pytest.raises(ValueError, match=r"size_factor_key='n' is not a column of X\.obs, which has 'donor'"):
        CountVAE(size_factor_key="n", **SMALL).fit(data)


def test_files_pickles_and_further_training_keep_sizes(tmp_path: Path) -> None:
    X, y, sizes = cells()
    options: dict[str, Any] = {"conditional": True, "size_factor": "given", "dispersion": "batch"}
    model = CountVAE(**options, **SMALL).fit(X, y, size_factor=sizes)
    model.save(tmp_path / "model")
    again = fastvae.load(tmp_path / "model")
    for other in (again, pickle.loads(pickle.dumps(model))):
        assert isinstance(other, CountVAE)
        assert bits(other) == bits(model)
        assert other.size_unit_ == model.size_unit_
        np.testing.assert_array_equal(
            other.score_samples(X, y=y, size_factor=sizes), model.score_samples(X, y=y, size_factor=sizes)
        )
    longer = CountVAE(**options, **SMALL | {"epochs": 6}).fit(X, y, size_factor=sizes)
    again.set_params(warm_start=True).fit(X, y, size_factor=sizes)
    assert bits(again) == bits(longer)
    more = CountVAE(**options, **SMALL).partial_fit(X, y, size_factor=sizes)
    assert more.size_unit_ == model.size_unit_
    more.partial_fit(X, y, size_factor=sizes)


def test_a_checkpoint_goes_on_with_its_sizes_only(tmp_path: Path) -> None:
    X, y, sizes = cells()
    path = tmp_path / "checkpoint"

    class KilledError(Exception):
        pass

    def kill(model: Any, logs: Any) -> None:
        if model.n_iter_ == 2:
            raise KilledError

    def go_on(model: Any, logs: Any) -> None:
        pass

    go_on.__qualname__ = kill.__qualname__
    options: dict[str, Any] = {"conditional": True, "size_factor": "given"}
    whole = CountVAE(**options, **SMALL).fit(X, y, size_factor=sizes)
    with pytest.raises(KilledError):
        CountVAE(**options, callbacks=[kill], **SMALL).fit(X, y, size_factor=sizes, checkpoint=path, checkpoint_every=1)
    with pytest.raises(ValueError, match="not those of the fit"):
        fastvae.resume(path, X, y, size_factor=2 * sizes, callbacks=[go_on])
    with pytest.raises(ValueError, match="pass size_factor="):
        fastvae.resume(path, X, y, callbacks=[go_on])
    resumed = fastvae.resume(path, X, y, size_factor=sizes, callbacks=[go_on])
    assert bits(resumed) == bits(whole)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (lambda s: np.where(np.arange(len(s)) == 7, -1.0, s), "size_factor of row 7 is -1: sizes must be positive"),
        (lambda s: np.where(np.arange(len(s)) == 3, 0.0, s), "size_factor of row 3 is 0"),
        (lambda s: np.where(np.arange(len(s)) == 5, np.nan, s), "size_factor of row 5 is nan"),
        (lambda s: np.where(np.arange(len(s)) == 5, np.inf, s), "size_factor of row 5 is inf"),
        (lambda s: s[:-1], r"size_factor has shape \(199,\): pass one size for each of the 200 rows of X"),
        (lambda s: None, 'size_factor="given" needs the sizes'),
    ],
)
def test_wrong_sizes_are_refused_by_row(sizes: Any, message: str) -> None:
    X, _, good = cells()
    with pytest.raises(ValueError, match=message):
        CountVAE(size_factor="given", **SMALL).fit(X, size_factor=sizes(good))


def test_what_does_not_fit_is_refused() -> None:
    X, y, sizes = cells()
    model = CountVAE(size_factor="given", **SMALL).fit(X, size_factor=sizes)
    calls: list[Any] = [
        model.score_samples,
        model.evaluate,
        model.reconstruct,
        model.predictive,
        model.log_marginal,
        model.loss_and_gradients,
        model.partial_fit,
        model.score,
        model.anomaly_score,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="pass size_factor="):
            call(X)
    assert model.transform(X).shape == (200, 3)  # codes need no sizes
    with pytest.raises(ValueError, match='leave out size_factor=, or create the model with size_factor="given"'):
        CountVAE(**SMALL).fit(X, size_factor=sizes)
    with pytest.raises(ValueError, match="validation_data needs sizes"):
        CountVAE(size_factor="given", **SMALL).fit(X, size_factor=sizes, validation_data=X)
    with pytest.raises(ValueError, match=r"is for fastvae\.CountVAE"):
        VAE(likelihood=Poisson("given")).fit(X)
    with pytest.raises(ValueError, match="size_factor='each' "):
        CountVAE(size_factor="each", **SMALL).fit(X)
    with pytest.raises(ValueError, match='dispersion="batch" needs batches'):
        CountVAE(dispersion="batch", **SMALL).fit(X)
    with pytest.raises(ValueError, match="a Poisson has none"):
        CountVAE(dispersion="batch", likelihood="poisson", conditional=True, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="needs labels as y"):
        CountVAE(dispersion="batch", conditional=True, **SMALL).fit(X, sizes[:, None])
    with pytest.raises(ValueError, match='dispersion="batch" needs size_factor'):
        VAE(likelihood=NegativeBinomial(dispersion="batch"), conditional=True).fit(X, y)
