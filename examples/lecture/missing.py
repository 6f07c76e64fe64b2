"""Missing values: filling in what was not observed.

With missing="mask" a NaN is a value that nobody has seen. The likelihood counts what was observed, so the bound is one
on the probability of that; the encoder sees a zero in the place of a hole and, with missing_indicator, is told where
holes are. Nothing else changes, and the model learns from data of which no example is complete.

What is missing has a distribution given what is there, p(x_missing | x_observed): the encoder says which codes go with
the observed pixels, and the decoder what goes with those codes. impute fills holes with the decoder's mean, or with
draws.
"""

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from page import Array, Page, garments

import fastvae
from fastvae import plots

page = Page(__doc__)
rng = np.random.default_rng(0)
digits, labels = fastvae.datasets.load_digits()
order = rng.permutation(len(digits))
X, X_test, y_test = digits[order[:1400]], digits[order[1400:]], labels[order[1400:]]
HOLE = np.array([0.30, 0.45, 0.70])  # a colour that no digit has


def pca(data: Array, asked: Array, rank: int, rounds: int = 50) -> Array:
    """Fill `asked` from a PCA of data with holes: project, fill in, and so on (Troyanskaya et al., 2001)."""

    def projected(filled: Array) -> Array:
        return np.asarray(mean + (filled - mean) @ directions @ directions.T)

    holes = np.isnan(data)
    filled = np.where(holes, np.nanmean(data, 0), data)
    directions = rng.normal(size=(data.shape[1], rank)).astype(np.float32)
    for _ in range(rounds):
        mean = filled.mean(0)
        centred = filled - mean
        directions, _ = np.linalg.qr(centred.T @ (centred @ directions))  # nearer to the largest eigenvectors
        filled = np.where(holes, projected(filled), data)
    holes = np.isnan(asked)
    filled = np.where(holes, mean, asked)
    for _ in range(2 * rounds):
        filled = np.where(holes, projected(filled), asked)
    return filled


def with_holes(data: Array, share: float) -> Array:
    """Return data of which a share is missing."""
    return np.where(rng.random(data.shape) < share, np.nan, data).astype(np.float32)


def error(filled: Array, truth: Array, holes: Array) -> float:
    """Root mean squared error in the holes, in hundredths of the range from black to white."""
    return float(100 * np.sqrt(np.mean((filled - truth)[holes] ** 2, dtype=np.float64)))


def coloured(images: Array) -> Array:
    """Grey images with NaN in colour, [n, 8, 8, 3]."""
    grey = np.repeat(np.clip(images, 0, 1)[:, :, np.newaxis], 3, axis=2)
    return np.where(np.isnan(grey), HOLE, grey).reshape(-1, 8, 8, 3)


# %%
size: dict[str, Any] = {"hidden": (256,), "epochs": 150, "batch_size": 64, "learning_rate": 2e-3, "random_state": 0}
gaussian = fastvae.likelihoods.Gaussian("shared")
shown = np.concatenate([np.flatnonzero(y_test == label)[:1] for label in range(10)])
rows = []
figure, axes = plt.subplots(2, 1, figsize=(9, 9.5), layout="constrained")
for ax, share in zip(axes, (0.3, 0.7), strict=True):
    known, asked = with_holes(X, share), with_holes(X_test, share)
    holes = np.isnan(asked)
    model = fastvae.VAE(16, likelihood=gaussian, missing="mask", missing_indicator=True, **size).fit(known)
    means = np.where(holes, np.nanmean(known, 0), asked)
    tried = [pca(known, asked, rank) for rank in (2, 3, 5, 8, 12, 16)]
    by_pca = tried[int(np.argmin([error(filled, X_test, holes) for filled in tried]))]
    imputed = model.impute(asked)
    rows.append([f"{share:.0%}", *(error(filled, X_test, holes) for filled in (means, by_pca, imputed))])
    stack = np.concatenate([images[shown] for images in (X_test, asked, means, by_pca, imputed)])
    plots.images(coloured(stack), columns=10, ax=ax)
    ax.set_title(f"{share:.0%} missing: the digit, what is observed, filled in by means, by PCA, by the VAE")
page.show(
    axes[0],
    "missing",
    "Digits that were not trained on, with holes in blue. No model has ever seen a complete digit: the data that they "
    "were fitted to have as many holes.",
)

# %%
page.say(
    "Root mean squared error in the holes of 397 digits that were not trained on, in hundredths of the range from "
    "black to white. PCA is the iterative kind (project, fill in, again), of the rank that is best for these digits:"
)
page.table(["missing", "mean", "PCA", "VAE"], rows)

# %%
train, test = garments()[::2]
known, asked = with_holes(train, 0.3), with_holes(test, 0.3)
holes = np.isnan(asked)
model = fastvae.VAE(
    32, likelihood=gaussian, missing="mask", missing_indicator=True, **size | {"hidden": (400,), "epochs": 30}
).fit(known)
page.say(
    "It is no law. With the garments of this lecture, 5,000 to train on and 1,000 others to fill in, PCA of rank 40 "
    "comes nearer than a VAE with 400 hidden units, 32 latent dimensions and 30 epochs:"
)
by_pca, imputed = pca(known, asked, rank=40, rounds=10), model.impute(asked)
page.table(["missing", "PCA", "VAE"], [["30%", error(by_pca, test, holes), error(imputed, test, holes)]])

# %%
page.say(
    "A mean hides what is not known. Draws do not: each is one way to go on from what is there, and where they differ, "
    "the observed pixels do not decide. Below, the lower half of each digit is missing. This model has seen complete "
    "digits only, so every draw goes some rounds: what was drawn is encoded with the rest and drawn again."
)
lower = np.arange(64) >= 32
halves = np.where(lower, np.nan, X_test[shown])
complete = fastvae.VAE(16, likelihood=gaussian, missing="mask", **size).fit(X)
draws = complete.impute(halves, draws=4, n_iter=30, random_state=0)
smooth = [np.where(lower, complete.reconstruct(draw), draw) for draw in draws]
_, ax = plt.subplots(figsize=(9, 5.4), layout="constrained")
page.show(
    plots.images(coloured(np.concatenate([X_test[shown], halves, *smooth])), columns=10, ax=ax),
    "missing_halves",
    "The digit, its upper half, and four ways to complete it (the decoder's means at the ends of the chains: the draws "
    "themselves have the likelihood's noise on top).",
)
