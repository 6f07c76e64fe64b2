"""Weights of columns in training, and the likelihood of a table: groups of columns with their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastvae import _checks, likelihoods
from fastvae._tables import kinds

if TYPE_CHECKING:
    from fastvae._tables.schema import Schema

# Likelihoods by kind of column.
_LIKELIHOODS: dict[str, Any] = {
    "real": likelihoods.Gaussian("per_feature"),
    "positive": likelihoods.LogNormal(),
    "count": likelihoods.NegativeBinomial(),
    "binary": likelihoods.Bernoulli(),
    "categorical": likelihoods.Categorical(),
    "ordinal": likelihoods.Ordinal(),
}
_LEAST = 1e-6  # the smallest weight
_VARIABLES = ("categorical", "ordinal")  # kinds whose engine columns are one variable


def weights(schema: Schema, balance: Any) -> list[float]:
    """Return the weight of each modelled column for the parameter ``balance``, or raise ValueError."""
    for label, weight in check(balance).items():
        if label not in schema.labels:
            raise ValueError(f"balance names {label!r}, but the columns of X are {kinds.shown(schema.labels)}")
        if not _LEAST <= weight <= 1 / _LEAST:
            raise ValueError(
                f"balance[{label!r}]={weight} must be {_LEAST:g} to {1 / _LEAST:g}; drop the column instead"
            )
    return [check(balance).get(column.label, 1.0) for column in schema.modelled]


def check(balance: Any) -> dict[Any, float]:
    """Return the parameter ``balance``, or raise ValueError."""
    if balance is None:
        return {}
    if not isinstance(balance, Mapping):
        raise ValueError(f"balance={balance!r} must map names of columns to weights, for example {{'income': 0.1}}")
    return {label: _checks.number(weight, f"balance[{label!r}]") for label, weight in balance.items()}


def likelihood_of(schema: Schema | None, balance: Any) -> likelihoods.Mixed:
    """Return the likelihood of a table; None stands for one real column."""
    if schema is None:
        check(balance)
        return likelihoods.Mixed((likelihoods.Group(_LIKELIHOODS["real"], 1),))
    found: list[likelihoods.Group] = []
    for column, weight in zip(schema.modelled, weights(schema, balance), strict=True):
        likelihood, last = _LIKELIHOODS[column.kind], found[-1] if found else None
        alike = last is not None and last.likelihood is likelihood and last.weight == weight
        if last is not None and alike and column.kind not in _VARIABLES:
            found[-1] = replace(last, n_columns=last.n_columns + 1)
        else:
            found.append(likelihoods.Group(likelihood, column.width, weight))
    return likelihoods.Mixed(tuple(found))
