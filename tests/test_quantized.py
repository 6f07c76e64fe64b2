"""Quantised models: how near to float32, the formula, the same bits, files, and what they refuse."""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import available, parts, resealed, run_python, sealed
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, CountVAE, FormatError, Imputer, TabularVAE, _core, layers, likelihoods

ROOT = Path(__file__).resolve().parents[1]
MNIST = ROOT.parent / "shared" / "data" / "mnist.npz"
GARMENTS = ROOT / "examples" / "data" / "fashion_mnist.npz"


def mnist() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images to train on and to test on, a row each."""
    with np.load(MNIST) as arrays:
        parts = arrays["x_train"][:20_000], arrays["x_test"][:2000]
    first, second = (part.reshape(-1, 784).astype(np.float32) / 255 for part in parts)
    return first, second


def garments() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with np.load(GARMENTS) as arrays:
        images = next(arrays[name] for name in arrays.files if arrays[name].ndim >= 2 and len(arrays[name]) > 1000)
    images = images.reshape(len(images), 784).astype(np.float32) / 255
    return images[:-500], images[-500:]


DATA = {
    "mnist": pytest.param(mnist, marks=pytest.mark.skipif(not MNIST.exists(), reason="needs MNIST at ../shared/data")),
    "garments": pytest.param(garments, marks=pytest.mark.skipif(not GARMENTS.exists(), reason=f"needs {GARMENTS}")),
}

rng = np.random.default_rng(0)
GREY = np.clip(rng.random((300, 6)) @ rng.random((6, 50)) / 3, 0, 1).astype(np.float32)


def small(**parameters: Any) -> VAE:
    chosen = {"hidden": (40, 36), "epochs": 3, "random_state": 0, "batch_size": 50} | parameters
    return VAE(3, **chosen)


@pytest.fixture(scope="module")
def model() -> VAE:
    return small().fit(GREY)


@pytest.fixture(params=["int8", "bf16"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ------------------------------------------------------------------------------------------------ how near


def bernoulli_loss(x: NDArray[Any], p: NDArray[Any]) -> float:
    """-log p(x|z) in nats per example, from means p."""
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1).mean())


@pytest.mark.parametrize("images", DATA.values(), ids=DATA)
def test_images_are_as_good_as_in_float32(images: Any, precision: str) -> None:
    train, test = images()
    vae = VAE(20, hidden=(400,), epochs=3, random_state=0).fit(train)
    quantized = vae.quantize(precision)
    codes, near = vae.transform(test), quantized.transform(test)
    assert min(np.corrcoef(a, b)[0, 1] for a, b in zip(codes.T, near.T, strict=True) if a.std() > 0.1) >= 0.999
    losses = [bernoulli_loss(test, model.reconstruct(test)) for model in (vae, quantized)]
    assert abs(losses[1] - losses[0]) < 0.1  # a nat is allowed; measured 0.003
    scores = [model.score_samples(test).mean() for model in (vae, quantized)]
    assert abs(scores[1] - scores[0]) < 0.2
    file, small_file = io.BytesIO(), io.BytesIO()
    vae.save(file, optimizer=False)
    quantized.save(small_file)
    assert len(small_file.getvalue()) < {"int8": 0.3, "bf16": 0.51}[precision] * len(file.getvalue())


KINDS = [
    likelihoods.Gaussian("shared"),
    likelihoods.Gaussian("per_feature"),
    likelihoods.Gaussian("decoder"),
    likelihoods.Poisson(),
    likelihoods.NegativeBinomial(),
    likelihoods.Multinomial(),
    "bernoulli",
]


@pytest.mark.parametrize("likelihood", KINDS, ids=str)
def test_every_likelihood_reads_the_outputs(likelihood: Any, precision: str) -> None:
    X = GREY if likelihood == "bernoulli" or isinstance(likelihood, likelihoods.Gaussian) else np.rint(9 * GREY)
    vae = small(likelihood=likelihood).fit(X)
    quantized = vae.quantize(precision)
    scores, near = vae.score_samples(X), quantized.score_samples(X)
    # The loss differs where codes and outputs do: compare with the spread over examples.
    assert np.abs(scores - near).mean() < 0.05 * scores.std() + 0.05
    assert np.corrcoef(vae.reconstruct(X).ravel(), quantized.reconstruct(X).ravel())[0, 1] > 0.999
    words = {"lengths": 9, "draw": True} if isinstance(likelihood, likelihoods.Multinomial) else {}
    assert quantized.sample(4, random_state=0, **words).shape == (4, 50)


def test_missing_values_conditions_and_normalised_layers(precision: str) -> None:
    X = GREY.copy()
    X[rng.random(X.shape) < 0.2] = np.nan
    labels = np.arange(len(X)) % 3
    for more, y in [
        ({"missing": "mask"}, None),
        ({"missing": "mask", "missing_indicator": True, "conditional": True}, labels),
    ]:
        vae = small(likelihood=likelihoods.Gaussian("shared"), **more).fit(X, y)
        arguments = {} if y is None else {"y": y}
        codes, near = vae.transform(X, **arguments), vae.quantize(precision).transform(X, **arguments)
        assert np.corrcoef(codes.ravel(), near.ravel())[0, 1] > 0.999
    normalised = small(hidden=(layers.Dense(40, batch_norm=True), 36)).fit(GREY)
    quantized = normalised.quantize(precision)
    assert "encoder.0.bias" not in quantized.state_dict()
    assert "encoder.1.running_mean" in quantized.state_dict()
    assert np.corrcoef(normalised.transform(GREY).ravel(), quantized.transform(GREY).ravel())[0, 1] > 0.999


def test_other_estimators(precision: str) -> None:
    autoencoder = Autoencoder(3, hidden=(40,), epochs=3, random_state=0).fit(GREY)
    assert np.abs(autoencoder.reconstruct(GREY) - autoencoder.quantize(precision).reconstruct(GREY)).max() < 0.05
    counts = rng.poisson(3 * np.exp(rng.normal(size=(200, 30)))).astype(np.float32)
    cells = CountVAE(3, hidden=(32,), epochs=2, random_state=0).fit(counts)
    near = cells.quantize(precision).transform(counts)
    assert np.corrcoef(cells.transform(counts).ravel(), near.ravel())[0, 1] > 0.999
    table = np.column_stack([rng.normal(size=200), rng.integers(0, 3, 200), np.exp(rng.normal(size=200))])
    tabular = TabularVAE(2, hidden=(32,), epochs=3, random_state=0).fit(table)
    small_tabular = tabular.quantize(precision)
    assert np.asarray(small_tabular.sample(5, random_state=0)).shape == (5, 3)
    assert np.corrcoef(tabular.transform(table).ravel(), small_tabular.transform(table).ravel())[0, 1] > 0.999
    holes = table.copy()
    holes[::7, 0] = np.nan
    imputer = Imputer(2, hidden=(32,), epochs=3, random_state=0).fit(holes)
    filled = np.asarray(imputer.quantize(precision).transform(holes), np.float64)
    assert not np.isnan(filled).any()
    assert np.array_equal(filled[1], np.asarray(imputer.transform(holes), np.float64)[1])


# ------------------------------------------------------------------------------------------------ the formula


def linear(x: NDArray[np.float32], state: dict[str, Any], name: str) -> NDArray[np.float32]:
    """A layer's output before the activation, by the definition."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if weight.dtype != np.int8:
        return (x.astype(np.float64) @ weight.T + bias).astype(np.float32)
    low, high = np.maximum(-x.min(axis=1), 0), np.maximum(x.max(axis=1), 0)
    inverse, scale = np.float32(255) / (low + high), (low + high) / np.float32(255)
    zero = np.rint(low * inverse)
    q = np.clip(np.rint(x * inverse[:, None]) + zero[:, None], 0, 255)
    sums = (q - zero[:, None]).astype(np.int64) @ weight.T.astype(np.int64)
    return sums.astype(np.float32) * scale[:, None] * state[f"{name}.weight_scale"] + bias


def test_codes_and_means_are_those_of_the_definition(model: VAE) -> None:
    quantized = model.quantize()
    state = quantized.state_dict()
    x = GREY
    for name in ("encoder.0", "encoder.2"):
        x = np.maximum(linear(x, state, name), 0)
    codes = linear(x, state, "mu")
    np.testing.assert_allclose(quantized.transform(GREY), codes, rtol=1e-4, atol=1e-5)
    z = quantized.transform(GREY)  # a rounding error of z must not move a later step
    for name in ("decoder.0", "decoder.2"):
        z = np.maximum(linear(z, state, name), 0)
    means = 1 / (1 + np.exp(-linear(z, state, "decoder.4")))
    # A hidden value on the border of two steps may fall on either side.
    assert np.quantile(np.abs(quantized.inverse_transform(quantized.transform(GREY)) - means), 0.99) < 1e-4


def test_weights_are_integers_with_scales(model: VAE) -> None:
    state, quantized = model.state_dict(), model.quantize().state_dict()
    for name, weight in state.items():
        if name in ("encoder.0.weight", "encoder.2.weight", "decoder.2.weight", "decoder.4.weight"):
            scale = quantized[f"{name}_scale"]
            assert quantized[name].dtype == np.int8
            np.testing.assert_array_equal(scale, np.abs(weight).max(axis=1) / np.float32(127))
            assert np.abs(quantized[name] * scale[:, None] - weight).max() <= 0.501 * scale.max()
        else:  # layers next to z, biases, the likelihood
            np.testing.assert_array_equal(quantized[name], weight)
    assert {name for name in quantized if name not in state} == {
        f"{name}.weight_scale" for name in ("encoder.0", "encoder.2", "decoder.2", "decoder.4")
    }


def test_zeros_constants_and_extremes(model: VAE) -> None:
    state = model.state_dict()
    for name in ("encoder.0.weight", "decoder.4.weight"):
        state[name][5] = 0  # all weights of an output
        state[name][7] = 0.25
    vae = copy.deepcopy(model).load_state_dict(state)
    quantized = vae.quantize()
    X = np.concatenate([np.zeros((2, 50)), np.ones((2, 50)), np.full((2, 50), 1e-40), GREY[:3]]).astype(np.float32)
    np.testing.assert_allclose(quantized.transform(X), vae.transform(X), atol=0.02)
    assert quantized.state_dict()["encoder.0.weight_scale"][5] == 0
    np.testing.assert_array_equal(quantized.transform(X[:2]), quantized.transform(X[4:6]))
    for bad in (np.nan, np.inf, -np.inf):
        X[1, 3] = bad
        with pytest.raises(ValueError, match=r"X\[1, 3\]"):
            quantized.transform(X)
    with pytest.raises(FloatingPointError, match="not a finite number"):
        copy.deepcopy(model).load_state_dict(
            {name: value * (1 if "bias" in name else 1e20) for name, value in state.items()}
        ).quantize().transform(X[4:])


# ------------------------------------------------------------------------------------------------ bfloat16


def rounded(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights rounded to bfloat16, to nearest, ties to even."""
    bits = weights.view(np.uint32)
    found: NDArray[np.uint32] = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return found.view(np.float32)


def with_bf16(model: Any) -> Any:
    """A copy with the same weights whose products have operands in bfloat16."""
    copied = copy.deepcopy(model)
    copied._fitted.set_precision("bf16")
    return copied


@pytest.mark.parametrize("likelihood", KINDS, ids=str)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("hidden", [(), (1,), (33, 7), (layers.Dense(40, batch_norm=True), 36)], ids=str)
def test_bf16_has_the_bits_of_operands_in_bf16(likelihood: Any, activation: str, hidden: Any) -> None:
    X = GREY if likelihood == "bernoulli" or isinstance(likelihood, likelihoods.Gaussian) else np.rint(9 * GREY)
    X = X[:, :41]
    vae = small(likelihood=likelihood, hidden=hidden, activation=activation, epochs=1).fit(X)
    same, quantized = with_bf16(vae), vae.quantize("bf16")
    for rows in (X, X[:1]):
        np.testing.assert_array_equal(quantized.transform(rows), same.transform(rows))
        np.testing.assert_array_equal(quantized.reconstruct(rows), same.reconstruct(rows))
        np.testing.assert_array_equal(quantized.score_samples(rows), same.score_samples(rows))
    assert not np.array_equal(vae.transform(X), quantized.transform(X))


def test_every_estimator_in_bf16_has_the_bits_of_operands_in_bf16(model: VAE) -> None:
    counts = rng.poisson(3 * np.exp(rng.normal(size=(90, 31)))).astype(np.float32)
    table = np.column_stack([rng.normal(size=90), rng.integers(0, 3, 90), np.exp(rng.normal(size=90))])
    labels = np.arange(len(counts)) % 3
    holes = table.copy()
    holes[::7, 0] = np.nan
    common = {"hidden": (32,), "epochs": 2, "random_state": 0}
    for fitted, X in [
        (Autoencoder(3, **common).fit(GREY), GREY),
        (CountVAE(3, **common).fit(counts), counts),
        (TabularVAE(2, **common).fit(table), table),
        (Imputer(2, **common).fit(holes), holes),
    ]:
        np.testing.assert_array_equal(fitted.quantize("bf16").transform(X), with_bf16(fitted).transform(X))
    conditional = small(conditional=True, likelihood=likelihoods.Poisson()).fit(counts, labels)
    for method in ("transform", "score_samples"):
        models = (conditional.quantize("bf16"), with_bf16(conditional))
        np.testing.assert_array_equal(*(getattr(vae, method)(counts, y=labels) for vae in models))
    trained = small(precision="bf16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a CPU without such products
        trained.fit(GREY)
    np.testing.assert_array_equal(trained.quantize("bf16").transform(GREY), trained.transform(GREY))
    assert trained.quantize("int8").state_dict()["encoder.0.weight"].dtype == np.int8
    loaded = small(precision="bf16").load_state_dict(model.quantize("bf16").state_dict())
    np.testing.assert_array_equal(loaded.transform(GREY), with_bf16(model).transform(GREY))


def test_weights_in_bf16_are_rounded(model: VAE, tmp_path: Path) -> None:
    state, quantized = model.state_dict(), model.quantize("bf16")
    quantized.save(tmp_path / "model")
    header, data = parts((tmp_path / "model").read_bytes())
    assert quantized.state_dict().keys() == state.keys()
    for name, value in quantized.state_dict().items():
        info = header[name]
        weight = name.endswith(".weight")
        assert value.dtype == np.float32
        assert (info["dtype"], info["shape"]) == ("BF16" if weight else "F32", list(value.shape))
        np.testing.assert_array_equal(value, rounded(state[name]) if weight else state[name])
        start, end = info["data_offsets"]
        assert data[start:end] == ((value.view(np.uint32) >> 16).astype("<u2") if weight else value).tobytes()
    assert not any(name.startswith("optimizer.") for name in header)
    # Weights in float32 are rounded too when they are set, and extremes keep their meaning.
    other = small(random_state=1).fit(GREY).quantize("bf16").load_state_dict(state)
    np.testing.assert_array_equal(other.transform(GREY), quantized.transform(GREY))
    for good in (1e-40, -0.0, 3.38e38):
        state["encoder.0.weight"][1, 2] = good
        got = other.load_state_dict(state).state_dict()["encoder.0.weight"]
        assert got.tobytes() == rounded(state["encoder.0.weight"]).tobytes()
    for bad in (np.nan, np.inf, 3.4e38):  # the largest bfloat16 is 3.39e38
        state["encoder.0.weight"][1, 2] = bad
        with pytest.raises(ValueError, match=r"encoder\.0\.weight"):
            other.load_state_dict(state)
    state["encoder.0.weight"][1, 2] = 3.4e38
    with pytest.raises(ValueError, match=r"encoder\.0\.weight contains 3.*rounds to infinity: leave"):
        copy.deepcopy(model).load_state_dict(state).quantize("bf16")


@pytest.mark.torch
def test_torch_reads_the_same_bf16(model: VAE) -> None:
    torch = pytest.importorskip("torch")
    file, quantized = io.BytesIO(), model.quantize("bf16")
    quantized.save(file)
    header, data = parts(file.getvalue())
    state = model.state_dict()
    for name, value in quantized.state_dict().items():
        if header[name]["dtype"] == "BF16":
            start, end = header[name]["data_offsets"]
            found = torch.frombuffer(bytearray(data[start:end]), dtype=torch.bfloat16).reshape(value.shape)
            np.testing.assert_array_equal(found.float().numpy(), value)
            assert torch.equal(found, torch.from_numpy(state[name]).bfloat16())


def test_a_file_with_wrong_bf16_is_refused(model: VAE) -> None:
    file, float32 = io.BytesIO(), io.BytesIO()
    model.quantize("bf16").save(file)
    model.save(float32, optimizer=False)
    header, data = parts(file.getvalue())
    for dtype, why in [("F16", 'is of type "F16"'), ("F32", None), ("I8", None)]:
        header["encoder.0.weight"]["dtype"] = dtype
        with pytest.raises(FormatError, match=why):
            fastvae.load(io.BytesIO(sealed(header, data)))

    def specified(**options: Any) -> Callable[[dict[str, str]], None]:
        def change(metadata: dict[str, str]) -> None:
            metadata["specification"] = json.dumps(json.loads(metadata["specification"]) | options)

        return change

    for good, options, why in [
        (float32, {"precision": "bf16", "inference_only": True}, "is of another type than BF16"),
        (file, {"inference_only": False}, "is of another type than F32"),
        (file, {"precision": "float32"}, "inference_only is for precision"),
    ]:
        with pytest.raises(FormatError, match=why):
            fastvae.load(io.BytesIO(resealed(good.getvalue(), specified(**options))))
    header, data = parts(file.getvalue())
    start, end = header["encoder.0.weight"]["data_offsets"]
    for half, text in [(b"\x80\x7f", "inf"), (b"\xc0\x7f", "NaN")]:
        damaged = data[: start + 6] + half + data[start + 8 :]
        with pytest.raises(FormatError, match="damaged"):
            fastvae.load(io.BytesIO(sealed(parts(file.getvalue())[0], damaged)))

        def of_damage(metadata: dict[str, str], damaged: bytes = damaged) -> None:
            checksum = f"{zlib.crc32(damaged[start:end]):08x}"
            metadata["checksums"] = json.dumps(json.loads(metadata["checksums"]) | {"encoder.0.weight": checksum})

        whole = file.getvalue()[: -len(data)] + damaged
        with pytest.raises(FormatError, match=rf"encoder\.0\.weight contains {text}"):
            fastvae.load(io.BytesIO(resealed(whole, of_damage)))


# ------------------------------------------------------------------------------------------------ the same bits


def test_bits_do_not_depend_on_threads_blocks_and_storage(precision: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X = np.where(rng.random((700, 120)) < 0.2, rng.random((700, 120)), 0).astype(np.float32)
    X[3] = 0
    vae = small(n_jobs=1).fit(X).quantize(precision)
    codes, means, scores = vae.transform(X), vae.reconstruct(X), vae.score_samples(X)
    parts = [vae.transform(part) for part in np.array_split(X, [1, 2, 9, 140, 500])]
    np.testing.assert_array_equal(np.concatenate(parts), codes)
    np.testing.assert_array_equal(vae.transform(sparse.csr_matrix(X)), codes)
    np.testing.assert_array_equal(vae.score_samples(sparse.csr_matrix(X)), scores)
    vae.set_params(n_jobs=3)
    np.testing.assert_array_equal(vae.transform(X), codes)
    np.testing.assert_array_equal(vae.reconstruct(X), means)


def test_sparse_values_of_both_signs(precision: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X = np.where(rng.random((90, 70)) < 0.3, rng.normal(size=(90, 70)), 0).astype(np.float32)
    vae = small(likelihood=likelihoods.Gaussian("shared")).fit(X).quantize(precision)
    np.testing.assert_array_equal(vae.transform(sparse.csr_matrix(X)), vae.transform(X))


CODES = """
import sys
import numpy as np
import fastvae
model = fastvae.load(sys.argv[1])
X = np.random.default_rng(1).random((37, 50), dtype=np.float32)
codes = model.transform(X)
np.save(sys.argv[2], np.concatenate([codes, model.transform(X[:1])]))
"""


def test_codes_do_not_depend_on_the_instruction_set(model: VAE, tmp_path: Path, precision: str) -> None:
    # Of a network whose float32 layers in int8 have sums of one term: those of all sets have the same bits.
    state = model.state_dict()
    for name in ("mu.weight", "logvar.weight") if precision == "int8" else ():
        state[name][:] = np.eye(*state[name].shape)
    copy.deepcopy(model).load_state_dict(state).quantize(precision).save(tmp_path / "model")
    found = {}
    for isa in filter(available, ("avx512", "avx2", "portable")):
        run_python(CODES, str(tmp_path / "model"), str(tmp_path / f"{isa}.npy"), FASTVAE_ISA=isa)
        found[isa] = np.load(tmp_path / f"{isa}.npy")
    assert "portable" in found
    for isa, codes in found.items():
        np.testing.assert_array_equal(codes, found["portable"], err_msg=isa)


# ------------------------------------------------------------------------------------------------ files and copies


def test_saved_pickled_and_copied_models_have_the_same_bits(model: VAE, tmp_path: Path, precision: str) -> None:
    quantized = model.quantize(precision)
    quantized.save(tmp_path / "model.safetensors")
    loaded = fastvae.load(tmp_path / "model.safetensors")
    for other in (loaded, pickle.loads(pickle.dumps(quantized)), copy.deepcopy(quantized)):
        assert repr(other) == repr(quantized) == f"{model!r}.quantize({precision!r})"
        np.testing.assert_array_equal(other.transform(GREY), quantized.transform(GREY))
        np.testing.assert_array_equal(other.score_samples(GREY), quantized.score_samples(GREY))
        assert other.history_ == model.history_
        assert other.n_iter_ == model.n_iter_
        other.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    assert "quantized" not in repr(model)
    assert model.state_dict()["encoder.0.weight"].dtype == np.float32


def test_the_file_is_one_of_safetensors(model: VAE, tmp_path: Path) -> None:
    quantized = model.quantize()
    quantized.save(tmp_path / "model")
    header, data = parts((tmp_path / "model").read_bytes())
    for name, value in quantized.state_dict().items():
        info = header[name]
        assert (info["dtype"], info["shape"]) == ({"int8": "I8", "float32": "F32"}[value.dtype.name], list(value.shape))
        start, end = info["data_offsets"]
        assert data[start:end] == value.tobytes()
    assert not any(name.startswith("optimizer.") for name in header)


def test_a_file_with_wrong_types_or_integers_is_refused(model: VAE) -> None:
    quantized = model.quantize()
    file, float32 = io.BytesIO(), io.BytesIO()
    quantized.save(file)
    model.save(float32, optimizer=False)
    good = file.getvalue()
    header, data = parts(good)
    assert header["encoder.0.weight"]["dtype"] == "I8"
    assert header["encoder.0.bias"]["dtype"] == "F32"
    for dtype, why in [("U8", 'is of type "U8"'), ("F32", None)]:
        header["encoder.0.weight"]["dtype"] = dtype
        with pytest.raises(FormatError, match=why):
            fastvae.load(io.BytesIO(sealed(header, data)))

    def of_bytes(metadata: dict[str, str]) -> None:
        metadata["specification"] = json.dumps(json.loads(metadata["specification"]) | {"precision": "int8"})

    with pytest.raises(FormatError, match=r"is of another type than I8|weight_scale"):
        fastvae.load(io.BytesIO(resealed(float32.getvalue(), of_bytes)))
    at = good.index(quantized.state_dict()["encoder.0.weight"].tobytes())
    damaged = good[:at] + b"\x80" + good[at + 1 :]  # -128
    with pytest.raises(FormatError, match="damaged"):
        fastvae.load(io.BytesIO(damaged))
    size = quantized.state_dict()["encoder.0.weight"].size

    def of_damage(metadata: dict[str, str]) -> None:
        checksum = f"{zlib.crc32(damaged[at : at + size]):08x}"
        metadata["checksums"] = json.dumps(json.loads(metadata["checksums"]) | {"encoder.0.weight": checksum})

    with pytest.raises(FormatError, match=r"encoder\.0\.weight contains -128"):
        fastvae.load(io.BytesIO(resealed(damaged, of_damage)))


def test_state_dicts_move_between_quantised_models(model: VAE) -> None:
    first, second = model.quantize(), small(random_state=1).fit(GREY).quantize()
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(second.transform(GREY), first.transform(GREY))
    for name, value in [("encoder.0.weight", 0.5), ("encoder.0.weight", -128), ("encoder.0.weight_scale", -1)]:
        state = first.state_dict()
        state[name] = np.full_like(state[name], value, dtype=np.float32)
        with pytest.raises(ValueError, match=name):
            second.load_state_dict(state)
    with pytest.raises(ValueError, match="weight_scale"):
        first.load_state_dict(model.state_dict())


# ------------------------------------------------------------------------------------------------ what they refuse


def test_training_and_exports_name_the_remedy(model: VAE, precision: str) -> None:
    quantized = model.quantize(precision)
    gradients = model.loss_and_gradients(GREY)[1]
    for call in (
        lambda: quantized.fit(GREY),
        lambda: quantized.partial_fit(GREY),
        lambda: quantized.loss_and_gradients(GREY),
        lambda: quantized.apply_gradients(gradients),
        lambda: quantized.export_onnx(io.BytesIO()),
        lambda: quantized.quantize(),
    ):
        with pytest.raises(ValueError, match=rf"quantised to {precision}, for inference only: use the model"):
            call()
    only = ', "inference_only":true' if precision == "bf16" else ""
    engine = _core.Engine(f'{{"n_features":5,"latent_dim":2,"encoder":[4],"precision":"{precision}"{only}}}')
    assert engine.parameters()[0].sum() == 0  # an empty model


def test_what_has_no_quantised_form_is_told(model: VAE) -> None:
    documents = rng.poisson(1, (60, 20))
    with pytest.raises(ValueError, match="leave a TopicModel in float32: its topics are its result"):
        fastvae.TopicModel(3, epochs=1, random_state=0).fit(documents).quantize()
    answers = rng.integers(0, 2, (60, 8))
    with pytest.raises(ValueError, match="leave a ItemResponse in float32: its item parameters"):
        fastvae.ItemResponse(epochs=1, random_state=0).fit(answers).quantize()
    with pytest.raises(ValueError, match="leave a Recommender in float32: recommend searches"):
        fastvae.Recommender(3, hidden=(8,), epochs=1, random_state=0).fit((documents > 1).astype(np.float32)).quantize()
    with pytest.raises(ValueError, match="without hidden layers has no int8 form"):
        small(hidden=()).fit(GREY).quantize()
    images = small(hidden=(layers.Conv2d(4, 3),), image_shape=(10, 5)).fit(GREY.reshape(-1, 10, 5))
    for precision in ("int8", "bf16"):
        with pytest.raises(ValueError, match="convolutional network has no quantised form: leave its weights"):
            images.quantize(precision)
    with pytest.raises(ValueError, match="precision"):
        model.quantize("int4")
    with pytest.raises(fastvae.NotFittedError):
        small().quantize()
    wide = VAE(2, hidden=(1,), epochs=1, random_state=0).fit(np.zeros((2, 66_312), np.float32))
    with pytest.raises(ValueError, match="66312 inputs is too wide for int8: beyond 66311"):
        wide.quantize()


def test_one_encoder_layer_is_enough() -> None:
    vae = small(decoder_hidden=()).fit(GREY)
    state = vae.quantize().state_dict()
    assert state["encoder.0.weight"].dtype == np.int8
    assert state["decoder.0.weight"].dtype == np.float32
    vae = small(hidden=(), decoder_hidden=(20,)).fit(GREY)
    state = vae.quantize().state_dict()
    assert state["mu.weight"].dtype == np.float32
    assert state["decoder.2.weight"].dtype == np.int8
    assert np.abs(vae.reconstruct(GREY) - vae.quantize().reconstruct(GREY)).max() < 0.02


def test_quantize_leaves_scikit_learn_at_ease(model: VAE, precision: str) -> None:
    base = pytest.importorskip("sklearn.base")
    fresh = base.clone(model.quantize(precision))
    assert fresh.fit(GREY).state_dict()["encoder.0.weight"].dtype == np.float32
    assert sys.getsizeof(pickle.dumps(model.quantize(precision))) < sys.getsizeof(pickle.dumps(model))
