"""Sparse input: bitwise the results of dense input, for every container; invalid arrays do no harm."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ISAS, LIKELIHOODS, answers, differing, needs, run_python, small, sparse_counts
from numpy.typing import NDArray
from reference import AWKWARD, noise, pair, plain_pair, relative_error, too_large
from scipy import sparse

import fastvae
from fastvae import VAE, Autoencoder
from fastvae._data import sparse as _sparse
from fastvae.corruption import GaussianNoise, MaskingNoise

Array = NDArray[np.float32]
TRANSFORMS = [None, "log1p", "binary", "l1", "l2", "frequencies"]
# Densities below and above the limit up to which a batch stays sparse.
DENSITIES = [0.05, 0.5]


def suited(X: sparse.csr_array, likelihood: Any) -> sparse.csr_array:
    """The same in [0, 1] where the likelihood wants that."""
    return X / np.float32(8) if likelihood == "bernoulli" else X


def wide(model: type[VAE] | type[Autoencoder] = VAE, **parameters: Any) -> Any:
    """A small model for counts that is wider than a panel."""
    likelihood = {"likelihood": "gaussian"} if model is VAE else {}
    return small(model, **({"hidden": (40,), "batch_size": 32} | likelihood | parameters))


def as_dense(X: Any, model: type[VAE] | type[Autoencoder] = VAE, **parameters: Any) -> dict[str, bytes]:
    """Assert that sparse and dense input give the same bits, and return them."""
    one = answers(wide(model, **parameters).fit(X), X)
    dense = X.toarray()
    assert differing(one, answers(wide(model, **parameters).fit(dense), dense)) == []
    return one


# ---------------------------------------------------------------------------------------------- the same bits


@pytest.mark.filterwarnings(r"ignore:columns? [\d, and more]+ of X (is|are) constant")  # columns that were not drawn
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_gives_the_bits_of_dense_input(likelihood: str, density: float) -> None:
    X = suited(sparse_counts(density=density), LIKELIHOODS[likelihood])
    as_dense(X, likelihood=LIKELIHOODS[likelihood])


@pytest.mark.parametrize("batch_size", [1, 7, 128])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_batch_size_and_thread_count_gives_the_bits_of_dense_input(transform: str, batch_size: int) -> None:
    rows = 30 if batch_size == 1 else 150
    alone, *teams = (
        as_dense(sparse_counts(rows), batch_size=batch_size, input_transform=transform, n_jobs=n_jobs)
        for n_jobs in (1, 2, 3)
    )
    assert all(team == alone for team in teams)


@pytest.mark.parametrize("hidden", [(), (1,), (33,), (160, 17), (300,)])
def test_every_width_gives_the_bits_of_dense_input(hidden: tuple[int, ...]) -> None:
    for cols in (1, 31, 32, 65):
        as_dense(sparse_counts(40, cols, 0.15), hidden=hidden, epochs=1)


@pytest.mark.parametrize("loss", ["squared_error", "bernoulli"])
def test_a_plain_autoencoder_gives_the_bits_of_dense_input(loss: str) -> None:
    as_dense(suited(sparse_counts(), loss), Autoencoder, loss=loss, input_transform="l2")


EXTRAS: dict[str, dict[str, Any]] = {
    "noise": {"corruption": GaussianNoise(0.1), "input_transform": "log1p"},
    "masking": {"corruption": MaskingNoise(0.3)},
    "clipping": {"clip_norm": 0.5, "input_transform": "l1"},
    "validation": {"validation_fraction": 0.2, "free_bits": 0.1},
    "early stopping": {"early_stopping": True, "epochs": 4, "n_iter_no_change": 1},
    "draws of grey values": {"likelihood": "bernoulli", "binarize": "bernoulli", "input_transform": "l2"},
    "a threshold": {"likelihood": "bernoulli", "binarize": "threshold", "validation_fraction": 0.2},
    "sgd": {"optimizer": "sgd", "capacity": 1.0},
}


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("extra", EXTRAS)
def test_every_way_of_training_gives_the_bits_of_dense_input(extra: str, density: float) -> None:
    parameters = EXTRAS[extra]
    as_dense(suited(sparse_counts(density=density), parameters.get("likelihood")), **parameters)


def test_conditions_marginals_given_noise_and_given_inputs_are_those_of_dense_input() -> None:
    X, y = sparse_counts(60), np.arange(60) % 3
    seen, eps = sparse_counts(60, seed=1), noise(60, 3)
    found = []
    for data, corrupted in ((X, seen), (X.toarray(), seen.toarray()), (X, seen.toarray())):
        told = wide(conditional=True, input_transform="log1p").fit(data, y)
        model = wide(input_transform="l1").partial_fit(data, eps=eps, corrupted=corrupted)
        found.append(
            [
                told.transform(data, y=y),
                told.score_samples(data, y=y),
                *told.log_marginal(data, 7, y=y),
                *wide(epochs=1).fit(data).log_marginal(data, 7),
                model.score_samples(data, eps=eps),
                *model.loss_and_gradients(data, eps, corrupted=corrupted)[1].values(),
                *wide().fit(data, validation_data=corrupted).history_.values(),
            ]
        )
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@functools.cache
def train_everywhere() -> dict[str, Any]:
    """Whether sparse and dense bits agree with the instruction set in use, and a hash of them."""
    import hashlib

    hashes = {}
    for n_jobs in (1, 3):
        for transform in TRANSFORMS:
            bits = as_dense(sparse_counts(70), input_transform=transform, n_jobs=n_jobs)
            hashes[f"{transform} {n_jobs}"] = hashlib.sha256(b"".join(bits[name] for name in sorted(bits))).hexdigest()
    return {"isa": fastvae.show_config()["isa"], "hashes": hashes}


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_bits_of_dense_input(isa: str) -> None:
    needs(isa)
    code = "import json, test_sparse; print(json.dumps(test_sparse.train_everywhere()))"
    found = json.loads(run_python(code, FASTVAE_ISA=isa))
    assert found["isa"] == isa
    assert all(found["hashes"][f"{t} 1"] == found["hashes"][f"{t} 3"] for t in TRANSFORMS)
    if isa != "portable":
        assert found["hashes"] == train_everywhere()["hashes"]  # of another set, or this one again


def test_scores_do_not_depend_on_the_company_nor_on_what_holds_the_example() -> None:
    X = sparse_counts()
    model = wide().fit(X)
    scores = model.score_samples(X)
    some = X[[5, 3, 149]]
    assert np.array_equal(model.score_samples(some), scores[[5, 3, 149]])
    assert np.array_equal(model.score_samples(some.toarray()), scores[[5, 3, 149]])
    explicit = X.copy()
    explicit.data[::3] = 0  # zeros that are stored
    assert np.array_equal(model.score_samples(explicit), model.score_samples(explicit.toarray()))


# ------------------------------------------------------------------------------------------------- transforms


def transformed(transform: str, x: torch.Tensor) -> torch.Tensor:
    """The encoder's input, by torch."""
    match transform:
        case "log1p":
            return x.log1p()
        case "binary":
            return (x != 0).to(x.dtype)
        case "frequencies":
            return 50 * x / (10 + x.abs().sum(1, keepdim=True))
    return torch.nn.functional.normalize(x, p=int(transform[1]), dim=1)


@pytest.mark.parametrize("transform", TRANSFORMS[1:])
@pytest.mark.parametrize("density", [0.1, 0.6, 1.0])
def test_transforms_and_their_gradients_are_those_of_torch(transform: str, density: float) -> None:
    X = sparse_counts(29, 37, density).toarray()
    X[2] = -X[2] / 8  # values above -1 are taken too
    seen = transformed(transform, torch.from_numpy(X).double()).numpy()
    model, twin = pair(37, likelihood="gaussian", **AWKWARD)
    plain, plain_twin = plain_pair(37, **AWKWARD)
    for ours, theirs, eps in ((model, twin, [noise(29, 5)]), (plain, plain_twin, [])):
        ours = type(ours)(**(ours.get_params() | {"input_transform": transform})).load_state_dict(ours.state_dict())
        losses, gradients = ours.loss_and_gradients(sparse.csr_array(X), *eps)
        wanted, wanted_gradients = theirs.losses_and_gradients(X, *eps, corrupted=seen)
        errors = {name: relative_error(losses[name], wanted[name]) for name in wanted}
        errors |= {name: relative_error(gradients[name], wanted_gradients[name]) for name in wanted_gradients}
        assert not too_large(errors)


def test_noise_comes_after_the_transform_and_a_given_input_before() -> None:
    X = sparse_counts(60).toarray()
    noisy = wide(input_transform="log1p", corruption=MaskingNoise(0.5), optimizer="sgd").partial_fit(X)
    assert noisy.history_["loss"] != wide(input_transform="log1p", optimizer="sgd").partial_fit(X).history_["loss"]
    given = wide(input_transform="log1p").partial_fit(X, corrupted=X)
    assert given.history_ == wide(input_transform="log1p").partial_fit(X).history_


def test_a_transform_is_kept_and_described(tmp_path: Path) -> None:
    X = sparse_counts()
    model = wide(input_transform="log1p").fit(X)
    model.save(tmp_path / "model")
    loaded = fastvae.load(tmp_path / "model")
    assert loaded.input_transform == "log1p"
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert not np.array_equal(wide().load_state_dict(model.state_dict()).transform(X), model.transform(X))
    assert "The encoder sees ln(1 + x_j)." in model.describe_objective()
    assert "The encoder sees" not in wide().describe_objective()
    noisy = wide(input_transform="l2", corruption=MaskingNoise(0.5)).describe_objective()
    assert "The encoder sees x~, which is x_j / (sum_j x_j²)^1/2 with MaskingNoise" in noisy


@pytest.mark.parametrize("as_dense", [True, False])
def test_log1p_refuses_what_has_no_logarithm(as_dense: bool) -> None:
    X = sparse_counts().tolil()
    X[3, 5] = -1.0
    bad = X.toarray() if as_dense else X.tocsr()
    good = sparse_counts()
    for ask in (
        lambda: wide(input_transform="log1p").fit(bad),
        lambda: wide(input_transform="log1p").fit(good).transform(bad),
        lambda: wide(input_transform="log1p").fit(good, validation_data=bad),
        lambda: wide(input_transform="log1p", corruption=MaskingNoise(0.1)).fit(good).transform(bad),
    ):
        with pytest.raises(ValueError, match=r"\[3, 5\] is -1.*log1p.*above -1"):
            ask()
    with pytest.raises(ValueError, match=r"corrupted\[3, 5\] is -1.*log1p"):
        wide(input_transform="log1p").partial_fit(good, corrupted=bad)
    wide().fit(bad)
    with pytest.raises(ValueError, match="input_transform='sqrt' is not known; use one of 'log1p'"):
        wide(input_transform="sqrt").fit(good)


@pytest.mark.parametrize("transform", ["l1", "l2", "frequencies"])
def test_norms_that_may_overflow_are_refused(transform: str) -> None:
    X = sparse_counts()
    at = (int(X.nonzero()[0][0]), int(X.nonzero()[1][0]))
    X.data[0] = 1e16
    for bad in (X, X.toarray()):
        with pytest.raises(ValueError, match=rf"\[{at[0]}, {at[1]}\] is 1e16: .*scale the data"):
            wide(input_transform=transform).fit(bad)
        with pytest.raises(ValueError, match="scale the data"):
            wide(input_transform=transform, likelihood="poisson").fit(bad)
    X.data[0] = 1e15
    assert np.isfinite(wide(input_transform=transform, optimizer="sgd").fit(sparse_counts()).transform(X)).all()


# ------------------------------------------------------------------------------------------- what may hold it


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csr_matrix])
def test_every_format_of_scipy_is_read(kind: str, make: Any) -> None:
    X = make(sparse_counts(rows=40))  # few diagonals
    wanted = wide().fit(X.toarray())
    given = X.asformat(kind)
    assert wide().fit(given).history_ == wanted.history_
    assert np.array_equal(wanted.transform(given), wanted.transform(X.toarray()))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int64", "float16", "float64"])
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_every_type_is_read_as_in_a_dense_array(dtype: str, index: str) -> None:
    X = sparse_counts()
    X.data[:] = 1 if dtype == "bool" else X.data
    parts = {"indptr": X.indptr.astype(index), "indices": X.indices.astype(index), "data": X.data.astype(dtype)}
    given = SimpleNamespace(**parts, shape=X.shape)  # scipy has no float16
    assert wide().fit(given).history_ == wide().fit(X.toarray().astype(dtype)).history_


def test_anything_with_the_arrays_is_read_in_place() -> None:
    X = sparse_counts()
    given = SimpleNamespace(indptr=X.indptr.astype(np.int64), indices=X.indices, data=X.data, shape=X.shape)
    assert wide().fit(given).history_ == wide().fit(X).history_
    read = _sparse.matrix(given, "X")
    for part in ("indptr", "indices", "data"):
        assert np.shares_memory(getattr(read, part), getattr(given, part))
    assert _sparse.matrix(read, "X") is read
    assert read.shape == X.shape
    assert len(read) == len(X.toarray())


def test_unsorted_and_repeated_indices_are_put_in_order_in_a_copy() -> None:
    rng = np.random.default_rng(0)
    row, col = rng.integers(0, 50, 400), rng.integers(0, 20, 400)
    order = np.argsort(row, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=50))])
    X = sparse.csr_array((np.ones(400), col[order], indptr), shape=(50, 20))
    dense, kept = X.toarray(), (X.indices.copy(), X.data.copy())
    assert dense.max() > 1
    assert not X.has_canonical_format
    model = wide().fit(X)
    assert model.history_ == wide().fit(dense).history_
    assert np.array_equal(X.indices, kept[0])
    assert np.array_equal(X.data, kept[1])


def test_a_model_with_sparse_data_answers_densely_and_knows_its_features() -> None:
    X = sparse_counts()
    model = wide().fit(X)
    assert model.n_features_in_ == 77
    for answer in (model.reconstruct(X), model.inverse_transform(model.transform(X))):
        assert isinstance(answer, np.ndarray)
        assert answer.shape == (150, 77)
    assert np.array_equal(model.diagnose(X).kl, model.diagnose(X.toarray()).kl)
    with pytest.raises(ValueError, match=r"20 features.*77 features"):
        model.transform(sparse_counts(cols=20))
    with pytest.raises(TypeError, match=r"Z is a sparse matrix.*toarray\(\)"):
        model.inverse_transform(sparse.csr_array(model.transform(X)))


def test_the_latent_space_of_sparse_data() -> None:
    X = sparse_counts()
    model, dense = wide().fit(X), X.toarray()
    for found, wanted in zip(model.neighbours(X, dense[:2], 3), model.neighbours(dense, dense[:2], 3), strict=True):
        assert np.array_equal(found, wanted)
    with pytest.raises(TypeError, match=r"sparse matrix.*toarray\(\)"):
        model.interpolate(X[[0]], X[[1]])


# ------------------------------------------------------------------------------------------------------- harm

GOOD = {"indptr": [0, 2, 3, 3], "indices": [0, 3, 1], "data": [1.0, 2.0, 0.5], "shape": (3, 4)}
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "indptr too short": ({"indptr": [0, 2]}, ValueError, "indptr has 2 entries for 3 rows"),
    "indptr empty": ({"indptr": []}, ValueError, "indptr has 0 entries"),
    "indptr from 1": ({"indptr": [1, 2, 3, 3]}, ValueError, r"indptr\[0\] is 1, not 0"),
    "indptr goes down": ({"indptr": [0, 3, 2, 3]}, ValueError, r"indptr\[2\] is 2, less than the 3"),
    "indptr below 0": ({"indptr": [0, -1, 3, 3]}, ValueError, r"indptr.* -1"),
    "indptr beyond": ({"indptr": [0, 2, 3, 9]}, ValueError, "indptr ends with 9, but indices and data have 3"),
    "indptr far beyond": ({"indptr": [0, 2, 3, 2**63 - 1]}, ValueError, "indptr ends with 9223372036854775807"),
    "indptr overflows": ({"indptr": np.array([0, 2, 3, 2**64 - 1], np.uint64)}, ValueError, "indptr.*outside"),
    "indptr of floats": ({"indptr": [0.0, 2.0, 3.0, 3.0]}, TypeError, "indptr holds float64; expected integers"),
    "indptr 2-D": ({"indptr": [[0, 2, 3, 3]]}, ValueError, "indptr has shape.*vector"),
    "an index below 0": ({"indices": [0, -3, 1]}, ValueError, "indices.* -3"),
    "an index too large": ({"indices": [0, 4, 1]}, ValueError, r"indices.* 4"),
    "an index that wraps": ({"indices": [0, 2**32 + 1, 1]}, ValueError, "indices.*4294967297"),
    "indices of floats": ({"indices": [0.0, 3.0, 1.0]}, TypeError, "indices holds float64"),
    "indices too few": ({"indices": [0, 3]}, ValueError, "indptr ends with 3, but indices and data have 2"),
    "data too few": ({"data": [1.0]}, ValueError, "indptr ends with 3, but indices and data have 1"),
    "NaN": ({"data": [1.0, np.nan, 0.5]}, ValueError, r"\[0, 3\] is NaN"),
    "infinity": ({"data": [1.0, 2.0, np.inf]}, ValueError, r"\[1, 1\] is inf"),
    "too large for float32": ({"data": [1.0, 2.0, 1e39]}, ValueError, r"\[1, 1\] is 1e\+39"),
    "complex data": ({"data": [1j, 2.0, 0.5]}, ValueError, "complex numbers"),
    "objects": ({"data": np.array([1, 2, None], object)}, TypeError, "objects"),
    "strings": ({"data": ["a", "b", "c"]}, TypeError, "strings"),
    "a huge number of columns": ({"shape": (3, 2**40)}, ValueError, "at most"),
    "a huge number of rows": ({"shape": (2**62, 4)}, ValueError, "indptr has 4 entries"),
    "a negative shape": ({"shape": (-3, 4)}, ValueError, r"shape \(-3, 4\)"),
    "a shape of three": ({"shape": (3, 4, 1)}, ValueError, "3 dimensions"),
    "a shape of one": ({"shape": (3,)}, ValueError, "1 dimensions"),
    "a shape of floats": ({"shape": (3.0, 4.0)}, ValueError, "expected a pair of integers"),
    "no shape": ({"shape": None}, ValueError, "expected a pair of integers"),
    "no rows": ({"shape": (0, 4), "indptr": [0]}, ValueError, "0 examples"),
    "no columns": ({"shape": (3, 0)}, ValueError, r"0 feature\(s\)"),
}


def made(**parts: Any) -> SimpleNamespace:
    given = GOOD | parts
    arrays = {name: np.asarray(given[name]) for name in ("indptr", "indices", "data")}
    return SimpleNamespace(**arrays, shape=given["shape"])


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_matrix_is_refused_with_a_sentence(case: str) -> None:
    parts, error, text = BAD[case]
    wide().fit(made())
    with pytest.raises(error, match=f"X.*{text}"):
        wide().fit(made(**parts))


class Other:
    """A sparse matrix of another library, in a format of its own."""

    shape, format = (3, 4), "ours"
    indptr, indices, data = np.array([0, 2, 3, 3]), np.array([0, 3, 1]), np.ones(3)


class Converting(Other):
    """What it says is CSR is not."""

    def __init__(self, converted: Any) -> None:
        self.converted = converted

    def tocsr(self) -> Any:
        return self.converted


@pytest.mark.parametrize("given", [Other(), *map(Converting, (None, np.ones((3, 4)), Other(), "csr"))])
def test_what_cannot_be_made_csr_is_refused_with_a_sentence(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"X is not a CSR matrix: convert it, for example with scipy\.sparse\.csr_matrix\(X\)"
    ):
        wide().fit(given)
    assert wide().fit(Converting(made())).history_ == wide().fit(made()).history_


@pytest.mark.parametrize(("value", "text"), [(2.0, "Bernoulli.*scale"), (-0.5, "Bernoulli"), (np.nan, "finite")])
def test_values_that_the_likelihood_cannot_take_are_named_with_their_place(value: float, text: str) -> None:
    X = suited(sparse_counts(), "bernoulli")
    model = wide(likelihood="bernoulli").fit(X)
    n = int(X.indptr[70])
    col = int(X.indices[n])
    X.data[n] = value
    for ask in (wide(likelihood="bernoulli").fit, model.score_samples, model.partial_fit):
        with pytest.raises(ValueError, match=rf"X\[70, {col}\] is .*{text}"):
            ask(X)
    if np.isfinite(value):
        assert np.array_equal(model.transform(X), model.transform(X.toarray())), "the encoder takes any numbers"


def test_grey_values_have_no_marginal_likelihood() -> None:
    X = suited(sparse_counts(), "bernoulli")
    model = wide(likelihood="bernoulli").fit(X)
    with pytest.raises(ValueError, match=r"X\[\d+, \d+\] is 0\.\d+: under the Bernoulli"):
        model.log_marginal(X, 3)
    X.data[:] = 1
    assert np.array_equal(model.log_marginal(X, 3).estimate, model.log_marginal(X.toarray(), 3).estimate)


def test_nothing_stored_and_more_room_than_used() -> None:
    empty = sparse.csr_array((40, 77), dtype=np.float32)
    as_dense(empty)
    X = sparse_counts()
    roomy = SimpleNamespace(
        indptr=X.indptr, indices=np.append(X.indices, -7), data=np.append(X.data, np.nan), shape=X.shape
    )
    assert wide().fit(roomy).history_ == wide().fit(X).history_


@pytest.mark.filterwarnings("ignore:likelihood=:UserWarning")  # of columns with few values
def test_random_arrays_are_refused_or_trained_on_and_never_do_harm() -> None:
    rng = np.random.default_rng(0)
    outcomes = {"refused": 0, "trained": 0}
    for _ in range(400):
        rows, cols, stored = rng.integers(0, 6), rng.integers(0, 40), rng.integers(0, 12)
        indptr = np.sort(rng.integers(0, stored + 1, rows + 1))
        indptr[:1], indptr[-1:] = 0, stored
        indices = rng.integers(0, max(cols, 1), stored)
        data = rng.normal(size=stored)
        if rng.random() < 0.5:  # break something
            part = (indptr, indices, data)[rng.integers(3)]
            if len(part):
                wild = [-1, 2**31, 2**40, -(2**63), cols, stored + 1] if part.dtype.kind == "i" else [np.nan, np.inf]
                part[rng.integers(len(part))] = rng.choice(wild)
        if rng.random() < 0.2:
            indices = indices[: rng.integers(0, stored + 1)]
        given = SimpleNamespace(indptr=indptr, indices=indices, data=data, shape=(int(rows), int(cols)))
        try:
            model = wide(hidden=(3,), epochs=1).fit(given)
        except ValueError:
            outcomes["refused"] += 1
        else:
            assert np.isfinite(model.transform(given)).all()
            outcomes["trained"] += 1
    assert sum(outcomes.values()) == 400
    assert min(outcomes.values()) > 50


def test_arrays_that_change_after_they_were_looked_at_do_no_harm() -> None:
    X = sparse_counts(400)
    model = wide().fit(X)
    rng, answered = np.random.default_rng(0), 0
    for _ in range(60):
        read = _sparse.matrix(X.copy(), "X")
        read.indptr[rng.integers(0, 401, 40)] = rng.choice([-(2**63), -1, 0, 3, 10**6, 2**62], 40)
        read.indices[rng.integers(0, len(read.indices), 200)] = rng.choice([-(2**31), -1, 5, 2**31 - 1], 200)
        for ask in (model.transform, model.score_samples, model.partial_fit, model.reconstruct):
            ask(read)  # whatever it answers
            answered += 1
    assert answered == 4 * 60, "none refuses what it has looked at before"
    assert np.isfinite(model.transform(X)).all()


def test_blocks_of_rows_are_within_bounds_whatever_the_arrays_have_become() -> None:
    X, rng = sparse_counts(400), np.random.default_rng(0)
    read = _sparse.matrix(X, "X")
    whole = np.zeros(X.shape)
    for first, row, col, value in _sparse.blocks(read, 37):
        whole[first + row, col] += value
    assert np.array_equal(whole, X.toarray())
    for _ in range(60):
        read = _sparse.matrix(X.copy(), "X")
        read.indptr[rng.integers(0, 401, 40)] = rng.choice([-(2**63), -1, 0, 3, 10**6, 2**62], 40)
        read.indices[rng.integers(0, len(read.indices), 200)] = rng.choice([-(2**31), -1, 5, 2**31 - 1], 200)
        found = list(_sparse.blocks(read, 37))
        assert len(found) == 11
        for first, row, col, value in found:
            assert len(row) == len(col) == len(value) <= X.nnz
            assert ((row >= 0) & (first + row < min(first + 37, 400))).all()
            assert ((col >= 0) & (col < 77)).all()
        ordered = _sparse._canonical(read, "X")
        assert ordered.canonical
        assert ordered.shape == X.shape


def test_sparse_data_are_never_made_dense() -> None:
    code = """
import resource, numpy as np, fastvae
from types import SimpleNamespace
n, cols, per_row = 4000, 20_000, 50
rng = np.random.default_rng(0)
indices = np.sort(rng.integers(0, cols // per_row, (n, per_row)) + np.arange(per_row) * (cols // per_row), 1)
X = SimpleNamespace(
    indptr=np.arange(n + 1) * per_row,
    indices=indices.astype(np.int32).reshape(-1),
    data=np.ones(n * per_row, np.float32),
    shape=(n, cols),
)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
model = fastvae.VAE(2, hidden=(32,), likelihood="gaussian", batch_size=64, epochs=1, n_jobs=1).fit(X)
model.transform(X)
print(peak() - before)
"""
    peak = float(run_python(code))
    # Weights, moments and the transposes are 20 MB, the output's gradient 5 MB; X would be 305 MB.
    assert peak < 70
