"""A fit that was killed and resumed ends with the bits of one that was never interrupted."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Killed, bits, killed_at, same

import fastvae
from fastvae import schedules

RNG = np.random.default_rng(0)
X = (RNG.random((300, 12)) < RNG.random(12)).astype(np.float32)
Y = RNG.integers(0, 3, 300)
COUNTS = RNG.poisson(1.0, (200, 20)).astype(np.float32)
ANSWERS = np.where(RNG.random((300, 8)) < 0.1, np.nan, (RNG.random((300, 8)) < 0.6).astype(float))

posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")


class Best:
    """A callback with a state."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.array = np.zeros(2, np.float32)

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> bool:
        self.losses.append(logs["loss"])
        self.array[0] += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "array": self.array, "nan": float("nan")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.array = state["losses"], np.array(state["array"], np.float32)
        assert np.isnan(state["nan"])


def contents(model: Any) -> list[Any]:
    """Return everything that a model has learned."""
    engine = model._fitted.engine
    return [
        bits(model),
        engine.dump("", True),
        model.history_,
        model.n_iter_,
        model._fitted.position,
        model.n_skipped_batches_,
    ]


VAE = {"hidden": (16,), "batch_size": 32, "epochs": 7, "random_state": 3}
CASES: dict[str, tuple[type[Any], dict[str, Any], Any, dict[str, Any]]] = {
    "plain": (fastvae.VAE, VAE, X, {}),
    "schedules": (
        fastvae.VAE,
        VAE | {"beta": schedules.linear(0.0, 1.0, epochs=5), "learning_rate": schedules.cosine(0.01, 0.001, epochs=7)},
        X,
        {},
    ),
    "early stopping": (
        fastvae.VAE,
        VAE | {"early_stopping": True, "n_iter_no_change": 6, "epochs": 40, "learning_rate": 0.05},
        X,
        {},
    ),
    "validation data": (fastvae.VAE, VAE, X, {"validation_data": X[:40]}),
    "binarized draws": (fastvae.VAE, VAE | {"binarize": "bernoulli"}, X * 0.8, {}),
    "noise": (fastvae.VAE, VAE | {"corruption": fastvae.corruption.MaskingNoise(0.3)}, X, {}),
    "conditional": (fastvae.VAE, VAE | {"conditional": True}, X, {"y": Y}),
    "samples": (fastvae.VAE, VAE | {"n_importance_samples": 3}, X, {}),
    "sgd": (fastvae.VAE, VAE | {"optimizer": fastvae.optimizers.SGD(momentum=0.9), "learning_rate": 0.01}, X, {}),
    "standardised": (fastvae.VAE, VAE | {"likelihood": "gaussian"}, X * 100 + 7, {}),
    "skipping": (fastvae.VAE, VAE | {"nan_policy": "skip", "clip_norm": 1.0}, X, {}),
    "autoencoder": (fastvae.Autoencoder, VAE, X, {}),
    "topics": (fastvae.TopicModel, {"n_topics": 3, "hidden": (8,), "epochs": 6, "random_state": 1}, COUNTS, {}),
    "exam": (fastvae.ItemResponse, {"hidden": (8,), "epochs": 6, "random_state": 1, "batch_size": 64}, ANSWERS, {}),
}


@pytest.mark.filterwarnings("ignore:.*has not converged", "ignore:.*after training", "ignore:X holds integers")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("epoch", [1, 4])
def test_a_resumed_fit_ends_with_the_bits_of_one_never_interrupted(case: str, epoch: int, tmp_path: Path) -> None:
    cls, parameters, data, fit = CASES[case]
    whole = cls(**parameters).fit(data, **fit)
    path = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        cls(**parameters, callbacks=[killed_at(epoch)]).fit(data, **fit, checkpoint=path, checkpoint_every=1)
    again = fastvae.load(path)
    assert again.n_iter_ == epoch - 1
    resumed = fastvae.resume(path, data, **fit, callbacks=[killed_at(99)])
    assert contents(resumed) == contents(whole)
    assert resumed.interrupted_ is False
    # The file now holds the model at the end, and resuming it returns that model.
    assert contents(fastvae.load(path)) == contents(whole)
    assert contents(fastvae.resume(path, data, **fit, callbacks=killed_at(99))) == contents(whole)
    # Training goes on with the same bits too.
    more = {"y": fit["y"]} if "y" in fit else {}
    assert bits(resumed.partial_fit(data, **more)) == bits(whole.partial_fit(data, **more))


def test_a_checkpoint_changes_no_bit_of_a_fit(tmp_path: Path) -> None:
    plain = fastvae.VAE(**VAE).fit(X)
    assert contents(fastvae.VAE(**VAE).fit(X, checkpoint=tmp_path / "c", checkpoint_every=2)) == contents(plain)
    assert contents(fastvae.VAE(**VAE).fit(X, checkpoint=str(tmp_path / "d"))) == contents(plain)


def test_warm_starts_have_checkpoints_too(tmp_path: Path) -> None:
    path = tmp_path / "c"
    parameters = VAE | {"warm_start": True, "epochs": 3}
    whole = fastvae.VAE(**parameters).fit(X).fit(X, epochs=5)
    model = fastvae.VAE(**parameters).fit(X)
    with pytest.raises(Killed):
        model.set_params(callbacks=[killed_at(6)]).fit(X, epochs=5, checkpoint=path, checkpoint_every=1)
    assert contents(fastvae.resume(path, X, callbacks=killed_at(99))) == contents(whole)


def test_callbacks_get_their_state_back(tmp_path: Path) -> None:
    path, whole = tmp_path / "c", Best()
    fastvae.VAE(**VAE, callbacks=[whole]).fit(X)
    with pytest.raises(Killed):
        fastvae.VAE(**VAE, callbacks=[Best(), killed_at(5)]).fit(X, checkpoint=path, checkpoint_every=1)
    again = Best()
    fastvae.resume(path, X, callbacks=[again, killed_at(99)])
    assert again.losses == whole.losses
    assert again.array[0] == whole.array[0] == 7


def test_other_callbacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(Killed):
        fastvae.VAE(**VAE, callbacks=[Best(), killed_at(5)]).fit(X, checkpoint=path, checkpoint_every=1)
    for others in ([], [Best()], [killed_at(9), Best()], lambda model, logs: None):
        with pytest.raises(ValueError, match=r"the training had the callbacks \['Best', "):
            fastvae.resume(path, X, callbacks=others)


class Odd:
    """A callback whose state is not of JSON."""

    def __call__(self, model: Any, logs: dict[str, float]) -> None: ...

    def state_dict(self) -> Any:
        return {"model": object()}

    def load_state_dict(self, state: Any) -> None: ...


class Half(Odd):
    load_state_dict = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name == "load_state_dict":
            raise AttributeError
        return object.__getattribute__(self, name)


def test_states_that_a_checkpoint_cannot_hold_are_refused_at_the_start(tmp_path: Path) -> None:
    for callback, match in [(Odd(), "must hold numbers, strings"), (Half(), "needs load_state_dict")]:
        model = fastvae.VAE(**VAE, callbacks=callback)
        with pytest.raises(ValueError, match=match):
            model.fit(X, checkpoint=tmp_path / "c")
        assert model.n_iter_ == 0
        assert os.listdir(tmp_path) == []


def test_functions_as_schedules_must_be_given_again(tmp_path: Path) -> None:
    def beta(step: float) -> float:
        return min(1.0, step / 50)

    path, whole = tmp_path / "c", fastvae.VAE(**VAE, beta=beta).fit(X)
    with pytest.raises(Killed):
        fastvae.VAE(**VAE, beta=beta, callbacks=killed_at(4)).fit(X, checkpoint=path, checkpoint_every=1)
    with pytest.raises(ValueError, match="pass beta= as for fit"):
        fastvae.resume(path, X, callbacks=killed_at(99))
    assert contents(fastvae.resume(path, X, callbacks=killed_at(99), beta=beta, n_jobs=1)) == contents(whole)


def test_other_data_and_parameters_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    y = Y.astype(float)[:, None]
    with pytest.raises(Killed):
        fastvae.VAE(**VAE, conditional=True, callbacks=killed_at(4)).fit(
            X, y, validation_data=(X[:9], y[:9]), checkpoint=path, checkpoint_every=1
        )
    before = path.read_bytes()
    go_on: dict[str, Any] = {"callbacks": killed_at(99)}
    held_out = (X[:9], y[:9])
    changed = X.copy()
    changed[299, 11] = 1.0 - changed[299, 11]
    other = y.copy()
    other[7] += 1.0
    for data, labels, validation in [
        (changed, y, held_out),
        (X[::-1], y, held_out),
        (X[:299], y[:299], held_out),
        (X, other, held_out),
        (X, y, (X[:9], other[:9])),
        (X, y, (X[1:10], y[:9])),
        (X, y, (X[:8], y[:8])),
        (X, y, None),
    ]:
        with pytest.raises(ValueError, match="are not those of the fit that wrote"):
            fastvae.resume(path, data, labels, validation_data=validation, **go_on)
    for parameters, match in [
        ({"batch_size": 64}, "leave out batch_size="),
        ({"latent_dim": 3}, "leave out latent_dim="),
        ({"bta": 3}, "'bta' is not a parameter of VAE"),
        ({"observed": X > 0}, "leave out observed="),
    ]:
        with pytest.raises(ValueError, match=match):
            fastvae.resume(path, X, y, validation_data=held_out, **go_on, **parameters)
    assert path.read_bytes() == before
    # The same values in another type are the same data.
    fastvae.resume(path, X.astype(np.float64), y, validation_data=held_out, **go_on, progress=False)


def test_only_checkpoints_are_resumed(tmp_path: Path) -> None:
    path = tmp_path / "model"
    fastvae.VAE(**VAE).fit(X).save(path)
    with pytest.raises(ValueError, match="is no checkpoint"):
        fastvae.resume(path, X)
    path.write_bytes(b"other")
    with pytest.raises(fastvae.FormatError):
        fastvae.resume(path, X)
    with pytest.raises(FileNotFoundError):
        fastvae.resume(tmp_path / "none", X)


def test_arguments_are_checked(tmp_path: Path) -> None:
    for given, match in [
        ({"checkpoint_every": 2}, "checkpoint_every= needs checkpoint="),
        ({"checkpoint": tmp_path / "c", "checkpoint_every": 0}, "checkpoint_every"),
        ({"checkpoint": 7}, "checkpoint=7 must be the path"),
    ]:
        with pytest.raises(ValueError, match=match):
            fastvae.VAE(**VAE).fit(X, **given)


def test_an_unwritable_path_is_an_error_before_training(tmp_path: Path) -> None:
    model = fastvae.VAE(**VAE)
    with pytest.raises(OSError, match="No such file") as raised:
        model.fit(X, checkpoint=tmp_path / "none" / "c")
    assert raised.value.errno == errno.ENOENT
    assert model.n_iter_ == 0


def test_a_later_failure_is_a_warning_and_training_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "c"

    def lose(model: Any, logs: dict[str, float]) -> None:
        if model.n_iter_ == 3:
            os.rename(folder, tmp_path / "moved")
        if model.n_iter_ == 5:
            os.rename(tmp_path / "moved", folder)

    with pytest.warns(UserWarning, match=r"The checkpoint was not written.*Training goes on") as caught:
        model = fastvae.VAE(**VAE, callbacks=lose).fit(X, checkpoint=path, checkpoint_every=1)
    assert len(caught) == 1
    assert model.n_iter_ == 7
    assert contents(fastvae.load(path)) == contents(model)


def test_failures_never_end_training_nor_lose_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def lose(model: Any, logs: dict[str, float]) -> None:
        if model.n_iter_ == 3:
            os.rename(folder, tmp_path / "moved")

    model = fastvae.VAE(**VAE, callbacks=lose)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"earlier epoch.*Save the model elsewhere"):
            model.fit(X, checkpoint=folder / "c", checkpoint_every=1)
    assert contents(model) == contents(fastvae.VAE(**VAE).fit(X))
    assert fastvae.load(tmp_path / "moved" / "c").n_iter_ == 2


# A fit of a few seconds with everything that has a state, in a process that a test kills.
SCRIPT = """
import sys
import numpy as np
import fastvae
from fastvae import schedules
from test_checkpoint import Best

path, out = sys.argv[1:]
rng = np.random.default_rng(0)
X = (rng.random((2000, 30)) < rng.random(30)).astype(np.float32)
best = Best()
if "resume" in out:
    model = fastvae.resume(path, X, callbacks=[best])
else:
    model = fastvae.VAE(
        hidden=(64, 32), epochs=400, batch_size=100, random_state=5, learning_rate=0.01, early_stopping=True,
        n_iter_no_change=400, beta=schedules.linear(0.1, 1.0, epochs=20), callbacks=[best],
        corruption=fastvae.corruption.MaskingNoise(0.1),
    )
    print("starts", flush=True)
    model.fit(X, checkpoint=path, checkpoint_every=1)
model.save(out)
print(best.losses == model.history_["loss"], model.n_iter_)
"""


@posix
def test_a_process_killed_ten_times_ends_with_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    def run(path: Path, out: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(path), str(tmp_path / out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    whole = run(tmp_path / "whole", "whole-model")
    printed, _ = whole.communicate(timeout=120)
    assert whole.returncode == 0
    assert "True" in printed

    rng, path, kills, out = random.Random(1), tmp_path / "checkpoint", 0, "model"
    while kills < 10:
        process = run(path, out)
        before = path.stat().st_mtime_ns if path.exists() else None
        deadline = time.monotonic() + 120
        # At a random moment after it has written something.
        while process.poll() is None and (path.stat().st_mtime_ns if path.exists() else None) == before:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.random() * 0.04)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, "the fit must be longer"
        kills, out = kills + 1, "resumed-model"
    process = run(path, "resumed-model")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert fastvae.load(tmp_path / "resumed-model").n_iter_ == 400
    assert "True" in printed
    ours, theirs = fastvae.load(tmp_path / "resumed-model"), fastvae.load(tmp_path / "whole-model")
    assert contents(ours) == contents(theirs)
    assert same(ours, theirs)


# ------------------------------------------------------------------------------------------------ nan_policy


def outliers() -> tuple[fastvae.VAE, Any]:
    """Return a started model, and data whose third and fifth batch have no finite loss."""
    rows = RNG.random((96, 6), dtype=np.float32)
    model = fastvae.VAE(2, hidden=(8,), likelihood="gaussian", batch_size=16, random_state=0).partial_fit(rows[:16])
    rows[35, 2] = rows[70, 4] = 1e15
    return model, rows


def test_a_batch_without_a_finite_loss_is_skipped_and_counted() -> None:
    model, rows = outliers()
    other, _ = outliers()
    model.set_params(nan_policy="skip").partial_fit(rows)
    assert model.n_skipped_batches_ == 2
    assert model._fitted.engine.steps == 7
    good = np.r_[0:32, 48:64, 80:96]
    assert np.isfinite(model.history_["loss"][-1])
    # The same steps with the same noise on the good batches: steps 1, 2, 4 and 6.
    with pytest.raises(FloatingPointError):
        other.partial_fit(rows)
    assert other._fitted.engine.steps == 3
    assert not same(model, other)
    assert good.size == 64


def test_skipping_changes_no_bit_without_bad_batches() -> None:
    for clip in (None, 0.5):
        one, two = (fastvae.VAE(**VAE, clip_norm=clip, nan_policy=policy).fit(X) for policy in ("raise", "skip"))
        assert contents(one) == contents(two)


def test_the_weights_of_a_pass_with_skipped_batches_are_finite_and_means_leave_them_out() -> None:
    model, rows = outliers()
    model.set_params(nan_policy="skip", learning_rate=1e-30).partial_fit(rows)
    good = np.r_[0:32, 48:64, 80:96]
    other, _ = outliers()
    clean = rows.copy()
    clean[32:48] = clean[0]
    clean[64:80] = clean[0]
    other.set_params(learning_rate=1e-30).partial_fit(clean)
    # The KL of the good batches does not depend on the draws: the mean over the good rows.
    expected = model.score_samples(rows[good]).shape
    assert expected == (64,)
    assert np.isfinite(model.history_["kl"][-1])
    _, logvar = model.encode(rows[good])
    mu = model.transform(rows[good])
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).sum(1).mean()
    np.testing.assert_allclose(model.history_["kl"][-1], kl, rtol=1e-5)
    assert np.isfinite(other.history_["loss"][-1])


def test_fit_warns_of_skipped_batches_and_saves_their_number(tmp_path: Path) -> None:
    model, rows = outliers()
    model.set_params(nan_policy="skip", epochs=2, warm_start=True)
    with pytest.warns(UserWarning, match=r"[2-4] batches without a finite loss or gradient were skipped"):
        model.fit(rows)
    assert model.n_skipped_batches_ in (2, 3, 4)
    model.save(tmp_path / "m")
    assert fastvae.load(tmp_path / "m").n_skipped_batches_ == model.n_skipped_batches_


def test_a_pass_of_bad_batches_only_is_an_error() -> None:
    model, rows = outliers()
    before = bits(model)
    with pytest.raises(FloatingPointError, match="no batch of the pass had a finite loss"):
        model.set_params(nan_policy="skip").partial_fit(np.repeat(rows[35:36], 16, axis=0))
    assert bits(model) == before


def test_the_message_names_batch_cause_and_remedy() -> None:
    model, rows = outliers()
    with pytest.raises(FloatingPointError) as raised:
        model.partial_fit(rows)
    message = str(raised.value)
    assert "step 4 (batch 3 of 6)" in message
    assert "X[35, 2] = 1e15" in message
    assert 'nan_policy="skip"' in message
    assert "lower learning_rate (it is 0.001)" in message
    for start in (0, 5):  # in the epoch's order, with rows that `fit` selects too
        model, rows = outliers()
        model.set_params(warm_start=True, epochs=9, validation_fraction=0.05 * (start > 0))
        with pytest.raises(FloatingPointError, match=r"X\[(35, 2|70, 4)\] = 1e15"):
            model.fit(rows)
    model, rows = outliers()
    model.set_params(learning_rate=9e5)
    with pytest.raises(FloatingPointError, match="learning_rate") as raised:
        model.partial_fit(np.tile(rows[:32], (50, 1)))
    assert "likeliest" not in str(raised.value)


def test_other_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="nan_policy='drop'"):
        fastvae.VAE(**VAE, nan_policy="drop").fit(X)
