"""Exams: the ability of students and the difficulty of tasks.

Student s solves task t with probability P = 1 / (1 + exp(-alpha_s beta_t)): alpha_s is the student's ability and
1 / beta_t the difficulty of the task. The ability is a one-dimensional code with prior N(0, 1), and the model is a
variational autoencoder with this formula as its decoder. Abilities and difficulties are both estimated from the answers
alone.
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
    "Five tasks of the Law School Admission Test, 1,000 students; the dots are eight groups of students by ability. In "
    "the formula above, a student of ability 0 solves every task with probability 1/2. Most students solve these "
    "tasks, so the model assigns most of them a positive ability, and the dots miss the curves. With an intercept "
    "for each task (right), a task can be easy for everyone.",
)

# %%
page.say(
    "The log-likelihood of all answers compares the models. It integrates over the one-dimensional ability by "
    "quadrature, so it is exact to numerical precision. The parameters maximise the posterior under a weak prior of "
    "slopes and intercepts, which lowers the log-likelihood by less than 0.1 nats here. The Rasch model has one slope "
    "for all tasks. In the last row, all students solve a task with the same probability."
)
share = answers.mean(0)
constant = float(len(answers) * (share * np.log(share) + (1 - share) * np.log(1 - share)).sum())
rows = [[model, float(exam.log_marginal(answers).estimate.sum())] for model, exam in exams.items()]
page.table(["model", "log-likelihood, nats"], [*rows, ["a constant for each task", constant]])

# %%
# A longer exam, simulated by the formula above, so that the true parameters are known: 40 tasks, 30 % of the answers
# missing.
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
for ax, title in zip(axes, ("beta of 40 tasks", "ability of 500 students"), strict=True):
    low, high = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.plot([low, high], [low, high], color="0.7", lw=0.8, zorder=0)
    ax.set_title(title)
    ax.set_xlabel("true")
    ax.set_ylabel("estimated")
    ax.spines[["top", "right"]].set_visible(False)
page.show(axes[0], "exams_truth", "A simulated exam, 30 % of the answers missing: estimates against true values.")

# %%
page.show(
    plots.abilities(exam, long, n=80, truth=alpha),
    "exams_abilities",
    f"Estimated abilities of 80 students with 95 % posterior intervals. Of all 500 true abilities, "
    f"{100 * inside.mean():.0f} % lie inside. The intervals show the uncertainty that a single mark hides.",
)
