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
print("difficulty  true     ", *(f"{value:6.2f}" for value in difficulty))
print("            estimated", *(f"{value:6.2f}" for value in exam.difficulty_))
print("slope       true     ", *(f"{value:6.2f}" for value in slope))
print("            estimated", *(f"{value:6.2f}" for value in exam.discrimination_.ravel()))
