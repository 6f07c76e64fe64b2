"""Values of parameters as typed: JSON, ``400,200``, ``28x28x1``, or a call such as ``linear(0, 1, epochs=9)``."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from fastvae import schedules
from fastvae._estimators.files import CLASSES

_SIZE = re.compile(r"\d+(x\d+)+")
_TOO_LONG = 10_000

# What may be called in a value: classes of parameters, and the functions that make schedules.
_SCHEDULES: tuple[Any, ...] = (schedules.linear, schedules.cosine, schedules.exponential, schedules.cyclical)
CALLS: dict[str, Any] = {each.__name__: each for each in (*CLASSES, *_SCHEDULES)}
del CALLS["Schedule"]


def parse(text: str) -> Any:
    """Return the value of `text`; text that is neither JSON nor an expression is a string. Raises ValueError."""
    stripped = text.strip()
    if len(stripped) > _TOO_LONG:
        raise ValueError("the value is too long")
    if _SIZE.fullmatch(stripped):
        return tuple(map(int, stripped.split("x")))
    try:
        found = json.loads(stripped)
    except (ValueError, RecursionError):
        pass
    else:
        return _from_json(found)
    try:
        tree = ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    return _value(tree, text)


def _from_json(value: Any) -> Any:
    """Return lists as tuples, and ``{"Gaussian": {"scale": "shared"}}`` as an object."""
    if isinstance(value, list):
        return tuple(map(_from_json, value))
    if isinstance(value, dict):
        if len(value) == 1:
            [(name, options)] = value.items()
            if isinstance(options, dict):
                return _call(name.rpartition(".")[2], (), {key: _from_json(each) for key, each in options.items()})
        raise ValueError(f'{json.dumps(value)[:80]}: an object is written as {{"Gaussian": {{"scale": "shared"}}}}')
    return value


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Name(id=name):
            return name
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, text) for item in items)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _value(operand, text)
            return -number if isinstance(number, (int, float)) else text
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords) if all(each.arg for each in keywords):
            options = {str(each.arg): _value(each.value, text) for each in keywords}
            return _call(name, tuple(_value(each, text) for each in arguments), options)
    return text  # a path, a date, ...: a string


def _call(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if name not in CALLS:
        raise ValueError(f"{name} is not known; use one of {', '.join(sorted(CALLS))}")
    try:
        return CALLS[name](*arguments, **options)
    except TypeError as error:
        raise ValueError(f"{name}: {str(error).rpartition('__init__() ')[2]}") from None
