"""Data with holes: torch's masked gradients, unmasked bits without holes, what NaN may be, filling in."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import LIKELIHOODS, SMALL, answers, check_same_output_of_both_sets, holed, masking_vae, needs_lengths
from numpy.typing import NDArray
from reference import (
    AWKWARD,
    SIZES,
    Size,
    TorchVAE,
    examples,
    lively_weights,
    loss_errors,
    noise,
    pair,
    plain_pair,
    too_large,
)
from sklearn.base import clone
from test_importance import draws, wrong
from test_importance import pair as importance_pair
from test_saving import edited

import fastvae
from fastvae import VAE, Autoencoder, FormatError, schedules
from fastvae.corruption import GaussianNoise, MaskingNoise, SaltAndPepper
from fastvae.likelihoods import Gaussian

Array = NDArray[np.float32]
SUPPORTED = [
    name for name, likelihood in LIKELIHOODS.items() if not needs_lengths(likelihood)
]  # the others are of whole rows
DIGITS, LABELS = fastvae.datasets.load_digits()
MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"


X, Y = DIGITS[:300], LABELS[:300]
HOLES = holed(X, 0.4)
HOLES[5] = np.nan  # an example of which nothing is known
HOLES[:, 20] = np.nan  # a feature that nobody has seen
BINARY = np.where(np.isnan(HOLES), np.nan, X > 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return masking_vae().fit(HOLES)


# ------------------------------------------------------------------------------------------------ gradients


def with_holes(likelihood: Any, rows: int, cols: int, share: float) -> Array:
    """Data for a likelihood without a share of them, and without a row and a column."""
    data = holed(examples(likelihood, rows, cols), share)
    data[rows // 2] = np.nan
    data[:, cols // 3] = np.nan
    return data


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("likelihood", SUPPORTED)
def test_losses_and_gradients_are_those_of_torch_with_a_mask(likelihood: str, share: float, indicator: bool) -> None:
    data = with_holes(likelihood, 29, 37, share)
    mask = {"missing": "mask", "missing_indicator": indicator}
    # Of seed 0, one scale is so small that its gradient is a matter of float32's last digits.
    model, twin = pair(37, seed=1, likelihood=LIKELIHOODS[likelihood], **mask, **AWKWARD)
    assert too_large(loss_errors(model, twin, data, noise(29, 5))) == {}


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradients_of_all_shapes(size: Size, indicator: bool) -> None:
    rows, cols, latent_dim, hidden, decoder_hidden = size
    data = with_holes("bernoulli", rows, cols, 0.3)
    data[:, cols // 2 :: 3] *= 0  # zeros, which the first layer skips, beside holes
    params: dict[str, Any] = {"latent_dim": latent_dim, "hidden": hidden, "decoder_hidden": decoder_hidden}
    model, twin = pair(cols, missing="mask", missing_indicator=indicator, activation="tanh", **params)
    assert too_large(loss_errors(model, twin, data, noise(rows, latent_dim))) == {}


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "gaussian decoder"])
@pytest.mark.parametrize("cols", [31, 64])
def test_gradients_with_conditions_behind_the_indicators(cols: int, likelihood: str, indicator: bool) -> None:
    params = {"likelihood": LIKELIHOODS[likelihood], "missing_indicator": indicator, **AWKWARD}
    twin = TorchVAE(cols, conditions=4, **params)
    weights = lively_weights(twin, 0)
    model = VAE(conditional=True, missing="mask", **params).load_state_dict(weights)
    data, y = with_holes(likelihood, 29, cols, 0.4), noise(29, 4, 3)
    assert too_large(loss_errors(model, twin.load(weights), data, noise(29, 5), y=y)) == {}


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "bernoulli"])
def test_gradients_of_an_autoencoder(loss: str, indicator: bool) -> None:
    data = with_holes(loss, 29, 37, 0.3)
    model, twin = plain_pair(37, loss=loss, missing="mask", missing_indicator=indicator, **AWKWARD)
    assert too_large(loss_errors(model, twin, data)) == {}


@pytest.mark.parametrize("indicator", [False, True])
def test_what_is_missing_stays_unseen_in_what_the_caller_has_corrupted(indicator: bool) -> None:
    data = with_holes("bernoulli", 29, 37, 0.3)
    corrupted = holed(noise(29, 37, 4), 0.2, seed=8)  # numbers where X has holes, and holes where X has numbers
    model, twin = pair(37, missing="mask", missing_indicator=indicator, **AWKWARD)
    assert too_large(loss_errors(model, twin, data, noise(29, 5), corrupted=corrupted)) == {}


@pytest.mark.parametrize("likelihood", SUPPORTED)
def test_the_importance_weighted_bound_has_the_losses_and_gradients_of_torch(likelihood: str) -> None:
    data = with_holes(LIKELIHOODS[likelihood], 29, 37, 0.4)
    model, twin = importance_pair(
        37, 3, likelihood=LIKELIHOODS[likelihood], missing="mask", missing_indicator=True, **AWKWARD
    )
    assert wrong(loss_errors(model, twin, data, draws(29, 3, 5))) == {}


@pytest.mark.parametrize("likelihood", SUPPORTED)
def test_what_is_not_observed_counts_exactly_nothing(likelihood: str) -> None:
    data = with_holes(likelihood, 29, 37, 0.3)
    model, _ = pair(37, likelihood=LIKELIHOODS[likelihood], missing="mask", **AWKWARD)
    _, gradients = model.loss_and_gradients(data, noise(29, 5))
    for name, gradient in gradients.items():
        if name.startswith(("decoder.2", "scale")) or gradient.shape == (37,):
            assert (gradient[37 // 3] == 0).all(), name
            assert np.count_nonzero(gradient.reshape(37, -1).any(1)) == 36, name
    assert (gradients["encoder.0.weight"][:, 37 // 3] == 0).all()
    alone = data[29 // 2][None]
    nothing = model.evaluate(alone)
    assert nothing["reconstruction"] == 0.0
    assert nothing["kl"] == pytest.approx(fastvae.functional.gaussian_kl(*model.encode(alone))[0], rel=1e-6)


@pytest.mark.parametrize("kind", [GaussianNoise(3.0), MaskingNoise(0.3), SaltAndPepper(0.9)], ids=str)
def test_a_corrupted_hole_stays_unseen(kind: Any) -> None:
    model = masking_vae(corruption=kind, missing_indicator=True, epochs=1, learning_rate=1e-2)
    data = HOLES.copy()
    data[:, 30] = 0.5  # of which nothing is missing
    before = masking_vae(corruption=kind, missing_indicator=True, optimizer="sgd", learning_rate=1e-30).fit(data)
    start, end = (m.state_dict()["encoder.0.weight"] for m in (before, model.fit(data)))
    unseen = 20  # a hole in every example: its weight never learns, its indicator's does
    assert (start[:, unseen] == end[:, unseen]).all()
    assert (start[:, 64 + unseen] != end[:, 64 + unseen]).any()
    assert (start[:, 30] != end[:, 30]).any()
    assert (start[:, 64 + 30] == end[:, 64 + 30]).all()
    corrupted = kind.corrupt(HOLES, random_state=0)
    assert (np.isnan(corrupted) == np.isnan(HOLES)).all()


# ---------------------------------------------------------------------------------------------- the same bits

EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"hidden": ()},
    "wide": {"latent_dim": 30, "hidden": (40, 33)},
    "conditional": {"conditional": True},
    "threshold": {"binarize": "threshold"},
    "drawn": {"binarize": "bernoulli"},
    "stopping": {"early_stopping": True, "validation_fraction": 0.2},
    "everything": {
        "conditional": True,
        "corruption": GaussianNoise(0.2),
        "free_bits": 0.01,
        "capacity": 1.0,
        "clip_norm": 0.5,
        "beta": schedules.linear(0.1, 1.0, epochs=1),
        "validation_fraction": 0.2,
    },
} | {name: {"likelihood": likelihood} for name, likelihood in LIKELIHOODS.items() if name in SUPPORTED}


def everything_of(vae: VAE, data: NDArray[Any]) -> dict[str, bytes]:
    gaussian = isinstance(vae.likelihood, Gaussian) or vae.likelihood == "gaussian"
    return answers(vae, data, Y[: len(data)] if vae.conditional else None, data[:20] if gaussian else None)


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_mask_of_ones_gives_the_unmasked_bits(extra: str) -> None:
    masked, plain = masking_vae(**EXTRAS[extra]), masking_vae(missing="error", **EXTRAS[extra])
    assert everything_of(masked.fit(X, Y), X) == everything_of(plain.fit(X, Y), X)
    assert masked.history_ == plain.history_
    y = Y if masked.conditional else None
    losses = masked.evaluate(X, y=y)
    unmasked = plain.evaluate(X, y=y)
    assert {key: losses[key] for key in unmasked} == unmasked


@pytest.mark.parametrize("loss", ["squared_error", "bernoulli"])
def test_a_mask_of_ones_gives_an_autoencoders_unmasked_bits(loss: str) -> None:
    masked, plain = (Autoencoder(loss=loss, missing=missing, **SMALL).fit(X) for missing in ("mask", "error"))
    assert masked.reconstruct(X).tobytes() == plain.reconstruct(X).tobytes()
    assert masked.history_ == plain.history_
    assert masked.impute(X).tobytes() == X.tobytes()


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("extra", EXTRAS)
def test_results_do_not_depend_on_the_number_of_threads(extra: str, indicator: bool) -> None:
    models = [
        masking_vae(n_jobs=jobs, missing_indicator=indicator, **EXTRAS[extra]).fit(HOLES, Y) for jobs in (1, 2, 3)
    ]
    first, *others = [(everything_of(model, HOLES), model.history_) for model in models]
    assert all(other == first for other in others)
    assert np.isfinite(models[0].history_["loss"]).all()


@pytest.mark.parametrize("indicator", [False, True])
def test_answers_do_not_depend_on_the_split(indicator: bool) -> None:
    vae = masking_vae(missing_indicator=indicator).fit(HOLES)
    for ask in (vae.transform, vae.reconstruct, vae.score_samples, vae.impute):
        parts = [ask(part) for part in np.split(HOLES, [1, 20, 149])]
        assert np.concatenate(parts).tobytes() == ask(HOLES).tobytes()


def test_all_nans_are_alike(fitted: VAE) -> None:
    other = HOLES.copy()
    holes = np.isnan(other)
    bits = other.view(np.uint32)
    bits[holes] = np.random.default_rng(0).integers(0x7F800001, 0x80000000, holes.sum())
    bits[::2][holes[::2]] |= 0x80000000
    assert np.isnan(other[holes]).all()
    for same in (other, HOLES.astype(np.float64), np.negative(-HOLES), np.asfortranarray(HOLES)):
        assert everything_of(fitted, same) == everything_of(fitted, HOLES)
    assert everything_of(masking_vae().fit(other), HOLES) == everything_of(fitted, HOLES)


def test_the_scoring_noise_knows_a_hole_from_a_zero() -> None:
    # The first feature's mean is z, which is all noise, and the others' are zero: -log p without its constants tells z.
    model = masking_vae(latent_dim=1, hidden=(), likelihood="gaussian").fit(HOLES)
    weights = {name: np.zeros_like(array) for name, array in model.state_dict().items()}
    weights["decoder.0.weight"][0] = 1
    model.load_state_dict(weights)
    data = np.zeros((2, 64), np.float32)
    data[0, 3] = np.nan
    reconstruction = [model.evaluate(row[None])["reconstruction"] for row in data]
    z_squared = 2 * (np.array(reconstruction) - np.log(2 * np.pi) / 2 * np.array([63, 64]))
    assert abs(z_squared[0] - z_squared[1]) > 1e-3


def test_avx2_and_avx512_give_the_same_bits() -> None:
    script = """
import hashlib
import numpy as np
from fastvae import VAE, datasets
from fastvae.likelihoods import Gaussian
X, _ = datasets.load_digits()
X[np.random.default_rng(0).random(X.shape) < 0.5] = np.nan
digest = hashlib.sha256()
for likelihood in ("bernoulli", Gaussian("per_feature"), Gaussian("decoder")):
    vae = VAE(5, hidden=(33,), likelihood=likelihood, missing="mask", missing_indicator=True, epochs=2, random_state=0)
    vae.fit(X[:300])
    for answer in (vae.score_samples(X), vae.impute(X), vae.impute(X, draws=2), *vae.state_dict().values()):
        digest.update(answer.tobytes())
print(digest.hexdigest())
"""
    check_same_output_of_both_sets(script)


def test_holes_stay_holes_when_grey_values_become_binary() -> None:
    # A draw with probability 0 or 1 is certain, and so is the threshold.
    plain = masking_vae().fit(BINARY)
    for binarize in ("bernoulli", "threshold"):
        model = masking_vae(binarize=binarize, validation_fraction=0.2).fit(BINARY)
        again = masking_vae(validation_fraction=0.2).fit(BINARY)
        assert model.history_ == again.history_
        assert masking_vae(binarize=binarize).fit(BINARY).transform(X).tobytes() == plain.transform(X).tobytes()
    grey = masking_vae(binarize="threshold").fit(HOLES)
    assert grey.transform(X).tobytes() == plain.transform(X).tobytes()


# ------------------------------------------------------------------------------------------------ good and bad


def changed(value: float, row: int = 7, col: int = 33) -> Array:
    data = HOLES.copy()
    data[row, col] = value
    return data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_error_by_default(dtype: type) -> None:
    model = masking_vae(missing="error")
    with pytest.raises(ValueError, match=r'X\[0, \d+\] is NaN; X must be finite.*missing="mask"'):
        model.fit(HOLES.astype(dtype))
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_infinity_is_an_error(likelihood: str, value: float) -> None:
    model = masking_vae(likelihood=likelihood)
    with pytest.raises(ValueError, match=r"X\[7, 33\] is -?inf; X must be finite, or NaN where it was not observed"):
        model.fit(changed(value))
    model.fit(HOLES)
    for ask in (model.transform, model.score_samples, model.impute, model.partial_fit, model.evaluate):
        with pytest.raises(ValueError, match=r"X\[7, 33\] is -?inf"):
            ask(changed(value))
    with pytest.raises(ValueError, match="corrupted must be finite"):
        model.partial_fit(HOLES, corrupted=changed(value))


def test_values_beside_holes_must_suit_the_likelihood(fitted: VAE) -> None:
    with pytest.raises(ValueError, match=r"X\[7, 33\] is 1.5, but the Bernoulli likelihood takes values in \[0, 1\]"):
        fitted.score_samples(changed(1.5))
    with pytest.raises(ValueError, match=r"Z\[0, 1\] is NaN"):
        fitted.inverse_transform([[0, np.nan, 0]])
    with pytest.raises(ValueError, match="eps must be finite"):
        fitted.score_samples(HOLES, eps=np.full((300, 3), np.nan))
    grey = BINARY.copy()
    grey[7, 33] = 0.25
    with pytest.raises(ValueError, match=r"X\[7, 33\] is 0.25: under the Bernoulli likelihood only 0 and 1"):
        fitted.log_marginal(grey)


@pytest.mark.parametrize("missing", ["ignore", None, True, 0])
def test_an_unknown_kind_is_refused(missing: Any) -> None:
    with pytest.raises(ValueError, match=r"missing=.* is not known; use one of 'error', 'mask'"):
        masking_vae(missing=missing).fit(X)


def test_a_likelihood_of_all_features_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r'missing="mask" wants a likelihood of single features'):
        masking_vae(likelihood="multinomial").fit(np.round(X * 9))
    models: list[Any] = [fastvae.TopicModel(3), fastvae.TopicModel(3, decoder="product")]
    models.append(VAE(3, likelihood="multinomial"))
    for model in models:
        with pytest.raises(fastvae.NotFittedError):
            model.impute(X)
        model.set_params(hidden=(9,), epochs=1).fit(np.round(X * 9))
        for number in (None, 2):
            with pytest.raises(ValueError, match=f"this {type(model).__name__} has nothing to impute: .* is a zero$"):
                model.impute(X, draws=number)


def test_indicators_want_a_mask() -> None:
    with pytest.raises(ValueError, match=r"missing_indicator=True needs .* set missing='mask'"):
        VAE(missing_indicator=True).fit(X)
    with pytest.raises(ValueError, match="missing_indicator='yes' must be True or False"):
        masking_vae(missing_indicator="yes").fit(X)


def test_masked_arrays_are_told_about_nan() -> None:
    with pytest.raises(ValueError, match=r"numpy\.nan"):
        masking_vae().fit(np.ma.masked_invalid(HOLES))


def test_bytes_have_no_holes() -> None:
    data = np.round(X * 255).astype(np.uint8)
    model = masking_vae(missing_indicator=True).fit(data)
    filled = model.impute(data)
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled, data)


def test_a_parameter_changed_after_fit_wants_a_new_fit() -> None:
    model = masking_vae(missing="error").fit(X).set_params(missing="mask")
    with pytest.raises(ValueError, match=r"X\[0, \d+\] is NaN"):
        model.transform(HOLES)
    with pytest.raises(ValueError, match="fitted with missing='error'"):
        model.impute(HOLES)
    assert np.isfinite(model.fit(HOLES).transform(HOLES)).all()


@pytest.mark.parametrize("indicator", [False, True])
def test_every_method_accepts_missing_values(indicator: bool) -> None:
    model = masking_vae(missing_indicator=indicator, early_stopping=True, conditional=True)
    model.fit(HOLES[:200], Y[:200], validation_data=(HOLES[200:], Y[200:]))
    assert np.isfinite(model.history_["val_loss"]).all()
    assert model.partial_fit(HOLES, Y).n_iter_ == 3
    for ask in (model.transform, model.reconstruct, model.score_samples, model.anomaly_score, model.impute):
        assert np.isfinite(ask(HOLES, y=Y)).all()
    assert np.isfinite(model.diagnose(HOLES, y=Y).kl).all()
    assert np.isfinite(model.posterior_sample(HOLES, 2, y=Y)).all()
    assert np.isfinite(model.predictive(HOLES, 2, y=Y).mean).all()
    assert np.isfinite(model.log_marginal(BINARY, 5, y=Y).estimate).all()
    assert np.isfinite(model.impute(HOLES, y=Y, draws=2, n_iter=1)).all()


# ------------------------------------------------------------------------------------------------- what it means


def test_evaluate_is_per_observed_value_too(fitted: VAE) -> None:
    losses = fitted.evaluate(HOLES)
    observed = int((~np.isnan(HOLES)).sum())
    score = fitted.score_samples(HOLES).sum(dtype=np.float64)
    assert losses["elbo_per_observed"] == pytest.approx(score / observed, rel=1e-6)
    assert losses["reconstruction_per_observed"] == pytest.approx(300 * losses["reconstruction"] / observed, rel=1e-12)
    assert losses.keys() == {"loss", "reconstruction", "kl", "elbo", "elbo_per_observed", "reconstruction_per_observed"}
    nothing = fitted.evaluate(HOLES[5:6])
    assert nothing["reconstruction"] == 0
    assert nothing["loss"] == nothing["kl"]
    assert np.isnan([nothing["elbo_per_observed"], nothing["reconstruction_per_observed"]]).all()
    plain = Autoencoder(missing="mask", **SMALL).fit(HOLES)
    losses = plain.evaluate(HOLES)
    assert losses.keys() == {"loss", "loss_per_observed"}
    assert losses["loss_per_observed"] == pytest.approx(-plain.score_samples(HOLES).sum() / observed, rel=1e-6)


@pytest.mark.parametrize("indicator", [False, True])
def test_log_marginal_is_that_of_what_is_observed(indicator: bool) -> None:
    # x = W z + b + s e is normal, and so are some of its features: N(b, W Wᵀ + s² I) of their rows.
    model, _ = pair(7, latent_dim=2, hidden=(), likelihood=Gaussian(0.8), missing="mask", missing_indicator=indicator)
    weights = model.state_dict()
    for name in ("mu.weight", "logvar.weight"):
        weights[name] *= 0.1
    weights["mu.bias"] *= 0
    weights["logvar.bias"] *= 0
    model.load_state_dict(weights)
    data = holed(np.random.default_rng(2).normal(0, 1, (12, 7)).astype(np.float32), 0.4)
    data[3] = np.nan
    found = model.log_marginal(data, 40_000)
    W, b = (weights[f"decoder.0.{part}"].astype(np.float64) for part in ("weight", "bias"))
    for row, estimate, error in zip(data, found.estimate, found.standard_error, strict=True):
        seen = ~np.isnan(row)
        covariance = W[seen] @ W[seen].T + 0.8**2 * np.eye(seen.sum())
        rest = row[seen] - b[seen]
        _, logdet = np.linalg.slogdet(2 * np.pi * covariance)
        exact = -(logdet + rest @ np.linalg.solve(covariance, rest)) / 2
        assert abs(estimate - exact) < 5 * error + 1e-4
    assert found.standard_error.max() < 0.1


def test_describe_objective_says_what_counts() -> None:
    assert "observed" not in masking_vae(missing="error").describe_objective()
    said = masking_vae().describe_objective()
    assert "The sum over j is over the observed entries of x, which are not NaN; the encoder sees 0 for others." in said
    assert (
        "behind x a column for each feature that is 1 where" in masking_vae(missing_indicator=True).describe_objective()
    )


def test_scikit_learn_knows_that_nan_is_allowed() -> None:
    from sklearn.utils import get_tags

    assert not get_tags(VAE()).input_tags.allow_nan
    assert get_tags(masking_vae()).input_tags.allow_nan
    assert clone(masking_vae(missing_indicator=True)).get_params()["missing_indicator"] is True


# ------------------------------------------------------------------------------- beside other ways to see x


@pytest.mark.parametrize("corrupt", [None, MaskingNoise(0.3)], ids=str)
@pytest.mark.parametrize("transform", ["log1p", "binary", "l1", "l2"])
def test_a_transform_is_of_what_is_observed(transform: str, corrupt: Any) -> None:
    # To the encoder, a hole is a zero: the codes are those of data with zeros, which no norm counts.
    model = masking_vae(input_transform=transform, corruption=corrupt).fit(HOLES)
    assert np.isfinite(model.history_["loss"]).all()
    zeros = np.nan_to_num(HOLES)
    assert model.transform(HOLES).tobytes() == model.transform(zeros).tobytes()
    told = masking_vae(input_transform=transform, corruption=corrupt, missing_indicator=True).fit(HOLES)
    weights = told.state_dict()
    weights["encoder.0.weight"][:, 64:] = 0  # deaf to the indicators
    plain = masking_vae(input_transform=transform).load_state_dict(
        weights | {"encoder.0.weight": weights["encoder.0.weight"][:, :64]}
    )
    assert told.load_state_dict(weights).transform(HOLES).tobytes() == plain.transform(zeros).tobytes()


@pytest.mark.parametrize("transform", ["l1", None])
def test_a_sparse_matrix_is_one_without_holes(transform: str | None) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    data = X * (np.random.default_rng(0).random(X.shape) < 0.2)
    for indicator in (False, True):
        models = [
            masking_vae(input_transform=transform, missing_indicator=indicator).fit(form)
            for form in (data, sparse.csr_array(data))
        ]
        assert everything_of(models[0], data) == everything_of(models[1], data)
        assert models[0].evaluate(data) == models[1].evaluate(sparse.csr_array(data))
    with pytest.raises(TypeError, match="X is a sparse matrix"):
        models[0].impute(sparse.csr_array(data))


# -------------------------------------------------------------------------------------------------- filling in


@pytest.mark.parametrize("y", [None, Y])
def test_impute_fills_with_the_reconstruction(y: Any) -> None:
    model = masking_vae(conditional=y is not None).fit(HOLES, Y)
    holes = np.isnan(HOLES)
    before = HOLES.copy()
    filled = model.impute(HOLES, y=y)
    assert filled.dtype == np.float32
    assert filled[~holes].tobytes() == HOLES[~holes].tobytes()
    assert filled[holes].tobytes() == model.reconstruct(HOLES, y=y)[holes].tobytes()
    again = np.where(holes, model.reconstruct(filled, y=y), HOLES)
    assert model.impute(HOLES, y=y, n_iter=1).tobytes() == again.tobytes()
    assert HOLES.tobytes() == before.tobytes()
    assert model.impute(HOLES.astype(np.float64).tolist(), y=y).astype(np.float32).tobytes() == filled.tobytes()


@pytest.mark.parametrize("likelihood", ["bernoulli", Gaussian(0.3), Gaussian("decoder")], ids=str)
def test_draws_are_those_of_the_model(likelihood: Any) -> None:
    model = masking_vae(likelihood=likelihood).fit(HOLES)
    holes = np.isnan(HOLES)
    draws = model.impute(HOLES, draws=400, random_state=3)
    assert (draws.shape, draws.dtype) == ((400, 300, 64), np.float32)
    assert (draws[:, ~holes] == HOLES[~holes]).all()
    assert draws[:2].tobytes() == model.impute(HOLES, draws=2, random_state=3).tobytes()
    assert draws[:2].tobytes() != model.impute(HOLES, draws=2, random_state=4).tobytes()
    if likelihood == "bernoulli":
        assert set(np.unique(draws[:, holes])) == {0.0, 1.0}
    # Mean and variance are those that `predictive` finds, within the errors of both.
    known = model.predictive(HOLES, 4000, random_state=1)
    spread = np.hypot(known.latent_std, known.observation_std)[holes].astype(np.float64)
    far = (draws[:, holes].mean(0, dtype=np.float64) - known.mean[holes]) / spread * np.sqrt(400)
    assert abs(far.mean()) < 0.02
    assert 0.95 < far.std() < 1.05
    ratio = draws[:, holes].var(0, dtype=np.float64) / spread**2
    assert abs(np.median(ratio) - 1) < 0.02


def test_a_chain_of_draws_goes_on_from_what_was_filled_in(fitted: VAE) -> None:
    first, second = (fitted.impute(HOLES, draws=2, n_iter=n, random_state=0) for n in (0, 3))
    assert first.tobytes() != second.tobytes()
    assert second.tobytes() == fitted.impute(HOLES, draws=2, n_iter=3, random_state=0).tobytes()


@pytest.mark.parametrize("options", [{"n_iter": -1}, {"n_iter": 1.5}, {"draws": 0}, {"draws": "many"}], ids=str)
def test_bad_options_are_refused(options: dict[str, Any], fitted: VAE) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        fitted.impute(HOLES, **options)


# ------------------------------------------------------------------------------------------------------ keeping


@pytest.mark.parametrize("indicator", [False, True])
def test_a_kept_model_takes_holes_and_goes_on_as_the_first(indicator: bool, tmp_path: Path) -> None:
    model = masking_vae(missing_indicator=indicator).fit(HOLES)
    model.save(tmp_path / "model")
    for again in (fastvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert everything_of(again, HOLES) == everything_of(model, HOLES)
        assert again.impute(HOLES).tobytes() == model.impute(HOLES).tobytes()
        expected = pickle.loads(pickle.dumps(model)).partial_fit(HOLES)
        assert everything_of(again.partial_fit(HOLES), HOLES) == everything_of(expected, HOLES)


@pytest.mark.parametrize("missing", ["indicator", "ignore", 1, None])
def test_a_file_with_another_kind_is_refused(missing: Any, fitted: VAE, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    edited(tmp_path / "model", "specification", lambda options: options.update(missing=missing))
    with pytest.raises(FormatError):
        fastvae.load(tmp_path / "model")


def test_a_state_dict_tells_the_features_beside_their_indicators() -> None:
    model = masking_vae(missing_indicator=True, conditional=True).fit(HOLES, Y)
    weights = model.state_dict()
    assert weights["encoder.0.weight"].shape == (16, 64 + 64 + 10)
    again = masking_vae(missing_indicator=True, conditional=True).load_state_dict(weights)
    assert again.n_features_in_ == 64
    weights["encoder.0.weight"] = weights["encoder.0.weight"][:, 1:]
    with pytest.raises(ValueError, match="127 columns for X and its indicators; it must have two per feature"):
        masking_vae(missing_indicator=True, conditional=True).load_state_dict(weights)


# -------------------------------------------------------------------------------------------- what it is good for


def iterative_svd(data: Array, rank: int) -> tuple[Array, Array]:
    """Mean and directions of a PCA of data with holes, which it fills in again and again (Troyanskaya et al., 2001)."""
    holes = np.isnan(data)
    filled = np.where(holes, np.nanmean(data, 0), data)
    directions = np.random.default_rng(0).normal(size=(data.shape[1], rank)).astype(np.float32)
    for _ in range(50):
        mean = filled.mean(0)
        centred = filled - mean
        directions, _ = np.linalg.qr(centred.T @ (centred @ directions))  # nearer to the largest eigenvectors
        filled = np.where(holes, mean + centred @ directions @ directions.T, data)
    return mean, directions


def filled_by_pca(data: Array, mean: Array, directions: Array, rounds: int = 100) -> Array:
    """Data with what their projections onto a plane have in their holes, the plane being known."""
    holes = np.isnan(data)
    filled = np.where(holes, mean, data)
    for _ in range(rounds):
        filled = np.where(holes, mean + (filled - mean) @ directions @ directions.T, data)
    return filled


def errors(
    train: Array, test: Array, share: float, ranks: tuple[int, ...], vae: VAE, fitted: bool = False
) -> dict[str, float]:
    """Root mean squared errors in the holes of images that nothing was fitted to; of PCA, the best rank's."""
    known, asked = holed(train, share, 1), holed(test, share, 2)
    holes = np.isnan(asked)

    def error(filled: Array) -> float:
        return float(np.sqrt(np.mean((filled - test)[holes] ** 2, dtype=np.float64)))

    pca = [error(filled_by_pca(asked, *iterative_svd(known, rank))) for rank in ranks]
    means = np.where(holes, np.nanmean(known, 0), asked)
    return {"mean": error(means), "pca": min(pca), "vae": error((vae if fitted else vae.fit(known)).impute(asked))}


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_digits_are_filled_in_better_than_by_means_and_by_pca(share: float) -> None:
    order = np.random.default_rng(0).permutation(len(DIGITS))
    train, test = DIGITS[order[:1400]], DIGITS[order[1400:]]
    options: dict[str, Any] = {"hidden": (256,), "epochs": 150, "batch_size": 64, "learning_rate": 2e-3}
    vae = VAE(16, likelihood=Gaussian("shared"), missing="mask", missing_indicator=True, random_state=0, **options)
    found = errors(train, test, share, (2, 3, 5, 8, 12, 16), vae)
    # 30 %: 0.274 by means, 0.210 by PCA of the best rank, 0.186; 70 %: 0.274, 0.262, 0.239.
    assert found["vae"] < 0.95 * found["pca"] < 0.95 * found["mean"], found


@pytest.mark.skipif(not MNIST.exists(), reason="needs MNIST at ../shared/data/mnist.npz beside the repository")
def test_larger_digits_without_most_pixels_are_filled_in_better_than_by_means_and_by_pca() -> None:
    with np.load(MNIST) as arrays:
        train, test = (arrays[name].reshape(-1, 784) / np.float32(255) for name in ("x_train", "x_test"))
    options: dict[str, Any] = {"hidden": (512,), "epochs": 10, "batch_size": 64, "random_state": 0}
    vae = VAE(50, likelihood=Gaussian("shared"), missing="mask", **options).fit(holed(train, 0.7, 1))
    # A plane is found in fewer images. 0.255 by means, 0.172 by PCA of rank 40 (0.173 of 30, 0.182 of 20), 0.152.
    found = errors(train[:10_000], test[:1000], 0.7, (40,), vae, fitted=True)
    assert found["vae"] < 0.95 * found["pca"] < 0.95 * found["mean"], found


def test_filling_in_again_helps_a_model_that_has_seen_no_holes() -> None:
    order = np.random.default_rng(0).permutation(len(DIGITS))
    train, test = DIGITS[order[:1400]], DIGITS[order[1400:]]
    options: dict[str, Any] = {"hidden": (256,), "epochs": 60, "batch_size": 64, "learning_rate": 2e-3}
    vae = VAE(16, likelihood=Gaussian("shared"), missing="mask", random_state=0, **options).fit(train)
    asked = holed(test, 0.3, 2)
    once, again = (np.sqrt(np.mean((vae.impute(asked, n_iter=n) - test)[np.isnan(asked)] ** 2)) for n in (0, 10))
    assert again < 0.8 * once, (once, again)
