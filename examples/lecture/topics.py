"""Topic models: a document is a mixture of topics, a topic a distribution over words.

The generative process of a document of n words: draw theta, the proportions of the topics; for each word draw a topic
from theta and the word from that topic. A topic model inverts this process, from word counts to topics and proportions.
As a VAE: z is Gaussian and theta = softmax(z), the decoder is the sum over topics of theta_k phi_k, and the encoder
infers theta from the counts.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from page import Array, Page

import fastvae
from fastvae import plots

page = Page(__doc__)
NEWS = Path(__file__).parents[3] / "shared" / "data" / "bbc_news.npz"

# %% [markdown]
# Topics as images: the words are the 64 cells of a square, a topic is one of its rows or columns.

# %%
SIDE, LENGTH = 8, 100
bars = np.zeros((2 * SIDE, SIDE, SIDE))
for k in range(SIDE):
    bars[k, k], bars[SIDE + k, :, k] = 1 / SIDE, 1 / SIDE
phi = bars.reshape(2 * SIDE, -1)
random = np.random.default_rng(0)
theta = random.dirichlet(np.full(len(phi), 0.1), 3000)
documents = np.stack([random.multinomial(LENGTH, p / p.sum()) for p in theta @ phi]).astype(np.float32)

model = fastvae.TopicModel(len(phi), hidden=(100,), batch_size=100, epochs=60, random_state=0).fit(documents)
found = model.components_
likeness = (found / np.linalg.norm(found, axis=1, keepdims=True)) @ (phi / np.linalg.norm(phi, axis=1, keepdims=True)).T
order = np.argsort(likeness.argmax(1))
figure, axes = plt.subplots(3, 1, figsize=(13, 3.6), layout="constrained")
lines: dict[str, Array] = {"true": phi, "documents": documents[:16], "found": found[order]}
for ax, (name, pictures) in zip(axes, lines.items(), strict=True):
    plots.images(0.8 * pictures / pictures.max(), columns=16, ax=ax, shape=(SIDE, SIDE))
    ax.set_ylabel(name)
page.show(
    axes[0],
    "bars",
    f"Sixteen true topics; sixteen of the 3,000 documents of {LENGTH} words drawn from them; and the topics that the "
    f"model found, each matched to the most similar true topic (cosine similarity at least "
    f"{likeness.max(1).min():.2f}).",
)

# %% [markdown]
# The same with news articles.

# %%
if NEWS.exists():
    with np.load(NEWS) as news:
        counts = np.zeros(news["shape"], np.float32)
        rows = np.repeat(np.arange(len(counts)), np.diff(news["indptr"]))
        counts[rows, news["indices"]] = news["data"]
        vocabulary, labels = news["vocabulary"], news["labels"]
    model = fastvae.TopicModel(10, decoder="product", random_state=0).fit(counts)
    page.show(
        plots.topics(model, vocabulary, 8)[0],
        "topics",
        f"Ten topics of {len(counts):,} BBC articles, each by its most probable words. The model does not use the five "
        "categories of the articles.",
    )
    page.show(
        plots.document_map(model.transform(counts), labels),
        "documents",
        "The articles in the plane of the first two principal components of the square roots of their topic "
        "proportions. Colours are the five categories.",
    )
    page.say(str(model.diagnose(counts)))
    page.table(
        ["topic", "most probable words"], [[k, ", ".join(w)] for k, w in enumerate(model.top_words(vocabulary, 8))]
    )
else:
    page.say(f"(The articles are missing: put {NEWS.name} into the folder shared/data beside this repository.)")
