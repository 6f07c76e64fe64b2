"""The two terms of the ELBO, alone and together.

A VAE maximises E_q log p(x|z) - KL(q(z|x) || N(0, I)). The reconstruction term rewards codes that determine x; the KL
term penalises a posterior q(z|x) far from the prior. Neither term alone gives a useful latent space.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import GARMENTS, Page, garments

import fastvae
from fastvae import plots

page = Page(__doc__)
X, y, X_test, y_test = garments()

# %%
template = fastvae.VAE(latent_dim=2, hidden=(256,), epochs=60, random_state=0)
axes = plots.three_objectives(X, GARMENTS[y], model=template)
page.show(
    axes[0],
    "three_objectives",
    "Three VAEs with the same initial weights. Left, reconstruction only: the codes form islands far outside the "
    "prior, whose circles are drawn, and sigma vanishes. Middle, KL only: every q(z|x) equals the prior and carries no "
    "information about x. Right, both: the classes share the region of the prior, similar images have nearby codes, "
    "and each posterior has a width.",
)

# %% [markdown]
# A posterior without width overfits: it memorises the training images.

# %%
few = X[:1000]
betas = [1.0, 0.3, 0.1, 0.03, 0.01, 0.0]
losses, labels = [], []
for beta in betas:
    vae = fastvae.VAE(latent_dim=20, hidden=(256,), beta=beta, epochs=150, random_state=0).fit(few)
    losses.append([vae.evaluate(part)["reconstruction"] for part in (few, X_test)])
    sigma = np.exp(0.5 * vae.encode(X_test)[1]).mean()
    labels.append(f"{beta:g}\n{sigma:.2g}\n{losses[-1][1] - losses[-1][0]:.1f}")
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for part, label, dash in ((0, "training images", "--"), (1, "held-out images", "-")):
    ax.plot(range(len(betas)), [loss[part] for loss in losses], dash, marker="o", color="C0", label=label)
ax.set_xticks(range(len(betas)), labels)
ax.set_xlabel("beta; mean sigma of q(z|x); gap in nats")
ax.set_ylabel("reconstruction, nats per image")
ax.set_title("1,000 training images")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
page.show(
    ax,
    "degenerate_q",
    "As beta goes to 0, sigma vanishes and the gap between training and held-out images grows by a third: a degenerate "
    "q(z|x), a point for each image, overfits.",
)

# %%
vae = fastvae.VAE(latent_dim=10, hidden=(256,), epochs=60, random_state=0).fit(X)
loose = np.flatnonzero(np.isin(y_test, (0, 5, 8, 9)))[:6]
figure, ax = plt.subplots(figsize=(9, 5.6), layout="constrained")
rng = np.random.default_rng(0)
mu, logvar = vae.encode(X_test[loose])
lines = []
for example, m, v in zip(X_test[loose], mu, logvar, strict=True):
    z = fastvae.functional.reparameterize(m, v, rng.standard_normal((8, 10)))
    lines += [example[None], vae.inverse_transform(m[None]), vae.inverse_transform(z)]
plots.images(np.concatenate(lines), columns=10, ax=ax)
ax.set_title("image, decoded mean, eight decoded draws from q(z|x)")
page.show(
    ax,
    "draws",
    "Several draws from each q(z|x), decoded. They vary in details and keep the class: training with noisy codes made "
    "the decoder smooth over the width of q.",
)
