"""Ctrl-C stops quickly and loses nothing; a diverging fit says so and leaves finite weights."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any

import numpy as np
import pytest
from helpers import OPTIMIZER_NAMES, TIMEOUT, is_finite, run_python, same, started, steps, tiny
from numpy.typing import NDArray

from fastvae.likelihoods import Gaussian

pytestmark = pytest.mark.slow

# Seconds of processor time, which a busy machine does not lengthen; the promise is 0.2 s of a clock.
LATENCY = 0.5
needs_signals = pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself Ctrl-C on this system")

# Runs `ask()`, sends this process the signal of Ctrl-C in the midst of its work, once the main thread has used 0.1 s of
# processor time since `started()`, by default a first step, and prints after how much more work of the main thread it
# came out. Other threads do not count: they wait in loops for a worker that a busy machine has suspended.
# Uninterrupted, each would work for many seconds.
SCRIPT = """
import json, os, signal, threading, time
import numpy as np
import fastvae
from helpers import bits as weights, is_finite, steps

assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
# Overlapping windows of one row of noise: a large data set that takes no memory.
noise = np.random.default_rng(0).random(400_000, dtype=np.float32)
X = np.lib.stride_tricks.sliding_window_view(noise, 784)
make = lambda **more: fastvae.VAE(20, random_state=0, **({"n_jobs": 1} | more))
model = make(epochs=1000)
started = lambda: hasattr(model, "n_iter_") and steps(model) > 0
result, least = {}, 0.1
%s
sent = []

if hasattr(time, "pthread_getcpuclockid"):
    main = time.pthread_getcpuclockid(threading.main_thread().ident)
    work = lambda: time.clock_gettime(main)
else:  # macOS
    work = time.process_time

def press():
    while not started():
        time.sleep(0.001)
    begun = work()
    while work() - begun < least:
        time.sleep(0.001)
    sent.append(work())
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    ask()
except KeyboardInterrupt:
    result["latency"] = work() - sent[0]
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
result["interrupted"] = model.interrupted_
result["finite"] = bool(is_finite(model))
result["steps"] = steps(model)
result["n_iter"] = model.n_iter_
result["history"] = [len(v) for v in model.history_.values()]
result["elapsed"] = model.elapsed_
%s
print(json.dumps(result))
"""


def interrupt(before: str, after: str = "") -> dict[str, Any]:
    """Run the script in a fresh interpreter, and return what it found."""
    result: dict[str, Any] = json.loads(run_python(SCRIPT % (before, after)))
    assert "latency" in result, "it ended before Ctrl-C came"
    print(f"{result['latency'] * 1000:.0f} ms of the main thread's work from Ctrl-C to KeyboardInterrupt")
    return result


def data(rows: int = 64) -> NDArray[np.float32]:
    """Return examples in 0..1."""
    return np.random.default_rng(0).random((rows, 6), dtype=np.float32)


# ------------------------------------------------------------------------------------------------ Ctrl-C


@needs_signals
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_stops_fit_keeps_the_model_and_training_goes_on(n_jobs: int) -> None:
    result = interrupt(
        f"model.set_params(n_jobs={n_jobs}); ask = lambda: model.fit(X)",
        "model.partial_fit(X[:1280]); result['later'] = [steps(model), model.n_iter_, model.interrupted_]",
    )
    assert result["latency"] < LATENCY
    assert result["interrupted"] is True
    assert result["finite"]
    assert result["steps"] > 0
    assert result["elapsed"] > 0
    assert set(result["history"]) == {result["n_iter"]}
    assert result["later"] == [result["steps"] + 10, result["n_iter"] + 1, False]


@needs_signals
def test_the_weights_after_ctrl_c_are_those_of_the_last_finished_step_bit_for_bit() -> None:
    result = interrupt(
        """
begin = make().partial_fit(X[:2]).state_dict()
model.load_state_dict(begin)
asked, least = [], 1.0  # the check of X comes before the first step
started = lambda: asked
ask = lambda: asked.append(1) or model.partial_fit(X)
""",
        """
again = make().load_state_dict(begin).partial_fit(X[:128 * steps(model)])
result["same"] = weights(model) == weights(again)
first, second = model.partial_fit(X[:1000]), again.partial_fit(X[:1000])
result["same later"] = weights(first) == weights(second)
""",
    )
    assert result["latency"] < LATENCY
    assert 0 < result["steps"] < 3000
    assert result["interrupted"] is True
    assert result["n_iter"] == 0
    assert result["same"]
    assert result["same later"]


@needs_signals
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("after", [0.5, 3.0], ids=["forward", "backward"])
def test_ctrl_c_in_the_midst_of_a_long_step_takes_the_step_back(after: float, n_jobs: int) -> None:
    result = interrupt(
        f"""
model = make(hidden=(1500,), n_jobs={n_jobs}, batch_size=40_000).partial_fit(X[:2])
before, dumped = weights(model), model._fitted.engine.dump("", True)
started, least = lambda: True, {after} / {n_jobs}
ask = lambda: model.partial_fit(X[:40_000])
""",
        "result['same'] = weights(model) == before and model._fitted.engine.dump('', True) == dumped",
    )
    assert result["latency"] < 2 * LATENCY  # of a step of 5 s; the kernel clears a gigabyte meanwhile
    assert result["interrupted"] is True
    assert result["steps"] == 1
    assert result["same"]


@needs_signals
@pytest.mark.parametrize("method", ["loss_and_gradients", "transform"])
def test_ctrl_c_stops_one_long_batch_of_a_wide_network(method: str) -> None:
    result = interrupt(
        f"""
model = make(hidden=(5000, 2500), n_jobs=1).partial_fit(X[:2])
before = weights(model)
started, least = lambda: True, 1.0
rows = X[:8_000] if {method!r} == "loss_and_gradients" else X[:20_000]
ask = lambda: model.{method}(rows)
""",
        "result['same'] = weights(model) == before",
    )
    assert result["latency"] < LATENCY
    assert result["same"]


@needs_signals
def test_ctrl_c_while_the_validation_data_are_scored_interrupts_the_fit_too() -> None:
    result = interrupt("ask = lambda: model.fit(X[:256], validation_data=X)")
    assert result["latency"] < LATENCY
    assert result["finite"]
    assert result["steps"] == 2
    assert result["interrupted"] is True


@needs_signals
@pytest.mark.parametrize("method", ["transform", "encode", "score_samples", "reconstruct", "evaluate"])
def test_ctrl_c_stops_a_question_and_the_model_answers_the_next(method: str) -> None:
    result = interrupt(
        f"""
model = make(epochs=1, hidden=(800, 400)).fit(X[:256])
before = weights(model)
rows = X[:60_000] if {method!r} == "reconstruct" else X
started = lambda: True
ask = lambda: model.{method}(rows)
""",
        "result['same'] = weights(model) == before; result['shape'] = model.transform(X[:5]).shape",
    )
    assert result["latency"] < LATENCY
    assert result["same"]
    assert result["shape"] == [5, 20]
    assert result["interrupted"] is False  # the training was not


@needs_signals
def test_ctrl_c_stops_draws_of_counts() -> None:
    result = interrupt(
        """
model = make(likelihood="poisson", hidden=(4,)).partial_fit(X[:128])
ask = lambda: model.sample(200_000, draw=True, random_state=0)
"""
    )
    assert result["latency"] < LATENCY


@needs_signals
@pytest.mark.parametrize(("examples", "n_samples"), [(1, 20_000_000), (40, 1_000_000)])
def test_ctrl_c_stops_log_marginal_between_the_samples_of_one_example(examples: int, n_samples: int) -> None:
    result = interrupt(
        f"""
model = make(epochs=1).fit(X[:256])
binary = (X[:{examples}] > 0.5).astype(np.float32)
before = weights(model)
started = lambda: True
ask = lambda: model.log_marginal(binary, {n_samples})
""",
        "result['same'] = weights(model) == before",
    )
    assert result["latency"] < LATENCY
    assert result["same"]


@needs_signals
@pytest.mark.parametrize(
    "call",
    [
        "make(hidden=(4,)).partial_fit(X[:128]).posterior_sample(X[:200], 100_000)",
        "make(hidden=(4,)).partial_fit(X[:128]).sample(20_000_000)",
        "make(hidden=(4,), likelihood='gaussian').partial_fit(X[:128]).sample(400_000, draw=True)",
        "fastvae.functional.standard_normal((100_000, 3000), 0)",
        "fastvae.corruption.GaussianNoise(0.1).corrupt(big, 0)",
        "fastvae.functional.reparameterize(big, big, big)",
        "fastvae.functional.bernoulli_log_prob(big, big)",
        "fastvae.functional.gaussian_log_prob(big, big)",
    ],
)
def test_ctrl_c_stops_draws_and_functions_on_arrays(call: str) -> None:
    receiver, _, rest = call.rpartition(").") if call.startswith("make") else ("", "", call)
    ask = f"drawn.{rest}" if receiver else rest
    result = interrupt(
        f"""
drawn = {receiver + ")" if receiver else "None"}
big = np.zeros((150_000, 784), np.float32) if "big" in {call!r} else None
model.partial_fit(X[:128])
started = lambda: True
ask = lambda: {ask}
"""
    )
    assert result["latency"] < LATENCY


class Presses:
    """A standard error that presses Ctrl-C when a text is written to it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        if self.text in text:
            self.text = "pressed once"
            signal.raise_signal(signal.SIGINT)

    def flush(self) -> None:
        pass


@needs_signals
def test_ctrl_c_between_two_epochs_interrupts_the_fit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Presses("epoch 2/5  100 %"))
    model = tiny(epochs=5, progress=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data())
    assert steps(model) == 2 * 4
    assert model.n_iter_ == 2
    assert model.interrupted_ is True


@needs_signals
def test_ctrl_c_within_an_epoch_between_two_steps_interrupts_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Presses("epoch 1/5"))
    model = tiny(epochs=5, progress=True, batch_size=1, hidden=(200, 200))
    rows = np.tile(data(), (500, 1))
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows)
    assert 0 < steps(model) < len(rows)
    assert model.n_iter_ == 0
    assert model.interrupted_ is True
    assert is_finite(model)


@needs_signals
def test_interrupted_is_false_again_after_the_next_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(epochs=5, progress=True, batch_size=1, hidden=(200, 200))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Presses("epoch 1/5"))
        with pytest.raises(KeyboardInterrupt):
            model.fit(np.tile(data(), (500, 1)))
    assert model.set_params(progress=None).fit(data()).interrupted_ is False
    assert model.n_iter_ == 5


@needs_signals
def test_a_thread_that_is_not_the_main_one_can_train() -> None:
    models = [tiny(), tiny()]
    worker = threading.Thread(target=models[0].fit, args=(data(),), daemon=True)
    worker.start()
    worker.join(60)
    assert not worker.is_alive()
    assert same(models[0], models[1].fit(data()))


# --------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize(
    "likelihood", ["gaussian", Gaussian("shared"), Gaussian("per_feature"), Gaussian("decoder")], ids=str
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_diverging_fit_raises_names_the_learning_rate_and_leaves_finite_weights(
    optimizer: str, likelihood: Any, n_jobs: int
) -> None:
    model = tiny(likelihood=likelihood, optimizer=optimizer, learning_rate=1e5, n_jobs=n_jobs)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        model.fit(data())
    assert is_finite(model)
    assert model.interrupted_ is False
    assert model.n_iter_ == 0
    assert steps(model) < 4


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_an_absurd_learning_rate_is_named_and_leaves_no_broken_weights(optimizer: str, likelihood: str) -> None:
    model = tiny(likelihood=likelihood, optimizer=optimizer)
    model.fit(data()).set_params(learning_rate=1e30)
    with pytest.raises((ValueError, FloatingPointError), match="learning_rate"):
        model.partial_fit(data())
    assert is_finite(model)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("rate", [1e-3, 1e5])
@pytest.mark.parametrize("scale", [1.0, 1e6, 1e9, 1e12, 1e15])
@pytest.mark.parametrize("rows", [16, 64])
@pytest.mark.filterwarnings("ignore:likelihood=:UserWarning", "ignore:VAE after training")
def test_weights_never_overflow_even_in_the_last_step(optimizer: str, rate: float, scale: float, rows: int) -> None:
    model = tiny(likelihood="gaussian", optimizer=optimizer, learning_rate=rate, epochs=1)
    with contextlib.suppress(FloatingPointError):
        model.fit(data(rows) * scale)
    assert is_finite(model)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("scale", [1e11, 1e13, 1e15])
def test_a_step_whose_gradient_overflows_says_so_and_leaves_finite_weights(optimizer: str, scale: float) -> None:
    # At some of these scales the loss is still finite, but the encoder's gradient, the square of it, is not.
    model, before = (tiny(likelihood="gaussian", optimizer=optimizer).partial_fit(data()) for _ in range(2))
    with pytest.raises(FloatingPointError, match="learning_rate") as raised:
        model.partial_fit(data(16) * scale)
    assert steps(model) == 4
    assert is_finite(model)
    assert same(model, before) == ("loss" in str(raised.value))  # a bad loss is seen before anything changes


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_gradients_too_large_to_apply_change_nothing(optimizer: str) -> None:
    model, before = (tiny(optimizer=optimizer).partial_fit(data()) for _ in range(2))
    _, gradients = model.loss_and_gradients(data())
    gradients["mu.bias"][1] = 1e30
    with pytest.raises((FloatingPointError, ValueError), match=r"gradient|mu\.bias"):
        model.apply_gradients(gradients)
    assert steps(model) == 4
    assert same(model, before)
    assert same(model.partial_fit(data()), before.partial_fit(data()))


@pytest.mark.filterwarnings("ignore:likelihood=.* has the fixed scale")
def test_a_diverging_step_leaves_the_weights_of_the_step_before_bit_for_bit() -> None:
    model, expected = (started(tiny(likelihood=Gaussian(1e-6)), data()) for _ in range(2))
    rows = data(48)
    rows[32:] = 1e15  # the third batch: its squared error does not fit a float32
    with pytest.raises(FloatingPointError, match="learning_rate"):
        model.partial_fit(rows)
    expected.partial_fit(rows[:32])
    assert same(model, expected)
    assert steps(model) == 2
    assert same(model.partial_fit(data()), expected.partial_fit(data()))


@pytest.mark.parametrize(("n_jobs", "fits"), [(2, 2_000), (3, 300)])
@pytest.mark.parametrize("scale", [1e13, 1e15])
def test_a_team_whose_step_diverges_never_waits_for_a_worker_that_has_left(
    n_jobs: int, fits: int, scale: float
) -> None:
    # A gradient of the decoder (1e15) or of the encoder alone (1e13) is too large: all workers leave at the same place.
    code = f"""
import numpy as np, fastvae
x = np.random.default_rng(0).random((16, 6), dtype=np.float32)
model = fastvae.VAE(2, hidden=(8,), epochs=1, random_state=0, likelihood="gaussian", n_jobs={n_jobs}).fit(x)
start, x = model.state_dict(), x * np.float32({scale})
for fit in range({fits}):
    try:
        model.load_state_dict(start).partial_fit(x)
    except FloatingPointError:
        continue
    raise SystemExit("it did not diverge")
"""
    run_python(code, timeout=5 * TIMEOUT)  # threads that wait for one another are slow on a busy machine


def test_nothing_of_a_diverged_batch_lingers_in_the_memory_of_a_smaller_one() -> None:
    X = data(128)
    model = tiny(likelihood="gaussian", latent_dim=20, batch_size=128).partial_fit(X)
    state = model.state_dict()
    with pytest.raises(FloatingPointError):
        model.partial_fit(X * np.float32(1e15))
    model.load_state_dict(state)
    assert is_finite(model.partial_fit(X[:100]))


def test_the_message_tells_the_step() -> None:
    rows = data(48)
    rows[32:] = 1e15
    with pytest.raises(FloatingPointError, match=r"step 3\b.*scale the data"):
        started(tiny(likelihood="gaussian"), data()).partial_fit(rows)


def test_a_model_can_be_fitted_again_after_it_diverged() -> None:
    model = tiny(likelihood="gaussian", learning_rate=1e5, epochs=2)
    with pytest.raises(FloatingPointError):
        model.fit(data())
    model.set_params(learning_rate=1e-3).fit(data())
    assert same(model, tiny(likelihood="gaussian", epochs=2).fit(data()))
    assert model.n_iter_ == 2


def test_importing_installs_no_signal_handler() -> None:
    code = """
import signal
before = signal.getsignal(signal.SIGINT)
import fastvae
print(before is signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1))
"""
    assert run_python(code).split() == ["True", "-1"]
