"""A simulated corpus of themes with words of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_THEMES, N_EACH = 5, 12  # themes of a simulated corpus, and words of each; the last 12 words are in all themes
WORDS = [f"{theme}{i}" for theme in "abcde" for i in range(N_EACH)] + [f"common{i}" for i in range(12)]


def corpus(n: int = 600, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Documents of 30 words, most from one theme, and their themes."""
    rng = np.random.default_rng(seed)
    phi = np.full((N_THEMES, len(WORDS)), 0.02)
    for k in range(N_THEMES):
        phi[k, k * N_EACH : (k + 1) * N_EACH] = rng.gamma(1.0, size=N_EACH) + 0.3
    phi[:, -12:] = 0.5
    phi /= phi.sum(1, keepdims=True)
    theta = rng.dirichlet(np.full(N_THEMES, 0.1), n)
    return np.array([rng.multinomial(30, t @ phi) for t in theta]), theta.argmax(1)


X, THEMES = corpus()
