"""The latent space: closed forms on linear models, bits on real ones, and attributes that a judge of images can see."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import fastvae
from fastvae import VAE, NotFittedError, latent
from fastvae.likelihoods import Gaussian

DIGITS, LABELS = fastvae.datasets.load_digits()
FASHION_MNIST = Path(__file__).resolve().parents[1] / "examples" / "data" / "fashion_mnist.npz"
DRESS, PULLOVER, SNEAKER, ANKLE_BOOT, T_SHIRT = 3, 2, 7, 9, 0
STRENGTHS = (-1, -0.5, 0, 0.5, 1, 1.5, 2)


class Linear:
    """A model whose answers are known: codes x E, inputs z D; it has no prior."""

    def __init__(self, encoder: Any, decoder: Any = None) -> None:
        self.encoder = np.asarray(encoder, np.float32)
        self.decoder = np.linalg.pinv(self.encoder) if decoder is None else np.asarray(decoder, np.float32)
        self.n_features_in_ = len(self.encoder)

    def transform(self, X: Any) -> NDArray[np.float32]:
        return np.asarray(X, np.float32) @ self.encoder

    def inverse_transform(self, Z: Any) -> NDArray[np.float32]:
        return np.asarray(Z, np.float32) @ self.decoder


class Generative(Linear):
    """The same with the prior N(0, I)."""

    def sample(self, n: int, *, random_state: int) -> NDArray[np.float32]:
        return self.inverse_transform(np.random.default_rng(random_state).standard_normal((n, len(self.decoder))))


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def vae() -> VAE:
    """A trained model of four latent dimensions."""
    return VAE(4, hidden=(64,), epochs=20, learning_rate=3e-3, random_state=0).fit(DIGITS)


# ------------------------------------------------------------------------------------------- manifold


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_manifold_lies_at_the_middle_quantiles_of_the_prior(n: int) -> None:
    grid = latent.manifold(Generative(np.eye(2)), n)
    quantiles = norm.ppf((np.arange(n) + 0.5) / n)
    assert grid.shape == (n, n, 2)
    assert grid.dtype == np.float32
    for i in range(n):
        assert np.allclose(grid[i, :, 0], quantiles, atol=1e-6), "the first coordinate ascends from left to right"
        assert np.allclose(grid[:, i, 1], quantiles[::-1], atol=1e-6), "the second ascends from the bottom to the top"


@pytest.mark.parametrize("n", [2, 5, 8])
@pytest.mark.parametrize("span", [0.5, 1, 3.0])
def test_a_span_spaces_the_manifold_evenly_in_probability(n: int, span: float) -> None:
    columns, rows, dims = latent.grid_coordinates(Generative(np.eye(2)), n, span)
    assert np.allclose(norm.cdf(columns), np.linspace(norm.cdf(-span), norm.cdf(span), n), atol=1e-6)
    assert columns[0] == -np.float32(span)
    assert columns[-1] == np.float32(span)
    assert np.array_equal(rows, columns[::-1])
    assert dims == (0, 1)


@pytest.mark.parametrize("span", [None, 2.0, 60.0])
def test_the_quantiles_are_symmetric_and_finite_however_far_they_go(span: float | None) -> None:
    columns, _, _ = latent.grid_coordinates(Generative(np.eye(2)), 21, span)
    assert np.array_equal(columns, -columns[::-1])
    assert np.isfinite(columns).all()
    assert (np.diff(columns) > 0).all()


def test_each_picture_of_the_manifold_is_the_decoded_code_bit_for_bit(vae: VAE) -> None:
    columns, rows, (first, second) = latent.grid_coordinates(vae, 6)
    grid = latent.manifold(vae, 6)
    for i, j in ((0, 0), (2, 5), (5, 1)):
        code = np.zeros((1, 4), np.float32)
        code[0, first], code[0, second] = columns[j], rows[i]
        assert np.array_equal(grid[i, j], vae.inverse_transform(code)[0])


def test_the_manifold_takes_the_two_dimensions_whose_posterior_means_vary_most_over_x() -> None:
    model = Generative(np.eye(4))
    X = normal(200, 4) * [0.1, 3, 0.2, 2] + [100, 5, -7, 9]
    grid = latent.manifold(model, 3, X=X)
    z = norm.ppf(5 / 6)
    assert latent.grid_coordinates(model, 3, X=X)[2] == (1, 3)
    assert np.allclose(grid[0, 0], [0, -z, 0, z], atol=1e-6), "the others are the prior's mean, not that of X"


def test_without_x_the_manifold_finds_the_active_dimensions_in_what_the_model_generates(vae: VAE) -> None:
    model = Generative(encoder=np.diag([2.0, 0.1, 3, 0.2]), decoder=np.eye(4))
    assert latent.grid_coordinates(model)[2] == (2, 0)
    variance = vae.transform(vae.sample(1000, random_state=0)).var(axis=0)
    assert set(latent.grid_coordinates(vae)[2]) == set(np.argsort(variance)[-2:].tolist())


def test_dims_choose_what_goes_along_the_columns_and_the_rows() -> None:
    grid = latent.manifold(Generative(np.eye(3)), 2, dims=(2, 0))
    z = norm.ppf(0.75)
    assert np.allclose(grid, [[[z, 0, -z], [z, 0, z]], [[-z, 0, -z], [-z, 0, z]]], atol=1e-6)


def test_the_manifold_of_a_model_without_a_prior_lies_at_quantiles_of_its_codes() -> None:
    X = normal(500, 3) * [0.1, 3, 2] + [4, 5, -6]
    grid = latent.manifold(Linear(np.eye(3)), 2, X=X)
    z = norm.ppf(0.75)
    (m0, m1, m2), (_, s1, s2) = X.mean(axis=0), X.std(axis=0)
    assert np.allclose(grid[0, 0], [m0, m1 - z * s1, m2 + z * s2], atol=1e-5)
    assert np.allclose(grid[1, 1], [m0, m1 + z * s1, m2 - z * s2], atol=1e-5)


def test_the_manifold_of_a_model_without_a_prior_needs_x() -> None:
    with pytest.raises(ValueError, match=r"no prior.*pass X"):
        latent.manifold(Linear(np.eye(2)))


def test_a_manifold_of_one_latent_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="needs two latent dimensions, but the model has one"):
        latent.manifold(Generative(np.ones((3, 1))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 1}, "n=1 must be an integer, at least 2"),
        ({"n": 2**40}, f"n={2**40} must be an integer, at least 2 and at most"),
        ({"n": 2.5}, "n=2.5 must be an integer"),
        ({"span": 0}, "span=0 .* must be positive"),
        ({"span": -1}, "span=-1 must be a number"),
        ({"span": "wide"}, "span='wide' must be a number"),
        ({"dims": (0, 3)}, r"dims\[1\]=3 must be .* at most 2"),
        ({"dims": (-1, 0)}, r"dims\[0\]=-1 must be .* at least 0"),
        ({"dims": (1, 1)}, "two different latent dimensions"),
        ({"dims": (0, 1, 2)}, "two different latent dimensions"),
        ({"dims": (0.0, 1.0)}, "must be integers"),
    ],
)
def test_the_manifold_refuses_what_is_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent.manifold(Generative(np.eye(3)), **arguments)


# ---------------------------------------------------------------------------------------- interpolate


def test_a_linear_path_is_the_straight_line_between_the_codes() -> None:
    model = Linear(normal(5, 3))
    a, b = normal(3, seed=1), normal(3, seed=2)
    expected = [((1 - t) * a + t * b) @ model.decoder for t in np.linspace(0, 1, 7)]
    assert np.allclose(latent.interpolate(model, a, b, 7), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "slerp"])
@pytest.mark.parametrize("n", [2, 10])
def test_the_ends_of_a_path_are_the_decoded_a_and_b_bit_for_bit(vae: VAE, method: str, n: int) -> None:
    path = latent.interpolate(vae, DIGITS[3], DIGITS[8], n, method)
    assert path.shape == (n, 64)
    assert path.dtype == np.float32
    assert np.array_equal(path[[0, -1]], vae.reconstruct(DIGITS[[3, 8]]))
    codes = normal(2, 4)
    path = latent.interpolate(vae, codes[0], codes[1], n, method)
    assert np.array_equal(path[[0, -1]], vae.inverse_transform(codes))


def test_ends_may_be_rows_and_each_tells_by_its_length_what_it_is(vae: VAE) -> None:
    code = vae.transform(DIGITS[8:9])
    expected = latent.interpolate(vae, DIGITS[3], DIGITS[8])
    assert np.array_equal(latent.interpolate(vae, DIGITS[3:4], code), expected)
    assert np.array_equal(latent.interpolate(vae, DIGITS[3].tolist(), code[0]), expected)


def test_bytes_are_scaled_where_they_are_inputs_and_not_where_they_are_codes(vae: VAE) -> None:
    image, code = np.full(64, 51, np.uint8), np.array([1, 0, 2, 1], np.uint8)
    path = latent.interpolate(vae, image, code, 2)
    assert np.array_equal(path[0], vae.reconstruct(np.full((1, 64), 0.2, np.float32))[0])
    assert np.array_equal(path[1], vae.inverse_transform(code.astype(np.float32)[np.newaxis])[0])


@pytest.mark.parametrize("d", [2, 3, 100])
def test_slerp_keeps_the_norm_and_turns_at_an_even_pace(d: int) -> None:
    a, b = normal(2, d)
    a, b = 3 * a / np.linalg.norm(a), 3 * b / np.linalg.norm(b)
    path = latent.interpolate(Linear(np.eye(d)), a, b, 9, "slerp", codes=True)
    assert np.allclose(np.linalg.norm(path, axis=1), 3, rtol=1e-5)
    angles = np.arccos((path[:-1] * path[1:]).sum(axis=1) / 9)
    assert np.allclose(angles, np.arccos(a @ b / 9) / 8, rtol=1e-3)
    straight = latent.interpolate(Linear(np.eye(d)), a, b, 9, codes=True)
    assert np.linalg.norm(straight[4]) < 2.9, "the straight line is shorter in the middle"


def test_slerp_between_codes_of_unequal_norms_is_the_formula() -> None:
    path = latent.interpolate(Linear(np.eye(2)), [2, 0], [0, 5], 4, "slerp", codes=True)
    angles = np.linspace(0, np.pi / 2, 4)
    assert np.allclose(path, np.stack([2 * np.cos(angles), 5 * np.sin(angles)], axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"), [([1, 2], [3, 6]), ([1, 2], [-1, -2]), ([0, 0], [1, 2]), ([1, 2], [0, 0]), ([0, 0], [0, 0])]
)
def test_slerp_is_linear_where_the_codes_span_no_plane(a: list[float], b: list[float]) -> None:
    spherical, linear = (latent.interpolate(Linear(np.eye(2)), a, b, 5, m, codes=True) for m in ("slerp", "linear"))
    assert np.array_equal(spherical, linear)


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-5, 1e-3])
def test_slerp_goes_over_into_the_line_without_a_jump(angle: float) -> None:
    a, b = [1.0, 0.0], [np.cos(angle), np.sin(angle)]
    spherical, linear = (latent.interpolate(Linear(np.eye(2)), a, b, 5, m, codes=True) for m in ("slerp", "linear"))
    assert np.allclose(spherical, linear, atol=1e-6)


def test_where_inputs_and_codes_have_one_length_it_must_be_said_which_they_are() -> None:
    model, a, b = Linear([[0, 2], [1, 0]]), [1, 2], [3, 4]
    with pytest.raises(ValueError, match=r"a could be an input or a code.*2 features.*codes=True"):
        latent.interpolate(model, a, b)
    with pytest.raises(ValueError, match=r"x could be an input or a code"):
        latent.traverse(model, a)
    assert np.allclose(latent.interpolate(model, a, b, 2, codes=False), [a, b])
    assert np.allclose(latent.interpolate(model, a, b, 2, codes=True), [[1, 1], [2, 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 1}, "n=1 must be an integer, at least 2"),
        ({"n": 2**40}, f"n={2**40} must be an integer, at least 2 and at most"),
        ({"method": "cubic"}, "method='cubic' is not known; use one of 'linear', 'slerp'"),
        ({"a": np.zeros(5)}, "a has 5 values; expected 64, an input, or 4, a code"),
        ({"b": np.zeros((2, 64))}, r"b has shape \(2, 64\); expected a single row"),
        ({"b": np.float32(1)}, r"b has shape \(\); expected a single row"),
        ({"b": []}, "b is empty"),
        ({"a": np.zeros(4), "codes": False}, "a has 4 values; expected 64, an input"),
        ({"codes": True}, "a has 64 values; expected 4, a code"),
        ({"codes": "yes"}, "codes='yes' must be True, False or None"),
        ({"a": [0, 0, 0, np.nan]}, "a must be finite"),
        ({"a": np.full(64, np.nan)}, "X.*NaN"),
    ],
)
def test_interpolate_refuses_what_makes_no_path(vae: VAE, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent.interpolate(vae, **({"a": DIGITS[0], "b": DIGITS[1]} | arguments))


# ------------------------------------------------------------------------------------------- traverse


def test_a_traversal_moves_one_coordinate_and_keeps_the_others() -> None:
    lines = latent.traverse(Linear(np.eye(3)), [10, 20, 30], span=2, n=5, codes=True)
    for dim in range(3):
        expected = np.tile([10.0, 20, 30], (5, 1))
        expected[:, dim] = [-2, -1, 0, 1, 2]
        assert np.array_equal(lines[dim], expected)


def test_a_traversal_of_some_dimensions_is_a_part_of_that_of_all(vae: VAE) -> None:
    every = latent.traverse(vae, DIGITS[5])
    assert every.shape == (4, 9, 64)
    assert every.dtype == np.float32
    assert np.array_equal(latent.traverse(vae, DIGITS[5], [3, 1]), every[[3, 1]])
    assert np.array_equal(latent.traverse(vae, DIGITS[5], 2), every[[2]])
    assert np.array_equal(latent.traverse(vae, vae.transform(DIGITS[5:6])), every)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": [4]}, r"dims\[0\]=4 must be .* at most 3"),
        ({"dims": []}, "must be integers"),
        ({"dims": "all"}, "dims='all' must be integers"),
        ({"span": 0}, "must be positive"),
        ({"n": 1}, "at least 2"),
        ({"x": np.zeros(63)}, "x has 63 values"),
    ],
)
def test_traverse_refuses_what_is_out_of_range(vae: VAE, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent.traverse(vae, **({"x": DIGITS[0]} | arguments))


# ----------------------------------------------------------------------------------------- attributes


def test_the_attribute_vector_is_the_difference_of_the_mean_codes() -> None:
    model = Linear(normal(5, 3))
    X_with, X_without = normal(40, 5, seed=1) + 1, normal(30, 5, seed=2)
    v = latent.attribute_vector(model, X_with, X_without)
    assert v.shape == (3,)
    assert v.dtype == np.float32
    assert np.allclose(v, (X_with.mean(axis=0) - X_without.mean(axis=0)) @ model.encoder, atol=1e-5)


def test_an_attribute_moves_the_codes_by_its_strength() -> None:
    model = Linear(normal(5, 3))
    X, v = normal(4, 5, seed=1), normal(3, seed=2)
    moved = latent.apply_attribute(model, X, v, [-1, 0, 2])
    assert moved.shape == (4, 3, 5)
    for i, strength in enumerate([-1, 0, 2]):
        assert np.allclose(moved[:, i], (X @ model.encoder + strength * v) @ model.decoder, atol=1e-5)


def test_an_attribute_of_strength_zero_is_the_reconstruction_bit_for_bit(vae: VAE) -> None:
    moved = latent.apply_attribute(vae, DIGITS[:6], normal(4))
    assert moved.shape == (6, 7, 64)
    assert moved.dtype == np.float32
    assert np.array_equal(moved[:, 2], vae.reconstruct(DIGITS[:6]))


@pytest.mark.parametrize(
    ("v", "strengths", "message"),
    [
        (np.zeros(3), [0], r"v has shape \(3,\); expected \[latent_dim\], \(4,\)"),
        (np.zeros((1, 4)), [0], r"v has shape \(1, 4\)"),
        ([0, 0, 0, np.inf], [0], "v must be finite"),
        (np.zeros(4), [], "strengths has shape"),
        (np.zeros(4), 1.0, "strengths has shape"),
        (np.zeros(4), [np.nan], "strengths must be finite"),
    ],
)
def test_apply_attribute_refuses_what_is_no_direction_or_no_strength(
    vae: VAE, v: Any, strengths: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        latent.apply_attribute(vae, DIGITS[:2], v, strengths)


class Garments:
    """Fashion-MNIST, a model of all its training images, and judges of pairs of classes."""

    def __init__(self) -> None:
        with np.load(FASHION_MNIST) as arrays:
            self.train, self.test = (arrays[name].reshape(-1, 784) for name in ("x_train", "x_test"))
            self.y_train, self.y_test = arrays["y_train"], arrays["y_test"]
        self.vae = VAE(10, hidden=(128,), epochs=12, random_state=0).fit(self.train)


@pytest.fixture(scope="module")
def garments() -> Garments:
    return Garments()


def judge_of(X_with: NDArray[Any], X_without: NDArray[Any], strictness: float) -> LogisticRegression:
    """A classifier of real images by their pixels; it knows nothing of the model."""
    labels = np.repeat([1, 0], [len(X_with), len(X_without)])
    return LogisticRegression(C=strictness, max_iter=1000).fit(np.concatenate([X_with, X_without]), labels)


def judged(judge: LogisticRegression, moved: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean probability of the attribute at each strength."""
    verdicts = judge.predict_proba(moved.reshape(-1, moved.shape[-1]))[:, 1]
    return verdicts.reshape(moved.shape[:2]).mean(axis=0)


@pytest.mark.parametrize(
    ("with_it", "without"),
    [(ANKLE_BOOT, SNEAKER), (PULLOVER, T_SHIRT), (PULLOVER, DRESS)],
    ids=["a high shaft", "long sleeves", "sleeves"],
)
def test_moving_held_out_garments_along_an_attribute_gives_it_to_them(
    garments: Garments, with_it: int, without: int
) -> None:
    X_with, X_without = (garments.train[garments.y_train == label] for label in (with_it, without))
    held_out = garments.test[garments.y_test == without]
    judge = judge_of(X_with / 255, X_without / 255, 0.01)
    v = latent.attribute_vector(garments.vae, X_with, X_without)
    verdicts = judged(judge, latent.apply_attribute(garments.vae, held_out, v, STRENGTHS))
    # Over three pairs and three seeds: 0.10 to 0.18 before, 0.87 to 0.90 at strength 1, above 0.994 at 2.
    assert (np.diff(verdicts) > 0).all()
    assert verdicts[2] < 0.25
    assert verdicts[4] > 0.75
    assert verdicts[6] > 0.95


def test_a_random_direction_of_the_same_length_does_not_give_the_attribute(garments: Garments) -> None:
    X_with, X_without = (garments.train[garments.y_train == label] for label in (ANKLE_BOOT, SNEAKER))
    held_out = garments.test[garments.y_test == SNEAKER]
    judge = judge_of(X_with / 255, X_without / 255, 0.01)
    v = latent.attribute_vector(garments.vae, X_with, X_without)
    others = normal(20, len(v))
    others *= np.linalg.norm(v) / np.linalg.norm(others, axis=1, keepdims=True)
    rises = [np.diff(judged(judge, latent.apply_attribute(garments.vae, held_out, w, [0, 1]))) for w in (v, *others)]
    # Over three seeds: 0.71 along the attribute, -0.04 to 0.06 in the mean of the others.
    assert rises[0] > 0.6
    assert np.mean(rises[1:]) < 0.2


def test_moving_held_out_digits_along_boldness_makes_them_bold() -> None:
    # Bold and thin: the upper and the lower quarter of each digit by its ink, so that they differ in nothing else.
    # The likelihood is narrow because how bold a digit is costs a Bernoulli code more than it is worth.
    ink, rank = DIGITS.sum(axis=1), np.empty(len(DIGITS))
    for digit in np.unique(LABELS):
        those = np.flatnonzero(digit == LABELS)
        rank[those] = ink[those].argsort().argsort() / len(those)
    train = np.arange(len(DIGITS)) % 4 != 0
    bold, thin = DIGITS[train & (rank > 0.75)], DIGITS[train & (rank < 0.25)]
    vae = VAE(16, hidden=(128,), epochs=100, learning_rate=3e-3, likelihood=Gaussian(0.1), random_state=0)
    v = latent.attribute_vector(vae.fit(DIGITS[train]), bold, thin)
    moved = latent.apply_attribute(vae, DIGITS[~train & (rank < 0.25)], v, STRENGTHS)
    verdicts = judged(judge_of(bold, thin, 1.0), moved)
    # Over two seeds: 0.09 to 0.10 before, 0.75 to 0.80 at strength 1, above 0.98 at 2.
    assert (np.diff(verdicts) > 0).all()
    assert verdicts[2] < 0.2
    assert verdicts[4] > 0.6
    assert verdicts[6] > 0.9
    assert (np.diff(moved.sum(axis=2).mean(axis=0)) > 0).all(), "there is more ink at each strength"


# ------------------------------------------------------------------------------------------ neighbours


def test_neighbours_are_those_of_brute_force(vae: VAE) -> None:
    X, query = DIGITS[:300], DIGITS[300:350]
    indices, distances = latent.neighbours(vae, X, query, 7)
    between = cdist(vae.transform(query), vae.transform(X))
    assert indices.shape == distances.shape == (50, 7)
    assert indices.dtype == np.int64
    assert distances.dtype == np.float32
    assert np.array_equal(indices, np.argsort(between, axis=1, kind="stable")[:, :7])
    assert np.allclose(distances, np.sort(between, axis=1)[:, :7], rtol=1e-6)


def test_an_example_is_its_own_nearest_neighbour_at_distance_zero(vae: VAE) -> None:
    indices, distances = latent.neighbours(vae, DIGITS[:100], DIGITS[:100], 1)
    assert np.array_equal(indices[:, 0], np.arange(100))
    assert (distances == 0).all()


def test_neighbours_at_equal_distances_come_by_index() -> None:
    X = np.array([[3.0], [-1], [1], [5], [1], [-1]])
    indices, distances = latent.neighbours(Linear([[1]]), X, [[0.0]], 5)
    assert indices.tolist() == [[1, 2, 4, 5, 0]]
    assert distances.tolist() == [[1, 1, 1, 1, 3]]
    assert latent.neighbours(Linear([[1]]), X, [[0.0]], 2)[0].tolist() == [[1, 2]]


@pytest.mark.parametrize("distances", [1, 250, 10_000])
def test_the_size_of_a_chunk_changes_no_neighbour(vae: VAE, monkeypatch: pytest.MonkeyPatch, distances: int) -> None:
    expected = latent.neighbours(vae, DIGITS[:100], DIGITS[100:131])
    monkeypatch.setattr("fastvae._neighbours._MAX_DISTANCES", distances)
    found = latent.neighbours(vae, DIGITS[:100], DIGITS[100:131])
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_neighbours_never_hold_all_distances() -> None:
    X, query = normal(8000, 2), normal(4000, 2, seed=1)
    tracemalloc.start()
    latent.neighbours(Linear(np.eye(2)), X, query)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6, f"{peak / 1e6:.0f} MB; all distances are {8 * 8000 * 4000 / 1e6:.0f} MB"


@pytest.mark.parametrize("n", [0, 4, 1.5])
def test_neighbours_refuse_a_number_that_x_does_not_hold(n: Any) -> None:
    with pytest.raises(ValueError, match=r"n=.* must be an integer, at least 1 and at most 3"):
        latent.neighbours(Linear([[1]]), [[1.0], [2], [3]], [[1.0]], n)


# --------------------------------------------------------------------------------------------- mixture


def clusters() -> NDArray[np.float32]:
    """Codes in two far clusters: 300 around (10, 0) and 100 around (-10, 0)."""
    return np.concatenate([normal(300, 2) * 0.5 + [10, 0], normal(100, 2, seed=1) * 0.5 - [10, 0]]).astype(np.float32)


def test_a_mixture_sample_has_the_density_of_the_codes() -> None:
    x, z = latent.mixture_sample(Linear(2 * np.eye(2)), clusters(), 4000, n_components=2, return_latent=True)
    assert x.shape == z.shape == (4000, 2)
    assert x.dtype == z.dtype == np.float32
    assert np.allclose(x, z / 2)
    right = x[:, 0] > 0
    assert right.mean() == pytest.approx(0.75, abs=0.03)  # four standard deviations
    for part, centre in ((x[right], [10, 0]), (x[~right], [-10, 0])):
        assert np.allclose(part.mean(axis=0), centre, atol=0.15)
        assert np.allclose(part.std(axis=0), 0.5, atol=0.08)


def test_the_components_of_a_mixture_sample_come_mixed() -> None:
    x = latent.mixture_sample(Linear(np.eye(2)), clusters(), 400, n_components=2)
    assert 0.5 < (x[:100, 0] > 0).mean() < 0.95


def test_a_mixture_sample_depends_on_its_seed_alone() -> None:
    def draw(random_state: Any) -> NDArray[np.float32]:
        return latent.mixture_sample(Linear(np.eye(2)), clusters(), 5, n_components=2, random_state=random_state)

    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))
    assert not np.array_equal(draw(None), draw(None))
    assert np.array_equal(draw(np.random.default_rng(1)), draw(np.random.default_rng(1)))
    assert draw(2**64 - 1).shape == (5, 2)


def test_a_mixture_makes_the_decoder_of_reconstruction_alone_a_generator() -> None:
    # Its codes lie far from N(0, I), and so does what the prior's draws are decoded to.
    vae = VAE(4, hidden=(64,), epochs=60, learning_rate=3e-3, objective="reconstruction", random_state=0).fit(DIGITS)
    judge = KNeighborsClassifier().fit(DIGITS, LABELS)
    counts = [
        np.bincount(judge.predict(x), minlength=10)
        for x in (vae.sample(1000, random_state=0), latent.mixture_sample(vae, DIGITS, 1000))
    ]
    # Over four seeds: some digit is missing from the prior's thousand; of the mixture's, each has 62 or more.
    assert counts[0].min() < 10
    assert counts[1].min() > 40


def test_without_scikit_learn_mixture_sample_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ImportError, match=r"needs scikit-learn.*pip install scikit-learn"):
        latent.mixture_sample(Linear(np.eye(2)), clusters(), 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0 must be an integer, at least 1"),
        ({"n_components": 0}, "n_components=0 must be an integer"),
        ({"n_components": 401}, "n_components=401 must be an integer, at least 1 and at most 400"),
        ({"random_state": "now"}, "random_state='now'"),
    ],
)
def test_mixture_sample_refuses_what_is_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent.mixture_sample(Linear(np.eye(2)), clusters(), **({"n": 3} | arguments))


# ------------------------------------------------------------------------------------------ the contract

QUESTIONS: dict[str, Any] = {
    "manifold": lambda model: latent.manifold(model, 3),
    "grid_coordinates": lambda model: latent.grid_coordinates(model, 3)[0],
    "interpolate": lambda model: latent.interpolate(model, DIGITS[0], DIGITS[1]),
    "traverse": lambda model: latent.traverse(model, DIGITS[0]),
    "attribute_vector": lambda model: latent.attribute_vector(model, DIGITS[:5], DIGITS[5:9]),
    "apply_attribute": lambda model: latent.apply_attribute(model, DIGITS[:5], np.ones(4)),
    "neighbours": lambda model: latent.neighbours(model, DIGITS[:9], DIGITS[:2])[1],
    "mixture_sample": lambda model: latent.mixture_sample(model, DIGITS[:99], 4, n_components=2),
}


def test_every_function_is_asked_below() -> None:
    assert sorted(QUESTIONS) == sorted(latent.__all__)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_model_that_is_not_fitted_says_so(question: str) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        QUESTIONS[question](VAE(4))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_container_that_transform_returns_changes_no_answer(vae: VAE, question: str) -> None:
    expected = QUESTIONS[question](vae)
    try:
        found = QUESTIONS[question](vae.set_output(transform="pandas"))
    finally:
        vae.set_output(transform="default")
    assert type(found) is np.ndarray
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("question", QUESTIONS)
def test_parameters_set_after_the_fit_change_no_answer(vae: VAE, question: str) -> None:
    expected = QUESTIONS[question](vae)
    try:
        found = QUESTIONS[question](vae.set_params(latent_dim=64, random_state=5))
    finally:
        vae.set_params(latent_dim=4, random_state=0)
    assert np.array_equal(found, expected)
