"""Progress in a notebook and by tqdm and rich; records of ``logging``. The line on a terminal: test_estimator.py."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import bits, run_python, small

import fastvae
from fastvae import Autoencoder

X = np.random.default_rng(0).random((150, 12), dtype=np.float32)

# -------------------------------------------------------------------------------------------------- a notebook


# The client of a kernel runs in a process of its own: what asyncio and zmq leave behind there warns in no other test.
RUN_CELL = """
import json, sys, warnings
warnings.simplefilter("default")
import nbclient, nbformat
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(sys.argv[1])])
nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
print(json.dumps(notebook.cells[0].outputs))
"""


def outputs(code: str) -> list[Any]:
    """Run a cell in a new kernel and return the outputs in the saved notebook."""
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    start = "import numpy as np, fastvae\nX = np.random.default_rng(0).random((150, 12), dtype=np.float32)\n"
    found: list[Any] = json.loads(run_python(RUN_CELL, start + code))
    return found


def test_a_notebook_has_one_output_that_ends_clean() -> None:
    code = "model = fastvae.Autoencoder(hidden=(8,), epochs=300, random_state=0, progress=True).fit(X)\nNone"
    (output,) = outputs(code)
    assert output["output_type"] == "display_data"
    text, html = output["data"]["text/plain"], output["data"]["text/html"]
    assert text.startswith("300 epochs  loss ")
    assert text.endswith(" s")
    assert "<progress" not in html
    assert text in html


def test_a_notebook_shows_a_bar_while_it_trains_and_where_it_stopped() -> None:
    code = """
import time
seen = []
shell = get_ipython()
real = shell.display_pub.publish
def note(data, *args, **more):
    seen.append(data["text/html"])
    return real(data, *args, **more)
shell.display_pub.publish = note
def stop(model, logs):
    return logs.epoch == 5
vae = fastvae.VAE(hidden=(8,), epochs=50, callbacks=[lambda model, logs: time.sleep(0.15), stop], progress=True).fit(X)
shell.display_pub.publish = real
assert sum("<progress" in html for html in seen) >= 4, seen
assert "<progress" not in seen[-1]
"""
    (output,) = outputs(code)
    assert output["data"]["text/plain"].startswith("5 of 50 epochs  loss ")


@pytest.mark.parametrize("package", ["tqdm", "rich"])
def test_without_ipywidgets_a_notebook_shows_the_own_bar(package: str) -> None:
    code = f"""
import sys
from importlib import util
find = util.find_spec
util.find_spec = lambda name, *more: None if name == "ipywidgets" else find(name, *more)
vae = fastvae.VAE(hidden=(8,), epochs=3, progress={package!r}).fit(X)
None
"""
    pytest.importorskip(package, reason=f"{package} is not installed")
    (output,) = outputs(code)
    assert output["data"]["text/plain"].startswith("3 epochs  loss ")


# ----------------------------------------------------------------------------------------------- tqdm and rich


@pytest.mark.parametrize("package", ["tqdm", "rich"])
def test_the_bars_of_packages_go_to_standard_error(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    model = small(epochs=3, progress=package, validation_fraction=0.2).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 3/3" in err
    assert f"val_loss {model.history_['val_loss'][-1]:.2f}" in err.replace("\n", "") or package == "rich"
    assert "100" in err
    assert bits(model) == bits(small(epochs=3, validation_fraction=0.2).fit(X))


def test_tqdm_counts_the_examples_of_all_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    small(epochs=4, progress="tqdm").fit(X)
    assert "600/600" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["tqdm", "rich"])
def test_a_package_is_named_where_it_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    model = small(progress=package)
    with pytest.raises(ImportError, match=f"progress='{package}' needs the package {package}: pip install {package}"):
        model.fit(X)
    assert not model.__sklearn_is_fitted__()


@pytest.mark.parametrize("package", ["tqdm", "rich"])
def test_a_bar_ends_when_training_fails(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    from fastvae._training import bars

    kind = {"tqdm": bars.Tqdm, "rich": bars.Rich}[package]
    closed = []
    close = kind.close
    monkeypatch.setattr(kind, "close", lambda self, state: closed.append(state.done) or close(self, state))

    def fail(model: Any, logs: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        small(progress=package, callbacks=fail).fit(X)
    assert closed == [1]


class Full(io.StringIO):
    """A standard error on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("package", ["tqdm", "rich"])
def test_a_broken_standard_error_ends_the_bar_only(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setattr(sys, "stderr", Full())
    assert small(progress=package).fit(X).n_iter_ == 2


@pytest.mark.parametrize("value", ["bar", "TQDM", 1, [True]])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"progress=.* must be None, True, False, 'tqdm' or 'rich'"):
        small(progress=value).fit(X)


def test_files_hold_the_name_of_the_package(tmp_path: Any) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    small(progress="tqdm").fit(X).save(tmp_path / "m")
    loaded = fastvae.load(tmp_path / "m")
    assert loaded.progress == "tqdm"


# --------------------------------------------------------------------------------------------------- logging


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """The records of the library, of all levels."""
    found: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("fastvae"), logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def lines(records: list[logging.LogRecord], level: int) -> list[str]:
    return [record.getMessage() for record in records if record.levelno == level]


def test_a_fit_has_a_record_at_its_start_and_its_end_and_one_for_each_epoch(records: list[logging.LogRecord]) -> None:
    model = small(epochs=3).fit(X)
    start, end = lines(records, logging.INFO)
    size = sum(array.size for array in model.state_dict().values())
    assert start == (
        f"VAE: training starts: 150 examples, 12 features, {size} parameters, epochs 1 to 3, seed {model.random_state}"
    )
    assert end.startswith("VAE: training ended after epoch 3, ")
    loss = model.history_["loss"]
    assert f"loss {loss[-1]:.4f}" in end
    epochs = lines(records, logging.DEBUG)
    assert [line.split(":")[1] for line in epochs] == [" epoch 1 of 3", " epoch 2 of 3", " epoch 3 of 3"]
    assert all(f"loss {value:.4f}" in line for value, line in zip(loss, epochs, strict=True))
    assert len(records) == 5


def test_a_fit_that_goes_on_says_so(records: list[logging.LogRecord]) -> None:
    small(Autoencoder, epochs=2, warm_start=True).fit(X).fit(X)
    assert "Autoencoder: training goes on: " in lines(records, logging.INFO)[2]
    assert "epochs 3 to 4" in lines(records, logging.INFO)[2]
    assert lines(records, logging.DEBUG)[-1].startswith("Autoencoder: epoch 4 of 4: loss ")


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_the_last_record_names_an_error(error: type[BaseException], records: list[logging.LogRecord]) -> None:
    class Fails:
        def on_epoch_end(self, model: Any, logs: Any) -> None:
            raise error

    with pytest.raises(error):
        small(callbacks=Fails()).fit(X)
    assert f"training stopped by {error.__name__} after epoch 1" in lines(records, logging.INFO)[-1]
    errors = ["VAE: LookupError in on_epoch_end of the callback "] if error is LookupError else []
    assert [line.split("test_")[0] for line in lines(records, logging.ERROR)] == errors


def test_a_fit_within_the_handling_of_an_error_ends_without_one(records: list[logging.LogRecord]) -> None:
    try:
        raise LookupError
    except LookupError:
        small().fit(X)
    assert "training ended after" in lines(records, logging.INFO)[-1]


def test_nothing_is_printed_by_default() -> None:
    code = """
import logging, sys
import numpy as np, fastvae
def fail(model, logs):
    raise LookupError
try:
    fastvae.VAE(hidden=(4,), epochs=2, callbacks=fail).fit(np.ones((20, 3)))
except LookupError:
    pass
assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("fastvae").handlers)
sys.stderr.flush()
"""
    import os
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_fit_does_not_import_logging() -> None:
    code = """
import sys, numpy as np, fastvae
fastvae.VAE(hidden=(4,), epochs=2).fit(np.ones((20, 3)))
print({"logging", "IPython", "tqdm", "rich"} & {*sys.modules})
"""
    assert run_python(code).strip() == "set()"


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C on this system")
def test_ctrl_c_in_a_step_is_in_the_records(records: list[logging.LogRecord]) -> None:
    import threading

    stopped = threading.Event()

    def press() -> None:
        while not stopped.wait(0.3):  # again: a finaliser of another test may swallow one
            signal.raise_signal(signal.SIGINT)

    presses = threading.Thread(target=press)
    presses.start()
    with pytest.raises(KeyboardInterrupt):
        small(epochs=10**5).fit(X)
    stopped.set()
    presses.join()
    assert "training stopped by KeyboardInterrupt" in lines(records, logging.INFO)[-1]
