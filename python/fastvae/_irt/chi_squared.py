"""The chi-squared distribution's upper tail."""

from __future__ import annotations

from math import exp, lgamma, log

# Relative size of a term that ends a series.
_SMALL = 1e-16
_MOST_TERMS = 10_000


def upper_tail(x: float, df: float) -> float:
    """Return P(chi² > x) with `df` degrees of freedom; 1 for x <= 0 or df <= 0, NaN for NaN.

    It is the regularised incomplete gamma function Q(df / 2, x / 2), by its series or its continued fraction
    (Abramowitz & Stegun, "Handbook of mathematical functions", 6.5.29 and 6.5.31).
    """
    if x != x:
        return x
    if x <= 0 or df <= 0:
        return 1.0
    a, z = df / 2, x / 2
    factor = exp(a * log(z) - z - lgamma(a))
    if z < a + 1:
        term = total = 1 / a
        for k in range(1, _MOST_TERMS):
            term *= z / (a + k)
            total += term
            if term < _SMALL * total:
                break
        return max(0.0, 1 - factor * total)
    # Lentz's method.
    b = z + 1 - a
    c, d = 1e300, 1 / b
    fraction = d
    for k in range(1, _MOST_TERMS):
        numerator = -k * (k - a)
        b += 2
        d = 1 / (numerator * d + b)
        c = b + numerator / c
        fraction *= c * d
        if abs(c * d - 1) < _SMALL * 10:
            break
    return factor * fraction
