"""Convolution: the same weights at every place.

A dense layer has a weight for each pair of pixels: it has to learn at every place of the image anew what an edge is.
A convolution looks through a small window and uses the same weights wherever the window stands. It has far fewer
weights, and a garment moved by two pixels gives the same features, moved. The encoder halves the image twice,
28 -> 14 -> 7; the decoder's transposed convolutions lead back.
"""

# %%
import time
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from page import Array, Page, garments

import fastvae
from fastvae import plots
from fastvae.layers import Conv2d
from fastvae.likelihoods import Gaussian

page = Page(__doc__)
X, y, X_test, y_test = garments()
LAYERS = (Conv2d(32, 4, stride=2, padding=1), Conv2d(64, 4, stride=2, padding=1))


def weights(vae: fastvae.VAE) -> int:
    """Count the parameters of a model."""
    return sum(array.size for array in vae.state_dict().values())


class Deadline:
    """A callback that ends training after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> bool:
        """Return whether the time is over."""
        return time.perf_counter() > self.end


def trained(vae: fastvae.VAE) -> tuple[fastvae.VAE, float]:
    """Train a model; return it with the seconds that it took."""
    start = time.perf_counter()
    vae.fit(X)
    return vae, time.perf_counter() - start


# %%
convolutional, seconds = trained(fastvae.VAE(16, image_shape=(28, 28, 1), hidden=LAYERS, epochs=30, random_state=0))
models = {
    "convolutional": (convolutional, seconds),
    "dense, as many parameters": trained(fastvae.VAE(16, hidden=(130,), epochs=30, random_state=0)),
    "dense 784-400, as much time": trained(
        fastvae.VAE(16, hidden=(400,), epochs=10_000, callbacks=[Deadline(seconds)], random_state=0)
    ),
}
page.say(
    "Three models of 5,000 garments; ELBO in nats, of 1,000 test images too. With equally many parameters the "
    "convolutional model is the better one. Garments in the middle of the frame do not need its main strength, "
    "though: a dense model with three times the parameters, trained for the same time, is better still."
)
page.table(
    ["model", "parameters", "seconds", "ELBO, training images", "ELBO, test images"],
    [[name, f"{weights(vae):,}", took, vae.score(X), vae.score(X_test)] for name, (vae, took) in models.items()],
)

# %%
shown = np.concatenate([np.flatnonzero(y_test == label)[:1] for label in range(10)])
figure, axes = plt.subplots(len(models) + 1, 1, figsize=(10, 4.6), layout="constrained")
rows = {"held out": X_test[shown]} | {name: vae.reconstruct(X_test[shown]) for name, (vae, _) in models.items()}
for ax, (name, images) in zip(axes, rows.items(), strict=True):
    plots.images(images, columns=10, ax=ax, shape=(28, 28))
    ax.set_title(name, fontsize=10)
page.show(axes[0], "convolution_reconstructions", "Held-out garments and their reconstructions from 16 numbers.")

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for ax, name in zip(axes, ("convolutional", "dense, as many parameters"), strict=True):
    plots.images(models[name][0].sample(64, random_state=3), columns=8, ax=ax, shape=(28, 28))
    ax.set_title(name)
page.show(axes[0], "convolution_samples", "Samples from the prior.")

# %%
kernels = convolutional.state_dict()["encoder.0.weight"].reshape(32, 16)
kernels = kernels / np.abs(kernels).max(1, keepdims=True) / 2 + 0.5
page.show(
    plots.images(kernels, columns=16, shape=(4, 4)),
    "convolution_filters",
    "The 32 kernels of the first layer, 4 x 4 weights each, grey for zero. Many have a dark and a bright side: they "
    "respond to edges of one direction.",
)

# %% [markdown]
# Colour: three channels.


# %%
def coloured(images: Array, seed: int) -> Array:
    """Return garments in random colours, shifted on a canvas of 32 x 32 in another colour: [n, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((len(images), 32, 32), np.float32)
    for image, place, (top, left) in zip(images, canvas, rng.integers(0, 5, (len(images), 2)), strict=True):
        place[top : top + 28, left : left + 28] = image.reshape(28, 28)
    cloth, ground = rng.random((2, len(images), 1, 1, 3), dtype=np.float32)
    mask = np.minimum(4 * canvas, 1)[..., None]
    pictures: Array = (0.3 + 0.7 * canvas[..., None]) * (0.3 + 0.7 * cloth) * mask + 0.4 * ground * (1 - mask)
    return pictures


deep = (*LAYERS, Conv2d(128, 4, stride=2, padding=1))
Y, Y_test = coloured(X, 0), coloured(X_test, 1)
colour = fastvae.VAE(32, image_shape=(32, 32, 3), hidden=deep, likelihood=Gaussian(0.1), epochs=40, random_state=0).fit(
    Y
)
figure, axes = plt.subplots(2, 1, figsize=(11, 5.2), layout="constrained")
plots.images(np.concatenate([Y_test[:16], colour.reconstruct(Y_test[:16])]), columns=16, ax=axes[0])
axes[0].set_title("held out, and reconstructed")
plots.images(colour.sample(32, random_state=0), columns=16, ax=axes[1])
axes[1].set_title("samples")
page.show(
    axes[0],
    "convolution_colour",
    "Garments in random colours at random places, 32 x 32 pixels of three channels. The 32 numbers of the code hold "
    "both colours, the place and the shape; prints and seams are lost. Samples have such colours and outlines, but "
    "many mix several garments.",
)
