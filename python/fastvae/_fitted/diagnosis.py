"""Diagnosis of a latent space: active dimensions, collapse, clamped log variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

# A dimension is active if the variance of its posterior mean exceeds this (Burda et al., arXiv:1509.00519).
ACTIVE_VARIANCE = 0.01
# Below this the posterior is a point compared with the spread of the codes.
_VANISHING_SIGMA = 0.01
# Remedies against collapse, each with the parameter that it needs.
_REMEDIES = (
    ("beta", "lower beta"),
    ("beta", "warm it up (beta=fastvae.schedules.linear(0, 1, epochs=...))"),
    ("free_bits", "set free_bits (0.05 is a start)"),
)
# Names of the parameter for the number of latent dimensions.
_LATENT_DIM_NAMES = ("latent_dim", "n_topics", "n_dims")

# The most rows of the table in a notebook, and the least KL, nats, of a bar of full length: noise has short bars.
_MAX_ROWS, _LEAST_BAR = 50, 0.5

# The message if there is no other.
FINE = "Nothing is wrong."


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Result of :meth:`fastvae.VAE.diagnose`; ``print`` shows a table and the messages.

    Attributes
    ----------
    kl : ndarray of float64, [latent_dim]
        Mean KL of each dimension, nats.
    variance : ndarray of float64, [latent_dim]
        Variance of the posterior mean over the examples.
    active : ndarray of bool, [latent_dim]
        Whether ``variance`` exceeds 0.01 (Burda, Grosse & Salakhutdinov, arXiv:1509.00519, section 5).
    sigma : ndarray of float64, [latent_dim]
        Root of the mean posterior variance.
    clamped : int
        Number of log variances of these examples outside [-30, 20], where they are clamped with zero gradient.
    clamped_so_far : int
        The same number over all training and scoring of the model.
    messages : tuple of str
        Problems with their remedies.
    """

    kl: NDArray[np.float64]
    variance: NDArray[np.float64]
    active: NDArray[np.bool_]
    sigma: NDArray[np.float64]
    clamped: int
    clamped_so_far: int
    messages: tuple[str, ...]

    def __str__(self) -> str:
        """Return a table of the dimensions, by descending KL, and the messages."""
        lines = [
            f"{self.active.sum()} of {len(self.active)} latent dimensions are active; KL {self.kl.sum():.2f} nats",
            "dimension  KL, nats  variance of the mean  sigma",
        ]
        for j in np.argsort(-self.kl, kind="stable"):
            mark = "" if self.active[j] else "  not active"
            lines.append(f"{j:9d}  {self.kl[j]:8.3f}  {self.variance[j]:20.4f}  {self.sigma[j]:5.3f}{mark}")
        return "\n".join([*lines, *self.messages])

    def __repr__(self) -> str:
        """Return the table of ``str``."""
        return str(self)

    def _repr_html_(self) -> str:
        """Return the table with bars of the KL and the messages, for notebooks."""
        from fastvae import _html

        largest = max(float(self.kl.max()), _LEAST_BAR)
        rows = []
        for j in np.argsort(-self.kl, kind="stable"):
            numbers = (f"{self.kl[j]:.3f}", f"{self.variance[j]:.4f}", f"{self.sigma[j]:.3f}")
            cells = (_html.bar(self.kl[j] / largest), str(j), *numbers)
            rows.append(cells if self.active[j] else tuple(f"<span class=quiet>{cell}</span>" for cell in cells))
        head = ("KL", "dimension", "nats", "variance of the mean", "sigma")
        more = len(rows) - _MAX_ROWS
        return _html.page(
            f"<b>Diagnosis</b>: {self.active.sum()} of {len(self.active)} latent dimensions are active; "
            f"KL {self.kl.sum():.2f} nats",
            _html.messages(self.messages),
            _html.table(head, rows[:_MAX_ROWS], numbers=4),
            f"<span class=quiet>and {more} with a smaller KL</span>" if more > 0 else "",
        )


def diagnose(
    mu: NDArray[np.float32],
    logvar: NDArray[np.float32],
    clamped_so_far: int,
    parameters: Collection[str],
    *,
    kl_only: bool = False,
) -> Diagnosis:
    """Diagnose posteriors with means and log variances [n_examples, latent_dim].

    `clamped_so_far` is the engine's count. Messages recommend only names in `parameters`, the estimator's; `kl_only`
    says that the objective is the KL alone.
    """
    if len(mu) < 2:
        raise ValueError(
            "X has one example; a diagnosis needs at least two examples: it measures the variance of their codes"
        )
    kl = _core.gaussian_kl(mu.reshape(-1), logvar.reshape(-1), 1).reshape(mu.shape).mean(0, dtype=np.float64)
    variance = mu.var(0, dtype=np.float64)
    active = variance > ACTIVE_VARIANCE
    low, high = _core.LOGVAR_RANGE
    sigma = np.sqrt(np.exp(np.clip(logvar, low, high), dtype=np.float64).mean(0))
    outside = int(((logvar < low) | (logvar > high)).sum())
    messages = (*_usage_messages(active, sigma, parameters, kl_only), *_clamping_messages(outside, logvar.size))
    return Diagnosis(kl, variance, active, sigma, outside, clamped_so_far, messages or (FINE,))


def _usage_messages(
    active: NDArray[np.bool_], sigma: NDArray[np.float64], parameters: Collection[str], kl_only: bool
) -> list[str]:
    n, inactive = len(active), int((~active).sum())
    if kl_only:
        return ['objective="kl" asks for a posterior that forgets the data: train with "elbo".'] if inactive else []
    remedy = _remedy(parameters)
    size = next(name for name in _LATENT_DIM_NAMES if name in parameters)
    found = []
    if inactive == n:
        found.append(collapse_message(parameters))
    elif 2 * inactive >= n:
        found.append(
            f"{inactive} of {n} dimensions have collapsed onto the prior. If the reconstructions are good enough, a "
            f"smaller {size} does as well; if not, {remedy}."
        )
    vanishing = int((active & (sigma < _VANISHING_SIGMA)).sum())
    if vanishing:
        found.append(
            f"In {vanishing} dimensions sigma is below {_VANISHING_SIGMA}: the codes are points, and samples from the "
            "prior fall between them."
        )
        if "objective" in parameters:
            found[-1] += ' Use objective="elbo" with a larger beta.'
        elif "beta" in parameters:
            found[-1] += " Use a larger beta."
    return found


def collapse_message(parameters: Collection[str]) -> str:
    """Return a sentence about codes that do not depend on the data, which recommends names in `parameters`."""
    return f"The posterior has collapsed: no code depends on the data. To use the latent space, {_remedy(parameters)}."


def _remedy(parameters: Collection[str]) -> str:
    remedies = [what for name, what in _REMEDIES if name in parameters]
    return ", ".join([*remedies, "or train longer"] if remedies else ["train longer"])


def _clamping_messages(outside: int, size: int) -> list[str]:
    if not outside:
        return []
    return [
        f"{outside} of {size} log variances lie outside {list(_core.LOGVAR_RANGE)}, where they are clamped and learn "
        "no more. Lower learning_rate, set clip_norm, or scale the data."
    ]
