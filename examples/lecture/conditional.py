"""The conditional VAE: generating a chosen class.

Samples of a VAE belong to arbitrary classes. A conditional VAE also receives a label y: the encoder reads [x, y], the
decoder reads [z, y], and training maximises a lower bound on log p(x|y). z no longer needs to encode the class and
represents what varies within classes: style.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import GARMENTS, Page, garments

import fastvae
from fastvae import plots

page = Page(__doc__)
X, y, X_test, y_test = garments()
names, names_test = GARMENTS[y], GARMENTS[y_test]  # labels may be strings

# %%
weak = fastvae.VAE(8, hidden=(400, 200), conditional=True, epochs=60, random_state=0).fit(X, names)
conditional = fastvae.VAE(8, hidden=(400, 200), conditional=True, beta=4.0, epochs=60, random_state=0).fit(X, names)
figure, axes = plt.subplots(1, 2, figsize=(13, 8.2), layout="constrained")
for ax, vae in zip(axes, (weak, conditional), strict=True):
    plots.conditions(vae, 8, ax=ax)
    ax.set_title(f"beta = {vae.beta:g}")
page.show(
    axes[0],
    "conditional",
    "Rows are classes; a column uses the same z from the prior in every row. Left, beta = 1: z also encodes the class, "
    "the decoder partly ignores y, and some columns show nearly the same garment in most rows. Right, "
    "beta = 4: the KL term makes it too expensive to repeat in z what y already gives. Every row shows its class, and "
    "z controls shade, width and height.",
)

# %%
unconditional = fastvae.VAE(8, hidden=(400, 200), beta=4.0, epochs=60, random_state=0).fit(X)
page.say("The class is worth ln 10 = 2.3 nats. z no longer encodes it, and the KL falls by about as much.")
found = {
    "conditional": conditional.evaluate(X_test, y=names_test),
    "unconditional": unconditional.evaluate(X_test),
}
page.table(
    ["1,000 test images, beta = 4", "reconstruction", "KL", "ELBO"],
    [[model, losses["reconstruction"], losses["kl"], losses["elbo"]] for model, losses in found.items()],
)

# %% [markdown]
# Encoding with the true class and decoding with another class makes an analogy.

# %%
shown = np.array([np.flatnonzero(y_test == label)[2] for label in (0, 2, 7, 8, 9)])
z = conditional.transform(X_test[shown], y=names_test[shown])
lines = [
    np.concatenate([image[None], conditional.inverse_transform(np.tile(code, (10, 1)), y=GARMENTS)])
    for image, code in zip(X_test[shown], z, strict=True)
]
ax = plots.images(np.concatenate(lines), columns=11)
ax.set_xticks(ax.get_xticks(), ["image", *GARMENTS], rotation=30, ha="right")
page.show(
    ax,
    "analogies",
    "First column, held-out garments. Each is encoded with its own class, and its z is decoded with each of the ten "
    "classes.",
)
