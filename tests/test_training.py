"""How a fit goes: learning rates, early stopping, clipping, weight decay, callbacks."""

from __future__ import annotations

import os
import signal
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LIKELIHOODS, OPTIMIZERS, bits, small, started, steps
from numpy.typing import NDArray
from reference import Twin, examples, noise, pair, plain_pair
from test_optimizers import RUNS, largest_error
from test_optimizers import TOLERANCE as RUN_TOLERANCE

import fastvae
from fastvae import VAE, Autoencoder
from fastvae._training.record import TrainingRecord
from fastvae._training.stopping import EarlyStopping
from fastvae.corruption import MaskingNoise
from fastvae.optimizers import SGD, Adagrad, Adam, AdamW
from fastvae.schedules import Schedule, cosine, cyclical, exponential, linear

Model = VAE | Autoencoder
DIGITS, _ = fastvae.datasets.load_digits()
X = DIGITS[:150]
OTHERS = DIGITS[200:300]
BATCH, STEPS = 16, 10  # the last batch has 6 examples


# -------------------------------------------------------------------------------------- learning rates


@pytest.mark.parametrize(
    "schedule",
    [
        linear(0.0, 1e-2, steps=7),
        cosine(1e-2, 1e-5, epochs=1.5),
        exponential(1e-2, 1e-4, steps=15),
        cyclical(1e-3, 1e-2, steps=4),
        lambda step: 1e-3 / (1 + step),
    ],
    ids=["linear", "cosine", "exponential", "cyclical", "function"],
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_learning_rate_schedule_is_the_constants_of_each_step_bit_for_bit(optimizer: Any, schedule: Any) -> None:
    whole, single = (started(small(Autoencoder, batch_size=BATCH, optimizer=optimizer), X) for _ in range(2))
    whole.set_params(learning_rate=schedule)
    for step in range(2 * STEPS):
        if step % STEPS == 0:
            whole.partial_fit(X)
        epochs = step // STEPS + step % STEPS / STEPS
        rate = float(schedule(step, epochs) if isinstance(schedule, Schedule) else schedule(step))
        rows = slice(BATCH * (step % STEPS), BATCH * (step % STEPS + 1))
        if rate:
            single.set_params(learning_rate=rate).partial_fit(X[rows])
        else:  # a constant of zero is refused
            single.set_params(learning_rate=lambda step: 0.0).partial_fit(X[rows])
    assert bits(whole) == bits(single)
    assert bits(whole) != bits(small(Autoencoder, batch_size=BATCH, optimizer=optimizer).partial_fit(X).partial_fit(X))


def test_a_learning_rate_schedule_goes_on_over_the_epochs_of_fit() -> None:
    data = np.repeat(X[:1], 150, axis=0)  # of equal examples the order does not matter
    fitted = small(Autoencoder, batch_size=BATCH, epochs=3, learning_rate=linear(1e-2, 1e-3, epochs=3)).fit(data)
    parts = small(Autoencoder, batch_size=BATCH, learning_rate=linear(1e-2, 1e-3, steps=30))
    assert bits(fitted) == bits(parts.partial_fit(data).partial_fit(data).partial_fit(data))


@pytest.mark.parametrize("name", ["adam", "adamw, all options", "sgd, momentum", "adagrad, all options"])
def test_a_learning_rate_schedule_is_that_of_torchs_schedulers(name: str) -> None:
    ours, theirs, rate = RUNS[name]
    schedule = cosine(rate, rate / 100, steps=40)
    shape: dict[str, Any] = {"latent_dim": 3, "hidden": (33,), "activation": "tanh", "batch_size": BATCH}
    model, twin = plain_pair(29, loss="bernoulli", optimizer=ours, learning_rate=schedule, **shape)
    data = examples("bernoulli", 157, 29)
    optimizer = theirs(twin.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=rate / 100)
    before = model.state_dict()
    for _ in range(4):
        model.partial_fit(data)
        for start in range(0, 157, BATCH):
            optimizer.zero_grad()
            twin(twin.tensor(data[start : start + BATCH]))["loss"].backward()
            optimizer.step()
            scheduler.step()
    after, reference = model.state_dict(), twin.weights()
    errors = {key: largest_error(after[key], reference[key]) for key in reference}
    assert not {key: error for key, error in errors.items() if not error <= RUN_TOLERANCE}
    assert min(largest_error(before[key], reference[key]) for key in reference) > 10 * RUN_TOLERANCE


def test_given_gradients_are_applied_with_the_rate_of_their_step() -> None:
    rate = linear(1e-2, 0.0, steps=9)
    fused, halves = (started(small(Autoencoder, batch_size=50, learning_rate=rate), X) for _ in range(2))
    fused.partial_fit(X)
    halves.partial_fit(X[:50])
    for start in (50, 100):
        halves.apply_gradients(halves.loss_and_gradients(X[start : start + 50])[1])
    assert bits(fused) == bits(halves)


def test_a_diverging_step_names_the_rate_that_it_had() -> None:
    data = X.copy()
    data[100:] = 1e15
    model = started(small(Autoencoder, batch_size=50, learning_rate=linear(0.5, 0.0, steps=4)), X)
    with pytest.raises(FloatingPointError, match=r"step 3\b.*learning_rate \(it is 0\.25\)"):
        model.partial_fit(data)


# -------------------------------------------------------------------------------------- the record


def test_an_epoch_is_recorded_as_a_whole_or_not_at_all() -> None:
    class Interrupted(dict[str, float]):
        def get(self, key: str, *default: Any) -> Any:
            if key == "kl":
                raise KeyboardInterrupt
            return super().get(key, *default)

    record = TrainingRecord({})
    record.add({"loss": 1.0, "kl": 2.0})
    with pytest.raises(KeyboardInterrupt):
        record.add(Interrupted({"loss": 3.0, "kl": 4.0, "val_loss": 5.0}))
    assert record.n_iter == 1
    assert {key: len(values) for key, values in record.history.items()} == {"loss": 1, "kl": 1, "val_loss": 1}
    record.add({"loss": 6.0, "kl": 7.0})
    assert record.history["loss"] == [1.0, 6.0]
    assert record.history["kl"] == [2.0, 7.0]


def test_a_long_past_does_not_slow_the_recording_of_an_epoch() -> None:
    record = TrainingRecord({"loss": [1.0] * 10**6}, n_iter=10**6)
    record.add({"loss": 1.0})
    tracemalloc.start()
    record.add({"loss": 1.0})
    assert tracemalloc.get_traced_memory()[1] < 10_000  # bytes; a list of the past has 8 million
    tracemalloc.stop()


# -------------------------------------------------------------------------------------- early stopping


class Recorder:
    """Keeps what every epoch leaves."""

    def __init__(self) -> None:
        self.weights: list[dict[str, bytes]] = []
        self.states: list[dict[str, NDArray[np.float32]]] = []
        self.logs: list[dict[str, float]] = []
        self.epochs: list[int] = []

    def on_epoch_end(self, model: Model, logs: dict[str, float]) -> None:
        self.weights.append(bits(model))
        self.states.append(model.state_dict())
        self.logs.append(logs)
        self.epochs.append(model.n_iter_)


def when_to_stop(losses: list[float], patience: int, tol: float, warm_up: int = 0) -> int:
    """Epochs until no loss of the last `patience`, none in the warm-up, was lower by more than `tol` than the best."""
    best, waited = float("inf"), 0
    for epoch, loss in enumerate(losses, start=1):
        waited = 0 if epoch <= warm_up or best - loss > tol else waited + 1
        best = min(best, loss)
        if waited == patience:
            return epoch
    return len(losses)


# A fit whose validation loss falls, wavers and rises.
WAVERING: dict[str, Any] = {"hidden": (64,), "epochs": 60, "learning_rate": 2e-2, "batch_size": 16}


@pytest.fixture(scope="module", params=[VAE, Autoencoder])
def course(request: pytest.FixtureRequest) -> tuple[type[Model], Recorder]:
    """A whole fit, not stopped."""
    recorder = Recorder()
    small(request.param, callbacks=[recorder], **WAVERING).fit(X, validation_data=OTHERS)
    return request.param, recorder


@pytest.mark.parametrize("tol", [0.0, 1e-4, 0.02, 0.3, 1e6])
@pytest.mark.parametrize("patience", [1, 2, 5, 12])
def test_training_stops_when_patience_is_over_and_goes_back_to_the_best_weights(
    course: tuple[type[Model], Recorder], patience: int, tol: float
) -> None:
    model, recorder = course
    losses = [logs["val_loss"] for logs in recorder.logs]
    expected = when_to_stop(losses, patience, tol)
    stopped = small(model, early_stopping=True, n_iter_no_change=patience, tol=tol, **WAVERING)
    stopped.fit(X, validation_data=OTHERS)
    assert stopped.n_iter_ == expected
    assert stopped.history_["val_loss"] == losses[:expected]
    best = int(np.argmin(losses[:expected]))
    assert bits(stopped) == recorder.weights[best]
    assert stopped.evaluate(OTHERS)["loss"] == min(losses[:expected])


def test_the_course_is_one_on_which_patience_and_tolerance_matter(course: tuple[type[Model], Recorder]) -> None:
    losses = [logs["val_loss"] for logs in course[1].logs]
    ends = {(p, tol): when_to_stop(losses, p, tol) for p in (1, 2, 5, 12) for tol in (0.0, 0.02, 0.3, 1e6)}
    assert len(set(ends.values())) >= 8
    assert [ends[p, 1e6] for p in (1, 2, 5, 12)] == [2, 3, 6, 13]  # the first epoch is an improvement on nothing
    assert any(losses.index(min(losses[:end])) + 1 < end for end in ends.values())


def test_where_training_is_not_stopped_early_the_best_weights_come_back_too(
    course: tuple[type[Model], Recorder],
) -> None:
    model, recorder = course
    losses = [logs["val_loss"] for logs in recorder.logs]
    best = int(np.argmin(losses))
    assert best < 58, "it must rise in the end"
    whole = small(model, early_stopping=True, n_iter_no_change=1000, **WAVERING).fit(X, validation_data=OTHERS)
    assert whole.n_iter_ == 60
    assert bits(whole) == recorder.weights[best]
    plain = small(model, **WAVERING).fit(X, validation_data=OTHERS)
    assert bits(plain) == recorder.weights[-1]


def test_a_callback_that_stops_leaves_the_best_weights_with_early_stopping_and_the_last_without(
    course: tuple[type[Model], Recorder],
) -> None:
    model, recorder = course
    losses = [logs["val_loss"] for logs in recorder.logs]
    end = next(i for i in range(2, 60) if losses[i] > min(losses[:i]))  # an epoch that made it worse

    class Stop:
        def on_epoch_end(self, model: Model, logs: dict[str, float]) -> bool:
            return model.n_iter_ == end + 1

    parameters = WAVERING | {"callbacks": [Stop()], "n_iter_no_change": 1000}
    for early, index in ((True, int(np.argmin(losses[: end + 1]))), (False, end)):
        stopped = small(model, early_stopping=early, **parameters).fit(X, validation_data=OTHERS)
        assert stopped.n_iter_ == end + 1
        assert bits(stopped) == recorder.weights[index]


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_a_tenth_is_held_out_by_default(model: type[Model]) -> None:
    early = small(model, early_stopping=True).fit(X)
    tenth = small(model, validation_fraction=0.1, early_stopping=True).fit(X)
    fifth = small(model, validation_fraction=0.2, early_stopping=True).fit(X)
    assert "val_loss" in early.history_
    assert bits(early) == bits(tenth) != bits(fifth)
    assert early.history_ == tenth.history_ != fifth.history_
    given = small(model, early_stopping=True).fit(X, validation_data=OTHERS)
    assert given.history_["loss"] == small(model).fit(X).history_["loss"], "nothing is held out then"


def test_the_loss_is_the_objective_and_not_the_elbo() -> None:
    # With the reconstruction alone as the objective the KL rises, and the ELBO falls.
    parameters: dict[str, Any] = {"objective": "reconstruction", "epochs": 40, "learning_rate": 1e-2}
    model = small(early_stopping=True, n_iter_no_change=3, **parameters).fit(X, validation_data=OTHERS)
    losses, elbos = model.history_["val_reconstruction"], model.history_["val_elbo"]
    assert model.n_iter_ == when_to_stop(losses, 3, 1e-4)
    assert model.n_iter_ != when_to_stop([-elbo for elbo in elbos], 3, 1e-4)
    assert model.evaluate(OTHERS)["reconstruction"] == min(losses)


SCHEDULED: dict[str, dict[str, Any]] = {
    "beta": {"beta": linear(0.0, 4.0, epochs=40)},
    "beta that never gets there": {"beta": linear(0.0, 40.0, epochs=400)},
    "capacity": {"beta": 3.0, "capacity": linear(0.0, 8.0, epochs=40)},
    "free bits": {"beta": linear(0.0, 4.0, epochs=40), "free_bits": 0.3, "capacity": linear(0.0, 3.0, steps=300)},
    "function": {"beta": lambda step: 0.3 - step / 2000 if step < 40 * STEPS else 1e3},
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_with_a_schedule_the_loss_is_the_one_that_it_leads_to(name: str) -> None:
    chosen = SCHEDULED[name]
    parameters: dict[str, Any] = {"batch_size": BATCH, "epochs": 40, "learning_rate": 1e-2, "hidden": (64,)}
    recorder = Recorder()
    small(callbacks=[recorder], **chosen, **parameters).fit(X, validation_data=OTHERS)
    last = 40 * STEPS - 1

    def leads_to(value: Any) -> Any:
        if isinstance(value, Schedule):
            return float(value(last, 39 + (STEPS - 1) / STEPS))
        return value(last) if callable(value) else value

    judge = small(**{key: leads_to(value) for key, value in chosen.items()}, **parameters)
    losses = [judge.load_state_dict(state).evaluate(OTHERS)["loss"] for state in recorder.states]
    warm_up = 40 if name == "function" else 38  # epochs before the schedule is within 5 % of its end
    for patience in (2, 5):
        stopped = small(early_stopping=True, n_iter_no_change=patience, tol=0.0, **chosen, **parameters)
        stopped.fit(X, validation_data=OTHERS)
        assert stopped.n_iter_ == when_to_stop(losses, patience, 0.0, warm_up)
        assert bits(stopped) == recorder.weights[int(np.argmin(losses[: stopped.n_iter_]))]
    shown = [logs["val_loss"] for logs in recorder.logs]
    assert shown != pytest.approx(losses, rel=1e-3)


def test_a_warm_up_is_not_stopped_because_its_loss_rises() -> None:
    # Training starts at the level of the data: at the final beta the first epochs, whose KL is free, are no better.
    parameters: dict[str, Any] = {"epochs": 60, "beta": linear(0.0, 1.0, epochs=20), "learning_rate": 3e-3}
    model = small(early_stopping=True, n_iter_no_change=3, hidden=(64,), **parameters).fit(DIGITS[:600])
    assert model.n_iter_ >= 20
    assert model.evaluate(DIGITS[:600])["elbo"] > model.history_["elbo"][0]


def test_with_corruption_the_loss_is_that_of_the_corrupted_validation_data() -> None:
    parameters = WAVERING | {"corruption": MaskingNoise(0.5)}
    recorder = Recorder()
    small(Autoencoder, callbacks=[recorder], **parameters).fit(X, validation_data=OTHERS)
    losses = [logs["val_loss"] for logs in recorder.logs]
    stopped = small(Autoencoder, early_stopping=True, n_iter_no_change=4, **parameters).fit(X, validation_data=OTHERS)
    assert stopped.n_iter_ == when_to_stop(losses, 4, 1e-4) < 60
    assert bits(stopped) == recorder.weights[int(np.argmin(losses[: stopped.n_iter_]))]


def test_the_best_weights_are_those_of_the_lowest_loss_however_little_lower_it_is() -> None:
    class Weights:
        """An engine whose only parameter is the epoch's number."""

        epoch, best, kept = 0.0, -1.0, -1.0

        def store_best(self) -> None:
            self.best = self.epoch

        def restore_best(self) -> None:
            self.kept = self.best

    nan = float("nan")
    cases: list[tuple[list[float], int]] = [
        ([5.0, 4.0, 4.0, 4.00001, 4.1], 2),
        ([5.0, 4.0, 3.99999, 3.999991, nan, 4.0], 3),
        ([float("inf"), nan, 2.0, nan], 3),
        ([1.0, 2.0, 3.0], 1),
    ]
    for losses, best in cases:
        weights = Weights()
        stopping = EarlyStopping(weights, patience=99, tol=0.5)  # type: ignore[arg-type]
        for epoch, loss in enumerate(losses, start=1):
            weights.epoch = float(epoch)
            assert not stopping.stop(loss)
        stopping.restore()
        assert weights.kept == best, losses


def test_training_goes_on_after_it_was_stopped() -> None:
    model = small(Autoencoder, early_stopping=True, n_iter_no_change=2, **WAVERING).fit(X, validation_data=OTHERS)
    epochs, before = model.n_iter_, bits(model)
    assert model.interrupted_ is False
    model.partial_fit(X)
    assert model.n_iter_ == epochs + 1
    assert bits(model) != before
    assert np.isnan(model.history_["val_loss"][-1])


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("early_stopping", "yes"),
        ("early_stopping", 1),
        ("early_stopping", None),
        ("n_iter_no_change", 0),
        ("n_iter_no_change", 2.5),
        ("tol", -1e-4),
        ("tol", float("nan")),
        ("tol", None),
        ("validation_fraction", 1.0),
    ],
)
def test_bad_parameters_of_stopping_are_refused_by_name_before_training(parameter: str, value: Any) -> None:
    for early in ({}, {"early_stopping": True}):
        model = small(**(early | {parameter: value}))
        with pytest.raises(ValueError, match=f"{parameter}="):
            model.fit(X)
        assert not hasattr(model, "n_features_in_")


def test_there_must_be_something_to_hold_out() -> None:
    with pytest.raises(ValueError, match="a tenth of X, which is no example out of 4: pass validation_data"):
        small(early_stopping=True).fit(X[:4])
    assert small(early_stopping=True).fit(X[:4], validation_data=OTHERS).n_iter_ == 2


# -------------------------------------------------------------------------------------------- clipping


def torch_steps(
    twin: Twin, optimizer: torch.optim.Optimizer, X: NDArray[Any], eps: list[NDArray[Any]], limit: float | None
) -> list[float]:
    """Pass over X in batches, clipping each step's gradients; return the norms that they had."""
    norms = []
    for start in range(0, len(X), BATCH):
        rows = slice(start, start + BATCH)
        optimizer.zero_grad()
        twin(twin.tensor(X[rows]), *[twin.tensor(e[rows]) for e in eps])["loss"].backward()
        bound = float("inf") if limit is None else limit
        norms.append(torch.nn.utils.clip_grad_norm_(twin.parameters(), bound).item())
        optimizer.step()
    return norms


CLIPPED = ["adam, all options", "adamw, all options", "sgd, weight_decay", "sgd, nesterov, weight_decay", "adagrad"]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "gaussian per_feature", "plain"])
@pytest.mark.parametrize("name", CLIPPED)
def test_clipped_steps_end_where_those_of_torch_end(name: str, likelihood: str) -> None:
    ours, theirs, rate = RUNS[name]
    shape: dict[str, Any] = {"latent_dim": 3, "hidden": (33,), "activation": "tanh", "batch_size": BATCH}
    shape |= {"optimizer": ours, "learning_rate": rate}
    kind = "gaussian" if likelihood == "plain" else LIKELIHOODS[likelihood]
    data = examples(kind, 157, 29)
    eps = [] if likelihood == "plain" else [noise(157, 3)]

    def made(**more: Any) -> tuple[Model, Twin]:
        if likelihood == "plain":
            return plain_pair(29, **shape, **more)
        return pair(29, likelihood=kind, **shape, **more)

    _, free = made()
    norms = torch_steps(free, theirs(free.parameters(), lr=rate), data, eps, None)
    limit = 0.7 * float(np.median(norms))
    model, twin = made(clip_norm=limit)
    before = model.state_dict()
    optimizer = theirs(twin.parameters(), lr=rate)
    clipped = []
    for _ in range(3):
        model.partial_fit(data, **({"eps": eps[0]} if eps else {}))
        clipped += [norm > limit for norm in torch_steps(twin, optimizer, data, eps, limit)]
    assert any(clipped)
    after, reference, others = model.state_dict(), twin.weights(), free.weights()
    errors = {key: largest_error(after[key], reference[key]) for key in reference}
    assert not {key: error for key, error in errors.items() if not error <= RUN_TOLERANCE}
    assert min(largest_error(before[key], reference[key]) for key in reference) > 10 * RUN_TOLERANCE
    assert max(largest_error(others[key], reference[key]) for key in reference) > 10 * RUN_TOLERANCE


@pytest.mark.parametrize("likelihood", [*LIKELIHOODS, "plain"])
@pytest.mark.parametrize("name", RUNS)
def test_a_limit_that_is_never_reached_changes_no_bit(name: str, likelihood: str) -> None:
    ours, _, rate = RUNS[name]
    parameters: dict[str, Any] = {"optimizer": ours, "learning_rate": rate / 10, "hidden": (40, 17), "latent_dim": 5}
    model: type[Model] = VAE
    if likelihood == "plain":
        model = Autoencoder
    else:
        parameters["likelihood"] = LIKELIHOODS[likelihood]
    data = examples("bernoulli", 157, 67)
    with_it, without = (small(model, clip_norm=limit, **parameters).fit(data) for limit in (1e8, None))
    assert bits(with_it) == bits(without)
    assert with_it.history_ == without.history_
    assert bits(with_it.partial_fit(data)) == bits(without.partial_fit(data))


def test_a_limit_that_is_never_reached_changes_no_bit_of_anything_else_either() -> None:
    parameters: dict[str, Any] = {"corruption": MaskingNoise(0.3), "free_bits": 0.1, "beta": linear(0, 1, epochs=1)}
    parameters |= {"latent_dim": 20, "hidden": (300,), "validation_fraction": 0.2}
    with_it, without = (small(clip_norm=limit, **parameters).fit(X) for limit in (1e8, None))
    assert bits(with_it) == bits(without)
    assert with_it.history_ == without.history_


def moved(model: Model, before: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """How far each parameter is from where it was, one after another."""
    after = model.state_dict()
    return np.concatenate([(after[name].astype(np.float64) - before[name]).ravel() for name in before])


@pytest.mark.parametrize("share", [1e-3, 0.1, 0.9, 0.999, 1.001, 10.0])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian shared", "gaussian per_feature"])
def test_a_step_of_gradient_descent_is_as_long_as_the_limit_allows_and_keeps_its_direction(
    likelihood: str, share: float
) -> None:
    kind = LIKELIHOODS[likelihood]
    shape: dict[str, Any] = {"latent_dim": 20, "hidden": (300,), "likelihood": kind, "batch_size": 29}
    model, _ = pair(67, optimizer="sgd", **shape)
    before, data, eps = model.state_dict(), examples(kind, 29, 67), noise(29, 20)
    _, gradients = model.loss_and_gradients(data, eps)
    gradient = np.concatenate([g.ravel() for g in gradients.values()]).astype(np.float64)
    norm = float(np.linalg.norm(gradient))
    model.set_params(clip_norm=share * norm, learning_rate=1 / norm).partial_fit(data, eps=eps)
    step = moved(model, before)
    assert np.linalg.norm(step) == pytest.approx(min(share, 1), rel=1e-4)
    assert -step @ gradient == pytest.approx(min(share, 1) * norm, rel=1e-4)


def test_what_is_asked_for_and_what_is_applied_is_not_clipped() -> None:
    clipped, plain = (small(clip_norm=limit, optimizer="sgd").fit(X[:64]) for limit in (1e-3, None))
    plain.load_state_dict(clipped.state_dict())
    gradients, expected = (model.loss_and_gradients(X)[1] for model in (clipped, plain))
    assert all(np.array_equal(gradients[name], expected[name]) for name in gradients)
    assert bits(clipped.apply_gradients(gradients)) == bits(plain.apply_gradients(gradients))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_the_number_of_threads_changes_no_bit_of_clipped_training(optimizer: Any) -> None:
    data = DIGITS[:333]
    parameters: dict[str, Any] = {
        "hidden": (300, 70),
        "latent_dim": 20,
        "optimizer": optimizer,
        "likelihood": "gaussian",
    }

    def train(n_jobs: int | None) -> tuple[dict[str, bytes], str]:
        model = small(clip_norm=0.5, n_jobs=n_jobs, **parameters).fit(data)
        return bits(model), str(model.history_)

    alone = train(1)
    assert alone != (bits(free := small(**parameters).fit(data)), str(free.history_))
    for n_jobs in (2, 3, -1, None):
        assert train(n_jobs) == alone, n_jobs


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("scale", [1e11, 1e13, 1e15])
def test_a_gradient_that_overflows_is_reported_and_changes_nothing(scale: float, optimizer: Any, n_jobs: int) -> None:
    # At some of these scales the loss is still finite, but the encoder's gradient, the square of it, is not.
    parameters: dict[str, Any] = {"likelihood": "gaussian", "optimizer": optimizer, "clip_norm": 1.0, "batch_size": 16}
    model, before = (small(n_jobs=n_jobs, **parameters).partial_fit(X) for _ in range(2))
    with pytest.raises(FloatingPointError, match=r"step 11\b.*learning_rate"):
        model.partial_fit(X[:16] * np.float32(scale))
    assert bits(model) == bits(before)
    assert steps(model) == 10
    assert bits(model.partial_fit(X)) == bits(before.partial_fit(X)), "nor the optimiser's state"


def test_clipping_carries_training_over_an_example_that_would_throw_it_far_off() -> None:
    data = X.copy()
    data[70] *= 1e4
    clipped, free = (
        started(small(Autoencoder, optimizer="sgd", learning_rate=1e-3, clip_norm=limit), X) for limit in (1.0, None)
    )
    clipped.partial_fit(data)
    assert clipped.evaluate(X)["loss"] < 20
    many = np.tile(data, (5, 1))
    with pytest.raises(FloatingPointError):
        free.partial_fit(many)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf"), "much", True])
def test_a_bad_limit_is_refused_by_name_before_training(limit: Any) -> None:
    for model in (small(clip_norm=limit), small(Autoencoder, clip_norm=limit)):
        with pytest.raises(ValueError, match="clip_norm="):
            model.fit(X)
        assert not hasattr(model, "n_features_in_")


# ---------------------------------------------------------------------------------------- weight decay


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", [Adam, AdamW, SGD, Adagrad])
def test_weight_decay_is_that_of_the_optimiser_object(kind: Any, decay: float) -> None:
    expected = bits(small(optimizer=kind(weight_decay=decay)).fit(X))
    name = kind.__name__.lower()
    assert bits(small(optimizer=name, weight_decay=decay).fit(X)) == expected
    assert bits(small(optimizer=kind(weight_decay=0.7), weight_decay=decay).fit(X)) == expected
    assert bits(small(Autoencoder, optimizer=name, weight_decay=decay).fit(X)) == bits(
        small(Autoencoder, optimizer=kind(weight_decay=decay)).fit(X)
    )
    assert bits(small(optimizer=name, weight_decay=0.1).fit(X)) != expected


def test_without_weight_decay_an_optimiser_keeps_its_own() -> None:
    own = bits(small(optimizer="adamw").fit(X))
    assert bits(small(optimizer="adamw", weight_decay=1e-2).fit(X)) == own
    assert bits(small(optimizer=AdamW(weight_decay=1e-2), weight_decay=None).fit(X)) == own
    assert bits(small(optimizer="adamw", weight_decay=0.0).fit(X)) != own
    assert bits(small(optimizer="adam", weight_decay=None).fit(X)) == bits(small(weight_decay=0.0).fit(X))


def test_the_other_options_of_an_optimiser_stay() -> None:
    given = SGD(momentum=0.9, nesterov=True, weight_decay=0.2)
    assert bits(small(optimizer=given).fit(X)) == bits(
        small(optimizer=SGD(momentum=0.9, nesterov=True), weight_decay=0.2).fit(X)
    )
    assert given == SGD(momentum=0.9, nesterov=True, weight_decay=0.2)


@pytest.mark.parametrize("decay", [-0.1, float("nan"), float("inf"), "some", True])
def test_a_bad_weight_decay_is_refused_by_name_before_training(decay: Any) -> None:
    model = small(weight_decay=decay)
    with pytest.raises(ValueError, match="weight_decay="):
        model.fit(X)
    assert not hasattr(model, "n_features_in_")


# ------------------------------------------------------------------------------------------- callbacks


class Returns:
    """Answers each epoch with the next of some answers, and counts."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.calls = answers, 0

    def on_epoch_end(self, model: Model, logs: dict[str, float]) -> Any:
        self.calls += 1
        return self.answers[self.calls - 1] if self.calls <= len(self.answers) else None


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_a_callback_is_called_once_an_epoch_with_its_entries_of_the_history(model: type[Model]) -> None:
    recorder, told = Recorder(), []

    class Looks:
        def on_epoch_end(self, model: Model, logs: dict[str, float]) -> None:
            told.append((model, dict(logs), model.transform(X), model.evaluate(OTHERS)["loss"]))
            logs.clear()

    fitted = small(model, epochs=4, callbacks=(Looks(), recorder), validation_fraction=0.2)
    assert fitted.fit(X) is fitted
    assert recorder.epochs == [1, 2, 3, 4]
    assert all(who is fitted for who, *_ in told)
    for epoch, (_, logs, codes, loss) in enumerate(told):
        assert logs == recorder.logs[epoch], "each has a copy of its own"
        assert logs == {key: values[epoch] for key, values in fitted.history_.items()}
        assert {type(value) for value in logs.values()} == {float}
        as_it_was = small(model).load_state_dict(recorder.states[epoch])
        assert np.array_equal(codes, as_it_was.transform(X))
        assert loss == pytest.approx(as_it_was.evaluate(OTHERS)["loss"], rel=1e-6)
    assert bits(fitted) == recorder.weights[-1] == bits(small(model, epochs=4, validation_fraction=0.2).fit(X))


@pytest.mark.parametrize("answer", [True, np.True_, np.float32(1) > 0])
def test_true_stops_training_after_that_epoch(answer: Any) -> None:
    other = Returns()
    model = small(epochs=9, callbacks=[Returns(None, False, answer), other]).fit(X)
    assert model.n_iter_ == 3
    assert other.calls == 3, "the others hear of the last epoch too"
    assert bits(model) == bits(small(epochs=3).fit(X))
    assert model.interrupted_ is False


@pytest.mark.parametrize("answer", [None, False, np.False_, 1, 1.0, "stop", [True], object(), Returns])
def test_nothing_else_stops_it(answer: Any) -> None:
    model = small(epochs=3, callbacks=[Returns(answer, answer, answer)]).fit(X)
    assert model.n_iter_ == 3


def test_an_exception_goes_through_and_leaves_the_model_of_that_epoch() -> None:
    class Trips:
        def on_epoch_end(self, model: Model, logs: dict[str, float]) -> None:
            if model.n_iter_ == 2:
                raise LookupError("tripped")

    model = small(epochs=5, callbacks=[Trips()], validation_fraction=0.2)
    with pytest.raises(LookupError, match="tripped"):
        model.fit(X)
    expected = small(epochs=2, validation_fraction=0.2).fit(X)
    assert bits(model) == bits(expected)
    assert model.history_ == expected.history_
    assert model.n_iter_ == 2
    assert model.interrupted_ is False
    assert np.array_equal(model.transform(X), expected.transform(X))
    assert bits(model.partial_fit(X)) == bits(expected.partial_fit(X))


def test_an_exception_ends_the_line_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    class Trips:
        def on_epoch_end(self, model: Model, logs: dict[str, float]) -> None:
            raise LookupError("tripped")

    with pytest.raises(LookupError):
        small(callbacks=[Trips()], progress=True).fit(X)
    assert capsys.readouterr().err.endswith("\n")


@pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself Ctrl-C on this system")
@pytest.mark.parametrize("early", [False, True])
def test_ctrl_c_inside_a_callback_interrupts_the_fit(early: bool) -> None:
    class Presses:
        def on_epoch_end(self, model: Model, logs: dict[str, float]) -> None:
            if model.n_iter_ == 2:
                signal.raise_signal(signal.SIGINT)

    model = small(Autoencoder, epochs=5, callbacks=[Presses()], early_stopping=early)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, validation_data=OTHERS)
    assert model.interrupted_ is True
    assert model.n_iter_ == 2
    assert bits(model) == bits(small(Autoencoder).fit(X))
    assert model.set_params(callbacks=()).fit(X).interrupted_ is False


def test_a_callback_can_change_what_the_next_epoch_does() -> None:
    class Halves:
        def on_epoch_end(self, model: Model, logs: dict[str, float]) -> None:
            model.set_params(learning_rate=model.learning_rate / 2)

    data = np.repeat(X[:1], 64, axis=0)
    halved = small(Autoencoder, epochs=3, learning_rate=1e-2, callbacks=[Halves()]).fit(data)
    expected = small(Autoencoder, learning_rate=lambda step: 1e-2 / 2**step).partial_fit(data)
    assert bits(halved) == bits(expected.partial_fit(data).partial_fit(data))
    assert halved.learning_rate == 1e-2 / 8


def test_partial_fit_calls_nobody() -> None:
    counter = Returns(True)
    small(callbacks=[counter]).partial_fit(X).partial_fit(X)
    assert counter.calls == 0


@pytest.mark.parametrize("callbacks", [None, {Returns()}, [None], [Returns], [Returns(), object()], "on", 3])
def test_bad_callbacks_are_refused_before_training_starts(callbacks: Any) -> None:
    for model in (small(callbacks=callbacks), small(Autoencoder, callbacks=callbacks)):
        with pytest.raises(ValueError, match=r"callback.*on_epoch_end"):
            model.fit(X)
        assert not hasattr(model, "n_features_in_")


# ------------------------------------------------------------------------------------ schedules in epochs


def test_a_pass_of_any_size_is_an_epoch_of_schedules() -> None:
    model = small(beta=linear(0.0, 1.0, epochs=10), batch_size=20)
    for epoch, rows in enumerate((200, 20, 200, 100)):
        model.partial_fit(DIGITS[:rows])
        n = rows // 20
        losses = model.evaluate(X)
        beta = (losses["loss"] - losses["reconstruction"]) / losses["kl"]
        assert beta == pytest.approx((epoch + (n - 1) / n) / 10, abs=1e-4)


def test_at_the_top_of_a_cycle_early_stopping_counts_the_kl() -> None:
    # The last planned step is at the bottom of a cycle, where the KL would not count.
    model = small(beta=cyclical(0, 1, epochs=10), epochs=11, batch_size=len(X))
    seen: list[float] = []

    stop = EarlyStopping.stop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EarlyStopping, "stop", lambda self, loss, **more: seen.append(loss) or stop(self, loss))
        model.set_params(early_stopping=True).fit(X, validation_data=OTHERS)
    history = model.history_
    both = np.add(history["val_reconstruction"], history["val_kl"])
    np.testing.assert_allclose(seen, both, rtol=1e-6)


# ---------------------------------------------------------------------------- what ends a training early


@pytest.mark.parametrize("error", [ZeroDivisionError, FloatingPointError])
def test_the_best_weights_survive_an_exception(error: type[Exception]) -> None:
    class Fail:
        def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
            if model.n_iter_ == 6:
                raise error

    parameters = WAVERING | {"callbacks": (Fail(),)}
    model = small(early_stopping=True, **parameters)
    with pytest.raises(error):
        model.fit(X, validation_data=OTHERS)
    assert model.evaluate(OTHERS)["loss"] == pytest.approx(min(model.history_["val_loss"]), rel=1e-6)


def test_a_callback_that_fits_anew_is_an_error() -> None:
    class Again:
        def on_epoch_end(self, model: Any, logs: dict[str, float]) -> None:
            model.set_params(callbacks=()).fit(X)

    with pytest.raises(RuntimeError, match="a callback has fitted or loaded the model"):
        small(callbacks=(Again(),)).fit(X)
