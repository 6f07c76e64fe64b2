"""Warnings about columns whose units do not fit the scale of a likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvae import _checks, _core
from fastvae.likelihoods import Gaussian

if TYPE_CHECKING:
    from fastvae._data.examples import Examples
    from fastvae._data.names import Names
    from fastvae._fitted.specification import Specification

# The limits of the largest standard deviation, in multiples of a fixed scale: outside, few columns count, or none.
LARGE, SMALL = 10.0, 0.05
# A standard deviation this many times the median one: the loss is that of these columns alone.
UNEQUAL = 100.0
SHOWN = 3
# The largest grey value that was divided by 255 twice.
_TINY = 1 / 255 * (1 + 1e-6)


def warn(moments: _core.ColumnMoments, specification: Specification, names: Names, *, grey: bool) -> None:
    """Warn once if the columns of the training data do not fit the scale of the likelihood.

    Images, or `grey` values, may have constant columns: a border of zeros. `names` are those of the columns.
    """
    kind, scale = specification.likelihood["kind"], specification.likelihood.get("scale")
    if kind == "mixed":
        _warn_of_floor_in_groups(moments, specification, names)
        return
    if kind == "gaussian" and isinstance(scale, str) and _warn_of_floor(moments, specification, names):
        return
    if kind == "gaussian" and scale in ("per_feature", "decoder") and not grey:
        _warn_of_constant_columns(moments, specification, names)
    if kind != "squared_error" and (kind != "gaussian" or scale in ("per_feature", "decoder")):
        return
    deviations = moments.std
    varying = deviations[deviations > 0]
    if not len(varying):
        return
    most = float(varying.max())
    unequal = most > UNEQUAL * float(np.median(varying))
    if isinstance(scale, (int, float)):
        what = f'likelihood="gaussian" has the fixed scale {scale:g}'
        unfit = not SMALL * scale <= most <= LARGE * scale
    else:
        what = 'loss="squared_error"' if kind == "squared_error" else 'Gaussian("shared") has one scale'
        what += " weighs all columns alike" if kind == "squared_error" else " for all columns"
        unfit = unequal
    if not unfit:
        return
    worst = np.argsort(-deviations, kind="stable")[: min(SHOWN, len(varying))]
    named = ", ".join(f"{deviations[j]:.3g} in column {_label(j, names)}" for j in worst)
    remedy = "" if kind == "squared_error" else ', or use fastvae.likelihoods.Gaussian("per_feature")'
    message = (
        f"{what}, but the standard deviations of X are {named} (median {np.median(varying):.3g}): standardise X, for "
        f"example with sklearn.preprocessing.StandardScaler{remedy}"
    )
    _checks.warn(message)


def _label(j: np.intp | int, names: Names) -> str:
    return str(j) if names is None else repr(names[j])


def _warn_of_floor(moments: _core.ColumnMoments, specification: Specification, names: Names) -> bool:
    """Warn if most columns vary less than the default floor of a learned scale; return whether they do."""
    scale, floor = specification.likelihood["scale"], specification.likelihood["floor"]
    deviations = moments.std
    varying = deviations[deviations > 0]
    if floor != Gaussian.floor or not len(varying) or np.median(varying) >= floor:
        return False
    if scale == "shared" and np.sqrt(np.mean(deviations**2)) >= floor:
        return False
    named = ", ".join(f"{deviations[j]:.3g} in column {_label(j, names)}" for j in np.flatnonzero(deviations)[:SHOWN])
    _checks.warn(
        f'Gaussian("{scale}") keeps its scale above floor={floor:g}, but the standard deviations of X are {named} '
        f"(median {np.median(varying):.3g}): standardise X, for example with sklearn.preprocessing.StandardScaler, or "
        "lower floor"
    )
    return True


def _warn_of_floor_in_groups(moments: _core.ColumnMoments, specification: Specification, names: Names) -> None:
    """Warn of Gaussian columns in groups that vary less than the floor of their learned scale."""
    low, first, floor = list[int](), 0, 0.0
    for group in specification.likelihood["groups"]:
        options, last = group["likelihood"], first + group["n_columns"]
        if options["kind"] == "gaussian" and options["scale"] == "per_feature":
            deviations = moments.std[first:last]
            found = np.flatnonzero((deviations > 0) & (deviations < options["floor"]))
            low += (first + found).tolist()
            floor = options["floor"] if len(found) else floor
        first = last
    if not low:
        return
    named = ", ".join(f"{moments.std[j]:.3g} in column {_label(j, names)}" for j in low[:SHOWN])
    more = f" and {len(low) - SHOWN} more" if len(low) > SHOWN else ""
    _checks.warn(
        f'Gaussian("per_feature") keeps its scale above floor={floor:g}, but standard deviations of X are {named}{more}'
        ": the model cannot tell their values apart. Standardise these columns, or lower floor of their group "
        "(TabularVAE standardises by itself)"
    )


def _warn_of_constant_columns(moments: _core.ColumnMoments, specification: Specification, names: Names) -> None:
    """Warn of constant columns, whose scale is the floor."""
    constant = np.flatnonzero(moments.std == 0)
    if not 0 < len(constant) < len(moments.std):
        return
    scale, floor = specification.likelihood["scale"], specification.likelihood["floor"]
    nats = -np.log(floor * np.sqrt(2 * np.pi))
    shown = ", ".join(_label(j, names) for j in constant[:SHOWN]) + f" and {len(constant) - SHOWN} more" * (
        len(constant) > SHOWN
    )
    named = f"column {shown} of X is" if len(constant) == 1 else f"columns {shown} of X are"
    _checks.warn(
        f'{named} constant: Gaussian("{scale}") fits a scale near its floor={floor:g} there, so that each adds up to '
        f"{nats:.1f} nats to the ELBO of every example, and a new value costs far more: remove constant columns, for "
        "example with sklearn.feature_selection.VarianceThreshold, or raise floor"
    )


def warn_of_tiny_values(X: Examples, moments: _core.ColumnMoments, specification: Specification) -> None:
    """Warn if all values, of a Bernoulli likelihood, are so small as grey values divided by 255 twice."""
    if specification.likelihood["kind"] != "bernoulli" or X.dtype.kind != "f" or float(moments.mean.max()) > _TINY:
        return
    values = X.data if isinstance(X, _core.SparseMatrix) else X
    largest = float(np.max(values, initial=0.0, where=~np.isnan(values)))
    if 0.0 < largest <= _TINY:
        _checks.warn(
            f"the largest value of X is {largest:.3g}, but the Bernoulli likelihood is for values from 0 to 1: divide "
            "grey values by 255 only once (uint8 is divided by fit), or scale X, for example with "
            "sklearn.preprocessing.MinMaxScaler(clip=True)"
        )
