"""The reproduction of Kingma & Welling in examples/aevb, on tiny sizes: sane curves, and a run that can be stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae.likelihoods import Gaussian

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "examples" / "aevb"
MODULES = ("aevb", "bf16", "burda", "common", "torch_twin")


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small digits in the form of MNIST's file."""
    X, _ = fastvae.datasets.load_digits()
    images = np.rint(255 * X).astype(np.uint8).reshape(-1, 8, 8)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x_train=images[:1500], x_test=images[1500:])
    return path


def run(digits: Path, folder: Path, samples: float, *options: str) -> None:
    import aevb

    arguments = ["--quick", "--data", str(digits), "--scratch", str(folder), "--out", str(folder)]
    sizes = ["--latent", "2", "4", "--hidden", "16", "--samples", str(samples)]
    aevb.main([*arguments, *sizes, *options])


def curves(folder: Path, name: str) -> list[dict[str, Any]]:
    """The curves of a figure without the times, which no two runs share."""
    found = json.loads((folder / f"{name}.json").read_text())
    for curve in found:
        for point in curve["curve"]:
            assert point.pop("seconds") >= 0
    return found


@pytest.fixture(scope="module")
def whole(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(digits, folder, 4e4)
    return folder


def test_curves_are_sane(whole: Path) -> None:
    for name in ("figure2", "figure3"):
        found = curves(whole, name)
        assert len(found) == 2
        for curve in found:
            assert [point["samples"] for point in curve["curve"]] == [10000, 12600, 15800, 20000, 25100, 31600, 39800]
            assert str(curve["stepsize"]) in curve["probe"]
            assert curve["probe"][str(curve["stepsize"])] == max(filter(None, curve["probe"].values()))
            bounds = [point["train"] for point in curve["curve"]]
            assert np.isfinite(bounds).all()
            assert bounds[-1] > bounds[0]
            assert all(-64 * np.log(2) < bound < 0 for bound in bounds)
        assert (whole / f"{name}.csv").read_text().count("\n") == 15
        assert (whole / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for curve in curves(whole, "figure3"):
        for point in curve["curve"]:
            for part in ("train", "test"):
                assert point[part] > point[f"{part}_bound"] - 0.1  # which is of one draw
                assert 0 < point[f"{part}_error"] < 0.1
                assert 1 < point[f"{part}_ess"] <= 100


def test_a_stopped_run_goes_on_to_the_same_bits(
    digits: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aevb

    run(digits, tmp_path, 1.6e4)  # a shorter run, then one that dies in the middle, twice
    for dies_in, broken in (("advance", 3), ("write_json", 2)):  # in training, and between the state and the notes
        calls, good = 0, getattr(aevb, dies_in)

        def dying(*args: Any, good: Any = good, broken: int = broken) -> Any:
            nonlocal calls
            calls += 1
            if calls == broken:
                raise KeyboardInterrupt
            return good(*args)

        monkeypatch.setattr(aevb, dies_in, dying)
        with pytest.raises(KeyboardInterrupt):
            run(digits, tmp_path, 4e4)
        monkeypatch.setattr(aevb, dies_in, good)
    run(digits, tmp_path, 4e4)
    for name in ("figure2", "figure3"):
        assert curves(tmp_path, name) == curves(whole, name)
    for path in sorted(whole.glob("*.safetensors")):
        ours, theirs = (fastvae.load(folder / path.name).state_dict() for folder in (whole, tmp_path))
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name])


def test_a_longer_run_s_notes_serve_a_shorter_one(digits: Path, whole: Path, tmp_path: Path) -> None:
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    run(digits, tmp_path, 2e4, "--figure", "2")
    for short, long in zip(curves(tmp_path, "figure2"), curves(whole, "figure2"), strict=True):
        assert short["curve"] == long["curve"][:4]


def test_another_run_s_state_is_refused(digits: Path, whole: Path, tmp_path: Path) -> None:
    for path in whole.glob("mnist-latent2.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SystemExit, match=r"another run \(hidden differ\)"):
        run(digits, tmp_path, 2e4, "--figure", "2", "--hidden", "8")
    with np.load(digits) as archive:
        np.savez(tmp_path / "other.npz", x_train=archive["x_train"], x_test=255 - archive["x_test"])
    with pytest.raises(SystemExit, match=r"another run \(data differ\)"):
        run(tmp_path / "other.npz", tmp_path, 2e4, "--figure", "2")


@pytest.mark.parametrize("change", ["likelihood", "given_stepsize", "draws", "seed"])
def test_a_run_is_another_one_if_anything_that_decides_its_numbers_is(
    change: str, digits: Path, tmp_path: Path
) -> None:
    import aevb
    import common

    def trained(**more: Any) -> None:
        parameters: dict[str, Any] = {"likelihood": "bernoulli", "seed": 0, "stepsize": 0.01, "draws": 1}
        data, measure = common.load_mnist(digits), aevb.measure_bound
        aevb.train(aevb.Run("x", data, 2, 8, measure=measure, **parameters | more), [10_000], tmp_path, 1)

    trained()
    trained()  # the same one
    other = {"likelihood": "gaussian", "given_stepsize": 0.02, "draws": 2, "seed": 1}[change]
    with pytest.raises(SystemExit, match=rf"another run \({change} differ\)"):
        trained(**{change.removeprefix("given_"): other})


def test_faces(digits: Path, tmp_path: Path) -> None:
    X, _ = fastvae.datasets.load_digits()
    np.save(tmp_path / "faces.npy", X[:300].reshape(-1, 8, 8))
    run(digits, tmp_path, 1.3e4, "--figure", "2", "--faces", str(tmp_path / "faces.npy"))
    found = curves(tmp_path, "figure2_faces")
    assert [curve["latent_dim"] for curve in found] == [2, 5, 10, 20]
    assert [curve["n_train"] for curve in found] == [270] * 4
    assert all(np.isfinite(point["test"]) for curve in found for point in curve["curve"])
    model = fastvae.load(tmp_path / "faces-latent5.safetensors")
    assert model.likelihood == Gaussian("decoder", mean="sigmoid")  # the paper's, appendix C.2
    assert found[2]["curve"][-1]["train"] > found[2]["curve"][0]["train"]


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Pass --data PATH"):
        run(tmp_path / "nothing.npz", tmp_path, 1e4)
    np.savez(tmp_path / "wrong.npz", x_train=np.zeros((5, 4)), x_test=np.zeros((5, 4)))
    with pytest.raises(SystemExit, match="uint8"):
        run(tmp_path / "wrong.npz", tmp_path, 1e4)


def test_the_stream_is_one_shuffled_pass_after_the_other() -> None:
    import aevb

    rows = aevb.stream(30, 0, 0, 90)
    for i in range(3):
        assert sorted(rows[30 * i : 30 * (i + 1)]) == list(range(30))
    np.testing.assert_array_equal(aevb.stream(30, 0, 25, 70), rows[25:70])
    assert aevb.boundaries(aevb.curve_points(1e6))[: len(aevb.boundaries(aevb.curve_points(1e5)))] == aevb.boundaries(
        aevb.curve_points(1e5)
    )
    assert aevb.curve_points(1e7)[-1] == 10_000_000


def test_binary_images_have_the_grey_values_as_means() -> None:
    import common

    grey = np.tile(np.array([0, 1, 51, 128, 254, 255], np.uint8), (100_000, 1))
    drawn = common.draw_binary(grey, np.random.default_rng(0))
    assert set(np.unique(drawn)) == {0, 255}
    np.testing.assert_allclose(drawn.mean(0) / 255, grey[0] / 255, atol=0.006)
    assert not drawn[:, 0].any()
    assert drawn[:, 5].all()


def test_the_twin_in_torch(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch_twin

    def twin(folder: Path, samples: str) -> list[dict[str, Any]]:
        arguments = ["--data", str(digits), "--scratch", str(folder), "--out", str(folder)]
        torch_twin.main([*arguments, "--latent", "2", "--hidden", "16", "--samples", samples])
        assert "they agree" in capsys.readouterr().out
        (found,) = json.loads((folder / "torch_twin.json").read_text())
        return found["curve"]

    whole = twin(tmp_path / "whole", "2e4")
    twin(tmp_path / "split", "1.3e4")
    split = twin(tmp_path / "split", "2e4")  # goes on
    assert [point["samples"] for point in whole] == [10000, 12600, 15800, 20000]
    for one, other in zip(whole, split, strict=True):
        assert one["fastvae"] == other["fastvae"]
        assert one["torch"] == pytest.approx(other["torch"], abs=1e-3)
        assert one["fastvae"] == pytest.approx(one["torch"], abs=1e-3)
    assert len(list((tmp_path / "split").glob("twin-*.pt"))) == 1


def test_burda(digits: Path, tmp_path: Path) -> None:
    import burda

    rates = list(burda.schedule())
    assert len(rates) == 3280
    assert rates[0] == (0, 1e-3)
    assert rates[-1] == (7, pytest.approx(1e-4))
    arguments = ["--data", str(digits), "--draws", "20", "--minutes", "10"]
    split = ["--scratch", str(tmp_path / "split"), "--out", str(tmp_path / "split")]
    straight = ["--scratch", str(tmp_path / "straight"), "--out", str(tmp_path / "straight")]
    burda.main([*arguments, *split, "--epochs", "2"])
    burda.main([*arguments, *split, "--epochs", "5"])
    burda.main([*arguments, *straight, "--epochs", "5"])
    two, five = json.loads((tmp_path / "split" / "burda.json").read_text())
    (again,) = json.loads((tmp_path / "straight" / "burda.json").read_text())
    assert two["epochs"] == 2
    assert five["test_nll"] == again["test_nll"] < two["test_nll"]
    assert five["test_nll"] < -five["test_bound"]
    # What is measured again is not written again; another seed or other data are another run.
    burda.main([*arguments, *straight, "--epochs", "5"])
    assert len(json.loads((tmp_path / "straight" / "burda.json").read_text())) == 1
    with np.load(digits) as archive:
        np.savez(tmp_path / "other.npz", x_train=archive["x_train"], x_test=255 - archive["x_test"])
    for other in (["--seed", "1"], ["--data", str(tmp_path / "other.npz")]):
        with pytest.raises(SystemExit, match="belongs to another run"):
            burda.main([*arguments, *straight, "--epochs", "5", *other])
    elsewhere = ["--scratch", str(tmp_path / "seed1"), "--out", str(tmp_path / "straight"), "--seed", "1"]
    burda.main([*arguments, *elsewhere, "--epochs", "5"])
    assert [entry["seed"] for entry in json.loads((tmp_path / "straight" / "burda.json").read_text())] == [0, 1]


def test_burda_of_no_epoch_is_not_measured(digits: Path, tmp_path: Path) -> None:
    import burda

    folder = ["--scratch", str(tmp_path), "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="no epoch was completed"):
        burda.main(["--data", str(digits), "--draws", "20", "--minutes", "0", *folder])
    assert not (tmp_path / "burda.json").exists()


@pytest.mark.filterwarnings("ignore:precision='bf16' saves no time here")
def test_bf16(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import bf16

    arguments = ["--data", str(digits), "--out", str(tmp_path), "--models", "784-400-20"]
    bf16.main([*arguments, "--seeds", "1"])
    bf16.main([*arguments, "--seeds", "2"])
    entries = json.loads((tmp_path / "bf16.json").read_text())
    assert [(entry["precision"], entry["seed"]) for entry in entries] == [
        ("float32", 0),
        ("bf16", 0),
        ("float32", 1),
        ("bf16", 1),
    ]
    for entry in entries:
        exact = entry["precision"] == "float32"
        assert (entry["test_elbo"] == entry["test_elbo_in_float32"]) is exact
    gap = np.mean([entry["test_elbo"] * (1 if entry["precision"] == "bf16" else -1) for entry in entries]) * 2
    assert f"{gap:+.3f}" in capsys.readouterr().out
