"""Exams in girth, which estimates by marginal maximum likelihood: ``pip install girth`` (0.8 was measured)."""

from __future__ import annotations

from typing import Any

import girth
import numpy as np


def fit(model: str, answers: Any) -> tuple[Any, Any]:
    """Return slopes and intercepts of answers [n_students, n_tasks] by girth's defaults.

    Its "rasch" has a fixed slope of 1; "onepl" estimates the common slope, as fastvae's "rasch".
    """
    found = getattr(girth, f"{model}_mml")(np.ascontiguousarray(answers.T, dtype=int))
    slopes = np.broadcast_to(found.get("Discrimination", 1.0), answers.shape[1])
    return slopes, -slopes * found["Difficulty"]
