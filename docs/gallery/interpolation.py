"""
From one image to another
=========================

Codes on a line between the codes of two images decode to a path of images. A path in pixels is a mere fade.
"""

# %%
import numpy as np

import fastvae
from fastvae import plots

X, y = fastvae.datasets.load_digits()
vae = fastvae.VAE(latent_dim=8, hidden=(256,), epochs=100, random_state=0).fit(X)
three, eight = X[y == 3][0], X[y == 8][0]
plots.interpolation(vae, three, eight, n=10)

# %%
# The same in pixels: both digits are visible in the middle.
shares = np.linspace(0, 1, 10)[:, np.newaxis]
plots.images((1 - shares) * three + shares * eight, columns=10)

# %%
# One latent dimension at a time, from -3 to 3, around the code of an image.
plots.traversal(vae, three)
