"""Attribute vectors.

The mean code of images with an attribute minus the mean code of images without it is a direction in the latent space. A
step in this direction adds the attribute to an image, as the smile in the lecture. The attributes here are the shaft of
a boot, sleeves, and stroke thickness.
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
    axes, ((SNEAKER, BOOT), (TSHIRT, PULLOVER)), ("from sneaker to ankle boot", "from T-shirt to pullover"), strict=True
):
    v = latent.attribute_vector(vae, X[y == with_it], X[y == without])
    plots.attribute(vae, X_test[y_test == without][:5], v, strengths, ax=ax)
    ax.set_title(name)
page.show(
    axes[0],
    "garment_attributes",
    "Held-out sneakers gain a shaft and T-shirts gain sleeves. Strength 0 is the reconstruction, strength 1 adds the "
    "whole attribute vector to the code, and strength -1 subtracts it. One sneaker, whose reconstruction is already "
    "poor, becomes a bag.",
)

# %% [markdown]
# With a small noise scale the codes represent the amount of ink; under a Bernoulli likelihood they represent little
# more than the class.

# %%
digits, labels = fastvae.datasets.load_digits()
ink = digits.sum(axis=1)
low, high = (np.array([np.quantile(ink[labels == label], q) for label in range(10)]) for q in (0.25, 0.75))
precise = fastvae.likelihoods.Gaussian(0.1)
vae = fastvae.VAE(latent_dim=16, hidden=(128,), likelihood=precise, epochs=150, random_state=0).fit(digits)
bold = latent.attribute_vector(vae, digits[ink > high[labels]], digits[ink < low[labels]])
thin = np.concatenate([np.flatnonzero((labels == label) & (ink < low[label]))[:1] for label in (0, 2, 3, 6, 8)])
ax = plots.attribute(vae, digits[thin], bold, strengths)
ax.set_title("from thin to bold")
page.show(
    ax,
    "bold_digits",
    "Thin digits become bold and keep their class. The attribute vector is the difference between the digits in the "
    "upper and in the lower quartile of ink of each class.",
)
