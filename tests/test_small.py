"""Scores averaged over draws, and pictures of scaled data."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import fastvae
from fastvae import plots

mpl.use("Agg")

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
MODEL = fastvae.VAE(2, hidden=(), likelihood="gaussian", epochs=3, random_state=0, n_jobs=1).fit(X)


def test_the_score_of_many_draws_is_the_expectation_of_a_linear_gaussian_model() -> None:
    # E_q ||x - W z - b||² = ||x - W mu - b||² + sum_j sigma_j² ||W_j||².
    state = {name: value.astype(np.float64) for name, value in MODEL.state_dict().items()}
    W, b = state["decoder.0.weight"], state["decoder.0.bias"]
    mu, logvar = (value.astype(np.float64) for value in MODEL.encode(X))
    variance = np.exp(logvar)
    squares = ((X - mu @ W.T - b) ** 2).sum(1) + variance @ (W**2).sum(0)
    kl = 0.5 * (variance + mu**2 - 1 - logvar).sum(1)
    elbo = -(squares / 2 + 2 * np.log(2 * np.pi)) - kl
    scores = MODEL.score_samples(X, n_samples=4096)
    np.testing.assert_allclose(scores, elbo, rtol=0, atol=0.25)
    assert MODEL.score(X, n_samples=4096) == pytest.approx(elbo.mean(), abs=0.02)
    assert abs(MODEL.score_samples(X) - elbo).max() > 3 * abs(scores - elbo).max()


def test_the_score_of_given_noise_is_the_mean_of_its_draws() -> None:
    eps = np.random.default_rng(1).normal(size=(len(X), 3, 2)).astype(np.float32)
    each = [MODEL.score_samples(X, eps=eps[:, draw]) for draw in range(3)]
    np.testing.assert_allclose(MODEL.score_samples(X, eps=eps, n_samples=3), np.mean(each, 0), rtol=1e-4, atol=1e-4)
    assert MODEL.score(X, n_samples=1) == pytest.approx(MODEL.score(X), abs=1e-6)


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, 2**20, "a"])
def test_the_number_of_draws_is_checked(n_samples: Any) -> None:
    with pytest.raises(ValueError, match="n_samples="):
        MODEL.score(X, n_samples=n_samples)


def drawn(ax: Any) -> Any:
    return np.asarray(ax.images[0].get_array())


def test_plots_undo_a_scaler_and_take_the_limits_of_brightness() -> None:
    mean, scale = np.arange(4.0), np.full(4, 2.0)

    def inverse(rows: Any) -> Any:
        return rows * scale + mean

    rows = np.zeros((1, 4))
    picture = drawn(plots.images(rows, (2, 2), inverse=inverse, vmin=-1, vmax=4))
    np.testing.assert_allclose(picture, (np.arange(4.0).reshape(2, 2) + 1) / 5)
    grey = np.array([[0, 51, 102, 255]], np.uint8)
    np.testing.assert_allclose(drawn(plots.images(grey, (2, 2))).ravel(), [0, 0.2, 0.4, 1])
    np.testing.assert_allclose(drawn(plots.images(grey, (2, 2), vmin=51, vmax=102)).ravel(), [0, 0, 1, 1])
    kinds: list[Any] = [
        lambda **more: plots.reconstructions(MODEL, X[:2], **more),
        lambda **more: plots.manifold(MODEL, 2, **more),
        lambda **more: plots.interpolation(MODEL, X[0], X[1], 3, **more),
        lambda **more: plots.attribute(MODEL, X[:2], [1.0, 0.0], **more),
        lambda **more: plots.traversal(MODEL, X[0], n=3, **more),
    ]
    for plot in kinds:
        assert (drawn(plot(inverse=lambda rows: rows * 0 + 7, vmin=7, vmax=8)) == 0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vmin": 1.0}, "vmin=1 must be below vmax=1"),
        ({"vmax": np.nan}, "vmax=nan must be a number"),
        ({"inverse": 3}, "inverse=3 must be a function of rows"),
        ({"inverse": lambda rows: rows[:, :1]}, "inverse returned an array of shape"),
    ],
)
def test_bad_limits_and_inverses_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plots.images(np.zeros((1, 4)), (2, 2), **options)
