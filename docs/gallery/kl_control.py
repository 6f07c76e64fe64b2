"""
How strong is the prior
=======================

``beta`` weighs the KL divergence from the prior: with a small one codes spread, with a large one they shrink
to the prior until they tell nothing about the images, and ``fit`` warns.
"""

# %%
import matplotlib.pyplot as plt

import fastvae
from fastvae import plots

X, y = fastvae.datasets.load_digits()
_, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
models = {}
for ax, beta in zip(axes, (0.1, 1.0, 2.5), strict=True):
    models[beta] = fastvae.VAE(2, hidden=(128,), beta=beta, epochs=60, random_state=0).fit(X)
    plots.latent_scatter(models[beta], X, y, ax=ax)
    ax.set_title(f"beta {beta}: KL {models[beta].evaluate(X)['kl']:.1f} nats")
    if ax is not axes[-1]:
        ax.get_legend().remove()

# %%
# The KL of each dimension in a model with more dimensions than it needs.
wide = fastvae.VAE(16, hidden=(128,), beta=2.0, epochs=60, random_state=0).fit(X)
plots.kl_per_dimension(wide, X)

# %%
print(wide.diagnose(X))
