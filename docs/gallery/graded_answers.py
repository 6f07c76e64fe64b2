"""
Answers of a questionnaire
==========================

Likert scales have ordered answers. The graded model gives each question a slope and a threshold between each two
answers: the curves are the chances of the answers as functions of what the questionnaire measures.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastvae

rng = np.random.default_rng(0)
trait = rng.normal(size=2000)
thresholds = np.array([[3.0, 1.0, -1.0, -3.0], [1.5, 0.5, -0.5, -1.0], [0.0, -0.5, -2.0, -3.5]])
slopes = np.array([2.5, 1.0, 1.6])
above = 1 / (1 + np.exp(-trait[:, np.newaxis, np.newaxis] * slopes[:, np.newaxis] - thresholds))
answers = (rng.random((2000, 3, 1)) < above).sum(2)
survey = fastvae.ItemResponse("graded", random_state=0).fit(answers)

grid = np.linspace(-3.5, 3.5, 200)
chances = survey.item_probabilities(grid)
colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, 5))
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
for question, ax in enumerate(axes):
    for answer, colour in enumerate(colours):
        ax.plot(grid, chances[:, question, answer], color=colour, lw=1.8, label=f"answer {answer}")
    ax.set_title(f"question {question}, slope {survey.discrimination_[question]:.1f}", fontsize=10)
    ax.set_xlabel("trait")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("chance")
axes[-1].legend(frameon=False, fontsize=8)

# %%
# The second group answers question 1 differently at equal traits. The likelihood-ratio test finds it, also if the
# groups have different traits.
group = np.where(np.arange(2000) % 2, "second", "first")
shifted = answers.copy()
shifted[group == "second", 1] = np.maximum(answers[group == "second", 1] - 1, 0)
found = survey.differential_functioning(shifted, group, anchors="purify")
figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.barh(range(3), found.difference[:, 1], color=np.where(found.adjusted_p_value < 0.05, "tab:red", "0.6"))
ax.set_yticks(range(3), [f"question {i}, p {p:.2g}" for i, p in enumerate(found.adjusted_p_value)])
ax.axvline(0, color="0.3", lw=0.8)
ax.set_xlabel("second group minus first, share of the scale")
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
