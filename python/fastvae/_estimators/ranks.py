"""What the ranks of a distributed training agree on before it starts, and the model that all start from."""

from __future__ import annotations

import re
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastvae._data.examples import Data, Format
    from fastvae._distributed.group import Group
    from fastvae._estimators.network import Network
    from fastvae._fitted.model import FittedModel

# Parameters that may differ between ranks. The seed is rank 0's.
_OWN = ("callbacks", "communicator", "n_jobs", "progress")


@contextmanager
def joined(model: Network, call: str, **arguments: Any) -> Iterator[None]:
    """Join the other ranks for a call; without a communicator do nothing.

    An error of one rank is one of all. `arguments` are those that all ranks must share.
    """
    if model.communicator is None or model._ranks is not None:
        yield
        return
    from fastvae._distributed.group import connect

    group = connect(model.communicator)
    try:
        with group.together():
            model._ranks = group
            _agree_on_call(model, group, call, arguments)
            yield
        fitted = model._fitted
        model._in_step = None if fitted is None else (group, fitted.engine, fitted.engine.steps)
    finally:
        vars(model).pop("_ranks", None)
        vars(model).pop("_team", None)


def _agree_on_call(model: Network, group: Group, call: str, arguments: dict[str, Any]) -> None:
    """Raise ValueError on all ranks unless they make the same call with the same estimator."""
    group.require_same({"versions of fastvae": _core.__version__}, "install the same on all ranks")
    facts: dict[str, Any] = {"calls": f"{type(model).__name__}.{call}"}
    facts |= {f"values of {name}": _text(value) for name, value in model.get_params().items() if name not in _OWN}
    for name, value in arguments.items():  # None does not replace the parameter of the same name: epochs
        if value is not None or f"values of {name}" not in facts:
            facts[f"values of {name}"] = _text(value)
    fitted = model._fitted
    facts["numbers of optimiser steps so far"] = None if fitted is None else fitted.engine.steps
    if fitted is None:
        facts["weights so far"] = None
    elif call == "partial_fit" and model._in_step == (group, fitted.engine, fitted.engine.steps):
        facts["weights so far"] = "those of the last call"  # a checksum at each call would take as long as a step
    else:
        facts["weights so far"] = checksum(fitted)
    group.require_same(facts)


def agree_on_data(group: Group, data: Data, held_out: Data | None, form: Format, classes: NDArray[Any] | None) -> None:
    """Raise ValueError on all ranks unless their data have the same form."""
    X, y, weights = data
    group.require_same(
        {
            "numbers of columns of X": X.shape[1],
            "names of the columns of X": None if form.names is None else [str(name) for name in form.names],
            "scales of integers in X (input_scale_)": float(form.scale.divisor),
            "forms of an example": _text(form.form),
            "condition columns": _text(form.columns),
            "numbers of columns of y": None if y is None else y.shape[1],
            "classes of y": None if classes is None else [str(label) for label in classes],
            "presences of sample_weight": weights is not None,
            "presences of validation_data": held_out is not None,
        },
        "pass data of the same form on all ranks",
    )


def all_classes(group: Group, own: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of all ranks, sorted."""
    found = [np.array(labels, kind) for labels, kind in group.gather([own.tolist(), own.dtype.str])]
    return np.unique(np.concatenate(found))


def all_moments(group: Group, own: _core.ColumnMoments) -> _core.ColumnMoments:
    """Return the moments of the columns of all ranks' data."""
    return own.merged(list(group.gather_arrays(own.table())))


def adopt_first(group: Group, fitted: FittedModel) -> None:
    """Give a new model the specification and the weights of rank 0."""
    specification = group.first(fitted.engine.specification)
    values = np.concatenate([np.ravel(part) for part in fitted.engine.parameters()])
    fitted.adopt(specification, group.first_array(values))


def require_equal_weights(group: Group, fitted: FittedModel) -> None:
    """Raise ValueError on all ranks unless they have the same weights after training."""
    group.require_same(
        {"weights after training": checksum(fitted)},
        "their processors or libraries round in different ways: use machines of one kind, or set FASTVAE_ISA on all",
    )


def checksum(fitted: FittedModel) -> int:
    """Return a checksum of all parameters."""
    found = 0
    for part in fitted.engine.parameters():
        found = zlib.crc32(part.tobytes(), found)
    return found


def _text(value: Any) -> str:
    """Return a text that is the same in all processes for equal values."""
    if isinstance(value, np.ndarray):
        return f"array {value.shape} with checksum {zlib.crc32(np.ascontiguousarray(value).tobytes())}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
