"""The operands of matrix products: the parameter ``precision``."""

from __future__ import annotations

from typing import Any

from fastvae import _checks, _core

_warned = False


def check(precision: Any) -> str:
    """Return the parameter ``precision``, or raise ValueError."""
    return _checks.choice(precision, "precision", tuple(_core.PRECISIONS))


def is_fast() -> bool:
    """Whether the instruction set in use has products of bfloat16."""
    return _core.config()[0] == "avx512" and dict(_core.cpu_features())["avx512_bf16"]


def warn_if_slow(precision: str) -> None:
    """Warn, once in a process, of a training with bfloat16 where products of float32 are faster."""
    global _warned
    if precision == "float32" or _warned or is_fast():
        return
    _warned = True  # first: a warning may be an error
    _checks.warn(
        "precision='bf16' saves no time here: without AVX-512 BF16 in the CPU (fastvae.show_config()), operands are "
        "rounded, and then multiplied as float32. Set precision='float32' to be faster"
    )
