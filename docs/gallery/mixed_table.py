"""
Fill, and draw, a table of mixed columns
========================================

A table of numbers, counts and categories with holes: :class:`fastvae.TabularVAE` fills the holes by draws and draws
synthetic rows.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import fastvae

rng = np.random.default_rng(0)
n = 1200
group = rng.choice(["cat", "dog", "horse"], n, p=[0.5, 0.35, 0.15])
place = pd.Series(group).map({"cat": 0, "dog": 1, "horse": 2}).to_numpy()
size = np.array([0.0, 1.2, 4.0])[place] + rng.normal(size=n) * np.array([0.2, 0.5, 0.3])[place]
animals = pd.DataFrame(
    {
        "species": group,
        "weight": 4 * np.exp(1.2 * size),
        "height": 25 + 33 * size + 4 * rng.normal(size=n),
        "visits": rng.poisson(np.array([2.5, 1.0, 4.0])[place]),
    }
)
holes = rng.random(animals.shape) < 0.25
table = animals.mask(holes)
model = fastvae.TabularVAE(columns={"weight": "positive"}, epochs=300, random_state=0).fit(table)
print(model.kinds_)

# %%
# Rows without a hole, completed rows (a draw in each hole) and synthetic rows. The axis of weights is logarithmic. The
# prior of z has no gaps: some synthetic rows lie between dogs and horses.
colours = {"cat": "tab:blue", "dog": "tab:orange", "horse": "tab:green"}
drawn = model.impute(table, draw=True, random_state=0)
shown = {
    "complete rows": table.dropna(),
    "rows with holes, completed": drawn[table.isna().any(axis=1)],
    "synthetic rows": model.sample(800, random_state=0),
}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharex=True, sharey=True, layout="constrained")
for ax, (title, rows) in zip(axes, shown.items(), strict=True):
    for species, colour in colours.items():
        chosen = rows[rows["species"] == species]
        ax.scatter(chosen["weight"], chosen["height"], s=5, c=colour, label=species)
    ax.set(title=title, xlabel="weight, kg", xscale="log")
axes[0].set_ylabel("height, cm")
axes[0].legend(markerscale=2)

# %%
# Visits to the vet of each species, in the table and in rows drawn with ``given=``.
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
for ax, species in zip(axes, colours, strict=True):
    given = model.sample(2000, given={"species": species}, random_state=0)
    bins = np.arange(-0.5, 12)
    for rows, name in ((animals[animals["species"] == species], "table"), (given, "drawn")):
        ax.hist(rows["visits"], bins, density=True, histtype="step", label=name)
    ax.set(title=species, xlabel="visits")
axes[0].legend()
