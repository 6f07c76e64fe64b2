"""Names of a torch state dict, mapped to those of fastvae: encoder.0, mu, logvar, decoder.0, ..."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Prefixes of torch's wrappers: DataParallel, compile, Lightning modules, averaged weights.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "vae.", "net.", "network.")

# Names of the heads, without "_", "." and upper case, at the end of a name.
_HEADS = {
    "mu": ("mu", "mean", "fcmean", "fcmu", "fc21", "zmean", "mulayer", "meanlayer", "tomu", "embedding", "encmu"),
    "logvar": (
        *("logvar", "logvariance", "fclogvar", "fcvar", "fc22", "zlogvar", "logvarlayer", "tologvar", "enclogvar"),
        *("logcovar", "logsigma2", "logvarhead", "var"),
    ),
    "code": ("code", "fccode", "bottleneck"),
}
_ENCODERS, _DECODERS = ("enc", "inference"), ("dec", "gen")
_OURS = re.compile(
    r"(encoder|decoder)\.\d+\.\w+|(mu|logvar|code|scale|topics)\.[\w.]+|(likelihood\.(\d+\.)?|standardize\.)\w+"
)
_CHECKPOINTS = ("state_dict", "model_state_dict", "model")


def tensors(state_dict: Any) -> dict[str, NDArray[Any]]:
    """Return a state dict's tensors as arrays under names without wrappers, or raise a sentence.

    bfloat16 and float16 become float32; torch's counters of batches are left out.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"a state dict is a mapping from names to tensors, not {type(state_dict).__name__}")
    inner = [key for key in _CHECKPOINTS if isinstance(state_dict.get(key), Mapping)]
    if inner:
        raise ValueError(f"this is a checkpoint that holds a state dict: pass checkpoint[{inner[0]!r}]")
    found = {str(name): array_of(value) for name, value in state_dict.items() if not _is_counter(str(name))}
    while found and (wrapper := common_wrapper(list(found))):
        found = {name.removeprefix(wrapper): array for name, array in found.items()}
    return found


def array_of(value: Any) -> NDArray[Any]:
    """Return a tensor of any type, device and gradient as an array: float32 if it is of floats."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        value = value.numpy()
    return np.asarray(value)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def common_wrapper(names: list[str]) -> str | None:
    """Return the prefix of a wrapper that all names have."""
    return next((prefix for prefix in _WRAPPERS if all(name.startswith(prefix) for name in names)), None)


def renamed(found: dict[str, NDArray[Any]], mapping: Mapping[str, str] | None) -> dict[str, NDArray[Any]]:
    """Return arrays under fastvae's names, or raise ValueError with the names that are missing or left over."""
    if mapping is not None:
        return _by_mapping(found, mapping)
    if all(_OURS.fullmatch(name) for name in found):
        made = dict(found)
    else:
        made = {}
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name in found))
        for part, own in grouped(modules).items():
            made |= _numbered(part, own, found)
    left = [name for name in found if not any(array is found[name] for array in made.values())]
    _require(made, left)
    return made


def mapped(names: list[str], mapping: Mapping[str, str]) -> list[str]:
    """Return names changed by a mapping of whole names, or of the names of modules in front."""
    made, used = [], set()
    for name in names:
        prefixes = [key for key in mapping if name == key or name.startswith(f"{key}.")]
        if prefixes:
            longest = max(prefixes, key=len)
            used.add(longest)
            name = mapping[longest] + name[len(longest) :]
        if name in made:
            raise ValueError(f"the mapping gives two names the name {name!r}")
        made.append(name)
    unused = sorted(set(mapping) - used)
    if unused:
        raise ValueError(f"there is no {_listed(unused)}, which the mapping names; there are {_listed(names)}")
    return made


def _by_mapping(found: dict[str, NDArray[Any]], mapping: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return arrays renamed by whole names, or by the names of modules in front."""
    made = dict(zip(mapped(list(found), mapping), found.values(), strict=True))
    ours = {name: array for name, array in made.items() if _OURS.fullmatch(name)}
    _require(ours, [name for name in made if name not in ours])
    return made


def _require(made: Mapping[str, Any], left: list[str]) -> None:
    """Raise ValueError unless there are heads and a decoder, and no name is left over."""
    heads = ["code.weight"] if "code.weight" in made else ["mu.weight", "logvar.weight"]
    missing = [name for name in heads if name not in made]
    if not any(name.startswith(("decoder.", "topics.")) for name in made):
        missing.append("decoder.0.weight")
    if missing or left:
        lacks = f"the state dict lacks {_listed(missing)}" if missing else "the state dict is not that of a VAE"
        rest = f"; left over: {_listed(left)}" if left else ""
        raise ValueError(f"{lacks}{rest}. Pass mapping={{their name: our name}}, such as {{'fc21': 'mu'}}")


def _listed(names: Any) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def grouped(modules: list[str]) -> dict[str, list[str]]:
    """Return the names of the modules of encoder, heads and decoder, in order.

    Before the heads, modules are the encoder's; behind them, the decoder's; "enc..." and "dec..." are what they say.
    """
    groups: dict[str, list[str]] = {"encoder": [], "mu": [], "logvar": [], "code": [], "decoder": []}
    part = "encoder"
    for module in modules:
        head = head_of(module)
        if head and not groups[head]:
            groups[head].append(module)
            part = "decoder"
        elif module.lower().startswith(_DECODERS):
            groups["decoder"].append(module)
        else:
            groups["encoder" if module.lower().startswith(_ENCODERS) else part].append(module)
    return groups


def head_of(module: str) -> str | None:
    """Return the head that a module's name means, or None."""
    if module.lower().startswith(_DECODERS):
        return None
    for ending in (module.rpartition(".")[2], "".join(module.split(".")[-2:])):
        plain = re.sub(r"[_\W]", "", ending).lower()
        for head, endings in _HEADS.items():
            if plain in endings:
                return head
    return None


def _numbered(part: str, modules: list[str], found: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a part's tensors under the names of an ``nn.Sequential`` with activations, Flatten and Unflatten."""
    made: dict[str, NDArray[Any]] = {}

    def take(module: str, name: str) -> None:
        prefix = f"{module}."
        own = [key for key in found if key.startswith(prefix) and "." not in key[len(prefix) :]]
        made.update({f"{name}.{key[len(prefix) :]}": found[key] for key in own})

    if part in _HEADS:
        for module in modules:
            take(module, part)
        return made
    numbers = [re.fullmatch(r"(?:\w+\.)*?(\d+)", module) for module in modules]
    parents = {module.rpartition(".")[0] for module in modules}
    if all(numbers) and len(parents) == 1:  # one nn.Sequential, whose numbers count all modules
        for module in modules:
            take(module, f"{part}.{module.rpartition('.')[2]}")
        return made
    index, image = 0, False
    for i, module in enumerate(modules):
        weight = found.get(f"{module}.weight")
        if weight is None:
            continue
        if weight.ndim >= 2:
            index += int(image != (weight.ndim == 4) and i > 0)  # Flatten or Unflatten
            image = weight.ndim == 4
            take(module, f"{part}.{index}")
            following = found.get(f"{modules[i + 1]}.running_mean") if i + 1 < len(modules) else None
            index += 1 if following is not None else 2
        else:
            take(module, f"{part}.{index}")
            index += 2
    return made
