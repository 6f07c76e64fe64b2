"""Training well: schedules, early stopping, clipping, and keeping the model.

What people wish to control when they train, each by one parameter.
"""

# %%
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from page import Page, garments

import fastvae
from fastvae import plots, schedules

page = Page(__doc__)
X, y, X_test, y_test = garments()

# %%
size: dict[str, Any] = {"latent_dim": 20, "hidden": (400,), "clip_norm": 500.0, "random_state": 0}
vae = fastvae.VAE(epochs=300, early_stopping=True, n_iter_no_change=10, learning_rate=2e-3, **size).fit(X)
ax = plots.learning_curve(vae)
best = int(np.argmin(vae.history_["val_loss"])) + 1
page.show(
    ax,
    "early_stopping",
    f"A tenth of the images is held out, and training stops when their loss has not become lower for 10 epochs: here "
    f"after {vae.n_iter_} of 300. The weights are those of epoch {best}. The training loss would go on falling: from "
    f"there on it is learning by heart.",
)

# %%
rate = schedules.cosine(2e-3, 1e-5, epochs=best)
annealed = fastvae.VAE(epochs=best, learning_rate=rate, **size).fit(X)
page.say(
    f"A learning rate that falls along a cosine, {rate!r}, over as many epochs: ELBO of the test images "
    f"{annealed.evaluate(X_test)['elbo']:.1f} nats, and {vae.evaluate(X_test)['elbo']:.1f} with the constant one."
)

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "garments.safetensors"
    vae.save(path)
    again = fastvae.load(path)
    page.say(
        f"Kept: save() wrote {path.stat().st_size / 1e6:.1f} MB, with the optimiser's state; load() gives a model that "
        f"{'predicts the same bits' if np.array_equal(again.transform(X_test), vae.transform(X_test)) else 'differs'}."
    )
