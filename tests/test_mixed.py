"""Likelihoods of groups of columns: tables of numbers, counts, binary, categorical and ordinal variables."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from helpers import ISAS, available, run_python, same
from sklearn.base import clone

import fastvae
from fastvae import VAE
from fastvae.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    Group,
    LogNormal,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Ordinal,
    Poisson,
)

torch = pytest.importorskip("torch")

from mixed_tables import FITTED, PER_FEATURE, fitted, holes, realistic  # noqa: E402
from reference import AWKWARD, loss_errors, noise, pair, table, too_large  # noqa: E402

# Groups of one kind, and mixtures with several panels, groups across panels, and many levels.
TABLES: dict[str, Mixed] = {
    "gaussian": Mixed([(PER_FEATURE, 3), (Gaussian(0.3), 2), (Gaussian(0.7, mean="sigmoid"), 2)]),
    "log-normal": Mixed([(LogNormal(), 5)]),
    "counts": Mixed([(Poisson(), 3), (NegativeBinomial(), 4)]),
    "binary": Mixed([(Bernoulli(), 18)]),
    "two levels": Mixed([(Categorical(), 2)]),
    "33 levels": Mixed([(Categorical(), 33)]),
    "200 levels": Mixed([(Categorical(), 200), (PER_FEATURE, 1)]),
    "ordinal of two": Mixed([(Ordinal(), 2)]),
    "ordinal of three": Mixed([(Ordinal(), 3)]),
    "ordinal of 20": Mixed([(Ordinal(), 20)]),
    "ordinal of 40": Mixed([(Bernoulli(), 1), (Ordinal(), 40)]),
    "all": Mixed(
        [
            (PER_FEATURE, 2),
            (LogNormal(), 3),
            (Categorical(), 5),
            (Poisson(), 1),
            ("negative_binomial", 2),
            (Ordinal(), 4),
            (Categorical(), 17),
            (Bernoulli(), 3),
            (PER_FEATURE, 1),
            (Categorical(), 33),
            (LogNormal(), 1),
            (Ordinal(), 7),
            (Gaussian(0.5), 1),
        ]
    ),
    "weights": Mixed(
        [
            (PER_FEATURE, 2, 0.25),
            (Categorical(), 5, 3.0),
            (LogNormal(), 1, 0.5),
            (PER_FEATURE, 1, 2.0),
            (NegativeBinomial(), 1, 0.1),
            (Ordinal(), 4, 1.5),
            (Bernoulli(), 2, 4.0),
        ]
    ),
}


def errors_of(name: str, **options: Any) -> dict[str, float]:
    """The errors beyond the tolerance; a threshold that is a sum of 40 numbers has five times as much rounding."""
    wider = 5 if name == "ordinal of 40" else 1
    return too_large({key: error / wider for key, error in compared(TABLES[name], **options).items()})


def compared(likelihood: Mixed, rows: int = 29, share: float = 0.0, **more: Any) -> dict[str, float]:
    """Errors of losses and gradients against the torch twin."""
    missing = {"missing": "mask"} if share else {}
    vae, twin = pair(likelihood.n_columns, likelihood=likelihood, **missing, **{**AWKWARD, **more})
    X = table(likelihood, rows)
    X = holes(likelihood, X, share) if share else X
    return loss_errors(vae, twin, X, noise(rows, AWKWARD["latent_dim"]))


@pytest.mark.parametrize("name", TABLES)
def test_losses_and_gradients_are_those_of_torch(name: str) -> None:
    assert errors_of(name) == {}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("indicator", [False, True])
def test_missing_values_are_left_out(name: str, indicator: bool) -> None:
    assert errors_of(name, share=0.4, missing_indicator=indicator) == {}


@pytest.mark.parametrize("rows", [1, 2, 13, 64, 131])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_any_number_of_rows(rows: int, activation: str) -> None:
    assert too_large(compared(TABLES["all"], rows, activation=activation)) == {}


@pytest.mark.parametrize("name", ["all", "weights"])
def test_other_objectives(name: str) -> None:
    likelihood = TABLES[name]
    for terms in ({"beta": 2.5}, {"free_bits": 0.4}, {"objective": "reconstruction"}, {"beta": 0.5, "capacity": 1.0}):
        assert too_large(compared(likelihood, **terms)) == {}, terms


@pytest.mark.parametrize("name", ["all", "weights"])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_importance_weighted_bound(name: str, share: float) -> None:
    likelihood, latent = TABLES[name], AWKWARD["latent_dim"]
    vae, twin = pair(likelihood.n_columns, likelihood=likelihood, **AWKWARD)
    vae.set_params(n_importance_samples=3, missing="mask")
    vae = VAE(**vae.get_params()).load_state_dict(vae.state_dict())
    X = holes(likelihood, table(likelihood, 17), share)
    eps = noise(17 * 3, latent).reshape(17, 3, latent)
    assert too_large(loss_errors(vae, twin, X, eps)) == {}


def test_sample_weights() -> None:
    likelihood = TABLES["weights"]
    vae, twin = pair(likelihood.n_columns, likelihood=likelihood, missing="mask", **AWKWARD)
    X = holes(likelihood, table(likelihood, 29), 0.2)
    weights = np.random.default_rng(3).uniform(0.1, 3, 29).astype(np.float32)
    errors = loss_errors(vae, twin, X, noise(29, AWKWARD["latent_dim"]), weights=weights)
    assert too_large(errors) == {}


@pytest.mark.parametrize("name", TABLES)
def test_means_are_those_of_torch(name: str) -> None:
    likelihood = TABLES[name]
    vae, twin = pair(likelihood.n_columns, likelihood=likelihood, **AWKWARD)
    Z = noise(23, AWKWARD["latent_dim"])
    with torch.no_grad():
        want = twin.mean(twin.tensor(Z)).numpy()
    np.testing.assert_allclose(vae.inverse_transform(Z), want, rtol=3e-5, atol=1e-6)
    for group, columns in zip(likelihood.groups, _columns(likelihood), strict=True):
        if isinstance(group.likelihood, (Categorical, Ordinal)):
            np.testing.assert_allclose(vae.inverse_transform(Z)[:, columns].sum(1), 1, atol=2e-6)


def _columns(likelihood: Mixed) -> list[slice]:
    ends = np.cumsum([group.n_columns for group in likelihood.groups])
    return [slice(end - group.n_columns, end) for group, end in zip(likelihood.groups, ends, strict=True)]


@pytest.mark.parametrize("name", ["all", "weights"])
def test_log_prob_of_each_variable_has_no_weights(name: str) -> None:
    likelihood = TABLES[name]
    vae, twin = pair(likelihood.n_columns, likelihood=likelihood, missing="mask", random_state=0, **AWKWARD)
    X = holes(likelihood, table(likelihood, 31), 0.2)
    found = vae.variable_log_prob(X, n_samples=5, random_state=7)
    with torch.no_grad():
        codes = twin.tensor(vae.posterior_sample(X, n=5, random_state=7))
        terms = [twin.likelihood.terms(twin.tensor(X), twin.decoder(z), balanced=False) for z in codes]
        want = -torch.stack([torch.stack(term, 1) for term in terms]).mean(0).numpy()
    assert found.shape == want.shape == (31, len(likelihood.variables))
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-5)
    assert (found[np.isnan(X[:, [v.start for v in likelihood.variables]])] == 0).all()


def test_scores_have_no_weights_and_losses_have() -> None:
    weighted = TABLES["weights"]
    plain = Mixed([Group(group.likelihood, group.n_columns) for group in weighted.groups])
    one, other = (pair(weighted.n_columns, likelihood=kind, random_state=0, **AWKWARD)[0] for kind in (weighted, plain))
    X = table(weighted, 31)
    np.testing.assert_array_equal(one.score_samples(X), other.score_samples(X))
    found = [model.log_marginal(X, n_samples=10).estimate for model in (one, other)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(one.variable_log_prob(X, random_state=0), other.variable_log_prob(X, random_state=0))
    assert one.score(X) == other.score(X) == pytest.approx(float(one.score_samples(X).mean()), rel=1e-5)
    assert one.evaluate(X)["loss"] != other.evaluate(X)["loss"]


def test_log_marginal_is_the_integral() -> None:
    likelihood = Mixed([(PER_FEATURE, 1), (Categorical(), 3), (Ordinal(), 3), (LogNormal(), 1)])
    vae, twin = pair(8, likelihood=likelihood, latent_dim=1, hidden=(5,), random_state=0)
    X = table(likelihood, 6)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        out, prior = twin.decoder(z), torch.distributions.Normal(0.0, 1.0).log_prob(z[:, 0])
        exact = []
        for x in twin.tensor(X):
            terms = twin.likelihood.terms(x.expand(len(z), -1), out, balanced=False)
            log_p = prior - torch.stack(terms).sum(0)
            exact.append(float(torch.logsumexp(log_p, 0) + np.log(16 / 4000)))
    found = vae.log_marginal(X, n_samples=20_000)
    assert (np.abs(found.estimate - exact) < 5 * found.standard_error + 1e-3).all()


# ------------------------------------------------------------------------------------------------- a fitted table


def test_training_starts_at_the_best_constant_model() -> None:
    X = realistic()
    model = fitted(learning_rate=1e-12, epochs=1, hidden=(4,))
    state = model.state_dict()
    zero = {name: np.zeros_like(value) for name, value in state.items() if name.startswith("decoder.2.weight")}
    model.load_state_dict(state | zero)
    means = model.reconstruct(X)[0]
    log_x = np.log(X[:, 2])
    np.testing.assert_allclose(means[[0, 1]], X[:, :2].mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(means[2], np.exp(log_x.mean() + log_x.var() / 2), rtol=1e-4)
    np.testing.assert_allclose(means[3], X[:, 3].mean(), rtol=1e-3)
    shares = (X[:, 4:].sum(0) + 0.5) / (len(X) + np.array([1, 2, 2, 2, 2, 2, 2, 2, 2]))
    np.testing.assert_allclose(means[4:], shares, rtol=1e-4)
    np.testing.assert_allclose(np.exp(state["likelihood.0.log_scale"]), X[:, :2].std(0), rtol=1e-4)
    np.testing.assert_allclose(np.exp(state["likelihood.1.log_scale"]), log_x.std(), rtol=1e-4)


def test_the_encoder_reads_standardised_transforms() -> None:
    X = realistic()
    state = fitted().state_dict()
    shift, scale = state["standardize.shift"], state["standardize.scale"]
    seen = [X[:, 0], X[:, 1], np.log(X[:, 2]), np.log1p(X[:, 3])]
    np.testing.assert_allclose(shift[:4], [x.mean() for x in seen], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scale[:4], [x.std() for x in seen], rtol=1e-3)
    assert (shift[4:] == 0).all()
    assert (scale[4:] == 1).all()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_fitted_model_has_the_losses_and_gradients_of_torch(share: float) -> None:
    from reference import TorchVAE

    X = holes(FITTED, realistic(200), share)
    model = fitted()
    state = model.state_dict()
    twin = TorchVAE(FITTED.n_columns, 2, hidden=(32,), likelihood=FITTED)
    scale, shift = (twin.tensor(state.pop(f"standardize.{name}")) for name in ("scale", "shift"))
    twin.load(state)
    plain, first, last = twin.likelihood.seen, twin.encoder[0], twin.decoder[-1]
    twin.likelihood.seen = lambda x: (plain(x) - shift) / scale
    units = [(1.0, 0.0)] * FITTED.n_columns
    for j in (0, 1, 2):
        units[j] = (float(scale[j]), float(shift[j]))
    by, offset = (twin.tensor(np.array(values)) for values in zip(*units, strict=True))
    last.register_forward_hook(lambda module, given, out: out * by + offset)
    assert first.in_features == FITTED.n_columns
    errors = loss_errors(model, twin, X.astype(np.float32), noise(200, 2))
    assert too_large({name: error / 5 for name, error in errors.items()}) == {}


def test_training_learns_the_table() -> None:
    X, new = realistic(), realistic(500, seed=1)
    before, after = fitted(epochs=1, learning_rate=1e-9), fitted(epochs=60)
    assert after.score(X) > before.score(X) + 1
    found = after.reconstruct(new)
    assert np.corrcoef(found[:, 0], new[:, 0])[0, 1] > 0.9
    assert np.corrcoef(np.log(found[:, 2]), np.log(new[:, 2]))[0, 1] > 0.9
    assert (found[:, 5:9].argmax(1) == new[:, 5:9].argmax(1)).mean() > 0.6
    assert (found[:, 9:].argmax(1) == new[:, 9:].argmax(1)).mean() > 0.6
    # The imputed mean of a missing number is nearer than the mean of its column.
    hidden = new.copy()
    hidden[:, 0] = np.nan
    hidden[:, 9:] = np.nan
    for options in ({}, {"n_samples": 50}, {"n_iter": 2}):
        filled = after.impute(hidden, **options)
        assert np.abs(filled[:, 0] - new[:, 0]).mean() < 0.75 * np.abs(new[:, 0] - X[:, 0].mean()).mean(), options
        assert (filled[:, 9:].argmax(1) == new[:, 9:].argmax(1)).mean() > 0.5
    for options in ({}, {"n_samples": 50}):
        draws = after.impute(hidden, draws=3, random_state=0, **options)
        assert draws.shape == (3, *new.shape)
        assert (np.sort(draws[..., 9:]) == [0, 0, 0, 1]).all()
        assert (draws[..., 1:9] == new[:, 1:9]).all()


def test_draws_have_the_moments_of_the_likelihood() -> None:
    model, z = fitted(epochs=20), np.zeros((40_000, 2), np.float32)
    drawn = model._require_fitted().sample(z, None, None, 5, None)
    mean = model.inverse_transform(z[:1])[0]
    scale = np.exp(model.state_dict()["likelihood.0.log_scale"])
    spread = np.exp(model.state_dict()["likelihood.1.log_scale"])[0]
    total = np.exp(model.state_dict()["likelihood.2.log_total_count"])[0]
    variance = np.concatenate(
        [
            scale**2,
            [np.expm1(spread**2) * mean[2] ** 2, mean[3] + mean[3] ** 2 / total],
            mean[4:] * (1 - mean[4:]),
        ]
    )
    error = np.sqrt(variance / len(z))
    assert (np.abs(drawn.mean(0, np.float64) - mean) < 5 * error).all()
    np.testing.assert_allclose(drawn.var(0, np.float64), variance, rtol=0.05)
    assert (np.sort(drawn[:, 5:9]) == [0, 0, 0, 1]).all()
    assert (drawn[:, 2] > 0).all()
    # One of the independent variables tells nothing of another.
    assert abs(np.corrcoef(drawn[:, 5], drawn[:, 9])[0, 1]) < 0.03
    found = model.predictive(realistic(5), n=4)
    assert (found.observation_std > 0).all()


def test_bits_do_not_depend_on_threads_or_instruction_sets() -> None:
    code = """
import numpy as np, sys
from mixed_tables import fitted, holes, realistic, FITTED
from helpers import answers
import hashlib
model = fitted(n_jobs=int(sys.argv[1]), epochs=2, batch_size=200)
X = holes(FITTED, realistic(150), 0.2)
found = answers(model, X) | {"terms": model.variable_log_prob(X, random_state=0).tobytes()}
found |= {"draws": model.sample(50, draw=True, random_state=0).tobytes()}
found |= {"imputed": model.impute(X, draws=2, n_samples=10, random_state=0).tobytes()}
print({name: hashlib.sha256(bytes(value)).hexdigest()[:12] for name, value in found.items()})
"""
    once = run_python(code, "1")
    other = {"FASTVAE_ISA": "avx2"} if all(map(available, ISAS[:2])) else {}
    assert run_python(code, "3", **other) == once


def test_save_load_pickle_clone(tmp_path: Any) -> None:
    model = fitted()
    X = realistic(50)
    model.save(tmp_path / "table.safetensors")
    for other in (fastvae.load(tmp_path / "table.safetensors"), pickle.loads(pickle.dumps(model))):
        assert other.likelihood == FITTED
        assert same(other, model)
        np.testing.assert_array_equal(other.reconstruct(X), model.reconstruct(X))
        other.partial_fit(X)
    again = clone(model).fit(realistic())
    assert same(again, model)
    assert eval(repr(FITTED), vars(fastvae.likelihoods)) == FITTED
    torch_names = VAE(**model.get_params()).load_state_dict(model.state_dict())
    np.testing.assert_array_equal(torch_names.reconstruct(X), model.reconstruct(X))


def test_any_type_of_array_gives_the_same() -> None:
    from scipy.sparse import csr_array

    likelihood = Mixed([(Poisson(), 2), (Categorical(), 3), (Bernoulli(), 1)])
    X = table(likelihood, 64)
    params: dict[str, Any] = {"hidden": (8,), "likelihood": likelihood, "epochs": 2, "random_state": 0}
    model = VAE(2, **params).fit(X)
    for kind in (np.float64, np.uint8, np.int64):
        assert same(VAE(2, **params).fit(X.astype(kind)), model), kind
    assert same(VAE(2, **params).fit(csr_array(X)), model)
    np.testing.assert_array_equal(model.transform(csr_array(X)), model.transform(X))


# ------------------------------------------------------------------------------------------------- bad input


BAD: list[tuple[Any, int, float, str]] = [
    (slice(0, 1), 2, np.inf, r"X\[2, 0\] is inf"),
    (slice(2, 3), 3, 0.0, r"X\[3, 2\] is 0, but the log-normal likelihood takes numbers above 0"),
    (slice(3, 4), 4, -1.0, r"X\[4, 3\] is -1, but the negative binomial likelihood takes counts"),
    (slice(4, 5), 5, 2.0, r"X\[5, 4\] is 2, but the Bernoulli likelihood takes values in \[0, 1\]"),
    (slice(5, 9), 6, 0.0, r"X\[6, 5:9\] is \[0, 0, 0, 0\], but the categorical variable"),
    (slice(9, 13), 7, 1.0, r"X\[7, 9:13\] is \[1, 1, 1, 1\], but the ordinal variable"),
    (slice(9, 11), 8, np.nan, r"X\[8, 9:13\] is \[NaN, NaN, .*\], but the ordinal variable"),
]


@pytest.mark.parametrize(("columns", "row", "value", "message"), BAD)
def test_a_bad_value_is_named(columns: slice, row: int, value: float, message: str) -> None:
    X, model = realistic(40), fitted(epochs=1)
    X[row, columns] = value
    for use in (clone(model).fit, model.partial_fit, model.score_samples, model.variable_log_prob):
        with pytest.raises(ValueError, match=message):
            use(X)


def test_missing_values_are_refused_without_a_mask() -> None:
    X = realistic(40)
    X[3, 5:9] = np.nan
    with pytest.raises(ValueError, match=r"X\[3, 5\] is NaN; X must be finite: .* missing=\"mask\""):
        VAE(2, likelihood=FITTED).fit(X)


REFUSED: list[tuple[Any, str]] = [
    (lambda: Mixed([]), "groups is empty"),
    (lambda: Mixed("gaussian"), "must be a sequence of Group"),
    (lambda: Mixed([3]), "must be Group"),
    (lambda: Mixed([("gaussian", 0)]), "n_columns=0 must be an integer of at least 1"),
    (lambda: Mixed([("gaussian", 1.5)]), "n_columns=1.5 must be an integer"),
    (lambda: Mixed([("gaussian", 13, 0.0)]), "weight=0 must be"),
    (lambda: Mixed([("gaussian", 13, float("nan"))]), "must be a finite number"),
    (lambda: Mixed([("gauss", 13)]), "'gauss' is not known; use one of 'gaussian'"),
    (lambda: Mixed([(Multinomial(), 13)]), "is not known; use one of 'gaussian'"),
    (lambda: Mixed([(Gaussian("decoder"), 13)]), 'groups.0.*is a number or "per_feature"'),
    (lambda: Mixed([(Gaussian("shared"), 13)]), 'groups.0.*is a number or "per_feature"'),
    (lambda: Mixed([(Categorical(), 1), ("gaussian", 12)]), "groups.0.*at least 2, not 1"),
    (lambda: Mixed([(LogNormal(floor=0.0), 13)]), "floor is 1e-6 to 1e6"),
    (lambda: Mixed([("gaussian", 12)]), "have 12 columns, but X has 13"),
    (lambda: Mixed([("gaussian", 1 << 20)]), "columns"),
    (lambda: Categorical(), "is for a group of columns: use fastvae.likelihoods.Mixed"),
    (lambda: LogNormal(), "is for a group of columns: use fastvae.likelihoods.Mixed"),
    (lambda: "categorical", "is not known"),
    (lambda: "mixed", "is not known"),
]


@pytest.mark.parametrize(("likelihood", "message"), REFUSED)
def test_what_is_not_possible_is_refused(likelihood: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VAE(2, likelihood=likelihood()).fit(realistic(30))


def test_options_that_do_not_go_with_groups_are_refused() -> None:
    X = realistic(30)
    with pytest.raises(ValueError, match="leave out input_transform"):
        VAE(2, likelihood=FITTED, input_transform="l1").fit(X)
    with pytest.raises(ValueError, match="leave out image_shape"):
        VAE(2, likelihood=FITTED, image_shape=(13, 1)).fit(X)
    with pytest.raises(ValueError, match="needs a model of a table"):
        VAE(2, hidden=(3,), epochs=1).fit(np.eye(4)).variable_log_prob(np.eye(4))
    model, other = fitted(epochs=1), Mixed([("gaussian", 13)])
    with pytest.raises(ValueError, match="does not fit the model"):
        VAE(2, hidden=(32,), likelihood=other).load_state_dict(model.state_dict())
    state = model.state_dict()
    state["likelihood.1.log_scale"][:] = -20
    with pytest.raises(ValueError, match=r"likelihood\.1\.log_scale holds -20.*below the floor"):
        model.load_state_dict(state)


def test_conditions_corruption_and_early_stopping_work() -> None:
    X = realistic(300)
    y = np.arange(300) % 3
    for corruption in (None, fastvae.corruption.MaskingNoise(0.3), fastvae.corruption.GaussianNoise(0.1)):
        model = fitted_with(X, y, corruption)
        assert np.isfinite(model.history_["val_loss"]).all()
        assert np.isfinite(model.score_samples(X, y=y)).all()


def test_a_column_below_the_floor_of_its_scale_is_named_once() -> None:
    X = np.random.default_rng(0).normal(size=(60, 4)) * [1.0, 1e-5, 1e-5, 1.0]
    likelihood = Mixed(
        [(PER_FEATURE, 1), (PER_FEATURE, 1, 0.5), (Gaussian("per_feature", floor=1e-6), 1), (PER_FEATURE, 1)]
    )
    with pytest.warns(
        UserWarning, match=r"floor=0.001, but standard deviations of X are [\d.]+e-0[56] in column 1: "
    ) as found:
        VAE(1, hidden=(8,), likelihood=likelihood, epochs=1, random_state=0).fit(X)
    assert len(found) == 1
    assert "Standardise these columns, or lower floor" in str(found[0].message)
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    with pytest.warns(UserWarning, match="in column 'b'"):
        VAE(1, hidden=(8,), likelihood=likelihood, epochs=1, random_state=0).fit(frame)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_log_normal_columns_with_one_value_start_with_a_scale_of_at_most_one(unit: float) -> None:
    X = np.full((6, 2), 3.0) * unit
    model = VAE(1, hidden=(4,), likelihood=Mixed([(LogNormal(), 2)]), epochs=1, random_state=0).fit(X)
    assert model.state_dict()["likelihood.0.log_scale"].max() < 0.1
    assert np.isfinite(model.predictive(X, 3, 0).observation_std).all()


def test_the_explorer_refuses_groups(tmp_path: Any) -> None:
    model = fitted(epochs=1)
    with pytest.raises(ValueError, match=r"the explorer does not show .* use sample and reconstruct, or export_onnx"):
        fastvae.explorer(model, realistic(), path=tmp_path / "table.html")


def fitted_with(X: Any, y: Any, corruption: Any) -> VAE:
    """A conditional model with a validation set."""
    return VAE(
        2,
        hidden=(16,),
        likelihood=FITTED,
        conditional=True,
        epochs=3,
        random_state=0,
        corruption=corruption,
        validation_fraction=0.2,
        early_stopping=True,
    ).fit(X, y)


@pytest.mark.parametrize("latent_dim", [2, 3])
def test_paths_through_the_latent_space_of_a_table(latent_dim: int) -> None:
    """Neither zeros nor the means of generated rows are rows of a table with levels or positive columns."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.lognormal(size=80), np.eye(3)[rng.integers(0, 3, 80)], np.eye(4)[rng.integers(0, 4, 80)]])
    likelihood = Mixed([(LogNormal(), 1), (Categorical(), 3), (Ordinal(), 4)])
    model = VAE(latent_dim, likelihood=likelihood, hidden=(8,), epochs=2, random_state=0).fit(X)
    assert model.manifold(3).shape == (3, 3, 8)
    assert model.traverse(X[0], n=5).shape == (latent_dim, 5, 8)
    path = model.interpolate(X[0], X[1], n=4)
    np.testing.assert_allclose(path[0], model.reconstruct(X[:1])[0], rtol=1e-5)
