"""
Which column is odd
===================

An anomaly detector that is trained on benign tumours scores malignant ones. ``feature_scores`` tells which measurements
make a tumour unusual, in nats.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

import fastvae

data = load_breast_cancer()
malignant = data.target == 0
benign = np.random.default_rng(0).permutation(np.flatnonzero(~malignant))
detector = fastvae.AnomalyDetector(contamination=0.05, random_state=0).fit(data.data[benign[:250]])

# %%
# Scores of tumours that took no part in training. The line is ``offset_``.
_, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
shown = {"benign": data.data[benign[250:]], "malignant": data.data[malignant]}
bins = np.geomspace(8, 8000, 50)
for name, rows in shown.items():
    ax.hist(detector.anomaly_score(rows), bins, alpha=0.6, label=name)
ax.axvline(-detector.offset_, color="black", lw=1)
ax.set(xscale="log", xlabel="anomaly score, nats", ylabel="tumours")
ax.legend()

# %%
# The shares of the columns of twelve malignant tumours with scores around the median. The size of the nuclei stands out
# in most of them, other columns in some.
rows = data.data[malignant]
order = np.argsort(detector.anomaly_score(rows))[len(rows) // 2 :][:12]
share = detector.feature_scores(rows[order])
_, ax = plt.subplots(figsize=(9, 4.6), layout="constrained")
image = ax.imshow(share.clip(1, 1000), cmap="magma", norm="log", aspect="auto")
ax.set_xticks(range(len(data.feature_names)), data.feature_names, rotation=90)
ax.set_yticks([])
ax.set_ylabel("tumours")
plt.colorbar(image, label="nats less likely than usual")
