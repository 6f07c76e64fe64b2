"""Keeping models: stub until the core's half is merged."""

from __future__ import annotations

from typing import Any


def save(model: Any, path: Any, optimizer: bool) -> None:
    raise NotImplementedError


def state(model: Any) -> dict[str, Any]:
    return dict(model.__dict__)


def set_state(model: Any, state: dict[str, Any]) -> None:
    model.__dict__.update(state)
