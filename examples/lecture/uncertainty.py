"""Not only a prediction: distributions.

A plain autoencoder answers with a picture. A VAE answers with a distribution: q(z|x) says which codes fit x, p(x|z)
which pictures fit a code. So it can say how sure it is, which pictures are unlike all that it has seen, and how
probable a picture is.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import Page, garments

import fastvae
from fastvae import plots
from fastvae.likelihoods import Gaussian

page = Page(__doc__)
X, y, X_test, y_test = garments()

# %%
noisy = Gaussian(scale="decoder", floor=0.03)
vae = fastvae.VAE(16, hidden=(400, 200), likelihood=noisy, learning_rate=5e-4, epochs=60, random_state=0).fit(X)
shown = np.array([np.flatnonzero(y_test == label)[3] for label in range(10)])
said = vae.predictive(X_test[shown], 200, random_state=0)
figure, axes = plt.subplots(4, 1, figsize=(11, 4.9), layout="constrained")
lines = {"held out": X_test[shown], **said._asdict()}
for ax, (name, pictures) in zip(axes, lines.items(), strict=True):
    plots.images(pictures / pictures.max(), columns=10, ax=ax)
    ax.set_ylabel(name.replace("_", "\n"))
page.show(
    axes[0],
    "predictive",
    "The decoder gives a mean and a standard deviation for each pixel. Below the garments: the mean over 200 draws of "
    "z; how far that mean moves with z (latent_std), most for shoes, whose shade the code leaves open; and the noise "
    "that p(x|z) has beside it (observation_std): edges, cuffs and handles, where a pixel may be cloth or background. "
    "Prints and stripes are in none of them: the model does not know what it does not know. Each line has a scale of "
    "its own, from zero to its largest value.",
)

# %% [markdown]
# What is unlike the training data? Bags are left out of it.

# %%
BAG = 8
seen = fastvae.VAE(16, hidden=(400, 200), likelihood=Gaussian("shared"), epochs=60, random_state=0).fit(X[y != BAG])
score = seen.anomaly_score(X_test)
is_bag = y_test == BAG
above = np.mean(score[is_bag][:, None] > score[~is_bag])
order = np.argsort(-score)
ax = plots.images(np.concatenate([X_test[order[:12]], X_test[order[-12:]]]), columns=12)
page.show(
    ax,
    "anomalies",
    "A model that has seen no bags. The twelve held-out garments that it finds least probable, and below the twelve "
    f"most probable ones: trousers, mostly. {np.mean(is_bag[order[:100]]):.0%} of the hundred least probable are bags; "
    f"a bag scores above another garment in {above:.0%} of all pairs (the area under the ROC curve).",
)

# %% [markdown]
# The ELBO is a bound. How far below log p(x) is it?

# %%
binary, binary_test = ((images > 0.5).astype(np.float32) for images in (X, X_test[:200]))
counted = fastvae.VAE(16, hidden=(400, 200), epochs=60, random_state=0).fit(binary)
numbers = [1, 10, 100, 1000, 5000]
found = [counted.log_marginal(binary_test, n) for n in numbers]
page.say(
    "Importance sampling from q(z|x) estimates log p(x) from below, the better the more samples. On black and white "
    "garments, held out, in nats:"
)
page.table(
    ["samples", "log p(x), estimate", "effective sample size, median"],
    [
        ["the ELBO", counted.score(binary_test), ""],
        *[[f"{n:,}", float(f.estimate.mean()), float(np.median(f.ess))] for n, f in zip(numbers, found, strict=True)],
    ],
)
page.say(
    "It is some ten nats, and the last line still rises: a few of the 5,000 draws decide, as q is far from the "
    "posterior."
)
