"""Exams: students' strength and tasks' difficulty.

Student s solves task t with probability P = 1 / (1 + exp(-alpha_s beta_t)): alpha_s is the student's strength,
1 / beta_t the task's difficulty. The strength is a code of one dimension with prior N(0, 1), and the model a
variational autoencoder whose decoder is that formula. Nothing but the answers is known: which tasks are hard, and who
is strong, has to come out of them.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from page import Page

import fastvae
from fastvae import plots

page = Page(__doc__)

# %%
# Section 7 of the Law School Admission Test (Bock & Lieberman, Psychometrika 35, 1970): how many of 1,000 students gave
# each of the 32 patterns of answers to five tasks, 00000, 00001, ..., 11111.
# fmt: off
COUNTS = [
    12, 19, 1, 7, 3, 19, 3, 17, 10, 5, 3, 7, 7, 23, 8, 28,
    7, 39, 11, 34, 14, 51, 15, 90, 6, 25, 7, 35, 18, 136, 32, 308,
]
# fmt: on
patterns = np.arange(32)[:, np.newaxis] >> np.arange(4, -1, -1) & 1
answers = np.repeat(patterns, COUNTS, axis=0).astype(np.float32)
exams = {
    model: fastvae.ItemResponse(model, random_state=0).fit(answers) for model in ("through_origin", "rasch", "2pl")
}

figure, axes = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
for ax, (model, title) in zip(
    axes, {"through_origin": "P = 1 / (1 + exp(-alpha beta))", "2pl": "With an intercept"}.items(), strict=True
):
    plots.item_characteristic(exams[model], answers, ax=ax)
    ax.set_title(title)
page.show(
    axes[0],
    "exams_curves",
    "Five tasks of the Law School Admission Test, 1,000 students; dots are eight groups of students by ability. In the "
    "lecture's formula a student of strength 0 solves any task with probability 1/2, so that these tasks, which most "
    "students solve, make nearly everybody strong, and the dots miss the curves. An intercept for each task (right) "
    "lets a task be easy for all.",
)

# %%
page.say(
    "The log-likelihood of all answers tells the models apart. It is exact: an integral over the ability, which has "
    "one dimension, by quadrature. The Rasch model has one slope for all tasks."
)
share = answers.mean(0)
coins = float(len(answers) * (share * np.log(share) + (1 - share) * np.log(1 - share)).sum())
rows = [[model, float(exam.log_marginal(answers).estimate.sum())] for model, exam in exams.items()]
page.table(["model", "log-likelihood, nats"], [*rows, ["a coin for each task", coins]])

# %%
# A longer exam, by the lecture's formula, so that the truth is known: 40 tasks, of which each student skips 30 %.
rng = np.random.default_rng(0)
alpha, beta = rng.normal(size=500), rng.gamma(3.0, 0.5, 40)
p = 1 / (1 + np.exp(-alpha[:, np.newaxis] * beta))
long = (rng.random(p.shape) < p).astype(np.float32)
long[rng.random(p.shape) < 0.3] = np.nan
exam = fastvae.ItemResponse("through_origin", random_state=0).fit(long)

figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
ends = exam.ability_interval(long)[:, 0]
inside = (ends[:, 0] < alpha) & (alpha < ends[:, 1])
axes[0].plot(beta, exam.discrimination_, "o", ms=4)
axes[1].plot(alpha, exam.transform(long)[:, 0], "o", ms=3, alpha=0.6)
for ax, title in zip(axes, ("beta of 40 tasks", "strength of 500 students"), strict=True):
    low, high = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.plot([low, high], [low, high], color="0.7", lw=0.8, zorder=0)
    ax.set_title(title)
    ax.set_xlabel("true")
    ax.set_ylabel("found")
    ax.spines[["top", "right"]].set_visible(False)
page.show(axes[0], "exams_truth", "A simulated exam, 30 % of the answers missing: what was put in, and what came out.")

# %%
page.show(
    plots.abilities(exam, long, n=80, truth=alpha),
    "exams_abilities",
    f"Strengths with intervals of 95 %, from the posterior: of all 500 true ones, {100 * inside.mean():.0f} % lie "
    "inside. A mark hides how little an exam tells of a student; an interval shows it.",
)
