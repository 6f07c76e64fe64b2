"""
Find the defect in an image
===========================

A model of normal images expects each pixel with a mean and a standard deviation. The distance from the mean, in
standard deviations, is a map of what is unusual.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

import fastvae
from fastvae.likelihoods import Gaussian

rng = np.random.default_rng(0)
rows, columns = np.mgrid[:20, :20]


def tile(angle, phase):
    """Return an image of woven stripes, [20, 20]."""
    direction = np.cos(angle) * columns + np.sin(angle) * rows
    return 0.5 + 0.35 * np.sin(0.9 * direction + phase) + 0.03 * rng.normal(size=(20, 20))


def make(n):
    """Return images of stripes with random direction and phase."""
    return np.array([tile(*rng.uniform(0, (0.6, 2 * np.pi))) for _ in range(n)], np.float32)


normal, defective = make(3000), make(200)
for image in defective:
    row, column = rng.integers(2, 15, size=2)
    image[row : row + 3, column : column + 3] = 0.5  # a worn patch
vae = fastvae.VAE(
    8,
    image_shape=(20, 20),
    hidden=(256,),
    likelihood=Gaussian("shared"),
    epochs=40,
    random_state=0,
).fit(normal)

# %%
# Above the defective images, below the distances of their pixels from what the model expects.
expected = vae.predictive(defective, random_state=0)
distance = np.abs(defective - expected.mean) / np.hypot(expected.latent_std, expected.observation_std)
_, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for i, (above, below) in enumerate(axes.T):
    above.imshow(defective[i], cmap="gray", vmin=0, vmax=1)
    drawn = below.imshow(distance[i], cmap="magma", vmin=0, vmax=6)
    above.set_axis_off()
    below.set_axis_off()
plt.colorbar(drawn, ax=axes, label="standard deviations", shrink=0.8)

# %%
# ``anomaly_score``, one number for each image, tells defective images from new normal ones.
new = make(200)
scores = vae.anomaly_score(np.concatenate([new, defective]))
print(f"ROC-AUC {roc_auc_score(np.repeat([0, 1], 200), scores):.3f}")
