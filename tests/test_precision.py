"""``precision="bf16"``: the parameter, files, the same bits, and products of rounded operands against numpy."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import (
    LIKELIHOODS,
    OPTIMIZERS,
    Killed,
    answers,
    bits,
    check_same_output_of_both_sets,
    differing,
    holed,
    killed_at,
    parts,
    run_python,
    same,
    sparse_counts,
)
from numpy.typing import NDArray
from scipy.sparse import csr_array

import fastvae
from fastvae import (
    VAE,
    AnomalyDetector,
    Autoencoder,
    CountVAE,
    Imputer,
    ItemResponse,
    Recommender,
    TabularVAE,
    TopicModel,
)
from fastvae.corruption import MaskingNoise, SaltAndPepper
from fastvae.layers import Conv2d, Dense
from fastvae.likelihoods import Gaussian

# A training with bfloat16 warns once in a process on a CPU without such products.
pytestmark = pytest.mark.filterwarnings("ignore:precision='bf16' saves no time here")

RNG = np.random.default_rng(21)
X = RNG.random((333, 150), dtype=np.float32)
IMAGES = RNG.random((90, 12 * 12), dtype=np.float32)
WITH = [VAE, Autoencoder, CountVAE, TabularVAE, Imputer, Recommender, AnomalyDetector]
WITHOUT = [TopicModel, ItemResponse]


def model(**parameters: Any) -> VAE:
    """Return a model with remainders in every direction: 150-70-20, batches of 64 from 333 rows."""
    defaults = {"latent_dim": 20, "hidden": (70,), "epochs": 2, "batch_size": 64, "random_state": 7}
    return VAE(**(defaults | {"precision": "bf16"} | parameters))


def convolutional(**parameters: Any) -> VAE:
    """Return a model of images with two convolutions, one of them normalised, and a dense layer."""
    hidden = (Conv2d(8, 3, stride=2, padding=1, batch_norm=True), Conv2d(33, 3, padding=1), Dense(40))
    return model(**({"image_shape": (12, 12), "hidden": hidden, "latent_dim": 5} | parameters))


def rounded(x: Any) -> NDArray[np.float64]:
    """Return the nearest bfloat16 of finite numbers, ties to even: the upper half of a float32."""
    upper = np.array(x, np.float32).view(np.uint32).astype(np.uint64)
    upper = upper + 0x7FFF + (upper >> np.uint64(16) & np.uint64(1))
    return (upper & np.uint64(0xFFFF0000)).astype(np.uint32).view(np.float32).astype(np.float64)


# ------------------------------------------------------------------------------------------ the parameter


@pytest.mark.parametrize("estimator", WITH)
@pytest.mark.parametrize("wrong", ["fp16", "bfloat16", "float64", None, 16, np.float32])
def test_another_precision_is_an_error_that_names_the_choices(estimator: Any, wrong: Any) -> None:
    data = {CountVAE: np.ones((9, 4), int), Recommender: np.ones((9, 4))}.get(estimator, X[:9, :4])
    with pytest.raises(ValueError, match=r"precision=.* is not known; use one of 'float32', 'bf16'"):
        estimator(precision=wrong).fit(data)


@pytest.mark.parametrize("estimator", WITH)
def test_estimators_of_dense_networks_have_the_parameter(estimator: Any) -> None:
    assert estimator().get_params()["precision"] == "float32"
    assert "precision" not in repr(estimator())
    chosen = estimator(precision="bf16")
    assert "precision='bf16'" in repr(chosen)
    assert copy.deepcopy(chosen).precision == "bf16"
    assert estimator().set_params(precision="bf16").precision == "bf16"
    sklearn = pytest.importorskip("sklearn.base")
    assert sklearn.clone(chosen).precision == "bf16"


@pytest.mark.parametrize("estimator", WITHOUT)
def test_topics_and_exams_do_not_have_it(estimator: Any) -> None:
    with pytest.raises(TypeError, match="precision"):
        estimator(precision="bf16")
    assert "precision" not in estimator().get_params()


def test_show_config_says_what_the_cpu_has() -> None:
    cpu = fastvae.show_config()["cpu"]
    assert isinstance(cpu, dict)
    assert list(cpu) == ["avx512_bf16", "avx512_vnni", "amx"]
    assert all(isinstance(value, bool) for value in cpu.values())
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if "\nflags" in flags:
        flags = set(flags.split("\nflags", 1)[1].split("\n", 1)[0].split())  # type: ignore[assignment]
        assert cpu == {
            name: flag in flags for name, flag in zip(cpu, ("avx512_bf16", "avx512_vnni", "amx_tile"), strict=True)
        }


WARNS = """
import warnings
import numpy as np, fastvae
X = np.random.default_rng(0).random((40, 6), dtype=np.float32)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for kind in (fastvae.VAE, fastvae.AnomalyDetector, fastvae.VAE):
        model = kind(2, hidden=(4,), epochs=1, precision="bf16") if kind is fastvae.VAE else kind(precision="bf16")
        model.fit(X)
print(*[str(warning.message) for warning in said], sep="\\n")
"""


def test_a_cpu_without_such_products_is_a_single_warning_that_names_the_remedy() -> None:
    for isa in fastvae.show_config()["isa_available"]:  # type: ignore[attr-defined]
        said = run_python(WARNS, FASTVAE_ISA=isa).strip().splitlines()
        fast = isa == "avx512" and fastvae.show_config()["cpu"]["avx512_bf16"]  # type: ignore[index]
        assert len(said) == (0 if fast else 1), said
        assert fast or "precision='float32'" in said[0]


# -------------------------------------------------------------------------------- products, against numpy


def bound(h: Any, weight: Any) -> NDArray[np.float64]:
    """Return what float32 may add to sums of h times weight: the sum of absolute values, times 2^-20."""
    return 2.0**-20 * (np.abs(h) @ np.abs(weight).T) + 1e-30


@pytest.mark.parametrize("n_features", [1, 2, 3, 31, 33, 150])
@pytest.mark.parametrize("latent_dim", [1, 7, 33])
def test_a_linear_model_multiplies_rounded_operands(n_features: int, latent_dim: int) -> None:
    data = X[:, :n_features] - np.float32(0.5)
    linear = Autoencoder(latent_dim, hidden=(), precision="bf16", random_state=0).partial_fit(data)
    state = linear.state_dict()
    code = rounded(data) @ rounded(state["code.weight"]).T + state["code.bias"]
    ours = linear.transform(data)
    limit = bound(data, state["code.weight"]) + 2.0**-22 * np.abs(code)
    assert (np.abs(ours - code) <= limit).all()
    output = rounded(ours) @ rounded(state["decoder.0.weight"]).T + state["decoder.0.bias"]
    limit = bound(ours, state["decoder.0.weight"]) + 2.0**-22 * np.abs(output)
    assert (np.abs(linear.inverse_transform(ours) - output) <= limit).all()
    # The float32 product is another number.
    if n_features * latent_dim > 1000:
        exact = data.astype(np.float64) @ state["code.weight"].T + state["code.bias"]
        assert np.abs(ours - exact).max() > 100 * np.abs(ours - code).max()


def test_ties_are_rounded_to_even() -> None:
    # 1 + 2^-8 lies between 1 and 1 + 2^-7, 1 + 3 * 2^-8 between 1 + 2^-7 and 1 + 2^-6.
    values = np.array([[1 + 2**-8], [1 + 3 * 2**-8], [-1 - 2**-8], [1 + 2**-8 + 2**-20]], np.float32)
    linear = Autoencoder(1, hidden=(), precision="bf16").load_state_dict(
        {"code.weight": [[1]], "code.bias": [0], "decoder.0.weight": [[1]], "decoder.0.bias": [0]}
    )
    assert linear.transform(values)[:, 0].tolist() == [1, 1 + 2**-6, -1, 1 + 2**-7]
    assert rounded(values)[:, 0].tolist() == [1, 1 + 2**-6, -1, 1 + 2**-7]


def test_biases_codes_and_outputs_are_not_rounded() -> None:
    third = np.float32(1 / 3)
    linear = Autoencoder(1, hidden=(), precision="bf16").load_state_dict(
        {"code.weight": [[0]], "code.bias": [third], "decoder.0.weight": [[0]], "decoder.0.bias": [third]}
    )
    assert linear.transform([[1.0]])[0, 0] == third
    assert linear.reconstruct([[1.0]])[0, 0] == third


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_deep_model_rounds_the_input_of_each_layer(activation: str) -> None:
    deep = model(hidden=(70, 33), activation=activation).fit(X)
    state, h = deep.state_dict(), X.astype(np.float64)
    from math import erf

    f = {
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "gelu": lambda x: x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2,
    }[activation]
    for name in ("encoder.0", "encoder.2"):
        h = f(rounded(h) @ rounded(state[f"{name}.weight"]).T + state[f"{name}.bias"])
    mu, logvar = (rounded(h) @ rounded(state[f"{head}.weight"]).T + state[f"{head}.bias"] for head in ("mu", "logvar"))
    for ours, expected in zip(deep.encode(X), (mu, logvar), strict=True):
        # A value on the border of two bfloat16 may go either way, and then moves its whole row a little.
        errors = np.abs(ours - expected) / np.abs(expected).mean()
        assert np.median(errors) < 1e-6
        assert np.sqrt(np.mean(errors**2)) < 1e-3
    float32 = model(hidden=(70, 33), activation=activation, precision="float32").load_state_dict(state)
    assert np.median(np.abs(float32.transform(X) - mu)) > 1e-4 * np.abs(mu).mean()


# ------------------------------------------------------------------------------------------- the same bits


def train(n_jobs: int | None, make: Any, data: NDArray[Any], y: Any = None, **parameters: Any) -> dict[str, bytes]:
    """Train in every way with a number of threads; return all results."""
    fitted = make(n_jobs=n_jobs, **parameters).fit(data, y)
    more = {} if y is None else {"y": y}
    fitted.apply_gradients(fitted.loss_and_gradients(data, **more)[1]).partial_fit(data, **more)
    return answers(fitted, data, **more)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_number_of_threads_changes_no_bit_for_any_likelihood(likelihood: str) -> None:
    chosen = LIKELIHOODS[likelihood]
    data = np.round(10 * X) if chosen == "multinomial" or "total" in likelihood else X
    alone = train(1, model, data, likelihood=chosen)
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, model, data, likelihood=chosen), alone) == [], n_jobs


@pytest.mark.parametrize(
    "extra",
    [
        {"corruption": MaskingNoise(0.3), "free_bits": 0.01},
        {"clip_norm": 0.5, "likelihood": Gaussian("per_feature"), "activation": "tanh"},
        {"n_importance_samples": 5, "doubly_reparameterized": True},
        {"early_stopping": True, "binarize": "bernoulli", "optimizer": "sgd"},
        {"hidden": (), "latent_dim": 1},
        {"hidden": (31, 65, 1), "batch_size": 1, "epochs": 1},
    ],
    ids=str,
)
def test_the_number_of_threads_changes_no_bit_of_whatever_else_a_step_does(extra: dict[str, Any]) -> None:
    alone = train(1, model, X[:150], **extra)
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, model, X[:150], **extra), alone) == [], n_jobs


@pytest.mark.parametrize("conditional", [False, True])
def test_the_number_of_threads_changes_no_bit_of_a_convolutional_model(conditional: bool) -> None:
    y = np.arange(len(IMAGES)) % 3 if conditional else None
    alone = train(1, convolutional, IMAGES, y, conditional=conditional)
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, convolutional, IMAGES, y, conditional=conditional), alone) == [], n_jobs


@pytest.mark.parametrize("make", [model, convolutional])
def test_inference_depends_neither_on_the_split_nor_on_the_threads(make: Any) -> None:
    data = X if make is model else IMAGES
    fitted = make(n_jobs=1).fit(data)
    whole = [fitted.transform(data), fitted.score_samples(data), fitted.reconstruct(data)]
    for size, n_jobs in ((1, 1), (7, 2), (64, 3)):
        fitted.set_params(n_jobs=n_jobs)
        blocks = [data[start : start + size] for start in range(0, len(data), size)]
        for method, expected in zip((fitted.transform, fitted.score_samples, fitted.reconstruct), whole, strict=True):
            assert np.array_equal(np.concatenate([method(block) for block in blocks]), expected), (size, method)


EVERYWHERE = """
import warnings
warnings.filterwarnings("ignore", "precision='bf16' saves no time here")
from helpers import sparse_counts
from test_precision import IMAGES, X, answers, convolutional, model
import hashlib
for make, data, more in (
    (model, X, {}),
    (model, X, {"hidden": (33, 40), "activation": "gelu", "clip_norm": 0.5, "likelihood": "gaussian"}),
    (model, sparse_counts(200, 150), {"likelihood": "negative_binomial"}),
    (convolutional, IMAGES, {}),
):
    found = answers(make(**more).fit(data), data)
    print(*[f"{name} {hashlib.sha256(bits).hexdigest()}" for name, bits in found.items()], sep="\\n")
"""


def test_both_instruction_sets_give_the_same_bits() -> None:
    check_same_output_of_both_sets(EVERYWHERE)


@pytest.mark.parametrize("make", [model, convolutional])
def test_it_is_not_float32(make: Any) -> None:
    data = X if make is model else IMAGES
    short, long = (make(precision=precision).fit(data) for precision in ("bf16", "float32"))
    assert differing(bits(short), bits(long)) == list(bits(long))
    assert short.history_["loss"][-1] == pytest.approx(long.history_["loss"][-1], rel=1e-2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("extra", [{}, {"clip_norm": 0.1}, {"nan_policy": "skip"}, {"early_stopping": True}], ids=str)
def test_rounded_copies_of_weights_follow_every_step(optimizer: Any, extra: dict[str, Any]) -> None:
    fitted = model(optimizer=optimizer, learning_rate=0.01, **extra).fit(X)
    for _ in range(2):
        fresh = model(optimizer=optimizer).load_state_dict(fitted.state_dict())
        assert differing(answers(fitted, X) | {"history": b""}, answers(fresh, X) | {"history": b""}) == []
        fitted.partial_fit(X).apply_gradients(fitted.loss_and_gradients(X)[1])
    fitted.load_state_dict(fresh.state_dict())
    assert differing(answers(fitted, X) | {"history": b""}, answers(fresh, X) | {"history": b""}) == []


# ------------------------------------------------------------------------------------------- files, resume


@pytest.mark.parametrize("make", [model, convolutional])
@pytest.mark.parametrize("way", ["save", "pickle", "deepcopy"])
def test_training_goes_on_with_the_same_bits_after(way: str, make: Any, tmp_path: Path) -> None:
    data = X if make is model else IMAGES
    whole = make(epochs=4).fit(data)
    half = make(epochs=2, warm_start=True).fit(data)
    if way == "save":
        half.save(tmp_path / "model")
        half = fastvae.load(tmp_path / "model").set_params(warm_start=True)
    else:
        half = pickle.loads(pickle.dumps(half)) if way == "pickle" else copy.deepcopy(half)
    assert half.precision == "bf16"
    assert same(half.fit(data), whole)
    assert half.history_ == whole.history_


def test_a_killed_fit_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = model(epochs=4).fit(X)
    with pytest.raises(Killed):
        model(epochs=4, callbacks=[killed_at(3)]).fit(X, checkpoint=tmp_path / "state", checkpoint_every=1)
    resumed = fastvae.resume(tmp_path / "state", X, callbacks=[killed_at(99)])
    assert resumed.precision == "bf16"
    assert same(resumed, whole)


def test_files_of_float32_models_do_not_name_the_precision_of_their_network(tmp_path: Path) -> None:
    found = {}
    for precision in ("float32", "bf16"):
        model(precision=precision).fit(X).save(tmp_path / precision)
        header, _ = parts((tmp_path / precision).read_bytes())
        texts = [text for text in header["__metadata__"].values() if '"n_features"' in text]
        found[precision] = [json.loads(text) for text in texts]
    assert all("precision" not in json.dumps(each) for each in found["float32"])
    assert any('"precision": "bf16"' in json.dumps(each) for each in found["bf16"])


def test_weights_are_those_of_float32_and_go_to_and_fro() -> None:
    short = model().fit(X)
    long = model(precision="float32").load_state_dict(short.state_dict())
    assert same(short, long)
    assert not np.array_equal(short.transform(X), long.transform(X))
    np.testing.assert_allclose(short.transform(X), long.transform(X), atol=0.02)
    assert np.array_equal(model().load_state_dict(long.state_dict()).transform(X), short.transform(X))


# ----------------------------------------------------------------------------------- another precision later


def test_a_warm_start_may_change_the_precision() -> None:
    short = model(warm_start=True).fit(X)
    weights = short.state_dict()
    # A fit that learns nothing, in float32: the weights are the same, what is computed is not.
    still = copy.deepcopy(short).set_params(precision="float32", learning_rate=1e-30).fit(X)
    moved = [name for name, array in still.state_dict().items() if not np.array_equal(array, weights[name])]
    assert moved == []
    assert np.array_equal(still.transform(X), model(precision="float32").load_state_dict(weights).transform(X))
    # The optimiser's moments, steps and the history go on.
    long = copy.deepcopy(short).set_params(precision="float32").fit(X)
    assert long.n_iter_ == 4
    assert len(long.history_["loss"]) == 4
    assert long.history_["loss"][:2] == short.history_["loss"]
    again = copy.deepcopy(short).fit(X)
    for name, array in again.state_dict().items():
        change, other = array - weights[name], long.state_dict()[name] - weights[name]
        assert 0 < np.linalg.norm(change - other) < 0.3 * np.linalg.norm(change), name


def test_a_pass_may_change_the_precision_and_back() -> None:
    short = model().partial_fit(X)
    there = copy.deepcopy(short).set_params(precision="float32", learning_rate=1e-30).partial_fit(X)
    back = there.set_params(precision="bf16").partial_fit(X)
    assert np.array_equal(back.transform(X), short.transform(X))
    assert back.n_iter_ == 3


def test_a_changed_precision_waits_for_the_next_training() -> None:
    short = model().fit(X)
    before = short.transform(X)
    assert np.array_equal(short.set_params(precision="float32").transform(X), before)
    with pytest.raises(ValueError, match="precision='half' is not known"):
        short.set_params(precision="half").partial_fit(X)
    assert np.array_equal(short.transform(X), before)


def test_a_warm_start_still_refuses_another_network() -> None:
    with pytest.raises(ValueError, match=r"parameters have changed \(activation\)"):
        model(warm_start=True).fit(X).set_params(precision="float32", activation="tanh").fit(X)


# ----------------------------------------------------------------------------------------- kinds of data


def test_missing_values_are_zeros_to_the_encoder() -> None:
    data = holed(X, 0.2)
    for indicator in (False, True):
        fitted = model(missing="mask", missing_indicator=indicator).fit(data)
        assert np.isfinite(fitted.score_samples(data)).all()
        filled = fitted.impute(data)
        assert np.array_equal(filled[~np.isnan(data)], data[~np.isnan(data)])
        if not indicator:
            assert np.array_equal(fitted.transform(data), fitted.transform(np.nan_to_num(data)))


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"hidden": ()},
        {"hidden": (33, 40), "clip_norm": 0.1, "activation": "tanh"},
        {"conditional": True, "corruption": MaskingNoise(0.4)},
    ],
    ids=str,
)
@pytest.mark.parametrize("columns", [1, 33, 150])
def test_sparse_rows_are_the_same_as_dense_ones(columns: int, extra: dict[str, Any]) -> None:
    rows = sparse_counts(201, columns, 0.08)
    y = np.arange(201) % 3 if extra.get("conditional") else None
    more = {} if y is None else {"y": y}
    options = {"likelihood": "poisson", "input_transform": "log1p"} | extra
    thin, thick = (model(**options).fit(data, y) for data in (rows, rows.toarray()))
    assert same(thin, thick)
    for threads in (1, 2):
        thin.set_params(n_jobs=threads)
        assert differing(answers(thin, rows, **more), answers(thick, rows.toarray(), **more)) == []


def test_the_code_of_a_sparse_row_does_not_depend_on_the_density_of_others() -> None:
    # A batch with more than a fifth of its values is computed as a dense one.
    data = sparse_counts(64, 100).toarray()
    data[5] = np.random.default_rng(0).integers(1, 6, 100)
    fitted = model(likelihood="poisson", input_transform="log1p").fit(csr_array(data))
    codes, alone = fitted.transform(csr_array(data)), fitted.transform(csr_array(data[5:6]))
    assert np.array_equal(codes[5:6], alone)
    assert np.array_equal(codes, fitted.transform(data))


def test_denoising_and_batch_normalisation_learn() -> None:
    hidden = (Dense(70, batch_norm=True),)
    for options in ({"corruption": SaltAndPepper(0.2)}, {"hidden": hidden}):
        losses = model(epochs=6, **options).fit(X).history_["loss"]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_recommendations_are_ranked_by_float32_logits_of_the_last_layer(n: int, exclude_seen: bool) -> None:
    clicks = (np.random.default_rng(2).random((70, 90)) < 0.2).astype(np.float32)
    clicks[:, 0] = 1
    fitted = Recommender(4, hidden=(33,), epochs=3, random_state=0, precision="bf16").fit(clicks)
    state = {name: array.astype(np.float64) for name, array in fitted.state_dict().items()}
    z = fitted.transform(clicks)
    h = np.tanh(rounded(z) @ rounded(state["decoder.0.weight"]).T + state["decoder.0.bias"])
    logits = h @ state["decoder.2.weight"].T + state["decoder.2.bias"]
    if exclude_seen:
        logits[clicks > 0] = -np.inf
    items, scores = fitted.recommend(clicks, n, exclude_seen=exclude_seen)
    np.testing.assert_allclose(scores, np.take_along_axis(logits, items, 1), rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores, -np.sort(-logits, axis=1)[:, :n], rtol=0, atol=1e-4)


@pytest.mark.parametrize("estimator", [CountVAE, TabularVAE, Imputer, Recommender])
def test_each_estimator_trains_with_it(estimator: Any) -> None:
    rng = np.random.default_rng(1)
    data = rng.poisson(2.0, (120, 40)) if estimator in (CountVAE, Recommender) else rng.normal(size=(120, 40))
    common = {"epochs": 2, "random_state": 0, "hidden": (64,)}
    short, long = (estimator(latent_dim=4, precision=each, **common).fit(data) for each in ("bf16", "float32"))
    ours, theirs = (each.state_dict() for each in (short, long))
    assert differing(bits(ours), bits(theirs))
    for name in theirs:
        assert np.linalg.norm(ours[name] - theirs[name]) <= 0.1 * np.linalg.norm(theirs[name]) + 0.02, name


def test_anomalies_are_found_with_it() -> None:
    data = np.random.default_rng(1).normal(size=(300, 10)) @ np.random.default_rng(2).normal(size=(10, 10))
    data[:6] *= 6
    detector = AnomalyDetector(0.03, hidden=(64,), random_state=0, precision="bf16").fit(data)
    assert detector.vae_.precision == "bf16"
    assert detector.predict(data)[:6].tolist() == [-1] * 6
    other = AnomalyDetector(0.03, hidden=(64,), random_state=0).fit(data)
    assert not np.array_equal(detector.score_samples(data), other.score_samples(data))
    assert np.corrcoef(detector.score_samples(data), other.score_samples(data))[0, 1] > 0.95


# ------------------------------------------------------------------------------------ far from ordinary sizes


def with_an_outlier() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return data, and the same with a value whose squared error is no float32, in the third batch of 16."""
    rows = X[:96, :6].copy()
    wild = rows.copy()
    wild[35, 2] = 1e15
    return rows, wild


def test_overflow_is_an_error_as_in_float32() -> None:
    rows, wild = with_an_outlier()
    for precision in ("bf16", "float32"):
        fitted = model(precision=precision, likelihood="gaussian", batch_size=16).partial_fit(rows[:16])
        with pytest.raises(FloatingPointError, match="diverged"):
            fitted.partial_fit(wild)
        assert all(np.isfinite(array).all() for array in fitted.state_dict().values())
        assert np.isfinite(fitted.transform(rows)).all()


def test_a_batch_that_overflows_is_skipped_on_request() -> None:
    rows, wild = with_an_outlier()
    fitted = model(likelihood="gaussian", batch_size=16, nan_policy="skip").partial_fit(rows[:16]).partial_fit(wild)
    assert fitted.n_skipped_batches_ == 1
    assert all(np.isfinite(array).all() for array in fitted.state_dict().values())
    assert np.isfinite(fitted.history_["loss"][-1])


def test_a_product_beyond_float32_is_an_error_as_in_float32() -> None:
    weights = {"code.weight": [[3e38]], "code.bias": [0], "decoder.0.weight": [[1]], "decoder.0.bias": [0]}
    for precision in ("bf16", "float32"):
        linear = Autoencoder(1, hidden=(), precision=precision).load_state_dict(weights)
        assert linear.transform([[0.5]])[0, 0] == pytest.approx(1.5e38, rel=2**-8)
        with pytest.raises(FloatingPointError, match="overflow"):
            linear.transform([[2.0]])
