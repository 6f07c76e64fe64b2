"""
Tasks of an exam
================

The probability to solve a task rises with ability: where it is one half is the difficulty, how fast is the
discrimination.
"""

# %%
import numpy as np

import fastvae
from fastvae import plots

rng = np.random.default_rng(0)
ability = rng.normal(size=2000)
difficulty, slope = np.array([-1.5, -0.5, 0.0, 0.8, 1.6]), np.array([1.0, 2.0, 0.5, 1.5, 1.0])
chance = 1 / (1 + np.exp(-slope * (ability[:, np.newaxis] - difficulty)))
answers = (rng.random(chance.shape) < chance).astype(float)
exam = fastvae.ItemResponse("2pl", random_state=0).fit(answers)
plots.item_characteristic(exam, answers)

# %%
# Estimated abilities with their 95 % intervals.
plots.abilities(exam, answers[:40])

# %%
for name, true, estimated in (
    ("difficulty", difficulty, exam.difficulty_),
    ("slope", slope, exam.discrimination_.ravel()),
):
    print(f"{name:12}", *(f"{a:5.1f} -> {b:.2f}" for a, b in zip(true, estimated.ravel(), strict=True)))
