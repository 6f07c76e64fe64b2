"""How often ``feature_scores`` finds the column that was changed in a normal row.

    python examples/anomalies/columns.py

One value in each of 100 normal test rows is moved by four robust standard deviations, up or down, or swapped for that
of a training row. Printed is the share of rows in which the changed column comes first: by ``feature_scores``, by
leaving one column out after the other (log p(x without x_j) - log p(x)), and by the distance from the median alone. The
output is in results/columns.txt.
"""

from __future__ import annotations

import numpy as np
from tasks import Array, make

from fastvae import AnomalyDetector

SETS = ("breast cancer", "wine", "vehicle", "satimage", "page-blocks0", "vowel0", "segment0")


def left_out(detector: AnomalyDetector, X: Array) -> Array:
    """Return log p(x without x_j) - log p(x) of each column, [n, d]."""
    found = np.empty(X.shape)
    for j in range(X.shape[1]):
        found[:, j] = detector.score_samples(np.where(np.arange(X.shape[1]) == j, np.nan, X))
    return found - detector.score_samples(X)[:, None]


def main() -> None:
    """Print the shares."""
    rng = np.random.default_rng(0)
    print(f"{'set':15} {'change':6} {'feature_scores':>14} {'left out':>9} {'distance':>9} {'chance':>7}")
    for name in SETS:
        task = make(name, contaminated=False, seed=0)
        detector = AnomalyDetector(random_state=0).fit(task.train)
        for change in ("move", "swap"):
            X = task.test[~task.anomalous][:100].copy()
            rows, column = np.arange(len(X)), rng.integers(X.shape[1], size=len(X))
            if change == "move":
                X[rows, column] += 4 * detector.scale_[column] * rng.choice([-1, 1], len(X))
            else:
                X[rows, column] = task.train[rng.integers(len(task.train), size=len(X)), column]
            distance = np.abs(X - detector.center_) / detector.scale_
            shares = [
                np.mean(scores.argmax(axis=1) == column)
                for scores in (detector.feature_scores(X), left_out(detector, X), distance)
            ]
            print(f"{name:15} {change:6} {shares[0]:14.2f} {shares[1]:9.2f} {shares[2]:9.2f} {1 / X.shape[1]:7.2f}")


if __name__ == "__main__":
    main()
