"""Attribute vectors: adding a smile.

The mean code of images with an attribute minus that of images without is a direction in the latent space; a step along
it adds the attribute to any image (the lecture's smile). Here the attributes are a boot's shaft, sleeves, and the
weight of a pen.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import Page, garments

import fastvae
from fastvae import latent, plots

page = Page(__doc__)
X, y, X_test, y_test = garments()
strengths = np.linspace(-1, 2, 7)

# %%
SNEAKER, BOOT, TSHIRT, PULLOVER = 7, 9, 0, 2
vae = fastvae.VAE(latent_dim=16, hidden=(400, 200), epochs=100, random_state=0).fit(X)
figure, axes = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained")
for ax, (without, with_it), name in zip(
    axes, ((SNEAKER, BOOT), (TSHIRT, PULLOVER)), ("ankle boot against sneaker", "sleeves against none"), strict=True
):
    v = latent.attribute_vector(vae, X[y == with_it], X[y == without])
    plots.attribute(vae, X_test[y_test == without][:5], v, strengths, ax=ax)
    ax.set_title(name)
page.show(
    axes[0],
    "garment_attributes",
    "Held-out sneakers grow a shaft and T-shirts grow sleeves. At strength 0 the image is its own reconstruction, at 1 "
    "it has moved by the whole difference of the means, at -1 the other way. One sneaker, whose reconstruction is poor "
    "from the start, becomes a bag.",
)

# %% [markdown]
# A decoder with little noise keeps the ink in its codes; a Bernoulli decoder's say which digit, and little more.

# %%
digits, labels = fastvae.datasets.load_digits()
ink = digits.sum(axis=1)
low, high = (np.array([np.quantile(ink[labels == label], q) for label in range(10)]) for q in (0.25, 0.75))
precise = fastvae.likelihoods.Gaussian(0.1)
vae = fastvae.VAE(latent_dim=16, hidden=(128,), likelihood=precise, epochs=150, random_state=0).fit(digits)
bold = latent.attribute_vector(vae, digits[ink > high[labels]], digits[ink < low[labels]])
thin = np.concatenate([np.flatnonzero((labels == label) & (ink < low[label]))[:1] for label in (0, 2, 3, 6, 8)])
ax = plots.attribute(vae, digits[thin], bold, strengths)
ax.set_title("bold against thin")
page.show(
    ax,
    "bold_digits",
    "Thin digits become bold: one direction, the difference between the outer quarters of ink within each digit, makes "
    "all of them bolder and leaves which digit it is.",
)
