"""save, load, pickle and copy of estimators: the same bits, the same configuration, and clear refusals."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import re
import struct
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import answers, parts, reads_as_damaged, resealed, sealed
from test_old_files import FOLDERS

import fastvae
from fastvae import VAE, Autoencoder, corruption, likelihoods, optimizers, schedules
from fastvae.datasets import load_digits

X = load_digits()[0][:200]
Model = VAE | Autoencoder
SMALL: dict[str, Any] = {"latent_dim": 3, "hidden": (9,), "epochs": 2, "batch_size": 32, "random_state": 0}
MODELS: dict[str, Model] = {
    "plain": VAE(**SMALL),
    "linear": VAE(**SMALL | {"hidden": ()}),
    "decoder's scale": VAE(likelihood=likelihoods.Gaussian("decoder", floor=0.25), **SMALL),
    "sigmoid means": VAE(likelihood=likelihoods.Gaussian("decoder", mean="sigmoid"), **SMALL),
    "learned scale": VAE(likelihood=likelihoods.Gaussian("per_feature", floor=0.25), optimizer="sgd", **SMALL),
    "everything": VAE(
        decoder_hidden=[7, 8],
        activation="gelu",
        likelihood=likelihoods.Gaussian(0.5),
        beta=schedules.cyclical(0, 1, epochs=1.5),
        free_bits=0.1,
        capacity=schedules.linear(0, 5, steps=30),
        corruption=corruption.SaltAndPepper(0.1),
        optimizer=optimizers.AdamW(weight_decay=0.1),
        learning_rate=schedules.exponential(1e-2, 1e-3, epochs=2),
        clip_norm=100.0,
        validation_fraction=0.25,
        early_stopping=True,
        n_jobs=1,
        **SMALL,
    ),
    "autoencoder": Autoencoder(**SMALL),
    "denoiser": Autoencoder(loss="bernoulli", corruption=corruption.MaskingNoise(0.3), optimizer="adagrad", **SMALL),
}
LEARNED = ("n_features_in_", "n_iter_", "history_", "loss_curve_", "elapsed_", "interrupted_")


def through_a_file(model: Model, tmp_path: Path) -> Any:
    path = tmp_path / "model.safetensors"
    model.save(path)
    return fastvae.load(path)


WAYS: dict[str, Callable[[Model, Path], Any]] = {
    "file": through_a_file,
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
}


@pytest.fixture(params=MODELS, ids=str)
def fitted(request: pytest.FixtureRequest) -> Any:
    return copy.deepcopy(MODELS[request.param]).fit(X)


@pytest.mark.parametrize("way", WAYS)
def test_a_kept_model_predicts_the_same_bits_and_is_trained_on_as_the_first(
    fitted: Any, way: str, tmp_path: Path
) -> None:
    again = WAYS[way](fitted, tmp_path)
    assert type(again) is type(fitted)
    assert repr(again) == repr(fitted).replace("decoder_hidden=[7, 8]", repr_of_decoder(way))
    np.testing.assert_equal([getattr(again, name) for name in LEARNED], [getattr(fitted, name) for name in LEARNED])
    assert answers(again, X) == answers(fitted, X)
    assert again.evaluate(X) == fitted.evaluate(X)
    for model in (again, fitted):
        model.partial_fit(X)
    assert answers(again, X) == answers(fitted, X)
    assert again.history_["loss"] == fitted.history_["loss"]


def repr_of_decoder(way: str) -> str:
    return "decoder_hidden=(7, 8)" if way == "file" else "decoder_hidden=[7, 8]"


@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_a_copy_shares_nothing_that_training_changes(way: str, tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X)
    again = WAYS[way](model, tmp_path)
    before = answers(model, X)
    again.partial_fit(X)
    assert answers(model, X) == before
    assert model.n_iter_ == len(model.loss_curve_) == 2


@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_an_unfitted_model_can_be_pickled_and_copied(way: str, tmp_path: Path) -> None:
    again = WAYS[way](VAE(**SMALL), tmp_path)
    assert repr(again) == repr(VAE(**SMALL))
    with pytest.raises(fastvae.NotFittedError):
        again.transform(X)


def test_an_unfitted_model_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(fastvae.NotFittedError):
        VAE().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_file_has_the_architecture_that_was_fitted_not_the_parameters_of_the_moment(tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X)
    before = answers(model, X)
    model.set_params(hidden=(50,), latent_dim=7, epochs=3)
    again = through_a_file(model, tmp_path)
    assert answers(again, X) == before
    assert again.get_params()["hidden"] == (50,)
    assert again.fit(X).transform(X).shape == (200, 7)


def test_without_the_optimiser_a_file_is_smaller_and_predicts_the_same(tmp_path: Path) -> None:
    model = VAE(**SMALL | {"hidden": (200,)}).fit(X)
    model.save(tmp_path / "whole")
    model.save(tmp_path / "short", optimizer=False)
    whole, short = ((tmp_path / name).stat().st_size for name in ("whole", "short"))
    assert short < 0.4 * whole
    again = fastvae.load(tmp_path / "short")
    assert answers(again, X) == answers(model, X)
    assert np.isfinite(again.partial_fit(X).history_["loss"][-1])


@pytest.mark.parametrize("optimizer", ["adam", optimizers.SGD(0.9), "adagrad"], ids=str)
def test_a_model_that_was_not_trained_is_saved_without_the_optimisers_state(optimizer: Any, tmp_path: Path) -> None:
    parameters: dict[str, Any] = SMALL | {"hidden": (100,), "optimizer": optimizer}
    weights = VAE(**parameters).fit(X).state_dict()
    model = VAE(**parameters).load_state_dict(weights)
    model.save(tmp_path / "model")
    header, _ = parts((tmp_path / "model").read_bytes())
    assert not any(name.startswith("optimizer") for name in header)
    for again in (fastvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert answers(again, X) == answers(model, X)
        other = VAE(**parameters).load_state_dict(weights)
        for one in (again, other):
            one.partial_fit(X)
        assert answers(again, X) == answers(other, X)
    trained = VAE(**parameters).fit(X)
    trained.save(tmp_path / "trained")
    sizes = [(tmp_path / name).stat().st_size for name in ("model", "trained")]
    assert sizes[0] < sizes[1] / (2.5 if optimizer == "adam" else 1.7)


def with_long_history(data: bytes, epochs: int) -> bytes:
    """Return a file of a model that was trained for many epochs."""
    header, tensors = parts(data)
    about = header.pop("__metadata__")
    old = [name for name in header if name.startswith("history.")]
    rest = tensors[max(header[name]["data_offsets"][1] for name in old) :]
    history = {name: np.linspace(0.1, 1.0, epochs).astype("<f8").tobytes() for name in old}
    shapes = {name: [epochs] for name in old} | {name: header[name]["shape"] for name in header if name not in old}
    data, end, changed = b"".join(history.values()) + rest, 0, {}
    for name, shape in shapes.items():
        size = len(history[name]) if name in history else 4 * int(np.prod(shape))
        changed[name] = header[name] | {"shape": shape, "data_offsets": [end, end + size]}
        end += size
    estimator = json.loads(about["estimator"])
    estimator["learned"]["n_iter_"] = epochs
    checksums = {name: f"{zlib.crc32(data[slice(*of['data_offsets'])]):08x}" for name, of in changed.items()}
    about |= {"estimator": json.dumps(estimator), "checksums": json.dumps(checksums)}
    return sealed({"__metadata__": about} | changed, data)


def test_a_million_epochs_are_loaded_and_saved_in_no_time() -> None:
    model, stream = VAE(**SMALL).fit(X), io.BytesIO()
    model.save(stream)
    data = with_long_history(stream.getvalue(), 10**6)
    assert len(data) > 4 * 8 * 10**6
    start = time.process_time()
    again = fastvae.load(data)
    loaded = time.process_time()
    assert again.n_iter_ == len(again.loss_curve_) == 10**6
    again.save(stream := io.BytesIO())
    saved = time.process_time()
    assert loaded - start < 1  # 0.1 s here
    assert saved - loaded < 1.5  # 0.2 s here
    assert fastvae.load(stream.getvalue()).history_ == again.history_
    assert len(again.partial_fit(X).loss_curve_) == 10**6 + 1


class VAE2(VAE):
    """A class that load does not know."""


def test_a_class_of_ones_own_is_pickled_and_not_saved(tmp_path: Path) -> None:
    model = VAE2(**SMALL).fit(X)
    with pytest.raises(TypeError, match="load could not create a VAE2: use pickle"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is VAE2
    assert answers(again, X) == answers(model, X)


@pytest.mark.parametrize("way", ["bytes", "bytearray", "memoryview", "BytesIO", "file", "unbuffered", "PathLike"])
def test_a_model_goes_through_bytes_and_file_objects(way: str, tmp_path: Path) -> None:
    model, path, stream = VAE(**SMALL).fit(X), tmp_path / "model", io.BytesIO()
    model.save(stream)
    source: Any
    match way:
        case "BytesIO":
            source = io.BytesIO(stream.getvalue())
        case "file" | "unbuffered":
            buffering = -1 if way == "file" else 0
            with path.open("wb", buffering) as file:
                model.save(file)
            source = path.open("rb", buffering)
        case "PathLike":
            source = Named(path)
            model.save(source)
        case _:
            source = {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}[way](stream.getvalue())
    with source if hasattr(source, "close") else contextlib.nullcontext():
        again = fastvae.load(source)
    assert answers(again, X) == answers(model, X)
    assert not path.exists() or path.read_bytes() == stream.getvalue()


Edit = Callable[[dict[str, Any]], Any]


def edit_of(key: str, edit: Edit) -> Callable[[dict[str, str]], None]:
    """Return a change of a JSON text in the metadata of a file."""

    def change(metadata: dict[str, str]) -> None:
        value = json.loads(metadata[key])
        changed = edit(value)
        metadata[key] = json.dumps(value) if changed is None else changed

    return change


class Named:
    """A path of another library, whose name is in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return bytes(self.path)


class Slow(io.RawIOBase):
    """A pipe that takes a few bytes at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data[: self.most])
        self.taken += part
        return len(part)


def test_a_file_object_may_take_the_bytes_in_parts() -> None:
    model, slow = VAE(**SMALL).fit(X), Slow(1000)
    model.save(slow)  # type: ignore[arg-type]
    assert answers(fastvae.load(bytes(slow.taken)), X) == answers(model, X)
    with pytest.raises(OSError, match="takes no more bytes"):
        model.save(Slow(0))  # type: ignore[arg-type]


def test_what_is_no_path_and_no_binary_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    model, path = VAE(**SMALL).fit(X), tmp_path / "model"
    bad: Any
    for bad in (None, 3, ["model"], model):
        with pytest.raises(TypeError, match="load reads a path, bytes or a binary file object, not"):
            fastvae.load(bad)
    for bad in (None, 3, b"model", model):
        with pytest.raises(TypeError, match="save writes to a path or a binary file object, not"):
            model.save(bad)
    for bad in (io.StringIO(), path.open("w+")):
        with bad, pytest.raises(TypeError, match=r"binary file.* open it in binary mode"):
            model.save(bad)
    path.write_text("text")
    for bad in (io.StringIO("text"), path.open()):
        with bad, pytest.raises(TypeError, match=r"binary file.* open it in binary mode"):
            fastvae.load(bad)


LONG: dict[str, Edit] = {
    "value": lambda estimator: estimator["parameters"].update(activation="secret" * 100_000),
    "parameter": lambda estimator: estimator["parameters"].update({"secret" * 100_000: 1}),
    "class": lambda estimator: estimator.update({"class": "secret" * 100_000}),
    "key": lambda estimator: estimator.update({"secret" * 100_000: 1}),
    "object": lambda estimator: estimator["parameters"].update(beta={"secret" * 100_000: {}}),
}


@pytest.mark.parametrize("way", ["bytes", "file object", "path"])
@pytest.mark.parametrize("edit", [None, *LONG])
def test_a_message_does_not_show_the_contents(edit: str | None, way: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    VAE(**SMALL).fit(X).save(path)
    data = path.read_bytes()[:-1] if edit is None else resealed(path.read_bytes(), edit_of("estimator", LONG[edit]))
    path.write_bytes(data)
    source: Any = {"bytes": data, "file object": io.BytesIO(data), "path": path}[way]
    title = {"bytes": "the bytes", "file object": "the BytesIO", "path": repr(str(path))}[way]
    with pytest.raises(fastvae.FormatError, match="^" + re.escape(title)) as raised:
        fastvae.load(source)
    assert len(str(raised.value)) < 1000
    assert len("".join(traceback.format_exception(raised.value))) < 20_000


@pytest.mark.parametrize("value", [float("inf"), "x", -1.0, 10**400, None])
def test_a_bad_parameter_is_named_before_anything_is_written(value: Any, tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X)
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    model.set_params(tol=value)
    with pytest.raises(ValueError, match=r"tol=.* must be a number"):
        model.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_link_remains_one_and_permissions_are_kept(tmp_path: Path) -> None:
    model, path, link = VAE(**SMALL).fit(X), tmp_path / "model", tmp_path / "link"
    link.symlink_to("model")
    model.save(link)
    assert link.is_symlink()
    assert path.is_file()
    path.chmod(0o600)
    model.save(link)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [link, path]


class Stop:
    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> bool:
        return True


def test_what_a_file_cannot_keep_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    model = VAE(callbacks=(Stop(),), beta=lambda step: 0.5, **SMALL | {"random_state": generator}).fit(X)
    with pytest.warns(UserWarning, match="a file cannot hold beta, random_state: the loaded"):
        model.save(tmp_path / "model")
    again = fastvae.load(tmp_path / "model")
    assert (again.beta, again.callbacks, again.random_state) == (1.0, (), None)
    assert again.transform(X).tobytes() == model.transform(X).tobytes()


def test_a_callback_saves_where_warnings_are_errors(tmp_path: Path) -> None:
    saved: list[int] = []

    def save(model: Any, logs: dict[str, float]) -> None:
        model.save(tmp_path / "model")
        saved.append(model.n_iter_)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = VAE(callbacks=save, **SMALL).fit(X)
    assert saved == [1, 2]
    again = fastvae.load(tmp_path / "model")
    assert again.callbacks == ()
    assert answers(again, X) == answers(model, X)
    for nonsense in (schedules.linear(0, 1, steps=2), [schedules.linear(0, 1, steps=2)]):
        model.set_params(callbacks=nonsense).save(tmp_path / "model")
        assert fastvae.load(tmp_path / "model").get_params()["callbacks"] == ()


@pytest.mark.parametrize("value", [np.int64(3), np.array([3, 4]), [3, np.int32(4)], np.float32(0.25)])
def test_numpys_numbers_are_kept(value: Any, tmp_path: Path) -> None:
    name = "beta" if isinstance(value, np.floating) else "hidden"
    model = VAE(**SMALL | {name: value}).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = through_a_file(model, tmp_path)
    assert np.array_equal(getattr(again, name), value)
    assert answers(again, X) == answers(model, X)


def test_saving_replaces_a_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "model"
    VAE(**SMALL).fit(X).save(path)
    model = Autoencoder(**SMALL).fit(X)
    model.save(str(path))
    assert answers(fastvae.load(str(path)), X) == answers(model, X)
    assert list(tmp_path.iterdir()) == [path]


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X)
    model.save(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, array in model.state_dict().items():
        start, end = header[name]["data_offsets"]
        assert header[name] | {"data_offsets": 0} == {"dtype": "F32", "shape": list(array.shape), "data_offsets": 0}
        assert data[8 + length + start : 8 + length + end] == array.tobytes()
    estimator = json.loads(header["__metadata__"]["estimator"])
    assert estimator["class"] == "VAE"
    assert estimator["parameters"]["hidden"] == [9]
    assert json.loads(header["__metadata__"]["specification"])["encoder"] == [9]


def test_a_pickle_of_an_earlier_version_has_defaults_for_new_parameters() -> None:
    model = VAE(**SMALL).fit(X)
    state = model.__getstate__()
    del state["free_bits"], state["hidden"], state["_fitted"]["rescales_masking"]
    again = VAE.__new__(VAE)
    again.__setstate__(state)
    assert (again.free_bits, again.hidden) == (0.0, (400,))
    assert answers(again, X) == answers(model, X)


def named_model() -> Any:
    """Return a fitted model whose state has all kinds of entries."""
    pandas = pytest.importorskip("pandas", reason="pandas, whose frames have names, is not installed")
    frame = pandas.DataFrame(X[:, :6], columns=list("abcdef")).assign(kind=np.arange(len(X)) % 3)
    return VAE(condition_columns="kind", **SMALL).fit(frame)


BAD_VALUES: list[Any] = [None, -3, 10**30, 1.5, float("nan"), "x", b"x", [], ["x"], {}, {"x": 1}, object(), np.zeros(3)]


@pytest.mark.parametrize("kind", ["named", "images"])
def test_a_damaged_pickle_is_a_format_error(kind: str) -> None:
    image = {"image_shape": (8, 8)} if kind == "images" else {}
    model = named_model() if kind == "named" else VAE(**SMALL | image).fit(X.reshape(-1, 8, 8))
    refused = taken = 0

    def load(state: dict[str, Any]) -> None:
        nonlocal refused, taken
        again = type(model).__new__(type(model))
        try:
            again.__setstate__(state)
        except fastvae.FormatError:
            refused += 1
        else:
            pickle.loads(pickle.dumps(again))
            taken += 1

    state = model.__getstate__()
    inner, record = state["_fitted"], vars(state["_record"])
    for key in inner:
        for value in BAD_VALUES:
            load(state | {"_fitted": inner | {key: value}})
        load(state | {"_fitted": {name: entry for name, entry in inner.items() if name != key}})
    for cut in range(0, len(inner["file"]), 997):
        load(state | {"_fitted": inner | {"file": inner["file"][:cut]}})
    for key in ("_history", "n_iter", "elapsed", "interrupted"):
        for value in BAD_VALUES:
            other = copy.copy(state["_record"])
            vars(other).update(record | {key: value})
            load(state | {"_record": other})
    for value in BAD_VALUES:
        load(state | {"_fitted": value})
        load(state | {"_record": value})
    load({name: entry for name, entry in state.items() if name != "_record"})
    assert refused > 150
    assert taken < 50


# ------------------------------------------------------------------------------------------------ refusals


def edited(path: Path, key: str, edit: Edit) -> None:
    """Change a JSON text in the metadata of a file."""
    path.write_bytes(resealed(path.read_bytes(), edit_of(key, edit)))


EDITS: dict[str, Edit] = {
    "no JSON": lambda estimator: "{",
    "a list": lambda estimator: "[]",
    "a number": lambda estimator: "3",
    "another number": lambda estimator: "NaN",
    "a key twice": lambda estimator: '{"class": "VAE", "class": "VAE"}',
    "no class": lambda estimator: estimator.pop("class") and None,
    "another class": lambda estimator: estimator.update({"class": "Popen"}),
    "an unknown parameter": lambda estimator: estimator["parameters"].update(power=9),
    "an unknown object": lambda estimator: estimator["parameters"].update(beta={"os.system": {"command": "x"}}),
    "a bad object": lambda estimator: estimator["parameters"].update(beta={"schedules.Schedule": {"x": 1}}),
    "another history": lambda estimator: estimator["learned"].update(history_={"loss": [1.0, 1.0]}),
    "a bad history": lambda estimator: estimator["learned"].update(history_={"loss": ["a"]}),
    "something learned": lambda estimator: estimator["learned"].update(_engine=1),
    "the network of another class": lambda estimator: estimator.update({"class": "Autoencoder", "parameters": {}}),
    "an infinite number": lambda estimator: estimator["learned"].update(elapsed_=float("inf")),
    "an epoch less": lambda estimator: estimator["learned"].update(n_iter_=1),
    "no epochs": lambda estimator: estimator["learned"].update(n_iter_=-5, history_={}),
    "no place": lambda estimator: estimator["learned"].update(_position=[1]),
    "a deep list": lambda estimator: "[" * 100_000,
}
SPECIFICATION_EDITS: dict[str, tuple[Edit, str]] = {
    "no JSON": (lambda options: "{", "specification"),
    "an option more": (lambda options: options.update(more=1), "unknown option `more`"),
    "no width": (lambda options: options.pop("n_features") and None, "n_features=0"),
    "another width": (lambda options: options.update(encoder=[10]), "has shape"),
    "a huge width": (lambda options: options.update(encoder=[10**9]), "not possible"),
    "a negative width": (lambda options: options.update(encoder=[-9]), "encoder"),
    "a plain code": (lambda options: options.update(variational=False), "mu.weight.* is no part"),
    "a bad activation": (lambda options: options.update(activation="x"), "activation"),
    "a bad likelihood": (lambda options: options.update(likelihood={"kind": "x"}), "likelihood"),
    "a bad optimizer": (lambda options: options["optimizer"].update(beta1=2.0), "beta1"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_file_with_an_edited_estimator_is_refused(edit: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    VAE(**SMALL).fit(X).save(path)
    edited(path, "estimator", lambda estimator: None)
    assert fastvae.load(path).n_iter_ == 2
    edited(path, "estimator", EDITS[edit])
    with pytest.raises(fastvae.FormatError, match=re.escape(str(path))):
        fastvae.load(path)


@pytest.mark.parametrize("edit", SPECIFICATION_EDITS)
def test_a_file_with_an_edited_specification_is_refused(edit: str, tmp_path: Path) -> None:
    path, (change, match) = tmp_path / "model", SPECIFICATION_EDITS[edit]
    VAE(**SMALL).fit(X).save(path)
    edited(path, "specification", lambda options: None)
    assert fastvae.load(path).n_iter_ == 2
    edited(path, "specification", change)
    with pytest.raises(fastvae.FormatError, match=match):
        fastvae.load(path)


def test_an_option_that_an_older_file_does_not_have_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "model"
    model = VAE(**SMALL).fit(X)
    model.save(path)
    edited(path, "specification", lambda options: options.pop("weight_constraint") and None)
    assert answers(fastvae.load(path), X) == answers(model, X)


NEWEST = sorted(FOLDERS[-1].glob("*.safetensors"))


@pytest.mark.parametrize("path", NEWEST, ids=lambda path: path.stem)
def test_a_flipped_bit_anywhere_is_refused(path: Path) -> None:
    data, rng = path.read_bytes(), np.random.default_rng(0)
    header, tensors = parts(data)
    start = len(data) - len(tensors)
    text = len(data[8:start].rstrip(b" "))
    pieces = {"length": (0, 8), "header": (8, 8 + text), "padding": (8 + text, start)} | {
        name: (start + about["data_offsets"][0], start + about["data_offsets"][1])
        for name, about in header.items()
        if name != "__metadata__"
    }
    fastvae.load(data)
    refused = []
    for name, (begin, end) in pieces.items():
        bits = range(8 * begin, 8 * end)
        most = {"length": 64, "header": 200}.get(name, 8)
        chosen = bits if len(bits) <= most else rng.choice(bits, most, replace=False)
        refused += [reads_as_damaged(data, fastvae.load, int(bit)) for bit in chosen]
    assert len(refused) > 300
    assert all(refused)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"PK\3\4" + b"x" * 50, b"\x80\x04\x95" + b"." * 40], ids=repr)
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(data)
    with pytest.raises(fastvae.FormatError, match="no model file"):
        fastvae.load(tmp_path / "model")


def test_a_missing_file_is_an_oserror_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing_here"):
        fastvae.load(tmp_path / "nothing_here")
    with pytest.raises(OSError, match="no_folder"):
        VAE(**SMALL).fit(X).save(tmp_path / "no_folder" / "model")
