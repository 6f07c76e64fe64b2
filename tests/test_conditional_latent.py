"""Conditional models in fastvae.latent and in the plots; classes to come."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import pytest

import fastvae
from fastvae import VAE, latent, plots

DIGITS, LABELS = fastvae.datasets.load_digits()
X, Y = DIGITS[:200], LABELS[:200]
COVARIATES = np.stack([Y / 9, X.mean(1)], 1).astype(np.float32)


def model(labels: bool = True) -> VAE:
    return VAE(3, hidden=(16,), conditional=True, epochs=1, random_state=0).fit(X, Y if labels else COVARIATES)


@pytest.mark.parametrize("labels", [True, False])
def test_grids_and_paths_are_decoded_given_y(labels: bool) -> None:
    vae = model(labels)
    y: Any = 3 if labels else [0.5, 0.2]
    rows = np.array([3]) if labels else np.array([[0.5, 0.2]], np.float32)
    columns, down, dims = latent.grid_coordinates(vae, 4, y=y)
    codes = np.zeros((4, 4, 3), np.float32)
    codes[..., dims[0]], codes[..., dims[1]] = columns, down[:, np.newaxis]
    expected = vae.inverse_transform(codes.reshape(-1, 3), y=y).reshape(4, 4, -1)
    assert vae.manifold(4, y=y).tobytes() == expected.tobytes()
    assert latent.manifold(vae, 4, X=X, y=y).shape == (4, 4, 64)
    path = vae.interpolate(X[0], X[1], 5, y=y)
    ends = [vae.inverse_transform(vae.transform(X[i : i + 1], y=rows), y=rows)[0] for i in (0, 1)]
    assert path[0].tobytes() == ends[0].tobytes()
    assert path[-1].tobytes() == ends[1].tobytes()
    assert vae.traverse(X[0], n=3, y=y).shape == (3, 3, 64)
    assert (vae.manifold(4, y=4 if labels else [0.0, 0.9]) != expected).any()
    with pytest.raises(ValueError, match="pass y="):
        vae.manifold(4)


def test_directions_and_neighbours_take_the_y_of_each_example() -> None:
    vae = model()
    a, b = X[:10], X[10:30]
    v = latent.attribute_vector(vae, a, b, y=(Y[:10], Y[10:30]))
    mean = vae.transform(a, y=Y[:10]).mean(0, dtype=np.float64) - vae.transform(b, y=Y[10:30]).mean(0, dtype=np.float64)
    np.testing.assert_allclose(v, mean, rtol=1e-6, atol=1e-7)
    one = latent.attribute_vector(vae, a, b, y=3)
    threes = [vae.transform(part, y=np.full(len(part), 3)).mean(0, dtype=np.float64) for part in (a, b)]
    np.testing.assert_allclose(one, threes[0] - threes[1], rtol=1e-6, atol=1e-7)
    moved = latent.apply_attribute(vae, a, v, [0, 1], y=Y[:10])
    np.testing.assert_array_equal(moved[:, 0], vae.reconstruct(a, y=Y[:10]))
    moved_codes = vae.transform(a, y=Y[:10]) + v
    np.testing.assert_allclose(moved[:, 1], vae.inverse_transform(moved_codes, y=Y[:10]), atol=1e-6)
    found, distances = vae.neighbours(X, a, 1, y=Y, query_y=Y[:10])
    assert (distances == 0).all()
    assert found.shape == (10, 1)


def test_a_mixture_generates_given_y() -> None:
    pytest.importorskip("sklearn")
    vae = model()
    x, z = latent.mixture_sample(vae, X, 6, n_components=2, return_latent=True, y=Y, new_y=3)
    assert x.tobytes() == vae.inverse_transform(z, y=3).tobytes()
    assert latent.mixture_sample(vae, X, 6, n_components=2, y=3).shape == (6, 64)


def test_y_of_another_model_is_refused() -> None:
    plain = VAE(3, hidden=(16,), epochs=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="leave out y="):
        latent.manifold(plain, 4, y=3)
    with pytest.raises(ValueError, match="y has 5 rows, but there are 10 examples"):
        latent.apply_attribute(model(), X[:10], np.ones(3), y=Y[:5])


def test_plots_take_y() -> None:
    vae = model()
    plots.reconstructions(vae, X[:5], y=Y[:5])
    plots.manifold(vae, 3, y=3)
    plots.interpolation(vae, X[0], X[1], 4, y=3)
    plots.traversal(vae, X[0], n=3, y=3)
    plots.attribute(vae, X[:3], np.ones(3), (0, 1), y=Y[:3])
    plots.latent_scatter(vae, X, Y)
    plots.latent_ellipses(vae, X, Y, n=50)
    plots.kl_per_dimension(vae, X, y=Y)
    mpl.pyplot.close("all")


# ------------------------------------------------------------------------------------------------ classes to come


@pytest.mark.parametrize("names", [False, True])
def test_classes_announce_labels_to_come(names: bool) -> None:
    labels = np.array([f"class {label}" for label in Y]) if names else Y
    every = np.unique(labels)[::-1]
    first, second = np.isin(Y, range(5)), ~np.isin(Y, range(5))
    vae = VAE(2, hidden=(8,), conditional=True, random_state=0)
    vae.partial_fit(X[first], labels[first], classes=every)
    assert vae.classes_.tolist() == sorted(every.tolist())
    vae.partial_fit(X[second], labels[second]).partial_fit(X, labels, classes=every)
    assert np.isfinite(vae.transform(X, y=labels)).all()
    with pytest.raises(ValueError, match="differ from the classes of the first call"):
        vae.partial_fit(X, labels, classes=every[1:])


def test_classes_that_cannot_be_are_refused() -> None:
    vae = VAE(2, hidden=(8,), conditional=True, random_state=0)
    with pytest.raises(ValueError, match="none of the classes"):
        vae.partial_fit(X, Y, classes=range(5))
    with pytest.raises(ValueError, match="leave out classes=: y has shape"):
        vae.partial_fit(X, COVARIATES, classes=range(5))
    with pytest.raises(ValueError, match=r"classes has shape \(\)"):
        vae.partial_fit(X, Y, classes=3)
    with pytest.raises(ValueError, match="leave out classes=: this VAE is not conditional"):
        VAE(2, hidden=(8,)).partial_fit(X, Y, classes=range(10))
    with pytest.raises(ValueError, match="leave out classes=: this model was not fitted with labels"):
        model(labels=False).partial_fit(X, COVARIATES, classes=range(10))
