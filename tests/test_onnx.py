"""export_onnx: valid models, whose outputs in onnxruntime and tract are those of fastvae."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exportable import CASES, EXPORTED, counts, dense, far, unit
from helpers import TIMEOUT
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, CountVAE, ItemResponse, TopicModel
from fastvae.likelihoods import NegativeBinomial

pytestmark = pytest.mark.filterwarnings("ignore:.*")

PARTS = ("encoder", "decoder", "reconstruct", "score")
Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home that is thrown away: runtimes may write to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def onnx(home: None) -> Any:
    return pytest.importorskip("onnx", reason="the checker of ONNX models is not installed")


@pytest.fixture(scope="module")
def onnxruntime(home: None) -> Any:
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def tract(home: None) -> Any:
    return pytest.importorskip("tract", reason="tract is not installed")


def exported(model: Any, part: str) -> bytes:
    file = io.BytesIO()
    model.export_onnx(file, part)
    return file.getvalue()


def run(onnxruntime: Any, model: Any, part: str, given: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(exported(model, part), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert [value.name for value in session.get_inputs()] == list(given)
    return dict(zip(names, session.run(None, given), strict=True))


def given_and_wanted(case: Any, part: str) -> tuple[Arrays, Arrays]:
    """The inputs of a part, and its outputs as fastvae has them."""
    model, X, y, condition = case
    columns = {} if condition is None else {"y": np.asarray(condition, np.float32)}
    x = {"X": np.asarray(X, np.float32), **columns}
    if isinstance(model, Autoencoder):
        codes = {"code": model.transform(X)}
    else:
        codes = dict(zip(("mu", "logvar"), model.encode(X, y=y), strict=True))
        codes |= {"theta": model.transform(X)} if isinstance(model, TopicModel) else {}
        codes |= {"ability": model.transform(X)} if isinstance(model, ItemResponse) else {}
    if part == "encoder":
        return x, codes
    if part == "decoder":
        name = "theta" if "theta" in codes else "z"
        z = codes.get("theta", codes.get("mu", codes.get("code")))
        return {name: z, **columns}, {"mean": rows(model.inverse_transform(z, y=y))}
    if part == "reconstruct":
        return x, {"reconstruction": rows(model.reconstruct(X, y=y))}
    if "code" in codes:
        return x, {"loss": -model.score_samples(X)}
    eps = np.random.default_rng(0).normal(size=codes["mu"].shape).astype(np.float32)
    return {**x, "eps": eps}, {"elbo": model.score_samples(X, y=y, eps=eps, n_samples=1)}


def rows(X: NDArray[Any]) -> NDArray[Any]:
    return X.reshape(len(X), -1)


def assert_close(found: Arrays, wanted: Arrays) -> None:
    """Equal up to 1e-5 of the size of a column."""
    for name, array in wanted.items():
        size = np.maximum(np.abs(array).max(0), 1e-30)
        np.testing.assert_allclose(found[name] / size, array / size, rtol=1e-5, atol=1e-5, err_msg=name)
    if "kl" in found:
        np.testing.assert_allclose(found["elbo"], -(found["reconstruction"] + found["kl"]), rtol=1e-5)


@pytest.mark.parametrize("name", EXPORTED)
def test_onnxruntime_returns_what_fastvae_returns(name: str, onnxruntime: Any) -> None:
    case = EXPORTED[name]()
    for part in PARTS:
        given, wanted = given_and_wanted(case, part)
        found = run(onnxruntime, case.model, part, given)
        assert_close(found, wanted)
        extra = {"reconstruction", "kl"} if "elbo" in wanted else set()
        assert found.keys() == wanted.keys() | extra
        single = run(onnxruntime, case.model, part, {name: array[:1] for name, array in given.items()})
        assert_close(single, {name: array[:1] for name, array in found.items()})


@pytest.mark.parametrize("name", EXPORTED)
def test_the_checker_accepts_every_model(name: str, onnx: Any) -> None:
    model = EXPORTED[name]().model
    for part in PARTS:
        read = onnx.load_model_from_string(exported(model, part))
        onnx.checker.check_model(read, full_check=True)
        assert (read.opset_import[0].version, read.ir_version) == (13, 8)
        assert (read.producer_name, read.producer_version) == ("fastvae", fastvae.__version__)
        entries = {entry.key: entry.value for entry in read.metadata_props}
        assert (entries["class"], entries["part"]) == (type(model).__name__, part)
        for value in (*read.graph.input, *read.graph.output):
            shape = value.type.tensor_type.shape.dim
            assert shape[0].dim_param == "n"
            assert value.doc_string
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert {node.domain for node in read.graph.node} == {""}


@pytest.mark.parametrize("name", EXPORTED)
def test_tract_returns_what_fastvae_returns(name: str, tract: Any, tmp_path: Path) -> None:
    case, path = EXPORTED[name](), str(tmp_path / "model.onnx")
    for part in PARTS:
        given, wanted = given_and_wanted(case, part)
        case.model.export_onnx(path, part)
        model = tract.onnx().load(path)
        for i, array in enumerate(given.values()):
            model.set_input_fact(i, f"{array.shape[0]},{array.shape[1]},f32")
        names = [model.output_name(i) for i in range(model.output_count())]
        outputs = model.into_model().into_runnable().run([np.ascontiguousarray(array) for array in given.values()])
        assert_close({name: value.to_numpy() for name, value in zip(names, outputs, strict=True)}, wanted)


@pytest.mark.parametrize("largest", [1e3, 1e6])
def test_scores_of_large_counts_keep_their_digits(largest: float, onnxruntime: Any) -> None:
    X = np.random.default_rng(0).uniform(0, largest, (40, 6)).round().astype(np.float32)
    for likelihood in ("poisson", NegativeBinomial(1e-3)):
        case = dense(X, likelihood=likelihood, epochs=30)
        given, wanted = given_and_wanted(case, "score")
        found = run(onnxruntime, case.model, "score", given)
        np.testing.assert_allclose(found["elbo"], wanted["elbo"], rtol=2e-5)


def test_noise_of_zeros_scores_at_the_posterior_mean(onnxruntime: Any) -> None:
    model, X, *_ = CASES["likelihood bernoulli"]()
    zeros = np.zeros((len(X), model.latent_dim), np.float32)
    found = run(onnxruntime, model, "score", {"X": X, "eps": zeros})
    np.testing.assert_allclose(found["elbo"], model.score_samples(X, eps=zeros), rtol=1e-5)


def test_an_exam_without_answers_has_ability_zero(onnxruntime: Any) -> None:
    for name in ("exam", "exam, two dimensions"):
        model, X, *_ = CASES[name]()
        empty = np.full_like(X, np.nan)
        found = run(onnxruntime, model, "encoder", {"X": empty})
        np.testing.assert_allclose(found["ability"], 0, atol=1e-6)


def test_condition_columns_are_the_input_y(onnxruntime: Any) -> None:
    X = np.concatenate([unit(), unit(2, seed=5)], 1)
    model = VAE(3, hidden=(9,), condition_columns=[12, 13], epochs=2, random_state=0).fit(X)
    found = run(onnxruntime, model, "encoder", {"X": X[:, :12], "y": X[:, 12:]})
    np.testing.assert_allclose(found["mu"], model.transform(X), rtol=1e-4, atol=1e-6)


def test_classes_are_in_the_metadata(onnx: Any) -> None:
    read = onnx.load_model_from_string(exported(CASES["labels"]().model, "encoder"))
    assert {entry.key: entry.value for entry in read.metadata_props}["classes"] == "[0, 1, 2]"


def test_a_file_is_written_atomically_and_by_bytes(tmp_path: Path) -> None:
    model = CASES["no hidden layers"]().model
    path = tmp_path / "encoder.onnx"
    path.write_bytes(b"old")
    model.export_onnx(path)
    assert path.read_bytes() == exported(model, "encoder") != exported(model, "decoder")
    assert os.listdir(tmp_path) == ["encoder.onnx"]
    with pytest.raises(OSError, match="nowhere"):
        model.export_onnx(tmp_path / "nowhere" / "encoder.onnx")


def test_mistakes_have_a_sentence(tmp_path: Path) -> None:
    model = CASES["no hidden layers"]().model
    with pytest.raises(ValueError, match="part='latent' is not known; use one of 'encoder', 'decoder'"):
        model.export_onnx(tmp_path / "x.onnx", "latent")
    with pytest.raises(fastvae.NotFittedError, match="this VAE is not fitted yet"):
        VAE().export_onnx(tmp_path / "x.onnx")
    with pytest.raises(TypeError, match="export_onnx writes to a path or a binary file object, not int"):
        model.export_onnx(3)
    assert os.listdir(tmp_path) == []


def test_it_is_written_without_the_onnx_package() -> None:
    code = (
        "import sys, io, numpy, fastvae; sys.modules['onnx'] = sys.modules['google'] = None\n"
        "model = fastvae.VAE(2, hidden=(3,), epochs=1).fit(numpy.random.random((9, 4)))\n"
        "model.export_onnx(f := io.BytesIO()); sys.exit(len(f.getvalue()) < 100)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT, check=False).returncode == 0


def test_the_cases_include_large_units() -> None:
    assert far().max() > 1e8
    assert counts().max() > 5


def test_given_sizes_are_an_input(onnxruntime: Any) -> None:
    X, sizes = counts(), np.random.default_rng(4).lognormal(size=len(counts())).astype(np.float32)
    model = CountVAE(3, hidden=(9,), size_factor="given", epochs=2, random_state=0).fit(X, size_factor=sizes)
    given: Arrays = {"X": X, "size_factor": sizes[:, np.newaxis]}
    assert_close(
        run(onnxruntime, model, "reconstruct", given), {"reconstruction": model.reconstruct(X, size_factor=sizes)}
    )
    eps = np.random.default_rng(0).normal(size=(len(X), 3)).astype(np.float32)
    wanted = model.score_samples(X, size_factor=sizes, eps=eps, n_samples=1)
    assert_close(run(onnxruntime, model, "score", given | {"eps": eps}), {"elbo": wanted})
    assert_close(run(onnxruntime, model, "encoder", {"X": X}), {"mu": model.transform(X)})
