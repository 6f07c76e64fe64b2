"""Control of the KL: beta, schedules, free bits, capacity.

beta is the weight of the KL term. A warm-up raises it from 0, so that the codes become informative before the KL term
takes effect; a cyclical schedule repeats this. Free bits exempt some nats of each dimension from the penalty. A
capacity is a target for the total KL.
"""

# %%
import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from page import Page, garments

import fastvae
from fastvae import plots, schedules

page = Page(__doc__)
X, y, X_test, y_test = garments()
size: dict[str, Any] = {"latent_dim": 20, "hidden": (256,), "epochs": 60, "random_state": 0}

# %%
kinds: dict[str, dict[str, Any]] = {
    "beta=1": {},
    "beta=4": {"beta": 4.0},
    "beta=linear(0, 4, epochs=30)": {"beta": schedules.linear(0, 4, epochs=30)},
    "beta=cyclical(0, 4, epochs=20)": {"beta": schedules.cyclical(0, 4, epochs=20)},
    "beta=4, free_bits=0.5": {"beta": 4.0, "free_bits": 0.5},
    "beta=100, capacity=10": {"beta": 100.0, "capacity": 10.0},
}
models = {name: fastvae.VAE(**size, **options).fit(X, validation_data=X_test) for name, options in kinds.items()}
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
for name, model in models.items():
    axes[0].plot(model.history_["val_kl"], label=name)
    axes[1].plot(model.history_["val_reconstruction"], label=name)
for ax, title in zip(axes, ("KL", "Reconstruction"), strict=True):
    ax.set_title(f"{title} of held-out images")
    ax.set_xlabel("epoch")
    ax.set_ylabel("nats per image")
    ax.spines[["top", "right"]].set_visible(False)
axes[1].set_ylim(top=np.percentile(models["beta=4"].history_["val_reconstruction"], 90))
axes[0].legend(frameon=False)
page.show(
    axes[0],
    "kl_control",
    "KL and reconstruction during training. With a warm-up the KL starts far above its final value. With cycles the KL "
    "jumps and the reconstruction improves whenever beta returns to 0. The capacity holds the KL at 10 nats.",
)

# %%
figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
for ax, name in zip(axes, ("beta=1", "beta=4", "beta=4, free_bits=0.5"), strict=True):
    plots.kl_per_dimension(models[name], X_test, ax=ax)
    ax.set_title(name)
page.show(
    axes[0],
    "kl_per_dimension",
    "The KL of each dimension. With beta=4, half of the 20 dimensions have collapsed to the prior and carry no "
    "information. Half a free nat in each dimension keeps all of them active.",
)

# %%
page.say("The messages of diagnose() for beta=1, for beta=4, and for beta=100, which is too large:")
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", ".*posterior has collapsed")  # which is meant
    collapsed = fastvae.VAE(**size | {"beta": 100.0, "epochs": 10}).fit(X)
for name, model in (("beta=1", models["beta=1"]), ("beta=4", models["beta=4"]), ("beta=100", collapsed)):
    found = model.diagnose(X_test)
    page.say(f"{name}: {found.active.sum()} active units of {len(found.active)}. {' '.join(found.messages)}")
