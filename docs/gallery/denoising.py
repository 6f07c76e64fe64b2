"""
Remove noise
============

With ``corruption`` the encoder reads noisy images while the target stays clean (Vincent et al., ICML 2008).
"""

# %%
import numpy as np

import fastvae
from fastvae import plots

X, y = fastvae.datasets.load_digits()
order = np.random.default_rng(0).permutation(len(X))
train, test = X[order[:1500]], X[order[1500:]]
noise = fastvae.corruption.GaussianNoise(sigma=0.4)
noisy = noise.corrupt(test, random_state=0)

options = {"latent_dim": 16, "hidden": (256,), "epochs": 100, "random_state": 0}
denoiser = fastvae.Autoencoder(corruption=noise, **options).fit(train)
plain = fastvae.Autoencoder(**options).fit(train)

# %%
# Noisy digits, restored by the model that was trained with noise and by one that was not, and the clean digits.
restored, copied = denoiser.reconstruct(noisy), plain.reconstruct(noisy)
shown = slice(0, 10)
plots.images(np.concatenate([noisy[shown], restored[shown], copied[shown], test[shown]]), columns=10)

# %%
# Root mean squared errors, in units of the range from black to white.
for name, images in (("noisy", noisy), ("without corruption", copied), ("with corruption", restored)):
    print(f"{name:20}{np.sqrt(np.mean((images - test) ** 2)):.3f}")
