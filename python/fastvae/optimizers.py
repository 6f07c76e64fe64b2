"""Optimisers with the definitions and defaults of ``torch.optim``, as parameters of an estimator.

The learning rate is the estimator's ``learning_rate``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from fastvae import _input


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, arXiv:1412.6980); ``weight_decay`` is an L2 penalty."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class AdamW:
    """Adam whose ``weight_decay`` shrinks the weights themselves (Loshchilov & Hutter, arXiv:1711.05101)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 1e-2


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, Nesterov's or plain."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi, Hazan & Singer, JMLR 12, 2011)."""

    eps: float = 1e-10
    lr_decay: float = 0.0
    weight_decay: float = 0.0


Optimizer = Adam | AdamW | SGD | Adagrad

_NAMES: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "adagrad": Adagrad}


def chosen(optimizer: Any) -> Optimizer:
    """Return the optimiser that a name stands for, or the object itself, or raise ValueError."""
    found = _NAMES[optimizer]() if isinstance(optimizer, str) and optimizer in _NAMES else optimizer
    if not isinstance(found, Adam | AdamW | SGD | Adagrad):
        raise ValueError(
            f"optimizer={optimizer!r} is not known; use one of {', '.join(map(repr, _NAMES))} or an object from "
            "fastvae.optimizers"
        )
    return found


def resolve(optimizer: Any, weight_decay: Any = None) -> dict[str, Any]:
    """Turn a name or an object into the engine's optimiser, or raise ValueError.

    A ``weight_decay`` takes the place of the optimiser's own.
    """
    chosen_one = chosen(optimizer)
    options = {field.name: getattr(chosen_one, field.name) for field in fields(chosen_one)}
    if weight_decay is not None:
        options["weight_decay"] = _input.number(weight_decay, "weight_decay")
    values = {name: _checked(f"{chosen_one!r}: {name}", name, value) for name, value in options.items()}
    if options.get("nesterov") and not options["momentum"]:
        raise ValueError(f"{chosen_one!r}: nesterov needs a momentum")
    kind = next(name for name, cls in _NAMES.items() if isinstance(chosen_one, cls))
    return {"kind": kind} | values


def _checked(what: str, name: str, value: Any) -> float | bool:
    if name == "nesterov":
        return _input.boolean(value, what)
    if name == "eps":  # smaller gradients count as zero, and the quotient must stay finite
        return _input.number(value, what, least=1e-15)
    return _input.number(value, what, below=1.0 if name in ("beta1", "beta2", "momentum") else 1e9)
