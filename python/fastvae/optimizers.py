"""Optimisers with the definitions and defaults of ``torch.optim``, for the parameter ``optimizer`` of an estimator.

The learning rate is the estimator's parameter ``learning_rate``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from fastvae import _checks

__all__ = ["SGD", "Adagrad", "Adam", "AdamW"]


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, arXiv:1412.6980).

    Parameters
    ----------
    beta1, beta2 : float
        Decay of the running means of gradients and of squared gradients, below 1.
    eps : float
        Added to the denominator.
    weight_decay : float
        Factor of an L2 penalty.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101).

    Parameters
    ----------
    beta1, beta2 : float
        Decay of the running means of gradients and of squared gradients, below 1.
    eps : float
        Added to the denominator.
    weight_decay : float
        A step multiplies the weights by 1 - learning_rate weight_decay.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 1e-2


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent.

    Parameters
    ----------
    momentum : float
        Below 1.
    nesterov : bool
        Use Nesterov's momentum; needs ``momentum`` > 0.
    weight_decay : float
        Factor of an L2 penalty.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi, Hazan & Singer, JMLR 12, 2011).

    Parameters
    ----------
    eps : float
        Added to the denominator.
    lr_decay : float
        The learning rate of step t is learning_rate / (1 + t lr_decay), t = 0, 1, ...
    weight_decay : float
        Factor of an L2 penalty.
    """

    eps: float = 1e-10
    lr_decay: float = 0.0
    weight_decay: float = 0.0


Optimizer = Adam | AdamW | SGD | Adagrad

_NAMES: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "adagrad": Adagrad}


def instance_of(optimizer: Any) -> Optimizer:
    """Return an optimiser, given by name or as an object, as an object, or raise ValueError."""
    found = _NAMES[optimizer]() if isinstance(optimizer, str) and optimizer in _NAMES else optimizer
    if not isinstance(found, Adam | AdamW | SGD | Adagrad):
        raise ValueError(
            f"optimizer={optimizer!r} is not known; use one of {', '.join(map(repr, _NAMES))} or an object from "
            "fastvae.optimizers"
        )
    return found


def resolve(optimizer: Any, weight_decay: Any = None) -> dict[str, Any]:
    """Return an optimiser, given by name or as an object, as the engine's options, or raise ValueError.

    ``weight_decay``, unless None, replaces the optimiser's own.
    """
    instance = instance_of(optimizer)
    options = {field.name: getattr(instance, field.name) for field in fields(instance)}
    if weight_decay is not None:
        options["weight_decay"] = _checks.number(weight_decay, "weight_decay")
    values = {name: _check_option(f"{instance!r}: {name}", name, value) for name, value in options.items()}
    if options.get("nesterov") and not options["momentum"]:
        raise ValueError(f"{instance!r}: nesterov needs a momentum: set momentum > 0")
    kind = next(name for name, cls in _NAMES.items() if isinstance(instance, cls))
    return {"kind": kind} | values


def _check_option(what: str, name: str, value: Any) -> float | bool:
    if name == "nesterov":
        return _checks.boolean(value, what)
    if name == "eps":  # the lower bound keeps the update finite for vanishing gradients
        return _checks.number(value, what, least=1e-15)
    return _checks.number(value, what, below=1.0 if name in ("beta1", "beta2", "momentum") else 1e9)
