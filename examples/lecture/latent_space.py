"""Generation: the latent space of a VAE.

A decoded draw from the prior is a new image. The decoder over a grid shows a two-dimensional latent space as a whole;
paths between codes morph one garment into another, and traversals show the effect of each coordinate.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import Page, garments

import fastvae
from fastvae import latent, plots

page = Page(__doc__)
X, y, X_test, y_test = garments()
plane = fastvae.VAE(latent_dim=2, hidden=(400, 200), epochs=100, random_state=0).fit(X)
vae = fastvae.VAE(latent_dim=10, hidden=(400, 200), epochs=100, random_state=0).fit(X)

# %%
ax = plots.manifold(plane, n=20)
page.show(
    ax,
    "manifold",
    "The decoder over a grid of quantiles of the prior in both coordinates (Kingma & Welling, Figure 4). Shirts, "
    "trousers, bags, boots and shoes occupy regions with gradual transitions.",
)

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
plots.images(vae.sample(100, random_state=0), columns=10, ax=axes[0])
axes[0].set_title("Draws from the prior, decoded")
plots.images(latent.mixture_sample(vae, X, 100, n_components=20, random_state=0), columns=10, ax=axes[1])
axes[1].set_title("Draws from a mixture fitted to the codes, decoded")
page.show(
    axes[0],
    "samples",
    "Left, z from the prior. Right, z from a mixture of 20 Gaussians fitted to the codes of the training images "
    "(ex-post density estimation). The mixture draws codes where training images have theirs, so the images are "
    "sharper.",
)

# %%
pairs = [(np.flatnonzero(y_test == a)[1], np.flatnonzero(y_test == b)[1]) for a, b in ((2, 3), (9, 7), (8, 0), (1, 4))]
figure, axes = plt.subplots(len(pairs), 1, figsize=(9, 4.6), layout="constrained")
for ax, (a, b) in zip(axes, pairs, strict=True):
    plots.interpolation(vae, X_test[a], X_test[b], n=11, method="slerp", ax=ax).set_title("")
page.show(
    axes[0],
    "interpolation",
    "Spherical interpolation (slerp) between the codes of two garments: the images in between are garments too.",
)

# %%
ax = plots.traversal(vae, X_test[np.flatnonzero(y_test == 2)[0]])
page.show(
    ax,
    "traversal",
    "One coordinate varies from -3 to 3, the others stay at the code of a pullover. z[3] leads from a coat to a bag, "
    "z[4] shortens the sleeves, z[6] darkens the image until it no longer shows a pullover. Four of the ten dimensions "
    "have collapsed and have no effect.",
)

# %%
query = np.concatenate([np.flatnonzero(y_test == label)[:1] for label in (0, 5, 8, 9)])
indices, _ = latent.neighbours(vae, X, X_test[query], n=9)
figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
lines = [np.concatenate([X_test[q][None], X[row]]) for q, row in zip(query, indices, strict=True)]
plots.images(np.concatenate(lines), columns=10, ax=ax)
ax.set_title("held-out image, and the training images with the nearest codes")
page.show(
    ax,
    "neighbours",
    "Images with nearby codes look similar: the nearest neighbours of four held-out garments. Two of the bag's "
    "neighbours are boots.",
)
