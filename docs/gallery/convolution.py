"""
Convolutions for things that move
=================================

A digit anywhere in a larger image: a convolution sees the same strokes in every place, a dense layer learns each place
anew.
"""

# %%
import time

import numpy as np

import fastvae
from fastvae import plots
from fastvae.layers import Conv2d

digits, y = fastvae.datasets.load_digits()
rng = np.random.default_rng(0)
X = np.zeros((len(digits), 16, 16), np.float32)
for image, digit in zip(X, digits.reshape(-1, 8, 8), strict=True):
    row, column = rng.integers(9, size=2)
    image[row : row + 8, column : column + 8] = digit
order = rng.permutation(len(X))
train, test = X[order[:1500]], X[order[1500:]]

layers = {
    "dense": (256,),
    "convolutional": (Conv2d(16, 4, stride=2, padding=1), Conv2d(32, 4, stride=2, padding=1), 128),
}
models = {}
for name, hidden in layers.items():
    start = time.perf_counter()
    models[name] = fastvae.VAE(
        12, image_shape=(16, 16), hidden=hidden, epochs=40, learning_rate=2e-3, random_state=0
    ).fit(train, validation_data=test)
    seconds = time.perf_counter() - start
    print(f"{name:14}{models[name].score(test):8.1f} nats on test images, {seconds:.1f} s")

# %%
# Test images and their reconstructions, dense above, convolutional below.
for model in models.values():
    plots.reconstructions(model, test[:12], columns=12)

# %%
plots.learning_curve(models["convolutional"])
