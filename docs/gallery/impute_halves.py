"""
Complete half an image
======================

With ``missing="mask"`` NaN marks a missing pixel. The model trains on incomplete images and draws completions.
"""

# %%
import numpy as np

import fastvae
from fastvae import plots
from fastvae.likelihoods import Gaussian

X, y = fastvae.datasets.load_digits()
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
train, test = X[order[:1500]].copy(), X[order[1500:]]
train[rng.random(train.shape) < 0.3] = np.nan  # no training image is complete
vae = fastvae.VAE(
    16,
    hidden=(256,),
    likelihood=Gaussian("shared"),
    missing="mask",
    missing_indicator=True,
    epochs=150,
    learning_rate=2e-3,
    random_state=0,
).fit(train)

# %%
# The upper halves of test digits, four completions of each, and the digits. Completions differ where the upper half
# does not determine the lower one.
lower = np.arange(64) >= 32
halves = np.where(lower, np.nan, test[:10])
draws = vae.impute(halves, draws=4, n_iter=20, random_state=0)
smooth = [np.where(lower, vae.reconstruct(draw), draw) for draw in draws]
plots.images(np.concatenate([np.where(lower, 0.4, halves), *smooth, test[:10]]), columns=10)

# %%
# Root mean squared error with 30 % of the pixels missing at random, in units of the range from black to white.
holes = rng.random(test.shape) < 0.3
filled = vae.impute(np.where(holes, np.nan, test))
means = np.broadcast_to(np.nanmean(train, 0), test.shape)
for name, values in (("pixel means", means), ("VAE", filled)):
    print(f"{name:12}{np.sqrt(np.mean((values - test)[holes] ** 2)):.3f}")
