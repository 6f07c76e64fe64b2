"""Corrupted inputs and clean targets: the noise's distribution, where it goes and does not go, and what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CORRUPTIONS, STILL, bits, small, started
from numpy.typing import NDArray
from reference import (
    AWKWARD,
    SIZES,
    Size,
    Twin,
    examples,
    loss_errors,
    noise,
    pair,
    plain_pair,
    relative_error,
    too_large,
)
from scipy import stats
from scipy.sparse import csr_array

import fastvae
from fastvae import VAE, Autoencoder
from fastvae.corruption import GaussianNoise, MaskingNoise, SaltAndPepper

Model = VAE | Autoencoder
Array = NDArray[np.float32]
DIGITS, _ = fastvae.datasets.load_digits()
X = DIGITS[:150]


def pixels(rows: int, cols: int, seed: int = 0) -> Array:
    """Values in [0, 1], of which many are exactly zero; some columns and rows are zero throughout."""
    data = examples("bernoulli", rows, cols, seed)
    data[:, cols // 4 : cols // 2] = 0
    data[rows // 2] = 0
    return data


# -------------------------------------------------------------------------------------- distributions


def even(counts: NDArray[Any], total: int, share: float) -> bool:
    """Whether each of the counts may be one of `total` draws with that share (chi-squared, p > 1e-4)."""
    expected = total * share
    chi2 = float(np.sum((counts - expected) ** 2) / (expected * (1 - share)))
    return bool(stats.chi2.sf(chi2, counts.size) > 1e-4)


def looks_like(kind: Any, clean: Array, seen: Array) -> None:
    """Assert that `seen` is `clean` with noise of that kind, independent in rows and columns."""
    assert (seen.shape, seen.dtype) == (clean.shape, np.dtype(np.float32))
    rows, cols = clean.shape
    match kind:
        case GaussianNoise(sigma):
            changed = (seen - clean) / sigma
            assert stats.kstest(changed.ravel(), "norm").pvalue > 1e-4
            assert abs(changed.mean()) < 4 / np.sqrt(changed.size)
            assert abs(changed.var() - 1) < 4 * np.sqrt(2 / changed.size)
        case MaskingNoise(p):
            changed = seen != clean
            assert (seen[changed] == 0).all()
            assert even(changed.sum(0), rows, p)
            assert even(changed.sum(1), cols, p)
        case SaltAndPepper(p):
            changed = seen != clean
            for value in (0, 1):
                hit = seen == value
                assert even(hit.sum(0), rows, p / 2)
                assert even(hit.sum(1), cols, p / 2)
            assert set(np.unique(seen[changed])) == {0.0, 1.0}
    for one, other in ((changed[1:], changed[:-1]), (changed[:, 1:], changed[:, :-1]), (changed[4:], changed[:-4])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


@pytest.mark.parametrize("cols", [7, 33, 64])
@pytest.mark.parametrize("kind", [*CORRUPTIONS, GaussianNoise(2.0), MaskingNoise(0.9), SaltAndPepper(0.05)], ids=str)
def test_corrupt_has_the_distribution_promised(kind: Any, cols: int) -> None:
    clean = np.random.default_rng(0).uniform(0.2, 0.8, (100_000 // cols, cols)).astype(np.float32)
    looks_like(kind, clean, kind.corrupt(clean, random_state=1))


def seen_in_training(kind: Any, clean: Array, model: type[Model] = Autoencoder) -> Array:
    """The encoder's input for each row of `clean`, one training step each."""
    # With a code of zero, the gradient of the encoder's weight is that of its bias times what the encoder sees.
    cols, head = clean.shape[1], "mu" if model is VAE else "code"
    probe = small(model, latent_dim=1, hidden=(), corruption=kind, optimizer="sgd", learning_rate=1.0)
    if model is VAE:
        probe.set_params(likelihood="gaussian", objective="reconstruction")
    probe.partial_fit(clean[:1])
    start = {name: np.zeros_like(array) for name, array in probe.state_dict().items()}
    start |= {"decoder.0.weight": np.ones((cols, 1)), "decoder.0.bias": np.full(cols, -1)}
    seen = []
    for row in clean:
        end = probe.load_state_dict(start).partial_fit(row[None]).state_dict()
        seen.append(end[f"{head}.weight"][0] / end[f"{head}.bias"][0])
    return np.array(seen, np.float32)


@pytest.mark.parametrize("model", [VAE, Autoencoder])
@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
def test_what_the_encoder_sees_in_training_has_that_distribution_anew_in_each_step(
    kind: Any, model: type[Model]
) -> None:
    clean = np.full((1000, 37), 0.5, np.float32)  # the same example a thousand times
    seen = seen_in_training(kind, clean, model)
    if not isinstance(kind, GaussianNoise):
        assert set(np.unique(np.round(seen, 5))) == ({0, 0.5} if isinstance(kind, MaskingNoise) else {0, 0.5, 1})
        seen = np.round(seen, 5)
    looks_like(kind, clean, seen)
    assert len(np.unique(seen, axis=0)) == 1000


@pytest.mark.filterwarnings("ignore:Autoencoder after training")
@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
def test_the_losses_of_fit_are_those_of_the_corrupted_input_against_the_clean_target(kind: Any) -> None:
    class Lively:
        """Sets weights with which noise in the input matters."""

        def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
            rng = np.random.default_rng(0)
            if model.n_iter_ == 1:
                model.load_state_dict({k: rng.uniform(-0.5, 0.5, v.shape) for k, v in model.state_dict().items()})

    parameters = {"latent_dim": 4, "hidden": (), "corruption": kind, "epochs": 2, "callbacks": [Lively()]}
    model = small(Autoencoder, random_state=1, **parameters, **STILL).fit(DIGITS, validation_data=DIGITS)
    state = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    W = state["decoder.0.weight"] @ state["code.weight"]
    clean = DIGITS.astype(np.float64)
    size = np.square(W).sum(0)
    # E|x - W(x + n) - b|² = |x - Wx - b - W E n|² + sum_i |W_i|² Var n_i
    match kind:
        case GaussianNoise(sigma):
            mean, variance = np.zeros_like(clean), np.full_like(clean, sigma**2)
        case MaskingNoise(p):
            mean, variance = -p * clean, p * (1 - p) * clean**2
        case SaltAndPepper(p):
            mean = p * (0.5 - clean)
            variance = p / 2 * (clean**2 + (1 - clean) ** 2) - mean**2
    bias = state["decoder.0.weight"] @ state["code.bias"] + state["decoder.0.bias"]
    rest = clean - (clean + mean) @ W.T - bias
    expected = (np.square(rest).sum(1) + variance @ size).mean()
    training, validation = model.history_["loss"][1], model.history_["val_loss"][1]
    assert abs(model.evaluate(DIGITS)["loss"] - expected) > 0.01 * expected, "the clean loss must be another"
    assert training == pytest.approx(expected, rel=0.01)
    assert validation == pytest.approx(expected, rel=0.01)
    assert training != validation


def test_rows_of_a_batch_have_noise_of_their_own_even_if_they_are_equal() -> None:
    def loss(rows: Array) -> float:
        return float(small(Autoencoder, corruption=GaussianNoise(1.0), **STILL).partial_fit(rows).loss_curve_[0])

    assert loss(X[:1]) != loss(X[[0, 0]])


def test_the_noise_of_the_code_is_neither_that_of_the_input_nor_changed_by_it() -> None:
    # With mu = 0, sigma = 1 and the KL left out, dlogvar = dz eps / 2 and dmu = dz: their ratio tells eps.
    cols, parameters = 40, {"likelihood": "gaussian", "objective": "reconstruction", "optimizer": "sgd"}

    def noises(kind: Any) -> tuple[Array, Array]:
        probe = small(VAE, latent_dim=cols, hidden=(), corruption=kind, learning_rate=1.0, **parameters)
        probe.partial_fit(np.zeros((1, cols)))
        start = {name: np.zeros_like(array) for name, array in probe.state_dict().items()}
        start |= {"decoder.0.weight": np.eye(cols), "decoder.0.bias": np.full(cols, 7.0)}
        eps, seen = [], []
        for _ in range(200):
            end = probe.load_state_dict(start).partial_fit(np.zeros((1, cols))).state_dict()
            eps.append(2 * end["logvar.bias"] / end["mu.bias"])
            seen.append(end["mu.weight"][0] / end["mu.bias"][0])
        return np.array(eps), np.array(seen)

    eps, seen = noises(GaussianNoise(1.0))
    assert abs(np.corrcoef(eps.ravel(), seen.ravel())[0, 1]) < 4 / np.sqrt(eps.size)
    assert stats.kstest(eps.ravel(), "norm").pvalue > 1e-4
    assert stats.kstest(seen.ravel(), "norm").pvalue > 1e-4
    np.testing.assert_allclose(eps, noises(None)[0], atol=1e-4)


# ------------------------------------------------------------------------------------------- corrupt()


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
def test_corrupt_is_reproducible_by_its_seed_and_leaves_the_original_alone(kind: Any) -> None:
    before = X.copy()
    first = kind.corrupt(X, random_state=5)
    assert np.array_equal(first, kind.corrupt(X, random_state=5))
    assert not np.array_equal(first, kind.corrupt(X, random_state=6))
    assert not np.array_equal(kind.corrupt(X), kind.corrupt(X))
    assert np.array_equal(X, before)
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    assert np.array_equal(drawn := kind.corrupt(X, random_state=one), kind.corrupt(X, random_state=two))
    assert not np.array_equal(drawn, kind.corrupt(X, random_state=one))


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
def test_corrupt_reads_what_the_models_read(kind: Any) -> None:
    data = np.random.default_rng(0).integers(0, 256, (50, 33), dtype=np.uint8)
    floats = data.astype(np.float32) / np.float32(255)
    expected = kind.corrupt(floats, random_state=0)
    strided = np.repeat(floats, 2, axis=1)[:, ::2]
    for same in (data, floats.astype(np.float64), np.asfortranarray(floats), floats.tolist(), strided):
        assert np.array_equal(kind.corrupt(same, random_state=0), expected)


@pytest.mark.parametrize("kind", [GaussianNoise(0.0), MaskingNoise(0.0), SaltAndPepper(0.0)], ids=str)
def test_no_noise_changes_no_bit(kind: Any) -> None:
    assert kind.corrupt(X, random_state=0).tobytes() == X.tobytes()
    for model in (VAE, Autoencoder):
        with_it, without = (small(model, corruption=c, validation_fraction=0.2).fit(X) for c in (kind, None))
        assert bits(with_it) == bits(without)
        assert with_it.history_ == without.history_


def test_more_of_the_same_noise_changes_more() -> None:
    # A larger p hits what a smaller one did, and a larger sigma is the same noise scaled.
    for kind in (MaskingNoise, SaltAndPepper):
        few, many = (kind(p).corrupt(X + 2, random_state=0) != X + 2 for p in (0.1, 0.3))
        assert (many >= few).all()
        assert many.sum() > 2 * few.sum()
    one, three = (GaussianNoise(sigma).corrupt(np.zeros((50, 9)), random_state=0) for sigma in (1.0, 3.0))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-6)


# ------------------------------------------------------------------------------- gradients, with torch


def recorrupted(clean: Array, seed: int = 1) -> Array:
    """An input that is zero where the target is not, and the other way round, with columns and rows of zeros."""
    rows, cols = clean.shape
    rng = np.random.default_rng(seed)
    seen = np.where(clean == 0, rng.normal(size=clean.shape), clean * (rng.random(clean.shape) < 0.3))
    seen[:, : cols // 5] = 0
    seen[rows // 3] = 0
    return seen.astype(np.float32)


def both(cols: int, **parameters: Any) -> dict[str, tuple[Model, Twin, int]]:
    """A model of each kind with its twin, and the noise that it takes."""
    latent_dim = parameters["latent_dim"]
    vae, autoencoder = pair(cols, **parameters), plain_pair(cols, **parameters)
    return {"VAE": (*vae, latent_dim), "Autoencoder": (*autoencoder, 0)}


@pytest.mark.parametrize("kind", ["VAE", "Autoencoder"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_with_a_given_input_losses_and_gradients_are_those_of_torch(size: Size, kind: str) -> None:
    rows, cols, latent_dim, hidden, decoder_hidden = size
    shape: dict[str, Any] = {"latent_dim": latent_dim, "hidden": hidden, "decoder_hidden": decoder_hidden}
    model, twin, drawn = both(cols, activation="silu", **shape)[kind]
    clean = pixels(rows, cols, seed=2)
    eps = [noise(rows, drawn)] if drawn else []
    assert not too_large(loss_errors(model, twin, clean, *eps, corrupted=recorrupted(clean)))


@pytest.mark.parametrize("seen", ["zeros", "ones", "a few", "clean"])
@pytest.mark.parametrize("clean", ["zeros", "ones", "a few"])
@pytest.mark.parametrize("rows", [1, 29, 131])
def test_the_zeros_that_the_first_layer_skips_are_those_of_its_input(rows: int, clean: str, seen: str) -> None:
    cols = 150
    makers = {
        "zeros": np.zeros((rows, cols)),
        "ones": np.ones((rows, cols)),
        "a few": np.random.default_rng(5).random((rows, cols)) < 0.03,
    }
    target = makers[clean].astype(np.float32)
    given = makers.get(seen, target).astype(np.float32)
    for hidden in ((), (33,)):
        model, twin, _ = both(cols, latent_dim=5, hidden=hidden)["Autoencoder"]
        assert not too_large(loss_errors(model, twin, target, corrupted=given))


def seen_when_asked(kind: Any, clean: Array, random_state: int) -> Array:
    """What the encoder sees of each row in ``loss_and_gradients``, found as in `seen_in_training`."""
    cols = clean.shape[1]
    probe = small(Autoencoder, latent_dim=1, hidden=(), corruption=kind, random_state=random_state).partial_fit(
        clean[:1]
    )
    state = {name: np.zeros_like(array) for name, array in probe.state_dict().items()}
    probe.load_state_dict(state | {"decoder.0.weight": np.ones((cols, 1)), "decoder.0.bias": np.full(cols, -1)})
    gradients = [probe.loss_and_gradients(row[None])[1] for row in clean]
    return np.array([g["code.weight"][0] / g["code.bias"][0] for g in gradients], np.float32)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("likelihood", ["poisson", "gaussian"])
def test_rescaled_masking_is_torchs_dropout_of_the_same_values(likelihood: str, sparse: bool) -> None:
    cols, p = 67, 0.4
    clean = (np.random.default_rng(0).poisson(0.2, (29, cols)) * np.arange(1, cols + 1) % 7).astype(np.float32)
    rescale = {"poisson": None, "gaussian": True}[likelihood]  # None: a zero count is no evidence
    more: dict[str, Any] = {"likelihood": likelihood, "corruption": MaskingNoise(p, rescale=rescale)}
    model, twin = pair(cols, random_state=4, **more, **AWKWARD)
    own = small(VAE, latent_dim=1, hidden=(), random_state=4, **more).partial_fit(clean[:1])
    eps, ones = noise(29, 5), np.ones((29, 1), np.float32)
    names = {name: array for name, array in own.state_dict().items() if "standardize" not in name}
    state = {name: np.zeros_like(array) for name, array in names.items()} | {"decoder.0.weight": np.ones((cols, 1))}
    own = small(VAE, latent_dim=1, hidden=(), random_state=4, **more).load_state_dict(state)
    gradients = [own.loss_and_gradients(row[None], one[None])[1] for row, one in zip(clean, ones, strict=True)]
    seen = np.array([g["mu.weight"][0] / g["mu.bias"][0] for g in gradients])
    levels = torch.nn.functional.dropout(torch.ones(10_000), p).unique().numpy()
    np.testing.assert_allclose(np.unique((seen / np.where(clean, clean, 1)).round(4)), levels, atol=1e-4)
    seen = np.where(np.abs(seen) < 1e-4, 0, clean / (1 - p)).astype(np.float32)
    assert abs(seen.sum() / clean.sum() - 1) < 0.1, "the level of the input stays"
    losses, gradients = model.loss_and_gradients(csr_array(clean) if sparse else clean, eps)
    wanted, wanted_gradients = twin.losses_and_gradients(clean, eps, corrupted=seen)
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert not too_large({name: relative_error(gradients[name], wanted_gradients[name]) for name in gradients})


def test_masking_rescales_counts_and_does_not_rescale_pixels() -> None:
    X = np.ones((200, 30))
    assert set(np.unique(MaskingNoise(0.5).corrupt(X, 0))) == {0, 1}
    assert set(np.unique(MaskingNoise(0.5, rescale=True).corrupt(X, 0))) == {0, 2}
    assert repr(MaskingNoise(0.5)) == "MaskingNoise(p=0.5)"
    assert repr(MaskingNoise(0.5, rescale=False)) == "MaskingNoise(p=0.5, rescale=False)"

    def loss(model: type[Model] = VAE, **more: Any) -> float:
        fitted = small(model, random_state=0, **more, **STILL).partial_fit(X)
        return float(fitted.loss_curve_[0])

    for likelihood in ("poisson", "multinomial", "bernoulli", "gaussian"):
        rescaled, plain = (loss(likelihood=likelihood, corruption=MaskingNoise(0.5, r)) for r in (True, False))
        counts = likelihood in ("poisson", "multinomial")
        assert rescaled != plain
        assert loss(likelihood=likelihood, corruption=MaskingNoise(0.5)) == (rescaled if counts else plain)
    assert loss(Autoencoder, corruption=MaskingNoise(0.5)) == loss(Autoencoder, corruption=MaskingNoise(0.5, False))
    with pytest.raises(ValueError, match=r"MaskingNoise\(p=0.5, rescale='yes'\): rescale"):
        small(VAE, corruption=MaskingNoise(0.5, rescale="yes")).fit(X)  # type: ignore[arg-type]
    formula = small(VAE, likelihood="poisson", corruption=MaskingNoise(0.5)).describe_objective()
    assert "MaskingNoise(p=0.5) and kept values divided by 1 - p" in formula


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
@pytest.mark.parametrize("rows", [2, 29, 131])
def test_with_drawn_noise_losses_and_gradients_are_those_of_torch_with_that_noise(rows: int, kind: Any) -> None:
    cols = 67
    clean = np.round(pixels(rows, cols), 3).astype(np.float32)
    seen = seen_when_asked(kind, clean, random_state=4)
    if not isinstance(kind, GaussianNoise):  # else exact up to the division
        seen = np.where(np.abs(seen) < 1e-5, 0, np.where(np.abs(seen - 1) < 1e-5, 1, clean)).astype(np.float32)
        assert ((seen == 0) != (clean == 0)).mean() > 0.05, "zeros must come, or go"
    model, twin = plain_pair(cols, random_state=4, corruption=kind, **AWKWARD)
    losses, gradients = model.loss_and_gradients(clean)
    torch_losses, torch_gradients = twin.losses_and_gradients(clean, corrupted=seen)
    assert losses == pytest.approx(torch_losses, rel=1e-5)
    errors = {name: relative_error(gradients[name], torch_gradients[name]) for name in gradients}
    assert not too_large(errors)
    clean_losses, _ = twin.losses_and_gradients(clean)
    assert abs(torch_losses["loss"] / clean_losses["loss"] - 1) > 1e-3, "the noise must be felt"


@pytest.mark.parametrize("kind", ["VAE", "Autoencoder"])
def test_a_pass_with_a_given_input_is_a_pass_of_torch(kind: str) -> None:
    rows, rate = 157, 1e-2
    parameters = {"latent_dim": 3, "hidden": (33,), "activation": "tanh", "batch_size": 16}
    model, twin, drawn = both(37, optimizer="sgd", learning_rate=rate, **parameters)[kind]
    clean = pixels(rows, 37)
    corrupted, eps = recorrupted(clean), noise(rows, drawn or 1)
    before = model.state_dict()
    model.partial_fit(clean, corrupted=corrupted, **({"eps": eps} if drawn else {}))
    optimizer, total = torch.optim.SGD(twin.parameters(), lr=rate), 0.0
    for start in range(0, rows, 16):
        x, seen, e = (twin.tensor(array[start : start + 16]) for array in (clean, corrupted, eps))
        optimizer.zero_grad()
        loss = twin(x, e, corrupted=seen)["loss"] if drawn else twin(x, corrupted=seen)["loss"]
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    after, reference = model.state_dict(), twin.weights()
    assert model.loss_curve_ == [pytest.approx(total / rows, rel=1e-5)]
    for name in after:
        moved = reference[name] - before[name]
        assert np.linalg.norm(after[name] - reference[name]) < 1e-4 * np.linalg.norm(moved), name


# ------------------------------------------------------------------------ what takes the place of what


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_a_given_input_replaces_the_noise_and_the_target_itself_changes_nothing(model: type[Model]) -> None:
    corrupted = recorrupted(X)
    noisy, plain = (
        small(model, corruption=kind).partial_fit(X, corrupted=corrupted) for kind in (CORRUPTIONS[2], None)
    )
    assert bits(noisy) == bits(plain)
    assert bits(plain) != bits(small(model).partial_fit(X))
    assert bits(small(model).partial_fit(X, corrupted=X)) == bits(small(model).partial_fit(X))
    given, asked = (noisy.loss_and_gradients(X, corrupted=seen) for seen in (corrupted, None))
    assert given[0] == plain.loss_and_gradients(X, corrupted=corrupted)[0]
    assert given[0] != asked[0]


def test_a_given_input_in_two_parts_is_the_whole() -> None:
    corrupted = recorrupted(X)
    whole, parts = (started(small(Autoencoder), X) for _ in range(2))
    whole.partial_fit(X, corrupted=corrupted)
    parts.partial_fit(X[:64], corrupted=corrupted[:64]).partial_fit(X[64:], corrupted=corrupted[64:])
    assert bits(whole) == bits(parts)


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_noise_in_two_parts_is_the_whole_and_comes_anew_in_each_pass(model: type[Model], kind: Any) -> None:
    whole, parts = (started(small(model, corruption=kind), X) for _ in range(2))
    whole.partial_fit(X)
    assert bits(parts.partial_fit(X[:64]).partial_fit(X[64:])) == bits(whole)
    still = small(model, corruption=kind, epochs=20, **STILL).fit(X, validation_data=X)
    training, validation = still.history_["loss"], still.history_["val_loss"]
    assert len(set(training)) == 20
    assert len(set(validation)) == 1, "validation data have the same noise in every epoch"
    assert set(training).isdisjoint(validation)


@pytest.mark.parametrize("form", ["uint8", "float64", "fortran", "list"])
def test_a_given_input_is_read_as_the_target_is(form: str) -> None:
    data = np.random.default_rng(0).integers(0, 256, (70, 33), dtype=np.uint8)
    shown = np.random.default_rng(1).integers(0, 256, (70, 33), dtype=np.uint8)
    floats = shown.astype(np.float32) / np.float32(255)
    forms: dict[str, Any] = {
        "uint8": shown,
        "float64": floats.astype(np.float64),
        "fortran": np.asfortranarray(floats),
        "list": floats.tolist(),
    }
    expected = small(Autoencoder).partial_fit(data, corrupted=floats)
    assert bits(small(Autoencoder).partial_fit(data, corrupted=forms[form])) == bits(expected)
    assert (
        expected.loss_and_gradients(data, corrupted=forms[form])[0]
        == (expected.loss_and_gradients(data, corrupted=floats)[0])
    )


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_inference_does_not_corrupt_its_input(model: type[Model], kind: Any) -> None:
    noisy = small(model, corruption=kind).fit(X)
    plain = small(model).load_state_dict(noisy.state_dict())
    for question in ("transform", "reconstruct", "score_samples"):
        assert np.array_equal(getattr(noisy, question)(X), getattr(plain, question)(X)), question
    assert noisy.evaluate(X) == plain.evaluate(X)
    assert noisy.score(X) == plain.score(X)
    assert noisy.loss_and_gradients(X)[0] != plain.loss_and_gradients(X)[0]


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
@pytest.mark.parametrize("how", ["data", "fraction"])
@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_validation_data_are_corrupted_by_their_content_and_score_against_the_clean_ones(
    model: type[Model], how: str, kind: Any
) -> None:
    given = {"validation_data": DIGITS[200:300]} if how == "data" else {}
    fitted = small(model, corruption=kind, validation_fraction=0.0 if given else 0.2).fit(X, **given)
    values = {key.removeprefix("val_"): v[-1] for key, v in fitted.history_.items() if key.startswith("val_")}
    if how == "data":
        asked, _ = fitted.loss_and_gradients(DIGITS[200:300])
        assert values == pytest.approx(asked, rel=1e-5)
        assert values["loss"] != pytest.approx(fitted.evaluate(DIGITS[200:300])["loss"], rel=1e-4)
        again = small(model, corruption=kind).fit(X, validation_data=DIGITS[200:300][::-1])
        assert again.history_["val_loss"] == pytest.approx(fitted.history_["val_loss"], rel=1e-6)
    plain = small(model, validation_fraction=0.0 if given else 0.2).fit(X, **given)
    assert plain.history_["val_loss"] != pytest.approx(fitted.history_["val_loss"], rel=1e-4)
    assert bits(small(model, corruption=kind).fit(X)) != bits(small(model).fit(X))


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
def test_when_asked_for_gradients_the_noise_belongs_to_the_example_and_the_seed(kind: Any) -> None:
    model = small(Autoencoder, corruption=kind).fit(X)
    together = model.loss_and_gradients(X)[0]["loss"]
    alone = [model.loss_and_gradients(row[None])[0]["loss"] for row in X]
    assert together == pytest.approx(np.mean(alone), rel=1e-6)
    assert together == model.loss_and_gradients(X)[0]["loss"]
    other = small(Autoencoder, corruption=kind, random_state=1).load_state_dict(model.state_dict())
    assert together != pytest.approx(other.loss_and_gradients(X)[0]["loss"], rel=1e-5)


def test_when_asked_for_gradients_a_given_eps_leaves_the_noise_of_the_input_alone() -> None:
    model, eps = small(VAE, corruption=CORRUPTIONS[0]).fit(X), noise(len(X), 3)
    model.loss_and_gradients(X)
    fresh = small(VAE, corruption=CORRUPTIONS[0]).load_state_dict(model.state_dict())
    assert fresh.loss_and_gradients(X, eps)[0] == model.loss_and_gradients(X, eps)[0]
    alone = [fresh.loss_and_gradients(X[i : i + 1], eps[i : i + 1])[0]["kl"] for i in range(len(X))]
    assert np.mean(alone) == pytest.approx(model.loss_and_gradients(X)[0]["kl"], rel=1e-6)


# --------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_the_number_of_threads_changes_no_bit(model: type[Model], kind: Any) -> None:
    data = pixels(333, 150)

    def train(n_jobs: int | None) -> dict[str, Any]:
        fitted = small(model, hidden=(70,), latent_dim=20, corruption=kind, n_jobs=n_jobs, validation_fraction=0.1)
        losses, gradients = fitted.fit(data).loss_and_gradients(data)
        later = fitted.apply_gradients(gradients).partial_fit(data).partial_fit(data, corrupted=recorrupted(data))
        found = {name: gradient.tobytes() for name, gradient in gradients.items()}
        return {"losses": losses, "gradients": found, "history": str(later.history_), "weights": bits(later)}

    alone = train(1)
    for n_jobs in (2, 3, -1, None):
        assert train(n_jobs) == alone, n_jobs


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=str)
def test_uint8_is_the_same_as_float32_over_255_bit_for_bit(kind: Any) -> None:
    data = np.random.default_rng(0).integers(0, 256, (131, 37), dtype=np.uint8)
    floats = data.astype(np.float32) / np.float32(255)
    ours, theirs = (small(Autoencoder, corruption=kind, validation_fraction=0.2).fit(given) for given in (data, floats))
    assert bits(ours) == bits(theirs)
    assert ours.history_ == theirs.history_


def test_training_can_change_between_noise_and_none() -> None:
    # Memory for a batch that the encoder sees as it is and for one that it does not is laid out differently.
    mixed = small(Autoencoder, optimizer="sgd").partial_fit(X)
    for kind in (CORRUPTIONS[1], None, CORRUPTIONS[0], None):
        fresh = small(Autoencoder, optimizer="sgd").load_state_dict(mixed.state_dict())
        mixed.set_params(corruption=kind).partial_fit(X[:100])
        assert (bits(fresh.partial_fit(X[:100])) == bits(mixed)) == (kind is None)
        fresh.load_state_dict(mixed.state_dict()).set_params(corruption=kind)
        ours, theirs = (model.loss_and_gradients(X)[1] for model in (mixed, fresh))
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (GaussianNoise(-0.1), "sigma=-0.1"),
        (GaussianNoise(float("nan")), "sigma=nan"),
        (GaussianNoise(float("inf")), "sigma=inf"),
        (GaussianNoise("much"), "sigma='much'"),  # type: ignore[arg-type]
        (MaskingNoise(-0.1), "p=-0.1"),
        (MaskingNoise(1.0), "p=1.0"),
        (MaskingNoise(None), "p=None"),  # type: ignore[arg-type]
        (SaltAndPepper(1.5), "p=1.5"),
        (SaltAndPepper(float("nan")), "p=nan"),
        (SaltAndPepper(True), "p=True"),
        ("gaussian", "corruption='gaussian'.*fastvae.corruption"),
        (GaussianNoise, "corruption=.*fastvae.corruption"),
        (0.5, "corruption=0.5"),
    ],
    ids=str,
)
def test_bad_noise_is_refused_by_name_before_anything_is_learned(kind: Any, text: str) -> None:
    for model in (VAE, Autoencoder):
        for train in ("fit", "partial_fit"):
            unfitted = small(model, corruption=kind)
            with pytest.raises(ValueError, match=text):
                getattr(unfitted, train)(X)
            assert not hasattr(unfitted, "n_features_in_")
        fitted = small(model).fit(X).set_params(corruption=kind)
        before = bits(fitted)
        for ask in (fitted.partial_fit, fitted.loss_and_gradients):
            with pytest.raises(ValueError, match=text):
                ask(X)
        assert bits(fitted) == before
    if hasattr(kind, "corrupt") and not isinstance(kind, type):
        with pytest.raises(ValueError, match=text):
            kind.corrupt(X)


@pytest.mark.parametrize(
    ("corrupted", "error", "text"),
    [
        (X[:149], ValueError, r"corrupted has shape \(149, 64\); expected \(150, 64\)"),
        (X[:, :63], ValueError, r"corrupted has 63 features, but Autoencoder is expecting 64"),
        (X[0], ValueError, "corrupted is 1-D"),
        (np.full((150, 64), np.nan), ValueError, "corrupted must be finite"),
        (np.full((150, 64), 1e300), ValueError, "corrupted must be finite"),
        (np.full((150, 64), "x"), TypeError, "corrupted holds strings"),
        (np.full((150, 64), 1j), ValueError, "corrupted holds complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_given_input_is_refused_by_name_before_anything_is_learned(
    corrupted: Any, error: type[Exception], text: str
) -> None:
    unfitted, fitted = small(Autoencoder), small(Autoencoder).fit(X)
    before = bits(fitted)
    for ask in (unfitted.partial_fit, fitted.partial_fit, fitted.loss_and_gradients):
        with pytest.raises(error, match=text):
            ask(X, corrupted=corrupted)
    assert not hasattr(unfitted, "n_features_in_")
    assert bits(fitted) == before


def test_an_autoencoder_refuses_the_noise_of_a_vae() -> None:
    # Given as the second argument it looks like a corrupted input, and was ignored.
    model = small(Autoencoder, latent_dim=64)
    for ask in (model.partial_fit, model.partial_fit(X).partial_fit, model.loss_and_gradients):
        with pytest.raises(ValueError, match=r"eps.*Autoencoder does not have.*corrupted="):
            ask(X, eps=X)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (X[0], ValueError, "X is 1-D"),
        (np.zeros((0, 3)), ValueError, "X is empty"),
        ([["a", "b"]], TypeError, "X holds strings"),
        (np.zeros((0, 3, 4)), ValueError, "X is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_corrupt_refuses_what_the_models_refuse(data: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        CORRUPTIONS[0].corrupt(data)


@pytest.mark.parametrize("model", [VAE(3, hidden=(8,)), Autoencoder(3, hidden=(8,), loss="bernoulli")], ids=str)
@pytest.mark.parametrize("corruption", [None, GaussianNoise(0.5)], ids=str)
def test_what_is_encoded_may_leave_the_unit_interval_and_what_is_scored_may_not(model: Model, corruption: Any) -> None:
    noisy = GaussianNoise(0.5).corrupt(X, random_state=0)
    model.set_params(epochs=1, corruption=corruption).fit(X)
    encode: list[Any] = [model.transform, model.encode, model.reconstruct]
    for question in encode:
        assert np.isfinite(np.asarray(question(noisy))).all()
        with pytest.raises(ValueError, match=r"X\[0, 3\] is NaN"):
            question(np.where(np.arange(64) == 3, np.nan, noisy))
    score: list[Any] = [model.score_samples, model.evaluate, model.score, model.loss_and_gradients, model.partial_fit]
    for question in score:
        with pytest.raises(ValueError, match=r"Bernoulli likelihood takes values in \[0, 1\]"):
            question(noisy)
    if isinstance(model, VAE):
        assert np.isfinite(model.diagnose(noisy).kl).all()
        assert np.isfinite(model.posterior_sample(noisy, 2)).all()
        assert np.isfinite(model.predictive(noisy, 2).mean).all()


# ---------------------------------------------------------------------------------------------- the goal

GARMENTS = Path(__file__).resolve().parents[1] / "examples" / "data" / "fashion_mnist.npz"


def test_a_denoiser_gains_ten_decibels_and_more_than_a_plain_autoencoder() -> None:
    with np.load(GARMENTS) as arrays:
        train, test = (arrays[name].reshape(-1, 784) for name in ("x_train", "x_test"))
    clean, kind = test / 255, GaussianNoise(sigma=0.5)
    noisy = kind.corrupt(test, random_state=1)

    def psnr(pictures: Array) -> float:
        return float(-10 * np.log10(np.mean((pictures - clean) ** 2)))

    assert psnr(noisy) == pytest.approx(6.02, abs=0.05)  # 20 log10(1 / 0.5)
    denoising, plain = (
        Autoencoder(32, hidden=(256,), corruption=corruption, epochs=12, batch_size=64, random_state=0).fit(train)
        for corruption in (kind, None)
    )
    gain, other = (psnr(model.reconstruct(noisy)) - psnr(noisy) for model in (denoising, plain))
    print(f"denoising gains {gain:.2f} dB, a plain autoencoder {other:.2f} dB")
    assert gain >= 10
    assert gain > other + 0.5
    assert psnr(plain.reconstruct(test)) > psnr(denoising.reconstruct(test)), "each is the better at its own job"
