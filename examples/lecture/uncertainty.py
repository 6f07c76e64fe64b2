"""Uncertainty: predictive distributions, anomalies, log-likelihood.

A plain autoencoder predicts an image. A VAE predicts a distribution: q(z|x) over the codes of x, and p(x|z) over the
images of a code. It therefore quantifies the uncertainty of a reconstruction, detects images unlike the training data,
and estimates the log-likelihood of an image.
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
predicted = vae.predictive(X_test[shown], 200, random_state=0)
figure, axes = plt.subplots(4, 1, figsize=(11, 4.9), layout="constrained")
lines = {"held out": X_test[shown], **predicted._asdict()}
for ax, (name, pictures) in zip(axes, lines.items(), strict=True):
    plots.images(pictures / pictures.max(), columns=10, ax=ax)
    ax.set_ylabel(name.replace("_", "\n"))
page.show(
    axes[0],
    "predictive",
    "The decoder gives a mean and a standard deviation for each pixel. Below the garments: the mean over 200 draws of "
    "z; the standard deviation of the decoder's mean over z (latent_std), largest for shoes, whose shade the code does "
    "not determine; and the standard deviation of p(x|z) (observation_std), largest at edges, cuffs and handles, where "
    "a pixel may be cloth or background. Prints and stripes appear in neither: the model underestimates its own error "
    "there. Each row has its own scale, from zero to its largest value.",
)

# %% [markdown]
# Anomaly detection: a model trained without bags.

# %%
BAG = 8
bagless = fastvae.VAE(16, hidden=(400, 200), likelihood=Gaussian("shared"), epochs=60, random_state=0).fit(X[y != BAG])
score = bagless.anomaly_score(X_test)
is_bag = y_test == BAG
above = np.mean(score[is_bag][:, None] > score[~is_bag])
order = np.argsort(-score)
ax = plots.images(np.concatenate([X_test[order[:12]], X_test[order[-12:]]]), columns=12)
page.show(
    ax,
    "anomalies",
    "A model trained without bags. Above, the twelve held-out garments with the highest anomaly scores; below, the "
    f"twelve with the lowest, mostly trousers. Of the hundred highest scores, {np.mean(is_bag[order[:100]]):.0%} "
    f"belong to bags. The area under the ROC curve, bags against all other garments, is {above:.2f}.",
)

# %% [markdown]
# The gap between the ELBO and log p(x).

# %%
binary, binary_test = ((images > 0.5).astype(np.float32) for images in (X, X_test[:200]))
counted = fastvae.VAE(16, hidden=(400, 200), epochs=60, random_state=0).fit(binary)
numbers = [1, 10, 100, 1000, 5000]
found = [counted.log_marginal(binary_test, n) for n in numbers]
page.say(
    "Importance sampling from q(z|x) estimates log p(x): a lower bound on average, tighter with more samples. For 200 "
    "held-out garments, binarized at 0.5, in nats:"
)
page.table(
    ["samples", "estimate of log p(x)", "median effective sample size"],
    [
        ["ELBO", counted.score(binary_test), ""],
        *[[f"{n:,}", float(f.estimate.mean()), float(np.median(f.ess))] for n, f in zip(numbers, found, strict=True)],
    ],
)
page.say(
    "The gap is about ten nats, and the estimate still rises in the last row: q is far from the posterior, and a few "
    "of the 5,000 draws carry nearly all the weight."
)
