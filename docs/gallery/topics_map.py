"""
A map of documents
==================

``TopicModel`` finds the themes of documents; documents with similar shares of topics lie together.
"""

# %%
import numpy as np

import fastvae
from fastvae import plots

themes = {
    "sport": "match goal team player coach league season score win cup",
    "kitchen": "salt oven recipe flour butter sugar bake pan sauce dish",
    "money": "bank market share price profit loan tax budget growth debt",
    "sky": "star planet orbit moon comet telescope galaxy sun light dust",
}
words = np.array([word for theme in themes.values() for word in theme.split()])
rng = np.random.default_rng(0)
mixtures = rng.dirichlet(np.full(4, 0.2), size=800)
shares = np.repeat(mixtures / 10, 10, axis=1)  # of the 40 words
X = rng.multinomial(40, shares / shares.sum(1, keepdims=True))
model = fastvae.TopicModel(4, random_state=0).fit(X)
plots.topics(model, words, n=6)

# %%
# Each point is a document, coloured by its largest topic.
plots.document_map(model.transform(X))

# %%
print(model.diagnose(X))
