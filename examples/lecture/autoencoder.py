"""The autoencoder, and why it does not generate.

An autoencoder maps x to a code f(x) and back to g(f(x)). Training minimises the mean of L(x, g(f(x))), here the squared
error summed over the pixels. The loss does not constrain the distribution of the codes, so codes between those of the
training images may decode to nothing sensible. A variational autoencoder of the same size is trained for comparison:
its KL term keeps the codes near the prior.
"""

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from page import GARMENTS, Page, garments

import fastvae
from fastvae import plots

page = Page(__doc__)
X, y, X_test, y_test = garments()
size: dict[str, Any] = {"latent_dim": 2, "hidden": (256, 64), "epochs": 60, "random_state": 0}

# %% [markdown]
# A linear autoencoder finds the subspace of the principal components, the best linear code.

# %%
digits, _ = fastvae.datasets.load_digits()
digits = digits - digits.mean(axis=0)
linear = fastvae.Autoencoder(4, hidden=(), learning_rate=1e-2, epochs=200, random_state=0).fit(digits)
components = np.linalg.svd(digits, full_matrices=False)[2][:4]
span = np.linalg.qr(linear.state_dict()["decoder.0.weight"])[0]
angle = np.degrees(np.arccos(np.linalg.svd(components @ span, compute_uv=False).min()))
page.say(
    f"Without hidden layers the autoencoder is linear, and PCA gives the best linear code. On the 8x8 digits the "
    f"decoder of a linear autoencoder with a 4-dimensional code spans the subspace of the first 4 principal "
    f"components; the largest angle between the two subspaces is {angle:.1f} degrees."
)

# %%
plain = fastvae.Autoencoder(**size).fit(X)
variational = fastvae.VAE(**size).fit(X)

figure, axes = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
for ax, model, name in zip(axes, (plain, variational), ("autoencoder", "VAE"), strict=True):
    plots.latent_scatter(model, X_test, GARMENTS[y_test], ax=ax)
    ax.set_title(f"Codes of held-out garments, {name}")
page.show(
    axes[0],
    "codes",
    "Two-dimensional codes. The autoencoder spreads its codes wherever the decoder can tell them apart: the origin is "
    "at their edge, and there are holes between them. The KL term keeps the VAE's codes together around the origin.",
)

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
z = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
for ax, model, name in zip(axes, (plain, variational), ("autoencoder", "VAE"), strict=True):
    plots.images(model.inverse_transform(z), columns=10, ax=ax)
    ax.set_title(f"Decoded draws from N(0, I), {name}")
page.show(
    axes[0],
    "prior_samples",
    "The same 40 draws from N(0, I), decoded. The autoencoder has few codes there: many of its images are dark or "
    "distorted, and most are shoes or trousers. The VAE gives more classes, blurred where two of them meet.",
)

# %%
pairs = [(np.flatnonzero(y_test == a)[0], np.flatnonzero(y_test == b)[0]) for a, b in ((1, 9), (0, 7), (8, 3))]
figure, axes = plt.subplots(3, 2, figsize=(12, 3.2), layout="constrained")
for row, (a, b) in zip(axes, pairs, strict=True):
    for ax, model in zip(row, (plain, variational), strict=True):
        plots.interpolation(model, X_test[a], X_test[b], n=10, ax=ax).set_title("")
axes[0, 0].set_title("autoencoder")
axes[0, 1].set_title("VAE")
page.show(
    axes[0, 0],
    "holes",
    "Straight lines between the codes of two garments, decoded. The autoencoder's lines cross holes, where the decoder "
    "has no training data and its output is nearly empty; between a bag and a dress it passes a boot. The VAE's lines "
    "pass garments, and blurred images where two classes meet.",
)
