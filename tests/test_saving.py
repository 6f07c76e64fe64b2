"""save, load, pickle and copy of estimators: the same bits, the same configuration, and clear refusals."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


def answers(model: Any) -> list[bytes]:
    Z = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
    found = [model.transform(X), model.reconstruct(X), model.score_samples(X), model.inverse_transform(Z)]
    if isinstance(model, VAE):
        found += [*model.encode(X), model.sample(7), model.sample(7, draw=True)]
    return [np.asarray(array).tobytes() for array in (*found, *model.state_dict().values())]


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
    assert answers(again) == answers(fitted)
    assert again.evaluate(X) == fitted.evaluate(X)
    for model in (again, fitted):
        model.partial_fit(X)
    assert answers(again) == answers(fitted)
    assert again.history_["loss"] == fitted.history_["loss"]


def repr_of_decoder(way: str) -> str:
    return "decoder_hidden=(7, 8)" if way == "file" else "decoder_hidden=[7, 8]"


@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_a_copy_shares_nothing_that_training_changes(way: str, tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X)
    again = WAYS[way](model, tmp_path)
    before = answers(model)
    again.partial_fit(X)
    assert answers(model) == before
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
    before = answers(model)
    model.set_params(hidden=(50,), latent_dim=7, epochs=3)
    again = through_a_file(model, tmp_path)
    assert answers(again) == before
    assert again.get_params()["hidden"] == (50,)
    assert again.fit(X).transform(X).shape == (200, 7)


def test_without_the_optimiser_a_file_is_smaller_and_predicts_the_same(tmp_path: Path) -> None:
    model = VAE(**SMALL | {"hidden": (200,)}).fit(X)
    model.save(tmp_path / "whole")
    model.save(tmp_path / "short", optimizer=False)
    whole, short = ((tmp_path / name).stat().st_size for name in ("whole", "short"))
    assert short < 0.4 * whole
    again = fastvae.load(tmp_path / "short")
    assert answers(again) == answers(model)
    assert np.isfinite(again.partial_fit(X).history_["loss"][-1])


class VAE2(VAE):
    """A class that load does not know."""


def test_a_class_of_ones_own_is_pickled_and_not_saved(tmp_path: Path) -> None:
    model = VAE2(**SMALL).fit(X)
    with pytest.raises(TypeError, match="load could not make a VAE2: use pickle"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is VAE2
    assert answers(again) == answers(model)


def test_a_number_that_json_does_not_know_is_named(tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X).set_params(tol=float("inf"))
    with pytest.warns(UserWarning, match="cannot keep tol"):
        model.save(tmp_path / "model")
    assert fastvae.load(tmp_path / "model").tol == 1e-4


def test_paths_may_be_bytes(tmp_path: Path) -> None:
    model = VAE(**SMALL).fit(X)
    path = bytes(tmp_path / "model")
    model.save(path)  # type: ignore[arg-type]
    assert answers(fastvae.load(path)) == answers(model)  # type: ignore[arg-type]


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
    with pytest.warns(UserWarning, match="a file cannot keep beta, callbacks, random_state"):
        model.save(tmp_path / "model")
    again = fastvae.load(tmp_path / "model")
    assert (again.beta, again.callbacks, again.random_state) == (1.0, (), None)
    assert again.transform(X).tobytes() == model.transform(X).tobytes()


@pytest.mark.parametrize("value", [np.int64(3), np.array([3, 4]), [3, np.int32(4)], np.float32(0.25)])
def test_numpys_numbers_are_kept(value: Any, tmp_path: Path) -> None:
    name = "beta" if isinstance(value, np.floating) else "hidden"
    model = VAE(**SMALL | {name: value}).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = through_a_file(model, tmp_path)
    assert np.array_equal(getattr(again, name), value)
    assert answers(again) == answers(model)


def test_saving_replaces_a_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "model"
    VAE(**SMALL).fit(X).save(path)
    model = Autoencoder(**SMALL).fit(X)
    model.save(str(path))
    assert answers(fastvae.load(str(path))) == answers(model)
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
    config = json.loads(header["__metadata__"]["config"])
    assert config["estimator"]["class"] == "VAE"
    assert config["estimator"]["parameters"]["hidden"] == [9]


# ------------------------------------------------------------------------------------------------ refusals


def edited(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change the configuration of a file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header["__metadata__"]["config"])
    changed = edit(config)
    header["__metadata__"]["config"] = json.dumps(config) if changed is None else changed
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda config: "{",
    "a list": lambda config: "[]",
    "a number": lambda config: "3",
    "another number": lambda config: "NaN",
    "a key twice": lambda config: '{"engine": 1, "engine": 2}',
    "no estimator": lambda config: config.pop("estimator") and None,
    "no engine": lambda config: config.pop("engine") and None,
    "another class": lambda config: config["estimator"].update({"class": "Popen"}),
    "an unknown parameter": lambda config: config["estimator"]["parameters"].update(power=9),
    "an unknown object": lambda config: config["estimator"]["parameters"].update(beta={"os.system": {"command": "x"}}),
    "a bad object": lambda config: config["estimator"]["parameters"].update(beta={"schedules.Schedule": {"x": 1}}),
    "no history": lambda config: config["estimator"]["learned"].pop("history_") and None,
    "a bad history": lambda config: config["estimator"]["learned"].update(history_={"loss": ["a"]}),
    "something learned": lambda config: config["estimator"]["learned"].update(_engine=1),
    "an argument more": lambda config: config["engine"].update(more=1),
    "an argument less": lambda config: config["engine"].pop("n_features") and None,
    "another width": lambda config: config["engine"].update(encoder=[10]),
    "a huge width": lambda config: config["engine"].update(encoder=[10**9]),
    "a negative width": lambda config: config["engine"].update(encoder=[-9]),
    "a plain code": lambda config: config["engine"].update(variational=False),
    "a bad activation": lambda config: config["engine"].update(activation="x"),
    "a bad likelihood": lambda config: config["engine"].update(likelihood={"kind": "x"}),
    "a bad optimiser": lambda config: config["engine"]["optimizer"].update(beta1=2.0),
    "the network of another class": lambda config: config["estimator"].update(
        {"class": "Autoencoder", "parameters": {}}
    ),
    "an infinite number": lambda config: config["estimator"]["learned"].update(elapsed_=float("inf")),
    "an epoch less": lambda config: config["estimator"]["learned"].update(n_iter_=1),
    "no epochs": lambda config: config["estimator"]["learned"].update(n_iter_=-5, history_={}),
    "no place": lambda config: config["estimator"]["learned"].update(_position=[1]),
    "a deep list": lambda config: "[" * 100_000,
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_file_with_an_edited_configuration_is_refused(edit: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    VAE(**SMALL).fit(X).save(path)
    edited(path, lambda config: None)
    assert fastvae.load(path).n_iter_ == 2
    edited(path, EDITS[edit])
    with pytest.raises(fastvae.FormatError):
        fastvae.load(path)


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
