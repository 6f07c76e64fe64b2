"""
Generate what you ask for
=========================

A conditional model learns p(x|y). The code z then describes what the label does not: the style.
"""

# %%
import numpy as np

import fastvae
from fastvae import plots

X, y = fastvae.datasets.load_digits()
vae = fastvae.VAE(latent_dim=4, hidden=(256,), conditional=True, epochs=100, random_state=0).fit(X, y)

# %%
# A line for each label; a column has the same code throughout, hence the same style.
made = np.concatenate([vae.sample(12, y=digit, random_state=0) for digit in range(10)])
plots.images(made, columns=12)

# %%
# The style of an image with other labels: encode with its label, decode with others.
style = vae.transform(X[:3], y=y[:3])
others = np.stack([vae.inverse_transform(style, y=digit) for digit in range(10)], axis=1)
rows = np.concatenate([X[:3, np.newaxis], others], axis=1)  # [3, 11, 64]
plots.images(rows.reshape(-1, 64), columns=11)

# %%
# p(y|x) by Bayes' rule from the bound on log p(x|y) of each label: a classifier that was never trained as one.
bounds = np.array([vae.score_samples(X, y=np.full(len(X), digit)) for digit in range(10)])
print(f"accuracy on the training images {np.mean(bounds.argmax(0) == y):.3f}")
