"""The same seed gives the same bits: for any number of threads, on AVX2 and AVX-512, in any company, twice."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import (
    ACTIVATIONS,
    ISAS,
    LIKELIHOODS,
    OPTIMIZERS,
    TIMEOUT,
    answers,
    at_once,
    bits,
    differing,
    needs,
    run_python,
    same,
    steps,
)
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder
from fastvae.corruption import GaussianNoise, MaskingNoise, SaltAndPepper
from fastvae.likelihoods import Gaussian
from fastvae.schedules import cosine, linear

RNG = np.random.default_rng(30)
BYTES = RNG.integers(0, 256, (333, 150), dtype=np.uint8)
# Dead pixels and rare ones, which the first layer's products skip.
BYTES[:, 70:100] = 0
BYTES[:, 100:] *= RNG.random((333, 50)) < 0.05
X = BYTES.astype(np.float32) / np.float32(255)
CONDITIONAL = ["bernoulli", Gaussian("decoder")]
SHAPES: list[tuple[int, tuple[int, ...], int]] = [
    (1, (), 1),
    (7, (3,), 2),
    (150, (), 33),
    (33, (32, 31), 64),
    (65, (300,), 5),
]
# Optional parts of a step, one at a time and together.
EXTRAS: list[dict[str, Any]] = [
    {"corruption": GaussianNoise(0.3)},
    {"corruption": MaskingNoise(0.3), "free_bits": 0.01},
    {"corruption": SaltAndPepper(0.3), "capacity": linear(0.0, 3.0, steps=9)},
    {"binarize": "bernoulli"},
    {"binarize": "threshold", "corruption": MaskingNoise(0.3), "clip_norm": 0.5},
    {"clip_norm": 0.5, "likelihood": Gaussian("per_feature")},
    {"clip_norm": 0.5, "likelihood": Gaussian("decoder", floor=0.5)},
    {"n_importance_samples": 2},
    {"n_importance_samples": 19, "likelihood": Gaussian("shared"), "clip_norm": 0.5, "corruption": GaussianNoise(0.3)},
    {"n_importance_samples": 3, "doubly_reparameterized": True, "likelihood": Gaussian("decoder")},
    {
        "corruption": GaussianNoise(0.1),
        "free_bits": 0.01,
        "capacity": 1.0,
        "clip_norm": 0.5,
        "beta": linear(0.1, 1.0, epochs=1),
        "learning_rate": cosine(1e-3, 1e-4, epochs=2),
        "early_stopping": True,
    },
]


def model(**parameters: Any) -> VAE:
    """Return a model with remainders in every direction: 150-70-20, batches of 64 from 333 rows."""
    defaults = {"latent_dim": 20, "hidden": (70,), "epochs": 2, "batch_size": 64, "random_state": 7}
    return VAE(**(defaults | parameters))


def digest(*arrays: Any) -> str:
    """Return a hash of the bits of some arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def train(n_jobs: int | None, data: NDArray[Any] = X, **parameters: Any) -> dict[str, bytes]:
    """Train in every way with a number of threads; return all results before and after."""
    binary = fastvae.binarize(data, "threshold")
    if parameters.get("likelihood") == "multinomial":
        data = np.round(10 * data)
    fitted = model(n_jobs=n_jobs, validation_fraction=0.1, **parameters).fit(data)
    out = answers(fitted, data, binary=binary)
    fitted.apply_gradients(fitted.loss_and_gradients(data)[1]).partial_fit(data)
    return out | {f"{name} later": value for name, value in answers(fitted, data, binary=binary).items()}


def train_plain(n_jobs: int | None, loss: str) -> dict[str, bytes]:
    """Return what a plain autoencoder learns, with noise and clipping, and says."""
    parameters: dict[str, Any] = {"hidden": (70,), "epochs": 2, "batch_size": 64, "random_state": 7}
    plain = Autoencoder(20, loss=loss, corruption=SaltAndPepper(0.2), clip_norm=0.5, n_jobs=n_jobs, **parameters)
    return answers(plain.fit(X, validation_data=X[:100]), X)


def train_conditional(n_jobs: int | None, labels: bool, likelihood: Any) -> dict[str, bytes]:
    """Return what a conditional model learns and says."""
    y = np.arange(len(X)) % 3 if labels else np.stack([X[:, 0], -X[:, 1]], 1)
    fitted = model(n_jobs=n_jobs, conditional=True, likelihood=likelihood).fit(X, y, validation_data=(X[:50], y[:50]))
    return answers(fitted, X, y, binary=fastvae.binarize(X[:40], "threshold"))


def diverge(n_jobs: int, optimizer: str) -> dict[str, bytes]:
    """Return what a step leaves whose gradient is too large for float32 here and there."""
    fitted = model(n_jobs=n_jobs, likelihood="gaussian", optimizer=optimizer).partial_fit(X)
    data = X.copy()
    data[:, [3, 77]] = 1e12
    with pytest.raises(FloatingPointError):
        fitted.partial_fit(data)
    return bits(fitted)


# ---------------------------------------------------------------------------------------- threads, seeds


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_number_of_threads_changes_no_bit_for_any_likelihood(likelihood: str) -> None:
    alone = train(1, likelihood=LIKELIHOODS[likelihood])
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, likelihood=LIKELIHOODS[likelihood]), alone) == [], n_jobs


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_number_of_threads_changes_no_bit_for_any_activation(activation: str) -> None:
    alone = train(1, activation=activation)
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, activation=activation), alone) == [], n_jobs


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_the_number_of_threads_changes_no_bit_for_any_optimiser(optimizer: Any) -> None:
    alone = train(1, optimizer=optimizer)
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, optimizer=optimizer), alone) == [], n_jobs


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_the_number_of_threads_changes_no_bit_of_whatever_else_a_step_does(extra: dict[str, Any]) -> None:
    alone = train(1, **extra)
    for n_jobs in (2, 3):
        assert differing(train(n_jobs, **extra), alone) == [], n_jobs


@pytest.mark.parametrize("extra", [{}, EXTRAS[-1]], ids=["plain", "everything"])
@pytest.mark.parametrize("n_jobs", [4, -1, None])
def test_any_way_to_choose_the_number_of_threads_changes_no_bit(n_jobs: int | None, extra: dict[str, Any]) -> None:
    assert differing(train(n_jobs, **extra), train(1, **extra)) == []


@pytest.mark.parametrize("likelihood", CONDITIONAL, ids=str)
@pytest.mark.parametrize("labels", [True, False])
def test_the_number_of_threads_changes_no_bit_of_a_conditional_model(labels: bool, likelihood: Any) -> None:
    alone = train_conditional(1, labels, likelihood)
    for n_jobs in (2, 3):
        assert differing(train_conditional(n_jobs, labels, likelihood), alone) == [], n_jobs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch_size", [1, 17, 333])
def test_the_number_of_threads_changes_no_bit_for_any_shape(
    shape: tuple[int, tuple[int, ...], int], batch_size: int
) -> None:
    features, hidden, latent_dim = shape
    data = X[: 20 if batch_size == 1 else 333, :features]
    alone = train(1, data, hidden=hidden, latent_dim=latent_dim, batch_size=batch_size)
    for n_jobs in (2, 3, 4):
        team = train(n_jobs, data, hidden=hidden, latent_dim=latent_dim, batch_size=batch_size)
        assert differing(team, alone) == [], n_jobs


@pytest.mark.parametrize("extra", [{}, EXTRAS[-1]], ids=["plain", "everything"])
def test_choosing_the_team_by_trial_changes_no_bit(extra: dict[str, Any]) -> None:
    # A step between small, which one thread takes, and large, which all take; batches enough for a trial in each epoch.
    data = np.random.default_rng(3).random((64 * 150, 30), dtype=np.float32)
    shape = {"hidden": (128,), "latent_dim": 16, "batch_size": 64, "epochs": 3}
    alone, team = (model(n_jobs=n_jobs, **shape, **extra).fit(data) for n_jobs in (1, None))
    assert same(alone, team)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_number_of_threads_changes_no_bit_of_what_a_diverging_step_leaves(optimizer: str) -> None:
    assert diverge(1, optimizer) == diverge(2, optimizer) == diverge(3, optimizer)


def test_the_same_seed_gives_the_same_bits_twice() -> None:
    assert train(2) == train(2)


def test_another_seed_gives_other_weights_noise_and_samples() -> None:
    first, second = train(2), train(2, random_state=8)
    assert differing(first, second) == list(first)


def test_no_seed_means_another_one_each_time() -> None:
    assert not same(*(model(random_state=None).partial_fit(X) for _ in range(2)))


@pytest.mark.parametrize(("a", "b"), [(0, 2**32), (0, 2**63), (1, 2**64 - 1), (1, 1 + 2**32)])
def test_all_sixty_four_bits_of_the_seed_count(a: int, b: int) -> None:
    assert not same(*(model(random_state=seed).partial_fit(X) for seed in (a, b)))


def test_every_epoch_has_noise_of_its_own() -> None:
    # With weights that do not move and one example, only the noise can make the losses differ.
    still = model(optimizer="sgd", learning_rate=1e-30, epochs=20).fit(X[:1])
    assert len(set(still.history_["reconstruction"])) == 20
    assert len(set(still.history_["kl"])) == 1


@pytest.mark.parametrize("batch_size", [1, 2])
def test_equal_examples_have_noise_of_their_own_in_training(batch_size: int) -> None:
    still = {"optimizer": "sgd", "learning_rate": 1e-30, "batch_size": batch_size}
    one = model(**still).partial_fit(X[:1]).history_["reconstruction"]
    two = model(**still).partial_fit(X[[0, 0]]).history_["reconstruction"]
    assert one != two


# ------------------------------------------------------------------------------------------------- scores


@pytest.fixture(scope="module", params=["bernoulli", Gaussian("per_feature")], ids=str)
def scorer(request: pytest.FixtureRequest) -> VAE:
    """Fit a model to ask for scores."""
    return model(likelihood=request.param).fit(X)


@pytest.fixture(scope="module")
def many() -> NDArray[np.uint8]:
    """Return more rows than two blocks hold."""
    return np.random.default_rng(4).integers(0, 256, (1100, 150), dtype=np.uint8)


def as_float(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    return data.astype(np.float32) / np.float32(255)


def test_a_row_scores_the_same_alone(scorer: VAE, many: NDArray[np.uint8]) -> None:
    data = as_float(many)
    together = scorer.score_samples(data)
    assert len(np.unique(together)) > 1000
    alone = np.concatenate([scorer.score_samples(data[i : i + 1]) for i in range(len(data))])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("size", [2, 7, 16, 33, 511, 512, 513, 1024])
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_scores_do_not_depend_on_the_split(scorer: VAE, many: NDArray[np.uint8], size: int, n_jobs: int) -> None:
    data = as_float(many)
    together = scorer.set_params(n_jobs=1).score_samples(data)
    scorer.set_params(n_jobs=n_jobs)
    parts = [scorer.score_samples(data[start : start + size]) for start in range(0, len(data), size)]
    scorer.set_params(n_jobs=None)
    assert np.array_equal(together, np.concatenate(parts))


def test_scores_do_not_depend_on_the_order(scorer: VAE, many: NDArray[np.uint8]) -> None:
    data = as_float(many)
    together = scorer.score_samples(data)
    order = np.random.default_rng(0).permutation(len(data))
    assert np.array_equal(together[::-1], scorer.score_samples(data[::-1]))
    assert np.array_equal(together[order], scorer.score_samples(data[order]))


def test_scores_do_not_depend_on_what_was_asked_before(scorer: VAE, many: NDArray[np.uint8]) -> None:
    data = as_float(many)
    before = scorer.score_samples(data)
    scorer.sample(10)
    scorer.transform(data[:5])
    scorer.loss_and_gradients(data[:5])
    scorer.score_samples(data[50:60])
    assert np.array_equal(before, scorer.score_samples(data))


def test_equal_rows_have_equal_scores(scorer: VAE, many: NDArray[np.uint8]) -> None:
    data = as_float(many)
    scores = scorer.score_samples(np.repeat(data[:40], 3, axis=0)).reshape(40, 3)
    assert (scores == scores[:, :1]).all()
    assert np.array_equal(scores[:, 0], scorer.score_samples(data[:40]))


def test_scores_do_not_depend_on_the_type(scorer: VAE, many: NDArray[np.uint8]) -> None:
    data = as_float(many)
    expected = scorer.score_samples(data)
    for alike in (many, data.astype(np.float64), np.asfortranarray(data), np.asfortranarray(many), data.astype(">f4")):
        assert np.array_equal(expected, scorer.score_samples(alike))


def test_the_gradients_noise_is_that_of_the_scores(scorer: VAE, many: NDArray[np.uint8]) -> None:
    losses, _ = scorer.loss_and_gradients(many)
    assert losses["elbo"] == pytest.approx(scorer.score(many), rel=1e-6)


def test_the_noise_of_a_score_belongs_to_the_seed(many: NDArray[np.uint8]) -> None:
    state = model().fit(X).state_dict()
    first, again, other = (model(random_state=s).load_state_dict(state).score_samples(many) for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.99


def test_a_small_change_of_an_example_changes_its_noise() -> None:
    # With weights of zero everywhere but in the decoder, the score of zeros depends on the noise alone.
    fitted = model(hidden=(), latent_dim=4, likelihood="gaussian").fit(X)
    weights = {name: array for name, array in fitted.state_dict().items() if not name.startswith("standardize.")}
    state = {name: np.zeros_like(array) for name, array in weights.items()}
    state["decoder.0.weight"] = np.ones_like(state["decoder.0.weight"])
    fitted = model(hidden=(), latent_dim=4, likelihood="gaussian").load_state_dict(state)
    data = np.zeros((151, 150))
    data[np.arange(1, 151), np.arange(150)] = 1e-30  # too little to change the score itself
    assert len(np.unique(fitted.score_samples(data))) > 140


# -------------------------------------------------------------------------------------- instruction sets


def train_everywhere(prefix: str) -> dict[str, str]:
    """Hashes of what all kinds of models learn and say with one and three threads; some arrays go to files."""
    few = X[:130]  # two batches and two rows more
    tasks: dict[str, Callable[[int], dict[str, bytes]]] = {}
    for key, values in (("likelihood", LIKELIHOODS.values()), ("activation", ACTIVATIONS), ("optimizer", OPTIMIZERS)):
        for value in values:
            tasks[f"{key} {value}"] = lambda n, more={key: value}: train(n, few, epochs=1, **more)  # type: ignore[misc]
    for extra in EXTRAS:
        tasks[str(extra)] = lambda n, extra=extra: train(n, few, **extra)  # type: ignore[misc]
    for loss in ("squared_error", "bernoulli"):
        tasks[f"plain {loss}"] = lambda n, loss=loss: train_plain(n, loss)  # type: ignore[misc]
    for likelihood in CONDITIONAL:
        for labels in (True, False):
            tasks[f"conditional {likelihood} {labels}"] = lambda n, labels=labels, likelihood=likelihood: (  # type: ignore[misc]
                train_conditional(n, labels, likelihood)
            )
    for features, hidden, latent_dim in SHAPES:
        shape = {"hidden": hidden, "latent_dim": latent_dim, "epochs": 1}
        tasks[f"{features} {shape}"] = lambda n, cols=features, shape=shape: train(n, few[:, :cols], **shape)  # type: ignore[misc]
    for optimizer in ("adam", "sgd"):
        tasks[f"diverged {optimizer}"] = lambda n, optimizer=optimizer: diverge(n, optimizer)  # type: ignore[misc]
    hashes = {f"{name} {n}": digest(*task(n).values()) for name, task in tasks.items() for n in (1, 3)}
    noise = fastvae.functional.standard_normal((300, 33), 5)
    for name in ("bernoulli", "gaussian"):
        fitted = model(likelihood=name, activation="tanh", optimizer="sgd").fit(X)
        values = {"scores": fitted.score_samples(X), "codes": fitted.transform(X), "noise": noise}
        np.savez(f"{prefix}-{name}.npz", **values, **fitted.state_dict())  # type: ignore[arg-type]
    return hashes | {"noise": digest(noise), "isa": str(fastvae.show_config()["isa"])}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict[str, Any], Path]]:
    """Return a function that trains with an instruction set (once), or skips aloud where it is missing."""
    folder, done = tmp_path_factory.mktemp("isa"), {}
    code = "import json, sys, test_determinism as here; print(json.dumps(here.train_everywhere(sys.argv[1])))"

    def result(isa: str) -> tuple[dict[str, Any], Path]:
        needs(isa)
        if isa not in done:
            done[isa] = json.loads(run_python(code, str(folder / isa), FASTVAE_ISA=isa))
        return done[isa], folder

    return result


@pytest.mark.parametrize("isa", ISAS)
def test_the_instruction_set_asked_for_is_used(isa: str, results: Callable[[str], Any]) -> None:
    hashes, _ = results(isa)
    assert hashes["isa"] == isa


@pytest.mark.parametrize("isa", ISAS)
def test_threads_change_no_bit_on_any_instruction_set(isa: str, results: Callable[[str], Any]) -> None:
    hashes, _ = results(isa)
    alone = {name.removesuffix(" 1"): value for name, value in hashes.items() if name.endswith(" 1")}
    team = {name.removesuffix(" 3"): value for name, value in hashes.items() if name.endswith(" 3")}
    lists: list[Any] = [LIKELIHOODS, ACTIVATIONS, OPTIMIZERS, SHAPES, EXTRAS, 2 * CONDITIONAL]
    assert len(alone) == sum(map(len, lists)) + 4
    assert alone == team


def test_avx2_and_avx512_give_the_same_bits(results: Callable[[str], Any]) -> None:
    wide, _ = results("avx512")
    narrow, _ = results("avx2")
    assert {name: value for name, value in wide.items() if name != "isa"} == {
        name: value for name, value in narrow.items() if name != "isa"
    }


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_portable_code_agrees_to_rounding(isa: str, likelihood: str, results: Callable[[str], Any]) -> None:
    _, folder = results(isa)
    results("portable")
    with np.load(folder / f"{isa}-{likelihood}.npz") as ours, np.load(folder / f"portable-{likelihood}.npz") as theirs:
        assert set(ours) == set(theirs)
        for name in ours:
            scale = np.abs(theirs[name]).max()
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=2e-6 * scale, err_msg=name)


def test_the_best_instruction_set_is_the_default() -> None:
    code = "import fastvae; c = fastvae.show_config(); print(c['isa'] == c['isa_available'][0])"
    assert run_python(code).strip() == run_python(code, FASTVAE_ISA="").strip() == "True"


@pytest.mark.parametrize(
    ("isa", "use"),
    [
        ("nonsense", "fastvae.show_config()"),
        ("AVX2", "fastvae.VAE(hidden=(4,), epochs=1).fit([[0.0, 1.0]])"),
        ("avx1024", "fastvae.functional.standard_normal(4, 0)"),
    ],
)
def test_an_unknown_instruction_set_is_an_error_that_names_it(use: str, isa: str) -> None:
    code = f"""
import fastvae
try:
    {use}
except ValueError as error:
    print(error)
"""
    said = run_python(code, FASTVAE_ISA=isa)
    assert "FASTVAE_ISA" in said
    assert isa in said
    assert "portable" in said


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"FASTVAE_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"FASTVAE_NUM_THREADS": "4", "OMP_NUM_THREADS": "1"}, 4),
        ({"FASTVAE_NUM_THREADS": "", "OMP_NUM_THREADS": "6"}, 6),
        ({"FASTVAE_NUM_THREADS": " 6 "}, 6),
        ({"FASTVAE_NUM_THREADS": "5", "OMP_NUM_THREADS": "many"}, 5),
    ],
    ids=str,
)
def test_the_environment_sets_the_number_of_threads(variables: dict[str, str], threads: int) -> None:
    assert run_python("import fastvae; print(fastvae.show_config()['threads'])", **variables).strip() == str(threads)


@pytest.mark.parametrize("value", ["many", "0", "-1", "2.5", "1025", "1e3"])
@pytest.mark.parametrize(
    "use", ["fastvae.VAE(hidden=(4,), epochs=1).fit([[0.0, 1.0]])", "fastvae.show_config()"], ids=["fit", "show_config"]
)
def test_an_unreadable_number_of_threads_is_a_warning_at_first_use(value: str, use: str) -> None:
    code = f"""
import fastvae
try:
    {use}
except UserWarning as warning:
    print(warning)
{use}
print(fastvae.show_config()["threads"])
"""
    said, threads = run_python(code, FASTVAE_NUM_THREADS=value, OMP_NUM_THREADS="6").splitlines()
    assert said.startswith(f"FASTVAE_NUM_THREADS={value!r} is no number from 1 to 1024")
    assert said.endswith("6 threads")
    assert threads == "6"


def test_the_default_number_of_threads_is_that_of_the_cores_this_process_may_use() -> None:
    assert 1 <= int(run_python("import fastvae; print(fastvae.show_config()['threads'])")) <= (os.cpu_count() or 1)


def test_as_many_threads_work_as_were_asked_for() -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("threads are counted in /proc, which this system lacks")
    code = """
import os, time
import numpy as np, fastvae
x, before = np.full((64, 100), 0.5), len(os.listdir("/proc/self/task"))

def helpers(expected):
    # The threads of a smaller pool end when a larger one has replaced it.
    for _ in range(1000):
        found = len(os.listdir("/proc/self/task")) - before
        if found == expected:
            break
        time.sleep(0.01)
    return found

model = fastvae.VAE(hidden=(8,), epochs=1, n_jobs=1)
model.fit(x).transform(x)
print(helpers(0))
model.set_params(n_jobs=3).fit(x)
print(helpers(2))
for n_jobs, method in enumerate(("transform", "encode", "reconstruct", "score_samples", "loss_and_gradients"), 4):
    getattr(model.set_params(n_jobs=n_jobs), method)(x)
    print(helpers(n_jobs - 1))
model.set_params(n_jobs=2).transform(x)
print(helpers(7))
"""
    counted = run_python(code, FASTVAE_NUM_THREADS="8", OPENBLAS_NUM_THREADS="1")
    assert [int(n) for n in counted.split()] == [0, 2, 3, 4, 5, 6, 7, 7]


# -------------------------------------------------------------------------------------------- concurrency


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_models_trained_in_four_threads_at_once_are_those_trained_alone(n_jobs: int) -> None:
    def task(seed: int) -> dict[str, bytes]:
        return answers(model(random_state=seed, n_jobs=n_jobs, epochs=6).fit(X), X)

    alone = [task(seed) for seed in range(4)]
    together = at_once(*[lambda seed=seed: task(seed) for seed in range(4)])  # type: ignore[misc]
    assert together == alone


def test_one_model_asked_by_four_threads_at_once_answers_as_alone(many: NDArray[np.uint8]) -> None:
    fitted = model(n_jobs=2).fit(X)
    expected = answers(fitted, many)

    def ask() -> list[dict[str, bytes]]:
        return [answers(fitted, many) for _ in range(5)]

    assert at_once(ask, ask, ask, ask) == [[expected] * 5] * 4


def test_one_model_trained_by_four_threads_at_once_loses_no_step() -> None:
    fitted = model(n_jobs=2).fit(X)
    before = steps(fitted)

    def go_on() -> None:
        for _ in range(5):
            fitted.partial_fit(X)

    at_once(go_on, go_on, go_on, go_on)
    assert steps(fitted) - before == 4 * 5 * 6
    assert all(np.isfinite(array).all() for array in fitted.state_dict().values())


def test_a_model_can_be_asked_while_it_is_trained() -> None:
    fitted = model(n_jobs=2, epochs=60).fit(X[:64])
    at_once(lambda: fitted.fit(X), *[lambda: [fitted.transform(X) for _ in range(20)]] * 3)
    assert same(fitted, model(epochs=60).fit(X))


# --------------------------------------------------------------------------------------------------- fork

FORK_WARNING = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def needs_fork() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")


def in_child(task: Callable[[], str]) -> str:
    """Return what a task says in a forked child; fail if it does not end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, task().encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], TIMEOUT)
        assert ready, "the child hangs"
        return os.read(reader, 10_000).decode()
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def fit_and_transform(n_jobs: int) -> str:
    fitted = model(n_jobs=n_jobs).fit(X)
    return digest(fitted.transform(X), fitted.score_samples(X), *fitted.state_dict().values())


@FORK_WARNING
@pytest.mark.parametrize("n_jobs", [2, 3])
def test_a_forked_child_trains_and_answers_with_threads_of_its_own(n_jobs: int) -> None:
    needs_fork()
    expected = fit_and_transform(n_jobs)
    assert in_child(lambda: fit_and_transform(n_jobs)) == expected
    assert fit_and_transform(n_jobs) == expected  # the parent's threads still work


@FORK_WARNING
def test_a_forked_child_can_use_the_parents_model() -> None:
    needs_fork()
    fitted = model(n_jobs=2).fit(X)

    def go_on() -> str:
        return digest(fitted.transform(X), *fitted.partial_fit(X).state_dict().values())

    from_child = in_child(go_on)
    assert from_child == go_on()


@FORK_WARNING
def test_a_grandchild_works_too() -> None:
    needs_fork()
    expected = fit_and_transform(2)

    def child() -> str:
        return fit_and_transform(2) + in_child(lambda: fit_and_transform(2))

    assert in_child(child) == 2 * expected


@FORK_WARNING
def test_a_forked_multiprocessing_pool_works() -> None:
    needs_fork()
    import multiprocessing

    expected = fit_and_transform(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(fit_and_transform, [2, 2, 3, 1]).get(TIMEOUT)
    assert results == [expected] * 4
