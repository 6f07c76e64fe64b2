"""The reference of the numerical tests: the models written plainly in torch.

Nothing here is taken from the engine: likelihoods come from ``torch.distributions`` and ``torch.nn``, gradients
from autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from helpers import COUNTS
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import LogNormal, MultivariateNormal, NegativeBinomial, Normal, Poisson
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from fastvae import VAE, Autoencoder
from fastvae.likelihoods import Gaussian, Mixed, resolve
from fastvae.likelihoods import NegativeBinomial as Dispersed
from fastvae.likelihoods import Poisson as Rates

if TYPE_CHECKING:
    from typing_extensions import Self

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}
LOGVAR_RANGE = (-30.0, 20.0)

# The largest relative error of a loss, a gradient or a code.
TOLERANCE = 1e-5

# Sizes that are no multiples of tiles or panels.
AWKWARD: dict[str, Any] = {"latent_dim": 5, "hidden": (33, 13), "decoder_hidden": (31,)}
AWKWARD_ROWS, AWKWARD_FEATURES = 29, 37

# examples, features, latent_dim, hidden, decoder_hidden
Size = tuple[int, int, int, tuple[int, ...], tuple[int, ...] | None]
SIZES: list[Size] = [
    (1, 1, 1, (), None),
    (2, 1, 1, (1,), None),
    (13, 1, 3, (13,), None),
    (1, 67, 2, (33,), None),
    (15, 31, 1, (), None),
    (29, 13, 37, (), None),
    (131, 33, 2, (67,), None),
    (13, 67, 16, (31,), None),
    (2, 5, 17, (67, 1, 13), None),
    (15, 7, 19, (31, 33), (1,)),
    (29, 65, 37, (13, 67), None),
    (131, 64, 33, (32,), (64, 32)),
    (131, 127, 67, (67, 33, 31), None),
    (29, 17, 3, (), (13, 31, 67)),
    (13, 29, 4, (67, 31, 13), ()),
    (257, 3, 11, (1, 1), (2, 2, 2)),
]


def sequential(widths: list[int], activation: str, last: bool) -> nn.Sequential:
    """Dense layers with activations between them and, if ``last``, after them."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        modules += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*(modules if last else modules[:-1]))


def joined(x: Tensor, y: Tensor | None) -> Tensor:
    """The encoder's input of a conditional model: [x, y]."""
    return x if y is None else torch.cat([x, y], 1)


def beside_holes(x: Tensor, corrupted: Tensor | None, indicators: bool) -> Tensor:
    """The encoder's input: x with zeros for NaN in x or in the corrupted x; with indicators, also the mask."""
    seen = x if corrupted is None else corrupted
    hidden = x.isnan() | seen.isnan()
    seen = seen.masked_fill(hidden, 0)
    return torch.cat([seen, hidden.to(seen)], 1) if indicators else seen


def of_observed(losses: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The sum of each example's losses over the observed values of x."""
    return losses(x.nan_to_num(0.5)).masked_fill(x.isnan(), 0).sum(1)


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over the examples [n, ...], weighted if there are weights [n]."""
    return losses.mean(0) if weights is None else torch.tensordot(weights / weights.sum(), losses, 1)


class LearnedScale(nn.Module):
    """The logarithm of a Gaussian's standard deviation: one, or one for each feature."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(shape))


# Counts that are given as objects.
KINDS: dict[type, str] = {Rates: "poisson", Dispersed: "negative_binomial"}


class LearnedDispersion(nn.Module):
    """The logarithm of a negative binomial's r, for each feature."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_total_count = nn.Parameter(torch.zeros(features))


class TorchMixed(nn.ModuleDict):
    """The likelihoods of groups of columns, with the learned scales by group."""

    def __init__(self, likelihood: Mixed) -> None:
        super().__init__()
        self.groups, self.first = [], 0
        for g, group in enumerate(likelihood.groups):
            kind = resolve(Mixed([group]))["groups"][0]["likelihood"]
            columns = slice(self.first, self.first + group.n_columns)
            self.groups.append((kind, columns, group.weight))
            self.first = columns.stop
            if kind["kind"] == "log_normal" or kind.get("scale") == "per_feature":
                self[str(g)] = LearnedScale((group.n_columns,))
            elif kind["kind"] == "negative_binomial":
                self[str(g)] = LearnedDispersion(group.n_columns)

    def seen(self, x: Tensor) -> Tensor:
        """What the encoder reads of x, before it is standardised."""
        parts = []
        for kind, columns, _ in self.groups:
            part = x[:, columns]
            if kind["kind"] == "log_normal":
                part = part.log()
            elif kind["kind"] in ("poisson", "negative_binomial"):
                part = part.log1p()
            parts.append(part)
        return torch.cat(parts, 1)

    def mean(self, out: Tensor) -> Tensor:
        """E[x|z], given the decoder's output."""
        return torch.cat([self._mean(g, out[:, columns]) for g, (_, columns, _) in enumerate(self.groups)], 1)

    def _mean(self, g: int, y: Tensor) -> Tensor:
        kind = self.groups[g][0]
        match kind["kind"]:
            case "gaussian":
                return y.sigmoid() if kind["mean"] == "sigmoid" else y
            case "log_normal":
                return (y + (2 * self[str(g)].log_scale).exp() / 2).exp()
            case "poisson" | "negative_binomial":
                return y.exp()
            case "bernoulli":
                return y.sigmoid()
            case "categorical":
                return y.softmax(1)
        below = (softplus(y[:, 1:]).cumsum(1) - y[:, :1]).sigmoid()
        ends = torch.zeros_like(below[:, :1])
        return torch.cat([ends, below, ends + 1], 1).diff(dim=1)

    def terms(self, x: Tensor, out: Tensor, *, balanced: bool) -> list[Tensor]:
        """-log p of each variable of each example, [n] each."""
        terms = []
        for g, (kind, columns, weight) in enumerate(self.groups):
            part, y = x[:, columns], out[:, columns]
            if kind["kind"] in ("categorical", "ordinal"):
                log_p = y.log_softmax(1) if kind["kind"] == "categorical" else self._mean(g, y).log()
                chosen = part.nan_to_num(0.0) * log_p
                losses = -torch.where(part == 1, chosen, 0.0).sum(1, keepdim=True)
            else:
                losses = -self._log_prob(g, part.nan_to_num(0.5), y).masked_fill(part.isnan(), 0)
            terms += list((losses * (weight if balanced else 1)).T)
        return terms

    def _log_prob(self, g: int, x: Tensor, y: Tensor) -> Tensor:
        kind, name = self.groups[g][0], str(g)
        match kind["kind"]:
            case "gaussian":
                learned = kind["scale"] == "per_feature"
                scale = self[name].log_scale.exp() if learned else torch.tensor(kind["scale"], dtype=x.dtype)
                return Normal(self._mean(g, y), scale).log_prob(x)
            case "log_normal":
                return LogNormal(y, self[name].log_scale.exp(), validate_args=False).log_prob(x)
            case "poisson":
                return Poisson(y.exp(), validate_args=False).log_prob(x)
            case "negative_binomial":
                log_r = self[name].log_total_count
                return NegativeBinomial(log_r.exp(), logits=y - log_r, validate_args=False).log_prob(x)
        return -binary_cross_entropy_with_logits(y, x, reduction="none")


class Twin(nn.Module):
    """Base class of the torch models; ``forward`` returns losses, batch means."""

    def load(self, weights: dict[str, NDArray[np.float32]]) -> Self:
        """Take over a state dict of a fastvae model, whose names and shapes must be exactly ours."""
        self.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
        return self

    def weights(self) -> dict[str, NDArray[Any]]:
        """All parameters as arrays."""
        return {name: parameter.detach().numpy().copy() for name, parameter in self.named_parameters()}

    def losses_and_gradients(
        self, x: NDArray[Any], *more: NDArray[Any], **named: NDArray[Any]
    ) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
        """What ``loss_and_gradients`` returns, by autograd; zero where the loss ignores a parameter."""
        self.zero_grad(set_to_none=False)
        given = {name: self.tensor(array) for name, array in named.items()}
        losses = self(self.tensor(x), *map(self.tensor, more), **given)
        losses["loss"].backward()
        gradients = {
            name: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy() for name, p in self.named_parameters()
        }
        return {name: loss.item() for name, loss in losses.items()}, gradients

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """An array as a tensor of the model's type."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(next(self.parameters()).dtype)


class TorchVAE(Twin):
    """A dense VAE with the parameters of :class:`fastvae.VAE`, and its ``state_dict`` names."""

    def __init__(
        self,
        n_features: int,
        latent_dim: int = 2,
        *,
        hidden: tuple[int, ...] = (400,),
        decoder_hidden: tuple[int, ...] | None = None,
        activation: str = "relu",
        likelihood: Any = "bernoulli",
        beta: float = 1.0,
        free_bits: float = 0.0,
        capacity: float | None = None,
        objective: str = "elbo",
        conditions: int = 0,
        missing_indicator: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        decoder_hidden = hidden[::-1] if decoder_hidden is None else decoder_hidden
        seen = n_features * (1 + missing_indicator) + conditions
        head = [seen, *hidden][-1]
        self.encoder = sequential([seen, *hidden], activation, last=True)
        self.mu = nn.Linear(head, latent_dim)
        self.logvar = nn.Linear(head, latent_dim)
        self.decoder = sequential([latent_dim + conditions, *decoder_hidden, n_features], activation, last=False)
        self.bernoulli = likelihood == "bernoulli"
        self.counts = KINDS.get(type(likelihood), likelihood if likelihood in COUNTS else None)
        self.sized = getattr(likelihood, "size_factor", None) == "total"
        self.fixed_scale = 1.0
        self.squashed = self.bernoulli or (isinstance(likelihood, Gaussian) and likelihood.mean == "sigmoid")
        if self.counts == "negative_binomial":
            self.likelihood = LearnedDispersion(n_features)
        if getattr(likelihood, "zero_inflation", False):
            self.inflation = nn.Linear(self.decoder[-1].in_features, n_features)
        self.mixed = isinstance(likelihood, Mixed)
        if self.mixed:
            self.likelihood = TorchMixed(likelihood)
        elif isinstance(likelihood, Gaussian):
            if likelihood.scale == "decoder":
                self.scale = nn.Linear(self.decoder[-1].in_features, n_features)
                self.floor = likelihood.floor
            elif isinstance(likelihood.scale, str):
                self.likelihood = LearnedScale((n_features,) if likelihood.scale == "per_feature" else ())
            else:
                self.fixed_scale = likelihood.scale
        elif not (self.bernoulli or self.counts or likelihood == "gaussian"):
            raise NotImplementedError(f"the reference has no formula of {likelihood!r}")
        self.beta, self.free_bits, self.capacity, self.objective = beta, free_bits, capacity, objective
        self.missing_indicator = missing_indicator
        self.last: tuple[Any, Any] = (None, None)
        self.to(dtype)

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The posterior's mu and logvar, not clamped."""
        hidden = self.encoder(joined(x, y))
        return self.mu(hidden), self.logvar(hidden)

    def seen(self, x: Tensor, corrupted: Tensor | None = None) -> Tensor:
        """The encoder's input."""
        if self.mixed:
            x, corrupted = (None if part is None else self.likelihood.seen(part) for part in (x, corrupted))
        return beside_holes(x, corrupted, self.missing_indicator)

    def hidden(self, z: Tensor) -> Tensor:
        """The input of the output layers, the same tensor for each of them."""
        if self.last[0] is not z:
            self.last = (z, self.decoder[:-1](z))
        return self.last[1]

    def standard_deviation(self, z: Tensor) -> Tensor:
        """The Gaussian's, at a code."""
        if hasattr(self, "scale"):
            variance: Tensor = self.floor**2 + (2 * self.scale(self.hidden(z)).clamp(max=40)).exp()
            return variance.sqrt()
        if hasattr(self, "likelihood"):
            return self.likelihood.log_scale.exp()
        return torch.tensor(self.fixed_scale, dtype=self.mu.weight.dtype)

    def mean(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x|z]."""
        out: Tensor = self.decoder(joined(z, y))
        if self.mixed:
            return self.likelihood.mean(out)
        if self.counts:
            mean = out.softmax(1) if self.counts == "multinomial" or self.sized else out.exp()
            return mean * self.inflation(self.decoder[:-1](joined(z, y))).neg().sigmoid() if self.inflated else mean
        return out.sigmoid() if self.squashed else out

    def log_prob_of_counts(self, x: Tensor, out: Tensor) -> Tensor:
        """log p(x) of each feature, given the decoder's output."""
        if self.counts == "multinomial":
            return x * out.log_softmax(1)
        if self.counts == "poisson":
            return Poisson(out.exp(), validate_args=False).log_prob(x)
        log_r = self.likelihood.log_total_count
        return NegativeBinomial(log_r.exp(), logits=out - log_r, validate_args=False).log_prob(x)

    def size(self, x: Tensor) -> Tensor:
        """The factor of the means of counts with a size, else 1."""
        return x.sum(1, keepdim=True).clamp(min=1e-6) if self.sized else torch.ones(len(x), 1)

    @property
    def inflated(self) -> bool:
        """Whether zeros have a probability of their own."""
        return hasattr(self, "inflation")

    def log_prob_with_size(self, x: Tensor, out: Tensor, z: Tensor) -> Tensor:
        """log p(x) of each feature of counts whose means are shares of the row's total."""
        log_p = self.log_prob_of_counts(x, out.log_softmax(1) + self.size(x).log())
        if not self.inflated:
            return log_p
        u = self.inflation(self.hidden(z))
        rest = logsigmoid(-u) + log_p
        return torch.where(x == 0, torch.logaddexp(logsigmoid(u), rest), rest)

    def terms(
        self, x: Tensor, eps: Tensor, corrupted: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """-log p(x|z) of each example and the KL of each example and coordinate, nats."""
        mu, logvar = self.encode(self.seen(x, corrupted), y)
        logvar = logvar.clamp(*LOGVAR_RANGE)
        z = mu + (logvar / 2).exp() * eps
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp())
        return self.reconstruction(x, joined(z, y)), kl

    def reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x|z) of each example, nats."""
        shared = hasattr(self, "scale") or self.inflated
        out = self.decoder[-1](self.hidden(z)) if shared else self.decoder(z)
        if self.mixed:
            losses = torch.stack(self.likelihood.terms(x, out, balanced=True)).sum(0)
        elif self.bernoulli:
            losses = of_observed(lambda x: binary_cross_entropy_with_logits(out, x, reduction="none"), x)
        elif self.sized:
            losses = of_observed(lambda x: -self.log_prob_with_size(x, out, z), x)
        elif self.counts:
            losses = of_observed(lambda x: -self.log_prob_of_counts(x, out), x)
        else:
            mean = out.sigmoid() if self.squashed else out
            losses = of_observed(lambda x: -Normal(mean, self.standard_deviation(z)).log_prob(x), x)
        return losses

    def log_weights(
        self, x: Tensor, eps: Tensor, corrupted: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """ln p(x|z) p(z) / q(z|x) of each draw, [n, K]; -log p(x|z) of each draw; the KL as from ``terms``."""
        n, draws, latent_dim = eps.shape
        rows = [None if t is None else t.repeat_interleave(draws, 0) for t in (corrupted, y)]
        reconstruction, kl = self.terms(x.repeat_interleave(draws, 0), eps.reshape(-1, latent_dim), *rows)
        mu, logvar = self.encode(self.seen(x, corrupted), y)
        q = Normal(mu[:, None], (logvar.clamp(*LOGVAR_RANGE) / 2).exp()[:, None])
        z = q.mean + q.stddev * eps
        ratio = Normal(torch.zeros_like(z), 1.0).log_prob(z) - q.log_prob(z)
        reconstruction = reconstruction.reshape(n, draws)
        return ratio.sum(2) - reconstruction, reconstruction, kl[::draws]

    def importance(self, weights: Tensor | None, *given: Tensor | None) -> dict[str, Tensor]:
        """The losses with several draws for each example (Burda et al., arXiv:1509.00519, equation 8)."""
        log_weights, reconstruction, kl = self.log_weights(*given)
        bound = torch.logsumexp(log_weights, 1) - math.log(log_weights.shape[1])
        reconstruction, kl = mean(reconstruction, weights).mean(), mean(kl, weights).sum()
        loss = -mean(bound, weights)
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl, "loss": loss}

    def forward(
        self,
        x: Tensor,
        eps: Tensor,
        corrupted: Tensor | None = None,
        y: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Batch means, keyed as those of ``fastvae.VAE.evaluate``; noise [n, K, latent_dim] is for K draws."""
        if eps.ndim == 3:
            return self.importance(weights, x, eps, corrupted, y)
        reconstruction, kl = (mean(term, weights) for term in self.terms(x, eps, corrupted, y))
        penalty = kl.clamp(min=self.free_bits).sum() if self.free_bits else kl.sum()
        if self.capacity is not None:
            penalty = (penalty - self.capacity).abs()
        loss = {
            "elbo": reconstruction + self.beta * penalty,
            "reconstruction": reconstruction,
            "kl": self.beta * penalty,
        }[self.objective]
        return {"reconstruction": reconstruction, "kl": kl.sum(), "elbo": -reconstruction - kl.sum(), "loss": loss}


class TorchAutoencoder(Twin):
    """A plain autoencoder with the parameters of :class:`fastvae.Autoencoder`, and its ``state_dict`` names."""

    def __init__(
        self,
        n_features: int,
        latent_dim: int = 2,
        *,
        hidden: tuple[int, ...] = (400,),
        decoder_hidden: tuple[int, ...] | None = None,
        activation: str = "relu",
        loss: str = "squared_error",
        missing_indicator: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        decoder_hidden = hidden[::-1] if decoder_hidden is None else decoder_hidden
        seen = n_features * (1 + missing_indicator)
        self.encoder = sequential([seen, *hidden], activation, last=True)
        self.code = nn.Linear([seen, *hidden][-1], latent_dim)
        self.decoder = sequential([latent_dim, *decoder_hidden, n_features], activation, last=False)
        self.bernoulli, self.missing_indicator = loss == "bernoulli", missing_indicator
        self.to(dtype)

    def encode(self, x: Tensor) -> Tensor:
        """The code."""
        code: Tensor = self.code(self.encoder(x))
        return code

    def mean(self, z: Tensor) -> Tensor:
        """The reconstruction of a code."""
        y: Tensor = self.decoder(z)
        return y.sigmoid() if self.bernoulli else y

    def terms(self, x: Tensor, corrupted: Tensor | None = None) -> Tensor:
        """The loss of each example."""
        y = self.decoder(self.encode(beside_holes(x, corrupted, self.missing_indicator)))
        if self.bernoulli:
            return of_observed(lambda x: binary_cross_entropy_with_logits(y, x, reduction="none"), x)
        return of_observed(lambda x: (x - y) ** 2, x)

    def forward(self, x: Tensor, corrupted: Tensor | None = None, weights: Tensor | None = None) -> dict[str, Tensor]:
        """The batch mean, keyed as that of ``fastvae.Autoencoder.evaluate``."""
        return {"loss": mean(self.terms(x, corrupted), weights)}


def lively_weights(model: nn.Module, seed: int) -> dict[str, NDArray[np.float32]]:
    """Random weights that drive every nonlinearity out of its linear range: N(0, (1.5)² / fan_in).

    Some codes are in the thousands then, and an exponential of what the decoder makes of them is a matter of float32's
    last digits: where the decoder gives the scale, that layer and the posterior's log variance are meeker. So is the
    latter where a Gaussian's mean is a sigmoid, whose gradient is that of the few features that are not saturated; and
    where the decoder gives the logarithm of a mean, so are all weights between that and the code.
    """
    rng = np.random.default_rng(seed)
    squashed = getattr(model, "squashed", False) and not getattr(model, "bernoulli", False)
    rates = getattr(model, "counts", None) in ("poisson", "negative_binomial") or getattr(model, "mixed", False)
    meek = ("scale", "logvar") if hasattr(model, "scale") or squashed else ()
    weights = {}
    for name, parameter in model.named_parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 4
        size = 0.5 if name.startswith(meek) else 1.5
        if rates and parameter.ndim == 2 and name.startswith(("logvar", "decoder")):
            size = 0.1
        values = rng.normal(size=tuple(parameter.shape)) * size / np.sqrt(fan_in)
        weights[name] = np.asarray(values, dtype=np.float32)
    return weights


NETWORK = ("latent_dim", "hidden", "decoder_hidden", "activation", "missing_indicator")
OBJECTIVE = ("likelihood", "beta", "free_bits", "capacity", "objective")


def pair(n_features: int, seed: int = 0, **params: Any) -> tuple[VAE, TorchVAE]:
    """A ``fastvae.VAE`` and its float64 twin with the same lively weights."""
    names = (*NETWORK, *OBJECTIVE)
    twin = TorchVAE(n_features, **{name: params[name] for name in names if name in params})
    weights = lively_weights(twin, seed)
    return VAE(**params).load_state_dict(weights), twin.load(weights)


def plain_pair(n_features: int, seed: int = 0, **params: Any) -> tuple[Autoencoder, TorchAutoencoder]:
    """A ``fastvae.Autoencoder`` and its float64 twin with the same lively weights."""
    names = (*NETWORK, "loss")
    twin = TorchAutoencoder(n_features, **{name: params[name] for name in names if name in params})
    weights = lively_weights(twin, seed)
    return Autoencoder(**params).load_state_dict(weights), twin.load(weights)


class LinearGaussian(NamedTuple):
    """Probabilistic PCA, x = W z + b + s eps, as a VAE, with what is known of it (Tipping & Bishop, 1999)."""

    vae: VAE
    marginal: MultivariateNormal  # N(b, W Wᵀ + s² I)
    gain: NDArray[np.float64]  # of the exact posterior's mean, which is gain (x - b)
    variance: NDArray[np.float64]  # of q(z|x), by coordinate


def linear_gaussian(loadings: Any, offset: Any, scale: float, wider: float = 1.0) -> LinearGaussian:
    """A model of W [n_features, latent_dim], b and s, whose posterior has the exact mean.

    q's precisions are the diagonal of the exact precision M / s², M = Wᵀ W + s² I, its deviations ``wider`` times what
    that gives: with orthogonal loadings and ``wider=1`` it is exactly p(z|x).
    """
    features, latent = loadings.shape
    precision = loadings.T @ loadings / scale**2 + np.eye(latent)
    gain = np.linalg.solve(precision, loadings.T) / scale**2
    variance = wider**2 / np.diag(precision)
    vae = VAE(latent, hidden=(), likelihood=Gaussian(scale), random_state=0).load_state_dict(
        {
            "mu.weight": gain,
            "mu.bias": -gain @ offset,
            "logvar.weight": np.zeros((latent, features)),
            "logvar.bias": np.log(variance),
            "decoder.0.weight": loadings,
            "decoder.0.bias": offset,
        }
    )
    covariance = torch.from_numpy(loadings @ loadings.T + scale**2 * np.eye(features))
    marginal = MultivariateNormal(torch.from_numpy(offset), covariance)  # type: ignore[no-untyped-call]
    return LinearGaussian(vae, marginal, gain, variance)


def examples(likelihood: Any, rows: int, cols: int, seed: int = 0) -> NDArray[np.float32]:
    """Data that the likelihood takes: grey values with some exact 0 and 1, counts, or real numbers."""
    rng = np.random.default_rng(seed)
    if isinstance(likelihood, Mixed):
        return table(likelihood, rows, seed)
    if likelihood in COUNTS or type(likelihood) in KINDS:
        return rng.negative_binomial(0.5, 0.2, (rows, cols)).astype(np.float32)
    if likelihood == "bernoulli":
        return np.clip(rng.uniform(-0.5, 1.5, (rows, cols)), 0, 1).astype(np.float32)
    return rng.normal(0.3, 1.2, (rows, cols)).astype(np.float32)


def table(likelihood: Mixed, rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Columns that a likelihood of groups takes."""
    rng, parts = np.random.default_rng(seed), []
    for group in likelihood.groups:
        size = (rows, group.n_columns)
        match resolve(Mixed([group]))["groups"][0]["likelihood"]["kind"]:
            case "gaussian":
                parts.append(rng.normal(0.3, 1.2, size))
            case "log_normal":
                parts.append(np.exp(rng.normal(0.5, 0.8, size)))
            case "poisson" | "negative_binomial":
                parts.append(rng.negative_binomial(0.5, 0.2, size))
            case "bernoulli":
                parts.append(rng.integers(0, 2, size))
            case _:
                parts.append(np.eye(group.n_columns)[rng.integers(0, group.n_columns, rows)])
    return np.concatenate(parts, 1).astype(np.float32)


def noise(rows: int, latent_dim: int, seed: int = 1) -> NDArray[np.float32]:
    """Standard normal noise from numpy."""
    return np.random.default_rng(seed).normal(size=(rows, latent_dim)).astype(np.float32)


def relative_error(ours: Any, reference: Any) -> float:
    """Norm of the difference over the norm of the reference; where that is 0, ours must be below 1e-7."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    assert ours.shape == reference.shape
    size = float(np.linalg.norm(reference))
    if size == 0:
        return 0.0 if np.linalg.norm(ours) < 1e-7 else float("inf")
    return float(np.linalg.norm(ours - reference)) / size


def loss_errors(
    model: VAE | Autoencoder, twin: Twin, X: NDArray[Any], *eps: NDArray[Any], **corrupted: NDArray[Any]
) -> dict[str, float]:
    """Relative error of each loss and of each gradient."""
    named = {"sample_weight" if name == "weights" else name: array for name, array in corrupted.items()}
    losses, gradients = model.loss_and_gradients(X, *eps, **named)
    torch_losses, torch_gradients = twin.losses_and_gradients(X, *eps, **corrupted)
    assert losses.keys() == torch_losses.keys()
    assert gradients.keys() == torch_gradients.keys()
    errors = {name: relative_error(losses[name], torch_losses[name]) for name in losses}
    return errors | {name: relative_error(gradients[name], torch_gradients[name]) for name in torch_gradients}


def too_large(errors: dict[str, float]) -> dict[str, float]:
    """Errors beyond the tolerance."""
    return {name: error for name, error in errors.items() if not error <= TOLERANCE}
