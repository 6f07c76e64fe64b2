"""
The latent space as a grid
==========================

A model with two latent dimensions can be drawn as a whole: the decoder at evenly spaced quantiles of the prior.
"""

# %%
import fastvae
from fastvae import plots

X, y = fastvae.datasets.load_digits()
vae = fastvae.VAE(latent_dim=2, hidden=(128,), epochs=100, random_state=0).fit(X)
plots.manifold(vae, n=15)

# %%
# The codes of the images, coloured by digit. The labels took no part in training.
plots.latent_scatter(vae, X, y)

# %%
# Posteriors are narrow where the decoder uses the code, and as wide as the prior where it does not.
plots.latent_ellipses(vae, X[:300], y[:300])
