"""Asking for a class: the conditional VAE.

A VAE generates whatever the prior holds. A conditional one is told a label y: the encoder reads [x, y], the decoder
[z, y], and what is maximised is a bound on log p(x|y). z then need not say which class it is, and is left with what the
classes have in common: style.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import GARMENTS, Page, garments

import fastvae
from fastvae import plots

page = Page(__doc__)
X, y, X_test, y_test = garments()
names, names_test = GARMENTS[y], GARMENTS[y_test]  # labels may be strings

# %%
free = fastvae.VAE(8, hidden=(400, 200), conditional=True, epochs=60, random_state=0).fit(X, names)
told = fastvae.VAE(8, hidden=(400, 200), conditional=True, beta=4.0, epochs=60, random_state=0).fit(X, names)
figure, axes = plt.subplots(1, 2, figsize=(13, 8.2), layout="constrained")
for ax, vae in zip(axes, (free, told), strict=True):
    plots.conditions(vae, 8, ax=ax)
    ax.set_title(f"beta = {vae.beta:g}")
page.show(
    axes[0],
    "conditional",
    "A line a class, a column one z from the prior, the same in all lines of a picture. Left, beta = 1: z may say the "
    "class as well, and then y is told in vain: some columns hold one garment. Right, beta = 4: what y tells for "
    "nothing has become too dear to say twice. The class is the one that was asked for, and z is how dark, how wide, "
    "how high, in every class in its own way.",
)

# %%
untold = fastvae.VAE(8, hidden=(400, 200), beta=4.0, epochs=60, random_state=0).fit(X)
page.say("Ten classes are ln 10 = 2.3 nats, which z no longer has to carry: the KL falls by about as much.")
found = {"told y": told.evaluate(X_test, y=names_test), "not told": untold.evaluate(X_test)}
page.table(
    ["1,000 other images, beta = 4", "reconstruction", "KL", "ELBO"],
    [[who, losses["reconstruction"], losses["kl"], losses["elbo"]] for who, losses in found.items()],
)

# %% [markdown]
# Encode with the true class, decode with another one: an analogy.

# %%
shown = np.array([np.flatnonzero(y_test == label)[2] for label in (0, 2, 7, 8, 9)])
z = told.transform(X_test[shown], y=names_test[shown])
lines = [
    np.concatenate([image[None], told.inverse_transform(np.tile(code, (10, 1)), y=GARMENTS)])
    for image, code in zip(X_test[shown], z, strict=True)
]
ax = plots.images(np.concatenate(lines), columns=11)
ax.set_xticks(ax.get_xticks(), ["image", *GARMENTS], rotation=30, ha="right")
page.show(
    ax,
    "analogies",
    "Left, held-out garments. Each is encoded with its own class and decoded as every class in turn: the same z, "
    "dressed differently.",
)
