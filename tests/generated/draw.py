"""Parts that several families draw: sizes, networks, optimisers, holes, duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator


def chance(rng: Rng, p: float) -> bool:
    """Return True with probability p."""
    return bool(rng.random() < p)


def pick(rng: Rng, values: Any) -> Any:
    """Return one of the values."""
    return values[int(rng.integers(len(values)))]


def rows(rng: Rng) -> int:
    """Return a number of examples: often few, at times one to five."""
    return int(pick(rng, [rng.integers(1, 6), rng.integers(6, 40), rng.integers(40, 200), rng.integers(40, 200)]))


def columns(rng: Rng) -> int:
    """Return a number of features: often few, at times many."""
    return int(pick(rng, [rng.integers(1, 5), rng.integers(3, 15), rng.integers(3, 15), rng.integers(30, 90)]))


def repeated(rng: Rng, X: NDArray[np.float64], facts: list[str]) -> NDArray[np.float64]:
    """Return X, at times with constant columns, copies of columns or copies of rows."""
    X = X.copy()
    n, d = X.shape
    if chance(rng, 0.2):
        X[:, rng.random(d) < 0.3] = X[0, 0]
        facts.append("constant columns")
    if chance(rng, 0.1):
        X[:, rng.integers(d)] = X[:, rng.integers(d)]
        facts.append("copied column")
    if chance(rng, 0.15):
        X = X[rng.integers(0, max(1, n // 3), n)]
        facts.append("copied rows")
    return X


def exact(X: NDArray[Any]) -> NDArray[np.float64]:
    """Return values rounded to float32."""
    return X.astype(np.float32).astype(np.float64)


def holed(rng: Rng, X: NDArray[np.float64], facts: list[str]) -> NDArray[np.float64]:
    """Return X with holes, at times whole rows or columns."""
    share = pick(rng, [0.02, 0.2, 0.6])
    holes = rng.random(X.shape) < share
    if chance(rng, 0.3):
        holes[rng.integers(len(X))] = True
    if chance(rng, 0.3):
        holes[:, rng.integers(X.shape[1])] = True
    facts.append(f"{holes.mean():.0%} holes")
    return np.where(holes, np.nan, X)


def dense_layers(rng: Rng) -> tuple[int, ...]:
    """Return widths of hidden layers."""
    return tuple(pick(rng, [(), (8,), (8,), (33,), (12, 7)]))


def training(rng: Rng, n: int) -> dict[str, Any]:
    """Return options of training on n examples."""
    found: dict[str, Any] = {"epochs": int(pick(rng, [1, 5, 20])), "n_jobs": 1, "random_state": int(rng.integers(99))}
    if chance(rng, 0.3):
        found["batch_size"] = int(pick(rng, [1, 7, 32]))
    if chance(rng, 0.3):
        found["optimizer"] = pick(rng, ["adamw", "adagrad", "sgd"])
    if n >= 5 and chance(rng, 0.1):
        found["validation_fraction"] = 0.2
    if chance(rng, 0.1):
        found["clip_norm"] = 1.0
    return found


def network(rng: Rng) -> dict[str, Any]:
    """Return options of a network of dense layers."""
    found: dict[str, Any] = {"latent_dim": int(rng.integers(1, 5)), "hidden": dense_layers(rng)}
    if chance(rng, 0.3):
        found["activation"] = pick(rng, ["tanh", "sigmoid", "softplus", "elu", "gelu", "silu"])
    return found


def variational(rng: Rng, n: int, y: bool) -> dict[str, Any]:
    """Return options of a VAE: mostly none."""
    found: dict[str, Any] = {}
    if chance(rng, 0.15):
        found["n_importance_samples"] = 3
        found["doubly_reparameterized"] = chance(rng, 0.5)
    elif chance(rng, 0.1):
        found |= pick(rng, [{"beta": 0.5}, {"free_bits": 0.1}, {"capacity": 1.0}])
    if y:
        found["conditional"] = True
    return found


def labels(rng: Rng, n: int, facts: list[str]) -> Any:
    """Return labels or covariates of any unit, or None."""
    kind = pick(rng, ["none"] * 8 + ["integers", "strings", "covariates"])
    if kind == "none":
        return None
    facts.append(f"y {kind}")
    if kind == "covariates":
        return exact((rng.normal(size=(n, 2)) + pick(rng, [0.0, 0.0, 30.0])) * 10 ** rng.uniform(-3, 5, 2))
    found = rng.integers(0, 3, n)
    return found if kind == "integers" else np.array(["a", "b", "c"])[found]
