"""Conditional VAEs: torch's gradients, y in every method, bad y, the same bits, keeping, what they are good for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS, answers, check_same_output_of_both_sets, conditional_vae
from numpy.typing import NDArray
from reference import SIZES, Size, TorchVAE, examples, lively_weights, loss_errors, noise, relative_error, too_large
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from test_saving import edited

import fastvae
from fastvae import VAE, Autoencoder, FormatError, corruption, latent, plots, schedules
from fastvae.datasets import load_digits

DIGITS, LABELS = load_digits()
X, Y = DIGITS[:300], LABELS[:300]
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
COVARIATES = np.random.default_rng(3).normal(size=(300, 4))


@pytest.fixture(scope="module")
def fitted() -> VAE:
    return conditional_vae().fit(X, Y)


@pytest.fixture(scope="module")
def regressed() -> VAE:
    return conditional_vae().fit(X, COVARIATES)


def covariates(rows: int, cols: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(rows, cols)).astype(np.float32)


def conditional_pair(n_features: int, conditions: int, **params: Any) -> tuple[VAE, TorchVAE]:
    """A conditional model and its float64 twin with the same lively weights."""
    twin = TorchVAE(n_features, conditions=conditions, **params)
    weights = lively_weights(twin, 0)
    return VAE(conditional=True, random_state=0, **params).load_state_dict(weights), twin.load(weights)


# ------------------------------------------------------------------------------------------ against torch


@pytest.mark.parametrize("conditions", [1, 3, 33])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_depth_and_size_has_the_losses_and_gradients_of_torch(size: Size, conditions: int) -> None:
    rows, cols, latent_dim, hidden, decoder_hidden = size
    params: dict[str, Any] = {"hidden": hidden, "decoder_hidden": decoder_hidden, "activation": "tanh"}
    vae, twin = conditional_pair(cols, conditions, latent_dim=latent_dim, **params)
    X, y = examples("bernoulli", rows, cols), covariates(rows, conditions)
    assert vae.n_features_in_ == cols
    assert not too_large(loss_errors(vae, twin, X, noise(rows, latent_dim), y=y))
    seen = np.random.default_rng(6).normal(size=X.shape).astype(np.float32)
    assert not too_large(loss_errors(vae, twin, X, noise(rows, latent_dim), y=y, corrupted=seen))


@pytest.mark.parametrize("conditions", [1, 2, 10, 27, 28, 59, 60, 61, 100])
def test_conditions_on_both_sides_of_a_panels_edge_have_the_gradients_of_torch(conditions: int) -> None:
    vae, twin = conditional_pair(36, conditions, latent_dim=5, hidden=(13,))
    X, y = examples("bernoulli", 29, 36), covariates(29, conditions)
    y *= np.random.default_rng(0).random(y.shape) < 0.3  # the first layer's products skip zeros
    assert not too_large(loss_errors(vae, twin, X, noise(29, 5), y=y))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_losses_with_all_that_may_be_in_them_are_those_of_torch(likelihood: str) -> None:
    terms: dict[str, Any] = {"beta": 2.0, "free_bits": 0.3, "capacity": 1.0, "likelihood": LIKELIHOODS[likelihood]}
    vae, twin = conditional_pair(37, 6, latent_dim=5, hidden=(33, 13), activation="silu", **terms)
    X = examples(LIKELIHOODS[likelihood], 29, 37)
    assert not too_large(loss_errors(vae, twin, X, noise(29, 5), y=covariates(29, 6)))


@pytest.mark.parametrize("hidden", [(), (33, 13)], ids=str)
def test_labels_are_one_hot_columns(hidden: tuple[int, ...]) -> None:
    labels = NAMES[np.random.default_rng(0).integers(0, 10, 131)]
    X, eps = examples("bernoulli", 131, 37), noise(131, 5)
    vae = VAE(5, hidden=hidden, conditional=True, random_state=0).partial_fit(X, labels)
    classes = np.unique(labels)
    assert vae.classes_.tolist() == classes.tolist()
    twin = TorchVAE(37, 5, hidden=hidden, conditions=len(classes))
    weights = lively_weights(twin, 0)
    vae.load_state_dict(weights)
    one_hot = (labels[:, np.newaxis] == classes).astype(np.float32)
    losses, gradients = vae.loss_and_gradients(X, eps, y=labels)
    torch_losses, torch_gradients = twin.load(weights).losses_and_gradients(X, eps, y=one_hot)
    errors = {name: relative_error(losses[name], torch_losses[name]) for name in losses}
    errors |= {name: relative_error(gradients[name], torch_gradients[name]) for name in gradients}
    assert not too_large(errors)


@pytest.mark.parametrize("conditions", [1, 40])
def test_scores_codes_and_means_are_those_of_torch(conditions: int) -> None:
    vae, twin = conditional_pair(37, conditions, latent_dim=5, hidden=(33, 13))
    X, y, eps = examples("bernoulli", 131, 37), covariates(131, conditions), noise(131, 5)
    with torch.no_grad():
        tx, ty, te = twin.tensor(X), twin.tensor(y), twin.tensor(eps)
        reconstruction, kl = twin.terms(tx, te, None, ty)
        mu, logvar = twin.encode(tx, ty)
        pairs = {
            "score_samples": (vae.score_samples(X, y=y, eps=eps), -reconstruction - kl.sum(1)),
            "transform": (vae.transform(X, y=y), mu),
            "mu": (vae.encode(X, y=y)[0], mu),
            "logvar": (vae.encode(X, y=y)[1], logvar),
            "reconstruct": (vae.reconstruct(X, y=y), twin.mean(mu, ty)),
            "inverse_transform": (vae.inverse_transform(eps, y=y), twin.mean(te, ty)),
        }
    assert not too_large({name: relative_error(a, b.numpy()) for name, (a, b) in pairs.items()})
    drawn, z = vae.sample(131, y=y, return_latent=True)
    assert drawn.tobytes() == vae.inverse_transform(z, y=y).tobytes()
    losses = vae.evaluate(X, y=y, eps=eps)
    assert losses == pytest.approx(vae.loss_and_gradients(X, eps, y=y)[0], rel=1e-12)
    assert vae.diagnose(X, y=y).kl.sum() == pytest.approx(losses["kl"], rel=1e-5)


def test_fit_shuffles_x_and_y_together() -> None:
    # Steps of one batch each: only the order within the batch is shuffled, which the mean does not see.
    params: dict[str, Any] = {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "objective": "kl",
        "beta": 1.0,
        "batch_size": 300,
    }
    shuffled = conditional_vae(**params, epochs=1).fit(X, Y).state_dict()
    plain = conditional_vae(**params).partial_fit(X, Y).state_dict()
    for name, weights in plain.items():
        np.testing.assert_allclose(shuffled[name], weights, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------ what y may be


@pytest.mark.parametrize(
    "labels",
    [Y, Y.tolist(), Y.astype(np.uint8), Y.astype(np.float32), Y - 5, NAMES[Y], list(NAMES[Y]), NAMES[Y].astype(object)],
    ids=["int64", "list", "uint8", "float32", "negative", "strings", "list of strings", "objects"],
)
def test_labels_of_any_kind_are_classes_in_order(labels: Any) -> None:
    vae = conditional_vae().fit(X, labels)
    assert vae.classes_.tolist() == sorted(set(np.asarray(labels).tolist()))
    assert vae.state_dict()["encoder.0.weight"].shape == (16, 74)
    assert vae.state_dict()["decoder.0.weight"].shape == (16, 13)
    assert vae.n_features_in_ == 64
    for one in vae.classes_:
        assert vae.sample(3, y=one).shape == (3, 64)


def test_the_names_of_classes_do_not_matter_but_for_their_order() -> None:
    letters = np.array(list("abcdefghij"))
    first, second = conditional_vae().fit(X, Y), conditional_vae().fit(X, letters[Y])
    assert first.transform(X, y=Y).tobytes() == second.transform(X, y=letters[Y]).tobytes()


def test_pandas_labels_and_covariates_are_taken() -> None:
    pandas = pytest.importorskip("pandas")
    assert conditional_vae().fit(X, pandas.Series(NAMES[Y])).classes_.tolist() == sorted(NAMES)
    assert conditional_vae().fit(X, pandas.Series(NAMES[Y]).astype("category")).classes_.tolist() == sorted(NAMES)
    frame = pandas.DataFrame(COVARIATES)
    assert conditional_vae().fit(X, frame).score(X, frame) == conditional_vae().fit(X, COVARIATES).score(X, COVARIATES)


def test_covariates_may_be_of_any_real_type_and_are_never_scaled() -> None:
    whole = np.random.default_rng(0).integers(0, 2, (300, 3))
    kinds = [np.float32, np.float64, np.uint8, np.int64, bool]
    models = [conditional_vae().fit(X, whole.astype(kind)) for kind in kinds]
    assert not any(hasattr(model, "classes_") for model in models)
    assert len({model.state_dict()["decoder.0.weight"].tobytes() for model in models}) == 1
    scores = [models[0].score_samples(X, y=whole.astype(kind)).tobytes() for kind in kinds]
    assert len(set(scores)) == 1


def test_one_y_serves_all_codes(fitted: VAE, regressed: VAE) -> None:
    Z = noise(7, 3)
    assert fitted.sample(7, y=4, random_state=1).tobytes() == fitted.sample(7, y=[4] * 7, random_state=1).tobytes()
    assert fitted.inverse_transform(Z, y=4).tobytes() == fitted.inverse_transform(Z, y=np.full(7, 4)).tobytes()
    row = COVARIATES[0]
    each = regressed.inverse_transform(Z, y=np.tile(row, (7, 1))).tobytes()
    assert regressed.inverse_transform(Z, y=row).tobytes() == each
    assert regressed.inverse_transform(Z, y=row[np.newaxis]).tobytes() == each
    single = conditional_vae().fit(X, COVARIATES[:, :1])
    assert single.sample(2, y=0.5, random_state=1).tobytes() == single.sample(2, y=[[0.5]], random_state=1).tobytes()


def test_y_matters_in_every_answer(fitted: VAE) -> None:
    other = (Y + 1) % 10
    for ask in (fitted.transform, fitted.reconstruct, fitted.score_samples):
        assert np.any(ask(X, y=Y) != ask(X, y=other))
    same, z = fitted.sample(5, y=1, random_state=3, return_latent=True)
    again, z_again = fitted.sample(5, y=8, random_state=3, return_latent=True)
    assert z.tobytes() == z_again.tobytes()
    assert (same != again).any(1).all()
    assert fitted.evaluate(X, y=Y)["elbo"] == fitted.score(X, Y)
    drawn = fitted.sample(5, y=[1, 2, 3, 4, 5], draw=True, random_state=3)
    assert set(np.unique(drawn)) == {0.0, 1.0}


def test_the_noise_of_a_score_is_keyed_by_y_too() -> None:
    # Without weights on y only the noise can tell two labels apart.
    vae = conditional_vae().fit(X, Y)
    weights = vae.state_dict()
    weights["encoder.0.weight"][:, 64:] = 0
    weights["decoder.0.weight"][:, 3:] = 0
    vae.load_state_dict(weights)
    assert vae.transform(X, y=Y).tobytes() == vae.transform(X, y=(Y + 1) % 10).tobytes()
    assert (vae.score_samples(X, y=Y) != vae.score_samples(X, y=(Y + 1) % 10)).mean() > 0.9


def test_scores_depend_neither_on_the_order_nor_on_the_company(fitted: VAE) -> None:
    scores = fitted.score_samples(X, y=Y)
    order = np.random.default_rng(0).permutation(300)
    assert fitted.score_samples(X[order], y=Y[order]).tobytes() == scores[order].tobytes()
    assert fitted.score_samples(X[17:18], y=Y[17:18]).tobytes() == scores[17:18].tobytes()


def test_noise_falls_on_x_only() -> None:
    # Where all of x is masked, the encoder sees y alone: every example of a class has the same code.
    vae = conditional_vae(corruption=corruption.MaskingNoise(0.999999), validation_fraction=0.2).fit(X, Y)
    losses, gradients = vae.loss_and_gradients(X, y=Y)
    assert np.isfinite(losses["loss"])
    assert not gradients["encoder.0.weight"][:, :64].any()
    assert gradients["encoder.0.weight"][:, 64:].any(0).all()


# --------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize("y", [Y, NAMES[Y], COVARIATES], ids=["labels", "strings", "covariates"])
def test_validation_data_have_a_y_of_their_own(y: Any) -> None:
    vae = conditional_vae(free_bits=0.01, learning_rate=schedules.linear(1e-3, 1e-4, epochs=2))
    vae.fit(X[:200], y[:200], validation_data=(X[200:], y[200:]))
    assert vae.history_["val_elbo"][-1] == pytest.approx(vae.score(X[200:], y[200:]), rel=1e-9)


def test_a_held_out_part_keeps_its_labels() -> None:
    vae = conditional_vae(validation_fraction=0.25).fit(X, Y)
    order = np.random.default_rng(0).permutation(300)
    held_out = np.sort(order[:75])
    assert vae.history_["val_elbo"][-1] == pytest.approx(vae.score(X[held_out], Y[held_out]), rel=1e-9)


def test_early_stopping_restores_the_best_weights() -> None:
    vae = conditional_vae(early_stopping=True, epochs=40, n_iter_no_change=3, learning_rate=0.02).fit(X, Y)
    order = np.random.default_rng(0).permutation(300)
    held_out = np.sort(order[:30])
    assert -vae.score(X[held_out], Y[held_out]) == pytest.approx(min(vae.history_["val_loss"]), rel=1e-9)


# ------------------------------------------------------------------------------------------------- errors


ASKED: dict[str, Callable[[VAE], Any]] = {
    "fit": lambda vae: vae.fit(X),
    "partial_fit": lambda vae: vae.partial_fit(X),
    "encode": lambda vae: vae.encode(X),
    "transform": lambda vae: vae.transform(X),
    "reconstruct": lambda vae: vae.reconstruct(X),
    "score_samples": lambda vae: vae.score_samples(X),
    "score": lambda vae: vae.score(X),
    "evaluate": lambda vae: vae.evaluate(X),
    "loss_and_gradients": lambda vae: vae.loss_and_gradients(X),
    "diagnose": lambda vae: vae.diagnose(X),
    "inverse_transform": lambda vae: vae.inverse_transform(noise(3, 3)),
    "sample": lambda vae: vae.sample(3),
    "manifold": lambda vae: vae.manifold(3, dims=(0, 1)),
    "neighbours": lambda vae: latent.neighbours(vae, X, X[:1]),
    "reconstructions": lambda vae: plots.reconstructions(vae, X[:3]),
}


@pytest.mark.parametrize("method", ASKED)
def test_a_conditional_model_says_that_it_needs_y(method: str, fitted: VAE) -> None:
    with pytest.raises(ValueError, match="pass y="):
        ASKED[method](copy.copy(fitted))


@pytest.mark.parametrize("method", ["encode", "transform", "reconstruct", "score_samples", "evaluate", "diagnose"])
def test_a_model_that_is_not_conditional_says_so(method: str) -> None:
    vae = conditional_vae(conditional=False).fit(X, Y)
    with pytest.raises(ValueError, match="not conditional"):
        getattr(vae, method)(X, y=Y)
    with pytest.raises(ValueError, match="Autoencoder is not conditional"):
        Autoencoder(3, hidden=(9,), epochs=1).fit(X, Y).transform(X, y=Y)


def test_a_model_that_is_not_conditional_ignores_y_where_scikit_learn_passes_it() -> None:
    first, second = conditional_vae(conditional=False), conditional_vae(conditional=False)
    first.fit(X, "anything").partial_fit(X, Y)
    second.fit(X).partial_fit(X)
    assert first.score(X, Y) == second.score(X)
    assert first.fit_transform(X, Y).tobytes() == second.fit_transform(X).tobytes()
    assert not hasattr(first, "classes_")


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "too few": (Y[:-1], ValueError, "y has 299 rows, but there are 300 examples"),
    "one": (Y[:1], ValueError, "y has 1 rows, but there are 300 examples"),
    "a number": (3, ValueError, "scalar"),
    "nothing": ([], TypeError, "0 labels"),
    "fractions": (COVARIATES[:, 0], ValueError, r"pass y.reshape\(-1, 1\) for a real covariate"),
    "nan labels": (np.where(Y == 3, np.nan, Y), ValueError, "fractions or NaN"),
    "mixed": (np.array([1, "a"] * 150, dtype=object), TypeError, "several types"),
    "none": ([None, "a"] * 150, TypeError, "missing labels"),
    "complex": (Y + 1j, TypeError, "complex"),
    "few rows": (COVARIATES[:-1], ValueError, "y has 299 rows"),
    "no columns": (COVARIATES[:, :0], ValueError, "y is empty"),
    "nan": (np.where(COVARIATES > 2, np.nan, COVARIATES), ValueError, "y must be finite"),
    "infinite": (COVARIATES * 1e300, ValueError, "y must be finite"),
    "three axes": (COVARIATES[:, np.newaxis], ValueError, "3 dimensions"),
    "a column of integers": (Y[:, np.newaxis], ValueError, r"y\.ravel\(\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_y_is_refused_before_anything_is_learned(name: str) -> None:
    y, error, text = BAD[name]
    for ask in ("fit", "partial_fit"):
        vae = conditional_vae()
        with pytest.raises(error, match=text):
            getattr(vae, ask)(X, y)
        assert not hasattr(vae, "n_features_in_")


def test_an_unknown_label_is_named(fitted: VAE) -> None:
    strings = conditional_vae().fit(X, NAMES[Y])
    with pytest.raises(ValueError, match="label 11, which is none of the classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"):
        fitted.transform(X[:3], y=[1, 11, 12])
    with pytest.raises(ValueError, match="label '3', which"):
        fitted.sample(2, y="3")
    with pytest.raises(ValueError, match="label 'eleven', which"):
        strings.score(X[:2], ["eleven", "one"])
    with pytest.raises(ValueError, match="label 1, which"):
        strings.sample(2, y=1)
    with pytest.raises(ValueError, match="label 77"):
        conditional_vae().fit(X, Y, validation_data=(X[:2], [77, 1]))
    many = conditional_vae().fit(X, np.arange(300))
    with pytest.raises(ValueError, match=r"18, 19, \.\.\.$"):
        many.sample(1, y=300)


def test_y_of_another_shape_than_in_fit_is_refused(fitted: VAE, regressed: VAE) -> None:
    with pytest.raises(ValueError, match="y has 3 rows, but there are 300 examples"):
        fitted.transform(X, y=Y[:3])
    with pytest.raises(
        ValueError, match="y has 3 rows, but there are 4 examples: pass one row, or one for each example"
    ):
        fitted.sample(4, y=Y[:3])
    with pytest.raises(ValueError, match="fitted with labels"):
        fitted.transform(X, y=COVARIATES)
    with pytest.raises(ValueError, match="y has 3 columns, but the model was fitted with 4 covariates"):
        regressed.transform(X, y=COVARIATES[:, :3])
    with pytest.raises(ValueError, match="y is 1-D"):
        regressed.transform(X, y=Y)
    with pytest.raises(ValueError, match="3 columns"):
        regressed.sample(3, y=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="y has 300 rows, but there are 3 examples"):
        regressed.score(X[:3], COVARIATES)
    single = conditional_vae().fit(X, COVARIATES[:, :1])
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    with pytest.raises(ValueError, match=r"fitted with 1 covariate: pass y.reshape\(-1, 1\) for one"):
        single.sample(5, y=values)
    assert single.sample(5, y=values.reshape(-1, 1)).shape == (5, 64)


@pytest.mark.parametrize("data", [X, (X,), (X, Y, Y), [X, Y]], ids=["X", "one", "three", "list"])
def test_validation_data_without_y_are_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"must be a tuple \(X, y\)"):
        conditional_vae().fit(X, Y, validation_data=data)


@pytest.mark.parametrize("conditional", ["yes", 1, None])
def test_conditional_is_true_or_false(conditional: Any) -> None:
    with pytest.raises(ValueError, match="conditional="):
        conditional_vae(conditional=conditional).fit(X, Y)


def test_a_state_dict_without_room_for_y_is_refused(fitted: VAE) -> None:
    plain = conditional_vae(conditional=False).fit(X).state_dict()
    with pytest.raises(ValueError, match="more columns than latent_dim=3"):
        conditional_vae().load_state_dict(plain)
    with pytest.raises(ValueError, match="decoder"):
        conditional_vae().load_state_dict({"encoder.0.weight": plain["encoder.0.weight"]})
    narrow = fitted.state_dict() | {"encoder.0.weight": np.ones((16, 10), np.float32)}
    with pytest.raises(ValueError, match="10 columns; it must have more than the 10 of y"):
        conditional_vae().load_state_dict(narrow)
    with pytest.raises(ValueError, match="has shape"):
        conditional_vae(conditional=False).load_state_dict(fitted.state_dict())


# ------------------------------------------------------------------------------------------- the same bits


EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"hidden": ()},
    "wide": {"latent_dim": 30, "hidden": (40, 33)},
    "everything": {
        "corruption": corruption.GaussianNoise(0.2),
        "free_bits": 0.01,
        "capacity": 1.0,
        "clip_norm": 0.5,
        "beta": schedules.linear(0.1, 1.0, epochs=1),
        "validation_fraction": 0.2,
    },
}


@pytest.mark.parametrize("y", [Y, COVARIATES], ids=["labels", "covariates"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_results_do_not_depend_on_the_number_of_threads(extra: str, y: Any) -> None:
    alone, *teams = (answers(conditional_vae(n_jobs=jobs, **EXTRAS[extra]).fit(X, y), X, y) for jobs in (1, 2, 3))
    assert all(team == alone for team in teams)


@pytest.mark.parametrize("extra", EXTRAS)
def test_answers_do_not_depend_on_the_split(extra: str) -> None:
    vae = conditional_vae(**EXTRAS[extra]).fit(X, Y)
    for ask in (vae.transform, vae.reconstruct, vae.score_samples):
        whole = ask(X, y=Y)
        parts = [ask(X[rows], y=Y[rows]) for rows in np.split(np.arange(300), [1, 20, 149])]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_avx2_and_avx512_give_the_same_bits() -> None:
    script = """
import hashlib
from fastvae import VAE, datasets
X, y = datasets.load_digits()
vae = VAE(5, hidden=(33,), conditional=True, epochs=2, random_state=0).fit(X[:300], y[:300])
answers = [vae.score_samples(X, y=y), vae.reconstruct(X, y=y), vae.sample(9, y=3), *vae.state_dict().values()]
print(hashlib.sha256(b"".join(answer.tobytes() for answer in answers)).hexdigest())
"""
    check_same_output_of_both_sets(script)


def test_a_selection_or_any_strides_of_y_are_the_same_y() -> None:
    wide = np.asfortranarray(np.repeat(COVARIATES.astype(np.float32), 2, axis=1))
    first, second = conditional_vae().fit(X, COVARIATES), conditional_vae().fit(X, wide[:, ::2])
    assert first.transform(X, y=COVARIATES).tobytes() == second.transform(X, y=wide[:, ::2]).tobytes()


# ------------------------------------------------------------------------------------------------- keeping


WAYS: dict[str, Callable[[VAE, Path], Any]] = {
    "file": lambda model, path: (model.save(path), fastvae.load(path))[1],  # type: ignore[func-returns-value]
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
}
KEPT: dict[str, Any] = {
    "integers": Y,
    "bytes": Y.astype(np.uint8),
    "floats": Y.astype(np.float32),
    "truths": Y > 4,
    "strings": NAMES[Y],
    "covariates": COVARIATES,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KEPT)
def test_a_kept_model_knows_its_classes_and_goes_on_as_the_first(kind: str, way: str, tmp_path: Path) -> None:
    y = KEPT[kind]
    model = conditional_vae().fit(X, y)
    again = WAYS[way](model, tmp_path / "model")
    assert hasattr(again, "classes_") == (y.ndim == 1)
    if y.ndim == 1:
        assert again.classes_.tolist() == model.classes_.tolist()
        assert again.classes_.dtype == model.classes_.dtype
    assert answers(again, X, y) == answers(model, X, y)
    assert answers(again.partial_fit(X, y), X, y) == answers(model.partial_fit(X, y), X, y)


DAMAGED: dict[str, Callable[[Any], Any]] = {
    "a class less": lambda learned: learned["classes_"]["values"].pop(),
    "a class twice": lambda learned: learned["classes_"].update(values=[0, 0, *range(2, 10)]),
    "no order": lambda learned: learned["classes_"]["values"].reverse(),
    "a fraction": lambda learned: learned["classes_"].update(values=[0.5, *range(1, 10)]),
    "too large": lambda learned: learned["classes_"].update(values=[*range(9), 2**70]),
    "no number": lambda learned: learned["classes_"].update(values=[*range(9), "a"]),
    "a list of lists": lambda learned: learned["classes_"].update(values=[[i] for i in range(10)]),
    "an unknown type": lambda learned: learned["classes_"].update(type="U1000000000"),
    "objects": lambda learned: learned["classes_"].update(type="object"),
    "something more": lambda learned: learned["classes_"].update(more=1),
    "no values": lambda learned: learned["classes_"].pop("values"),
    "no entry": lambda learned: learned.pop("classes_"),
    "a string": lambda learned: learned.update(classes_="0123456789"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_classes_are_refused(name: str, fitted: VAE, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    edited(tmp_path / "model", "estimator", lambda estimator: DAMAGED[name](estimator["learned"]) and None)
    with pytest.raises(FormatError, match="damaged configuration"):
        fastvae.load(tmp_path / "model")


@pytest.mark.parametrize("conditions", [0, 9, 11, -1, 2**40, 2**80, "ten", None])
def test_another_number_of_conditions_is_refused(conditions: Any, regressed: VAE, tmp_path: Path) -> None:
    regressed.save(tmp_path / "model")
    edited(tmp_path / "model", "specification", lambda options: options.update(conditions=conditions))
    with pytest.raises(FormatError):
        fastvae.load(tmp_path / "model")


def test_an_autoencoder_with_conditions_or_classes_is_refused(fitted: VAE, tmp_path: Path) -> None:
    model = Autoencoder(3, hidden=(9,), epochs=1).fit(X)
    model.save(tmp_path / "model")
    edited(tmp_path / "model", "specification", lambda options: options.update(conditions=1))
    with pytest.raises(FormatError):
        fastvae.load(tmp_path / "model")
    model.save(tmp_path / "model")
    classes = {"type": "int64", "values": []}
    edited(tmp_path / "model", "estimator", lambda estimator: estimator["learned"].update(classes_=classes))
    with pytest.raises(FormatError):
        fastvae.load(tmp_path / "model")


def test_fitting_anew_forgets_the_classes() -> None:
    vae = conditional_vae().fit(X, Y)
    assert not hasattr(vae.fit(X, COVARIATES), "classes_")
    assert vae.fit(X, NAMES[Y]).classes_.tolist() == sorted(NAMES)
    assert not hasattr(vae.set_params(conditional=False).fit(X, Y), "classes_")


def test_a_parameter_changed_after_fit_wants_a_new_fit(fitted: VAE) -> None:
    model = copy.copy(fitted).set_params(conditional=False)
    assert model.transform(X, y=Y).tobytes() == fitted.transform(X, y=Y).tobytes()


# -------------------------------------------------------------------------------------------- scikit-learn


def test_scikit_learn_passes_y_on() -> None:
    vae = conditional_vae()
    assert clone(vae).get_params() == vae.get_params()
    scores = cross_val_score(vae, X, Y, cv=3)
    assert np.isfinite(scores).all()
    codes = vae.fit_transform(X, Y)
    assert codes.tobytes() == vae.transform(X, y=Y).tobytes()


def test_set_output_names_the_columns(fitted: VAE) -> None:
    pandas = pytest.importorskip("pandas")
    model = copy.copy(fitted).set_output(transform="pandas")
    frame = model.transform(pandas.DataFrame(X, index=np.arange(300) + 5), y=Y)
    assert list(frame.columns) == ["vae0", "vae1", "vae2"]
    assert frame.index[0] == 5


# --------------------------------------------------------------------------------------- what it is good for


@pytest.fixture(scope="module")
def generator() -> VAE:
    options: dict[str, Any] = {"hidden": (64,), "batch_size": 64, "learning_rate": 3e-3, "random_state": 0}
    return VAE(4, conditional=True, epochs=60, **options).fit(DIGITS, NAMES[LABELS])


def test_it_generates_the_digit_that_it_is_asked_for(generator: VAE) -> None:
    asked = np.repeat(NAMES, 50)
    judge = KNeighborsClassifier(5).fit(DIGITS, NAMES[LABELS])
    images = generator.sample(500, y=asked, random_state=1)
    assert np.mean(judge.predict(images) == asked) > 0.95  # 0.994 to 1 with ten seeds
    assert np.std(images.reshape(10, 50, 64), axis=1).mean() > 0.03  # and not one picture a digit


def test_knowing_the_class_is_worth_nats(generator: VAE) -> None:
    params = generator.get_params() | {"conditional": False}
    assert generator.score(DIGITS, NAMES[LABELS]) > VAE(**params).fit(DIGITS).score(DIGITS) + 0.5


def test_the_picture_of_conditions_has_one_z_a_column(generator: VAE, regressed: VAE) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    ax = plots.conditions(generator, 5, random_state=2)
    assert [text.get_text() for text in ax.get_yticklabels()] == sorted(NAMES)
    [image] = ax.get_images()
    canvas = np.asarray(image.get_array())
    for line, name in enumerate(sorted(NAMES)):
        means = generator.sample(5, y=name, random_state=2).reshape(5, 8, 8)
        for column in range(5):
            shown = canvas[9 * line : 9 * line + 8, 9 * column : 9 * column + 8]
            np.testing.assert_allclose(shown, means[column], atol=1e-6)
    ax = plots.conditions(regressed, 3, COVARIATES[:2])
    assert [text.get_text().count(" ") for text in ax.get_yticklabels()] == [3, 3]
    with pytest.raises(ValueError, match="pass y"):
        plots.conditions(regressed)
    with pytest.raises(ValueError, match="not conditional"):
        plots.conditions(conditional_vae(conditional=False).fit(X), y=[1])
    pyplot.close("all")


# --------------------------------------------------------------------------------- probability, given y


def folded(model: VAE, y: int, n_classes: int) -> VAE:
    """Return a model that is not conditional, whose biases hold what a conditional one makes of one class."""
    weights = model.state_dict()
    for name, cols in (("encoder.0", 64), ("decoder.0", 3)):
        weight = weights[f"{name}.weight"]
        assert weight.shape[1] == cols + n_classes
        weights[f"{name}.bias"] = weights[f"{name}.bias"] + weight[:, cols + y]
        weights[f"{name}.weight"] = weight[:, :cols]
    return VAE(**model.get_params() | {"conditional": False}).load_state_dict(weights)


def test_probabilities_given_y_are_those_of_a_model_with_y_in_its_biases() -> None:
    X, labels = load_digits()
    X = (X > 0.5).astype(np.float32)
    model = VAE(3, hidden=(20,), conditional=True, epochs=3, random_state=0).fit(X, labels)
    plain, some = folded(model, 7, 10), X[:40]
    y = np.full(40, 7)
    for ours, theirs in (
        (model.posterior_sample(some, 5, 1, y=y), plain.posterior_sample(some, 5, 1)),
        (model.predictive(some, 20, 1, y=y).mean, plain.predictive(some, 20, 1).mean),
        (model.predictive(some, 20, 1, y=y).latent_std, plain.predictive(some, 20, 1).latent_std),
        (model.sample(30, y=7, random_state=3), plain.sample(30, random_state=3)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)
    np.testing.assert_array_equal(
        model.sample(30, y=7, random_state=3, draw=True), plain.sample(30, random_state=3, draw=True)
    )
    # The noise of marginals is keyed by the content, y included: they agree within their errors.
    ours, theirs = model.log_marginal(some, 3000, y=y), plain.log_marginal(some, 3000)
    far = np.abs(ours.estimate - theirs.estimate) / np.hypot(ours.standard_error, theirs.standard_error)
    assert far.max() < 4.5
    assert np.abs(ours.estimate - model.log_marginal(some, 3000, y=np.full(40, 1)).estimate).max() > 0.5
    np.testing.assert_array_equal(model.anomaly_score(some, y=y), -model.score_samples(some, y=y))
    for ask in (model.log_marginal, model.predictive, model.anomaly_score):
        with pytest.raises(ValueError, match="y"):
            ask(some)


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson", "gaussian"])
def test_covariates_of_any_unit_train_alike(likelihood: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (200, 6)).astype(np.float32)
    y = rng.normal(size=(200, 2)).astype(np.float32)
    income = np.float64(y) * [2.0**15, 2.0**-12] + [50_000, 3]  # for example, in dollars
    scores = [
        VAE(2, likelihood=likelihood, hidden=(8,), conditional=True, epochs=10, random_state=0).fit(X, c).score(X, c)
        for c in (y, income)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.5)


def test_standardised_covariates_belong_to_the_state() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (50, 6)).astype(np.float32)
    y = rng.normal(1e5, 1e3, (50, 2))
    vae = VAE(2, hidden=(8,), conditional=True, epochs=2, random_state=0).fit(X, y)
    state = vae.state_dict()
    assert state["standardize.y_shift"] == pytest.approx(y.mean(0), rel=1e-3)
    assert state["standardize.y_scale"] == pytest.approx(y.std(0), rel=0.05)
    other = VAE(2, hidden=(8,), conditional=True).load_state_dict(state)
    assert np.array_equal(other.transform(X, y=y), vae.transform(X, y=y))
    with pytest.raises(ValueError, match=r"standardize\.y_shift"):
        vae.load_state_dict(state | {"standardize.y_shift": state["standardize.y_shift"] + 1})
    labels = VAE(2, hidden=(8,), conditional=True, epochs=2).fit(X, np.arange(50) % 3)
    assert not any(name.startswith("standardize") for name in labels.state_dict())
