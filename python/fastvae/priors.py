"""Priors of item parameters, of :class:`fastvae.ItemResponse`, and of codes, of :class:`fastvae.Recommender`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastvae import _checks

__all__ = ["CompositePrior", "ItemPrior"]


@dataclass(frozen=True)
class CompositePrior:
    """RecVAE's prior of codes: each coordinate j of a user's code z has a mixture of three normal distributions.

    p(z_j) = w_0 N(0, 1) + w_1 N(m_j, s_j²) + w_2 N(0, e^wide_logvar), where N(m, s²) is the user's posterior q(z|x) by
    the parameters before the epoch, without masking (Shenbin, Alekseev, Tutubalina, Malykh & Nikolenko, "RecVAE: a
    new variational autoencoder for top-N recommendations with implicit feedback", arXiv:1912.11160). The mixture is one
    of each coordinate, as in the authors' program. The KL is estimated at the draw of z: ln q(z|x) - ln p(z), in nats.

    Parameters
    ----------
    weights : sequence of 3 floats
        w_0, w_1, w_2, at least 0; they are divided by their sum. The defaults, and that of ``wide_logvar``, are those
        of the authors' experiments.
    wide_logvar : float
        Log variance of the third distribution, in [-20, 40].
    """

    weights: tuple[float, float, float] = (0.15, 0.75, 0.1)
    wide_logvar: float = 10.0


def resolve_composite(prior: Any) -> CompositePrior | None:
    """Return the prior of codes, given by name or as an object, checked; None for N(0, I)."""
    if isinstance(prior, str) and prior == "standard":
        return None
    if isinstance(prior, str) and prior == "composite":
        return CompositePrior()
    if not isinstance(prior, CompositePrior):
        raise ValueError(
            f"prior={prior!r} is not known; use 'standard', 'composite' or a fastvae.priors.CompositePrior"
        )
    given = prior.weights
    if isinstance(given, str) or not hasattr(given, "__len__") or len(given) != 3:
        raise ValueError(f"{prior!r}: weights must be three numbers")
    a, b, c = (_checks.number(weight, f"{prior!r}: weights[{i}]", below=1e6) for i, weight in enumerate(given))
    if a + b + c == 0:
        raise ValueError(f"{prior!r}: one of the weights must be above 0")
    return CompositePrior((a, b, c), _checks.number(prior.wide_logvar, f"{prior!r}: wide_logvar", -20.0, 40.0))


@dataclass(frozen=True)
class ItemPrior:
    """Prior of the tasks' slopes a_t and intercepts d_t: their estimates are the mode of the posterior.

    One dimension: ln |a_t| ~ N(log_slope_mean, log_slope_sd²). The mode is of the density of ln |a_t|, as in Mislevy's
    Bayes modal estimates (Psychometrika 51, 1986), so a slope with no evidence has the prior's median. Signs are those
    of the start of training. Several dimensions: a_tj ~ N(0, slope_sd²) for each coordinate, which does not depend on
    their rotation and prefers no sign. Intercepts: d_t ~ N(0, intercept_sd²). A standard deviation of None is no prior.

    The defaults are ``prior="weak"`` (with log_slope_sd=1 for "through_origin"): 95 % of slopes between 0.23 and 4.3,
    of intercepts between -6 and 6. For comparison: BILOG and ICL have ln a ~ N(0, 0.5²) by default, and BILOG's prior
    of difficulties, an option, is N(0, 2²); Stan's tutorial on the two-parameter model has ln a ~ N(0.5, 1) and
    difficulties ~ N(0, 10²); mirt accepts such priors and has none by default.

    Parameters
    ----------
    log_slope_mean : float
    log_slope_sd : float or None
    slope_sd : float or None
    intercept_sd : float or None
    """

    log_slope_mean: float = 0.0
    log_slope_sd: float | None = 0.75
    slope_sd: float | None = 1.5
    intercept_sd: float | None = 3.0


# Without intercepts slopes are also difficulties, and spread more widely.
_WEAK_THROUGH_ORIGIN = ItemPrior(log_slope_sd=1.0)


def resolve(prior: Any, n_dims: int, through_origin: bool) -> dict[str, Any] | None:
    """Return a prior, given by name or as an object, as the engine's options, or raise ValueError; None for none.

    ``through_origin`` says whether the model has no intercepts.
    """
    if prior is None:
        return None
    if isinstance(prior, str) and prior == "weak":
        prior = _WEAK_THROUGH_ORIGIN if through_origin else ItemPrior()
    if not isinstance(prior, ItemPrior):
        raise ValueError(f"prior={prior!r} is not known; use 'weak', None or a fastvae.priors.ItemPrior")

    def checked(name: str) -> float | None:
        value = getattr(prior, name)
        return None if value is None else _checks.number(value, f"{prior!r}: {name}", 1e-3, 1e3)

    mean = _checks.number(prior.log_slope_mean, f"{prior!r}: log_slope_mean", -10.0, 10.0)
    sds = {name: checked(name) for name in ("log_slope_sd", "slope_sd", "intercept_sd")}
    slope: dict[str, Any] = {"kind": "flat"}
    if n_dims == 1 and sds["log_slope_sd"] is not None:
        slope = {"kind": "lognormal", "mean": mean, "sd": sds["log_slope_sd"]}
    if n_dims > 1 and sds["slope_sd"] is not None:
        slope = {"kind": "normal", "sd": sds["slope_sd"]}
    return {"slope": slope, "intercept": sds["intercept_sd"]}
