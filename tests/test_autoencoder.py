"""The plain autoencoder: its formulas against torch's autograd in float64, its contract, and what it must find."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ACTIVATIONS, OPTIMIZERS, bits, small, started
from numpy.typing import NDArray
from reference import (
    AWKWARD,
    AWKWARD_FEATURES,
    AWKWARD_ROWS,
    SIZES,
    TOLERANCE,
    Size,
    TorchAutoencoder,
    examples,
    loss_errors,
    plain_pair,
    relative_error,
    too_large,
)
from sklearn_checks import passes_all_checks
from test_optimizers import RUNS, largest_error
from test_optimizers import TOLERANCE as RUN_TOLERANCE

import fastvae
from fastvae import VAE, Autoencoder
from fastvae.optimizers import SGD
from fastvae.schedules import cosine

DIGITS, LABELS = fastvae.datasets.load_digits()
X = DIGITS[:150]
LOSSES = ["squared_error", "bernoulli"]


def suited(loss: str, rows: int, cols: int, seed: int = 0) -> NDArray[np.float32]:
    """Data that the loss takes: in [0, 1] for the cross-entropy, any real numbers for the squared error."""
    return examples("bernoulli" if loss == "bernoulli" else "gaussian", rows, cols, seed)


def compared(rows: int, cols: int, loss: str, **params: Any) -> dict[str, float]:
    """Relative errors of a model at a size."""
    model, twin = plain_pair(cols, loss=loss, **params)
    # Seed 1: with 0 the gradients of the smallest model's two examples cancel, in torch's float32 as in ours.
    return loss_errors(model, twin, suited(loss, rows, cols, seed=1))


# -------------------------------------------------------------------------------- losses and gradients


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_loss_has_the_losses_and_gradients_of_torch(activation: str, loss: str) -> None:
    assert not too_large(compared(AWKWARD_ROWS, AWKWARD_FEATURES, loss, activation=activation, **AWKWARD))


@pytest.mark.parametrize(("activation", "loss"), [("tanh", "bernoulli"), ("gelu", "squared_error")])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_depth_and_size_has_the_losses_and_gradients_of_torch(size: Size, activation: str, loss: str) -> None:
    rows, cols, latent_dim, hidden, decoder_hidden = size
    shape: dict[str, Any] = {"latent_dim": latent_dim, "hidden": hidden, "decoder_hidden": decoder_hidden}
    assert not too_large(compared(rows, cols, loss, activation=activation, **shape))


@pytest.mark.parametrize("hidden", [(), (33,)], ids=str)
@pytest.mark.parametrize("rows", [1, 29, 131])
def test_skipped_zeros_change_no_gradient(rows: int, hidden: tuple[int, ...]) -> None:
    model, twin = plain_pair(150, latent_dim=5, hidden=hidden)
    data = examples("bernoulli", rows, 150)
    data[:, 40:70] = 0
    data[:, 70:] *= np.random.default_rng(0).random((rows, 80)) < 0.05
    data[rows // 2] = 0
    assert not too_large(loss_errors(model, twin, data))


def test_the_squared_error_is_a_sum_over_features_and_a_mean_over_examples_without_a_half() -> None:
    # A model of zeros reconstructs its last bias: with 0.5, (0.5² + 0.5² + 1.5²) and (0 + 0.5² + 0.5²).
    model, _ = plain_pair(3, latent_dim=2, hidden=())
    state = {name: np.zeros_like(array) for name, array in model.state_dict().items()}
    model.load_state_dict(state | {"decoder.0.bias": np.full(3, 0.5)})
    data = np.array([[0.0, 1.0, 2.0], [0.5, 0.0, 1.0]])
    assert model.score_samples(data).tolist() == [-2.75, -0.5]
    assert model.evaluate(data) == {"loss": 1.625}
    assert model.score(data) == -1.625
    losses, gradients = model.loss_and_gradients(data)
    assert losses == {"loss": 1.625}
    assert gradients["decoder.0.bias"].tolist() == [0.5, 0.0, -2.0]  # the mean of 2 (0.5 - x)


@pytest.mark.parametrize("name", ["adam, all options", "adamw", "sgd, nesterov, weight_decay", "adagrad"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_of_steps_ends_where_that_of_torch_ends(loss: str, name: str) -> None:
    ours, theirs, rate = RUNS[name]
    rate /= 10 if name.startswith("sgd") and loss == "squared_error" else 1  # this loss is the steeper one
    model, twin = plain_pair(
        29,
        loss=loss,
        latent_dim=3,
        hidden=(33,),
        activation="tanh",
        batch_size=16,
        optimizer=ours,
        learning_rate=rate,
    )
    data = suited(loss, 157, 29)
    optimizer = theirs(twin.parameters(), lr=rate)
    before = model.state_dict()
    for _ in range(10):
        model.partial_fit(data)
        for batch in twin.tensor(data).split(16):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            twin(batch)["loss"].backward()
            optimizer.step()
    after, reference = model.state_dict(), twin.weights()
    errors = {key: largest_error(after[key], reference[key]) for key in reference}
    assert not {key: error for key, error in errors.items() if not error <= RUN_TOLERANCE}
    assert min(largest_error(before[key], reference[key]) for key in reference) > 10 * RUN_TOLERANCE


@pytest.mark.parametrize("optimizer", ["adam", "adamw", SGD(momentum=0.9), "adagrad"], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_and_their_application_are_the_bits_of_a_fused_step(loss: str, optimizer: Any) -> None:
    data = suited(loss, 29, 37)
    fused, halves = (plain_pair(37, loss=loss, optimizer=optimizer, learning_rate=1e-3, **AWKWARD)[0] for _ in range(2))
    for _ in range(3):
        fused.partial_fit(data)
        halves.apply_gradients(halves.loss_and_gradients(data)[1])
        assert bits(fused) == bits(halves)


# ------------------------------------------------------------------------------ codes and reconstructions


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scores_codes_and_reconstructions_are_those_of_torch(activation: str, loss: str) -> None:
    model, twin = plain_pair(AWKWARD_FEATURES, activation=activation, loss=loss, **AWKWARD)
    data = suited(loss, 131, AWKWARD_FEATURES)
    Z = np.random.default_rng(1).normal(size=(131, AWKWARD["latent_dim"])).astype(np.float32)
    with torch.no_grad():
        x = twin.tensor(data)
        codes = twin.encode(x)
        pairs = {
            "score_samples": (model.score_samples(data), -twin.terms(x)),
            "transform": (model.transform(data), codes),
            "encode": (model.encode(data), codes),
            "reconstruct": (model.reconstruct(data), twin.mean(codes)),
            "inverse_transform": (model.inverse_transform(Z), twin.mean(twin.tensor(Z))),
            "score": (model.score(data), -twin(x)["loss"]),
            "evaluate": (model.evaluate(data)["loss"], twin(x)["loss"]),
        }
    assert not too_large({name: relative_error(a, b.numpy()) for name, (a, b) in pairs.items()})


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", [(), (16,), (20, 9)], ids=str)
@pytest.mark.parametrize("n", [1, 31, 150, 1030])
def test_reconstruct_is_the_decoder_after_the_encoder_bit_for_bit(n: int, hidden: tuple[int, ...], loss: str) -> None:
    model = small(Autoencoder, loss=loss, hidden=hidden).fit(X)
    codes = model.transform(DIGITS[:n])
    assert np.array_equal(codes, model.encode(DIGITS[:n]))
    assert np.array_equal(model.reconstruct(DIGITS[:n]), model.inverse_transform(codes))


def test_the_two_losses_have_the_means_of_their_own() -> None:
    far = np.random.default_rng(0).normal(size=(50, 3)) * 100
    probabilities = small(Autoencoder, loss="bernoulli", epochs=5).fit(X).inverse_transform(far)
    assert 0 <= probabilities.min() < probabilities.max() <= 1
    assert np.abs(small(Autoencoder, epochs=5).fit(X).inverse_transform(far)).max() > 1


def test_what_a_row_scores_depends_on_nothing_but_the_row() -> None:
    model = small(Autoencoder).fit(X)
    together = model.score_samples(DIGITS)
    order = np.random.default_rng(0).permutation(len(DIGITS))
    assert np.array_equal(together[order], model.score_samples(DIGITS[order]))
    assert np.array_equal(together[:40], np.concatenate([model.score_samples(row[None]) for row in DIGITS[:40]]))
    assert len(np.unique(together)) > 1700


# ------------------------------------------------------------------------------------------- state dicts


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("hidden", "decoder_hidden"), [((), None), ((33,), None), ((20, 9), (11,)), ((5,), ())])
def test_a_state_dict_moves_to_a_torch_module_and_back(
    hidden: tuple[int, ...], decoder_hidden: tuple[int, ...] | None, loss: str
) -> None:
    shape: dict[str, Any] = {"latent_dim": 3, "hidden": hidden, "decoder_hidden": decoder_hidden, "loss": loss}
    fitted = small(Autoencoder, **shape).fit(X)
    module = TorchAutoencoder(64, **shape, dtype=torch.float32).load(fitted.state_dict())
    names = [name for name, _ in module.named_parameters()]
    assert list(fitted.state_dict()) == names
    assert names[2 * len(hidden) : 2 * len(hidden) + 2] == ["code.weight", "code.bias"]
    assert fitted.state_dict()["code.weight"].shape == (3, [64, *hidden][-1])
    with torch.no_grad():
        reconstructions = module.mean(module.encode(module.tensor(X))).numpy()
    assert relative_error(fitted.reconstruct(X), reconstructions) < TOLERANCE
    back = small(Autoencoder, **shape).load_state_dict(module.state_dict())
    assert bits(back) == bits(fitted)
    assert np.array_equal(back.transform(X), fitted.transform(X))
    assert back.n_features_in_ == 64
    assert bits(back.partial_fit(X)) != bits(fitted)


def test_the_state_dict_of_a_vae_is_refused() -> None:
    state = VAE(3, hidden=(16,), epochs=1).fit(X).state_dict()
    with pytest.raises(ValueError, match=r"missing \['code\.weight', 'code\.bias'\].*unknown.*'logvar\.bias'"):
        small(Autoencoder).load_state_dict(state)
    with pytest.raises(ValueError, match=r"'code\.weight', which gives the number of features"):
        small(Autoencoder, hidden=()).load_state_dict(state)


@pytest.mark.parametrize("hidden", [(), (16,)])
def test_initial_weights_are_those_of_torchs_linear_layers(hidden: tuple[int, ...]) -> None:
    model = small(Autoencoder, hidden=hidden, optimizer="sgd", learning_rate=1e-30, epochs=1, latent_dim=40).fit(X)
    module = TorchAutoencoder(64, 40, hidden=hidden)
    for name, parameter in module.named_parameters():
        layer = module.get_submodule(name.rpartition(".")[0])
        assert isinstance(layer, torch.nn.Linear)
        bound = layer.in_features**-0.5
        weights = model.state_dict()[name]
        assert weights.shape == tuple(parameter.shape)
        last = name.rpartition(".")[0] == list(module.named_parameters())[-1][0].rpartition(".")[0]
        if last and weights.ndim == 1:  # at the level of the data
            np.testing.assert_allclose(weights, X.mean(0), atol=1e-6)
            continue
        assert np.abs(weights).max() <= bound
        if weights.size > 500 and not last:
            assert weights.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


# ------------------------------------------------------------------------------------------ the contract


def test_its_parameters_are_those_of_the_vae_but_for_the_loss() -> None:
    ours, theirs = (
        {p.name: p.default for p in inspect.signature(model).parameters.values()} for model in (Autoencoder, VAE)
    )
    assert ours.keys() - theirs.keys() == {"loss"}
    assert theirs.keys() - ours.keys() == {
        "likelihood",
        "beta",
        "free_bits",
        "n_importance_samples",
        "doubly_reparameterized",
        "capacity",
        "conditional",
        "condition_columns",
        "objective",
        "binarize",
    }
    assert {name: ours[name] for name in ours.keys() & theirs.keys()} == {
        name: theirs[name] for name in ours.keys() & theirs.keys()
    }
    assert ours["loss"] == "squared_error"


def test_the_constructor_only_stores_what_it_is_given_and_get_params_returns_it() -> None:
    given: dict[str, Any] = {name: object() for name in inspect.signature(Autoencoder).parameters}
    assert vars(Autoencoder(**given)) == given
    assert Autoencoder(**given).get_params() == given
    assert Autoencoder().set_params(latent_dim=9).latent_dim == 9
    with pytest.raises(ValueError, match=r"'beta' is not a parameter of Autoencoder"):
        Autoencoder().set_params(beta=1.0)


def test_repr_shows_what_differs_from_the_defaults_and_can_be_evaluated() -> None:
    model = Autoencoder(8, loss="bernoulli", hidden=())
    assert repr(model) == "Autoencoder(latent_dim=8, hidden=(), loss='bernoulli')"
    assert eval(repr(model)).get_params() == model.get_params()


def test_the_history_holds_the_loss_and_nothing_of_a_distribution() -> None:
    model = small(Autoencoder, epochs=3).fit(X)
    assert model.history_.keys() == {"loss"}
    assert model.loss_curve_ == model.history_["loss"]
    assert len(model.loss_curve_) == model.n_iter_ == 3
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert small(Autoencoder, validation_fraction=0.2).fit(X).history_.keys() == {"loss", "val_loss"}
    assert not {"sample", "diagnose"} & set(dir(model))


@pytest.mark.parametrize("batch_size", [7, 64, 150, 1000])
def test_the_history_is_the_mean_over_examples_not_over_batches(batch_size: int) -> None:
    model = small(Autoencoder, batch_size=batch_size, optimizer="sgd", learning_rate=1e-30).partial_fit(X)
    assert model.loss_curve_ == [pytest.approx(model.evaluate(X)["loss"], rel=1e-6)]


def test_validation_data_are_scored_and_do_not_change_training() -> None:
    other = DIGITS[200:300]
    model = small(Autoencoder, epochs=4).fit(X, validation_data=other)
    assert model.history_["val_loss"][-1] == model.evaluate(other)["loss"]
    assert bits(model) == bits(small(Autoencoder, epochs=4).fit(X))
    assert len(set(model.history_["val_loss"])) == 4


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_partial_fit_in_two_parts_is_partial_fit_of_the_whole(optimizer: Any) -> None:
    whole, parts = (started(small(Autoencoder, optimizer=optimizer), X) for _ in range(2))
    whole.partial_fit(X)
    parts.partial_fit(X[:64]).partial_fit(X[64:])
    assert bits(whole) == bits(parts)
    assert parts.n_iter_ == 2
    assert bits(whole) != bits(small(Autoencoder, optimizer=optimizer, epochs=1).fit(X))  # which shuffles


def test_fit_starts_afresh_and_partial_fit_goes_on() -> None:
    model = small(Autoencoder).fit(X)
    first = bits(model)
    assert bits(model.partial_fit(X)) != first
    assert model.n_iter_ == 3
    assert bits(model.fit(X)) == first
    assert bits(model.fit(X, LABELS[:150])) == first
    assert bits(small(Autoencoder, random_state=1).fit(X)) != first


def test_transform_has_names_and_containers() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas, the container asked for, is not installed")
    model = small(Autoencoder).fit(X)
    assert list(model.get_feature_names_out()) == ["autoencoder0", "autoencoder1", "autoencoder2"]
    plain = model.transform(X)
    assert (plain.shape, plain.dtype) == ((150, 3), np.dtype(np.float32))
    assert np.array_equal(small(Autoencoder).fit_transform(X), plain)
    frame = model.set_output(transform="pandas").transform(pandas.DataFrame(X, index=np.arange(150) * 3))
    assert list(frame.columns) == ["autoencoder0", "autoencoder1", "autoencoder2"]
    assert list(frame.index) == list(range(0, 450, 3))
    assert np.array_equal(frame.to_numpy(), plain)
    assert type(model.encode(X)) is np.ndarray


def test_scikit_learn_clones_it_and_takes_it_into_pipelines() -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn, which this test needs, is not installed")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    model = small(Autoencoder, latent_dim=16, hidden=(64,), epochs=20, learning_rate=3e-3).fit(X)
    copy = base.clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "n_features_in_")
    assert bits(copy.fit(X)) == bits(model)
    pipeline = make_pipeline(copy, MinMaxScaler(), LogisticRegression(max_iter=2000))
    assert pipeline.fit(DIGITS, LABELS).score(DIGITS, LABELS) > 0.8  # chance is 0.1
    last = make_pipeline(MinMaxScaler(), small(Autoencoder)).fit(X)
    assert last.score(X) == small(Autoencoder).fit(X_scaled := MinMaxScaler().fit_transform(X)).score(X_scaled)
    assert last.inverse_transform(last.transform(X)).shape == (150, 64)
    assert list(last.get_feature_names_out()) == ["autoencoder0", "autoencoder1", "autoencoder2"]


def test_grid_search_takes_the_higher_score_for_the_better() -> None:
    selection = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is not installed")
    search = selection.GridSearchCV(small(Autoencoder, learning_rate=3e-3), {"epochs": [1, 15]}, cv=2).fit(DIGITS)
    assert search.best_params_ == {"epochs": 15}


@pytest.mark.filterwarnings("ignore:Estimator Autoencoder does not inherit:UserWarning")
def test_scikit_learns_own_checks_pass() -> None:
    passes_all_checks(small(Autoencoder))


# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("loss", ["mse", "gaussian", "", None, 1, ["bernoulli"]])
def test_an_unknown_loss_is_refused_and_the_known_ones_are_named(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"loss=.*'squared_error', 'bernoulli'"):
        small(Autoencoder, loss=loss).fit(X)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("latent_dim", 0), ("hidden", (4, 0)), ("activation", "swish"), ("optimizer", "adamax"), ("learning_rate", 0)],
)
def test_bad_parameters_are_refused_by_name_before_anything_is_learned(parameter: str, value: Any) -> None:
    for train in ("fit", "partial_fit"):
        model = small(Autoencoder, **{parameter: value})
        with pytest.raises(ValueError, match=parameter):
            getattr(model, train)(X)
        assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("value", [-0.25, 1.5, np.nan, np.inf])
def test_the_cross_entropy_takes_values_in_the_unit_interval_and_the_squared_error_any_finite_ones(
    value: float,
) -> None:
    data = X.copy()
    data[3, 2] = value
    with pytest.raises(ValueError, match=r"\[3, 2\]"):
        small(Autoencoder, loss="bernoulli").fit(data)
    if np.isfinite(value):
        assert np.isfinite(small(Autoencoder).fit(data).loss_curve_).all()
    else:
        with pytest.raises(ValueError, match=r"\[3, 2\].*finite"):
            small(Autoencoder).fit(data)


@pytest.mark.parametrize(
    "ask", ["transform", "encode", "reconstruct", "score_samples", "score", "evaluate", "loss_and_gradients"]
)
def test_a_model_that_is_not_fitted_and_data_of_another_width_are_refused(ask: str) -> None:
    with pytest.raises(fastvae.NotFittedError, match="this Autoencoder is not fitted"):
        getattr(small(Autoencoder), ask)(X)
    with pytest.raises(ValueError, match="X has 20 features, but Autoencoder is expecting 64"):
        getattr(small(Autoencoder).fit(X), ask)(X[:, :20])


# ----------------------------------------------------------------------------------- threads, types, goals


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(64, (70,), 20), (33, (32, 31), 64), (7, (), 2)], ids=str)
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, tuple[int, ...], int], loss: str) -> None:
    features, hidden, latent_dim = shape
    data = DIGITS[:333, :features]

    def train(n_jobs: int | None) -> list[bytes]:
        model = small(
            Autoencoder, hidden=hidden, latent_dim=latent_dim, loss=loss, n_jobs=n_jobs, validation_fraction=0.1
        ).fit(data)
        losses, gradients = model.loss_and_gradients(data)
        model.apply_gradients(gradients).partial_fit(data)
        answers = [model.transform(data), model.reconstruct(data), model.score_samples(data), *gradients.values()]
        numbers = [*model.history_["loss"], *losses.values()]
        return [array.tobytes() for array in (*answers, *model.state_dict().values(), np.array(numbers))]

    alone = train(1)
    for n_jobs in (2, 3, -1, None):
        assert train(n_jobs) == alone, n_jobs


@pytest.mark.parametrize("loss", LOSSES)
def test_uint8_is_the_same_as_float32_over_255_bit_for_bit(loss: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (131, 37), dtype=np.uint8)
    floats = pixels.astype(np.float32) / np.float32(255)
    ours, theirs = small(Autoencoder, loss=loss).fit(pixels), small(Autoencoder, loss=loss).fit(floats)
    assert bits(ours) == bits(theirs)
    assert ours.history_ == theirs.history_
    assert np.array_equal(ours.reconstruct(pixels), ours.reconstruct(floats))
    assert np.array_equal(ours.score_samples(pixels), ours.score_samples(floats))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns_the_digits_with_either_loss(activation: str, loss: str) -> None:
    # The best constant reconstruction costs 4.8 squared, 27.1 as a cross-entropy.
    model = small(
        Autoencoder, latent_dim=8, hidden=(64,), activation=activation, loss=loss, learning_rate=5e-3, epochs=15
    )
    assert model.fit(DIGITS).evaluate(DIGITS)["loss"] < (2.3 if loss == "squared_error" else 22.5)


def angle(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest principal angle between the spans of the columns of two matrices, degrees."""
    a, b = (np.linalg.qr(np.asarray(matrix, np.float64))[0] for matrix in (a, b))
    return float(np.degrees(np.arcsin(np.linalg.norm(b - a @ (a.T @ b), 2))))


CENTRED = DIGITS - DIGITS.mean(0)
LEFT, _, RIGHT = np.linalg.svd(CENTRED.astype(np.float64), full_matrices=False)
COMPONENTS = CENTRED @ RIGHT[:4].T @ RIGHT[:4]


@pytest.mark.parametrize("random_state", [0, 1])
def test_a_linear_one_finds_the_span_of_the_first_principal_components(random_state: int) -> None:
    model = Autoencoder(4, hidden=(), learning_rate=1e-2, epochs=200, random_state=random_state).fit(CENTRED)
    assert angle(model.state_dict()["decoder.0.weight"], RIGHT[:4].T) <= 5
    # Of the encoder the data show what it does to them: its weights for pixels that hardly vary say nothing.
    codes = model.transform(CENTRED)
    assert angle(codes - codes.mean(0), LEFT[:, :4]) <= 5
    assert model.evaluate(CENTRED)["loss"] == pytest.approx(np.square(CENTRED - COMPONENTS).sum(1).mean(), rel=0.01)


def test_a_linear_one_whose_useless_weights_decay_encodes_with_the_principal_components_themselves() -> None:
    rate = cosine(1e-2, 1e-4, epochs=200)
    decaying = {"optimizer": "adamw", "weight_decay": 0.1}
    model = Autoencoder(4, hidden=(), learning_rate=rate, epochs=200, random_state=0).set_params(**decaying)
    state = model.fit(CENTRED).state_dict()
    assert angle(state["code.weight"].T, RIGHT[:4].T) <= 5
    assert angle(state["decoder.0.weight"], RIGHT[:4].T) <= 2
