"""The functional layer against ``torch.distributions`` and the noise against what a normal must be."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from fastvae import functional

SHAPES = [(1,), (13,), (16,), (37,), (1, 1), (5, 1), (7, 33), (2, 3, 5), (3, 1, 2, 67)]
EDGES = np.array([-1e4, -50, -30.5, -30, -29.5, -1, 0, 1, 19.5, 20, 20.5, 50, 1e4], np.float32)
# Sums of float32 terms, each right to about 1e-7 of its size.
RTOL = 1e-6


def randoms(shape: tuple[int, ...], *, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def units(shape: tuple[int, ...], *, seed: int = 0) -> NDArray[np.float32]:
    """Values in [0, 1], many of them 0 or 1."""
    uniform = np.random.default_rng(seed).uniform(-0.5, 1.5, shape)
    return np.clip(uniform, 0, 1).astype(np.float32)


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))


def assert_close(ours: NDArray[Any], reference: torch.Tensor, *, atol: float = 0.0) -> None:
    """Same shape, float32, and a difference of at most ``atol`` + ``RTOL`` of the reference."""
    assert ours.dtype == np.float32
    assert ours.shape == tuple(reference.shape)
    np.testing.assert_allclose(ours, reference.numpy(), rtol=RTOL, atol=atol)


def posterior(mu: Any, logvar: Any) -> Independent:
    """q(z|x) with the log variance clamped as documented."""
    sigma = (tensor(logvar).clamp(-30, 20) / 2).exp()
    return Independent(Normal(tensor(mu).expand_as(sigma), sigma), 1)


def standard(shape: torch.Size) -> Independent:
    zeros = torch.zeros(shape, dtype=torch.float64)
    return Independent(Normal(zeros, torch.ones_like(zeros)), 1)


# ------------------------------------------------------------------------------------------------- KL


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gaussian_kl_is_that_of_torch(shape: tuple[int, ...]) -> None:
    mu, logvar = randoms(shape), randoms(shape, seed=1, scale=2.0)
    q = posterior(mu, logvar)
    reference = kl_divergence(q, standard(q.mean.shape))
    assert_close(functional.gaussian_kl(mu, logvar), reference, atol=1e-7 * shape[-1])


def test_gaussian_kl_at_and_beyond_the_clamp_is_that_of_the_clamped_log_variance() -> None:
    mu = np.full((len(EDGES), 1), 0.5, np.float32)
    q = posterior(mu, EDGES[:, None])
    assert_close(functional.gaussian_kl(mu, EDGES[:, None]), kl_divergence(q, standard(q.mean.shape)))


def test_gaussian_kl_of_the_prior_itself_is_zero() -> None:
    assert functional.gaussian_kl(np.zeros((3, 37)), np.zeros((3, 37))).tolist() == [0, 0, 0]


def test_gaussian_kl_broadcasts_mu_and_logvar() -> None:
    mu, logvar = randoms((4, 1, 7)), randoms((3, 1), seed=1)
    whole = np.broadcast_arrays(mu, logvar)
    broadcast = functional.gaussian_kl(mu, logvar)
    assert broadcast.shape == (4, 3)
    assert broadcast.tobytes() == functional.gaussian_kl(*whole).tobytes()


# ---------------------------------------------------------------------------------------- reparameterize


@pytest.mark.parametrize("shape", [(), *SHAPES], ids=str)
def test_reparameterize_is_mu_plus_sigma_eps(shape: tuple[int, ...]) -> None:
    mu, logvar, eps = randoms(shape), randoms(shape, seed=1, scale=2.0), randoms(shape, seed=2)
    shift = tensor(eps) * (tensor(logvar) / 2).exp()
    atol = 2e-7 * float((tensor(mu).abs() + shift.abs()).max())  # mu and the shift may cancel
    assert_close(functional.reparameterize(mu, logvar, eps), tensor(mu) + shift, atol=atol)


def test_reparameterize_clamps_the_log_variance() -> None:
    sigma = (tensor(EDGES).clamp(-30, 20) / 2).exp()
    assert_close(functional.reparameterize(0, EDGES, 1), sigma)
    assert_close(functional.reparameterize(0, EDGES, -1), -sigma)


def test_reparameterize_broadcasts() -> None:
    mu, logvar, eps = randoms((4, 1)), randoms((3,), seed=1), randoms((2, 1, 1), seed=2)
    z = functional.reparameterize(mu, logvar, eps)
    assert z.shape == (2, 4, 3)
    assert z.tobytes() == functional.reparameterize(*np.broadcast_arrays(mu, logvar, eps)).tobytes()


# -------------------------------------------------------------------------------------- log-probabilities


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bernoulli_log_prob_is_that_of_torch(shape: tuple[int, ...]) -> None:
    x, logits = units(shape), randoms(shape, seed=1, scale=4.0)
    p = Independent(Bernoulli(logits=tensor(logits), validate_args=False), 1, validate_args=False)
    reference = p.log_prob(tensor(x))
    assert_close(functional.bernoulli_log_prob(x, logits), reference, atol=1e-7 * shape[-1])


@pytest.mark.parametrize("logit", [-1e4, -100.0, -88.0, -1e-3, 0.0, 1e-3, 88.0, 100.0, 1e4])
@pytest.mark.parametrize("x", [0.0, 0.25, 0.5, 1.0])
def test_bernoulli_log_prob_neither_overflows_nor_cancels(x: float, logit: float) -> None:
    p = Bernoulli(logits=tensor([logit]), validate_args=False)
    ours = functional.bernoulli_log_prob([x], [logit])
    assert_close(ours, p.log_prob(tensor([x]))[0], atol=1e-37)  # below float32's normal numbers


@pytest.mark.parametrize("scale_shape", [(), (1,), None], ids=["number", "[1]", "per feature"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gaussian_log_prob_is_that_of_torch(shape: tuple[int, ...], scale_shape: tuple[int, ...] | None) -> None:
    x, mean = randoms(shape), randoms(shape, seed=1)
    scale = np.exp(randoms(shape[-1:] if scale_shape is None else scale_shape, seed=2))
    p = Independent(Normal(tensor(mean), tensor(scale).expand(shape)), 1)
    assert_close(functional.gaussian_log_prob(x, mean, scale), p.log_prob(tensor(x)), atol=2e-7 * shape[-1])


def test_gaussian_log_prob_has_scale_1_unless_told() -> None:
    x, mean = randoms((7, 33)), randoms((7, 33), seed=1)
    p = Independent(Normal(tensor(mean), 1.0), 1)
    assert_close(functional.gaussian_log_prob(x, mean), p.log_prob(tensor(x)))


@pytest.mark.parametrize("distance", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_gaussian_log_prob_far_out_and_at_small_and_large_scales(scale: float, distance: float) -> None:
    # Powers of ten are not float32 numbers: compare with what the function is given.
    x, mean = np.float32(distance * scale), np.float32(0)
    reference = Normal(tensor(mean), tensor(scale)).log_prob(tensor(x))
    assert_close(functional.gaussian_log_prob([x], [mean], scale), reference)


@pytest.mark.parametrize("features", [784, 5000])
def test_log_probabilities_of_many_features_keep_their_precision(features: int) -> None:
    x, y = units((3, features)), randoms((3, features), seed=1)
    bernoulli = Independent(Bernoulli(logits=tensor(y), validate_args=False), 1, validate_args=False)
    assert_close(functional.bernoulli_log_prob(x, y), bernoulli.log_prob(tensor(x)))
    gaussian = Independent(Normal(tensor(y), 0.5), 1)
    assert_close(functional.gaussian_log_prob(x, y, 0.5), gaussian.log_prob(tensor(x)))


FORMULAS: dict[str, Callable[..., NDArray[np.float32]]] = {
    "gaussian_kl": functional.gaussian_kl,
    "bernoulli_log_prob": functional.bernoulli_log_prob,
    "gaussian_log_prob": functional.gaussian_log_prob,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_example_does_not_depend_on_its_company(name: str) -> None:
    a, b = units((29, 37)), randoms((29, 37), seed=1)
    whole = FORMULAS[name](a, b)
    one_by_one = np.array([FORMULAS[name](a[i], b[i]) for i in range(29)])
    assert whole.tobytes() == one_by_one.tobytes()


@pytest.mark.parametrize("name", FORMULAS)
def test_strides_and_types_of_arguments_do_not_matter(name: str) -> None:
    a, b = units((29, 37)), randoms((29, 37), seed=1)
    plain = FORMULAS[name](a, b).tolist()
    assert FORMULAS[name](np.asfortranarray(a), b[::-1, ::-1][::-1, ::-1]).tolist() == plain
    assert FORMULAS[name](a.tolist(), b.astype(np.float64)).tolist() == plain


@pytest.mark.parametrize("name", ["gaussian_kl", "gaussian_log_prob"])
@pytest.mark.parametrize("where", [0, 1])
def test_nan_is_not_hidden(name: str, where: int) -> None:
    arguments = [randoms((2, 37)), randoms((2, 37), seed=1)]
    arguments[where][1, 20] = np.nan
    assert np.isnan(FORMULAS[name](*arguments)).tolist() == [False, True]


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0)], ids=str)
def test_no_last_axis_is_an_error_that_shows_the_shape(name: str, shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match="last axis") as error:
        FORMULAS[name](values, values)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", FORMULAS)
def test_shapes_that_do_not_broadcast_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="shape"):
        FORMULAS[name](np.zeros((3, 4)), np.zeros((3, 5)))


def test_noise_that_does_not_broadcast_is_an_error() -> None:
    with pytest.raises(ValueError, match="shape"):
        functional.reparameterize(np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((2, 4)))


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_bernoulli_values_outside_0_to_1_are_an_error(value: float) -> None:
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        functional.bernoulli_log_prob([0.5, value], [0.0, 0.0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, [1.0, -1.0, 1.0]])
def test_a_scale_that_is_not_positive_is_an_error(scale: Any) -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        functional.gaussian_log_prob(np.zeros(3), np.zeros(3), scale)


@pytest.mark.parametrize("shape", [(2,), (4,), (5, 3), (1, 1)], ids=str)
def test_a_scale_of_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scale has shape"):
        functional.gaussian_log_prob(np.zeros((5, 3)), np.zeros((5, 3)), np.ones(shape))


@pytest.mark.parametrize(
    ("shape", "seed", "stream", "offender"),
    [
        ((3, -1), 0, 0, "shape"),
        (-1, 0, 0, "shape"),
        ((3, 4), -1, 0, "seed=-1"),
        ((3, 4), 2**64, 0, "seed=18446744073709551616"),
        ((3, 4), 0, -1, "stream=-1"),
        ((3, 4), 0, 256, "stream=256"),
    ],
)
def test_noise_out_of_range_is_an_error_that_names_the_offender(
    shape: Any, seed: int, stream: int, offender: str
) -> None:
    with pytest.raises(ValueError, match=offender):
        functional.standard_normal(shape, seed, stream)


def test_noise_too_large_for_memory_is_an_error_not_the_end_of_the_process() -> None:
    # In a process of its own, since a failed allocation in the core could end it: 4 PiB fit no machine.
    program = """
import fastvae
try:
    fastvae.functional.standard_normal((2**25, 2**25), seed=0)
except (MemoryError, ValueError) as error:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "refused\n"), run.stderr


# ------------------------------------------------------------------------------------------------ Philox


def philox(seed: int, counter: tuple[int, ...]) -> tuple[int, ...]:
    """Return the four words of a counter: Philox4x32-10 of Salmon et al., SC 2011."""
    keys, (a, b, c, d) = [seed & 0xFFFFFFFF, seed >> 32], counter
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = right >> 32 ^ b ^ keys[0], right & 0xFFFFFFFF, left >> 32 ^ d ^ keys[1], left & 0xFFFFFFFF
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, (0x9E3779B9, 0xBB67AE85), strict=True)]
    return a, b, c, d


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_reference_of_philox_gives_the_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    assert philox(key[1] << 32 | key[0], counter) == words


@pytest.mark.parametrize("seed", [0, 12345, 2**64 - 1])
@pytest.mark.parametrize("stream", [0, 7, 255])
def test_noise_is_box_muller_of_the_philox_words_of_its_coordinates(seed: int, stream: int) -> None:
    rows, cols = 3, 10
    noise = functional.standard_normal((rows, cols), seed, stream)
    for row in range(rows):
        for block in range(0, cols, 4):
            words = np.array(philox(seed, (stream << 24 | block // 4, 0, 0, row)), np.float64)
            radius = np.sqrt(-2 * np.log((words[::2] + 0.5) / 2**32))
            angle = 2 * np.pi * (words[1::2] // 256) / 2**24
            want = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
            got = noise[row, block : block + 4]
            np.testing.assert_allclose(got, want[: len(got)], rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------ the noise


ROWS, COLS = 4000, 1001
DRAWS = ROWS * COLS
# Seeds are fixed, so nothing here is flaky; a sound generator fails one bound of this width in 16,000.
SIGMAS = 4.0


@pytest.fixture(scope="module")
def draws() -> NDArray[np.float64]:
    """Four million draws, [ROWS, COLS]."""
    return functional.standard_normal((ROWS, COLS), seed=2024).astype(np.float64)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Correlation coefficient in units of its standard error for independent normals."""
    return float(np.mean(a * b) * np.sqrt(a.size))


def assert_independent(a: NDArray[Any], b: NDArray[Any]) -> None:
    """Neither the values nor their squares are correlated."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert abs(correlation(a, b)) < SIGMAS
    assert abs(correlation((a**2 - 1) / math.sqrt(2), (b**2 - 1) / math.sqrt(2))) < SIGMAS


@pytest.mark.parametrize(("power", "mean", "variance"), [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)])
def test_the_noise_has_the_moments_of_a_standard_normal(
    draws: NDArray[np.float64], power: int, mean: float, variance: float
) -> None:
    # The mean of x^k over n draws has variance (E x^2k - (E x^k)²) / n.
    error = np.mean(draws**power) - mean
    assert abs(error) < SIGMAS * math.sqrt(variance / DRAWS)


@pytest.mark.parametrize("column", range(4))
def test_each_place_in_a_block_has_the_moments_of_a_standard_normal(draws: NDArray[np.float64], column: int) -> None:
    values = draws[:, column::4]
    assert abs(values.mean()) < SIGMAS / math.sqrt(values.size)
    assert abs(np.mean(values**2) - 1) < SIGMAS * math.sqrt(2 / values.size)


@pytest.mark.parametrize("bound", [0.5, 1.0, 2.0, 3.0, 4.0, 4.5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_noise_has_the_tails_of_a_standard_normal(draws: NDArray[np.float64], sign: int, bound: float) -> None:
    beyond = float(stats.norm.sf(bound))
    error = np.mean(sign * draws > bound) - beyond
    assert abs(error) < SIGMAS * math.sqrt(beyond * (1 - beyond) / DRAWS)


def test_the_noise_is_finite_and_reaches_no_further_than_its_bits_allow(draws: NDArray[np.float64]) -> None:
    assert 4.8 < np.abs(draws).max() <= math.sqrt(-2 * math.log(2.0**-33)) + 1e-5


def test_the_noise_passes_kolmogorov_smirnov(draws: NDArray[np.float64]) -> None:
    assert stats.kstest(draws.reshape(-1), stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5, 8, 16])
def test_neighbouring_columns_are_independent(draws: NDArray[np.float64], distance: int) -> None:
    assert_independent(draws[:, :-distance], draws[:, distance:])


@pytest.mark.parametrize("start", range(4))
def test_neighbouring_columns_are_independent_as_pairs(draws: NDArray[np.float64], start: int) -> None:
    # For independent normals exp(-(x² + y²) / 2) is uniform, which is where Box-Muller starts.
    x, y = draws[:, start:-1:4], draws[:, start + 1 :: 4]
    uniform = np.exp(-(x**2 + y[:, : x.shape[1]] ** 2) / 2).reshape(-1)
    assert stats.kstest(uniform, stats.uniform.cdf).pvalue > 1e-3


@pytest.mark.parametrize("distance", [1, 2, 16])
def test_neighbouring_rows_are_independent(draws: NDArray[np.float64], distance: int) -> None:
    assert_independent(draws[:-distance], draws[distance:])


@pytest.mark.parametrize(
    ("seed", "stream"),
    [(2025, 0), (2024 + 2**32, 0), (2024 + 2**63, 0), (2024, 1), (2024, 255)],
)
def test_other_seeds_and_streams_are_independent(draws: NDArray[np.float64], seed: int, stream: int) -> None:
    assert_independent(draws[:1000], functional.standard_normal((1000, COLS), seed, stream))


def test_the_same_seed_gives_the_same_noise() -> None:
    one, other = (functional.standard_normal((5, 7), 3, 1) for _ in range(2))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 37), (17, 2), (29, 5), (29, 37)])
def test_an_element_of_noise_does_not_depend_on_the_shape_around_it(rows: int, cols: int) -> None:
    whole = functional.standard_normal((29, 37), 5, 2)
    part = functional.standard_normal((rows, cols), 5, 2)
    assert part.tobytes() == whole[:rows, :cols].tobytes()


def test_leading_axes_of_noise_are_rows() -> None:
    rows = functional.standard_normal((6, 5), 5)
    assert functional.standard_normal((2, 3, 5), 5).tobytes() == rows.tobytes()
    assert functional.standard_normal((5,), 5).tobytes() == rows[0].tobytes()
    assert functional.standard_normal(5, 5).tobytes() == rows[0].tobytes()
    assert functional.standard_normal((), 5).tobytes() == rows[0, 0].tobytes()


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 3, 4), (0,), (0, 3), (3, 0)], ids=str)
def test_noise_has_the_shape_asked_for(shape: tuple[int, ...]) -> None:
    noise = functional.standard_normal(shape, 0)
    assert noise.shape == shape
    assert noise.dtype == np.float32


def test_a_row_too_long_for_the_counter_does_not_repeat_noise() -> None:
    # A counter has 24 bits for the block of four columns; the stream's bits come next.
    longest = 4 * 2**24
    with contextlib.suppress(ValueError):  # a refusal is as good
        row = functional.standard_normal(longest + 4, seed=0, stream=1)
        assert not np.array_equal(row[longest:], row[:4])
