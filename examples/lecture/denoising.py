"""Denoising autoencoders.

The encoder receives a corrupted image; the target is the clean image. To remove the noise, the network has to learn
what garments look like. Every training step draws new noise from the counter-based generator: the same seed gives the
same noise on any number of threads.
"""

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from page import Array, Page, garments

import fastvae
from fastvae import plots

page = Page(__doc__)
X, y, X_test, y_test = garments()


def psnr(images: Array) -> float:
    """Peak signal-to-noise ratio in decibels, from the mean squared error over all pixels; the peak is 1."""
    return float(-10 * np.log10(np.mean((images - X_test) ** 2, dtype=np.float64)))


# %%
noises = {
    "Gaussian noise, sigma 0.5": fastvae.corruption.GaussianNoise(0.5),
    "masking noise, half of the pixels": fastvae.corruption.MaskingNoise(0.5),
    "salt and pepper, 30 %": fastvae.corruption.SaltAndPepper(0.3),
}
size: dict[str, Any] = {"latent_dim": 32, "hidden": (512,), "epochs": 30, "random_state": 0}
plain = fastvae.Autoencoder(**size).fit(X)
rows = []
figure, axes = plt.subplots(len(noises), 1, figsize=(9, 9.5), layout="constrained")
shown = np.concatenate([np.flatnonzero(y_test == label)[:1] for label in range(10)])
for ax, (name, noise) in zip(axes, noises.items(), strict=True):
    model = fastvae.Autoencoder(corruption=noise, **size).fit(X)
    corrupted = noise.corrupt(X_test, random_state=1)
    denoised = model.reconstruct(corrupted)
    rows.append([name, psnr(corrupted), psnr(plain.reconstruct(corrupted)), psnr(denoised)])
    stack = np.concatenate([X_test[shown], corrupted[shown], denoised[shown]])
    plots.images(np.clip(stack, 0, 1), columns=10, ax=ax)
    ax.set_title(f"{name}: clean, corrupted, denoised")
page.show(
    axes[0],
    "denoising",
    "Test images; below each, the corrupted input and the network's output. Outlines and shades are restored; fine "
    "prints and the straps of a sandal are not.",
)

# %%
page.say(
    "Peak signal-to-noise ratio on 1,000 test images, in decibels. The bottleneck of a plain autoencoder of the same "
    "size also removes noise, although it is not trained to:"
)
page.table(["noise", "corrupted", "plain autoencoder", "denoising autoencoder"], rows)
