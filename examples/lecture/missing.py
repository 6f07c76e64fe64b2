"""Missing values and imputation.

With missing="mask", NaN marks a missing value. The likelihood sums over the observed values only, so the ELBO bounds
their log-probability from below. The encoder receives 0 in place of a missing value and, with
missing_indicator=True, a mask of the missing values as further inputs. The model can be trained on data without any
complete example.

Imputation uses p(x_missing | x_observed): the encoder gives the posterior of the code given the observed pixels, and
the decoder gives the distribution of the missing pixels given the code. impute fills in the decoder's mean, or draws.
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
HOLE = np.array([0.30, 0.45, 0.70])  # blue: digits are grey


def pca(data: Array, asked: Array, rank: int, rounds: int = 50) -> Array:
    """Fill in the NaN of `asked` by iterative PCA of `data` (Troyanskaya et al., 2001): project, fill in, repeat."""

    def projected(filled: Array) -> Array:
        return np.asarray(mean + (filled - mean) @ directions @ directions.T)

    holes = np.isnan(data)
    filled = np.where(holes, np.nanmean(data, 0), data)
    directions = rng.normal(size=(data.shape[1], rank)).astype(np.float32)
    for _ in range(rounds):
        mean = filled.mean(0)
        centred = filled - mean
        directions, _ = np.linalg.qr(centred.T @ (centred @ directions))  # one step of subspace iteration
        filled = np.where(holes, projected(filled), data)
    holes = np.isnan(asked)
    filled = np.where(holes, mean, asked)
    for _ in range(2 * rounds):
        filled = np.where(holes, projected(filled), asked)
    return filled


def with_holes(data: Array, share: float) -> Array:
    """Return a copy of the data with a share of the values replaced by NaN."""
    return np.where(rng.random(data.shape) < share, np.nan, data).astype(np.float32)


def error(filled: Array, truth: Array, holes: Array) -> float:
    """Root mean squared error of the missing values, in percent of the range from black to white."""
    return float(100 * np.sqrt(np.mean((filled - truth)[holes] ** 2, dtype=np.float64)))


def coloured(images: Array) -> Array:
    """Return grey images as [n, 8, 8, 3], with NaN in the colour HOLE."""
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
    ax.set_title(f"{share:.0%} missing: digit, observed values, imputed by the mean, by PCA, by the VAE")
page.show(
    axes[0],
    "missing",
    "Test digits, missing values in blue. The training data miss the same share of values: no model was trained on a "
    "complete digit.",
)

# %%
page.say(
    "Root mean squared error of the missing values of 397 test digits, in percent of the range from black to white. "
    "PCA is iterative (project, fill in, repeat), with the rank that gives the smallest error on these digits:"
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
    "The VAE is not always better. On the garments of this lecture (5,000 training images, 1,000 test images), PCA of "
    "rank 40 has a smaller error than a VAE with 400 hidden units, 32 latent dimensions and 30 epochs:"
)
by_pca, imputed = pca(known, asked, rank=40, rounds=10), model.impute(asked)
page.table(["missing", "PCA", "VAE"], [["30%", error(by_pca, test, holes), error(imputed, test, holes)]])

# %%
page.say(
    "Imputation by the mean hides the uncertainty; draws show it. Each draw is one plausible completion, and draws "
    "differ where the observed pixels do not determine the missing ones. Below, the lower half of each digit is "
    "missing. This model was trained on complete digits only, so every draw is a Markov chain of 30 iterations: the "
    "completed digit is encoded again and its missing half drawn again."
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
    "The digit, its upper half, and four completions: decoder means at the end of each chain, without the observation "
    "noise of the draws themselves.",
)
