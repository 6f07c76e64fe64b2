"""
The number of topics
====================

``choose_n_topics`` compares numbers of topics by the perplexity of held-out documents and by coherence. Here the
documents have eight themes.
"""

# %%
import numpy as np

import fastvae
from fastvae import plots

rng = np.random.default_rng(0)
phi = rng.dirichlet(np.full(200, 0.05), size=8)
theta = rng.dirichlet(np.full(8, 0.2), size=800)
X = np.array([rng.multinomial(40, p / p.sum()) for p in theta @ phi])
model = fastvae.TopicModel(init="clusters", epochs=60, random_state=0)
choice = model.choose_n_topics(X, (2, 4, 8, 16, 32))
plots.n_topics(choice)

# %%
print(choice)
