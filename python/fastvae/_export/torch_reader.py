"""The layers and weights of a user's torch module. Only :mod:`fastvae.torch` imports this module, and so torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import nn
from torch.nn.utils import parametrize

from fastvae import layers
from fastvae._export import state_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The tensors of one module, by their names in it.
Tensors = dict[str, "NDArray[np.float32]"]

_ACTIVATIONS: dict[type[Any], str] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.Softplus: "softplus",
    nn.ELU: "elu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
}
_IGNORED = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d, nn.Identity)


class Found(NamedTuple):
    """Parameters of an estimator, and the tensors of the modules of its parts."""

    variational: bool
    parameters: dict[str, Any]
    tensors: dict[str, list[Tensors]]


def read(module: Any, mapping: Mapping[str, str] | None, given: Mapping[str, Any]) -> Found:
    """Return a module's layers and weights; `given` are parameters of the estimator. Raises ValueError."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"from_module takes a torch.nn.Module, not {type(module).__name__}")
    parts = _parts(module, mapping)
    variational = not parts["code"]
    heads = ("mu", "logvar") if variational else ("code",)
    missing = [name for name in (*heads, "decoder") if not parts[name]]
    if missing:
        raise ValueError(
            f"{type(module).__name__} has no modules that are {', '.join(missing)}; it has "
            f"{', '.join(name for name, leaf in _leaves(module) if _weighted(leaf))}. Pass mapping={{their name: our "
            "name}, such as {'fc21': 'mu'}"
        )
    encoder, decoder = (_Part(name, parts[name], given) for name in ("encoder", "decoder"))
    _, output = decoder.layers[-1]
    if output.get("activation") not in (None, "identity", "sigmoid") or output.get("batch_norm"):
        raise ValueError("the decoder's last layer has an activation other than Sigmoid, or a batch normalisation")
    parameters: dict[str, Any] = {"latent_dim": parts[heads[0]][0][1].out_features}
    link = "likelihood" if variational else "loss"
    if output.pop("activation", None) == "sigmoid":
        parameters[link] = "bernoulli"
    elif link not in given:
        choices = "'bernoulli' if the decoder returns logits, 'gaussian'" if variational else "'squared_error'"
        raise ValueError(f"pass {link}=, {choices} if it returns means: the decoder does not end with nn.Sigmoid")
    dense = decoder.layers[-1][0] is layers.Dense
    parameters["hidden"] = encoder.made(encoder.layers)
    parameters["decoder_hidden"] = decoder.made(decoder.layers[:-1] if dense else decoder.layers, image=not dense)
    tensors = {name: [_tensors(leaf) for _, leaf in parts[name]] for name in heads}
    return Found(variational, parameters, tensors | {"encoder": encoder.tensors, "decoder": decoder.tensors})


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules right within a module; unlike ``named_children``, one as often as it has names."""
    named = module.named_modules(remove_duplicate=False)
    return [(name, child) for name, child in named if name and "." not in name]


def _leaves(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules without children, by their names without wrappers.

    A module that two names have counts once, except where one Sequential calls it twice; those without weights count
    each time.
    """
    found: list[tuple[str, nn.Module]] = []
    first: dict[nn.Module, nn.Module] = {}  # the parent of each module, where it is met first

    def walk(parent: nn.Module, prefix: str) -> None:
        for name, child in _children(parent):
            again = isinstance(parent, nn.Sequential) and first.get(child) is parent
            if child in first and not again and list(child.parameters()):
                continue
            first.setdefault(child, parent)
            if parametrize.is_parametrized(child):
                remedy = "torch.nn.utils.parametrize.remove_parametrizations"
                raise ValueError(f"{prefix}{name} has parametrizations: call {remedy} first")
            if list(child.children()):
                walk(child, f"{prefix}{name}.")
            else:
                found.append((f"{prefix}{name}", child))

    walk(module, "")
    while found and (wrapper := state_names.common_wrapper([name for name, _ in found])):
        found = [(name.removeprefix(wrapper), leaf) for name, leaf in found]
    return found


def _weighted(leaf: nn.Module) -> bool:
    return any(True for _ in leaf.parameters())


def _parts(module: nn.Module, mapping: Mapping[str, str] | None) -> dict[str, list[tuple[str, Any]]]:
    """Return the modules of encoder, heads and decoder, in order. Modules without weights count in Sequentials only."""
    sequentials = {name for name, child in module.named_modules() if isinstance(child, nn.Sequential)}
    kept = {leaf for name in sequentials for leaf in module.get_submodule(name).children()}
    leaves = [(name, leaf) for name, leaf in _leaves(module) if leaf in kept or _weighted(leaf)]
    names = state_names.mapped([name for name, _ in leaves], mapping or {})
    by_name = dict(zip(names, leaves, strict=True))
    return {part: [by_name[name] for name in found] for part, found in state_names.grouped(names).items()}


class _Part:
    """The layers of encoder or decoder: classes with their arguments, and the tensors of modules with weights."""

    def __init__(self, part: str, leaves: list[tuple[str, Any]], given: Mapping[str, Any]) -> None:
        self.part, self.given = part, given
        self.layers: list[tuple[type[Any], dict[str, Any]]] = []
        self.tensors: list[Tensors] = []
        self.has_activations = False
        for name, leaf in leaves:
            self._add(name, leaf)

    def _add(self, name: str, leaf: Any) -> None:
        if not type(leaf).forward.__module__.startswith("torch."):
            raise ValueError(
                f"{name}, {leaf}: {type(leaf).__name__} has a forward of its own, which fastvae cannot read"
            )
        match leaf:
            case nn.Linear():
                self._layer(leaf, layers.Dense, units=leaf.out_features)
            case nn.Conv2d() | nn.ConvTranspose2d():
                self._convolution(name, leaf)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._norm(name, leaf)
            case nn.MaxPool2d() | nn.AvgPool2d():
                size, stride = _pair(leaf.kernel_size), _pair(leaf.stride)
                if size != stride or _pair(leaf.padding) != (0, 0) or leaf.ceil_mode:
                    raise ValueError(f"{name}, {leaf}: fastvae's pools have windows side by side, without padding")
                kind = layers.MaxPool2d if isinstance(leaf, nn.MaxPool2d) else layers.AvgPool2d
                self.layers.append((kind, {"size": size}))
            case nn.Upsample(mode="nearest") if leaf.scale_factor is not None:
                factors = leaf.scale_factor if isinstance(leaf.scale_factor, tuple) else (leaf.scale_factor,) * 2
                self.layers.append((layers.Upsample, {"size": (int(factors[0]), int(factors[1]))}))
            case _ if type(leaf) in _ACTIVATIONS:
                self._activation(name, leaf)
            case _ if not isinstance(leaf, _IGNORED):
                raise ValueError(f"{name}, {leaf}, has no counterpart in fastvae.layers")

    def _layer(self, leaf: Any, kind: type[Any], **arguments: Any) -> None:
        self.layers.append((kind, arguments))
        self.tensors.append(_tensors(leaf))

    def _convolution(self, name: str, leaf: Any) -> None:
        plain = leaf.groups == 1 and _pair(leaf.dilation) == (1, 1) and leaf.padding_mode == "zeros"
        if not plain or isinstance(leaf.padding, str):
            raise ValueError(f"{name}, {leaf}: fastvae's convolutions have no groups, dilation or padding but zeros")
        window = {key: _pair(getattr(leaf, key)) for key in ("kernel_size", "stride", "padding")}
        if isinstance(leaf, nn.Conv2d):
            self._layer(leaf, layers.Conv2d, channels=leaf.out_channels, **window)
        else:
            window["output_padding"] = _pair(leaf.output_padding)
            self._layer(leaf, layers.ConvTranspose2d, channels=leaf.out_channels, **window)

    def _norm(self, name: str, leaf: Any) -> None:
        arguments = self.layers[-1][1] if self.layers else {}
        plain = leaf.affine and leaf.track_running_stats and leaf.eps == 1e-5
        if not plain or not {"units", "channels"} & set(arguments) or {"activation", "batch_norm"} & set(arguments):
            raise ValueError(
                f"{name}, {leaf}: fastvae's batch normalisation follows a layer and precedes its activation, with "
                "weight, bias, running statistics and eps=1e-5"
            )
        arguments["batch_norm"] = True
        found, bias = _tensors(leaf), self.tensors[-1].pop("bias", None)
        if bias is not None:
            found["running_mean"] = found["running_mean"] - bias  # (x + bias) - mean
        self.tensors.append(found)

    def _activation(self, name: str, leaf: Any) -> None:
        exact = (getattr(leaf, "approximate", "none"), getattr(leaf, "alpha", 1.0), getattr(leaf, "beta", 1.0))
        arguments = next((found for _, found in reversed(self.layers) if "size" not in found), None)
        if exact != ("none", 1.0, 1.0) or arguments is None or "activation" in arguments:
            raise ValueError(f"{name}, {leaf}, has no counterpart in fastvae")
        if "size" in self.layers[-1][1] and not isinstance(leaf, nn.ReLU):
            raise ValueError(f"{name}, {leaf}: in fastvae an activation precedes a pool")
        arguments["activation"] = _ACTIVATIONS[type(leaf)]
        self.has_activations = True

    def made(self, found: list[tuple[type[Any], dict[str, Any]]], *, image: bool = False) -> tuple[Any, ...]:
        """Return layers; with `image`, the last one with weights is the output, which has no activation."""
        weighted = [arguments for _, arguments in found if "size" not in arguments]
        hidden = weighted[:-1] if image else weighted
        if hidden and not self.has_activations and "activation" not in self.given:
            raise ValueError(f"pass activation=: the {self.part}'s activations are no modules of an nn.Sequential")
        for arguments in hidden:
            arguments.setdefault("activation", "identity" if self.has_activations else None)
        return tuple(kind(**arguments) for kind, arguments in found)


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _tensors(leaf: nn.Module) -> Tensors:
    found = {
        name: state_names.array_of(value) for name, value in leaf.state_dict().items() if name != "num_batches_tracked"
    }
    if isinstance(leaf, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) and leaf.bias is None:
        found["bias"] = np.zeros(leaf.out_features if isinstance(leaf, nn.Linear) else leaf.out_channels, np.float32)
    return found
