"""
The latent space as a grid of images
====================================

A model with two latent dimensions can be drawn as a whole: the decoder at the quantiles of the prior.
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
