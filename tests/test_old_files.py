"""Files of earlier versions load: same parameters, same results, and further training gives the same bits.

``data`` has a folder for each format: a file of each kind of model and the results of the version that wrote them. For
a new format, ``python tests/test_old_files.py FOLDER`` writes the same models with the current version to a new folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bits import Case, digest, digest_of, real, whole, with_holes

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel, schedules
from fastvae.corruption import GaussianNoise, MaskingNoise, SaltAndPepper
from fastvae.layers import Conv2d, MaxPool2d
from fastvae.likelihoods import Gaussian, NegativeBinomial
from fastvae.optimizers import SGD, Adagrad, AdamW

FOLDERS = [Path(__file__).parent / "data" / version for version in ("v1", "v2", "v3")]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.safetensors"))]

# Of what does not depend on the instruction set: the rest is compared where that has a fused multiply-add.
ALWAYS = ("parameters",)

# --------------------------------------------------------------------------------------------- the models

N = 21
GREY = (whole(N, 11, 256, 100) / 256).astype(np.float32)
REAL = real(N, 11, 101)
COUNTS = whole(N, 11, 6, 102)
IMAGES = (whole(N, 30, 256, 105) / 256).astype(np.float32).reshape(N, 5, 6)
NAMES = np.array(["ash", "birch", "elm"])[np.arange(N) % 3]
ANSWERS = (whole(N, 7, 9, 103) < 2 + np.arange(7)).astype(np.float32)
MOST = np.array([1, 2, 3, 4, 3, 2, 1])
MARKS = (whole(N, 7, 60, 104) % (MOST + 1)).astype(np.float32)

SMALL: dict[str, Any] = {"hidden": (5,), "batch_size": 8, "epochs": 2, "random_state": 3, "progress": False}


def vae(X: Any, y: Any = None, **parameters: Any) -> Case:
    return Case(VAE(**(SMALL | parameters)), X, y)


def exam(model: str, X: Any, **parameters: Any) -> Case:
    return Case(ItemResponse(model, **(SMALL | {"n_importance_samples": 3} | parameters)), X)


def models() -> dict[str, Case]:
    """Return a model of each kind, unfitted, with what it is trained on."""
    per_feature: dict[str, Any] = {
        "likelihood": Gaussian("per_feature", floor=0.01),
        "beta": schedules.linear(0.0, 1.0, epochs=3),
        "learning_rate": schedules.cosine(1e-2, 1e-4, steps=20),
        "corruption": GaussianNoise(0.25),
        "optimizer": AdamW(beta1=0.8, weight_decay=0.1),
    }
    image: dict[str, Any] = {"image_shape": (5, 6, 1)}
    holes, told = with_holes(REAL), {"missing": "mask", "missing_indicator": True}
    return {
        "vae": vae(GREY, activation="tanh", decoder_hidden=(6, 4), clip_norm=1.0),
        "vae_decoder_scale": vae(REAL, likelihood=Gaussian("decoder", floor=0.1), optimizer=SGD(0.9, nesterov=True)),
        "vae_shared_scale": vae(REAL, likelihood=Gaussian("shared"), free_bits=0.01, capacity=1.0),
        "vae_names": vae(REAL, NAMES, conditional=True, **per_feature),
        "vae_covariates": vae(GREY, REAL[:, :2], conditional=True, binarize="bernoulli", hidden=()),
        "vae_condition_columns": vae(np.hstack([REAL[:, :2], GREY]), condition_columns=[0, 1]),
        "vae_negative_binomial": vae(COUNTS, likelihood=NegativeBinomial(floor=0.1), input_transform="log1p"),
        "vae_poisson": vae(COUNTS, likelihood="poisson", input_transform="l1", optimizer=Adagrad(lr_decay=0.1)),
        "vae_multinomial": vae(COUNTS, likelihood="multinomial", corruption=MaskingNoise(0.3), optimizer="sgd"),
        "vae_missing": vae(holes, likelihood=Gaussian(0.5), **told),
        "vae_importance": vae(GREY, n_importance_samples=4, doubly_reparameterized=True),
        "vae_without_optimizer": vae(GREY, activation="gelu"),
        "vae_validation": vae(GREY, early_stopping=True, validation_fraction=0.3, epochs=3, weight_decay=0.01),
        "vae_convolutional": vae(IMAGES, hidden=(Conv2d(5, 3, stride=2, padding=1, batch_norm=True), 4), **image),
        "autoencoder_convolutional": Case(
            Autoencoder(3, **SMALL | image | {"hidden": (Conv2d(3, (2, 3)), MaxPool2d(2))}), IMAGES
        ),
        "autoencoder": Case(Autoencoder(3, loss="bernoulli", corruption=SaltAndPepper(0.3), **SMALL), GREY),
        "autoencoder_missing": Case(Autoencoder(3, missing="mask", **SMALL), holes),
        "topics_mixture": Case(TopicModel(3, alpha=[0.1, 0.5, 1.0], **SMALL), COUNTS),
        "topics_product": Case(TopicModel(4, decoder="product", masking=0.1, **SMALL), COUNTS),
        "exam_2pl": exam("2pl", ANSWERS),
        "exam_rasch": exam("rasch", with_holes(ANSWERS)),
        "exam_lecture": exam("lecture", ANSWERS, learning_rate=0.01),
        "exam_marks": exam("2pl", with_holes(MARKS), max_marks=MOST),
        "exam_two_dimensions": exam("2pl", with_holes(ANSWERS), n_dims=2),
    }


def answers(model: Any, case: Case) -> dict[str, str]:
    """Return hashes of what a model says, and of what it is after one more pass."""
    y = {} if case.y is None else {"y": case.y}
    encoded = model.encode(case.X, **y)
    # Abilities of one dimension are numpy's: the encoder stands for them.
    exam = isinstance(model, ItemResponse)
    codes = [] if exam else [model.transform(case.X, **y)]
    found = {
        "parameters": digest_of(model.state_dict()),
        "codes": digest(*codes, *(encoded if isinstance(encoded, tuple) else [encoded])),
        "means": digest(model.reconstruct(case.X, **y)),
        "scores": digest(model.score_samples(case.X, **y)),
        "evaluation": digest_of(model.evaluate(case.X, **y)),
    }
    model.partial_fit(case.X, case.y)
    return found | {"after partial_fit": digest(digest_of(model.state_dict()), digest_of(model.history_))}


def known(model: Any) -> dict[str, Any]:
    """Return what a model knows besides its weights, as JSON keeps it."""
    history = {key: [None if math.isnan(v) else v for v in values] for key, values in model.history_.items()}
    return {
        "class": type(model).__name__,
        "get_params": {name: repr(value) for name, value in model.get_params().items()},
        "n_features_in_": model.n_features_in_,
        "n_iter_": model.n_iter_,
        "history_": history,
        "classes_": model.classes_.tolist() if hasattr(model, "classes_") else None,
    }


# ---------------------------------------------------------------------------------------------- the tests


def expected(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path.parent / "expected.json").read_text())[path.stem]
    return found


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_there_is_a_file_of_each_kind_and_none_was_rewritten(folder: Path) -> None:
    wanted = json.loads((folder / "expected.json").read_text())
    assert {path.stem: checksum(path) for path in FILES if path.parent == folder} == {
        kind: about["file"] for kind, about in wanted.items()
    }
    assert set(wanted) <= set(models())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_an_old_file_loads(path: Path) -> None:
    wanted, found = expected(path)["known"], known(fastvae.load(path))
    # A later version may have more parameters.
    found["get_params"] = {name: found["get_params"].get(name) for name in wanted["get_params"]}
    assert found == wanted


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_an_old_file_gives_the_same_answers_and_goes_on_training(path: Path) -> None:
    wanted, found = expected(path)["answers"], answers(fastvae.load(path), models()[path.stem])
    fused = fastvae.show_config()["isa"] != "portable"
    compared = [name for name in wanted if fused or name in ALWAYS]
    assert {name: found[name] for name in compared} == {name: wanted[name] for name in compared}


def write(folder: Path) -> None:
    """Write all models to a new folder, and beside them what they know and say."""
    assert fastvae.show_config()["isa"] != "portable", "the answers are those of sets with a fused multiply-add"
    folder.mkdir()
    about = {}
    for kind, case in models().items():
        path = folder / f"{kind}.safetensors"
        model = case.model.fit(case.X, case.y)
        if kind == "vae_validation":
            model.partial_fit(case.X)  # without validation: NaN in the history
        model.save(path, optimizer=kind != "vae_without_optimizer")
        loaded = fastvae.load(path)
        about[kind] = {"file": checksum(path), "known": known(loaded), "answers": answers(loaded, case)}
    (folder / "expected.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
