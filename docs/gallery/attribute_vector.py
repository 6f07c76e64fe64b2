"""
Put glasses on a face
=====================

The mean code of faces with an attribute minus the mean code of faces without it is a direction of the latent space
(Larsen et al., arXiv:1512.09300). Drawn faces stand for photographs.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastvae
from fastvae import latent, plots


def face(skin, width, smile, glasses):
    """Return a grey image, [24, 24]."""
    rows, columns = np.mgrid[:24, :24] - 11.5
    image = skin * ((rows / 11) ** 2 + (columns / width) ** 2 < 1)
    for eye in (-4, 4):
        distance = np.hypot(rows + 3, columns - eye)
        image[distance < 1.3] = 0
        if glasses:
            image[np.abs(distance - 3) < 0.6] = 0.1
    image[(np.abs(columns) < 4.6) & (np.abs(rows - 6 + smile * (columns / 3) ** 2) < 0.8)] = 0
    return image


rng = np.random.default_rng(0)
n = 2000
smile, glasses = rng.uniform(-1, 1, n), rng.random(n) < 0.4
skin, width = rng.uniform(0.5, 1.0, n), rng.uniform(7, 10, n)
X = np.array([face(*values) for values in zip(skin, width, smile, glasses, strict=True)], np.float32)
plots.images(X[:30], columns=10)

# %%
# Each line is a face without glasses; the column is the strength of the attribute, 0 the reconstruction.
vae = fastvae.VAE(10, image_shape=(24, 24), hidden=(256,), epochs=40, random_state=0).fit(X)
with_glasses = latent.attribute_vector(vae, X[glasses], X[~glasses])
plots.attribute(vae, X[~glasses][:4], with_glasses)

# %%
# Attributes with values have a direction too: happy minus sad.
happier = latent.attribute_vector(vae, X[smile > 0.5], X[smile < -0.5])
plots.attribute(vae, X[np.abs(smile) < 0.1][:4], happier)

# %%
# The projection of the codes on the direction separates the two groups.
projection = vae.transform(X) @ with_glasses
_, ax = plt.subplots(figsize=(6, 3), layout="constrained")
bins = np.linspace(projection.min(), projection.max(), 60)
ax.hist(projection[glasses], bins, alpha=0.7, label="with glasses")
ax.hist(projection[~glasses], bins, alpha=0.7, label="without")
ax.set(xlabel="code projected on the direction", ylabel="faces")
ax.legend(frameon=False)
