"""The callbacks of fastvae.callbacks, and the calls that a fit makes."""

from __future__ import annotations

import copy
import csv
import json
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Killed, bits, killed_at, same, small

import fastvae
from fastvae import VAE, Autoencoder
from fastvae.callbacks import Callback, CSVLogger, JSONLLogger, LambdaCallback, ModelCheckpoint, TensorBoard

X = np.random.default_rng(0).random((150, 12), dtype=np.float32)
PARAMETERS: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "batch_size": 32, "random_state": 0}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ------------------------------------------------------------------------------------------------- the calls


class Notes:
    """Writes down the calls."""

    def __init__(self, calls: list[Any], name: str = "", fail: str = "") -> None:
        self.calls, self.name, self.fail = calls, name, fail

    def _note(self, what: str, epoch: int) -> None:
        self.calls.append((self.name + what, epoch))
        if what == self.fail:
            raise LookupError(self.name)

    def on_train_begin(self, model: Any) -> None:
        self._note("begin", model.n_iter_)

    def on_epoch_end(self, model: Any, logs: Any) -> None:
        self._note("epoch", logs.epoch)

    def on_train_end(self, model: Any) -> None:
        self._note("end", model.n_iter_)


def test_begin_epochs_and_end_in_this_order() -> None:
    calls: list[Any] = []
    model = small(epochs=2, callbacks=[Notes(calls, "a "), Notes(calls, "b ")], warm_start=True).fit(X)
    assert calls == [
        *[(f"{name} begin", 0) for name in "ab"],
        *[(f"{name} epoch", epoch) for epoch in (1, 2) for name in "ab"],
        *[(f"{name} end", 2) for name in "ab"],
    ]
    calls.clear()
    model.fit(X)
    assert [call for call in calls if call[0][0] == "a"] == [
        ("a begin", 2),
        ("a epoch", 3),
        ("a epoch", 4),
        ("a end", 4),
    ]


@pytest.mark.parametrize("fail", ["begin", "epoch", "end"])
def test_the_end_is_called_after_an_error_and_for_the_others_too(fail: str) -> None:
    calls: list[Any] = []
    with pytest.raises(LookupError, match="a"):
        small(callbacks=[Notes(calls, "a ", fail), Notes(calls, "b ")]).fit(X)
    assert [name for name, _ in calls][-2:] == ["a end", "b end"]


def test_the_end_is_called_after_ctrl_c_and_after_a_divergence() -> None:
    calls: list[Any] = []

    def press(model: Any, logs: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[Notes(calls), press]).fit(X)
    assert calls[-1] == ("end", 1)
    calls.clear()
    with pytest.raises(FloatingPointError):
        small(likelihood="gaussian", learning_rate=1e5, callbacks=[Notes(calls)], epochs=50).fit(X)
    assert [name for name, _ in calls if name != "epoch"] == ["begin", "end"]


def test_at_the_end_early_stopping_has_restored_the_best_weights() -> None:
    seen = []
    end = LambdaCallback(on_train_end=lambda model: seen.append(bits(model)))
    model = small(early_stopping=True, n_iter_no_change=2, epochs=50, learning_rate=0.1, callbacks=end).fit(X)
    assert seen == [bits(model)]


def test_logs_have_the_number_of_the_epoch_and_of_the_last_one() -> None:
    seen: list[Any] = []
    model = small(epochs=3, callbacks=lambda model, logs: seen.append(logs), warm_start=True).fit(X)
    model.fit(X, epochs=4)
    assert [logs.epoch for logs in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [logs.epochs for logs in seen] == [3, 3, 3, 7, 7, 7, 7]
    assert all(set(logs) == set(model.history_) for logs in seen), "the number is no loss"


def test_an_object_may_have_only_some_of_the_methods() -> None:
    seen = []

    class Begins:
        def on_train_begin(self, model: Any) -> None:
            seen.append(model.n_iter_)

    small(callbacks=[Begins(), Callback()]).fit(X)
    assert seen == [0]


def test_an_error_names_the_callback_and_the_epoch() -> None:
    with pytest.raises(LookupError) as caught:
        small(callbacks=[Notes([]), Notes([], "b ", "epoch")]).fit(X)
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == ["in on_epoch_end of the callback Notes, after epoch 1"]


def test_a_lambda_callback_can_stop() -> None:
    assert small(epochs=9, callbacks=LambdaCallback(lambda model, logs: logs.epoch == 4)).fit(X).n_iter_ == 4
    with pytest.raises(ValueError, match="on_train_end=3 must be a function"):
        LambdaCallback(on_train_end=3)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- the loggers


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_csv_holds_the_history(model: type[Any], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    fitted = small(model, epochs=3, callbacks=[CSVLogger(path)], validation_fraction=0.2).fit(X)
    found = rows(path)
    assert list(found[0]) == ["epoch", "seconds", *fitted.history_]
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    for key, values in fitted.history_.items():
        assert [float(row[key]) for row in found] == values, "all digits"
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(fitted.elapsed_, abs=1e-5)


def test_jsonl_holds_the_history(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    fitted = small(epochs=3, callbacks=JSONLLogger(path)).fit(X)
    found = objects(path)
    assert [list(row) for row in found] == [["epoch", "seconds", *fitted.history_]] * 3
    assert [row["kl"] for row in found] == fitted.history_["kl"]


def test_each_epoch_is_in_the_file_before_the_next(tmp_path: Path) -> None:
    path, sizes = tmp_path / "log.csv", []
    small(epochs=3, callbacks=[CSVLogger(path), lambda model, logs: sizes.append(len(rows(path)))]).fit(X)
    assert sizes == [1, 2, 3]


def test_a_new_fit_replaces_the_file_and_a_warm_start_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("old\n")
    model = small(epochs=2, callbacks=[CSVLogger(path)]).fit(X)
    assert len(rows(path)) == 2
    assert len(rows(path)) == len(model.fit(X).history_["loss"])
    model.set_params(warm_start=True).fit(X, validation_data=X[:20])
    found = rows(path)
    assert [row["epoch"] for row in found] == ["1", "2", "3", "4"]
    assert [row["val_loss"] == "nan" for row in found] == [True, True, False, False]
    assert all(float(row["seconds"]) > 0 for row in found)


@pytest.mark.parametrize(("kind", "read"), [(CSVLogger, rows), (JSONLLogger, objects)])
def test_a_resumed_fit_has_each_epoch_once(kind: type[Any], read: Any, tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "checkpoint"
    whole = VAE(**PARAMETERS, epochs=9).fit(X)
    model = VAE(**PARAMETERS, epochs=9, callbacks=[kind(log), killed_at(6)])
    with pytest.raises(Killed):  # the last checkpoint is of epoch 4
        model.fit(X, checkpoint=path, checkpoint_every=4)
    assert len(read(log)) == 6
    before = read(log)
    with log.open("a") as file:
        file.write('{"half a li')  # of a process killed while it wrote
    fastvae.resume(path, X, callbacks=[kind(log), killed_at(99)])
    found = read(log)
    assert [int(row["epoch"]) for row in found] == list(range(1, 10))
    assert [float(row["loss"]) for row in found] == whole.history_["loss"]
    assert found[:4] == before[:4], "times too"


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        small(callbacks=[CSVLogger(tmp_path / "nowhere" / "log.csv")]).fit(X)


def test_a_later_failure_is_one_warning_and_the_file_is_complete_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "log.csv"

    def lose(model: Any, logs: Any) -> None:
        if logs.epoch == 1:
            folder.rename(tmp_path / "away")
        if logs.epoch == 4:
            (tmp_path / "away").rename(folder)

    with pytest.warns(UserWarning, match=r"CSVLogger\(.*\) cannot write: .*Training goes on") as caught:
        model = small(epochs=6, callbacks=[CSVLogger(path), lose]).fit(X)
    assert len(caught) == 1
    assert [float(row["loss"]) for row in rows(path)] == model.history_["loss"]


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    path = tmp_path / "log"
    model = small(epochs=1, warm_start=True).fit(X)
    model.set_params(callbacks=JSONLLogger(path)).fit(X, validation_data=X)
    first, second = objects(path)
    assert first["val_loss"] is None
    assert first["seconds"] is None
    assert math.isfinite(second["val_loss"])


# --------------------------------------------------------------------------------------------- ModelCheckpoint


def test_the_best_and_the_last_model_are_saved(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "best", last=tmp_path / "last")
    states: list[Any] = []

    def disturb(model: Any, logs: Any) -> None:
        states.append(model.state_dict())
        if logs.epoch == 5:
            model.set_params(learning_rate=1.0)

    with pytest.warns(UserWarning, match="went wrong"):
        model = small(epochs=8, validation_fraction=0.2, callbacks=[saver, disturb]).fit(X)
    values = model.history_["val_loss"]
    best = int(np.argmin(values))
    assert best < 7, "else best and last are the same"
    assert saver.best_ == values[best]
    assert saver.best_epoch_ == best + 1
    assert same(fastvae.load(tmp_path / "best").state_dict(), states[best])
    assert same(fastvae.load(tmp_path / "last"), model)


def test_the_last_model_is_the_one_that_fit_returns(tmp_path: Path) -> None:
    saver = ModelCheckpoint(last=tmp_path / "last", every=100)
    model = small(early_stopping=True, n_iter_no_change=2, epochs=50, learning_rate=0.1, callbacks=saver).fit(X)
    assert same(fastvae.load(tmp_path / "last"), model)


@pytest.mark.parametrize(
    ("monitor", "mode", "wanted"),
    [("elbo", None, max), ("loss", None, min), ("kl", "max", max), ("val_elbo", None, max)],
)
def test_monitor_and_mode_choose_the_best(monitor: str, mode: str | None, wanted: Any, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "best", monitor=monitor, mode=mode)
    model = small(epochs=5, callbacks=saver).fit(X, validation_data=X[:30])
    assert saver.best_ == wanted(model.history_[monitor])


def test_a_resumed_fit_knows_the_best_value(tmp_path: Path) -> None:
    path, best = tmp_path / "checkpoint", tmp_path / "best"
    saver = ModelCheckpoint(best, monitor="kl", mode="max")
    with pytest.raises(Killed):
        VAE(**PARAMETERS, epochs=9, callbacks=[saver, killed_at(6)]).fit(X, checkpoint=path, checkpoint_every=1)
    again = ModelCheckpoint(best, monitor="kl", mode="max")
    model = fastvae.resume(path, X, callbacks=[again, killed_at(99)])
    assert again.best_ == max(model.history_["kl"])
    assert fastvae.load(best).n_iter_ == again.best_epoch_ == 1 + int(np.argmax(model.history_["kl"]))


def test_bad_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs best= or last="):
        ModelCheckpoint()
    with pytest.raises(ValueError, match="the same file"):
        ModelCheckpoint("a", last="a")
    with pytest.raises(ValueError, match="mode='least'"):
        ModelCheckpoint("a", mode="least")
    with pytest.raises(ValueError, match=r"best=3 must be the path"):
        ModelCheckpoint(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="monitor='val_loss' is none of the losses: use one of 'reconstruction', 'kl'"):
        small(callbacks=ModelCheckpoint(tmp_path / "a", monitor="val_loss")).fit(X)


def test_a_full_disk_later_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = ModelCheckpoint(last=tmp_path / "last")
    save, calls = VAE.save, []

    def fails(self: Any, path: Any, **options: Any) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        save(self, path, **options)

    monkeypatch.setattr(VAE, "save", fails)
    with pytest.warns(UserWarning, match="No space left") as caught:
        small(epochs=5, callbacks=saver).fit(X)
    assert len(caught) == 1
    assert len(calls) == 6
    calls[:] = ["one"]
    with pytest.raises(OSError, match="No space"):
        small(epochs=5, callbacks=saver).fit(X)


# ------------------------------------------------------------------------------------------------- TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read what was written, with TensorBoard's rule for a restart: later steps before it are hidden."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            if event.session_log.status == event.session_log.START:
                found = {key: [pair for pair in pairs if pair[0] < event.step] for key, pairs in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_gets_the_losses_of_each_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    model = small(epochs=3, callbacks=TensorBoard(tmp_path), validation_fraction=0.2, warm_start=True).fit(X)
    found = scalars(tmp_path)
    for key, values in model.history_.items():
        name = f"{key.removeprefix('val_')}/{'val' if key.startswith('val_') else 'train'}"
        assert [step for step, _ in found[name]] == [1, 2, 3]
        np.testing.assert_allclose([value for _, value in found[name]], values, rtol=1e-6)


def test_tensorboard_hides_the_epochs_that_a_resumed_fit_repeats(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    import time

    path, runs = tmp_path / "checkpoint", tmp_path / "runs"
    model = VAE(**PARAMETERS, epochs=6, callbacks=[TensorBoard(runs), killed_at(5)])
    with pytest.raises(Killed):
        model.fit(X, checkpoint=path, checkpoint_every=3)
    time.sleep(1.1)  # the name of the file has the second
    fitted = fastvae.resume(path, X, callbacks=[TensorBoard(runs), killed_at(99)])
    found = scalars(runs)["loss/train"]
    assert [step for step, _ in found] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([value for _, value in found], fitted.history_["loss"], rtol=1e-6)


def test_tensorboard_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        small(callbacks=TensorBoard(tmp_path)).fit(X)


# ---------------------------------------------------------------------------------------------- as parameters


def every(folder: Path) -> list[Callback]:
    return [
        CSVLogger(folder / "a"),
        JSONLLogger(folder / "b"),
        ModelCheckpoint(folder / "c"),
        TensorBoard(folder / "d"),
        LambdaCallback(print_nothing),
    ]


def print_nothing(model: Any, logs: Any) -> None:
    pass


def test_models_with_callbacks_are_copied_pickled_and_cloned(tmp_path: Path) -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    model = small(callbacks=every(tmp_path)).fit(X)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), base.clone(model)):
        assert bits(other.fit(X)) == bits(model)
    seen: list[Any] = []
    small(callbacks=[*every(tmp_path), lambda model, logs: seen.append(copy.deepcopy(model))]).fit(X)
    assert seen[0].n_iter_ == 1


def test_they_change_no_bit_of_a_fit(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    assert bits(small(callbacks=every(tmp_path)).fit(X)) == bits(small().fit(X))


def test_the_module_is_imported_on_first_use() -> None:
    from helpers import run_python

    code = "import sys, fastvae; print('fastvae.callbacks' in sys.modules, fastvae.callbacks.CSVLogger('a'))"
    assert run_python(code).strip() == "False CSVLogger('a')"


def test_dir_lists_all_public_names() -> None:
    from helpers import run_python

    code = "import fastvae; print(set(fastvae.__all__) - set(dir(fastvae)), 'plots' in dir(fastvae))"
    assert run_python(code).strip() == "set() True"


def test_a_checkpoint_that_cannot_be_written_is_an_error_before_training(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "m", tmp_path / "folder"):
        for given in ({"best": path}, {"last": path}, {"best": tmp_path / "m", "last": path}):
            model, epochs = small(callbacks=[ModelCheckpoint(**given, every=100)]), []
            model.callbacks.append(lambda model, logs, epochs=epochs: epochs.append(logs.epoch))
            with pytest.raises(OSError, match=re.escape(str(path.parent if path.name == "m" else path))):
                model.fit(X)
            assert not epochs
    with pytest.raises(ValueError, match="the same file"):
        ModelCheckpoint(tmp_path / "m", last=tmp_path / "folder" / ".." / "m")
    for name in ("", "a\0b"):
        with pytest.raises(ValueError, match="must be the path of a file"):
            CSVLogger(name)
