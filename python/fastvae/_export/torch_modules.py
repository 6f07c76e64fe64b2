"""A fitted network as torch modules. Only functions of :mod:`fastvae.torch` import this module, and so torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastvae import _core
from fastvae._export import operations as ops
from fastvae._export.network import SECOND
from fastvae._export.torch_likelihoods import group_means, log_prob, sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.network import Network, Section

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


def module_of(op: ops.Operation, *, image: bool = False) -> nn.Module:
    """Return the torch module of a layer, with new weights; `image`: its input is an image."""
    match op:
        case ops.Linear(weight, bias):
            return nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        case ops.Conv2d(weight, bias, stride, padding):
            outputs, inputs, *kernel = weight.shape
            return nn.Conv2d(inputs, outputs, tuple(kernel), stride, padding, bias=bias is not None)
        case ops.ConvTranspose2d(weight, bias, stride, padding, added):
            inputs, outputs, *kernel = weight.shape
            return nn.ConvTranspose2d(inputs, outputs, tuple(kernel), stride, padding, added, bias=bias is not None)
        case ops.BatchNorm(mean, eps=eps):
            return (nn.BatchNorm2d if image else nn.BatchNorm1d)(len(mean), eps)
        case ops.Activation(kind):
            return _ACTIVATIONS[kind]()
        case ops.MaxPool2d(size):
            return nn.MaxPool2d(size)
        case ops.AvgPool2d(size):
            return nn.AvgPool2d(size)
        case ops.Upsample(size):
            return nn.Upsample(scale_factor=size)
        case ops.Flatten():
            return nn.Flatten()
        case ops.Unflatten(channels, height, width):
            return nn.Unflatten(1, (channels, height, width))
    raise NotImplementedError(f"{type(op).__name__} is no torch module")


class _Normalized(nn.Linear):
    """A linear layer without a scale in its batch normalisation, whose shift, if any, is learned."""

    def __init__(self, linear: ops.Linear, norm: ops.BatchNorm) -> None:
        super().__init__(linear.weight.shape[1], linear.weight.shape[0], bias=linear.bias is not None)
        self.norm = nn.BatchNorm1d(len(norm.mean), norm.eps, affine=False)
        if norm.bias is not None:
            self.norm.bias = nn.Parameter(torch.zeros(len(norm.mean)))

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised output."""
        return self.norm(super().forward(input))


class _TopicWords(nn.Linear):
    """Topic shares times the words of the topics, each a softmax over the words."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the probabilities of the words."""
        return functional.linear(input, (_core.TOPIC_GAIN * self.weight).softmax(0))


class _Numbers(nn.Module):
    """Named buffers or parameters."""

    def __init__(self, buffers: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.array(value)))
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(np.array(value))))


class FittedModule(nn.Module):
    """Base class of the modules that :func:`fastvae.torch.to_module` returns; it has the decoder."""

    def __init__(self, network: Network, state: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self.n_features, self.latent_dim, self.conditions = network.n_features, network.latent_dim, network.conditions
        self.image_shape = network.image_shape
        # The operations without weights: input, simplex, ...; the others are modules.
        self._network = network
        self.encoder = nn.Sequential(*_modules(network.encoder))
        for name, head in network.heads.items():
            setattr(self, name, _head(head))
        decoder = [*_modules(network.decoder), *(_modules(network.output) if not network.simplex else ())]
        self.decoder = nn.Sequential(*decoder)
        if network.simplex:
            mixture = network.likelihood.kind == "mixture"
            self.topics = _topic_words(network.output[0]) if mixture else _head(network.output)
        if network.second:
            self._second = next(name for name in SECOND if f"{name}.weight" in state)
            setattr(self, self._second, module_of(network.second[0]))
        groups = nn.Module()
        for i in {name.split(".")[1] for name in state if name.startswith("likelihood.") and name.count(".") == 2}:
            named = {name.split(".")[2]: value for name, value in state.items() if name.startswith(f"likelihood.{i}.")}
            groups.add_module(i, _Numbers({}, named))
        if any(True for _ in groups.children()):
            self.likelihood = groups
        for prefix in ("standardize", "likelihood"):
            mine = {
                name.split(".")[1]: value
                for name, value in state.items()
                if name.startswith(f"{prefix}.") and name.count(".") == 1
            }
            if mine:
                self.add_module(prefix, _Numbers(*((mine, {}) if prefix == "standardize" else ({}, mine))))
        self.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
        self.eval()

    # Data

    def _rows(self, x: Tensor) -> Tensor:
        """Return images as rows, [n, n_features], in the order height, width, channels; rows as they are."""
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x

    def _images(self, rows: Tensor) -> Tensor:
        """Return rows as images [n, channels, height, width] if the model has an image shape."""
        return rows if self.image_shape is None else rows.unflatten(1, self.image_shape).permute(0, 3, 1, 2)

    def _run(self, section: Section, h: Tensor, y: Tensor | None = None) -> Tensor:
        """Apply operations without weights."""
        x = h
        for op in section:
            h = _apply(op, h, x, y)
        return h

    def _condition(self, y: Tensor | None) -> Tensor | None:
        if (y is None) == bool(self.conditions):
            raise ValueError("pass y: the model is conditional" if y is None else "leave out y: it is not conditional")
        return None if y is None else self._run(self._network.condition, y)

    def _hidden(self, module: nn.Sequential, section: Section, h: Tensor, y: Tensor | None) -> Tensor:
        """Apply the modules of a section, and its operations without a name between them."""
        modules = iter(module)
        for op in section:
            h = next(modules)(h) if op.name else _apply(op, h, h, y)
        return h

    def _encoded(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return the hidden values of the encoder's heads."""
        y = self._condition(y)
        return self._hidden(self.encoder, self._network.encoder, self._run(self._network.input, self._rows(x)), y)

    # The decoder

    def outputs(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the output of the decoder before its link (such as logits), and its second output or None: rows.

        The second output is the log scale of a Gaussian, or the logit of zero inflation.
        """
        network, y = self._network, self._condition(y)
        layers = len(_modules(network.decoder))
        h = self._hidden(self.decoder[:layers], network.decoder, z, y)
        second = None
        if network.simplex:
            out = self.topics(h)
        else:
            out = self._hidden(self.decoder[layers:], network.output, h, y)
            if network.second:
                second = getattr(self, self._second)(h)
                second = self._hidden(self.decoder[layers + 1 :], network.second[1:], second, y)
        return self._run(network.units, out), second

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return E[x|z]: [n, n_features], or images [n, channels, height, width] of a model with an image shape.

        Counts with a size have the size 1.
        """
        out, second = self.outputs(z, y)
        if self._network.likelihood.groups:
            return group_means(self._network.likelihood.groups, getattr(self, "likelihood", None), out)
        mean = self._run(self._network.mean, out)
        if self._network.likelihood.inflated and second is not None:
            mean = mean * (-second).sigmoid()
        return self._images(mean)

    def _as_given(self, decoded: Tensor, x: Tensor, size: Tensor | None = None) -> Tensor:
        """Return decoded examples in the layout of x, and counts with the size of x if they have one."""
        likelihood = self._network.likelihood
        if likelihood.sized:
            decoded = decoded * sizes(likelihood, x.flatten(1), size).reshape(-1, *[1] * (decoded.ndim - 1))
        return self._rows(decoded) if x.ndim == 2 else decoded


class VariationalModule(FittedModule):
    """A variational model as torch modules: ``encoder``, ``mu``, ``logvar``, ``decoder``."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q(z|x), each [n, latent_dim]."""
        h = self._encoded(x, y)
        return self.mu(h), self.logvar(h)

    def reparameterize(self, mu: Tensor, logvar: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return z = mu + sigma eps, with eps from N(0, I) unless given; logvar is clamped to [-30, 20]."""
        eps = torch.randn_like(mu) if eps is None else eps
        return mu + (0.5 * logvar.clamp(-30, 20)).exp() * eps

    def code(self, z: Tensor) -> Tensor:
        """Return the decoder's input: z, or the topic shares theta of a topic model."""
        return self._run(self._network.simplex, z)

    def forward(self, x: Tensor, y: Tensor | None = None, size: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return E[x|z] in the layout of x, mu and logvar; z is drawn in training mode, else it is mu.

        `size` [n] are the sizes of a model with ``size_factor="given"``.
        """
        mu, logvar = self.encode(x, y)
        z = self.reparameterize(mu, logvar) if self.training else mu
        return self._as_given(self.decode(self.code(z), y), x, size), mu, logvar

    def elbo(self, x: Tensor, y: Tensor | None = None, eps: Tensor | None = None, size: Tensor | None = None) -> Tensor:
        """Return the ELBO of each example, [n], nats: log p(x|z) at one draw of z, minus the KL."""
        mu, logvar = self.encode(x, y)
        outputs = self.outputs(self.code(self.reparameterize(mu, logvar, eps)), y)
        network, learned = self._network, getattr(self, "likelihood", None)
        condition = self._condition(y)
        log_p = log_prob(network.likelihood, network.mean, learned, self._rows(x), outputs, condition, size)
        logvar = logvar.clamp(-30, 20)
        return log_p - 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)


class AutoencoderModule(FittedModule):
    """A plain autoencoder as torch modules: ``encoder``, ``code``, ``decoder``."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, [n, latent_dim]."""
        code: Tensor = self.code(self._encoded(x, None))
        return code

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction in the layout of x."""
        return self._as_given(self.decode(self.encode(x)), x)


def _modules(section: Iterable[ops.Operation]) -> list[nn.Module]:
    made, image = list[nn.Module](), False
    for op in section:
        if op.name:
            made.append(module_of(op, image=image))
        if not isinstance(op, (ops.BatchNorm, ops.Activation)):
            image = isinstance(op, (ops.Conv2d, ops.ConvTranspose2d))
    return made


def _head(section: Section) -> nn.Module:
    linear, *norm = section
    if not norm:
        return module_of(linear)
    assert isinstance(linear, ops.Linear), "a normalised head is linear"
    assert isinstance(norm[0], ops.BatchNorm), "a normalised head is linear"
    return _Normalized(linear, norm[0])


def _topic_words(op: ops.Operation) -> nn.Module:
    assert isinstance(op, ops.Linear), "topics are linear"
    return _TopicWords(op.weight.shape[1], op.weight.shape[0], bias=False)


def _apply(op: ops.Operation, h: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
    """Return the value of an operation without weights; x is the section's input."""

    def like(array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(h)

    match op:
        case ops.Standardize(shift, scale):
            return (h - like(shift)) / like(scale)
        case ops.Affine(shift, scale):
            return like(shift) + like(scale) * h
        case ops.ZeroMissing():
            return h.masked_fill(x.isnan(), 0)
        case ops.AppendMissing():
            return torch.cat([h, x.isnan().to(h)], 1)
        case ops.Log1p():
            return h.log1p()
        case ops.LogColumns(chosen, added):
            return torch.where(like(chosen) == 1, (h + like(added)).log(), h)
        case ops.Binary():
            return (h != 0).to(h)
        case ops.Normalize("frequencies"):
            numerator, short = _core.FREQUENCIES
            return numerator * h / (short + h.abs().sum(1, keepdim=True))
        case ops.Normalize(norm):
            return functional.normalize(h, p=1.0 if norm == "l1" else 2.0, eps=1e-30)
        case ops.ToImage(height, width, channels, parts):
            return h.reshape(-1, parts, height, width, channels).permute(0, 1, 4, 2, 3).flatten(1, 2)
        case ops.JoinCondition():
            assert y is not None, "the condition was checked"
            return torch.cat([h, y], 1)
        case ops.Flatten():
            return h.flatten(1)
        case ops.ToColumns():
            return h.permute(0, 2, 3, 1).flatten(1)
        case ops.Activation("sigmoid"):
            return h.sigmoid()
        case ops.Exp():
            return h.exp()
        case ops.Softmax():
            return h.softmax(1)
    raise NotImplementedError(f"{type(op).__name__} is a module")
