"""Training: schedules, early stopping, gradient clipping, saving.

Each is one parameter or one call.
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
    f"A tenth of the images is held out. Training stops once their loss has not improved for 10 epochs, here after "
    f"{vae.n_iter_} of 300 epochs, and restores the weights of epoch {best}. The training loss would continue to fall: "
    f"beyond that epoch the model overfits.",
)

# %%
rate = schedules.cosine(2e-3, 1e-5, epochs=best)
annealed = fastvae.VAE(epochs=best, learning_rate=rate, **size).fit(X)
page.say(
    f"With the learning rate {rate!r}, the ELBO of the test images is {annealed.evaluate(X_test)['elbo']:.1f} nats; "
    f"with the constant rate it is {vae.evaluate(X_test)['elbo']:.1f} nats."
)

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "garments.safetensors"
    vae.save(path)
    again, codes = fastvae.load(path), vae.transform(X_test)
    assert isinstance(again, fastvae.VAE)
    page.say(
        f"save() wrote {path.stat().st_size / 1e6:.1f} MB, including the optimiser's state. The codes of the loaded "
        f"model {'are bit for bit the same' if np.array_equal(again.transform(X_test), codes) else 'differ'}."
    )
