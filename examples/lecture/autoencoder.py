"""The autoencoder, and why it is no generator.

An autoencoder compresses x to a code f(x) and back to g(f(x)), and is trained to minimise the mean of L(x, g(f(x))):
here the squared error, summed over the pixels. Nothing else is asked of the codes, so nothing says where between them
there is sense. A variational autoencoder of the same size beside it is trained to fill the space.
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
# A linear autoencoder finds the span of the principal components: they are the best linear code.

# %%
digits, _ = fastvae.datasets.load_digits()
digits = digits - digits.mean(axis=0)
linear = fastvae.Autoencoder(4, hidden=(), learning_rate=1e-2, epochs=200, random_state=0).fit(digits)
components = np.linalg.svd(digits, full_matrices=False)[2][:4]
span = np.linalg.qr(linear.state_dict()["decoder.0.weight"])[0]
angle = np.degrees(np.arccos(np.linalg.svd(components @ span, compute_uv=False).min()))
page.say(
    f"Without hidden layers the autoencoder is linear, and the best linear code is known: the first principal "
    f"components. On the 8x8 digits the decoder of a linear autoencoder with 4 numbers spans what the first 4 "
    f"components span, up to {angle:.1f} degrees."
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
    "Two numbers a garment. The autoencoder puts its codes wherever they are easy to tell apart: the origin is at "
    "their edge, and there are holes between them. The VAE's are held together by the KL, around the origin.",
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
    "The same 40 draws from N(0, I), decoded. The autoencoder was never asked to have its codes there: it shows dark "
    "remains, and two or three kinds of shoe. The VAE was, and shows all kinds; between them it is blurred.",
)

# %%
pairs = [(np.flatnonzero(y_test == a)[0], np.flatnonzero(y_test == b)[0]) for a, b in ((1, 9), (0, 7), (8, 3))]
figure, axes = plt.subplots(3, 2, figsize=(12, 4.2), layout="constrained")
for row, (a, b) in zip(axes, pairs, strict=True):
    for ax, model in zip(row, (plain, variational), strict=True):
        plots.interpolation(model, X_test[a], X_test[b], n=10, ax=ax).set_title("")
axes[0, 0].set_title("autoencoder")
axes[0, 1].set_title("VAE")
page.show(
    axes[0, 0],
    "holes",
    "Straight lines between the codes of two garments. The autoencoder's lead through holes, where its decoder has "
    "seen nothing and shows next to nothing; on the way from a bag to a dress it even passes a boot. The VAE's lead "
    "through garments, and through a blur where two countries meet.",
)
