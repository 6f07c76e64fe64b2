"""What users pass: arrays of every kind, and everything that is wrong, refused with a sentence that names it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, is_finite, run_python, steps, tiny
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, NotFittedError
from fastvae.likelihoods import Bernoulli, Gaussian
from fastvae.optimizers import SGD, Adagrad, Adam, AdamW

RNG = np.random.default_rng(20)
GREY = (RNG.integers(0, 17, (523, 70)) / 16).astype(np.float32)  # exact in float16; more than a block and a panel
BINARY = (GREY > 0.5).astype(np.float32)
BYTES = RNG.integers(0, 256, (523, 70), dtype=np.uint8)
X = GREY[:40, :6]
REFUSED = (ValueError, TypeError)


def snapshot(model: VAE) -> dict[str, Any]:
    """Return all that a model has learned, to compare bit for bit."""
    learned = {name: getattr(model, name) for name in ("n_features_in_", "n_iter_", "elapsed_", "interrupted_")}
    history = {key: np.array(values).tobytes() for key, values in model.history_.items()}
    return {"learned": learned, "history": history, "weights": bits(model), "steps": steps(model)}


# ------------------------------------------------------------------------------------------- input kinds


def misaligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same values at an odd address."""
    out = np.frombuffer(b"x" + array.tobytes(), dtype=array.dtype, offset=1).reshape(array.shape)
    assert not out.flags.aligned
    return out


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that cannot be written."""
    out = array.copy()
    out.flags.writeable = False
    return out


def spread(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view with gaps between rows and columns."""
    out = np.full((2 * array.shape[0], 3 * array.shape[1]), 99, array.dtype)
    out[::2, ::3] = array
    return out[::2, ::3]


def backwards(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view with negative strides."""
    return array[::-1, ::-1].copy()[::-1, ::-1]


def transposed(array: NDArray[Any]) -> NDArray[Any]:
    """Return the transposed view of a transposed copy."""
    return array.T.copy().T


def structured_field(array: NDArray[Any]) -> NDArray[Any]:
    """Return a field of a packed structured array: odd strides."""
    out = np.zeros(array.shape, dtype=[("pad", "u1"), ("value", array.dtype)])
    out["value"] = array
    return out["value"]


LAYOUTS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "backwards": backwards,
    "spread": spread,
    "transposed": transposed,
    "misaligned": misaligned,
    "read-only": read_only,
    "field": structured_field,
}


def as_pandas(array: NDArray[Any]) -> Any:
    return pytest.importorskip("pandas", reason="pandas, whose frames this test passes, is not installed").DataFrame(
        array
    )


def as_polars(array: NDArray[Any]) -> Any:
    return pytest.importorskip("polars", reason="polars, whose frames this test passes, is not installed").DataFrame(
        array
    )


def as_torch(array: NDArray[Any]) -> Any:
    torch = pytest.importorskip("torch", reason="torch, whose tensors this test passes, is not installed")
    return torch.from_numpy(array.copy())


CONTAINERS: dict[str, tuple[Callable[[NDArray[Any]], Any], NDArray[np.float32]]] = {
    "float16": (lambda a: a.astype(np.float16), GREY),
    "uint8": (lambda a: a.astype(np.uint8), BINARY),
    "objects": (lambda a: a.astype(object), GREY),
    "longdouble": (lambda a: a.astype(np.longdouble), GREY),
    "big-endian float32": (lambda a: a.astype(">f4"), GREY),
    "big-endian float64": (lambda a: a.astype(">f8"), GREY),
    "bool": (lambda a: a.astype(bool), BINARY),
    "int64": (lambda a: a.astype(np.int64), BINARY),
    "int8": (lambda a: a.astype(np.int8), BINARY),
    "uint16": (lambda a: a.astype(np.uint16), BINARY),
    "big-endian int32": (lambda a: a.astype(">i4"), BINARY),
    "lists": (lambda a: a.tolist(), GREY),
    "lists of ints": (lambda a: a.astype(int).tolist(), BINARY),
    "numpy.matrix": (lambda a: a.view(np.matrix), GREY),
    "a masked array without masked values": (np.ma.masked_array, GREY),
    "pandas": (as_pandas, GREY),
    "pandas float64": (lambda a: as_pandas(a.astype(np.float64)), GREY),
    "pandas bool": (lambda a: as_pandas(a.astype(bool)), BINARY),
    "polars": (as_polars, GREY),
    "torch": (as_torch, GREY),
    "torch float64": (lambda a: as_torch(a.astype(np.float64)), GREY),
    "torch transposed": (lambda a: as_torch(a.T).T, GREY),
}


def everything(data: Any) -> list[NDArray[Any]]:
    """Train on data in every way and ask every question about it."""
    model = tiny(validation_fraction=0.2, batch_size=100).fit(data)
    answers: list[Any] = [*model.history_.values(), *model.state_dict().values()]
    model = tiny(batch_size=100).partial_fit(data).fit(data, validation_data=data)
    answers += [*model.history_.values(), *model.partial_fit(data).state_dict().values()]
    losses, gradients = model.loss_and_gradients(data)
    answers += [*losses.values(), *gradients.values(), *model.evaluate(data).values(), model.score(data)]
    answers += [model.transform(data), *model.encode(data), model.reconstruct(data), model.score_samples(data)]
    return [np.asarray(answer) for answer in answers]


def check_equal(given: Any, plain: NDArray[np.float32]) -> None:
    """Demand the same bits from both."""
    assert plain.flags.c_contiguous
    for ours, theirs in zip(everything(given), everything(plain), strict=True):
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_every_layout_gives_the_bits_of_a_plain_float32_array(dtype: str, layout: str) -> None:
    if dtype == "uint8":
        plain, source = BYTES.astype(np.float32) / np.float32(255), BYTES
    else:
        plain, source = GREY, GREY.astype(dtype)
    given = np.frombuffer(source.tobytes(), dtype).reshape(source.shape) if layout == "misaligned" else None
    given = LAYOUTS[layout](source) if given is None or dtype != "uint8" else given
    assert given.dtype == dtype
    check_equal(given, plain)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_gives_the_bits_of_a_plain_float32_array(kind: str) -> None:
    make, plain = CONTAINERS[kind]
    check_equal(make(plain), plain)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "float16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_mapped_files_give_the_bits_of_a_plain_float32_array(tmp_path: Path, dtype: str, order: str) -> None:
    source = BYTES if dtype == "uint8" else GREY.astype(dtype)
    np.save(tmp_path / "x.npy", np.asarray(source, order=order))  # type: ignore[call-overload]
    given = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(given, np.memmap)
    check_equal(given, BYTES.astype(np.float32) / np.float32(255) if dtype == "uint8" else GREY)


def test_views_without_strides_are_read_in_place() -> None:
    check_equal(np.broadcast_to(GREY[:1], (40, 70)), np.repeat(GREY[:1], 40, axis=0))


def test_float64_is_rounded_to_the_nearest_float32() -> None:
    data = np.random.default_rng(3).random((50, 6))
    assert not np.array_equal(data, data.astype(np.float32))
    check_equal(data, data.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_the_users_array_is_left_alone(dtype: str) -> None:
    data = (BYTES if dtype == "uint8" else BINARY).astype(dtype)
    before = data.tobytes()
    everything(data)
    assert data.tobytes() == before


@pytest.mark.parametrize(
    "form", [np.float64, np.float16, ">f4", np.asfortranarray, backwards, misaligned, list], ids=str
)
def test_codes_and_noise_may_have_any_form_too(form: Any) -> None:
    eps = (np.random.default_rng(0).integers(-16, 17, (40, 2)) / 8).astype(np.float32)
    given = eps.astype(form) if form in (np.float64, np.float16, ">f4") else form(eps)
    model = tiny().fit(X)
    assert np.array_equal(model.inverse_transform(given), model.inverse_transform(eps))
    assert np.array_equal(model.score_samples(X, eps=given), model.score_samples(X, eps=eps))
    first, second = tiny().partial_fit(X, eps=given), tiny().partial_fit(X, eps=eps)
    assert snapshot(first)["weights"] == snapshot(second)["weights"]


def test_uint8_codes_and_noise_are_numbers_not_pictures() -> None:
    codes = np.random.default_rng(0).integers(0, 2, (40, 2), dtype=np.uint8)
    model = tiny().fit(X)
    assert np.array_equal(model.inverse_transform(codes), model.inverse_transform(codes.astype(np.float32)))
    assert np.array_equal(model.score_samples(X, eps=codes), model.score_samples(X, eps=codes.astype(np.float32)))


# ------------------------------------------------------------------------------------ never copied whole

MEMORY = """
import sys, tracemalloc, warnings
import numpy as np
import fastvae

warnings.filterwarnings("ignore", ".*posterior has collapsed")  # X is noise

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

rows, cols, dtype, order = int(sys.argv[1]), 250, np.dtype(sys.argv[2]), sys.argv[3]
whole = np.empty((rows, cols), dtype, order="F" if order == "F" else "C")
rng = np.random.default_rng(0)
for start in range(0, rows, 5000):
    part = rng.integers(0, 256, (min(5000, rows - start), cols), dtype=np.uint8)
    whole[start:start + 5000] = part if dtype == np.uint8 else part / 255
del part
X = whole[::-1, ::-1] if order == "backwards" else whole
make = lambda **more: fastvae.VAE(2, hidden=(8,), epochs=1, batch_size=500, random_state=0, n_jobs=2, **more)
model = make().fit(X[:2000])
model.score(X[:2000]), model.transform(X[:2000])
questions = {
    "fit": lambda: make().fit(X),
    "fit with validation_fraction": lambda: make(validation_fraction=0.5).fit(X),
    "partial_fit": lambda: model.partial_fit(X),
    "transform": lambda: model.transform(X),
    "encode": lambda: model.encode(X),
    "score_samples": lambda: model.score_samples(X),
    "score": lambda: model.score(X),
}
tracemalloc.start()
for name, ask in questions.items():
    tracemalloc.reset_peak()
    python, process = tracemalloc.get_traced_memory()[0], peak()
    ask()
    print(name, tracemalloc.get_traced_memory()[1] - python, peak() - process, sep=",")
print("array", X.nbytes, peak(), sep=",")
"""


@pytest.mark.parametrize(
    ("rows", "dtype", "order"),
    [(40_000, "float64", "F"), (40_000, "float32", "backwards"), (100_000, "uint8", "C")],
)
def test_the_data_are_never_copied_whole(rows: int, dtype: str, order: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc, which this system lacks")
    *questions, (_, size, whole) = parsed(run_python(MEMORY, str(rows), dtype, order))
    assert len(questions) == 7
    assert int(whole) > int(size) >= 25e6  # the measure sees the array itself
    for name, python, process in questions:
        # Row numbers of a validation split are 8 bytes a row, codes 16; the smallest copy would be 25 MB.
        assert int(python) < 12e6, f"{name}: numpy took {python} bytes for an array of {size}"
        assert int(process) < 16e6, f"{name}: the process grew by {process} bytes for an array of {size}"


def parsed(table: str) -> list[list[str]]:
    return [line.split(",") for line in table.splitlines()]


def test_a_memory_mapped_file_is_never_copied_whole(tmp_path: Path) -> None:
    rows = 40_000
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float64, shape=(rows, 64))
    mapped[:] = 0.5
    del mapped
    data = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        tiny(batch_size=512, validation_fraction=0.1).fit(data).score_samples(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.nbytes > 20e6
    assert peak < 3e6


# ----------------------------------------------------------------------------------------------- bad data


def torch_tensor(make: Callable[[Any], Any]) -> Any:
    torch = pytest.importorskip("torch", reason="torch, whose tensors this test passes, is not installed")
    return make(torch)


def sparse(kind: str) -> Any:
    module = pytest.importorskip("scipy.sparse", reason="scipy, whose matrices this test passes, is not installed")
    return getattr(module, kind)(X)


def with_value(value: float, dtype: str = "float32") -> NDArray[Any]:
    out = X.astype(dtype)
    out[3, 2] = value
    return out


# What is passed, what is raised, and what the text must say besides the name of the argument.
SHAPELESS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a number": (lambda: 3.0, ValueError, "scalar.*2-D"),
    "a 0-D array": (lambda: np.float32(0.5), ValueError, "scalar.*2-D"),
    "a 1-D array": (lambda: X[0], ValueError, r"1-D.*\(6,\).*2-D.*reshape\(1, -1\)"),
    "a flat list": (lambda: [0.0, 1.0], ValueError, r"1-D.*\(2,\).*reshape\(-1, 1\)"),
    "an empty list": (lambda: [], ValueError, "1-D"),
    "a 3-D array": (lambda: np.zeros((4, 2, 3)), ValueError, r"3 dimensions.*\(4, 2, 3\).*reshape\(len\("),
    "a 4-D array": (lambda: np.zeros((4, 1, 2, 3), np.uint8), ValueError, r"4 dimensions.*reshape\(len\("),
    "no rows": (lambda: np.zeros((0, 6)), ValueError, r"empty.*0 examples.*\(0, 6\)"),
    "no columns": (lambda: np.zeros((4, 0)), ValueError, r"empty.*0 feature\(s\).*\(4, 0\)"),
    "objects": (lambda: np.full((4, 6), object()), TypeError, "objects.*row 0, column 0 is <object.*float32"),
    "None": (lambda: None, TypeError, "objects"),
    "a dictionary": (lambda: {"a": [1.0]}, TypeError, "objects"),
    "an empty generator": (lambda: (row for row in X[:0]), ValueError, "1-D"),
    "complex numbers": (lambda: X.astype(complex), ValueError, "complex.*float32"),
    "strings": (lambda: X.astype(str), TypeError, "strings.*float32"),
    "a string": (lambda: "0.5", TypeError, "strings"),
    "byte strings": (lambda: X.astype("S4"), TypeError, "byte strings"),
    "dates": (lambda: np.zeros((4, 6), "M8[s]"), TypeError, "datetime64"),
    "records": (lambda: np.zeros((4, 6), [("a", "f4")]), TypeError, "float32"),
    "a ragged list": (lambda: [[0.0, 1.0], [1.0]], ValueError, "not a rectangular array"),
    "a list with a string": (lambda: [[0.0, "a"]], TypeError, "strings.*row 0, column 1 is 'a'"),
    "a list with None": (lambda: [[0.0] * 5 + [None]], ValueError, r"\[0, 5\] is NaN"),
    "a masked array": (lambda: np.ma.masked_equal(X, X[0, 0]), ValueError, r"masked.*filled\("),
    "torch requires_grad": (
        lambda: torch_tensor(lambda torch: torch.ones(4, 6, requires_grad=True)),
        TypeError,
        r"requires grad.*\.detach\(\)",
    ),
    "torch bfloat16": (
        lambda: torch_tensor(lambda torch: torch.ones(4, 6, dtype=torch.bfloat16)),
        TypeError,
        r"bfloat16.*\.float\(\)",
    ),
    "NaN": (lambda: with_value(np.nan), ValueError, r"\[3, 2\] is NaN"),
    "NaN in float64": (lambda: with_value(np.nan, "float64"), ValueError, r"\[3, 2\] is NaN"),
    "NaN in float16": (lambda: with_value(np.nan, "float16"), ValueError, r"\[3, 2\] is NaN"),
    "infinity": (lambda: with_value(np.inf), ValueError, r"\[3, 2\] is inf.*finite"),
    "minus infinity": (lambda: with_value(-np.inf), ValueError, r"\[3, 2\] is -inf.*finite"),
    "large": (lambda: with_value(3e38), ValueError, r"\[3, 2\] is 3e38.*scale"),
    "more than float32 holds": (lambda: with_value(1e39, "float64"), ValueError, r"\[3, 2\] is 1e39.*overflow.*scale"),
    "far more": (lambda: with_value(-1e300, "longdouble"), ValueError, r"\[3, 2\] is -1e\+?300"),
}
SPARSE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    kind: (lambda kind=kind: sparse(kind), TypeError, r"sparse.*toarray\(\)")  # type: ignore[misc]
    for kind in ("csr_matrix", "csr_array", "coo_array")
}
BERNOULLI: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "above 1": (lambda: with_value(1.5), ValueError, r"\[3, 2\] is 1\.5.*Bernoulli.*\[0, 1\].*gaussian"),
    "just above 1": (lambda: with_value(1.00001), ValueError, r"\[3, 2\] is 1\.00001.*Bernoulli"),
    "below 0": (lambda: with_value(-0.25), ValueError, r"\[3, 2\] is -0\.25.*Bernoulli.*gaussian"),
    "just below 0": (lambda: with_value(-1e-5, "float64"), ValueError, r"\[3, 2\] is -0\.00001.*Bernoulli"),
    "0..255 in int64": (lambda: np.full((4, 6), 255), ValueError, r"\[0, 0\] is 255.*Bernoulli.*scale"),
    "0..255 in float64": (lambda: np.full((4, 6), 255.0), ValueError, r"\[0, 0\] is 255.*Bernoulli.*scale"),
}
WRONG_WIDTH = (lambda: X[:, :5], ValueError, "5 features.*6 features")

UNFITTED: dict[str, Callable[[VAE, Any], Any]] = {
    "fit": lambda model, data: model.fit(data),
    "partial_fit": lambda model, data: model.partial_fit(data),
    "validation_data": lambda model, data: model.fit(X, validation_data=data),
    "validation tuple": lambda model, data: model.fit(X, validation_data=(data, None)),
}
FITTED: dict[str, Callable[[VAE, Any], Any]] = {
    "partial_fit after fit": lambda model, data: model.partial_fit(data),
    "transform": lambda model, data: model.transform(data),
    "encode": lambda model, data: model.encode(data),
    "reconstruct": lambda model, data: model.reconstruct(data),
    "score_samples": lambda model, data: model.score_samples(data),
    "score": lambda model, data: model.score(data),
    "evaluate": lambda model, data: model.evaluate(data),
    "loss_and_gradients": lambda model, data: model.loss_and_gradients(data),
}


def name_of(method: str) -> str:
    return "validation_data" if method.startswith("validation") else "X"


TRAINING_REFUSES = SHAPELESS | BERNOULLI
ENCODERS = ("transform", "encode", "reconstruct")


@pytest.mark.parametrize(
    ("method", "bad"),
    [(m, b) for m in UNFITTED for b in TRAINING_REFUSES if (m, b) != ("validation_data", "None")],
)
def test_training_refuses_bad_data_and_says_why(method: str, bad: str) -> None:
    make, error, text = TRAINING_REFUSES[bad]
    model = tiny()
    with pytest.raises(error, match=rf"(?s){name_of(method)}\b.*{text}"):
        UNFITTED[method](model, make())
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize("bad", [*SHAPELESS, *BERNOULLI, "wrong width"])
def test_a_fitted_model_refuses_bad_data_says_why_and_stays_as_it_was(method: str, bad: str) -> None:
    make, error, text = (SHAPELESS | BERNOULLI | {"wrong width": WRONG_WIDTH})[bad]
    model = tiny().fit(X)
    before = snapshot(model)
    if method in ENCODERS and bad in BERNOULLI:  # the encoder takes numbers that the likelihood refuses
        assert np.isfinite(np.asarray(FITTED[method](model, make()))).all()
        return
    with pytest.raises(error, match=rf"(?s)X\b.*{text}"):
        FITTED[method](model, make())
    assert snapshot(model) == before


def test_validation_data_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"validation_data has 5 features.*6 features"):
        tiny().fit(X, validation_data=X[:, :5])


@pytest.mark.parametrize("data", [(), (None,), ([], [])], ids=str)
def test_a_useless_validation_tuple_is_refused(data: Any) -> None:
    with pytest.raises(REFUSED, match="validation_data"):
        tiny().fit(X, validation_data=data)


@pytest.mark.parametrize("bad", BERNOULLI)
def test_the_gaussian_likelihood_takes_any_finite_value(bad: str) -> None:
    data = BERNOULLI[bad][0]()
    assert tiny(likelihood="gaussian", learning_rate=1e-6).fit(data).transform(data).shape == (len(data), 2)


def test_the_ends_of_the_unit_interval_are_inside() -> None:
    data = np.array([[0.0, 1.0, -0.0], [1.0, 0.0, 1 + 1e-12]])  # the last rounds to 1 in float32
    assert tiny().fit(data).score_samples(data).shape == (2,)


READERS = FITTED | {"fit": UNFITTED["fit"]}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("row", [0, 600, 1999])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_bad_value_is_found_wherever_it_is(reader: str, row: int, n_jobs: int) -> None:
    data = np.zeros((2000, 130))
    model = tiny(n_jobs=n_jobs).partial_fit(data[:4])
    data[row, 129] = np.nan
    with pytest.raises(ValueError, match=rf"X\[{row}, 129\] is NaN"):
        READERS[reader](model, data)


@pytest.mark.parametrize("row", [0, 600, 1999])
def test_one_bad_code_is_found_wherever_it_is(row: int) -> None:
    codes = np.zeros((2000, 2))
    codes[row, 1] = np.inf
    with pytest.raises(ValueError, match=rf"Z\[{row}, 1\] is inf"):
        tiny(n_jobs=2).fit(X).inverse_transform(codes)


# ------------------------------------------------------------------------------------- use before fitting


BEFORE_FIT: dict[str, Callable[[VAE], Any]] = {
    "transform": lambda model: model.transform(X),
    "encode": lambda model: model.encode(X),
    "inverse_transform": lambda model: model.inverse_transform(X[:, :2]),
    "reconstruct": lambda model: model.reconstruct(X),
    "sample": lambda model: model.sample(3),
    "score_samples": lambda model: model.score_samples(X),
    "score": lambda model: model.score(X),
    "evaluate": lambda model: model.evaluate(X),
    "loss_and_gradients": lambda model: model.loss_and_gradients(X),
    "apply_gradients": lambda model: model.apply_gradients({}),
    "state_dict": lambda model: model.state_dict(),
    "get_feature_names_out": lambda model: model.get_feature_names_out(),
}


@pytest.mark.parametrize("error", [NotFittedError, ValueError, AttributeError])
@pytest.mark.parametrize("method", BEFORE_FIT)
def test_nothing_can_be_asked_before_fitting(method: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"VAE is not fitted.*fit.*load_state_dict"):
        BEFORE_FIT[method](tiny())


def test_a_failed_first_fit_leaves_the_model_unfitted() -> None:
    model = tiny()
    with pytest.raises(ValueError, match="X"):
        model.fit(X[0])
    with pytest.raises(NotFittedError):
        model.transform(X)


# ----------------------------------------------------------------------------------------- bad parameters

NAN, INF = float("nan"), float("inf")
NOT_POSITIVE_INTEGERS: list[Any] = [0, -1, 1.0, 2.5, NAN, INF, True, False, None, "3", [3], np.float64(3), 3j]
NOT_RATES: list[Any] = [-1e-3, NAN, INF, -INF, True, None, "0.1", [0.1], 1j]
BAD_PARAMETERS: dict[str, list[Any]] = {
    "latent_dim": NOT_POSITIVE_INTEGERS,
    "batch_size": NOT_POSITIVE_INTEGERS,
    "epochs": NOT_POSITIVE_INTEGERS,
    "hidden": [None, "400", 4.0, True, 0, -3, (0,), (4, -1), (4.0,), (True,), ("4",), (None,), [[4]], {4}, {4: 4}, NAN],
    "decoder_hidden": ["400", 4.0, True, 0, -3, (0,), (4, -1), (4.0,), (True,), ("4",), (None,), [[4]], {4}, NAN],
    "activation": ["ReLU", "swish", "", None, 1, True, ["relu"], np.tanh],
    "objective": ["ELBO", "mse", "", None, 0, True, ["elbo"]],
    "likelihood": [
        *["mse", "Bernoulli", "", None, 1, True, Bernoulli, Gaussian, ["bernoulli"]],
        *[Gaussian(scale) for scale in (0, -1.0, NAN, INF, True, None, "learned", (1.0,), np.ones(3), 1e-60, 1e60)],  # type: ignore[arg-type]
        *[Gaussian("decoder", floor=floor) for floor in (0, -1.0, 1e-7, 1e6, NAN, INF, True, None, "low")],  # type: ignore[arg-type]
        Gaussian(1.0, floor=0),
        *[Gaussian(mean=mean) for mean in ("tanh", "", None, 1, True)],  # type: ignore[arg-type]
        *[Gaussian(scale, mean="sigmoid") for scale in ("shared", "per_feature")],
    ],
    "optimizer": [
        *["Adam", "lbfgs", "", None, 1, True, Adam, ["adam"], Gaussian()],
        *[Adam(beta1=value) for value in (-0.1, 1.0, NAN, "0.9", None, True)],  # type: ignore[arg-type]
        *[Adam(beta2=value) for value in (-0.1, 1.0, NAN)],
        *[Adam(eps=value) for value in (0.0, -1e-8, NAN, INF)],
        *[AdamW(weight_decay=value) for value in (-0.1, NAN, INF, "0.1")],  # type: ignore[arg-type]
        *[SGD(momentum=value) for value in (-0.1, 1.0, NAN)],
        *[SGD(nesterov=True), SGD(weight_decay=-1.0), Adagrad(lr_decay=-1.0), Adagrad(lr_decay=INF), Adagrad(eps=0.0)],
    ],
    "learning_rate": [0, 0.0, *NOT_RATES],
    "beta": NOT_RATES,
    "validation_fraction": [1, 1.0, 1.5, *NOT_RATES],
    "n_jobs": [0, -2, 1.0, True, "2", [1], 1025, 10**30, NAN],
    "random_state": [-1, 2**64, 1.0, True, "0", [0], NAN],
    "progress": [0, 1, "yes", "bar", [True]],
}
NAMED = {
    "likelihood": r"likelihood=|[Ss]cale|Gaussian",
    "optimizer": r"optimizer=|beta|eps|weight_decay|momentum|nesterov|lr_decay",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}={value!r}"[:90])
        for name, values in BAD_PARAMETERS.items()
        for value in values
    ],
)
def test_fit_refuses_a_bad_parameter_and_names_it(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=NAMED.get(name, rf"{name}.*=")):
        tiny(**{name: value}).fit(X)


@pytest.mark.parametrize("name", sorted(BAD_PARAMETERS.keys() - {"epochs", "validation_fraction", "progress"}))
def test_partial_fit_refuses_a_bad_parameter_and_names_it(name: str) -> None:
    value = BAD_PARAMETERS[name][0]
    with pytest.raises(ValueError, match=NAMED.get(name, rf"{name}.*=")):
        tiny(**{name: value}).partial_fit(X)


@pytest.mark.parametrize("name", ["hidden", "decoder_hidden", "latent_dim"])
@pytest.mark.parametrize("width", [2**31, 2**40, 2**62, 2**63, 2**64, 10**30])
def test_absurdly_large_widths_are_refused_by_name(name: str, width: int) -> None:
    model = tiny(**{name: width if name == "latent_dim" else (width,)})
    with pytest.raises(ValueError, match=rf"\b({name}|{width})\b"):
        model.fit(X)
    with pytest.raises(ValueError, match=rf"\b({name}|{width})\b"):
        model.load_state_dict(tiny().fit(X).state_dict())


def test_too_many_parameters_in_all_are_refused() -> None:
    with pytest.raises(ValueError, match="parameters"):
        tiny(hidden=(2**15, 2**15, 2)).fit(X)


LARGE: list[tuple[str, Any]] = [
    ("batch_size", 2**63),
    ("batch_size", 2**64),
    ("learning_rate", 1e38),
    ("learning_rate", 1e39),
    ("learning_rate", 1e300),
    ("learning_rate", 10**400),
    ("beta", 1e39),
    ("beta", 10**400),
    ("likelihood", Gaussian(10**400)),
    ("optimizer", SGD(weight_decay=1e60)),
    ("optimizer", SGD(weight_decay=10**400)),
    ("optimizer", AdamW(weight_decay=1e60)),
    ("optimizer", Adam(eps=1e-60)),
    ("optimizer", Adagrad(eps=1e-60)),
    ("optimizer", Adam(beta1=1 - 1e-12)),
    ("optimizer", Adam(beta2=1 - 1e-12)),
]


@pytest.mark.parametrize(("name", "value"), [pytest.param(n, v, id=f"{n}={v!r}"[:90]) for n, v in LARGE])
@pytest.mark.parametrize("epochs", [1, 3])
def test_extreme_numbers_are_refused_by_name_or_leave_finite_weights(name: str, value: Any, epochs: int) -> None:
    data = X.copy()
    data[:, 0] = 0  # a dead pixel: its gradient is zero
    model = tiny(batch_size=100, epochs=epochs).set_params(**{name: value})
    error: Exception | None = None
    try:
        model.fit(data)
    except (ValueError, FloatingPointError) as raised:
        error = raised
    if isinstance(error, ValueError):
        assert name in str(error) or type(value).__name__ in str(error)
    else:
        assert error is None or "learning_rate" in str(error)
        assert is_finite(model)


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (3, 0.1), (3, 0.9)])
def test_a_validation_split_with_an_empty_side_is_refused(n: int, fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"validation_fraction={fraction}.*{n} examples leaves no examples"):
        tiny(validation_fraction=fraction).fit(X[:n])


def test_two_kinds_of_validation_are_refused() -> None:
    with pytest.raises(ValueError, match="validation_data or validation_fraction"):
        tiny(validation_fraction=0.5).fit(X, validation_data=X)


def test_numpys_numbers_are_numbers() -> None:
    model = tiny(
        latent_dim=np.int64(2),
        hidden=np.array([8]),
        batch_size=np.uint8(16),
        epochs=np.int32(1),
        beta=np.float32(1),
        learning_rate=np.float64(1e-3),
        random_state=np.int64(0),
        n_jobs=np.int64(1),
    )
    assert snapshot(model.fit(X))["weights"] == snapshot(tiny().fit(X))["weights"]


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("likelihood", Gaussian(np.float32(0.5)), Gaussian(0.5)),  # type: ignore[arg-type]
        ("likelihood", Gaussian(np.float64(0.5)), Gaussian(0.5)),
        ("likelihood", Gaussian(np.int64(2)), Gaussian(2)),  # type: ignore[arg-type]
        ("optimizer", SGD(momentum=np.float32(0.5)), SGD(momentum=0.5)),  # type: ignore[arg-type]
        ("optimizer", SGD(momentum=np.float64(0.5)), SGD(momentum=0.5)),
    ],
)
def test_numpys_numbers_are_numbers_inside_likelihoods_and_optimisers(name: str, value: Any, plain: Any) -> None:
    first, second = tiny(**{name: value}).fit(X), tiny(**{name: plain}).fit(X)
    assert snapshot(first)["weights"] == snapshot(second)["weights"]


@pytest.mark.parametrize("n", [0, -1, 2.0, True, None, "3", [3]])
def test_sample_refuses_a_bad_number(n: Any) -> None:
    with pytest.raises(ValueError, match="n="):
        tiny().fit(X).sample(n)


@pytest.mark.parametrize("state", [-1, 2**64, 1.0, True, "0"])
def test_sample_refuses_a_bad_seed(state: Any) -> None:
    with pytest.raises(ValueError, match="random_state="):
        tiny().fit(X).sample(3, random_state=state)


@pytest.mark.parametrize(
    "ask", ["model.sample(10**12)", "model.sample(2**62)", "model.sample(10**30)", "normal((10**12,), 0)"]
)
def test_asking_for_more_memory_than_there_is_raises_instead_of_killing_the_process(ask: str) -> None:
    resource = pytest.importorskip("resource", reason="memory cannot be limited on this system")
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
import numpy as np, fastvae
model = fastvae.VAE(hidden=(8,), epochs=1, random_state=0).fit(np.full((40, 6), 0.5))
normal = fastvae.functional.standard_normal
try:
    {ask}
except (MemoryError, ValueError) as error:
    print("refused", error)
"""
    assert resource.RLIMIT_AS
    printed = run_python(code, OPENBLAS_NUM_THREADS="1")
    assert printed.startswith("refused")


# ------------------------------------------------------------------------------------------- bad noise, codes


BAD_NOISE: dict[str, tuple[Any, type[Exception], str]] = {
    "one row too few": (np.zeros((39, 2)), ValueError, r"\(39, 2\).*\(40, 2\)"),
    "one column too many": (np.zeros((40, 3)), ValueError, r"\(40, 3\).*\(40, 2\)"),
    "transposed": (np.zeros((2, 40)), ValueError, r"\(2, 40\).*\(40, 2\)"),
    "one row for all": (np.zeros((1, 2)), ValueError, r"\(1, 2\).*\(40, 2\)"),
    "1-D": (np.zeros(80), ValueError, r"\(80,\).*\(40, 2\)"),
    "a number": (0.0, ValueError, r"\(\).*\(40, 2\)"),
    "3-D": (np.zeros((1, 40, 2)), ValueError, r"\(1, 40, 2\).*\(40, 2\)"),
    "NaN": (np.full((40, 2), np.nan), ValueError, "finite"),
    "infinity": (np.full((40, 2), np.inf), ValueError, "finite"),
    "more than float32 holds": (np.full((40, 2), 1e39), ValueError, "finite"),
    "strings": (np.full((40, 2), "a"), TypeError, "strings"),
    "complex": (np.zeros((40, 2), complex), ValueError, "complex"),
}
NOISE_TAKERS: dict[str, Callable[[VAE, Any], Any]] = {
    "partial_fit": lambda model, eps: model.partial_fit(X, eps=eps),
    "score_samples": lambda model, eps: model.score_samples(X, eps=eps),
    "evaluate": lambda model, eps: model.evaluate(X, eps=eps),
    "loss_and_gradients": lambda model, eps: model.loss_and_gradients(X, eps),
}


@pytest.mark.parametrize("method", NOISE_TAKERS)
@pytest.mark.parametrize("bad", BAD_NOISE)
def test_bad_noise_is_refused_and_nothing_changes(method: str, bad: str) -> None:
    eps, error, text = BAD_NOISE[bad]
    model = tiny().fit(X)
    before = snapshot(model)
    with pytest.raises(error, match=rf"eps\b.*{text}"):
        NOISE_TAKERS[method](model, eps)
    assert snapshot(model) == before


@pytest.mark.parametrize("bad", BAD_NOISE)
def test_bad_noise_leaves_an_unfitted_model_unfitted(bad: str) -> None:
    eps, error, text = BAD_NOISE[bad]
    model = tiny()
    with pytest.raises(error, match=rf"eps\b.*{text}"):
        model.partial_fit(X, eps=eps)
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("bad", SHAPELESS | SPARSE)
def test_inverse_transform_refuses_bad_codes_and_says_why(bad: str) -> None:
    make, error, text = (SHAPELESS | SPARSE)[bad]
    with pytest.raises(error, match=rf"(?s)Z\b.*{text}"):
        tiny(latent_dim=6).fit(X).inverse_transform(make())


@pytest.mark.parametrize("columns", [1, 3])
def test_inverse_transform_refuses_the_wrong_number_of_columns(columns: int) -> None:
    with pytest.raises(ValueError, match=rf"Z has {columns} columns.*latent_dim is 2"):
        tiny().fit(X).inverse_transform(np.zeros((4, columns)))


# ------------------------------------------------------------------------------------------ bad state dicts


def replaced(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state | {name: value}


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def parameter(state: dict[str, Any]) -> Any:
    torch = pytest.importorskip("torch", reason="torch, whose tensors this test passes, is not installed")
    return torch.nn.Parameter(torch.ones(2, 8))


def bfloat16(state: dict[str, Any]) -> Any:
    torch = pytest.importorskip("torch", reason="torch, whose tensors this test passes, is not installed")
    return torch.ones(2, 8, dtype=torch.bfloat16)


BAD_STATES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing weight": (without("mu.weight"), "missing.*mu.weight"),
    "missing bias": (without("decoder.2.bias"), "missing.*decoder.2.bias"),
    "missing first weight": (without("encoder.0.weight"), "encoder.0.weight"),
    "unknown": (replaced("decoder.4.weight", np.ones((2, 2))), "unknown.*decoder.4.weight"),
    "unknown scale": (replaced("likelihood.log_scale", np.ones(())), "unknown.*likelihood.log_scale"),
    "unknown key type": (lambda state: state | {7: np.ones(2)}, "unknown.*7"),
    "transposed": (lambda state: state | {"mu.weight": state["mu.weight"].T}, r"mu.weight.*\(8, 2\).*\(2, 8\)"),
    "flat": (lambda state: state | {"mu.weight": state["mu.weight"].ravel()}, r"mu.weight.*\(16,\).*\(2, 8\)"),
    "bias as a column": (replaced("mu.bias", np.ones((2, 1))), r"mu.bias.*\(2, 1\).*\(2,\)"),
    "scalar": (replaced("mu.bias", 1.0), r"mu.bias.*\(\).*\(2,\)"),
    "None": (replaced("mu.weight", None), "mu.weight"),
    "NaN": (replaced("mu.weight", np.full((2, 8), np.nan)), "mu.weight.*finite"),
    "infinity": (replaced("decoder.0.bias", np.full(8, np.inf)), "decoder.0.bias.*finite"),
    "more than float32 holds": (replaced("mu.weight", np.full((2, 8), 1e300)), "mu.weight.*finite"),
    "complex": (replaced("mu.weight", np.ones((2, 8), complex)), "mu.weight.*complex"),
    "strings": (replaced("mu.weight", np.full((2, 8), "a")), "mu.weight"),
    "objects": (replaced("mu.weight", np.full((2, 8), object())), "mu.weight"),
    "ragged": (replaced("mu.weight", [[1.0], [1.0, 2.0]]), "mu.weight"),
    "ragged first weight": (replaced("encoder.0.weight", [[1.0], [1.0, 2.0]]), "encoder.0.weight"),
    "torch parameter": (lambda state: state | {"mu.weight": parameter(state)}, r"mu.weight.*detach\(\)"),
    "torch bfloat16": (lambda state: state | {"mu.weight": bfloat16(state)}, r"mu.weight.*float\(\)"),
    "empty": (lambda state: {}, r"encoder\.0\.weight"),
    "a list": (lambda state: list(state.items()), "mapping|encoder.0.weight"),
    "nothing": (lambda state: None, "mapping|encoder.0.weight"),
}


@pytest.mark.parametrize("bad", BAD_STATES)
def test_a_fitted_model_refuses_a_wrong_state_dict_and_stays_as_it_was(bad: str) -> None:
    make, text = BAD_STATES[bad]
    model = tiny().fit(X)
    before = snapshot(model)
    with pytest.raises(REFUSED, match=text):
        model.load_state_dict(make(model.state_dict()))
    assert snapshot(model) == before


@pytest.mark.parametrize("bad", BAD_STATES)
def test_an_unfitted_model_refuses_a_wrong_state_dict_and_stays_unfitted(bad: str) -> None:
    make, text = BAD_STATES[bad]
    model = tiny()
    with pytest.raises(REFUSED, match=text):
        model.load_state_dict(make(tiny().fit(X).state_dict()))
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("bad", BAD_STATES)
def test_wrong_gradients_are_refused_and_nothing_changes(bad: str) -> None:
    make, text = BAD_STATES[bad]
    model = tiny().fit(X)
    before = snapshot(model)
    with pytest.raises(REFUSED, match=text):
        model.apply_gradients(make(model.state_dict()))
    assert snapshot(model) == before


def test_a_fitted_model_refuses_the_state_dict_of_another_width() -> None:
    model = tiny().fit(X)
    with pytest.raises(ValueError, match=r"encoder\.0\.weight.*\(8, 5\).*\(8, 6\)"):
        model.load_state_dict(tiny().fit(X[:, :5]).state_dict())


def test_a_state_dict_without_features_is_refused() -> None:
    model = tiny()
    with pytest.raises(ValueError, match=r"encoder\.0\.weight|a layer of"):
        model.load_state_dict(tiny().fit(X).state_dict() | {"encoder.0.weight": np.ones((8, 0))})
    assert not hasattr(model, "n_features_in_")


# ---------------------------------------------------------------------------- a failed fit loses nothing


FAILING_FITS: dict[str, Callable[[VAE], Any]] = {
    "1-D": lambda model: model.fit(X[0]),
    "empty": lambda model: model.fit(X[:0]),
    "strings": lambda model: model.fit(X.astype(str)),
    "NaN": lambda model: model.fit(with_value(np.nan)),
    "out of range": lambda model: model.fit(with_value(2.0)),
    "NaN in other data of another width": lambda model: model.fit(np.full((9, 3), np.nan)),
    "bad validation data": lambda model: model.fit(X[:20], validation_data=with_value(np.nan)),
    "validation data of another width": lambda model: model.fit(X[:20], validation_data=X[:, :3]),
    "useless split": lambda model: model.set_params(validation_fraction=0.01).fit(X),
} | {
    name: lambda model, name=name: model.set_params(**{name: BAD_PARAMETERS[name][0]}).fit(X)  # type: ignore[misc]
    for name in BAD_PARAMETERS
}


@pytest.mark.parametrize("failure", FAILING_FITS)
def test_after_a_failed_fit_the_old_model_is_intact(failure: str) -> None:
    model = tiny(validation_fraction=0.1).fit(X)
    before, codes, parameters = snapshot(model), model.transform(X), model.get_params()
    with pytest.raises(REFUSED):
        FAILING_FITS[failure](model)
    model.set_params(**parameters)
    assert snapshot(model) == before
    assert np.array_equal(model.transform(X), codes)
    twin = tiny(validation_fraction=0.1).fit(X).partial_fit(X)
    assert snapshot(model.partial_fit(X))["weights"] == snapshot(twin)["weights"]


# -------------------------------------------------------------------------------------------- exotic sizes


@pytest.mark.parametrize("rows", [1, 2, 33])
@pytest.mark.parametrize("features", [1, 2, 65])
@pytest.mark.parametrize("latent_dim", [1, 40])
@pytest.mark.parametrize(
    "likelihood", ["bernoulli", Gaussian("shared"), Gaussian("per_feature"), Gaussian("decoder")], ids=str
)
@pytest.mark.parametrize(
    "parameters",
    [{}, {"hidden": ()}, {"hidden": (1,)}, {"decoder_hidden": ()}, {"batch_size": 1}, {"batch_size": 1000}],
    ids=str,
)
def test_the_smallest_and_oddest_sizes_train(
    rows: int, features: int, latent_dim: int, likelihood: Any, parameters: dict[str, Any]
) -> None:
    data = GREY[:rows, :features]
    common = {"latent_dim": latent_dim, "likelihood": likelihood} | parameters
    start = tiny(**common, optimizer="sgd", learning_rate=1e-30).fit(data)
    model = tiny(**common, epochs=60, learning_rate=3e-3).fit(data)
    assert is_finite(model)
    assert model.transform(data).shape == (rows, latent_dim)
    assert model.reconstruct(data).shape == (rows, features)
    assert model.sample(3, draw=True).shape == (3, features)
    assert all(part.shape == (rows, features) and np.isfinite(part).all() for part in model.predictive(data, 3))
    assert np.isfinite(model.score_samples(data)).all()
    eps = np.zeros((rows, latent_dim))
    assert model.evaluate(data, eps=eps)["loss"] < start.evaluate(data, eps=eps)["loss"]


def test_the_version_is_the_packages() -> None:
    metadata = pytest.importorskip("importlib.metadata", reason="a standard module")
    assert fastvae.__version__ == fastvae.show_config()["version"] == metadata.version("fastvae-cpu")
