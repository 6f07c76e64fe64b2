"""Control of the KL: beta, schedules, free bits, capacity.

With beta the KL weighs more or less. A warm-up lets the codes mean something before the KL presses on them, a cycle
does so again and again; free bits leave each dimension some nats for nothing; a capacity is a target for the whole.
"""

# %%
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
    "The KL in the course of training. A warm-up starts far above its end; with cycles the KL jumps, and the "
    "reconstruction is good, each time that beta starts again at 0; the capacity holds the KL at 10 nats.",
)

# %%
figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
for ax, name in zip(axes, ("beta=1", "beta=4", "beta=4, free_bits=0.5"), strict=True):
    plots.kl_per_dimension(models[name], X_test, ax=ax)
    ax.set_title(name)
page.show(
    axes[0],
    "kl_per_dimension",
    "Where the KL goes. With beta=4 half of the 20 dimensions have collapsed onto the prior and carry nothing; half a "
    "nat for free in each keeps all of them in use.",
)

# %%
page.say("What diagnose() says of beta=1, of beta=4, and of a model that is asked too much (beta=100):")
collapsed = fastvae.VAE(**size | {"beta": 100.0, "epochs": 10}).fit(X)
for name, model in (("beta=1", models["beta=1"]), ("beta=4", models["beta=4"]), ("beta=100", collapsed)):
    found = model.diagnose(X_test)
    page.say(f"{name}: {found.active.sum()} active units of {len(found.active)}. {' '.join(found.messages)}")
